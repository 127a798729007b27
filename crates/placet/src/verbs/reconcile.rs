//! `placet audit reconcile`: an upstream's own log beside ours.

use std::path::PathBuf;

use clap::Args;
use placet_audit::Mapping;
use placet_json::{Value, object};

use super::audit::{Directory, coloured};
use crate::{
    admin::{ServerArgs, block_on},
    failure::{Failure, OrFail},
    output::{Answer, show},
};

#[derive(Debug, Args)]
pub(super) struct Reconcile {
    /// The upstream, as the settings name it
    upstream: String,
    /// Its own log: CSV with a header, or JSON lines
    log: PathBuf,
    /// The column or member with the moment, RFC 3339
    #[arg(long, default_value = "time", value_name = "NAME")]
    time: String,
    /// The one that names the tool
    #[arg(long, value_name = "NAME")]
    tool: Option<String>,
    /// A column or member, and the argument of the call that it must equal
    #[arg(long = "match", value_name = "NAME=ARGUMENT", required_unless_present = "tool")]
    pairs: Vec<String>,
    /// How far the two sides' moments may be apart
    #[arg(long, default_value = "60", value_name = "SECONDS")]
    window: u64,
    /// Tell the server of the calls that never came through it: each is recorded once as `outside_authority`
    #[arg(long)]
    record: bool,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    directory: Directory,
}

/// Calls that are told at once.
const CHUNK: usize = 200;

impl Reconcile {
    pub(super) fn run(self) -> Result<Answer, Failure> {
        let pairs = self.pairs.iter().map(|pair| {
            let (name, argument) = pair.split_once('=').ok_or_else(|| {
                Failure::new(format!("`--match {pair}` names no argument")).remedy("write NAME=ARGUMENT")
            })?;
            Ok((name.to_owned(), argument.to_owned()))
        });
        let mapping = Mapping {
            time: self.time,
            tool: self.tool,
            pairs: pairs.collect::<Result<_, Failure>>()?,
            window_ms: self.window.saturating_mul(1000),
        };
        let copy = self.directory.copy()?;
        let data = self.directory.open(copy.dir())?;
        let shown = self.log.display();
        let log = std::fs::read_to_string(&self.log).or_fail(format_args!("can't read `{shown}`"))?;
        let report = placet_audit::reconcile(&data, &self.upstream, &log, &mapping)
            .or_fail(format_args!("can't compare `{shown}`"))?;
        if self.record && !report.not_through_us.is_empty() {
            let admin = self.server.open()?;
            for calls in report.not_through_us.chunks(CHUNK) {
                let calls = calls.iter().map(|it| {
                    let tool = it.tool.as_deref().map_or(Value::Null, Value::from);
                    Value::from(object! {
                        "which" => it.which.as_str(), "time" => it.time.to_string(), "tool" => tool,
                        "digest" => it.digest.as_str(),
                    })
                });
                let calls = Value::Array(calls.collect());
                let body = object! { "upstream" => self.upstream.as_str(), "calls" => calls };
                block_on(admin.post("/v1/outside-authority", &body.into()))?;
            }
        }
        show(self.directory.format, &report.to_value(), |_| coloured(&report.to_string(), report.is_same()))?;
        Ok(Answer::of(report.is_same()))
    }
}
