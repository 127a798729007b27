//! The Cedar schema of a release, generated from the input's contract.

use std::collections::{BTreeMap, BTreeSet};

use cedar_policy::{Schema, SchemaFragment};
use placet_core::Name;
use serde_json::{Value, json};

use super::{World, parents};
use crate::{
    contract::{Need, Record, Shape},
    manifest::AttributeType,
};

/// The schema, and its text in Cedar's own writing.
pub(super) fn build(world: &World<'_>, relations: &BTreeSet<Name>) -> Result<(Schema, String), String> {
    let json = json(world, relations);
    let schema = Schema::from_json_value(json.clone()).map_err(|error| error.to_string())?;
    let fragment = SchemaFragment::from_json_value(json).map_err(|error| error.to_string())?;
    Ok((schema, fragment.to_cedarschema().map_err(|error| error.to_string())?))
}

fn json(world: &World<'_>, relations: &BTreeSet<Name>) -> Value {
    let mut types = serde_json::Map::new();
    let root = &world.contract.root;
    types.insert("Agent".to_owned(), json!({ "shape": member(root, "agent") }));
    for (kind, attributes) in &world.resources {
        let parents = parents::types(world.model, &world.parents, kind);
        types.insert(
            kind.as_str().to_owned(),
            json!({ "shape": resource(attributes), "memberOfTypes": parents }),
        );
    }
    let kinds: Vec<&str> = world.resources.keys().map(Name::as_str).collect();
    let actions: serde_json::Map<String, Value> = world
        .actions
        .iter()
        .map(|action| (action.as_str().to_owned(), json!({ "appliesTo": { "principalTypes": ["Agent"], "resourceTypes": kinds, "context": { "type": "Input" } } })))
        .collect();
    let mut context = attributes(root);
    context.insert("now".to_owned(), json!({ "type": "Extension", "name": "datetime" }));
    let rel: serde_json::Map<String, Value> = relations
        .iter()
        .map(|relation| (relation.as_str().to_owned(), json!({ "type": "Boolean" })))
        .collect();
    context.insert("rel".to_owned(), json!({ "type": "Record", "attributes": rel }));
    json!({ "": { "commonTypes": { "Input": { "type": "Record", "attributes": context } }, "entityTypes": types, "actions": actions } })
}

fn member(record: &Record, name: &str) -> Value {
    record
        .fields
        .get(name)
        .and_then(|field| of(&field.shape))
        .unwrap_or_else(|| json!({ "type": "Record", "attributes": {} }))
}

/// A resource entity: who it is and where is always there, its attributes if facts have them.
fn resource(attributes: &BTreeMap<Name, AttributeType>) -> Value {
    let mut members = serde_json::Map::new();
    for name in ["type", "id", "tenant_id"] {
        members.insert(name.to_owned(), json!({ "type": "String" }));
    }
    for (name, attribute) in attributes {
        if let Some(Value::Object(mut shape)) = of(&attribute.shape()) {
            shape.insert("required".to_owned(), Value::Bool(false));
            members.insert(name.as_str().to_owned(), Value::Object(shape));
        }
    }
    json!({ "type": "Record", "attributes": members })
}

fn attributes(record: &Record) -> serde_json::Map<String, Value> {
    let mut members = serde_json::Map::new();
    for (name, field) in &record.fields {
        if let Some(Value::Object(mut shape)) = of(&field.shape) {
            shape.insert("required".to_owned(), Value::Bool(field.need != Need::May));
            members.insert(name.clone(), Value::Object(shape));
        }
    }
    members
}

/// Cedar's word for a shape; what is open has none, and isn't in the context.
fn of(shape: &Shape) -> Option<Value> {
    Some(match shape {
        Shape::Text | Shape::Id | Shape::OneOf(_) => json!({ "type": "String" }),
        Shape::Time => json!({ "type": "Extension", "name": "datetime" }),
        Shape::Decimal(_) => json!({ "type": "Extension", "name": "decimal" }),
        Shape::Count => json!({ "type": "Long" }),
        Shape::Bool => json!({ "type": "Boolean" }),
        Shape::List(inner) => json!({ "type": "Set", "element": of(inner)? }),
        Shape::Record(record) => json!({ "type": "Record", "attributes": attributes(record) }),
        Shape::Map(_) | Shape::Any => return None,
    })
}

/// Whether Cedar has a word for a shape.
pub(super) fn has(shape: &Shape) -> bool {
    of(shape).is_some()
}
