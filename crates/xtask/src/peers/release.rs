//! A release for the peers' tools: its catalog comes from the definitions that the gateway itself read.

use std::{fs, path::Path};

use serde_json::Value;

use super::stage::Upstream;

/// The upstream that the refusals are tried with.
pub(super) const EVERYTHING: &str = "everything";
/// Its tool that policy may forbid.
pub(super) const ECHO: &str = "echo";
/// Its tool that no catalog has: it tells its environment.
pub(super) const HIDDEN: &str = "get-env";
/// What policy doesn't let through.
pub(super) const FORBIDDEN: &str = "the forbidden word";
/// The release's own code for that.
pub(super) const CODE: &str = "forbidden_word";
/// Its text.
pub(super) const TEXT: &str = "This word is not passed on.";
/// Actions of the catalog: what reads, and what changes something.
pub(super) const ACTIONS: [&str; 2] = ["read_peer", "change_peer"];
/// Type of the workflows, and of what they are about.
pub(super) const WORKFLOW_TYPE: &str = "peer_run";
pub(super) const RESOURCE: &str = "bench";
pub(super) const RESOURCE_ID: &str = "bench-1";
pub(super) const INTENT: &str = "try_tools";
pub(super) const AGENT_TYPE: &str = "peer";

/// A tool as its upstream defines it.
#[derive(Debug, Clone)]
pub(super) struct Tool {
    pub(super) name: String,
    digest: String,
    definition: Value,
}

impl Tool {
    /// From the administration API's list.
    pub(super) fn read(offered: &Value) -> Option<Self> {
        let text = |name: &str| offered.get(name).and_then(Value::as_str).map(str::to_owned);
        Some(Self {
            name: text("name")?,
            digest: text("digest")?,
            definition: offered.get("definition")?.clone(),
        })
    }

    fn properties(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.definition.pointer("/inputSchema/properties").and_then(Value::as_object).into_iter().flatten()
    }

    fn requires(&self, name: &str) -> bool {
        let required = self.definition.pointer("/inputSchema/required").and_then(Value::as_array);
        required.into_iter().flatten().any(|required| required == name)
    }

    /// Whether all that is given is of the types that the catalog has, as far as the scenarios need it.
    pub(super) fn fits(&self, arguments: Option<&Value>) -> bool {
        let given = |name: &str| arguments.and_then(|arguments| arguments.get(name));
        self.properties().all(|(name, schema)| match (argument(schema).as_deref(), given(name)) {
            (_, None) => !self.requires(name),
            (Some(kind), Some(value)) if kind.starts_with("\"decimal\"") => value.is_number(),
            (Some(kind), Some(value)) if kind.starts_with("\"integer\"") => value.is_i64(),
            (Some(kind), Some(value)) if kind.starts_with("\"boolean\"") => value.is_boolean(),
            (Some(kind), Some(value)) if kind.starts_with("\"list\"") => value.is_array(),
            (Some(_), Some(value)) => value.is_string(),
            (None, Some(_)) => false,
        })
    }
}

/// The catalog's type of an argument, from `"…"` on; `None` where a schema says more than one.
fn argument(schema: &Value) -> Option<String> {
    // Optional arguments of Python servers are a type or null.
    let alternatives = schema.get("anyOf").and_then(Value::as_array).into_iter().flatten();
    let mut real = alternatives.filter(|schema| schema.get("type").and_then(Value::as_str) != Some("null"));
    let schema = match (real.next(), real.next()) {
        (None, _) => schema,
        (Some(one), None) => one,
        (Some(_), Some(_)) => return None,
    };
    if let Some(values) = schema.get("enum") {
        return Some(format!("\"enum\", values = {values}"));
    }
    match schema.get("type").and_then(Value::as_str)? {
        "string" => Some("\"text\", max_length = 4000".to_owned()),
        "number" => Some("\"decimal\"".to_owned()),
        "integer" => Some("\"integer\"".to_owned()),
        "boolean" => Some("\"boolean\"".to_owned()),
        "array" => Some(format!("\"list\", items = {{ type = {} }}", argument(schema.get("items")?)?)),
        _ => None,
    }
}

/// Writes the release's tree.
pub(super) fn write(dir: &Path, upstreams: &[Upstream]) -> Result<(), String> {
    let file = |name: &str, text: &str| {
        let path = dir.join(name);
        let parent = path.parent().map_or(Ok(()), fs::create_dir_all);
        parent.and_then(|()| fs::write(&path, text)).map_err(|error| format!("{}: {error}", path.display()))
    };
    file("release.toml", "name = \"peers\"\n\n[rego]\nversion = \"v1\"\nentrypoints = [\"peers.authz\"]\n")?;
    file("policies/peers.rego", &rego())?;
    file(
        "reasons.toml",
        &format!("[[reason]]\ndeny = \"this word isn't passed on\"\ncode = \"{CODE}\"\ntext = \"{TEXT}\"\n"),
    )?;
    file("relations.toml", &format!("[type.{RESOURCE}]\nattributes = {{ {RESOURCE}_id = \"id\" }}\n"))?;
    file(
        &format!("workflow_types/{WORKFLOW_TYPE}.toml"),
        &format!(
            "name = \"{WORKFLOW_TYPE}\"\nintents = [\"{INTENT}\"]\nagents = [\"{AGENT_TYPE}\"]\nlongest_life = \"8h\"\n\
             attributes = {{ {RESOURCE}_id = \"id\" }}\nbinds = {{ {RESOURCE} = \"{RESOURCE}_id\" }}\n"
        ),
    )?;
    for upstream in upstreams {
        file(&format!("catalog/{}.toml", upstream.name), &catalog(upstream)?)?;
    }
    Ok(())
}

fn rego() -> String {
    let [read, change] = ACTIONS;
    format!(
        "package peers.authz\n\ndefault allow := false\n\n\
         allow if {{\n\tinput.action in {{\"{read}\", \"{change}\"}}\n\tinput.intent == \"{INTENT}\"\n\
         \tinput.resource.{RESOURCE}_id == input.workflow.{RESOURCE}_id\n}}\n\n\
         deny contains \"this word isn't passed on\" if {{\n\tinput.action == \"{read}\"\n\
         \tinput.message == \"{FORBIDDEN}\"\n}}\n"
    )
}

fn catalog(upstream: &Upstream) -> Result<String, String> {
    let mut text = String::new();
    let mut line = |line: String| {
        text.push_str(&line);
        text.push('\n');
    };
    let [read, change] = ACTIONS;
    for tool in &upstream.tools {
        let full = quoted(&format!("{}.{}", upstream.name, tool.name));
        // Everything's tools say nothing of themselves, and its echo only reads.
        let reads = tool.definition.pointer("/annotations/readOnlyHint") == Some(&Value::Bool(true))
            || tool.name == ECHO;
        let (action, effect) = if reads { (read, "read") } else { (change, "write") };
        line(format!("[tool.{full}]\naction = \"{action}\"\neffect = \"{effect}\""));
        line(format!("resource = {{ type = \"{RESOURCE}\", id = \"$workflow.binding.{RESOURCE}\" }}"));
        line(format!("credential = \"{}\"\naccepts = [\"{}\"]\n", upstream.credential(), tool.digest));
        line(format!("[tool.{full}.args]"));
        for (name, schema) in tool.properties() {
            let required = tool.requires(name);
            let Some(kind) = argument(schema) else {
                if required {
                    return Err(format!(
                        "{full}: the argument `{name}` has no type of the catalog's: {schema}"
                    ));
                }
                // Not in the catalog, so it doesn't exist for an agent.
                continue;
            };
            let attribute =
                if tool.name == ECHO && name == "message" { ", attribute = \"message\"" } else { "" };
            line(format!("{} = {{ type = {kind}, required = {required}{attribute} }}", quoted(name)));
        }
        line(String::new());
    }
    Ok(text)
}

/// As a TOML basic string: JSON's escapes are among TOML's.
pub(super) fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}
