//! Changing the input schema of a tool before a client sees it.

use placet_json::{Object, Value};

use crate::headers;

/// Hides properties that the gateway fills in: they leave `properties` and every list of required names, also under the
/// keywords that apply to the same object.
pub fn hide_properties(schema: &mut Object, names: &[&str]) {
    hide(schema, names, 0);
}

/// Far deeper than such keywords are nested in any schema that is meant to be read.
const MAX_APPLICATORS: usize = 64;

fn hide(schema: &mut Object, names: &[&str], depth: usize) {
    if depth > MAX_APPLICATORS {
        return;
    }
    let deeper = depth.saturating_add(1);
    for (keyword, value) in &mut *schema {
        match (keyword, value) {
            ("properties", Value::Object(properties)) => properties.retain(|name, _| !names.contains(&name)),
            ("required", Value::Array(required)) => retain_names(required, names),
            ("dependentRequired", Value::Object(dependent)) => {
                dependent.retain(|name, _| !names.contains(&name));
                for (_, required) in &mut *dependent {
                    if let Value::Array(required) = required {
                        retain_names(required, names);
                    }
                }
            }
            ("dependentSchemas", Value::Object(dependent)) => {
                dependent.retain(|name, _| !names.contains(&name));
                dependent
                    .iter_mut()
                    .filter_map(|(_, schema)| schema.as_object_mut())
                    .for_each(|s| hide(s, names, deeper));
            }
            ("allOf" | "anyOf" | "oneOf", Value::Array(schemas)) => {
                schemas.iter_mut().filter_map(Value::as_object_mut).for_each(|s| hide(s, names, deeper));
            }
            ("if" | "then" | "else", Value::Object(inner)) => hide(inner, names, deeper),
            _ => {}
        }
    }
    if schema.get("required").and_then(Value::as_array).is_some_and(<[Value]>::is_empty) {
        schema.remove("required");
    }
}

fn retain_names(required: &mut Vec<Value>, names: &[&str]) {
    required.retain(|name| !name.as_str().is_some_and(|name| names.contains(&name)));
}

/// Takes out every `x-mcp-header` if one of them is malformed, since clients drop a tool that has such a one; returns
/// whether it did.
pub fn strip_malformed_headers(schema: &mut Value) -> bool {
    let malformed = headers::annotations(schema).is_err();
    if malformed {
        strip_annotations(schema, false);
    }
    malformed
}

/// `names`: the members of `schema` are names of properties or definitions, none a keyword.
fn strip_annotations(schema: &mut Value, names: bool) {
    match schema {
        Value::Object(members) => {
            if !names {
                members.remove(headers::ANNOTATION);
            }
            for (keyword, value) in members {
                let data = !names && matches!(keyword, "default" | "const" | "enum" | "examples");
                if !data {
                    let inner = !names
                        && matches!(
                            keyword,
                            "properties" | "$defs" | "definitions" | "dependentSchemas" | "patternProperties"
                        );
                    strip_annotations(value, inner);
                }
            }
        }
        Value::Array(schemas) => schemas.iter_mut().for_each(|schema| strip_annotations(schema, false)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use placet_json::{Limits, parse};

    fn json(text: &str) -> Value {
        parse(text.as_bytes(), &Limits::MESSAGE).unwrap()
    }

    #[test]
    fn bound_properties_are_hidden_wherever_they_are_asked_for() {
        let mut schema = json(
            r#"{"type":"object","properties":{"q":{"type":"string"},"tenant":{"type":"string"}},
                "required":["tenant","q"],"allOf":[{"required":["tenant"]},{"if":{"properties":{"tenant":{}}},
                "then":{"required":["tenant","x"]}}],"dependentRequired":{"tenant":["q"],"q":["tenant"]},
                "dependentSchemas":{"q":{"required":["tenant"]}}}"#,
        );
        hide_properties(schema.as_object_mut().unwrap(), &["tenant"]);
        assert_eq!(
            schema,
            json(
                r#"{"type":"object","properties":{"q":{"type":"string"}},"required":["q"],"allOf":[{},
                    {"if":{"properties":{}},"then":{"required":["x"]}}],"dependentRequired":{"q":[]},
                    "dependentSchemas":{"q":{}}}"#
            )
        );
    }

    #[test]
    fn malformed_annotations_are_stripped_and_good_ones_kept() {
        let good = json(r#"{"properties":{"a":{"type":"string","x-mcp-header":"A"}}}"#);
        let mut schema = good.clone();
        assert!(!strip_malformed_headers(&mut schema));
        assert_eq!(schema, good);
        let mut schema = json(
            r#"{"properties":{"a":{"type":"string","x-mcp-header":"A"},"x-mcp-header":{"type":"number","x-mcp-header":"B"}},
                "default":{"x-mcp-header":"data"}}"#,
        );
        assert!(strip_malformed_headers(&mut schema));
        assert_eq!(
            schema,
            json(
                r#"{"properties":{"a":{"type":"string"},"x-mcp-header":{"type":"number"}},"default":{"x-mcp-header":"data"}}"#
            )
        );
    }
}
