//! Newest facts, but with a permit's own reservations given back: what the re-check decides on.

use std::sync::Arc;

use placet_json::Value;

use crate::{
    Agent, AgentId, Approval, Assignment, CheckError, Decimal, Delegation, DelegationId, FactsView,
    FlowState, Flowing, Freeze, Freshness, Human, HumanId, Name, RelationModel, Resource, ResourceRef,
    Revision, Risky, Tallies, TenantId, Timestamp, Workflow, WorkflowId,
};

pub(crate) struct AsReserved<'a> {
    pub(crate) newest: &'a dyn FactsView,
    pub(crate) flow: &'a Flowing,
    pub(crate) spent: &'a [Approval],
}

impl FactsView for AsReserved<'_> {
    fn approvals(&self, workflow: &WorkflowId) -> Vec<&Approval> {
        let own = self.spent.iter().filter(|approval| &approval.workflow == workflow);
        self.newest.approvals(workflow).into_iter().chain(own).collect()
    }
    fn flow(&self, _workflow: &WorkflowId) -> Arc<FlowState> {
        Arc::clone(&self.flow.state)
    }
    fn tallies(&self) -> Option<Arc<Tallies>> {
        self.flow.tallies.clone()
    }
    fn tenant(&self) -> &TenantId {
        self.newest.tenant()
    }
    fn revision(&self) -> Revision {
        self.newest.revision()
    }
    fn freshness(&self, now: Timestamp) -> Freshness {
        self.newest.freshness(now)
    }
    fn human(&self, id: &HumanId) -> Option<&Human> {
        self.newest.human(id)
    }
    fn agent(&self, id: &AgentId) -> Option<&Agent> {
        self.newest.agent(id)
    }
    fn assignment(&self, human: &HumanId) -> Option<&Assignment> {
        self.newest.assignment(human)
    }
    fn workflow(&self, id: &WorkflowId) -> Option<&Workflow> {
        self.newest.workflow(id)
    }
    fn delegation(&self, id: &DelegationId) -> Option<&Delegation> {
        self.newest.delegation(id)
    }
    fn signed_in(&self, delegation: &DelegationId) -> Option<Value> {
        self.newest.signed_in(delegation)
    }
    fn resource(&self, at: &ResourceRef) -> Option<&Resource> {
        self.newest.resource(at)
    }
    fn frozen(&self, what: &Freeze) -> bool {
        self.newest.frozen(what)
    }
    fn waivers(&self, agent: &AgentId) -> Vec<&crate::Waiver> {
        self.newest.waivers(agent)
    }
    fn check(
        &self,
        model: &RelationModel,
        object: &ResourceRef,
        relation: &Name,
        subject: &ResourceRef,
    ) -> Result<bool, CheckError> {
        self.newest.check(model, object, relation, subject)
    }
    fn risk(&self, of: &Risky) -> Option<Decimal> {
        self.newest.risk(of)
    }
    fn environment(&self) -> Option<&str> {
        self.newest.environment()
    }
    fn slice(&self, at: &ResourceRef) -> Value {
        self.newest.slice(at)
    }
}
