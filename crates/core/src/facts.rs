//! How deciding sees facts: one tenant's and the organisation's, at one revision. No snapshot type lives here.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
};

use placet_json::Value;
use serde::{Deserialize, Serialize};

use crate::{
    Agent, AgentId, Approval, Assignment, Decimal, Delegation, DelegationId, Freeze, Human, HumanId, Name,
    RelationModel, Resource, ResourceRef, Risky, Tallies, TenantId, Timestamp, Workflow, WorkflowId,
};

/// The journal position of the last fact that a snapshot holds: the organisation's or the tenant's, whichever is later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revision(pub u64);

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// How old the facts at hand are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Freshness {
    /// Within every source's bound; the age of the oldest source in milliseconds, 0 for local facts.
    Fresh(u64),
    /// A source is past its bound, has a gap, or wasn't heard of yet.
    Stale {
        /// Which source.
        source: Name,
        /// Its age in milliseconds.
        age: u64,
        /// What is wrong with it, for operators, to be read after its name.
        why: String,
    },
}

impl Freshness {
    /// The age of the oldest source, of the stale one where one is: in milliseconds.
    #[must_use]
    pub fn age(&self) -> u64 {
        match self {
            Self::Fresh(age) | Self::Stale { age, .. } => *age,
        }
    }
}

/// Why a relationship couldn't be checked. Always a denial.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckError {
    /// The release's model has no such relation on such a type.
    #[error("the relationship model has no relation `{relation}` on `{kind}`")]
    Unknown {
        /// The object's type.
        kind: Name,
        /// The relation.
        relation: Name,
    },
    /// The walk went wider than its bound.
    #[error("the relationship check went past its bound of {0} steps")]
    Bound(u32),
    /// The walk went deeper than its bound.
    #[error("the relationship check went deeper than {0} relations")]
    Deep(u32),
    /// There is more to tell than a listing tells.
    #[error("the answer has more than {0} parts")]
    Long(u32),
    /// Tuples make a relation hold only if it doesn't hold.
    #[error("by these tuples `{relation}` on a `{kind}` takes itself away")]
    Paradox {
        /// The object's type.
        kind: Name,
        /// The relation.
        relation: Name,
    },
}

impl CheckError {
    /// The code of the denial that it is: a bound that was reached, or what no policy may ask.
    #[must_use]
    pub fn code(&self) -> crate::Code {
        match self {
            Self::Bound(_) | Self::Deep(_) | Self::Long(_) => crate::Code::Limit,
            Self::Unknown { .. } | Self::Paradox { .. } => crate::Code::EngineFault,
        }
    }
}

/// What ran through a workflow so far, for policy to read at `input.flow` and `input.workflow.totals`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlowState {
    /// The journal position at which the labels last grew; 0 if never.
    pub labels_at: u64,
    /// The journal position of the last permit.
    pub totals_at: u64,
    /// Labels of all that came back into the workflow, or may have.
    pub labels: BTreeSet<Name>,
    /// The tools that the labels came from.
    pub sources: BTreeSet<Name>,
    /// Permits by action: how many, and the sum of their `amount`s.
    pub totals: BTreeMap<Name, Total>,
}

/// How often and how much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Total {
    /// Permits.
    pub count: u64,
    /// The sum of `amount`.
    pub amount: Decimal,
}

impl FlowState {
    /// A workflow in which nothing has happened yet.
    pub const EMPTY: Self = Self {
        labels_at: 0,
        totals_at: 0,
        labels: BTreeSet::new(),
        sources: BTreeSet::new(),
        totals: BTreeMap::new(),
    };
}

/// The facts of the organisation and of one tenant at one revision.
///
/// There is no way from it to another tenant's facts.
pub trait FactsView: Send + Sync {
    /// The tenant.
    fn tenant(&self) -> &TenantId;
    /// The revision.
    fn revision(&self) -> Revision;
    /// How old, at `now`.
    fn freshness(&self, now: Timestamp) -> Freshness;
    /// A person of the organisation.
    fn human(&self, id: &HumanId) -> Option<&Human>;
    /// An agent of the organisation.
    fn agent(&self, id: &AgentId) -> Option<&Agent>;
    /// A person's roles in this tenant.
    fn assignment(&self, human: &HumanId) -> Option<&Assignment>;
    /// A workflow of this tenant.
    fn workflow(&self, id: &WorkflowId) -> Option<&Workflow>;
    /// A delegation of this tenant.
    fn delegation(&self, id: &DelegationId) -> Option<&Delegation>;
    /// How the person of a delegation had signed in when they consented to it, as policy reads it. None: it wasn't
    /// consented to in a browser.
    fn signed_in(&self, _delegation: &DelegationId) -> Option<Value> {
        None
    }
    /// The unspent approvals of a workflow, by id.
    fn approvals(&self, workflow: &WorkflowId) -> Vec<&Approval>;
    /// A resource of this tenant.
    fn resource(&self, at: &ResourceRef) -> Option<&Resource>;
    /// Whether this is frozen.
    fn frozen(&self, what: &Freeze) -> bool;
    /// The waivers of an acting agent, by id.
    fn waivers(&self, _agent: &AgentId) -> Vec<&crate::Waiver> {
        Vec::new()
    }
    /// The state of a workflow's data flow.
    fn flow(&self, workflow: &WorkflowId) -> Arc<FlowState>;
    /// What is counted in this tenant. None: it isn't known, and whatever a release bounds is denied.
    fn tallies(&self) -> Option<Arc<Tallies>> {
        None
    }
    /// A risk, 0 where nobody set one. None: it isn't known here, and isn't in the policy input.
    fn risk(&self, _of: &Risky) -> Option<Decimal> {
        None
    }
    /// Which environment this is: `dev`, `staging` or `production`. None: it isn't known here.
    fn environment(&self) -> Option<&str> {
        None
    }
    /// Whether `subject` has `relation` on `object`, by `model`. Bounded.
    fn check(
        &self,
        model: &RelationModel,
        object: &ResourceRef,
        relation: &Name,
        subject: &ResourceRef,
    ) -> Result<bool, CheckError>;
    /// The whole of what a request may read of `at` as a document for policy (`data.facts`), attributes and direct
    /// relations.
    fn slice(&self, at: &ResourceRef) -> Value;
}

/// Why there is no snapshot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no such tenant")]
pub struct NoSuchTenant;

/// Where snapshots come from.
pub trait Facts: Send + Sync {
    /// The newest snapshot of this tenant: one atomic read.
    fn snapshot(&self, tenant: &TenantId) -> Result<Arc<dyn FactsView>, NoSuchTenant>;
    /// Resolves when the tenant's (or the organisation's) facts have moved past `since`.
    fn moved(&self, tenant: &TenantId, since: Revision) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}
