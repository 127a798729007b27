//! The methods of PyPI `mcp-types`, each of which `placet-mcp` must have classified.

use std::{path::Path, process::Command, time::Duration};

use placet_mcp::{Direction, Kind, Method, Revision, method::classify};
use serde_json::Value;

use super::process::{finish, tail};

/// Compares; the error names every method that we don't know, or know otherwise.
pub(super) fn check(repository: &Path) -> Result<(), String> {
    let mut command = Command::new(repository.join(".peers/mcp2/bin/python"));
    command.arg(repository.join("peers/methods.py"));
    let output = finish(&mut command, None, Duration::from_secs(30))?;
    if !output.status.success() {
        return Err(tail(&output.stderr));
    }
    let known: Vec<Value> =
        serde_json::from_str(&output.stdout).map_err(|error| format!("peers/methods.py: {error}"))?;
    let problems: Vec<String> = known.iter().filter_map(|method| wrong(method).err()).collect();
    if !problems.is_empty() {
        return Err(problems.join("; "));
    }
    if known.len() < 100 {
        return Err(format!("peers/methods.py names only {} methods", known.len()));
    }
    Ok(())
}

fn wrong(known: &Value) -> Result<(), String> {
    let text = |name: &str| known.get(name).and_then(Value::as_str).unwrap_or_default();
    let (name, version) = (text("method"), text("version"));
    let kind = match text("kind") {
        "request" => Kind::Request,
        "notification" => Kind::Notification,
        other => return Err(format!("`{other}` is no kind")),
    };
    let direction = match text("direction") {
        "client-to-server" => Direction::ToServer,
        "server-to-client" => Direction::ToClient,
        other => return Err(format!("`{other}` is no direction")),
    };
    let method = match Revision::ALL.into_iter().find(|revision| revision.as_str() == version) {
        Some(revision) => classify(name, direction, revision)
            .map_err(|_| format!("{name} ({version}, {}) isn't classified", text("direction")))?,
        // A revision before ours: nothing of it may be new to us.
        None => Method::from_name(name).ok_or_else(|| format!("{name} ({version}) isn't classified"))?,
    };
    if method.kind() == kind { Ok(()) } else { Err(format!("{name} ({version}) is a {}", text("kind"))) }
}
