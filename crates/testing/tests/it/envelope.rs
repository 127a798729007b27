//! ENV: who calls, with whose token, by which proof.

use std::time::Duration;

use aws_lc_rs::{
    hmac,
    signature::{Ed25519KeyPair, KeyPair as _},
};
use placet_jose::{
    Algorithm, KeySet, SigningKey,
    guard::{Guard, Request, verify_call},
    htu::Htu,
    replay::MemoryWindow,
};
use placet_testing::{Agent, Recorder, Speaks, Stage, Want, Watch, definitions, exchange, json, now};

use crate::support::{base64url, decoded, server_key, workflow_token};

const NOTE: &str = r#"{"text":"hello"}"#;

/// The agent with another token, and genuine proofs for it.
fn with(agent: &Agent, stage: &Stage, token: String) -> Agent {
    let mut other = stage.idle("agent-7");
    other.key = SigningKey::from_pkcs8_pem(&agent.key.to_pkcs8_pem().unwrap()).unwrap();
    other.token = token;
    other
}

async fn refused(stage: &Stage, agent: &Agent, what: &str) {
    let watch = Watch::on(stage).await;
    let answer = agent.call("desk__note", NOTE).await;
    assert_eq!((answer.status, answer.text().as_str()), (401, ""), "{what}");
    assert!(
        answer.head.contains("www-authenticate: DPoP") && answer.head.contains(r#"error="invalid_token""#),
        "{what}: {}",
        answer.head
    );
    watch.assert(stage, what, Want { refused: &[("token", 1)], ..Want::default() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn env_1_the_key_fixes_the_algorithm() {
    let stage = Stage::start().await;
    let agent = stage.seven().await;
    let (header, rest) = agent.token.split_once('.').unwrap();
    let (payload, signature) = rest.split_once('.').unwrap();
    let header = String::from_utf8(decoded(header)).unwrap();
    assert!(header.contains(r#""alg":"EdDSA""#) || header.contains(r#""alg":"Ed25519""#), "{header}");
    let alg = |alg: &str| {
        let genuine = json(header.as_bytes());
        let genuine = genuine.get("alg").unwrap().to_string();
        base64url(header.replace(&genuine, &format!("\"{alg}\"")).as_bytes())
    };
    for none in ["none", "nOnE", "NONE", ""] {
        for signature in ["", signature] {
            let token = format!("{}.{payload}.{signature}", alg(none));
            refused(&stage, &with(&agent, &stage, token), &format!("alg {none}")).await;
        }
    }
    let jwks = exchange(
        stage.address,
        format!("GET /oauth/jwks HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", stage.address)
            .as_bytes(),
    )
    .await;
    let x = json(&jwks.body).pointer("/keys/0/x").unwrap().as_str().unwrap().to_owned();
    let secrets = [decoded(&x), x.clone().into_bytes(), jwks.body.clone()];
    for secret in &secrets {
        for name in ["HS256", "HS512"] {
            let input = format!("{}.{payload}", alg(name));
            let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), input.as_bytes());
            let token = format!("{input}.{}", base64url(tag.as_ref()));
            refused(&stage, &with(&agent, &stage, token), name).await;
        }
    }
    assert_eq!(agent.call("desk__note", NOTE).await.code(), "", "the genuine token is good");
}

#[tokio::test(flavor = "multi_thread")]
async fn env_2_a_header_names_no_key_of_its_own() {
    let stage = Stage::start().await;
    let agent = stage.seven().await;
    let payload = agent.token.split('.').nth(1).unwrap();
    let bait = Recorder::start(Speaks::Modern, definitions("desk")).await;
    let attacker = Ed25519KeyPair::generate().unwrap();
    let x = base64url(attacker.public_key().as_ref());
    let jwk = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
    let url = bait.url();
    for more in [
        r#","kid":"../../../../dev/null""#.to_owned(),
        r#","kid":"x' UNION SELECT 'key"#.to_owned() + "\"",
        format!(r#","jku":"{url}""#),
        format!(r#","x5u":"{url}""#),
        format!(r#","jwk":{jwk}"#),
        format!(r#","jku":"{url}","jwk":{jwk},"kid":"a""#),
        r#","crit":["b64"],"b64":false"#.to_owned(),
    ] {
        for alg in ["EdDSA", "Ed25519"] {
            let header = format!(r#"{{"alg":"{alg}","typ":"at+jwt"{more}}}"#);
            let input = format!("{}.{payload}", base64url(header.as_bytes()));
            let token = format!("{input}.{}", base64url(attacker.sign(input.as_bytes()).as_ref()));
            refused(&stage, &with(&agent, &stage, token), &header).await;
        }
    }
    assert!(bait.seen().is_empty(), "a key was fetched: {:?}", bait.seen());
}

#[tokio::test(flavor = "multi_thread")]
async fn env_3_a_token_is_good_at_one_place() {
    let stage = Stage::start().await;
    let agent = stage.seven().await;
    let key = server_key(&stage);
    let genuine = format!("{}/mcp", stage.gateway);
    let minted = |audience: &str, issuer: &str| {
        workflow_token(&key, &agent, issuer, audience, "maya", ("acme", "wf-9", "dg-1"))
    };
    let copy = with(&agent, &stage, minted(&genuine, &stage.gateway));
    assert_eq!(copy.call("desk__note", NOTE).await.code(), "", "a token like this is good at its own place");
    for audience in [
        "https://other.example/mcp",
        &stage.gateway,
        &format!("{genuine}/"),
        &format!("{genuine}/desk"),
        &stage.desk.url(),
        "",
    ] {
        refused(&stage, &with(&agent, &stage, minted(audience, &stage.gateway)), audience).await;
    }
    refused(&stage, &with(&agent, &stage, minted(&genuine, "https://other.example")), "another issuer").await;

    // And ours never works at a tool.
    let tool = Htu::parse(&stage.crm.url()).unwrap();
    let guard = Guard {
        issuer: stage.gateway.clone(),
        keys: KeySet::of(key.public()),
        audience: stage.crm.url(),
        url: tool,
        reach: placet_jose::guard::Reach::Endpoint,
        not_before: 0,
    };
    let authorization = format!("DPoP {}", agent.token);
    let proof = agent.proof("POST", &stage.crm.url());
    let headers: [(&str, &[u8]); 2] =
        [("authorization", authorization.as_bytes()), ("dpop", proof.as_bytes())];
    let request = Request { method: "POST", target: "/mcp", headers: &headers, body: b"{}" };
    assert!(verify_call(&request, &guard, &mut MemoryWindow::new(10), now()).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn env_4_a_proof_counts_once_also_over_a_restart() {
    let mut stage = Stage::start().await;
    let agent = stage.seven().await;
    // Early in a second, so that the restart is over before the next one.
    let rest = 1000 - placet_testing::millis() % 1000;
    tokio::time::sleep(Duration::from_millis(rest + 5)).await;
    let request = agent.modern("desk__note", NOTE);
    let made = now();
    let watch = Watch::on(&stage).await;
    assert_eq!(request.send(stage.address).await.code(), "");
    let again = request.send(stage.address).await;
    assert_eq!(again.status, 401, "{}", again.text());
    let want = Want {
        ledger: &["permit", "done", "act present_token"],
        refused: &[("proof_replayed", 1)],
        calls: 1,
    };
    watch.assert(&stage, "twice", want).await;

    stage.restart(|_| {}).await;
    assert_eq!(now(), made, "the restart took longer than its second: the case isn't what it says");
    let watch = Watch::on(&stage).await;
    let third = request.send(stage.address).await;
    assert_eq!(third.status, 401, "after a restart: {}", third.text());
    stage.settle().await;
    let found = watch.assert_refused(&stage).await;
    assert!(["proof_replayed", "proof_before_start"].contains(&found.as_str()), "{found}");
    assert_eq!(stage.desk.calls().len(), 1, "it was carried out once");

    // An agent that goes on is served within a second or two.
    let mut served = false;
    for _ in 0..30 {
        served |= agent.call("desk__note", NOTE).await.status == 200;
        tokio::time::sleep(Duration::from_millis(100)).await;
        if served {
            break;
        }
    }
    assert!(served, "nobody is served after the restart");
}

#[tokio::test(flavor = "multi_thread")]
async fn env_5_a_bound_token_is_no_bearer_token() {
    let stage = Stage::start().await;
    let agent = stage.seven().await;
    let bearer = format!("Bearer {}", agent.token);
    for request in [
        agent.modern("desk__note", NOTE).set("authorization", &bearer),
        agent.modern("desk__note", NOTE).set("authorization", &bearer).without("dpop"),
        agent.modern("desk__note", NOTE).add("authorization", &bearer),
        agent.modern("desk__note", NOTE).set("authorization", &agent.token),
    ] {
        let watch = Watch::on(&stage).await;
        assert_eq!(request.send(stage.address).await.status, 401);
        watch.assert(&stage, "bearer", Want { refused: &[("token", 1)], ..Want::default() }).await;
    }
    let theft = Want { ledger: &["act present_token"], refused: &[("proof", 1)], ..Want::default() };
    let stranger = SigningKey::generate(Algorithm::EdDsa).unwrap();
    let url = format!("{}/mcp", stage.gateway);
    for request in [
        agent.modern("desk__note", NOTE).without("dpop"),
        agent.modern("desk__note", NOTE).set("dpop", ""),
        agent.modern("desk__note", NOTE).set("dpop", &agent.proof_of(&stranger, "POST", &url, now())),
        agent.modern("desk__note", NOTE).add("dpop", &agent.proof("POST", &url)),
        agent.modern("desk__note", NOTE).set("dpop", &agent.proof_of(&agent.key, "POST", &url, now() - 120)),
        agent.modern("desk__note", NOTE).set("dpop", &agent.proof_of(&agent.key, "POST", &url, now() + 120)),
    ] {
        let watch = Watch::on(&stage).await;
        assert_eq!(request.send(stage.address).await.status, 401);
        watch.assert(&stage, "without the key", theft).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn env_6_a_proof_is_for_one_method_and_url() {
    let stage = Stage::start().await;
    let agent = stage.seven().await;
    let host = stage.gateway.trim_start_matches("http://").to_owned();
    let port = host.rsplit(':').next().unwrap().to_owned();
    let theft = Want { ledger: &["act present_token"], refused: &[("proof", 1)], ..Want::default() };
    for (method, url) in [
        ("GET", format!("http://{host}/mcp")),
        ("post", format!("http://{host}/mcp")),
        ("POST", format!("http://{host}/mcp/")),
        ("POST", format!("http://{host}/MCP")),
        ("POST", format!("http://{host}/mcp/desk")),
        ("POST", format!("http://{host}//mcp")),
        ("POST", format!("https://{host}/mcp")),
        ("POST", format!("http://localhost:{port}/mcp")),
        ("POST", "http://127.0.0.1:443/mcp".to_owned()),
        ("POST", "http://gateway.example/mcp".to_owned()),
    ] {
        let watch = Watch::on(&stage).await;
        let request = agent
            .modern("desk__note", NOTE)
            .set("dpop", &agent.proof(method, &url))
            .add("x-forwarded-host", "gateway.example");
        assert_eq!(request.send(stage.address).await.status, 401, "{method} {url}");
        watch.assert(&stage, &url, theft).await;
    }
    // Equal after the normalisation of RFC 3986.
    for url in
        [format!("HTTP://{host}/mcp"), format!("http://{host}/a/../mcp"), format!("http://{host}/%6dcp")]
    {
        let request = agent.modern("desk__note", NOTE).set("dpop", &agent.proof("POST", &url));
        let answer = request.send(stage.address).await;
        assert_eq!((answer.status, answer.code().as_str()), (200, ""), "{url}: {}", answer.text());
    }
    // The request's own target: a path that is spelled otherwise is another path, and a query isn't signed by anybody.
    for target in ["/mcp/", "/a/../mcp", "//mcp", "/MCP"] {
        let calls = stage.desk.calls().len();
        let status = agent.modern("desk__note", NOTE).target(target).send(stage.address).await.status;
        assert!([401, 404].contains(&status), "{target}: {status}");
        assert_eq!(stage.desk.calls().len(), calls, "{target}");
    }
}
