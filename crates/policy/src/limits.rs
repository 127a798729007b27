//! Budgets and limits of a release: which bound a call, what policies read of what was spent, and what an author got
//! wrong.

use std::{collections::BTreeSet, sync::Arc};

use placet_catalog::{Catalog, Repeats};
use placet_core::{
    Approval, ApprovalId, Call, Claims, Code, EffectClass, Envelope, FactsView, FlowState, Limits, Name, Per,
    Reason, Reasons, Remedy, Spending, Tallies, Timestamp, Total, Verdict, exceeded,
};
use placet_json::{Object, Value, object};

use crate::{
    Release, WorkflowType, decide,
    finding::{Finding, nearest, position},
    platform::Standings,
};

/// What of a call's limits its decision goes on with.
pub(crate) struct Within {
    pub(crate) claims: Claims,
    /// Approvals that lift a budget: the decision spends them.
    pub(crate) lifts: Vec<ApprovalId>,
    /// `input.totals`, where a policy reads it.
    pub(crate) totals: Option<Object>,
}

impl Release {
    /// What bounds a call: the budgets of the workflow's type and of the tool, and the tool's limits.
    fn limits(&self, call: &Call, kind: &WorkflowType) -> Limits {
        let mut limits = Limits::NONE;
        limits.budgets.extend(kind.budgets.get(&call.action).into_iter().flatten().cloned());
        let Some(entry) = self.catalog().entry(call.entry.as_str()) else { return limits };
        let of = entry.limits();
        limits.budgets.extend(of.budgets.iter().cloned());
        limits.rate = of.rate;
        limits.concurrency = of.concurrency;
        limits.duplicates = match of.repeats {
            Repeats::Within(window) => window,
            Repeats::Harmless => 0,
            Repeats::AsTheRelease if entry.effect() == EffectClass::Read => 0,
            Repeats::AsTheRelease => self.duplicates,
        };
        limits
    }

    /// The totals of days that some policy reads.
    pub(crate) fn reads_days(&self) -> BTreeSet<Per> {
        let rego = self.rego.iter().flat_map(|program| &program.reads_days);
        let cedar = self.cedar.iter().flat_map(|program| &program.reads_days);
        rego.chain(cedar).copied().collect()
    }

    /// Whether a call is within its limits on these facts; else the denial.
    #[expect(clippy::result_large_err, reason = "the denial is the verdict, passed on at once")]
    pub(crate) fn within(
        &self,
        envelope: &Envelope,
        call: &Call,
        facts: &dyn FactsView,
        standings: &Standings<'_>,
        approvals: &[Vec<&Approval>],
        now: Timestamp,
    ) -> Result<Within, Verdict> {
        let limits = self.limits(call, standings.kind);
        if limits.is_none() && self.reads_days.is_empty() {
            return Ok(Within { claims: Claims::NONE, lifts: Vec::new(), totals: None });
        }
        let chain: Vec<_> = standings.chain.iter().map(|delegation| delegation.agent.clone()).collect();
        let spending = Spending::of(envelope.grant(), call, &chain, now);
        let keep = limits.keep();
        let Some(tallies) = facts.tallies() else {
            if limits.is_none() {
                // What isn't known isn't in the input; a policy that needs it permits nothing.
                return Ok(Within { claims: Claims::NONE, lifts: Vec::new(), totals: None });
            }
            let reason = Reason::platform(
                Code::FactsStale,
                "what was spent so far isn't known",
                "the facts at hand count nothing, and the release bounds this call",
            );
            return Err(denial(reason.into(), None));
        };
        let flow = facts.flow(envelope.workflow());
        let (limits, lifts) = lift(limits, approvals, &spending, &tallies, &flow);
        let mut over = exceeded(&limits, &spending, &tallies, &flow).into_iter();
        if let Some(first) = over.next() {
            let rest: Vec<_> = over.collect();
            let same = rest.iter().all(|other| other.approval == first.approval);
            let remedy = first.approval.clone().filter(|_| same);
            let remedy =
                remedy.and_then(|approval| decide::remedy(approval, envelope, call, facts, standings, now));
            let reason = |it: placet_core::Exceeded| Reason::platform(it.code, it.public, it.operator);
            let reasons = Reasons::new(reason(first), rest.into_iter().map(reason).collect());
            return Err(denial(reasons, remedy));
        }
        let reads = self.reads_days.iter().map(|per| (*per, tallies.changed_at(*per, &spending))).collect();
        let totals = (!self.reads_days.is_empty()).then(|| {
            self.reads_days.iter().map(|per| (per.as_str(), day(*per, &spending, &tallies))).collect()
        });
        Ok(Within { claims: Claims { limits, keep, reads }, lifts, totals })
    }
}

fn denial(reasons: Reasons, remedy: Option<Remedy>) -> Verdict {
    Verdict::Deny { reasons, determining: Vec::new(), remedy }
}

/// Takes the budgets away that an approval at hand lifts, and names the approvals.
fn lift(
    mut limits: Limits,
    approvals: &[Vec<&Approval>],
    spending: &Spending,
    tallies: &Arc<Tallies>,
    flow: &FlowState,
) -> (Limits, Vec<ApprovalId>) {
    let mut lifts = Vec::new();
    limits.budgets.retain(|budget| {
        let given = |name: &Name| approvals.iter().find(|steps| steps.iter().all(|step| step.name == *name));
        let Some(steps) = budget.approval.as_ref().and_then(given) else { return true };
        let alone = Limits { budgets: vec![budget.clone()], ..Limits::NONE };
        if exceeded(&alone, spending, tallies, flow).is_empty() {
            return true;
        }
        for step in steps {
            if !lifts.contains(&step.id) {
                lifts.push(step.id.clone());
            }
        }
        false
    });
    (limits, lifts)
}

/// A day's totals by action; the call's own action is always among them, so that a policy can add to it.
fn day(per: Per, spending: &Spending, tallies: &Tallies) -> Value {
    let mut totals = object! { spending.action.as_str() => total(Total::ZERO) };
    for (action, of) in tallies.day(per, spending).into_iter().flat_map(placet_core::DayTotals::iter) {
        totals.insert(action.as_str(), total(*of));
    }
    Value::Object(totals)
}

fn total(total: Total) -> Value {
    Value::Object(object! { "count" => total.count, "amount" => total.amount.to_value() })
}

/// The days' totals that a path of the input leads to: one of them, or an object around them all.
pub(crate) fn days_of(path: &[String]) -> Vec<Per> {
    let named = |step: &String| Per::DAYS.iter().copied().find(|per| per.as_str() == step);
    match path {
        [] => Per::DAYS.to_vec(),
        [first, ..] if first == "[" => Per::DAYS.to_vec(),
        [first, second, ..] if first == "totals" && second != "[" => named(second).into_iter().collect(),
        [first, ..] if first == "totals" => Per::DAYS.to_vec(),
        [_, ..] => Vec::new(),
    }
}

/// The days' totals that a Cedar policy names, which can't be computed there.
pub(crate) fn days_in(text: &str) -> impl Iterator<Item = Per> + '_ {
    Per::DAYS.iter().copied().filter(|per| text.contains(per.as_str()))
}

/// Budgets of a workflow's type that bound nothing: an action that no tool has, amounts that don't add up.
pub(crate) fn check(file: &str, text: &str, kind: &WorkflowType, catalog: &Catalog) -> Vec<Finding> {
    let at = |word: &str| {
        let from = text.find("[budgets").or_else(|| text.find("budgets")).unwrap_or(0);
        let offset = text.get(from..).and_then(|rest| rest.find(word)).unwrap_or(0);
        position(text, from.saturating_add(offset))
    };
    let mut findings = Vec::new();
    for (action, budgets) in &kind.budgets {
        let error = |message: String, help: &str| Finding::error(file, at(action.as_str()), message, help);
        let tools: Vec<_> = catalog.entries().filter(|entry| entry.action() == action).collect();
        if tools.is_empty() {
            let near = nearest(action.as_str(), catalog.entries().map(|entry| entry.action().as_str()));
            let near = near.map(|near| format!("did you mean `{near}`?")).unwrap_or_default();
            findings.push(error(
                format!("no tool has the action `{action}`, so its budget bounds nothing"),
                &near,
            ));
        }
        if budgets.iter().any(|budget| budget.amount.is_some()) {
            for tool in tools {
                if let Err(why) = tool.adds_up() {
                    findings.push(error(
                        format!("amounts of `{action}` can't be bounded with the tool `{}`: {why}", tool.name()),
                        "give the tool a required argument with `attribute = \"amount\"` and `min`, or bound `count`",
                    ));
                }
            }
        }
        for approval in budgets.iter().filter_map(|budget| budget.approval.as_ref()) {
            if !kind.approvals.contains_key(approval) {
                findings.push(error(
                    format!("the workflow type has no approval `{approval}`"),
                    "add `[approval.…]` to the workflow type",
                ));
            }
        }
    }
    findings
}
