//! What an agent is shown of a tool's input schema.

use placet_json::{Object, Value};

use crate::{Argument, Entry};

/// The upstream's `inputSchema` without what agents may not give: members that the gateway fills or that the catalog
/// doesn't know are gone from `properties` and `required`, what the catalog demands is required, and the object is
/// closed. Everything else of it stays as it came.
#[must_use]
pub fn public_schema(entry: &Entry, schema: &Value) -> Value {
    let mut schema = schema.as_object().cloned().unwrap_or_default();
    let given = |name: &str| matches!(entry.arguments().get(name), Some(Argument::Given { .. }));

    let mut properties = schema.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
    properties.retain(|name, _| given(name));
    for (name, argument) in entry.arguments() {
        if let Argument::Given { .. } = argument
            && !properties.contains_key(name)
        {
            properties.insert(name.as_str(), Object::new());
        }
    }
    let required = entry
        .arguments()
        .iter()
        .filter(|(_, argument)| matches!(argument, Argument::Given { required: true, .. }));
    let required = required.map(|(name, _)| Value::from(name.as_str())).collect();

    // These could name a hidden member once more, or take back that the object is closed.
    for keyword in [
        "patternProperties",
        "dependentRequired",
        "dependentSchemas",
        "dependencies",
        "unevaluatedProperties",
        "propertyNames",
        "minProperties",
        "allOf",
        "anyOf",
        "oneOf",
        "not",
        "if",
        "then",
        "else",
        "default",
        "examples",
    ] {
        schema.remove(keyword);
    }
    schema.insert("type", "object");
    schema.insert("properties", properties);
    schema.insert("required", Value::Array(required));
    schema.insert("additionalProperties", false);
    Value::Object(schema)
}
