//! `placet catalog`: what upstreams offer, beside what was reviewed.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use placet_json::{Value, object};

use super::{
    bulk::{self, Offered},
    common::{Remote, cell, texts},
    openapi,
};
use crate::{
    admin::{Admin, block_on, segment},
    failure::{Failure, OrFail},
    output::{Answer, Format, show, table},
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
        placet catalog pull cases --openapi cases.yaml > release/catalog/cases.toml\n  \
        placet catalog pull --review review.toml")]
    Pull {
        /// The upstream; with `--review` all of them by default
        #[arg(required_unless_present = "review")]
        upstream: Option<String>,
        /// Write proposals for all of its tools into this one file, to be gone through and given to `catalog accept`
        #[arg(long, value_name = "FILE", conflicts_with = "openapi")]
        review: Option<PathBuf>,
        /// Draft from this description of an HTTP API, OpenAPI 3.0 or 3.1 in JSON or YAML; no server is asked
        #[arg(long, value_name = "FILE")]
        openapi: Option<PathBuf>,
        #[command(flatten)]
        remote: Remote,
    },
    /// Write what a review said yes to into a release's catalog: all of it, or nothing
    #[command(after_help = "Example:\n  placet catalog accept review.toml --release release")]
    Accept {
        /// The file of `catalog pull --review`, gone through
        review: PathBuf,
        /// The release
        #[arg(long, default_value = "release", value_name = "DIR")]
        release: PathBuf,
        /// How to print
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
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
            Verb::Accept { review, release, format } => accepted(&review, &release, format),
            Verb::Pull { upstream, review: Some(file), remote, .. } => review(upstream, &file, &remote),
            Verb::Pull { upstream, openapi: Some(file), remote, .. } => {
                let upstream = upstream.unwrap_or_default();
                let draft = openapi::pull(&upstream, &file)?;
                let summary = draft.summary();
                if !summary.is_empty() {
                    eprintln!("placet catalog pull: {summary}");
                }
                show(remote.format, &draft.to_value(), |_| draft.text.clone())?;
                Ok(Answer::Yes)
            }
            Verb::Pull { upstream, openapi: None, remote, .. } => {
                let upstream = upstream.unwrap_or_default();
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

/// One file with a line a tool, of one upstream or all that answer.
fn review(upstream: Option<String>, file: &Path, remote: &Remote) -> Result<Answer, Failure> {
    if file.exists() {
        return Err(Failure::new(format!("`{}` is there already", file.display()))
            .remedy("a review isn't overwritten; name another file, and compare"));
    }
    let admin = remote.server.open()?;
    let named = upstream.is_some();
    let (offered, silent) = block_on(offered(&admin, upstream))?;
    if named && let Some(why) = silent.values().next() {
        return Err(Failure::new(why.clone()));
    }
    let tools: usize = offered.iter().map(Offered::len).sum();
    std::fs::write(file, bulk::propose(&offered))
        .or_fail(format_args!("can't write `{}`", file.display()))?;
    let document = object! {
        "review" => file.display().to_string(), "tools" => u64::try_from(tools).unwrap_or(u64::MAX),
        "silent" => silent.iter().map(|(name, why)| Value::from(object! { "upstream" => name.as_str(), "why" => why.as_str() })).collect::<Vec<_>>(),
    };
    show(remote.format, &document.into(), |_| {
        let mut text = format!(
            "{tools} tools of {} upstreams in `{}`: set the lines of those that you looked at to true\nnext: placet catalog accept {}\n",
            offered.len(),
            file.display(),
            file.display()
        );
        for (name, why) in &silent {
            let _infallible = writeln!(text, "`{name}` isn't in it: {why}");
        }
        text
    })?;
    Ok(Answer::of(silent.is_empty()))
}

/// What upstreams offer now, with the credential that their calls are proposed to show; and those that don't say.
pub(super) async fn offered(
    admin: &Admin,
    upstream: Option<String>,
) -> Result<(Vec<Offered>, std::collections::BTreeMap<String, String>), Failure> {
    let answer = admin.get("/v1/upstreams").await?;
    let all = answer.get("upstreams").and_then(Value::as_array).unwrap_or_default();
    let names = match upstream {
        Some(upstream) => vec![upstream],
        None => all.iter().map(|upstream| cell(upstream, "name")).collect(),
    };
    let (mut offered, mut silent) = (Vec::new(), std::collections::BTreeMap::new());
    for upstream in names {
        match tools(admin, &upstream).await {
            Ok(answer) if cell(&answer, "protocol") == "rest" => {
                let why = format!(
                    "`{upstream}` is an HTTP API; draft it with `placet catalog pull {upstream} --openapi FILE`"
                );
                silent.insert(upstream, why);
            }
            Ok(answer) => {
                let credential = cell(&answer, "credential");
                let credential = if credential.is_empty() { "none".to_owned() } else { credential };
                offered.push(Offered { upstream, credential, answer });
            }
            Err(failure) => drop(silent.insert(upstream, failure.to_string())),
        }
    }
    Ok((offered, silent))
}

/// Into the catalog of a release on this machine.
fn accepted(review: &Path, release: &Path, format: Format) -> Result<Answer, Failure> {
    let accepted = bulk::accept(review, release)?;
    let files: Vec<String> = accepted.files.iter().map(|file| file.display().to_string()).collect();
    let document = object! {
        "accepted" => texts(&accepted.written), "already" => texts(&accepted.there), "out" => texts(&accepted.out),
        "files" => texts(&files), "findings" => texts(&accepted.findings),
    };
    show(format, &document.into(), |_| {
        let mut text = format!(
            "accepted {} tools, {} stay out{}\n",
            accepted.written.len(),
            accepted.out.len(),
            if accepted.there.is_empty() {
                String::new()
            } else {
                format!(", {} were accepted before", accepted.there.len())
            }
        );
        for file in &files {
            let _infallible = writeln!(text, "  {file}");
        }
        for finding in &accepted.findings {
            let _infallible = writeln!(text, "{finding}");
        }
        text.push_str("no rule permits them by this: that is the policies' to say\n");
        text
    })?;
    Ok(Answer::Yes)
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
