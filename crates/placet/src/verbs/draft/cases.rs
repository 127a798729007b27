//! The cases: each distinct call, and for each rule that nobody else comes through it.

use std::{collections::BTreeSet, fmt::Write as _};

use placet_json::Value;

use super::{
    policy::quoted,
    seen::{Call, MAX_CASES, Seen},
};

/// `tests/recorded.yaml`. Inputs are JSON, which YAML takes as it is.
pub(super) fn cases(seen: &Seen) -> String {
    let mut out = "# Each distinct call that the draft was made of, as policy read it. It holds what was really asked.\n".to_owned();
    if seen.more > 0 {
        let _infallible =
            writeln!(out, "# {} more differ from these {MAX_CASES}, and are left out.", seen.more);
    }
    let mut number: std::collections::BTreeMap<&str, u64> = std::collections::BTreeMap::new();
    let mut others = BTreeSet::new();
    for Call { tool, at, input, .. } in seen.distinct.values() {
        let count = number.entry(tool.as_str()).or_default();
        *count = count.saturating_add(1);
        case(&mut out, &format!("{tool}, as recorded ({count})"), &at.to_string(), input, "permit");
        if others.insert(tool)
            && let Some(other) = by_somebody_else(input)
        {
            case(&mut out, &format!("{tool}, by an agent of another type"), &at.to_string(), &other, "deny");
        }
    }
    out.push_str(
        "- name: no input of another tenant is ever permitted\n  at: 2026-03-01T09:30:00Z\n  property: for every tenant other than the workflow's\n  expect: deny\n",
    );
    out
}

fn case(out: &mut String, name: &str, at: &str, input: &Value, expect: &str) {
    let _infallible =
        write!(out, "- name: {}\n  at: {at}\n  input: {input}\n  expect: {expect}\n\n", quoted(name));
}

fn by_somebody_else(input: &Value) -> Option<Value> {
    let mut other = input.clone();
    let agent = other.as_object_mut()?.get_mut("agent")?.as_object_mut()?;
    agent.insert("type", "somebody_else");
    Some(other)
}
