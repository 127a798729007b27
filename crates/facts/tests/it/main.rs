//! The crate from outside: what changes demand, what snapshots show, what a check finds.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::arithmetic_side_effects,
    reason = "a test that can't go on has failed"
)]

mod chains;
mod changes;
// `cfg(test)` says to clippy that the helpers are tests too.
#[cfg(test)]
mod differential;
mod duties;
mod journal;
mod moves;
mod observed;
mod people;
mod relations;
mod tenants;

use placet_core::{HumanId, Name, TenantId};
use placet_facts::{Change, ChangeError, Place, Transaction, World};
use placet_json::{Limits, Value, parse};

pub(crate) fn json(text: &str) -> Value {
    parse(text.as_bytes(), &Limits::RESULT).unwrap_or_else(|error| panic!("{error} in {text}"))
}
pub(crate) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}
pub(crate) fn tenant(text: &str) -> TenantId {
    TenantId::new(text).unwrap()
}
pub(crate) fn human(text: &str) -> HumanId {
    HumanId::new(text).unwrap()
}
pub(crate) fn of(place: Place, changes: Vec<Change>) -> Transaction {
    Transaction {
        place,
        changes,
        author: name("ops"),
        source: name("test"),
        why: String::new(),
        idempotency_key: None,
    }
}
/// One change of acme, as JSON.
pub(crate) fn acme(change: &str) -> Transaction {
    let place = Place::Tenant(tenant("acme"));
    let change = Change::from_value(&json(change), &place).unwrap_or_else(|error| panic!("{error}"));
    of(place, vec![change])
}
pub(crate) fn organisation(change: &str) -> Transaction {
    let change =
        Change::from_value(&json(change), &Place::Organisation).unwrap_or_else(|error| panic!("{error}"));
    of(Place::Organisation, vec![change])
}
/// Applies acme's changes one after the other, at the revisions after the world's.
pub(crate) fn apply(world: &World, changes: &[&str]) -> Result<World, ChangeError> {
    changes.iter().try_fold(world.clone(), |world, change| world.apply(world.revision().0 + 1, &acme(change)))
}

/// Two people, three agents, one workflow, one delegation that may be handed on once more.
pub(crate) const SUPPORT: &str = r#"{
  "tenant": "acme",
  "humans": [{"id": "maya", "standing": "active", "home": "acme"}, {"id": "noor", "standing": "active", "home": "acme"},
             {"id": "gone", "standing": "deactivated", "home": "acme"}],
  "agents": [{"id": "planner-1", "type": "planner", "owner": "maya", "standing": "active"},
             {"id": "agent-7", "type": "support_agent", "owner": "maya", "standing": "active",
              "keys": {"NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs": {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}}},
             {"id": "agent-8", "type": "support_agent", "owner": "noor", "standing": "active"}],
  "assignments": [{"human": "maya", "roles": ["support"], "until": "ended"}, {"human": "noor", "roles": ["support_manager"], "until": "2027-01-01T00:00:00Z"}],
  "workflows": [{"id": "wf-9", "type": "support_case", "owner": "maya", "intents": ["support_case_resolution"], "ends": "2026-03-01T12:00:00Z",
                 "bindings": {"support_case": "CASE-1837"}, "attributes": {"case_id": "CASE-1837"}},
                {"id": "wf-old", "type": "support_case", "state": "closed", "owner": "maya", "intents": ["support_case_resolution"], "ends": "2026-02-01T12:00:00Z"}],
  "delegations": [{"id": "dg-1", "human": "maya", "agent": "planner-1", "workflow": "wf-9", "grantor": "human",
                   "scope": {"actions": ["issue_refund", "read_case"], "intents": ["support_case_resolution"], "limits": {"amount": 100},
                             "ends": "2026-03-01T12:00:00Z", "depth": 2}}],
  "resources": [{"type": "support_case", "id": "CASE-1837", "attributes": {"customer_id": "cust-101", "open": true, "value": 12.50}}],
  "tuples": ["support_case:CASE-1837#assignee@user:maya", "support_case:CASE-1837#viewer@team:billing#member"]
}"#;

pub(crate) fn support() -> World {
    World::from_file(&json(SUPPORT)).unwrap_or_else(|error| panic!("{error}"))
}
