//! From a client without a key, through gateway and guard, to a tool: the whole road.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Arc, Mutex},
};

use placet_json::{Limits, Value};
use placet_samples::{Kind, Sample, seed};
use tempfile::tempdir;

use crate::{
    server::{Server, start_in},
    support::{Serving, command, free_address, placet, policies},
};

/// `placet connect`, spoken to line by line.
pub(crate) struct Client {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: std::sync::mpsc::Receiver<Value>,
}

impl Client {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in stdout.lines() {
                drop(sender.send(placet_json::parse(line.unwrap().as_bytes(), &Limits::RESULT).unwrap()));
            }
        });
        let stdin = child.stdin.take();
        Self { child, stdin, lines }
    }
    pub(crate) fn send(&mut self, message: &str) {
        let stdin = self.stdin.as_mut().unwrap();
        stdin.write_all(format!("{message}\n").as_bytes()).unwrap();
        stdin.flush().unwrap();
    }
    /// The answer to a request; notifications before it are dropped.
    pub(crate) fn ask(&mut self, id: u64, method: &str, params: &str) -> Value {
        self.send(&format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#));
        loop {
            let message = self.lines.recv_timeout(std::time::Duration::from_secs(30)).unwrap();
            if message.get("id").and_then(Value::as_u64) == Some(id) {
                return message;
            }
        }
    }
    /// The next message.
    pub(crate) fn next(&self) -> Value {
        self.lines.recv_timeout(std::time::Duration::from_secs(30)).unwrap()
    }
    /// Closes its input and waits for its end.
    pub(crate) fn end(mut self) -> Option<i32> {
        self.stdin = None;
        self.child.wait().unwrap().code()
    }
}

pub(crate) const INITIALIZE: &str =
    r#"{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"test","version":"1"}}"#;
pub(crate) const MODERN: &str = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}"#;

/// Sample CRM behind `tool-proxy` behind a server with the support desk's release; an agent with a delegation.
pub(crate) struct Road {
    pub(crate) server: Server,
    pub(crate) sample: placet_samples::Control,
    /// All that the guard sent to the tool.
    pub(crate) sent: Arc<Mutex<Vec<u8>>>,
    _guard: Serving,
    _runtime: tokio::runtime::Runtime,
}

fn road() -> Road {
    road_with("", &[])
}

/// With these further settings of the server, and variables of its process.
pub(crate) fn road_with(further: &str, variables: &[(&str, &str)]) -> Road {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let dir = tempdir().unwrap();
    let database = dir.path().join("crm.sqlite");
    seed(Kind::Crm, &database).unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let upstream = listener.local_addr().unwrap();
    let sample = Sample::open(Kind::Crm, &database).unwrap();
    let control = sample.control();
    runtime.spawn(sample.serve_http(listener, None));
    let sent = Arc::new(Mutex::new(Vec::new()));
    let upstream = tap(upstream, Arc::clone(&sent));

    placet(dir.path(), &["key", "generate", "token.pem"]).expect(0);
    let keys = placet(dir.path(), &["key", "show", "token.pem", "--jwks"]).expect(0);
    std::fs::write(dir.path().join("gateway.jwks"), keys.out).unwrap();
    let (guarded, agents) = (free_address(), free_address());
    let (listen, upstream, audience) =
        (guarded.to_string(), format!("http://{upstream}/mcp"), format!("http://{guarded}/mcp"));
    let issuer = format!("http://{agents}");
    let arguments = [
        "tool-proxy",
        "--listen",
        &listen,
        "--upstream",
        &upstream,
        "--audience",
        &audience,
        "--issuer",
        &issuer,
        "--issuer-key",
        "gateway.jwks",
        "--state",
        "state",
    ];
    let guard = Serving::start(dir.path(), &arguments, "is guarded on");

    copy(&policies("support"), &dir.path().join("release"));
    let settings = format!(
        "public_url = \"{issuer}\"\n[keys]\ntoken = {{ file = \"token.pem\" }}\n[release]\ndir = \"release\"\n[[upstream]]\nname = \"crm\"\nurl = \"{audience}\"\nallow_private = true\nlist_with = \"call-token\"\n{further}"
    );
    // The public URL names the port, so the listener must have it.
    let settings = settings.replacen("public_url", &format!("listen = \"{agents}\"\npublic_url"), 1);
    let base = dir.path().join("placet.toml");
    std::fs::write(&base, format!("[server]\nadmin_listen = \"127.0.0.1:0\"\n{settings}")).unwrap();
    let serving = Serving::start_with(dir.path(), &["serve"], variables, "serves agents at");
    let (agents, admin) = (serving.word("serves agents at "), serving.word("administrators at "));

    let server = Server { dir, serving, agents, admin };
    delegated(&server);
    Road { server, sample: control, sent, _guard: guard, _runtime: runtime }
}

/// An address that passes everything on to this one, and keeps what was sent there.
pub(crate) fn tap(to: SocketAddr, sent: Arc<Mutex<Vec<u8>>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for from in listener.incoming().map(Result::unwrap) {
            // Whoever comes before it is there is turned away.
            let Ok(there) = TcpStream::connect(to) else { continue };
            let (mut back, mut client) = (there.try_clone().unwrap(), from.try_clone().unwrap());
            std::thread::spawn(move || {
                drop(std::io::copy(&mut back, &mut client));
                drop(client.shutdown(std::net::Shutdown::Both));
            });
            let (mut from, mut there, sent) = (from, there, Arc::clone(&sent));
            std::thread::spawn(move || {
                let mut buffer = [0; 4096];
                while let Ok(read @ 1..) = from.read(&mut buffer) {
                    sent.lock().unwrap().extend_from_slice(&buffer[..read]);
                    there.write_all(&buffer[..read]).unwrap();
                }
                drop(there.shutdown(std::net::Shutdown::Write));
            });
        }
    });
    address
}

/// People, a reviewed tool, an enrolled agent with a delegation.
fn delegated(server: &Server) {
    let facts = r#"{"tenant":"acme","tenants":["acme"],"humans":[{"id":"maya","standing":"active","home":"acme"}],
        "assignments":[{"human":"maya","roles":["support"],"until":"ended"}],
        "resources":[{"type":"support_case","id":"CASE-1837","attributes":{"case_id":"CASE-1837","customer_id":"C-1"}},
                     {"type":"support_case","id":"CASE-2001","attributes":{"case_id":"CASE-2001","customer_id":"C-2"}}]}"#;
    std::fs::write(server.dir().join("facts.json"), facts).unwrap();
    server.run(&["facts", "apply", "facts.json"]).expect(0);
    // Nothing is accepted yet: what is offered is reviewed, then the release that says so comes into force.
    let differences = server.run(&["catalog", "diff", "crm"]).expect(1).json();
    let differences = differences.pointer("/differences").unwrap().as_array().unwrap();
    let offered = differences
        .iter()
        .find(|tool| tool.get("tool").and_then(Value::as_str) == Some("crm.get_case"))
        .unwrap();
    let digest = offered.get("offered").unwrap().as_str().unwrap();
    let catalog = server.dir().join("release/catalog/crm.toml");
    let text = std::fs::read_to_string(&catalog).unwrap();
    let head = "[tool.\"crm.get_case\"]\n";
    std::fs::write(&catalog, text.replacen(head, &format!("{head}accepts = [\"{digest}\"]\n"), 1)).unwrap();
    let promoted = server.run(&["promote", "release", "--why", "reviewed"]).expect(0);
    assert_ne!(promoted.text("/before"), promoted.text("/digest"));
    let code = server
        .run(&["agent", "enrol", "agent-7", "--type", "support_agent", "--owner", "maya"])
        .expect(0)
        .text("/code");
    server
        .run(&[
            "workflow",
            "open",
            "acme/wf-9",
            "--type",
            "support_case",
            "--owner",
            "maya",
            "--intent",
            "support_case_resolution",
            "--bind",
            "support_case=CASE-1837",
        ])
        .expect(0);
    server
        .run(&[
            "delegate",
            "acme/wf-9",
            "--id",
            "dg-1",
            "--human",
            "maya",
            "--agent",
            "agent-7",
            "--action",
            "summarize_case",
        ])
        .expect(0);
    // The first start enrols the key; every later one finds it enrolled.
    let mut enrol = Client::start(connect(server, &["--enrol", &code]));
    assert_eq!(
        enrol.ask(1, "initialize", INITIALIZE).pointer("/result/protocolVersion").and_then(Value::as_str),
        Some("2025-11-25")
    );
    assert_eq!(enrol.end(), Some(0));
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

pub(crate) fn connect(server: &Server, more: &[&str]) -> Command {
    let mut command = command(server.dir());
    command
        .args(["connect", "--server", &server.agents, "--key", "agent.pem", "--workflow", "acme/wf-9"])
        .args(more);
    command
}

fn names(listed: &Value) -> Vec<&str> {
    let tools = listed.pointer("/result/tools").and_then(Value::as_array).unwrap_or_default();
    tools.iter().filter_map(|tool| tool.get("name")?.as_str()).collect()
}

#[test]
fn a_client_without_a_key_works_as_an_enrolled_agent_in_both_eras() {
    let road = road();
    let mut client = Client::start(connect(&road.server, &[]));
    // Legacy.
    client.ask(1, "initialize", INITIALIZE);
    client.send(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
    let listed = client.ask(2, "tools/list", "{}");
    assert_eq!(names(&listed), ["crm__get_case"], "{listed}");
    let called =
        client.ask(3, "tools/call", r#"{"name":"crm__get_case","arguments":{"case_id":"CASE-1837"}}"#);
    assert_eq!(
        called.pointer("/result/structuredContent/case_id").and_then(Value::as_str),
        Some("CASE-1837"),
        "{called}"
    );
    let denied =
        client.ask(4, "tools/call", r#"{"name":"crm__get_case","arguments":{"case_id":"CASE-2001"}}"#);
    assert_eq!(
        denied.pointer("/result/structuredContent/placet/code").and_then(Value::as_str),
        Some("resource_outside_workflow"),
        "{denied}"
    );
    assert!(client.ask(5, "ping", "{}").get("result").is_some());
    assert_eq!(
        client
            .ask(6, "tools/call", r#"{"name":"crm__export_customers","arguments":{}}"#)
            .pointer("/error/code")
            .and_then(Value::as_i64),
        Some(-32602)
    );
    // Modern, on the same pipe.
    let discovered = client.ask(7, "server/discover", &format!("{{{MODERN}}}"));
    assert_eq!(
        discovered
            .pointer("/result/supportedVersions/0")
            .or_else(|| discovered.pointer("/result/protocolVersions/0"))
            .and_then(Value::as_str),
        Some("2026-07-28"),
        "{discovered}"
    );
    let listed = client.ask(8, "tools/list", &format!("{{{MODERN}}}"));
    assert_eq!(names(&listed), ["crm__get_case"], "{listed}");
    let called = client.ask(
        9,
        "tools/call",
        &format!(r#"{{"name":"crm__get_case","arguments":{{"case_id":"CASE-1837"}},{MODERN}}}"#),
    );
    assert_eq!(
        called.pointer("/result/structuredContent/case_id").and_then(Value::as_str),
        Some("CASE-1837"),
        "{called}"
    );
    assert_eq!(road.sample.calls(), 2, "what was denied never reached the tool");
    client.send("not json");
    assert_eq!(
        client
            .lines
            .recv_timeout(std::time::Duration::from_secs(5))
            .unwrap()
            .pointer("/error/code")
            .and_then(Value::as_i64),
        Some(-32700)
    );
    assert_eq!(client.end(), Some(0));

    // A modern client that lists nothing first.
    let mut client = Client::start(connect(&road.server, &["--upstream", "crm"]));
    let called = client.ask(
        1,
        "tools/call",
        &format!(r#"{{"name":"get_case","arguments":{{"case_id":"CASE-1837"}},{MODERN}}}"#),
    );
    assert_eq!(
        called.pointer("/result/structuredContent/case_id").and_then(Value::as_str),
        Some("CASE-1837"),
        "{called}"
    );
    assert_eq!(client.end(), Some(0));
}

#[test]
fn del_2_the_call_after_a_revocation_is_denied_and_a_new_client_gets_no_token() {
    let road = road();
    let mut client = Client::start(connect(&road.server, &[]));
    client.ask(1, "initialize", INITIALIZE);
    client.send(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
    let call = r#"{"name":"crm__get_case","arguments":{"case_id":"CASE-1837"}}"#;
    assert!(client.ask(2, "tools/call", call).pointer("/result/structuredContent/case_id").is_some());
    road.server.run(&["revoke", "human", "maya", "--why", "left"]).expect(0);
    let denied = client.ask(3, "tools/call", call);
    assert_eq!(
        denied.pointer("/result/structuredContent/placet/code").and_then(Value::as_str),
        Some("delegating_user_inactive"),
        "{denied}"
    );
    assert_eq!(road.sample.calls(), 1);
    let decision = denied
        .pointer("/result/structuredContent/placet/decision_id")
        .and_then(Value::as_str)
        .unwrap()
        .to_owned();
    assert!(decision.starts_with("dc_"));
    client.end();
    let mut client = Client::start(connect(&road.server, &[]));
    let refused = client.ask(1, "initialize", INITIALIZE);
    assert_eq!(refused.pointer("/error/code").and_then(Value::as_i64), Some(-31002), "{refused}");
    assert!(refused.pointer("/error/message").unwrap().as_str().unwrap().contains("no live delegation"));
    client.end();
}

#[test]
fn a_gateway_that_is_down_is_told_as_an_error() {
    let road = road();
    let mut client = Client::start(connect(&road.server, &[]));
    client.ask(1, "initialize", INITIALIZE);
    let Road { server: Server { serving, dir: _dir, .. }, .. } = road;
    drop(serving);
    // A connection that was kept may be found broken first: that is told as such.
    let code = |answer: &Value| answer.pointer("/error/code").and_then(Value::as_i64);
    let mut refused = client.ask(2, "tools/list", "{}");
    for id in 3..8 {
        if code(&refused) != Some(-31004) {
            break;
        }
        refused = client.ask(id, "tools/list", "{}");
    }
    assert_eq!(code(&refused), Some(-31001), "{refused}");
    client.end();
}

#[test]
fn what_cannot_work_is_said_at_the_start() {
    let dir = tempdir().unwrap();
    let unreachable =
        placet(dir.path(), &["connect", "--server", "http://127.0.0.1:1", "--key", "a.pem"]).expect(2);
    assert!(unreachable.err.contains("can't reach"), "{}", unreachable.err);
    let server = start_in(dir, "");
    let unknown = placet(server.dir(), &["connect", "--server", &server.agents, "--key", "a.pem"]).expect(2);
    assert!(unknown.err.contains("isn't enrolled"), "{}", unknown.err);
    let wrong = placet(
        server.dir(),
        &["connect", "--server", &server.agents, "--key", "a.pem", "--enrol", "placet_enrol_x"],
    )
    .expect(2);
    assert!(wrong.err.contains("doesn't take the enrolment code"), "{}", wrong.err);
}
