//! Messages as bytes. A call's arguments go in as the canonical bytes that were decided on; all else is made here.

use http::HeaderValue;
use placet_core::{Call, EffectClass};
use placet_json::{Canonical, Limits, Object, Value, object, write_string};
use placet_mcp::logging::LogLevel;
use placet_mcp::message::NotAMessage;
use placet_mcp::{Era, Id, Message, Method, Revision, RpcError, meta};

use crate::request::Client;

/// The member of `_meta` that holds a call's idempotency key.
const IDEMPOTENCY_META: &str = "dev.placet/idempotency-key";

/// What an upstream sent.
pub(crate) enum Inbound {
    /// The answer to the request that was asked about.
    Answer(Result<Object, RpcError>),
    /// A notification.
    Notice(Notice),
    /// A request of its own.
    Question(Id, String),
    /// An answer to something else.
    Stray,
}

/// A notification of an upstream.
#[derive(Debug, Clone)]
pub(crate) struct Notice {
    pub(crate) method: String,
    pub(crate) params: Object,
}

/// The bounds of one answer.
pub(crate) fn limits(bytes: usize) -> Limits {
    Limits { bytes, ..Limits::RESULT }
}

/// Reads a message and says what it is to who waits for `id`. An error whose id could not be read is an answer where
/// nothing else is in flight (`alone`).
pub(crate) fn read(bytes: &[u8], limits: &Limits, id: u64, alone: bool) -> Result<Inbound, NotAMessage> {
    Ok(match Message::parse(bytes, limits)? {
        Message::Response { id: Some(own), outcome } if own.as_u64() == Some(id) => Inbound::Answer(outcome),
        Message::Response { id: None, outcome } if alone => Inbound::Answer(outcome),
        Message::Response { .. } => Inbound::Stray,
        Message::Notification { method, params } => {
            Inbound::Notice(Notice { method, params: params.unwrap_or_default() })
        }
        Message::Request { id, method, .. } => Inbound::Question(id, method),
    })
}

/// What a client of ours says it is.
pub(crate) fn client_info() -> Object {
    object! { "name" => "placet", "version" => env!("CARGO_PKG_VERSION") }
}

/// The `_meta` of a request: nothing of the agent's own but its trace.
pub(crate) fn meta(era: Era, id: u64, client: Option<&Client>) -> Object {
    let mut fields = Object::new();
    if era == Era::Modern {
        fields.insert(meta::PROTOCOL_VERSION, Revision::V2026_07_28.as_str());
        // No question to the agent's client is passed on, so nothing that could ask one is declared.
        fields.insert(meta::CLIENT_CAPABILITIES, Object::new());
        fields.insert(meta::CLIENT_INFO, client_info());
    }
    let Some(client) = client else { return fields };
    if client.progress.is_some() {
        fields.insert(meta::PROGRESS_TOKEN, id);
    }
    if let (Era::Modern, Some(level)) = (era, client.log_level) {
        fields.insert(meta::LOG_LEVEL, LogLevel::name(level));
    }
    for (name, text) in [("traceparent", &client.traceparent), ("tracestate", &client.tracestate)] {
        if let Some(text) = text {
            fields.insert(name, text);
        }
    }
    fields
}

/// Puts the key of a call that changes something into its `_meta`, and gives it as the header's value (a string of
/// RFC 9651, as draft-ietf-httpapi-idempotency-key-header has it). It is the decision's identifier: the same however
/// often this call is sent, and of no other call.
pub(crate) fn idempotency(call: &Call, fields: &mut Object) -> Option<HeaderValue> {
    match call.effect {
        EffectClass::Read => None,
        EffectClass::Write | EffectClass::Destructive => {
            fields.insert(IDEMPOTENCY_META, call.id.as_str());
            // A name holds neither quotation marks nor backslashes.
            HeaderValue::from_str(&format!("\"{}\"", call.id)).ok()
        }
    }
}

/// A `tools/call`, on one line.
pub(crate) fn call(id: u64, tool: &str, arguments: &Canonical, meta: Object) -> Vec<u8> {
    let mut out = String::with_capacity(arguments.as_str().len().saturating_add(512));
    out.push_str(r#"{"jsonrpc":"2.0","id":"#);
    out.push_str(&id.to_string());
    out.push_str(r#","method":"tools/call","params":{"name":"#);
    write_string(tool, &mut out);
    out.push_str(r#","arguments":"#);
    out.push_str(arguments.as_str());
    if !meta.is_empty() {
        out.push_str(r#","_meta":"#);
        out.push_str(&Value::from(meta).to_string());
    }
    out.push_str("}}");
    out.into_bytes()
}

/// A request of our own.
pub(crate) fn request(id: u64, method: Method, params: Object) -> Vec<u8> {
    Message::Request { id: id.into(), method: method.name().to_owned(), params: Some(params) }.into_bytes()
}

/// Stops a request.
pub(crate) fn cancelled(id: u64) -> Vec<u8> {
    let params = object! { "requestId" => id, "reason" => "the call was stopped" };
    Message::Notification { method: Method::Cancelled.name().to_owned(), params: Some(params) }.into_bytes()
}

/// The answer to a request of an upstream: it may know that we live, and nothing else.
pub(crate) fn reply(id: Id, method: &str) -> Vec<u8> {
    if method == Method::Ping.name() {
        return Message::result(id, Object::new()).into_bytes();
    }
    Message::error(id, RpcError::method_not_found()).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arg_7_the_decided_bytes_are_the_sent_bytes() {
        let arguments = placet_json::parse(br#"{"b":"\u00e9\n","a":[1.50,1E2]}"#, &Limits::MESSAGE).unwrap();
        let arguments = arguments.canonical().unwrap();
        let body = call(7, "a\"b", &arguments, meta(Era::Modern, 7, None));
        let text = String::from_utf8(body.clone()).unwrap();
        assert!(text.contains(&format!(r#""name":"a\"b","arguments":{}"#, arguments.as_str())), "{text}");
        assert!(!text.contains('\n'));
        let Ok(Message::Request { id, method, params: Some(params) }) =
            Message::parse(&body, &Limits::MESSAGE)
        else {
            panic!("not a request: {text}")
        };
        assert_eq!((id.as_u64(), method.as_str()), (Some(7), "tools/call"));
        assert_eq!(params.get("arguments").unwrap().canonical().unwrap(), arguments);
        assert_eq!(params.get("_meta").unwrap().get(meta::CLIENT_CAPABILITIES), Some(&Object::new().into()));
    }

    #[test]
    fn mcp_5_a_question_is_refused_and_a_ping_answered() {
        assert_eq!(reply(Id::from(1), "ping"), br#"{"jsonrpc":"2.0","id":1,"result":{}}"#);
        for method in ["sampling/createMessage", "elicitation/create", "roots/list", "x"] {
            let answer = Message::parse(&reply(Id::from("q"), method), &Limits::MESSAGE).unwrap();
            let Message::Response { outcome: Err(error), .. } = answer else {
                panic!("{method} was answered")
            };
            assert_eq!(error.code, -32601);
        }
    }
}
