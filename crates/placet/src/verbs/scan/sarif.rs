//! The report as SARIF 2.1.0 (OASIS), which code scanning reads.

use placet_json::{Object, Value, object};

use super::{report::each, shapes::Shapes};
use crate::verbs::common::cell;

/// One log with one run: a rule a kind, a result a standing credential.
pub(super) fn log(report: &Value) -> Value {
    let kinds = Shapes::kinds();
    let rules: Vec<Value> = kinds
        .iter()
        .map(|kind| {
            Value::from(object! {
                "id" => kind.code,
                "shortDescription" => object! { "text" => format!("A standing credential: {}", kind.name) },
                "help" => object! { "text" => "docs/reference/scan.md" },
            })
        })
        .collect();
    let results: Vec<Value> = each(report).map(result).collect();
    let driver =
        object! { "name" => "placet scan", "version" => env!("CARGO_PKG_VERSION"), "rules" => rules };
    let run = object! { "tool" => object! { "driver" => driver }, "results" => results };
    Value::from(object! {
        "$schema" => "https://json.schemastore.org/sarif-2.1.0.json",
        "version" => "2.1.0",
        "runs" => vec![Value::from(run)],
    })
}

fn result(credential: &Object) -> Value {
    let value = Value::from(credential.clone());
    let text = |name: &str| cell(&value, name);
    let mut message = format!("{}, {} days old", text("what"), text("age_days"));
    if !text("path").is_empty() {
        message = format!("{message}, at {}", text("path"));
    }
    message.push_str(if text("owner").is_empty() { ", without an owner" } else { "" });
    if !text("governed_by").is_empty() {
        message = format!("{message}; it opens `{}`, which Placet governs", text("governed_by"));
    }
    let uri: String = url::form_urlencoded::byte_serialize(text("file").trim_start_matches("./").as_bytes())
        .collect::<String>()
        .replace("%2F", "/")
        .replace('+', "%20");
    let mut place = object! { "artifactLocation" => object! { "uri" => uri } };
    if let Some(line) = credential.get("line").and_then(Value::as_u64) {
        place.insert("region", object! { "startLine" => line });
    }
    Value::from(object! {
        "ruleId" => text("kind"),
        "level" => "error",
        "message" => object! { "text" => message },
        "partialFingerprints" => object! { "place/v1" => format!("{}:{}:{}", text("file"), text("path"), text("kind")) },
        "locations" => vec![Value::from(object! { "physicalLocation" => place })],
    })
}
