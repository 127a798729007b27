//! The legacy handshake (2025-03-26 to 2025-11-25), both sides of it.

use placet_json::{Object, Value, object};

use crate::{Era, Id, Message, Method, Refusal, Revision, RpcError, headers};

/// What a client asks for in `initialize`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Initialize {
    /// What to answer with: the revision asked for, if it is a legacy one, else the newest legacy one.
    pub revision: Revision,
    /// What the client can do.
    pub capabilities: Object,
    /// What the client says it is; decides nothing.
    pub client_info: Value,
}

/// What a server answered to `initialize`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Initialized {
    /// The revision that it chose.
    pub revision: Revision,
    /// What the server can do.
    pub capabilities: Object,
    /// What the server says it is; decides nothing.
    pub server_info: Value,
    /// Text for the model.
    pub instructions: Option<String>,
}

/// An upstream's handshake that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadHandshake {
    /// It chose a revision that is not a legacy one we know.
    #[error("the server chose an unsupported protocol version")]
    Version,
    /// A required member is missing or of the wrong type.
    #[error("the server's answer lacks `{0}`")]
    Missing(&'static str),
}

impl Initialize {
    /// Reads the parameters of `initialize`.
    pub fn parse(params: Option<Object>) -> Result<Self, RpcError> {
        let mut params = params.ok_or_else(|| RpcError::invalid_params("`params` is missing"))?;
        let version = params.get("protocolVersion").and_then(Value::as_str);
        let revision =
            negotiate(version.ok_or_else(|| RpcError::invalid_params("`protocolVersion` is missing"))?);
        let Some(Value::Object(capabilities)) = params.remove("capabilities") else {
            return Err(RpcError::invalid_params("`capabilities` is missing"));
        };
        match params.remove("clientInfo") {
            Some(client_info @ Value::Object(_)) => Ok(Self { revision, capabilities, client_info }),
            _ => Err(RpcError::invalid_params("`clientInfo` is missing")),
        }
    }
}

/// The revision to answer `initialize` with. Never a modern one, even if asked: clients would then call modern methods
/// in a legacy session.
#[must_use]
pub fn negotiate(requested: &str) -> Revision {
    match requested.parse::<Revision>() {
        Ok(revision) if revision.era() == Era::Legacy => revision,
        _ => Era::Legacy.newest(),
    }
}

/// Our answer to `initialize`.
#[must_use]
pub fn initialize_result(
    revision: Revision,
    capabilities: Object,
    server_info: Object,
    instructions: Option<&str>,
) -> Object {
    let mut result = object! {
        "protocolVersion" => negotiate(revision.as_str()).as_str(),
        "capabilities" => capabilities,
        "serverInfo" => server_info,
    };
    if let Some(instructions) = instructions {
        result.insert("instructions", instructions);
    }
    result
}

/// Our own `initialize` to an upstream.
#[must_use]
pub fn initialize(id: Id, capabilities: Object, client_info: Object) -> Message {
    let params = object! {
        "protocolVersion" => Era::Legacy.newest().as_str(),
        "capabilities" => capabilities,
        "clientInfo" => client_info,
    };
    Message::Request { id, method: Method::Initialize.name().to_owned(), params: Some(params) }
}

impl Initialized {
    /// Reads an upstream's answer to `initialize`.
    pub fn parse(mut result: Object) -> Result<Self, BadHandshake> {
        let version = result.get("protocolVersion").and_then(Value::as_str);
        let version = version.ok_or(BadHandshake::Missing("protocolVersion"))?;
        let revision = version.parse::<Revision>().map_err(|_| BadHandshake::Version)?;
        if revision.era() != Era::Legacy {
            return Err(BadHandshake::Version);
        }
        let Some(Value::Object(capabilities)) = result.remove("capabilities") else {
            return Err(BadHandshake::Missing("capabilities"));
        };
        let Some(server_info @ Value::Object(_)) = result.remove("serverInfo") else {
            return Err(BadHandshake::Missing("serverInfo"));
        };
        let instructions = match result.remove("instructions") {
            Some(Value::String(text)) => Some(text),
            _ => None,
        };
        Ok(Self { revision, capabilities, server_info, instructions })
    }
}

/// Our `notifications/initialized` to an upstream.
#[must_use]
pub fn initialized() -> Message {
    Message::Notification { method: Method::Initialized.name().to_owned(), params: None }
}

/// Our own `ping`.
#[must_use]
pub fn ping(id: Id) -> Message {
    Message::Request { id, method: Method::Ping.name().to_owned(), params: None }
}

/// The answer to a `ping`.
#[must_use]
pub fn pong(id: Id) -> Message {
    Message::result(id, Object::new())
}

/// Checks the headers of a message within a legacy session that negotiated `revision`.
///
/// `MCP-Protocol-Version` must name that revision; it may be missing, since 2025-03-26 does not know it and the session
/// tells. Whatever mirrored header a client sends nevertheless must agree with the body: middle boxes read it.
pub fn check_headers<'h>(
    headers: impl IntoIterator<Item = (&'h str, &'h str)>,
    revision: Revision,
    message: &Message,
) -> Result<(), Refusal> {
    let (id, method) = match message {
        Message::Request { id, method, .. } => (Some(id), Some(method.as_str())),
        Message::Notification { method, .. } => (None, Some(method.as_str())),
        Message::Response { id, .. } => (id.as_ref(), None),
    };
    for (name, value) in headers {
        if name.eq_ignore_ascii_case(headers::PROTOCOL_VERSION) && value != revision.as_str() {
            let error = RpcError::new(
                crate::rpc::code::INVALID_REQUEST,
                "MCP-Protocol-Version is not the version of this session",
            );
            return Err(Refusal::bad_request(id.cloned(), error));
        }
        if name.eq_ignore_ascii_case(headers::METHOD) && Some(value) != method {
            return Err(Refusal::header_mismatch(id.cloned(), "Mcp-Method does not match the body"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_modern_revision_is_never_negotiated() {
        for (requested, answered) in [
            ("2025-11-25", Revision::V2025_11_25),
            ("2025-06-18", Revision::V2025_06_18),
            ("2025-03-26", Revision::V2025_03_26),
            ("2026-07-28", Revision::V2025_11_25),
            ("2099-01-01", Revision::V2025_11_25),
            ("2024-11-05", Revision::V2025_11_25),
            ("", Revision::V2025_11_25),
        ] {
            assert_eq!(negotiate(requested), answered, "{requested}");
        }
        let result = initialize_result(Revision::V2026_07_28, Object::new(), Object::new(), None);
        assert_eq!(result.get("protocolVersion").and_then(Value::as_str), Some("2025-11-25"));
    }

    #[test]
    fn the_handshake_reads_back() {
        let Message::Request { params, .. } =
            initialize(1.into(), object! { "roots" => Object::new() }, object! { "name" => "placet" })
        else {
            panic!("not a request")
        };
        let asked = Initialize::parse(params).unwrap();
        assert_eq!(asked.revision, Revision::V2025_11_25);
        assert!(asked.capabilities.contains_key("roots"));
        let result =
            initialize_result(asked.revision, Object::new(), object! { "name" => "x" }, Some("be kind"));
        let answered = Initialized::parse(result).unwrap();
        assert_eq!(answered.revision, Revision::V2025_11_25);
        assert_eq!(answered.instructions.as_deref(), Some("be kind"));
    }

    #[test]
    fn a_handshake_that_lacks_something_is_refused() {
        let full = object! {
            "protocolVersion" => "2025-11-25", "capabilities" => Object::new(), "clientInfo" => Object::new(),
            "serverInfo" => Object::new(),
        };
        for name in ["protocolVersion", "capabilities", "clientInfo"] {
            let mut params = full.clone();
            params.insert(name, Value::Null);
            assert!(Initialize::parse(Some(params)).is_err(), "{name}");
        }
        assert!(Initialize::parse(None).is_err());
        for (name, expected) in [
            ("protocolVersion", BadHandshake::Missing("protocolVersion")),
            ("capabilities", BadHandshake::Missing("capabilities")),
            ("serverInfo", BadHandshake::Missing("serverInfo")),
        ] {
            let mut result = full.clone();
            result.remove(name);
            assert_eq!(Initialized::parse(result), Err(expected));
        }
        for version in ["2026-07-28", "2024-11-05"] {
            let mut result = full.clone();
            result.insert("protocolVersion", version);
            assert_eq!(Initialized::parse(result), Err(BadHandshake::Version));
        }
    }

    #[test]
    fn mcp_1_headers_of_a_session_agree_with_it() {
        let message = ping(7.into());
        let check = |headers: &[(&'static str, &'static str)]| {
            check_headers(headers.iter().copied(), Revision::V2025_06_18, &message).map_err(|r| r.error.code)
        };
        assert_eq!(check(&[]), Ok(()));
        assert_eq!(check(&[("mcp-protocol-version", "2025-06-18"), ("MCP-METHOD", "ping")]), Ok(()));
        assert_eq!(check(&[("MCP-Protocol-Version", "2025-11-25")]), Err(-32600));
        assert_eq!(check(&[("MCP-Protocol-Version", "nonsense")]), Err(-32600));
        assert_eq!(check(&[("Mcp-Method", "tools/call")]), Err(-32020));
        assert_eq!(check(&[("Mcp-Method", "ping"), ("mcp-method", "tools/list")]), Err(-32020));
    }
}
