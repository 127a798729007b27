//! Who may move a workflow to another of its states.

use placet_core::{
    ApprovalId, Assignment, Digest, FactsView, HumanId, Name, RelationModel, ResourceRef, Timestamp,
    Workflow, WorkflowId,
};
use placet_json::{Object, Value};

use crate::{
    Release,
    admits::quoted,
    chain::Sought,
    states::{MovedBy, Transition},
};

/// What an attempt to move a workflow comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Moving {
    /// It moves, and spends these approvals.
    Now {
        /// The state that it leaves.
        from: Name,
        /// The approvals, in order; none where no chain decides.
        approvals: Vec<ApprovalId>,
        /// Whether the new state closes it.
        closes: bool,
    },
    /// Whoever asked says yes to it as one step of a chain; the last step moves it.
    Step {
        /// The state that it leaves.
        from: Name,
        /// The approval's name.
        approval: Name,
        /// In which role they say yes.
        role: Name,
        /// What the approval covers: this move of this workflow.
        covers: Digest,
        /// The steps that stand already, in order.
        given: Vec<ApprovalId>,
        /// The roles whose turn comes after this step; none where it is the last.
        then: Vec<Name>,
        /// Whether the new state closes it.
        closes: bool,
    },
}

/// Why a workflow doesn't move.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unmoved {
    /// There is no such state; the text says which there are.
    Unknown(String, String),
    /// From the state that it is in no way leads there.
    NoWay(String, String),
    /// There is a way, and this person may not take it, or not yet.
    Forbidden(String, String),
}

/// What an approval of a move binds: SHA-256 over the canonical form of tenant, workflow, and both states.
#[must_use]
pub fn move_digest(workflow: &WorkflowId, from: &Name, to: &Name) -> Digest {
    let mut object = Object::new();
    object.insert("from", from.as_str());
    object.insert("move", true);
    object.insert("tenant", workflow.tenant().as_str());
    object.insert("to", to.as_str());
    object.insert("workflow", workflow.local().as_str());
    // Names are inserted in order, and there is no number: the compact form is the canonical one.
    Digest::of(&Value::Object(object).to_bytes())
}

impl Release {
    /// What comes of moving `workflow`, which is open, to the state `to`. `by` is the person who asks; an operator, who
    /// is none, may take any way that isn't an approval's.
    pub fn moves(
        &self,
        workflow: &Workflow,
        to: &Name,
        by: Option<&HumanId>,
        facts: &dyn FactsView,
        now: Timestamp,
    ) -> Result<Moving, Unmoved> {
        let kind = self.workflow_types().get(&workflow.kind);
        let Some((kind, states)) = kind.and_then(|kind| Some((kind, kind.states.as_ref()?))) else {
            return Err(Unmoved::Unknown(
                format!("workflows of type `{}` have no named states", workflow.kind),
                "add `[state.…]` and `[[transition]]` to the workflow type".to_owned(),
            ));
        };
        let Some(closes) = states.all.get(to).copied() else {
            return Err(Unmoved::Unknown(
                format!("workflows of type `{}` have no state `{to}`", kind.name),
                format!("choose from {}", quoted(states.all.keys())),
            ));
        };
        let from = workflow.stage.as_ref().unwrap_or(&states.initial);
        let leaves = |way: &&Transition| way.from.contains(from);
        let ways: Vec<&Transition> =
            states.transitions.iter().filter(leaves).filter(|way| way.to == *to).collect();
        if ways.is_empty() {
            let next: Vec<&Name> = states.transitions.iter().filter(leaves).map(|way| &way.to).collect();
            let remedy = if next.is_empty() {
                "from there no way leads on".to_owned()
            } else {
                format!("from there it can go to {}", quoted(next.into_iter()))
            };
            return Err(Unmoved::NoWay(
                format!("the workflow is in the state `{from}`, and no way leads to `{to}`"),
                remedy,
            ));
        }
        let mut refused = None;
        for way in ways {
            let found = match &way.by {
                MovedBy::Person { roles, relation } => {
                    let related = relation.as_ref().map(|(of, relation)| (of, relation));
                    person(&self.relations, workflow, by, roles.iter(), related, facts, now)
                        .map(|()| Moving::Now { from: from.clone(), approvals: Vec::new(), closes })
                }
                MovedBy::Action(actions) => Err((
                    "nobody moves it there: the effect of a call does".to_owned(),
                    format!("it comes on {}", quoted(actions.iter())),
                )),
                MovedBy::Approval(name) => {
                    let Some(chain) = kind.approvals.get(name) else { continue };
                    let covers = move_digest(&workflow.id, from, to);
                    let sought = Sought { name, chain, workflow: &workflow.id, covers, own: &workflow.owner };
                    step(sought, by, facts, now).map(|(role, given, then)| Moving::Step {
                        from: from.clone(),
                        approval: name.clone(),
                        role,
                        covers,
                        given,
                        then,
                        closes,
                    })
                }
            };
            match found {
                Ok(moving) => return Ok(moving),
                Err((message, remedy)) => refused = refused.or(Some(Unmoved::Forbidden(message, remedy))),
            }
        }
        Err(refused.unwrap_or_else(|| {
            Unmoved::Forbidden(format!("nobody may move it from `{from}` to `{to}`"), String::new())
        }))
    }
}

type Refusal = (String, String);

fn person<'a>(
    model: &RelationModel,
    workflow: &Workflow,
    by: Option<&HumanId>,
    roles: impl ExactSizeIterator<Item = &'a Name> + Clone,
    relation: Option<(&Name, &Name)>,
    facts: &dyn FactsView,
    now: Timestamp,
) -> Result<(), Refusal> {
    let Some(human) = by else { return Ok(()) };
    if roles.len() > 0 {
        let held = assignment(human, facts, now);
        if !held.is_some_and(|held| roles.clone().any(|role| held.roles.contains(role))) {
            return Err((
                format!("`{human}` has none of the roles that may do this"),
                format!("ask somebody who has {}", quoted(roles)),
            ));
        }
    }
    let Some((of, relation)) = relation else { return Ok(()) };
    let subject = Name::new("user").ok().map(|kind| ResourceRef { kind, id: human.name().clone() });
    let object = workflow.bindings.get(of).map(|id| ResourceRef { kind: of.clone(), id: id.clone() });
    // What can't be checked isn't so.
    let related = match (subject, object) {
        (Some(subject), Some(object)) => facts.check(model, &object, relation, &subject).unwrap_or(false),
        (Some(_) | None, _) => false,
    };
    if related {
        return Ok(());
    }
    Err((
        format!("`{human}` isn't `{relation}` of the `{of}` that the workflow is about"),
        "ask somebody who is".to_owned(),
    ))
}

/// The role in which this person says yes now, the steps that stand, and the roles after it.
fn step(
    sought: Sought<'_>,
    by: Option<&HumanId>,
    facts: &dyn FactsView,
    now: Timestamp,
) -> Result<(Name, Vec<ApprovalId>, Vec<Name>), Refusal> {
    let given = sought.given(facts, now);
    let Some(human) = by else {
        return Err((
            format!("`{}` is given by people, and an operator's key is nobody's", sought.name),
            "act as the person whose turn it is: `--as HUMAN --key THEIR-KEY`".to_owned(),
        ));
    };
    let (role, then) = sought.turn(human, given.iter().map(|step| &step.approver), facts, now)?;
    Ok((role, given.iter().map(|step| step.id.clone()).collect(), then))
}

impl Sought<'_> {
    /// Whether it is this person's turn after the people `given`: the role in which they say yes, and those after it.
    /// Else why not, and whom to ask.
    pub fn turn<'a>(
        &self,
        human: &HumanId,
        given: impl ExactSizeIterator<Item = &'a HumanId>,
        facts: &dyn FactsView,
        now: Timestamp,
    ) -> Result<(Name, Vec<Name>), (String, String)> {
        let name = self.name;
        if human == self.own && !self.chain.delegating_user {
            return Err((
                "nobody approves what is done in their own name".to_owned(),
                "ask somebody else".to_owned(),
            ));
        }
        let (count, mut given) = (given.len(), given);
        if given.any(|other| other == human) {
            return Err((
                format!("`{human}` has said yes to this already, and nobody gives two steps of `{name}`"),
                "ask somebody else".to_owned(),
            ));
        }
        let mut left = self.chain.steps.iter().skip(count);
        let Some(role) = left.next() else {
            return Err((format!("`{name}` is given already"), String::new()));
        };
        let then: Vec<Name> = left.cloned().collect();
        let held = assignment(human, facts, now);
        let holds = |role: &Name| held.is_some_and(|held| held.roles.contains(role));
        if holds(role) {
            return Ok((role.clone(), then));
        }
        if then.iter().any(holds) {
            return Err((
                format!("`{name}` is given in an order, and now it is the turn of the role `{role}`"),
                format!("ask somebody who has `{role}` first"),
            ));
        }
        Err((
            format!("`{name}` is given by the role `{role}`, which {human} doesn't have"),
            "ask somebody who has it".to_owned(),
        ))
    }
}

fn assignment<'f>(human: &HumanId, facts: &'f dyn FactsView, now: Timestamp) -> Option<&'f Assignment> {
    facts.assignment(human).filter(|assignment| assignment.until.lives(now))
}
