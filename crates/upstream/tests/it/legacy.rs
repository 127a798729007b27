//! Legacy Streamable HTTP: the handshake, sessions, questions, cancellation.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use placet_core::authority::{Answer, Ending};
use placet_json::Value;
use placet_mcp::Era;
use placet_mcp::logging::LogLevel;

use crate::script::{DISCOVERED, DONE, Server, answer, events, open_events, result, status};
use crate::world::{Asked, Wish, World, at, call, json, name, read};

#[tokio::test]
async fn a_legacy_server_is_found_out_and_shaken_hands_with_once() {
    let server = Server::legacy(|seen| result(seen, DONE)).await;
    let world = World::new(vec![at("crm", &server.url)]);
    for _ in 0..3 {
        assert_eq!(world.run(call("crm", "get", "{}")).await.unwrap().ending, Ending::Done);
    }
    let methods: Vec<String> = server.seen().iter().map(|seen| seen.method().to_owned()).collect();
    let expected = [
        "server/discover",
        "initialize",
        "notifications/initialized",
        "tools/call",
        "tools/call",
        "tools/call",
    ];
    assert_eq!(methods, expected);
    for seen in server.of("tools/call") {
        assert_eq!(seen.header("mcp-session-id"), Some("s1"));
        assert_eq!(seen.header("mcp-protocol-version"), Some("2025-11-25"));
        assert_eq!((seen.header("mcp-method"), seen.header("mcp-name")), (None, None));
        let meta = seen.body.pointer("/params/_meta").unwrap();
        assert!(meta.as_object().unwrap().keys().all(|key| !key.starts_with("io.modelcontextprotocol/")));
    }
    let calls = world.asked().into_iter().filter(|asked| matches!(asked, Asked::Call { .. })).count();
    assert_eq!(calls, 3, "the handshake took no credential of a call");
}

#[tokio::test]
async fn ten_3_sessions_are_never_shared() {
    let server = Server::legacy(|seen| result(seen, DONE)).await;
    let world = World::new(vec![at("crm", &server.url)]);
    for (tenant, credential) in [("acme", "a"), ("acme", "b"), ("globex", "a"), ("acme", "a")] {
        let wish = Wish { tenant, credential, ..Wish::default() };
        world.run_with(call("crm", "get", "{}"), wish).await.unwrap();
    }
    let sessions: Vec<String> = server
        .of("tools/call")
        .iter()
        .map(|seen| seen.header("mcp-session-id").unwrap().to_owned())
        .collect();
    assert_eq!(sessions, ["s1", "s2", "s3", "s1"]);
}

#[tokio::test]
async fn a_lost_session_is_opened_once_more_for_a_read_and_never_repeats_a_write() {
    let lost = |seen: &crate::script::Seen| {
        if seen.header("mcp-session-id") == Some("s1") { status(404, "") } else { result(seen, DONE) }
    };
    let server = Server::legacy(lost).await;
    let world = World::new(vec![at("crm", &server.url)]);
    assert_eq!(world.run(read("crm", "get", "{}")).await.unwrap().ending, Ending::Done);
    assert_eq!(server.of("tools/call").len(), 2);

    let server = Server::legacy(lost).await;
    let world = World::new(vec![at("crm", &server.url)]);
    let outcome = world.run(call("crm", "put", "{}")).await.unwrap();
    assert_eq!((outcome.ending, outcome.answer), (Ending::Failed, Answer::Nothing));
    assert_eq!(server.of("tools/call").len(), 1, "a write was repeated");
    assert_eq!(
        world.run(call("crm", "put", "{}")).await.unwrap().ending,
        Ending::Done,
        "the next has a new session"
    );

    let server = Server::legacy(|_| status(404, "")).await;
    let world = World::new(vec![at("crm", &server.url)]);
    assert_eq!(world.run(read("crm", "get", "{}")).await.unwrap().ending, Ending::Failed);
    assert_eq!(server.of("tools/call").len(), 2, "repeated once, not for ever");
}

#[tokio::test]
async fn mcp_5_questions_of_a_server_are_refused_while_the_call_goes_on() {
    let server = Server::legacy(|seen| {
        if seen.method() != "tools/call" {
            return status(202, "");
        }
        let ask = |id: &str, method: &str| {
            format!(r#"{{"jsonrpc":"2.0","id":"{id}","method":"{method}","params":{{}}}}"#)
        };
        let questions = [
            ("a", "sampling/createMessage"),
            ("b", "roots/list"),
            ("c", "elicitation/create"),
            ("d", "ping"),
        ];
        let mut all: Vec<String> = questions.iter().map(|(id, method)| ask(id, method)).collect();
        all.push(answer(seen, DONE));
        events(&all, 17)
    })
    .await;
    let world = World::new(vec![at("crm", &server.url)]);
    let (outcome, items) = world.run_with(call("crm", "get", "{}"), Wish::default()).await.unwrap();
    assert_eq!(outcome.ending, Ending::Done);
    assert!(items.is_empty(), "the agent's client heard of it: {items:?}");
    let mut answers = Vec::new();
    for _ in 0..300 {
        answers = server.seen().into_iter().filter(|seen| seen.method().is_empty()).collect();
        if answers.len() == 4 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    answers.sort_by_key(|seen| seen.body.get("id").unwrap().to_string());
    let told: Vec<(Option<&str>, Option<i64>)> = answers
        .iter()
        .map(|seen| (seen.header("mcp-session-id"), seen.body.pointer("/error/code").and_then(Value::as_i64)))
        .collect();
    let refused = (Some("s1"), Some(-32601));
    assert_eq!(told, [refused, refused, refused, (Some("s1"), None)]);
}

#[tokio::test]
async fn an_upstream_that_asks_without_end_is_left() {
    let server = Server::legacy(|seen| {
        if seen.method() != "tools/call" {
            return status(202, "");
        }
        let asks: Vec<String> = (0..100)
            .map(|id| format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"sampling/createMessage"}}"#))
            .collect();
        open_events(&asks)
    })
    .await;
    let world = World::new(vec![at("crm", &server.url)]);
    let outcome = world.run(call("crm", "get", "{}")).await.unwrap();
    assert_eq!((outcome.ending, outcome.detail.as_str()), (Ending::Unknown, "the upstream asks without end"));
}

#[tokio::test]
async fn a_stopped_call_is_cancelled_since_closing_the_stream_says_nothing() {
    let server = Server::legacy(|_| open_events(&[])).await;
    let mut config = at("crm", &server.url);
    config.timeouts.call = Duration::from_millis(200);
    let world = World::new(vec![config]);
    let outcome = world.run(call("crm", "get", "{}")).await.unwrap();
    assert_eq!(outcome.ending, Ending::Unknown);
    let cancelled = server.until("notifications/cancelled").await;
    let id = server.of("tools/call")[0].id();
    assert_eq!(cancelled.body.pointer("/params/requestId").and_then(Value::as_u64), Some(id));
    assert_eq!(cancelled.header("mcp-session-id"), Some("s1"));
    assert_eq!(server.of("notifications/cancelled").len(), 1);
}

#[tokio::test]
async fn an_answered_call_is_not_cancelled() {
    let server = Server::legacy(|seen| result(seen, DONE)).await;
    let world = World::new(vec![at("crm", &server.url)]);
    world.run(call("crm", "get", "{}")).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(server.of("notifications/cancelled").is_empty());
}

#[tokio::test]
async fn the_log_level_is_set_when_someone_wants_more() {
    let server = Server::legacy(|seen| match seen.method() {
        "logging/setLevel" => result(seen, "{}"),
        _ => result(seen, DONE),
    })
    .await;
    let world = World::new(vec![at("crm", &server.url)]);
    for level in [LogLevel::Warning, LogLevel::Error, LogLevel::Info] {
        let wish = Wish { log_level: Some(level), ..Wish::default() };
        world.run_with(call("crm", "get", "{}"), wish).await.unwrap();
    }
    let levels: Vec<Value> = server
        .of("logging/setLevel")
        .iter()
        .map(|seen| seen.body.pointer("/params/level").unwrap().clone())
        .collect();
    assert_eq!(levels, [Value::from("warning"), Value::from("info")]);
}

#[tokio::test]
async fn the_era_is_probed_again_when_it_stops_holding() {
    let changed = Arc::new(AtomicUsize::new(0));
    let now = Arc::clone(&changed);
    let server = Server::start(move |seen| {
        let modern = now.load(Ordering::SeqCst) == 0;
        match (seen.method(), modern) {
            ("server/discover", true) => result(seen, DISCOVERED),
            ("tools/call", true) => result(seen, DONE),
            ("initialize", false) => result(seen, crate::script::INITIALIZED),
            ("notifications/initialized", false) => status(202, ""),
            ("tools/call", false) if seen.header("mcp-method").is_none() => result(seen, DONE),
            _ => status(400, "bad request"),
        }
    })
    .await;
    let world = World::new(vec![at("crm", &server.url)]);
    assert_eq!(world.run(call("crm", "get", "{}")).await.unwrap().ending, Ending::Done);
    changed.store(1, Ordering::SeqCst);
    let outcome = world.run(call("crm", "get", "{}")).await.unwrap();
    assert_eq!((outcome.ending, outcome.answer), (Ending::Failed, Answer::Nothing));
    assert_eq!(world.run(call("crm", "get", "{}")).await.unwrap().ending, Ending::Done);
    assert_eq!(server.of("server/discover").len(), 2);
}

#[tokio::test]
async fn a_list_is_read_in_a_session_of_its_own() {
    let server = Server::legacy(|seen| match seen.method() {
        "tools/list" => result(seen, r#"{"tools":[{"name":"get","inputSchema":{"type":"object"}}]}"#),
        _ => result(seen, DONE),
    })
    .await;
    let world = World::new(vec![at("crm", &server.url)]);
    world.upstreams.sync(&name("crm")).await.unwrap();
    world.run(call("crm", "get", "{}")).await.unwrap();
    assert_eq!(world.upstreams.tools(&name("crm")).unwrap().era, Era::Legacy);
    assert_eq!(server.of("tools/list")[0].header("mcp-session-id"), Some("s1"));
    assert_eq!(server.of("tools/call")[0].header("mcp-session-id"), Some("s2"));
    assert_eq!(server.of("initialize")[0].body.pointer("/params/capabilities"), Some(&json("{}")));
}

#[tokio::test]
async fn a_stream_that_was_closed_early_is_taken_up_where_it_stood() {
    let server = Server::legacy(|seen| match (seen.verb.as_str(), seen.header("last-event-id")) {
        // It promises to go on, and closes; the call's id is kept for the other stream.
        ("POST", _) => primed(seen.id(), &[progress(1)]),
        ("GET", Some(id)) if id.starts_with("call-") => {
            let id: u64 = id.trim_start_matches("call-").parse().unwrap();
            events(&[format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{DONE}}}"#)], 5)
        }
        other => panic!("{other:?}"),
    })
    .await;
    let world = World::new(vec![at("crm", &server.url)]);
    let outcome = world.run(call("crm", "get", "{}")).await.unwrap();
    assert_eq!(outcome.ending, Ending::Done, "{}", outcome.detail);
    assert_eq!(server.of("tools/call").len(), 1, "the call itself was sent once");
    let [resumed] = &*server.seen().into_iter().filter(|seen| seen.verb == "GET").collect::<Vec<_>>() else {
        panic!("taken up once")
    };
    assert_eq!(resumed.header("mcp-session-id"), Some("s1"));
    assert!(resumed.header("content-type").is_none() && resumed.raw.is_empty());
}

fn progress(n: u64) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":0,"progress":{n}}}}}"#
    )
}

/// A stream that names the event `call-ID` and ends.
fn primed(id: u64, messages: &[String]) -> axum::response::Response {
    let messages: Vec<String> = messages.iter().map(|message| format!("data: {message}\n\n")).collect();
    let text = format!("id: call-{id}\nretry: 20\ndata:\n\n{}", messages.concat());
    axum::response::Response::builder()
        .header("content-type", "text/event-stream")
        .body(axum::body::Body::from(text))
        .unwrap()
}

#[tokio::test]
async fn a_change_that_is_announced_on_a_stream_of_its_own_is_read() {
    for modern in [true, false] {
        let lists = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&lists);
        let script = move |seen: &crate::script::Seen| {
            let changed = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;
            match seen.method() {
                "server/discover" => result(seen, DISCOVERED),
                "tools/list" => {
                    let n = count.fetch_add(1, Ordering::SeqCst);
                    result(seen, &format!(r#"{{"tools":[{{"name":"t{n}","inputSchema":{{}}}}]}}"#))
                }
                "subscriptions/listen" => {
                    let wants = seen.body.pointer("/params/notifications/toolsListChanged");
                    assert_eq!(wants, Some(&Value::from(true)));
                    open_events(&[changed.to_owned()])
                }
                "" if seen.verb == "GET" => open_events(&[changed.to_owned()]),
                method => panic!("{method}"),
            }
        };
        let server = if modern { Server::start(script).await } else { Server::legacy(script).await };
        let world = World::new(vec![at("crm", &server.url)]);
        let changed = async {
            while world.upstreams.tools(&name("crm")).is_none_or(|tools| tools.get("t1").is_none()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            () = world.upstreams.run() => panic!("it never ends"),
            done = tokio::time::timeout(Duration::from_secs(10), changed) => done.unwrap(),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(lists.load(Ordering::SeqCst), 2, "modern: {modern}");
    }
}
