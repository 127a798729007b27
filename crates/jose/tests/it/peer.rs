//! Our proofs judged by an independent verifier, and its refusals by ours.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use dpop_verifier::{DpopError, DpopVerifier, ReplayContext, ReplayStore};
use placet_jose::dpop::{Expected, Nonce, Presented, TokenHash, prove, verify};
use placet_jose::{Algorithm, Refused, Thumbprint};

use crate::support::{key, parts, sign, url};

const URL: &str = "https://gw.example/mcp";
const TOKEN: &str = "an.access.token";

#[derive(Default)]
struct Seen(Vec<[u8; 32]>);

#[async_trait::async_trait]
impl ReplayStore for Seen {
    async fn insert_once(&mut self, jti: [u8; 32], _: ReplayContext<'_>) -> Result<bool, DpopError> {
        let new = !self.0.contains(&jti);
        self.0.push(jti);
        Ok(new)
    }
}

/// The store never waits, so that one poll is enough.
fn ready<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => unreachable!("the store never waits"),
    }
}

/// The peer reads the wall clock, so that its proofs must be of now.
#[expect(clippy::disallowed_methods, reason = "the peer takes no other time")]
fn wall() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

#[test]
fn the_peer_agrees_on_every_proof() {
    let now = wall();
    let theirs = |proof: &str| {
        let verifier = DpopVerifier::new().with_max_age_seconds(60);
        ready(verifier.verify(&mut Seen::default(), proof, URL, "POST", Some(TOKEN)))
    };
    let ours = |proof: &str, bound: &Thumbprint| {
        let (here, token) = (url(URL), Presented::Bound { token: TokenHash::of(TOKEN), key: bound });
        verify(proof, &Expected { method: "POST", url: &here, token, nonce: Nonce::NotAsked }, now)
    };
    for algorithm in [Algorithm::EdDsa, Algorithm::Es256] {
        let key = key(algorithm);
        let good = prove(&key, "jti-1", "POST", &url(URL), now, Some(TOKEN), None).unwrap();
        let (header, payload, _) = parts(&good);
        let changed = |from: &str, to: &str| {
            let (new_header, new_payload) = (header.replace(from, to), payload.replace(from, to));
            assert!(header != new_header || payload != new_payload, "`{from}` is not in {header} {payload}");
            sign(&key, &new_header, &new_payload)
        };
        let iat = format!("\"iat\":{now}");
        let htu = format!("\"htu\":\"{URL}\"");
        let cases = [
            (good.clone(), true),
            (changed(&htu, "\"htu\":\"HTTPS://GW.example:443/mcp\""), true),
            (changed(&htu, "\"htu\":\"https://evil.example/mcp\""), false),
            (changed("\"htm\":\"POST\"", "\"htm\":\"GET\""), false),
            (changed("dpop+jwt", "jwt"), false),
            (changed(algorithm.name(), "none"), false),
            (changed(algorithm.name(), "HS256"), false),
            (changed("\"kty\":", "\"d\":\"AAAA\",\"kty\":"), false),
            (changed("\"ath\":\"", "\"ath\":\"x"), false),
            (changed("\"ath\"", "\"xath\""), false),
            (changed(&iat, &format!("\"iat\":{}", now - 3600)), false),
            (changed(&iat, &format!("\"iat\":{}", now + 3600)), false),
            (changed("\"jti\"", "\"xjti\""), false),
            (format!("{}x", good.trim_end_matches(|letter| letter != '.')), false),
        ];
        let bound = key.public().thumbprint();
        for (proof, accepted) in cases {
            let (theirs, ours) = (theirs(&proof), ours(&proof, &bound));
            assert_eq!(ours.is_ok(), accepted, "{:?} {:?}", parts_or_text(&proof), ours.err());
            assert_eq!(theirs.is_ok(), accepted, "{:?} {:?}", parts_or_text(&proof), theirs.err());
            if let (Ok(theirs), Ok(ours)) = (theirs, ours) {
                assert_eq!((theirs.jkt, theirs.jti), (ours.key().to_string(), ours.jti().to_owned()));
            }
        }
        // Where we are stricter: the peer takes `/mcp/` for `/mcp`, which RFC 3986 does not.
        let slash = changed(&htu, "\"htu\":\"https://gw.example/mcp/\"");
        assert!(theirs(&slash).is_ok());
        assert_eq!(ours(&slash, &bound).unwrap_err(), Refused::Url);
    }
}

fn parts_or_text(proof: &str) -> String {
    if proof.split('.').count() == 3 { format!("{:?}", parts(proof)) } else { proof.to_owned() }
}
