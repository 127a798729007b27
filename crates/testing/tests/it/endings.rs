//! Upstreams that are away, keys that keep a call one call, and effects that nobody knew.

use std::time::Duration;

use placet_audit::{Data, Scope, replay};
use placet_json::Value;
use placet_record::Kind;
use placet_testing::{Reply, Stage, StageBuilder, Want, Watch};

const REFUND: &str = r#"{"case_id":"CASE-1837","amount":80}"#;
const NOTE: &str = r#"{"text":"hello"}"#;

/// Settings of this upstream, as [`StageBuilder`] writes them at the end of the file.
async fn counter(stage: &Stage, name: &str) -> String {
    let admin = stage.admin.address();
    let request = format!("GET /metrics HTTP/1.1\r\nhost: {admin}\r\nconnection: close\r\n\r\n");
    let page = placet_testing::exchange(admin, request.as_bytes()).await.text();
    let line = page.lines().find(|line| line.starts_with(name));
    line.and_then(|line| line.rsplit_once(' ')).map(|(_, value)| value.to_owned()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_changes_something_has_one_key_and_a_read_has_none() {
    let stage = Stage::start().await;
    let agent = stage.seven().await;
    for _ in 0..2 {
        assert_eq!(agent.call("billing__refund", REFUND).await.code(), "");
    }
    assert_eq!(agent.call("crm__get_case", r#"{"case_id":"CASE-1837"}"#).await.code(), "");
    stage.settle().await;
    let permits: Vec<_> =
        stage.ledger().after(0).into_iter().filter(|entry| entry.kind == Kind::Decision).collect();
    let calls = stage.billing.calls();
    for (call, permit) in calls.iter().zip(&permits) {
        let id = permit.text("/id");
        let meta = call.json.pointer("/params/_meta/dev.placet~1idempotency-key").and_then(Value::as_str);
        assert_eq!(meta, Some(id));
        assert!(
            call.head.to_ascii_lowercase().contains(&format!("idempotency-key: \"{id}\"")),
            "{}",
            call.head
        );
    }
    assert_ne!(permits[0].text("/id"), permits[1].text("/id"));
    let read = &stage.crm.calls()[0];
    assert!(!read.head.to_ascii_lowercase().contains("idempotency-key"), "{}", read.head);
    assert!(read.json.pointer("/params/_meta/dev.placet~1idempotency-key").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_upstream_is_left_alone_and_tried_again() {
    let builder = StageBuilder::default().upstream("desk", "breaker_failures = 3\nbreaker_rest_ms = 1000");
    let mut stage = builder.start().await;
    let agent = stage.seven().await;
    stage.desk.answer(|_| Reply::Gone);
    for _ in 0..3 {
        assert_eq!(agent.call("desk__note", NOTE).await.ending(), "unknown");
    }
    let watch = Watch::on(&stage).await;
    let connections = stage.desk.connections();
    for _ in 0..5 {
        let answer = agent.call("desk__note", NOTE).await;
        assert_eq!(answer.code(), "upstream_unavailable", "{}", answer.text());
    }
    // Nothing is permitted, so nothing is charged, and nobody is asked.
    let denied = ["deny upstream_unavailable"; 5];
    watch.assert(&stage, "left alone", Want { ledger: &denied, ..Want::default() }).await;
    assert_eq!(stage.desk.connections(), connections);
    assert_eq!(counter(&stage, "placet_breaker_open{upstream=\"desk\"}").await, "1");
    assert_eq!(counter(&stage, "placet_breaker_open{upstream=\"billing\"}").await, "0");
    // Other upstreams are none the worse.
    assert_eq!(agent.call("billing__refund", REFUND).await.code(), "");

    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(agent.call("desk__note", NOTE).await.ending(), "unknown", "one tries");
    assert_eq!(agent.call("desk__note", NOTE).await.code(), "upstream_unavailable");
    assert_eq!(counter(&stage, "placet_breaker_opened_total{upstream=\"desk\"}").await, "2");
    let done = r#"{"resultType":"complete","content":[{"type":"text","text":"done"}]}"#;
    stage.desk.answer(|_| Reply::Result(done.to_owned()));
    tokio::time::sleep(Duration::from_millis(1100)).await;
    for _ in 0..3 {
        let answer = agent.call("desk__note", NOTE).await;
        assert_eq!(answer.code(), "", "{}", answer.text());
    }
    assert_eq!(counter(&stage, "placet_breaker_open{upstream=\"desk\"}").await, "0");
    // The half-open breaker isn't held by a call that is denied.
    stage.stop().await;
    let report =
        replay(&Data::open(&stage.data()).unwrap(), &Scope::default(), None, &mut |_, _| {}).unwrap();
    assert_eq!((report.differs, report.cannot_tell), (0, 0), "{report:?}");
}

const RESOLVER: &str = r#"
[tool."billing.refund".resolver]
tool = "crm.get_case"
args = { case_id = "$args.case_id" }
happened = { path = "$.last_refund", equals = "booked" }
did_not_happen = { path = "$.last_refund", equals = "none" }
"#;

async fn with_unknown(settings: &str) -> (Stage, String) {
    let builder = StageBuilder::default().settings(settings);
    let args = "[tool.\"billing.refund\".args]";
    let stage = builder.change("catalog/billing.toml", args, &format!("{RESOLVER}{args}")).start().await;
    let agent = stage.seven().await;
    stage.billing.answer(|_| Reply::Gone);
    let answer = agent.call("billing__refund", REFUND).await;
    assert_eq!(answer.ending(), "unknown", "{}", answer.text());
    stage.settle().await;
    let permit = stage.ledger().after(0).into_iter().find(|entry| entry.kind == Kind::Decision).unwrap();
    (stage, permit.text("/id").to_owned())
}

fn says(stage: &Stage, last_refund: &'static str) {
    stage.crm.answer(move |_| {
        Reply::Result(format!(
            r#"{{"resultType":"complete","content":[],"structuredContent":{{"last_refund":"{last_refund}"}}}}"#
        ))
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_effect_is_found_out_and_the_finding_is_an_entry_of_its_own() {
    let (mut stage, id) = with_unknown("[limits]\nresolve_every_ms = 0\n").await;
    let listed = stage.admin.get("/v1/effects").await;
    assert_eq!(listed.pointer("/effects/0/decision").and_then(Value::as_str), Some(id.as_str()), "{listed}");
    assert_eq!(listed.pointer("/effects/0/tool").and_then(Value::as_str), Some("billing.refund"));
    let path = format!("/v1/effects/{id}/resolve");
    // What says neither leaves it open.
    says(&stage, "pending");
    let answer = stage.admin.ask(&path, "{}").await;
    assert_eq!(answer.status, 409, "{}", answer.text());
    // A restart remembers.
    let before = stage.ledger().last();
    stage.restart(|_| {}).await;
    says(&stage, "booked");
    let answer = stage.admin.act(&path, "{}").await;
    assert_eq!(answer.get("happened").and_then(Value::as_bool), Some(true), "{answer}");
    let entries = stage.ledger().after(before);
    let found = entries.iter().find(|entry| entry.kind == Kind::Amendment).unwrap();
    assert_eq!(
        (found.text("/decision"), found.text("/finding"), found.text("/by")),
        (id.as_str(), "happened", "resolver")
    );
    assert_eq!(found.tree, "acme");
    // The first finding stands, and none is made of what is known.
    let again = stage.admin.ask(&path, r#"{"happened":false,"why":"I think not"}"#).await;
    assert_eq!(again.status, 404, "{}", again.text());
    assert_eq!(stage.admin.get("/v1/effects").await.pointer("/effects").unwrap().to_string(), "[]");
    stage.restart(|_| {}).await;
    assert_eq!(stage.admin.get("/v1/effects").await.pointer("/effects").unwrap().to_string(), "[]");
    stage.stop().await;
    let data = Data::open(&stage.data()).unwrap();
    let index = placet_audit::index(&data).unwrap();
    let story =
        placet_audit::story(&data, &index, &placet_core::DecisionId::new(&id).unwrap(), None).unwrap();
    let told = story.to_string();
    assert!(told.contains("unknown at") && told.contains("it happened, says resolver"), "{told}");
    assert_eq!(story.to_value().pointer("/amendment/finding").and_then(Value::as_str), Some("happened"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_says_what_happened_and_why() {
    let (stage, id) = with_unknown("[limits]\nresolve_every_ms = 0\n").await;
    let path = format!("/v1/effects/{id}/resolve");
    for body in [r#"{"happened":false}"#, r#"{"happened":false,"why":" "}"#, r#"{"happened":"no","why":"x"}"#]
    {
        assert_eq!(stage.admin.ask(&path, body).await.status, 400, "{body}");
    }
    let maya = stage.admin.person("maya").await;
    assert_eq!(maya.ask(&path, r#"{"happened":false,"why":"mine"}"#).await.status, 403);
    assert_eq!(
        stage.admin.ask("/v1/effects/dc_none/resolve", r#"{"happened":true,"why":"x"}"#).await.status,
        404
    );
    stage.admin.act(&path, r#"{"happened":false,"why":"not in the statement"}"#).await;
    let found = stage.ledger().after(0).into_iter().find(|entry| entry.kind == Kind::Amendment).unwrap();
    assert_eq!(
        (found.text("/finding"), found.text("/by"), found.text("/why")),
        ("did_not_happen", "operator", "not in the statement")
    );
    assert!(stage.crm.calls().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn rac_1_what_never_happened_comes_back_once_and_what_did_stays_spent() {
    let role = "role = \"support_manager\"";
    let budget =
        format!("{role}\n\n[budgets]\nissue_refund = {{ count = 2, human_day = {{ amount = \"100\" }} }}");
    let mut stage = StageBuilder::default()
        .settings("[limits]\nresolve_every_ms = 0\n")
        .change("workflow_types/support_case.toml", role, &budget)
        .start()
        .await;
    let agent = stage.seven().await;
    stage.billing.answer(|_| Reply::Gone);
    let refund = |amount: u32| format!(r#"{{"case_id":"CASE-1837","amount":{amount}}}"#);
    let mut unknown = Vec::new();
    for amount in [40, 50] {
        let before = stage.ledger().last();
        assert_eq!(agent.call("billing__refund", &refund(amount)).await.ending(), "unknown");
        stage.settle().await;
        let permit = stage.ledger().after(before).into_iter().find(|entry| entry.kind == Kind::Decision);
        unknown.push(permit.unwrap().text("/id").to_owned());
    }
    let done = r#"{"resultType":"complete","content":[{"type":"text","text":"done"}]}"#;
    stage.billing.answer(|_| Reply::Result(done.to_owned()));
    let code = async |amount: u32| agent.call("billing__refund", &refund(amount)).await.code();
    assert_eq!(code(10).await, "budget_exceeded", "what nobody knows stays spent");
    // As it was before a restart, from the journal alone.
    stage.restart(|_| {}).await;
    let resolve = |id: &str| format!("/v1/effects/{id}/resolve");
    stage.admin.act(&resolve(&unknown[0]), r#"{"happened":true,"why":"in the statement"}"#).await;
    assert_eq!(code(10).await, "budget_exceeded", "it happened");
    stage.admin.act(&resolve(&unknown[1]), r#"{"happened":false,"why":"not in the statement"}"#).await;
    let again = stage.admin.ask(&resolve(&unknown[1]), r#"{"happened":false,"why":"really not"}"#).await;
    assert_eq!(again.status, 404, "{}", again.text());
    let found = stage.ledger().after(0).into_iter().rfind(|entry| entry.kind == Kind::Amendment).unwrap();
    assert_eq!(found.record.get("returned").and_then(Value::as_bool), Some(true));
    // Of 100 a day 40 are spent, of two permits one.
    assert_eq!(code(61).await, "budget_exceeded");
    stage.restart(|_| {}).await;
    assert_eq!(code(60).await, "");
    assert_eq!(code(1).await, "budget_exceeded");
    assert_eq!(counter(&stage, "placet_effects_unknown").await, "0",);
    stage.stop().await;
    let data = Data::open(&stage.data()).unwrap();
    let report = replay(&data, &Scope::default(), None, &mut |_, _| {}).unwrap();
    assert!(report.is_same() && report.cannot_tell == 0, "{report:?}");
    let index = placet_audit::index(&data).unwrap();
    let id = placet_core::DecisionId::new(&unknown[1]).unwrap();
    let told = placet_audit::story(&data, &index, &id, None).unwrap().to_string();
    assert!(told.contains("it did not happen, so what it took came back, says operator"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rac_2_an_approval_of_a_call_that_never_happened_may_be_used_again() {
    let mut stage = StageBuilder::default().settings("[limits]\nresolve_every_ms = 0\n").start().await;
    let (agent, omar) = (stage.seven().await, stage.admin.person("omar").await);
    let large = r#"{"case_id":"CASE-1837","amount":250}"#;
    let denied = agent.call("billing__refund", large).await;
    assert_eq!(denied.code(), "manager_approval_missing");
    let id = denied.message().pointer("/result/structuredContent/placet/decision_id").cloned().unwrap();
    let body = format!(r#"{{"decision":{id},"why":"a good customer"}}"#);
    omar.act("/v1/approvals", &body).await;
    stage.billing.answer(|_| Reply::Gone);
    let before = stage.ledger().last();
    assert_eq!(agent.call("billing__refund", large).await.ending(), "unknown");
    stage.settle().await;
    assert_eq!(agent.call("billing__refund", large).await.code(), "manager_approval_missing", "it is spent");
    let permit =
        stage.ledger().after(before).into_iter().find(|entry| entry.text("/decision") == "permit").unwrap();
    let path = format!("/v1/effects/{}/resolve", permit.text("/id"));
    stage.admin.act(&path, r#"{"happened":false,"why":"not in the statement"}"#).await;
    let done = r#"{"resultType":"complete","content":[{"type":"text","text":"done"}]}"#;
    stage.billing.answer(|_| Reply::Result(done.to_owned()));
    assert_eq!(agent.call("billing__refund", large).await.code(), "");
    assert_eq!(agent.call("billing__refund", large).await.code(), "manager_approval_missing");
    stage.stop().await;
    let report =
        replay(&Data::open(&stage.data()).unwrap(), &Scope::default(), None, &mut |_, _| {}).unwrap();
    assert!(report.is_same() && report.cannot_tell == 0, "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_knew_is_found_out_without_being_asked() {
    let (stage, _) = with_unknown("[limits]\nresolve_every_ms = 200\n").await;
    says(&stage, "none");
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        if let Some(found) = stage.ledger().after(0).iter().find(|entry| entry.kind == Kind::Amendment) {
            assert_eq!(found.text("/finding"), "did_not_happen");
            return;
        }
    }
    panic!("nobody asked");
}
