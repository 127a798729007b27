//! What the parts of a release are to each other: tools and rules, intents and labels, reasons and conditions.

use std::collections::BTreeSet;

use placet_catalog::{Argument, Entry, Type};
use placet_core::{EffectClass, Name};

use crate::{
    Release, cedar,
    finding::{Finding, Severity},
    manifest::{EngineName, line_of},
    rego::{
        ast::{Mentions, Parsed},
        lint,
        near::single,
        program::Program,
        rewrite::as_written,
    },
};

pub(super) fn check(release: &Release, modules: &[Parsed]) -> Vec<Finding> {
    let mut findings = tools_without_rule(release);
    findings.extend(grants_without_tool(release));
    findings.extend(ways_out(release));
    findings.extend(unused_reasons(release));
    findings.extend(unused_approvals(release, modules));
    let tested =
        release.tree().keys().any(|path| crate::cases::is_cases(path) || path.ends_with("_test.rego"));
    if !tested && release.catalog().entries().next().is_some() {
        findings.push(
            Finding::new(
                Severity::Advice,
                "release.toml",
                (0, 0),
                "the release has no tests: nothing says what it should permit",
                "write cases under `tests/`; `placet init` scaffolds them",
            )
            .coded("no-tests"),
        );
    }
    findings
}

/// Where a word first stands in the files of a folder.
fn place(release: &Release, folder: &str, word: &str) -> (String, (u32, u32)) {
    release
        .tree()
        .iter()
        .filter(|(path, _)| path.starts_with(folder))
        .find_map(|(path, bytes)| {
            let text = String::from_utf8_lossy(bytes);
            text.contains(word).then(|| (path.clone(), line_of(&text, word)))
        })
        .unwrap_or_else(|| (folder.to_owned(), (0, 0)))
}

/// Whether some rule may allow an action, for an intent if one is named.
fn possible(release: &Release, action: &str, intent: Option<&str>) -> bool {
    match release.granter(action) {
        Some(EngineName::Rego) => {
            release.rego.as_ref().is_some_and(|program| program.may_allow_for(action, intent))
        }
        Some(EngineName::Cedar) => {
            release.cedar.as_ref().is_some_and(|program| program.may_allow_for(action, intent))
        }
        None => false,
    }
}

fn tools_without_rule(release: &Release) -> Vec<Finding> {
    let none = |entry: &&std::sync::Arc<Entry>| !possible(release, entry.action().as_str(), None);
    release
        .catalog()
        .entries()
        .filter(none)
        .map(|entry| {
            let (file, at) = place(release, "catalog/", &format!("\"{}\"", entry.name()));
            let message = format!(
                "no rule allows `{}`, the action of `{}`: the tool can never be used",
                entry.action(),
                entry.name()
            );
            Finding::new(Severity::Advice, &file, at, message, "add a rule, or leave the entry out")
                .coded("tool-without-rule")
        })
        .collect()
}

fn grants_without_tool(release: &Release) -> Vec<Finding> {
    let known: BTreeSet<&Name> = release.catalog().entries().map(|entry| entry.action()).collect();
    release
        .granted()
        .filter(|action| !known.is_empty() && !known.contains(action))
        .map(|action| {
            let (file, at) = place(release, "release.toml", action.as_str());
            let message = format!("`[grants]` names `{action}`, which is no tool's action");
            Finding::new(Severity::Advice, &file, at, message, "remove it, or add the tool to the catalog")
                .coded("grant-without-tool")
        })
        .collect()
}

/// Labels of text that strangers write: named so, or with an ending of one's own.
fn untrusted(label: &Name) -> bool {
    label.as_str() == "untrusted" || label.as_str().starts_with("untrusted_")
}

/// Whether an agent can put text of its own into a call that changes something.
fn leads_out(entry: &Entry) -> bool {
    let text = |argument: &Argument| match argument {
        Argument::Given { ty, .. } => {
            matches!(ty, Type::Text { .. } | Type::List { .. } | Type::Object { .. })
        }
        Argument::Bound(_) => false,
    };
    entry.effect() != EffectClass::Read && entry.arguments().values().any(text)
}

/// Private data, untrusted text and a way out, under one intent: whoever writes the text may ask for the data.
fn ways_out(release: &Release) -> Vec<Finding> {
    let mut findings = Vec::new();
    let intents: BTreeSet<&Name> = release.workflow_types().values().flat_map(|kind| &kind.intents).collect();
    for intent in intents {
        let usable: Vec<_> = release
            .catalog()
            .entries()
            .filter(|entry| possible(release, entry.action().as_str(), Some(intent.as_str())))
            .collect();
        let private = usable.iter().find(|entry| entry.labels().iter().any(|label| !untrusted(label)));
        let strange = usable.iter().find(|entry| entry.labels().iter().any(untrusted));
        let out = usable.iter().find(|entry| leads_out(entry));
        if let (Some(private), Some(strange), Some(out)) = (private, strange, out) {
            let (file, at) = place(release, "workflow_types/", &format!("\"{intent}\""));
            let message = format!(
                "the intent `{intent}` allows private data (`{}`), text that strangers write (`{}`) and a way out (`{}`)",
                private.name(),
                strange.name(),
                out.name()
            );
            findings.push(
                Finding::new(
                    Severity::Warning,
                    &file,
                    at,
                    message,
                    "give one of the three an intent of its own, or a `deny` on `input.flow.labels` to the way out",
                )
                .coded("private-untrusted-out"),
            );
        }
    }
    findings
}

fn unused_reasons(release: &Release) -> Vec<Finding> {
    let conditions: BTreeSet<&str> = release.rego.iter().flat_map(Program::condition_texts).collect();
    let forms: Vec<&serde_json::Value> = release.cedar.iter().flat_map(cedar::Program::conditions).collect();
    let denies = release.rego.as_ref().map_or(Some(BTreeSet::new()), Program::deny_texts);
    let ids: BTreeSet<String> = release
        .cedar
        .iter()
        .flat_map(cedar::Program::policies)
        .map(|(policy, _)| policy.id().to_string())
        .collect();
    let text = release
        .tree()
        .get("reasons.toml")
        .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
        .unwrap_or_default();
    let mut findings = Vec::new();
    for entry in release.book.entries() {
        let missing = if let Some(deny) = &entry.deny {
            denies
                .as_ref()
                .is_some_and(|known| !known.contains(deny.as_str()))
                .then(|| (deny, format!("no deny says `{deny}`")))
        } else if let Some(when) = &entry.when {
            let known = conditions.contains(as_written(&single(when)).as_str())
                || cedar::form(when).is_some_and(|form| forms.contains(&&form));
            (!known).then(|| (when, format!("no rule has the condition `{when}` by itself")))
        } else if let Some(policy) = &entry.policy {
            (!ids.contains(policy)).then(|| (policy, format!("no Cedar policy is called `{policy}`")))
        } else {
            None
        };
        if let Some((word, message)) = missing {
            findings.push(
                Finding::new(
                    Severity::Advice,
                    "reasons.toml",
                    line_of(&text, word),
                    format!("the reason `{}` is never given: {message}", entry.code),
                    "write the condition as the policy has it, or remove the entry",
                )
                .coded("unused-reason"),
            );
        }
    }
    findings
}

fn unused_approvals(release: &Release, modules: &[Parsed]) -> Vec<Finding> {
    let mut read: BTreeSet<String> = BTreeSet::new();
    let mut whole = false;
    for parsed in modules {
        for rule in &parsed.module.policy {
            let mentions = Mentions::of_rule(rule);
            for path in
                mentions.references.iter().filter_map(|r| lint::input_path(parsed, r, &mentions.locals))
            {
                match path.as_slice() {
                    [] => whole = true,
                    [first] if first == "workflow" => whole = true,
                    [first, name, ..] if first == "workflow" => read.extend([name.clone()]),
                    [_, ..] => {}
                }
            }
        }
    }
    let texts: Vec<String> = release
        .cedar
        .iter()
        .flat_map(cedar::Program::policies)
        .map(|(policy, _)| policy.to_string())
        .collect();
    let mut findings = Vec::new();
    for kind in release.workflow_types().values() {
        for name in kind.approvals.keys() {
            let budget = kind.budgets.values().flatten().any(|budget| budget.approval.as_ref() == Some(name));
            let limit = release
                .catalog()
                .entries()
                .flat_map(|entry| &entry.limits().budgets)
                .any(|budget| budget.approval.as_ref() == Some(name));
            let way = kind
                .states
                .iter()
                .flat_map(|states| &states.transitions)
                .any(|way| matches!(&way.by, crate::MovedBy::Approval(approval) if approval == name));
            let policy = whole
                || read.contains(name.as_str())
                || texts.iter().any(|text| text.contains(&format!("context.workflow.{name}")));
            if !(budget || limit || way || policy) {
                let (file, at) = place(release, "workflow_types/", &format!("approval.{name}"));
                let message = format!("nothing reads the approval `{name}`: people give it for nothing");
                findings.push(
                    Finding::new(
                        Severity::Advice,
                        &file,
                        at,
                        message,
                        "read `input.workflow` with its name in a rule, or remove it",
                    )
                    .coded("unused-approval"),
                );
            }
        }
    }
    findings
}
