//! A guide's commands, run in their order, must print what the guide says.
//!
//! `GUIDE_BLESS=1` writes what they printed into the guide instead.

use std::{
    fmt::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Stdio},
};

use placet_samples::desk;
use regex_lite::Regex;
use tempfile::tempdir;

use crate::support::free_address;

const GUIDE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/guides/govern-an-http-api.md");
const MARK: &str = "@@@@";

/// A command and what stands under it.
struct Step {
    command: String,
    printed: String,
}

/// The text with its console blocks taken apart: what stands between them, and their steps.
fn read(text: &str) -> (Vec<String>, Vec<Vec<Step>>) {
    let (mut around, mut blocks) = (vec![String::new()], Vec::new());
    let mut block: Option<Vec<Step>> = None;
    let mut heredoc = false;
    for line in text.split_inclusive('\n') {
        match &mut block {
            None => {
                around.last_mut().unwrap().push_str(line);
                if line == "```console\n" {
                    block = Some(Vec::new());
                }
            }
            Some(_) if line == "```\n" => {
                blocks.extend(block.take());
                around.push(line.to_owned());
            }
            Some(steps) => {
                let goes_on = heredoc || steps.last().is_some_and(|step| step.command.ends_with("\\\n"));
                match line.strip_prefix("$ ") {
                    Some(command) if !goes_on => {
                        steps.push(Step { command: command.to_owned(), printed: String::new() });
                    }
                    _ if goes_on => steps.last_mut().unwrap().command.push_str(line),
                    _ => steps.last_mut().unwrap().printed.push_str(line),
                }
                let command = &steps.last().unwrap().command;
                heredoc = command.contains("<<'END'") && !command.ends_with("\nEND\n");
            }
        }
    }
    (around, blocks)
}

/// What differs from run to run, made equal.
fn plain(text: &str) -> String {
    let mut text = text.to_owned();
    for (pattern, name) in [
        ("dc_[0-9a-z]{26}", "dc_…"),
        ("sha256:[0-9a-f]{64}", "sha256:…"),
        ("[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z", "TIME"),
    ] {
        text = Regex::new(pattern).unwrap().replace_all(&text, name).into_owned();
    }
    text.trim_end().to_owned()
}

fn ports(text: &str, ports: &[(&str, String)]) -> String {
    ports.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

/// Stands for the samples' own binary, which this test may not have been built with: the desk itself is served here.
fn sample(dir: &Path) {
    std::fs::write(dir.join("openapi.yaml"), desk::DESCRIPTION).unwrap();
    let script = format!(
        "#!/bin/sh\n[ \"$1 $2\" = 'desk openapi' ] && exec cat '{}'\nexec sleep 600\n",
        dir.join("openapi.yaml").display()
    );
    std::fs::write(dir.join("placet-sample"), script).unwrap();
    std::fs::set_permissions(dir.join("placet-sample"), std::fs::Permissions::from_mode(0o755)).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_placet"), dir.join("placet")).unwrap();
}

#[test]
fn an_http_api_is_governed_as_the_guide_says() {
    let text = std::fs::read_to_string(GUIDE).unwrap();
    let (around, blocks) = read(&text);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let api = listener.local_addr().unwrap().port().to_string();
    let served = desk::Desk::new();
    runtime.spawn(served.clone().serve(listener, Some("dk_live_0123456789".to_owned())));
    let [agents, admins, face] = [(); 3].map(|()| free_address().port().to_string());
    let there =
        [("8717", agents.clone()), ("8718", admins.clone()), ("9003", api.clone()), ("8720", face.clone())];
    let back = there.clone().map(|(from, to)| (to, from.to_owned()));
    let back: Vec<(&str, String)> = back.iter().map(|(to, from)| (to.as_str(), from.clone())).collect();

    let dir = tempdir().unwrap();
    let bin = dir.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    sample(&bin);
    let mut script = format!(
        "export PATH='{}':\"$PATH\" PLACET_SERVER=http://127.0.0.1:{admins} PLACET_GATEWAY=http://127.0.0.1:{agents}\n\
         trap 'kill $(jobs -p) 2>/dev/null' EXIT\nset -m\n\
         until_open() {{ for _ in $(seq 200); do (echo > /dev/tcp/127.0.0.1/$1) 2>/dev/null && return; sleep 0.05; done; echo \"port $1 never opened\"; exit 1; }}\n",
        bin.display()
    );
    let steps: Vec<&Step> = blocks.iter().flatten().collect();
    for step in &steps {
        let _infallible = writeln!(script, "echo '{MARK}'");
        script.push_str(&ports(&step.command, &there));
        if step.command.starts_with("placet init") {
            let _infallible = writeln!(
                script,
                "sed -i 's/^environment = .*/&\\nlisten = \"127.0.0.1:{agents}\"\\nadmin_listen = \"127.0.0.1:{admins}\"/' desk/placet.toml"
            );
        }
        if step.command.starts_with("placet serve") {
            let _infallible = writeln!(script, "until_open {agents}; until_open {admins}");
        }
        if step.command.contains("connect --http") {
            script.push_str("for _ in $(seq 200); do [ -s base ] && break; sleep 0.05; done\n");
        }
    }
    std::fs::write(dir.path().join("guide.sh"), &script).unwrap();
    let output = Command::new("bash")
        .arg("guide.sh")
        .current_dir(dir.path())
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    let printed = ports(&String::from_utf8(output.stdout).unwrap(), &back);
    let complaints = String::from_utf8(output.stderr).unwrap();
    let printed: Vec<&str> = printed.split(&format!("{MARK}\n")).skip(1).collect();
    assert_eq!(printed.len(), steps.len(), "{printed:?}\n{complaints}");

    if std::env::var_os("GUIDE_BLESS").is_some() {
        let mut printed = printed.iter();
        let mut out = String::new();
        for (i, around) in around.iter().enumerate() {
            out.push_str(around);
            for step in blocks.get(i).into_iter().flatten() {
                out.extend(["$ ", &step.command, printed.next().unwrap()]);
            }
        }
        std::fs::write(GUIDE, out).unwrap();
        return;
    }
    for (step, printed) in steps.iter().zip(&printed) {
        assert_eq!(plain(printed), plain(&step.printed), "$ {}\n{complaints}", step.command);
    }
    // Of what was denied, nothing reached the API.
    assert_eq!(
        served.requests(),
        [
            "GET /v1/cases/CASE-1837",
            "GET /v1/cases?limit=20&status=open&tenant=acme",
            "POST /v1/cases/CASE-1837/refunds"
        ]
    );
}
