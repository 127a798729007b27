//! Capabilities: what is declared on behalf of others is only what is governed.

use placet_json::{Object, Value};

use crate::Era;

/// What a server may offer through the gateway: everything but `experimental`, legacy `tasks` and extensions that are not
/// in `extensions`.
#[must_use]
pub fn server(declared: &Object, era: Era, extensions: &[&str]) -> Object {
    let mut capabilities = Object::new();
    for (name, settings) in [
        ("tools", &["listChanged"][..]),
        ("resources", &["subscribe", "listChanged"]),
        ("prompts", &["listChanged"]),
        ("completions", &[]),
        ("logging", &[]),
    ] {
        if let Some(offered) = declared.get(name).and_then(Value::as_object) {
            capabilities.insert(name, only(offered, settings));
        }
    }
    add_extensions(&mut capabilities, declared, era, extensions);
    capabilities
}

/// What a client may be asked for through the gateway: `roots`, `sampling`, `elicitation` and the extensions in
/// `extensions`, as far as the client declared them; never more than it did.
#[must_use]
pub fn client(declared: &Object, era: Era, extensions: &[&str]) -> Object {
    let mut capabilities = Object::new();
    let roots = if era == Era::Legacy { &["listChanged"][..] } else { &[] };
    for (name, settings) in
        [("roots", roots), ("sampling", &["context", "tools"]), ("elicitation", &["form", "url"])]
    {
        if let Some(offered) = declared.get(name).and_then(Value::as_object) {
            capabilities.insert(name, only(offered, settings));
        }
    }
    add_extensions(&mut capabilities, declared, era, extensions);
    capabilities
}

/// Whether the client declared the capability that a path such as `elicitation/url` leads to. An `elicitation` without
/// members means forms, as it did before there were pages.
#[must_use]
pub fn declares(capabilities: &Object, path: &str) -> bool {
    if path == "elicitation/form"
        && capabilities.get("elicitation").and_then(Value::as_object).is_some_and(Object::is_empty)
    {
        return true;
    }
    let mut segments = path.split('/');
    let first = segments.next().and_then(|name| capabilities.get(name));
    segments.fold(first, |value, name| value?.get(name)).is_some_and(|value| value.as_object().is_some())
}

fn only(offered: &Object, settings: &[&str]) -> Object {
    offered
        .iter()
        .filter(|(name, _)| settings.contains(name))
        .map(|(name, value)| (name, value.clone()))
        .collect()
}

fn add_extensions(capabilities: &mut Object, declared: &Object, era: Era, extensions: &[&str]) {
    if era == Era::Legacy {
        return;
    }
    let kept: Object = declared
        .get("extensions")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter(|(name, _)| extensions.contains(name))
        .map(|(name, value)| (name, value.clone()))
        .collect();
    if !kept.is_empty() {
        capabilities.insert("extensions", kept);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use placet_json::{Limits, parse};

    fn object(text: &str) -> Object {
        parse(text.as_bytes(), &Limits::MESSAGE).unwrap().into_object().unwrap()
    }

    #[test]
    fn what_is_not_governed_is_stripped() {
        let declared = object(
            r#"{"tools":{"listChanged":true,"x":1},"logging":{},"tasks":{"list":{}},"experimental":{"a":{}},"evil":{},
                "extensions":{"io.modelcontextprotocol/tasks":{},"io.modelcontextprotocol/ui":{}}}"#,
        );
        let kept = server(&declared, Era::Modern, &["io.modelcontextprotocol/tasks"]);
        assert_eq!(
            Value::from(kept).to_string(),
            r#"{"tools":{"listChanged":true},"logging":{},"extensions":{"io.modelcontextprotocol/tasks":{}}}"#
        );
        let kept = server(&declared, Era::Legacy, &["io.modelcontextprotocol/tasks"]);
        assert_eq!(Value::from(kept).to_string(), r#"{"tools":{"listChanged":true},"logging":{}}"#);

        let declared = object(
            r#"{"roots":{"listChanged":true},"elicitation":{"form":{},"url":{},"x":{}},"tasks":{},"experimental":{},
                "sampling":7}"#,
        );
        let kept = client(&declared, Era::Modern, &[]);
        assert_eq!(Value::from(kept).to_string(), r#"{"roots":{},"elicitation":{"form":{},"url":{}}}"#);
    }

    #[test]
    fn only_what_is_declared_is_declared() {
        let capabilities = object(r#"{"elicitation":{"url":{}},"sampling":{"tools":true}}"#);
        assert!(declares(&capabilities, "elicitation"));
        assert!(declares(&capabilities, "elicitation/url"));
        assert!(!declares(&capabilities, "elicitation/form"));
        assert!(!declares(&capabilities, "sampling/tools"));
        assert!(!declares(&capabilities, "roots"));
        assert!(declares(&object(r#"{"elicitation":{}}"#), "elicitation/form"));
        assert!(!declares(&object(r#"{"elicitation":{}}"#), "elicitation/url"));
    }
}
