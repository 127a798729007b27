//! What the samples' tools have in common: their definitions and the ways in which a call can fail.

use rmcp::model::{JsonObject, Tool, ToolAnnotations};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Why a tool gave no result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// There is no tool of this name here.
    #[error("unknown tool")]
    Unknown,
    /// The arguments are not what the tool's schema says, or name something that doesn't exist.
    #[error("{0}")]
    Refused(String),
    /// The tool's own database failed.
    #[error("the tool's database failed: {0}")]
    Database(#[from] rusqlite::Error),
}

/// Reads a tool's arguments; members that it doesn't know are refused.
pub(crate) fn arguments<T: DeserializeOwned>(arguments: JsonObject) -> Result<T, Fault> {
    serde_json::from_value(Value::Object(arguments))
        .map_err(|why| Fault::Refused(format!("arguments: {why}")))
}

/// What a tool does to the world, as its annotations say it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Effect {
    /// Looks only.
    Read,
    /// Adds something.
    Write,
    /// Changes something that can't be taken back.
    Destructive,
}

/// A definition with closed input: `properties` are all required, nothing else is allowed.
pub(crate) fn define(
    name: &'static str,
    description: &'static str,
    effect: Effect,
    properties: Value,
    output: Value,
) -> Tool {
    let annotations = match effect {
        Effect::Read => ToolAnnotations::new().read_only(true),
        Effect::Write => ToolAnnotations::new().read_only(false).destructive(false),
        Effect::Destructive => ToolAnnotations::new().read_only(false).destructive(true).idempotent(false),
    };
    let mut tool = Tool::new(name, description, closed(properties)).with_annotations(annotations);
    tool.output_schema = Some(std::sync::Arc::new(closed(output)));
    tool
}

/// The schema of an object that has exactly these properties.
pub(crate) fn closed(properties: Value) -> JsonObject {
    let names: Vec<Value> =
        properties.as_object().into_iter().flat_map(|object| object.keys()).map(|name| json!(name)).collect();
    let mut schema = JsonObject::new();
    schema.insert("type".to_owned(), json!("object"));
    schema.insert("properties".to_owned(), properties);
    schema.insert("required".to_owned(), Value::Array(names));
    schema.insert("additionalProperties".to_owned(), json!(false));
    schema
}
