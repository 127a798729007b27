//! `placet connect` towards a gateway that we play: streams as they come, cancellation, lost sessions, expired tokens.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::mpsc::{Receiver, Sender, channel},
    time::Duration,
};

use placet_json::{Limits, Value};
use tempfile::tempdir;

use crate::{
    connect::{Client, MODERN},
    support::{command, placet},
};

/// What the gateway saw: method, headers in lower case, body.
#[derive(Debug)]
struct Seen {
    method: String,
    headers: String,
    body: Value,
    /// Tells when the connection has ended.
    closed: Receiver<()>,
}

/// Answers discovery and tokens; every `/mcp` request is told, and answered as `answer` says.
fn gateway(answer: fn(&Value, u64) -> String) -> (SocketAddr, Receiver<Seen>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, seen) = channel();
    let calls = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    std::thread::spawn(move || {
        for stream in listener.incoming().map(Result::unwrap) {
            let (sender, calls) = (sender.clone(), std::sync::Arc::clone(&calls));
            std::thread::spawn(move || serve(stream, address, &sender, answer, &calls));
        }
    });
    (address, seen)
}

fn serve(
    stream: TcpStream,
    address: SocketAddr,
    sender: &Sender<Seen>,
    answer: fn(&Value, u64) -> String,
    calls: &std::sync::atomic::AtomicU64,
) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut stream = stream;
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head).unwrap_or(0) == 0 {
                return;
            }
        }
        let lower = head.to_lowercase();
        let length = lower
            .split("content-length: ")
            .nth(1)
            .and_then(|rest| rest.lines().next())
            .map_or(0, |text| text.trim().parse().unwrap());
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let mut line = head.split(' ');
        let (method, path) = (line.next().unwrap(), line.next().unwrap());
        let json = |body: String| {
            format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            )
        };
        let origin = format!("http://{address}");
        let reply = match path {
            "/.well-known/oauth-protected-resource/mcp" => {
                json(format!(r#"{{"resource":"{origin}/mcp","authorization_servers":["{origin}"]}}"#))
            }
            "/.well-known/oauth-authorization-server" => {
                json(format!(r#"{{"issuer":"{origin}","token_endpoint":"{origin}/oauth/token"}}"#))
            }
            "/oauth/token" => json(format!(
                r#"{{"access_token":"token-{}","token_type":"DPoP","expires_in":300}}"#,
                calls.load(std::sync::atomic::Ordering::SeqCst)
            )),
            _ => {
                let body = placet_json::parse(&body, &Limits::MESSAGE).unwrap_or(Value::Null);
                let call = calls.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                let reply = answer(&body, call);
                let (ended, closed) = channel();
                sender
                    .send(Seen { method: method.to_owned(), headers: lower.clone(), body, closed })
                    .unwrap();
                stream.write_all(reply.as_bytes()).unwrap();
                if reply.contains("event-stream") {
                    // The stream stays open until the other side ends it.
                    drop(reader.read(&mut [0; 1]));
                    ended.send(()).unwrap_or_default();
                    return;
                }
                continue;
            }
        };
        stream.write_all(reply.as_bytes()).unwrap();
    }
}

fn start(address: SocketAddr) -> (tempfile::TempDir, Client) {
    let dir = tempdir().unwrap();
    placet(dir.path(), &["key", "generate", "a.pem"]).expect(0);
    let mut connect = command(dir.path());
    connect.args([
        "connect",
        "--server",
        &format!("http://{address}"),
        "--key",
        "a.pem",
        "--agent",
        "agent-7",
        "--intent",
        "resolution",
    ]);
    (dir, Client::start(connect))
}

const PATIENCE: Duration = Duration::from_secs(10);

fn answered(body: &Value, result: &str) -> String {
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":{},"result":{result}}}"#,
        body.get("id").map_or("null".to_owned(), ToString::to_string)
    );
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[test]
fn a_modern_cancellation_closes_the_stream_and_progress_comes_before() {
    let (address, seen) = gateway(|body, _| {
        if body.get("method").and_then(Value::as_str) == Some("tools/list") {
            answered(
                body,
                r#"{"tools":[{"name":"slow","inputSchema":{"type":"object","properties":{"region":{"type":"string","x-mcp-header":"Region"}}}}]}"#,
            )
        } else {
            let event = "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{\"progressToken\":1,\"progress\":0.50}}\n\n";
            format!(
                "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{event}\r\n",
                event.len()
            )
        }
    });
    let (_dir, mut client) = start(address);
    client.send(&format!(r#"{{"jsonrpc":"2.0","id":"a","method":"tools/call","params":{{"name":"slow","arguments":{{"region":"eu"}},{MODERN}}}}}"#));
    let listed = seen.recv_timeout(PATIENCE).unwrap();
    assert!(
        listed.headers.contains("mcp-method: tools/list"),
        "a schema that isn't known is asked for: {}",
        listed.headers
    );
    let called = seen.recv_timeout(PATIENCE).unwrap();
    for header in [
        "mcp-protocol-version: 2026-07-28",
        "mcp-method: tools/call",
        "mcp-name: slow",
        "mcp-param-region: eu",
        "authorization: dpop token-",
        "dpop: ",
        "placet-intent: resolution",
    ] {
        assert!(called.headers.contains(header), "{header}\n{}", called.headers);
    }
    assert!(!called.headers.contains("mcp-session-id") && called.method == "POST");
    let progress = client.next();
    assert_eq!(
        progress.pointer("/params/progress").map(ToString::to_string).as_deref(),
        Some("0.50"),
        "spelled as it came: {progress}"
    );
    client.send(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"a"}}"#);
    called.closed.recv_timeout(PATIENCE).expect("the stream ends, and with it the call");
    assert!(seen.try_recv().is_err(), "no notification is sent for it");
    assert_eq!(client.end(), Some(0));
}

#[test]
fn a_refused_token_is_renewed_once_and_a_lost_session_opened_again() {
    let (address, seen) = gateway(|body, call| {
        let initialized = |id: &str| {
            answered(body, r#"{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"g","version":"1"}}"#).replacen("\r\n", &format!("\r\nmcp-session-id: {id}\r\n"), 1)
        };
        let empty = |status: &str| format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
        match (body.get("method").and_then(Value::as_str), call) {
            (Some("initialize"), 0) => empty("401 Unauthorized"),
            (Some("initialize"), 1) => initialized("s-1"),
            (Some("initialize"), _) => initialized("s-2"),
            (Some("ping"), 2) => empty("404 Not Found"),
            (Some("ping"), _) => answered(body, "{}"),
            _ => empty("202 Accepted"),
        }
    });
    let (_dir, mut client) = start(address);
    let params =
        r#"{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}"#;
    assert!(client.ask(1, "initialize", params).get("result").is_some());
    let tokens: Vec<String> = (0..2).map(|_| seen.recv_timeout(PATIENCE).unwrap().headers).collect();
    assert!(tokens[0].contains("dpop token-0") && tokens[1].contains("dpop token-1"), "{tokens:?}");
    assert_eq!(client.ask(2, "ping", "{}").to_string(), r#"{"jsonrpc":"2.0","id":2,"result":{}}"#);
    let mut methods = Vec::new();
    while let Ok(seen) = seen.recv_timeout(Duration::from_millis(300)) {
        let session = seen
            .headers
            .split("mcp-session-id: ")
            .nth(1)
            .and_then(|rest| rest.lines().next())
            .unwrap_or_default()
            .to_owned();
        methods.push((
            seen.method,
            seen.body.get("method").and_then(Value::as_str).unwrap_or_default().to_owned(),
            session,
        ));
    }
    let sent = |method: &str, session: &str| {
        methods.iter().filter(|(_, name, on)| name == method && on == session).count()
    };
    assert_eq!(
        (
            sent("ping", "s-1"),
            sent("initialize", ""),
            sent("notifications/initialized", "s-2"),
            sent("ping", "s-2")
        ),
        (1, 1, 1, 1),
        "{methods:?}"
    );
    assert_eq!(client.end(), Some(0));
}

#[test]
fn a_document_cannot_lead_the_key_elsewhere() {
    let (address, _seen) = gateway(|_, _| String::new());
    let dir = tempdir().unwrap();
    placet(dir.path(), &["key", "generate", "a.pem"]).expect(0);
    // The same server by another name: what its documents name isn't what the user named.
    let server = format!("http://localhost:{}", address.port());
    let refused =
        placet(dir.path(), &["connect", "--server", &server, "--key", "a.pem", "--agent", "agent-7"])
            .expect(2);
    assert!(refused.err.contains("names \"http://127.0.0.1"), "{}", refused.err);
}
