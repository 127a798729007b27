//! What an HTTP API may want beside path, query and JSON: its key in the query, files, headers of its answer in the result.

use std::sync::{Arc, Mutex};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, Uri},
    response::{IntoResponse, Response},
};
use placet_json::Value;
use placet_testing::{Agent, Answer, Stage, StageBuilder, Want, Watch};
use tokio::net::TcpListener;

const ENTRY: &str = "[tool.\"crm.get_case\"]";
const CATALOG: &str = r#"[tool."cases.find"]
action = "take_note"
effect = "read"
resource = { type = "support_case", id = "$workflow.binding.support_case" }
credential = "vault:billing"
http = { method = "GET", path = "/find/{what}", query = { q = "{q}" }, returns = ["ETag", "x-total", "x-echo"] }
[tool."cases.find".args]
what = { type = "id" }
q = { type = "text", required = false }

[tool."cases.mine"]
action = "take_note"
effect = "read"
resource = { type = "support_case", id = "$workflow.binding.support_case" }
credential = "vault:billing"
http = { method = "GET", path = "/mine", query = { api_key = "{key}" } }
[tool."cases.mine".args]
key = { type = "text" }

[tool."cases.attach"]
action = "take_note"
effect = "write"
resource = { type = "support_case", id = "$workflow.binding.support_case" }
credential = "none"
http = { method = "POST", path = "/attach/{id}", body = "multipart", files = { data = { name = "{name}", type = "application/pdf", base64 = true }, log = { name = "log.txt", type = "text/plain" } } }
[tool."cases.attach".args]
id = { type = "id" }
name = { type = "text" }
data = { type = "text" }
log = { type = "text", required = false }
tags = { type = "list", items = { type = "text" }, required = false }
tenant = { bind = "$tenant" }

"#;

#[derive(Debug, Clone)]
struct Seen {
    target: String,
    kind: String,
    body: Vec<u8>,
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

async fn serve(State(api): State<Api>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let kind = headers.get("content-type").map_or("", |value| value.to_str().unwrap()).to_owned();
    let key = uri.query().and_then(|query| query.split("api_key=").nth(1)).unwrap_or_default().to_owned();
    api.0.lock().unwrap().push(Seen { target: uri.to_string(), kind, body: body.to_vec() });
    let json = ("content-type", "application/json");
    let long = "x".repeat(2000);
    match uri.path() {
        "/v1/find/echo" => ([json], format!(r#"{{"asked":"{uri}"}}"#)).into_response(),
        "/v1/find/echo-head" => ([json, ("x-echo", key.as_str())], "{}").into_response(),
        "/v1/find/long" => ([json, ("x-total", long.as_str())], "{}").into_response(),
        _ => {
            let headers =
                [json, ("etag", "\"7\""), ("x-total", "12"), ("x-other", "no"), ("set-cookie", "s=1")];
            (headers, r#"{"found":1}"#).into_response()
        }
    }
}

async fn stage() -> (Stage, Api) {
    let api = Api::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = Router::new().fallback(serve).with_state(api.clone());
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    let settings = format!(
        "[[upstream]]\nname = \"cases\"\nurl = \"http://{address}/v1\"\nprotocol = \"rest\"\nallow_private = true\nsecret_query = \"api_key\"\n"
    );
    let builder = StageBuilder::default().settings(&settings);
    let stage = builder.change("catalog/crm.toml", ENTRY, &format!("{CATALOG}{ENTRY}")).start().await;
    (stage, api)
}

async fn plain(stage: &Stage, agent: &Agent, method: &str, target: &str) -> Answer {
    let target = format!("/proxy/cases{target}");
    let path = target.split('?').next().unwrap();
    agent.http(method, path).target(&target).send(stage.address).await
}

/// Files below a directory that hold a text.
fn holding(dir: &std::path::Path, text: &str) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(holding(&path, text));
        } else if std::fs::read(&path).unwrap().windows(text.len()).any(|window| window == text.as_bytes()) {
            found.push(path);
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn cre_3_a_key_in_the_query_is_the_apis_alone() {
    let (mut stage, api) = stage().await;
    let agent = stage.seven().await;
    let secret = stage.secret().to_owned();

    let answer = agent.call("cases__find", r#"{"what":"all","q":"a b"}"#).await;
    assert_eq!(answer.code(), "", "{}", answer.text());
    let (path, query) = {
        let target = api.last().target;
        let (path, query) = target.split_once('?').unwrap();
        (path.to_owned(), query.to_owned())
    };
    let key = percent_encoding::percent_decode_str(query.split("api_key=").nth(1).unwrap());
    assert_eq!((path.as_str(), key.decode_utf8().unwrap().as_ref()), ("/v1/find/all", secret.as_str()));
    assert!(query.starts_with("q=a%20b&"), "{query}");
    assert!(!answer.text().contains(&secret));

    // By the API's own path as well; what the agent writes there is no key.
    assert_eq!(plain(&stage, &agent, "GET", "/find/all").await.status, 200);
    assert!(api.last().target.starts_with("/v1/find/all?api_key="));
    let before = api.count();
    assert_eq!(plain(&stage, &agent, "GET", "/find/all?api_key=mine").await.status, 403);
    let watch = Watch::on(&stage).await;
    let answer = agent.call("cases__mine", r#"{"key":"mine"}"#).await;
    assert!(!answer.text().contains(&secret), "{}", answer.text());
    watch.assert(&stage, "its own key", Want { ledger: &["permit", "revoked"], ..Want::default() }).await;
    assert_eq!(api.count(), before, "an argument can't be the key");

    for (what, field) in [("echo", "asked"), ("echo-head", "x-echo")] {
        let watch = Watch::on(&stage).await;
        let answer = agent.call("cases__find", &format!(r#"{{"what":"{what}"}}"#)).await;
        assert!(!answer.text().contains(&secret) && !answer.text().contains(field), "{}", answer.text());
        watch.assert(&stage, what, Want { ledger: &["permit", "filtered"], ..Want::default() }).await;
    }
    stage.settle().await;
    stage.stop().await;
    let found = holding(&stage.data(), &secret);
    assert!(found.is_empty(), "the key lies open in {found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn named_headers_of_an_answer_are_in_the_result_and_no_others() {
    let (stage, api) = stage().await;
    let agent = stage.seven().await;
    let headers = |answer: &Answer| {
        let message = answer.message();
        message.pointer("/result/_meta/dev.placet~1http/headers").map(Value::to_string)
    };
    let answer = agent.call("cases__find", r#"{"what":"all"}"#).await;
    assert_eq!(headers(&answer).as_deref(), Some(r#"{"etag":"\"7\"","x-total":"12"}"#), "{}", answer.text());
    let answer = agent.call("cases__find", r#"{"what":"long"}"#).await;
    assert_eq!(headers(&answer), None, "one that is too long isn't passed on");
    let answer = plain(&stage, &agent, "GET", "/find/all").await;
    assert_eq!(
        (
            answer.header("etag"),
            answer.header("x-total"),
            answer.header("x-other"),
            answer.header("set-cookie")
        ),
        (Some("\"7\""), Some("12"), None, None)
    );
    let attached = agent.call("cases__attach", r#"{"id":"1","name":"a.pdf","data":"YQ=="}"#).await;
    assert_eq!((attached.code(), headers(&attached)), (String::new(), None));
    assert_eq!(api.count(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn arg_6_a_multipart_body_is_what_was_decided_by_either_face() {
    let (stage, api) = stage().await;
    let agent = stage.seven().await;
    let arguments =
        r#"{"id":"CASE-1","name":"a b.pdf","data":"JVBERgAB/w==","log":"one\r\ntwo","tags":["x","y"]}"#;
    let answer = agent.call("cases__attach", arguments).await;
    assert_eq!(answer.code(), "", "{}", answer.text());
    let one = api.last();
    let boundary = one.kind.strip_prefix("multipart/form-data; boundary=").unwrap().to_owned();
    let part = |head: &str, content: &[u8]| {
        let mut part = format!("--{boundary}\r\nContent-Disposition: form-data; {head}\r\n\r\n").into_bytes();
        part.extend_from_slice(content);
        part.extend_from_slice(b"\r\n");
        part
    };
    let mut wanted = [
        part("name=\"data\"; filename=\"a b.pdf\"\r\nContent-Type: application/pdf", b"%PDF\x00\x01\xff"),
        part("name=\"log\"; filename=\"log.txt\"\r\nContent-Type: text/plain", b"one\r\ntwo"),
        part("name=\"tags\"", b"x"),
        part("name=\"tags\"", b"y"),
        part("name=\"tenant\"", b"acme"),
    ]
    .concat();
    wanted.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    assert_eq!(String::from_utf8_lossy(&one.body), String::from_utf8_lossy(&wanted));

    // The agent's own client writes it otherwise; what is sent is the same.
    let mut own = Vec::new();
    for (head, content) in [
        ("name=\"tags\"", b"x".as_slice()),
        ("name=\"log\"; filename=\"log.txt\"\r\nContent-Type: text/html", b"one\r\ntwo"),
        ("name=\"tags\"", b"y"),
        ("name=\"data\"; filename=\"a b.pdf\"", b"%PDF\x00\x01\xff"),
    ] {
        own.extend_from_slice(format!("--q\r\nContent-Disposition: form-data; {head}\r\n\r\n").as_bytes());
        own.extend_from_slice(content);
        own.extend_from_slice(b"\r\n");
    }
    own.extend_from_slice(b"--q--\r\n");
    let send = async |path: &str, kind: &str, body: &[u8]| {
        agent.http("POST", path).set("content-type", kind).body(body).send(stage.address).await
    };
    let path = "/proxy/cases/attach/CASE-1";
    let answer = send(path, "multipart/form-data; boundary=q", &own).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let other = api.last();
    assert_eq!((&one.kind, &one.body), (&other.kind, &other.body));

    // What isn't what the entry says reaches nobody.
    let before = api.count();
    for (kind, body) in [
        ("multipart/form-data", own.clone()),
        ("application/json", b"{}".to_vec()),
        ("multipart/form-data; boundary=q", [own.as_slice(), b"more"].concat()),
        (
            "multipart/form-data; boundary=q",
            b"--q\r\nContent-Disposition: form-data; name=\"id\"\r\n\r\n2\r\n--q--\r\n".to_vec(),
        ),
    ] {
        let answer = send(path, kind, &body).await;
        assert_eq!(answer.status, 403, "{kind}: {}", answer.text());
    }
    for bad in [
        r#"{"id":"1","name":"../a","data":"YQ=="}"#,
        r#"{"id":"1","name":"a\"b","data":"YQ=="}"#,
        r#"{"id":"1","name":"a","data":"no base64"}"#,
        r#"{"id":"1","name":"","data":"YQ=="}"#,
    ] {
        let answer = agent.call("cases__attach", bad).await;
        assert_eq!(answer.code(), "argument_invalid", "{bad}: {}", answer.text());
    }
    assert_eq!(api.count(), before);
}
