//! Modern Streamable HTTP: what is sent and what comes back; connections and tool lists.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use placet_core::Digest;
use placet_core::authority::{Answer, CredentialNote, Ending};
use placet_json::Value;
use placet_mcp::logging::LogLevel;
use placet_upstream::{Inspect, UpstreamError, Verdict};

use crate::faults::outcome;
use crate::script::{DISCOVERED, DONE, Seen, Server, answer, events, result, status};
use crate::world::{Asked, Wish, World, at, call, json, name};

#[tokio::test]
async fn a_call_goes_out_as_decided_and_its_result_comes_back_as_it_came() {
    let text = r#"{"content":[],"structuredContent":{"n":123456789012345678901234567890.10,"$defs":[null]},"x":1e2}"#;
    let server = Server::modern(|seen| result(seen, text)).await;
    let world = World::new(vec![at("billing", &server.url)]);
    let decided = call("billing", "refund", r#"{"z":1.50,"amount":80,"note":"é\n"}"#);
    let bytes = decided.arguments.clone();
    let outcome = world.run(decided).await.unwrap();
    assert_eq!(outcome.ending, Ending::Done, "{}", outcome.detail);
    let Answer::Result(value) = &outcome.answer else { panic!("{outcome:?}") };
    assert_eq!(value.to_string(), text);
    assert_eq!(outcome.labels.len(), 1);
    let [seen] = &*server.of("tools/call") else { panic!("one call") };
    assert!(seen.raw.contains(&format!(r#""arguments":{bytes}"#)), "{}", seen.raw);
    assert_eq!(outcome.digest, Some(Digest::of(answer(seen, text).as_bytes())));
    assert!(outcome.sent > u64::try_from(seen.raw.len()).unwrap());
    let credentials: Vec<Asked> = world.asked();
    assert_eq!(
        credentials.last(),
        Some(&Asked::Call { body: seen.raw.clone() }),
        "made for exactly these bytes"
    );
}

#[tokio::test]
async fn ups_4_every_header_is_made_here() {
    let server = Server::modern(|seen| result(seen, DONE)).await;
    let world = World::with_secret(vec![at("billing", &server.url)], "s3cr3t-of-billing");
    world
        .run(call("billing", "refund", r#"{"authorization":"Bearer x","x-forwarded-user":"root"}"#))
        .await
        .unwrap();
    let [seen] = &*server.of("tools/call") else { panic!("one call") };
    let mut names: Vec<&str> = seen.headers.keys().map(http::HeaderName::as_str).collect();
    names.sort_unstable();
    let expected = [
        "accept",
        "authorization",
        "content-length",
        "content-type",
        "host",
        "idempotency-key",
        "mcp-method",
        "mcp-name",
        "mcp-protocol-version",
        "user-agent",
    ];
    assert_eq!(names, expected);
    assert_eq!(seen.header("mcp-protocol-version"), Some("2026-07-28"));
    assert_eq!(seen.header("mcp-method"), Some("tools/call"));
    assert_eq!(seen.header("mcp-name"), Some("refund"));
    assert_eq!(seen.header("authorization"), Some("Bearer s3cr3t-of-billing"));
    assert_eq!((seen.verb.as_str(), seen.path.as_str()), ("POST", "/mcp"));
    let meta = seen.body.get("params").unwrap().get("_meta").unwrap();
    assert_eq!(meta.get("io.modelcontextprotocol/clientCapabilities"), Some(&json("{}")));
    assert!(meta.get("traceparent").is_some());
}

#[tokio::test]
async fn annotated_arguments_are_mirrored_in_headers() {
    let tools = r#"{"resultType":"complete","tools":[{"name":"refund","inputSchema":{"type":"object",
        "properties":{"region":{"type":"string","x-mcp-header":"Region"}}}}]}"#;
    let server = Server::start(move |seen| match seen.method() {
        "server/discover" => result(seen, DISCOVERED),
        "tools/list" => result(seen, tools),
        _ => result(seen, DONE),
    })
    .await;
    let world = World::new(vec![at("billing", &server.url)]);
    world.upstreams.sync(&name("billing")).await.unwrap();
    world.run(call("billing", "refund", r#"{"region":"süd"}"#)).await.unwrap();
    let seen = server.until("tools/call").await;
    assert_eq!(seen.header("mcp-param-region"), Some("=?base64?c8O8ZA==?="));
}

#[tokio::test]
async fn an_event_stream_in_odd_pieces_is_one_answer() {
    for size in [1, 2, 3, 7, 64, 4096] {
        let server = Server::modern(move |seen| {
            let progress = format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{},"progress":1}}}}"#,
                seen.id()
            );
            let foreign = progress.replace(&format!(":{},", seen.id()), ":999999,");
            let log = |level: &str| {
                format!(r#"{{"jsonrpc":"2.0","method":"notifications/message","params":{{"level":"{level}","data":"é"}}}}"#)
            };
            events(&[progress, foreign, log("debug"), log("error"), answer(seen, DONE)], size)
        })
        .await;
        let world = World::new(vec![at("billing", &server.url)]);
        let wish =
            Wish { progress: Some(Value::from("p-1")), log_level: Some(LogLevel::Info), ..Wish::default() };
        let (outcome, items) = world.run_with(call("billing", "refund", "{}"), wish).await.unwrap();
        assert_eq!(outcome.ending, Ending::Done, "{size}: {}", outcome.detail);
        let items: Vec<String> = items.iter().map(ToString::to_string).collect();
        let expected = [
            r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"p-1","progress":1}}"#,
            r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"error","data":"é"}}"#,
        ];
        assert_eq!(items, expected, "{size}");
    }
}

#[tokio::test]
async fn who_wants_no_progress_and_no_logs_gets_none() {
    let server = Server::modern(|seen| {
        let meta = seen.body.get("params").unwrap().get("_meta").unwrap();
        assert!(meta.get("progressToken").is_none() && meta.get("io.modelcontextprotocol/logLevel").is_none());
        let progress =
            format!(r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{},"progress":1}}}}"#, seen.id());
        let log = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"error","data":1}}"#;
        events(&[progress, log.to_owned(), answer(seen, DONE)], 100)
    })
    .await;
    let world = World::new(vec![at("billing", &server.url)]);
    let (_, items) = world.run_with(call("billing", "refund", "{}"), Wish::default()).await.unwrap();
    assert!(items.is_empty(), "{items:?}");
}

#[tokio::test]
async fn an_error_keeps_code_and_data() {
    let error = r#"{"code":-31999,"message":"no","data":{"n":1.0}}"#;
    for code in [200, 400, 404, 500] {
        let (outcome, _server) = outcome(move |seen| {
            status(code, &format!(r#"{{"jsonrpc":"2.0","id":{},"error":{error}}}"#, seen.id()))
        })
        .await;
        assert_eq!((outcome.ending, outcome.answer), (Ending::Failed, Answer::Error(json(error))), "{code}");
    }
}

#[tokio::test]
async fn a_connection_that_rested_too_long_is_not_used_again() {
    let server = Server::modern(|seen| result(seen, DONE)).await;
    let mut config = at("billing", &server.url);
    config.timeouts.idle = Duration::from_millis(100);
    let world = World::new(vec![config]);
    for pause in [0, 0, 300] {
        tokio::time::sleep(Duration::from_millis(pause)).await;
        world.run(call("billing", "refund", "{}")).await.unwrap();
    }
    let peers: Vec<_> = server.of("tools/call").iter().map(|seen| seen.peer).collect();
    assert!(peers[0] == peers[1] && peers[1] != peers[2], "{peers:?}");
}

#[tokio::test]
async fn ten_3_connections_are_kept_and_never_shared_between_tenants_or_credentials() {
    let server = Server::modern(|seen| result(seen, DONE)).await;
    let world = World::new(vec![at("billing", &server.url)]);
    for _ in 0..3 {
        for (tenant, credential) in [("acme", "a"), ("acme", "b"), ("globex", "a")] {
            let who = format!(r#"{{"who":"{tenant}/{credential}"}}"#);
            let wish = Wish { tenant, credential, ..Wish::default() };
            world.run_with(call("billing", "refund", &who), wish).await.unwrap();
        }
    }
    let mut peers = std::collections::BTreeMap::<String, std::collections::BTreeSet<_>>::new();
    for seen in server.of("tools/call") {
        let who = seen.argument("who").and_then(Value::as_str).unwrap().to_owned();
        peers.entry(who).or_default().insert(seen.peer);
    }
    assert_eq!(peers.len(), 3);
    assert!(peers.values().all(|peers| peers.len() == 1), "kept: {peers:?}");
    let all: std::collections::BTreeSet<_> = peers.values().flatten().collect();
    assert_eq!(all.len(), 3, "never shared: {peers:?}");
}

#[tokio::test]
async fn ten_3_a_thousand_pairs_each_get_their_own_answer() {
    let server = Server::modern(|seen| {
        let echo = seen.argument("n").unwrap().to_string();
        result(seen, &format!(r#"{{"content":[],"structuredContent":{{"n":{echo}}}}}"#))
    })
    .await;
    let mut config = at("billing", &server.url);
    config.bounds.connections = 32;
    config.timeouts.connect = Duration::from_secs(30);
    config.timeouts.call = Duration::from_mins(1);
    let world = World::new(vec![config]);
    let one = async |tenant: &'static str, n: usize| {
        let arguments = format!(r#"{{"n":"{tenant}-{n}"}}"#);
        let wish = Wish { tenant, progress: Some(Value::from(0_i64)), ..Wish::default() };
        let (outcome, _) = world.run_with(call("billing", "echo", &arguments), wish).await.unwrap();
        let Answer::Result(value) = outcome.answer else { panic!("{outcome:?}") };
        assert_eq!(value.pointer("/structuredContent/n"), Some(&Value::from(format!("{tenant}-{n}"))));
    };
    let pairs = (0..1000).map(|n| async move { futures::join!(one("acme", n), one("globex", n)) });
    futures::stream::StreamExt::for_each_concurrent(futures::stream::iter(pairs), 100, |pair| async {
        Box::pin(pair).await;
    })
    .await;
    let ids: std::collections::BTreeSet<u64> = server.of("tools/call").iter().map(Seen::id).collect();
    assert_eq!(ids.len(), 2000, "each request has an id of its own");
}

#[tokio::test]
async fn a_connection_that_the_upstream_closed_is_replaced_before_anything_is_sent() {
    let server = Server::modern(|seen| {
        let mut response = result(seen, DONE);
        response.headers_mut().insert("connection", "close".parse().unwrap());
        response
    })
    .await;
    let world = World::new(vec![at("billing", &server.url)]);
    for _ in 0..5 {
        assert_eq!(world.run(call("billing", "refund", "{}")).await.unwrap().ending, Ending::Done);
    }
    assert_eq!(server.of("tools/call").len(), 5);
}

#[tokio::test]
async fn what_was_asked_of_the_note_is_recorded() {
    let server = Server::modern(|seen| result(seen, DONE)).await;
    let world = World::with_secret(vec![at("billing", &server.url)], "s3cr3t-of-billing");
    let request = placet_upstream::Request {
        call: &call("billing", "refund", "{}"),
        envelope: &crate::world::envelope("acme"),
        partition: crate::world::partition("acme", "billing.v1"),
        client: placet_upstream::Client {
            progress: None,
            log_level: None,
            traceparent: None,
            tracestate: None,
            items: tokio::sync::mpsc::channel(1).0,
        },
        inspect: Inspect::new(|_, _, _| Verdict::Clean),
        operation: None,
    };
    let ready = world.upstreams.connect(request).await.unwrap();
    let note = placet_core::authority::Connection::credential(&ready).clone();
    assert_eq!(note, CredentialNote::Vault { name: name("billing"), version: 1 });
    assert!(!format!("{ready:?}").contains("s3cr3t"));
    drop(ready);
    assert!(server.of("tools/call").is_empty(), "connecting sends nothing of the call");
}

#[tokio::test]
async fn a_long_list_is_read_to_its_end_and_bad_definitions_are_named() {
    let server = Server::start(|seen| {
        let tool = |name: &str| format!(r#"{{"name":"{name}","inputSchema":{{"type":"object"}}}}"#);
        let cursor = seen.body.pointer("/params/cursor").and_then(Value::as_str);
        match (seen.method(), cursor) {
            ("server/discover", _) => result(seen, DISCOVERED),
            (_, None) => {
                result(seen, &format!(r#"{{"tools":[{},{}],"nextCursor":"2"}}"#, tool("a"), tool("b")))
            }
            (_, Some("2")) => result(seen, &format!(r#"{{"tools":[{}],"nextCursor":"3"}}"#, tool("c d"))),
            (_, Some(_)) => result(seen, &format!(r#"{{"tools":[{},{}]}}"#, tool("e"), tool("b"))),
        }
    })
    .await;
    let world = World::new(vec![at("billing", &server.url)]);
    let billing = name("billing");
    assert!(world.upstreams.tools(&billing).is_none());
    world.upstreams.sync(&billing).await.unwrap();
    let tools = world.upstreams.tools(&billing).unwrap();
    let names: Vec<&str> = tools.defs.iter().map(|def| def.name.as_str()).collect();
    assert_eq!(names, ["a", "e"]);
    assert_eq!(tools.refused.len(), 3);
    assert!(tools.get("a").is_some() && tools.get("b").is_none());
    assert_eq!(server.of("tools/list").len(), 3);
    assert!(world.asked().iter().all(|asked| *asked == Asked::Service));
}

#[tokio::test]
async fn a_list_that_runs_in_a_circle_is_refused() {
    let server = Server::start(|seen| match seen.method() {
        "server/discover" => result(seen, DISCOVERED),
        _ => result(seen, r#"{"tools":[],"nextCursor":"again"}"#),
    })
    .await;
    let world = World::new(vec![at("billing", &server.url)]);
    assert!(matches!(world.upstreams.sync(&name("billing")).await, Err(UpstreamError::Protocol(_))));
    assert!(world.upstreams.tools(&name("billing")).is_none());
}

#[tokio::test]
async fn an_announced_change_is_read_again() {
    let lists = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&lists);
    let server = Server::start(move |seen| match seen.method() {
        "server/discover" => result(seen, DISCOVERED),
        "tools/list" => {
            let n = count.fetch_add(1, Ordering::SeqCst);
            result(seen, &format!(r#"{{"tools":[{{"name":"t{n}","inputSchema":{{}}}}]}}"#))
        }
        _ => {
            let changed = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;
            events(&[changed.to_owned(), answer(seen, DONE)], 10)
        }
    })
    .await;
    let world = World::new(vec![at("billing", &server.url)]);
    let billing = name("billing");
    let changed = async {
        while world.upstreams.tools(&billing).is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(world.run(call("billing", "t0", "{}")).await.unwrap().ending, Ending::Done);
        while world.upstreams.tools(&billing).unwrap().get("t1").is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        () = world.upstreams.run() => panic!("it never ends"),
        done = tokio::time::timeout(Duration::from_secs(10), changed) => done.unwrap(),
    }
}
