//! Reading what a client sent by the schema: names in any case, values of their type, one spelling of each.

use placet_json::{Object, Value};

use super::{
    error::ScimError,
    schema::{
        Attribute, ENTERPRISE, ENTERPRISE_ATTRIBUTES, GROUP_ATTRIBUTES, Kind, Mutability, USER_ATTRIBUTES,
    },
};

/// The longest text of an attribute, in bytes.
pub(crate) const MAX_TEXT: usize = 1024;
/// The most values of an attribute; of a group's members too.
pub(crate) const MAX_VALUES: usize = 10_000;

/// What a resource consists of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) core: &'static str,
    pub(crate) attributes: &'static [Attribute],
    pub(crate) extension: Option<(&'static str, &'static [Attribute])>,
}

/// A user's.
pub(crate) const USER: Shape = Shape {
    core: super::schema::USER,
    attributes: USER_ATTRIBUTES,
    extension: Some((ENTERPRISE, ENTERPRISE_ATTRIBUTES)),
};
/// A group's.
pub(crate) const GROUP: Shape =
    Shape { core: super::schema::GROUP, attributes: GROUP_ATTRIBUTES, extension: None };

/// An attribute that every resource has; it isn't in a schema of its own.
pub(crate) const EXTERNAL_ID: &str = "externalId";

pub(crate) fn find(attributes: &'static [Attribute], name: &str) -> Option<&'static Attribute> {
    attributes.iter().find(|attribute| attribute.name.eq_ignore_ascii_case(name))
}

/// Reads a whole resource. What the schema doesn't know is left out, as is what only the server writes
/// (RFC 7644 §3.3); what is missing and required is an error.
pub(crate) fn resource(shape: Shape, sent: &Object) -> Result<Object, ScimError> {
    schemas(shape, sent)?;
    let mut read = members(shape.attributes, sent, "")?;
    for (name, value) in sent {
        if name.eq_ignore_ascii_case(EXTERNAL_ID) {
            if let Some(external) = external_id(value)? {
                read.insert(EXTERNAL_ID, external);
            }
        } else if let Some((urn, attributes)) = shape.extension
            && name.eq_ignore_ascii_case(urn)
        {
            let sent = value.as_object().ok_or_else(|| ScimError::value(format!("`{urn}` is no object")))?;
            let extension = members(attributes, sent, &format!("{urn}:"))?;
            if !extension.is_empty() {
                read.insert(urn, extension);
            }
        }
    }
    complete(shape, &read)?;
    Ok(read)
}

/// Every required attribute is there.
pub(crate) fn complete(shape: Shape, resource: &Object) -> Result<(), ScimError> {
    let missing = shape
        .attributes
        .iter()
        .find(|attribute| attribute.required && !resource.contains_key(attribute.name));
    match missing {
        Some(attribute) => Err(ScimError::value(format!("`{}` is missing", attribute.name))),
        None => Ok(()),
    }
}

/// A client that says which schemas it means must mean ours.
fn schemas(shape: Shape, sent: &Object) -> Result<(), ScimError> {
    let Some(schemas) = sent.get("schemas") else { return Ok(()) };
    let named = schemas.as_array().is_some_and(|schemas| {
        schemas
            .iter()
            .any(|schema| schema.as_str().is_some_and(|schema| schema.eq_ignore_ascii_case(shape.core)))
    });
    if named { Ok(()) } else { Err(ScimError::syntax(format!("`schemas` doesn't name `{}`", shape.core))) }
}

pub(crate) fn external_id(value: &Value) -> Result<Option<String>, ScimError> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) if text.len() <= MAX_TEXT => Ok(Some(text.clone())),
        Value::String(_) | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            Err(ScimError::value("`externalId` is no text of up to 1024 bytes"))
        }
    }
}

fn members(attributes: &'static [Attribute], sent: &Object, prefix: &str) -> Result<Object, ScimError> {
    let mut read = Object::new();
    for attribute in attributes.iter().filter(|attribute| attribute.mutability != Mutability::ReadOnly) {
        let mut given = sent.iter().filter(|(name, _)| name.eq_ignore_ascii_case(attribute.name));
        let Some((_, value)) = given.next() else { continue };
        if given.next().is_some() {
            return Err(ScimError::syntax(format!("`{prefix}{}` stands twice", attribute.name)));
        }
        if let Some(value) = assigned(attribute, value, prefix)? {
            read.insert(attribute.name, value);
        }
    }
    Ok(read)
}

/// The value of an attribute; none where it is unassigned: null, an empty list (RFC 7643 §2.5).
pub(crate) fn assigned(
    attribute: &'static Attribute,
    sent: &Value,
    prefix: &str,
) -> Result<Option<Value>, ScimError> {
    if attribute.many {
        let values: Vec<Value> = match sent {
            Value::Null => return Ok(None),
            Value::Array(values) if values.len() > MAX_VALUES => {
                return Err(ScimError::value(format!(
                    "`{prefix}{}` has more than {MAX_VALUES} values",
                    attribute.name
                )));
            }
            Value::Array(values) => values
                .iter()
                .map(|value| single(attribute, value, prefix))
                .collect::<Result<Vec<_>, _>>()?
                .into_iter()
                .flatten()
                .collect(),
            // One value where a list is meant, as some clients send it.
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
                single(attribute, sent, prefix)?.into_iter().collect()
            }
        };
        if values.iter().filter(|value| is_primary(value)).count() > 1 {
            return Err(ScimError::value(format!("`{prefix}{}` has several primary values", attribute.name)));
        }
        return Ok(if values.is_empty() { None } else { Some(Value::Array(values)) });
    }
    single(attribute, sent, prefix)
}

pub(crate) fn is_primary(value: &Value) -> bool {
    value.get("primary").and_then(Value::as_bool) == Some(true)
}

/// One value of the attribute's type.
pub(crate) fn single(
    attribute: &'static Attribute,
    sent: &Value,
    prefix: &str,
) -> Result<Option<Value>, ScimError> {
    let name = attribute.name;
    let wrong = |what: &str| ScimError::value(format!("`{prefix}{name}` is {what}"));
    if sent.is_null() {
        // What decides whether somebody may act is never left to a guess.
        return if name == "active" { Err(wrong("no boolean")) } else { Ok(None) };
    }
    match attribute.kind {
        Kind::Text | Kind::Reference => match sent {
            Value::String(text) if text.len() > MAX_TEXT => Err(wrong("longer than 1024 bytes")),
            Value::String(text) if attribute.required && text.trim().is_empty() => Err(wrong("empty")),
            Value::String(text) => Ok(Some(Value::from(text.as_str()))),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                Err(wrong("no text"))
            }
        },
        Kind::Boolean => boolean(sent).map(|truth| Some(truth.into())).ok_or_else(|| wrong("no boolean")),
        Kind::Integer => sent.as_i64().map(|n| Some(n.into())).ok_or_else(|| wrong("no whole number")),
        Kind::Complex => {
            let object = match sent {
                Value::Object(object) => members(attribute.sub, object, &format!("{prefix}{name}."))?,
                // `manager` and a group's members come as a bare id, too.
                Value::String(_) if find(attribute.sub, "value").is_some() => {
                    let mut object = Object::new();
                    object.insert("value", sent.clone());
                    members(attribute.sub, &object, &format!("{prefix}{name}."))?
                }
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::String(_) => {
                    return Err(wrong("no object"));
                }
            };
            Ok(if object.is_empty() { None } else { Some(object.into()) })
        }
    }
}

/// `true` and `false`, also as the texts that Entra sends, in any case. Nothing else is one.
fn boolean(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(truth) => Some(*truth),
        Value::String(text) if text.eq_ignore_ascii_case("true") => Some(true),
        Value::String(text) if text.eq_ignore_ascii_case("false") => Some(false),
        Value::Null | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => None,
    }
}
