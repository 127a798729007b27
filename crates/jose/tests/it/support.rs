//! Hand-made tokens: what an attacker sends isn't what `mint` makes.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use placet_jose::digest::ContentDigest;
use placet_jose::htu::Htu;
use placet_jose::tokens::{
    Actor, ActorChain, CallDetail, CallToken, ResourceRef, SignedRequest, WorkflowDetail, WorkflowToken,
};
use placet_jose::{Algorithm, PublicKey, SigningKey, Stamp, mint};
use placet_json::Object;

pub(crate) const ISSUER: &str = "https://gw.example";
pub(crate) const AUDIENCE: &str = "https://gw.example/mcp";
pub(crate) const NOW: u64 = 1_790_000_000;

pub(crate) fn key(algorithm: Algorithm) -> SigningKey {
    SigningKey::generate(algorithm).unwrap()
}

pub(crate) fn url(text: &str) -> Htu {
    Htu::parse(text).unwrap()
}

pub(crate) fn encode(text: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

pub(crate) fn decode(part: &str) -> String {
    String::from_utf8(URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

/// The parts of a token: header and payload as JSON text, signature as bytes in base64url.
pub(crate) fn parts(token: &str) -> (String, String, String) {
    let parts: Vec<&str> = token.split('.').collect();
    (decode(parts[0]), decode(parts[1]), parts[2].to_owned())
}

/// Signs header and payload as they are, whatever they say. The key's own `mint` never would.
pub(crate) fn sign(key: &SigningKey, header: &str, payload: &str) -> String {
    let message = format!("{}.{}", encode(header), encode(payload));
    let pem = key.to_pkcs8_pem().unwrap();
    let encoding = match key.algorithm() {
        Algorithm::EdDsa => jsonwebtoken::EncodingKey::from_ed_pem(pem.as_bytes()).unwrap(),
        Algorithm::Es256 => jsonwebtoken::EncodingKey::from_ec_pem(pem.as_bytes()).unwrap(),
        Algorithm::Rs256 => panic!("never signs"),
    };
    let algorithm = match key.algorithm() {
        Algorithm::EdDsa => jsonwebtoken::Algorithm::EdDSA,
        Algorithm::Es256 => jsonwebtoken::Algorithm::ES256,
        Algorithm::Rs256 => jsonwebtoken::Algorithm::RS256,
    };
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &encoding, algorithm).unwrap();
    format!("{message}.{signature}")
}

/// Signs with HMAC, keyed with something an attacker knows: our public key.
pub(crate) fn sign_hmac(secret: &[u8], header: &str, payload: &str) -> String {
    let message = format!("{}.{}", encode(header), encode(payload));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes());
    format!("{message}.{}", encode(tag))
}

pub(crate) fn public_bytes(key: &PublicKey) -> Vec<u8> {
    key.to_jwk().to_bytes()
}

fn chain(profile: Option<&str>) -> ActorChain {
    let actor = |sub: &str| Actor { sub: sub.to_owned(), sub_profile: profile.map(str::to_owned) };
    ActorChain::new(vec![actor("agent-7"), actor("planner-1")]).unwrap()
}

fn case() -> ResourceRef {
    ResourceRef { kind: "support_case".to_owned(), id: "CASE-1837".to_owned() }
}

pub(crate) fn workflow_claims(agent: &PublicKey) -> WorkflowToken {
    let mut constraints = Object::new();
    constraints.insert("max_amount", "100.00");
    WorkflowToken {
        sub: "maya".to_owned(),
        client_id: "agent-7".to_owned(),
        jti: "wt_1".to_owned(),
        key: agent.thumbprint(),
        act: chain(Some("ai_agent")),
        detail: WorkflowDetail {
            tenant: "acme".to_owned(),
            delegation: "dl_42".to_owned(),
            authority_hash: "sha-256:abc".to_owned(),
            workflow: "wf-9".to_owned(),
            workflow_type: "support_case".to_owned(),
            intents: vec!["support_case_resolution".to_owned()],
            actions: vec!["read_case".to_owned(), "issue_refund".to_owned()],
            resource: Some(case()),
            constraints,
            max_depth: 1,
        },
    }
}

pub(crate) fn workflow_token(signer: &SigningKey, agent: &PublicKey) -> String {
    let stamp = Stamp { issuer: ISSUER, audience: AUDIENCE, issued_at: NOW, expires_at: NOW + 300 };
    mint(signer, &stamp, &workflow_claims(agent)).unwrap()
}

pub(crate) const TOOL: &str = "https://billing.example/mcp";

pub(crate) fn call_claims(gateway: &PublicKey, body: &[u8], jti: &str) -> CallToken {
    CallToken {
        sub: "maya".to_owned(),
        act: chain(None),
        jti: jti.to_owned(),
        txn: "dc_1".to_owned(),
        key: gateway.thumbprint(),
        req: SignedRequest {
            htm: "POST".to_owned(),
            htu: url(TOOL),
            query: None,
            digest: ContentDigest::of(body),
        },
        detail: CallDetail {
            tenant: "acme".to_owned(),
            action: "issue_refund".to_owned(),
            resource: Some(case()),
            amount: Some("80.00".to_owned()),
        },
    }
}
