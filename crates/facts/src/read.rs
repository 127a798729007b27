//! Reading objects strictly: every member is asked for, and none is left over.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
};

use placet_core::{Decimal, Name, Timestamp};
use placet_json::{Object, Value};

use crate::ChangeError;

/// How deep the values of attributes may nest.
const MAX_ATTRIBUTE_DEPTH: usize = 16;
/// The longest text in an attribute, in bytes.
const MAX_ATTRIBUTE_TEXT: usize = 16 * 1024;

pub(crate) struct Fields<'v> {
    object: &'v Object,
    path: String,
    asked: Vec<&'v str>,
}

impl<'v> Fields<'v> {
    pub(crate) fn open(value: &'v Value, path: &str) -> Result<Self, ChangeError> {
        match value.as_object() {
            Some(object) => {
                Ok(Self { object, path: path.to_owned(), asked: Vec::with_capacity(object.len()) })
            }
            None => Err(ChangeError::malformed(path, "is not an object", "write `{…}` here")),
        }
    }
    pub(crate) fn at(&self, name: &str) -> String {
        format!("{}/{}", self.path, pointer_segment(name))
    }
    pub(crate) fn optional(&mut self, name: &'v str) -> Option<&'v Value> {
        self.asked.push(name);
        self.object.get(name)
    }
    pub(crate) fn required(&mut self, name: &'v str) -> Result<&'v Value, ChangeError> {
        match self.optional(name) {
            Some(value) => Ok(value),
            None => {
                Err(ChangeError::malformed(&self.path, format!("has no `{name}`"), format!("add `{name}`")))
            }
        }
    }
    pub(crate) fn text(&mut self, name: &'v str) -> Result<&'v str, ChangeError> {
        let value = self.required(name)?;
        text(value, &self.at(name))
    }
    /// A required member that is parsed from text: an id, a moment, a digest.
    pub(crate) fn parsed<T, E: Display>(
        &mut self,
        name: &'v str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<T, ChangeError> {
        let text = self.text(name)?;
        parse(text).map_err(|error| ChangeError::malformed(&self.at(name), error.to_string(), ""))
    }
    pub(crate) fn name(&mut self, name: &'v str) -> Result<Name, ChangeError> {
        self.parsed(name, Name::new)
    }
    pub(crate) fn moment(&mut self, name: &'v str) -> Result<Timestamp, ChangeError> {
        self.parsed(name, Timestamp::parse)
    }
    pub(crate) fn names(&mut self, name: &'v str) -> Result<BTreeSet<Name>, ChangeError> {
        let path = self.at(name);
        elements(self.required(name)?, &path)?.iter().enumerate().try_fold(
            BTreeSet::new(),
            |mut names, (i, element)| {
                let path = format!("{path}/{i}");
                if !names.insert(name_of(element, &path)?) {
                    return Err(ChangeError::malformed(&path, "stands twice", "remove one"));
                }
                Ok(names)
            },
        )
    }
    pub(crate) fn unexpected(&self) -> Result<(), ChangeError> {
        match self.object.keys().find(|name| !self.asked.contains(name)) {
            Some(name) => Err(ChangeError::malformed(
                &self.at(name),
                "is not known here",
                format!("known are {}", quoted(&self.asked)),
            )),
            None => Ok(()),
        }
    }
}

pub(crate) fn text<'v>(value: &'v Value, path: &str) -> Result<&'v str, ChangeError> {
    value
        .as_str()
        .ok_or_else(|| ChangeError::malformed(path, "is not a string", "write it in quotation marks"))
}

pub(crate) fn name_of(value: &Value, path: &str) -> Result<Name, ChangeError> {
    Name::new(text(value, path)?).map_err(|error| ChangeError::malformed(path, error.to_string(), ""))
}

pub(crate) fn elements<'v>(value: &'v Value, path: &str) -> Result<&'v [Value], ChangeError> {
    value.as_array().ok_or_else(|| ChangeError::malformed(path, "is not an array", "write `[…]` here"))
}

pub(crate) fn members<'v>(value: &'v Value, path: &str) -> Result<&'v Object, ChangeError> {
    value.as_object().ok_or_else(|| ChangeError::malformed(path, "is not an object", "write `{…}` here"))
}

/// Members whose names are [`Name`]s, each read by `read`.
pub(crate) fn named<T>(
    value: &Value,
    path: &str,
    read: impl Fn(&Value, &str) -> Result<T, ChangeError>,
) -> Result<BTreeMap<Name, T>, ChangeError> {
    members(value, path)?.iter().try_fold(BTreeMap::new(), |mut all, (name, value)| {
        let path = format!("{path}/{}", pointer_segment(name));
        let name = Name::new(name).map_err(|error| ChangeError::malformed(&path, error.to_string(), ""))?;
        all.insert(name, read(value, &path)?);
        Ok(all)
    })
}

/// An attribute's value: without `null`, every number an exact [`Decimal`] in its one spelling.
pub(crate) fn attribute(value: &Value, path: &str) -> Result<Value, ChangeError> {
    attribute_at(value, path, 0)
}

fn attribute_at(value: &Value, path: &str, depth: usize) -> Result<Value, ChangeError> {
    if depth > MAX_ATTRIBUTE_DEPTH {
        return Err(ChangeError::malformed(
            path,
            format!("is nested deeper than {MAX_ATTRIBUTE_DEPTH}"),
            "flatten it",
        ));
    }
    let below = depth.saturating_add(1);
    match value {
        Value::Null => Err(ChangeError::malformed(path, "is null", "leave the attribute out instead")),
        Value::Bool(truth) => Ok(Value::from(*truth)),
        Value::Number(number) => Decimal::from_number(number)
            .map(Decimal::to_value)
            .map_err(|error| ChangeError::malformed(path, error.to_string(), "write it as a string")),
        Value::String(text) if text.len() > MAX_ATTRIBUTE_TEXT => Err(ChangeError::malformed(
            path,
            format!("is longer than {MAX_ATTRIBUTE_TEXT} bytes"),
            "facts hold what decides, not documents",
        )),
        Value::String(text) => Ok(Value::from(text.as_str())),
        Value::Array(elements) => {
            let elements: Result<Vec<_>, _> = elements
                .iter()
                .enumerate()
                .map(|(i, e)| attribute_at(e, &format!("{path}/{i}"), below))
                .collect();
            Ok(Value::Array(elements?))
        }
        Value::Object(object) => {
            let members: Result<Object, _> = object
                .iter()
                .map(|(name, value)| {
                    Ok((
                        name.to_owned(),
                        attribute_at(value, &format!("{path}/{}", pointer_segment(name)), below)?,
                    ))
                })
                .collect();
            Ok(Value::Object(members?))
        }
    }
}

fn pointer_segment(name: &str) -> String {
    name.chars().take(64).collect::<String>().replace('~', "~0").replace('/', "~1")
}

pub(crate) fn quoted(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
