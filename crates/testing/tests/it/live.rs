//! DEL-4 and SYN: facts that are too old deny, replay knows that they were, and nothing is applied twice.

use std::time::Duration;

use placet_audit::{Data, Scope, replay};
use placet_json::Value;
use placet_testing::{Stage, StageBuilder, Want, Watch};

const NOTE: &str = r#"{"text":"hello"}"#;
const CRM: &str = "[[source]]\nname = \"crm\"\ntenant = \"acme\"\nbound_ms = 3000\n";
const SEEN: &str = r#"{"state":"seen"}"#;

async fn red(stage: &Stage) -> Option<String> {
    let answer = stage.admin.request("GET", "/readyz", "").send(stage.admin.address()).await;
    (answer.status == 503).then(|| answer.text())
}

#[tokio::test(flavor = "multi_thread")]
async fn del_4_a_silent_source_denies_past_its_bound_and_replay_finds_the_same() {
    let mut stage = StageBuilder::default().settings(CRM).start().await;
    let agent = stage.seven().await;
    // Nothing was heard of it since the start.
    let watch = Watch::on(&stage).await;
    assert_eq!(agent.call("desk__note", NOTE).await.code(), "facts_stale");
    watch.assert(&stage, "unseen", Want { ledger: &["deny facts_stale"], ..Want::default() }).await;
    assert!(red(&stage).await.is_some_and(|page| page.contains("`crm`")));
    // Another tenant's calls don't wait for it.
    let other = stage.agent("agent-7", "globex", "wf-g", "dg-g").await;
    assert_eq!(other.call("desk__note", NOTE).await.code(), "");

    stage.admin.act("/v1/facts/sources/crm", SEEN).await;
    assert_eq!(agent.call("desk__note", NOTE).await.code(), "");
    assert_eq!(red(&stage).await, None);
    tokio::time::sleep(Duration::from_millis(3_100)).await;
    let watch = Watch::on(&stage).await;
    assert_eq!(agent.call("desk__note", NOTE).await.code(), "facts_stale");
    assert!(red(&stage).await.is_some());
    let entries = watch.denials(&stage, "silent").await;
    let denied = entries.last().unwrap();
    assert_eq!(denied.text("/facts/stale/source"), "crm");
    assert!(denied.record.pointer("/facts/age_ms").and_then(Value::as_u64).unwrap() > 3_000);

    // A restart knows nothing of what was seen.
    stage.admin.act("/v1/facts/sources/crm", SEEN).await;
    stage.restart(|_| {}).await;
    // Proofs from before the start of a server's second are refused.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert_eq!(agent.call("desk__note", NOTE).await.code(), "facts_stale");
    stage.stop().await;
    let data = Data::open(&stage.data()).unwrap();
    let report = replay(&data, &Scope::default(), None, &mut |_, _| {}).unwrap();
    assert!(report.is_same() && report.same >= 5, "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn syn_2_what_was_applied_under_a_key_is_not_applied_again_after_a_restart() {
    let mut stage = Stage::start().await;
    let body = r#"{"place":{"tenant":"acme"},"idempotency_key":"hr-77","changes":[{"resource_set":{"type":"support_case","id":"CASE-77"}}]}"#;
    let first = stage.admin.act("/v1/facts", body).await;
    stage.restart(|_| {}).await;
    assert_eq!(stage.admin.act("/v1/facts", body).await, first);
    let other = stage.admin.ask("/v1/facts", &body.replace("CASE-77", "CASE-78")).await;
    assert_eq!(other.status, 409, "{}", other.text());
    let history = stage.admin.get("/v1/facts/history?tenant=acme&resource=support_case:CASE-77").await;
    assert_eq!(history.get("history").and_then(Value::as_array).unwrap().len(), 1);
    let changes = stage.admin.get("/v1/facts/changes?tenant=acme&limit=1000").await;
    let changes = changes.get("changes").and_then(Value::as_array).unwrap();
    let revisions: Vec<_> =
        changes.iter().filter_map(|it| it.get("revision").and_then(Value::as_u64)).collect();
    assert!(revisions.is_sorted() && revisions.len() > 1, "{revisions:?}");
    let revision = first.get("revision").and_then(Value::as_u64).unwrap();
    assert_eq!(revisions.iter().filter(|at| **at == revision).count(), 1);
}
