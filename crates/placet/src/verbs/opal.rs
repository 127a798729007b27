//! `placet opal`: sources that are followed, and tokens of clients that are served.

use clap::{Args, Subcommand};
use placet_json::object;

use super::common::{Remote, Why, cell, listing, texts};
use crate::{
    admin::block_on,
    failure::Failure,
    output::{Answer, show},
};

/// OPAL: how the sources are, and tokens for clients
#[derive(Debug, Args)]
pub(crate) struct Opal {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// How each OPAL source is: exit 1 if one isn't live
    #[command(after_help = "Example:\n  placet opal status")]
    Status {
        #[command(flatten)]
        remote: Remote,
    },
    /// List releases that came of policy bundles
    #[command(after_help = "Example:\n  placet opal candidates")]
    Candidates {
        #[command(flatten)]
        remote: Remote,
    },
    /// Give out a token for an OPAL client; what it doesn't name is denied
    #[command(after_help = "Example:\n  placet opal token --scope acme --hours 24")]
    Token {
        /// `client`, `datasource` (may publish) or `listener`
        #[arg(long = "type", default_value = "client", value_name = "TYPE")]
        kind: String,
        /// A topic it may see, and those below it; repeatable
        #[arg(long = "topic", value_name = "TOPIC")]
        topics: Vec<String>,
        /// A tenant whose facts, and policy, it may see as a scope; repeatable
        #[arg(long = "scope", value_name = "TENANT")]
        scopes: Vec<String>,
        /// How long it is good for, at most 2160
        #[arg(long, default_value_t = 168, value_name = "N")]
        hours: u64,
        #[command(flatten)]
        why: Why,
        #[command(flatten)]
        remote: Remote,
    },
}

impl Opal {
    pub(crate) fn run(self) -> Result<Answer, Failure> {
        match self.verb {
            Verb::Status { remote } => {
                let answer = block_on(remote.server.open()?.get("/v1/opal"))?;
                let sources =
                    answer.get("sources").and_then(placet_json::Value::as_array).unwrap_or_default();
                let live = sources.iter().all(|source| cell(source, "state") == "live");
                show(remote.format, &answer, |answer| {
                    listing(
                        answer,
                        "sources",
                        &[
                            ("NAME", "name"),
                            ("TENANT", "tenant"),
                            ("STATE", "state"),
                            ("WHY", "why"),
                            ("UPDATES", "updates"),
                            ("UNMAPPED", "unmapped"),
                            ("WRONG", "wrong"),
                            ("POLICY", "policy"),
                        ],
                    )
                })?;
                Ok(Answer::of(live))
            }
            Verb::Candidates { remote } => {
                let answer = block_on(remote.server.open()?.get("/v1/releases/candidates"))?;
                show(remote.format, &answer, |answer| {
                    listing(
                        answer,
                        "candidates",
                        &[
                            ("DIGEST", "digest"),
                            ("SOURCE", "source"),
                            ("BUNDLE", "bundle"),
                            ("GREEN", "green"),
                            ("CASES", "cases"),
                            ("FAILED", "failed"),
                            ("TIME", "time"),
                        ],
                    )
                })?;
                Ok(Answer::Yes)
            }
            Verb::Token { kind, topics, scopes, hours, why, remote } => {
                let body = object! {
                    "type" => kind, "topics" => texts(&topics), "scopes" => texts(&scopes),
                    "life_s" => hours.saturating_mul(3600),
                };
                let answer = block_on(remote.server.open()?.post("/v1/opal/tokens", &why.onto(body)))?;
                show(remote.format, &answer, |answer| cell(answer, "token"))?;
                Ok(Answer::Yes)
            }
        }
    }
}
