//! DEL-4 and SYN: what sources of facts say of themselves holds at every gateway; rows of a database are facts, or nothing
//! is decided on them.

use std::time::{Duration, Instant};

use placet_json::Value;
use placet_testing::{Cluster, Second, Stage, StageBuilder, on_postgres, ready, url_file};
use tempfile::TempDir;

const NOTE: &str = r#"{"text":"hello"}"#;
const SUMMARY: &str = r#"{"case_id":"CASE-1837"}"#;
const PUSHED: &str = "[[source]]\nname = \"crm\"\ntenant = \"acme\"\nkind = \"push-only\"\n";

/// A stage whose journal is in a database, with these settings beside.
async fn shared(more: &str) -> (Stage, Cluster, TempDir) {
    let cluster = Cluster::start();
    let secret = tempfile::tempdir().unwrap();
    let file = url_file(secret.path(), &cluster.database("placet"));
    let settings = format!("{more}\n{}", on_postgres(&file, "first", 10_000));
    (StageBuilder::default().settings(&settings).start().await, cluster, secret)
}

#[tokio::test(flavor = "multi_thread")]
async fn del_4_a_gap_that_one_gateway_is_told_of_denies_at_the_other_until_it_is_closed() {
    let (stage, _cluster, _secret) = shared(PUSHED).await;
    let second = Second::of(&stage).start(&stage).await.unwrap();
    // A gateway that doesn't declare the source hears of its gap as well.
    let third = Second::of(&stage).change(PUSHED, "").start(&stage).await.unwrap();
    let agent = stage.seven().await;
    let there = async |address| agent.modern("desk__note", NOTE).send(address).await.code();
    for address in [stage.address, second.address(), third.address()] {
        assert_eq!(there(address).await, "");
    }
    stage.admin.act("/v1/facts/sources/crm", r#"{"state":"gap","why":"a page of changes is lost"}"#).await;
    // The very next decisions.
    for address in [second.address(), third.address(), stage.address] {
        assert_eq!(there(address).await, "facts_stale");
    }
    let (status, page) = second.ready().await;
    assert!(status == 503 && page.contains("`crm`"), "{page}");
    let list = second.admin(&stage).get("/v1/facts/sources").await;
    assert!(list.to_string().contains("has a gap: a page of changes is lost"), "{list}");
    // Another tenant's calls don't wait for it.
    let other = stage.agent("agent-7", "globex", "wf-g", "dg-g").await;
    assert_eq!(other.modern("desk__note", NOTE).send(second.address()).await.code(), "");
    // Whoever starts later hears of it, too.
    let fourth = Second::of(&stage).start(&stage).await.unwrap();
    assert_eq!(there(fourth.address()).await, "facts_stale");
    // One that doesn't declare it may close it, and nothing else.
    let nothing = third.admin(&stage).ask("/v1/facts/sources/crm", r#"{"state":"seen"}"#).await;
    assert_eq!(nothing.status, 404, "{}", nothing.text());
    third.admin(&stage).act("/v1/facts/sources/crm", r#"{"state":"closed","why":"fetched again"}"#).await;
    // A gap denies at once; that it is over the others may hear a little later.
    for address in [second.address(), third.address(), stage.address, fourth.address()] {
        let began = Instant::now();
        while there(address).await == "facts_stale" {
            assert!(began.elapsed() < Duration::from_secs(5), "it is over there as well");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(there(address).await, "");
    }
    let acts: Vec<String> = stage
        .ledger()
        .after(0)
        .iter()
        .map(placet_testing::Entry::gist)
        .filter(|it| it.starts_with("act source"))
        .collect();
    assert_eq!(acts, ["act source gap: crm", "act source closed: crm"]);
}

/// Permits and the gap are one order: none stands behind it.
#[tokio::test(flavor = "multi_thread")]
async fn del_4_no_permit_comes_after_a_gap_at_any_gateway() {
    let (stage, _cluster, _secret) = shared(PUSHED).await;
    let second = Second::of(&stage).start(&stage).await.unwrap();
    let agent = stage.seven().await;
    let load: Vec<_> = (0..40)
        .map(|n| {
            let address = if n % 2 == 0 { stage.address } else { second.address() };
            let request = agent.modern("desk__note", NOTE);
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(n * 10)).await;
                request.send(address).await.code()
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(200)).await;
    stage.admin.act("/v1/facts/sources/crm", r#"{"state":"gap","why":"a test"}"#).await;
    for one in load {
        one.await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(400)).await;
    let entries = stage.ledger().after(0);
    let gap = entries.iter().find(|entry| entry.gist() == "act source gap: crm").unwrap().at;
    let permits: Vec<u64> = entries.iter().filter(|entry| entry.gist() == "permit").map(|it| it.at).collect();
    assert!(permits.len() > 2 && permits.iter().all(|at| *at < gap), "the gap is at {gap}: {permits:?}");
    assert!(entries.iter().any(|entry| entry.gist() == "deny facts_stale"));
}

#[tokio::test(flavor = "multi_thread")]
async fn del_4_a_gap_outlives_a_restart() {
    let mut stage = StageBuilder::default().settings(PUSHED).start().await;
    let agent = stage.seven().await;
    assert_eq!(agent.call("desk__note", NOTE).await.code(), "");
    stage.admin.act("/v1/facts/sources/crm", r#"{"state":"gap","why":"a test"}"#).await;
    stage.restart(|_| {}).await;
    // Proofs from before the start of a server's second are refused.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert_eq!(agent.call("desk__note", NOTE).await.code(), "facts_stale");
    stage.admin.act("/v1/facts/sources/crm", r#"{"state":"closed"}"#).await;
    assert_eq!(agent.call("desk__note", NOTE).await.code(), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_seen_at_one_gateway_is_fresh_at_the_other() {
    let polled = "[[source]]\nname = \"crm\"\ntenant = \"acme\"\nbound_ms = 20000\n";
    let (stage, _cluster, _secret) = shared(polled).await;
    let second = Second::of(&stage).start(&stage).await.unwrap();
    let agent = stage.seven().await;
    assert_eq!(agent.modern("desk__note", NOTE).send(second.address()).await.code(), "facts_stale");
    stage.admin.act("/v1/facts/sources/crm", r#"{"state":"seen"}"#).await;
    let began = Instant::now();
    while agent.modern("desk__note", NOTE).send(second.address()).await.code() == "facts_stale" {
        assert!(began.elapsed() < Duration::from_secs(5), "the other gateway hears of it");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // What comes soon after isn't worth an entry of the journal.
    for _ in 0..20 {
        stage.admin.act("/v1/facts/sources/crm", r#"{"state":"seen"}"#).await;
    }
    let seen = stage.ledger().after(0).iter().filter(|entry| entry.gist() == "act source seen: crm").count();
    assert_eq!(seen, 1);
}

/// Settings that read a database of a customer's.
fn tables(cluster: &Cluster, dir: &TempDir, more: &str) -> String {
    let url = url_file(dir.path(), &cluster.url("crm"));
    let mapping = dir.path().join("crm.toml");
    let cases = "[[table]]\nfrom = \"cases\"\nkey = [\"id\"]\nversion = \"updated_at\"\n\
        resource = { type = \"support_case\", id = \"{/id}\", attributes = { case_id = \"/id\", customer_id = \"/customer\" } }\n";
    std::fs::write(&mapping, cases).unwrap();
    format!(
        "[[postgres]]\nname = \"crm\"\nurl = {{ file = \"{}\" }}\ntenant = \"acme\"\nmapping = \"{}\"\ninterval_ms = 100\n\
         sweep_ms = 500\noverlap_ms = 200\nstale_after_ms = 2500\n{more}\n",
        url.display(),
        mapping.display()
    )
}

fn crm() -> Cluster {
    let cluster = Cluster::start();
    let _url = cluster.database("crm");
    let _made = cluster.sql(
        "crm",
        "CREATE TABLE cases (id text PRIMARY KEY, customer text, updated_at timestamptz DEFAULT now());
         INSERT INTO cases VALUES ('CASE-1837', 'cust-101'), ('CASE-2001', 'cust-102')",
    );
    cluster
}

async fn code(agent: &placet_testing::Agent, want: &str, what: &str) {
    let began = Instant::now();
    loop {
        let answer = agent.call("crm__get_case", SUMMARY).await;
        if answer.code() == want {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(12), "{what}: {}", answer.text());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn del_4_rows_of_a_database_decide_until_it_is_away_too_long_and_again_when_it_is_back() {
    let (cluster, dir) = (crm(), tempfile::tempdir().unwrap());
    let stage = StageBuilder::default().settings(&tables(&cluster, &dir, "")).start().await;
    let agent = stage.seven().await;
    code(&agent, "", "the rows are facts").await;
    // The row goes, and with it what may be done.
    let _gone = cluster.sql("crm", "DELETE FROM cases WHERE id = 'CASE-1837'");
    code(&agent, "resource_unknown", "a row that is gone").await;
    let _back = cluster.sql("crm", "INSERT INTO cases VALUES ('CASE-1837', 'cust-101')");
    code(&agent, "", "a row that is back").await;
    // Another tenant doesn't wait for it.
    let other = stage.agent("agent-7", "globex", "wf-g", "dg-g").await;
    cluster.stop("immediate");
    code(&agent, "facts_stale", "an outage past the bound").await;
    assert_eq!(other.call("desk__note", NOTE).await.code(), "");
    let (status, page) = ready(stage.admin.address()).await;
    assert!(status == 503 && page.contains("`postgres:crm`"), "{page}");
    let page = stage.admin.request("GET", "/metrics", "").send(stage.admin.address()).await.text();
    for line in [
        "placet_facts_stale{source=\"postgres:crm\"} 1",
        "placet_postgres_rows{source=\"crm\"} 2",
        "placet_postgres_rows_refused{source=\"crm\"} 0",
    ] {
        assert!(page.contains(line), "{line}: {page}");
    }
    let list = stage.admin.get("/v1/databases").await;
    assert_eq!(list.pointer("/sources/0/state").and_then(Value::as_str), Some("connecting"), "{list}");
    assert_eq!(list.get("journal"), Some(&Value::Null));
    cluster.run();
    code(&agent, "", "it is back").await;
    // A row that can't be a fact is stale at once.
    let _wrong =
        cluster.sql("crm", "UPDATE cases SET id = 'CASE 2001', updated_at = now() WHERE id = 'CASE-2001'");
    code(&agent, "facts_stale", "a row that can't be a fact").await;
    let list = stage.admin.get("/v1/databases").await;
    assert_eq!(list.pointer("/sources/0/refused/count").and_then(Value::as_u64), Some(1), "{list}");
    let _right = cluster.sql("crm", "DELETE FROM cases WHERE id = 'CASE 2001'");
    code(&agent, "", "it is right again").await;
    let history = stage.admin.get("/v1/facts/history?tenant=acme&resource=support_case:CASE-1837").await;
    assert!(history.to_string().contains(r#""author":"postgres:crm""#), "{history}");
}

/// Both gateways read the same rows into one journal.
#[tokio::test(flavor = "multi_thread")]
async fn rac_two_gateways_read_the_same_rows_into_one_journal() {
    let (cluster, dir) = (crm(), tempfile::tempdir().unwrap());
    let secret = tempfile::tempdir().unwrap();
    let file = url_file(secret.path(), &cluster.database("placet"));
    let settings = tables(&cluster, &dir, &on_postgres(&file, "first", 10_000));
    let stage = StageBuilder::default().settings(&settings).start().await;
    let second = Second::of(&stage).start(&stage).await.unwrap();
    let agent = stage.seven().await;
    code(&agent, "", "the rows are facts").await;
    let before = stage.ledger().last();
    for n in 0..10 {
        let _moved = cluster
            .sql("crm", &format!("UPDATE cases SET customer = 'cust-{n}', updated_at = clock_timestamp()"));
        tokio::time::sleep(Duration::from_millis(70)).await;
    }
    let began = Instant::now();
    loop {
        let facts =
            second.admin(&stage).get("/v1/facts?tenant=acme&kind=resources&id=support_case:CASE-1837").await;
        if facts.to_string().contains("cust-9") {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(10), "{facts}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    let said: Vec<String> = stage
        .ledger()
        .after(before)
        .iter()
        .filter(|entry| entry.kind == placet_record::Kind::Facts)
        .filter_map(|entry| {
            let text = entry.record.to_string();
            text.split("cust-").nth(1).and_then(|rest| rest.split('"').next()).map(str::to_owned)
        })
        .collect();
    assert!(said.is_sorted() && said.last().is_some_and(|last| last == "9"), "{said:?}");
    let distinct: std::collections::BTreeSet<_> = said.iter().collect();
    assert_eq!(distinct.len(), said.len(), "each change is written once: {said:?}");
    let list = stage.admin.get("/v1/databases").await;
    assert_eq!(list.pointer("/journal/connected").and_then(Value::as_bool), Some(true), "{list}");
    let page = stage.admin.request("GET", "/metrics", "").send(stage.admin.address()).await.text();
    for line in [
        "placet_database_connected 1\n",
        "placet_database_lag_records ",
        "placet_database_commit_seconds_bucket{le=\"+Inf\"} ",
    ] {
        assert!(page.contains(line), "{line}: {page}");
    }
}
