//! Records as OpenTelemetry log records: OTLP over HTTP in its JSON encoding, below the collector's address at `v1/logs`.

use placet_audit::Event;
use placet_json::{Limits, Object, Value, object, parse};
use url::Url;

use super::sink::Failure;
use crate::settings::Server;

/// Where logs go below a collector's base URL.
pub(super) fn address(base: &Url) -> Result<Url, String> {
    Url::parse(&format!("{}/v1/logs", base.as_str().trim_end_matches('/'))).map_err(|error| error.to_string())
}

/// Who speaks.
pub(super) fn resource(server: &Server) -> Value {
    let attributes = [
        ("service.name", "placet".to_owned()),
        ("service.version", env!("CARGO_PKG_VERSION").to_owned()),
        ("deployment.environment.name", server.environment.as_str().to_owned()),
        ("placet.organisation", server.organisation.to_string()),
    ];
    let attributes = attributes.map(|(name, text)| attribute(name, object! { "stringValue" => text }));
    object! { "attributes" => Value::Array(attributes.into()) }.into()
}

/// A batch as one request (`ExportLogsServiceRequest`).
pub(super) fn logs(resource: &Value, events: &[Event]) -> Vec<u8> {
    let records = Value::Array(events.iter().map(record).collect());
    let scope = object! { "name" => "placet.ledger", "version" => env!("CARGO_PKG_VERSION") };
    let scoped = Value::from(object! { "scope" => scope, "logRecords" => records });
    let one =
        Value::from(object! { "resource" => resource.clone(), "scopeLogs" => Value::Array(vec![scoped]) });
    Value::from(object! { "resourceLogs" => Value::Array(vec![one]) }).to_string().into_bytes()
}

/// How many records the collector has dropped for good: it wouldn't take them again (OTLP §"Partial Success").
pub(super) fn rejected(answer: &[u8]) -> Result<u64, Failure> {
    if answer.is_empty() {
        return Ok(0);
    }
    let limits = Limits { bytes: 64 << 10, depth: 6, members: 100 };
    let Ok(answer) = parse(answer, &limits) else {
        return Err(Failure::of("its answer is no JSON: this is no collector of OTLP"));
    };
    let rejected = answer.pointer("/partialSuccess/rejectedLogRecords");
    Ok(rejected.and_then(|it| it.as_u64().or_else(|| it.as_str()?.parse().ok())).unwrap_or(0))
}

fn record(event: &Event) -> Value {
    let nanos = format!("{}000000", event.time_ms);
    let (number, text) = match event.severity {
        1 => (9_u64, "INFO"),
        2 => (10, "INFO2"),
        3 => (13, "WARN"),
        _ => (17, "ERROR"),
    };
    let mut attributes = vec![
        attribute("placet.record", object! { "stringValue" => event.kind }),
        attribute("placet.sequence", object! { "intValue" => event.sequence.to_string() }),
    ];
    let at = |pointer: &str| event.ocsf.pointer(pointer).and_then(Value::as_str);
    for (name, pointer) in [
        ("placet.agent", "/actor/app_uid"),
        ("enduser.id", "/actor/user/uid"),
        ("placet.action", "/api/operation"),
        ("placet.upstream", "/api/service/name"),
        ("placet.resource.type", "/resources/0/type"),
        ("placet.resource.id", "/resources/0/uid"),
        ("placet.release", "/policy/uid"),
        ("placet.code", "/status_code"),
    ] {
        if let Some(text) = at(pointer) {
            attributes.push(attribute(name, object! { "stringValue" => text }));
        }
    }
    // The same names as the attributes of the spans of calls.
    let own = event.ocsf.pointer("/unmapped/placet").and_then(Value::as_object);
    for (name, value) in own.into_iter().flat_map(Object::iter) {
        let value = match value {
            Value::String(text) => object! { "stringValue" => text.as_str() },
            Value::Bool(truth) => object! { "boolValue" => *truth },
            Value::Array(all) => {
                let all =
                    all.iter().filter_map(Value::as_str).map(|text| object! { "stringValue" => text }.into());
                object! { "arrayValue" => object! { "values" => Value::Array(all.collect()) } }
            }
            other => match other.as_u64() {
                Some(number) => object! { "intValue" => number.to_string() },
                None => continue,
            },
        };
        if name != "record" {
            attributes.push(attribute(&format!("placet.{name}"), value));
        }
    }
    object! {
        "timeUnixNano" => nanos.as_str(), "observedTimeUnixNano" => nanos.as_str(), "severityNumber" => number,
        "severityText" => text, "eventName" => format!("placet.{}", event.kind),
        "body" => object! { "stringValue" => event.message.as_str() }, "attributes" => Value::Array(attributes),
    }
    .into()
}

fn attribute(name: &str, value: Object) -> Value {
    object! { "key" => name, "value" => value }.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_collector_says_counts_as_taken() {
        let partial = r#"{"partialSuccess":{"rejectedLogRecords":"2","errorMessage":"x"}}"#;
        for (answer, dropped) in [("", 0), ("{}", 0), (r#"{"partialSuccess":{}}"#, 0), (partial, 2)] {
            assert_eq!(rejected(answer.as_bytes()).unwrap(), dropped, "{answer}");
        }
        for garbage in ["<html>", "{", "ok"] {
            assert!(rejected(garbage.as_bytes()).is_err(), "{garbage}");
        }
    }
}
