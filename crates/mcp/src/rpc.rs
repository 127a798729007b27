//! Errors on the wire: JSON-RPC codes and the refusals that carry them.

use placet_json::{Object, Value, object};

use crate::{Id, Message, Revision};

/// Error codes. -32020 to -32099 belong to the protocol, -32000 to -32019 are leftovers without meaning.
pub mod code {
    /// Invalid JSON.
    pub const PARSE_ERROR: i64 = -32700;
    /// JSON, but not a message.
    pub const INVALID_REQUEST: i64 = -32600;
    /// No such method.
    pub const METHOD_NOT_FOUND: i64 = -32601;
    /// Wrong parameters; to modern peers also an unknown tool or resource.
    pub const INVALID_PARAMS: i64 = -32602;
    /// Something broke.
    pub const INTERNAL_ERROR: i64 = -32603;
    /// A mirrored header is missing, malformed or differs from the body (2026-07-28).
    pub const HEADER_MISMATCH: i64 = -32020;
    /// The client lacks a capability that the request needs (2026-07-28).
    pub const MISSING_CAPABILITY: i64 = -32021;
    /// The revision is not supported (2026-07-28).
    pub const UNSUPPORTED_VERSION: i64 = -32022;
    /// No such resource (until 2025-11-25).
    pub const LEGACY_RESOURCE_NOT_FOUND: i64 = -32002;
    /// Open a page first (2025-11-25).
    pub const LEGACY_URL_ELICITATION: i64 = -32042;
}

/// The `error` of a JSON-RPC response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RpcError {
    /// See [`code`].
    pub code: i64,
    /// One sentence.
    pub message: String,
    /// More, if there is more.
    pub data: Option<Value>,
}

/// A message that is not let in: the error to answer with and, over HTTP, the status of the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Status code; without meaning over stdio.
    pub http_status: u16,
    /// Id of the refused request, if it could be read.
    pub id: Option<Id>,
    /// What to answer.
    pub error: RpcError,
}

impl RpcError {
    /// An error without data.
    #[must_use]
    pub fn new(code: i64, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: None }
    }

    /// The same error with `data`.
    #[must_use]
    pub fn with_data(self, data: impl Into<Value>) -> Self {
        Self { data: Some(data.into()), ..self }
    }

    /// -32601, for a method that does not exist or is not offered.
    #[must_use]
    pub fn method_not_found() -> Self {
        Self::new(code::METHOD_NOT_FOUND, "method not found")
    }

    /// -32602.
    #[must_use]
    pub fn invalid_params(message: impl Into<String>) -> Self {
        Self::new(code::INVALID_PARAMS, message)
    }

    /// -32603.
    #[must_use]
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(code::INTERNAL_ERROR, message)
    }

    /// -32022, naming what was asked for and what there is.
    #[must_use]
    pub fn unsupported_version(requested: &str) -> Self {
        let supported: Vec<Value> =
            Revision::MODERN.iter().map(|revision| revision.as_str().into()).collect();
        Self::new(code::UNSUPPORTED_VERSION, "unsupported protocol version")
            .with_data(object! { "requested" => requested, "supported" => supported })
    }

    /// -32021, naming the client capabilities that the request needs.
    #[must_use]
    pub fn missing_capability(required: Object) -> Self {
        Self::new(code::MISSING_CAPABILITY, "a required client capability is missing")
            .with_data(object! { "requiredCapabilities" => required })
    }

    /// Reads the `error` member of a response; members beyond code, message and data are dropped.
    pub fn from_value(value: Value) -> Result<Self, &'static str> {
        let Value::Object(mut error) = value else { return Err("`error` is not an object") };
        let code = error.get("code").and_then(Value::as_i64).ok_or("`error.code` is not an integer")?;
        let Some(Value::String(message)) = error.remove("message") else {
            return Err("`error.message` is not a string");
        };
        Ok(Self { code, message, data: error.remove("data") })
    }

    /// The `error` member of a response.
    #[must_use]
    pub fn into_value(self) -> Value {
        let mut error = object! { "code" => self.code, "message" => self.message };
        if let Some(data) = self.data {
            error.insert("data", data);
        }
        error.into()
    }

    /// HTTP status of a modern response with this error: 404 for an unknown method, 400 for the protocol's own
    /// refusals, else 200.
    #[must_use]
    pub fn modern_http_status(&self) -> u16 {
        match self.code {
            code::METHOD_NOT_FOUND => 404,
            code::PARSE_ERROR
            | code::INVALID_REQUEST
            | code::HEADER_MISMATCH
            | code::MISSING_CAPABILITY
            | code::UNSUPPORTED_VERSION => 400,
            _ => 200,
        }
    }
}

impl Refusal {
    /// Answers 400 with `error`.
    #[must_use]
    pub fn bad_request(id: Option<Id>, error: RpcError) -> Self {
        Self { http_status: 400, id, error }
    }

    /// -32020; `what` names the header, never its value.
    #[must_use]
    pub fn header_mismatch(id: Option<Id>, what: impl Into<String>) -> Self {
        Self::bad_request(id, RpcError::new(code::HEADER_MISMATCH, what))
    }

    /// 404 and -32601.
    #[must_use]
    pub fn method_not_found(id: Option<Id>) -> Self {
        Self { http_status: 404, id, error: RpcError::method_not_found() }
    }

    /// The response to send.
    #[must_use]
    pub fn into_message(self) -> Message {
        Message::Response { id: self.id, outcome: Err(self.error) }
    }
}
