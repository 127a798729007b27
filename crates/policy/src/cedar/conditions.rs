//! The conditions of the permits, one by one, for the reasons of a denial.

use std::collections::{BTreeMap, BTreeSet};

use cedar_policy::{Authorizer, Entities, Policy, PolicyId, PolicySet, Request};
use placet_core::Name;
use serde_json::{Value, json};

use super::is_permit;

/// One condition of a permit.
#[derive(Debug, Clone)]
pub(crate) struct Condition {
    id: PolicyId,
    /// Its text in Cedar, white space made single.
    pub(crate) text: String,
    /// Its form without layout, to compare it with what `reasons.toml` names.
    pub(crate) form: Value,
    /// What it reads, as paths of the input; `rel` and a name for a relation.
    pub(crate) inputs: Vec<Vec<String>>,
}

/// A permit.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    pub(crate) policy: String,
    pub(crate) at: String,
    scope: PolicyId,
    conditions: Vec<Condition>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Conditions {
    candidates: Vec<Candidate>,
    set: PolicySet,
}

impl Conditions {
    pub(super) fn of(policies: &[Policy], places: &BTreeMap<PolicyId, (String, u32)>) -> Self {
        let mut all = Self::default();
        for (index, policy) in policies.iter().enumerate().filter(|(_, policy)| is_permit(policy)) {
            let Ok(form) = policy.to_json() else { continue };
            let scope = PolicyId::new(format!("{index}"));
            if !all.add(&scope, &form, Vec::new()) {
                continue;
            }
            let mut conditions = Vec::new();
            for (kind, body) in
                form.get("conditions").and_then(Value::as_array).into_iter().flatten().filter_map(condition)
            {
                let mut parts = Vec::new();
                if kind == "when" {
                    split(body, &mut parts);
                } else {
                    parts.push(body);
                }
                for part in parts {
                    let id = PolicyId::new(format!("{index}.{}", conditions.len()));
                    if all.add(&id, &form, vec![json!({ "kind": kind, "body": part })]) {
                        let text = text(kind, part);
                        let inputs = inputs(part);
                        conditions.push(Condition { id, text, form: part.clone(), inputs });
                    }
                }
            }
            let (file, line) = places.get(policy.id()).cloned().unwrap_or_default();
            all.candidates.push(Candidate {
                policy: policy.id().to_string(),
                at: format!("{file}:{line}"),
                scope,
                conditions,
            });
        }
        all
    }

    fn add(&mut self, id: &PolicyId, form: &Value, conditions: Vec<Value>) -> bool {
        let mut form = form.clone();
        let Some(members) = form.as_object_mut() else { return false };
        members.insert("conditions".to_owned(), Value::Array(conditions));
        members.remove("annotations");
        Policy::from_json(Some(id.clone()), form).is_ok_and(|policy| self.set.add(policy).is_ok())
    }

    pub(super) fn forms(&self) -> impl Iterator<Item = &Value> {
        self.candidates.iter().flat_map(|candidate| &candidate.conditions).map(|condition| &condition.form)
    }

    pub(super) fn near(&self, request: &Request, entities: &Entities) -> Vec<(&Candidate, Vec<&Condition>)> {
        let response = Authorizer::new().is_authorized(request, &self.set, entities);
        let holds: BTreeSet<&PolicyId> = response.diagnostics().reason().collect();
        let fits = self.candidates.iter().filter(|candidate| holds.contains(&candidate.scope));
        fits.map(|candidate| {
            (
                candidate,
                candidate.conditions.iter().filter(|condition| !holds.contains(&condition.id)).collect(),
            )
        })
        .collect()
    }
}

/// A permit, whether its scope fits, and its conditions with whether they hold.
pub(crate) type Looked<'a> = (&'a Candidate, bool, Vec<(&'a Condition, bool)>);

impl Conditions {
    pub(super) fn look(&self, request: &Request, entities: &Entities) -> Vec<Looked<'_>> {
        let response = Authorizer::new().is_authorized(request, &self.set, entities);
        let holds: BTreeSet<&PolicyId> = response.diagnostics().reason().collect();
        let looked = self.candidates.iter().map(|candidate| {
            let conditions =
                candidate.conditions.iter().map(|condition| (condition, holds.contains(&condition.id)));
            (candidate, holds.contains(&candidate.scope), conditions.collect())
        });
        looked.collect()
    }
}

impl Conditions {
    /// All permits with their conditions.
    pub(super) fn all(&self) -> impl Iterator<Item = (&Candidate, &[Condition])> {
        self.candidates.iter().map(|candidate| (candidate, candidate.conditions.as_slice()))
    }
}

/// The input's paths that an expression or a policy in Cedar's JSON form reads.
pub(crate) fn inputs(form: &Value) -> Vec<Vec<String>> {
    let mut found = BTreeSet::new();
    reads(form, &mut found);
    found.into_iter().collect()
}

fn reads(value: &Value, found: &mut BTreeSet<Vec<String>>) {
    if let Some(path) = path_of(value) {
        found.insert(path);
        return;
    }
    match value {
        Value::Object(members) => members.values().for_each(|member| reads(member, found)),
        Value::Array(items) => items.iter().for_each(|item| reads(item, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// `context.a.b`, `resource.a`, `principal.a` and `… has a` as paths of the input.
fn path_of(value: &Value) -> Option<Vec<String>> {
    let access = value.get(".").or_else(|| value.get("has"))?;
    let (left, attr) = (access.get("left")?, access.get("attr")?.as_str()?);
    let mut path = match left.get("Var").and_then(Value::as_str) {
        Some("context") => Vec::new(),
        Some("resource") => vec!["resource".to_owned()],
        Some("principal") => vec!["agent".to_owned()],
        Some(_) => return None,
        None => path_of(left)?,
    };
    path.push(attr.to_owned());
    Some(path)
}

fn condition(value: &Value) -> Option<(&str, &Value)> {
    Some((value.get("kind")?.as_str()?, value.get("body")?))
}

/// The operands of a chain of `&&`.
fn split<'a>(body: &'a Value, parts: &mut Vec<&'a Value>) {
    match body.get("&&").map(|and| (and.get("left"), and.get("right"))) {
        Some((Some(left), Some(right))) => {
            split(left, parts);
            split(right, parts);
        }
        Some(_) | None => parts.push(body),
    }
}

/// The form of an expression that `reasons.toml` names.
pub(crate) fn form(expression: &str) -> Option<Value> {
    let policy =
        Policy::parse(None, format!("permit(principal, action, resource) when {{ {expression} }};")).ok()?;
    let form = policy.to_json().ok()?;
    form.pointer("/conditions/0/body").cloned()
}

fn text(kind: &str, body: &Value) -> String {
    let form = json!({ "effect": "permit", "principal": { "op": "All" }, "action": { "op": "All" }, "resource": { "op": "All" }, "conditions": [{ "kind": kind, "body": body }] });
    let text = Policy::from_json(None, form).map(|policy| policy.to_string()).unwrap_or_default();
    let inner = text
        .split_once('{')
        .and_then(|(_, rest)| rest.rsplit_once('}'))
        .map_or(text.as_str(), |(inner, _)| inner);
    let text = inner.split_whitespace().collect::<Vec<_>>().join(" ");
    if kind == "unless" { format!("unless {text}") } else { text }
}

/// The relations that policies read at `context.rel`.
pub(super) fn relations(policies: &[Policy]) -> BTreeSet<Name> {
    let mut found = BTreeSet::new();
    for form in policies.iter().filter_map(|policy| policy.to_json().ok()) {
        collect(&form, &mut found);
    }
    found
}

fn collect(value: &Value, found: &mut BTreeSet<Name>) {
    match value {
        Value::Object(members) => {
            if let Some(access) = members.get(".").or_else(|| members.get("has")) {
                let rel = json!({ ".": { "left": { "Var": "context" }, "attr": "rel" } });
                if access.get("left") == Some(&rel) {
                    found.extend(
                        access.get("attr").and_then(Value::as_str).and_then(|name| Name::new(name).ok()),
                    );
                }
            }
            members.values().for_each(|member| collect(member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// What a policy's own conditions say.
pub(crate) struct Form;

impl Form {
    /// Its conditions as text, `&&` taken apart.
    pub(crate) fn conditions(policy: &Policy) -> Vec<String> {
        let Ok(form) = policy.to_json() else { return Vec::new() };
        let mut texts = Vec::new();
        for (kind, body) in
            form.get("conditions").and_then(Value::as_array).into_iter().flatten().filter_map(condition)
        {
            let mut parts = Vec::new();
            if kind == "when" {
                split(body, &mut parts);
            } else {
                parts.push(body);
            }
            texts.extend(parts.into_iter().map(|part| text(kind, part)));
        }
        texts
    }
}
