//! An HTTP server that answers what a test tells it to, and remembers what it was asked.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, Request};
use axum::response::Response;
use futures::{StreamExt, stream};
use http::HeaderMap;
use placet_json::{Limits, Value};

/// What came in.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) verb: String,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) raw: String,
    pub(crate) body: Value,
    /// The connection that it came on.
    pub(crate) peer: SocketAddr,
}

impl Seen {
    pub(crate) fn method(&self) -> &str {
        self.body.get("method").and_then(Value::as_str).unwrap_or("")
    }

    pub(crate) fn id(&self) -> u64 {
        self.body.get("id").and_then(Value::as_u64).unwrap_or(0)
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    pub(crate) fn argument(&self, name: &str) -> Option<&Value> {
        self.body.get("params")?.get("arguments")?.get(name)
    }
}

pub(crate) struct Server {
    pub(crate) url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    /// A server that answers as `script` says.
    pub(crate) async fn start(script: impl Fn(&Seen) -> Response + Send + Sync + 'static) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/mcp", listener.local_addr().unwrap());
        let (seen, script) = (Arc::<Mutex<Vec<Seen>>>::default(), Arc::new(script));
        let all = Arc::clone(&seen);
        let app = axum::Router::new().fallback(
            move |ConnectInfo(peer): ConnectInfo<SocketAddr>, request: Request| async move {
                let (head, body) = request.into_parts();
                let raw = axum::body::to_bytes(body, 1 << 20).await.unwrap();
                let seen = Seen {
                    verb: head.method.to_string(),
                    path: head.uri.to_string(),
                    headers: head.headers,
                    body: placet_json::parse(&raw, &Limits::MESSAGE).unwrap_or(Value::Null),
                    raw: String::from_utf8(raw.to_vec()).unwrap(),
                    peer,
                };
                all.lock().unwrap().push(seen.clone());
                script(&seen)
            },
        );
        let app = app.into_make_service_with_connect_info::<SocketAddr>();
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, seen, task }
    }

    /// A modern server whose `tools/call` is answered as `script` says.
    pub(crate) async fn modern(script: impl Fn(&Seen) -> Response + Send + Sync + 'static) -> Self {
        Self::start(move |seen| match seen.method() {
            "server/discover" => result(seen, DISCOVERED),
            "tools/call" => script(seen),
            method => panic!("nobody asks a modern server for {method}"),
        })
        .await
    }

    /// A legacy server with sessions `s1`, `s2`, …; `script` answers what comes after the handshake.
    pub(crate) async fn legacy(script: impl Fn(&Seen) -> Response + Send + Sync + 'static) -> Self {
        let next = std::sync::atomic::AtomicU64::new(1);
        Self::start(move |seen| match seen.method() {
            "server/discover" => {
                status(400, r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"no session"}}"#)
            }
            "initialize" => {
                let session = next.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                let mut response = result(seen, INITIALIZED);
                response.headers_mut().insert("mcp-session-id", format!("s{session}").parse().unwrap());
                response
            }
            "notifications/initialized" | "notifications/cancelled" => status(202, ""),
            _ => script(seen),
        })
        .await
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// The requests of one method.
    pub(crate) fn of(&self, method: &str) -> Vec<Seen> {
        self.seen().into_iter().filter(|seen| seen.method() == method).collect()
    }

    /// Waits until a request of this method has come.
    pub(crate) async fn until(&self, method: &str) -> Seen {
        for _ in 0..500 {
            if let Some(seen) = self.of(method).pop() {
                return seen;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("no {method} came");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(crate) const DISCOVERED: &str =
    r#"{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{}}}"#;
pub(crate) const INITIALIZED: &str = r#"{"protocolVersion":"2025-11-25","capabilities":{"tools":{},"logging":{}},"serverInfo":{"name":"script","version":"1"}}"#;
pub(crate) const DONE: &str = r#"{"content":[{"type":"text","text":"done"}]}"#;

/// A response with this result.
pub(crate) fn result(seen: &Seen, result: &str) -> Response {
    status(200, &answer(seen, result))
}

/// The message that answers with this result.
pub(crate) fn answer(seen: &Seen, result: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{},"result":{result}}}"#, seen.id())
}

/// JSON with this status.
pub(crate) fn status(status: u16, body: &str) -> Response {
    Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .body(Body::from(body.to_owned()))
        .unwrap()
}

/// An event stream of these messages, in pieces of `size` bytes, that ends after the last.
pub(crate) fn events(messages: &[String], size: usize) -> Response {
    let text: Vec<String> = messages.iter().map(|message| format!("id: 1\ndata: {message}\n\n")).collect();
    let text = text.concat();
    let text = format!(": hello\r\n\r\nretry: 10\ndata:\n\n{text}");
    let pieces: Vec<Bytes> = text.as_bytes().chunks(size).map(Bytes::copy_from_slice).collect();
    let stream = stream::iter(pieces).then(|piece| async move {
        tokio::task::yield_now().await;
        Ok::<_, Infallible>(piece)
    });
    Response::builder().header("content-type", "text/event-stream").body(Body::from_stream(stream)).unwrap()
}

/// An event stream of these messages that stays open and silent.
pub(crate) fn open_events(messages: &[String]) -> Response {
    let text: Vec<String> = messages.iter().map(|message| format!("data: {message}\n\n")).collect();
    let text = text.concat();
    let stream = stream::iter([Ok::<_, Infallible>(Bytes::from(text))]).chain(stream::pending());
    Response::builder().header("content-type", "text/event-stream").body(Body::from_stream(stream)).unwrap()
}
