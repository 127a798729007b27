use placet_jose::digest::ContentDigest;
use placet_jose::tokens::{OperatorAssertion, OperatorRequest};
use placet_jose::{Algorithm, KeySet, Refused, SigningKey, Stamp, mint};

use crate::support::{NOW, key, url};

const BASE: &str = "https://gw.example/v1";
const PATH: &str = "https://gw.example/v1/tenants";
const BODY: &[u8] = b"{\"id\":\"acme\"}";

fn assertion(signer: &SigningKey, issuer: &str, sub: &str) -> String {
    let claims = OperatorAssertion {
        sub: sub.to_owned(),
        jti: "j1".to_owned(),
        htm: "POST".to_owned(),
        htu: url(PATH),
        query: Some("dry_run=1".to_owned()),
        digest: ContentDigest::of(BODY),
    };
    let stamp = Stamp { issuer, audience: BASE, issued_at: NOW, expires_at: NOW + 60 };
    mint(signer, &stamp, &claims).unwrap()
}

#[test]
fn an_assertion_is_for_one_request_of_one_operator() {
    let operator = key(Algorithm::EdDsa);
    let keys = KeySet::of(operator.public());
    let (here, other) = (url(PATH), url("https://gw.example/v1/agents"));
    let request = OperatorRequest { method: "POST", url: &here, query: Some("dry_run=1"), body: BODY };
    let open = |token: &str, request: &OperatorRequest<'_>, now: u64| {
        OperatorAssertion::open(token, "ana", &keys, BASE, request, now).map(drop)
    };
    let token = assertion(&operator, "ana", "ana");
    assert_eq!(open(&token, &request, NOW), Ok(()));
    for (request, error) in [
        (OperatorRequest { method: "DELETE", ..request }, Refused::Method),
        (OperatorRequest { url: &other, ..request }, Refused::Url),
        (OperatorRequest { query: None, ..request }, Refused::Url),
        (OperatorRequest { query: Some("dry_run=0"), ..request }, Refused::Url),
        (OperatorRequest { body: b"{}", ..request }, Refused::Digest),
        (OperatorRequest { body: b"", ..request }, Refused::Digest),
    ] {
        assert_eq!(open(&token, &request, NOW), Err(error), "{request:?}");
    }
    assert_eq!(open(&token, &request, NOW + 65), Err(Refused::Expired));
    assert_eq!(open(&assertion(&operator, "ana", "bea"), &request, NOW), Err(Refused::Claim("sub")));
    assert_eq!(open(&assertion(&operator, "bea", "ana"), &request, NOW), Err(Refused::Issuer));
    assert_eq!(
        open(&assertion(&key(Algorithm::EdDsa), "ana", "ana"), &request, NOW),
        Err(Refused::UnknownKey)
    );
}

#[test]
fn its_use_is_remembered_as_long_as_it_would_be_accepted() {
    let operator = key(Algorithm::EdDsa);
    let keys = KeySet::of(operator.public());
    let here = url(PATH);
    let request = OperatorRequest { method: "POST", url: &here, query: Some("dry_run=1"), body: BODY };
    let token = assertion(&operator, "ana", "ana");
    let open = |now: u64| OperatorAssertion::open(&token, "ana", &keys, BASE, &request, now);
    let end = OperatorAssertion::forget_at(&open(NOW).unwrap());
    assert!(open(end - 1).is_ok());
    assert_eq!(open(end).unwrap_err(), Refused::Expired);
    assert_eq!(
        OperatorAssertion::replay_key(&open(NOW).unwrap()),
        OperatorAssertion::replay_key(&open(NOW + 1).unwrap())
    );
}
