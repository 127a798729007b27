use placet_jose::dpop::{Expected, MAX_AGE, Nonce, Presented, Proof, TokenHash, prove, verify};
use placet_jose::replay::{Admission, MemoryWindow, ReplayWindow};
use placet_jose::{Algorithm, LEEWAY, Refused, SigningKey};

use crate::support::{NOW, key, parts, public_bytes, sign, sign_hmac, url};

const URL: &str = "https://gw.example/mcp";
const TOKEN: &str = "an.access.token";

fn check(proof: &str, key: &SigningKey, now: u64) -> Result<Proof, Refused> {
    let url = url(URL);
    let bound = key.public().thumbprint();
    let token = Presented::Bound { token: TokenHash::of(TOKEN), key: &bound };
    verify(proof, &Expected { method: "POST", url: &url, token, nonce: Nonce::NotAsked }, now)
}

fn good(key: &SigningKey) -> String {
    prove(key, "jti-1", "POST", &url(URL), NOW, Some(TOKEN), None).unwrap()
}

fn resigned(key: &SigningKey, replace: &str, with: &str) -> String {
    let (header, payload, _) = parts(&good(key));
    let (new_header, new_payload) = (header.replace(replace, with), payload.replace(replace, with));
    assert!(header != new_header || payload != new_payload, "`{replace}` is not in {header} {payload}");
    sign(key, &new_header, &new_payload)
}

#[test]
fn a_good_proof_names_its_key() {
    for algorithm in [Algorithm::EdDsa, Algorithm::Es256] {
        let key = key(algorithm);
        let proof = check(&good(&key), &key, NOW).unwrap();
        assert_eq!((proof.key(), proof.jti()), (key.public().thumbprint(), "jti-1"));
        assert_eq!(proof.public_key(), key.public());
    }
}

#[test]
fn the_specification_s_proof_verifies() {
    // RFC 9449 §7.1, figure 12 and the token of figure 12's request.
    let proof = concat!(
        "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0Rs",
        "cEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2",
        "In19.eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2Vu",
        "IiwiaWF0IjoxNTYyMjYyNjE2fQ.2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg",
    );
    let url = url("https://server.example.com/token");
    let expected = Expected { method: "POST", url: &url, token: Presented::None, nonce: Nonce::NotAsked };
    let proof = verify(proof, &expected, 1_562_262_616).unwrap();
    assert_eq!(proof.key().to_string(), "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I");
}

#[test]
fn env_1_asymmetric_and_the_key_s_own_algorithm() {
    for algorithm in [Algorithm::EdDsa, Algorithm::Es256] {
        let key = key(algorithm);
        for other in ["none", "HS256", "RS256", "ES384", "nOnE"] {
            let proof = resigned(&key, algorithm.name(), other);
            assert_eq!(check(&proof, &key, NOW).unwrap_err(), Refused::Algorithm, "{other}");
        }
        let (header, payload, _) = parts(&good(&key));
        let hmac =
            sign_hmac(&public_bytes(key.public()), &header.replace(algorithm.name(), "HS256"), &payload);
        assert_eq!(check(&hmac, &key, NOW).unwrap_err(), Refused::Algorithm);
    }
}

#[test]
fn the_key_is_public_and_the_token_s() {
    let (mine, other) = (key(Algorithm::EdDsa), key(Algorithm::EdDsa));
    assert_eq!(check(&good(&other), &mine, NOW).unwrap_err(), Refused::Binding);
    for (replace, with, error) in [
        (r#""kty":"OKP","#, r#""kty":"OKP","d":"AAAA","#, Refused::Key),
        (r#""kty":"OKP","#, r#""kty":"oct","k":"AAAA","#, Refused::Key),
        (r#""crv":"Ed25519""#, r#""crv":"Ed448""#, Refused::Key),
        (r#""jwk":"#, r#""xjwk":"#, Refused::Key),
        (r#""jwk":"#, r#""jku":"https://evil.example","jwk":"#, Refused::ForeignKey),
        (r#""jwk":"#, r#""crit":["x"],"jwk":"#, Refused::Critical),
        (r#""typ":"dpop+jwt""#, r#""typ":"JWT""#, Refused::Type),
        (r#""typ":"dpop+jwt""#, r#""typ":"DPOP+JWT""#, Refused::Type),
        (r#""typ":"dpop+jwt""#, r#""typ":"at+jwt""#, Refused::Type),
    ] {
        assert_eq!(check(&resigned(&mine, replace, with), &mine, NOW).unwrap_err(), error, "{with}");
    }
    // The right key in the header, another one's signature.
    let (header, payload, _) = parts(&good(&mine));
    assert_eq!(check(&sign(&other, &header, &payload), &mine, NOW).unwrap_err(), Refused::Signature);
}

#[test]
fn env_6_method_and_url_are_the_request_s() {
    let key = key(Algorithm::Es256);
    for (method, error) in [
        ("post", Refused::Method),
        ("GET", Refused::Method),
        ("POST ", Refused::Method),
        ("", Refused::Claim("htm")),
    ] {
        let proof = resigned(&key, r#""htm":"POST""#, &format!(r#""htm":"{method}""#));
        assert_eq!(check(&proof, &key, NOW).unwrap_err(), error, "{method}");
    }
    let with = |url: &str| resigned(&key, &format!(r#""htu":"{URL}""#), &format!(r#""htu":"{url}""#));
    for url in ["HTTPS://GW.EXAMPLE:443/mcp", "https://gw.example/a/../mcp", "https://gw.example/%6Dcp"] {
        assert!(check(&with(url), &key, NOW).is_ok(), "{url}");
    }
    for url in [
        "https://gw.example/mcp/",
        "https://gw.example/mcp?x=1",
        "https://gw.example/mcp#x",
        "https://gw.example/MCP",
        "https://gw.example:8443/mcp",
        "http://gw.example/mcp",
        "https://evil.example/mcp",
        "https://gw.example@evil.example/mcp",
        "/mcp",
        "",
    ] {
        assert_eq!(check(&with(url), &key, NOW).unwrap_err(), Refused::Url, "{url}");
    }
    let array = resigned(&key, &format!(r#""htu":"{URL}""#), &format!(r#""htu":["{URL}"]"#));
    assert_eq!(check(&array, &key, NOW).unwrap_err(), Refused::Claim("htu"));
}

#[test]
fn a_proof_lives_a_minute() {
    let key = key(Algorithm::EdDsa);
    let proof = good(&key);
    assert_eq!(check(&proof, &key, NOW - LEEWAY - 1).unwrap_err(), Refused::NotYet);
    assert!(check(&proof, &key, NOW - LEEWAY).is_ok());
    let last = check(&proof, &key, NOW + MAX_AGE).unwrap();
    assert_eq!(last.forget_at(), NOW + MAX_AGE + 1);
    assert_eq!(check(&proof, &key, last.forget_at()).unwrap_err(), Refused::Expired);
    for iat in ["1790000000.5", "\"1790000000\"", "-1", "1790000000000", "null"] {
        let proof = resigned(&key, &format!("\"iat\":{NOW}"), &format!("\"iat\":{iat}"));
        assert_eq!(check(&proof, &key, NOW).unwrap_err(), Refused::Claim("iat"), "{iat}");
    }
}

#[test]
fn the_proof_is_for_this_token() {
    let key = key(Algorithm::EdDsa);
    let proof = |token| prove(&key, "j", "POST", &url(URL), NOW, token, None).unwrap();
    for token in [None, Some("another.token"), Some("an.access.token ")] {
        assert_eq!(check(&proof(token), &key, NOW).unwrap_err(), Refused::TokenHash, "{token:?}");
    }
}

#[test]
fn jti_is_present_and_bounded() {
    let key = key(Algorithm::EdDsa);
    for jti in ["\"\"".to_owned(), "7".to_owned(), "null".to_owned(), format!("\"{}\"", "j".repeat(129))] {
        let proof = resigned(&key, "\"jti\":\"jti-1\"", &format!("\"jti\":{jti}"));
        assert_eq!(check(&proof, &key, NOW).unwrap_err(), Refused::Claim("jti"), "{jti:.20}");
    }
    let twice = resigned(&key, "\"jti\":\"jti-1\"", "\"jti\":\"jti-1\",\"jti\":\"jti-2\"");
    assert_eq!(check(&twice, &key, NOW).unwrap_err(), Refused::Malformed);
    let long = resigned(&key, "\"jti\":\"jti-1\"", &format!("\"jti\":\"j\",\"x\":\"{}\"", "x".repeat(4096)));
    assert_eq!(check(&long, &key, NOW).unwrap_err(), Refused::TooLarge);
}

#[test]
fn a_nonce_counts_when_it_is_asked_for() {
    let key = key(Algorithm::Es256);
    let url = url(URL);
    let current = ["n2".to_owned(), "n1".to_owned()];
    let nonce = Nonce::OneOf(&current);
    let expected = Expected { method: "POST", url: &url, token: Presented::None, nonce };
    let with = |nonce| verify(&prove(&key, "j", "POST", &url, NOW, None, nonce).unwrap(), &expected, NOW);
    assert!(with(Some("n1")).is_ok() && with(Some("n2")).is_ok());
    for nonce in [None, Some("n0"), Some("n")] {
        assert_eq!(with(nonce).unwrap_err(), Refused::Nonce, "{nonce:?}");
    }
}

#[test]
fn env_4_a_proof_counts_once_per_key() {
    let (one, two) = (key(Algorithm::EdDsa), key(Algorithm::EdDsa));
    let mut window = MemoryWindow::new(16);
    let mut admit = |key: &SigningKey| {
        let proof = check(&good(key), key, NOW).unwrap();
        window.admit(proof.replay_key(), proof.forget_at(), NOW)
    };
    assert_eq!(admit(&one), Admission::New);
    assert_eq!(admit(&one), Admission::Seen);
    assert_eq!(admit(&two), Admission::New, "the same jti of another key");
}
