//! `placet audit reconcile`: an upstream's own log beside ours.

use std::path::PathBuf;

use clap::Args;
use placet_audit::Mapping;

use super::audit::{Directory, coloured};
use crate::{
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
    #[command(flatten)]
    directory: Directory,
}

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
        show(self.directory.format, &report.to_value(), |_| coloured(&report.to_string(), report.is_same()))?;
        Ok(Answer::of(report.is_same()))
    }
}
