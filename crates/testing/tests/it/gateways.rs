//! Several gateways on one PostgreSQL database: whatever holds at one holds at all.

use std::{
    collections::BTreeSet,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use placet_json::Value;
use placet_record::Kind;
use placet_testing::{
    Cluster, Entry, Ledger, Reply, Second, Stage, StageBuilder, on_postgres, ready, url_file,
};
use tempfile::TempDir;
use tokio::{io::AsyncWriteExt, net::TcpStream};

const NOTE: &str = r#"{"text":"hello"}"#;
const REFUND: &str = r#"{"case_id":"CASE-1837","amount":40}"#;
/// All refunds of a workflow together.
const CAP: &str = r#"default allow := false

deny contains "the workflow's refunds are limited" if {
	input.action == "issue_refund"
	input.workflow.totals.issue_refund.amount + input.amount > 100
}
"#;

/// A stage whose journal is in a database, and what must outlive it.
struct Shared {
    stage: Stage,
    cluster: Cluster,
    secret: TempDir,
}

async fn shared(lease_ms: u64) -> Shared {
    let cluster = Cluster::start();
    let secret = tempfile::tempdir().unwrap();
    let file = url_file(secret.path(), &cluster.database("placet"));
    let stage = StageBuilder::default()
        .change("policies/desk.rego", "default allow := false\n", CAP)
        .settings(&on_postgres(&file, "first", lease_ms))
        .start()
        .await;
    Shared { stage, cluster, secret }
}

/// Both copies of the ledger once they are alike and hold still.
async fn settled(one: &Ledger, two: &Ledger) -> Vec<Entry> {
    let began = Instant::now();
    loop {
        let (mine, theirs) = (one.last(), two.last());
        tokio::time::sleep(Duration::from_millis(60)).await;
        if mine == theirs && one.last() == mine && two.last() == theirs {
            return one.after(0);
        }
        assert!(began.elapsed() < Duration::from_secs(20), "{mine} and {theirs}");
    }
}

fn gists(entries: &[Entry], gist: &str) -> usize {
    entries.iter().filter(|entry| entry.gist() == gist).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn rac_1_fifty_refunds_under_one_cap_at_two_gateways_are_two() {
    let Shared { stage, cluster: _cluster, secret: _secret } = shared(10_000).await;
    let second = Second::of(&stage).start(&stage).await.unwrap();
    let agent = stage.seven().await;
    let running: Vec<_> = (0..50)
        .map(|n| {
            let address = if n % 2 == 0 { stage.address } else { second.address() };
            let request = agent.modern("billing__refund", REFUND);
            tokio::spawn(async move { request.send(address).await.code() })
        })
        .collect();
    let mut codes = Vec::new();
    for one in running {
        codes.push(one.await.unwrap());
    }
    assert_eq!(codes.iter().filter(|code| code.is_empty()).count(), 2, "{codes:?}");
    assert_eq!(stage.billing.calls().len(), 2);
    let entries = settled(&stage.ledger(), &second.ledger()).await;
    assert_eq!((gists(&entries, "permit"), gists(&entries, "done")), (2, 2));
    // And whoever starts later forgets none.
    let third = Second::of(&stage).start(&stage).await.unwrap();
    let code = agent.modern("billing__refund", REFUND).send(third.address()).await.code();
    assert_eq!(code, codes.iter().find(|code| !code.is_empty()).unwrap().as_str());
    let data = second.dir().join("data");
    let key = placet_audit::read_key(&stage.data().join("keys/checkpoint.key")).unwrap();
    let report = placet_audit::verify(&data, "hostile", key);
    assert!(report.is_sound(), "{report}");
    let replayed = placet_audit::replay(
        &placet_audit::Data::open(&data).unwrap(),
        &placet_audit::Scope::default(),
        None,
        &mut |_, _| (),
    );
    let replayed = replayed.unwrap();
    assert!(replayed.is_same() && replayed.total() >= 50, "{replayed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn del_2_no_permit_comes_after_a_revocation_at_another_gateway() {
    let Shared { stage, cluster: _cluster, secret: _secret } = shared(10_000).await;
    let second = Second::of(&stage).start(&stage).await.unwrap();
    let mut agent = stage.seven().await;
    agent.address = second.address();
    let stop = tokio::sync::watch::Sender::new(false);
    let load: Vec<_> = (0..12)
        .map(|n| {
            let address = if n % 3 == 0 { stage.address } else { second.address() };
            let requests: Vec<_> = (0..80).map(|_| agent.modern("desk__note", NOTE)).collect();
            let stopped = stop.subscribe();
            tokio::spawn(async move {
                for request in requests {
                    if *stopped.borrow() {
                        break;
                    }
                    drop(request.send(address).await);
                }
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(250)).await;
    let revoked = stage.admin.act("/v1/tenants/acme/delegations/dg-1/revoke", r#"{"why":"a test"}"#).await;
    // The other gateway's very next decision.
    let answer = agent.call("desk__note", NOTE).await;
    assert!(answer.code().starts_with("delegation"), "{}", answer.text());
    stop.send_replace(true);
    for one in load {
        one.await.unwrap();
    }
    let at = revoked.get("revision").and_then(Value::as_u64).unwrap();
    let entries = settled(&stage.ledger(), &second.ledger()).await;
    let permits: Vec<u64> =
        entries.iter().filter(|entry| entry.gist() == "permit").map(|entry| entry.at).collect();
    assert!(permits.len() > 5, "there was load: {}", permits.len());
    assert!(permits.iter().all(|permit| *permit < at), "revoked at {at}: {permits:?}");
    // Each permit rests on the newest facts there were in the journal before it.
    let mut newest = 0;
    for entry in &entries {
        if entry.kind == Kind::Facts && entry.tree != "globex" {
            newest = entry.at;
        } else if entry.gist() == "permit" {
            let on = entry.record.pointer("/facts/revision").and_then(Value::as_u64).unwrap();
            assert_eq!(on, newest, "{}", entry.record);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn env_4_a_proof_and_an_assertion_count_once_at_all_gateways() {
    let Shared { stage, cluster: _cluster, secret: _secret } = shared(10_000).await;
    let second = Second::of(&stage).start(&stage).await.unwrap();
    let agent = stage.seven().await;
    for (first, then) in [(stage.address, second.address()), (second.address(), stage.address)] {
        let request = agent.modern("desk__note", NOTE);
        let again = request.clone();
        assert_eq!(request.send(first).await.status, 200);
        let answer = again.send(then).await;
        assert_eq!(answer.status, 401, "{}", answer.text());
    }
    assert_eq!(stage.desk.calls().len(), 2);
    // An administrator's assertion names its listener, so it is another one there; its use is remembered all the same.
    let list = stage.admin.request("GET", "/v1/releases", "");
    assert_eq!(list.clone().send(stage.admin.address()).await.status, 200);
    assert_eq!(list.send(stage.admin.address()).await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_gateway_is_given_all_have() {
    let Shared { stage, cluster: _cluster, secret: _secret } = shared(10_000).await;
    let mut second = Second::of(&stage).start(&stage).await.unwrap();
    let agent = stage.seven().await;
    // The vault's secret was put at the first gateway before the second one started; a newer one comes while it runs.
    assert_eq!(agent.modern("billing__refund", REFUND).send(second.address()).await.code(), "");
    assert!(stage.billing.calls()[0].head.contains(stage.secret()));
    let newer = r#"{"tenant":"acme","upstream":"billing","secret":"bk_live_newer","why":"a test"}"#;
    stage.admin.act("/v1/vault", newer).await;
    let began = Instant::now();
    loop {
        let list = second.admin(&stage).get("/v1/vault").await;
        if list.to_string().contains(r#""version":2"#) {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(3), "the vault is shared: {list}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(agent.modern("billing__refund", REFUND).send(second.address()).await.code(), "");
    assert!(stage.billing.calls()[1].head.contains("bk_live_newer"));

    // A release that is promoted at one is in force at the other, and decides there.
    let mut tree = placet_server::tree::read(&stage.dir().join("release")).unwrap();
    let desk = String::from_utf8(tree["policies/desk.rego"].clone()).unwrap();
    tree.insert("policies/desk.rego".to_owned(), desk.replace("\"take_note\", ", "").into_bytes());
    let release = placet_policy::Release::build(&tree).unwrap();
    let digest = release.digest().to_string();
    let upload = stage.admin.upload("/v1/releases", release.archive()).await;
    assert_eq!(upload.status, 201, "{}", upload.text());
    stage.admin.act(&format!("/v1/releases/{digest}/promote"), r#"{"why":"a test"}"#).await;
    let answer = agent.modern("desk__note", NOTE).send(second.address()).await;
    assert_ne!(answer.code(), "", "{}", answer.text());
    let list = second.admin(&stage).get("/v1/releases").await;
    assert_eq!(list.get("in_force").and_then(Value::as_str), Some(digest.as_str()));
    second.stop().await;
    let entries = stage.ledger().after(0);
    let denied = entries.iter().rev().find(|entry| entry.gist().starts_with("deny")).unwrap();
    assert_eq!(denied.text("/release"), digest);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_with_other_keys_or_another_url_does_not_join() {
    let Shared { stage, cluster: _cluster, secret: _secret } = shared(10_000).await;
    for (from, to, name) in [
        ("keys/token.pem", "keys/sender.pem", "keys.token"),
        ("keys/session.key", "keys/checkpoint.key", "keys.session"),
        ("keys/master.key", "keys/session.key", "vault.master_key"),
        ("organisation = \"hostile\"", "organisation = \"friendly\"", "server.organisation"),
        ("public_url = \"http://127.0.0.1", "public_url = \"http://127.0.0.2", "server.public_url"),
    ] {
        let refused = Second::of(&stage).change(from, to).start(&stage).await.unwrap_err();
        assert!(refused.contains(&format!("`{name}` differs")), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_away_means_no_calls_and_nothing_else() {
    let Shared { stage, cluster, secret: _secret } = shared(10_000).await;
    let second = Second::of(&stage).start(&stage).await.unwrap();
    let agent = stage.seven().await;
    let admin = stage.admin.address();
    assert_eq!(agent.call("desk__note", NOTE).await.code(), "");
    let calls = stage.desk.calls().len();
    cluster.stop("fast");
    let began = Instant::now();
    while ready(admin).await.0 != 503 || second.ready().await.0 != 503 {
        assert!(began.elapsed() < Duration::from_secs(3), "readiness tells");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(ready(admin).await.1.contains("shared journal"), "{}", ready(admin).await.1);
    for address in [stage.address, second.address()] {
        let answer = agent.modern("desk__note", NOTE).send(address).await;
        assert!(answer.status >= 500, "{} {}", answer.status, answer.text());
    }
    assert_eq!(stage.desk.calls().len(), calls, "nothing was sent");
    cluster.run();
    let began = Instant::now();
    while ready(admin).await.0 != 200 || second.ready().await.0 != 200 {
        assert!(began.elapsed() < Duration::from_secs(10), "it goes on by itself");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for address in [stage.address, second.address()] {
        let answer = agent.modern("desk__note", NOTE).send(address).await;
        assert_eq!(answer.code(), "", "{}", answer.text());
    }
    let entries = settled(&stage.ledger(), &second.ledger()).await;
    assert_eq!(gists(&entries, "permit"), gists(&entries, "done"));
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

async fn serving(dir: &std::path::Path) -> std::net::SocketAddr {
    for _ in 0..2000 {
        if let Ok(text) = std::fs::read_to_string(dir.join("serving"))
            && let Ok(address) = text.parse()
        {
            return address;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the child doesn't serve");
}

/// One of two gateways is a process that is killed under load, again and again; the other serves on.
#[tokio::test(flavor = "multi_thread")]
async fn led_1_a_gateway_killed_under_load_loses_nothing_and_its_warrants_end_with_its_lease() {
    let Shared { stage, cluster: _cluster, secret: _secret } = shared(1_500).await;
    let agent = stage.seven().await;
    // Half of the calls hang at the tool when the process is killed.
    let count = AtomicUsize::new(0);
    stage.desk.answer(move |_| {
        if count.fetch_add(1, Ordering::SeqCst).is_multiple_of(2) {
            Reply::Result(r#"{"resultType":"complete","content":[]}"#.to_owned())
        } else {
            Reply::Silence
        }
    });
    let second = Second::of(&stage);
    let mut killed_at = Instant::now();
    for round in 0..3_u64 {
        let mut child = spawn(second.dir());
        let address = serving(second.dir()).await;
        // Its tools are read by now or soon; until then calls are denied, which is fine.
        tokio::time::sleep(Duration::from_millis(400)).await;
        let running: Vec<_> = (0..16)
            .map(|_| {
                let request = agent.modern("desk__note", NOTE);
                tokio::spawn(async move {
                    let Ok(mut stream) = TcpStream::connect(address).await else { return };
                    drop(stream.write_all(&request.bytes()).await);
                    tokio::time::sleep(Duration::from_millis(300)).await;
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(60 + round * 20)).await;
        child.kill().unwrap();
        child.wait().unwrap();
        killed_at = Instant::now();
        // The other one serves on at once.
        let answer = agent.call("billing__refund", r#"{"case_id":"CASE-1837","amount":1}"#).await;
        assert_eq!(answer.code(), "", "{}", answer.text());
        for one in running {
            one.await.unwrap();
        }
    }
    let open = |entries: &[Entry]| {
        let permits: BTreeSet<u64> =
            entries.iter().filter(|entry| entry.gist() == "permit").map(|entry| entry.at).collect();
        let ended: Vec<u64> = entries
            .iter()
            .filter(|entry| entry.kind == Kind::Effect)
            .map(|entry| entry.record.get("at").and_then(Value::as_u64).unwrap())
            .collect();
        let distinct: BTreeSet<u64> = ended.iter().copied().collect();
        assert_eq!(distinct.len(), ended.len(), "no warrant ends twice");
        permits.difference(&distinct).count()
    };
    let entries = stage.ledger().after(0);
    if killed_at.elapsed() < Duration::from_secs(1) {
        assert!(open(&entries) > 0, "what was killed in mid-call is open as long as its lease may hold");
    }
    let began = Instant::now();
    while open(&stage.ledger().after(0)) > 0 {
        assert!(began.elapsed() < Duration::from_secs(8), "open warrants end after the lease");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let entries = stage.ledger().after(0);
    assert!(gists(&entries, "unknown") > 0, "nothing was killed in mid-call: the case isn't what it says");
    let permits =
        entries.iter().filter(|entry| entry.gist() == "permit" && entry.text("/call/tool") == "note");
    assert!(stage.desk.calls().len() <= permits.count(), "no call without a record");
}
