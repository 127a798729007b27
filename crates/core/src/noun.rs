//! What facts say: people, agents, workflows, delegations, approvals, resources, relationships.

use std::collections::{BTreeMap, BTreeSet};

use placet_json::Value;
use serde::{Deserialize, Serialize};

use crate::{
    AgentId, ApprovalId, Decimal, DelegationId, Digest, HumanId, Known, Name, TenantId, Timestamp, WorkflowId,
};

/// Whether a person or an agent may act at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// May act.
    Active,
    /// May not act, for now.
    Suspended,
    /// Has left; may not act.
    Deactivated,
}

impl Standing {
    /// The name as policy reads it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Deactivated => "deactivated",
        }
    }
}

/// When something ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Until {
    /// When somebody ends it.
    Ended,
    /// At this moment, exclusively.
    At(Timestamp),
}

impl Until {
    /// Whether it has not ended at `now`.
    #[must_use]
    pub fn lives(self, now: Timestamp) -> bool {
        match self {
            Self::Ended => true,
            Self::At(end) => now < end,
        }
    }
}

/// A person of the organisation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Human {
    /// Who.
    pub id: HumanId,
    /// May they act?
    pub standing: Standing,
    /// The tenant that they belong to; policy sees it where no live assignment says otherwise.
    pub home: TenantId,
    /// RFC 7638 thumbprints of the keys with which they sign administrative acts.
    pub keys: BTreeSet<String>,
}

/// A person's roles in one tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// Who.
    pub human: HumanId,
    /// The tenant's role names.
    pub roles: BTreeSet<Name>,
    /// Until when.
    pub until: Until,
}

/// An agent of the organisation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    /// Which.
    pub id: AgentId,
    /// Its type, for instance `support_agent`.
    pub kind: Name,
    /// The accountable person.
    pub owner: HumanId,
    /// May it act?
    pub standing: Standing,
    /// Its public keys (JWK, canonical JSON) by RFC 7638 thumbprint.
    pub keys: BTreeMap<String, Value>,
}

/// Whether a workflow takes calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkflowState {
    /// It does.
    Open,
    /// It doesn't any more.
    Closed,
}

/// A piece of work that a person is accountable for, of a type that the release describes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workflow {
    /// Which.
    pub id: WorkflowId,
    /// Its type's name in the release.
    pub kind: Name,
    /// Open or closed.
    pub state: WorkflowState,
    /// The named state that it was moved to, of those that its type names. None where it never moved: then it is in
    /// its type's initial state, if that type names states at all.
    pub stage: Option<Name>,
    /// When it was opened, by the journal's clock. None in journals that didn't say so yet: such a workflow lives until
    /// `ends`, and no type's longest life shortens it.
    pub opened: Option<Timestamp>,
    /// Who is accountable.
    pub owner: HumanId,
    /// The declared intents, of those that the type knows.
    pub intents: BTreeSet<Name>,
    /// Its end; a workflow without one doesn't exist.
    pub ends: Timestamp,
    /// The resource of each type that it is about. A call on a resource of a bound type must name that resource.
    pub bindings: BTreeMap<Name, Name>,
    /// Further attributes, as policy reads them at `input.workflow` (for instance `case_id`).
    pub attributes: BTreeMap<Name, Value>,
}

/// What a delegation lets its agent do. Only narrower scopes come of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scope {
    /// The actions.
    pub actions: BTreeSet<Name>,
    /// The intents.
    pub intents: BTreeSet<Name>,
    /// Upper bounds of attributes by name (`amount` → 100).
    pub limits: BTreeMap<Name, Decimal>,
    /// Its end.
    pub ends: Timestamp,
    /// How many further delegations may hang below it.
    pub depth: u8,
}

/// The longest chain of agents.
pub const MAX_CHAIN: usize = 8;

/// Why a scope is wider than the one above it. A test holds that no other scope than a narrower one passes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Widening {
    /// An action that the parent may not do.
    #[error("the parent may not do `{0}`")]
    Action(Name),
    /// An intent that the parent doesn't serve.
    #[error("the parent doesn't serve the intent `{0}`")]
    Intent(Name),
    /// A limit of the parent that is missing or higher below.
    #[error("the parent's limit on `{0}` is missing or higher")]
    Limit(Name),
    /// It would outlive its parent.
    #[error("it would end after its parent does")]
    Ends,
    /// The parent may not delegate any further, or not so deep.
    #[error("the parent may not delegate that deep")]
    Depth,
}

impl Scope {
    /// Checks that `asked` is within this scope: a subset of actions and intents, every limit kept or lower, an end
    /// no later, a smaller depth. Nothing is cut to fit.
    pub fn narrow(&self, asked: Self) -> Result<Self, Widening> {
        if let Some(action) = asked.actions.difference(&self.actions).next() {
            return Err(Widening::Action(action.clone()));
        }
        if let Some(intent) = asked.intents.difference(&self.intents).next() {
            return Err(Widening::Intent(intent.clone()));
        }
        for (attribute, limit) in &self.limits {
            if asked.limits.get(attribute).is_none_or(|lower| lower > limit) {
                return Err(Widening::Limit(attribute.clone()));
            }
        }
        if asked.ends > self.ends {
            return Err(Widening::Ends);
        }
        if asked.depth >= self.depth {
            return Err(Widening::Depth);
        }
        Ok(asked)
    }
}

/// Who gave a delegation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grantor {
    /// The delegating person.
    Human,
    /// The agent of this delegation.
    Parent(DelegationId),
}

/// Whether a delegation still stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DelegationState {
    /// It does.
    Live,
    /// Somebody revoked it.
    Revoked,
}

/// A person's grant to an agent in a workflow, or an agent's narrower grant to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delegation {
    /// Which.
    pub id: DelegationId,
    /// The person whose authority it is.
    pub human: HumanId,
    /// The agent that may act.
    pub agent: AgentId,
    /// In which workflow.
    pub workflow: WorkflowId,
    /// Given by whom.
    pub grantor: Grantor,
    /// What it covers.
    pub scope: Scope,
    /// Does it stand?
    pub state: DelegationState,
}

/// The most steps in a chain of approvals.
pub const MAX_APPROVAL_STEPS: usize = 8;

/// A person's yes to one exact call. Spent by the decision that used it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    /// Which.
    pub id: ApprovalId,
    /// Its name in the policy input's `workflow` (for instance `manager_approval`).
    pub name: Name,
    /// The workflow.
    pub workflow: WorkflowId,
    /// Who said yes.
    pub approver: HumanId,
    /// In which role.
    pub role: Name,
    /// What it is a yes to: [`crate::Call::approval_digest`].
    pub covers: Digest,
    /// Its end.
    pub ends: Timestamp,
    /// In a chain of approvals the one of the step before, given earlier by somebody else. None of a first step.
    pub follows: Option<ApprovalId>,
}

/// A resource by type and name, inside the tenant at hand.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ResourceRef {
    /// Its type's name.
    #[serde(rename = "type")]
    pub kind: Name,
    /// Its name.
    pub id: Name,
}

impl std::fmt::Display for ResourceRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.kind, self.id)
    }
}

/// What facts know about a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// Which.
    pub at: ResourceRef,
    /// Its attributes as policy reads them. `type`, `id` and `tenant_id` are set by the reader, never here.
    pub attributes: BTreeMap<Name, Value>,
    /// How they came to be known.
    pub known: Known,
}

/// The right-hand side of a relationship.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subject {
    /// One object, for instance `user:maya`.
    Object(ResourceRef),
    /// Every object of a type, `user:*`.
    Everyone(Name),
    /// All who have `relation` on the object, for instance `team:billing#member`.
    Userset(ResourceRef, Name),
}

/// A relationship tuple `object#relation@subject` (Zanzibar, USENIX ATC 2019, §2.1).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tuple {
    /// The object.
    pub object: ResourceRef,
    /// The relation.
    pub relation: Name,
    /// Who has it.
    pub subject: Subject,
}

/// What may be frozen.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Freeze {
    /// Everything of the organisation.
    All,
    /// One tenant.
    Tenant(TenantId),
    /// One agent, in whichever chain it stands.
    Agent(AgentId),
    /// One tool, by its catalog name.
    Tool(Name),
    /// One upstream.
    Upstream(Name),
}

#[cfg(test)]
mod tests {
    use proptest::{collection::btree_set, prelude::*};

    use super::*;

    fn name() -> impl Strategy<Value = Name> {
        prop::sample::select(vec!["read", "refund", "export", "post"]).prop_map(|n| Name::new(n).unwrap())
    }
    fn scope() -> impl Strategy<Value = Scope> {
        let limits = prop::collection::btree_map(
            name(),
            (0_i64..200).prop_map(|n| Decimal::parse(&n.to_string()).unwrap()),
            0..3,
        );
        (btree_set(name(), 0..4), btree_set(name(), 0..4), limits, 0_u64..10, 0_u8..5).prop_map(
            |(actions, intents, limits, ends, depth)| Scope {
                actions,
                intents,
                limits,
                ends: Timestamp::from_secs(ends),
                depth,
            },
        )
    }
    /// The meaning of a scope, stated another way: the set of acts that it lets pass.
    fn lets(scope: &Scope, action: &Name, intent: &Name, amount: (&Name, Decimal), now: Timestamp) -> bool {
        scope.actions.contains(action)
            && scope.intents.contains(intent)
            && now < scope.ends
            && scope.limits.get(amount.0).is_none_or(|max| amount.1 <= *max)
    }

    proptest! {
        #[test]
        fn del_1_a_narrowed_scope_lets_nothing_pass_that_its_parent_stops(parent in scope(), asked in scope(), action in name(), intent in name(), attribute in name(), amount in 0_i64..200, now in 0_u64..10) {
            let amount = (&attribute, Decimal::parse(&amount.to_string()).unwrap());
            let now = Timestamp::from_secs(now);
            if let Ok(child) = parent.narrow(asked) {
                prop_assert!(child.depth < parent.depth);
                prop_assert!(!lets(&child, &action, &intent, amount, now) || lets(&parent, &action, &intent, amount, now));
            }
        }

        #[test]
        fn a_scope_is_narrowed_to_itself_one_level_down(scope in scope()) {
            let mut asked = scope.clone();
            asked.depth = asked.depth.saturating_sub(1);
            prop_assert_eq!(scope.narrow(asked).is_ok(), scope.depth > 0);
        }
    }
}
