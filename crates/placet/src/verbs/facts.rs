//! `placet facts`: live facts, as of now or of any moment.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use placet_json::Value;

use super::{
    common::{Remote, Why, cell},
    decide::document,
    relations::Question,
};
use crate::{
    admin::{block_on, segment},
    failure::Failure,
    output::{Answer, pretty, show, table},
};

/// Apply, read and look back at live facts
#[derive(Debug, Args)]
pub(crate) struct Facts {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Apply a facts file or a transaction
    #[command(after_help = "Example:\n  placet facts apply facts.json --why 'first import'")]
    Apply {
        /// The file; `-` reads standard input
        file: PathBuf,
        #[command(flatten)]
        why: Why,
        #[command(flatten)]
        remote: Remote,
    },
    /// Print the facts of a tenant, or of the organisation
    #[command(after_help = "Example:\n  placet facts get acme --at 2026-03-01T09:30:00Z")]
    Get {
        /// The tenant; without it, the organisation's people, agents and stops
        tenant: Option<String>,
        /// A revision, or a moment
        #[arg(long, value_name = "REVISION|MOMENT")]
        at: Option<String>,
        #[command(flatten)]
        remote: Remote,
    },
    /// List changes, the newest first
    #[command(after_help = "Example:\n  placet facts history acme --limit 20")]
    History {
        /// The tenant; without it, the organisation
        tenant: Option<String>,
        /// How many
        #[arg(long, default_value_t = 50, value_name = "NUMBER")]
        limit: u32,
        #[command(flatten)]
        remote: Remote,
    },
    #[command(flatten)]
    Relations(Question),
}

impl Facts {
    pub(crate) fn run(self) -> Result<Answer, Failure> {
        match self.verb {
            Verb::Apply { file, why, remote } => {
                let body = document(&file)?
                    .into_object()
                    .ok_or_else(|| Failure::new(format!("`{}` is no JSON object", file.display())))?;
                let answer = block_on(remote.server.open()?.post("/v1/facts", &why.onto(body)))?;
                show(remote.format, &answer, |answer| {
                    format!("{} changes, revision {}", cell(answer, "changes"), cell(answer, "revision"))
                })?;
            }
            Verb::Get { tenant, at, remote } => {
                let answer = block_on(remote.server.open()?.get(&query(
                    "/v1/facts",
                    tenant.as_deref(),
                    &[("at", at)],
                )))?;
                show(remote.format, &answer, pretty)?;
            }
            Verb::History { tenant, limit, remote } => {
                let path =
                    query("/v1/facts/history", tenant.as_deref(), &[("limit", Some(limit.to_string()))]);
                let answer = block_on(remote.server.open()?.get(&path))?;
                show(remote.format, &answer, history)?;
            }
            Verb::Relations(question) => return question.run(),
        }
        Ok(Answer::Yes)
    }
}

fn query(path: &str, tenant: Option<&str>, parameters: &[(&str, Option<String>)]) -> String {
    let tenant = tenant.map(|tenant| format!("tenant={}", segment(tenant)));
    let others =
        parameters.iter().filter_map(|(name, value)| Some(format!("{name}={}", segment(value.as_ref()?))));
    let query: Vec<String> = tenant.into_iter().chain(others).collect();
    if query.is_empty() { path.to_owned() } else { format!("{path}?{}", query.join("&")) }
}

fn history(answer: &Value) -> String {
    let entries = answer.get("history").and_then(Value::as_array).unwrap_or_default();
    let rows: Vec<Vec<String>> = entries
        .iter()
        .map(|entry| {
            let transaction = entry.get("transaction").unwrap_or(&Value::Null);
            let changes = transaction.get("changes").and_then(Value::as_array).unwrap_or_default();
            let kinds: Vec<&str> =
                changes.iter().filter_map(|change| change.as_object()?.keys().next()).take(3).collect();
            let more = if changes.len() > kinds.len() {
                format!(" and {} more", changes.len().saturating_sub(kinds.len()))
            } else {
                String::new()
            };
            vec![
                cell(entry, "revision"),
                cell(entry, "time"),
                cell(transaction, "author"),
                format!("{}{more}", kinds.join(", ")),
                cell(transaction, "why"),
            ]
        })
        .collect();
    if rows.is_empty() {
        "no changes".to_owned()
    } else {
        table(&["REVISION", "TIME", "AUTHOR", "CHANGES", "WHY"], &rows)
    }
}
