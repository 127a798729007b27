//! What goes wrong, by accident or on purpose: the call ends, nothing leaks, nothing is sent again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use placet_core::authority::{Answer, Ending, Outcome};
use placet_json::Value;
use placet_mcp::logging::LogLevel;
use placet_upstream::{Inspect, UpstreamError, Verdict};

use crate::script::{DONE, Seen, Server, answer, events, result, status};
use crate::world::{Wish, World, at, call, name, read};

pub(crate) async fn outcome(script: impl Fn(&Seen) -> Response + Send + Sync + 'static) -> (Outcome, Server) {
    let server = Server::modern(script).await;
    let world = World::new(vec![at("billing", &server.url)]);
    let outcome = world.run(call("billing", "refund", r#"{"amount":80}"#)).await.unwrap();
    (outcome, server)
}

#[tokio::test]
async fn ups_2_a_redirect_is_not_followed_and_the_credential_not_sent_again() {
    let other = Server::start(|_| status(200, "{}")).await;
    let target = other.url.clone();
    let server = Server::modern(move |_| {
        Response::builder().status(307).header("location", &target).body(Body::empty()).unwrap()
    })
    .await;
    let world = World::with_secret(vec![at("billing", &server.url)], "s3cr3t-of-billing");
    let outcome = world.run(call("billing", "refund", "{}")).await.unwrap();
    assert_eq!((outcome.ending, outcome.answer), (Ending::Failed, Answer::Nothing));
    assert!(outcome.sent > 0);
    assert!(other.seen().is_empty(), "the other origin heard of it");
    assert_eq!(server.of("tools/call").len(), 1);
}

#[tokio::test]
async fn ups_1_a_name_or_address_inside_is_not_connected_to() {
    let server = Server::start(|_| status(200, "{}")).await;
    let port = server.url.rsplit_once(':').unwrap().1.to_owned();
    for host in ["localhost", "127.0.0.1", "2130706433", "[::ffff:127.0.0.1]", "0x7f000001"] {
        let mut config = at("billing", &format!("https://{host}:{port}"));
        let placet_upstream::Transport::Http(http) = &mut config.transport else { panic!() };
        http.egress = placet_upstream::Egress::Public;
        let vault = crate::world::Vault { secret: "", asked: std::sync::Mutex::default() };
        let now = Arc::new(|| placet_core::Timestamp::from_secs(1));
        let made = placet_upstream::Upstreams::new(
            vec![config],
            Arc::new(vault),
            placet_upstream::SystemResolver,
            now,
        );
        match made {
            Err(UpstreamError::Config { .. }) => assert_ne!(host, "localhost"),
            Err(other) => panic!("{other}"),
            Ok(upstreams) => {
                let refused = upstreams.sync(&name("billing")).await.unwrap_err();
                assert!(matches!(refused, UpstreamError::Forbidden(_)), "{host}: {refused}");
            }
        }
    }
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn cre_3_the_secret_never_comes_back() {
    type Wrap = fn(&Seen, &str) -> Response;
    const SECRET: &str = "s3cr3t/of billing+9";
    let coded = [
        SECRET.to_owned(),
        "s3cr3t\\u002fof\\u0020billing\\u002b9".to_owned(),
        STANDARD.encode(format!("user:{SECRET}")),
        "s3cr3t%2Fof%20billing%2B9".to_owned(),
    ];
    let places: [(&str, Wrap); 7] = [
        ("result", |seen, text| {
            result(seen, &format!(r#"{{"content":[{{"type":"text","text":"x {text} y"}}]}}"#))
        }),
        ("name", |seen, text| {
            result(seen, &format!(r#"{{"content":[],"structuredContent":{{"{text}":1}}}}"#))
        }),
        ("error", |seen, text| {
            let error = format!(r#"{{"code":1,"message":"{text}"}}"#);
            status(500, &format!(r#"{{"jsonrpc":"2.0","id":{},"error":{error}}}"#, seen.id()))
        }),
        ("data", |seen, text| {
            let error = format!(r#"{{"code":1,"message":"","data":["{text}"]}}"#);
            status(200, &format!(r#"{{"jsonrpc":"2.0","id":{},"error":{error}}}"#, seen.id()))
        }),
        ("log", |seen, text| {
            let params = format!(r#"{{"level":"error","data":"{text}"}}"#);
            let log = format!(r#"{{"jsonrpc":"2.0","method":"notifications/message","params":{params}}}"#);
            events(&[log, answer(seen, DONE)], 50)
        }),
        ("page", |_, text| {
            Response::builder().status(500).body(Body::from(format!("<h1>{text}</h1>"))).unwrap()
        }),
        ("header", |seen, text| {
            let mut response = result(seen, DONE);
            response.headers_mut().insert("x-echo", text.parse().unwrap());
            response
        }),
    ];
    for text in &coded {
        for (place, wrap) in places {
            let echoed = text.clone();
            let server = Server::modern(move |seen| wrap(seen, &echoed)).await;
            let world = World::with_secret(vec![at("billing", &server.url)], SECRET);
            let wish = Wish { log_level: Some(LogLevel::Debug), ..Wish::default() };
            let (outcome, items) = world.run_with(call("billing", "refund", "{}"), wish).await.unwrap();
            assert_eq!(
                (outcome.ending, &outcome.answer),
                (Ending::Filtered, &Answer::Nothing),
                "{place} {text}"
            );
            assert!(!outcome.detail.contains("s3cr3t"), "{place}");
            assert!(items.is_empty(), "{place}: {items:?}");
        }
    }
}

#[tokio::test]
async fn an_answer_without_the_secret_passes() {
    let server = Server::modern(|seen| result(seen, DONE)).await;
    let world = World::with_secret(vec![at("billing", &server.url)], "s3cr3t-of-billing");
    let outcome = world.run(call("billing", "refund", "{}")).await.unwrap();
    assert_eq!(outcome.ending, Ending::Done);
    let note = world.upstreams.health();
    assert!(matches!(&*note, [(_, placet_upstream::Health::Up { .. })]), "{note:?}");
}

#[tokio::test]
async fn a_foreign_item_withholds_the_result() {
    let server =
        Server::modern(|seen| result(seen, r#"{"content":[],"structuredContent":{"tenant":"globex"}}"#))
            .await;
    let world = World::new(vec![at("billing", &server.url)]);
    let inspect = Inspect::new(|_, envelope, result| {
        match result.pointer("/structuredContent/tenant").and_then(Value::as_str) {
            Some(tenant) if tenant != envelope.tenant().as_str() => {
                Verdict::Foreign(format!("an item of {tenant}"))
            }
            _ => Verdict::Clean,
        }
    });
    let run = |tenant| {
        world.run_with(
            call("billing", "x", "{}"),
            Wish { tenant, inspect: inspect.clone(), ..Wish::default() },
        )
    };
    let (foreign, _) = run("acme").await.unwrap();
    assert_eq!((foreign.ending, foreign.answer), (Ending::Filtered, Answer::Nothing));
    assert_eq!(foreign.detail, "an item of globex");
    assert_eq!(run("globex").await.unwrap().0.ending, Ending::Done);
}

#[tokio::test]
async fn mcp_5_an_upstream_that_asks_the_client_gets_nothing() {
    let asks = r#"{"resultType":"input_required","inputRequests":{"a":{"method":"elicitation/create",
        "params":{"message":"Your password?","requestedSchema":{"type":"object","properties":{}}}}}}"#;
    let (asked, server) = outcome(move |seen| result(seen, asks)).await;
    assert_eq!((asked.ending, asked.answer), (Ending::Failed, Answer::Nothing));
    assert_eq!(server.of("tools/call").len(), 1);
    let (task, _server) = outcome(|seen| result(seen, r#"{"resultType":"task","taskId":"t"}"#)).await;
    assert_eq!((task.ending, task.answer), (Ending::Unknown, Answer::Nothing));
    let (never, _server) = outcome(|seen| result(seen, r#"{"resultType":7}"#)).await;
    assert_eq!(never.ending, Ending::Unknown);
}

#[tokio::test]
async fn garbage_is_no_answer() {
    let garbage: [fn(&Seen) -> Response; 10] = [
        |_| status(200, ""),
        |_| status(200, "{"),
        |_| status(200, "[]"),
        |_| status(200, "null"),
        |seen| status(200, &answer(seen, DONE).replace(r#""content""#, r#""content":[],"content""#)),
        |seen| status(200, &answer(seen, DONE).replace(&format!(":{},", seen.id()), ":0,")),
        |seen| status(200, &answer(seen, &format!("{}1{}", r#"{"a":["#.repeat(80), "]}".repeat(80)))),
        |seen| status(500, &answer(seen, DONE)),
        |_| events(&["not JSON".to_owned()], 9),
        |_| Response::builder().status(202).body(Body::empty()).unwrap(),
    ];
    for (at, garbage) in garbage.into_iter().enumerate() {
        let (outcome, _server) = outcome(garbage).await;
        assert_eq!(
            (outcome.ending, &outcome.answer),
            (Ending::Unknown, &Answer::Nothing),
            "{at}: {outcome:?}"
        );
        assert!(outcome.sent > 0, "{at}");
    }
    for code in [401, 403, 404, 413, 429] {
        let (outcome, _server) = outcome(move |_| status(code, r#"{"error":"invalid_token"}"#)).await;
        assert_eq!(
            (outcome.ending, &outcome.answer),
            (Ending::Failed, &Answer::Nothing),
            "{code}: {outcome:?}"
        );
    }
    for code in [408, 500, 502, 504] {
        let (outcome, _server) = outcome(move |_| status(code, "oops")).await;
        assert_eq!(outcome.ending, Ending::Unknown, "{code}: {outcome:?}");
    }
}

#[tokio::test]
async fn an_answer_over_the_bound_is_not_taken() {
    let long = format!(r#"{{"content":[{{"type":"text","text":"{}"}}]}}"#, "x".repeat(9 << 20));
    for streamed in [false, true] {
        let long = long.clone();
        let (outcome, _server) =
            outcome(
                move |seen| {
                    if streamed { events(&[answer(seen, &long)], 65536) } else { result(seen, &long) }
                },
            )
            .await;
        assert_eq!((outcome.ending, outcome.answer), (Ending::Unknown, Answer::Nothing), "{streamed}");
        assert_eq!(outcome.digest, None);
    }
    let nearly = format!(r#"{{"content":[{{"type":"text","text":"{}"}}]}}"#, "x".repeat(7 << 20));
    for streamed in [false, true] {
        let nearly = nearly.clone();
        let (outcome, _server) =
            outcome(
                move |seen| {
                    if streamed { events(&[answer(seen, &nearly)], 65536) } else { result(seen, &nearly) }
                },
            )
            .await;
        assert_eq!(outcome.ending, Ending::Done, "{streamed} {}", outcome.detail);
    }
}

struct Guard(Arc<AtomicUsize>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A server whose calls stream comments for ever, and how many it serves.
async fn endless() -> (Server, Arc<AtomicUsize>) {
    let open = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&open);
    let server = Server::modern(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        let stream = futures::stream::unfold(Guard(Arc::clone(&count)), |guard| async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            Some((Ok::<_, std::convert::Infallible>(":\n\n"), guard))
        });
        let response = Response::builder().header("content-type", "text/event-stream");
        response.body(Body::from_stream(stream)).unwrap()
    })
    .await;
    (server, open)
}

/// Closing the stream is how a modern upstream is told to stop.
async fn is_told(open: &AtomicUsize) {
    for _ in 0..300 {
        if open.load(Ordering::SeqCst) == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the upstream was never told");
}

#[tokio::test]
async fn a_slow_upstream_ends_as_unknown_and_is_told() {
    let (server, open) = endless().await;
    let mut config = at("billing", &server.url);
    config.timeouts.call = Duration::from_millis(200);
    let world = World::new(vec![config]);
    let outcome = world.run(call("billing", "refund", "{}")).await.unwrap();
    assert_eq!((outcome.ending, outcome.answer), (Ending::Unknown, Answer::Nothing));
    assert!(outcome.sent > 0);
    is_told(&open).await;
}

#[tokio::test]
async fn a_dropped_call_is_told_to_the_upstream() {
    let (server, open) = endless().await;
    let world = World::new(vec![at("billing", &server.url)]);
    tokio::select! {
        _ = world.run(call("billing", "refund", "{}")) => panic!("it never answers"),
        _ = server.until("tools/call") => {}
    }
    is_told(&open).await;
    assert_eq!(server.of("tools/call").len(), 1);
}

#[tokio::test]
async fn an_upstream_that_dies_in_mid_call_leaves_it_unknown() {
    // A real socket: it takes the call and closes, before or after the head of an answer.
    for half in
        ["", "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{\"jsonrpc\""]
    {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/mcp", listener.local_addr().unwrap());
        let mut config = at("billing", &url);
        config.era = Some(placet_mcp::Era::Modern);
        let calls = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&calls);
        let server = tokio::spawn(async move {
            use tokio::io::{AsyncReadExt, AsyncWriteExt};
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                let mut chunk = vec![0; 65536];
                if socket.read(&mut chunk).await.unwrap() > 0 {
                    count.fetch_add(1, Ordering::SeqCst);
                    socket.write_all(half.as_bytes()).await.unwrap();
                }
            }
        });
        let world = World::new(vec![config]);
        let outcome = world.run(read("billing", "refund", "{}")).await.unwrap();
        assert_eq!((outcome.ending, outcome.answer), (Ending::Unknown, Answer::Nothing));
        assert!(outcome.sent > 0);
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(calls.load(Ordering::SeqCst), 1, "it was sent again");
        server.abort();
    }
}

#[tokio::test]
async fn nobody_there_means_nothing_sent() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    drop(listener);
    let world = World::new(vec![at("billing", &url)]);
    assert!(matches!(world.run(call("billing", "refund", "{}")).await, Err(UpstreamError::Io(_))));
    assert!(matches!(&*world.upstreams.health(), [(_, placet_upstream::Health::Down { .. })]));
    assert!(matches!(world.run(call("crm", "x", "{}")).await, Err(UpstreamError::Unknown(_))));
}
