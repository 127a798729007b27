//! `server/discover`, and finding out which era a peer is of.

use placet_json::{Limits, Object, Value, object};

use crate::rpc::code;
use crate::{Era, Id, Message, Method, Revision, meta, translate};

/// What an upstream says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discovered {
    /// The newest revision that both sides know.
    pub revision: Revision,
    /// What the server can do.
    pub capabilities: Object,
    /// What the server says it is; decides nothing.
    pub server_info: Option<Value>,
    /// Text for the model.
    pub instructions: Option<String>,
}

/// A `server/discover` result that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadDiscovery {
    /// No version in common.
    #[error("the server supports no protocol version known here")]
    Version,
    /// A required member is missing or of the wrong type.
    #[error("the server's answer lacks `{0}`")]
    Missing(&'static str),
}

/// What a probe told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probe {
    /// It is of this era.
    Era(Era),
    /// Nothing about its era: it is not there, or wants a credential first.
    Unknown,
}

/// What came of a `server/discover` sent to a process.
#[derive(Debug, Clone, Copy)]
pub enum StdioAnswer<'a> {
    /// A message with the id of the request.
    Message(&'a Message),
    /// Nothing in time.
    Silence,
    /// It ended, or closed its output.
    Exit,
}

/// Our own `server/discover` result; filtered, so never to be shared between credentials.
#[must_use]
pub fn result(capabilities: Object, server_info: Object, instructions: Option<&str>) -> Object {
    let supported: Vec<Value> = Revision::MODERN.iter().map(|revision| revision.as_str().into()).collect();
    let mut result = object! { "supportedVersions" => supported, "capabilities" => capabilities };
    if let Some(instructions) = instructions {
        result.insert("instructions", instructions);
    }
    result.insert("_meta", object! { meta::SERVER_INFO => server_info });
    translate::complete(Method::Discover, result)
}

/// Our own `server/discover` request to an upstream.
#[must_use]
pub fn request(id: Id, capabilities: Object, client_info: Object) -> Message {
    let fields =
        translate::RequestFields { capabilities, client_info: Some(client_info), ..Default::default() };
    let params = translate::request_to_modern(Object::new(), fields);
    Message::Request { id, method: Method::Discover.name().to_owned(), params: Some(params) }
}

impl Discovered {
    /// Reads an upstream's `server/discover` result.
    pub fn parse(mut result: Object) -> Result<Self, BadDiscovery> {
        let versions = result.get("supportedVersions").and_then(Value::as_array);
        let versions = versions.ok_or(BadDiscovery::Missing("supportedVersions"))?;
        let offers = |revision: &Revision| versions.iter().any(|v| v.as_str() == Some(revision.as_str()));
        let revision = Revision::MODERN.into_iter().find(offers).ok_or(BadDiscovery::Version)?;
        let Some(Value::Object(capabilities)) = result.remove("capabilities") else {
            return Err(BadDiscovery::Missing("capabilities"));
        };
        let instructions = match result.remove("instructions") {
            Some(Value::String(text)) => Some(text),
            _ => None,
        };
        let server_info = result.get_mut("_meta").and_then(Value::as_object_mut);
        let server_info = server_info.and_then(|fields| fields.remove(meta::SERVER_INFO));
        Ok(Self { revision, capabilities, server_info, instructions })
    }
}

/// What the answer to a `server/discover` over HTTP tells: status and JSON body, that of the response event if it was a
/// stream.
///
/// A result or one of the errors -32020 to -32022 can only come from a modern server. 401, 403, 408, 429 and 5xx tell
/// nothing; every other answer is a legacy server that did not understand.
#[must_use]
pub fn probe_http(status: u16, body: &[u8]) -> Probe {
    let message = placet_json::parse(body, &Limits::RESULT).ok();
    match status {
        200..=299 | 400 | 404 if message.as_ref().is_some_and(is_modern) => Probe::Era(Era::Modern),
        401 | 403 | 408 | 429 | 500..=599 => Probe::Unknown,
        _ => Probe::Era(Era::Legacy),
    }
}

/// What a process told: a result or a modern error is modern; any other error, silence or an exit is legacy (start it
/// again, then `initialize`). Old servers answer with various codes, so no single one is looked for.
#[must_use]
pub fn probe_stdio(answer: StdioAnswer<'_>) -> Era {
    match answer {
        StdioAnswer::Message(Message::Response { outcome: Ok(result), .. }) if is_discovery(result) => {
            Era::Modern
        }
        StdioAnswer::Message(Message::Response { outcome: Err(error), .. }) if is_modern_code(error.code) => {
            Era::Modern
        }
        StdioAnswer::Message(_) | StdioAnswer::Silence | StdioAnswer::Exit => Era::Legacy,
    }
}

/// Whether a body is a modern answer. Errors are looked at as they come: their `id` may be `null`.
fn is_modern(body: &Value) -> bool {
    body.pointer("/error/code").and_then(Value::as_i64).is_some_and(is_modern_code)
        || body.get("result").and_then(Value::as_object).is_some_and(is_discovery)
}

fn is_modern_code(error: i64) -> bool {
    matches!(error, code::HEADER_MISMATCH | code::MISSING_CAPABILITY | code::UNSUPPORTED_VERSION)
}

fn is_discovery(result: &Object) -> bool {
    result.contains_key("supportedVersions")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RpcError;

    #[test]
    fn our_own_result_reads_back_and_is_private() {
        let result =
            result(object! { "tools" => Object::new() }, object! { "name" => "placet" }, Some("be kind"));
        assert_eq!(
            Value::from(result.clone()).to_string(),
            r#"{"supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"instructions":"be kind","_meta":{"io.modelcontextprotocol/serverInfo":{"name":"placet"}},"resultType":"complete","ttlMs":0,"cacheScope":"private"}"#
        );
        let discovered = Discovered::parse(result).unwrap();
        assert_eq!(discovered.revision, Revision::V2026_07_28);
        assert_eq!(discovered.instructions.as_deref(), Some("be kind"));
        assert!(discovered.server_info.is_some());
    }

    #[test]
    fn a_server_without_a_common_version_is_refused() {
        let versions = vec![Value::from("2027-01-01")];
        let result = object! { "supportedVersions" => versions, "capabilities" => Object::new() };
        assert_eq!(Discovered::parse(result), Err(BadDiscovery::Version));
        assert_eq!(Discovered::parse(Object::new()), Err(BadDiscovery::Missing("supportedVersions")));
    }

    #[test]
    fn http_probe() {
        use Probe::{Era as Is, Unknown};
        let ok = r#"{"jsonrpc":"2.0","id":1,"result":{"supportedVersions":["2026-07-28"]}}"#;
        let error =
            |code: i64| format!(r#"{{"jsonrpc":"2.0","id":null,"error":{{"code":{code},"message":""}}}}"#);
        for (status, body, expected) in [
            (200, ok.to_owned(), Is(Era::Modern)),
            (200, r#"{"jsonrpc":"2.0","id":1,"result":{}}"#.to_owned(), Is(Era::Legacy)),
            (200, error(-32601), Is(Era::Legacy)),
            (200, error(-32602), Is(Era::Legacy)),
            (400, error(-32020), Is(Era::Modern)),
            (400, error(-32021), Is(Era::Modern)),
            (400, error(-32022), Is(Era::Modern)),
            (400, error(-32000), Is(Era::Legacy)),
            (400, "Bad Request: no session".to_owned(), Is(Era::Legacy)),
            (400, String::new(), Is(Era::Legacy)),
            (404, String::new(), Is(Era::Legacy)),
            (405, String::new(), Is(Era::Legacy)),
            (406, error(-32000), Is(Era::Legacy)),
            (401, String::new(), Unknown),
            (403, String::new(), Unknown),
            (429, String::new(), Unknown),
            (500, error(-32022), Unknown),
            (503, String::new(), Unknown),
        ] {
            assert_eq!(probe_http(status, body.as_bytes()), expected, "{status} {body}");
        }
    }

    #[test]
    fn stdio_probe() {
        let error = |code| Message::error(1.into(), RpcError::new(code, ""));
        for (code, expected) in [
            (-32601, Era::Legacy),
            (-32602, Era::Legacy),
            (-32000, Era::Legacy),
            (-32020, Era::Modern),
            (-32022, Era::Modern),
        ] {
            assert_eq!(probe_stdio(StdioAnswer::Message(&error(code))), expected, "{code}");
        }
        let answer = Message::result(1.into(), result(Object::new(), Object::new(), None));
        assert_eq!(probe_stdio(StdioAnswer::Message(&answer)), Era::Modern);
        assert_eq!(probe_stdio(StdioAnswer::Silence), Era::Legacy);
        assert_eq!(probe_stdio(StdioAnswer::Exit), Era::Legacy);
    }
}
