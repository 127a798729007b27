//! Why a document is permitted or denied, condition by condition, and the smallest changes that would permit it.
//!
//! Nothing here knows a policy: values to try come from the constants of the policies' text, from the input itself and
//! from what its contract admits. A change is shown only after the changed document was decided again and permitted.

pub(crate) mod edit;
pub(crate) mod hints;
pub(crate) mod look;
pub(crate) mod pool;
pub(crate) mod search;

use std::sync::Arc;

use placet_core::{FactsView, Reasons, Timestamp};
use placet_json::{Object, Value, object};

pub use edit::{Edit, FactEdit};

use self::{
    hints::{Index, is_computed},
    look::{Lens, Look, RuleSeen, Seen},
    search::Search,
};
use crate::{DecisionDocument, Release, manifest::EngineName};

/// The facts beside a document after changes of them.
pub type AlterFacts<'a> = &'a dyn Fn(&[FactEdit]) -> Result<Arc<dyn FactsView>, String>;

/// Changes that together make it a permit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alternative {
    /// Each of them is needed.
    pub edits: Vec<Edit>,
    /// What it asks of people: 10 for an argument or an approval, 40 for being somebody else; the sum over the edits.
    pub cost: u32,
}

/// Why it was decided so.
#[derive(Debug, Clone)]
pub struct Explanation {
    /// The decision.
    pub decision: DecisionDocument,
    /// What would permit it, the smallest first; none of a permit.
    pub changes: Vec<Alternative>,
    /// Whether the search for changes ended by itself, and not at its bound.
    pub complete: bool,
    rules: Vec<Value>,
    relations: Vec<Value>,
    resources: Vec<Value>,
}

impl Release {
    /// Explains the decision on a document; `at` and `facts` are those of [`Release::decide_document`]. With `alter`,
    /// changes of facts are tried as well.
    #[must_use]
    pub fn explain(
        &self,
        input: &Value,
        facts: Option<&dyn FactsView>,
        at: Option<Timestamp>,
        alter: Option<AlterFacts<'_>>,
    ) -> Explanation {
        let decision = self.decide_document(input, facts, at);
        let mut explanation = Explanation {
            decision,
            changes: Vec::new(),
            complete: true,
            rules: Vec::new(),
            relations: Vec::new(),
            resources: Vec::new(),
        };
        let Some(now) = explanation.decision.time else { return explanation };
        let index = Index::of(self);
        let lens = Lens { release: self, now, index: &index };
        let look = lens.look(input, facts);
        explanation.rules = rules(&lens, &look, input);
        explanation.relations = look
            .relations
            .iter()
            .map(|([subject, relation, object], holds)| {
                Value::Object(
                    object! { "tuple" => format!("{object}#{relation}@{subject}"), "holds" => *holds },
                )
            })
            .collect();
        explanation.resources = resources(input, facts);
        if !explanation.decision.permits() {
            (explanation.changes, explanation.complete) = Search::new(&lens, input, facts, alter).run(look);
        }
        explanation
    }
}

impl Explanation {
    /// What the agent is told: nothing about what it may not see.
    #[must_use]
    pub fn agent(&self) -> String {
        let Some(reasons) = &self.decision.denied else { return "permitted".to_owned() };
        let mut text: Vec<String> =
            reasons.all().iter().map(|reason| format!("{} ({})", reason.public, reason.code)).collect();
        if let Some(remedy) = &self.decision.remedy {
            text.push(format!(
                "it would be permitted with `{}`, given by the role `{}`",
                remedy.approval, remedy.role
            ));
        }
        text.join("; ")
    }

    /// What the operator is told.
    #[must_use]
    pub fn operator(&self) -> String {
        let Some(reasons) = &self.decision.denied else {
            let by = self.decision.determining.iter().map(|rule| format!("{} [{}]", rule.policy, rule.at));
            return format!("permitted by {}", by.collect::<Vec<_>>().join(", "));
        };
        Reasons::all(reasons)
            .iter()
            .map(|reason| format!("{}: {}", reason.code, reason.operator))
            .collect::<Vec<_>>()
            .join("; ")
    }

    /// As JSON.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let changes = self.changes.iter().map(|change| {
            let edits: Vec<Value> = change.edits.iter().map(Edit::to_value).collect();
            Value::Object(object! { "cost" => u64::from(change.cost), "edits" => edits })
        });
        Value::Object(object! {
            "decision" => self.decision.to_value(),
            "agent" => self.agent(),
            "operator" => self.operator(),
            "rules" => self.rules.clone(),
            "facts" => object! { "relations" => self.relations.clone(), "resources" => self.resources.clone() },
            "changes" => changes.collect::<Vec<_>>(),
            "complete" => self.complete,
        })
    }
}

/// Denies that fired, then rules that may permit: those that hold, then the nearest.
fn rules(lens: &Lens<'_>, look: &Look, input: &Value) -> Vec<Value> {
    let fired = look.denies.iter().map(|fired| {
        let statements = lens.index.denies.get(&fired.at).map(|deny| (deny.statements.as_slice(), deny.file.as_str()));
        let conditions = statements.into_iter().flat_map(|(statements, file)| {
            statements.iter().map(move |statement| {
                let mut told = object! {
                    "text" => statement.text.as_str(), "at" => format!("{file}:{}", statement.line), "holds" => true,
                };
                told.insert("seen", values(input, &statement.inputs));
                Value::Object(told)
            })
        });
        Value::Object(object! {
            "effect" => "deny", "engine" => engine(fired.engine), "policy" => fired.policy.as_str(), "at" => fired.at.as_str(),
            "outcome" => "denies", "message" => fired.message.as_str(), "conditions" => conditions.collect::<Vec<_>>(),
        })
    });
    let mut candidates: Vec<&RuleSeen> = look.rules.iter().filter(|rule| rule.grants).collect();
    candidates.sort_by_key(|rule| (!rule.fits, rule.unmet().len()));
    let permits = candidates.into_iter().map(|rule| {
        let lacks = rule.unmet().len();
        let outcome = match (rule.fits, lacks) {
            (false, _) => "not for this",
            (true, 0) => "permits",
            (true, _) => "lacks",
        };
        let conditions: Vec<Value> = rule.conditions.iter().map(|condition| told(condition, input)).collect();
        Value::Object(object! {
            "effect" => "permit", "engine" => engine(rule.engine), "policy" => rule.policy.as_str(), "at" => rule.at.as_str(),
            "outcome" => outcome, "lacks" => u64::try_from(lacks).unwrap_or(u64::MAX), "conditions" => conditions,
        })
    });
    fired.chain(permits).collect()
}

fn engine(engine: EngineName) -> &'static str {
    match engine {
        EngineName::Rego => "rego",
        EngineName::Cedar => "cedar",
    }
}

fn told(condition: &Seen, input: &Value) -> Value {
    let mut document = object! {
        "text" => condition.text.as_str(), "at" => condition.at.as_str(),
        "holds" => condition.holds.map_or(Value::Null, Value::from),
        "seen" => values(input, &condition.inputs),
    };
    if !condition.inner.is_empty() {
        document
            .insert("conditions", condition.inner.iter().map(|inner| told(inner, input)).collect::<Vec<_>>());
    }
    Value::Object(document)
}

/// The values at the paths that a condition reads; null where there is none.
fn values(input: &Value, paths: &[Vec<String>]) -> Object {
    let mut seen = Object::new();
    for path in paths.iter().filter(|path| path.first().is_none_or(|first| first != "rel")) {
        let plain: Vec<String> = path.iter().take_while(|step| !is_computed(step)).cloned().collect();
        let value = pool::look(input, &plain).cloned().unwrap_or(Value::Null);
        let name =
            path.iter().map(|step| if is_computed(step) { "_" } else { step }).collect::<Vec<_>>().join(".");
        seen.insert(format!("input.{name}"), value);
    }
    seen
}

/// The resources of the document, and whether the facts know them.
fn resources(input: &Value, facts: Option<&dyn FactsView>) -> Vec<Value> {
    let all = input
        .get("resources")
        .and_then(Value::as_array)
        .unwrap_or_default()
        .iter()
        .chain(input.get("resource"));
    let mut told: Vec<Value> = Vec::new();
    for resource in all {
        let text = |name: &str| resource.get(name).and_then(Value::as_str).unwrap_or("?");
        let at = format!("{}:{}", text("type"), text("id"));
        let known = facts.map_or(Value::Null, |facts| {
            let name = |text: &str| placet_core::Name::new(text).ok();
            let known = name(text("type"))
                .zip(name(text("id")))
                .is_some_and(|(kind, id)| facts.resource(&placet_core::ResourceRef { kind, id }).is_some());
            Value::from(known)
        });
        let next = Value::Object(object! { "resource" => at, "known" => known });
        if !told.contains(&next) {
            told.push(next);
        }
    }
    told
}
