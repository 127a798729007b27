//! Workflows that move between named states, and chains of approvals, by people who sign their own acts.

use placet_audit::{Data, Scope, replay};
use placet_json::Value;
use placet_testing::{Admin, Reply, Stage, StageBuilder, Want, Watch};

const TYPE: &str = "workflow_types/support_case.toml";
const LARGE: &str = r#"{"case_id":"CASE-1837","amount":250}"#;
const SMALL: &str = r#"{"case_id":"CASE-1837","amount":80}"#;

const STATES: &str = r#"initial = "open"

[state.open]
[state.review]
[state.settled]
closes = true

[[transition]]
from = "open"
to = "review"
roles = ["support"]

[[transition]]
from = "review"
to = "open"
roles = ["support"]

[[transition]]
from = ["open", "review"]
to = "settled"
approval = "settlement"

[approval.settlement]
steps = ["finance", "support_manager"]

[approval.manager_approval]
steps = ["finance", "support_manager"]
"#;

async fn staged() -> Stage {
    let stage = StageBuilder::default()
        .change(TYPE, "[approval.manager_approval]\nrole = \"support_manager\"\n", STATES)
        .change(
            "policies/support.rego",
            "workflow_active {\ntime",
            "workflow_active {\ninput.workflow.state == \"open\"\ntime",
        )
        .start()
        .await;
    for (human, role) in [("finn", "finance"), ("ada", "support_manager")] {
        let set = format!(r#"{{"id":"{human}","home":"acme","why":"a test"}}"#);
        stage.admin.act("/v1/humans", &set).await;
        let roles = format!(r#"{{"human":"{human}","roles":["{role}"],"why":"a test"}}"#);
        stage.admin.act("/v1/tenants/acme/assignments", &roles).await;
    }
    stage
}

async fn go(who: &Admin, workflow: &str, to: &str) -> (u16, Value) {
    let path = format!("/v1/tenants/acme/workflows/{workflow}/move");
    let answer = who.ask(&path, &format!(r#"{{"to":"{to}","why":"a test"}}"#)).await;
    (answer.status, answer.message())
}

fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workflow_moves_and_the_next_decision_reads_its_state() {
    let stage = staged().await;
    let (agent, maya, omar) =
        (stage.seven().await, stage.admin.person("maya").await, stage.admin.person("omar").await);
    assert_eq!(
        agent.call("billing__refund", SMALL).await.code(),
        "",
        "the first state is the policy's `open`"
    );
    let (status, told) = go(&omar, "wf-9", "review").await;
    assert_eq!((status, text(&told, "/error/code")), (403, "forbidden"), "{told}");
    let (status, told) = go(&maya, "wf-9", "review").await;
    assert_eq!((status, told.get("moved").and_then(Value::as_bool)), (200, Some(true)), "{told}");
    let watch = Watch::on(&stage).await;
    let answer = agent.call("billing__refund", SMALL).await;
    assert!(!answer.code().is_empty(), "{}", answer.text());
    let entries = watch
        .assert(
            &stage,
            "in review",
            Want { ledger: &[&format!("deny {}", answer.code())], ..Want::default() },
        )
        .await;
    assert_eq!(entries[0].text("/input/workflow/state"), "review");
    for (to, status, code) in [("review", 409, "conflict"), ("closed", 422, "unknown")] {
        let (got, told) = go(&maya, "wf-9", to).await;
        assert_eq!((got, text(&told, "/error/code")), (status, code), "{to}: {told}");
        assert!(!text(&told, "/error/remedy").is_empty(), "{told}");
    }
    assert_eq!(go(&maya, "wf-0", "review").await.0, 404);
    go(&maya, "wf-9", "open").await;
    assert_eq!(agent.call("billing__refund", SMALL).await.code(), "");
    // It survives a restart, being nothing but facts.
    let mut stage = stage;
    go(&maya, "wf-9", "review").await;
    stage.restart(|_| {}).await;
    let listed = stage.admin.get("/v1/tenants/acme/workflows").await;
    let workflows = listed.get("workflows").and_then(Value::as_array).unwrap();
    let of = |id: &str| workflows.iter().find(|workflow| text(workflow, "/id") == id).unwrap();
    assert_eq!((text(of("wf-9"), "/stage"), text(of("wf-9"), "/state")), ("review", "open"));
    assert!(!text(of("wf-9"), "/opened").is_empty(), "the journal says when it was opened");
}

#[tokio::test(flavor = "multi_thread")]
async fn rac_1_of_many_who_move_at_once_one_does() {
    let stage = staged().await;
    let maya = stage.admin.person("maya").await;
    let requests: Vec<_> = (0..12)
        .map(|_| maya.request("POST", "/v1/tenants/acme/workflows/wf-9/move", r#"{"to":"review"}"#))
        .collect();
    let running: Vec<_> = requests
        .into_iter()
        .map(|request| {
            let address = maya.address();
            tokio::spawn(async move { request.send(address).await.status })
        })
        .collect();
    let mut moved = 0;
    for one in running {
        let status = one.await.unwrap();
        assert!([200, 409].contains(&status), "{status}");
        moved += usize::from(status == 200);
    }
    assert_eq!(moved, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn rac_2_a_chain_of_people_moves_it_and_its_end_ends_what_runs() {
    let stage = staged().await;
    let (maya, omar, ada, finn) = (
        stage.admin.person("maya").await,
        stage.admin.person("omar").await,
        stage.admin.person("ada").await,
        stage.admin.person("finn").await,
    );
    let agent = stage.seven().await;
    for (who, name) in [(&maya, "the owner"), (&omar, "out of turn"), (&stage.admin, "an operator")] {
        let (status, told) = go(who, "wf-9", "settled").await;
        assert_eq!(status, 403, "{name}: {told}");
        assert!(!text(&told, "/error/remedy").is_empty(), "{name}: {told}");
    }
    let (status, told) = go(&finn, "wf-9", "settled").await;
    assert_eq!((status, told.get("moved").and_then(Value::as_bool)), (200, Some(false)), "{told}");
    assert_eq!(told.get("then").unwrap().to_string(), r#"["support_manager"]"#);
    assert_eq!(go(&finn, "wf-9", "settled").await.0, 403, "nobody twice");
    // What finance said was said of the state it was in.
    go(&maya, "wf-9", "review").await;
    assert_eq!(go(&omar, "wf-9", "settled").await.0, 403);
    go(&maya, "wf-9", "open").await;
    stage.billing.answer(|_| Reply::Silence);
    let before = stage.billing.calls().len();
    let running = {
        let (request, address) = (agent.modern("billing__refund", SMALL), stage.address);
        tokio::spawn(async move { request.send(address).await })
    };
    stage.billing.beyond("tools/call", before).await;
    let (status, told) = go(&ada, "wf-9", "settled").await;
    assert_eq!((status, told.get("closed").and_then(Value::as_bool)), (200, Some(true)), "{told}");
    assert_eq!(running.await.unwrap().ending(), "unknown");
    assert_eq!(agent.call("billing__refund", SMALL).await.code(), "workflow_closed");
    assert_eq!(go(&maya, "wf-9", "open").await.0, 409);
    let listed = stage.admin.get("/v1/tenants/acme/approvals").await;
    let spent: Vec<bool> = listed
        .get("approvals")
        .and_then(Value::as_array)
        .unwrap()
        .iter()
        .map(|approval| approval.get("spent_at").and_then(Value::as_u64).is_some())
        .collect();
    assert_eq!(spent, [true, true]);
}

#[tokio::test(flavor = "multi_thread")]
async fn rac_2_a_call_waits_for_every_step_of_its_chain() {
    let stage = staged().await;
    let (omar, ada, finn) =
        (stage.admin.person("omar").await, stage.admin.person("ada").await, stage.admin.person("finn").await);
    let agent = stage.seven().await;
    let denied = || async {
        let answer = agent.call("billing__refund", LARGE).await;
        assert_eq!(answer.code(), "manager_approval_missing", "{}", answer.text());
        let message = answer.message();
        let placet = message.pointer("/result/structuredContent/placet").unwrap();
        (text(placet, "/decision_id").to_owned(), text(placet, "/remedy").to_owned())
    };
    let (first, remedy) = denied().await;
    assert!(
        remedy.contains("`finance`") && remedy.contains("after that one with the role `support_manager`"),
        "{remedy}"
    );
    let approve = |id: &str| format!(r#"{{"decision":"{id}","why":"a test"}}"#);
    let refused = omar.ask("/v1/approvals", &approve(&first)).await;
    assert_eq!(refused.status, 403);
    assert!(refused.text().contains("it is the turn of the role `finance`"), "{}", refused.text());
    let told = finn.act("/v1/approvals", &approve(&first)).await;
    assert_eq!(told.get("then").unwrap().to_string(), r#"["support_manager"]"#);
    // Sent twice, it is one yes.
    let again = finn.act("/v1/approvals", &approve(&first)).await;
    assert_eq!(again.get("id"), told.get("id"));
    let (second, remedy) = denied().await;
    assert!(remedy.contains("`support_manager`") && !remedy.contains("after that"), "{remedy}");
    // Ada says yes to the later denial of the same call: it is the same call.
    let told = ada.act("/v1/approvals", &approve(&second)).await;
    assert_eq!(told.get("then").unwrap().to_string(), "[]");
    assert_eq!(omar.ask("/v1/approvals", &approve(&second)).await.status, 409);
    let watch = Watch::on(&stage).await;
    let answer = agent.call("billing__refund", LARGE).await;
    assert_eq!(answer.code(), "", "{}", answer.text());
    let entries =
        watch.assert(&stage, "both", Want { ledger: &["permit", "done"], calls: 1, ..Want::default() }).await;
    let permit = entries.iter().find(|entry| entry.gist() == "permit").unwrap();
    assert_eq!(permit.record.get("spends").and_then(Value::as_array).map(<[_]>::len), Some(2));
    let (_, remedy) = denied().await;
    assert!(remedy.contains("`finance`"), "spent, and begun again: {remedy}");
}

#[tokio::test(flavor = "multi_thread")]
async fn del_1_what_the_type_does_not_admit_never_becomes_a_fact() {
    let stage = staged().await;
    let maya = stage.admin.person("maya").await;
    let open = |kind: &str, intent: &str, life: u64, more: &str| {
        format!(
            r#"{{"type":"{kind}","intents":["{intent}"],"ends":"{}","why":"a test"{more}}}"#,
            stage.end_in(life)
        )
    };
    let (kind, intent, hour) = ("support_case", "support_case_resolution", 3_600_000);
    let bound = r#","bindings":{"support_case":"CASE-1837"}"#;
    let path = "/v1/tenants/acme/workflows";
    for (body, told) in [
        (open("unheard", intent, hour, bound), "/type"),
        (open(kind, "marketing", hour, bound), "/intents"),
        (open(kind, intent, 9 * hour, bound), "/ends"),
        (open(kind, intent, hour, ""), "/bindings"),
        (
            open(kind, intent, hour, &format!(r#"{bound},"attributes":{{"colour":"red"}}"#)),
            "/attributes/colour",
        ),
        (
            open(kind, intent, hour, &format!(r#"{bound},"attributes":{{"case_id":7}}"#)),
            "/attributes/case_id",
        ),
        (open(kind, intent, hour, &format!(r#"{bound},"stage":"review""#)), "/stage"),
        (open(kind, intent, hour, &format!(r#"{bound},"stage":"settled""#)), "/stage"),
    ] {
        let answer = maya.ask(path, &body).await;
        assert_eq!(answer.status, 422, "{body}: {}", answer.text());
        let message = answer.message();
        assert!(text(&message, "/error/message").contains(told), "{told}: {message}");
        assert!(!text(&message, "/error/remedy").is_empty());
    }
    // The operator's own way in asks for the same, and nobody writes another's yes.
    let workflow = open(kind, intent, 9 * hour, &format!(r#"{bound},"id":"wf-x","owner":"maya""#))
        .replace(r#","why":"a test""#, "");
    for (change, status) in [
        (format!(r#"{{"workflow_opened":{workflow}}}"#), 422),
        (
            format!(
                r#"{{"delegation_granted":{{"id":"dg-x","human":"maya","agent":"agent-7","workflow":"wf-9","grantor":"human","scope":{{"actions":["issue_refund"],"intents":["marketing"],"limits":{{}},"ends":"{}","depth":0}}}}}}"#,
                stage.end_in(hour)
            ),
            422,
        ),
        (r#"{"workflow_moved":{"id":"wf-9","from":"open","to":"settled"}}"#.to_owned(), 403),
        (
            format!(
                r#"{{"approval_given":{{"id":"ap-x","name":"manager_approval","workflow":"wf-9","approver":"omar","role":"support_manager","covers":"sha256:{}","ends":"{}"}}}}"#,
                "0".repeat(64),
                stage.end_in(hour)
            ),
            403,
        ),
    ] {
        let body = format!(r#"{{"place":{{"tenant":"acme"}},"changes":[{change}],"why":"a test"}}"#);
        let answer = stage.admin.ask("/v1/facts", &body).await;
        assert_eq!(answer.status, status, "{change}: {}", answer.text());
    }
    let coder = r#"{"place":"organisation","changes":[{"agent_enrolled":{"id":"coder","type":"coding_agent","owner":"maya","standing":"active"}}]}"#;
    stage.admin.act("/v1/facts", coder).await;
    let answer = maya
        .ask(
            "/v1/tenants/acme/delegations",
            r#"{"agent":"coder","workflow":"wf-9","scope":{"actions":["issue_refund"]}}"#,
        )
        .await;
    assert_eq!(answer.status, 422, "{}", answer.text());
    assert!(answer.text().contains("coding_agent"), "{}", answer.text());
    let told = maya.act(path, &open(kind, intent, hour, bound)).await;
    assert_eq!(text(&told, "/stage"), "open");
}

const ON_ACTION: &str = r#"initial = "open"

[state.open]
[state.refunded]
[state.settled]
closes = true

[[transition]]
from = "open"
to = "refunded"
on = "issue_refund"

[[transition]]
from = "refunded"
to = "settled"
on = "post_note"

[approval.manager_approval]
role = "support_manager"
"#;

/// Refunds only in the first state.
async fn by_action(settings: &str) -> Stage {
    let kind = "[approval.manager_approval]\nrole = \"support_manager\"\n";
    StageBuilder::default()
        .settings(settings)
        .change(TYPE, kind, &ON_ACTION.replace("post_note", "take_note"))
        .change(
            "policies/support.rego",
            "workflow_active {\ntime",
            "workflow_active {\ninput.workflow.state == \"open\"\ntime",
        )
        .start()
        .await
}

async fn stage_of(stage: &Stage, at: &str) -> String {
    let facts = stage.admin.get(&format!("/v1/facts?tenant=acme&kind=workflows{at}")).await;
    let workflows = facts.pointer("/facts/workflows").or_else(|| facts.get("workflows"));
    let workflows = workflows.and_then(Value::as_array).unwrap_or_else(|| panic!("{facts}"));
    let of = workflows.iter().find(|workflow| text(workflow, "/id") == "wf-9").unwrap();
    text(of, "/stage").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_effect_of_a_permitted_call_moves_its_workflow_once() {
    let mut stage = by_action("").await;
    let agent = stage.seven().await;
    // What failed, was denied or was revoked moves nothing.
    stage.billing.answer(|_| {
        Reply::Result(
            r#"{"resultType":"complete","isError":true,"content":[{"type":"text","text":"no"}]}"#.to_owned(),
        )
    });
    let failed = agent.call("billing__refund", SMALL).await;
    assert!(failed.text().contains("isError"), "{}", failed.text());
    stage.settle().await;
    assert_eq!(stage.ledger().after(0).iter().filter(|entry| entry.record.get("error").is_some()).count(), 1);
    assert!(!agent.call("billing__refund", LARGE).await.code().is_empty());
    assert_eq!(stage_of(&stage, "").await, "");
    stage.billing.answer(|_| {
        Reply::Result(r#"{"resultType":"complete","content":[{"type":"text","text":"done"}]}"#.to_owned())
    });
    let before = stage.ledger().last();
    assert_eq!(agent.call("billing__refund", SMALL).await.code(), "");
    stage.settle().await;
    assert_eq!(stage_of(&stage, "").await, "refunded");
    // The effect and what follows from it are neighbours in the journal, and any moment is found again.
    let entries = stage.ledger().after(before);
    let effect = entries.iter().position(|entry| entry.text("/ending") == "done").unwrap();
    let moved = &entries[effect + 1];
    assert_eq!(
        moved.record.pointer("/transaction/changes/0/workflow_moved/to").and_then(Value::as_str),
        Some("refunded")
    );
    assert_eq!((moved.text("/transaction/author"), moved.text("/transaction/source")), ("agent-7", "effect"));
    let at = |sequence: u64| format!("&at={sequence}");
    assert_eq!(stage_of(&stage, &at(moved.at)).await, "refunded");
    assert_eq!(stage_of(&stage, &at(moved.at - 1)).await, "");
    let denied = agent.call("billing__refund", SMALL).await;
    assert!(!denied.code().is_empty(), "policy reads the new state: {}", denied.text());
    stage.restart(|_| {}).await;
    assert_eq!(stage_of(&stage, "").await, "refunded");
    stage.stop().await;
    let report =
        replay(&Data::open(&stage.data()).unwrap(), &Scope::default(), None, &mut |_, _| {}).unwrap();
    assert!(report.is_same() && report.cannot_tell == 0, "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rac_1_of_many_calls_whose_effects_move_one_workflow_the_first_moves_it() {
    let mut stage = by_action("").await;
    let agent = stage.seven().await;
    let running: Vec<_> = (0..12)
        .map(|i| {
            let arguments = format!(r#"{{"case_id":"CASE-1837","amount":{}}}"#, 10 + i);
            let (request, address) = (agent.modern("billing__refund", &arguments), stage.address);
            tokio::spawn(async move { request.send(address).await.code() })
        })
        .collect();
    for one in running {
        one.await.unwrap();
    }
    stage.settle().await;
    let entries = stage.ledger().after(0);
    let is_move = |entry: &&placet_testing::Entry| {
        entry.record.pointer("/transaction/changes/0/workflow_moved").is_some()
    };
    let moved: Vec<_> = entries.iter().filter(is_move).collect();
    assert_eq!(moved.len(), 1, "one effect was the first");
    let first = entries.iter().find(|entry| entry.text("/ending") == "done").unwrap();
    assert_eq!(moved[0].at, first.at + 1);
    assert_eq!(stage_of(&stage, "").await, "refunded");
    // What was decided in the old state and not sent by then, was decided again.
    let mut late = entries.iter().filter(|entry| entry.at > moved[0].at);
    assert!(!late.any(|entry| entry.text("/decision") == "permit"), "a permit in a state that admits none");
    stage.stop().await;
    let report =
        replay(&Data::open(&stage.data()).unwrap(), &Scope::default(), None, &mut |_, _| {}).unwrap();
    assert!(report.is_same() && report.cannot_tell == 0, "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_effect_moves_nothing_until_it_is_found_that_it_happened() {
    let mut stage = by_action("[limits]\nresolve_every_ms = 0\n").await;
    let agent = stage.seven().await;
    stage.billing.answer(|_| Reply::Gone);
    for happened in [false, true] {
        let before = stage.ledger().last();
        assert_eq!(agent.call("billing__refund", SMALL).await.ending(), "unknown");
        stage.settle().await;
        assert_eq!(stage_of(&stage, "").await, "");
        let permit =
            stage.ledger().after(before).into_iter().find(|entry| entry.text("/decision") == "permit");
        let path = format!("/v1/effects/{}/resolve", permit.unwrap().text("/id"));
        let told = format!(r#"{{"happened":{happened},"why":"seen at the bank"}}"#);
        // A restart in between forgets nothing.
        stage.restart(|_| {}).await;
        stage.admin.act(&path, &told).await;
        assert_eq!(stage_of(&stage, "").await, if happened { "refunded" } else { "" });
        assert_eq!(stage.admin.ask(&path, &told).await.status, 404, "once");
    }
    stage.restart(|_| {}).await;
    assert_eq!(stage_of(&stage, "").await, "refunded");
    stage.stop().await;
    let report =
        replay(&Data::open(&stage.data()).unwrap(), &Scope::default(), None, &mut |_, _| {}).unwrap();
    assert!(report.is_same() && report.cannot_tell == 0, "{report:?}");
}
