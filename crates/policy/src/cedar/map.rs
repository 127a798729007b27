//! The policy input as Cedar's context and entities.

use std::collections::{BTreeMap, HashMap, HashSet};

use cedar_policy::{Context, Entities, Entity, EntityUid, RestrictedExpression};
use placet_core::{Decimal, EngineFault, Name, Timestamp};
use placet_json::Value;

use super::{failed, schema};
use crate::{
    contract::{Contract, Record, Shape},
    manifest::AttributeType,
};

pub(super) fn context(
    contract: &Contract,
    input: &Value,
    now: Timestamp,
    relations: Vec<(String, bool)>,
) -> Result<Context, EngineFault> {
    let mut members = record(&contract.root, input)?;
    members.push(("now".to_owned(), datetime(now)));
    let relations = relations.into_iter().map(|(name, holds)| (name, RestrictedExpression::new_bool(holds)));
    members.push((
        "rel".to_owned(),
        RestrictedExpression::new_record(relations).map_err(|error| failed(error.to_string()))?,
    ));
    Context::from_pairs(members).map_err(|error| failed(format!("the context can't be made: {error}")))
}

/// The agent and the resource with all that it is `in`; a policy validated at level 1 reads no other entity's
/// attributes.
pub(super) fn entities(
    kinds: &BTreeMap<Name, BTreeMap<Name, AttributeType>>,
    principal: &EntityUid,
    resource: &EntityUid,
    above: HashSet<EntityUid>,
    input: &Value,
) -> Result<Entities, EngineFault> {
    let made = |uid: &EntityUid, members: Vec<(String, RestrictedExpression)>, above| {
        Entity::new(uid.clone(), members.into_iter().collect::<HashMap<_, _>>(), above)
            .map_err(|error| failed(error.to_string()))
    };
    let mut agent = Vec::new();
    for (name, value) in input.get("agent").and_then(Value::as_object).into_iter().flatten() {
        agent.push((name.to_owned(), text(value)?));
    }
    let mut own = Vec::new();
    let found = input.get("resource");
    let kind = found.and_then(|resource| resource.get("type")).and_then(Value::as_str).unwrap_or_default();
    let attributes = kinds.iter().find(|(name, _)| name.as_str() == kind).map(|(_, attributes)| attributes);
    for (name, value) in found.and_then(Value::as_object).into_iter().flatten() {
        if matches!(name, "type" | "id" | "tenant_id") {
            own.push((name.to_owned(), text(value)?));
        } else if let Some((_, attribute)) =
            attributes.and_then(|of| of.iter().find(|(known, _)| known.as_str() == name))
        {
            own.push((name.to_owned(), expression(&attribute.shape(), value)?));
        }
    }
    let entities = [made(principal, agent, HashSet::new())?, made(resource, own, above)?];
    Entities::from_entities(entities, None)
        .map_err(|error| failed(format!("the entities can't be made: {error}")))
}

fn record(record: &Record, value: &Value) -> Result<Vec<(String, RestrictedExpression)>, EngineFault> {
    let object = value.as_object().ok_or_else(|| failed("an object was expected"))?;
    let mut members = Vec::with_capacity(object.len());
    for (name, member) in object {
        // What the contract leaves open has no type, so Cedar doesn't see it.
        if let Some(field) = record.fields.get(name).filter(|field| schema::has(&field.shape)) {
            members.push((name.to_owned(), expression(&field.shape, member)?));
        }
    }
    Ok(members)
}

fn expression(shape: &Shape, value: &Value) -> Result<RestrictedExpression, EngineFault> {
    match shape {
        Shape::Text | Shape::Id | Shape::OneOf(_) => text(value),
        Shape::Time => value
            .as_str()
            .and_then(|text| Timestamp::parse(text).ok())
            .map(datetime)
            .ok_or_else(|| failed("a moment was expected")),
        Shape::Decimal(_) => value
            .as_number()
            .and_then(|number| Decimal::from_number(number).ok())
            .map(decimal)
            .ok_or_else(|| failed("an exact decimal was expected")),
        Shape::Count => {
            value.as_i64().map(RestrictedExpression::new_long).ok_or_else(|| failed("a count was expected"))
        }
        Shape::Bool => value
            .as_bool()
            .map(RestrictedExpression::new_bool)
            .ok_or_else(|| failed("a truth value was expected")),
        Shape::List(inner) => {
            let items = value.as_array().ok_or_else(|| failed("a list was expected"))?;
            Ok(RestrictedExpression::new_set(
                items.iter().map(|item| expression(inner, item)).collect::<Result<Vec<_>, _>>()?,
            ))
        }
        Shape::Record(shape) => {
            RestrictedExpression::new_record(record(shape, value)?).map_err(|error| failed(error.to_string()))
        }
        Shape::Map(_) | Shape::Any => Err(failed("a value without a type")),
    }
}

fn text(value: &Value) -> Result<RestrictedExpression, EngineFault> {
    value
        .as_str()
        .map(|text| RestrictedExpression::new_string(text.to_owned()))
        .ok_or_else(|| failed("a text was expected"))
}

/// Cedar's decimal has one to four digits after the point, and holds all of ours.
fn decimal(decimal: Decimal) -> RestrictedExpression {
    let text = decimal.to_string();
    RestrictedExpression::new_decimal(if text.contains('.') { text } else { format!("{text}.0") })
}

/// Cedar's datetime has no, or exactly three, digits of a second's fraction.
fn datetime(moment: Timestamp) -> RestrictedExpression {
    let whole = Timestamp::from_secs(moment.secs()).to_string();
    let millis = moment.millis() % 1000;
    RestrictedExpression::new_datetime(if millis == 0 {
        whole
    } else {
        format!("{}.{millis:03}Z", whole.trim_end_matches('Z'))
    })
}
