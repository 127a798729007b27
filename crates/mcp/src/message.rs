//! JSON-RPC 2.0 messages, read strictly.

use std::fmt;

use placet_json::{Limits, Number, Object, Value, object};

use crate::method::{Direction, Kind, Method, UnknownMethod};
use crate::rpc::code;
use crate::{Revision, RpcError};

/// A request id: a string or an integer, as it was spelled.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Id {
    /// An integer, without fraction or exponent.
    Integer(Number),
    /// A string.
    String(String),
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Wants an answer.
    Request {
        /// Chosen by the sender.
        id: Id,
        /// Name of the method.
        method: String,
        /// Parameters by name.
        params: Option<Object>,
    },
    /// Wants none.
    Notification {
        /// Name of the method.
        method: String,
        /// Parameters by name.
        params: Option<Object>,
    },
    /// Answers a request.
    Response {
        /// Id of the request; `None` only for an error about something whose id could not be read.
        id: Option<Id>,
        /// Result or error.
        outcome: Result<Object, RpcError>,
    },
}

/// Why bytes are not a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct NotAMessage {
    /// Id of the request, if it could be read.
    pub id: Option<Id>,
    problem: Problem,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum Problem {
    #[error("{0}")]
    Json(placet_json::Error),
    #[error("invalid message: {0}")]
    Shape(&'static str),
}

impl Id {
    /// An id from the wire; fractions, exponents, `null` and anything else are none.
    #[must_use]
    pub fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::String(text) => Some(Self::String(text.clone())),
            Value::Number(number) if is_integer(number.as_str()) => Some(Self::Integer(number.clone())),
            Value::Number(_) | Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
        }
    }

    /// The id as it was spelled.
    #[must_use]
    pub fn to_value(&self) -> Value {
        match self {
            Self::Integer(number) => number.clone().into(),
            Self::String(text) => text.into(),
        }
    }

    /// The number, if this is one that fits.
    #[must_use]
    pub fn as_u64(&self) -> Option<u64> {
        match self {
            Self::Integer(number) => number.as_u64(),
            Self::String(_) => None,
        }
    }
}

fn is_integer(spelled: &str) -> bool {
    spelled.strip_prefix('-').unwrap_or(spelled).bytes().all(|byte| byte.is_ascii_digit())
}

impl From<u64> for Id {
    fn from(id: u64) -> Self {
        Self::Integer(id.into())
    }
}

impl From<&str> for Id {
    fn from(id: &str) -> Self {
        Self::String(id.to_owned())
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(number) => number.fmt(f),
            Self::String(text) => text.fmt(f),
        }
    }
}

impl Message {
    /// Reads one message; batches and members that JSON-RPC does not name, such as `Method`, are refused.
    pub fn parse(bytes: &[u8], limits: &Limits) -> Result<Self, NotAMessage> {
        let value = placet_json::parse(bytes, limits)
            .map_err(|error| NotAMessage { id: None, problem: Problem::Json(error) })?;
        Self::from_value(value)
    }

    /// The same from JSON that was read already.
    pub fn from_value(value: Value) -> Result<Self, NotAMessage> {
        let refuse = |id: Option<Id>, why| Err(NotAMessage { id, problem: Problem::Shape(why) });
        let mut members = match value {
            Value::Object(members) => members,
            Value::Array(_) => return refuse(None, "batches are not supported"),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                return refuse(None, "not an object");
            }
        };
        let raw_id = members.remove("id");
        let id = raw_id.as_ref().and_then(Id::from_value);
        match members.remove("jsonrpc") {
            Some(Value::String(version)) if version == "2.0" => {}
            _ => return refuse(id, "`jsonrpc` is not \"2.0\""),
        }
        let (method, params) = (members.remove("method"), members.remove("params"));
        let (result, error) = (members.remove("result"), members.remove("error"));
        if !members.is_empty() {
            return refuse(id, "unknown member");
        }
        let params = match params {
            None => None,
            Some(Value::Object(params)) => Some(params),
            Some(_) => return refuse(id, "`params` is not an object"),
        };
        match (method, result, error) {
            (Some(Value::String(method)), None, None) => match (raw_id, id) {
                (None, _) => Ok(Self::Notification { method, params }),
                (Some(_), Some(id)) => Ok(Self::Request { id, method, params }),
                (Some(_), None) => refuse(None, "`id` is neither a string nor an integer"),
            },
            (None, Some(Value::Object(result)), None) if params.is_none() => match id {
                Some(id) => Ok(Self::Response { id: Some(id), outcome: Ok(result) }),
                None => refuse(None, "a result without a usable `id`"),
            },
            (None, Some(_), None) => refuse(id, "`result` is not an object"),
            (None, None, Some(error)) if params.is_none() => {
                if !matches!(raw_id, None | Some(Value::Null)) && id.is_none() {
                    return refuse(None, "`id` is neither a string nor an integer");
                }
                match RpcError::from_value(error) {
                    Ok(error) => Ok(Self::Response { id, outcome: Err(error) }),
                    Err(why) => refuse(id, why),
                }
            }
            (Some(_), None, None) => refuse(id, "`method` is not a string"),
            (None, None, None) => refuse(id, "neither `method` nor `result` nor `error`"),
            _ => refuse(id, "more than one of `method`, `result` and `error`, or `params` in a response"),
        }
    }

    /// A successful response.
    #[must_use]
    pub fn result(id: Id, result: Object) -> Self {
        Self::Response { id: Some(id), outcome: Ok(result) }
    }

    /// A response with an error.
    #[must_use]
    pub fn error(id: Id, error: RpcError) -> Self {
        Self::Response { id: Some(id), outcome: Err(error) }
    }

    /// The message as JSON.
    #[must_use]
    pub fn into_value(self) -> Value {
        let mut message = object! { "jsonrpc" => "2.0" };
        match self {
            Self::Request { id, method, params } => {
                message.insert("id", id.to_value());
                message.insert("method", method);
                if let Some(params) = params {
                    message.insert("params", params);
                }
            }
            Self::Notification { method, params } => {
                message.insert("method", method);
                if let Some(params) = params {
                    message.insert("params", params);
                }
            }
            Self::Response { id, outcome } => {
                if let Some(id) = id {
                    message.insert("id", id.to_value());
                }
                match outcome {
                    Ok(result) => message.insert("result", result),
                    Err(error) => message.insert("error", error.into_value()),
                };
            }
        }
        message.into()
    }

    /// The message as bytes, on one line.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.into_value().to_bytes()
    }

    /// Which method this is, sent that way in that revision; `None` for a response.
    ///
    /// A request that names a notification, or the other way round, is unknown.
    pub fn classify(
        &self,
        direction: Direction,
        revision: Revision,
    ) -> Result<Option<Method>, UnknownMethod> {
        let (method, kind) = match self {
            Self::Request { method, .. } => (method, Kind::Request),
            Self::Notification { method, .. } => (method, Kind::Notification),
            Self::Response { .. } => return Ok(None),
        };
        let method = crate::method::classify(method, direction, revision)?;
        if method.kind() == kind { Ok(Some(method)) } else { Err(UnknownMethod) }
    }
}

impl NotAMessage {
    /// What to answer: -32700 if it was not JSON, else -32600.
    #[must_use]
    pub fn rpc_error(&self) -> RpcError {
        let code = match self.problem {
            Problem::Json(_) => code::PARSE_ERROR,
            Problem::Shape(_) => code::INVALID_REQUEST,
        };
        RpcError::new(code, self.to_string())
    }

    /// Whether the bytes were longer than allowed, for which HTTP has a status of its own (413).
    #[must_use]
    pub fn is_too_long(&self) -> bool {
        matches!(&self.problem, Problem::Json(error) if *error.kind() == placet_json::ErrorKind::TooLong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Message, NotAMessage> {
        Message::parse(text.as_bytes(), &Limits::MESSAGE)
    }

    #[test]
    fn messages_come_back_as_they_were() {
        for text in [
            r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":"","method":"tools/list","params":{}}"#,
            r#"{"jsonrpc":"2.0","id":-123456789012345678901234567890,"method":"x","params":{"n":1.50}}"#,
            r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
            r#"{"jsonrpc":"2.0","id":"a","result":{"_meta":{"k":1e400}}}"#,
            r#"{"jsonrpc":"2.0","id":0,"error":{"code":-32601,"message":"no","data":[1]}}"#,
            r#"{"jsonrpc":"2.0","error":{"code":-32700,"message":"no"}}"#,
        ] {
            assert_eq!(parse(text).unwrap().into_value().to_string(), text);
        }
        assert_ne!(Id::from("1"), Id::from(1));
    }

    #[test]
    fn arg_2_what_is_not_exactly_a_message_is_refused() {
        for (text, code) in [
            ("", code::PARSE_ERROR),
            (r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#, code::PARSE_ERROR),
            (r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#, code::INVALID_REQUEST),
            ("[]", code::INVALID_REQUEST),
            ("null", code::INVALID_REQUEST),
            (r#"{"id":1,"method":"ping"}"#, code::INVALID_REQUEST),
            (r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#, code::INVALID_REQUEST),
            (r#"{"jsonrpc":2.0,"id":1,"method":"ping"}"#, code::INVALID_REQUEST),
            (r#"{"JSONRPC":"2.0","id":1,"method":"ping"}"#, code::INVALID_REQUEST),
            (r#"{"jsonrpc":"2.0","id":1,"method":"ping","Method":"tools/call"}"#, code::INVALID_REQUEST),
            (r#"{"jsonrpc":"2.0","id":1,"method":"ping","Params":{}}"#, code::INVALID_REQUEST),
            ("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\",\"param\u{17f}\":{}}", code::INVALID_REQUEST),
            (r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, code::INVALID_REQUEST),
            (r#"{"jsonrpc":"2.0","id":1.0,"method":"ping"}"#, code::INVALID_REQUEST),
            (r#"{"jsonrpc":"2.0","id":1e3,"method":"ping"}"#, code::INVALID_REQUEST),
            (r#"{"jsonrpc":"2.0","id":true,"method":"ping"}"#, code::INVALID_REQUEST),
            (r#"{"jsonrpc":"2.0","id":[1],"method":"ping"}"#, code::INVALID_REQUEST),
            (r#"{"jsonrpc":"2.0","id":1,"method":1}"#, code::INVALID_REQUEST),
            (r#"{"jsonrpc":"2.0","id":1}"#, code::INVALID_REQUEST),
            (r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}"#, code::INVALID_REQUEST),
            (r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":null}"#, code::INVALID_REQUEST),
            (r#"{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}"#, code::INVALID_REQUEST),
            (
                r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{"code":1,"message":""}}"#,
                code::INVALID_REQUEST,
            ),
            (r#"{"jsonrpc":"2.0","id":1,"result":{},"params":{}}"#, code::INVALID_REQUEST),
            (r#"{"jsonrpc":"2.0","result":{}}"#, code::INVALID_REQUEST),
            (r#"{"jsonrpc":"2.0","id":null,"result":{}}"#, code::INVALID_REQUEST),
            (r#"{"jsonrpc":"2.0","id":1,"result":null}"#, code::INVALID_REQUEST),
            (r#"{"jsonrpc":"2.0","id":1,"error":"no"}"#, code::INVALID_REQUEST),
            (r#"{"jsonrpc":"2.0","id":1,"error":{"code":1.5,"message":"no"}}"#, code::INVALID_REQUEST),
            (r#"{"jsonrpc":"2.0","id":1.5,"error":{"code":1,"message":"no"}}"#, code::INVALID_REQUEST),
        ] {
            assert_eq!(parse(text).expect_err(text).rpc_error().code, code, "{text}");
        }
    }

    #[test]
    fn a_refusal_keeps_the_id_if_it_can() {
        let refused = parse(r#"{"jsonrpc":"2.0","id":"x","method":"ping","Params":{}}"#).unwrap_err();
        assert_eq!(refused.id, Some(Id::from("x")));
        let limits = Limits { bytes: 10, ..Limits::MESSAGE };
        assert!(Message::parse(&[b' '; 11], &limits).unwrap_err().is_too_long());
    }

    #[test]
    fn a_request_cannot_name_a_notification() {
        let request = parse(r#"{"jsonrpc":"2.0","id":1,"method":"notifications/cancelled"}"#).unwrap();
        assert!(request.classify(Direction::ToServer, Revision::V2025_11_25).is_err());
        let notification = parse(r#"{"jsonrpc":"2.0","method":"tools/call"}"#).unwrap();
        assert!(notification.classify(Direction::ToServer, Revision::V2025_11_25).is_err());
    }
}
