//! What agents are shown of an operation: a tool's definition, made of its entry.

use placet_core::EffectClass;
use placet_json::{Object, Value, object};

use crate::{Argument, Entry, Field, Pattern, Type};

/// The definition of a tool that is an HTTP operation, as `tools/list` has it; `None` of any other, whose upstream says
/// what it is. Arguments that the gateway fills aren't in it.
#[must_use]
pub fn definition(entry: &Entry) -> Option<Value> {
    let operation = entry.http()?;
    let (mut properties, mut needed) = (Object::new(), Vec::new());
    for (name, argument) in entry.arguments() {
        let Argument::Given { ty, required, attribute: _ } = argument else { continue };
        let mut schema = schema(ty);
        if let Some(text) = operation.describe.get(name) {
            schema.insert("description", text.as_str());
        }
        properties.insert(name.as_str(), schema);
        if *required {
            needed.push(Value::from(name.as_str()));
        }
    }
    let annotations = object! {
        "readOnlyHint" => entry.effect() == EffectClass::Read,
        "destructiveHint" => entry.effect() == EffectClass::Destructive,
        "idempotentHint" => operation.method().is_idempotent(),
    };
    Some(Value::from(object! {
        "name" => entry.tool(),
        "description" => operation.description.as_str(),
        "inputSchema" => object! {
            "type" => "object", "properties" => properties, "required" => Value::Array(needed), "additionalProperties" => false,
        },
        "annotations" => annotations,
    }))
}

fn schema(ty: &Type) -> Object {
    match ty {
        Type::Id { pattern } => {
            let mut out = object! { "type" => "string", "minLength" => 1_u64, "maxLength" => 128_u64 };
            let any = || "^[A-Za-z0-9._:@|/-]+$".to_owned();
            out.insert("pattern", pattern.as_ref().map_or_else(any, anchored));
            out
        }
        Type::Text { pattern, max_length } => {
            let mut out =
                object! { "type" => "string", "maxLength" => u64::try_from(*max_length).unwrap_or(u64::MAX) };
            if let Some(pattern) = pattern {
                out.insert("pattern", anchored(pattern));
            }
            out
        }
        Type::Decimal { min, max, scale: _ } => {
            let mut out = object! { "type" => "number" };
            for (name, bound) in [("minimum", min), ("maximum", max)] {
                if let Some(bound) = bound {
                    out.insert(name, bound.to_value());
                }
            }
            out
        }
        Type::Integer { min, max } => {
            let mut out = object! { "type" => "integer" };
            for (name, bound) in [("minimum", min), ("maximum", max)] {
                if let Some(bound) = bound {
                    out.insert(name, bound.to_value());
                }
            }
            out
        }
        Type::Boolean => object! { "type" => "boolean" },
        Type::Enum { values } => {
            object! { "type" => "string", "enum" => Value::Array(values.iter().map(Value::from).collect()) }
        }
        Type::List { items, max_items } => object! {
            "type" => "array", "items" => schema(items), "maxItems" => u64::try_from(*max_items).unwrap_or(u64::MAX),
        },
        Type::Object { fields } => {
            let required = fields.iter().filter(|(_, field)| field.required);
            let required = required.map(|(name, _)| Value::from(name.as_str())).collect();
            let properties: Object = fields
                .iter()
                .map(|(name, Field { ty, required: _ })| (name.clone(), Value::from(schema(ty))))
                .collect();
            object! {
                "type" => "object", "properties" => properties, "required" => Value::Array(required), "additionalProperties" => false,
            }
        }
    }
}

fn anchored(pattern: &Pattern) -> String {
    format!("^(?:{})$", pattern.as_str())
}
