//! How far a chain of approvals has come: its steps one after another, by different people who may still give them.

use std::collections::BTreeMap;

use placet_core::{
    Approval, ApprovalId, Digest, FactsView, HumanId, MAX_APPROVAL_STEPS, Name, Standing, Timestamp,
    WorkflowId,
};

use crate::states::Chain;

/// What is to be approved.
#[derive(Debug, Clone, Copy)]
pub struct Sought<'a> {
    /// The approval's name.
    pub name: &'a Name,
    /// Its chain.
    pub chain: &'a Chain,
    /// The workflow.
    pub workflow: &'a WorkflowId,
    /// The exact call or move.
    pub covers: Digest,
    /// In whose name it would happen: they don't approve it themselves, unless the chain says so.
    pub own: &'a HumanId,
}

impl Sought<'_> {
    /// The longest beginning of the chain that stands now, in order: unspent, in time, by active people who have the
    /// step's role now, nobody twice. Complete if it has as many steps as the chain.
    #[must_use]
    pub fn given<'f>(&self, facts: &'f dyn FactsView, now: Timestamp) -> Vec<&'f Approval> {
        let standing: Vec<&Approval> = facts
            .approvals(self.workflow)
            .into_iter()
            .filter(|approval| self.stands(approval, facts, now))
            .collect();
        let by_id: BTreeMap<&ApprovalId, &Approval> =
            standing.iter().map(|approval| (&approval.id, *approval)).collect();
        let mut longest = Vec::new();
        for last in standing {
            match self.steps(last, &by_id) {
                Some(steps) if steps.len() > longest.len() => longest = steps,
                Some(_) | None => {}
            }
        }
        longest
    }

    fn stands(&self, approval: &Approval, facts: &dyn FactsView, now: Timestamp) -> bool {
        approval.covers == self.covers
            && approval.name == *self.name
            && approval.workflow == *self.workflow
            && now < approval.ends
            && (self.chain.delegating_user || approval.approver != *self.own)
            && facts.human(&approval.approver).is_some_and(|human| human.standing == Standing::Active)
            && facts.assignment(&approval.approver).is_some_and(|assignment| {
                assignment.until.lives(now) && assignment.roles.contains(&approval.role)
            })
    }

    /// The steps up to this one, if each is there, in its role, by another person.
    fn steps<'f>(
        &self,
        last: &'f Approval,
        standing: &BTreeMap<&ApprovalId, &'f Approval>,
    ) -> Option<Vec<&'f Approval>> {
        let mut steps = vec![last];
        let mut step = last;
        while let Some(before) = &step.follows {
            if steps.len() >= MAX_APPROVAL_STEPS {
                return None;
            }
            step = standing.get(before)?;
            if steps.iter().any(|later| later.approver == step.approver) {
                return None;
            }
            steps.push(step);
        }
        steps.reverse();
        let in_order = steps.len() <= self.chain.steps.len()
            && steps.iter().zip(&self.chain.steps).all(|(step, role)| step.role == *role);
        in_order.then_some(steps)
    }
}
