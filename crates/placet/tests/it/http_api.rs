//! An HTTP API behind `tool-proxy --http-api` behind a whole gateway; and what another release would have said to its
//! calls, asked of the running server.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use placet_json::Value;
use placet_samples::desk::Desk;

use crate::{
    connect::{Client, MODERN, Road, connect, road_with, tap},
    support::{Serving, exchange, free_address, placet, status},
};

const CATALOG: &str = r#"[tool."desk.get_case"]
action = "summarize_case"
effect = "read"
resource = { type = "support_case", id = "$args.case_id" }
credential = "call-token"
http = { method = "GET", path = "/cases/{case_id}" }
[tool."desk.get_case".args]
case_id = { type = "id", pattern = "CASE-[0-9]+" }

[tool."desk.find"]
action = "summarize_case"
effect = "read"
resource = { type = "support_case", id = "$workflow.binding.support_case" }
credential = "call-token"
http = { method = "GET", path = "/cases", query = { tenant = "{tenant}", limit = "{limit}" } }
[tool."desk.find".args]
tenant = { bind = "$tenant" }
limit = { type = "integer", min = "1", max = "50" }

[tool."desk.add_note"]
action = "summarize_case"
effect = "write"
resource = { type = "support_case", id = "$args.case_id" }
credential = "call-token"
http = { method = "POST", path = "/cases/{case_id}/notes", body = "json" }
[tool."desk.add_note".args]
case_id = { type = "id", pattern = "CASE-[0-9]+" }
text = { type = "text", max_length = 200 }
"#;

/// The desk behind its guard, and all that the gateway sent to the guard.
struct Behind {
    road: Road,
    desk: Desk,
    guard: SocketAddr,
    sent: Arc<Mutex<Vec<u8>>>,
    _proxy: Serving,
    _runtime: tokio::runtime::Runtime,
}

fn behind() -> Behind {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let api = format!("http://{}/v1", listener.local_addr().unwrap());
    let desk = Desk::new();
    runtime.spawn(desk.clone().serve(listener, None));
    let guard = free_address();
    let sent = Arc::new(Mutex::new(Vec::new()));
    let audience = format!("http://{}/v1", tap(guard, Arc::clone(&sent)));
    let road = road_with(
        &format!(
            "[[upstream]]\nname = \"desk\"\nurl = \"{audience}\"\nprotocol = \"rest\"\nallow_private = true\n"
        ),
        &[],
    );
    let (listen, issuer) = (guard.to_string(), road.server.agents.clone());
    let arguments = [
        "tool-proxy",
        "--http-api",
        "--listen",
        &listen,
        "--upstream",
        &api,
        "--audience",
        &audience,
        "--issuer",
        &issuer,
        "--issuer-key",
        "gateway.jwks",
        "--state",
        "desk-state",
    ];
    let proxy = Serving::start(road.server.dir(), &arguments, "is guarded on");
    std::fs::write(road.server.dir().join("release/catalog/desk.toml"), CATALOG).unwrap();
    road.server.run(&["promote", "release", "--why", "the desk as well"]).expect(0);
    Behind { road, desk, guard, sent, _proxy: proxy, _runtime: runtime }
}

fn call(client: &mut Client, id: u64, tool: &str, arguments: &str) -> Value {
    client.ask(id, "tools/call", &format!(r#"{{"name":"{tool}","arguments":{arguments},{MODERN}}}"#))
}

fn at<'v>(answer: &'v Value, pointer: &str) -> Option<&'v str> {
    answer.pointer(pointer).and_then(Value::as_str)
}

#[test]
fn cre_2_an_http_api_behind_its_guard_takes_what_the_gateway_permitted_and_nothing_else() {
    let behind = behind();
    let server = &behind.road.server;
    let mut client = Client::start(connect(server, &[]));
    let read = call(&mut client, 1, "desk__get_case", r#"{"case_id":"CASE-1837"}"#);
    assert_eq!(at(&read, "/result/structuredContent/case_id"), Some("CASE-1837"), "{read}");
    let found = call(&mut client, 2, "desk__find", r#"{"limit":5}"#);
    assert!(found.pointer("/result/structuredContent/cases").is_some(), "{found}");
    let noted = call(&mut client, 3, "desk__add_note", r#"{"case_id":"CASE-1837","text":"seen"}"#);
    assert_eq!(
        noted.pointer("/result/_meta/dev.placet~1http/status").and_then(Value::as_u64),
        Some(201),
        "{noted}"
    );
    let denied = call(&mut client, 4, "desk__get_case", r#"{"case_id":"CASE-2001"}"#);
    assert_eq!(
        at(&denied, "/result/structuredContent/placet/code"),
        Some("resource_outside_workflow"),
        "{denied}"
    );
    let requests =
        ["GET /v1/cases/CASE-1837", "GET /v1/cases?limit=5&tenant=acme", "POST /v1/cases/CASE-1837/notes"];
    assert_eq!(behind.desk.requests(), requests);

    // What went over the wire is good once, and only as a whole.
    let sent = String::from_utf8(behind.sent.lock().unwrap().clone()).unwrap();
    let first = sent.split("\r\n\r\n").next().unwrap().to_owned();
    assert!(
        first.starts_with("GET /v1/cases/CASE-1837 HTTP/1.1") && first.to_lowercase().contains("dpop"),
        "{first}"
    );
    let close = |head: &str| format!("{head}\r\nconnection: close\r\n\r\n");
    let again = exchange(behind.guard, close(&first).as_bytes());
    assert_eq!(status(&again), 401, "{again}");
    let other = exchange(behind.guard, close(&first.replace("CASE-1837", "CASE-2001")).as_bytes());
    assert_eq!(status(&other), 401, "{other}");
    let bare = format!("GET /v1/cases HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", behind.guard);
    assert_eq!(status(&exchange(behind.guard, bare.as_bytes())), 401);
    assert_eq!(behind.desk.requests(), requests, "nothing more reached the API");
    let data = server.dir().join("data");
    placet(server.dir(), &["audit", "replay", "--data", data.to_str().unwrap()]).expect(0);

    diff_of_a_running_server(&behind);
    assert_eq!(client.end(), Some(0));
}

/// The server tells what a reading of its directory tells.
fn diff_of_a_running_server(behind: &Behind) {
    let server = &behind.road.server;
    let copied = std::process::Command::new("cp")
        .args(["-r", "release", "stricter"])
        .current_dir(server.dir())
        .status();
    assert!(copied.unwrap().success());
    let policy = server.dir().join("stricter/policies/support.rego");
    let text = std::fs::read_to_string(&policy).unwrap();
    std::fs::write(&policy, text.replace("\"summarize_case\"", "\"summarise_nothing\"")).unwrap();
    let ask = |more: &[&str]| {
        let mut arguments = vec!["diff", "release", "stricter", "--ledger", "..", "--format", "json"];
        arguments.extend(more);
        placet(server.dir(), &arguments)
    };
    let here = ask(&["--data", "data"]).expect(1).json();
    let there = ask(&["--server", &server.admin]).expect(1).json();
    assert_eq!(here.get("ledger").unwrap().to_string(), there.get("ledger").unwrap().to_string());
    assert_eq!(there.pointer("/ledger/denied").and_then(Value::as_u64), Some(3), "{there}");
    let nobody = ask(&["--server", &server.admin, "--tenant", "globex"]).expect(0).json();
    assert_eq!(nobody.pointer("/ledger/compared").and_then(Value::as_u64), Some(0), "{nobody}");
    let told =
        placet(server.dir(), &["diff", "release", "release", "--ledger", "..", "--server", &server.admin]);
    assert!(told.expect(0).out.contains("no decision changes"));
    // Only an operator, and only releases.
    placet(server.dir(), &["key", "generate", "stranger.pem"]).expect(0);
    let stranger = ask(&["--server", &server.admin, "--key", "stranger.pem"]).expect(2);
    assert!(stranger.err.contains("isn't signed by a key that is known here"), "{}", stranger.err);
    placet(server.dir(), &["diff", "release", "stricter", "--server", &server.admin]).expect(2);
}
