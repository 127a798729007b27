//! `placet effects`: calls of which nobody knows whether they had their effect.

use clap::{Args, Subcommand};
use placet_json::{Object, Value};

use super::common::{Remote, cell, listing};
use crate::{
    admin::{block_on, segment},
    failure::Failure,
    output::{Answer, show},
};

/// List and resolve effects that nobody knows
///
/// A call that changes something and got no whole answer ends as `unknown`. What is found out later is a new entry of
/// the ledger; the old ones stay as they are.
#[derive(Debug, Args)]
pub(crate) struct Effects {
    #[command(subcommand)]
    verb: EffectsVerb,
}

#[derive(Debug, Subcommand)]
enum EffectsVerb {
    /// List effects that nobody knows, the oldest first
    #[command(after_help = "Example:\n  placet effects list")]
    List {
        #[command(flatten)]
        remote: Remote,
    },
    /// Find out by the tool's resolver, or say what happened
    #[command(
        after_help = "Example:\n  placet effects resolve dc_…\n  placet effects resolve dc_… --did-not-happen --why 'not in the bank statement of May 3rd'"
    )]
    Resolve {
        /// The decision
        decision: String,
        /// You know that it happened
        #[arg(long, conflicts_with = "did_not_happen", requires = "why")]
        happened: bool,
        /// You know that it did not happen
        #[arg(long, requires = "why")]
        did_not_happen: bool,
        /// How you know, for the ledger
        #[arg(long, value_name = "TEXT")]
        why: Option<String>,
        #[command(flatten)]
        remote: Remote,
    },
}

impl Effects {
    pub(crate) fn run(self) -> Result<Answer, Failure> {
        match self.verb {
            EffectsVerb::List { remote } => {
                let answer = block_on(remote.server.open()?.get("/v1/effects"))?;
                let columns = [
                    ("DECISION", "decision"),
                    ("TENANT", "tenant"),
                    ("WORKFLOW", "workflow"),
                    ("TOOL", "tool"),
                    ("SINCE", "since"),
                ];
                show(remote.format, &answer, |answer| listing(answer, "effects", &columns))?;
            }
            EffectsVerb::Resolve { decision, happened, did_not_happen, why, remote } => {
                let mut body = Object::new();
                if happened || did_not_happen {
                    body.insert("happened", happened);
                }
                if let Some(why) = why {
                    body.insert("why", why);
                }
                let path = format!("/v1/effects/{}/resolve", segment(&decision));
                let answer = block_on(remote.server.open()?.post(&path, &body.into()))?;
                show(remote.format, &answer, |answer| {
                    let happened = answer.get("happened").and_then(Value::as_bool) == Some(true);
                    let what = if happened { "it happened" } else { "it did not happen" };
                    format!("{what} (record {})", cell(answer, "sequence"))
                })?;
            }
        }
        Ok(Answer::Yes)
    }
}
