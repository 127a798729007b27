//! RAC and LED-1: what happens between the decision and its end.

use std::{
    process::{Child, Command, Stdio},
    time::Duration,
};

use placet_record::Kind;
use placet_server::run::serve;
use placet_testing::{Ledger, Reply, Speaks, Stage, StageBuilder, Want, Watch, settings_of};
use tokio::{io::AsyncWriteExt, net::TcpStream};

const NOTE: &str = r#"{"text":"hello"}"#;
const REFUND: &str = r#"{"case_id":"CASE-1837","amount":80}"#;

#[tokio::test(flavor = "multi_thread")]
async fn rac_2_an_approval_is_for_one_call_once() {
    let stage = Stage::start().await;
    let agent = stage.seven().await;
    let omar = stage.admin.person("omar").await;
    let refund = |amount: &str| format!(r#"{{"case_id":"CASE-1837","amount":{amount}}}"#);
    let mut asked = Vec::new();
    for amount in ["250", "300"] {
        let answer = agent.call("billing__refund", &refund(amount)).await;
        assert_eq!(answer.code(), "manager_approval_missing", "{}", answer.text());
        asked.push(
            answer
                .message()
                .pointer("/result/structuredContent/placet/decision_id")
                .unwrap()
                .as_str()
                .unwrap()
                .to_owned(),
        );
    }
    let approve = |id: &str| format!(r#"{{"decision":"{id}","why":"a test"}}"#);
    assert!(stage.admin.ask("/v1/approvals", &approve("dc_00000000000000000000000000")).await.status >= 400);
    let answer = omar.ask("/v1/approvals", &approve(&asked[0])).await;
    assert!((200..300).contains(&answer.status), "{}", answer.text());
    for amount in ["300", "250.01", "251", "499"] {
        let watch = Watch::on(&stage).await;
        let answer = agent.call("billing__refund", &refund(amount)).await;
        assert_eq!(answer.code(), "manager_approval_missing", "{amount}: {}", answer.text());
        watch
            .assert(&stage, amount, Want { ledger: &["deny manager_approval_missing"], ..Want::default() })
            .await;
    }
    // Another agent of the same workflow, by another delegation.
    let other = stage.agent("agent-8", "acme", "wf-9", "dg-8").await;
    let watch = Watch::on(&stage).await;
    assert_eq!(other.call("billing__refund", &refund("250")).await.code(), "manager_approval_missing");
    watch
        .assert(
            &stage,
            "another agent",
            Want { ledger: &["deny manager_approval_missing"], ..Want::default() },
        )
        .await;
    // Ten at once: one is paid.
    let watch = Watch::on(&stage).await;
    let running: Vec<_> = (0..10)
        .map(|_| {
            let (request, address) = (agent.modern("billing__refund", &refund("250.00")), stage.address);
            tokio::spawn(async move { request.send(address).await.code() })
        })
        .collect();
    let mut codes = Vec::new();
    for one in running {
        codes.push(one.await.unwrap());
    }
    assert_eq!(codes.iter().filter(|code| code.is_empty()).count(), 1, "{codes:?}");
    let mut ledger = vec!["permit".to_owned(), "done".to_owned()];
    ledger.extend(codes.iter().filter(|code| !code.is_empty()).map(|code| format!("deny {code}")));
    let ledger: Vec<&str> = ledger.iter().map(String::as_str).collect();
    watch.assert(&stage, "at once", Want { ledger: &ledger, calls: 1, ..Want::default() }).await;
    assert_eq!(
        std::str::from_utf8(stage.billing.calls()[0].arguments()).unwrap(),
        r#"{"amount":250,"case_id":"CASE-1837","customer":"cust-101"}"#
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn rac_3_a_revocation_before_the_first_byte() {
    let acts = [
        ("/v1/tenants/acme/delegations/dg-1/revoke", r#"{"why":"a test"}"#),
        ("/v1/humans/maya/standing", r#"{"standing":"suspended","why":"a test"}"#),
        ("/v1/agents/agent-7/standing", r#"{"standing":"suspended","why":"a test"}"#),
        ("/v1/freezes", r#"{"what":"all","why":"a test"}"#),
        ("/v1/tenants/acme/workflows/wf-9/close", r#"{"why":"a test"}"#),
    ];
    for (path, body) in acts {
        let stage = StageBuilder::default().billing(Speaks::Legacy).start().await;
        let agent = stage.seven().await;
        // A session is opened for this tenant's own credential before anything of the call is sent.
        let held = stage.billing.hold("initialize");
        let before = stage.billing.of("initialize").len();
        let watch = Watch::on(&stage).await;
        let running = {
            let (request, address) = (agent.modern("billing__refund", REFUND), stage.address);
            tokio::spawn(async move { request.send(address).await })
        };
        stage.billing.beyond("initialize", before).await;
        stage.admin.act(path, body).await;
        held.send_replace(true);
        let answer = running.await.unwrap();
        assert_eq!(answer.ending(), "revoked", "{path}: {}", answer.text());
        let entries =
            watch.assert(&stage, path, Want { ledger: &["permit", "revoked"], ..Want::default() }).await;
        let ended = entries.iter().find(|entry| entry.kind == Kind::Effect).unwrap();
        assert_eq!(
            ended.record.get("sent").and_then(placet_json::Value::as_u64),
            Some(0),
            "{}",
            ended.record
        );
        assert!(
            !stage
                .billing
                .seen()
                .iter()
                .any(|seen| String::from_utf8_lossy(&seen.body).contains("CASE-1837"))
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rac_3_a_workflow_that_ends_before_the_first_byte() {
    let stage = StageBuilder::default().billing(Speaks::Legacy).start().await;
    let ends = stage.end_in(1_500);
    let workflow = format!(
        r#"{{"id":"wf-s","type":"support_case","owner":"maya","intents":["support_case_resolution"],"ends":"{ends}","bindings":{{"support_case":"CASE-1837"}},"why":"a test"}}"#
    );
    stage.admin.act("/v1/tenants/acme/workflows", &workflow).await;
    let delegation = r#"{"id":"dg-s","human":"maya","agent":"agent-7","workflow":"wf-s","grantor":"human","scope":{"actions":["issue_refund"],"depth":0,"limits":{"amount":500}},"why":"a test"}"#;
    stage.admin.act("/v1/tenants/acme/delegations", delegation).await;
    let agent = stage.agent("agent-7", "acme", "wf-s", "dg-s").await;
    let held = stage.billing.hold("initialize");
    let before = stage.billing.of("initialize").len();
    let watch = Watch::on(&stage).await;
    let running = {
        let (request, address) = (agent.modern("billing__refund", REFUND), stage.address);
        tokio::spawn(async move { request.send(address).await })
    };
    stage.billing.beyond("initialize", before).await;
    tokio::time::sleep(Duration::from_millis(1_600)).await;
    held.send_replace(true);
    let answer = running.await.unwrap();
    assert_eq!(answer.ending(), "revoked", "{}", answer.text());
    watch
        .assert(&stage, "the end of the workflow", Want { ledger: &["permit", "revoked"], ..Want::default() })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn led_1_a_client_that_leaves_leaves_no_warrant_open() {
    let stage = Stage::start().await;
    let agent = stage.seven().await;
    let mark = stage.ledger().last();
    for pause in [0, 0, 1, 1, 2, 2, 3, 3, 4, 5, 6, 8].repeat(3) {
        let mut stream = TcpStream::connect(stage.address).await.unwrap();
        stream.write_all(&agent.modern("desk__note", NOTE).bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(pause)).await;
        drop(stream);
    }
    tokio::time::sleep(Duration::from_millis(400)).await;
    let entries = stage.ledger().after(mark);
    let count = |kind: Kind| entries.iter().filter(|entry| entry.kind == kind).count();
    assert!(count(Kind::Decision) > 0);
    assert_eq!(count(Kind::Decision), count(Kind::Effect), "each permit has its ending without a restart");
    assert!(
        entries
            .iter()
            .filter(|entry| entry.kind == Kind::Effect)
            .all(|entry| ["done", "unknown"].contains(&entry.gist().as_str()))
    );
    assert!(stage.desk.calls().len() <= count(Kind::Decision), "a call without a record");
}

/// Plays the server in a process of its own, so that it can be killed.
#[test]
#[ignore = "started by another test, as a process"]
fn serves_until_it_is_killed() {
    #[expect(clippy::disallowed_methods, reason = "how the other test says where")]
    let Ok(dir) = std::env::var("PLACET_TESTING_DIR") else { return };
    let dir = std::path::Path::new(&dir);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let running = serve(settings_of(dir), &|_| None).await.unwrap();
        std::fs::write(dir.join("serving"), running.agent_addr.to_string()).unwrap();
        std::future::pending::<()>().await;
    });
}

fn spawn(dir: &std::path::Path) -> Child {
    drop(std::fs::remove_file(dir.join("serving")));
    let arguments = ["races::serves_until_it_is_killed", "--exact", "--ignored", "--nocapture"];
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(arguments)
        .env("PLACET_TESTING_DIR", dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.spawn().unwrap()
}

async fn serving(dir: &std::path::Path) {
    for _ in 0..1000 {
        if std::fs::read_to_string(dir.join("serving")).is_ok_and(|text| !text.is_empty()) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the child doesn't serve");
}

#[tokio::test(flavor = "multi_thread")]
async fn led_1_killed_in_mid_call() {
    const ROUNDS: u64 = 8;
    let mut stage = Stage::start().await;
    let agent = stage.seven().await;
    stage.stop().await;
    let dir = stage.dir().to_owned();
    let ledger = Ledger::of(&stage.data());
    let mark = ledger.last();
    // Half of the calls are answered, half hang at the tool when the process is killed.
    let calls = std::sync::atomic::AtomicUsize::new(0);
    stage.desk.answer(move |_| {
        if calls.fetch_add(1, std::sync::atomic::Ordering::SeqCst).is_multiple_of(2) {
            Reply::Result(r#"{"resultType":"complete","content":[]}"#.to_owned())
        } else {
            Reply::Silence
        }
    });
    for round in 0..ROUNDS {
        let mut child = spawn(&dir);
        serving(&dir).await;
        stage.listed().await;
        // Proofs of before the start are refused, so each is made now; some are too early, and that is fine.
        let running: Vec<_> = (0..12)
            .map(|_| {
                let (request, address) = (agent.modern("desk__note", NOTE), stage.address);
                tokio::spawn(async move {
                    let mut stream = TcpStream::connect(address).await.unwrap();
                    drop(stream.write_all(&request.bytes()).await);
                    tokio::time::sleep(Duration::from_millis(200)).await;
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(2 + round * 3)).await;
        child.kill().unwrap();
        child.wait().unwrap();
        for one in running {
            one.await.unwrap();
        }
        // No send without a record: what reached the tool is no more than the permits on disk.
        let permits = ledger.after(mark).iter().filter(|entry| entry.gist() == "permit").count();
        assert!(
            stage.desk.calls().len() <= permits,
            "round {round}: {} calls, {permits} permits",
            stage.desk.calls().len()
        );
    }
    stage.start_again().await;
    stage.settle().await;
    let entries = ledger.after(mark);
    let permits: Vec<u64> =
        entries.iter().filter(|entry| entry.gist() == "permit").map(|entry| entry.at).collect();
    assert!(!permits.is_empty(), "no call came through before a kill");
    let mut ended: Vec<u64> = entries
        .iter()
        .filter(|entry| entry.kind == Kind::Effect)
        .inspect(|entry| assert!(["done", "unknown"].contains(&entry.gist().as_str()), "{}", entry.record))
        .map(|entry| entry.record.get("at").and_then(placet_json::Value::as_u64).unwrap())
        .collect();
    ended.sort_unstable();
    assert_eq!(ended, permits, "each permit has one ending");
    let unknown = entries.iter().filter(|entry| entry.gist() == "unknown").count();
    assert!(unknown > 0, "nothing was killed in mid-call: the case isn't what it says");
    assert_eq!(agent.call("desk__note", r#"{"text":5}"#).await.code(), "argument_invalid", "it serves on");
}
