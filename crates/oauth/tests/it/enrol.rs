use placet_jose::dpop::prove;
use placet_jose::{Algorithm, PublicKey, SigningKey};
use placet_json::{Object, Value};
use placet_oauth::OAuthError;
use placet_oauth::enrol::{CodeHash, Enrolment, PendingCode, enrol, new_code};
use placet_oauth::error::Code;

use crate::support::{NOW, url};

const URL: &str = "https://gw.example/oauth/enrol";

fn body(code: &str, jwk: Value) -> Vec<u8> {
    let mut body = Object::new();
    body.insert("code", code);
    body.insert("jwk", jwk);
    Value::Object(body).to_bytes()
}

fn send(body: &[u8], proof: &str, pending: &[(CodeHash, PendingCode)]) -> Result<Enrolment, OAuthError> {
    let find =
        |hash: &CodeHash| pending.iter().find(|(other, _)| other == hash).map(|(_, code)| code.clone());
    enrol(body, &[("dpop", proof.as_bytes())], &url(URL), find, NOW)
}

fn proof(key: &SigningKey, code: Option<&str>) -> String {
    prove(key, "p", "POST", &url(URL), NOW, code, None).unwrap()
}

#[test]
fn a_code_and_a_proven_key_make_an_agent() {
    let key = SigningKey::generate(Algorithm::Es256).unwrap();
    let (code, hash) = new_code().unwrap();
    let code = code.expose();
    let pending = [(hash, PendingCode { agent: "agent-7".to_owned(), expires_at: NOW + 1 })];
    let enrolment = send(&body(code, key.public().to_jwk()), &proof(&key, Some(code)), &pending).unwrap();
    assert_eq!((enrolment.agent.as_str(), &enrolment.key, enrolment.code), ("agent-7", key.public(), hash));
    assert_eq!(CodeHash::from_text(&hash.to_text()), Some(hash));
    assert!(!hash.to_text().contains(code));
}

#[test]
fn unknown_spent_and_expired_codes_and_wrong_proofs_look_alike() {
    let (key, other) =
        (SigningKey::generate(Algorithm::EdDsa).unwrap(), SigningKey::generate(Algorithm::EdDsa).unwrap());
    let (code, hash) = new_code().unwrap();
    let (code, jwk) = (code.expose(), key.public().to_jwk());
    let live = [(hash, PendingCode { agent: "agent-7".to_owned(), expires_at: NOW + 1 })];
    let expired = [(hash, PendingCode { agent: "agent-7".to_owned(), expires_at: NOW })];
    let good = proof(&key, Some(code));
    let errors = [
        send(&body(code, jwk.clone()), &good, &[]),
        send(&body(code, jwk.clone()), &good, &expired),
        send(&body("placet_enrol_guess", jwk.clone()), &proof(&key, Some("placet_enrol_guess")), &live),
        send(&body(code, jwk.clone()), &proof(&other, Some(code)), &live),
        // A proof overheard elsewhere, and one for another code.
        send(&body(code, jwk.clone()), &proof(&key, None), &live),
        send(&body(code, jwk.clone()), &proof(&key, Some("another")), &live),
        send(&body(code, other.public().to_jwk()), &good, &live),
        send(&body(code, jwk), "garbage", &live),
    ]
    .map(|result| result.map(drop).unwrap_err());
    for error in errors {
        assert_eq!(
            (error.status(), error.document().to_string().as_str()),
            (400, r#"{"error":"invalid_grant"}"#)
        );
    }
}

#[test]
fn a_private_key_or_a_malformed_body_is_refused() {
    let key = SigningKey::generate(Algorithm::EdDsa).unwrap();
    let (code, hash) = new_code().unwrap();
    let code = code.expose();
    let live = [(hash, PendingCode { agent: "agent-7".to_owned(), expires_at: NOW + 1 })];
    let mut leaked = key.public().to_jwk();
    leaked.as_object_mut().unwrap().insert("d", "AAAA");
    assert!(PublicKey::from_jwk(&leaked).is_err());
    for body in [body(code, leaked), body(code, Value::Null), b"{}".to_vec(), b"".to_vec(), vec![b' '; 5000]]
    {
        let error = send(&body, &proof(&key, Some(code)), &live).map(drop).unwrap_err();
        assert_eq!(error.code(), Code::InvalidRequest);
    }
}
