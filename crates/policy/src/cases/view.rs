//! What a case's calls see: its facts, and what the calls before left behind.

use std::sync::Arc;

use placet_core::{
    Agent, AgentId, Approval, Assignment, CheckError, Decimal, Delegation, DelegationId, EffectClass,
    Envelope, FactsView, FlowState, Freeze, Freshness, Grant, Human, HumanId, Keep, Name, Per, RelationModel,
    Reserved, Resource, ResourceRef, Revision, Risky, Spending, StateMove, Tallies, TenantId, Timestamp,
    Total, Workflow, WorkflowId, WorkflowState,
};
use placet_json::{Value, object};

use super::read::{EnvelopeCase, TotalsCase};

/// A case's facts, with the agent's key where the case names none, and the workflow's flow as it goes on.
pub(super) struct View<'a> {
    facts: &'a dyn FactsView,
    agent: Option<Agent>,
    flow: Arc<FlowState>,
    tallies: Tallies,
    /// The workflow, once a step's effect moved it.
    moved: Option<Workflow>,
    environment: Option<String>,
}

/// The key of an agent whose case names none.
const KEY: &str = "the key of this case";

impl<'a> View<'a> {
    pub(super) fn new(facts: &'a dyn FactsView, envelope: &EnvelopeCase) -> Result<Self, String> {
        let tenant = facts.tenant().clone();
        let id = |text: &str| Name::new(text).map_err(|error| format!("`{text}`: {error}"));
        let agent = facts.agent(&AgentId::from(id(&envelope.agent)?)).cloned().map(|mut agent| {
            if envelope.key.is_none() {
                agent.keys.insert(KEY.to_owned(), Value::Object(object! {}));
            }
            agent
        });
        let flow = facts.flow(&WorkflowId::new(tenant, id(&envelope.workflow)?));
        Ok(Self { facts, agent, flow, tallies: Tallies::default(), moved: None, environment: None })
    }

    /// The same on a server that says that it is this environment.
    pub(super) fn in_environment(self, environment: Option<String>) -> Self {
        Self { environment, ..self }
    }

    pub(super) fn open(&self, envelope: &EnvelopeCase, now: Timestamp) -> Result<Envelope, String> {
        let id = |text: &str| Name::new(text).map_err(|error| format!("`{text}`: {error}"));
        let tenant = self.facts.tenant().clone();
        let grant = Grant {
            human: HumanId::from(id(&envelope.human)?),
            agent: AgentId::from(id(&envelope.agent)?),
            delegation: DelegationId::new(tenant.clone(), id(&envelope.delegation)?),
            workflow: WorkflowId::new(tenant, id(&envelope.workflow)?),
            intent: id(&envelope.intent)?,
            token: "test".to_owned(),
            expires: now.plus_millis(60_000),
            key: envelope.key.clone().unwrap_or_else(|| KEY.to_owned()),
            proof: "test".to_owned(),
        };
        Envelope::open(grant, now).map_err(|error| error.to_string())
    }

    /// What was permitted before: the workflow's, and of the day the person's, the agent's, each tool's, the tenant's.
    pub(super) fn begin_with(
        &mut self,
        totals: &TotalsCase,
        envelope: &Envelope,
        tools: &[&str],
        now: Timestamp,
    ) -> Result<(), String> {
        let mut flow = FlowState::clone(&self.flow);
        for (action, total) in totals.of(Per::Workflow) {
            flow.totals.insert(action.clone(), total.total()?);
        }
        self.flow = Arc::new(flow);
        let grant = envelope.grant();
        for tool in tools {
            let spending = Spending {
                at: now,
                workflow: grant.workflow.clone(),
                human: grant.human.clone(),
                agent: grant.agent.clone(),
                above: Vec::new(),
                entry: Name::new(tool).map_err(|error| format!("`{tool}`: {error}"))?,
                action: grant.intent.clone(),
                amount: None,
                effect: EffectClass::Read,
                same: placet_core::Digest::of(b""),
            };
            for per in Per::DAYS {
                for (action, total) in totals.of(*per) {
                    self.tallies.begin_with(*per, &spending, action.clone(), total.total()?);
                }
            }
        }
        Ok(())
    }

    /// Labels and totals as the journal would write them with the permit, whose call has ended before the next.
    pub(super) fn permitted(
        &mut self,
        position: u64,
        envelope: &Envelope,
        call: &placet_core::Call,
        keep: Keep,
        now: Timestamp,
    ) {
        let mut flow = FlowState::clone(&self.flow);
        flow.totals_at = position;
        if !call.labels.is_empty() {
            flow.sources.insert(call.entry.clone());
            if !call.labels.is_subset(&flow.labels) {
                flow.labels_at = position;
                flow.labels.extend(call.labels.iter().cloned());
            }
        }
        let total = flow.totals.entry(call.action.clone()).or_insert(Total::ZERO);
        *total = total.and(call.amount().unwrap_or(Decimal::ZERO));
        self.flow = Arc::new(flow);
        let chain = placet_core::authority::chain(self.facts, envelope);
        let spending = Spending::of(envelope.grant(), call, &chain, now);
        self.tallies.permitted(position, Reserved { spending, spends: Vec::new() }, keep);
        self.tallies.ended(position, position, false);
        // What its effect does to the workflow, as the journal would write it.
        let workflow = self.workflow(envelope.workflow()).filter(|it| it.state == WorkflowState::Open);
        let moved = workflow.and_then(|workflow| {
            let way = StateMove::from_stage(&call.moves, workflow.stage.as_ref())?;
            let state = if way.closes { WorkflowState::Closed } else { WorkflowState::Open };
            Some(Workflow { stage: Some(way.to.clone()), state, ..workflow.clone() })
        });
        self.moved = moved.or(self.moved.take());
    }
}

impl FactsView for View<'_> {
    fn tenant(&self) -> &TenantId {
        self.facts.tenant()
    }
    fn revision(&self) -> Revision {
        self.facts.revision()
    }
    fn freshness(&self, now: Timestamp) -> Freshness {
        self.facts.freshness(now)
    }
    fn human(&self, id: &HumanId) -> Option<&Human> {
        self.facts.human(id)
    }
    fn agent(&self, id: &AgentId) -> Option<&Agent> {
        self.agent.as_ref().filter(|agent| &agent.id == id).or_else(|| self.facts.agent(id))
    }
    fn assignment(&self, human: &HumanId) -> Option<&Assignment> {
        self.facts.assignment(human)
    }
    fn workflow(&self, id: &WorkflowId) -> Option<&Workflow> {
        self.moved.as_ref().filter(|moved| moved.id == *id).or_else(|| self.facts.workflow(id))
    }
    fn delegation(&self, id: &DelegationId) -> Option<&Delegation> {
        self.facts.delegation(id)
    }
    fn signed_in(&self, delegation: &DelegationId) -> Option<placet_json::Value> {
        self.facts.signed_in(delegation)
    }
    fn waivers(&self, agent: &AgentId) -> Vec<&placet_core::Waiver> {
        self.facts.waivers(agent)
    }
    fn approvals(&self, workflow: &WorkflowId) -> Vec<&Approval> {
        self.facts.approvals(workflow)
    }
    fn resource(&self, at: &ResourceRef) -> Option<&Resource> {
        self.facts.resource(at)
    }
    fn frozen(&self, what: &Freeze) -> bool {
        self.facts.frozen(what)
    }
    fn flow(&self, _workflow: &WorkflowId) -> Arc<FlowState> {
        Arc::clone(&self.flow)
    }
    fn tallies(&self) -> Option<Arc<Tallies>> {
        Some(Arc::new(self.tallies.clone()))
    }
    fn check(
        &self,
        model: &RelationModel,
        object: &ResourceRef,
        relation: &Name,
        subject: &ResourceRef,
    ) -> Result<bool, CheckError> {
        self.facts.check(model, object, relation, subject)
    }
    fn risk(&self, of: &Risky) -> Option<Decimal> {
        self.facts.risk(of)
    }
    fn environment(&self) -> Option<&str> {
        self.environment.as_deref().or_else(|| self.facts.environment())
    }
    fn slice(&self, at: &ResourceRef) -> Value {
        self.facts.slice(at)
    }
}
