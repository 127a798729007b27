//! RAC-1 and what goes with it: budgets, rates, repetitions and floods, through a whole server and over its restart.

use std::time::Duration;

use placet_audit::{Data, Scope, checkpoint_key, replay, verify};
use placet_json::Value;
use placet_record::{Kind, Refusals};
use placet_testing::{Agent, Reply, Speaks, Stage, StageBuilder, json};

const TYPE: &str = "workflow_types/support_case.toml";
const ROLE: &str = "role = \"support_manager\"";
const REFUND: &str = r#"{"case_id":"CASE-1837","amount":40}"#;
const NOTE: &str = r#"{"text":"hello"}"#;

fn budgets(text: &str) -> StageBuilder {
    StageBuilder::default().change(TYPE, ROLE, &format!("{ROLE}\n\n{text}"))
}

fn note(limit: &str) -> StageBuilder {
    StageBuilder::default().change(
        "catalog/desk.toml",
        "[tool.\"desk.note\"]\n",
        &format!("[tool.\"desk.note\"]\n{limit}\n"),
    )
}

/// The codes of so many calls at once; empty for a permit.
async fn at_once(stage: &Stage, agents: &[&Agent], calls: usize, tool: &str, arguments: &str) -> Vec<String> {
    let running: Vec<_> = (0..calls)
        .map(|i| {
            let (request, address) = (agents[i % agents.len()].modern(tool, arguments), stage.address);
            tokio::spawn(async move { request.send(address).await.code() })
        })
        .collect();
    let mut codes = Vec::new();
    for one in running {
        codes.push(one.await.unwrap());
    }
    codes
}

fn count(codes: &[String], code: &str) -> usize {
    codes.iter().filter(|other| *other == code).count()
}

/// Stops the server; the ledger holds, and every decision comes out alike when it is made again.
async fn audited(stage: &mut Stage) {
    stage.stop().await;
    let data = Data::open(&stage.data()).unwrap();
    let report = replay(&data, &Scope::default(), None, &mut |_, _| {}).unwrap();
    assert!(report.is_same() && report.cannot_tell == 0, "{report:?}");
    let key = checkpoint_key(&stage.data()).unwrap();
    let report = verify(&stage.data(), "hostile", key);
    assert!(report.is_sound() && report.open.is_empty(), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rac_1_fifty_parallel_refunds_of_40_under_a_cap_of_100_are_two() {
    let mut stage = budgets("[budgets]\nissue_refund = { amount = \"100\" }").start().await;
    let (seven, eight) = (stage.seven().await, stage.agent("agent-8", "acme", "wf-9", "dg-8").await);
    let codes = at_once(&stage, &[&seven, &eight], 50, "billing__refund", REFUND).await;
    assert_eq!((count(&codes, ""), count(&codes, "budget_exceeded")), (2, 48), "{codes:?}");
    assert_eq!(stage.billing.calls().len(), 2);
    // A restart forgets nothing, and what is left can still be spent.
    stage.restart(|_| {}).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(seven.call("billing__refund", REFUND).await.code(), "budget_exceeded");
    let rest = r#"{"case_id":"CASE-1837","amount":20}"#;
    assert_eq!(seven.call("billing__refund", rest).await.code(), "");
    assert_eq!(
        seven.call("billing__refund", r#"{"case_id":"CASE-1837","amount":0.01}"#).await.code(),
        "budget_exceeded"
    );
    let answer = stage.admin.request("GET", "/v1/tenants/acme/totals", "").send(stage.admin.address()).await;
    let totals = json(&answer.body);
    let of = |per: &str, of: &str| {
        let all = totals.get("totals").and_then(Value::as_array).unwrap();
        let text = |total: &Value, name: &str| total.get(name).and_then(Value::as_str).unwrap().to_owned();
        let one = all.iter().find(|total| text(total, "per") == per && text(total, "of") == of).unwrap();
        (one.get("count").unwrap().to_string(), one.get("amount").unwrap().to_string())
    };
    let all = ("3".to_owned(), "100".to_owned());
    assert_eq!(of("human_day", "maya"), all);
    assert_eq!(of("tool_day", "billing.refund"), all);
    assert_eq!(of("tenant_day", ""), all);
    audited(&mut stage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rac_1_what_never_left_comes_back() {
    let mut stage = StageBuilder::default()
        .change(TYPE, ROLE, &format!("{ROLE}\n\n[budgets]\nissue_refund = {{ amount = \"100\" }}"))
        .billing(Speaks::Legacy)
        .start()
        .await;
    let agent = stage.seven().await;
    // Permitted, and revoked before its first byte.
    let held = stage.billing.hold("initialize");
    let before = stage.billing.of("initialize").len();
    let running = {
        let request = agent.modern("billing__refund", r#"{"case_id":"CASE-1837","amount":90}"#);
        let address = stage.address;
        tokio::spawn(async move { request.send(address).await })
    };
    stage.billing.beyond("initialize", before).await;
    assert_eq!(agent.call("billing__refund", REFUND).await.code(), "budget_exceeded");
    stage.admin.act("/v1/freezes", r#"{"what":{"tool":"billing.refund"},"why":"a test"}"#).await;
    held.send_replace(true);
    assert_eq!(running.await.unwrap().ending(), "revoked");
    stage.admin.act("/v1/freezes/end", r#"{"what":{"tool":"billing.refund"},"why":"a test"}"#).await;
    assert_eq!(agent.call("billing__refund", REFUND).await.code(), "");
    stage.restart(|_| {}).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(agent.call("billing__refund", REFUND).await.code(), "");
    assert_eq!(agent.call("billing__refund", REFUND).await.code(), "budget_exceeded");
    let returned =
        stage.ledger().after(0).iter().filter(|entry| entry.record.get("returned").is_some()).count();
    assert_eq!(returned, 1);
    audited(&mut stage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_holds_at_once_and_over_a_restart() {
    let mut stage = note("rate = \"5/1h\"").start().await;
    let (seven, eight) = (stage.seven().await, stage.agent("agent-8", "acme", "wf-9", "dg-8").await);
    let codes = at_once(&stage, &[&seven], 20, "desk__note", NOTE).await;
    assert_eq!((count(&codes, ""), count(&codes, "rate_limited")), (5, 15), "{codes:?}");
    stage.restart(|_| {}).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(seven.call("desk__note", NOTE).await.code(), "rate_limited");
    assert_eq!(eight.call("desk__note", NOTE).await.code(), "", "another agent has its own");
    audited(&mut stage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn so_many_at_once_and_the_same_only_once() {
    let mut stage = note("concurrency = 3\nduplicates = \"1h\"").start().await;
    let agent = stage.seven().await;
    stage.desk.answer(|_| Reply::Silence);
    let running: Vec<_> = (0..12)
        .map(|i| {
            let (request, address) =
                (agent.modern("desk__note", &format!(r#"{{"text":"{i}"}}"#)), stage.address);
            tokio::spawn(async move {
                tokio::time::timeout(Duration::from_secs(4), request.send(address))
                    .await
                    .ok()
                    .map(|it| it.code())
            })
        })
        .collect();
    let mut codes = Vec::new();
    for one in running {
        codes.push(one.await.unwrap().unwrap_or_default());
    }
    assert_eq!((count(&codes, ""), count(&codes, "concurrency_limit")), (3, 9), "{codes:?}");
    // Their clients are gone, so they have ended: as unknown, and the same call is still a repetition.
    stage.desk.answer(|_| Reply::Result(r#"{"resultType":"complete","content":[]}"#.to_owned()));
    stage.settle().await;
    let done = codes.iter().position(String::is_empty).unwrap();
    let again = agent.call("desk__note", &format!(r#"{{"text":"{done}"}}"#)).await;
    assert_eq!(again.code(), "duplicate_effect", "{}", again.text());
    let codes = at_once(&stage, &[&agent], 10, "desk__note", NOTE).await;
    assert_eq!(count(&codes, ""), 1, "{codes:?}");
    audited(&mut stage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ops_4_a_flood_of_refusals_is_counted() {
    let mut stage = Stage::start().await;
    let agent = stage.seven().await;
    let mark = stage.ledger().last();
    let flood = 200;
    for _ in 0..flood {
        assert_eq!(agent.call("desk__note", r#"{"text":5}"#).await.code(), "argument_invalid");
    }
    // A denial that somebody may approve is always on record.
    let remediable = agent.call("billing__refund", r#"{"case_id":"CASE-1837","amount":250}"#).await;
    assert_eq!(remediable.code(), "manager_approval_missing");
    // The same proof over and over.
    let stolen = agent.modern("desk__note", NOTE);
    for i in 0..100 {
        let status = stolen.send(stage.address).await.status;
        assert_eq!(status, if i == 0 { 200 } else { 401 });
    }
    audited(&mut stage).await;
    let entries = stage.ledger().after(mark);
    let single = entries.iter().filter(|entry| entry.gist() == "deny argument_invalid").count();
    let acts = entries.iter().filter(|entry| entry.gist() == "act present_token").count();
    assert!(entries.iter().any(|entry| entry.gist() == "deny manager_approval_missing"));
    let counted: Vec<Refusals> = entries
        .iter()
        .filter(|entry| entry.kind == Kind::Refusals)
        .map(|entry| Refusals::read(entry.record.to_string().as_bytes()).unwrap())
        .collect();
    let of = |code: &str| -> u64 {
        counted.iter().flat_map(|it| &it.refused).filter(|it| it.code == code).map(|it| it.count).sum()
    };
    // A slow machine may need more than one window.
    assert!((128..flood).contains(&single), "{single} were recorded one by one");
    assert_eq!(single as u64 + of("argument_invalid"), flood as u64);
    assert_eq!(acts as u64 + of("proof_replayed"), 99);
    assert!(of("proof_replayed") > 0);
}
