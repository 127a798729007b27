//! The catalog from outside: what is read, what becomes a call, what may come back.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that can't go on has failed"
)]

mod arguments;
mod bindings;
mod files;
mod lookups;
mod operations;
mod results;

use std::{collections::BTreeMap, sync::Arc};

use placet_catalog::{Catalog, Entry, Refused, classify};
use placet_core::{
    Agent, AgentId, Approval, Assignment, Call, CheckError, DecisionId, Delegation, DelegationId, Digest,
    Envelope, FactsView, FlowState, Freeze, Freshness, Grant, Human, HumanId, Known, Name, RelationModel,
    Resource, ResourceRef, Revision, TenantId, Timestamp, Workflow, WorkflowId, WorkflowState,
};
use placet_json::{Limits, Value, parse};

pub(crate) const SUPPORT: &str = r#"
[tool."billing.refund"]
action = "issue_refund"
effect = "destructive"
resource = { type = "support_case", id = "$args.case_id" }
credential = "vault:billing"
accepts = ["sha256:0000000000000000000000000000000000000000000000000000000000000000"]
[tool."billing.refund".args]
case_id = { type = "id", pattern = "CASE-[0-9]+" }
amount = { type = "decimal", min = "0.01", max = "100", scale = 2, attribute = "amount" }
note = { type = "text", max_length = 10, required = false }
customer = { bind = "$resource.customer_id" }
tenant = { bind = "$tenant" }
currency = { const = "EUR" }

[tool."crm.search"]
action = "search_cases"
effect = "read"
resource = { type = "support_case", id = "$workflow.binding.support_case" }
credential = "call-token"
[tool."crm.search".args]
query = { type = "text" }
tenant_id = { bind = "$tenant" }
[tool."crm.search".result]
labels = ["customer_pii"]
fields = { "$.cases[*].iban" = ["bank_account"] }
guard = { items = "$.cases[*]", tenant = "$.tenant_id" }
"#;

pub(crate) fn catalog(text: &str) -> Catalog {
    Catalog::parse(&[("catalog/t.toml".to_owned(), text.to_owned())])
        .unwrap_or_else(|problems| panic!("{problems:#?}"))
}
pub(crate) fn entry(name: &str) -> Arc<Entry> {
    catalog(SUPPORT).entry(name).unwrap().clone()
}
pub(crate) fn json(text: &str) -> Value {
    parse(text.as_bytes(), &Limits::RESULT).unwrap_or_else(|error| panic!("{error} in {text}"))
}
pub(crate) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}
pub(crate) fn tenant(text: &str) -> TenantId {
    TenantId::new(text).unwrap()
}

pub(crate) fn envelope(of: &str) -> Envelope {
    let grant = Grant {
        human: HumanId::new("maya").unwrap(),
        agent: AgentId::new("agent-7").unwrap(),
        delegation: DelegationId::new(tenant(of), name("dg-1")),
        workflow: WorkflowId::new(tenant(of), name("wf-9")),
        intent: name("support_case_resolution"),
        token: "t".into(),
        expires: Timestamp::from_secs(1000),
        key: "k".into(),
        proof: "p".into(),
    };
    Envelope::open(grant, Timestamp::from_secs(0)).unwrap()
}

pub(crate) fn refund(arguments: &str) -> Result<Call, Box<Refused>> {
    call(&entry("billing.refund"), arguments, &Facts::acme())
}
pub(crate) fn call(entry: &Entry, arguments: &str, facts: &Facts) -> Result<Call, Box<Refused>> {
    classify(
        entry,
        &envelope("acme"),
        facts,
        Digest::of(b"release"),
        DecisionId::new("dc_1").unwrap(),
        &json(arguments),
    )
}

/// The facts that a catalog reads: one workflow, some resources.
#[derive(Clone)]
pub(crate) struct Facts {
    pub(crate) tenant: TenantId,
    pub(crate) workflow: Workflow,
    pub(crate) resources: BTreeMap<ResourceRef, Resource>,
}

impl Facts {
    pub(crate) fn acme() -> Self {
        let workflow = Workflow {
            id: WorkflowId::new(tenant("acme"), name("wf-9")),
            kind: name("support_case"),
            state: WorkflowState::Open,
            stage: None,
            opened: None,
            owner: HumanId::new("maya").unwrap(),
            intents: [name("support_case_resolution")].into(),
            ends: Timestamp::from_secs(1000),
            bindings: [(name("support_case"), name("CASE-1837"))].into(),
            attributes: [(name("case_id"), Value::from("CASE-1837")), (name("region"), json(r#"["eu"]"#))]
                .into(),
        };
        Self { tenant: tenant("acme"), workflow, resources: BTreeMap::new() }
            .with("CASE-1837", r#"{"customer_id":"cust-101","limit":12.5}"#)
            .with("CASE-2", "{}")
    }
    pub(crate) fn with(mut self, id: &str, attributes: &str) -> Self {
        let at = ResourceRef { kind: name("support_case"), id: name(id) };
        let attributes =
            json(attributes).as_object().unwrap().iter().map(|(n, v)| (name(n), v.clone())).collect();
        self.resources.insert(at.clone(), Resource { at, attributes, known: Known::Told });
        self
    }
}

impl FactsView for Facts {
    fn tenant(&self) -> &TenantId {
        &self.tenant
    }
    fn revision(&self) -> Revision {
        Revision(1)
    }
    fn freshness(&self, _: Timestamp) -> Freshness {
        Freshness::Fresh(0)
    }
    fn human(&self, _: &HumanId) -> Option<&Human> {
        None
    }
    fn agent(&self, _: &AgentId) -> Option<&Agent> {
        None
    }
    fn assignment(&self, _: &HumanId) -> Option<&Assignment> {
        None
    }
    fn workflow(&self, id: &WorkflowId) -> Option<&Workflow> {
        (*id == self.workflow.id).then_some(&self.workflow)
    }
    fn delegation(&self, _: &DelegationId) -> Option<&Delegation> {
        None
    }
    fn approvals(&self, _: &WorkflowId) -> Vec<&Approval> {
        Vec::new()
    }
    fn resource(&self, at: &ResourceRef) -> Option<&Resource> {
        self.resources.get(at)
    }
    fn frozen(&self, _: &Freeze) -> bool {
        false
    }
    fn flow(&self, _: &WorkflowId) -> Arc<FlowState> {
        Arc::new(FlowState::EMPTY)
    }
    fn check(
        &self,
        _: &RelationModel,
        _: &ResourceRef,
        _: &Name,
        _: &ResourceRef,
    ) -> Result<bool, CheckError> {
        Ok(false)
    }
    fn slice(&self, _: &ResourceRef) -> Value {
        Value::Null
    }
}
