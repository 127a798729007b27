//! ARG, UPS, CRE at HTTP APIs: tools that are operations, called by MCP and by their own paths.

use std::sync::{Arc, Mutex};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use placet_audit::{Data, Scope, replay};
use placet_jose::{
    KeySet,
    guard::{Guard, Reach, Request, verify_call},
    htu::Htu,
    replay::MemoryWindow,
};
use placet_json::Value;
use placet_testing::{Agent, Answer, Stage, StageBuilder, Want, Watch, json, now};
use tokio::net::TcpListener;

use crate::support::server_key;

const ENTRY: &str = "[tool.\"crm.get_case\"]";
const CATALOG: &str = r#"[tool."cases.get"]
action = "take_note"
effect = "read"
description = "Reads one case."
describe = { id = "The case's number." }
resource = { type = "support_case", id = "$workflow.binding.support_case" }
credential = "vault:billing"
http = { method = "GET", path = "/cases/{id}", query = { view = "{view}", v = "2" }, header = { X-Region = "{region}" } }
[tool."cases.get".args]
id = { type = "text" }
view = { type = "text", required = false }
region = { type = "text", required = false }

[tool."cases.list"]
action = "take_note"
effect = "read"
resource = { type = "support_case", id = "$workflow.binding.support_case" }
credential = "vault:billing"
http = { method = "GET", path = "/t/{tenant}/list" }
[tool."cases.list".args]
tenant = { bind = "$tenant" }
[tool."cases.list".result]
guard = { items = "$.cases[*]", tenant = "$.tenant_id" }
labels = ["customer_pii"]

[tool."cases.add"]
action = "take_note"
effect = "write"
resource = { type = "support_case", id = "$workflow.binding.support_case" }
credential = "call-token"
http = { method = "POST", path = "/cases/{id}/notes", query = { notify = "{notify}" }, body = "json" }
[tool."cases.add".args]
id = { type = "id" }
notify = { type = "boolean", required = false }
text = { type = "text" }
weight = { type = "decimal", required = false }
tenant = { bind = "$tenant" }

[tool."cases.drop"]
action = "purge_all"
effect = "destructive"
resource = { type = "support_case", id = "$workflow.binding.support_case" }
credential = "none"
http = { method = "DELETE", path = "/cases/{id}" }
[tool."cases.drop".args]
id = { type = "id" }

[tool."crm.raw"]
action = "take_note"
effect = "read"
resource = { type = "support_case", id = "$workflow.binding.support_case" }
credential = "none"
http = { method = "GET", path = "/raw" }

"#;

/// A request as hyper read it.
#[derive(Debug, Clone)]
struct Seen {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: String,
}

impl Seen {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }
}

#[derive(Clone, Default)]
struct Api(Arc<Mutex<Vec<Seen>>>);

impl Api {
    fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }
    fn last(&self) -> Seen {
        self.0.lock().unwrap().last().unwrap().clone()
    }
}

async fn serve(
    State(api): State<Api>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let text = |value: &axum::http::HeaderValue| value.to_str().unwrap().to_owned();
    let seen = Seen {
        method: method.to_string(),
        target: uri.to_string(),
        headers: headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
        body: String::from_utf8(body.to_vec()).unwrap(),
    };
    let given = seen.header("authorization").unwrap_or_default().to_owned();
    api.0.lock().unwrap().push(seen);
    let kind = [("content-type", "application/json; charset=utf-8")];
    let segment = uri.path().split('/').nth(3).unwrap_or_default().to_owned();
    if let Some(status) = segment.strip_prefix('s').and_then(|status| status.parse::<u16>().ok()) {
        let status = StatusCode::from_u16(status).unwrap();
        return match status.as_u16() {
            204 => status.into_response(),
            302 | 307 => (status, [("location", "/v1/cases/other")]).into_response(),
            _ => (status, kind, format!(r#"{{"status":{}}}"#, status.as_u16())).into_response(),
        };
    }
    match segment.as_str() {
        "silent" => std::future::pending().await,
        "echo" => (kind, format!(r#"{{"you":"{given}"}}"#)).into_response(),
        "echo-head" => {
            ([("content-type", "application/json"), ("x-debug", given.as_str())], "{}").into_response()
        }
        "echo-error" => (StatusCode::UNAUTHORIZED, kind, format!(r#"{{"you":"{given}"}}"#)).into_response(),
        "page" => ([("content-type", "text/html")], "<p>hello</p>").into_response(),
        "binary" => ([("content-type", "application/pdf")], "%PDF").into_response(),
        "untyped" => (StatusCode::OK, Bytes::from_static(b"{}")).into_response(),
        "broken" => (kind, "{\"a\":").into_response(),
        "twice" => (kind, "{\"a\":1,\"a\":2}").into_response(),
        "array" => (kind, "[1,2.50]").into_response(),
        "long" => (kind, format!("\"{}\"", "x".repeat(70_000))).into_response(),
        "acme" if uri.path().ends_with("/list") => {
            let owner = if api.count().is_multiple_of(2) { "globex" } else { "acme" };
            (kind, format!(r#"{{"cases":[{{"tenant_id":"acme"}},{{"tenant_id":"{owner}"}}]}}"#))
                .into_response()
        }
        _ => (kind, r#"{"case":"CASE-1837","balance":12.50}"#).into_response(),
    }
}

async fn stage() -> (Stage, Api) {
    stage_with("", "").await
}

/// With further limits, and further settings of the upstream.
async fn stage_with(limits: &str, upstream: &str) -> (Stage, Api) {
    let api = Api::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = Router::new().fallback(serve).with_state(api.clone());
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    let settings = format!(
        "[limits]\nanswer_bytes = 65536\n{limits}[[upstream]]\nname = \"cases\"\nurl = \"http://{address}/v1\"\nprotocol = \"rest\"\nallow_private = true\n{upstream}"
    );
    let builder = StageBuilder::default().settings(&settings);
    let stage = builder.change("catalog/crm.toml", ENTRY, &format!("{CATALOG}{ENTRY}")).start().await;
    (stage, api)
}

/// A request by the API's own path; the proof names the path, the query stands beside it.
async fn plain(stage: &Stage, agent: &Agent, method: &str, target: &str, body: &str) -> Answer {
    let target = format!("/proxy/cases{target}");
    let path = target.split('?').next().unwrap();
    agent.http(method, path).target(&target).body(body).send(stage.address).await
}

fn same(stage: &Stage) -> u64 {
    let data = Data::open(&stage.data()).unwrap();
    let report = replay(&data, &Scope::default(), None, &mut |_, _| {}).unwrap();
    assert_eq!(report.differs, 0, "{report:?}");
    report.same
}

fn decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8().unwrap().into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_is_a_tool_and_both_faces_send_the_same() {
    let (mut stage, api) = stage().await;
    let agent = stage.seven().await;
    let listed = agent.listing().send(stage.address).await.message();
    let tools = listed.pointer("/result/tools").and_then(Value::as_array).unwrap();
    let tool = |name: &str| tools.iter().find(|tool| tool.get("name").and_then(Value::as_str) == Some(name));
    let get = tool("cases__get").unwrap();
    assert_eq!(get.get("description").and_then(Value::as_str), Some("Reads one case."));
    let schema = get.get("inputSchema").unwrap();
    assert_eq!(
        schema.pointer("/properties/id/description").and_then(Value::as_str),
        Some("The case's number.")
    );
    assert_eq!(schema.get("required").unwrap().to_string(), r#"["id"]"#);
    let add = tool("cases__add").unwrap().get("inputSchema").unwrap();
    assert!(add.pointer("/properties/tenant").is_none(), "what the gateway fills isn't shown");
    assert!(tool("cases__drop").is_none(), "what isn't delegated isn't there");
    assert!(tool("crm__raw").is_none(), "an MCP server has no operations");
    assert_eq!(agent.call("crm__raw", "{}").await.code(), "tool_unknown");
    assert_eq!(agent.http("GET", "/proxy/crm/raw").send(stage.address).await.status, 404);

    let by_tool = agent.call("cases__add", r#"{"text":"a","weight":1.50,"id":"CASE-1","notify":true}"#).await;
    assert_eq!(by_tool.code(), "", "{}", by_tool.text());
    let result = by_tool.message();
    let at = |pointer: &str| {
        result.pointer(&format!("/result{pointer}")).map(Value::to_string).unwrap_or_default()
    };
    assert_eq!(at("/structuredContent/balance"), "12.50", "the answer as it came");
    assert_eq!(at("/_meta/dev.placet~1http/status"), "200");
    let one = api.last();
    assert_eq!((one.method.as_str(), one.target.as_str()), ("POST", "/v1/cases/CASE-1/notes?notify=true"));
    assert_eq!(one.body, r#"{"tenant":"acme","text":"a","weight":1.5}"#);

    let answer = plain(
        &stage,
        &agent,
        "POST",
        "/cases/CASE-1/notes?notify=true",
        r#"{ "weight": 15e-1, "text": "\u0061" }"#,
    )
    .await;
    assert_eq!((answer.status, answer.text().as_str()), (200, r#"{"case":"CASE-1837","balance":12.50}"#));
    assert_eq!(answer.header("placet-answered-by"), Some("tool"));
    let other = api.last();
    assert_eq!((&one.method, &one.target, &one.body), (&other.method, &other.target, &other.body));
    let (first, second) = (one.header("idempotency-key").unwrap(), other.header("idempotency-key").unwrap());
    assert!(first.starts_with("\"dc_") && second.starts_with("\"dc_") && first != second);

    let read = plain(&stage, &agent, "GET", "/cases/CASE%201?view=a+b", "").await;
    assert_eq!(read.status, 200, "{}", read.text());
    let read = api.last();
    assert_eq!(read.target, "/v1/cases/CASE%201?v=2&view=a%20b");
    assert_eq!(read.header("authorization"), Some(format!("Bearer {}", stage.secret()).as_str()));
    assert_eq!((read.header("idempotency-key"), read.header("content-type")), (None, None));

    // One decision each, of the same call.
    stage.settle().await;
    let calls: Vec<String> = stage
        .ledger()
        .after(0)
        .iter()
        .filter(|entry| entry.gist() == "permit")
        .map(|entry| entry.text("/call/arguments").to_owned())
        .collect();
    assert_eq!(calls.len(), 3, "{calls:?}");
    stage.stop().await;
    assert_eq!(same(&stage), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn arg_6_arguments_stay_where_they_belong_by_mcp() {
    let (mut stage, api) = stage().await;
    let agent = stage.seven().await;
    for bad in [
        "",
        ".",
        "..",
        "../admin",
        "../../admin",
        "%2e%2e%2fadmin",
        "..%2f",
        "%252e%252e",
        "//x",
        "a/b",
        "a\\\\b",
        "..;/x",
        "x\\r\\nHost: evil",
        "x%0d%0aHost: evil",
        "\\u0000",
    ] {
        let (watch, before) = (Watch::on(&stage).await, api.count());
        let answer = agent.call("cases__get", &format!(r#"{{"id":"{bad}"}}"#)).await;
        assert_eq!(answer.code(), "argument_invalid", "{bad}: {}", answer.text());
        watch.assert(&stage, bad, Want { ledger: &["deny argument_invalid"], ..Want::default() }).await;
        assert_eq!(api.count(), before, "{bad}: a byte reached the API");
    }
    for bad in ["x\\r\\nHost: evil", "x\\ny", "\\u0000", " x", ""] {
        let (watch, before) = (Watch::on(&stage).await, api.count());
        let answer = agent.call("cases__get", &format!(r#"{{"id":"1","region":"{bad}"}}"#)).await;
        assert_eq!(answer.code(), "argument_invalid", "{bad}: {}", answer.text());
        watch.assert(&stage, bad, Want { ledger: &["deny argument_invalid"], ..Want::default() }).await;
        assert_eq!(api.count(), before, "{bad}: a byte reached the API");
    }
    for good in [
        "1?admin=1",
        "1#x",
        "1;admin=1",
        "1&view=full",
        "1:close",
        "~a b",
        "ü\u{2215}..",
        "100% sure",
        "{id}",
    ] {
        let watch = Watch::on(&stage).await;
        let arguments = placet_json::object! { "id" => good, "view" => good };
        let answer = agent.call("cases__get", &Value::from(arguments).to_string()).await;
        assert_eq!(answer.code(), "", "{good}: {}", answer.text());
        watch.assert(&stage, good, Want { ledger: &["permit", "done"], ..Want::default() }).await;
        let seen = api.last();
        let (path, query) = seen.target.split_once('?').unwrap();
        let segments: Vec<&str> = path.split('/').collect();
        assert_eq!((segments.len(), decoded(segments[3]).as_str()), (4, good), "{}", seen.target);
        let pairs: Vec<(&str, &str)> = query.split('&').filter_map(|pair| pair.split_once('=')).collect();
        assert_eq!(pairs.len(), 2, "{query}");
        assert_eq!((pairs[0], decoded(pairs[1].1).as_str()), (("v", "2"), good));
    }
    stage.stop().await;
    assert_eq!(same(&stage), 29);
}

#[tokio::test(flavor = "multi_thread")]
async fn arg_6_a_path_is_one_operation_or_nothing() {
    let (stage, api) = stage().await;
    let agent = stage.seven().await;
    for (method, target, body, code) in [
        ("GET", "/cases/../t/acme/list", "", "tool_unknown"),
        ("GET", "/cases/%2e%2e/t/acme/list", "", "tool_unknown"),
        ("GET", "/cases/..", "", "argument_invalid"),
        ("GET", "/cases/%2e%2e", "", "argument_invalid"),
        ("GET", "/cases/%2e%2e%2fadmin", "", "argument_invalid"),
        ("GET", "/cases/a%2Fb", "", "argument_invalid"),
        ("GET", "/cases/%252e%252e%252fadmin", "", "argument_invalid"),
        ("GET", "/cases/x%0d%0aHost:evil", "", "argument_invalid"),
        ("GET", "//cases/1", "", "tool_unknown"),
        ("GET", "/cases//1", "", "tool_unknown"),
        ("GET", "/cases/1/", "", "tool_unknown"),
        ("GET", "/cases/", "", "tool_unknown"),
        ("GET", "/cases", "", "tool_unknown"),
        ("GET", "", "", "tool_unknown"),
        ("GET", "/Cases/1", "", "tool_unknown"),
        ("GET", "/cases/%ff", "", "tool_unknown"),
        ("PUT", "/cases/1", "", "tool_unknown"),
        ("HEAD", "/cases/1", "", ""),
        ("OPTIONS", "/cases/1", "", "tool_unknown"),
        ("DELETE", "/cases/1", "", "tool_unknown"),
        ("GET", "/cases/1?admin=1", "", "argument_invalid"),
        ("GET", "/cases/1?view=a&view=b", "", "argument_invalid"),
        ("GET", "/cases/1?view=a;admin=1", "", "argument_invalid"),
        ("GET", "/cases/1?id=2", "", "argument_invalid"),
        ("GET", "/cases/1?v=3", "", "tool_unknown"),
        ("GET", "/cases/1", "{}", "argument_invalid"),
        ("GET", "/t/globex/list", "", "argument_invalid"),
        ("GET", "/t/-/list", "", "argument_invalid"),
        ("POST", "/cases/1/notes", r#"{"text":"a","tenant":"globex"}"#, "argument_invalid"),
        ("POST", "/cases/1/notes", r#"{"text":"a","id":"2"}"#, "argument_invalid"),
        ("POST", "/cases/1/notes", r#"{"text":"a","text":"b"}"#, "argument_invalid"),
        ("POST", "/cases/1/notes", r#"{"text":"a","admin":true}"#, "argument_invalid"),
        ("POST", "/cases/1/notes", "", "argument_invalid"),
        ("POST", "/cases/1/notes?notify=yes", r#"{"text":"a"}"#, "argument_invalid"),
    ] {
        let what = format!("{method} {target} {body}");
        let (watch, before) = (Watch::on(&stage).await, api.count());
        let answer = plain(&stage, &agent, method, target, body).await;
        let code = if code.is_empty() { "tool_unknown" } else { code };
        let status = if code == "tool_unknown" { 404 } else { 403 };
        assert_eq!(answer.status, status, "{what}: {}", answer.text());
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{what}");
        assert_eq!(answer.header("placet-answered-by"), Some("placet"), "{what}");
        // The answer to a HEAD has no body.
        if method != "HEAD" {
            let problem = json(&answer.body);
            let text = |name: &str| problem.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
            assert_eq!(text("code"), code, "{what}: {}", answer.text());
            assert!(text("decision_id").starts_with("dc_"), "{what}: {}", answer.text());
        }
        watch.assert(&stage, &what, Want { ledger: &[&format!("deny {code}")], ..Want::default() }).await;
        assert_eq!(api.count(), before, "{what}: a byte reached the API");
    }
    // Of what an agent may not see, nothing can be told: hidden, missing, another upstream, an MCP server.
    let mut bodies = std::collections::BTreeSet::new();
    for path in
        ["/proxy/cases/cases/1", "/proxy/cases/nothing", "/proxy/crm/cases/1", "/proxy/nobody/cases/1"]
    {
        let answer = agent.http("DELETE", path).send(stage.address).await;
        assert_eq!(answer.status, 404, "{path}");
        let problem = json(&answer.body);
        bodies.insert(problem.get("code").unwrap().to_string());
    }
    assert_eq!(bodies.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn ups_4_nothing_of_the_agents_request_passes() {
    let (stage, api) = stage().await;
    let agent = stage.seven().await;
    let answer = agent
        .http("GET", "/proxy/cases/cases/1")
        .add("connection", "x-region, keep-alive")
        .add("x-region", "eu")
        .add("x-forwarded-for", "10.0.0.1")
        .add("x-forwarded-uri", "/admin")
        .add("x_forwarded_user", "root")
        .add("forwarded", "for=10.0.0.1")
        .add("x-http-method-override", "DELETE")
        .add("x-original-url", "/admin")
        .add("proxy-authorization", "Basic eDp5")
        .add("cookie", "session=1")
        .add("user-agent", "curl/8")
        .add("idempotency-key", "\"mine\"")
        .add("accept-encoding", "gzip")
        .send(stage.address)
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let seen = api.last();
    let mut names: Vec<&str> = seen.headers.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    let traced = ["accept", "authorization", "host", "traceparent", "user-agent", "x-region"];
    let plain: Vec<&str> = traced.into_iter().filter(|name| *name != "traceparent").collect();
    assert!(names == traced || names == plain, "{names:?}");
    assert_eq!(
        seen.header("x-region"),
        Some("eu"),
        "an argument is an argument, whatever else is said of it"
    );
    let all = format!("{seen:?}");
    assert!(!all.contains(&agent.token) && !all.contains("curl") && !all.contains("10.0.0.1"), "{all}");
    // Without token, proof or host, nothing is even looked at.
    for spoiled in [
        agent.http("GET", "/proxy/cases/cases/1").without("authorization"),
        agent.http("GET", "/proxy/cases/cases/1").without("dpop"),
        agent.http("GET", "/proxy/cases/cases/2").target("/proxy/cases/cases/1"),
        agent.http("POST", "/proxy/cases/cases/1").set("host", "evil.example"),
    ] {
        let before = api.count();
        let answer = spoiled.send(stage.address).await;
        assert!([401, 421].contains(&answer.status), "{}", answer.status);
        assert_eq!(api.count(), before);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_says_what_became_of_the_effect() {
    let (mut stage, api) = stage().await;
    let agent = stage.seven().await;
    for (method, segment, status, ending) in [
        ("GET", "s200", 200, "done"),
        ("GET", "s204", 204, "done"),
        ("GET", "s404", 404, "failed"),
        ("GET", "s429", 429, "failed"),
        ("GET", "s500", 500, "failed"),
        ("GET", "s302", 502, "failed"),
        ("GET", "page", 200, "done"),
        ("GET", "array", 200, "done"),
        ("GET", "binary", 502, "filtered"),
        ("GET", "untyped", 502, "filtered"),
        ("GET", "broken", 502, "filtered"),
        ("GET", "twice", 502, "filtered"),
        ("GET", "long", 502, "filtered"),
        ("GET", "echo", 502, "filtered"),
        ("GET", "echo-head", 502, "filtered"),
        ("GET", "echo-error", 502, "filtered"),
        ("POST", "s201", 201, "done"),
        ("POST", "s202", 202, "done"),
        ("POST", "s409", 409, "failed"),
        ("POST", "s307", 502, "failed"),
        ("POST", "s408", 502, "unknown"),
        ("POST", "s500", 502, "unknown"),
        ("POST", "s503", 502, "unknown"),
        ("POST", "echo", 502, "filtered"),
    ] {
        let what = format!("{method} {segment}");
        let (target, body) = match method {
            "GET" => (format!("/cases/{segment}"), ""),
            _ => (format!("/cases/{segment}/notes"), r#"{"text":"a"}"#),
        };
        let (watch, before) = (Watch::on(&stage).await, api.count());
        let answer = plain(&stage, &agent, method, &target, body).await;
        assert_eq!(answer.status, status, "{what}: {}", answer.text());
        watch.assert(&stage, &what, Want { ledger: &["permit", ending], ..Want::default() }).await;
        assert_eq!(api.count(), before + 1, "{what}: it is sent once, and no redirect is followed");
        assert!(!answer.all().contains(stage.secret()) && !answer.all().contains("/v1/cases"), "{what}");
        if status == 502 {
            assert_eq!(json(&answer.body).get("ending").and_then(Value::as_str), Some(ending), "{what}");
        }
    }
    let admin = stage.admin.address();
    let page = format!("GET /metrics HTTP/1.1\r\nhost: {admin}\r\nconnection: close\r\n\r\n");
    let page = placet_testing::exchange(admin, page.as_bytes()).await.text();
    for line in [
        r#"placet_http_answers_total{upstream="cases",status="2xx"} 6"#,
        r#"placet_http_answers_total{upstream="cases",status="4xx"} 3"#,
        r#"placet_http_answers_total{upstream="cases",status="5xx"} 1"#,
    ] {
        assert!(page.contains(line), "{line}: {page}");
    }
    // The same by MCP: an error that the tool tells is a result that says so.
    let answer = agent.call("cases__get", r#"{"id":"s404"}"#).await.message();
    assert_eq!(answer.pointer("/result/isError").and_then(Value::as_bool), Some(true), "{answer}");
    assert_eq!(answer.pointer("/result/structuredContent/status").and_then(Value::as_u64), Some(404));
    assert_eq!(agent.call("cases__add", r#"{"id":"s500","text":"a"}"#).await.ending(), "unknown");
    assert_eq!(agent.call("cases__get", r#"{"id":"echo"}"#).await.ending(), "filtered");
    stage.stop().await;
    assert_eq!(same(&stage), 27);
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_2_a_foreign_item_withholds_the_answer_of_an_api() {
    let (stage, api) = stage().await;
    let agent = stage.seven().await;
    let mut endings = Vec::new();
    for _ in 0..2 {
        let watch = Watch::on(&stage).await;
        let answer = plain(&stage, &agent, "GET", "/t/acme/list", "").await;
        let foreign = answer.status == 502;
        assert!(!answer.all().contains("globex"), "{}", answer.all());
        let ending = if foreign { "filtered" } else { "done" };
        watch.assert(&stage, "list", Want { ledger: &["permit", ending], ..Want::default() }).await;
        endings.push(ending);
    }
    endings.sort_unstable();
    assert_eq!(endings, ["done", "filtered"]);
    assert_eq!(api.count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn cre_2_a_call_token_is_for_one_method_path_query_and_body() {
    let (stage, api) = stage().await;
    let agent = stage.seven().await;
    let answer = plain(&stage, &agent, "POST", "/cases/CASE-1/notes?notify=true", r#"{"text":"a"}"#).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let seen = api.last();
    let url = format!("http://{}/v1", seen.header("host").unwrap());
    let guard = |reach| Guard {
        issuer: stage.gateway.clone(),
        keys: KeySet::of(server_key(&stage).public()),
        audience: url.clone(),
        url: Htu::parse(&url).unwrap(),
        reach,
        not_before: 0,
    };
    let headers: Vec<(&str, &[u8])> =
        seen.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    let show = |method: &str, target: &str, body: &str, reach| {
        let request = Request { method, target, headers: &headers, body: body.as_bytes() };
        verify_call(&request, &guard(reach), &mut MemoryWindow::new(10), now()).is_ok()
    };
    let (target, body) = (seen.target.as_str(), seen.body.as_str());
    assert!(show("POST", target, body, Reach::Below), "as it came, it is good");
    for (method, target, body) in [
        ("PUT", target, body),
        ("POST", "/v1/cases/CASE-2/notes?notify=true", body),
        ("POST", "/v1/cases/CASE-1/notes", body),
        ("POST", "/v1/cases/CASE-1/notes?", body),
        ("POST", "/v1/cases/CASE-1/notes?notify=false", body),
        ("POST", "/v1/cases/CASE-1/notes?notify=true&admin=1", body),
        ("POST", "/v1/x/../cases/CASE-1/notes?notify=true", body),
        ("POST", "/v1/cases/%43ASE-1/notes?notify=true", body),
        ("POST", target, r#"{"tenant":"globex","text":"a"}"#),
    ] {
        assert!(!show(method, target, body, Reach::Below), "{method} {target} {body}");
    }
    assert!(!show("POST", target, body, Reach::Endpoint), "an endpoint of MCP takes no other path");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_api_leaves_the_effect_unknown_and_is_left_alone() {
    let settings = "breaker_failures = 2\nbreaker_rest_ms = 60000\n";
    let (mut stage, api) = stage_with("call_ms = 200\n", settings).await;
    let agent = stage.seven().await;
    for (method, target, body) in
        [("GET", "/cases/silent", ""), ("POST", "/cases/silent/notes", r#"{"text":"a"}"#)]
    {
        let mark = stage.ledger().last();
        let answer = plain(&stage, &agent, method, target, body).await;
        assert_eq!(answer.status, 502, "{method}: {}", answer.text());
        assert_eq!(json(&answer.body).get("ending").and_then(Value::as_str), Some("unknown"));
        stage.settle().await;
        let gists: Vec<String> = stage.ledger().after(mark).iter().map(placet_testing::Entry::gist).collect();
        assert_eq!(gists, ["permit", "unknown"], "{method}");
    }
    let (watch, before) = (Watch::on(&stage).await, api.count());
    let answer = plain(&stage, &agent, "GET", "/cases/1", "").await;
    assert_eq!((answer.status, api.count()), (403, before), "{}", answer.text());
    assert_eq!(json(&answer.body).get("code").and_then(Value::as_str), Some("upstream_unavailable"));
    watch.assert(&stage, "at rest", Want { ledger: &["deny upstream_unavailable"], ..Want::default() }).await;
    stage.stop().await;
    assert_eq!(same(&stage), 2);
}
