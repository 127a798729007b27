//! A request's body: one JSON object, read strictly.

use bytes::Bytes;
use placet_core::Name;
use placet_json::{Limits, Object, Value};

use super::error::ApiError;

/// The members of a body. Each is taken; what is left over is refused.
#[derive(Debug)]
pub(super) struct Body(Object);

impl Body {
    /// Reads the bytes; an empty body is an empty object.
    pub(super) fn parse(bytes: &Bytes) -> Result<Self, ApiError> {
        if bytes.is_empty() {
            return Ok(Self(Object::new()));
        }
        let limits = Limits { bytes: bytes.len(), members: 100_000, ..Limits::MESSAGE };
        match placet_json::parse(bytes, &limits) {
            Ok(Value::Object(object)) => Ok(Self(object)),
            Ok(_) => Err(ApiError::malformed("the body is not a JSON object", "send `{…}`")),
            Err(error) => Err(ApiError::malformed(
                format!("the body can't be read: {error}"),
                "send one JSON object, each member once",
            )),
        }
    }
    pub(super) fn optional(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name)
    }
    pub(super) fn required(&mut self, name: &str) -> Result<Value, ApiError> {
        self.0
            .remove(name)
            .ok_or_else(|| ApiError::malformed(format!("`{name}` is missing"), format!("add `{name}`")))
    }
    pub(super) fn optional_text(&mut self, name: &str) -> Result<Option<String>, ApiError> {
        match self.0.remove(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => {
                Err(ApiError::malformed(format!("`{name}` is not a text"), "write it in quotation marks"))
            }
        }
    }
    pub(super) fn text(&mut self, name: &str) -> Result<String, ApiError> {
        self.optional_text(name)?
            .ok_or_else(|| ApiError::malformed(format!("`{name}` is missing"), format!("add `{name}`")))
    }
    /// A text of the alphabet of identifiers.
    pub(super) fn name(&mut self, name: &str) -> Result<Name, ApiError> {
        named(&self.text(name)?, name)
    }
    /// Why something is done: `why`, for people and for the ledger.
    pub(super) fn why(&mut self) -> Result<String, ApiError> {
        Ok(self.optional_text("why")?.unwrap_or_default())
    }
    /// Sets a member unless it is there.
    pub(super) fn default(&mut self, name: &str, value: impl Into<Value>) {
        if !self.0.contains_key(name) {
            self.0.insert(name, value);
        }
    }
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }
    /// The members that are left.
    pub(super) fn rest(self) -> Object {
        self.0
    }
    /// Refuses members that are left.
    pub(super) fn finish(self) -> Result<(), ApiError> {
        match self.0.keys().next() {
            None => Ok(()),
            Some(name) => {
                let name: String = name.chars().take(64).collect();
                Err(ApiError::malformed(format!("`{name}` is not known here"), "see `/v1/openapi.json`"))
            }
        }
    }
}

/// A text of the alphabet of identifiers.
pub(super) fn named(text: &str, what: &str) -> Result<Name, ApiError> {
    Name::new(text).map_err(|error| ApiError::malformed(format!("`{what}`: {error}"), ""))
}
