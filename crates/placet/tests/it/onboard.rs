//! From a client's own configuration to a first governed call.

use std::{
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use placet_json::Value;
use placet_samples::{Kind, Sample, seed};
use tempfile::tempdir;

use crate::{
    connect::{Client, INITIALIZE},
    support::{Serving, command, placet},
};

pub(crate) const NOTES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/notes.py");

/// A CRM over HTTP that wants a key.
fn crm(dir: &Path) -> (tokio::runtime::Runtime, String) {
    let database = dir.join("crm.sqlite");
    seed(Kind::Crm, &database).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    let sample = Sample::open(Kind::Crm, &database).unwrap();
    runtime.spawn(sample.serve_http(listener, Some("canary-header".to_owned())));
    (runtime, format!("http://{address}/mcp"))
}

/// A configuration as an editor keeps it.
fn configuration(crm: &str) -> String {
    format!(
        r#"{{
  // my servers
  "mcp": {{
    "servers": {{
      "My Notes": {{ "command": "python3", "args": ["{NOTES}", "--api-key", "canary-argument"],
                     "env": {{ "NOTES_TOKEN": "canary-variable", "LOG_LEVEL": "debug" }}, "autoApprove": ["readNote"], }},
      "crm": {{ "type": "http", "url": "{crm}", "headers": {{ "Authorization": "Bearer canary-header" }} }},
      "asks": {{ "command": "never-there", "env": {{ "ASKED_TOKEN": "${{input:asked-token}}" }} }},
      "old": {{ "command": "old", "disabled": true }}, /* not now */
    }},
  }},
  "editor.fontSize": 14,
}}
"#
    )
}

/// Every file below a directory with its text.
fn files(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let (mut open, mut found) = (vec![dir.to_owned()], Vec::new());
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                found.push((path.clone(), std::fs::read(&path).unwrap()));
            }
        }
    }
    found
}

fn edit(path: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{from} isn't in {text}");
    std::fs::write(path, text.replace(from, to)).unwrap();
}

#[test]
fn a_configuration_becomes_a_governed_directory_and_no_secret_is_left_in_the_open() {
    let dir = tempdir().unwrap();
    let (_crm, url) = crm(dir.path());
    let file = dir.path().join("settings.json");
    std::fs::write(&file, configuration(&url)).unwrap();
    let ran = placet(dir.path(), &["import", "settings.json", "--human", "maya"]).expect(1);
    assert!(!format!("{}{}", ran.out, ran.err).contains("canary"), "{ran:?}");
    for told in [
        "my-notes: 3 tools",
        "argument 2, variable NOTES_TOKEN",
        "crm: 3 tools",
        "header Authorization; in the vault as `crm`",
        "the variable PLACET_ASKED_TOKEN isn't set",
        "not taken over: autoApprove",
        "old: left alone",
        "for the client, instead of its servers",
    ] {
        assert!(ran.out.contains(told), "{told}: {}", ran.out);
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), configuration(&url), "the client's file is its own");
    let governed = dir.path().join("placet");
    for (path, bytes) in files(&governed) {
        let secret = String::from_utf8_lossy(&bytes).contains("canary");
        let kept = path.starts_with(governed.join("secrets"));
        assert_eq!(secret, kept, "{}", path.display());
        if kept {
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }
    // Nothing is overwritten, and the release is a whole one that permits no tool yet.
    assert!(placet(dir.path(), &["import", "settings.json"]).expect(2).err.contains("is not empty"));
    placet(&governed, &["check", "release", "--strict"]).expect(0);
    placet(&governed, &["test", "release"]).expect(0);
}

#[test]
fn what_was_looked_at_is_callable_and_the_rest_does_not_exist() {
    let dir = tempdir().unwrap();
    let (_crm, url) = crm(dir.path());
    std::fs::write(
        dir.path().join("mcp.json"),
        configuration(&url)
            .replace("\"asks\"", "\"old2\"")
            .replace("\"never-there\",", "\"never-there\", \"disabled\": true,"),
    )
    .unwrap();
    placet(dir.path(), &["import", "mcp.json", "--out", "desk", "--human", "maya", "--write"]).expect(0);
    // The client starts Placet now; its other settings and comments are as they were.
    let now = std::fs::read_to_string(dir.path().join("mcp.json")).unwrap();
    assert!(now.contains("// my servers") && now.contains("\"editor.fontSize\": 14"), "{now}");
    assert!(now.contains("\"connect\"") && !now.contains("canary") && !now.contains("python3"), "{now}");
    let before = dir.path().join("mcp.json.before-placet");
    assert!(std::fs::read_to_string(&before).unwrap().contains("canary-variable"));
    assert_eq!(std::fs::metadata(&before).unwrap().permissions().mode() & 0o777, 0o600);

    let desk = dir.path().join("desk");
    let review = desk.join("review.toml");
    let none = placet(&desk, &["catalog", "accept", "review.toml", "--format", "json"]).expect(0);
    assert_eq!(none.json().get("accepted").and_then(Value::as_array).map(<[Value]>::len), Some(0));
    for tool in ["my-notes.readNote", "my-notes.writeNote", "crm.get_case"] {
        let text = std::fs::read_to_string(&review).unwrap();
        let line = text.lines().find(|line| line.starts_with(&format!("\"{tool}\""))).unwrap();
        edit(&review, line, &line.replacen("= false", "= true", 1));
    }
    // What doesn't load isn't written.
    edit(&review, "[tool.\"my-notes.readNote\"]", "[tool.\"my-notes.readNote\"]\nefect = 1");
    let refused = placet(&desk, &["catalog", "accept", "review.toml"]).expect(2);
    assert!(refused.err.contains("efect") && !desk.join("release/catalog").exists(), "{}", refused.err);
    edit(&review, "\nefect = 1", "");
    let accepted = placet(&desk, &["catalog", "accept", "review.toml"]).expect(0);
    assert!(accepted.out.contains("accepted 3 tools"), "{}", accepted.out);
    let again = placet(&desk, &["catalog", "accept", "review.toml"]).expect(0);
    assert!(
        again.out.contains("accepted 0 tools") && again.out.contains("3 were accepted before"),
        "{}",
        again.out
    );

    edit(
        &desk.join("placet.toml"),
        "environment = \"dev\"",
        "environment = \"dev\"\nlisten = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"",
    );
    let serving = Serving::start(&desk, &["serve"], "serves agents at");
    let (agents, admin) = (serving.word("serves agents at "), serving.word("administrators at "));
    let run = |arguments: &[&str]| {
        let mut all = arguments.to_vec();
        all.extend(["--server", &admin, "--format", "json"]);
        placet(&desk, &all)
    };
    let code = run(&["agent", "enrol", "assistant-1", "--type", "assistant", "--owner", "maya"])
        .expect(0)
        .text("/code");
    run(&["facts", "apply", "facts.json"]).expect(0);
    let mut connect = command(&desk);
    connect.args([
        "connect",
        "--server",
        &agents,
        "--key",
        "agent.pem",
        "--enrol",
        &code,
        "--workflow",
        "acme/everyday-1",
    ]);
    let mut client = Client::start(connect);
    client.ask(1, "initialize", INITIALIZE);
    let listed = client.ask(2, "tools/list", "{}").to_string();
    assert!(listed.contains("my-notes__readNote") && listed.contains("crm__get_case"), "{listed}");
    assert!(!listed.contains("deleteNote") && !listed.contains("export"), "{listed}");
    let mut call = |id, tool: &str, arguments: &str| {
        client.ask(id, "tools/call", &format!(r#"{{"name":"{tool}","arguments":{arguments}}}"#)).to_string()
    };
    let read = call(3, "my-notes__readNote", r#"{"path":"a"}"#);
    assert!(read.contains("readNote a") && !read.contains("isError\":true"), "{read}");
    let written = call(4, "my-notes__writeNote", r#"{"path":"a","text":"b"}"#);
    assert!(written.contains("no_rule_allows"), "{written}");
    let deleted = call(5, "my-notes__deleteNote", r#"{"path":"a"}"#);
    assert!(deleted.contains("-32602"), "{deleted}");
    let case = call(6, "crm__get_case", r#"{"case_id":"CASE-1837"}"#);
    assert!(case.contains("CASE-1837") && !case.contains("isError\":true"), "{case}");
}

#[test]
fn configurations_of_other_clients_and_broken_ones() {
    let dir = tempdir().unwrap();
    let import = |name: &str, text: &str, more: &[&str]| {
        std::fs::write(dir.path().join("client.json"), text).unwrap();
        let mut all = vec!["import", "client.json", "--no-start", "--human", "maya", "--out", name];
        all.extend(more);
        placet(dir.path(), &all)
    };
    let zed = r#"{"context_servers":{"git":{"source":"custom","command":"uvx","args":["mcp-server-git"],"env":{}}}}"#;
    let ran = import("zed", zed, &["--format", "json"]).expect(0);
    assert_eq!(ran.text("/client/context_servers/placet/source"), "custom");
    let code = r#"{"inputs":[],"servers":{"gh":{"type":"http","url":"https://mcp.example/mcp","headers":{"X-Api-Key":"k-canary"}}}}"#;
    let ran = import("code", code, &[]).expect(0);
    assert!(
        ran.out.contains("placet vault put acme gh --file secrets/gh.vault") && !ran.out.contains("canary"),
        "{}",
        ran.out
    );
    let settings = std::fs::read_to_string(dir.path().join("code/placet.toml")).unwrap();
    assert!(
        settings.contains("secret_header = \"x-api-key\"") && settings.contains("secret_prefix = \"\""),
        "{settings}"
    );
    for name in ["zed", "code"] {
        placet(&dir.path().join(name), &["serve", "--print-config"]).expect(0);
    }
    for (text, why) in [
        ("{}", "lists no MCP servers"),
        ("{ not json", "is no JSON"),
        (r#"{"mcpServers":{"a":1}}"#, "is no object"),
        (r#"{"mcpServers":{"a":{}}}"#, "neither `url` nor `command`"),
        (
            r#"{"mcpServers":{"A b":{"command":"x"},"a-b":{"command":"y"}}}"#,
            "two servers would both be named `a-b`",
        ),
        (r#"{"mcpServers":{"p":{"command":"placet","args":["connect"]}}}"#, "no server to govern"),
    ] {
        let ran = import("never", text, &[]).expect(2);
        assert!(ran.err.contains(why), "{why}: {}", ran.err);
    }
    assert!(!dir.path().join("never").exists());
}
