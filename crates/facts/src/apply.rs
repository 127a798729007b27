//! What a change demands of the facts it meets, and what it makes of them.

use std::sync::Arc;

use imbl::OrdMap;
use placet_core::{
    Agent, AgentId, Approval, Delegation, DelegationState, Freeze, Grantor, Human, HumanId, Known, MAX_CHAIN,
    RelationModel, Resource, Scope, Standing, TenantId, Workflow, WorkflowState,
};

use crate::{Change, ChangeError, Kind, OrgFacts, TenantFacts, Transaction, allowed, directory, moves, noun};

/// The organisation's own tree in the ledger: a tenant of this name would write into it.
const RESERVED: &str = "organisation";

pub(crate) type Applied = Result<(), ChangeError>;

/// Revisions only grow: a log is applied in its order.
pub(crate) fn later(last: u64, revision: u64) -> Applied {
    if revision > last {
        return Ok(());
    }
    Err(ChangeError::conflict(
        format!("revision {revision} doesn't follow {last}"),
        "apply the log in its order, each entry once",
    ))
}

/// The tenants that a transaction's people call home.
pub(crate) fn homes(transaction: &Transaction) -> impl Iterator<Item = &TenantId> {
    transaction
        .changes
        .iter()
        .filter_map(|change| if let Change::HumanSet(human) = change { Some(&human.home) } else { None })
}
/// The tenants that a transaction creates.
pub(crate) fn created(transaction: &Transaction) -> impl Iterator<Item = &TenantId> {
    transaction
        .changes
        .iter()
        .filter_map(|change| if let Change::TenantCreated(id) = change { Some(id) } else { None })
}

pub(crate) fn organisation(
    org: &mut OrgFacts,
    tenants: &mut OrdMap<TenantId, Arc<TenantFacts>>,
    revision: u64,
    change: &Change,
) -> Applied {
    match change {
        Change::TenantCreated(id) => {
            if id.as_str() == RESERVED {
                return Err(ChangeError::malformed(
                    "/id",
                    format!("`{RESERVED}` is the organisation's own name in the ledger"),
                    "choose another",
                ));
            }
            if tenants.contains_key(id) {
                return Err(taken("tenant", id));
            }
            tenants.insert(id.clone(), Arc::new(TenantFacts::new(id.clone(), revision)));
        }
        Change::HumanSet(human) => {
            if !tenants.contains_key(&human.home) {
                return Err(no("tenant", &human.home, "create it first"));
            }
            org.humans.insert(human.id.clone(), Arc::new(human.clone()));
        }
        Change::HumanStanding { human, standing } => {
            let known = known_human(org, human)?.clone();
            org.humans.insert(human.clone(), Arc::new(Human { standing: *standing, ..known }));
        }
        Change::HumanEnded { human, ending } => crate::ending::end(org, tenants, revision, human, *ending)?,
        Change::HumanReturned(human) => directory::give_back(org, human)?,
        Change::DirectorySet(record) => directory::set(org, record)?,
        Change::DirectoryRemoved { feed, kind, id } => directory::remove(org, feed, *kind, id)?,
        Change::AgentEnrolled(agent) => {
            if org.agents.contains_key(&agent.id) {
                return Err(taken("agent", &agent.id));
            }
            set_agent(org, agent)?;
        }
        Change::AgentSet(agent) => {
            known_agent(org, &agent.id)?;
            set_agent(org, agent)?;
        }
        Change::AgentStanding { agent, standing } => {
            let known = known_agent(org, agent)?.clone();
            org.agents.insert(agent.clone(), Arc::new(Agent { standing: *standing, ..known }));
        }
        Change::AgentKeyAdded { agent, thumbprint, key } => {
            let mut known = known_agent(org, agent)?.clone();
            known.keys.insert(thumbprint.clone(), key.clone());
            set_agent(org, &known)?;
        }
        Change::AgentKeyRemoved { agent, thumbprint } => {
            let mut known = known_agent(org, agent)?.clone();
            if known.keys.remove(thumbprint).is_none() {
                return Err(no("key of this agent", thumbprint, "list the agent's keys"));
            }
            set_agent(org, &known)?;
        }
        Change::EnrolmentOffered(offer) => crate::enrolment::offer(org, offer)?,
        Change::EnrolmentTaken { code, agent } => crate::enrolment::take(org, code, agent)?,
        Change::Session(change) => change.apply(org)?,
        Change::RiskSet { of, risk } => crate::risk::of_organisation(org, of, *risk)?,
        Change::Frozen(what) => {
            // Tools and upstreams belong to releases: a stop on one that no release knows yet is a stop all the same.
            match what {
                Freeze::All | Freeze::Tool(_) | Freeze::Upstream(_) => {}
                Freeze::Tenant(id) if tenants.contains_key(id) => {}
                Freeze::Tenant(id) => return Err(no("tenant", id, "list the tenants")),
                Freeze::Agent(id) => known_agent(org, id).map(drop)?,
            }
            org.frozen.insert(what.clone());
        }
        Change::Unfrozen(what) => {
            if org.frozen.remove(what).is_none() {
                return Err(ChangeError::unknown("this isn't frozen", "list what is"));
            }
        }
        // Waivers are applied by themselves, in their people's names.
        Change::WaiverAsked(_)
        | Change::WaiverConfirmed { .. }
        | Change::WaiverEnded(_)
        | Change::AssignmentSet(_)
        | Change::AssignmentRemoved(_)
        | Change::WorkflowOpened(_)
        | Change::WorkflowMoved(_)
        | Change::WorkflowClosed(_)
        | Change::DelegationGranted(_)
        | Change::DelegationRevoked(_)
        | Change::Consent(_)
        | Change::ApprovalGiven(_)
        | Change::ApprovalWithdrawn(_)
        | Change::ResourceSet(_)
        | Change::ResourceRemoved(_)
        | Change::TupleAdded(_)
        | Change::TupleRemoved(_) => return Err(misplaced(change)),
    }
    Ok(())
}

pub(crate) fn tenant(
    facts: &mut TenantFacts,
    org: &OrgFacts,
    change: &Change,
    model: Option<&RelationModel>,
) -> Applied {
    match change {
        Change::AssignmentSet(assignment) => {
            known_human(org, &assignment.human)?;
            facts.assignments.insert(assignment.human.clone(), Arc::new(assignment.clone()));
        }
        Change::AssignmentRemoved(human) => {
            facts
                .assignments
                .remove(human)
                .ok_or_else(|| no("assignment of", human, "list the assignments"))?;
        }
        Change::WorkflowOpened(workflow) => open(facts, org, workflow)?,
        Change::WorkflowMoved(moved) => moved.apply(facts)?,
        Change::WorkflowClosed(id) => {
            let workflow =
                facts.workflow(id).ok_or_else(|| no("workflow", id, "list the workflows"))?.clone();
            facts
                .workflows
                .insert(id.local().clone(), Arc::new(Workflow { state: WorkflowState::Closed, ..workflow }));
        }
        Change::DelegationGranted(delegation) => {
            grantable(facts, org, delegation)?;
            facts.delegations.insert(delegation.id.local().clone(), Arc::new(delegation.clone()));
        }
        Change::DelegationRevoked(id) => {
            let delegation =
                facts.delegation(id).ok_or_else(|| no("delegation", id, "list the delegations"))?.clone();
            facts.delegations.insert(
                id.local().clone(),
                Arc::new(Delegation { state: DelegationState::Revoked, ..delegation }),
            );
        }
        Change::Consent(change) => change.apply(facts)?,
        Change::ApprovalGiven(approval) => {
            givable(facts, org, approval)?;
            facts.approvals.insert(approval.id.local().clone(), Arc::new(approval.clone()));
            facts.unspent.insert((approval.workflow.local().clone(), approval.id.local().clone()));
        }
        Change::ApprovalWithdrawn(id) => {
            let approval = facts.approval(id).ok_or_else(|| no("approval", id, "list the approvals"))?;
            let row = (approval.workflow.local().clone(), id.local().clone());
            if facts.unspent.remove(&row).is_none() {
                return Err(ChangeError::conflict(
                    format!("the approval `{id}` is spent"),
                    "it can't be taken back any more",
                ));
            }
            facts.approvals.remove(id.local());
        }
        Change::ResourceSet(resource) => {
            noun::resource_is_plain(resource)?;
            observable(facts, resource)?;
            facts.set_resource(resource.clone());
        }
        Change::ResourceRemoved(at) => {
            facts.remove_resource(at).ok_or_else(|| no("resource", at, "list the resources"))?;
            // What comes under the same name later must not inherit who could do what.
            for tuple in &facts.tuples_of(at) {
                facts.tuples.remove(tuple);
            }
        }
        Change::TupleAdded(tuple) => {
            tuple.well_formed().map_err(|error| ChangeError::malformed("", error.to_string(), ""))?;
            model.map_or(Ok(()), |model| allowed(model, tuple))?;
            facts
                .tuples
                .insert(tuple)
                .ok_or_else(|| ChangeError::conflict("no more names can be kept", "remove tuples first"))?;
        }
        Change::RiskSet { of, risk } => crate::risk::of_tenant(facts, of, *risk)?,
        Change::TupleRemoved(tuple) => {
            if !facts.tuples.remove(tuple) {
                return Err(no("tuple", tuple, "list the tuples of the object"));
            }
        }
        Change::TenantCreated(_)
        | Change::HumanSet(_)
        | Change::HumanStanding { .. }
        | Change::AgentEnrolled(_)
        | Change::AgentSet(_)
        | Change::AgentStanding { .. }
        | Change::AgentKeyAdded { .. }
        | Change::AgentKeyRemoved { .. }
        | Change::HumanEnded { .. }
        | Change::HumanReturned(_)
        | Change::DirectorySet(_)
        | Change::DirectoryRemoved { .. }
        | Change::EnrolmentOffered(_)
        | Change::EnrolmentTaken { .. }
        | Change::Session(_)
        | Change::Frozen(_)
        | Change::Unfrozen(_)
        | Change::WaiverAsked(_)
        | Change::WaiverConfirmed { .. }
        | Change::WaiverEnded(_) => return Err(misplaced(change)),
    }
    Ok(())
}

fn set_agent(org: &mut OrgFacts, agent: &Agent) -> Applied {
    known_human(org, &agent.owner)?;
    agent.keys.keys().try_for_each(|print| free_key(org, &agent.id, print))?;
    let former = org.agents.insert(agent.id.clone(), Arc::new(agent.clone()));
    for print in former.iter().flat_map(|former| former.keys.keys()) {
        org.keys.remove(print);
    }
    for print in agent.keys.keys() {
        org.keys.insert(print.clone(), agent.id.clone());
    }
    Ok(())
}

/// One key speaks for one agent: a proof by a shared key wouldn't say whose it is.
fn free_key(org: &OrgFacts, agent: &AgentId, thumbprint: &str) -> Applied {
    match org.keys.get(thumbprint) {
        Some(other) if other != agent => Err(key_taken(thumbprint)),
        _ => Ok(()),
    }
}
fn key_taken(thumbprint: &str) -> ChangeError {
    ChangeError::conflict(format!("the key `{thumbprint}` is another agent's"), "make a key for each agent")
}

fn open(facts: &mut TenantFacts, org: &OrgFacts, workflow: &Workflow) -> Applied {
    own(facts, workflow.id.tenant())?;
    if facts.workflows.contains_key(workflow.id.local()) {
        return Err(taken("workflow", &workflow.id));
    }
    if workflow.state != WorkflowState::Open {
        return Err(ChangeError::malformed("/state", "is closed", "open it, then close it"));
    }
    known_human(org, &workflow.owner)?;
    noun::workflow_is_plain(workflow)?;
    facts.workflows.insert(workflow.id.local().clone(), Arc::new(workflow.clone()));
    Ok(())
}

fn grantable(facts: &TenantFacts, org: &OrgFacts, delegation: &Delegation) -> Applied {
    own(facts, delegation.id.tenant())?;
    if facts.delegations.contains_key(delegation.id.local()) {
        return Err(taken("delegation", &delegation.id));
    }
    if delegation.state != DelegationState::Live {
        return Err(ChangeError::malformed("/state", "is revoked", "grant it, then revoke it"));
    }
    active_human(org, &delegation.human)?;
    known_agent(org, &delegation.agent)?;
    open_workflow(facts, &delegation.workflow)?;
    match &delegation.grantor {
        Grantor::Human => Ok(()),
        Grantor::Parent(_) => below(facts, delegation),
    }
}

/// A delegation below others: the same person, the same workflow, everything live up to the root, within every scope
/// above it, no agent twice, and no more than [`MAX_CHAIN`] of them.
fn below(facts: &TenantFacts, child: &Delegation) -> Applied {
    let wider =
        |message: String| ChangeError::new(Kind::Widening, message, "ask for less, or ask the person");
    let mut scope: &Scope = &child.scope;
    let mut grantor = &child.grantor;
    let mut length = 1_usize;
    while let Grantor::Parent(id) = grantor {
        own(facts, id.tenant())?;
        let parent = facts
            .delegation(id)
            .ok_or_else(|| no("delegation", id, "name the delegation that this one hangs below"))?;
        length = length.saturating_add(1);
        if length > MAX_CHAIN {
            return Err(wider(format!("the chain would be longer than {MAX_CHAIN} agents")));
        }
        if parent.state != DelegationState::Live {
            return Err(ChangeError::conflict(
                format!("the delegation `{id}` was revoked"),
                "ask the person for a new one",
            ));
        }
        if parent.human != child.human {
            return Err(wider(format!("the delegation `{id}` is in the name of another person")));
        }
        if parent.workflow != child.workflow {
            return Err(wider(format!("the delegation `{id}` is of another workflow")));
        }
        if parent.agent == child.agent {
            return Err(ChangeError::conflict(
                format!("the agent `{}` stands in this chain already", child.agent),
                "a chain names each agent once",
            ));
        }
        parent.scope.narrow(scope.clone()).map_err(|widening| wider(widening.to_string()).under("/scope"))?;
        scope = &parent.scope;
        grantor = &parent.grantor;
    }
    Ok(())
}

fn givable(facts: &TenantFacts, org: &OrgFacts, approval: &Approval) -> Applied {
    own(facts, approval.id.tenant())?;
    if facts.approvals.contains_key(approval.id.local()) {
        return Err(taken("approval", &approval.id));
    }
    let workflow = open_workflow(facts, &approval.workflow)?;
    // Both stand in `input.workflow`: an attribute must not look like an approval.
    if workflow.attributes.contains_key(&approval.name) {
        return Err(ChangeError::conflict(
            format!("the workflow has an attribute `{}`", approval.name),
            "name one of them otherwise",
        ));
    }
    active_human(org, &approval.approver)?;
    moves::follows(facts, approval)?;
    let assigned = facts
        .assignment(&approval.approver)
        .is_some_and(|assignment| assignment.roles.contains(&approval.role));
    if !assigned {
        return Err(ChangeError::new(
            Kind::Widening,
            format!("`{}` doesn't have the role `{}` here", approval.approver, approval.role),
            "ask somebody who has",
        ));
    }
    Ok(())
}

/// What was told stays until somebody tells otherwise: a reading doesn't replace it, nor does an older one a newer.
fn observable(facts: &TenantFacts, resource: &Resource) -> Applied {
    let Known::Observed { at, .. } = &resource.known else { return Ok(()) };
    match facts.resource(&resource.at).map(|known| &known.known) {
        None => Ok(()),
        Some(Known::Observed { at: before, .. }) if before <= at => Ok(()),
        Some(Known::Observed { .. }) => {
            Err(ChangeError::conflict("a later reading of it is known", "read it again"))
        }
        Some(Known::Told) => Err(ChangeError::conflict(
            format!("`{}` is kept by whoever told it", resource.at),
            "remove it first to have it looked up",
        )),
    }
}

fn own(facts: &TenantFacts, tenant: &TenantId) -> Applied {
    if *tenant == facts.id {
        return Ok(());
    }
    Err(ChangeError::malformed(
        "/id",
        format!("belongs to another tenant than `{}`", facts.id),
        "send it to its own tenant",
    ))
}
pub(crate) fn open_workflow<'f>(
    facts: &'f TenantFacts,
    id: &placet_core::WorkflowId,
) -> Result<&'f Workflow, ChangeError> {
    let workflow = facts.workflow(id).ok_or_else(|| no("workflow", id, "open it first"))?;
    if workflow.state != WorkflowState::Open {
        return Err(ChangeError::conflict(format!("the workflow `{id}` is closed"), "open another"));
    }
    Ok(workflow)
}
pub(crate) fn known_human<'o>(org: &'o OrgFacts, id: &HumanId) -> Result<&'o Human, ChangeError> {
    org.human(id).ok_or_else(|| no("person", id, "add them to the organisation first"))
}
fn active_human<'o>(org: &'o OrgFacts, id: &HumanId) -> Result<&'o Human, ChangeError> {
    let human = known_human(org, id)?;
    if human.standing != Standing::Active {
        return Err(ChangeError::conflict(
            format!("`{id}` is {}", human.standing.as_str()),
            "ask somebody who may act",
        ));
    }
    Ok(human)
}
pub(crate) fn known_agent<'o>(org: &'o OrgFacts, id: &AgentId) -> Result<&'o Agent, ChangeError> {
    org.agent(id).ok_or_else(|| no("agent", id, "enrol it first"))
}
pub(crate) fn no(what: &str, id: impl std::fmt::Display, remedy: &str) -> ChangeError {
    ChangeError::unknown(format!("there is no {what} `{id}`"), remedy)
}
fn taken(what: &str, id: impl std::fmt::Display) -> ChangeError {
    ChangeError::conflict(format!("there is a {what} `{id}` already"), "choose another id")
}
pub(crate) fn misplaced(change: &Change) -> ChangeError {
    let place = if change.is_of_tenant() { "a tenant's" } else { "the organisation's" };
    ChangeError::malformed("", format!("`{}` is {place} change", change.kind()), "send it there")
}
