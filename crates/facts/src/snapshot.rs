//! What one decision sees: the organisation's facts and one tenant's.

use std::sync::Arc;

use placet_core::{
    Agent, AgentId, Approval, Assignment, CheckError, Decimal, Delegation, DelegationId, FactsView,
    FlowState, Freeze, Freshness, Human, HumanId, Name, RelationModel, Resource, ResourceRef, Revision,
    Risky, Tallies, TenantId, Timestamp, Workflow, WorkflowId,
};
use placet_json::{Object, Value};

use crate::{Expansion, OrgFacts, Subjects, TenantFacts, check, sources::Ages, tuple::subject_text};

/// The organisation's facts and one tenant's, each at one revision. It holds nothing of another tenant.
#[derive(Debug, Clone)]
pub struct Snapshot {
    org: Arc<OrgFacts>,
    tenant: Arc<TenantFacts>,
    ages: Ages,
    /// Whether what is counted is told.
    counted: bool,
    /// Whether risks are told.
    risks: bool,
    /// Which environment this is, where that is known.
    environment: Option<Arc<str>>,
}

impl Snapshot {
    pub(crate) fn new(org: Arc<OrgFacts>, tenant: Arc<TenantFacts>) -> Self {
        Self { org, tenant, ages: Ages::Local, counted: true, risks: true, environment: None }
    }
    pub(crate) fn aged(self, ages: Ages) -> Self {
        Self { ages, ..self }
    }
    /// The same facts with the freshness that a decision of the past found: replay decides by that, not by today's.
    #[must_use]
    pub fn recorded(self, freshness: Freshness) -> Self {
        self.aged(Ages::Recorded(freshness))
    }
    /// The same facts as those saw them who didn't count beyond a workflow: for the replay of their decisions.
    #[must_use]
    pub fn uncounted(self) -> Self {
        Self { counted: false, ..self }
    }
    /// The same facts as those saw them who knew of no risks: for the replay of their decisions.
    #[must_use]
    pub fn without_risks(self) -> Self {
        Self { risks: false, ..self }
    }
    /// The same facts in this environment.
    #[must_use]
    pub fn in_environment(self, environment: Option<Arc<str>>) -> Self {
        Self { environment, ..self }
    }
    /// The organisation's facts.
    #[must_use]
    pub fn organisation(&self) -> &OrgFacts {
        &self.org
    }
    /// The tenant's facts.
    #[must_use]
    pub fn facts(&self) -> &TenantFacts {
        &self.tenant
    }

    /// Who has `relation` on `object`, and by which rewrites. Bounded by [`crate::MAX_BRANCHES`] and
    /// [`crate::MAX_DEPTH`].
    pub fn expand(
        &self,
        model: &RelationModel,
        object: &ResourceRef,
        relation: &Name,
    ) -> Result<Expansion, CheckError> {
        check::expand(&self.tenant, model, object, relation)
    }
    /// The objects of type `kind` on which `subject` has `relation`, in order. Bounded by
    /// [`crate::MAX_STEPS_OF_LIST`] and [`crate::MAX_RESULTS`].
    pub fn objects(
        &self,
        model: &RelationModel,
        kind: &Name,
        relation: &Name,
        subject: &ResourceRef,
    ) -> Result<Vec<ResourceRef>, CheckError> {
        check::objects(&self.tenant, model, kind, relation, subject)
    }
    /// Who of type `kind` has `relation` on `object`. Bounded likewise.
    pub fn subjects(
        &self,
        model: &RelationModel,
        object: &ResourceRef,
        relation: &Name,
        kind: &Name,
    ) -> Result<Subjects, CheckError> {
        check::subjects(&self.tenant, model, object, relation, kind)
    }
}

impl FactsView for Snapshot {
    fn tenant(&self) -> &TenantId {
        self.tenant.id()
    }
    fn revision(&self) -> Revision {
        self.org.revision().max(self.tenant.revision())
    }
    /// As its sources were when the snapshot was taken; facts of a file are as old as the file is, which is never.
    fn freshness(&self, now: Timestamp) -> Freshness {
        self.ages.freshness(now)
    }
    fn human(&self, id: &HumanId) -> Option<&Human> {
        self.org.human(id)
    }
    fn agent(&self, id: &AgentId) -> Option<&Agent> {
        self.org.agent(id)
    }
    fn assignment(&self, human: &HumanId) -> Option<&Assignment> {
        self.tenant.assignment(human)
    }
    fn workflow(&self, id: &WorkflowId) -> Option<&Workflow> {
        self.tenant.workflow(id)
    }
    fn delegation(&self, id: &DelegationId) -> Option<&Delegation> {
        self.tenant.delegation(id)
    }
    fn signed_in(&self, delegation: &DelegationId) -> Option<Value> {
        self.tenant.consent(delegation).map(|consent| consent.given.by.to_value())
    }
    fn approvals(&self, workflow: &WorkflowId) -> Vec<&Approval> {
        self.tenant.unspent(workflow)
    }
    fn resource(&self, at: &ResourceRef) -> Option<&Resource> {
        self.tenant.resource(at)
    }
    fn frozen(&self, what: &Freeze) -> bool {
        self.org.is_frozen(what)
    }
    fn waivers(&self, agent: &AgentId) -> Vec<&placet_core::Waiver> {
        self.org.waivers().filter(|waiver| waiver.agent == *agent).collect()
    }
    fn flow(&self, workflow: &WorkflowId) -> Arc<FlowState> {
        self.tenant.flow(workflow)
    }
    fn tallies(&self) -> Option<Arc<Tallies>> {
        self.counted.then(|| Arc::clone(self.tenant.tallies()))
    }
    fn risk(&self, of: &Risky) -> Option<Decimal> {
        let risk = match of {
            Risky::Agent(_) | Risky::Human(_) => self.org.risk(of),
            Risky::Workflow(id) => Some(self.tenant.risk(id)),
        };
        risk.filter(|_| self.risks)
    }
    fn environment(&self) -> Option<&str> {
        self.environment.as_deref()
    }
    fn check(
        &self,
        model: &RelationModel,
        object: &ResourceRef,
        relation: &Name,
        subject: &ResourceRef,
    ) -> Result<bool, CheckError> {
        check::check(&self.tenant, model, object, relation, subject)
    }
    /// `{"type", "id", "tenant_id", attributes…, "relations": {relation: [subject…]}}`; without attributes where the
    /// resource isn't known, without `relations` where no tuple names it as its object.
    fn slice(&self, at: &ResourceRef) -> Value {
        let mut document = Object::new();
        document.insert("type", at.kind.as_str());
        document.insert("id", at.id.as_str());
        document.insert("tenant_id", self.tenant.id().as_str());
        if let Some(resource) = self.resource(at) {
            for (name, value) in &resource.attributes {
                document.insert(name.as_str(), value.clone());
            }
        }
        let relations: Object = self
            .tenant
            .relations(at)
            .into_iter()
            .map(|(relation, subjects)| {
                (
                    relation.as_str().to_owned(),
                    Value::Array(subjects.iter().map(|s| Value::from(subject_text(s))).collect()),
                )
            })
            .collect();
        if !relations.is_empty() {
            document.insert("relations", relations);
        }
        Value::Object(document)
    }
}
