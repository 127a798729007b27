//! What the cases meet of the rules: which rule permitted or denied, and which condition held and didn't hold.

use std::collections::BTreeSet;

use placet_core::{FactsView, Timestamp};
use placet_json::{Value, object};

use crate::{
    Release,
    explain::{
        hints::Index,
        look::{Lens, RuleSeen, Seen, seen},
    },
    manifest::EngineName,
    rego::near::DEPTH,
};

/// The rules of a release, and how often cases met them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Coverage {
    /// In the order of their files and lines.
    pub rules: Vec<RuleCoverage>,
}

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleCoverage {
    /// `permit` or `deny`.
    pub effect: &'static str,
    /// The package, or Cedar's id.
    pub policy: String,
    /// File and line.
    pub at: String,
    /// Decisions in which all of its conditions held.
    pub met: u64,
    /// Its conditions, those of the rules that it names after them; of a deny none are told.
    pub conditions: Vec<ConditionCoverage>,
}

/// A condition of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConditionCoverage {
    key: String,
    /// Its text.
    pub text: String,
    /// File and line.
    pub at: String,
    /// Decisions in which it held.
    pub held: u64,
    /// Decisions in which it didn't.
    pub failed: u64,
}

impl Coverage {
    /// What there is to meet, and what was met of it: each rule once, each condition once holding and once not.
    #[must_use]
    pub fn points(&self) -> (u64, u64) {
        let (mut all, mut met) = (0_u64, 0_u64);
        let mut point = |there: bool| {
            all = all.saturating_add(1);
            met = met.saturating_add(u64::from(there));
        };
        for rule in &self.rules {
            point(rule.met > 0);
            for condition in &rule.conditions {
                point(condition.held > 0);
                point(condition.failed > 0);
            }
        }
        (all, met)
    }

    /// The share that was met, in percent, rounded down; 100 where there is nothing to meet.
    #[must_use]
    pub fn percent(&self) -> u64 {
        let (all, met) = self.points();
        met.saturating_mul(100).checked_div(all).unwrap_or(100)
    }

    /// As JSON.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let rules = self.rules.iter().map(|rule| {
            let conditions = rule.conditions.iter().map(|condition| {
                Value::Object(object! {
                    "text" => condition.text.as_str(), "at" => condition.at.as_str(),
                    "held" => condition.held, "failed" => condition.failed,
                })
            });
            Value::Object(object! {
                "effect" => rule.effect, "policy" => rule.policy.as_str(), "at" => rule.at.as_str(), "met" => rule.met,
                "conditions" => conditions.collect::<Vec<_>>(),
            })
        });
        let (all, met) = self.points();
        Value::Object(object! {
            "percent" => self.percent(), "points" => all, "met" => met, "rules" => rules.collect::<Vec<_>>(),
        })
    }
}

/// Counts.
pub(super) struct Meter<'a> {
    release: &'a Release,
    index: Index,
    coverage: Coverage,
}

impl<'a> Meter<'a> {
    /// All rules of a release, none met yet.
    pub(super) fn new(release: &'a Release) -> Self {
        let mut rules = Vec::new();
        let mut rule = |effect: &'static str, policy: &str, at: String, conditions: &[Seen]| {
            let mut flat = Vec::new();
            for condition in conditions {
                flatten(condition, &mut flat);
            }
            let conditions = flat.into_iter().map(|condition| ConditionCoverage {
                key: condition.key.clone(),
                text: condition.text.clone(),
                at: condition.at.clone(),
                held: 0,
                failed: 0,
            });
            rules.push(RuleCoverage {
                effect,
                policy: policy.to_owned(),
                at,
                met: 0,
                conditions: conditions.collect(),
            });
        };
        for (package, conditions) in release.rego.iter().flat_map(crate::rego::program::Program::conditions) {
            for candidate in &conditions.candidates {
                let tree = seen(package, conditions, &candidate.conditions, &BTreeSet::new(), DEPTH);
                rule("permit", package, format!("{}:{}", candidate.file, candidate.line), &tree);
            }
        }
        for (candidate, conditions) in release.cedar.iter().flat_map(crate::cedar::Program::candidates) {
            let tree: Vec<Seen> = (0_usize..)
                .zip(conditions)
                .map(|(number, condition)| Seen {
                    key: format!("{}/{number}", candidate.policy),
                    text: condition.text.clone(),
                    at: candidate.at.clone(),
                    holds: None,
                    inputs: Vec::new(),
                    inner: Vec::new(),
                })
                .collect();
            rule("permit", &candidate.policy, candidate.at.clone(), &tree);
        }
        let index = Index::of(release);
        for at in index.denies.keys() {
            rule("deny", "", at.clone(), &[]);
        }
        Self { release, index, coverage: Coverage { rules } }
    }

    /// Counts one decision. What is refused before policy meets no rule.
    pub(super) fn meet(&mut self, document: &Value, facts: Option<&dyn FactsView>, now: Timestamp) {
        let look = Lens { release: self.release, now, index: &self.index }.look(document, facts);
        for fired in &look.denies {
            if let Some(rule) =
                self.coverage.rules.iter_mut().find(|rule| rule.effect == "deny" && rule.at == fired.at)
            {
                rule.met = rule.met.saturating_add(1);
                fired.policy.clone_into(&mut rule.policy);
            }
        }
        for met in &look.rules {
            // An engine that may not grant the action isn't asked for a permit.
            if met.grants {
                self.rule(met);
            }
        }
    }

    fn rule(&mut self, met: &RuleSeen) {
        let found = self
            .coverage
            .rules
            .iter_mut()
            .find(|rule| rule.effect == "permit" && rule.at == met.at && rule.policy == met.policy);
        let Some(rule) = found else { return };
        if met.engine == EngineName::Cedar && !met.fits {
            return;
        }
        let whole = met.fits && met.conditions.iter().all(|condition| condition.holds == Some(true));
        rule.met = rule.met.saturating_add(u64::from(whole));
        let mut flat = Vec::new();
        met.conditions.iter().for_each(|condition| flatten(condition, &mut flat));
        for condition in flat {
            if let Some(known) = rule.conditions.iter_mut().find(|known| known.key == condition.key) {
                match condition.holds {
                    Some(true) => known.held = known.held.saturating_add(1),
                    Some(false) => known.failed = known.failed.saturating_add(1),
                    None => {}
                }
            }
        }
    }

    pub(super) fn coverage(mut self) -> Coverage {
        self.coverage.rules.sort_by(|a, b| place(&a.at).cmp(&place(&b.at)));
        self.coverage
    }
}

fn flatten<'s>(condition: &'s Seen, flat: &mut Vec<&'s Seen>) {
    flat.push(condition);
    condition.inner.iter().for_each(|inner| flatten(inner, flat));
}

/// File, and line as a number.
fn place(at: &str) -> (&str, u32) {
    at.rsplit_once(':').map_or((at, 0), |(file, line)| (file, line.parse().unwrap_or(0)))
}
