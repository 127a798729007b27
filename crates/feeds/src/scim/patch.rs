//! PATCH (RFC 7644 §3.5.2), in the shapes that Okta and Entra ID really send: operations in any case, without a path,
//! with paths as names of members, with texts for booleans, with lists behind `remove`.

use placet_json::{Object, Value};

use super::{
    error::ScimError,
    filter::{Filter, Path},
    schema::{Attribute, Mutability},
    value::{self, EXTERNAL_ID, Shape, find, is_primary},
};

/// The most operations of a request.
const MAX_OPERATIONS: usize = 1000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Op {
    Add,
    Remove,
    Replace,
}

/// What a path names.
enum Target {
    /// `id`, `schemas`, `meta`: the server's own.
    Fixed,
    ExternalId,
    Extension(&'static str, &'static [Attribute]),
    Attribute(Option<&'static str>, &'static Attribute, Option<&'static Attribute>),
}

/// The resource after a patch.
pub(crate) fn patched(shape: Shape, resource: &Object, body: &Object) -> Result<Object, ScimError> {
    let member =
        |name: &str| body.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value);
    let named = member("schemas").and_then(Value::as_array).is_none_or(|schemas| {
        schemas.iter().any(|schema| schema.as_str() == Some("urn:ietf:params:scim:api:messages:2.0:PatchOp"))
    });
    let operations =
        member("Operations").and_then(Value::as_array).filter(|operations| !operations.is_empty());
    let Some(operations) = operations.filter(|operations| named && operations.len() <= MAX_OPERATIONS) else {
        return Err(ScimError::syntax(format!("send a PatchOp with 1 to {MAX_OPERATIONS} `Operations`")));
    };
    let mut next = resource.clone();
    for operation in operations {
        let operation =
            operation.as_object().ok_or_else(|| ScimError::syntax("an operation is no object"))?;
        apply(shape, &mut next, operation)?;
    }
    value::complete(shape, &next)?;
    Ok(next)
}

fn apply(shape: Shape, resource: &mut Object, operation: &Object) -> Result<(), ScimError> {
    let op = match operation.get("op").and_then(Value::as_str) {
        Some(op) if op.eq_ignore_ascii_case("add") => Op::Add,
        Some(op) if op.eq_ignore_ascii_case("remove") => Op::Remove,
        Some(op) if op.eq_ignore_ascii_case("replace") => Op::Replace,
        _ => return Err(ScimError::syntax("`op` is none of `add`, `remove`, `replace`")),
    };
    let sent = operation.get("value");
    match operation.get("path") {
        None | Some(Value::Null) => {
            let Some(Value::Object(members)) = sent else {
                return Err(if op == Op::Remove {
                    ScimError::no_target("`remove` needs a path")
                } else {
                    ScimError::value("without a path the value is an object")
                });
            };
            if op == Op::Remove {
                return Err(ScimError::no_target("`remove` needs a path"));
            }
            members.iter().try_for_each(|(name, value)| bulk(shape, resource, op, name, value))
        }
        Some(Value::String(path)) => {
            let path = Path::parse(path)?;
            let target = locate(shape, &path.attribute)?.ok_or_else(|| {
                ScimError::path(format!("there is no attribute `{}`", short(&path.attribute)))
            })?;
            one(resource, op, &target, &path, sent)
        }
        Some(Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
            Err(ScimError::path("`path` is no text"))
        }
    }
}

/// One member of an operation without a path. What isn't the client's to write, or isn't known, is left alone, as in a
/// whole resource.
fn bulk(shape: Shape, resource: &mut Object, op: Op, name: &str, sent: &Value) -> Result<(), ScimError> {
    let path = Path::parse(name)?;
    match locate(shape, &path.attribute)? {
        None | Some(Target::Fixed) => Ok(()),
        Some(Target::Attribute(_, attribute, _)) if attribute.mutability == Mutability::ReadOnly => Ok(()),
        Some(Target::Extension(urn, _)) => {
            let members =
                sent.as_object().ok_or_else(|| ScimError::value(format!("`{urn}` is no object")))?;
            members
                .iter()
                .try_for_each(|(name, value)| bulk(shape, resource, op, &format!("{urn}:{name}"), value))
        }
        Some(target @ (Target::ExternalId | Target::Attribute(..))) => {
            one(resource, op, &target, &path, Some(sent))
        }
    }
}

fn locate(shape: Shape, text: &str) -> Result<Option<Target>, ScimError> {
    let below = |urn: &str| {
        let start = text.get(..urn.len())?;
        if start.eq_ignore_ascii_case(urn) { text.get(urn.len()..) } else { None }
    };
    let (extension, attributes, rest) = match (below(shape.core), shape.extension) {
        (Some(rest), _) => (None, shape.attributes, rest.strip_prefix(':').unwrap_or(rest)),
        (None, Some((urn, attributes))) if below(urn).is_some() => {
            match below(urn).unwrap_or_default().strip_prefix(':') {
                None => return Ok(Some(Target::Extension(urn, attributes))),
                Some(rest) => (Some(urn), attributes, rest),
            }
        }
        (None, _) => (None, shape.attributes, text),
    };
    if extension.is_none() {
        if rest.eq_ignore_ascii_case(EXTERNAL_ID) {
            return Ok(Some(Target::ExternalId));
        }
        if ["id", "schemas", "meta"].iter().any(|fixed| rest.eq_ignore_ascii_case(fixed)) {
            return Ok(Some(Target::Fixed));
        }
    }
    let (name, sub) = rest.split_once('.').map_or((rest, None), |(name, sub)| (name, Some(sub)));
    let Some(attribute) = find(attributes, name) else { return Ok(None) };
    let sub = match sub {
        None => None,
        Some(sub) => Some(
            find(attribute.sub, sub)
                .ok_or_else(|| ScimError::path(format!("`{}` has no `{}`", attribute.name, short(sub))))?,
        ),
    };
    Ok(Some(Target::Attribute(extension, attribute, sub)))
}

fn one(
    resource: &mut Object,
    op: Op,
    target: &Target,
    path: &Path,
    sent: Option<&Value>,
) -> Result<(), ScimError> {
    let needed = || sent.ok_or_else(|| ScimError::value("`value` is missing"));
    match target {
        Target::Fixed => Err(ScimError::mutability("only the server writes this")),
        Target::ExternalId => {
            let external = if op == Op::Remove { None } else { value::external_id(needed()?)? };
            resource.remove(EXTERNAL_ID);
            if let Some(external) = external {
                resource.insert(EXTERNAL_ID, external);
            }
            Ok(())
        }
        Target::Extension(urn, attributes) => {
            if op == Op::Remove {
                resource.remove(urn);
                return Ok(());
            }
            let members =
                needed()?.as_object().ok_or_else(|| ScimError::value(format!("`{urn}` is no object")))?;
            for (name, value) in members {
                let Some(attribute) = find(attributes, name) else { continue };
                within(resource, Some(urn), |container| {
                    change(container, op, attribute, None, None, Some(value))
                })?;
            }
            Ok(())
        }
        Target::Attribute(extension, attribute, sub) => {
            let sub = match (&path.sub, sub) {
                (None, sub) => *sub,
                (Some(name), None) => Some(find(attribute.sub, name).ok_or_else(|| {
                    ScimError::path(format!("`{}` has no `{}`", attribute.name, short(name)))
                })?),
                (Some(_), Some(_)) => {
                    return Err(ScimError::path("a sub-attribute stands before the filter"));
                }
            };
            if attribute.mutability == Mutability::ReadOnly
                || sub.is_some_and(|sub| sub.mutability == Mutability::ReadOnly)
            {
                return Err(ScimError::mutability(format!("`{}` is read-only", attribute.name)));
            }
            within(resource, *extension, |container| {
                change(container, op, attribute, path.filter.as_ref(), sub, sent)
            })
        }
    }
}

/// Works on the resource itself or on its extension, which goes when it is empty.
fn within<T>(
    resource: &mut Object,
    extension: Option<&str>,
    work: impl FnOnce(&mut Object) -> Result<T, ScimError>,
) -> Result<T, ScimError> {
    let Some(urn) = extension else { return work(resource) };
    let mut container = resource.remove(urn).and_then(Value::into_object).unwrap_or_default();
    let done = work(&mut container)?;
    if !container.is_empty() {
        resource.insert(urn, container);
    }
    Ok(done)
}

fn change(
    container: &mut Object,
    op: Op,
    attribute: &'static Attribute,
    filter: Option<&Filter>,
    sub: Option<&'static Attribute>,
    sent: Option<&Value>,
) -> Result<(), ScimError> {
    let name = attribute.name;
    if let Some(filter) = filter {
        if !attribute.many {
            return Err(ScimError::path(format!("`{name}` has one value only")));
        }
        return chosen(container, op, attribute, filter, sub, sent);
    }
    if let Some(sub) = sub {
        return below(container, op, attribute, sub, sent);
    }
    if op == Op::Remove {
        return remove(container, attribute, sent);
    }
    let sent = sent.ok_or_else(|| ScimError::value("`value` is missing"))?;
    let Some(read) = value::assigned(attribute, sent, "")? else {
        // Null and an empty list unassign; adding nothing changes nothing.
        return if op == Op::Replace { remove(container, attribute, None) } else { Ok(()) };
    };
    let merged = match (container.remove(name), read) {
        (Some(Value::Array(had)), Value::Array(new)) if op == Op::Add => Value::Array(joined(had, new)?),
        (Some(Value::Object(mut had)), Value::Object(new)) => {
            had.extend(new);
            had.into()
        }
        (_, read) => read,
    };
    container.insert(name, merged);
    Ok(())
}

/// Removes an attribute, or of a list only the values that are named.
fn remove(
    container: &mut Object,
    attribute: &'static Attribute,
    sent: Option<&Value>,
) -> Result<(), ScimError> {
    if attribute.required {
        return Err(ScimError::mutability(format!("`{}` is required", attribute.name)));
    }
    let listed = match sent {
        Some(sent) if attribute.many && !sent.is_null() => value::assigned(attribute, sent, "")?,
        _ => None,
    };
    if let (Some(Value::Array(gone)), Some(Value::Array(mut had))) =
        (listed, container.remove(attribute.name))
    {
        had.retain(|value| !gone.iter().any(|gone| is_same(value, gone)));
        if !had.is_empty() {
            container.insert(attribute.name, Value::Array(had));
        }
    }
    Ok(())
}

/// `name.givenName`; of a list, in each of its values.
fn below(
    container: &mut Object,
    op: Op,
    attribute: &'static Attribute,
    sub: &'static Attribute,
    sent: Option<&Value>,
) -> Result<(), ScimError> {
    let new = fresh(op, sub, sent)?;
    let mut values = match container.remove(attribute.name) {
        Some(Value::Array(values)) => values,
        Some(value) => vec![value],
        None => Vec::new(),
    };
    if values.is_empty() && new.is_some() {
        values.push(Object::new().into());
    }
    for value in &mut values {
        if let Some(object) = value.as_object_mut() {
            set(object, sub, new.as_ref(), false)?;
        }
    }
    values.retain(|value| value.as_object().is_some_and(|object| !object.is_empty()));
    put(container, attribute, values)
}

/// The values of a list that a filter chooses.
fn chosen(
    container: &mut Object,
    op: Op,
    attribute: &'static Attribute,
    filter: &Filter,
    sub: Option<&'static Attribute>,
    sent: Option<&Value>,
) -> Result<(), ScimError> {
    let mut values = match container.remove(attribute.name) {
        Some(Value::Array(values)) => values,
        _ => Vec::new(),
    };
    if op == Op::Remove && sub.is_none() {
        values.retain(|value| !filter.matches(value));
        return put(container, attribute, values);
    }
    let (new, whole) = match sub {
        Some(sub) => (fresh(op, sub, sent)?, None),
        None => {
            let sent = sent.ok_or_else(|| ScimError::value("`value` is missing"))?;
            (None, value::single(attribute, sent, "")?.and_then(Value::into_object))
        }
    };
    let mut found = false;
    let primary = sub.is_some_and(|sub| sub.name == "primary") && new == Some(Value::Bool(true));
    for value in &mut values {
        let matches = filter.matches(value);
        let Some(object) = value.as_object_mut() else { continue };
        if matches {
            found = true;
            match (sub, &whole) {
                (Some(sub), _) => set(object, sub, new.as_ref(), true)?,
                (None, Some(whole)) => object.extend(whole.clone()),
                (None, None) => {}
            }
        } else if primary {
            object.remove("primary");
        }
    }
    if !found && op != Op::Remove {
        // Entra replaces `emails[type eq "work"].value` where there is none yet, and means that there be one.
        let demanded = filter
            .equalities()
            .ok_or_else(|| ScimError::no_target(format!("no value of `{}` is meant", attribute.name)))?;
        let mut object = Object::new();
        for (name, wanted) in demanded {
            let sub = find(attribute.sub, name)
                .ok_or_else(|| ScimError::path(format!("`{}` has no `{}`", attribute.name, short(name))))?;
            if let Some(wanted) = value::single(sub, wanted, "")? {
                object.insert(sub.name, wanted);
            }
        }
        if let (Some(sub), Some(new)) = (sub, new) {
            object.insert(sub.name, new);
        }
        object.extend(whole.unwrap_or_default());
        values = joined(values, vec![object.into()])?;
    }
    values.retain(|value| value.as_object().is_some_and(|object| !object.is_empty()));
    put(container, attribute, values)
}

/// The value of a sub-attribute; none to remove it.
fn fresh(op: Op, sub: &'static Attribute, sent: Option<&Value>) -> Result<Option<Value>, ScimError> {
    if op == Op::Remove {
        return Ok(None);
    }
    value::assigned(sub, sent.ok_or_else(|| ScimError::value("`value` is missing"))?, "")
}

fn set(
    object: &mut Object,
    sub: &'static Attribute,
    new: Option<&Value>,
    existing: bool,
) -> Result<(), ScimError> {
    let had = object.get(sub.name);
    if existing && sub.mutability == Mutability::Immutable && had.is_some() && had != new {
        return Err(ScimError::mutability(format!("`{}` can't be changed", sub.name)));
    }
    match new {
        Some(new) => object.insert(sub.name, new.clone()),
        None => object.remove(sub.name),
    };
    Ok(())
}

fn put(
    container: &mut Object,
    attribute: &'static Attribute,
    mut values: Vec<Value>,
) -> Result<(), ScimError> {
    if values.iter().filter(|value| is_primary(value)).count() > 1 {
        return Err(ScimError::value(format!("`{}` has several primary values", attribute.name)));
    }
    if attribute.many {
        if !values.is_empty() {
            container.insert(attribute.name, Value::Array(values));
        }
    } else if let Some(value) = values.pop() {
        container.insert(attribute.name, value);
    }
    Ok(())
}

/// New values behind those that are there; what is there already stands once, and the newest primary is the only one.
fn joined(mut had: Vec<Value>, new: Vec<Value>) -> Result<Vec<Value>, ScimError> {
    if new.iter().any(is_primary) {
        for value in had.iter_mut().filter_map(Value::as_object_mut) {
            if value.get("primary").and_then(Value::as_bool) == Some(true) {
                value.remove("primary");
            }
        }
    }
    let known: std::collections::BTreeSet<String> = had.iter().filter_map(identity).collect();
    let mut known = known;
    for value in new {
        let is_new = match identity(&value) {
            Some(id) => known.insert(id),
            None => !had.contains(&value),
        };
        if is_new {
            had.push(value);
        }
    }
    if had.len() > value::MAX_VALUES {
        return Err(ScimError::value(format!("more than {} values", value::MAX_VALUES)));
    }
    Ok(had)
}

/// What a value is told from others by: `value` with its `type`.
fn identity(value: &Value) -> Option<String> {
    let kind = value.get("type").and_then(Value::as_str).unwrap_or_default();
    Some(format!("{kind}\n{}", value.get("value")?.as_str()?))
}

fn is_same(value: &Value, other: &Value) -> bool {
    match (value.get("value"), other.get("value")) {
        (Some(a), Some(b)) => {
            a == b && other.get("type").is_none_or(|kind| value.get("type").is_none_or(|had| had == kind))
        }
        (_, _) => value == other,
    }
}

fn short(text: &str) -> String {
    text.chars().take(64).collect()
}
