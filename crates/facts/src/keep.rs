//! A world written down as JSON documents and read back: what a state that is kept beside the journal is made of.
//!
//! The nouns' own forms, in the order in which they lean on each other; nothing is checked again as a change would be,
//! since a fold made it. Every field is named, so that a new one doesn't compile until it is kept, too.

use std::sync::Arc;

use imbl::OrdMap;
use placet_core::{Decimal, FlowState, Name, Risky, TallyRow, TenantId, Total, WorkflowState};
use placet_json::{Object, Value, object};

use crate::{
    ChangeError, Consent, ConsentRequest, EnrolmentOffer, OrgFacts, Session, TenantFacts, World, noun,
    read::{Fields, elements, named, text},
    tuple::{parse_tuple, tuple_text},
};

/// Tuples of one document: fewer, longer documents are read faster.
const TUPLES: usize = 256;

impl World {
    /// The world as documents of one member each; a [`Rebuilding`] takes them in the same order.
    pub fn documents(&self) -> impl Iterator<Item = Value> + '_ {
        let (org, tenants) = self.parts();
        organisation(org).chain(tenants.values().flat_map(|facts| tenant(facts)))
    }
}

/// A world that is read back.
#[derive(Debug, Default)]
pub struct Rebuilding {
    org: OrgFacts,
    tenants: OrdMap<TenantId, Arc<TenantFacts>>,
    current: Option<TenantFacts>,
}

impl Rebuilding {
    /// Takes the next document of [`World::documents`]. `false`: it is none of a world's.
    pub fn take(&mut self, document: &Value) -> Result<bool, ChangeError> {
        let one = document.as_object().filter(|object| object.len() == 1);
        let Some((kind, body)) = one.and_then(|object| object.iter().next()) else { return Ok(false) };
        let path = format!("/{kind}");
        match kind {
            "organisation" => self.org.revision = number(body, "revision", &path)?,
            "human" => {
                let human = noun::human(body, &path)?;
                self.org.humans.insert(human.id.clone(), Arc::new(human));
            }
            "agent" => {
                let agent = noun::agent(body, &path)?;
                for print in agent.keys.keys() {
                    self.org.keys.insert(print.clone(), agent.id.clone());
                }
                self.org.agents.insert(agent.id.clone(), Arc::new(agent));
            }
            "record" => crate::directory::take(&mut self.org, body, &path)?,
            "before" => crate::directory::take_before(&mut self.org, body, &path)?,
            "waiver" => crate::waiver::take(&mut self.org, body, &path)?,
            "frozen" => drop(self.org.frozen.insert(noun::freeze(body, &path)?)),
            "risk" => {
                let (of, risk) = crate::risk::read(body, &path, None)?;
                self.org.risks.insert(of, risk);
            }
            "code" => {
                let offer = EnrolmentOffer::read(body, &path)?;
                self.org.codes.insert(offer.code.clone(), Arc::new(offer));
            }
            "session" => {
                let session = Session::read(body, &path)?;
                self.org.sessions.insert(session.id.clone(), Arc::new(session));
            }
            "tenant" => {
                self.close();
                let mut fields = Fields::open(body, &path)?;
                let id = fields.parsed("id", TenantId::new)?;
                self.current = Some(TenantFacts::new(id, number(body, "revision", &path)?));
            }
            _ => {
                let Some(facts) = &mut self.current else { return Ok(false) };
                return read_tenant(facts, kind, body, &path);
            }
        }
        Ok(true)
    }

    /// The world.
    #[must_use]
    pub fn finish(mut self) -> World {
        self.close();
        World::of_parts(self.org, self.tenants)
    }

    fn close(&mut self) {
        if let Some(facts) = self.current.take() {
            self.tenants.insert(facts.id.clone(), Arc::new(facts));
        }
    }
}

fn organisation(org: &OrgFacts) -> impl Iterator<Item = Value> + '_ {
    // Keys are those of the agents.
    let OrgFacts { revision, humans, agents, keys: _, frozen, waivers, directory, risks, codes, sessions } =
        org;
    std::iter::once(one("organisation", object! { "revision" => *revision }))
        .chain(humans.values().map(|human| one("human", noun::human_value(human))))
        .chain(agents.values().map(|agent| one("agent", noun::agent_value(agent))))
        .chain(frozen.iter().map(|what| one("frozen", noun::freeze_value(what))))
        .chain(risks.iter().map(|(of, risk)| one("risk", crate::risk::value(of, *risk))))
        .chain(codes.values().map(|offer| one("code", offer.to_value())))
        .chain(sessions.values().map(|session| one("session", session.to_value())))
        .chain(waivers.values().map(|waiver| one("waiver", crate::waiver::waiver_value(waiver))))
        .chain(crate::directory::kept(directory).map(|(kind, body)| one(kind, body)))
}

fn tenant(facts: &TenantFacts) -> impl Iterator<Item = Value> + '_ {
    // An approval that isn't spent is unspent.
    let TenantFacts {
        id,
        revision,
        assignments,
        workflows,
        delegations,
        asked,
        consents,
        approvals,
        unspent: _,
        spent,
        resources,
        // What of the resources was read.
        observed: _,
        risks: _,
        tuples,
        flows,
        tallies,
        personal,
    } = facts;
    let mut rest = tuples.all().into_iter();
    let tuples = std::iter::from_fn(move || {
        let some: Vec<Value> = rest.by_ref().take(TUPLES).map(|tuple| tuple_text(&tuple).into()).collect();
        if some.is_empty() { None } else { Some(one("tuples", Value::Array(some))) }
    });
    std::iter::once(one("tenant", object! { "id" => id.as_str(), "revision" => *revision }))
        .chain(assignments.values().map(|it| one("assignment", noun::assignment_value(it))))
        .chain(workflows.values().map(|it| {
            let state = match it.state {
                WorkflowState::Open => "open",
                WorkflowState::Closed => "closed",
            };
            one("workflow", with(noun::workflow_value(it), "state", state))
        }))
        .chain(delegations.values().map(|it| {
            let state = match it.state {
                placet_core::DelegationState::Live => "live",
                placet_core::DelegationState::Revoked => "revoked",
            };
            one("delegation", with(noun::delegation_value(it), "state", state))
        }))
        .chain(asked.values().map(|it| one("asked", it.to_value())))
        .chain(consents.values().map(|it| one("consent", it.to_value())))
        .chain(approvals.values().map(|it| one("approval", noun::approval_value(it))))
        .chain(spent.iter().map(|(id, at)| one("spent", object! { "id" => id.as_str(), "at" => *at })))
        .chain(resources.values().map(|it| one("resource", noun::resource_value(it))))
        .chain(facts.risks().map(|(of, risk)| one("workflow_risk", crate::risk::value(&of, risk))))
        .chain(tuples)
        .chain(flows.iter().map(|(workflow, flow)| one("flow", flow_value(workflow, flow))))
        .chain(tallies.rows().map(|row| one("tally", placet_json::to_value(&row).unwrap_or(Value::Null))))
        .chain(personal.documents().map(|it| one("personal", it)))
}

fn read_tenant(facts: &mut TenantFacts, kind: &str, body: &Value, path: &str) -> Result<bool, ChangeError> {
    let id = facts.id.clone();
    match kind {
        "assignment" => {
            let it = noun::assignment(body, path)?;
            facts.assignments.insert(it.human.clone(), Arc::new(it));
        }
        "workflow" => {
            let it = noun::workflow(body, path, &id, true)?;
            facts.workflows.insert(it.id.local().clone(), Arc::new(it));
        }
        "delegation" => {
            let it = noun::delegation(body, path, &id, true)?;
            facts.delegations.insert(it.id.local().clone(), Arc::new(it));
        }
        "approval" => {
            let it = noun::approval(body, path, &id)?;
            facts.unspent.insert((it.workflow.local().clone(), it.id.local().clone()));
            facts.approvals.insert(it.id.local().clone(), Arc::new(it));
        }
        "asked" => {
            let it = ConsentRequest::read(body, path, &id)?;
            facts.asked.insert(it.id.clone(), Arc::new(it));
        }
        "consent" => {
            let it = Consent::read(body, path, &id)?;
            facts.consents.insert(it.given.delegation.local().clone(), Arc::new(it));
        }
        "spent" => {
            let name = Fields::open(body, path)?.name("id")?;
            if let Some(approval) = facts.approvals.get(&name) {
                facts.unspent.remove(&(approval.workflow.local().clone(), name.clone()));
            }
            facts.spent.insert(name, number(body, "at", path)?);
        }
        "resource" => {
            facts.put_resource(noun::resource(body, path)?);
        }
        "workflow_risk" => {
            let (of, risk) = crate::risk::read(body, path, Some(&id))?;
            if let Risky::Workflow(of) = of {
                facts.risks.insert(of.local().clone(), risk);
            }
        }
        "tuples" => {
            for tuple in elements(body, path)? {
                let tuple = parse_tuple(text(tuple, path)?)
                    .map_err(|error| ChangeError::malformed(path, error.to_string(), ""))?;
                facts.tuples.insert(&tuple).ok_or_else(|| {
                    ChangeError::malformed(path, "are more tuples than a tenant can hold", "")
                })?;
            }
        }
        "flow" => {
            let (workflow, flow) = flow(body, path)?;
            facts.flows.insert(workflow, Arc::new(flow));
        }
        "tally" => {
            let row: TallyRow = placet_json::from_value(body)
                .map_err(|error| ChangeError::malformed(path, error.to_string(), ""))?;
            Arc::make_mut(&mut facts.tallies).take(row, &id);
        }
        "personal" => crate::personal::take(&mut facts.personal, body, path)?,
        _ => return Ok(false),
    }
    Ok(true)
}

fn flow_value(workflow: &Name, flow: &FlowState) -> Object {
    let FlowState { labels_at, totals_at, labels, sources, totals } = flow;
    let totals: Object = totals
        .iter()
        .map(|(action, Total { count, amount })| {
            (
                action.as_str().to_owned(),
                Value::from(object! { "count" => *count, "amount" => amount.to_value() }),
            )
        })
        .collect();
    object! {
        "workflow" => workflow.as_str(), "labels_at" => *labels_at, "totals_at" => *totals_at,
        "labels" => noun::names_value(labels), "sources" => noun::names_value(sources), "totals" => totals,
    }
}

fn flow(body: &Value, path: &str) -> Result<(Name, FlowState), ChangeError> {
    let mut fields = Fields::open(body, path)?;
    let total = |value: &Value, path: &str| {
        let amount = match value.get("amount") {
            Some(Value::Number(number)) => Decimal::from_number(number).ok(),
            _ => None,
        };
        let amount = amount.ok_or_else(|| ChangeError::malformed(path, "has no exact amount", ""))?;
        Ok(Total { count: number(value, "count", path)?, amount })
    };
    let state = FlowState {
        labels_at: number(body, "labels_at", path)?,
        totals_at: number(body, "totals_at", path)?,
        labels: fields.names("labels")?,
        sources: fields.names("sources")?,
        totals: named(fields.required("totals")?, path, total)?,
    };
    Ok((fields.name("workflow")?, state))
}

fn number(body: &Value, name: &str, path: &str) -> Result<u64, ChangeError> {
    let number = body.get(name).and_then(Value::as_u64);
    number.ok_or_else(|| ChangeError::malformed(path, format!("has no whole number `{name}`"), ""))
}

fn one(kind: &str, body: impl Into<Value>) -> Value {
    Value::from(object! { kind => body })
}

fn with(mut value: Value, name: &str, member: &str) -> Value {
    if let Some(object) = value.as_object_mut() {
        object.insert(name, member);
    }
    value
}
