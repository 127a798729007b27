//! Facts of one kind, or one fact by its id.

use placet_core::{Resource, ResourceRef};
use placet_facts::{Change, TenantFacts, World, parse_resource, tuple_text};
use placet_json::{Object, Value, object};

use super::{
    error::ApiError,
    read::{approvals_of, assignments_of, delegations_of, form, workflows_of},
};

/// The kinds of the organisation's facts and of a tenant's.
const KINDS: [&[&str]; 2] = [
    &["tenants", "humans", "agents", "frozen"],
    &["assignments", "workflows", "delegations", "approvals", "resources", "tuples"],
];

/// `{kind: […], "revision"}`. An id is that of the noun: the person of an assignment, `type:id` of a resource, and of a
/// tuple its object.
pub(super) fn of_kind(
    world: &World,
    facts: Option<&TenantFacts>,
    kind: &str,
    id: Option<&str>,
) -> Result<Object, ApiError> {
    let org = world.organisation();
    let is = |value: &Value, member: &str| {
        id.is_none_or(|id| value.get(member).and_then(Value::as_str) == Some(id))
    };
    let all = |values: &mut dyn Iterator<Item = Value>, member: &str| -> Vec<Value> {
        values.filter(|value| is(value, member)).collect()
    };
    let (found, revision) = match facts {
        None => {
            let found = match kind {
                "tenants" => {
                    let ids = world.tenants().map(|tenant| Value::from(tenant.id().as_str()));
                    ids.filter(|tenant| id.is_none_or(|id| tenant.as_str() == Some(id))).collect()
                }
                "humans" => all(&mut org.humans().map(|it| form(&Change::HumanSet(it.clone()))), "id"),
                "agents" => all(&mut org.agents().map(|it| form(&Change::AgentSet(it.clone()))), "id"),
                "frozen" => org.frozen().map(|it| form(&Change::Frozen(it.clone()))).collect(),
                _ => return Err(unknown(kind, 0)),
            };
            (found, org.revision())
        }
        Some(facts) => {
            let found = match kind {
                "assignments" => all(&mut assignments_of(facts), "human"),
                "workflows" => all(&mut workflows_of(facts, None), "id"),
                "delegations" => all(&mut delegations_of(facts), "id"),
                "approvals" => all(&mut approvals_of(facts), "id"),
                "resources" => match id {
                    None => facts.resources().map(|it| resource(facts, it)).collect(),
                    Some(id) => {
                        let found = facts.resource(&object_of(id)?);
                        found.map(|it| resource(facts, it)).into_iter().collect()
                    }
                },
                "tuples" => match id {
                    None => facts.tuples().map(|it| tuple_text(&it).into()).collect(),
                    Some(id) => facts
                        .tuples_of(&object_of(id)?)
                        .into_iter()
                        .map(|it| tuple_text(&it).into())
                        .collect(),
                },
                _ => return Err(unknown(kind, 1)),
            };
            (found, facts.revision())
        }
    };
    if let (Some(id), true) = (id, found.is_empty()) {
        return Err(ApiError::missing(format_args!(
            "`{}` among the {kind} at that moment",
            id.chars().take(128).collect::<String>()
        )));
    }
    Ok(object! { "revision" => revision.0, kind => Value::Array(found) })
}

/// A resource, with the names of its attributes that were erased, if any were.
pub(super) fn resource(facts: &TenantFacts, resource: &Resource) -> Value {
    let mut value = form(&Change::ResourceSet(resource.clone()));
    let erased: Vec<Value> = facts.erased(&resource.at).map(|name| name.as_str().into()).collect();
    if let Some(object) = value.as_object_mut()
        && !erased.is_empty()
    {
        object.insert("erased", Value::Array(erased));
    }
    value
}

fn object_of(id: &str) -> Result<ResourceRef, ApiError> {
    parse_resource(id).map_err(|error| ApiError::malformed(format!("`id`: {error}"), "write `type:id`"))
}

fn unknown(kind: &str, place: usize) -> ApiError {
    let kind: String = kind.chars().take(64).collect();
    let known = KINDS.get(place).map(|kinds| kinds.join("`, `")).unwrap_or_default();
    ApiError::malformed(format!("`kind`: there is no `{kind}` here"), format!("write one of `{known}`"))
}
