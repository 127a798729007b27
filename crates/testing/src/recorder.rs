//! A tool behind a socket that keeps every byte it is sent and answers as it is told.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use placet_json::{Limits, Value};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// Which era it is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    /// 2026-07-28.
    Modern,
    /// 2025-11-25, with sessions.
    Legacy,
}

/// What came in, as bytes.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Request line and headers, as they came.
    pub head: String,
    /// The body, as it came.
    pub body: Vec<u8>,
    /// The body as JSON, `null` if it is none.
    pub json: Value,
}

/// What it answers.
#[derive(Debug, Clone)]
pub enum Reply {
    /// This JSON as the result.
    Result(String),
    /// This JSON as the error.
    Error(String),
    /// These bytes, head and all.
    Raw(Vec<u8>),
    /// Nothing, ever.
    Silence,
    /// The connection is closed.
    Gone,
}

type Script = dyn Fn(&Seen) -> Reply + Send + Sync;

/// The tool. Cheap to clone; every clone is the same.
#[derive(Clone)]
pub struct Recorder {
    inner: Arc<Inner>,
}

struct Inner {
    address: SocketAddr,
    speaks: Speaks,
    connections: AtomicUsize,
    given_up: AtomicUsize,
    seen: Mutex<Vec<Seen>>,
    tools: Mutex<Vec<Value>>,
    script: Mutex<Arc<Script>>,
    held: Mutex<HashMap<String, watch::Receiver<bool>>>,
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Recorder({})", self.inner.address)
    }
}

impl Seen {
    /// The message's method.
    #[must_use]
    pub fn method(&self) -> &str {
        self.json.get("method").and_then(Value::as_str).unwrap_or_default()
    }
    /// A header's value.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().skip(1);
        lines
            .find_map(|line| line.split_once(':').filter(|(other, _)| other.eq_ignore_ascii_case(name)))
            .map(|(_, value)| value.trim())
    }
    /// The arguments' own bytes, cut out of the body as they came.
    #[must_use]
    pub fn arguments(&self) -> &[u8] {
        let start =
            find(&self.body, b"\"arguments\":").expect("a call has arguments") + b"\"arguments\":".len();
        let (mut depth, mut text, mut escaped) = (0_usize, false, false);
        for (at, byte) in self.body.iter().enumerate().skip(start) {
            match byte {
                _ if escaped => escaped = false,
                b'\\' if text => escaped = true,
                b'"' => text = !text,
                b'{' | b'[' if !text => depth += 1,
                b'}' | b']' if !text => {
                    depth -= 1;
                    if depth == 0 {
                        return &self.body[start..=at];
                    }
                }
                _ => {}
            }
        }
        panic!("arguments without an end: {}", String::from_utf8_lossy(&self.body))
    }
}

impl Recorder {
    /// Listens, offers these tools, and answers every call with `done`.
    pub async fn start(speaks: Speaks, tools: Vec<Value>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let done: Arc<Script> = Arc::new(|_| Reply::Result(DONE.to_owned()));
        let inner = Arc::new(Inner {
            address: listener.local_addr().unwrap(),
            speaks,
            connections: AtomicUsize::new(0),
            given_up: AtomicUsize::new(0),
            seen: Mutex::default(),
            tools: Mutex::new(tools),
            script: Mutex::new(done),
            held: Mutex::default(),
        });
        let all = Arc::clone(&inner);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let inner = Arc::clone(&all);
                inner.connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move { inner.serve(stream).await });
            }
        });
        Self { inner }
    }
    /// Its address as settings name it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/mcp", self.inner.address)
    }
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.inner.address
    }
    /// Answers calls otherwise from now on.
    pub fn answer(&self, script: impl Fn(&Seen) -> Reply + Send + Sync + 'static) {
        *self.inner.script.lock().unwrap() = Arc::new(script);
    }
    /// Offers other tools from now on.
    pub fn offer(&self, tools: Vec<Value>) {
        *self.inner.tools.lock().unwrap() = tools;
    }
    /// Answers to this method wait until `true` is sent.
    #[must_use]
    pub fn hold(&self, method: &str) -> watch::Sender<bool> {
        let (open, closed) = watch::channel(false);
        self.inner.held.lock().unwrap().insert(method.to_owned(), closed);
        open
    }
    /// Everything that came.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        self.inner.seen.lock().unwrap().clone()
    }
    /// How many connections were made to it, whatever was sent on them.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.inner.connections.load(Ordering::SeqCst)
    }
    /// Waits until this many of the calls that are answered with silence were given up: their connection was closed.
    pub async fn given_up(&self, count: usize) {
        for _ in 0..1000 {
            if self.inner.given_up.load(Ordering::SeqCst) >= count {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("{} calls were given up, not {count}", self.inner.given_up.load(Ordering::SeqCst));
    }
    /// The calls that came.
    #[must_use]
    pub fn calls(&self) -> Vec<Seen> {
        self.of("tools/call")
    }
    /// The messages of one method that came.
    #[must_use]
    pub fn of(&self, method: &str) -> Vec<Seen> {
        self.seen().into_iter().filter(|seen| seen.method() == method).collect()
    }
    /// Waits until more than `count` messages of the method have come.
    pub async fn beyond(&self, method: &str, count: usize) {
        for _ in 0..2000 {
            if self.of(method).len() > count {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("no further `{method}` came");
    }
}

impl Inner {
    async fn serve(&self, mut stream: TcpStream) {
        let mut bytes = Vec::new();
        while let Some(seen) = read(&mut stream, &mut bytes).await {
            self.seen.lock().unwrap().push(seen.clone());
            let held = self.held.lock().unwrap().get(seen.method()).cloned();
            if let Some(mut held) = held {
                drop(held.wait_for(|open| *open).await);
            }
            let out = match self.reply(&seen) {
                Reply::Result(result) => message(&seen, "result", &result, self.session(&seen)),
                Reply::Error(error) => message(&seen, "error", &error, ""),
                Reply::Raw(bytes) => bytes,
                Reply::Silence => {
                    // Until the other side gives it up.
                    let mut rest = Vec::new();
                    drop(stream.read_to_end(&mut rest).await);
                    self.given_up.fetch_add(1, Ordering::SeqCst);
                    return;
                }
                Reply::Gone => return,
            };
            if stream.write_all(&out).await.is_err() {
                return;
            }
        }
    }

    fn session(&self, seen: &Seen) -> &'static str {
        if self.speaks == Speaks::Legacy && seen.method() == "initialize" {
            "mcp-session-id: s1\r\n"
        } else {
            ""
        }
    }

    fn reply(&self, seen: &Seen) -> Reply {
        match (self.speaks, seen.method()) {
            (Speaks::Modern, "server/discover") => Reply::Result(DISCOVERED.to_owned()),
            (Speaks::Legacy, "server/discover") => Reply::Raw(plain(
                400,
                "Bad Request",
                r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"no session"}}"#,
            )),
            (Speaks::Legacy, "initialize") => Reply::Result(INITIALIZED.to_owned()),
            (_, "tools/list") => {
                let tools = Value::Array(self.tools.lock().unwrap().clone()).to_string();
                let rest = if self.speaks == Speaks::Modern {
                    r#","resultType":"complete","ttlMs":300000,"cacheScope":"public""#
                } else {
                    ""
                };
                Reply::Result(format!(r#"{{"tools":{tools}{rest}}}"#))
            }
            (_, "tools/call") => {
                let script = Arc::clone(&self.script.lock().unwrap());
                script(seen)
            }
            (_, method) if method.starts_with("notifications/") => Reply::Raw(plain(202, "Accepted", "")),
            _ => Reply::Raw(plain(405, "Method Not Allowed", "")),
        }
    }
}

const DONE: &str = r#"{"resultType":"complete","content":[{"type":"text","text":"done"}]}"#;
const DISCOVERED: &str =
    r#"{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{}}}"#;
const INITIALIZED: &str = r#"{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"recorder","version":"1"}}"#;

/// A whole response with a JSON body.
pub(crate) fn plain(status: u16, reason: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status} {reason}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

fn message(seen: &Seen, part: &str, body: &str, headers: &str) -> Vec<u8> {
    let id = seen.json.get("id").cloned().unwrap_or(Value::Null);
    let body = format!(r#"{{"jsonrpc":"2.0","id":{id},"{part}":{body}}}"#);
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{headers}content-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// The next request of a connection, from the bytes themselves.
async fn read(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<Seen> {
    let end = loop {
        if let Some(end) = find(bytes, b"\r\n\r\n") {
            break end;
        }
        more(stream, bytes).await?;
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let length = head
        .lines()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
    let whole = end + 4 + length.unwrap_or(0);
    while bytes.len() < whole {
        more(stream, bytes).await?;
    }
    let body = bytes[end + 4..whole].to_vec();
    bytes.drain(..whole);
    let json = placet_json::parse(&body, &Limits::RESULT).unwrap_or(Value::Null);
    Some(Seen { head, body, json })
}

async fn more(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<()> {
    (stream.read_buf(bytes).await.ok()? > 0).then_some(())
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
