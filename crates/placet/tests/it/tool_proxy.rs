//! The guard in front of a tool: one permitted call, once, also after a restart.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use placet_jose::{
    Algorithm, KeySet, SigningKey, Stamp,
    digest::ContentDigest,
    dpop,
    htu::Htu,
    keys::random_id,
    mint,
    tokens::{Actor, ActorChain, CallDetail, CallToken, SignedRequest},
};
use tempfile::tempdir;

use crate::support::{Serving, command, exchange, free_address, status};

const ISSUER: &str = "http://127.0.0.1:8717";
pub(crate) const BODY: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#;

/// A tool that counts what reaches it and answers with what it got.
fn tool() -> (SocketAddr, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let calls = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&calls);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut buffer = vec![0; 65536];
            let mut read = 0;
            while !String::from_utf8_lossy(&buffer[..read]).contains("tools/call\"}") {
                match stream.read(&mut buffer[read..]).unwrap() {
                    0 => break,
                    more => read += more,
                }
            }
            counted.fetch_add(1, Ordering::SeqCst);
            let seen = String::from_utf8_lossy(&buffer[..read]).to_lowercase();
            let leaked = ["authorization", "dpop", "connection: keep"].iter().any(|name| seen.contains(name));
            let body = format!("event: message\ndata: leaked={leaked}\n\n");
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            stream.write_all((head + &body).as_bytes()).unwrap();
        }
    });
    (address, calls)
}

pub(crate) struct Fixture {
    pub(crate) dir: tempfile::TempDir,
    address: SocketAddr,
    upstream: SocketAddr,
    calls: Arc<AtomicU64>,
    pub(crate) gateway: SigningKey,
    sender: SigningKey,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let dir = tempdir().unwrap();
        let gateway = SigningKey::generate(Algorithm::EdDsa).unwrap();
        std::fs::write(dir.path().join("gateway.jwks"), KeySet::of(gateway.public()).to_jwks().to_bytes())
            .unwrap();
        let (upstream, calls) = tool();
        Self {
            dir,
            address: free_address(),
            upstream,
            calls,
            gateway,
            sender: SigningKey::generate(Algorithm::EdDsa).unwrap(),
        }
    }
    pub(crate) fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }
    pub(crate) fn start(&self) -> Serving {
        let (listen, upstream, audience) =
            (self.address.to_string(), format!("http://{}/mcp", self.upstream), self.url());
        let arguments = [
            "tool-proxy",
            "--listen",
            &listen,
            "--upstream",
            &upstream,
            "--audience",
            &audience,
            "--issuer",
            ISSUER,
            "--issuer-key",
            "gateway.jwks",
            "--state",
            "state",
        ];
        Serving::start(self.dir.path(), &arguments, "is guarded on")
    }
    /// Headers of a permitted call.
    pub(crate) fn credential(&self, body: &str) -> String {
        self.credential_for("POST", &self.url(), None, &self.url(), body)
    }
    /// The same for any request.
    #[expect(clippy::disallowed_methods, reason = "the guard reads the wall clock, and so must who calls it")]
    fn credential_for(
        &self,
        method: &str,
        url: &str,
        query: Option<&str>,
        audience: &str,
        body: &str,
    ) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let url = Htu::parse(url).unwrap();
        let query = query.map(|query| ContentDigest::of(query.as_bytes()));
        let digest = ContentDigest::of(body.as_bytes());
        let claims = CallToken {
            sub: "maya".into(),
            act: ActorChain::new(vec![Actor { sub: "agent-7".into(), sub_profile: None }]).unwrap(),
            jti: random_id().unwrap(),
            txn: "dc_1".into(),
            key: self.sender.public().thumbprint(),
            req: SignedRequest { htm: method.into(), htu: url.clone(), query, digest },
            detail: CallDetail {
                tenant: "acme".into(),
                action: "issue_refund".into(),
                resource: None,
                amount: None,
            },
        };
        let stamp = Stamp { issuer: ISSUER, audience, issued_at: now, expires_at: now + 30 };
        let token = mint(&self.gateway, &stamp, &claims).unwrap();
        let proof =
            dpop::prove(&self.sender, &random_id().unwrap(), method, &url, now, Some(&token), None).unwrap();
        format!("authorization: DPoP {token}\r\ndpop: {proof}\r\ncontent-digest: {digest}\r\n")
    }
    pub(crate) fn send(&self, path: &str, headers: &str, body: &str) -> String {
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n{headers}\r\n{body}",
            self.address,
            body.len()
        );
        exchange(self.address, request.as_bytes())
    }
    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }
}

#[test]
fn cre_1_a_call_token_counts_once_also_after_a_restart() {
    let fixture = Fixture::new();
    let proxy = fixture.start();
    let credential = fixture.credential(BODY);
    let first = fixture.send("/mcp", &credential, BODY);
    assert_eq!(status(&first), 200, "{first}");
    assert!(first.contains("data: leaked=false"), "the credential ends here: {first}");
    let second = fixture.send("/mcp", &credential, BODY);
    assert_eq!(status(&second), 401, "{second}");
    drop(proxy);
    let _again = fixture.start();
    assert_eq!(status(&fixture.send("/mcp", &credential, BODY)), 401, "after a restart");
    assert_eq!(
        status(&fixture.send("/mcp", &fixture.credential(BODY), BODY)),
        200,
        "a fresh one still works"
    );
    assert_eq!(fixture.calls(), 2);
}

#[test]
fn cre_2_another_path_body_or_no_token_is_refused_alike() {
    let fixture = Fixture::new();
    let _proxy = fixture.start();
    let good = fixture.credential(BODY);
    let changed = BODY.replace("\"id\":1", "\"id\":2");
    let bearer = good.replace("DPoP ", "Bearer ");
    let without_proof: String =
        good.split_inclusive("\r\n").filter(|line| !line.starts_with("dpop")).collect();
    let other = Fixture { address: fixture.address, ..Fixture::new() };
    let foreign = other.credential(BODY);
    let answers = [
        ("another path", fixture.send("/admin", &good, BODY)),
        ("a query", fixture.send("/mcp?x=1", &good, BODY)),
        ("another body", fixture.send("/mcp", &good, &changed)),
        ("as a bearer", fixture.send("/mcp", &bearer, BODY)),
        ("without proof", fixture.send("/mcp", &without_proof, BODY)),
        ("another gateway's key", fixture.send("/mcp", &foreign, BODY)),
        ("twice", fixture.send("/mcp", &format!("{good}{good}"), BODY)),
        ("without anything", fixture.send("/mcp", "", BODY)),
        ("encoded", fixture.send("/mcp", &format!("{good}content-encoding: gzip\r\n"), BODY)),
    ];
    let mut bodies = std::collections::BTreeSet::new();
    for (what, answer) in answers {
        assert_eq!(status(&answer), 401, "{what}: {answer}");
        bodies.insert(answer.split("\r\n\r\n").nth(1).unwrap().to_owned());
    }
    assert_eq!(bodies.len(), 1, "one answer for all: {bodies:?}");
    assert_eq!(fixture.calls(), 0, "nothing reached the tool");
    assert_eq!(status(&fixture.send("/mcp", &good, BODY)), 200, "what was refused didn't use up the token");
    assert_eq!(fixture.calls(), 1);
}

#[test]
fn two_guards_on_one_memory_and_a_guard_that_believes_nobody_are_refused() {
    let fixture = Fixture::new();
    let _proxy = fixture.start();
    let run = |dir: &Path, more: &[&str]| {
        let mut arguments = vec![
            "tool-proxy",
            "--listen",
            "127.0.0.1:0",
            "--upstream",
            "http://127.0.0.1:1/mcp",
            "--audience",
            "http://127.0.0.1:2/mcp",
            "--state",
            "state",
        ];
        arguments.extend(more);
        let output = command(dir).args(arguments).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, err) = run(fixture.dir.path(), &["--issuer", ISSUER, "--issuer-key", "gateway.jwks"]);
    assert!(code == Some(2) && err.contains("another process holds it"), "{err}");
    let (code, err) = run(fixture.dir.path(), &["--issuer-key", "gateway.jwks"]);
    assert!(code == Some(2) && err.contains("`--issuer` is missing"), "{err}");
    let (code, err) = run(fixture.dir.path(), &["--issuer-key", "http://gw.example/oauth/jwks"]);
    assert!(code == Some(2) && err.contains("plain HTTP"), "{err}");
    std::fs::write(fixture.dir.path().join("empty.jwks"), r#"{"keys":[]}"#).unwrap();
    let (code, err) = run(fixture.dir.path(), &["--issuer", ISSUER, "--issuer-key", "empty.jwks"]);
    assert!(code == Some(2) && err.contains("would let nobody in"), "{err}");
}

#[test]
fn cre_2_of_an_http_api_only_the_request_that_the_token_names_is_let_in() {
    let fixture = Fixture::new();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let upstream = format!("http://{}/v1", listener.local_addr().unwrap());
    let desk = placet_samples::desk::Desk::new();
    runtime.spawn(desk.clone().serve(listener, None));
    let (listen, audience) = (fixture.address.to_string(), format!("http://{}/desk", fixture.address));
    let arguments =
        ["tool-proxy", "--http-api", "--listen", &listen, "--upstream", &upstream, "--audience", &audience];
    let keys = ["--issuer", ISSUER, "--issuer-key", "gateway.jwks", "--state", "state"];
    let arguments: Vec<&str> = arguments.into_iter().chain(keys).collect();
    let _proxy = Serving::start(fixture.dir.path(), &arguments, "is guarded on");
    let send = |method: &str, target: &str, headers: &str, body: &str| {
        let request = format!(
            "{method} {target} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n{headers}\r\n{body}",
            fixture.address,
            body.len()
        );
        exchange(fixture.address, request.as_bytes())
    };
    let note = r#"{"text":"a"}"#;
    let path = format!("{audience}/cases/CASE-1837/notes");
    let good = fixture.credential_for("POST", &path, None, &audience, note);
    let search = fixture.credential_for("GET", &format!("{audience}/cases"), Some("limit=1"), &audience, "");
    for (method, target, credential, body) in [
        ("POST", "/desk/cases/CASE-2001/notes", &good, note),
        ("POST", "/desk/cases/CASE-1837/refunds", &good, note),
        ("POST", "/desk/cases/CASE-1837/notes?x=1", &good, note),
        ("POST", "/desk/x/../cases/CASE-1837/notes", &good, note),
        ("POST", "/cases/CASE-1837/notes", &good, note),
        ("POST", "/desk/cases/CASE-1837/notes", &good, r#"{"text":"b"}"#),
        ("PUT", "/desk/cases/CASE-1837/notes", &good, note),
        ("GET", "/desk/cases", &search, ""),
        ("GET", "/desk/cases?limit=50", &search, ""),
        ("GET", "/desk/cases?limit=1&tenant=globex", &search, ""),
        ("GET", "/desk/cases?limit=1", &String::new(), ""),
    ] {
        let answer = send(method, target, credential, body);
        assert_eq!(status(&answer), 401, "{method} {target}: {answer}");
    }
    assert!(desk.requests().is_empty(), "nothing reached the tool: {:?}", desk.requests());
    let answer = send("POST", "/desk/cases/CASE-1837/notes", &good, note);
    assert_eq!(status(&answer), 201, "{answer}");
    assert_eq!(status(&send("GET", "/desk/cases?limit=1", &search, "")), 200);
    assert_eq!(desk.requests(), ["POST /v1/cases/CASE-1837/notes", "GET /v1/cases?limit=1"]);
    assert_eq!(status(&send("POST", "/desk/cases/CASE-1837/notes", &good, note)), 401, "and once");
}
