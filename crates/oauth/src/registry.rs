//! What the token endpoint asks of the facts: who is registered, and what stands delegated to whom now.

use placet_jose::KeySet;
use placet_jose::tokens::{ActorChain, WorkflowDetail};

/// The live facts, as far as the token endpoint needs them.
pub trait Registry {
    /// The keys of a registered agent that may act now. Unknown and suspended agents have none.
    fn agent_keys(&self, client_id: &str) -> Option<KeySet>;

    /// The one live delegation to this agent that fits what it asked for.
    fn grant(&self, client_id: &str, asked: &Asked) -> Result<Grant, GrantError>;
}

/// What a client asks for in `authorization_details`; what it leaves out is not restricted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asked {
    /// The tenant.
    pub tenant: Option<String>,
    /// The workflow.
    pub workflow: Option<String>,
    /// The delegation.
    pub delegation: Option<String>,
}

/// What a live delegation gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The human for whom the agent acts.
    pub human: String,
    /// The agents, current one (the client) first.
    pub act: ActorChain,
    /// Workflow and ceiling.
    pub detail: WorkflowDetail,
    /// When delegation or workflow end, whichever is first, in seconds since the Unix epoch: no token outlives it.
    pub ends_at: u64,
}

/// Why nothing is granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// No live delegation to this agent fits: never was, was revoked, has ended, or is another's or another tenant's.
    #[error("no live delegation fits")]
    None,
    /// Several fit, and the client must name one.
    #[error("several delegations fit")]
    Several,
    /// The facts are too old or can't be read.
    #[error("the facts can't be read")]
    Unavailable,
}
