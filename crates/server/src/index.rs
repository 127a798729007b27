//! What the search index knows of a record.

use placet_json::{Limits, Value};
use placet_record::Kind;
use placet_store::{Record, Row};

/// The row of a record; one that can't be read is found by its place and time only.
#[must_use]
pub fn row(record: &Record) -> Row {
    let Ok(document) = placet_json::parse(&record.payload, &Limits::RESULT) else { return Row::default() };
    let text = |pointer: &str| document.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    match Kind::from_tag(record.kind) {
        Some(Kind::Decision) => Row {
            human: text("/human"),
            agent: text("/agent"),
            workflow: text("/workflow"),
            intent: text("/intent"),
            action: text("/call/action").or_else(|| text("/attempt/action")),
            resource: resource(&document, "/call/resources/0")
                .or_else(|| resource(&document, "/attempt/resources/0")),
            decision: text("/decision"),
            reason: text("/reasons/0/code"),
            release: text("/release"),
            decision_id: text("/id"),
        },
        Some(Kind::Effect) => Row {
            workflow: text("/workflow"),
            decision: text("/ending"),
            decision_id: text("/decision"),
            ..Row::default()
        },
        Some(Kind::Release) => Row { human: text("/by"), release: text("/release"), ..Row::default() },
        Some(Kind::Act) => {
            Row { human: text("/by"), action: text("/verb"), reason: text("/why"), ..Row::default() }
        }
        Some(Kind::Facts) => {
            Row { human: text("/transaction/author"), reason: text("/transaction/why"), ..Row::default() }
        }
        Some(Kind::Refusals) | None => Row::default(),
    }
}

fn resource(document: &Value, pointer: &str) -> Option<String> {
    let resource = document.pointer(pointer)?;
    Some(format!("{}:{}", resource.get("type")?.as_str()?, resource.get("id")?.as_str()?))
}
