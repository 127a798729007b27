//! What the ledger says afterwards.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{process::tail, stage::Stage};

/// What the ledger must have of one agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Decisions: one for each call.
    pub(super) calls: u64,
    /// Those that are permits.
    pub(super) permits: u64,
    /// Those that the client took back while the tool worked, so that their end isn't known.
    pub(super) cancelled: u64,
}

/// Compares the agent's decisions and endings with what its client did.
pub(super) fn decided(stage: &Stage, agent: &str, wanted: Wanted) -> Result<(), String> {
    let decisions = records(stage, &["--agent", agent])?;
    let (permits, denials): (Vec<&Value>, Vec<&Value>) =
        decisions.iter().partition(|decision| text(decision, "decision") == "permit");
    let effects = records(stage, &["--kind", "effect"])?;
    let unknown = effects.iter().filter(|effect| text(effect, "decision") == "unknown");
    let cancelled =
        unknown.filter(|effect| permits.iter().any(|permit| text(permit, "id") == text(effect, "id")));
    let found = Wanted {
        calls: decisions.len() as u64,
        permits: permits.len() as u64,
        cancelled: cancelled.count() as u64,
    };
    if found == wanted {
        return Ok(());
    }
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for denial in denials {
        let count =
            counts.entry(format!("{} {}", text(denial, "action"), text(denial, "reason"))).or_default();
        *count = count.saturating_add(1);
    }
    Err(format!("{found:?} where the client's are {wanted:?}; denials: {counts:?}"))
}

/// Every permit has exactly one ending, and there is no ending without a permit.
pub(super) fn ended(stage: &Stage) -> Result<(), String> {
    let mut endings: BTreeMap<String, u64> = BTreeMap::new();
    for effect in records(stage, &["--kind", "effect"])? {
        let count = endings.entry(text(&effect, "id").to_owned()).or_default();
        *count = count.saturating_add(1);
    }
    let mut problems = Vec::new();
    for permit in records(stage, &["--decision", "permit"])? {
        let (id, action) = (text(&permit, "id"), text(&permit, "action"));
        match endings.remove(id) {
            Some(1) => {}
            other => problems.push(format!("{id} ({action}) has {} endings", other.unwrap_or_default())),
        }
    }
    problems.extend(endings.keys().map(|id| format!("{id} has an ending without a permit")));
    if problems.is_empty() { Ok(()) } else { Err(problems.join("; ")) }
}

/// `placet audit verify` or `replay` says yes.
pub(super) fn audit(stage: &Stage, verb: &str) -> Result<(), String> {
    let output = stage.placet(&["audit", verb, "--data", &stage.data()], None)?;
    if output.status.success() {
        println!("placet audit {verb}: {}", output.stdout.lines().last().unwrap_or_default());
        Ok(())
    } else {
        Err(format!("{} | {}", tail(&output.stdout), tail(&output.stderr)))
    }
}

/// Pages through a search.
fn records(stage: &Stage, filter: &[&str]) -> Result<Vec<Value>, String> {
    let data = stage.data();
    let mut all: Vec<Value> = Vec::new();
    let mut below: Option<String> = None;
    loop {
        let mut arguments = vec!["audit", "search", "--data", &data, "--format", "json", "--limit", "10000"];
        arguments.extend(filter);
        if let Some(below) = &below {
            arguments.extend(["--below", below]);
        }
        let answer = stage.json(&arguments)?;
        let page = answer.get("records").and_then(Value::as_array).cloned().unwrap_or_default();
        let Some(last) = page.last() else { return Ok(all) };
        below = last.get("sequence").map(ToString::to_string);
        all.extend(page);
    }
}

fn text<'a>(record: &'a Value, name: &str) -> &'a str {
    record.get(name).and_then(Value::as_str).unwrap_or_default()
}
