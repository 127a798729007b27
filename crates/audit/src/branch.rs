//! A decision as a tree, from the delegation down to what followed, and two decisions side by side.

use std::fmt::Write as _;

use placet_json::{Value, object};
use placet_record::Kind;
use placet_store::{Projection, Row};

use crate::{Entry, Given, Query, Story, search};

/// What followed that is shown.
const MAX_AFTER: usize = 10;
/// Decisions of a workflow that are looked through for it.
const MAX_LOOK: u32 = 10_000;
/// Members that differ between any two decisions.
const ALWAYS: [&str; 8] = [
    "/id",
    "/time",
    "/token",
    "/effect/at",
    "/effect/time",
    "/effect/decision",
    "/effect/credential/jti",
    "/effect/credential/expires",
];

/// What happened next in the decision's workflow, the first ones first.
pub fn after(index: &Projection, story: &Story) -> Result<Vec<Entry>, crate::SearchError> {
    let grant = &story.decision.grant;
    let query = Query {
        tenant: Some(grant.workflow.tenant().as_str().to_owned()),
        kinds: vec![Kind::Decision],
        row: Row { workflow: Some(grant.workflow.local().as_str().to_owned()), ..Row::default() },
        since: Some(story.recorded),
        limit: Some(MAX_LOOK),
        ..Query::default()
    };
    let mut found = search(index, &query)?;
    found.retain(|entry| entry.sequence > story.sequence);
    found.reverse();
    found.truncate(MAX_AFTER);
    Ok(found)
}

struct Branch {
    text: String,
    below: Vec<Branch>,
}

fn leaf(text: String) -> Branch {
    Branch { text, below: Vec::new() }
}

/// The tree: delegation, chain, decision with its rules and facts, credential, effect, what followed.
#[must_use]
pub fn tree(story: &Story, after: &[Entry]) -> String {
    let document = &story.decision.document;
    let text = |pointer: &str| document.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let all = |pointer: &str| document.pointer(pointer).and_then(Value::as_array).unwrap_or_default();
    let of = if document.get("call").is_some() { "/call" } else { "/attempt" };
    let mut decided = Vec::new();
    for rule in all("/determining") {
        let get = |name: &str| rule.get(name).and_then(Value::as_str).unwrap_or_default();
        decided.push(leaf(format!("rule {} ({})", get("at"), get("policy"))));
    }
    for reason in all("/reasons") {
        let get = |name: &str| reason.get(name).and_then(Value::as_str).unwrap_or_default();
        decided.push(leaf(format!("reason {}: {}", get("code"), get("message"))));
    }
    if let Some(basis) = &story.decision.basis {
        decided.push(leaf(format!("facts at revision {}, {} ms old", basis.revision, basis.freshness.age())));
        decided.push(leaf(format!("release {}", basis.release)));
    }
    if !text("/engine").is_empty() {
        decided.push(leaf(format!("engine {}", text("/engine"))));
    }
    for Given { sequence, time, approval } in &story.approvals {
        let get = |name: &str| approval.get(name).and_then(Value::as_str).unwrap_or_default();
        decided.push(leaf(format!(
            "approval {} by {} at {time} (record {sequence})",
            get("name"),
            get("approver")
        )));
    }
    if let Some((sequence, time, effect)) = &story.effect {
        let get =
            |pointer: &str| effect.document.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let name = [get("/credential/name"), get("/credential/audience")].join("");
        decided.push(leaf(format!("credential {} {name}", get("/credential/kind")).trim_end().to_owned()));
        let mut below = Vec::new();
        if let Some((sequence, time, found)) = &story.amendment {
            let what = if found.happened { "it happened" } else { "it did not happen" };
            below.push(leaf(format!("found out: {what}, by {} at {time} (record {sequence})", found.by)));
        }
        decided
            .push(Branch { text: format!("effect {} at {time} (record {sequence})", effect.ending), below });
    }
    let verdict = text("/decision");
    let decision = Branch {
        text: format!(
            "decision {} {verdict} {} (record {})",
            text("/id"),
            text(&format!("{of}/action")),
            story.sequence
        ),
        below: decided,
    };
    let agents = all("/chain").iter().filter_map(Value::as_str).collect::<Vec<_>>();
    let chain = agents
        .iter()
        .rev()
        .fold(decision, |below, agent| Branch { text: format!("agent {agent}"), below: vec![below] });
    let mut below = vec![chain];
    if !after.is_empty() {
        let entries = after.iter().map(|entry| {
            let word = |text: &Option<String>| text.clone().unwrap_or_default();
            let Row { decision, action, reason, .. } = &entry.row;
            let line =
                format!("record {}: {} {} {}", entry.sequence, word(decision), word(action), word(reason));
            leaf(line.trim_end().to_owned())
        });
        below.push(Branch { text: "what followed in the workflow".to_owned(), below: entries.collect() });
    }
    let root = Branch {
        text: format!(
            "delegation {} by {} in workflow {}, for {}",
            text("/delegation"),
            text("/human"),
            text("/workflow"),
            text("/intent")
        ),
        below,
    };
    let mut out = String::new();
    draw(&root, "", &mut out);
    out
}

/// As deep as the chain of agents is long.
fn draw(branch: &Branch, indent: &str, out: &mut String) {
    // Writing into a `String` can't fail.
    let _infallible = writeln!(out, "{}", branch.text);
    for (at, below) in branch.below.iter().enumerate() {
        let last = at.saturating_add(1) == branch.below.len();
        let _infallible = write!(out, "{indent}{}", if last { "└─ " } else { "├─ " });
        draw(below, &format!("{indent}{}", if last { "   " } else { "│  " }), out);
    }
}

/// One thing in which two decisions differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contrast {
    /// Where in the record, or in its effect's, below `/effect`.
    pub at: String,
    /// In the one; none: it isn't there.
    pub one: Option<String>,
    /// In the other.
    pub other: Option<String>,
}

/// What two decisions and their effects differ in; identifiers, moments and tokens always do, and aren't told.
#[must_use]
pub fn contrast(one: &Story, other: &Story) -> Vec<Contrast> {
    let mut found = Vec::new();
    differ("", Some(&one.decision.document), Some(&other.decision.document), &mut found);
    let effect = |story: &Story| story.effect.as_ref().map(|(_, _, effect)| effect.document.clone());
    let (a, b) = (effect(one), effect(other));
    differ("/effect", a.as_ref(), b.as_ref(), &mut found);
    found
}

fn differ(at: &str, one: Option<&Value>, other: Option<&Value>, found: &mut Vec<Contrast>) {
    if one == other || ALWAYS.contains(&at) {
        return;
    }
    if let (Some(Value::Object(a)), Some(Value::Object(b))) = (one, other) {
        let mut names: Vec<&str> = a.iter().chain(b.iter()).map(|(name, _)| name).collect();
        names.sort_unstable();
        names.dedup();
        for name in names {
            differ(&format!("{at}/{name}"), a.get(name), b.get(name), found);
        }
        return;
    }
    let text = |value: Option<&Value>| value.map(ToString::to_string);
    found.push(Contrast { at: at.to_owned(), one: text(one), other: text(other) });
}

impl Contrast {
    /// As JSON.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let text = |text: &Option<String>| text.as_deref().map_or(Value::Null, Value::from);
        object! { "at" => self.at.as_str(), "one" => text(&self.one), "other" => text(&self.other) }.into()
    }
}

/// What two decisions differ in, for people.
#[must_use]
pub fn contrasted(differences: &[Contrast]) -> String {
    if differences.is_empty() {
        return "they differ in nothing but identifiers and moments".to_owned();
    }
    let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "–".to_owned());
    let lines =
        differences.iter().map(|it| format!("{}\n  - {}\n  + {}", it.at, text(&it.one), text(&it.other)));
    lines.collect::<Vec<_>>().join("\n")
}
