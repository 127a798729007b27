//! `placet probe`: at real tools, before and after the door was shut.

use std::net::SocketAddr;

use placet_json::Value;
use placet_samples::{Kind, Sample, desk::Desk, seed};
use tempfile::tempdir;
use tokio::{net::TcpListener, runtime::Runtime};

use crate::{
    connect::road_with,
    support::{Ran, free_address, placet, status},
    tool_proxy::{BODY, Fixture},
};

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// A real MCP server (rmcp), with the standing key of a tool that knows no better, or with none.
fn sample(
    dir: &std::path::Path,
    runtime: &Runtime,
    key: Option<&str>,
) -> (SocketAddr, placet_samples::Control) {
    let database = dir.join("chat.sqlite");
    seed(Kind::Chat, &database).unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    let sample = Sample::open(Kind::Chat, &database).unwrap();
    let control = sample.control();
    runtime.spawn(sample.serve_http(listener, key.map(str::to_owned)));
    (address, control)
}

/// Road and outcome of the first upstream.
fn roads(ran: &Ran) -> Vec<String> {
    let document = ran.json();
    let roads = document.pointer("/upstreams/0/roads").and_then(Value::as_array).unwrap();
    let text = |road: &Value, name: &str| road.get(name).and_then(Value::as_str).unwrap().to_owned();
    roads.iter().map(|road| format!("{} {}", text(road, "road"), text(road, "outcome"))).collect()
}

#[test]
fn a_tool_that_asks_nobody_is_open_on_every_road() {
    let (dir, runtime) = (tempdir().unwrap(), runtime());
    let (address, control) = sample(dir.path(), &runtime, None);
    let url = format!("http://{address}/mcp");
    let ran = placet(dir.path(), &["probe", "--upstream", &url, "--format", "json"]).expect(1);
    assert_eq!(
        roads(&ran),
        [
            "no-token answered",
            "forged answered",
            "expired answered",
            "other-audience answered",
            "replayed not tried",
            "workflow-token not tried",
            "old-credential not tried"
        ]
    );
    assert_eq!(ran.text("/upstreams/0/state"), "open");
    assert_eq!(ran.text("/upstreams/0/roads/0/detail"), "lists 2 tools");
    assert!(ran.text("/upstreams/0/remedies/0").contains("placet tool-proxy"), "{ran:?}");
    assert_eq!(control.calls(), 0, "no tool was called");
    let page = placet(dir.path(), &["probe", "--upstream", &url]).expect(1).out;
    assert!(page.starts_with("open 127.0.0.1 ("), "{page}");
}

#[test]
fn a_standing_key_keeps_out_who_has_none_and_lets_in_who_kept_it() {
    let (dir, runtime) = (tempdir().unwrap(), runtime());
    let (address, control) = sample(dir.path(), &runtime, Some("standing-key-of-old"));
    let url = format!("http://{address}/mcp");
    let ran = placet(dir.path(), &["probe", "--upstream", &url, "--format", "json"]).expect(0);
    assert_eq!(ran.text("/upstreams/0/state"), "closed");
    std::fs::write(dir.path().join("old"), "standing-key-of-old\n").unwrap();
    let arguments = ["probe", "--upstream", &url, "--old-credential-file", "old", "--format", "json"];
    let ran = placet(dir.path(), &arguments).expect(1);
    assert_eq!(roads(&ran).last().unwrap(), "old-credential answered");
    assert!(ran.text("/upstreams/0/remedies/0").starts_with("revoke the old credential"), "{ran:?}");
    assert!(!ran.out.contains("standing-key") && !ran.err.contains("standing-key"), "{ran:?}");
    std::fs::write(dir.path().join("old"), "revoked-since-then\n").unwrap();
    placet(dir.path(), &arguments).expect(0);
    assert_eq!(control.calls(), 0);
}

#[test]
fn behind_the_proxy_every_road_is_closed_the_replayed_call_s_too() {
    let fixture = Fixture::new();
    let _proxy = fixture.start();
    let credential = fixture.credential(BODY);
    assert_eq!(status(&fixture.send("/mcp", &credential, BODY)), 200);
    let dir = fixture.dir.path();
    std::fs::write(
        dir.join("captured"),
        format!("POST /mcp HTTP/1.1\r\n{credential}content-type: application/json\r\n\r\n{BODY}"),
    )
    .unwrap();
    std::fs::write(dir.join("token.pem"), fixture.gateway.to_pkcs8_pem().unwrap().as_bytes()).unwrap();
    std::fs::set_permissions(dir.join("token.pem"), std::os::unix::fs::PermissionsExt::from_mode(0o600))
        .unwrap();
    std::fs::write(dir.join("old"), "standing-key-of-old").unwrap();
    let url = fixture.url();
    let arguments = [
        "probe",
        "--upstream",
        &url,
        "--captured",
        "captured",
        "--token-key",
        "token.pem",
        "--issuer",
        "http://127.0.0.1:8717",
        "--old-credential-file",
        "old",
        "--message",
        "call.json",
        "--format",
        "json",
    ];
    std::fs::write(dir.join("call.json"), BODY).unwrap();
    let ran = placet(dir, &arguments).expect(0);
    assert_eq!(
        roads(&ran),
        [
            "no-token refused",
            "forged refused",
            "expired refused",
            "other-audience refused",
            "replayed refused",
            "workflow-token not tried",
            "old-credential refused"
        ]
    );
    assert_eq!(fixture.calls(), 1, "nothing but the permitted call reached the tool");
}

#[test]
fn env_3_an_agent_s_own_token_opens_no_tool_of_a_gateway_s_settings() {
    let road = road_with("", &[]);
    let dir = road.server.dir();
    let arguments = [
        "probe",
        "--config",
        "placet.toml",
        "--agent-key",
        "agent.pem",
        "--gateway",
        &road.server.agents,
        "--workflow",
        "acme/wf-9",
        "--token-key",
        "token.pem",
        "--format",
        "json",
    ];
    let ran = placet(dir, &arguments).expect(0);
    assert_eq!(ran.text("/upstreams/0/name"), "crm");
    assert_eq!(ran.text("/upstreams/0/state"), "closed");
    assert_eq!(roads(&ran)[5], "workflow-token refused");
    assert!(!ran.out.contains("eyJ"), "no token is printed");
}

#[test]
fn what_is_not_reached_is_kept_by_the_network_only() {
    let dir = tempdir().unwrap();
    let url = format!("http://{}/mcp", free_address());
    let ran = placet(dir.path(), &["probe", "--upstream", &url, "--format", "json"]).expect(0);
    assert_eq!(ran.text("/upstreams/0/state"), "network only");
    assert_eq!(roads(&ran), ["no-token unreachable"]);
    assert!(ran.text("/upstreams/0/remedies/0").contains("from where agents run"), "{ran:?}");
}

#[test]
fn an_http_api_is_asked_with_get_on_named_paths_only() {
    let (dir, runtime) = (tempdir().unwrap(), runtime());
    let serve = |key: Option<&str>| {
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let desk = Desk::new();
        runtime.spawn(desk.clone().serve(listener, key.map(str::to_owned)));
        (desk, url)
    };
    let (desk, url) = serve(None);
    let base = ["probe", "--protocol", "rest", "--upstream", &url, "--format", "json"];
    let ran = placet(dir.path(), &base).expect(2);
    assert!(ran.err.contains("--get PATH"), "{}", ran.err);
    let ran = placet(dir.path(), &[&base[..], &["--get", "/cases?limit=1"]].concat()).expect(1);
    assert_eq!(roads(&ran)[0], "no-token answered");
    assert!(
        desk.requests()
            .iter()
            .all(|request| request.starts_with("OPTIONS ") || request == "GET /v1/cases?limit=1"),
        "{:?}",
        desk.requests()
    );
    let (_desk, url) = serve(Some("desk-key-0123456789"));
    std::fs::write(dir.path().join("old"), "desk-key-0123456789").unwrap();
    let base =
        ["probe", "--protocol", "rest", "--upstream", &url, "--get", "/cases?limit=1", "--format", "json"];
    assert_eq!(placet(dir.path(), &base).expect(0).text("/upstreams/0/state"), "closed");
    let old = ["--old-credential-file", "old", "--old-credential-header", "x-api-key"];
    let ran = placet(dir.path(), &[&base[..], &old].concat()).expect(1);
    assert_eq!(roads(&ran).last().unwrap(), "old-credential answered");
}

#[test]
fn what_can_t_be_probed_says_why() {
    let dir = tempdir().unwrap();
    let ran = placet(dir.path(), &["probe"]).expect(2);
    assert!(ran.err.contains("placet.toml"), "{}", ran.err);
    std::fs::write(dir.path().join("old"), "two\nlines").unwrap();
    let ran =
        placet(dir.path(), &["probe", "--upstream", "http://127.0.0.1:1/", "--old-credential-file", "old"])
            .expect(2);
    assert!(ran.err.contains("one credential on one line"), "{}", ran.err);
    let ran =
        placet(dir.path(), &["probe", "--upstream", "http://127.0.0.1:1/", "--captured", "old"]).expect(2);
    assert!(ran.err.contains("no captured request"), "{}", ran.err);
}
