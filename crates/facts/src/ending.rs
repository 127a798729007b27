//! The end of a person's authority: one change, applied whole, over the organisation and every tenant.
//!
//! A leaver's delegations, workflows, agents and approvals stand in several tenants. Ending them one transaction after
//! the other would leave a moment, or after a crash a day, in which some of them still count.

use std::sync::Arc;

use imbl::OrdMap;
use placet_core::{
    Agent, Delegation, DelegationState, HumanId, Name, Standing, TenantId, Workflow, WorkflowState,
};

use crate::{ChangeError, OrgFacts, TenantFacts, directory};

/// How much of a person's authority ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// What they have signed in for: their delegations are revoked, their unspent approvals withdrawn. They may begin
    /// anew at once.
    Sessions,
    /// As well their standing, and their agents stop, until somebody says otherwise.
    Suspended,
    /// They have left: as well the workflows that they own are closed.
    Deactivated,
}

impl Ending {
    /// Its name in the JSON form.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sessions => "sessions",
            Self::Suspended => "suspended",
            Self::Deactivated => "deactivated",
        }
    }
    /// The standing after it, which is never a higher one than before.
    #[must_use]
    pub fn standing(self, before: Standing) -> Standing {
        match (self, before) {
            (Self::Deactivated, _) | (_, Standing::Deactivated) => Standing::Deactivated,
            (Self::Suspended, _) | (_, Standing::Suspended) => Standing::Suspended,
            (Self::Sessions, Standing::Active) => Standing::Active,
        }
    }
}

pub(crate) fn read(text: &str) -> Result<Ending, &'static str> {
    match text {
        "sessions" => Ok(Ending::Sessions),
        "suspended" => Ok(Ending::Suspended),
        "deactivated" => Ok(Ending::Deactivated),
        _ => Err("is none of `sessions`, `suspended`, `deactivated`"),
    }
}

/// Costs a walk over all delegations, workflows and approvals: leaving is rare, and an index would cost every grant.
pub(crate) fn end(
    org: &mut OrgFacts,
    tenants: &mut OrdMap<TenantId, Arc<TenantFacts>>,
    revision: u64,
    human: &HumanId,
    ending: Ending,
) -> Result<(), ChangeError> {
    let before = org
        .human(human)
        .ok_or_else(|| ChangeError::unknown(format!("there is no person `{human}`"), "list the people"))?
        .standing;
    directory::stand(org, human, ending.standing(before))?;
    directory::remember(org, human, ending);
    org.end_sessions_of(human);
    if ending != Ending::Sessions {
        let theirs = org.agents().filter(|agent| agent.owner == *human && agent.standing == Standing::Active);
        for agent in theirs.cloned().collect::<Vec<_>>() {
            org.agents.insert(agent.id.clone(), Arc::new(Agent { standing: Standing::Suspended, ..agent }));
        }
    }
    let touched: Vec<_> = tenants
        .iter()
        .filter_map(|(id, facts)| Some((id.clone(), within(facts, revision, human, ending)?)))
        .collect();
    for (id, facts) in touched {
        tenants.insert(id, Arc::new(facts));
    }
    Ok(())
}

/// The tenant's facts after it; none where nothing of the person's was left.
fn within(facts: &TenantFacts, revision: u64, human: &HumanId, ending: Ending) -> Option<TenantFacts> {
    let delegations: Vec<Delegation> = facts
        .delegations()
        .filter(|delegation| delegation.human == *human && delegation.state == DelegationState::Live)
        .cloned()
        .collect();
    let approvals: Vec<(Name, Name)> = facts
        .unspent
        .iter()
        .filter(|(_, id)| facts.approvals.get(id).is_some_and(|approval| approval.approver == *human))
        .cloned()
        .collect();
    let workflows: Vec<Workflow> = facts
        .workflows()
        .filter(|workflow| workflow.owner == *human && workflow.state == WorkflowState::Open)
        .filter(|_| ending == Ending::Deactivated)
        .cloned()
        .collect();
    if delegations.is_empty() && approvals.is_empty() && workflows.is_empty() {
        return None;
    }
    let mut facts = facts.clone();
    for delegation in delegations {
        let id = delegation.id.local().clone();
        facts.delegations.insert(id, Arc::new(Delegation { state: DelegationState::Revoked, ..delegation }));
    }
    for row in approvals {
        facts.unspent.remove(&row);
        facts.approvals.remove(&row.1);
    }
    for workflow in workflows {
        let id = workflow.id.local().clone();
        facts.workflows.insert(id, Arc::new(Workflow { state: WorkflowState::Closed, ..workflow }));
    }
    facts.revision = revision;
    Some(facts)
}
