//! UPS, TEN, SYN: resources that are looked up at their source before a call on them is decided.

use std::{sync::Arc, time::Duration};

use axum::{Router, extract::State, http::Uri, response::IntoResponse};
use placet_audit::{Data, Scope, replay};
use placet_json::Value;
use placet_record::Kind;
use placet_testing::{Agent, Answer, Entry, Reply, Stage, StageBuilder};
use tokio::net::TcpListener;

const REFUND: &str = r#"{"case_id":"CASE-1837","amount":80}"#;
const NOTE: &str = r#"{"text":"hello"}"#;
const ENTRY: &str = "[tool.\"crm.get_case\"]";

const BY_TOOL: &str = r#"[lookup.crm_case]
resource = "support_case"
tool = "crm.get_case"
args = { case_id = "$resource.id" }
tenant = "$.tenant_id"
id = "$.case_id"
max_age = "@age@"
timeout = "1s"
[lookup.crm_case.attributes]
case_id = { path = "$.case_id", type = "id" }
customer_id = { path = "$.customer.id", type = "id", pattern = "cust-[0-9]+" }
balance = { path = "$.balance", type = "decimal", required = false }

"#;

/// A stage whose cases are looked up by `lookup`, and CASE-1837 is known by nobody else.
async fn stage(lookup: &str, settings: &str) -> Stage {
    let builder = StageBuilder::default().settings(settings);
    let described = "customer_id = \"id\"";
    let builder = builder.change("catalog/crm.toml", ENTRY, &format!("{lookup}{ENTRY}")).change(
        "relations.toml",
        described,
        &format!("{described}, balance = \"decimal\""),
    );
    let stage = builder.start().await;
    forget(&stage, "CASE-1837").await;
    stage.crm.answer(|seen| case(seen.json.pointer("/params/arguments/case_id"), "acme"));
    stage
}

async fn by_tool(age: &str) -> Stage {
    stage(&BY_TOOL.replace("@age@", age), "").await
}

async fn forget(stage: &Stage, case: &str) {
    let change = format!(r#"{{"resource_removed":{{"type":"support_case","id":"{case}"}}}}"#);
    let body = format!(r#"{{"place":{{"tenant":"acme"}},"changes":[{change}],"why":"a test"}}"#);
    stage.admin.act("/v1/facts", &body).await;
}

fn document(id: &Value, tenant: &str) -> String {
    format!(r#"{{"case_id":{id},"tenant_id":"{tenant}","customer":{{"id":"cust-101"}},"balance":12.50}}"#)
}

fn case(id: Option<&Value>, tenant: &str) -> Reply {
    let document = document(id.unwrap(), tenant);
    Reply::Result(format!(r#"{{"resultType":"complete","content":[],"structuredContent":{document}}}"#))
}

fn same(stage: &Stage) -> usize {
    let data = Data::open(&stage.data()).unwrap();
    let report = replay(&data, &Scope::default(), None, &mut |_, _| {}).unwrap();
    assert_eq!(report.differs, 0, "{report:?}");
    assert_eq!(report.cannot_tell, 0, "{report:?}");
    usize::try_from(report.same).unwrap()
}

/// The decisions after a position, once there are so many: a denial rides the next commit.
async fn decisions(stage: &Stage, after: u64, count: usize) -> Vec<Entry> {
    for _ in 0..200 {
        let mut entries = stage.ledger().after(after);
        entries.retain(|entry| entry.kind == Kind::Decision);
        if entries.len() >= count {
            return entries;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("there are no {count} decisions after {after}")
}

fn looked_up(stage: &Stage, after: u64) -> Vec<Value> {
    let entries = stage.ledger().after(after);
    let facts = entries.iter().filter(|entry| entry.text("/transaction/source").starts_with("lookup:"));
    facts.map(|entry| entry.record.pointer("/transaction/changes/0/resource_set").unwrap().clone()).collect()
}

async fn refund(agent: &Agent) -> Answer {
    agent.call("billing__refund", REFUND).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_case_is_read_once_for_as_long_as_the_reading_holds() {
    let mut stage = by_tool("1500ms").await;
    let agent = stage.seven().await;
    let mark = stage.ledger().last();
    for _ in 0..5 {
        let answer = refund(&agent).await;
        assert_eq!(answer.code(), "", "{}", answer.text());
    }
    assert_eq!(stage.crm.calls().len(), 1, "one reading for five calls");
    assert_eq!(stage.billing.calls().len(), 5);
    let sent = stage.billing.calls()[0].json.pointer("/params/arguments/customer").cloned();
    assert_eq!(sent, Some(Value::from("cust-101")), "an argument is filled from what was read");
    // The tool was called by the gateway itself: its token is for nobody's call.
    let seen = &stage.crm.calls()[0];
    assert!(seen.head.to_ascii_lowercase().contains("authorization: dpop "), "{}", seen.head);

    stage.settle().await;
    let facts = looked_up(&stage, mark);
    assert_eq!(facts.len(), 1);
    let get = |pointer: &str| facts[0].pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    assert_eq!(get("/observed/source"), "lookup:crm_case");
    assert_eq!(get("/attributes/customer_id"), "cust-101");
    assert_eq!(facts[0].pointer("/attributes/balance").unwrap().to_string(), "12.5");
    let found = |entry: &Entry| entry.text("/call/lookups/0/found").to_owned();
    let permits = decisions(&stage, mark, 5).await;
    assert_eq!(permits.iter().map(found).collect::<Vec<_>>(), ["read", "kept", "kept", "kept", "kept"]);
    let observed = permits.iter().map(|entry| entry.text("/call/lookups/0/observed"));
    assert!(observed.into_iter().all(|at| at == get("/observed/at")), "{permits:?}");
    let age = permits[4].record.pointer("/call/lookups/0/age_ms").and_then(Value::as_u64).unwrap();
    assert!(age <= 1500, "{age}");

    tokio::time::sleep(Duration::from_millis(1600)).await;
    assert_eq!(refund(&agent).await.code(), "");
    assert_eq!(stage.crm.calls().len(), 2, "what is too old is read again");
    // Somebody who answers for the case tells it: from now on nothing is read.
    let told = r#"{"place":{"tenant":"acme"},"changes":[{"resource_set":{"type":"support_case","id":"CASE-1837","attributes":{"case_id":"CASE-1837","customer_id":"cust-7"}}}],"why":"a test"}"#;
    stage.admin.act("/v1/facts", told).await;
    tokio::time::sleep(Duration::from_millis(1600)).await;
    assert_eq!(refund(&agent).await.code(), "");
    assert_eq!(stage.crm.calls().len(), 2);
    let sent = stage.billing.calls().last().unwrap().json.pointer("/params/arguments/customer").cloned();
    assert_eq!(sent, Some(Value::from("cust-7")));
    // Without any tool at hand, every decision comes out as it did.
    stage.stop().await;
    assert_eq!(same(&stage), 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn syn_2_a_hundred_calls_at_once_wait_for_one_reading() {
    let stage = stage(&BY_TOOL.replace("@age@", "5s"), "[limits]\nstreams = 200\n").await;
    let agent = stage.seven().await;
    let requests: Vec<_> = (0..100).map(|_| agent.modern("billing__refund", REFUND)).collect();
    let gate = stage.crm.hold("tools/call");
    let address = stage.address;
    let calls: Vec<_> = requests
        .into_iter()
        .map(|request| tokio::spawn(async move { request.send(address).await }))
        .collect();
    stage.crm.beyond("tools/call", 0).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    gate.send_replace(true);
    for call in calls {
        let answer = call.await.unwrap();
        assert!(answer.text().contains("\"done\""), "{} {}", answer.status, answer.text());
    }
    assert_eq!(stage.crm.calls().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_2_what_cannot_be_read_is_unknown_and_looks_like_anything_unknown() {
    let mut stage = by_tool("5s").await;
    let agent = stage.seven().await;
    let result = |inner: &str| Reply::Result(format!(r#"{{"resultType":"complete","content":[],{inner}}}"#));
    let structured = |document: &str| result(&format!(r#""structuredContent":{document}"#));
    let text = |text: &str| {
        let text = Value::from(text);
        Reply::Result(format!(r#"{{"resultType":"complete","content":[{{"type":"text","text":{text}}}]}}"#))
    };
    let whole = |tenant: &str| document(&Value::from("CASE-1837"), tenant);
    let padding = "x".repeat(300 << 10);
    let replies = [
        ("another tenant's", structured(&whole("globex")), "another tenant"),
        ("nobody's", structured(&whole("acme").replace("tenant_id", "tenant")), "doesn't name a tenant"),
        ("no such case", result(r#""isError":true"#), "failed"),
        ("an error", Reply::Error(r#"{"code":-32000,"message":"no"}"#.to_owned()), "error -32000"),
        ("garbage", text("once upon a time"), "no JSON"),
        ("no document", text("[1]"), "doesn't name a tenant"),
        ("another case", structured(&whole("acme").replace("1837", "1838")), "isn't about this resource"),
        ("an attribute less", structured(&whole("acme").replace("customer", "x")), "has no `$.customer.id`"),
        ("another type", structured(&whole("acme").replace("cust-101", "C 101")), "identifier"),
        ("an inexact number", structured(&whole("acme").replace("12.50", "0.123456")), "number"),
        (
            "oversized",
            structured(&whole("acme").replace("12.50", &format!(r#"1,"x":"{padding}""#))),
            "longer",
        ),
        ("no answer", Reply::Gone, "connection"),
        ("silence", Reply::Silence, "in time"),
    ];
    let mut answers = Vec::new();
    for (what, reply, why) in replies {
        let mark = stage.ledger().last();
        let calls = stage.crm.calls().len();
        stage.crm.answer(move |_| reply.clone());
        let answer = refund(&agent).await;
        assert_eq!(answer.code(), "resource_unknown", "{what}: {}", answer.text());
        assert_eq!(stage.crm.calls().len(), calls + 1, "{what}");
        assert!(stage.billing.calls().is_empty(), "{what}");
        let entries = decisions(&stage, mark, 1).await;
        let [denial] = &entries[..] else { panic!("{what}: {entries:?}") };
        assert!(
            denial.text("/reasons/0/operator").contains(why),
            "{what}: {}",
            denial.text("/reasons/0/operator")
        );
        assert!(looked_up(&stage, mark).is_empty(), "{what} became a fact");
        let head: Vec<_> = answer.head.lines().filter(|line| !line.starts_with("date:")).collect();
        answers.push(format!("{head:?}{}", answer.text()).replace(denial.text("/id"), "ID"));
        // One that answers, so that the failures are not in a row.
        stage.crm.answer(|_| Reply::Error(r#"{"code":-32000,"message":"no"}"#.to_owned()));
        drop(refund(&agent).await);
        decisions(&stage, denial.at, 1).await;
    }
    assert!(answers.iter().all(|answer| answer == &answers[0]), "{answers:#?}");
    stage.settle().await;
    stage.stop().await;
    assert_eq!(same(&stage), 26);
}

#[tokio::test(flavor = "multi_thread")]
async fn ups_who_may_not_act_makes_nobody_read() {
    let stage = by_tool("5s").await;
    let agent = stage.seven().await;
    // Another case than the workflow's own; arguments that are none; a tool that wasn't delegated.
    for (tool, arguments, code) in [
        ("billing__refund", r#"{"case_id":"CASE-4711","amount":80}"#, "resource_unknown"),
        ("billing__refund", r#"{"case_id":"CASE-1837","amount":"80"}"#, "argument_invalid"),
        ("billing__refund", r#"{"case_id":"CASE-1837","amount":501}"#, "resource_unknown"),
        ("desk__purge", "{}", "tool_unknown"),
    ] {
        let answer = agent.call(tool, arguments).await;
        assert_eq!(answer.code(), code, "{}", answer.text());
    }
    for what in [r#"{"agent":"agent-7"}"#, r#"{"tool":"billing.refund"}"#, r#""all""#] {
        stage.admin.act("/v1/freezes", &format!(r#"{{"what":{what},"why":"a test"}}"#)).await;
        assert!(!refund(&agent).await.code().is_empty());
        stage.admin.act("/v1/freezes/end", &format!(r#"{{"what":{what},"why":"a test"}}"#)).await;
    }
    // A stop of what is read by stops the reading.
    for what in [r#"{"tool":"crm.get_case"}"#, r#"{"upstream":"crm"}"#] {
        let mark = stage.ledger().last();
        stage.admin.act("/v1/freezes", &format!(r#"{{"what":{what},"why":"a test"}}"#)).await;
        assert_eq!(refund(&agent).await.code(), "resource_unknown");
        let entries = decisions(&stage, mark, 1).await;
        assert!(entries[0].text("/reasons/0/operator").contains("frozen"), "{entries:?}");
        stage.admin.act("/v1/freezes/end", &format!(r#"{{"what":{what},"why":"a test"}}"#)).await;
    }
    assert!(stage.crm.calls().is_empty(), "{:?}", stage.crm.calls());
    // A definition that nobody reviewed is not called, by the gateway itself neither.
    let changed = placet_testing::json(
        br#"{"name":"get_case","description":"Now it deletes, too.","inputSchema":{"type":"object"}}"#,
    );
    stage.crm.offer(vec![changed]);
    drop(stage.admin.get("/v1/upstreams/crm/tools").await);
    let mark = stage.ledger().last();
    assert_eq!(refund(&agent).await.code(), "resource_unknown");
    assert!(decisions(&stage, mark, 1).await[0].text("/reasons/0/operator").contains("tool_changed"));
    assert!(stage.crm.calls().is_empty());
}

const BY_GET: &str = r#"[lookup.case]
resource = "support_case"
get = "/api/{tenant}/cases/{resource.id}?view=short"
upstream = "records"
credential = "vault:billing"
tenant = "$.tenant_id"
[lookup.case.attributes]
case_id = { path = "$.case_id", type = "id" }
customer_id = { path = "$.customer.id", type = "id" }

"#;

/// What a server of documents was asked, and what it does.
#[derive(Clone, Default)]
struct Records(Arc<std::sync::Mutex<Vec<(String, String)>>>);

async fn serve(
    State(records): State<Records>,
    uri: Uri,
    headers: axum::http::HeaderMap,
) -> axum::response::Response {
    let given = headers.get("authorization").map(|value| value.to_str().unwrap().to_owned());
    records.0.lock().unwrap().push((uri.to_string(), given.clone().unwrap_or_default()));
    let json = [("content-type", "application/json")];
    let id = uri.path().rsplit('/').next().unwrap();
    match id {
        "gone" => axum::http::StatusCode::NOT_FOUND.into_response(),
        "moved" => (axum::http::StatusCode::TEMPORARY_REDIRECT, [("location", "/api/acme/cases/B-1")])
            .into_response(),
        "echo" => {
            let document = document(&Value::from("echo"), "acme").replace("cust-101", &given.unwrap());
            (json, document).into_response()
        }
        "foreign" => (json, document(&Value::from("B-1"), "globex")).into_response(),
        _ => (json, document(&Value::from("B-1"), "acme")).into_response(),
    }
}

/// A workflow about this case, for agent-7.
async fn about(stage: &Stage, case: &str) -> Agent {
    let id = format!("wf-{case}").replace(['/', '|', '@'], ".");
    let end = stage.end_in(3_600_000);
    let body = format!(
        r#"{{"place":{{"tenant":"acme"}},"why":"a test","changes":[
          {{"workflow_opened":{{"id":"{id}","type":"support_case","owner":"maya","intents":["support_case_resolution"],"ends":"{end}","bindings":{{"support_case":"{case}"}}}}}},
          {{"delegation_granted":{{"id":"d-{id}","human":"maya","agent":"agent-7","workflow":"{id}","grantor":"human",
            "scope":{{"actions":["take_note"],"intents":["support_case_resolution"],"limits":{{}},"ends":"{end}","depth":0}}}}}}]}}"#
    );
    stage.admin.act("/v1/facts", &body).await;
    stage.agent("agent-7", "acme", &id, &format!("d-{id}")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn ups_4_a_document_is_read_below_its_address_and_nowhere_else() {
    let records = Records::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = Router::new().fallback(serve).with_state(records.clone());
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    let settings = format!(
        "[[upstream]]\nname = \"records\"\nurl = \"http://{address}/v2/\"\nprotocol = \"rest\"\nallow_private = true\n"
    );
    let mut stage = stage(BY_GET, &settings).await;
    for (case, path) in [
        ("B-1", "/v2/api/acme/cases/B-1?view=short"),
        ("A/../B|1@x", "/v2/api/acme/cases/A%2F..%2FB%7C1%40x?view=short"),
    ] {
        let agent = about(&stage, case).await;
        let answer = agent.call("desk__note", NOTE).await;
        assert_eq!(answer.code(), "", "{case}: {}", answer.text());
        let (asked, given) = records.0.lock().unwrap().pop().unwrap();
        assert_eq!((asked.as_str(), given.as_str()), (path, format!("Bearer {}", stage.secret()).as_str()));
    }
    for (case, why) in [
        ("gone", "no such document"),
        ("moved", "HTTP status 307"),
        ("echo", "held the credential"),
        ("foreign", "another tenant"),
        ("..", "can't be a segment"),
    ] {
        let agent = about(&stage, case).await;
        let mark = stage.ledger().last();
        let before = records.0.lock().unwrap().len();
        let answer = agent.call("desk__note", NOTE).await;
        assert_eq!(answer.code(), "resource_unknown", "{case}: {}", answer.text());
        assert!(!answer.all().contains(stage.secret()), "{case}");
        let entries = decisions(&stage, mark, 1).await;
        assert!(entries[0].text("/reasons/0/operator").contains(why), "{case}: {entries:?}");
        assert!(looked_up(&stage, mark).is_empty());
        let asked = records.0.lock().unwrap().len() - before;
        assert_eq!(asked, usize::from(case != ".."), "{case}");
    }
    assert_eq!(stage.desk.calls().len(), 2);
    // No agent reaches it, and it has no tools.
    let agent = about(&stage, "B-2").await;
    assert!(agent.tools().await.iter().all(|tool| !tool.contains("records")));
    stage.stop().await;
    assert_eq!(same(&stage), 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_read_is_forgotten_beyond_its_bound_and_every_decision_is_found_again() {
    let lookup = BY_TOOL.replace("@age@", "1h").replace("timeout =", "keep = 2\ntimeout =");
    let mut stage = stage(&lookup, "").await;
    let agent = stage.seven().await;
    let remembered = async |stage: &Stage| {
        let facts = stage.admin.get("/v1/facts?tenant=acme&kind=resources").await;
        let all = facts.get("resources").and_then(Value::as_array).unwrap().to_vec();
        let read = all.iter().filter(|resource| resource.get("observed").is_some());
        read.map(|resource| resource.get("id").unwrap().as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(agent.call("billing__refund", REFUND).await.code(), "");
    assert_eq!(remembered(&stage).await, ["CASE-1837"]);
    // Two others of the type push it out; they are told by hand as the gateway would have read them.
    let keep = r#"{"of_type":2,"of_tenant":65536,"ms":3600000}"#;
    for id in ["CASE-1", "CASE-2"] {
        let at = placet_core::Timestamp::from_secs(placet_testing::now() + 1);
        let change = format!(
            r#"{{"resource_set":{{"type":"support_case","id":"{id}","attributes":{{}},"observed":{{"source":"lookup:crm_case","at":"{at}","keep":{keep}}}}}}}"#
        );
        let body = format!(r#"{{"place":{{"tenant":"acme"}},"changes":[{change}],"why":"a test"}}"#);
        stage.admin.act("/v1/facts", &body).await;
    }
    assert_eq!(remembered(&stage).await, ["CASE-1", "CASE-2"]);
    // It is read again, and found again.
    let before = looked_up(&stage, 0).len();
    assert_eq!(agent.call("billing__refund", r#"{"case_id":"CASE-1837","amount":81}"#).await.code(), "");
    assert_eq!(looked_up(&stage, 0).len(), before + 1);
    let after = remembered(&stage).await;
    assert!(after.len() == 2 && after.contains(&"CASE-1837".to_owned()), "{after:?}");
    stage.restart(|_| {}).await;
    assert_eq!(remembered(&stage).await, after, "a restart forgets the same");
    stage.stop().await;
    assert_eq!(same(&stage), 2);
}
