//! CRE and UPS: what leaves for a tool, with what, and what comes back.

use std::time::Duration;

use placet_jose::{
    KeySet,
    guard::{Guard, Request, verify_call},
    htu::Htu,
    replay::MemoryWindow,
};
use placet_testing::{Recorder, Reply, Seen, Speaks, Stage, StageBuilder, Want, Watch, definitions, now};

use crate::support::server_key;

type Script = dyn Fn(&Seen) -> Reply + Send + Sync;

const NOTE: &str = r#"{"text":"hello"}"#;
const REFUND: &str = r#"{"case_id":"CASE-1837","amount":80}"#;

fn guard(stage: &Stage, audience: &str) -> Guard {
    Guard {
        issuer: stage.gateway.clone(),
        keys: KeySet::of(server_key_of_calls(stage).public()),
        audience: audience.to_owned(),
        url: Htu::parse(audience).unwrap(),
        reach: placet_jose::guard::Reach::Endpoint,
        not_before: 0,
    }
}

fn server_key_of_calls(stage: &Stage) -> placet_jose::SigningKey {
    server_key(stage)
}

/// What the tool received, shown to a guard once more.
fn show(seen: &Seen, guard: &Guard, window: &mut MemoryWindow, target: &str, body: &[u8]) -> bool {
    let headers: Vec<(&str, &[u8])> = seen
        .head
        .lines()
        .skip(1)
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name, value.trim().as_bytes()))
        .collect();
    let request = Request { method: "POST", target, headers: &headers, body };
    verify_call(&request, guard, window, now()).is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn cre_1_and_2_a_call_token_is_for_one_request() {
    let stage = Stage::start().await;
    let agent = stage.seven().await;
    let watch = Watch::on(&stage).await;
    assert_eq!(agent.call("crm__get_case", r#"{"case_id":"CASE-1837"}"#).await.code(), "");
    watch.assert(&stage, "a call", Want { ledger: &["permit", "done"], calls: 1, ..Want::default() }).await;
    let seen = stage.crm.calls().pop().unwrap();
    let ours = guard(&stage, &stage.crm.url());
    let window = || MemoryWindow::new(100);
    let text = String::from_utf8(seen.body.clone()).unwrap();
    // Each of these with an empty window, so that only the change refuses it.
    for (from, to) in [
        ("CASE-1837", "CASE-2001"),
        ("get_case", "search_customers"),
        ("\"arguments\"", "\"Arguments\""),
        ("{\"jsonrpc\"", " {\"jsonrpc\""),
    ] {
        assert!(text.contains(from), "{from}: {text}");
        assert!(!show(&seen, &ours, &mut window(), "/mcp", text.replace(from, to).as_bytes()), "{to}");
    }
    for target in ["/mcp?x=1", "/mcp/", "/other", "/mcp/../admin"] {
        assert!(!show(&seen, &ours, &mut window(), target, &seen.body), "{target}");
    }
    let other = guard(&stage, &stage.billing.url());
    assert!(!show(&seen, &other, &mut window(), "/mcp", &seen.body), "another tool");
    let mut bare = seen.clone();
    bare.head = bare.head.lines().filter(|line| !line.starts_with("dpop:")).collect::<Vec<_>>().join("\n");
    assert!(!show(&bare, &ours, &mut window(), "/mcp", &seen.body), "another host, without the sender's key");
    let mut used = window();
    assert!(show(&seen, &ours, &mut used, "/mcp", &seen.body), "as it came, it is good");
    assert!(!show(&seen, &ours, &mut used, "/mcp", &seen.body), "and once");
    assert!(!seen.head.contains(&agent.token), "the workflow token never leaves");
}

#[tokio::test(flavor = "multi_thread")]
async fn cre_3_an_echoed_secret_is_withheld() {
    let stage = Stage::start().await;
    let agent = stage.seven().await;
    let secret = stage.secret();
    let hex = hex::encode(secret);
    let result = |text: &str| {
        Reply::Result(format!(r#"{{"resultType":"complete","content":[{{"type":"text","text":"{text}"}}]}}"#))
    };
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-debug: Bearer {secret}\r\n");
    let plain = r#"{"jsonrpc":"2.0","id":ID,"result":{"resultType":"complete","content":[]}}"#;
    let event = format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/message","params":{{"level":"error","data":"{secret}"}}}}"#
    );
    let escaped = secret.bytes().map(|byte| format!("\\u00{byte:02x}")).collect::<Vec<_>>().concat();
    let cases: Vec<(&str, Box<Script>)> = vec![
        ("result", Box::new(move |_| result(&format!("Authorization: Bearer {secret}")))),
        (
            "escaped",
            Box::new({
                let escaped = escaped.clone();
                move |_| Reply::Result(format!(r#"{{"resultType":"complete","content":[],"x":"{escaped}"}}"#))
            }),
        ),
        (
            "hex",
            Box::new(move |_| {
                Reply::Result(format!(r#"{{"resultType":"complete","content":[],"x":"{hex}"}}"#))
            }),
        ),
        (
            "member name",
            Box::new(move |_| {
                Reply::Result(format!(r#"{{"resultType":"complete","content":[],"{secret}":1}}"#))
            }),
        ),
        (
            "error",
            Box::new(move |_| Reply::Error(format!(r#"{{"code":-32603,"message":"bad key {secret}"}}"#))),
        ),
        (
            "error data",
            Box::new(move |_| {
                Reply::Error(format!(r#"{{"code":-32603,"message":"bad","data":{{"env":["K={secret}"]}}}}"#))
            }),
        ),
        (
            "header",
            Box::new({
                let head = head.clone();
                move |seen| {
                    let body = plain.replace("ID", &seen.json.get("id").unwrap().to_string());
                    Reply::Raw(format!("{head}content-length: {}\r\n\r\n{body}", body.len()).into_bytes())
                }
            }),
        ),
        (
            "side message",
            Box::new(move |seen| {
                let body = plain.replace("ID", &seen.json.get("id").unwrap().to_string());
                let body = format!("data: {event}\n\ndata: {body}\n\n");
                Reply::Raw(format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes())
            }),
        ),
        (
            "garbage",
            Box::new(move |_| {
                let body = format!("<html>{secret}</html>");
                Reply::Raw(format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes())
            }),
        ),
    ];
    for (what, script) in cases {
        stage.billing.answer(script);
        let watch = Watch::on(&stage).await;
        let log = r#"{"io.modelcontextprotocol/logLevel":"debug","#;
        let request = agent.modern("billing__refund", REFUND);
        let body = String::from_utf8(request.body.clone())
            .unwrap()
            .replace("\"_meta\":{", &format!("\"_meta\":{log}"));
        let answer = request.body(body).send(stage.address).await;
        assert_eq!(answer.ending(), "filtered", "{what}: {}", answer.text());
        assert!(!answer.all().contains(secret), "{what}");
        let entries = watch
            .assert(&stage, what, Want { ledger: &["permit", "filtered"], calls: 1, ..Want::default() })
            .await;
        assert!(
            entries.iter().all(|entry| !entry.record.to_string().contains(secret)),
            "{what}: in the ledger"
        );
        assert_eq!(entries[1].text("/credential/kind"), "vault");
    }
    assert!(
        stage
            .billing
            .calls()
            .iter()
            .all(|seen| seen.header("authorization") == Some(&format!("Bearer {secret}")))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn ups_1_no_road_to_private_addresses() {
    let bait = Recorder::start(Speaks::Modern, definitions("desk")).await;
    let port = bait.address().port();
    let hosts = [
        "127.0.0.1",
        "localhost",
        "[::ffff:127.0.0.1]",
        "2130706433",
        "0x7f.1",
        "0177.0.0.1",
        "[::1]",
        "0.0.0.0",
    ];
    let mut settings = String::new();
    let mut names = Vec::new();
    for (at, host) in hosts.iter().enumerate() {
        let upstream = |scheme: &str| {
            format!("[[upstream]]\nname = \"bait-{at}\"\nurl = \"{scheme}://{host}:{port}/mcp\"\n")
        };
        // Over plain HTTP the server doesn't start at all, or its settings aren't taken; over TLS the address is checked
        // when it connects.
        assert!(StageBuilder::default().settings(&upstream("http")).fails().await, "{host}");
        if !StageBuilder::default().settings(&upstream("https")).fails().await {
            settings.push_str(&upstream("https"));
            names.push(format!("bait-{at}"));
        }
    }
    let stage = StageBuilder::default().settings(&settings).start().await;
    assert!(names.contains(&"bait-1".to_owned()), "a name is checked when it is resolved");
    for name in &names {
        let answer = stage
            .admin
            .request("GET", &format!("/v1/upstreams/{name}/tools"), "")
            .send(stage.admin.address())
            .await;
        assert!(answer.status >= 400, "{name}: {}", answer.text());
    }
    assert_eq!(bait.connections(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn ups_2_a_redirect_is_not_followed() {
    let stage = Stage::start().await;
    let agent = stage.seven().await;
    let bait = Recorder::start(Speaks::Modern, definitions("billing")).await;
    for status in [301, 302, 303, 307, 308] {
        let to = bait.url();
        stage.billing.answer(move |_| {
            Reply::Raw(
                format!("HTTP/1.1 {status} Elsewhere\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n")
                    .into_bytes(),
            )
        });
        let watch = Watch::on(&stage).await;
        let answer = agent.call("billing__refund", REFUND).await;
        assert_eq!(answer.ending(), "failed", "{}", answer.text());
        watch
            .assert(&stage, "a redirect", Want { ledger: &["permit", "failed"], calls: 1, ..Want::default() })
            .await;
    }
    assert!(bait.seen().is_empty(), "followed: {:?}", bait.seen());
}

#[tokio::test(flavor = "multi_thread")]
async fn ups_3_no_upstream_by_the_api() {
    let stage = Stage::start().await;
    let flag = stage.dir().join("ran");
    let command = format!(
        r#"{{"name":"evil","command":["touch","{}"],"args":[],"env":{{}},"why":"a test"}}"#,
        flag.display()
    );
    for path in [
        "/v1/upstreams",
        "/v1/upstreams/evil",
        "/v1/upstreams/desk",
        "/v1/upstreams/desk/tools",
        "/v1/settings",
        "/v1/config",
    ] {
        for method in ["POST", "PUT", "PATCH"] {
            let answer = stage.admin.request(method, path, &command).send(stage.admin.address()).await;
            assert!(
                [404, 405].contains(&answer.status),
                "{method} {path}: {} {}",
                answer.status,
                answer.text()
            );
        }
    }
    // Nor by facts or a fresh release.
    let answer = stage
        .admin
        .ask("/v1/facts", &format!(r#"{{"tenant":"acme","upstreams":[{command}],"why":"a test"}}"#))
        .await;
    assert!((400..500).contains(&answer.status), "{}", answer.text());
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!flag.exists());
    let names = stage.admin.get("/v1/upstreams").await.to_string();
    assert!(!names.contains("evil"), "{names}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ups_4_headers_are_built_fresh() {
    let stage = Stage::start().await;
    let agent = stage.seven().await;
    for tool in ["desk__note", "billing__refund"] {
        let arguments = if tool == "desk__note" { NOTE } else { REFUND };
        let request = agent
            .modern(tool, arguments)
            .add("connection", "X-Api-Key, authorization")
            .add("x-api-key", "canary-1")
            .add("x_forwarded_user", "canary-2")
            .add("x-forwarded-user", "canary-3")
            .add("x-forwarded-uri", "/canary-4")
            .add("x-forwarded-host", "canary-5.example")
            .add("proxy-authorization", "Basic canary-6")
            .add("cookie", "canary=7")
            .add("x-upstream-authorization", "Bearer canary-8")
            .add("forwarded", "for=canary-9")
            .add("mcp-param-region", "canary-10")
            .add("te", "trailers");
        let watch = Watch::on(&stage).await;
        let answer = request.send(stage.address).await;
        assert_eq!((answer.status, answer.code().as_str()), (200, ""), "{}", answer.text());
        watch.assert(&stage, tool, Want { ledger: &["permit", "done"], calls: 1, ..Want::default() }).await;
    }
    for seen in stage.desk.calls().iter().chain(&stage.billing.calls()) {
        let head = seen.head.to_ascii_lowercase();
        assert!(
            !head.contains("canary") && !head.contains("x-forwarded") && !head.contains("forwarded:"),
            "{head}"
        );
        assert!(!head.contains(&agent.token.to_ascii_lowercase()), "the caller's token");
        let known = [
            "host",
            "idempotency-key",
            "user-agent",
            "content-type",
            "accept",
            "mcp-protocol-version",
            "mcp-method",
            "mcp-name",
            "authorization",
            "content-length",
        ];
        for line in head.lines().skip(1) {
            let name = line.split(':').next().unwrap();
            assert!(known.contains(&name), "{line}");
        }
    }
    assert!(stage.desk.calls().iter().all(|seen| seen.header("authorization").is_none()));
}
