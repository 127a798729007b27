//! Facts as people write them: one file for one tenant, for `placet facts apply`, `placet decide --facts` and tests.
//!
//! ```json
//! { "tenant": "acme",
//!   "tenants": ["acme"],
//!   "humans": [{"id": "maya", "standing": "active", "home": "acme"}],
//!   "agents": [{"id": "agent-7", "type": "support_agent", "owner": "maya", "standing": "active"}],
//!   "frozen": [{"tool": "billing.refund"}],
//!   "assignments": [{"human": "maya", "roles": ["support"], "until": "ended"}],
//!   "workflows": [{"id": "wf-9", "type": "support_case", "owner": "maya", "intents": ["support_case_resolution"],
//!                  "ends": "2026-03-01T12:00:00Z", "bindings": {"support_case": "CASE-1837"}}],
//!   "delegations": [{"id": "dg-1", "human": "maya", "agent": "agent-7", "workflow": "wf-9", "grantor": "human",
//!                    "scope": {"actions": ["issue_refund"], "intents": ["support_case_resolution"],
//!                              "limits": {"amount": 100}, "ends": "2026-03-01T12:00:00Z", "depth": 0}}],
//!   "resources": [{"type": "support_case", "id": "CASE-1837", "attributes": {"customer_id": "C-1"}}],
//!   "tuples": ["support_case:CASE-1837#assignee@user:maya"],
//!   "approvals": [],
//!   "changes": [{"workflow_closed": {"id": "wf-9"}}],
//!   "why": "the fixture of our tests" }
//! ```
//! Every member but `tenant` may be left out, and `tenant` too where nothing is a tenant's. `changes` are applied
//! last, in their order, each to the place that it belongs to. A workflow may have `"state": "closed"` and a
//! delegation `"state": "revoked"`.

use placet_core::{DelegationState, Name, TenantId, WorkflowState};
use placet_json::Value;

use crate::{
    Change, ChangeError, Place, Transaction, noun, parse_tuple,
    read::{Fields, elements, text},
};

/// The transactions of a facts file: the organisation's, then the tenant's, where they have changes. A caller who
/// knows the author, the way and an idempotency key sets them.
pub fn parse_file(file: &Value) -> Result<Vec<Transaction>, ChangeError> {
    let mut fields = Fields::open(file, "")?;
    let mut organisation = Vec::new();
    list(
        &mut fields,
        "tenants",
        |value, path| {
            text(value, path)
                .and_then(|id| TenantId::new(id).map_err(|e| ChangeError::malformed(path, e.to_string(), "")))
        },
        |id| {
            organisation.push(Change::TenantCreated(id));
        },
    )?;
    list(&mut fields, "humans", noun::human, |human| organisation.push(Change::HumanSet(human)))?;
    list(&mut fields, "agents", noun::agent, |agent| organisation.push(Change::AgentEnrolled(agent)))?;
    list(&mut fields, "frozen", noun::freeze, |what| organisation.push(Change::Frozen(what)))?;

    let tenant = if fields.optional("tenant").is_some() {
        Some(fields.parsed("tenant", TenantId::new)?)
    } else {
        None
    };
    let mut changes = Vec::new();
    if let Some(tenant) = &tenant {
        tenants_own(&mut fields, tenant, &mut changes)?;
    }
    raw(&mut fields, tenant.as_ref(), &mut organisation, &mut changes)?;
    let why = if fields.optional("why").is_some() { fields.text("why")?.to_owned() } else { String::new() };
    fields.unexpected().map_err(|error| match tenant {
        None => ChangeError { remedy: format!("{}; a tenant's facts need `tenant`", error.remedy), ..error },
        Some(_) => error,
    })?;

    let (author, source) = (name("local")?, name("file")?);
    let transaction = |place, changes| Transaction {
        place,
        changes,
        author: author.clone(),
        source: source.clone(),
        why: why.clone(),
        idempotency_key: None,
    };
    let mut transactions = Vec::with_capacity(2);
    if !organisation.is_empty() {
        transactions.push(transaction(Place::Organisation, organisation));
    }
    if let Some(tenant) = tenant.filter(|_| !changes.is_empty()) {
        transactions.push(transaction(Place::Tenant(tenant), changes));
    }
    Ok(transactions)
}

/// The tenant that a facts file is about.
pub fn tenant_of(file: &Value) -> Result<Option<TenantId>, ChangeError> {
    let mut fields = Fields::open(file, "")?;
    if fields.optional("tenant").is_none() {
        return Ok(None);
    }
    fields.parsed("tenant", TenantId::new).map(Some)
}

fn tenants_own(
    fields: &mut Fields<'_>,
    tenant: &TenantId,
    changes: &mut Vec<Change>,
) -> Result<(), ChangeError> {
    // Approvals and delegations need an open workflow and stand by live delegations: what is over ends last.
    let mut over = Vec::new();
    list(fields, "assignments", noun::assignment, |assignment| {
        changes.push(Change::AssignmentSet(assignment));
    })?;
    list(
        fields,
        "workflows",
        |value, path| noun::workflow(value, path, tenant, true),
        |mut workflow| {
            if workflow.state == WorkflowState::Closed {
                workflow.state = WorkflowState::Open;
                over.push(Change::WorkflowClosed(workflow.id.clone()));
            }
            changes.push(Change::WorkflowOpened(workflow));
        },
    )?;
    list(
        fields,
        "delegations",
        |value, path| noun::delegation(value, path, tenant, true),
        |mut delegation| {
            if delegation.state == DelegationState::Revoked {
                delegation.state = DelegationState::Live;
                over.push(Change::DelegationRevoked(delegation.id.clone()));
            }
            changes.push(Change::DelegationGranted(delegation));
        },
    )?;
    list(fields, "resources", noun::resource, |resource| changes.push(Change::ResourceSet(resource)))?;
    list(
        fields,
        "tuples",
        |value, path| {
            text(value, path).and_then(|tuple| {
                parse_tuple(tuple).map_err(|error| ChangeError::malformed(path, error.to_string(), ""))
            })
        },
        |tuple| changes.push(Change::TupleAdded(tuple)),
    )?;
    list(
        fields,
        "approvals",
        |value, path| noun::approval(value, path, tenant),
        |approval| changes.push(Change::ApprovalGiven(approval)),
    )?;
    changes.append(&mut over);
    Ok(())
}

fn raw(
    fields: &mut Fields<'_>,
    tenant: Option<&TenantId>,
    organisation: &mut Vec<Change>,
    own: &mut Vec<Change>,
) -> Result<(), ChangeError> {
    let place = tenant.cloned().map(Place::Tenant);
    let read = |value: &Value, path: &str| {
        // Each kind of change belongs to one place, so at most one of the two readings can succeed.
        match (Change::from_value(value, &Place::Organisation), &place) {
            (Ok(change), _) => Ok(change),
            (Err(error), None) => Err(error.under(path)),
            (Err(error), Some(place)) => Change::from_value(value, place)
                .map_err(|other| if error.path.is_empty() { other } else { error }.under(path)),
        }
    };
    list(fields, "changes", read, |change| {
        if change.is_of_tenant() { own.push(change) } else { organisation.push(change) }
    })
}

fn list<'v, T>(
    fields: &mut Fields<'v>,
    member: &'v str,
    read: impl Fn(&Value, &str) -> Result<T, ChangeError>,
    mut put: impl FnMut(T),
) -> Result<(), ChangeError> {
    let Some(value) = fields.optional(member) else { return Ok(()) };
    let path = fields.at(member);
    elements(value, &path)?.iter().enumerate().try_for_each(|(i, element)| {
        put(read(element, &format!("{path}/{i}"))?);
        Ok(())
    })
}

fn name(text: &str) -> Result<Name, ChangeError> {
    Name::new(text).map_err(|error| ChangeError::malformed("", error.to_string(), ""))
}
