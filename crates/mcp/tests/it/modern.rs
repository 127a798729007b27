//! What a 2026-07-28 request must look like to be let in.

use placet_json::{Limits, Value, parse};
use placet_mcp::logging::LogLevel;
use placet_mcp::modern::{ModernRequest, era_of, notification, over_http, over_stdio};
use placet_mcp::{Era, Id, Message, Method, Refusal, headers};

const META: &str = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}"#;
const VERSION: (&str, &str) = ("MCP-Protocol-Version", "2026-07-28");
const CALL: (&str, &str) = ("Mcp-Method", "tools/call");
const NAME: (&str, &str) = ("Mcp-Name", "refund");

fn json(text: &str) -> Value {
    parse(text.as_bytes(), &Limits::MESSAGE).expect(text)
}

fn message(text: &str) -> Message {
    Message::parse(text.as_bytes(), &Limits::MESSAGE).expect(text)
}

fn call(arguments: &str) -> Message {
    message(&format!(
        r#"{{"jsonrpc":"2.0","id":"c1","method":"tools/call","params":{{"name":"refund","arguments":{arguments},{META}}}}}"#
    ))
}

fn schema() -> Value {
    json(
        r#"{"type":"object","properties":{"region":{"type":"string","x-mcp-header":"Region"},
            "amount":{"type":"integer","x-mcp-header":"Amount"},"urgent":{"type":"boolean","x-mcp-header":"Urgent"}}}"#,
    )
}

fn admit(headers: &[(&'static str, &'static str)], message: Message) -> Result<ModernRequest, Refusal> {
    let schema = schema();
    over_http(headers.iter().copied(), message, |name| (name == "refund").then_some(&schema))
}

/// Status and code of the answer, 0 and 0 if it is let in.
fn outcome(headers: &[(&'static str, &'static str)], message: Message) -> (u16, i64) {
    match admit(headers, message) {
        Ok(_) => (0, 0),
        Err(refusal) => (refusal.http_status, refusal.error.code),
    }
}

#[test]
fn a_request_is_let_in_with_what_it_says() {
    let body = r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"refund","arguments":{"amount":80},"_meta":{
        "io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"roots":{}},
        "io.modelcontextprotocol/clientInfo":{"name":"x","version":"1"},"io.modelcontextprotocol/logLevel":"warning",
        "progressToken":"p","traceparent":"00-1"}}}"#;
    let headers = [
        ("mcp-protocol-version", "2026-07-28"),
        ("MCP-METHOD", "tools/call"),
        NAME,
        ("mcp-param-amount", "80"),
    ];
    let request = admit(&headers, message(body)).unwrap();
    assert_eq!((request.id, request.method), (Id::from(7), Method::ToolsCall));
    assert_eq!(Value::from(request.params).to_string(), r#"{"name":"refund","arguments":{"amount":80}}"#);
    assert_eq!(Value::from(request.meta.capabilities).to_string(), r#"{"roots":{}}"#);
    assert_eq!(request.meta.log_level, Some(LogLevel::Warning));
    assert_eq!(request.meta.progress_token, Some(Id::from("p")));
    assert_eq!(Value::from(request.meta.rest).to_string(), r#"{"traceparent":"00-1"}"#);
    assert_eq!(over_stdio(message(body)).unwrap().method, Method::ToolsCall);
}

#[test]
fn mcp_1_headers_that_disagree_with_the_body_are_refused() {
    let refused = (400, -32020);
    let body = r#"{"region":"eu west","amount":80,"urgent":true}"#;
    let region = ("Mcp-Param-Region", "eu west");
    let amount = ("Mcp-Param-Amount", "80");
    let urgent = ("Mcp-Param-Urgent", "true");
    let all = [VERSION, CALL, NAME, region, amount, urgent];
    assert_eq!(outcome(&all, call(body)), (0, 0));

    // Each header missing, or twice.
    for left_out in 0..all.len() {
        let mut headers = all.to_vec();
        headers.remove(left_out);
        assert_eq!(outcome(&headers, call(body)), refused, "without {:?}", all[left_out]);
        let mut headers = all.to_vec();
        headers.push(all[left_out]);
        assert_eq!(outcome(&headers, call(body)), refused, "twice {:?}", all[left_out]);
    }

    // Each header with another value.
    for (position, values) in [
        (0, &["2025-11-25", "2026-07-29", "", " 2026-07-28", "=?base64?MjAyNi0wNy0yOA==?="][..]),
        (1, &["tools/list", "Tools/call", "", "tools/call,tools/list"]),
        (
            2,
            &[
                "Refund",
                "refunds",
                "",
                "=?base64?UmVmdW5k?=",
                "=?base64?cmVmdW5k",
                "=?base64?cmVmdW5k=?=",
                "refund\u{e9}",
            ],
        ),
        (3, &["eu  west", "eu", "=?base64?ZXU=?=", "EU WEST"]),
        (4, &["81", "080", "80.5", "", "eighty", "+80", "80 ", "=?base64?ODE=?=", "\"80\"", "0x50"]),
        (5, &["True", "false", "1", ""]),
    ] {
        for value in values {
            let mut headers = all;
            headers[position].1 = value;
            assert_eq!(outcome(&headers, call(body)), refused, "{:?}", headers[position]);
        }
    }

    // The same values, spelled otherwise.
    for (position, values) in [
        (2, &["=?base64?cmVmdW5k?="][..]),
        (3, &["=?base64?ZXUgd2VzdA==?="]),
        (4, &["80.0", "8e1", "=?base64?ODA=?="]),
        (5, &["=?base64?dHJ1ZQ==?="]),
    ] {
        for value in values {
            let mut headers = all;
            headers[position].1 = value;
            assert_eq!(outcome(&headers, call(body)), (0, 0), "{:?}", headers[position]);
        }
    }
}

#[test]
fn mcp_1_a_header_without_its_argument_is_refused() {
    let region = ("Mcp-Param-Region", "eu");
    for arguments in ["{}", r#"{"region":null}"#, r#"{"region":["eu"]}"#, r#"{"Region":"eu"}"#] {
        assert_eq!(outcome(&[VERSION, CALL, NAME, region], call(arguments)), (400, -32020), "{arguments}");
        assert_eq!(outcome(&[VERSION, CALL, NAME], call(arguments)), (0, 0), "{arguments}");
    }
    // Not annotated: it says nothing, and never goes upstream.
    assert_eq!(outcome(&[VERSION, CALL, NAME, ("Mcp-Param-Other", "x")], call("{}")), (0, 0));
}

#[test]
fn mcp_1_the_name_header_follows_the_method() {
    for (method, params, name, expected) in [
        ("resources/read", r#""uri":"file:///a""#, Some("file:///a"), (0, 0)),
        ("resources/read", r#""uri":"file:///a""#, Some("file:///b"), (400, -32020)),
        ("resources/read", r#""uri":"file:///a""#, None, (400, -32020)),
        ("prompts/get", r#""name":"p""#, Some("p"), (0, 0)),
        ("prompts/get", r#""name":"p""#, None, (400, -32020)),
        ("tasks/get", r#""taskId":"t""#, Some("t"), (0, 0)),
        ("tasks/cancel", r#""taskId":"t""#, Some("u"), (400, -32020)),
        ("tools/list", r#""x":1"#, None, (0, 0)),
        // Not defined for it: it says nothing.
        ("tools/list", r#""x":1"#, Some("p"), (0, 0)),
        ("tools/call", r#""name":1"#, Some("1"), (400, -32020)),
    ] {
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{{params},{META}}}}}"#);
        let mut headers = vec![VERSION, ("Mcp-Method", method)];
        headers.extend(name.map(|name| ("Mcp-Name", name)));
        assert_eq!(outcome(&headers, message(&body)), expected, "{method} {name:?}");
    }
}

#[test]
fn mcp_1_what_we_make_for_an_upstream_would_be_let_in() {
    let schema = schema();
    for (name, arguments) in [
        ("refund", r#"{"region":"eu","amount":80,"urgent":false}"#),
        ("refund", r#"{"region":" =?base64?x?= ","amount":1.0e2}"#),
        ("rückzahlung\n", r#"{"region":"","amount":-0}"#),
        ("refund", "{}"),
    ] {
        let name = Value::from(name);
        let body = message(&format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":{name},"arguments":{arguments},{META}}}}}"#
        ));
        let Message::Request { params: Some(params), .. } = &body else { panic!() };
        let headers = headers::headers_for(Method::ToolsCall, params, Some(&schema));
        let pairs = headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let admitted = over_http(pairs, body.clone(), |_| Some(&schema));
        assert!(admitted.is_ok(), "{arguments}: {admitted:?}");
    }
}

#[test]
fn what_is_missing_from_meta_or_unknown_is_refused() {
    let headers = [VERSION, ("Mcp-Method", "tools/list")];
    let list = |meta: &str| {
        message(&format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{{{meta}}}}}"#))
    };
    let version = r#""io.modelcontextprotocol/protocolVersion":"2026-07-28""#;
    let capabilities = r#""io.modelcontextprotocol/clientCapabilities":{}"#;
    for meta in [
        String::new(),
        r#""_meta":{}"#.to_owned(),
        r#""_meta":null"#.to_owned(),
        format!(r#""_meta":{{{version}}}"#),
        format!(r#""_meta":{{{capabilities}}}"#),
        format!(r#""_meta":{{{version},"io.modelcontextprotocol/clientCapabilities":null}}"#),
        format!(r#""_meta":{{{version},{capabilities},"io.modelcontextprotocol/logLevel":"loud"}}"#),
        format!(r#""_meta":{{{version},{capabilities},"io.modelcontextprotocol/clientInfo":"me"}}"#),
        format!(r#""_meta":{{{version},{capabilities},"progressToken":1.5}}"#),
    ] {
        assert_eq!(outcome(&headers, list(&meta)), (400, -32602), "{meta}");
    }
    assert_eq!(outcome(&headers, list(META)), (0, 0));
    let bare = message(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#);
    assert_eq!(outcome(&headers, bare), (400, -32602));
}

#[test]
fn unsupported_versions_are_told_what_is_supported() {
    for version in ["2025-11-25", "2027-01-01", "x"] {
        let body = message(&format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{}}}"#,
            META.replace("2026-07-28", version).replacen("\"_meta\":", "{\"_meta\":", 1) + "}"
        ));
        let headers = [("MCP-Protocol-Version", version), ("Mcp-Method", "tools/list")];
        let refusal = over_http(headers, body, |_| None).unwrap_err();
        assert_eq!((refusal.http_status, refusal.error.code, &refusal.id), (400, -32022, &Some(Id::from(1))));
        assert_eq!(
            refusal.error.data.unwrap().to_string(),
            format!(r#"{{"requested":"{version}","supported":["2026-07-28"]}}"#)
        );
    }
}

#[test]
fn unknown_methods_are_404() {
    for method in [
        "initialize",
        "ping",
        "logging/setLevel",
        "resources/subscribe",
        "tasks/result",
        "tasks/list",
        "x",
        "roots/list",
        "elicitation/create",
        "notifications/cancelled",
    ] {
        let body = message(&format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{{META}}}}}"#));
        let refusal = over_http([VERSION, ("Mcp-Method", method)], body.clone(), |_| None).unwrap_err();
        assert_eq!((refusal.http_status, refusal.error.code), (404, -32601), "{method}");
        assert_eq!(over_stdio(body).unwrap_err().error.code, -32601);
    }
}

#[test]
fn a_refusal_reveals_no_header_value() {
    let refusal = admit(&[VERSION, CALL, ("Mcp-Name", "s3cret")], call("{}")).unwrap_err();
    let answer = refusal.into_message().into_value().to_string();
    assert!(!answer.contains("s3cret"), "{answer}");
    assert!(answer.starts_with(r#"{"jsonrpc":"2.0","id":"c1","error":{"code":-32020"#), "{answer}");
}

#[test]
fn notifications_mirror_their_method_too() {
    let cancelled =
        message(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#);
    let method = ("Mcp-Method", "notifications/cancelled");
    assert_eq!(notification([VERSION, method], true, &cancelled), Ok(Method::Cancelled));
    assert_eq!(notification([], false, &cancelled), Ok(Method::Cancelled));
    let code = |headers: &[(&'static str, &'static str)], message: &Message| {
        notification(headers.iter().copied(), true, message).unwrap_err().error.code
    };
    assert_eq!(code(&[VERSION], &cancelled), -32020);
    assert_eq!(code(&[VERSION, CALL], &cancelled), -32020);
    let initialized = message(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
    assert_eq!(code(&[VERSION, ("Mcp-Method", "notifications/initialized")], &initialized), -32601);
    assert_eq!(code(&[VERSION, CALL], &call("{}")), -32600);
}

#[test]
fn the_era_of_a_message_over_http() {
    let bare = message(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#);
    let initialize = message(
        r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2026-07-28"}}"#,
    );
    let response = message(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#);
    let legacy_version = ("mcp-protocol-version", "2025-11-25");
    for (headers, message, expected) in [
        (&[][..], call("{}"), Era::Modern),
        (&[legacy_version], call("{}"), Era::Modern),
        (&[("Mcp-Session-Id", "s")], call("{}"), Era::Modern),
        (&[VERSION], bare.clone(), Era::Modern),
        (&[("MCP-Protocol-Version", "2099-01-01")], bare.clone(), Era::Modern),
        (&[("Mcp-Session-Id", "s"), VERSION], bare.clone(), Era::Legacy),
        (&[VERSION, ("Mcp-Session-Id", "s")], bare.clone(), Era::Legacy),
        (&[legacy_version], bare.clone(), Era::Legacy),
        (&[], bare, Era::Legacy),
        (&[VERSION], initialize, Era::Legacy),
        (&[VERSION], response, Era::Legacy),
    ] {
        assert_eq!(era_of(headers.iter().copied(), &message), expected, "{headers:?} {message:?}");
    }
}
