//! One evaluation, seen closely: each rule, its conditions, and what stands in the way.

use placet_core::{Code, FactsView, Reason, Reasons, Timestamp};
use placet_json::Value;

use super::hints::Index;
use crate::{
    Release, cedar,
    decide::slice,
    manifest::EngineName,
    rego::near::{Condition, Conditions, DEPTH},
};

/// What looks: a release and what its text mentions.
pub(crate) struct Lens<'a> {
    pub(crate) release: &'a Release,
    pub(crate) now: Timestamp,
    pub(crate) index: &'a Index,
}

/// A condition of a rule.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// What makes it the same condition in the next evaluation.
    pub(crate) key: String,
    pub(crate) text: String,
    pub(crate) at: String,
    /// None where it hangs on a condition before it that doesn't hold.
    pub(crate) holds: Option<bool>,
    /// The input's paths that it reads.
    pub(crate) inputs: Vec<Vec<String>>,
    /// The conditions of the rule that it is the name of.
    pub(crate) inner: Vec<Seen>,
}

impl Seen {
    /// The innermost conditions that don't hold.
    fn unmet<'s>(&'s self, found: &mut Vec<&'s Self>) {
        if self.holds != Some(false) {
            return;
        }
        let before = found.len();
        self.inner.iter().for_each(|inner| inner.unmet(found));
        if found.len() == before {
            found.push(self);
        }
    }
    fn find(&self, key: &str) -> Option<&Self> {
        if self.key == key { Some(self) } else { self.inner.iter().find_map(|inner| inner.find(key)) }
    }
}

/// A rule that may permit.
#[derive(Debug, Clone)]
pub(crate) struct RuleSeen {
    pub(crate) engine: EngineName,
    pub(crate) policy: String,
    pub(crate) at: String,
    /// It is for this action, and in Cedar for this principal and resource.
    pub(crate) fits: bool,
    /// Its engine may grant the action.
    pub(crate) grants: bool,
    pub(crate) conditions: Vec<Seen>,
}

impl RuleSeen {
    pub(crate) fn unmet(&self) -> Vec<&Seen> {
        let mut found = Vec::new();
        self.conditions.iter().for_each(|condition| condition.unmet(&mut found));
        found
    }
}

/// A deny or forbid that fired.
#[derive(Debug, Clone)]
pub(crate) struct Fired {
    pub(crate) engine: EngineName,
    pub(crate) policy: String,
    pub(crate) at: String,
    pub(crate) message: String,
}

/// What is refused before any policy is asked.
#[derive(Debug, Clone)]
pub(crate) struct Blocked {
    pub(crate) message: String,
    /// The paths that it is about.
    pub(crate) paths: Vec<Vec<String>>,
}

/// One evaluation.
#[derive(Debug, Clone, Default)]
pub(crate) struct Look {
    pub(crate) permits: bool,
    pub(crate) blocked: Option<Blocked>,
    pub(crate) faults: Vec<String>,
    pub(crate) rules: Vec<RuleSeen>,
    pub(crate) denies: Vec<Fired>,
    /// Subject, relation, object, and whether it holds.
    pub(crate) relations: Vec<([String; 3], bool)>,
}

impl Look {
    fn blocked(reason: Option<&Reason>, paths: Vec<Vec<String>>) -> Self {
        let message = reason.map(|reason| reason.operator.clone()).unwrap_or_default();
        Self { blocked: Some(Blocked { message, paths }), ..Self::default() }
    }
    /// The rules that may still permit, the nearest first.
    pub(crate) fn nearest(&self) -> Vec<&RuleSeen> {
        let mut rules: Vec<&RuleSeen> = self.rules.iter().filter(|rule| rule.fits && rule.grants).collect();
        rules.sort_by_key(|rule| rule.unmet().len());
        rules
    }
    /// How far it is from a permit: what stands in the way, counted.
    pub(crate) fn distance(&self) -> Option<usize> {
        if self.permits {
            return Some(0);
        }
        if self.blocked.is_some() {
            return Some(8);
        }
        if !self.faults.is_empty() {
            return None;
        }
        let unmet = self.nearest().first().map(|rule| rule.unmet().len())?;
        Some(unmet.saturating_add(self.denies.len()).max(1))
    }
    pub(crate) fn condition(&self, key: &str) -> Option<&Seen> {
        self.rules.iter().flat_map(|rule| &rule.conditions).find_map(|condition| condition.find(key))
    }
}

impl Lens<'_> {
    /// Evaluates.
    pub(crate) fn look(&self, document: &Value, facts: Option<&dyn FactsView>) -> Look {
        let release = self.release;
        if let Err((path, message)) = release.contract.check(document) {
            let steps = path.split('.').skip(1).map(str::to_owned).collect();
            let reason = Reason::platform(Code::InputInvalid, "", format!("{path}: {message}"));
            return Look::blocked(Some(&reason), vec![steps]);
        }
        if let Some(reasons) = release.stands(document, facts, self.now) {
            return Look::blocked(reasons.all().first(), self.about(document, &reasons));
        }
        let facts = facts.map(|facts| (facts, &release.relations));
        let action = document.get("action").and_then(Value::as_str).unwrap_or_default();
        let granter = release.granter(action);
        let mut look = Look::default();
        let mut allowed = false;
        if let Some(program) = &release.rego {
            match program.look(document, self.now, facts, &|| slice(document, facts)) {
                Ok(mut run) => {
                    allowed |= granter == Some(EngineName::Rego) && !run.allowed.is_empty();
                    look.denies.extend(run.denied.iter().map(|fired| Fired {
                        engine: EngineName::Rego,
                        policy: fired.policy.clone(),
                        at: fired.at.clone(),
                        message: fired.message.clone(),
                    }));
                    match run.standing() {
                        Ok(standing) => {
                            let grants = granter == Some(EngineName::Rego);
                            for (package, conditions, holds) in standing {
                                look.rules.extend(conditions.candidates.iter().map(|candidate| {
                                    let conditions =
                                        seen(package, conditions, &candidate.conditions, &holds, DEPTH);
                                    let away = |(seen, of): (&Seen, &Condition)| {
                                        of.about_action && seen.holds != Some(true)
                                    };
                                    RuleSeen {
                                        engine: EngineName::Rego,
                                        policy: package.to_owned(),
                                        at: format!("{}:{}", candidate.file, candidate.line),
                                        fits: !conditions.iter().zip(&candidate.conditions).any(away),
                                        grants,
                                        conditions,
                                    }
                                }));
                            }
                        }
                        Err(fault) => look.faults.push(fault.operator),
                    }
                    look.relations = run.asked();
                }
                Err(fault) => look.faults.push(fault.operator),
            }
        }
        if let Some(program) = &release.cedar {
            if !program.knows_action(action) {
                look.faults.push(format!("neither the catalog nor `[grants]` has an action `{action}`"));
                return look;
            }
            match program.question(document, self.now, facts) {
                Ok(question) => {
                    match program.answer(&question) {
                        Ok(answer) => {
                            allowed |= granter == Some(EngineName::Cedar) && !answer.allowed.is_empty();
                            look.denies.extend(answer.denied.into_iter().map(|(policy, at)| Fired {
                                engine: EngineName::Cedar,
                                message: format!("`{policy}` forbids it"),
                                policy,
                                at,
                            }));
                        }
                        Err(fault) => look.faults.push(fault.operator),
                    }
                    Self::cedar(program, &question, granter == Some(EngineName::Cedar), document, &mut look);
                }
                Err(cedar::Unasked::Input(path, message)) => {
                    let steps = path.split('.').skip(1).map(str::to_owned).collect();
                    let reason = Reason::platform(Code::InputInvalid, "", format!("{path}: {message}"));
                    return Look::blocked(Some(&reason), vec![steps]);
                }
                Err(cedar::Unasked::Fault(fault)) => look.faults.push(fault.operator),
            }
        }
        look.permits = allowed && look.denies.is_empty() && look.faults.is_empty();
        look
    }

    fn cedar(
        program: &cedar::Program,
        question: &cedar::Question,
        grants: bool,
        document: &Value,
        look: &mut Look,
    ) {
        let text = |pointer: &str| document.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let subject = format!("user:{}", text("/delegating_user/id"));
        let object = format!("{}:{}", text("/resource/type"), text("/resource/id"));
        for (candidate, fits, conditions) in program.look(question) {
            let conditions: Vec<Seen> = conditions
                .into_iter()
                .zip(0_usize..)
                .map(|((condition, holds), number)| {
                    for path in &condition.inputs {
                        if let [rel, relation] = path.as_slice()
                            && rel == "rel"
                        {
                            look.relations.push(([subject.clone(), relation.clone(), object.clone()], holds));
                        }
                    }
                    Seen {
                        key: format!("{}/{number}", candidate.policy),
                        text: condition.text.clone(),
                        at: candidate.at.clone(),
                        holds: Some(holds),
                        inputs: condition.inputs.clone(),
                        inner: Vec::new(),
                    }
                })
                .collect();
            look.rules.push(RuleSeen {
                engine: EngineName::Cedar,
                policy: candidate.policy.clone(),
                at: candidate.at.clone(),
                fits,
                grants,
                conditions,
            });
        }
        look.relations.sort();
        look.relations.dedup();
    }

    /// The paths that a refusal before policy is about.
    fn about(&self, document: &Value, reasons: &Reasons) -> Vec<Vec<String>> {
        let path = |steps: &[&str]| steps.iter().map(|step| (*step).to_owned()).collect::<Vec<_>>();
        let code = reasons.all().first().map(|reason| reason.code.clone()).unwrap_or_default();
        let kind = document.pointer("/workflow/type").and_then(Value::as_str);
        let resource = document.pointer("/resource/type").and_then(Value::as_str).unwrap_or_default();
        let bound = self.release.binding(kind, resource).map(placet_core::Name::as_str);
        match code.as_str() {
            "tenant_mismatch" => {
                vec![path(&["delegating_user", "tenant_id"]), path(&["workflow", "tenant_id"])]
            }
            "resource_unknown" => vec![path(&["resource", "tenant_id"]), path(&["resource", "id"])],
            "resource_outside_workflow" => {
                let own =
                    bound.into_iter().flat_map(|name| [path(&["resource", name]), path(&["workflow", name])]);
                own.chain([path(&["resource", "id"])]).collect()
            }
            "input_invalid" => vec![path(&["workflow", "state"])],
            _ => Vec::new(),
        }
    }
}

/// Conditions with whether they hold, each followed into the rule that it names.
pub(crate) fn seen(
    package: &str,
    all: &Conditions,
    conditions: &[Condition],
    holds: &std::collections::BTreeSet<String>,
    depth: u8,
) -> Vec<Seen> {
    conditions
        .iter()
        .map(|condition| {
            let bound = condition
                .depends
                .iter()
                .all(|index| conditions.get(*index).is_none_or(|earlier| holds.contains(&earlier.key)));
            let inner = match (&condition.helper, depth.checked_sub(1)) {
                (Some(helper), Some(depth)) => seen(package, all, all.helper(helper), holds, depth),
                (None, _) | (_, None) => Vec::new(),
            };
            Seen {
                key: format!("{package}/{}", condition.key),
                text: condition.text.clone(),
                at: format!("{}:{}", condition.file, condition.line),
                holds: bound.then(|| holds.contains(&condition.key)),
                inputs: condition.inputs.clone(),
                inner,
            }
        })
        .collect()
}
