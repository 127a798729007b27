//! A server at work, on real sockets.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    time::{Duration, Instant},
};

use tempfile::tempdir;

use crate::support::{Ran, Serving, exchange, placet, status};

pub(crate) struct Server {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) serving: Serving,
    pub(crate) agents: String,
    pub(crate) admin: String,
}

/// A server on free ports with these further settings, and the starter's release.
pub(crate) fn start(settings: &str) -> Server {
    let dir = tempdir().unwrap();
    placet(dir.path(), &["init", "."]).expect(0);
    start_in(dir, settings)
}

pub(crate) fn start_in(dir: tempfile::TempDir, settings: &str) -> Server {
    let base = "[server]\nlisten = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\n";
    std::fs::write(dir.path().join("placet.toml"), format!("{base}{settings}")).unwrap();
    let serving = Serving::start(dir.path(), &["serve"], "serves agents at");
    let (agents, admin) = (serving.word("serves agents at "), serving.word("administrators at "));
    Server { dir, serving, agents, admin }
}

impl Server {
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }
    /// A verb, as the operator.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        let mut all = arguments.to_vec();
        all.extend(["--server", &self.admin, "--format", "json"]);
        placet(self.dir(), &all)
    }
}

fn address(url: &str) -> SocketAddr {
    url.strip_prefix("http://").unwrap().parse().unwrap()
}

fn get(address: SocketAddr, path: &str, headers: &str) -> String {
    exchange(
        address,
        format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{headers}\r\n").as_bytes(),
    )
}

#[test]
fn ops_2_nothing_of_the_administrators_is_on_the_agents_listener() {
    let server = start("");
    let (agents, admin) = (address(&server.agents), address(&server.admin));
    for path in [
        "/v1/status",
        "/v1/openapi.json",
        "/metrics",
        "/healthz",
        "/readyz",
        "/console",
        "/debug",
        "/v1/tenants",
    ] {
        for headers in [
            "",
            "x-forwarded-for: 127.0.0.1\r\n",
            "x-forwarded-host: localhost\r\n",
            "authorization: Bearer secret-api-key\r\n",
        ] {
            assert_eq!(status(&get(agents, path, headers)), 404, "{path}");
        }
    }
    for path in ["/mcp", "/oauth/token", "/.well-known/oauth-authorization-server"] {
        assert_eq!(status(&get(admin, path, "")), 404, "{path}");
    }
    assert_eq!(status(&get(admin, "/v1/status", "x-forwarded-for: 127.0.0.1\r\n")), 401);
    assert_eq!(status(&get(admin, "/healthz", "")), 200);
    let metrics = get(admin, "/metrics", "");
    assert!(metrics.contains("placet_refused_total{reason=\"admin_unauthenticated\"} 1"), "{metrics}");
    assert_eq!(
        status(&exchange(
            agents,
            b"GET /oauth/jwks HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n"
        )),
        421
    );
}

#[test]
fn ops_4_slow_large_and_many_are_bounded() {
    let server = start(
        "[limits]\nheader_read_ms = 400\nbody_read_ms = 400\nconnections = 32\n[release]\ndir = \"release\"\n",
    );
    let agents = address(&server.agents);
    let large = format!("GET /oauth/jwks HTTP/1.1\r\nhost: {agents}\r\nx: {}\r\n\r\n", "a".repeat(200_000));
    assert_eq!(status(&exchange(agents, large.as_bytes())), 431);
    let many = "x: 1\r\n".repeat(1000);
    assert_eq!(
        status(&exchange(
            agents,
            format!("GET /oauth/jwks HTTP/1.1\r\nhost: {agents}\r\n{many}\r\n").as_bytes()
        )),
        431
    );
    let body = "a".repeat(40_000);
    let post = format!(
        "POST /oauth/token HTTP/1.1\r\nhost: {agents}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    assert_eq!(status(&exchange(agents, post.as_bytes())), 413);

    // Slow headers: the connection ends on the server's time, not the sender's.
    let began = Instant::now();
    let mut slow = TcpStream::connect(agents).unwrap();
    slow.write_all(b"GET /oauth/jwks HTTP/1.1\r\nhost: ").unwrap();
    slow.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut rest = Vec::new();
    drop(slow.read_to_end(&mut rest));
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());

    // Idle connections by the hundred take all slots, and give them back: others are served.
    let idle: Vec<_> = (0..200).map(|_| TcpStream::connect(agents).unwrap()).collect();
    let began = Instant::now();
    assert_eq!(status(&get(agents, "/oauth/jwks", "")), 200);
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    drop(idle);
    assert_eq!(status(&get(address(&server.admin), "/readyz", "")), 200);
}

#[test]
fn a_start_makes_keys_that_nobody_else_reads_and_a_second_server_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let server = start("[release]\ndir = \"release\"\n");
    let keys = server.dir().join("data/keys");
    for name in ["operator.pem", "token.pem", "sender.pem", "checkpoint.key", "session.key", "master.key"] {
        let mode = std::fs::metadata(keys.join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{name}");
    }
    let second = placet(server.dir(), &["serve"]).expect(2);
    assert!(second.err.contains("another process"), "{}", second.err);
    let status = server.run(&["release", "list"]).expect(0);
    assert!(status.text("/in_force").starts_with("sha256:"));
}

#[test]
fn people_s_acts_reach_the_facts_and_survive_a_restart() {
    let server = start("[release]\ndir = \"release\"\n");
    server.run(&["facts", "apply", "facts.json"]).expect(0);
    let denied = server.run(&["tenant", "create", "acme"]).expect(1);
    assert!(denied.err.contains("(conflict)"), "{}", denied.err);
    server.run(&["agent", "enrol", "desk-1", "--type", "support_agent", "--owner", "maya"]).expect(0);
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
    let delegated = server
        .run(&[
            "delegate",
            "acme/wf-9",
            "--id",
            "dg-1",
            "--human",
            "maya",
            "--agent",
            "desk-1",
            "--action",
            "read_case",
            "--limit",
            "amount=100.50",
        ])
        .expect(0);
    assert_eq!(delegated.text("/human"), "maya");
    server.run(&["freeze", "agent", "desk-1", "--why", "odd"]).expect(0);
    server.run(&["revoke", "delegation", "acme/dg-1"]).expect(0);
    server.run(&["revoke", "delegation", "acme/none"]).expect(1);
    let history = server.run(&["facts", "history", "acme", "--limit", "1"]).expect(0);
    assert!(history.out.contains("delegation_revoked"), "{}", history.out);
    let revision = history.json().pointer("/history/0/revision").unwrap().as_u64().unwrap();

    let Server { dir, serving, .. } = server;
    drop(serving);
    let server = start_in(dir, "[release]\ndir = \"release\"\n");
    let facts = server.run(&["facts", "get", "acme"]).expect(0);
    assert_eq!(facts.text("/delegations/0/state"), "revoked");
    assert_eq!(facts.json().pointer("/delegations/0/scope/limits/amount").unwrap().to_string(), "100.5");
    let before = server.run(&["facts", "get", "acme", "--at", &(revision - 1).to_string()]).expect(0);
    assert_eq!(before.text("/delegations/0/state"), "live");
    assert!(server.run(&["facts", "get"]).expect(0).out.contains("\"agent\": \"desk-1\""), "still frozen");
    let doctor = server.run(&["doctor"]).expect(0);
    assert!(doctor.out.contains("journal in"), "{}", doctor.out);
}

#[test]
fn another_key_is_nobody() {
    let server = start("");
    placet(server.dir(), &["key", "generate", "other.pem"]).expect(0);
    let refused = server.run(&["tenant", "create", "acme", "--key", "other.pem"]).expect(2);
    assert!(refused.err.contains("isn't signed by a key that is known here"), "{}", refused.err);
    assert_eq!(server.run(&["tenant", "list"]).expect(0).out.trim(), "{\n  \"tenants\": []\n}");
}
