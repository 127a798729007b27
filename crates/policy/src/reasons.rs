//! From conditions that don't hold to reasons for people.

use std::collections::{BTreeMap, BTreeSet};

use placet_core::{Code, Name, Reason};

use crate::{
    cedar,
    manifest::ReasonEntry,
    rego::{
        near::{Condition, single},
        program::{Fired, Near},
        rewrite::as_written,
    },
};

/// `reasons.toml`, ready to be asked.
#[derive(Debug, Default)]
pub(crate) struct Book {
    entries: Vec<(ReasonEntry, String, Option<serde_json::Value>)>,
}

/// A condition that a rule lacks.
struct Lack<'a> {
    /// What makes it the same condition in another rule.
    key: String,
    policy: String,
    at: String,
    entry: Option<&'a ReasonEntry>,
    operator: String,
}

/// The reasons of a denial, and the approval that would make it a permit.
pub(crate) struct Explained {
    pub(crate) reasons: Vec<Reason>,
    pub(crate) remedy: Option<Name>,
}

/// What an agent is told of a condition that has no text of its own.
const PUBLIC: &str = "a condition of the policy isn't met";

impl Book {
    pub(crate) fn new(entries: Vec<ReasonEntry>) -> Self {
        let entries = entries.into_iter().map(|entry| {
            let when = entry.when.as_deref().map(|when| as_written(&single(when))).unwrap_or_default();
            let form = entry.when.as_deref().and_then(cedar::form);
            (entry, when, form)
        });
        Self { entries: entries.collect() }
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = &ReasonEntry> {
        self.entries.iter().map(|(entry, _, _)| entry)
    }

    /// The most exact entry: for the innermost condition first, with a rule before without one.
    fn condition(&self, path: &[&Condition]) -> Option<&ReasonEntry> {
        path.iter().rev().find_map(|condition| {
            let fits = |named: bool| {
                self.entries.iter().find(|(entry, when, _)| {
                    *when == condition.text
                        && entry.is_of(&condition.file)
                        && entry.when.is_some()
                        && if named {
                            entry.rule.as_ref() == Some(&condition.rule)
                        } else {
                            entry.rule.is_none()
                        }
                })
            };
            fits(true).or_else(|| fits(false)).map(|(entry, _, _)| entry)
        })
    }

    fn cedar_condition(&self, policy: &str, at: &str, condition: &cedar::Condition) -> Option<&ReasonEntry> {
        let fits = |named: bool| {
            self.entries.iter().find(|(entry, _, form)| {
                form.as_ref() == Some(&condition.form)
                    && entry.is_of(at)
                    && if named {
                        entry.policy.as_deref() == Some(policy)
                    } else {
                        entry.policy.is_none() && entry.rule.is_none()
                    }
            })
        };
        fits(true).or_else(|| fits(false)).map(|(entry, _, _)| entry)
    }

    /// The reason of a Rego deny that fired.
    pub(crate) fn fired(&self, fired: &Fired) -> Reason {
        let entry = self.entries().find(|entry| {
            entry.deny.as_ref() == Some(&fired.message)
                && entry.is_of(&fired.at)
                && entry
                    .rule
                    .as_ref()
                    .is_none_or(|rule| rule.strip_suffix(".deny") == Some(fired.policy.as_str()))
        });
        let message = if fired.message.is_empty() { "the policy forbids it" } else { &fired.message };
        reason(entry, Code::PolicyDenies, message, message.to_owned(), &fired.policy, &fired.at)
    }

    /// The reason of a Cedar forbid that fired.
    pub(crate) fn forbidden(&self, policy: &str, at: &str) -> Reason {
        let entry = self
            .entries()
            .find(|entry| entry.policy.as_deref() == Some(policy) && entry.when.is_none() && entry.is_of(at));
        reason(
            entry,
            Code::PolicyDenies,
            "the policy forbids it",
            format!("`{policy}` forbids it"),
            policy,
            at,
        )
    }

    /// Why no Rego rule permits. `seen` writes the values of an input's path.
    pub(crate) fn near(&self, near: &[Near<'_>], seen: &dyn Fn(&[String]) -> Option<String>) -> Explained {
        let rules: Vec<Vec<Lack<'_>>> = near
            .iter()
            .map(|near| {
                let lacks = near.failed.iter().filter_map(|path| {
                    let last = path.last()?;
                    let values: Vec<String> = last
                        .inputs
                        .iter()
                        .filter_map(|input| Some(format!("input.{} is {}", input.join("."), seen(input)?)))
                        .collect();
                    let values =
                        if values.is_empty() { String::new() } else { format!(": {}", values.join(", ")) };
                    Some(Lack {
                        key: path.first()?.text.clone(),
                        policy: near.package.to_owned(),
                        at: format!("{}:{}", last.file, last.line),
                        entry: self.condition(path),
                        operator: format!(
                            "the rule at {}:{} needs `{}`{values}",
                            near.candidate.file, near.candidate.line, last.text
                        ),
                    })
                });
                lacks.collect()
            })
            .collect();
        choose(&rules)
    }

    /// Why no Cedar policy permits.
    pub(crate) fn near_cedar(&self, near: &[(&cedar::Candidate, Vec<&cedar::Condition>)]) -> Explained {
        let rules: Vec<Vec<Lack<'_>>> = near
            .iter()
            .map(|(candidate, failed)| {
                let lacks = failed.iter().map(|condition| Lack {
                    key: condition.text.clone(),
                    policy: candidate.policy.clone(),
                    at: candidate.at.clone(),
                    entry: self.cedar_condition(&candidate.policy, &candidate.at, condition),
                    operator: format!("`{}` needs `{}`", candidate.policy, condition.text),
                });
                lacks.collect()
            })
            .collect();
        choose(&rules)
    }
}

fn reason(
    entry: Option<&ReasonEntry>,
    code: Code,
    public: &str,
    operator: String,
    policy: &str,
    at: &str,
) -> Reason {
    Reason {
        code: entry.map_or_else(|| code.as_str().to_owned(), |entry| entry.code.as_str().to_owned()),
        public: entry.map_or_else(|| public.to_owned(), |entry| entry.text.clone()),
        operator,
        policy: policy.to_owned(),
        at: at.to_owned(),
    }
}

/// What all rules lack comes first, as nothing helps without it; then what the nearest rule lacks besides. A rule whose
/// lacks an approval would fill is nearer than one that the call itself doesn't fit.
fn choose(rules: &[Vec<Lack<'_>>]) -> Explained {
    let mut rules = rules.iter().filter(|lacks| !lacks.is_empty());
    let Some(first) = rules.clone().next() else {
        let none = Reason::platform(
            Code::NoRuleAllows,
            "nothing allows this",
            "no rule is for this action, or none names an engine that may grant it",
        );
        return Explained { reasons: vec![none], remedy: None };
    };
    let mut count: BTreeMap<&str, usize> = BTreeMap::new();
    let all = rules.clone().count();
    for lacks in rules.clone() {
        for key in lacks.iter().map(|lack| lack.key.as_str()).collect::<BTreeSet<_>>() {
            let seen = count.entry(key).or_default();
            *seen = seen.saturating_add(1);
        }
    }
    let common = |lack: &&Lack<'_>| count.get(lack.key.as_str()) == Some(&all);
    let rest = |lacks: &'_ [Lack<'_>]| {
        let rest: Vec<&Lack<'_>> = lacks.iter().filter(|lack| !common(lack)).collect();
        (rest.iter().any(|lack| lack.entry.is_none_or(|entry| entry.remedy.is_none())), rest.len())
    };
    let nearest = rules.by_ref().min_by_key(|lacks| rest(lacks)).unwrap_or(first);
    let shown: Vec<&Lack<'_>> =
        nearest.iter().filter(common).chain(nearest.iter().filter(|lack| !common(lack))).collect();
    let mut remedies = shown.iter().map(|lack| lack.entry.and_then(|entry| entry.remedy.as_ref()));
    let remedy = remedies.next().flatten().filter(|name| remedies.all(|other| other == Some(*name)));
    let mut reasons: Vec<Reason> = Vec::new();
    for lack in &shown {
        let next =
            reason(lack.entry, Code::ConditionFailed, PUBLIC, lack.operator.clone(), &lack.policy, &lack.at);
        if !reasons.iter().any(|told| {
            told.code == next.code
                && told.public == next.public
                && (lack.entry.is_some() || told.at == next.at)
        }) {
            reasons.push(next);
        }
    }
    Explained { reasons, remedy: remedy.cloned() }
}
