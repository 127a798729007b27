//! What happens to an open workflow: moves between the states that its type names, and chains of approvals.
//!
//! Which states there are, and who may move between them, is a release's to say; here is what holds whatever it says:
//! a move starts from the state that the workflow is in, each approval that it rests on is spent once, and a chain's
//! steps are given one after another by different people.

use std::sync::Arc;

use placet_core::{
    Approval, ApprovalId, MAX_APPROVAL_STEPS, Name, StateMove, TenantId, Workflow, WorkflowId, WorkflowState,
};
use placet_json::{Object, Value, object};

use crate::{
    Change, ChangeError, Kind, TenantFacts,
    apply::{no, open_workflow},
    read::{Fields, elements, name_of},
};

/// A move of a workflow from one named state to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkflowMove {
    /// Which workflow.
    pub workflow: WorkflowId,
    /// The state that it must be in. Of a workflow that never moved any is accepted: its type names the first.
    pub from: Name,
    /// The state that it is in afterwards.
    pub to: Name,
    /// The approvals that allow it, in their order; each is spent by it.
    pub approvals: Vec<ApprovalId>,
}

impl WorkflowMove {
    pub(crate) fn read(value: &Value, path: &str, tenant: &TenantId) -> Result<Self, ChangeError> {
        let mut fields = Fields::open(value, path)?;
        let moved = Self {
            workflow: WorkflowId::new(tenant.clone(), fields.name("id")?),
            from: fields.name("from")?,
            to: fields.name("to")?,
            approvals: match fields.optional("approvals") {
                None => Vec::new(),
                Some(ids) => {
                    let path = fields.at("approvals");
                    let id = |(i, id): (usize, &Value)| {
                        name_of(id, &format!("{path}/{i}")).map(|id| ApprovalId::new(tenant.clone(), id))
                    };
                    elements(ids, &path)?.iter().enumerate().map(id).collect::<Result<_, _>>()?
                }
            },
        };
        fields.unexpected()?;
        Ok(moved)
    }

    pub(crate) fn to_value(&self) -> Value {
        let Self { workflow, from, to, approvals } = self;
        let mut value: Object =
            object! { "id" => workflow.local().as_str(), "from" => from.as_str(), "to" => to.as_str() };
        if !approvals.is_empty() {
            let ids = approvals.iter().map(|id| Value::from(id.local().as_str()));
            value.insert("approvals", Value::Array(ids.collect()));
        }
        Value::Object(value)
    }

    pub(crate) fn apply(&self, facts: &mut TenantFacts) -> Result<(), ChangeError> {
        let Self { workflow: id, from, to, approvals } = self;
        let workflow = open_workflow(facts, id)?.clone();
        if from == to {
            return Err(ChangeError::malformed("/to", "is the state that it comes from", "name another"));
        }
        if let Some(stage) = workflow.stage.as_ref().filter(|stage| *stage != from) {
            return Err(ChangeError::conflict(
                format!("the workflow `{id}` is in the state `{stage}`, not `{from}`"),
                "look at it again",
            ));
        }
        for used in approvals {
            let approval = facts.approval(used).ok_or_else(|| no("approval", used, "ask for a new one"))?;
            if approval.workflow != *id {
                return Err(ChangeError::conflict(
                    format!("the approval `{used}` is of another workflow"),
                    "ask for one of this workflow",
                ));
            }
            let row = (id.local().clone(), used.local().clone());
            if facts.unspent.remove(&row).is_none() {
                return Err(ChangeError::conflict(
                    format!("the approval `{used}` is spent"),
                    "ask for a new one",
                ));
            }
            facts.spent.insert(row.1, facts.revision);
        }
        facts
            .workflows
            .insert(id.local().clone(), Arc::new(Workflow { stage: Some(to.clone()), ..workflow }));
        Ok(())
    }
}

impl TenantFacts {
    /// The changes by which a call's effect moves its workflow: none if it is closed, or in a state that none of `moves`
    /// leaves any more.
    #[must_use]
    pub fn moved_by(&self, workflow: &WorkflowId, moves: &[StateMove]) -> Vec<Change> {
        let open = self.workflow(workflow).filter(|workflow| workflow.state == WorkflowState::Open);
        let Some(StateMove { from, to, initial: _, closes }) =
            open.and_then(|workflow| StateMove::from_stage(moves, workflow.stage.as_ref()))
        else {
            return Vec::new();
        };
        let way = WorkflowMove {
            workflow: workflow.clone(),
            from: from.clone(),
            to: to.clone(),
            approvals: Vec::new(),
        };
        let closed = closes.then(|| Change::WorkflowClosed(workflow.clone()));
        std::iter::once(Change::WorkflowMoved(way)).chain(closed).collect()
    }
}

/// A step of a chain stands on those before it: unspent, for the same, by other people.
pub(crate) fn follows(facts: &TenantFacts, approval: &Approval) -> Result<(), ChangeError> {
    let mut next = approval.follows.as_ref();
    let mut length = 1_usize;
    while let Some(id) = next {
        length = length.saturating_add(1);
        if length > MAX_APPROVAL_STEPS {
            return Err(ChangeError::conflict(
                format!("the chain would have more than {MAX_APPROVAL_STEPS} steps"),
                "shorten it in the workflow type",
            ));
        }
        let before =
            facts.approval(id).ok_or_else(|| no("approval", id, "the steps before it come first"))?;
        if before.name != approval.name
            || before.workflow != approval.workflow
            || before.covers != approval.covers
        {
            return Err(ChangeError::conflict(
                format!("the approval `{id}` is for something else"),
                "name the step before this one",
            ));
        }
        if !facts.unspent.contains(&(before.workflow.local().clone(), id.local().clone())) {
            return Err(ChangeError::conflict(
                format!("the approval `{id}` is spent"),
                "begin the chain again",
            ));
        }
        if before.approver == approval.approver {
            return Err(ChangeError::new(
                Kind::Widening,
                format!("`{}` has given a step of this chain already", approval.approver),
                "ask somebody else: a chain is given by different people",
            ));
        }
        next = before.follows.as_ref();
    }
    Ok(())
}
