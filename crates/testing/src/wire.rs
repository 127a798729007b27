//! HTTP/1.1 as bytes: what is sent is what stands here, however wrong it is.

use std::{net::SocketAddr, time::Duration};

use placet_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

const PATIENCE: Duration = Duration::from_secs(20);

/// A request that a test may spoil before it is sent.
#[derive(Debug, Clone)]
pub struct Http {
    /// The method.
    pub method: String,
    /// The request target.
    pub target: String,
    /// Names and values, in order.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Http {
    /// Replaces every header of this name.
    #[must_use]
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
        self.add(name, value)
    }
    /// Adds a header, beside those of the same name.
    #[must_use]
    pub fn add(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
    /// Drops every header of this name.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
        self
    }
    /// Another body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }
    /// Another request target.
    #[must_use]
    pub fn target(mut self, target: &str) -> Self {
        target.clone_into(&mut self.target);
        self
    }
    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let length = self.body.len();
        let mut out = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        for (name, value) in &self.headers {
            out.extend([name.as_str(), ": ", value.as_str(), "\r\n"]);
        }
        out.extend(["content-length: ", &length.to_string(), "\r\nconnection: close\r\n\r\n"]);
        let mut out = out.into_bytes();
        out.extend_from_slice(&self.body);
        out
    }
    /// Sends it and reads the whole answer.
    pub async fn send(&self, to: SocketAddr) -> Answer {
        exchange(to, &self.bytes()).await
    }
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status, 0 if none came.
    pub status: u16,
    /// Status line and headers.
    pub head: String,
    /// The body, without chunks.
    pub body: Vec<u8>,
}

impl Answer {
    /// The message, also where it came as the last event of a stream.
    #[must_use]
    pub fn message(&self) -> Value {
        let text = self.text();
        let last = text.lines().rev().find_map(|line| line.strip_prefix("data: "));
        crate::json(if text.starts_with('{') { text.as_bytes() } else { last.unwrap_or("null").as_bytes() })
    }
    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
    /// A header's value.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let line = self.head.lines().skip(1).find_map(|line| {
            line.split_once(':').filter(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value)
        });
        line.map(str::trim)
    }
    /// The code of a refusal; empty if it is none.
    #[must_use]
    pub fn code(&self) -> String {
        let message = self.message();
        let code = ["/result/structuredContent/placet/code", "/error/data/placet/code"];
        let found = code.into_iter().find_map(|path| message.pointer(path)?.as_str().map(str::to_owned));
        found.unwrap_or_default()
    }
    /// The JSON-RPC error's code, 0 if there is none.
    #[must_use]
    pub fn rpc_code(&self) -> i64 {
        self.message().pointer("/error/code").and_then(Value::as_i64).unwrap_or_default()
    }
    /// The ending of a call that was permitted and broke.
    #[must_use]
    pub fn ending(&self) -> String {
        let message = self.message();
        message.pointer("/error/data/placet/ending").and_then(Value::as_str).unwrap_or_default().to_owned()
    }
    /// Everything that was said, to look for what must not be in it.
    #[must_use]
    pub fn all(&self) -> String {
        format!("{}{}", self.head, self.text())
    }
}

/// Sends bytes and reads until the other side closes. A side that closes early is an answer, too.
pub async fn exchange(to: SocketAddr, bytes: &[u8]) -> Answer {
    parse(&raw(to, bytes).await)
}

/// Sends bytes and reads whatever comes.
pub async fn raw(to: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = timeout(PATIENCE, TcpStream::connect(to)).await.unwrap().unwrap();
    let (mut reader, mut writer) = stream.split();
    let mut out = Vec::new();
    let write = async {
        // It may have been refused before its end.
        drop(writer.write_all(bytes).await);
    };
    let read = async {
        drop(reader.read_to_end(&mut out).await);
    };
    timeout(PATIENCE, async { tokio::join!(write, read) }).await.expect("an answer in time");
    out
}

fn parse(bytes: &[u8]) -> Answer {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Answer { status: 0, head: String::from_utf8_lossy(bytes).into_owned(), body: Vec::new() };
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    let body = if chunked { dechunk(&bytes[end + 4..]) } else { bytes[end + 4..].to_vec() };
    Answer { status, head, body }
}

fn dechunk(mut bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    while let Some(line) = bytes.windows(2).position(|two| two == b"\r\n") {
        let size = std::str::from_utf8(&bytes[..line])
            .ok()
            .and_then(|size| usize::from_str_radix(size.trim(), 16).ok());
        let Some(size) = size.filter(|size| *size > 0) else { break };
        let Some(chunk) = bytes.get(line + 2..line + 2 + size) else { break };
        out.extend_from_slice(chunk);
        bytes = bytes.get(line + 4 + size..).unwrap_or_default();
    }
    out
}
