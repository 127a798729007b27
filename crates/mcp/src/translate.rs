//! Between the eras, both ways.

use placet_json::{Object, Value, object};

use crate::logging::LogLevel;
use crate::result::{self, RESULT_TYPE, ResultType};
use crate::rpc::code;
use crate::{Era, Id, Method, RpcError, meta, tools};

/// Why a result cannot be passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Untranslatable {
    /// Its type is unknown.
    #[error("unknown `resultType`")]
    UnknownType,
    /// It asks, which this peer cannot be asked this way; see [`crate::input`].
    #[error("the result asks for input")]
    InputRequired,
    /// It names a task, which are not passed on.
    #[error("the result is a task")]
    Task,
}

/// What our own request to a modern upstream says in `_meta`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestFields {
    /// Never more than the client declared, see [`crate::capability::client`].
    pub capabilities: Object,
    /// Who we say we are.
    pub client_info: Option<Object>,
    /// Least severity of log messages wanted.
    pub log_level: Option<LogLevel>,
    /// Our own token.
    pub progress_token: Option<Id>,
}

/// Parameters for a modern upstream: what `_meta` said of the hop before is replaced, everything else stays.
#[must_use]
pub fn request_to_modern(params: Object, fields: RequestFields) -> Object {
    let mut params = strip_request(params);
    // Legacy wish to run the call as a task.
    params.remove("task");
    let mut own = match params.remove("_meta") {
        Some(Value::Object(kept)) => kept,
        _ => Object::new(),
    };
    own.insert(meta::PROTOCOL_VERSION, Era::Modern.newest().as_str());
    own.insert(meta::CLIENT_CAPABILITIES, fields.capabilities);
    if let Some(info) = fields.client_info {
        own.insert(meta::CLIENT_INFO, info);
    }
    if let Some(level) = fields.log_level {
        own.insert(meta::LOG_LEVEL, level.name());
    }
    if let Some(token) = fields.progress_token {
        own.insert(meta::PROGRESS_TOKEN, token.to_value());
    }
    params.insert("_meta", own);
    params
}

/// Parameters for a legacy upstream: `_meta` keeps what is neither reserved nor of the hop before, and takes our own
/// progress token.
#[must_use]
pub fn request_to_legacy(params: Object, progress_token: Option<&Id>) -> Object {
    let mut params = strip_request(params);
    params.remove("inputResponses");
    params.remove("requestState");
    if let Some(token) = progress_token {
        let mut own = match params.remove("_meta") {
            Some(Value::Object(kept)) => kept,
            _ => Object::new(),
        };
        own.insert(meta::PROGRESS_TOKEN, token.to_value());
        params.insert("_meta", own);
    }
    params
}

fn strip_request(mut params: Object) -> Object {
    retain_meta(&mut params, |name| !name.starts_with(meta::RESERVED) && name != meta::PROGRESS_TOKEN);
    params
}

/// Keeps some members of `_meta`, and `_meta` only if there are any.
fn retain_meta(object: &mut Object, keep: impl Fn(&str) -> bool) {
    match object.get_mut("_meta") {
        Some(Value::Object(fields)) => {
            fields.retain(|name, _| keep(name));
            if fields.is_empty() {
                object.remove("_meta");
            }
        }
        // Of no use to anybody.
        Some(_) => drop(object.remove("_meta")),
        None => {}
    }
}

/// A complete modern result: says that it is complete and, where results can be cached, that this one must not be shared
/// or kept.
#[must_use]
pub fn complete(method: Method, mut result: Object) -> Object {
    result.insert(RESULT_TYPE, ResultType::Complete.name());
    if method.is_cacheable() {
        result.insert("ttlMs", 0_u64);
        result.insert("cacheScope", "private");
    }
    result
}

/// A complete result of any upstream, or of our own, for a client of that era.
///
/// What the upstream says of itself is taken out; so are, for a legacy client, members it does not know. Results that
/// ask are refused here: they need the questions checked first, see [`crate::input::InputRequired`].
pub fn result_for(era: Era, method: Method, mut result: Object) -> Result<Object, Untranslatable> {
    match ResultType::of(&result) {
        Ok(ResultType::Complete) => {}
        Ok(ResultType::InputRequired) => return Err(Untranslatable::InputRequired),
        Ok(ResultType::Task) => return Err(Untranslatable::Task),
        Err(_) => return Err(Untranslatable::UnknownType),
    }
    retain_meta(&mut result, |name| name != meta::SERVER_INFO);
    if method == Method::ToolsList
        && let Some(Value::Array(tools)) = result.get_mut("tools")
    {
        for tool in tools {
            if let Value::Object(tool) = tool {
                *tool = tools::for_era(std::mem::take(tool), era);
            }
        }
    }
    match era {
        Era::Modern => Ok(complete(method, result)),
        Era::Legacy => {
            result.remove(RESULT_TYPE);
            if method.is_cacheable() {
                result.remove("ttlMs");
                result.remove("cacheScope");
            }
            if method == Method::ToolsCall {
                structured_to_legacy(&mut result);
            }
            Ok(result)
        }
    }
}

/// Legacy `structuredContent` is an object; anything else is shown as text, unless the result has text already.
fn structured_to_legacy(result: &mut Object) {
    let structured = result.get("structuredContent");
    if structured.is_none_or(|value| value.as_object().is_some()) {
        return;
    }
    let Some(structured) = result.remove("structuredContent") else { return };
    let empty = result.get("content").and_then(Value::as_array).is_none_or(<[Value]>::is_empty);
    if empty {
        result.insert("content", vec![result::text_content(&structured.to_string())]);
    }
}

/// An upstream's error for a client of that era; code and data stay where they mean the same to it.
#[must_use]
pub fn error_for(era: Era, error: RpcError) -> RpcError {
    match (era, error.code) {
        // About our own request to the upstream, of which the client knows nothing.
        (
            _,
            code::HEADER_MISMATCH | code::UNSUPPORTED_VERSION | code::PARSE_ERROR | code::INVALID_REQUEST,
        ) => RpcError::internal("the server refused the gateway's request"),
        (Era::Modern, code::LEGACY_RESOURCE_NOT_FOUND) | (Era::Legacy, code::MISSING_CAPABILITY) => {
            RpcError { code: code::INVALID_PARAMS, ..error }
        }
        // Better answered as a question, see [`crate::input::InputRequired::from_legacy_error`].
        (Era::Modern, code::LEGACY_URL_ELICITATION) => RpcError { code: code::INTERNAL_ERROR, ..error },
        _ => error,
    }
}

/// Parameters of an upstream's notification for the client: what belongs to our own hop is taken out of `_meta`, and the
/// subscription, if any, named as the client knows it: by the id of its own request.
#[must_use]
pub fn notification_for(era: Era, mut params: Object, subscription: Option<&Id>) -> Object {
    retain_meta(&mut params, |name| !name.starts_with(meta::RESERVED));
    if let (Era::Modern, Some(id)) = (era, subscription) {
        let mut fields = match params.remove("_meta") {
            Some(Value::Object(fields)) => fields,
            _ => Object::new(),
        };
        fields.insert(meta::SUBSCRIPTION_ID, id.to_value());
        params.insert("_meta", fields);
    }
    params
}

/// Parameters of the `logging/setLevel` that a modern request's level stands for.
#[must_use]
pub fn set_level_params(level: LogLevel) -> Object {
    object! { "level" => level.name() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use placet_json::{Limits, parse};

    fn json(text: &str) -> Object {
        parse(text.as_bytes(), &Limits::MESSAGE).unwrap().into_object().unwrap()
    }

    #[test]
    fn a_request_says_of_its_hop_only_what_we_say() {
        let params = json(
            r#"{"name":"a","arguments":{"n":1.50},"task":{"ttl":1},"_meta":{"progressToken":"theirs","traceparent":"00-1","x/y":[1],
                "io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"sampling":{}},
                "io.modelcontextprotocol/clientInfo":{"name":"evil"},"io.modelcontextprotocol/new":1}}"#,
        );
        let fields = RequestFields {
            capabilities: json(r#"{"roots":{}}"#),
            client_info: Some(json(r#"{"name":"placet"}"#)),
            log_level: Some(LogLevel::Info),
            progress_token: Some(9.into()),
        };
        let modern = request_to_modern(params.clone(), fields);
        assert_eq!(
            modern,
            json(
                r#"{"name":"a","arguments":{"n":1.50},"_meta":{"traceparent":"00-1","x/y":[1],
                    "io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"roots":{}},
                    "io.modelcontextprotocol/clientInfo":{"name":"placet"},"io.modelcontextprotocol/logLevel":"info","progressToken":9}}"#
            )
        );
        let legacy = request_to_legacy(
            json(
                r#"{"uri":"x","requestState":"s","inputResponses":{},"_meta":{"io.modelcontextprotocol/logLevel":"info"}}"#,
            ),
            None,
        );
        assert_eq!(legacy, json(r#"{"uri":"x"}"#));
        let legacy = request_to_legacy(params, Some(&9.into()));
        assert_eq!(
            legacy.get("_meta").unwrap().to_string(),
            r#"{"traceparent":"00-1","x/y":[1],"progressToken":9}"#
        );
    }

    #[test]
    fn results_cross_the_eras() {
        use Era::{Legacy, Modern};
        for (era, method, from, to) in [
            (
                Legacy,
                Method::ToolsCall,
                r#"{"resultType":"complete","content":[],"structuredContent":{"n":1.50},"ttlMs":5,"x":1,"_meta":{"io.modelcontextprotocol/serverInfo":{},"k":1}}"#,
                r#"{"content":[],"structuredContent":{"n":1.50},"ttlMs":5,"x":1,"_meta":{"k":1}}"#,
            ),
            (
                Legacy,
                Method::ToolsCall,
                r#"{"resultType":"complete","content":[],"structuredContent":[1,2]}"#,
                r#"{"content":[{"type":"text","text":"[1,2]"}]}"#,
            ),
            (
                Legacy,
                Method::ToolsCall,
                r#"{"resultType":"complete","content":[{"type":"text","text":"three"}],"structuredContent":3}"#,
                r#"{"content":[{"type":"text","text":"three"}]}"#,
            ),
            (
                Legacy,
                Method::ResourcesRead,
                r#"{"resultType":"complete","contents":[],"ttlMs":5,"cacheScope":"public"}"#,
                r#"{"contents":[]}"#,
            ),
            (
                Legacy,
                Method::ToolsList,
                r#"{"tools":[{"name":"a","outputSchema":{"type":"array"}},{"name":"b","outputSchema":{"type":"object"}}]}"#,
                r#"{"tools":[{"name":"a"},{"name":"b","outputSchema":{"type":"object"}}]}"#,
            ),
            (
                Modern,
                Method::ToolsList,
                r#"{"tools":[{"name":"a","execution":{"taskSupport":"required"}}],"ttlMs":60000,"cacheScope":"public"}"#,
                r#"{"tools":[{"name":"a"}],"ttlMs":0,"cacheScope":"private","resultType":"complete"}"#,
            ),
            (
                Modern,
                Method::ToolsCall,
                r#"{"content":[],"isError":true}"#,
                r#"{"content":[],"isError":true,"resultType":"complete"}"#,
            ),
            (
                Modern,
                Method::ResourcesRead,
                r#"{"contents":[]}"#,
                r#"{"contents":[],"resultType":"complete","ttlMs":0,"cacheScope":"private"}"#,
            ),
        ] {
            assert_eq!(result_for(era, method, json(from)), Ok(json(to)), "{from}");
        }
    }

    #[test]
    fn results_that_are_no_answer_are_refused() {
        for era in [Era::Legacy, Era::Modern] {
            let refuse = |text: &str| result_for(era, Method::ToolsCall, json(text)).unwrap_err();
            assert_eq!(
                refuse(r#"{"resultType":"input_required","requestState":"s"}"#),
                Untranslatable::InputRequired
            );
            assert_eq!(refuse(r#"{"resultType":"task"}"#), Untranslatable::Task);
            assert_eq!(refuse(r#"{"resultType":"done"}"#), Untranslatable::UnknownType);
            assert_eq!(refuse(r#"{"resultType":null}"#), Untranslatable::UnknownType);
        }
    }

    #[test]
    fn errors_cross_the_eras() {
        for (era, from, to) in [
            (Era::Modern, -32002, -32602),
            (Era::Modern, -32042, -32603),
            (Era::Modern, -32021, -32021),
            (Era::Modern, -32020, -32603),
            (Era::Modern, -32022, -32603),
            (Era::Modern, -32601, -32601),
            (Era::Modern, 17, 17),
            (Era::Legacy, -32002, -32002),
            (Era::Legacy, -32042, -32042),
            (Era::Legacy, -32021, -32602),
            (Era::Legacy, -32020, -32603),
            (Era::Legacy, -32602, -32602),
        ] {
            assert_eq!(error_for(era, RpcError::new(from, "")).code, to, "{from}");
        }
        let error = error_for(Era::Modern, RpcError::new(-32002, "gone").with_data(object! { "uri" => "x" }));
        assert_eq!(error.data.unwrap().to_string(), r#"{"uri":"x"}"#);
    }

    #[test]
    fn a_subscription_is_named_as_the_client_knows_it() {
        let params = json(r#"{"uri":"x","_meta":{"io.modelcontextprotocol/subscriptionId":77,"k":1}}"#);
        let modern = notification_for(Era::Modern, params.clone(), Some(&"theirs".into()));
        assert_eq!(
            modern,
            json(r#"{"uri":"x","_meta":{"k":1,"io.modelcontextprotocol/subscriptionId":"theirs"}}"#)
        );
        assert_eq!(notification_for(Era::Legacy, params, None), json(r#"{"uri":"x","_meta":{"k":1}}"#));
    }
}
