//! The envelope: whose authority, through whom, in which workflow, for which intent.

use crate::{AgentId, DelegationId, HumanId, Name, Timestamp, WorkflowId};

/// What an access token and its proof of possession said, after both were verified. Made at the rim, opened once.
#[derive(Debug, Clone)]
pub struct Grant {
    /// The delegating person.
    pub human: HumanId,
    /// The agent that holds the key.
    pub agent: AgentId,
    /// The delegation in whose name it acts.
    pub delegation: DelegationId,
    /// The workflow.
    pub workflow: WorkflowId,
    /// The declared purpose of this call.
    pub intent: Name,
    /// The token's identifier.
    pub token: String,
    /// The token's end.
    pub expires: Timestamp,
    /// RFC 7638 thumbprint of the key that signed the proof.
    pub key: String,
    /// The proof's identifier.
    pub proof: String,
}

/// Why a grant opens no envelope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unopened {
    /// The token's time is over.
    #[error("the token has expired")]
    Expired,
    /// Workflow and delegation are of two tenants.
    #[error("the workflow and the delegation belong to different tenants")]
    TwoTenants,
}

/// An opened grant. Live facts decide what it is worth; the token is only a name and a ceiling.
#[derive(Debug, Clone)]
pub struct Envelope {
    grant: Grant,
}

impl Envelope {
    /// Opens a verified grant.
    pub fn open(grant: Grant, now: Timestamp) -> Result<Self, Unopened> {
        if now >= grant.expires {
            return Err(Unopened::Expired);
        }
        if grant.workflow.tenant() != grant.delegation.tenant() {
            return Err(Unopened::TwoTenants);
        }
        Ok(Self { grant })
    }
    /// The tenant in whose facts everything is decided.
    #[must_use]
    pub fn tenant(&self) -> &crate::TenantId {
        self.grant.workflow.tenant()
    }
    /// The delegating person.
    #[must_use]
    pub fn human(&self) -> &HumanId {
        &self.grant.human
    }
    /// The acting agent.
    #[must_use]
    pub fn agent(&self) -> &AgentId {
        &self.grant.agent
    }
    /// The workflow.
    #[must_use]
    pub fn workflow(&self) -> &WorkflowId {
        &self.grant.workflow
    }
    /// The delegation.
    #[must_use]
    pub fn delegation(&self) -> &DelegationId {
        &self.grant.delegation
    }
    /// The declared purpose.
    #[must_use]
    pub fn intent(&self) -> &Name {
        &self.grant.intent
    }
    /// The token's end.
    #[must_use]
    pub fn expires(&self) -> Timestamp {
        self.grant.expires
    }
    /// The whole grant, for the record.
    #[must_use]
    pub fn grant(&self) -> &Grant {
        &self.grant
    }
}
