//! Lints of Cedar policies: the validator says what can't hold; these say what it can't know.

use cedar_policy::Policy;
use serde_json::Value;

use super::{bodies, values::Vocabulary};
use crate::{
    Release,
    cedar::is_permit,
    finding::{Finding, Severity},
};

pub(super) fn check(release: &Release) -> Vec<Finding> {
    let Some(program) = &release.cedar else { return Vec::new() };
    let vocabulary = Vocabulary::of(release);
    let mut findings = Vec::new();
    for (policy, (file, line)) in program.policies() {
        let line = *line;
        let text = policy.to_string();
        if is_permit(policy) {
            let tenant = text.contains("tenant_id")
                || text.contains("context.rel")
                || text.contains("resource in ")
                || (text.contains("resource.") && text.contains("context.workflow."));
            let workflow = text.contains("context.workflow") || text.contains("context.intent");
            findings.extend(bodies::bare(file, (line, 0), tenant, workflow));
        }
        for action in actions(policy) {
            if !release.catalog().entries().any(|entry| *entry.action().as_str() == action)
                && release.catalog().entries().next().is_some()
            {
                let named = vocabulary.never_word(&["action".to_owned()], &action);
                let (_, message, help) = named.unwrap_or_default();
                findings.push(
                    Finding::new(Severity::Warning, file, (line, 0), message, help)
                        .coded("rule-without-tool"),
                );
            }
        }
        let mut compared = Vec::new();
        if let Ok(form) = policy.to_json() {
            equalities(&form, &mut compared);
        }
        for (path, word) in compared {
            if let Some((code, message, help)) = vocabulary.never_word(&path, &word) {
                findings.push(Finding::new(Severity::Warning, file, (line, 0), message, help).coded(code));
            }
        }
    }
    findings
}

fn actions(policy: &Policy) -> Vec<String> {
    match policy.action_constraint() {
        cedar_policy::ActionConstraint::Any => Vec::new(),
        cedar_policy::ActionConstraint::Eq(uid) => vec![uid.id().unescaped().to_owned()],
        cedar_policy::ActionConstraint::In(uids) => {
            uids.iter().map(|uid| uid.id().unescaped().to_owned()).collect()
        }
    }
}

/// Members of the input that are compared with texts.
fn equalities(form: &Value, found: &mut Vec<(Vec<String>, String)>) {
    match form {
        Value::Object(members) => {
            if let Some(sides) = members.get("==") {
                let side = |name: &str| sides.get(name);
                for (path, word) in [("left", "right"), ("right", "left")] {
                    if let (Some(path), Some(word)) =
                        (side(path).and_then(path_of), side(word).and_then(word_of))
                    {
                        found.push((path, word));
                    }
                }
            }
            members.values().for_each(|member| equalities(member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| equalities(item, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn word_of(form: &Value) -> Option<String> {
    form.get("Value")?.as_str().map(str::to_owned)
}

/// `context.workflow.type` as the input's path; `principal` is the agent.
fn path_of(form: &Value) -> Option<Vec<String>> {
    if let Some(access) = form.get(".") {
        let mut path = path_of(access.get("left")?)?;
        path.push(access.get("attr")?.as_str()?.to_owned());
        return Some(path);
    }
    match form.get("Var")?.as_str()? {
        "context" => Some(Vec::new()),
        "principal" => Some(vec!["agent".to_owned()]),
        "resource" => Some(vec!["resource".to_owned()]),
        _ => None,
    }
}
