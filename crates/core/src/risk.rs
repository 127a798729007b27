//! Risk: a count or a score that somebody who watches sets, and policy reads.

use crate::{AgentId, HumanId, WorkflowId};

/// Whose risk it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Risky {
    /// An agent's, of the organisation.
    Agent(AgentId),
    /// A person's, of the organisation.
    Human(HumanId),
    /// A workflow's, of its tenant.
    Workflow(WorkflowId),
}
