//! Errors as RFC 7644 §3.12 shows them: `status` is a string, `scimType` says what sort of 400 or 409 it is.

use placet_json::{Value, object};

/// Why a request was refused; nothing was applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{status}: {detail}")]
pub struct ScimError {
    /// The HTTP status.
    pub status: u16,
    /// `scimType`, where the RFC has one.
    pub sort: Option<&'static str>,
    /// For people.
    pub detail: String,
}

impl ScimError {
    fn new(status: u16, sort: Option<&'static str>, detail: impl Into<String>) -> Self {
        Self { status, sort, detail: detail.into() }
    }
    /// 400: not JSON, or not of the shape.
    pub fn syntax(detail: impl Into<String>) -> Self {
        Self::new(400, Some("invalidSyntax"), detail)
    }
    /// 400: a value of another type, or one that can't be.
    pub fn value(detail: impl Into<String>) -> Self {
        Self::new(400, Some("invalidValue"), detail)
    }
    /// 400: a path that is none, or names no attribute.
    pub fn path(detail: impl Into<String>) -> Self {
        Self::new(400, Some("invalidPath"), detail)
    }
    /// 400: a filter that is none.
    pub fn filter(detail: impl Into<String>) -> Self {
        Self::new(400, Some("invalidFilter"), detail)
    }
    /// 400: an attribute that isn't the client's to write.
    pub fn mutability(detail: impl Into<String>) -> Self {
        Self::new(400, Some("mutability"), detail)
    }
    /// 400: a `replace` that finds nothing.
    pub fn no_target(detail: impl Into<String>) -> Self {
        Self::new(400, Some("noTarget"), detail)
    }
    /// 409: somebody else has the name.
    pub fn uniqueness(detail: impl Into<String>) -> Self {
        Self::new(409, Some("uniqueness"), detail)
    }
    /// 404.
    #[must_use]
    pub fn missing() -> Self {
        Self::new(404, None, "there is no such resource")
    }
    /// 405.
    #[must_use]
    pub fn method() -> Self {
        Self::new(405, None, "this path has no such method")
    }
    /// 412: the version named isn't the newest.
    #[must_use]
    pub fn stale() -> Self {
        Self::new(412, None, "the resource has another version by now; read it again")
    }
    /// 413.
    #[must_use]
    pub fn too_large() -> Self {
        Self::new(413, None, "the body is too large")
    }
    /// 503: the ledger takes nothing.
    #[must_use]
    pub fn down() -> Self {
        Self::new(503, None, "nothing can be recorded now; try again later")
    }

    /// The body.
    #[must_use]
    pub fn document(&self) -> Value {
        let mut document = object! {
            "schemas" => Value::Array(vec![Value::from("urn:ietf:params:scim:api:messages:2.0:Error")]),
            "status" => self.status.to_string(), "detail" => self.detail.as_str(),
        };
        if let Some(sort) = self.sort {
            document.insert("scimType", sort);
        }
        document.into()
    }
}
