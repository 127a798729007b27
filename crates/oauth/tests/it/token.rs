use placet_jose::replay::{MemoryWindow, ReplayWindow};
use placet_jose::tokens::WorkflowToken;
use placet_jose::{Algorithm, Expect, KeySet, Refused, SigningKey, Verified};
use placet_json::Value;
use placet_oauth::OAuthError;
use placet_oauth::error::{Code, Why};
use placet_oauth::nonce::NonceKey;
use placet_oauth::registry::GrantError;
use placet_oauth::token::{Nonces, TokenResponse};

use crate::support::{ISSUER, NOW, RESOURCE, Scene, assertion, encode, scene};

type Parameters = Vec<(&'static str, String)>;

fn send(
    scene: &Scene,
    parameters: &[(&'static str, String)],
    proof: &str,
    window: &mut dyn ReplayWindow,
) -> Result<TokenResponse, OAuthError> {
    let headers = [("dpop", proof.as_bytes())];
    let claimant = scene.endpoint.authenticate(&encode(parameters), &headers, scene, NOW)?;
    let client = claimant.admit(window, NOW)?;
    assert_eq!(client.client_id(), "agent-7");
    scene.endpoint.issue(&client, scene, "wt_1", NOW)
}

fn fresh(scene: &Scene, parameters: &[(&'static str, String)]) -> Result<TokenResponse, OAuthError> {
    send(scene, parameters, &scene.proof("p", None), &mut MemoryWindow::new(10))
}

fn set(parameters: &mut Parameters, name: &'static str, value: &str) {
    parameters.retain(|(other, _)| *other != name);
    parameters.push((name, value.to_owned()));
}

#[test]
fn an_agent_gets_a_token_bound_to_its_key() {
    let scene = scene();
    let response = fresh(&scene, &scene.parameters("a")).unwrap();
    let document = response.document();
    let text = |name| document.get(name).and_then(Value::as_str);
    assert_eq!(text("token_type"), Some("DPoP"));
    assert_eq!(document.get("expires_in").and_then(Value::as_u64), Some(300));
    assert_eq!(document.pointer("/authorization_details/0/workflow").and_then(Value::as_str), Some("wf-9"));
    assert!(response.headers().contains(&("Cache-Control", "no-store".to_owned())));

    let keys = KeySet::of(scene.endpoint.key.public());
    let expect = Expect { issuer: ISSUER, audience: RESOURCE, keys: &keys };
    let token: Verified<WorkflowToken> = Verified::open(text("access_token").unwrap(), &expect, NOW).unwrap();
    assert_eq!(token.claims().key, scene.agent.public().thumbprint());
    assert_eq!((token.claims().sub.as_str(), token.claims().client_id.as_str()), ("maya", "agent-7"));
    assert_eq!(token.claims(), response.claims());
}

#[test]
fn no_token_outlives_its_grant() {
    let scene = scene();
    scene.ends_at.set(NOW + 42);
    let response = fresh(&scene, &scene.parameters("a")).unwrap();
    assert_eq!(response.document().get("expires_in").and_then(Value::as_u64), Some(42));
    scene.ends_at.set(NOW);
    let error = fresh(&scene, &scene.parameters("b")).unwrap_err();
    assert_eq!((error.code(), error.why()), (Code::InvalidGrant, &Why::Ended));
}

#[test]
fn assertion_and_proof_count_once() {
    let scene = scene();
    let mut window = MemoryWindow::new(10);
    let (first, second) = (scene.parameters("a"), scene.parameters("b"));
    let (p1, p2) = (scene.proof("p1", None), scene.proof("p2", None));
    assert!(send(&scene, &first, &p1, &mut window).is_ok());
    let error = send(&scene, &first, &p2, &mut window).unwrap_err();
    assert_eq!((error.code(), error.status()), (Code::InvalidClient, 401));
    let error = send(&scene, &second, &p1, &mut window).unwrap_err();
    assert_eq!((error.code(), error.status()), (Code::InvalidDpopProof, 400));
    assert!(
        send(&scene, &scene.parameters("c"), &p2, &mut window).is_ok(),
        "the refused request spent no proof"
    );
    let error = send(&scene, &scene.parameters("d"), &scene.proof("p3", None), &mut MemoryWindow::new(1))
        .unwrap_err();
    assert_eq!(error.status(), 503, "a full window refuses");
}

#[test]
fn a_request_that_fails_spends_nothing() {
    let scene = scene();
    let mut parameters = scene.parameters("a");
    set(&mut parameters, "resource", "https://other.example/mcp");
    let mut window = MemoryWindow::new(10);
    let proof = scene.proof("p", None);
    assert!(send(&scene, &parameters, &proof, &mut window).is_err());
    assert!(window.is_empty());
}

#[test]
fn who_is_not_the_client_learns_nothing() {
    let scene = scene();
    let stranger = SigningKey::generate(Algorithm::Es256).unwrap();
    let mut documents = Vec::new();
    let mut refuse = |change: &dyn Fn(&mut Parameters), why: Why| {
        let mut parameters = scene.parameters("a");
        change(&mut parameters);
        let error = fresh(&scene, &parameters).unwrap_err();
        assert_eq!(error.why(), &why);
        documents.push((error.status(), error.document().to_string(), error.headers()));
    };
    let token = |refused| Why::Token { part: "client_assertion", refused };
    let unknown = assertion("agent-8", &stranger, "x");
    refuse(&|p| set(p, "client_assertion", &unknown), Why::NoSuchClient);
    let wrong_key = assertion("agent-7", &stranger, "x");
    refuse(&|p| set(p, "client_assertion", &wrong_key), token(Refused::UnknownKey));
    let token_like = scene.proof("x", None);
    refuse(&|p| set(p, "client_assertion", &token_like), token(Refused::Issuer));
    refuse(&|p| set(p, "client_assertion", "garbage"), token(Refused::Malformed));
    refuse(&|p| set(p, "client_assertion", ""), token(Refused::Missing("client_assertion")));
    refuse(&|p| set(p, "client_assertion_type", "basic"), token(Refused::Missing("client_assertion_type")));
    refuse(&|p| set(p, "client_id", "agent-8"), token(Refused::Issuer));
    scene.suspended.set(true);
    refuse(&|_| (), Why::NoSuchClient);
    assert_eq!(documents[0].0, 401);
    assert_eq!(documents[0].1, r#"{"error":"invalid_client"}"#);
    documents.dedup();
    assert_eq!(documents.len(), 1, "all alike: {documents:?}");
}

#[test]
fn errors_are_those_of_the_specifications() {
    let scene = scene();
    for (name, value, code) in [
        ("grant_type", "password", Code::UnsupportedGrantType),
        ("grant_type", "", Code::InvalidRequest),
        ("resource", "", Code::InvalidTarget),
        ("resource", "https://gw.example/mcp/", Code::InvalidTarget),
        ("resource", "https://GW.example/mcp", Code::InvalidTarget),
        ("client_secret", "x", Code::InvalidRequest),
        ("authorization_details", "{}", Code::InvalidAuthorizationDetails),
        ("authorization_details", "[]", Code::InvalidAuthorizationDetails),
        ("authorization_details", "nonsense", Code::InvalidAuthorizationDetails),
        ("authorization_details", r#"[{"workflow":"wf-9"}]"#, Code::InvalidAuthorizationDetails),
        ("authorization_details", r#"[{"type":"payment"}]"#, Code::InvalidAuthorizationDetails),
        (
            "authorization_details",
            r#"[{"type":"placet_workflow","actions":["*"]}]"#,
            Code::InvalidAuthorizationDetails,
        ),
        (
            "authorization_details",
            r#"[{"type":"placet_workflow","tenant":""}]"#,
            Code::InvalidAuthorizationDetails,
        ),
        (
            "authorization_details",
            r#"[{"type":"placet_workflow"},{"type":"placet_workflow"}]"#,
            Code::InvalidAuthorizationDetails,
        ),
        (
            "authorization_details",
            r#"[{"type":"placet_workflow","workflow":"wf-1","workflow":"wf-9"}]"#,
            Code::InvalidAuthorizationDetails,
        ),
    ] {
        let mut parameters = scene.parameters("a");
        set(&mut parameters, name, value);
        let error = fresh(&scene, &parameters).unwrap_err();
        assert_eq!((error.code(), error.status()), (code, 400), "{name}={value}");
        assert_eq!(error.document().get("error").and_then(Value::as_str), Some(code.name()));
    }
    let mut twice = scene.parameters("a");
    twice.push(("resource", RESOURCE.to_owned()));
    assert_eq!(fresh(&scene, &twice).unwrap_err().code(), Code::InvalidRequest);
    let mut more = scene.parameters("a");
    more.push(("unheard_of", "x".to_owned()));
    assert!(fresh(&scene, &more).is_ok(), "unknown parameters are ignored (RFC 6749 §3.2)");
}

#[test]
fn what_is_not_granted_looks_alike() {
    let scene = scene();
    let asked = |details: &str| {
        let mut parameters = scene.parameters("a");
        set(&mut parameters, "authorization_details", details);
        fresh(&scene, &parameters)
    };
    assert!(
        asked(r#"[{"type":"placet_workflow","workflow":"wf-9","delegation":"dl_42","tenant":"acme"}]"#)
            .is_ok()
    );
    let other_tenant =
        asked(r#"[{"type":"placet_workflow","workflow":"wf-9","tenant":"globex"}]"#).unwrap_err();
    let never_was = asked(r#"[{"type":"placet_workflow","workflow":"wf-0"}]"#).unwrap_err();
    scene.ends_at.set(NOW - 1);
    let ended = asked(r#"[{"type":"placet_workflow","workflow":"wf-9"}]"#).unwrap_err();
    for error in [&other_tenant, &never_was, &ended] {
        assert_eq!(error.document().to_string(), r#"{"error":"invalid_grant"}"#);
        assert_eq!((error.status(), error.headers()), (400, never_was.headers()));
    }
    scene.error.set(Some(GrantError::Several));
    assert_eq!(fresh(&scene, &scene.parameters("b")).unwrap_err().code(), Code::InvalidAuthorizationDetails);
    scene.error.set(Some(GrantError::Unavailable));
    assert_eq!(fresh(&scene, &scene.parameters("c")).unwrap_err().status(), 503);
}

#[test]
fn the_proof_is_required_and_for_this_endpoint() {
    let scene = scene();
    let body = encode(&scene.parameters("a"));
    let wrong = |headers: &[(&str, &[u8])]| {
        scene.endpoint.authenticate(&body, headers, &scene, NOW).map(drop).unwrap_err()
    };
    assert_eq!(wrong(&[]).code(), Code::InvalidDpopProof);
    let other = crate::support::url(RESOURCE);
    let proof = placet_jose::dpop::prove(&scene.agent, "p", "POST", &other, NOW, None, None).unwrap();
    assert_eq!(wrong(&[("dpop", proof.as_bytes())]).code(), Code::InvalidDpopProof);
    let proof = scene.proof("p", None);
    let twice = [("dpop", proof.as_bytes()), ("DPoP", proof.as_bytes())];
    assert_eq!(wrong(&twice).code(), Code::InvalidDpopProof);
    let basic: [(&str, &[u8]); 2] = [("dpop", proof.as_bytes()), ("Authorization", b"Basic eDp5")];
    assert_eq!(wrong(&basic).code(), Code::InvalidRequest, "one way to authenticate");
}

#[test]
fn a_nonce_is_handed_out_and_then_demanded() {
    let mut scene = scene();
    let key = NonceKey::new(&[3; 32]);
    scene.endpoint.nonces = Nonces::Required(key.clone());
    let mut window = MemoryWindow::new(10);
    let error = send(&scene, &scene.parameters("a"), &scene.proof("p1", None), &mut window).unwrap_err();
    assert_eq!((error.code(), error.status()), (Code::UseDpopNonce, 400));
    let headers = error.headers();
    let (_, nonce) = headers.iter().find(|(name, _)| *name == "DPoP-Nonce").unwrap();
    assert_eq!(nonce, &key.current(NOW));
    let response =
        send(&scene, &scene.parameters("a"), &scene.proof("p2", Some(nonce)), &mut window).unwrap();
    assert!(response.headers().iter().any(|(name, _)| *name == "DPoP-Nonce"));
}
