//! `placet vault`: upstream secrets go in, names and ages come out.

use std::{
    io::{IsTerminal, Read},
    path::PathBuf,
};

use clap::{Args, Subcommand};
use placet_json::{Object, Value, object};

use super::common::{Remote, Why, cell};
use crate::{
    admin::block_on,
    failure::{Failure, OrFail},
    output::{Answer, show, table},
};

/// The longest secret.
const MAX_SECRET: u64 = 16 * 1024;

/// Put, list and remove upstream credentials
#[derive(Debug, Args)]
pub(crate) struct Vault {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Put a secret, read from standard input or a file, never from the command line
    #[command(after_help = "Example:\n  pass show billing | placet vault put acme billing")]
    Put {
        #[command(flatten)]
        place: Place,
        /// The file that holds it; standard input by default
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
        #[command(flatten)]
        why: Why,
        #[command(flatten)]
        remote: Remote,
    },
    /// List names and ages
    #[command(after_help = "Example:\n  placet vault list")]
    List {
        #[command(flatten)]
        remote: Remote,
    },
    /// Remove a secret
    #[command(after_help = "Example:\n  placet vault remove acme billing")]
    Remove {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        why: Why,
        #[command(flatten)]
        remote: Remote,
    },
}

#[derive(Debug, Args)]
struct Place {
    /// The tenant whose calls it opens the door for; `organisation` for listing tools
    tenant: String,
    /// The secret's name, as the catalog's `credential = "vault:NAME"`
    name: String,
    /// One person's account instead of the tenant's
    #[arg(long, value_name = "HUMAN")]
    human: Option<String>,
}

impl Place {
    fn body(&self) -> Object {
        let mut body = object! { "tenant" => self.tenant.as_str(), "upstream" => self.name.as_str() };
        if let Some(human) = &self.human {
            body.insert("human", human.as_str());
        }
        body
    }
}

impl Vault {
    pub(crate) fn run(self) -> Result<Answer, Failure> {
        match self.verb {
            Verb::Put { place, file, why, remote } => {
                let mut body = place.body();
                body.insert("secret", secret(file)?);
                let answer = block_on(remote.server.open()?.post("/v1/vault", &why.onto(body)))?;
                show(remote.format, &answer, |answer| {
                    format!("{}/{} version {}", place.tenant, place.name, cell(answer, "version"))
                })?;
            }
            Verb::List { remote } => {
                let answer = block_on(remote.server.open()?.get("/v1/vault"))?;
                show(remote.format, &answer, listed)?;
            }
            Verb::Remove { place, why, remote } => {
                let answer =
                    block_on(remote.server.open()?.post("/v1/vault/remove", &why.onto(place.body())))?;
                show(remote.format, &answer, |_| format!("{}/{} is gone", place.tenant, place.name))?;
            }
        }
        Ok(Answer::Yes)
    }
}

/// The secrets as a table.
fn listed(answer: &Value) -> String {
    let secrets = answer.get("secrets").and_then(Value::as_array).unwrap_or_default();
    if secrets.is_empty() {
        return "no secrets".to_owned();
    }
    let columns = ["tenant", "upstream", "holder", "human", "version", "since"];
    let rows: Vec<Vec<String>> = secrets
        .iter()
        .map(|secret| {
            let age = secret.get("age_s").and_then(Value::as_u64).unwrap_or_default();
            columns.iter().map(|name| cell(secret, name)).chain([format!("{} d", age / 86_400)]).collect()
        })
        .collect();
    table(&["TENANT", "NAME", "OF", "HUMAN", "VERSION", "SINCE", "AGE"], &rows)
}

fn secret(file: Option<PathBuf>) -> Result<String, Failure> {
    let mut text = String::new();
    if let Some(path) = file {
        let file = std::fs::File::open(&path).or_fail(format_args!("can't read `{}`", path.display()))?;
        file.take(MAX_SECRET.saturating_add(1))
            .read_to_string(&mut text)
            .or_fail(format_args!("can't read `{}`", path.display()))?;
    } else {
        if std::io::stdin().is_terminal() {
            return Err(
                Failure::new("the secret is read from standard input").remedy("pipe it in, or give `--file`")
            );
        }
        std::io::stdin()
            .take(MAX_SECRET.saturating_add(1))
            .read_to_string(&mut text)
            .or_fail("can't read standard input")?;
    }
    let end = text.trim_end_matches(['\r', '\n']).len();
    text.truncate(end);
    if text.is_empty() { Err(Failure::new("the secret is empty")) } else { Ok(text) }
}
