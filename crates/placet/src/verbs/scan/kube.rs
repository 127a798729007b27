//! Kubernetes manifests: Secrets, the literal environment of containers, ConfigMaps.

use base64::{Engine, engine::general_purpose::STANDARD};
use placet_json::{Object, Value};

use super::{
    clients::line_of,
    collect::{Collector, Place},
    files::assignment,
};

/// Labels and annotations that name who answers for an object.
const OWNERS: [&str; 6] =
    ["owner", "team", "placet.dev/owner", "app.kubernetes.io/owner", "backstage.io/owner", "contact"];
/// Documents of one file.
const MAX_DOCUMENTS: usize = 1000;

/// Reads the manifests of a file; `false` if there is none.
pub(super) fn read(text: &str, place: &Place, into: &mut Collector) -> bool {
    let mut any = false;
    for (start, document) in documents(text).take(MAX_DOCUMENTS) {
        let Ok(value) = placet_policy::read_yaml(document) else { continue };
        let items: Vec<&Value> = match value.get("items").and_then(Value::as_array) {
            Some(items) => items.iter().collect(),
            None => vec![&value],
        };
        for item in items {
            any |= Manifest { document, start, place }.read(item, into);
        }
    }
    any
}

/// The documents of a stream, with the number of lines before each.
fn documents(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut starts = vec![(0, 0)];
    let mut at: usize = 0;
    for (i, line) in text.split_inclusive('\n').enumerate() {
        at = at.saturating_add(line.len());
        if line.trim_end() == "---" || line.starts_with("--- ") {
            starts.push((i.saturating_add(1), at));
        }
    }
    let ends: Vec<usize> = starts.iter().skip(1).map(|(_, at)| *at).chain([text.len()]).collect();
    starts.into_iter().zip(ends).filter_map(move |((line, start), end)| {
        let document = text.get(start..end)?;
        // The mark of the next one stands at the end of this.
        let document = document.trim_end().strip_suffix("---").unwrap_or(document);
        (!document.trim().is_empty()).then_some((line, document))
    })
}

/// Where an object's values come from.
struct Manifest<'a> {
    document: &'a str,
    start: usize,
    place: &'a Place,
}

impl Manifest<'_> {
    fn read(&self, object: &Value, into: &mut Collector) -> bool {
        let (Some(kind), Some(_)) =
            (object.get("kind").and_then(Value::as_str), object.get("apiVersion").and_then(Value::as_str))
        else {
            return false;
        };
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
        let name = text("/metadata/name").unwrap_or("?");
        let user = match text("/metadata/namespace") {
            Some(namespace) => format!("{kind} {namespace}/{name}"),
            None => format!("{kind} {name}"),
        };
        let owner = ["labels", "annotations"].iter().find_map(|map| {
            let map = object.pointer(&format!("/metadata/{map}"))?;
            OWNERS.iter().find_map(|owner| map.get(owner)?.as_str()).map(str::to_owned)
        });
        let at = |path: &[&str], value: &str, spelled: &str| Place {
            line: line_of(self.document, spelled)
                .or_else(|| line_of(self.document, value))
                .map(|line| line.saturating_add(self.start)),
            path: path.iter().map(|member| (*member).to_owned()).collect(),
            owner: owner.clone().or_else(|| self.place.owner.clone()),
            user: Some(user.clone()),
            ..self.place.clone()
        };
        match kind {
            "Secret" => {
                let kind = text("/type").unwrap_or("Opaque");
                let account = kind == "kubernetes.io/service-account-token";
                for (name, value) in members(object, "data") {
                    let spelled: String = value.split_whitespace().collect();
                    let decoded =
                        STANDARD.decode(&spelled).ok().and_then(|bytes| String::from_utf8(bytes).ok());
                    if !public(kind, name) {
                        // The spelling in base64 is the secret as well.
                        let decoded = decoded.unwrap_or(spelled);
                        into.secret(
                            &decoded,
                            account && name == "token",
                            &at(&["data", name], &decoded, value),
                        );
                    }
                }
                for (name, value) in members(object, "stringData") {
                    if !public(kind, name) {
                        into.secret(
                            value,
                            account && name == "token",
                            &at(&["stringData", name], value, value),
                        );
                    }
                }
            }
            "ConfigMap" => {
                for (name, value) in members(object, "data") {
                    if value.contains('\n') {
                        // A file in a value.
                        for line in value.lines() {
                            let (inner, value) = assignment(line).unwrap_or(("", line));
                            into.judge(inner, value, &at(&["data", name, inner], value, line.trim()));
                        }
                    } else {
                        into.judge(name, value, &at(&["data", name], value, value));
                    }
                }
            }
            _ => {
                let mut found = Vec::new();
                containers(object, &mut found);
                for (container, name, value) in found {
                    into.judge(name, value, &at(&[container, "env", name], value, value));
                }
            }
        }
        true
    }
}

fn members<'a>(object: &'a Value, map: &str) -> impl Iterator<Item = (&'a str, &'a str)> {
    let members = object.get(map).and_then(Value::as_object);
    members.into_iter().flat_map(Object::iter).filter_map(|(name, value)| Some((name, value.as_str()?)))
}

/// What stands in a Secret and is none.
fn public(kind: &str, name: &str) -> bool {
    match kind {
        "kubernetes.io/tls" => name != "tls.key",
        "kubernetes.io/service-account-token" => name != "token",
        "kubernetes.io/basic-auth" => name == "username",
        _ => matches!(name, "ca.crt" | "tls.crt" | "username" | "user" | "host" | "hostname" | "port"),
    }
}

/// Container, variable and literal value, wherever a pod's template stands.
fn containers<'a>(value: &'a Value, found: &mut Vec<(&'a str, &'a str, &'a str)>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                if matches!(name, "containers" | "initContainers" | "ephemeralContainers") {
                    for container in member.as_array().unwrap_or_default() {
                        variables(container, found);
                    }
                } else {
                    containers(member, found);
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| containers(item, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn variables<'a>(container: &'a Value, found: &mut Vec<(&'a str, &'a str, &'a str)>) {
    let text = |value: &'a Value, name: &str| value.get(name).and_then(Value::as_str);
    let of = text(container, "name").unwrap_or("?");
    for variable in container.get("env").and_then(Value::as_array).unwrap_or_default() {
        if let (Some(name), Some(value)) = (text(variable, "name"), text(variable, "value")) {
            found.push((of, name, value));
        }
    }
    for list in ["args", "command"] {
        for argument in container.get(list).and_then(Value::as_array).unwrap_or_default() {
            if let Some(argument) = argument.as_str() {
                let (name, value) = argument.split_once('=').unwrap_or(("", argument));
                found.push((of, name, value));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_s_documents_keep_their_lines() {
        let text = "a: 1\n---\nb: 2\n--- \nc: 3\n";
        let found: Vec<(usize, String)> =
            documents(text).map(|(line, document)| (line, document.trim().to_owned())).collect();
        assert_eq!(found, [(0, "a: 1".to_owned()), (2, "b: 2".to_owned()), (4, "c: 3".to_owned())]);
    }
}
