//! `placet catalog`: what upstreams offer, beside what was reviewed.

use std::{fmt::Write as _, path::PathBuf};

use clap::{Args, Subcommand};
use placet_json::Value;

use super::{
    common::{Remote, cell},
    openapi,
};
use crate::{
    admin::{Admin, block_on, segment},
    failure::Failure,
    output::{Answer, show, table},
};

/// Propose catalog entries, and compare accepted definitions with what is offered now
#[derive(Debug, Args)]
pub(crate) struct Catalog {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Print a draft of catalog entries for an upstream's tools
    #[command(after_help = "Examples:\n  placet catalog pull billing > release/catalog/billing.toml\n  \
        placet catalog pull cases --openapi cases.yaml > release/catalog/cases.toml")]
    Pull {
        /// The upstream
        upstream: String,
        /// Draft from this description of an HTTP API, OpenAPI 3.0 or 3.1 in JSON or YAML; no server is asked
        #[arg(long, value_name = "FILE")]
        openapi: Option<PathBuf>,
        #[command(flatten)]
        remote: Remote,
    },
    /// Compare what is accepted with what is offered; exit status 1 where they differ
    #[command(after_help = "Example:\n  placet catalog diff billing")]
    Diff {
        /// The upstream; all by default
        upstream: Option<String>,
        #[command(flatten)]
        remote: Remote,
    },
}

impl Catalog {
    pub(crate) fn run(self) -> Result<Answer, Failure> {
        match self.verb {
            Verb::Pull { upstream, openapi: Some(file), remote } => {
                let draft = openapi::pull(&upstream, &file)?;
                let summary = draft.summary();
                if !summary.is_empty() {
                    eprintln!("placet catalog pull: {summary}");
                }
                show(remote.format, &draft.to_value(), |_| draft.text.clone())?;
                Ok(Answer::Yes)
            }
            Verb::Pull { upstream, openapi: None, remote } => {
                let answer = block_on(tools(&remote.server.open()?, &upstream))?;
                if cell(&answer, "protocol") == "rest" {
                    return Err(Failure::new(format!(
                        "`{upstream}` is an HTTP API and doesn't say what it offers"
                    ))
                    .remedy("give its description: `--openapi FILE`"));
                }
                show(remote.format, &answer, |answer| draft(&upstream, answer))?;
                Ok(Answer::Yes)
            }
            Verb::Diff { upstream, remote } => {
                let admin = remote.server.open()?;
                let upstreams = if let Some(upstream) = upstream {
                    vec![upstream]
                } else {
                    let answer = block_on(admin.get("/v1/upstreams"))?;
                    let all = answer.get("upstreams").and_then(Value::as_array).unwrap_or_default();
                    all.iter().map(|upstream| cell(upstream, "name")).collect()
                };
                let mut differences = Vec::new();
                for upstream in &upstreams {
                    let answer = block_on(tools(&admin, upstream))?;
                    for tool in answer.get("tools").and_then(Value::as_array).unwrap_or_default() {
                        let state = match tool.get("accepted").and_then(Value::as_bool) {
                            Some(true) => continue,
                            Some(false) => "changed",
                            None => "not in the catalog",
                        };
                        differences.push(vec![
                            format!("{upstream}.{}", cell(tool, "name")),
                            state.to_owned(),
                            cell(tool, "digest"),
                        ]);
                    }
                }
                // A tool without an entry doesn't exist for agents, which is no fault; one that changed is hidden from them.
                let changed = differences
                    .iter()
                    .any(|difference| difference.get(1).is_some_and(|state| state == "changed"));
                let document = differences.iter().map(|row| {
                    let text = |i: usize| row.get(i).map_or(Value::Null, |text| text.as_str().into());
                    Value::from(
                        placet_json::object! { "tool" => text(0), "state" => text(1), "offered" => text(2) },
                    )
                });
                let document =
                    Value::from(placet_json::object! { "differences" => Value::Array(document.collect()) });
                show(remote.format, &document, |_| {
                    if differences.is_empty() {
                        "every tool is in the catalog as it was reviewed".to_owned()
                    } else {
                        table(&["TOOL", "STATE", "OFFERED"], &differences)
                    }
                })?;
                Ok(Answer::of(!changed))
            }
        }
    }
}

async fn tools(admin: &Admin, upstream: &str) -> Result<Value, Failure> {
    admin.get(&format!("/v1/upstreams/{}/tools", segment(upstream))).await
}

/// Entries for a person to finish: what can't be known from a definition is a comment that keeps the file from loading.
fn draft(upstream: &str, answer: &Value) -> String {
    let mut out = format!(
        "# Drafted from what `{upstream}` offers. Nothing here is reviewed: choose action, effect, resource and\n# types, then remove the marks. A description is the upstream's own word.\n"
    );
    for tool in answer.get("tools").and_then(Value::as_array).unwrap_or_default() {
        let name = cell(tool, "name");
        let definition = tool.get("definition").unwrap_or(&Value::Null);
        let read_only = definition.pointer("/annotations/readOnlyHint").and_then(Value::as_bool);
        let effect = if read_only == Some(true) { "read" } else { "destructive" };
        let description: String = cell(definition, "description")
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .take(200)
            .collect();
        let _infallible = writeln!(
            out,
            "\n# {description}\n[tool.{}]\naction = {}\neffect = \"{effect}\" # review\n# resource = {{ type = \"…\", id = \"$args.…\" }}\ncredential = \"none\" # review\naccepts = [\"{}\"]",
            quoted(&format!("{upstream}.{name}")),
            quoted(&name),
            cell(tool, "digest")
        );
        let schema = definition.get("inputSchema");
        let required: Vec<&str> = schema
            .and_then(|schema| schema.get("required"))
            .and_then(Value::as_array)
            .unwrap_or_default()
            .iter()
            .filter_map(Value::as_str)
            .collect();
        let properties = schema.and_then(|schema| schema.get("properties")).and_then(Value::as_object);
        if let Some(properties) = properties.filter(|properties| !properties.is_empty()) {
            let _infallible = writeln!(out, "[tool.{}.args]", quoted(&format!("{upstream}.{name}")));
            for (argument, property) in properties {
                let kind = match property.get("type").and_then(Value::as_str) {
                    Some("integer") => "integer",
                    Some("number") => "decimal",
                    Some("boolean") => "boolean",
                    _ => "text",
                };
                let optional = if required.contains(&argument) { "" } else { ", required = false" };
                let _infallible =
                    writeln!(out, "{} = {{ type = \"{kind}\"{optional} }} # review", quoted(argument));
            }
        }
    }
    out
}

fn quoted(text: &str) -> String {
    let mut out = String::new();
    placet_json::write_string(text, &mut out);
    out
}
