//! Risks of agents, people and workflows: set by whoever watches them, read by policy.

use placet_core::{AgentId, Decimal, HumanId, Risky, TenantId, WorkflowId};
use placet_json::{Object, Value};

use crate::{
    Change, ChangeError, OrgFacts, TenantFacts,
    apply::{known_agent, known_human, misplaced, no},
    read::Fields,
};

impl OrgFacts {
    /// Everybody's risk that was set, and isn't 0.
    pub fn risks(&self) -> impl Iterator<Item = (&Risky, Decimal)> {
        self.risks.iter().map(|(of, risk)| (of, *risk))
    }
    /// An agent's or a person's risk; 0 where nobody set one. None of a workflow's.
    #[must_use]
    pub fn risk(&self, of: &Risky) -> Option<Decimal> {
        match of {
            Risky::Agent(_) | Risky::Human(_) => Some(self.risks.get(of).copied().unwrap_or(Decimal::ZERO)),
            Risky::Workflow(_) => None,
        }
    }
}

impl TenantFacts {
    /// A workflow's risk; 0 where nobody set one.
    #[must_use]
    pub fn risk(&self, workflow: &WorkflowId) -> Decimal {
        let own = Some(workflow.local()).filter(|_| workflow.tenant() == self.id());
        own.and_then(|local| self.risks.get(local)).copied().unwrap_or(Decimal::ZERO)
    }
    /// The risks of workflows that were set, and aren't 0.
    pub fn risks(&self) -> impl Iterator<Item = (Risky, Decimal)> + '_ {
        let id =
            |local: &placet_core::Name| Risky::Workflow(WorkflowId::new(self.id().clone(), local.clone()));
        self.risks.iter().map(move |(local, risk)| (id(local), *risk))
    }
}

pub(crate) fn value(of: &Risky, risk: Decimal) -> Value {
    let (kind, id) = match of {
        Risky::Agent(id) => ("agent", id.as_str()),
        Risky::Human(id) => ("human", id.as_str()),
        Risky::Workflow(id) => ("workflow", id.local().as_str()),
    };
    let mut value = Object::new();
    value.insert(kind, id);
    value.insert("risk", risk.to_value());
    Value::Object(value)
}

/// Of the organisation, or of a tenant where one is given.
pub(crate) fn read(
    value: &Value,
    path: &str,
    tenant: Option<&TenantId>,
) -> Result<(Risky, Decimal), ChangeError> {
    let mut fields = Fields::open(value, path)?;
    let of = match tenant {
        Some(tenant) => Risky::Workflow(WorkflowId::new(tenant.clone(), fields.name("workflow")?)),
        None if value.get("agent").is_some() => Risky::Agent(fields.parsed("agent", AgentId::new)?),
        None => Risky::Human(fields.parsed("human", HumanId::new)?),
    };
    let at = fields.at("risk");
    let risk = match fields.required("risk")? {
        Value::Number(number) => Decimal::from_number(number).ok(),
        Value::Null | Value::Bool(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => None,
    };
    let risk = risk.filter(|risk| !risk.is_negative()).ok_or_else(|| {
        ChangeError::malformed(
            &at,
            "is no exact number from 0",
            "write at most 15 digits, 4 of them behind the point",
        )
    })?;
    fields.unexpected()?;
    Ok((of, risk))
}

pub(crate) fn of_organisation(org: &mut OrgFacts, of: &Risky, risk: Decimal) -> Result<(), ChangeError> {
    match of {
        Risky::Agent(id) => drop(known_agent(org, id)?),
        Risky::Human(id) => drop(known_human(org, id)?),
        Risky::Workflow(_) => return Err(misplaced(&Change::RiskSet { of: of.clone(), risk })),
    }
    // What is 0 is as good as never set.
    if risk == Decimal::ZERO {
        org.risks.remove(of);
    } else {
        org.risks.insert(of.clone(), risk);
    }
    Ok(())
}

pub(crate) fn of_tenant(facts: &mut TenantFacts, of: &Risky, risk: Decimal) -> Result<(), ChangeError> {
    let Risky::Workflow(id) = of else {
        return Err(misplaced(&Change::RiskSet { of: of.clone(), risk }));
    };
    if facts.workflow(id).is_none() {
        return Err(no("workflow", id, "open it first"));
    }
    if risk == Decimal::ZERO {
        facts.risks.remove(id.local());
    } else {
        facts.risks.insert(id.local().clone(), risk);
    }
    Ok(())
}
