//! The state that changes fold to. Persistent trees: a clone is a few pointers, and two revisions share what is equal.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

use imbl::{OrdMap, OrdSet};
use placet_core::{
    Agent, AgentId, Approval, ApprovalId, Assignment, Decimal, Delegation, DelegationId, FlowState, Freeze,
    Human, HumanId, Name, Resource, ResourceRef, Revision, Risky, Subject, Tallies, TenantId, Tuple,
    Workflow, WorkflowId,
};

use crate::{Consent, ConsentRequest, EnrolmentOffer, Session, tuples::Tuples};

/// The organisation's facts at one revision.
#[derive(Debug, Clone, Default)]
pub struct OrgFacts {
    pub(crate) revision: u64,
    pub(crate) humans: OrdMap<HumanId, Arc<Human>>,
    pub(crate) agents: OrdMap<AgentId, Arc<Agent>>,
    /// Whose a key is, by RFC 7638 thumbprint: one key speaks for one agent.
    pub(crate) keys: OrdMap<String, AgentId>,
    pub(crate) frozen: OrdSet<Freeze>,
    /// Waivers, those that are over as well.
    pub(crate) waivers: OrdMap<Name, Arc<placet_core::Waiver>>,
    /// What identity feeds keep.
    pub(crate) directory: crate::directory::Directory,
    /// Risks of agents and people, where somebody set one.
    pub(crate) risks: OrdMap<Risky, Decimal>,
    /// Enrolment codes that were handed out and not taken yet, by their hash.
    pub(crate) codes: OrdMap<Name, Arc<EnrolmentOffer>>,
    /// Sessions of people that weren't ended, by their cookies' hashes.
    pub(crate) sessions: OrdMap<Name, Arc<Session>>,
}

/// One tenant's facts at one revision, and beside them what its calls left: spent approvals and data flow, which
/// don't move the revision.
#[derive(Debug, Clone)]
pub struct TenantFacts {
    pub(crate) id: TenantId,
    pub(crate) revision: u64,
    pub(crate) assignments: OrdMap<HumanId, Arc<Assignment>>,
    pub(crate) workflows: OrdMap<Name, Arc<Workflow>>,
    pub(crate) delegations: OrdMap<Name, Arc<Delegation>>,
    /// What agents ask people for, by the hash under which they refer to it.
    pub(crate) asked: OrdMap<Name, Arc<ConsentRequest>>,
    /// The consents that delegations are.
    pub(crate) consents: OrdMap<Name, Arc<Consent>>,
    pub(crate) approvals: OrdMap<Name, Arc<Approval>>,
    /// Unspent approvals by workflow, so that a decision finds its own without a search.
    pub(crate) unspent: OrdSet<(Name, Name)>,
    /// Spent approvals and the journal position of the decision that used them.
    pub(crate) spent: OrdMap<Name, u64>,
    pub(crate) resources: OrdMap<ResourceRef, Arc<Resource>>,
    /// Those of them that were read, in the order in which they are forgotten.
    pub(crate) observed: crate::observed::Observed,
    /// Risks of workflows, where somebody set one.
    pub(crate) risks: OrdMap<Name, Decimal>,
    pub(crate) tuples: Tuples,
    pub(crate) flows: OrdMap<Name, Arc<FlowState>>,
    /// What is counted of permits and their endings.
    pub(crate) tallies: Arc<Tallies>,
    /// Which attributes are sealed in the journal.
    pub(crate) personal: crate::personal::Personal,
}

impl OrgFacts {
    /// The journal position of the last change.
    #[must_use]
    pub fn revision(&self) -> Revision {
        Revision(self.revision)
    }
    /// A person.
    #[must_use]
    pub fn human(&self, id: &HumanId) -> Option<&Human> {
        self.humans.get(id).map(AsRef::as_ref)
    }
    /// An agent.
    #[must_use]
    pub fn agent(&self, id: &AgentId) -> Option<&Agent> {
        self.agents.get(id).map(AsRef::as_ref)
    }
    /// The agent that a key speaks for, by RFC 7638 thumbprint.
    #[must_use]
    pub fn agent_of_key(&self, thumbprint: &str) -> Option<&Agent> {
        self.agent(self.keys.get(thumbprint)?)
    }
    /// Whether this is stopped.
    #[must_use]
    pub fn is_frozen(&self, what: &Freeze) -> bool {
        !self.frozen.is_empty() && self.frozen.contains(what)
    }
    /// All people, by id.
    pub fn humans(&self) -> impl Iterator<Item = &Human> {
        self.humans.values().map(AsRef::as_ref)
    }
    /// All agents, by id.
    pub fn agents(&self) -> impl Iterator<Item = &Agent> {
        self.agents.values().map(AsRef::as_ref)
    }
    /// All waivers that weren't ended, by id.
    pub fn waivers(&self) -> impl Iterator<Item = &placet_core::Waiver> {
        self.waivers.values().map(AsRef::as_ref)
    }
    /// All stops.
    pub fn frozen(&self) -> impl Iterator<Item = &Freeze> {
        self.frozen.iter()
    }
}

impl TenantFacts {
    pub(crate) fn new(id: TenantId, revision: u64) -> Self {
        Self {
            id,
            revision,
            assignments: OrdMap::new(),
            workflows: OrdMap::new(),
            delegations: OrdMap::new(),
            asked: OrdMap::new(),
            consents: OrdMap::new(),
            approvals: OrdMap::new(),
            unspent: OrdSet::new(),
            spent: OrdMap::new(),
            resources: OrdMap::new(),
            observed: crate::observed::Observed::default(),
            risks: OrdMap::new(),
            tuples: Tuples::new(),
            flows: OrdMap::new(),
            tallies: Arc::default(),
            personal: crate::personal::Personal::default(),
        }
    }
    /// The tenant.
    #[must_use]
    pub fn id(&self) -> &TenantId {
        &self.id
    }
    /// The journal position of the last change.
    #[must_use]
    pub fn revision(&self) -> Revision {
        Revision(self.revision)
    }
    /// A person's roles here.
    #[must_use]
    pub fn assignment(&self, human: &HumanId) -> Option<&Assignment> {
        self.assignments.get(human).map(AsRef::as_ref)
    }
    /// A workflow; none of another tenant's.
    #[must_use]
    pub fn workflow(&self, id: &WorkflowId) -> Option<&Workflow> {
        self.own(id.tenant(), id.local()).and_then(|local| self.workflows.get(local)).map(AsRef::as_ref)
    }
    /// A delegation; none of another tenant's.
    #[must_use]
    pub fn delegation(&self, id: &DelegationId) -> Option<&Delegation> {
        self.own(id.tenant(), id.local()).and_then(|local| self.delegations.get(local)).map(AsRef::as_ref)
    }
    /// An approval, spent or not; none of another tenant's.
    #[must_use]
    pub fn approval(&self, id: &ApprovalId) -> Option<&Approval> {
        self.own(id.tenant(), id.local()).and_then(|local| self.approvals.get(local)).map(AsRef::as_ref)
    }
    /// The journal position of the decision that spent an approval.
    #[must_use]
    pub fn spent_at(&self, id: &ApprovalId) -> Option<u64> {
        self.own(id.tenant(), id.local()).and_then(|local| self.spent.get(local)).copied()
    }
    /// The unspent approvals of a workflow, by id.
    #[must_use]
    pub fn unspent(&self, workflow: &WorkflowId) -> Vec<&Approval> {
        if self.unspent.is_empty() || workflow.tenant() != &self.id {
            return Vec::new();
        }
        let from = (workflow.local().clone(), MIN.clone());
        self.unspent
            .range(from..)
            .take_while(|(of, _)| of == workflow.local())
            .filter_map(|(_, id)| self.approvals.get(id).map(AsRef::as_ref))
            .collect()
    }
    /// A resource.
    #[must_use]
    pub fn resource(&self, at: &ResourceRef) -> Option<&Resource> {
        self.resources.get(at).map(AsRef::as_ref)
    }
    /// What ran through a workflow so far.
    #[must_use]
    pub fn flow(&self, workflow: &WorkflowId) -> Arc<FlowState> {
        static EMPTY: LazyLock<Arc<FlowState>> = LazyLock::new(|| Arc::new(FlowState::EMPTY));
        self.own(workflow.tenant(), workflow.local())
            .and_then(|local| self.flows.get(local))
            .unwrap_or(&EMPTY)
            .clone()
    }
    /// What is counted of permits and their endings.
    #[must_use]
    pub fn tallies(&self) -> &Arc<Tallies> {
        &self.tallies
    }
    /// Whether this tuple is there, by itself: nothing is followed.
    #[must_use]
    pub fn has_tuple(&self, tuple: &Tuple) -> bool {
        self.tuples.contains(tuple)
    }
    /// The tuples of an object, in order of relation and subject.
    #[must_use]
    pub fn tuples_of(&self, object: &ResourceRef) -> Vec<Tuple> {
        self.tuples.of_object(object)
    }
    /// How many tuples there are.
    #[must_use]
    pub fn tuple_count(&self) -> usize {
        self.tuples.len()
    }
    /// All assignments, by person.
    pub fn assignments(&self) -> impl Iterator<Item = &Assignment> {
        self.assignments.values().map(AsRef::as_ref)
    }
    /// All workflows, by id.
    pub fn workflows(&self) -> impl Iterator<Item = &Workflow> {
        self.workflows.values().map(AsRef::as_ref)
    }
    /// All delegations, by id.
    pub fn delegations(&self) -> impl Iterator<Item = &Delegation> {
        self.delegations.values().map(AsRef::as_ref)
    }
    /// All approvals, spent ones too, by id.
    pub fn approvals(&self) -> impl Iterator<Item = &Approval> {
        self.approvals.values().map(AsRef::as_ref)
    }
    /// All resources, by type and id.
    pub fn resources(&self) -> impl Iterator<Item = &Resource> {
        self.resources.values().map(AsRef::as_ref)
    }
    /// All tuples, in order.
    pub fn tuples(&self) -> impl Iterator<Item = Tuple> {
        self.tuples.all().into_iter()
    }
    /// Relations of an object by name, for those who show them.
    pub(crate) fn relations(&self, object: &ResourceRef) -> BTreeMap<Name, Vec<Subject>> {
        self.tuples_of(object).into_iter().fold(BTreeMap::new(), |mut relations, tuple| {
            relations.entry(tuple.relation).or_insert_with(Vec::new).push(tuple.subject);
            relations
        })
    }

    fn own<'a>(&self, tenant: &TenantId, local: &'a Name) -> Option<&'a Name> {
        (*tenant == self.id).then_some(local)
    }
}

/// The least of all names: of one character, the smallest of the alphabet.
#[expect(clippy::expect_used, reason = "a constant; a test holds that it is a name and the least of them")]
pub(crate) static MIN: LazyLock<Name> = LazyLock::new(|| Name::new("-").expect("a name"));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn min_is_the_least_name() {
        for byte in 0..=127_u8 {
            if let Ok(name) = Name::new(&char::from(byte).to_string()) {
                assert!(*MIN <= name, "{name}");
            }
        }
    }
}
