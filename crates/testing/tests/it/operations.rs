//! POL, LED, REP and OPS: releases that permit too much, disks that lie, and floods.

use std::{
    io::Write,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use placet_audit::{Data, Scope, checkpoint_key, replay, verify};
use placet_server::settings::Settings;
use placet_testing::{Reply, Stage, StageBuilder, Want, Watch, exchange, raw};
use tokio::{io::AsyncWriteExt, net::TcpStream};

const NOTE: &str = r#"{"text":"hello"}"#;
const ALLOW: &str = "allow if {\n\tinput.action in {\"take_note\", \"search_customers\", \"purge_all\"}\n\tinput.intent == \"support_case_resolution\"\n}";

/// With the desk's rule changed like this, either no such release comes into force, or the desk's calls are denied.
async fn nothing_allowed(what: &str, rule: &str) {
    let changed = || StageBuilder::default().change("policies/desk.rego", ALLOW, rule);
    if changed().stands().await {
        let stage = changed().start().await;
        let agent = stage.seven().await;
        let watch = Watch::on(&stage).await;
        let began = Instant::now();
        let answer = agent.call("desk__note", NOTE).await;
        assert!(!answer.code().is_empty(), "{what}: {}", answer.text());
        assert!(began.elapsed() < Duration::from_secs(2), "{what}: {:?}", began.elapsed());
        watch
            .assert(&stage, what, Want { ledger: &[&format!("deny {}", answer.code())], ..Want::default() })
            .await;
        // Others are served.
        assert_eq!(agent.call("crm__get_case", r#"{"case_id":"CASE-1837"}"#).await.status, 200, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pol_1_a_release_that_says_nothing_permits_nothing() {
    for (what, rule) in [
        ("empty", ""),
        ("a text", "allow := \"yes\" if input.action == \"take_note\""),
        ("another name", "allowed if input.action == \"take_note\""),
        ("undefined", "allow if input.nothing.like.this"),
        ("a number", "allow := 1 if input.action == \"take_note\""),
    ] {
        nothing_allowed(what, rule).await;
    }
    // A typo would silence a package's denies while other packages allow: such a release is refused.
    let refused = StageBuilder::default()
        .change("release.toml", "\"hostile.desk\"", "\"hostile.dseks\"")
        .refused()
        .await;
    assert!(refused.contains("no module has the package `hostile.dseks`"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pol_2_a_deny_that_errs_denies() {
    for (what, deny) in [
        ("a fault", "deny contains \"x\" if to_number(input.tool.name) > 1"),
        (
            "a division by nothing",
            "deny contains \"x\" if 1 / (count(input.tool.name) - count(input.tool.name)) > 0",
        ),
        ("a conflict", "deny contains value if value := object.get(input, \"nothing\", 5)"),
    ] {
        nothing_allowed(what, &format!("{ALLOW}\n\n{deny}")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pol_3_a_policy_reaches_for_nothing() {
    for call in [
        "http.send({\"method\": \"get\", \"url\": \"http://127.0.0.1\"})",
        "opa.runtime()",
        "net.lookup_ip_addr(\"localhost\")",
        "rand.intn(\"x\", 5)",
        "uuid.rfc4122(\"x\")",
    ] {
        let rule = format!("{ALLOW}\n\nallow if {call} != 7");
        let refused = StageBuilder::default().change("policies/desk.rego", ALLOW, &rule).refused().await;
        assert!(refused.contains("policies/desk.rego:"), "{call}: {refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pol_4_an_evaluation_has_an_end() {
    let endless = "allow if count({x | some a in numbers.range(1, 40000); some b in numbers.range(1, 40000); x := a * b}) > 0";
    nothing_allowed("a comprehension", endless).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn led_3_what_was_altered_is_named_and_not_served() {
    let mut stage = Stage::start().await;
    let agent = stage.seven().await;
    for _ in 0..10 {
        assert_eq!(agent.call("desk__note", NOTE).await.code(), "");
    }
    stage.stop().await;
    let data = stage.data();
    let sound = |data: &std::path::Path| verify(data, "hostile", checkpoint_key(data).unwrap()).is_sound();
    assert!(sound(&data), "{}", verify(&data, "hostile", checkpoint_key(&data).unwrap()));
    let segment = walk(&data.join("journal")).into_iter().next().unwrap();
    let genuine = std::fs::read(&segment).unwrap();
    let used = genuine.iter().rposition(|byte| *byte != 0).unwrap();
    for at in [used / 4, used / 2, used * 3 / 4] {
        let mut bytes = genuine.clone();
        bytes[at] ^= 1;
        std::fs::write(&segment, &bytes).unwrap();
        let report = verify(&data, "hostile", checkpoint_key(&data).unwrap());
        assert!(!report.is_sound() && report.to_string().contains("record"), "flipped at {at}: {report}");
        assert!(stage.refuses_to_start().await, "started with a bit flipped at {at}");
    }
    let mut bytes = genuine.clone();
    bytes[used * 2 / 3..].fill(0);
    std::fs::write(&segment, &bytes).unwrap();
    assert!(!sound(&data), "the tail is gone");
    assert!(stage.refuses_to_start().await, "started below the last checkpoint");
    std::fs::write(&segment, &genuine).unwrap();
    stage.start_again().await;
    assert_eq!(agent.call("desk__note", r#"{"text":5}"#).await.status / 100, 2);
}

fn walk(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(walk(&path));
        } else if std::fs::metadata(&path).unwrap().len() > 4096 {
            files.push(path);
        }
    }
    files.sort();
    files
}

#[tokio::test(flavor = "multi_thread")]
async fn rep_1_altered_evidence_is_never_the_same() {
    let mut stage = Stage::start().await;
    let agent = stage.seven().await;
    assert_eq!(agent.call("desk__note", NOTE).await.code(), "");
    assert_eq!(
        agent.call("billing__refund", r#"{"case_id":"CASE-1837","amount":250}"#).await.code(),
        "manager_approval_missing"
    );
    stage.stop().await;
    let again = || {
        let data = Data::open(&stage.data()).unwrap();
        replay(&data, &Scope::default(), None, &mut |_, _| {}).unwrap()
    };
    let report = again();
    assert!(report.is_same() && report.same == 2, "{report:?}");
    let archive = std::fs::read_dir(stage.data().join("releases")).unwrap().next().unwrap().unwrap().path();
    let genuine = std::fs::read(&archive).unwrap();
    let at = genuine.windows(15).position(|window| window == b"input.amount <=").unwrap();
    for (from, to) in
        [(&b"input.amount <="[..], &b"input.amount >="[..]), (b"input.amount <=", b"input.amount  <")]
    {
        assert_eq!(from, &genuine[at..at + 15]);
        let mut bytes = genuine.clone();
        bytes[at..at + 15].copy_from_slice(to);
        std::fs::write(&archive, bytes).unwrap();
        let report = again();
        assert!(!report.is_same() && report.same == 0, "{report:?}");
    }
    std::fs::remove_file(&archive).unwrap();
    assert_eq!(again().same, 0);
    std::fs::write(&archive, &genuine).unwrap();
    assert!(again().is_same());
}

/// Everything that is logged, also what no operator would ask for.
#[derive(Clone, Default)]
struct Logged(Arc<Mutex<Vec<u8>>>);

impl Write for Logged {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ops_1_no_secret_in_logs_metrics_and_ledger() {
    let logged = Logged::default();
    let writer = {
        let logged = logged.clone();
        move || logged.clone()
    };
    // Another test of this process may have been first; then its own lines are looked through, which are fewer.
    drop(tracing::subscriber::set_global_default(
        tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(writer)
            .finish(),
    ));
    let stage = Stage::start().await;
    let agent = stage.seven().await;
    stage.billing.answer(|_| Reply::Error(r#"{"code":-1,"message":"canary-in-an-answer"}"#.to_owned()));
    let request = agent
        .modern("billing__refund", r#"{"case_id":"CASE-1837","amount":80}"#)
        .add("x-canary", "canary-in-a-header");
    request.send(stage.address).await;
    agent.call("billing__refund", r#"{"case_id":"canary-in-an-argument","amount":80}"#).await;
    let bad = agent
        .modern("desk__note", NOTE)
        .set("authorization", &format!("DPoP {}x", agent.token))
        .send(stage.address)
        .await;
    let worse = agent.modern("desk__note", NOTE).set("dpop", "canary-in-a-proof").send(stage.address).await;
    assert_eq!((bad.status, worse.status), (401, 401));
    stage.settle().await;
    let admin = stage.admin.address();
    let metrics = exchange(
        admin,
        format!("GET /metrics HTTP/1.1\r\nhost: {admin}\r\nconnection: close\r\n\r\n").as_bytes(),
    )
    .await
    .text();
    let logs = String::from_utf8_lossy(&logged.0.lock().unwrap()).into_owned();
    let ours: String = logs.lines().filter(|line| line.contains("placet")).collect();
    let ledger: String = stage.ledger().after(0).iter().map(|entry| entry.record.to_string()).collect();
    let operator = std::fs::read_to_string(stage.data().join("keys/operator.pem")).unwrap();
    for secret in [stage.secret(), &agent.token, operator.lines().nth(1).unwrap()] {
        for (what, text) in [("logs", &logs), ("metrics", &metrics), ("ledger", &ledger)] {
            assert!(!text.contains(secret), "{what}");
        }
        for file in walk(&stage.data().join("journal")) {
            let bytes = std::fs::read(file).unwrap();
            assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()), "journal");
        }
    }
    assert!(!ours.contains("canary") && !metrics.contains("canary"), "{ours}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ops_2_administration_is_not_on_the_agents_listener() {
    let stage = Stage::start().await;
    let agent = stage.seven().await;
    for path in [
        "/metrics",
        "/healthz",
        "/readyz",
        "/v1/status",
        "/v1/facts",
        "/v1/vault",
        "/debug",
        "/console",
        "/mcp/../v1/status",
        "/mcp/..%2fv1%2fstatus",
    ] {
        let request = agent
            .http("GET", "/mcp")
            .target(path)
            .add("x-forwarded-for", "127.0.0.1")
            .add("x-original-url", "/v1/status");
        let answer = request.send(stage.address).await;
        assert!([404, 401, 405].contains(&answer.status), "{path}: {}", answer.status);
        assert!(!answer.text().contains("release"), "{path}");
    }
    let admin = stage.admin.address();
    for authorization in [
        "Bearer secret-api-key",
        "Basic YWRtaW46YWRtaW4=",
        "Placet x",
        &format!("DPoP {}", agent.token),
        &format!("Placet {}", agent.token),
    ] {
        let request = agent
            .http("GET", "/mcp")
            .target("/v1/status")
            .set("host", &admin.to_string())
            .set("authorization", authorization);
        assert_eq!(request.send(admin).await.status, 401, "{authorization}");
    }
}

#[test]
fn ops_3_what_is_for_development_does_not_start_in_production() {
    let production = "[server]\nenvironment = \"production\"\npublic_url = \"https://gw.example\"\nadmin_url = \"https://admin.example\"\n";
    for (more, line) in [
        ("[dev]\nplain_http = true\n", "dev"),
        ("[server]\nenvironment = \"production\"\npublic_url = \"http://gw.example\"\n", "public_url"),
        ("[vault]\nmaster_key = { file = \"data/keys/master\" }\n", "master_key"),
    ] {
        let text = if more.starts_with("[server]") { more.to_owned() } else { format!("{production}{more}") };
        let problems = Settings::parse(std::path::Path::new("placet.toml"), &text, &|_| None)
            .expect_err(more)
            .to_string();
        assert!(problems.contains(line) && problems.contains("placet.toml:"), "{more}: {problems}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ops_4_slow_deep_large_and_compressed() {
    let stage = StageBuilder::default()
        .settings("[limits]\nheader_read_ms = 400\nbody_read_ms = 400\n")
        .start()
        .await;
    let agent = stage.seven().await;
    let deep = agent.modern("desk__note", &format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)));
    let wide = agent.modern(
        "desk__note",
        &format!("{{{}}}", (0..1001).map(|at| format!("\"a{at}\":1")).collect::<Vec<_>>().join(",")),
    );
    for request in [deep, wide] {
        let watch = Watch::on(&stage).await;
        assert_eq!(request.send(stage.address).await.status, 400);
        watch
            .assert(
                &stage,
                "deep or wide",
                Want { ledger: &["deny message_invalid"], refused: &[("message_invalid", 1)], calls: 0 },
            )
            .await;
    }
    let large = agent.modern("desk__note", &format!(r#"{{"text":"{}"}}"#, "a".repeat(1 << 20)));
    let watch = Watch::on(&stage).await;
    assert_eq!(large.send(stage.address).await.status, 413);
    watch.assert(&stage, "large", Want { refused: &[("body", 1)], ..Want::default() }).await;
    // A gigabyte that is only announced, by somebody with a token and by somebody without.
    let announced = |head: String| head.replace("content-length: 0", "content-length: 1073741824");
    let head = String::from_utf8(agent.modern("desk__note", NOTE).body("").bytes()).unwrap();
    let began = Instant::now();
    let watch = Watch::on(&stage).await;
    let answer = exchange(stage.address, announced(head).as_bytes()).await;
    assert!([408, 413].contains(&answer.status), "{}", answer.status);
    assert!(began.elapsed() < Duration::from_secs(5));
    watch.assert(&stage, "announced", Want { refused: &[("body", 1)], ..Want::default() }).await;
    // Compressed is not JSON, whatever it says.
    let watch = Watch::on(&stage).await;
    let packed = agent
        .modern("desk__note", NOTE)
        .add("content-encoding", "gzip")
        .body([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3]);
    assert_eq!(packed.send(stage.address).await.status, 400);
    watch
        .assert(
            &stage,
            "compressed",
            Want { ledger: &["deny message_invalid"], refused: &[("message_invalid", 1)], calls: 0 },
        )
        .await;
    // Slow headers, many of them.
    let mut slow = Vec::new();
    for _ in 0..100 {
        let mut stream = TcpStream::connect(stage.address).await.unwrap();
        stream.write_all(b"POST /mcp HTTP/1.1\r\nx: ").await.unwrap();
        slow.push(stream);
    }
    assert_eq!(agent.call("desk__note", NOTE).await.code(), "", "others are served");
    let many = format!("POST /mcp HTTP/1.1\r\nhost: {}\r\n{}\r\n", stage.address, "x: 1\r\n".repeat(100_000));
    let answer = String::from_utf8_lossy(&raw(stage.address, many.as_bytes()).await).into_owned();
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    assert_eq!(agent.call("desk__note", NOTE).await.code(), "", "and still");
}
