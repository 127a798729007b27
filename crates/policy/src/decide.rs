//! One decision: the platform's checks, then both engines, then one answer. Whatever fails is a denial.

use placet_core::{
    Approval, ApprovalId, Call, Claims, Code, Determining, Engine, EngineFault, Envelope, Evaluation,
    FactsView, Moving, Name, PassedOver, Reason, Reasons, RelationModel, Remedy, ResourceRef, Timestamp,
    Verdict,
};
use placet_json::{Object, Value};

use crate::{
    Release, cedar,
    chain::Sought,
    input,
    limits::Within,
    manifest::EngineName,
    platform::{self, Standings},
    reasons::Explained,
    rego::program::Run,
    waiver,
};

/// What the policies made of an input.
pub(crate) enum Judgement {
    Allow(Vec<Determining>),
    Deny {
        reasons: Reasons,
        determining: Vec<Determining>,
        /// The approval that would help.
        remedy: Option<Name>,
        /// An approval can't help: an engine failed, or the input broke its schema.
        final_: bool,
    },
}

impl Judgement {
    fn last(reasons: impl Into<Reasons>) -> Self {
        Self::Deny { reasons: reasons.into(), determining: Vec::new(), remedy: None, final_: true }
    }
}

/// A verdict, the input that it was made of, what must still hold when it is written, the denial that it passed over.
type Decided = (Verdict, Option<Value>, Claims, Option<PassedOver>);

/// Facts with the model that relationships are checked by.
pub(crate) type Facts<'a> = Option<(&'a dyn FactsView, &'a RelationModel)>;

impl Release {
    /// Asks the engines about an input that comes from anywhere.
    pub(crate) fn judge(&self, document: &Value, facts: Option<&dyn FactsView>, now: Timestamp) -> Judgement {
        if let Err((path, message)) = self.contract.check(document) {
            return Judgement::last(input_invalid(&path, &message));
        }
        let facts: Facts<'_> = facts.map(|facts| (facts, &self.relations));
        let slice = || slice(document, facts);
        let mut faults: Vec<Reason> = Vec::new();
        let mut rego: Option<Run<'_>> = None;
        if let Some(program) = &self.rego {
            match program.run(document, now, facts, &slice) {
                Ok(run) => rego = Some(run),
                Err(fault) => faults.push(fault_reason(fault)),
            }
        }
        let mut question = None;
        let mut answer = cedar::Answer::default();
        if let Some(program) = &self.cedar {
            let action = document.get("action").and_then(Value::as_str).unwrap_or_default();
            if program.knows_action(action) {
                match program.question(document, now, facts) {
                    Ok(asked) => match program.answer(&asked) {
                        Ok(given) => {
                            answer = given;
                            question = Some(asked);
                        }
                        Err(fault) => faults.push(fault_reason(fault)),
                    },
                    Err(cedar::Unasked::Input(path, message)) => {
                        return Judgement::last(input_invalid(&path, &message));
                    }
                    Err(cedar::Unasked::Fault(fault)) => faults.push(fault_reason(fault)),
                }
            } else {
                // Forbids that name no action couldn't be asked either: so nothing permits it.
                let operator = format!("neither the catalog nor `[grants]` has an action `{action}`");
                return Judgement::last(Reason::platform(
                    Code::NoRuleAllows,
                    "nothing allows this",
                    operator,
                ));
            }
        }
        let mut faults = faults.into_iter();
        if let Some(first) = faults.next() {
            return Judgement::last(Reasons::new(first, faults.collect()));
        }
        if let Some(denied) = self.denied(rego.as_ref(), &answer) {
            return denied;
        }
        let action = document.get("action").and_then(Value::as_str).unwrap_or_default();
        let granter = self.granter(action);
        let allowed = match (granter, &rego) {
            (Some(EngineName::Rego), Some(run)) => run.allowed.clone(),
            (Some(EngineName::Cedar), _) => answer.allowed,
            (Some(EngineName::Rego) | None, _) => Vec::new(),
        };
        // A part permits its own actions and no other's; the baseline nothing.
        let allowed: Vec<Determining> =
            allowed.into_iter().filter(|by| self.layout().may_permit(&by.at, action)).collect();
        if !allowed.is_empty() {
            return Judgement::Allow(allowed);
        }
        // Only the interpreter tells what came near: it is asked where the virtual machine permitted for somebody else's
        // part, so that a replay, which never asks the machine, says the same.
        let rego = match (rego, &self.rego) {
            (Some(run), Some(program)) if !run.is_interpreted() => {
                Some(program.look(document, now, facts, &slice))
            }
            (run, _) => run.map(Ok),
        };
        let explained = match (granter, rego, &self.cedar, question) {
            (Some(EngineName::Rego), Some(run), _, _) => match run.and_then(|mut run| run.near()) {
                Ok(near) => self.book.near(&near, &|path| seen(document, path)),
                Err(fault) => Explained {
                    reasons: vec![Reason::platform(
                        Code::NoRuleAllows,
                        "nothing allows this",
                        format!("no rule allows it; which one came near can't be told: {fault}"),
                    )],
                    remedy: None,
                },
            },
            (Some(EngineName::Cedar), _, Some(program), Some(question)) => {
                self.book.near_cedar(&program.near(&question))
            }
            (Some(_) | None, _, _, _) => self.book.near(&[], &|_| None),
        };
        let mut reasons = explained.reasons.into_iter();
        let first = reasons.next().unwrap_or_else(|| {
            Reason::platform(Code::NoRuleAllows, "nothing allows this", "no rule allows it")
        });
        Judgement::Deny {
            reasons: Reasons::new(first, reasons.collect()),
            determining: Vec::new(),
            remedy: explained.remedy,
            final_: false,
        }
    }

    /// Any deny and any forbid denies, whoever may grant.
    fn denied(&self, rego: Option<&Run<'_>>, answer: &cedar::Answer) -> Option<Judgement> {
        let mut determining = Vec::new();
        let mut reasons = Vec::new();
        for fired in rego.iter().flat_map(|run| &run.denied) {
            determining.push(Determining { policy: fired.policy.clone(), at: fired.at.clone() });
            reasons.push(self.book.fired(fired));
        }
        for (policy, at) in &answer.denied {
            determining.push(Determining { policy: policy.clone(), at: at.clone() });
            reasons.push(self.book.forbidden(policy, at));
        }
        let mut reasons = reasons.into_iter();
        let first = reasons.next()?;
        Some(Judgement::Deny {
            reasons: Reasons::new(first, reasons.collect()),
            determining,
            remedy: None,
            final_: false,
        })
    }

    fn decide(&self, envelope: &Envelope, call: &Call, facts: &dyn FactsView, now: Timestamp) -> Decided {
        let standings = match platform::check(self, envelope, call, facts, now) {
            Ok(standings) => standings,
            Err(reasons) => {
                let verdict = Verdict::Deny { reasons, determining: Vec::new(), remedy: None };
                return (verdict, None, Claims::NONE, None);
            }
        };
        let approvals = approvals(envelope, call, facts, &standings, now);
        let Within { claims, lifts, totals } =
            match self.within(envelope, call, facts, &standings, &approvals, now) {
                Ok(within) => within,
                Err(verdict) => return (verdict, None, Claims::NONE, None),
            };
        let build = |approvals: &[Vec<&Approval>]| {
            let mut document = input::build(envelope, call, facts, &standings, approvals, now);
            if let Some(document) = document.as_object_mut() {
                if let Some(totals) = &totals {
                    document.insert("totals", totals.clone());
                }
                self.surround(document, envelope, facts, &standings);
            }
            document
        };
        // An approval is spent by the decision that needed it; one that permits without it leaves it.
        let document = build(&[]);
        let mut judged = (self.judge(&document, Some(facts), now), document, lifts);
        if let (Judgement::Deny { final_: false, .. }, false) = (&judged.0, approvals.is_empty()) {
            let document = build(&approvals);
            let spends: Vec<ApprovalId> =
                approvals.iter().flatten().map(|approval| approval.id.clone()).collect();
            judged = (self.judge(&document, Some(facts), now), document, spends);
        }
        let (judgement, document, spends) = judged;
        let mut passed_over = None;
        let judgement = waiver::apply(self, judgement, envelope, call, facts, now, &mut passed_over);
        let verdict = match judgement {
            Judgement::Allow(determining) => {
                let obligations = waiver::obligations(passed_over.as_ref());
                Verdict::Allow { determining, obligations, spends }
            }
            Judgement::Deny { reasons, determining, remedy, final_: _ } => {
                let remedy = remedy
                    .and_then(|approval| self::remedy(approval, envelope, call, facts, &standings, now));
                Verdict::Deny { reasons, determining, remedy }
            }
        };
        (verdict, Some(document), claims, passed_over)
    }

    /// Whether some policy reads totals, so that permits beside a call change its decision.
    fn reads_totals(&self) -> bool {
        self.rego.as_ref().is_some_and(|program| program.reads_totals)
            || self.cedar.as_ref().is_some_and(|program| program.reads_totals)
    }
}

impl Engine for Release {
    fn release(&self) -> placet_core::Digest {
        self.digest()
    }

    fn evaluate(
        &self,
        envelope: &Envelope,
        call: &Call,
        facts: &dyn FactsView,
        now: Timestamp,
    ) -> Result<Evaluation, EngineFault> {
        let flow = facts.flow(envelope.workflow());
        let totals = if self.reads_totals() { Moving::Since(flow.totals_at) } else { Moving::Independent };
        let (verdict, document, claims, passed_over) = self.decide(envelope, call, facts, now);
        let input = match document.map(|document| document.canonical()).transpose() {
            Ok(input) => input,
            // What can't be recorded exactly is not decided on.
            Err(error) => {
                return Err(EngineFault {
                    code: Code::EngineFault,
                    operator: format!("the input has no canonical form: {error}"),
                });
            }
        };
        Ok(Evaluation { verdict, input, labels_at: flow.labels_at, totals, claims, passed_over })
    }
}

pub(crate) fn input_invalid(path: &str, message: &str) -> Reason {
    Reason::platform(
        Code::InputInvalid,
        format!("{path}: {message}"),
        format!("the policy input breaks its schema at {path}: {message}"),
    )
}

fn fault_reason(fault: EngineFault) -> Reason {
    let public = if fault.code == Code::Limit {
        "the decision took too much time or memory"
    } else {
        "the policy could not be evaluated"
    };
    Reason::platform(fault.code, public, fault.operator)
}

/// The approvals of exactly this call that are complete: each step of their chain stands. One for each name.
fn approvals<'a>(
    envelope: &Envelope,
    call: &Call,
    facts: &'a dyn FactsView,
    standings: &Standings<'_>,
    now: Timestamp,
) -> Vec<Vec<&'a Approval>> {
    let all = facts.approvals(envelope.workflow());
    if all.is_empty() {
        return Vec::new();
    }
    let covers = call.approval_digest(envelope.workflow(), envelope.delegation());
    let mut found: Vec<(usize, Vec<&Approval>)> = Vec::new();
    for (name, chain) in &standings.kind.approvals {
        if !all.iter().any(|approval| approval.name == *name) {
            continue;
        }
        let sought = Sought { name, chain, workflow: envelope.workflow(), covers, own: envelope.human() };
        let given = sought.given(facts, now);
        if given.len() == chain.steps.len()
            && let Some(first) = given.first()
        {
            // In the order of the facts, in which they are spent.
            let at = all.iter().position(|approval| approval.id == first.id).unwrap_or(all.len());
            found.push((at, given));
        }
    }
    found.sort_by_key(|(at, _)| *at);
    found.into_iter().map(|(_, given)| given).collect()
}

/// What would make a call that was denied for lack of this approval allowed: the next step of its chain.
pub(crate) fn remedy(
    approval: Name,
    envelope: &Envelope,
    call: &Call,
    facts: &dyn FactsView,
    standings: &Standings<'_>,
    now: Timestamp,
) -> Option<Remedy> {
    let chain = standings.kind.approvals.get(&approval)?;
    let covers = call.approval_digest(envelope.workflow(), envelope.delegation());
    let sought =
        Sought { name: &approval, chain, workflow: envelope.workflow(), covers, own: envelope.human() };
    let given = sought.given(facts, now).len();
    // A chain that is complete and didn't help: what would is another one.
    let given = if given < chain.steps.len() { given } else { 0 };
    let role = chain.steps.get(given)?.clone();
    Some(Remedy { role, covers, steps: chain.steps.clone(), given, approval })
}

/// What a request may read of the facts, by `type:id`: its resources.
pub(crate) fn slice(document: &Value, facts: Facts<'_>) -> Value {
    let mut slice = Object::new();
    let Some((facts, _)) = facts else { return Value::Object(slice) };
    let resources = document
        .get("resources")
        .and_then(Value::as_array)
        .unwrap_or_default()
        .iter()
        .chain(document.get("resource"));
    for resource in resources {
        let name =
            |member: &str| resource.get(member).and_then(Value::as_str).and_then(|text| Name::new(text).ok());
        if let (Some(kind), Some(id)) = (name("type"), name("id")) {
            let at = ResourceRef { kind, id };
            if facts.resource(&at).is_some() {
                slice.insert(at.to_string(), facts.slice(&at));
            }
        }
    }
    Value::Object(slice)
}

/// The value at an input's path, for operators; short.
fn seen(document: &Value, path: &[String]) -> Option<String> {
    let mut value = document;
    for step in path {
        match value.get(step) {
            Some(next) => value = next,
            None => return Some("missing".to_owned()),
        }
    }
    match value {
        Value::Object(_) | Value::Array(_) => None,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            Some(value.to_string().chars().take(80).collect())
        }
    }
}
