use placet_jose::digest::ContentDigest;
use placet_jose::dpop::prove;
use placet_jose::guard::{Guard, Request, verify_call};
use placet_jose::replay::MemoryWindow;
use placet_jose::{Algorithm, KeySet, LEEWAY, Refused, SigningKey, Stamp, mint};

use crate::support::{AUDIENCE, ISSUER, NOW, TOOL, call_claims, key, url, workflow_token};

const BODY: &[u8] =
    br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"refund","arguments":{"amount":80}}}"#;

/// A gateway's call, each part of which a case can change.
struct Call {
    method: &'static str,
    target: &'static str,
    authorization: String,
    proof: String,
    digest: String,
    more: Vec<(&'static str, &'static [u8])>,
    body: Vec<u8>,
}

struct Scene {
    guard: Guard,
    issuer: SigningKey,
    sender: SigningKey,
    seen: MemoryWindow,
}

fn scene() -> Scene {
    let (issuer, sender) = (key(Algorithm::EdDsa), key(Algorithm::EdDsa));
    let guard = Guard {
        issuer: ISSUER.to_owned(),
        keys: KeySet::of(issuer.public()),
        audience: TOOL.to_owned(),
        url: url(TOOL),
        reach: placet_jose::guard::Reach::Endpoint,
        not_before: NOW - 100,
    };
    Scene { guard, issuer, sender, seen: MemoryWindow::new(100) }
}

impl Scene {
    fn token(&self, jti: &str, audience: &str, issued_at: u64) -> String {
        let stamp = Stamp { issuer: ISSUER, audience, issued_at, expires_at: issued_at + 30 };
        mint(&self.issuer, &stamp, &call_claims(self.sender.public(), BODY, jti)).unwrap()
    }

    fn with_token(&self, token: &str) -> Call {
        Call {
            method: "POST",
            target: "/mcp",
            authorization: format!("DPoP {token}"),
            proof: prove(&self.sender, "p", "POST", &url(TOOL), NOW, Some(token), None).unwrap(),
            digest: ContentDigest::of(BODY).to_string(),
            more: Vec::new(),
            body: BODY.to_vec(),
        }
    }

    fn call(&self, jti: &str) -> Call {
        self.with_token(&self.token(jti, TOOL, NOW))
    }

    fn send_at(&mut self, call: &Call, now: u64) -> Result<String, Refused> {
        let mut headers = vec![
            ("Authorization", call.authorization.as_bytes()),
            ("DPoP", call.proof.as_bytes()),
            ("Content-Digest", call.digest.as_bytes()),
        ];
        headers.extend(call.more.iter().copied());
        let request =
            Request { method: call.method, target: call.target, headers: &headers, body: &call.body };
        verify_call(&request, &self.guard, &mut self.seen, now).map(|token| token.claims().txn.clone())
    }

    fn send(&mut self, call: &Call) -> Result<String, Refused> {
        self.send_at(call, NOW)
    }
}

#[test]
fn cre_1_a_call_token_counts_once() {
    let mut scene = scene();
    let call = scene.call("w1");
    assert_eq!(scene.send(&call), Ok("dc_1".to_owned()));
    for now in [NOW, NOW + 10, NOW + 34] {
        assert_eq!(scene.send_at(&call, now), Err(Refused::Replayed), "{now}");
    }
    assert_eq!(
        scene.send_at(&call, NOW + 35),
        Err(Refused::Expired),
        "forgotten only once it is refused anyway"
    );
    // The same warrant with another proof, or minted once more, is the same call.
    let again = scene.call("w1");
    assert_eq!(scene.send(&again), Err(Refused::Replayed));
    let next = scene.call("w2");
    assert_eq!(scene.send(&next), Ok("dc_1".to_owned()));
}

#[test]
fn cre_1_a_restart_revives_nothing() {
    let mut scene = scene();
    let call = scene.call("w1");
    assert!(scene.send(&call).is_ok());
    scene.seen = MemoryWindow::new(100);
    scene.guard.not_before = NOW + 1 + LEEWAY;
    assert_eq!(scene.send_at(&call, NOW + 1), Err(Refused::BeforeStart));
}

#[test]
fn cre_1_another_host_has_neither_key_nor_audience() {
    let mut scene = scene();
    let token = scene.token("w1", TOOL, NOW);
    let thief = key(Algorithm::EdDsa);
    let mut call = scene.with_token(&token);
    call.proof = prove(&thief, "p", "POST", &url(TOOL), NOW, Some(&token), None).unwrap();
    assert_eq!(scene.send(&call), Err(Refused::Binding));
    call.authorization = format!("Bearer {token}");
    assert_eq!(scene.send(&call), Err(Refused::Scheme));
    // Sent on by this tool to another one.
    let call = scene.with_token(&token);
    let here = std::mem::replace(&mut scene.guard.audience, "https://crm.example/mcp".to_owned());
    scene.guard.url = url("https://crm.example/mcp");
    assert_eq!(scene.send(&call), Err(Refused::Audience));
    scene.guard.audience = here;
    assert_eq!(scene.send(&call), Err(Refused::Url));
    // None of that used the token up.
    scene.guard.url = url(TOOL);
    assert!(scene.send(&call).is_ok());
}

#[test]
fn cre_2_other_bytes_path_or_method() {
    let mut scene = scene();
    let mut cases: Vec<(Call, Refused)> = Vec::new();
    let mut case = |error, change: &dyn Fn(&mut Call)| {
        let mut call = scene.call("w1");
        change(&mut call);
        cases.push((call, error));
    };
    let other = String::from_utf8(BODY.to_vec()).unwrap().replace("80", "8000").into_bytes();
    case(Refused::Digest, &|call| call.body.clone_from(&other));
    case(Refused::Digest, &|call| {
        call.body.clone_from(&other);
        call.digest = ContentDigest::of(&other).to_string();
    });
    case(Refused::Digest, &|call| call.digest = ContentDigest::of(&other).to_string());
    case(Refused::Digest, &|call| call.body.push(b'\n'));
    case(Refused::Digest, &|call| call.body.clear());
    case(Refused::Digest, &|call| call.digest = "sha-256=:AAAA:".to_owned());
    case(Refused::Digest, &|call| call.more.push(("Content-Encoding", b"gzip")));
    case(Refused::Header("content-digest"), &|call| call.more.push(("content-digest", b"sha-256=:AAAA:")));
    case(Refused::Header("content-encoding"), &|call| {
        call.more.extend([("Content-Encoding", b"identity".as_slice()), ("content-encoding", b"gzip")]);
    });
    for target in
        ["/mcp/", "/other", "/mcp?tool=export", "/mcp?", "/../mcp/x", "https://billing.example/mcp", "*", ""]
    {
        case(Refused::Url, &move |call| call.target = target);
    }
    case(Refused::Method, &|call| call.method = "PUT");
    for (call, error) in &cases {
        assert_eq!(scene.send(call), Err(*error), "{} {} {}", call.method, call.target, call.digest);
    }
    let mut same = scene.call("w1");
    same.more.push(("Content-Encoding", b"identity"));
    same.more.push(("X-Forwarded-Host", b"evil.example"));
    assert!(scene.send(&same).is_ok(), "the failures used nothing up");
}

#[test]
fn env_3_a_workflow_token_never_works_upstream() {
    let mut scene = scene();
    let token = workflow_token(&scene.issuer, scene.sender.public());
    let call = scene.with_token(&token);
    assert_eq!(scene.send(&call), Err(Refused::Type));
    // Not even a call token that somebody addressed to the gateway.
    let token = scene.token("w1", AUDIENCE, NOW);
    let call = scene.with_token(&token);
    assert_eq!(scene.send(&call), Err(Refused::Audience));
}

#[test]
fn another_issuer_is_unknown() {
    let mut scene = scene();
    let call = scene.call("w1");
    scene.guard.keys = KeySet::of(key(Algorithm::EdDsa).public());
    assert_eq!(scene.send(&call), Err(Refused::UnknownKey));
    scene.guard.keys = KeySet::of(scene.issuer.public());
    scene.guard.issuer = "https://gw.example/".to_owned();
    assert_eq!(scene.send(&call), Err(Refused::Issuer));
}

#[test]
fn a_call_token_lives_thirty_seconds() {
    let mut scene = scene();
    for (issued_at, error) in [(NOW + LEEWAY + 1, Refused::NotYet), (NOW - 35, Refused::Expired)] {
        let token = scene.token("w1", TOOL, issued_at);
        let call = scene.with_token(&token);
        assert_eq!(scene.send(&call), Err(error));
    }
    let stamp = Stamp { issuer: ISSUER, audience: TOOL, issued_at: NOW, expires_at: NOW + 31 };
    assert!(mint(&scene.issuer, &stamp, &call_claims(scene.sender.public(), BODY, "w")).is_err());
}

#[test]
fn a_full_window_refuses() {
    let mut scene = scene();
    scene.seen = MemoryWindow::new(1);
    let (one, two) = (scene.call("w1"), scene.call("w2"));
    assert!(scene.send(&one).is_ok());
    assert_eq!(scene.send(&two), Err(Refused::WindowFull));
}

#[test]
fn missing_parts_are_named() {
    let mut scene = scene();
    let call = scene.call("w1");
    let all = [
        ("authorization", call.authorization.as_bytes()),
        ("dpop", call.proof.as_bytes()),
        ("content-digest", call.digest.as_bytes()),
    ];
    for missing in 0..all.len() {
        let mut headers = all.to_vec();
        let (name, _) = headers.remove(missing);
        let request = Request { method: "POST", target: "/mcp", headers: &headers, body: BODY };
        let error = verify_call(&request, &scene.guard, &mut scene.seen, NOW).unwrap_err();
        assert_eq!(error, Refused::Missing(name));
    }
}
