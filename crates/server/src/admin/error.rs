//! Refusals of the administration API: `{"error": {"code", "message", "remedy"}}`.

use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use placet_facts::{ChangeError, Kind};
use placet_json::{Value, object};

use crate::books::{Unpromoted, Unwritten};

/// A refusal.
#[derive(Debug, Clone)]
pub struct ApiError {
    /// The HTTP status.
    pub status: StatusCode,
    /// A stable code.
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub remedy: String,
}

impl ApiError {
    pub(super) fn new(
        status: StatusCode,
        code: &'static str,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { status, code, message: message.into(), remedy: remedy.into() }
    }
    /// What a caller is told.
    pub(super) fn to_value(&self) -> Value {
        object! { "code" => self.code, "message" => self.message.as_str(), "remedy" => self.remedy.as_str() }
            .into()
    }
    pub(super) fn malformed(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed", message, remedy)
    }
    /// All failures to authenticate look alike.
    pub(super) fn unauthenticated() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "unauthenticated",
            "the request isn't signed by a key that is known here",
            "check `--server`, `--key` and `--as`, and this machine's clock",
        )
    }
    pub(super) fn forbidden(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", message, remedy)
    }
    pub(super) fn missing(what: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::NOT_FOUND, "unknown", format!("there is no {what}"), "")
    }
    pub(super) fn conflict(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", message, remedy)
    }
    pub(super) fn down(message: impl Into<String>) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "unavailable",
            message,
            "see `placet doctor` and `/readyz`",
        )
    }
}

impl From<ChangeError> for ApiError {
    fn from(error: ChangeError) -> Self {
        let (status, code) = match error.kind {
            Kind::Malformed => (StatusCode::BAD_REQUEST, "malformed"),
            Kind::Unknown => (StatusCode::UNPROCESSABLE_ENTITY, "unknown"),
            Kind::Conflict => (StatusCode::CONFLICT, "conflict"),
            Kind::Widening => (StatusCode::UNPROCESSABLE_ENTITY, "widening"),
        };
        let message =
            if error.path.is_empty() { error.message } else { format!("`{}` {}", error.path, error.message) };
        Self::new(status, code, message, error.remedy)
    }
}

impl From<Unwritten> for ApiError {
    fn from(error: Unwritten) -> Self {
        match error {
            Unwritten::Change(error) => error.into(),
            Unwritten::Down(why) => Self::down(format!("the ledger takes no entries: {why}")),
        }
    }
}

impl From<Unpromoted> for ApiError {
    fn from(error: Unpromoted) -> Self {
        match error {
            Unpromoted::NoRelease(findings) => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "release_invalid",
                findings,
                "run `placet check` on its directory",
            ),
            Unpromoted::Unknown(_) => Self::missing("such release here"),
            Unpromoted::Down(why) => Self::down(format!("the ledger takes no entries: {why}")),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = json(self.status, &object! { "error" => self.to_value() }.into());
        // The outer layer records a refused attempt.
        response.extensions_mut().insert(self);
        response
    }
}

/// A JSON answer that nobody caches.
pub(crate) fn json(status: StatusCode, body: &Value) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    (status, headers, body.to_bytes()).into_response()
}
