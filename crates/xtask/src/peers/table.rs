//! `peers/clients.json` and `peers/upstreams.json`, with their placeholders filled in.

use std::{collections::BTreeMap, path::Path};

use serde_json::Value;

/// The places that both tables name.
pub(super) fn places(repository: &Path, target: &Path) -> BTreeMap<String, String> {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let places =
        [("peers", text(&repository.join(".peers"))), ("repo", text(repository)), ("target", text(target))];
    places.into_iter().map(|(name, place)| (name.to_owned(), place)).collect()
}

/// A value with each `{name}` of its strings replaced.
pub(super) fn filled(value: &Value, names: &BTreeMap<String, String>) -> Value {
    match value {
        Value::String(text) => Value::String(
            names.iter().fold(text.clone(), |text, (name, by)| text.replace(&format!("{{{name}}}"), by)),
        ),
        Value::Array(items) => items.iter().map(|item| filled(item, names)).collect(),
        Value::Object(members) => members
            .iter()
            .map(|(name, member)| (name.clone(), filled(member, names)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

/// A member's texts.
pub(super) fn texts(value: &Value, name: &str) -> Vec<String> {
    let items = value.get(name).and_then(Value::as_array);
    items.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}
