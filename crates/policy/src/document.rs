//! A decision on a document, pure and without a server: what `placet decide` prints and tests compare.

use placet_core::{
    Code, Determining, Digest, FactsView, Freshness, Name, Reason, Reasons, ResourceRef, Revision, TenantId,
    Timestamp,
};
use placet_json::{Value, object};

use crate::{
    Release,
    decide::{Judgement, input_invalid},
    platform,
};

/// A decision and what it rests on, as users see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecisionDocument {
    /// The denial's reasons; none of a permit.
    pub denied: Option<Reasons>,
    /// The rules that permitted, or the denies that fired.
    pub determining: Vec<Determining>,
    /// The names of duties that come with a permit.
    pub obligations: Vec<Name>,
    /// What would make it a permit.
    pub remedy: Option<RemedyDocument>,
    /// The release.
    pub release: Digest,
    /// The facts, where there were any.
    pub facts: Option<FactsDocument>,
    /// The moment that it was decided for; none if the document named none that could be read.
    pub time: Option<Timestamp>,
}

/// What would make the same call allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemedyDocument {
    /// The approval's name.
    pub approval: Name,
    /// The role that may give it, or that begins its chain.
    pub role: Name,
    /// The roles of its chain, in order; one where it isn't a chain.
    pub steps: Vec<Name>,
    /// What it must cover; none where a document, and no call, was decided on.
    pub covers: Option<Digest>,
}

/// Which facts a decision rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FactsDocument {
    /// The tenant.
    pub tenant: TenantId,
    /// The revision.
    pub revision: Revision,
    /// Their age in milliseconds.
    pub age_ms: u64,
}

impl DecisionDocument {
    /// Whether it is a permit.
    #[must_use]
    pub fn permits(&self) -> bool {
        self.denied.is_none()
    }

    /// As JSON.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let reasons = self.denied.iter().flat_map(Reasons::all).map(|reason| {
            Value::Object(object! { "code" => reason.code.as_str(), "message" => message(reason), "policy" => reason.policy.as_str(), "at" => reason.at.as_str() })
        });
        let determining = self.determining.iter().map(|rule| {
            Value::Object(object! { "policy" => rule.policy.as_str(), "at" => rule.at.as_str() })
        });
        let remedy = self.remedy.as_ref().map_or(Value::Null, |remedy| {
            let mut document = object! {
                "approval" => remedy.approval.as_str(),
                "role" => remedy.role.as_str(),
                "covers" => remedy.covers.map_or(Value::Null, |covers| Value::from(covers.to_string())),
            };
            if remedy.steps.len() > 1 {
                let steps = remedy.steps.iter().map(|role| Value::from(role.as_str()));
                document.insert("steps", Value::Array(steps.collect()));
            }
            Value::Object(document)
        });
        let facts = self.facts.as_ref().map_or(Value::Null, |facts| {
            Value::Object(object! { "tenant" => facts.tenant.as_str(), "revision" => facts.revision.0, "age_ms" => facts.age_ms })
        });
        Value::Object(object! {
            "decision" => if self.permits() { "permit" } else { "deny" },
            "reasons" => reasons.collect::<Vec<_>>(),
            "determining" => determining.collect::<Vec<_>>(),
            "obligations" => self.obligations.iter().map(|name| Value::from(name.as_str())).collect::<Vec<_>>(),
            "remedy" => remedy,
            "release" => self.release.to_string(),
            "facts" => facts,
            "time" => self.time.map_or(Value::Null, |time| Value::from(time.to_string())),
        })
    }
}

/// The text for whoever decides locally: the author's own, and what the operator would read.
fn message(reason: &Reason) -> String {
    if reason.operator.is_empty() || reason.operator == reason.public {
        reason.public.clone()
    } else {
        format!("{} ({})", reason.public, reason.operator)
    }
}

impl Release {
    /// Decides on a policy input document. `at` is the moment that it is decided for; a document with another `time`
    /// is invalid, and one moment must be named by either.
    #[must_use]
    pub fn decide_document(
        &self,
        input: &Value,
        facts: Option<&dyn FactsView>,
        at: Option<Timestamp>,
    ) -> DecisionDocument {
        let named = input.get("time").and_then(Value::as_str).and_then(|text| Timestamp::parse(text).ok());
        let time = at.or(named);
        let mut document = DecisionDocument {
            denied: None,
            determining: Vec::new(),
            obligations: Vec::new(),
            remedy: None,
            release: self.digest(),
            facts: facts.map(|facts| {
                let age_ms = time.map_or(0, |now| facts.freshness(now).age());
                FactsDocument { tenant: facts.tenant().clone(), revision: facts.revision(), age_ms }
            }),
            time,
        };
        match self.judge_document(input, facts, time, named) {
            Judgement::Allow(determining) => document.determining = determining,
            Judgement::Deny { reasons, determining, remedy, final_: _ } => {
                document.denied = Some(reasons);
                document.determining = determining;
                document.remedy = remedy.and_then(|approval| {
                    let chain =
                        self.workflow_types().values().find_map(|kind| kind.approvals.get(&approval))?;
                    let steps = chain.steps.clone();
                    Some(RemedyDocument { approval, role: steps.first()?.clone(), steps, covers: None })
                });
            }
        }
        document
    }

    fn judge_document(
        &self,
        input: &Value,
        facts: Option<&dyn FactsView>,
        time: Option<Timestamp>,
        named: Option<Timestamp>,
    ) -> Judgement {
        let deny = |reasons: Reasons| Judgement::Deny {
            reasons,
            determining: Vec::new(),
            remedy: None,
            final_: true,
        };
        if let Err((path, message)) = self.contract.check(input) {
            return deny(input_invalid(&path, &message).into());
        }
        let Some(now) = time else {
            return deny(input_invalid("input.time", "no moment to decide for was given").into());
        };
        if named.is_some_and(|named| named != now) {
            return deny(
                input_invalid("input.time", "it is another moment than the one to decide for").into(),
            );
        }
        if let Some(reasons) = self.stands(input, facts, now) {
            return deny(reasons);
        }
        // Here nobody waits: both engines are asked where a gateway would ask the faster one.
        if let Some(disagreed) = self.rego.as_ref().and_then(|program| program.disagreement(input, now)) {
            return deny(Reason::platform(Code::EngineFault, "the policy failed", disagreed).into());
        }
        self.judge(input, facts, now)
    }

    /// What the platform can check of a document: freshness, tenants, the resource and what the workflow is about.
    pub(crate) fn stands(
        &self,
        input: &Value,
        facts: Option<&dyn FactsView>,
        now: Timestamp,
    ) -> Option<Reasons> {
        let text = |pointer: &str| input.pointer(pointer).and_then(Value::as_str);
        if let Some(Freshness::Stale { source, age: _, why }) = facts.map(|facts| facts.freshness(now)) {
            return Some(
                Reason::platform(
                    Code::FactsStale,
                    "what is known is too old to decide on",
                    format!("the source `{source}` {why}"),
                )
                .into(),
            );
        }
        let tenant = text("/workflow/tenant_id");
        let foreign =
            |other: Option<&str>| matches!((tenant, other), (Some(tenant), Some(other)) if tenant != other);
        if foreign(text("/delegating_user/tenant_id")) || foreign(facts.map(|facts| facts.tenant().as_str()))
        {
            let operator = format!(
                "the workflow belongs to `{}`, the person or the facts to another tenant",
                tenant.unwrap_or_default()
            );
            return Some(
                Reason::platform(Code::TenantMismatch, "the person doesn't act in this tenant", operator)
                    .into(),
            );
        }
        // Each type has states of its own; the schema only knows them all together.
        let states = text("/workflow/type").and_then(|kind| self.workflow_types().get(kind)?.states.as_ref());
        if let (Some(states), Some(state)) = (states, text("/workflow/state"))
            && !states.all.contains_key(state)
        {
            let message = format!("`{state}` is no state of this type of workflow");
            return Some(input_invalid("input.workflow.state", &message).into());
        }
        let resources = input
            .get("resources")
            .and_then(Value::as_array)
            .unwrap_or_default()
            .iter()
            .chain(input.get("resource"));
        for resource in resources {
            let member = |name: &str| resource.get(name).and_then(Value::as_str);
            let at = format!("{}:{}", member("type").unwrap_or("?"), member("id").unwrap_or("?"));
            if foreign(member("tenant_id")) {
                return Some(platform::resource_unknown(&at));
            }
            let (Some(kind), id) = (member("type"), member("id")) else { continue };
            if let (Some(facts), Some(id)) = (facts, id) {
                let known = match (Name::new(kind), Name::new(id)) {
                    (Ok(kind), Ok(id)) => {
                        kind.as_str() == "workflow" || facts.resource(&ResourceRef { kind, id }).is_some()
                    }
                    (Ok(_) | Err(_), _) => false,
                };
                if !known {
                    return Some(platform::resource_unknown(&at));
                }
            }
            if let Some(attribute) = self.binding(text("/workflow/type"), kind) {
                let bound = input
                    .get("workflow")
                    .and_then(|workflow| workflow.get(attribute.as_str()))
                    .and_then(Value::as_str);
                if id.or_else(|| member(attribute.as_str())) != bound {
                    return Some(platform::resource_outside(&at));
                }
            }
        }
        None
    }
}
