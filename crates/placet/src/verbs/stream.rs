//! `placet stream`: records of the ledger on their way to a SIEM, a collector, a file.

use clap::{Args, Subcommand};
use placet_json::{Value, object};

use super::common::{Remote, Why, cell, listing};
use crate::{
    admin::{block_on, segment},
    failure::Failure,
    output::{Answer, show},
};

/// Streams out of the ledger: how far each has come, and from where it goes on
#[derive(Debug, Args)]
pub(crate) struct Stream {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the streams; exit 1 if one fails
    #[command(after_help = "Example:\n  placet stream list")]
    List {
        #[command(flatten)]
        remote: Remote,
    },
    /// Let a stream go on behind another record: 0 sends all again
    #[command(
        after_help = "A record ahead of the stream leaves out what lies between; the act is recorded.\n\nExample:\n  placet stream rewind siem --to 4711 --why 'the index was lost'"
    )]
    Rewind {
        /// The stream, as the settings name it
        name: String,
        /// The last record that need not be sent
        #[arg(long, value_name = "INDEX")]
        to: u64,
        #[command(flatten)]
        why: Why,
        #[command(flatten)]
        remote: Remote,
    },
}

impl Stream {
    pub(crate) fn run(self) -> Result<Answer, Failure> {
        match self.verb {
            Verb::List { remote } => {
                let answer = block_on(remote.server.open()?.get("/v1/streams"))?;
                let streams = answer.get("streams").and_then(Value::as_array).unwrap_or_default();
                let fine = streams.iter().all(|stream| cell(stream, "state") != "failing");
                show(remote.format, &answer, |answer| {
                    listing(
                        answer,
                        "streams",
                        &[
                            ("NAME", "name"),
                            ("KIND", "kind"),
                            ("STATE", "state"),
                            ("POSITION", "position"),
                            ("BEHIND", "lag"),
                            ("BEHIND_MS", "lag_ms"),
                            ("SENT", "sent"),
                            ("FAILURES", "failures"),
                            ("WHY", "why"),
                        ],
                    )
                })?;
                Ok(Answer::of(fine))
            }
            Verb::Rewind { name, to, why, remote } => {
                let path = format!("/v1/streams/{}/rewind", segment(&name));
                let body = why.onto(object! { "to" => to });
                let answer = block_on(remote.server.open()?.post(&path, &body))?;
                show(remote.format, &answer, |_| format!("stream {name} goes on behind record {to}"))?;
                Ok(Answer::Yes)
            }
        }
    }
}
