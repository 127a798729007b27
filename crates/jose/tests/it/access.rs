use placet_jose::access::{Access, AccessRefused};
use placet_jose::dpop::prove;
use placet_jose::headers::Headers;
use placet_jose::{Algorithm, KeySet, Refused, SigningKey};

use crate::support::{AUDIENCE, ISSUER, NOW, key, url, workflow_token};

struct Scene {
    access: Access,
    agent: SigningKey,
    token: String,
}

fn scene() -> Scene {
    let (signer, agent) = (key(Algorithm::EdDsa), key(Algorithm::Es256));
    let access = Access::new(ISSUER, AUDIENCE, KeySet::of(signer.public()), 8);
    let token = workflow_token(&signer, agent.public());
    Scene { access, agent, token }
}

impl Scene {
    fn proof(&self, key: &SigningKey, at: u64) -> String {
        prove(key, "j", "POST", &url(AUDIENCE), at, Some(&self.token), None).unwrap()
    }

    fn open(&self, headers: Headers<'_>, now: u64) -> Result<String, AccessRefused> {
        self.access.open("POST", &url(AUDIENCE), headers, now).map(|opened| opened.token.claims().sub.clone())
    }
}

#[test]
fn a_token_with_its_proof_opens_again_and_again_until_it_expires() {
    let scene = scene();
    let authorization = format!("DPoP {}", scene.token);
    for now in [NOW, NOW + 1, NOW + 299, NOW + 300, NOW + 304] {
        let proof = scene.proof(&scene.agent, now);
        let headers = [("Authorization", authorization.as_bytes()), ("DPoP", proof.as_bytes())];
        assert_eq!(scene.open(&headers, now), Ok("maya".to_owned()), "{now}");
    }
    let proof = scene.proof(&scene.agent, NOW + 305);
    let headers = [("Authorization", authorization.as_bytes()), ("DPoP", proof.as_bytes())];
    assert_eq!(
        scene.open(&headers, NOW + 305),
        Err(AccessRefused::Token(Refused::Expired)),
        "no cache outlives exp"
    );
}

#[test]
fn env_5_a_bound_token_as_bearer_is_refused() {
    let scene = scene();
    let proof = scene.proof(&scene.agent, NOW);
    for scheme in ["Bearer", "bearer", "BEARER", "Basic", "DPoPx"] {
        let authorization = format!("{scheme} {}", scene.token);
        for headers in [
            vec![("authorization", authorization.as_bytes())],
            vec![("authorization", authorization.as_bytes()), ("dpop", proof.as_bytes())],
        ] {
            assert_eq!(scene.open(&headers, NOW), Err(AccessRefused::Token(Refused::Scheme)), "{scheme}");
        }
    }
}

#[test]
fn a_stolen_token_without_its_key_is_evidence() {
    let (scene, thief) = (scene(), key(Algorithm::Es256));
    let authorization = format!("dpop {}", scene.token);
    let stolen =
        |why| Err(AccessRefused::Proof { why, jti: "wt_1".to_owned(), client_id: "agent-7".to_owned() });
    let proof = scene.proof(&thief, NOW);
    let headers = [("authorization", authorization.as_bytes()), ("dpop", proof.as_bytes())];
    // Cold, then from the cache.
    assert_eq!(scene.open(&headers, NOW), stolen(Refused::Binding));
    assert_eq!(scene.open(&headers, NOW), stolen(Refused::Binding));
    assert_eq!(scene.open(&headers[..1], NOW), stolen(Refused::Missing("dpop")));
    // An old proof of the right key, overheard.
    let proof = scene.proof(&scene.agent, NOW);
    let headers = [("authorization", authorization.as_bytes()), ("dpop", proof.as_bytes())];
    assert_eq!(scene.open(&headers, NOW + 61), stolen(Refused::Expired));
}

#[test]
fn what_is_not_ours_is_only_unauthenticated() {
    let scene = scene();
    let stranger = workflow_token(&key(Algorithm::EdDsa), scene.agent.public());
    let authorization = format!("DPoP {stranger}");
    let proof = scene.proof(&scene.agent, NOW);
    let headers = [("authorization", authorization.as_bytes()), ("dpop", proof.as_bytes())];
    assert_eq!(scene.open(&headers, NOW), Err(AccessRefused::Token(Refused::UnknownKey)));
    assert_eq!(scene.open(&[], NOW), Err(AccessRefused::Token(Refused::Missing("authorization"))));
}

#[test]
fn repeated_and_malformed_headers_are_refused() {
    let scene = scene();
    let authorization = format!("DPoP {}", scene.token);
    let (good, proof) = (authorization.as_bytes(), scene.proof(&scene.agent, NOW));
    let spaced = authorization.replacen(' ', " a ", 1);
    for bad in [
        vec![("authorization", good), ("Authorization", good)],
        vec![("authorization", b"DPoP".as_slice())],
        vec![("authorization", b"DPoP  ".as_slice())],
        vec![("authorization", b"DPoP \xff".as_slice())],
        vec![("authorization", spaced.as_bytes())],
        vec![("authorization", b"DPoP a,b".as_slice())],
    ] {
        assert_eq!(
            scene.open(&bad, NOW),
            Err(AccessRefused::Token(Refused::Header("authorization"))),
            "{bad:?}"
        );
    }
    let twice = [("authorization", good), ("dpop", proof.as_bytes()), ("DPoP", proof.as_bytes())];
    let error = scene.open(&twice, NOW).unwrap_err();
    assert!(matches!(error, AccessRefused::Proof { why: Refused::Header("dpop"), .. }), "{error:?}");
}

#[test]
fn the_cache_is_bounded_and_can_be_emptied() {
    use std::sync::Arc;

    use placet_jose::cache::TokenCache;
    use placet_jose::dpop::TokenHash;
    use placet_jose::tokens::WorkflowToken;
    use placet_jose::{Expect, Stamp, Verified, mint};

    let signer = key(Algorithm::EdDsa);
    let keys = KeySet::of(signer.public());
    let cache = TokenCache::new(2);
    let mut hashes = Vec::new();
    for life in [100_u64, 300, 200] {
        let stamp = Stamp { issuer: ISSUER, audience: AUDIENCE, issued_at: NOW, expires_at: NOW + life };
        let token = mint(&signer, &stamp, &crate::support::workflow_claims(signer.public())).unwrap();
        let expect = Expect { issuer: ISSUER, audience: AUDIENCE, keys: &keys };
        let verified: Verified<WorkflowToken> = Verified::open(&token, &expect, NOW).unwrap();
        hashes.push(TokenHash::of(&token));
        cache.insert(TokenHash::of(&token), Arc::new(verified));
    }
    let held = |now: u64| hashes.iter().map(|hash| cache.get(hash, now).is_some()).collect::<Vec<_>>();
    assert_eq!(held(NOW), [false, true, true], "the one that ends first made room");
    assert_eq!(held(NOW + 199), [false, true, true]);
    assert_eq!(held(NOW + 200), [false, true, false]);
    assert_eq!(cache.len(), 1, "what expired is gone");
    cache.clear();
    assert!(cache.is_empty());
    assert_eq!(held(NOW), [false; 3]);
}
