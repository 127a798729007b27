//! Resources as they are answered: with what the server adds, and only the attributes that were asked for.

use placet_facts::{DirectoryRecord, OrgFacts, RecordKind};
use placet_json::{Object, Value, object};

use super::{
    filter::bare,
    schema::{ENTERPRISE, GROUP, USER},
};

/// A weak entity tag: versions of one resource, compared for equality.
pub(crate) fn etag(record: &DirectoryRecord) -> String {
    format!("W/\"{}\"", record.version)
}

pub(crate) fn endpoint(kind: RecordKind) -> &'static str {
    match kind {
        RecordKind::User => "Users",
        RecordKind::Group => "Groups",
    }
}

pub(crate) fn location(base: &str, kind: RecordKind, id: &str) -> String {
    format!("{base}/{}/{id}", endpoint(kind))
}

/// A record as a resource, whole.
pub(crate) fn resource(org: &OrgFacts, base: &str, record: &DirectoryRecord) -> Object {
    let (core, name) = match record.kind {
        RecordKind::User => (USER, "User"),
        RecordKind::Group => (GROUP, "Group"),
    };
    let mut schemas = vec![Value::from(core)];
    if record.document.get(ENTERPRISE).is_some() {
        schemas.push(ENTERPRISE.into());
    }
    let mut shown = object! { "schemas" => Value::Array(schemas), "id" => record.id.as_str() };
    shown.extend(record.document.as_object().cloned().unwrap_or_default());
    match record.kind {
        RecordKind::User => {
            let groups: Vec<Value> = org
                .groups_of(&record.feed, record.id.as_str())
                .map(|group| {
                    let mut shown = object! {
                        "value" => group.id.as_str(),
                        "$ref" => location(base, RecordKind::Group, group.id.as_str()), "type" => "direct",
                    };
                    if let Some(name) = group.document.get("displayName") {
                        shown.insert("display", name.clone());
                    }
                    shown.into()
                })
                .collect();
            if !groups.is_empty() {
                shown.insert("groups", Value::Array(groups));
            }
        }
        RecordKind::Group => {
            let members = shown.get_mut("members").and_then(Value::as_array_mut);
            for member in members.into_iter().flatten().filter_map(Value::as_object_mut) {
                let id = member.get("value").and_then(Value::as_str).unwrap_or_default().to_owned();
                member.insert("$ref", location(base, RecordKind::User, &id));
                member.insert("type", "User");
            }
        }
    }
    shown.insert(
        "meta",
        object! {
            "resourceType" => name, "created" => record.created.to_string(),
            "lastModified" => record.modified.to_string(), "version" => etag(record),
            "location" => location(base, record.kind, record.id.as_str()),
        },
    );
    shown
}

/// Which attributes are asked for (RFC 7644 §3.9).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) only: Vec<String>,
    pub(crate) without: Vec<String>,
}

impl Wanted {
    /// Only what is asked for; `id` and `schemas` always.
    pub(crate) fn of(&self, resource: Object) -> Object {
        let always = |name: &str| matches!(name, "id" | "schemas");
        if !self.only.is_empty() {
            return resource
                .into_iter()
                .filter_map(|(name, value)| {
                    if always(&name) {
                        return Some((name, value));
                    }
                    let kept = keep(&name, value, &self.only)?;
                    Some((name, kept))
                })
                .collect();
        }
        if self.without.is_empty() {
            return resource;
        }
        resource
            .into_iter()
            .filter_map(|(name, value)| {
                if always(&name) {
                    return Some((name, value));
                }
                let left = leave(&name, value, &self.without)?;
                Some((name, left))
            })
            .collect()
    }
}

/// What of an attribute a list of names means: the whole, a part, nothing.
fn keep(name: &str, value: Value, names: &[String]) -> Option<Value> {
    if names.iter().any(|one| is_whole(one, name)) {
        return Some(value);
    }
    let parts: Vec<&str> = names.iter().filter_map(|one| part(one, name)).collect();
    if parts.is_empty() {
        return None;
    }
    Some(each(value, &|object| {
        object.retain(|key, _| parts.iter().any(|part| part.eq_ignore_ascii_case(key)));
    }))
}

fn leave(name: &str, value: Value, names: &[String]) -> Option<Value> {
    if names.iter().any(|one| is_whole(one, name)) {
        return None;
    }
    let parts: Vec<&str> = names.iter().filter_map(|one| part(one, name)).collect();
    Some(each(value, &|object| {
        object.retain(|key, _| !parts.iter().any(|part| part.eq_ignore_ascii_case(key)));
    }))
}

fn is_whole(asked: &str, name: &str) -> bool {
    asked.eq_ignore_ascii_case(name)
        || (!name.starts_with("urn:") && !is_of_extension(asked) && bare(asked).eq_ignore_ascii_case(name))
}

/// `name.givenName` of `name`; `urn:…:User:department` of `urn:…:User`.
fn part<'a>(asked: &'a str, name: &str) -> Option<&'a str> {
    let start = asked.get(..name.len());
    if name.starts_with("urn:") {
        return start
            .filter(|start| start.eq_ignore_ascii_case(name))
            .and_then(|_| asked.get(name.len()..)?.strip_prefix(':'))
            .map(|rest| rest.split('.').next().unwrap_or(rest));
    }
    if is_of_extension(asked) {
        return None;
    }
    let (first, rest) = bare(asked).split_once('.')?;
    first.eq_ignore_ascii_case(name).then_some(rest)
}

fn is_of_extension(asked: &str) -> bool {
    asked.get(..ENTERPRISE.len()).is_some_and(|start| start.eq_ignore_ascii_case(ENTERPRISE))
}

fn each(value: Value, work: &dyn Fn(&mut Object)) -> Value {
    match value {
        Value::Object(mut object) => {
            work(&mut object);
            object.into()
        }
        Value::Array(values) => Value::Array(values.into_iter().map(|value| each(value, work)).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
    }
}
