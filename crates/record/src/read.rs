//! Reading records back.

use placet_core::{Digest, Name, Timestamp};
use placet_json::{Object, Value};

/// Why a record can't be read: which member is wrong, and how.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the record's `{member}` {what}")]
pub struct BadRecord {
    /// The member's path.
    pub member: String,
    /// What is wrong with it.
    pub what: String,
}

pub(crate) fn bad(member: &str, what: impl std::fmt::Display) -> BadRecord {
    BadRecord { member: member.to_owned(), what: what.to_string() }
}

pub(crate) fn object<'a>(value: &'a Value, path: &str) -> Result<&'a Object, BadRecord> {
    value.as_object().ok_or_else(|| bad(path, "isn't an object"))
}
pub(crate) fn member<'a>(object: &'a Object, name: &str) -> Result<&'a Value, BadRecord> {
    object.get(name).ok_or_else(|| bad(name, "is missing"))
}
pub(crate) fn text<'a>(object: &'a Object, name: &str) -> Result<&'a str, BadRecord> {
    member(object, name)?.as_str().ok_or_else(|| bad(name, "isn't a string"))
}
pub(crate) fn name(object: &Object, member: &str) -> Result<Name, BadRecord> {
    Name::new(text(object, member)?).map_err(|error| bad(member, error))
}
pub(crate) fn number(object: &Object, name: &str) -> Result<u64, BadRecord> {
    member(object, name)?.as_u64().ok_or_else(|| bad(name, "isn't a whole number"))
}
pub(crate) fn time(object: &Object, name: &str) -> Result<Timestamp, BadRecord> {
    Timestamp::parse(text(object, name)?).map_err(|error| bad(name, error))
}
pub(crate) fn digest(object: &Object, name: &str) -> Result<Digest, BadRecord> {
    Digest::parse(text(object, name)?).ok_or_else(|| bad(name, "isn't a digest"))
}
pub(crate) fn list<'a>(object: &'a Object, name: &str) -> Result<&'a [Value], BadRecord> {
    member(object, name)?.as_array().ok_or_else(|| bad(name, "isn't a list"))
}
pub(crate) fn names(object: &Object, member: &str) -> Result<Vec<Name>, BadRecord> {
    list(object, member)?
        .iter()
        .map(|value| {
            value
                .as_str()
                .ok_or_else(|| bad(member, "holds something that is no string"))
                .and_then(|text| Name::new(text).map_err(|error| bad(member, error)))
        })
        .collect()
}
