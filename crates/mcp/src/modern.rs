//! Letting in a 2026-07-28 request.

use placet_json::{Object, Value};

use crate::headers::{self, Annotation};
use crate::logging::LogLevel;
use crate::method::{Direction, Kind};
use crate::{Era, Id, Message, Method, Refusal, Revision, RpcError, meta};

/// A request whose headers, revision, `_meta` and method have been checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModernRequest {
    /// Chosen by the client.
    pub id: Id,
    /// What it wants.
    pub method: Method,
    /// The revision that it speaks.
    pub revision: Revision,
    /// What the client says in `_meta`.
    pub meta: RequestMeta,
    /// The parameters, `_meta` taken out.
    pub params: Object,
}

/// The `_meta` of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestMeta {
    /// What the client can do, for this request alone.
    pub capabilities: Object,
    /// What the client says it is; decides nothing.
    pub client_info: Option<Value>,
    /// Least severity of log messages wanted; `None`: none at all.
    pub log_level: Option<LogLevel>,
    /// Token by which it wants to hear of progress.
    pub progress_token: Option<Id>,
    /// Everything else, trace context and keys of others among it.
    pub rest: Object,
}

/// Which era a message that arrived over HTTP belongs to. `initialize` and what carries a legacy session are legacy;
/// a revision in `_meta` or a version header of no legacy revision is modern.
#[must_use]
pub fn era_of<'h>(headers: impl IntoIterator<Item = (&'h str, &'h str)>, message: &Message) -> Era {
    let (method, params) = match message {
        Message::Request { method, params, .. } | Message::Notification { method, params } => {
            (method.as_str(), params.as_ref())
        }
        Message::Response { .. } => return Era::Legacy,
    };
    if method == Method::Initialize.name() {
        return Era::Legacy;
    }
    if params.and_then(|params| params.get("_meta")?.get(meta::PROTOCOL_VERSION)).is_some() {
        return Era::Modern;
    }
    let mut era = Era::Legacy;
    for (name, value) in headers {
        if name.eq_ignore_ascii_case(headers::SESSION_ID) {
            return Era::Legacy;
        }
        if name.eq_ignore_ascii_case(headers::PROTOCOL_VERSION)
            && !value.parse::<Revision>().is_ok_and(|revision| revision.era() == Era::Legacy)
        {
            era = Era::Modern;
        }
    }
    era
}

/// Lets in a request that came over HTTP.
///
/// `input_schema` gives the input schema of a tool as this client was shown it. Checked in this order: mirrored headers
/// (400, -32020), revision (400, -32022), `_meta` (400, -32602), method (404, -32601).
pub fn over_http<'h, 's>(
    headers: impl IntoIterator<Item = (&'h str, &'h str)>,
    message: Message,
    input_schema: impl FnOnce(&str) -> Option<&'s Value>,
) -> Result<ModernRequest, Refusal> {
    let (id, method, params) = parts(message)?;
    let mirrored = Mirrored::read(headers).and_then(|mirrored| {
        mirrored.check(&method, &params, input_schema)?;
        Ok(mirrored)
    });
    if let Err(what) = mirrored {
        return Err(Refusal::header_mismatch(Some(id), what));
    }
    admit(id, &method, params)
}

/// Lets in a request that came over stdio, where nothing is mirrored.
pub fn over_stdio(message: Message) -> Result<ModernRequest, Refusal> {
    let (id, method, params) = parts(message)?;
    admit(id, &method, params)
}

/// Lets in a notification that came over HTTP; over stdio `headers` is empty and `mirrored` false.
pub fn notification<'h>(
    headers: impl IntoIterator<Item = (&'h str, &'h str)>,
    mirrored: bool,
    message: &Message,
) -> Result<Method, Refusal> {
    let Message::Notification { method, params } = message else {
        return Err(Refusal::bad_request(
            None,
            RpcError::new(crate::rpc::code::INVALID_REQUEST, "not a notification"),
        ));
    };
    if mirrored {
        let no_params = Object::new();
        Mirrored::read(headers)
            .and_then(|mirrored| mirrored.check(method, params.as_ref().unwrap_or(&no_params), |_| None))
            .map_err(|what| Refusal::header_mismatch(None, what))?;
    }
    match crate::method::classify(method, Direction::ToServer, Revision::V2026_07_28) {
        Ok(method) if method.kind() == Kind::Notification => Ok(method),
        _ => Err(Refusal::method_not_found(None)),
    }
}

fn parts(message: Message) -> Result<(Id, String, Object), Refusal> {
    match message {
        Message::Request { id, method, params } => Ok((id, method, params.unwrap_or_default())),
        Message::Notification { .. } | Message::Response { .. } => {
            Err(Refusal::bad_request(None, RpcError::new(crate::rpc::code::INVALID_REQUEST, "not a request")))
        }
    }
}

fn admit(id: Id, method: &str, mut params: Object) -> Result<ModernRequest, Refusal> {
    let invalid =
        |id: &Id, what: &str| Refusal::bad_request(Some(id.clone()), RpcError::invalid_params(what));
    let mut fields = match params.remove("_meta") {
        Some(Value::Object(fields)) => fields,
        Some(_) => return Err(invalid(&id, "`_meta` is not an object")),
        None => return Err(invalid(&id, "`_meta` is missing")),
    };
    let Some(Value::String(version)) = fields.remove(meta::PROTOCOL_VERSION) else {
        return Err(invalid(&id, "`_meta` needs a protocol version"));
    };
    let revision = match version.parse::<Revision>() {
        Ok(revision) if revision.era() == Era::Modern => revision,
        _ => return Err(Refusal::bad_request(Some(id), RpcError::unsupported_version(&version))),
    };
    let meta = RequestMeta::read(fields).map_err(|what| invalid(&id, what))?;
    match crate::method::classify(method, Direction::ToServer, revision) {
        Ok(method) if method.kind() == Kind::Request => {
            Ok(ModernRequest { id, method, revision, meta, params })
        }
        _ => Err(Refusal::method_not_found(Some(id))),
    }
}

impl RequestMeta {
    fn read(mut fields: Object) -> Result<Self, &'static str> {
        let Some(Value::Object(capabilities)) = fields.remove(meta::CLIENT_CAPABILITIES) else {
            return Err("`_meta` needs client capabilities");
        };
        let client_info = match fields.remove(meta::CLIENT_INFO) {
            None => None,
            Some(Value::Object(info)) => Some(info.into()),
            Some(_) => return Err("client info is not an object"),
        };
        let log_level = match fields.remove(meta::LOG_LEVEL) {
            None => None,
            Some(level) => Some(level.as_str().and_then(LogLevel::from_name).ok_or("unknown log level")?),
        };
        let progress_token = match fields.remove(meta::PROGRESS_TOKEN) {
            None => None,
            Some(token) => Some(Id::from_value(&token).ok_or("a progress token is a string or an integer")?),
        };
        Ok(Self { capabilities, client_info, log_level, progress_token, rest: fields })
    }
}

/// The mirrored headers as they came; each may stand once.
#[derive(Default)]
struct Mirrored<'h> {
    version: Option<&'h str>,
    method: Option<&'h str>,
    name: Option<&'h str>,
    params: Vec<(&'h str, &'h str)>,
}

impl<'h> Mirrored<'h> {
    fn read(headers: impl IntoIterator<Item = (&'h str, &'h str)>) -> Result<Self, String> {
        let mut mirrored = Self::default();
        for (name, value) in headers {
            let slot = if name.eq_ignore_ascii_case(headers::PROTOCOL_VERSION) {
                &mut mirrored.version
            } else if name.eq_ignore_ascii_case(headers::METHOD) {
                &mut mirrored.method
            } else if name.eq_ignore_ascii_case(headers::NAME) {
                &mut mirrored.name
            } else {
                if let Some(param) = param_name(name) {
                    if mirrored.params.iter().any(|(other, _)| other.eq_ignore_ascii_case(param)) {
                        return Err(format!("{}… stands twice", headers::PARAM_PREFIX));
                    }
                    mirrored.params.push((param, value));
                }
                continue;
            };
            if slot.replace(value).is_some() {
                return Err(format!("{} stands twice", name.to_ascii_lowercase()));
            }
        }
        Ok(mirrored)
    }

    /// Says which header is missing or differs.
    fn check<'s>(
        &self,
        method: &str,
        params: &Object,
        input_schema: impl FnOnce(&str) -> Option<&'s Value>,
    ) -> Result<(), String> {
        let version = self.version.ok_or_else(|| format!("{} is missing", headers::PROTOCOL_VERSION))?;
        // A body without revision is refused for that, later.
        if headers::protocol_version(params).is_some_and(|own| own != version) {
            return Err(differs(headers::PROTOCOL_VERSION));
        }
        match self.method {
            None => return Err(format!("{} is missing", headers::METHOD)),
            Some(own) if own != method => return Err(differs(headers::METHOD)),
            Some(_) => {}
        }
        let known = Method::from_name(method);
        let name_param = known.and_then(Method::name_param);
        let name = name_param.and_then(|name| params.get(name)).and_then(Value::as_str);
        if name_param.is_some() {
            match (self.name, name) {
                (None, None) => {}
                (None, Some(_)) => return Err(format!("{} is missing", headers::NAME)),
                (Some(header), name) if name.is_some() && headers::decode(header).as_deref() == name => {}
                (Some(_), _) => return Err(differs(headers::NAME)),
            }
        }
        if known == Some(Method::ToolsCall)
            && let Some(annotations) =
                name.and_then(input_schema).and_then(|schema| headers::annotations(schema).ok())
        {
            for annotation in &annotations {
                self.check_param(annotation, params)?;
            }
        }
        Ok(())
    }

    fn check_param(&self, annotation: &Annotation<'_>, params: &Object) -> Result<(), String> {
        let full = || format!("{}{}", headers::PARAM_PREFIX, annotation.header);
        let header = self.params.iter().find(|(name, _)| name.eq_ignore_ascii_case(annotation.header));
        let argument = headers::argument(params, annotation);
        let Some(expected) = argument.and_then(headers::mirrored) else {
            return if header.is_some() { Err(differs(&full())) } else { Ok(()) };
        };
        let (_, header) = header.ok_or_else(|| format!("{} is missing", full()))?;
        let decoded = headers::decode(header).ok_or_else(|| differs(&full()))?;
        let equal = match argument {
            // `100`, `100.0` and `1e2` are one number.
            Some(Value::Number(_)) => {
                let limits = placet_json::Limits { bytes: 64, depth: 0, members: 0 };
                placet_json::parse(decoded.as_bytes(), &limits).is_ok_and(|value| {
                    value.as_number().is_some_and(|number| number.as_str() == decoded)
                        && headers::mirrored(&value) == Some(expected)
                })
            }
            _ => decoded == expected,
        };
        if equal { Ok(()) } else { Err(differs(&full())) }
    }
}

fn differs(header: &str) -> String {
    format!("{header} does not match the body")
}

fn param_name(header: &str) -> Option<&str> {
    let (prefix, name) = header.split_at_checked(headers::PARAM_PREFIX.len())?;
    prefix.eq_ignore_ascii_case(headers::PARAM_PREFIX).then_some(name)
}
