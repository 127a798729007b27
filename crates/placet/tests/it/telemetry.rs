//! Traces of governed calls: what a collector gets, and what it doesn't.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::mpsc::{Receiver, Sender, channel},
    time::{Duration, Instant},
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest, common::v1::KeyValue, common::v1::any_value,
    trace::v1::Span,
};
use placet_json::Value;
use prost::Message as _;

use crate::{
    connect::{Client, INITIALIZE, MODERN, Road, connect, road_with},
    support::free_address,
};

/// A collector: its base URL, and the bodies that it got at `/v1/traces`.
fn collector() -> (String, Receiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (sender, bodies) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().map(Result::unwrap) {
            collect(stream, &sender);
        }
    });
    (url, bodies)
}

fn collect(mut stream: TcpStream, bodies: &Sender<Vec<u8>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).unwrap() == 0 {
            return;
        }
    }
    let lower = head.to_lowercase();
    assert!(lower.starts_with("post /v1/traces http/1.1\r\n"), "{head}");
    assert!(lower.contains("content-type: application/x-protobuf"), "{head}");
    let length = lower.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()).unwrap();
    let mut body = vec![0; length.trim().parse().unwrap()];
    reader.read_exact(&mut body).unwrap();
    bodies.send(body).unwrap();
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
}

fn text<'a>(attributes: &'a [KeyValue], name: &str) -> &'a str {
    let value =
        attributes.iter().find(|attribute| attribute.key == name).and_then(|found| found.value.as_ref());
    match value.and_then(|value| value.value.as_ref()) {
        Some(any_value::Value::StringValue(text)) => text,
        _ => "",
    }
}

fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect()
}

/// Ends the server, so that it sends all that it has; what the tool's guard sent on comes along.
fn end(road: Road) -> String {
    let sent = String::from_utf8_lossy(&road.sent.lock().unwrap()).into_owned();
    assert_eq!(road.server.serving.end(), Some(0));
    sent
}

const THEIRS: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

/// A call that goes on a client's trace, one that is denied, and one whose name is no tool's.
fn work(road: &Road) -> [Value; 3] {
    let mut client = Client::start(connect(&road.server, &[]));
    client.ask(1, "initialize", INITIALIZE);
    let traced = MODERN.replacen('{', &format!("{{\"traceparent\":\"{THEIRS}\","), 1);
    let call = |case: &str, more: &str| {
        format!(r#"{{"name":"crm__get_case","arguments":{{"case_id":"{case}"}},{more}}}"#)
    };
    let done = client.ask(2, "tools/call", &call("CASE-1837", &traced));
    assert!(done.pointer("/result/structuredContent/case_id").is_some(), "{done}");
    let denied = client.ask(3, "tools/call", &call("CANARY-argument", MODERN));
    assert!(denied.pointer("/result/structuredContent/placet/code").is_some(), "{denied}");
    let unknown = client.ask(
        4,
        "tools/call",
        &format!(r#"{{"name":"nothing","arguments":{{"a":"CANARY-argument"}},{MODERN}}}"#),
    );
    assert!(unknown.get("error").is_some(), "{unknown}");
    assert_eq!(client.end(), Some(0));
    [done, denied, unknown]
}

#[test]
fn a_governed_call_is_one_span_with_its_stages_in_the_clients_trace() {
    let (url, bodies) = collector();
    let road = road_with(&format!("[telemetry]\notlp = \"{url}\"\n"), &[]);
    let [_, denied, _] = work(&road);
    let sent = end(road);
    let bodies: Vec<Vec<u8>> = bodies.try_iter().collect();
    let mut spans: Vec<Span> = Vec::new();
    for body in &bodies {
        for resource in ExportTraceServiceRequest::decode(body.as_slice()).unwrap().resource_spans {
            let about = resource.resource.unwrap().attributes;
            assert_eq!(
                (text(&about, "service.name"), text(&about, "deployment.environment.name")),
                ("placet", "dev")
            );
            spans.extend(resource.scope_spans.into_iter().flat_map(|scope| scope.spans));
        }
    }
    let calls: Vec<&Span> = spans.iter().filter(|span| span.name == "placet.call").collect();
    let of = |decision: &str, tool: &str| {
        let mut found = calls.iter().filter(|span| {
            text(&span.attributes, "placet.decision") == decision
                && text(&span.attributes, "placet.tool") == tool
        });
        let one = *found.next().unwrap_or_else(|| panic!("{decision} {tool}: {calls:#?}"));
        assert!(found.next().is_none());
        one
    };
    assert_eq!(calls.len(), 3, "{calls:#?}");

    // What was permitted.
    let done = of("permit", "crm.get_case");
    for (name, value) in [
        ("placet.tenant", "acme"),
        ("placet.agent", "agent-7"),
        ("placet.human", "maya"),
        ("placet.workflow", "wf-9"),
        ("placet.intent", "support_case_resolution"),
        ("placet.action", "summarize_case"),
        ("placet.reason.code", ""),
        ("placet.ending", "done"),
    ] {
        assert_eq!(text(&done.attributes, name), value, "{name}: {done:#?}");
    }
    assert!(text(&done.attributes, "placet.decision.id").starts_with("dc_"));
    assert_eq!(
        (hex(&done.trace_id), hex(&done.parent_span_id)),
        ("0af7651916cd43dd8448eb211c80319c".to_owned(), "b7ad6b7169203331".to_owned()),
        "the client's trace, though it wanted no sample of it"
    );
    let stages = |call: &Span| {
        let mut stages: Vec<&Span> =
            spans.iter().filter(|span| span.parent_span_id == call.span_id).collect();
        stages.sort_by_key(|span| span.start_time_unix_nano);
        for stage in &stages {
            assert_eq!(stage.trace_id, call.trace_id);
            assert!(
                call.start_time_unix_nano <= stage.start_time_unix_nano
                    && stage.end_time_unix_nano <= call.end_time_unix_nano
            );
        }
        stages.into_iter().map(|span| span.name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(stages(done), ["classify", "decide", "record", "issue", "exchange", "close"]);
    let ours = format!("00-{}-{}-01", hex(&done.trace_id), hex(&done.span_id));
    assert!(sent.contains(&ours) && !sent.contains(THEIRS), "the tool is told {ours}: {sent}");

    // What was denied, and what is no tool.
    let refused = of("deny", "crm.get_case");
    let told = |name: &str| {
        denied.pointer(&format!("/result/structuredContent/placet/{name}")).and_then(Value::as_str)
    };
    assert_eq!(Some(text(&refused.attributes, "placet.reason.code")), told("code"));
    assert_eq!(Some(text(&refused.attributes, "placet.decision.id")), told("decision_id"));
    assert_eq!(text(&refused.attributes, "placet.ending"), "");
    assert!(refused.parent_span_id.is_empty() && refused.trace_id != done.trace_id);
    assert_eq!(stages(refused).last().map(String::as_str), Some("record"));
    assert_eq!(text(&of("deny", "nothing").attributes, "placet.reason.code"), "tool_unknown");

    // Nothing of what was said, and nothing that opens a door.
    let known = ["placet.", "otel.", "busy_ns", "idle_ns"];
    for span in &spans {
        assert!(span.events.is_empty(), "{span:#?}");
        for attribute in &span.attributes {
            assert!(known.iter().any(|known| attribute.key.starts_with(known)), "{span:#?}");
        }
    }
    for body in &bodies {
        let body = String::from_utf8_lossy(body);
        for secret in ["CANARY", "CASE-1837", "eyJ", "PRIVATE KEY", "Bearer", "DPoP"] {
            assert!(!body.contains(secret), "{secret}");
        }
    }
    assert!(sent.contains("CASE-1837") && sent.contains("tools/call"), "what is looked for would be found");
}

#[test]
fn nothing_is_sent_where_no_collector_is_set_whatever_the_environment_says() {
    let (url, bodies) = collector();
    let variables = ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"]
        .map(|name| (name, url.as_str()));
    let road = road_with("[log]\nlevel = \"trace\"\n", &variables);
    work(&road);
    let sent = end(road);
    assert!(bodies.try_iter().next().is_none());
    assert!(sent.contains(THEIRS), "the client's trace goes on untouched: {sent}");
}

#[test]
fn ops_4_a_body_beyond_the_bound_is_refused_and_one_within_is_served() {
    let road = road_with("[limits]\nbody_bytes = 2048\n", &[]);
    let mut client = Client::start(connect(&road.server, &[]));
    client.ask(1, "initialize", INITIALIZE);
    let long = format!(r#"{{"name":"crm__get_case","arguments":{{"case_id":"{}"}}}}"#, "x".repeat(2048));
    let refused = client.ask(2, "tools/call", &long);
    assert!(refused.get("error").is_some(), "{refused}");
    let done = client.ask(3, "tools/call", r#"{"name":"crm__get_case","arguments":{"case_id":"CASE-1837"}}"#);
    assert!(done.pointer("/result/structuredContent/case_id").is_some(), "{done}");
    assert_eq!(client.end(), Some(0));
    assert_eq!(road.sample.calls(), 1);
}

#[test]
fn ops_4_an_agent_with_as_many_open_answers_as_it_may_have_gets_no_more() {
    let road = road_with("[limits]\nstreams = 1\n", &[]);
    let mut client = Client::start(connect(&road.server, &[]));
    client.ask(1, "initialize", INITIALIZE);
    let call = r#"{"name":"crm__get_case","arguments":{"case_id":"CASE-1837"}}"#;
    // What goes to the tool is kept back as long as this is held.
    let held = road.sent.lock().unwrap();
    for id in [2, 3] {
        client.send(&format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{call}}}"#));
    }
    let refused = client.next();
    assert!(refused.get("error").is_some(), "{refused}");
    drop(held);
    let done = client.next();
    assert!(done.pointer("/result/structuredContent/case_id").is_some(), "{done}");
    let next = client.ask(4, "tools/call", call);
    assert!(next.pointer("/result/structuredContent/case_id").is_some(), "{next}");
    assert_eq!(client.end(), Some(0));
    assert_eq!(road.sample.calls(), 2);
}

#[test]
fn a_collector_that_is_away_stops_no_call_and_no_end() {
    let road = road_with(&format!("[telemetry]\notlp = \"http://{}\"\n", free_address()), &[]);
    work(&road);
    assert_eq!(road.sample.calls(), 1);
    let began = Instant::now();
    end(road);
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
}
