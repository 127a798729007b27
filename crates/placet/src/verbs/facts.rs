//! `placet facts`: live facts, as of now or of any moment.

use std::{fmt::Write as _, path::PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use placet_json::{Value, object};

use super::{
    common::{Remote, Why, cell, listing},
    decide::document,
    relations::Question,
};
use crate::{
    admin::{block_on, segment},
    failure::Failure,
    output::{Answer, Format, pretty, print, show, table},
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
        /// Sent again with the same key and content, it is applied once
        #[arg(long, value_name = "KEY")]
        idempotency_key: Option<String>,
        #[command(flatten)]
        why: Why,
        #[command(flatten)]
        remote: Remote,
    },
    /// Print the facts of a tenant, or of the organisation
    #[command(
        after_help = "Example:\n  placet facts get acme --at 2026-03-01T09:30:00Z --kind resources --id support_case:CASE-1837"
    )]
    Get {
        /// The tenant; without it, the organisation's people, agents and stops
        tenant: Option<String>,
        /// A revision, or a moment
        #[arg(long, value_name = "REVISION|MOMENT")]
        at: Option<String>,
        /// Only these: humans, agents, frozen, tenants; assignments, workflows, delegations, approvals, resources, tuples
        #[arg(long)]
        kind: Option<String>,
        /// Only this one of them
        #[arg(long, requires = "kind")]
        id: Option<String>,
        #[command(flatten)]
        remote: Remote,
    },
    /// List changes, the newest first: who changed what, when, and by which source
    #[command(after_help = "Example:\n  placet facts history acme --human maya --at 2026-03-01T09:30:00Z")]
    History {
        /// The tenant; without it, the organisation
        #[arg(conflicts_with = "everywhere")]
        tenant: Option<String>,
        /// The organisation's and every tenant's
        #[arg(long)]
        everywhere: bool,
        #[command(flatten)]
        about: About,
        /// No later than this revision or moment
        #[arg(long, value_name = "REVISION|MOMENT")]
        at: Option<String>,
        /// How many
        #[arg(long, default_value_t = 50, value_name = "NUMBER")]
        limit: u32,
        #[command(flatten)]
        remote: Remote,
    },
    /// Print changes as they happen, in order, from a revision on
    #[command(after_help = "Example:\n  placet facts watch acme --from 4711 --format json")]
    Watch {
        /// The tenant, with the organisation's; without it, everybody's
        tenant: Option<String>,
        /// Changes after this revision; without it, those to come
        #[arg(long, value_name = "REVISION")]
        from: Option<u64>,
        /// End where the journal ends now
        #[arg(long)]
        once: bool,
        #[command(flatten)]
        remote: Remote,
    },
    /// List the sources of facts: how old each is, and whether decisions wait for it
    #[command(after_help = "Example:\n  placet facts sources")]
    Sources {
        #[command(flatten)]
        remote: Remote,
    },
    /// List the databases whose rows are facts; exit 1 if one isn't read, or rows of it can't be facts
    #[command(after_help = "Example:\n  placet facts databases")]
    Databases {
        #[command(flatten)]
        remote: Remote,
    },
    /// Say how a source is: what its feed says of itself
    #[command(after_help = "Example:\n  placet facts source crm seen --moment 2026-03-01T09:30:00Z")]
    Source {
        /// The source, as the settings name it
        source: String,
        /// How it is
        state: State,
        /// The moment at which the source was asked; now, without it
        #[arg(long, value_name = "MOMENT")]
        moment: Option<String>,
        #[command(flatten)]
        why: Why,
        #[command(flatten)]
        remote: Remote,
    },
    #[command(flatten)]
    Relations(Question),
}

/// What a history is about.
#[derive(Debug, Args)]
struct About {
    /// Only what touches this person
    #[arg(long, value_name = "HUMAN")]
    human: Option<String>,
    /// Only what touches this agent
    #[arg(long, value_name = "AGENT")]
    agent: Option<String>,
    /// Only what touches this workflow
    #[arg(long, value_name = "WORKFLOW")]
    workflow: Option<String>,
    /// Only what touches this resource
    #[arg(long, value_name = "TYPE:ID")]
    resource: Option<String>,
    /// Only relationships of this subject
    #[arg(long, value_name = "TYPE:ID[#RELATION]")]
    subject: Option<String>,
}

/// How a source is.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum State {
    /// All that it says was applied
    Seen,
    /// An attempt failed
    Broken,
    /// Something is lost: what depends on it is denied
    Gap,
    /// The gap is closed
    Closed,
}

/// How long a request waits for a change, in milliseconds.
const WAIT_MS: u64 = 25_000;

impl Facts {
    pub(crate) fn run(self) -> Result<Answer, Failure> {
        match self.verb {
            Verb::Apply { file, idempotency_key, why, remote } => {
                let mut body = document(&file)?
                    .into_object()
                    .ok_or_else(|| Failure::new(format!("`{}` is no JSON object", file.display())))?;
                if let Some(key) = idempotency_key {
                    body.insert("idempotency_key", key);
                }
                let answer = block_on(remote.server.open()?.post("/v1/facts", &why.onto(body)))?;
                show(remote.format, &answer, |answer| {
                    format!("{} changes, revision {}", cell(answer, "changes"), cell(answer, "revision"))
                })?;
            }
            Verb::Get { tenant, at, kind, id, remote } => {
                let path = query("/v1/facts", tenant.as_deref(), &[("at", at), ("kind", kind), ("id", id)]);
                let answer = block_on(remote.server.open()?.get(&path))?;
                show(remote.format, &answer, pretty)?;
            }
            Verb::History { tenant, everywhere, about, at, limit, remote } => {
                let About { human, agent, workflow, resource, subject } = about;
                let path = query(
                    "/v1/facts/history",
                    tenant.as_deref(),
                    &[
                        ("everywhere", everywhere.then(|| "true".to_owned())),
                        ("at", at),
                        ("human", human),
                        ("agent", agent),
                        ("workflow", workflow),
                        ("resource", resource),
                        ("subject", subject),
                        ("limit", Some(limit.to_string())),
                    ],
                );
                let answer = block_on(remote.server.open()?.get(&path))?;
                show(remote.format, &answer, |answer| changes(answer, "history"))?;
            }
            Verb::Watch { tenant, from, once, remote } => {
                block_on(watch(&remote, tenant.as_deref(), from, once))?;
            }
            Verb::Sources { remote } => {
                let answer = block_on(remote.server.open()?.get("/v1/facts/sources"))?;
                show(remote.format, &answer, |answer| {
                    let columns = [
                        ("SOURCE", "name"),
                        ("TENANT", "tenant"),
                        ("KIND", "kind"),
                        ("BOUND MS", "bound_ms"),
                        ("AGE MS", "age_ms"),
                        ("STALE", "stale"),
                        ("BROKEN", "broken"),
                    ];
                    listing(answer, "sources", &columns)
                })?;
            }
            Verb::Databases { remote } => {
                let answer = block_on(remote.server.open()?.get("/v1/databases"))?;
                show(remote.format, &answer, |answer| {
                    let columns = [
                        ("DATABASE", "name"),
                        ("STATE", "state"),
                        ("ROWS", "rows"),
                        ("TRANSACTIONS", "transactions"),
                        ("READ AT", "swept"),
                        ("WHY", "why"),
                    ];
                    listing(answer, "sources", &columns)
                })?;
                let sources = answer.get("sources").and_then(Value::as_array).unwrap_or_default();
                return Ok(Answer::of(sources.iter().all(|source| cell(source, "state") == "live")));
            }
            Verb::Source { source, state, moment, why, remote } => {
                let said = match state {
                    State::Seen => "seen",
                    State::Broken => "broken",
                    State::Gap => "gap",
                    State::Closed => "closed",
                };
                let mut body = object! { "state" => said };
                if let Some(moment) = moment {
                    body.insert("at", moment);
                }
                let path = format!("/v1/facts/sources/{}", segment(&source));
                let answer = block_on(remote.server.open()?.post(&path, &why.onto(body)))?;
                show(remote.format, &answer, |answer| match cell(answer, "stale") {
                    well if well.is_empty() => format!("`{source}` is well"),
                    stale => format!("`{source}` {stale}"),
                })?;
            }
            Verb::Relations(question) => return question.run(),
        }
        Ok(Answer::Yes)
    }
}

/// Reads page after page; each answer says where to go on, so that nothing is missed between two.
async fn watch(remote: &Remote, tenant: Option<&str>, from: Option<u64>, once: bool) -> Result<(), Failure> {
    let admin = remote.server.open()?;
    let mut next = match from {
        Some(from) => from,
        None => {
            let status = admin.get("/v1/status").await?;
            status.get("revision").and_then(Value::as_u64).unwrap_or(0)
        }
    };
    loop {
        let wait = if once { None } else { Some(WAIT_MS.to_string()) };
        let path = query("/v1/facts/changes", tenant, &[("from", Some(next.to_string())), ("wait_ms", wait)]);
        let answer = admin.get(&path).await?;
        for change in answer.get("changes").and_then(Value::as_array).unwrap_or_default() {
            match remote.format {
                // One document a line, for programs that read along.
                Format::Json => print(&change.to_string())?,
                Format::Text => print(&line(change).join("  "))?,
            }
        }
        next = answer
            .get("next")
            .and_then(Value::as_u64)
            .ok_or_else(|| Failure::new("the server doesn't say where its changes go on"))?;
        if once && answer.get("more").and_then(Value::as_bool) != Some(true) {
            return Ok(());
        }
    }
}

fn query(path: &str, tenant: Option<&str>, parameters: &[(&str, Option<String>)]) -> String {
    let tenant = tenant.map(|tenant| format!("tenant={}", segment(tenant)));
    let others =
        parameters.iter().filter_map(|(name, value)| Some(format!("{name}={}", segment(value.as_ref()?))));
    let query: Vec<String> = tenant.into_iter().chain(others).collect();
    if query.is_empty() { path.to_owned() } else { format!("{path}?{}", query.join("&")) }
}

fn changes(answer: &Value, name: &str) -> String {
    let entries = answer.get(name).and_then(Value::as_array).unwrap_or_default();
    let rows: Vec<Vec<String>> = entries.iter().map(line).collect();
    if rows.is_empty() {
        return "no changes".to_owned();
    }
    let mut text = table(&["REVISION", "TIME", "AUTHOR", "SOURCE", "WHERE", "CHANGES", "WHY"], &rows);
    if let Some(below) = answer.get("below").and_then(Value::as_u64) {
        let _infallible = writeln!(text, "more before revision {below}: `--at {}`", below.saturating_sub(1));
    }
    text
}

/// A transaction as a row.
fn line(entry: &Value) -> Vec<String> {
    let transaction = entry.get("transaction").unwrap_or(&Value::Null);
    let changes = transaction.get("changes").and_then(Value::as_array).unwrap_or_default();
    let kinds: Vec<&str> =
        changes.iter().filter_map(|change| change.as_object()?.keys().next()).take(3).collect();
    let more = if changes.len() > kinds.len() {
        format!(" and {} more", changes.len().saturating_sub(kinds.len()))
    } else {
        String::new()
    };
    let place = transaction.get("place").unwrap_or(&Value::Null);
    vec![
        cell(entry, "revision"),
        cell(entry, "time"),
        cell(transaction, "author"),
        cell(transaction, "source"),
        place.as_str().map_or_else(|| cell(place, "tenant"), str::to_owned),
        format!("{}{more}", kinds.join(", ")),
        cell(transaction, "why"),
    ]
}
