//! `placet audit verify`: the whole ledger, a range, one record, or against a checkpoint that somebody kept.

use std::path::PathBuf;

use clap::Args;
use placet_audit::{OpenPackError, Pack, ProveError};
use placet_json::{Value, object};

use super::audit::{Directory, Signer, coloured, no_data};
use crate::{
    failure::{Failure, OrFail},
    output::{Answer, Format, show},
};

#[derive(Debug, Args)]
pub(super) struct Verify {
    /// An evidence pack, in place of a data directory
    #[arg(value_name = "PACK", conflicts_with_all = ["record", "from", "to", "checkpoint", "data"])]
    pack: Option<PathBuf>,
    /// Only this record, by its position, with its inclusion proof
    #[arg(long, value_name = "POSITION", conflicts_with_all = ["from", "to", "checkpoint"])]
    record: Option<u64>,
    /// Only the records from this position on
    #[arg(long, value_name = "POSITION", conflicts_with = "checkpoint")]
    from: Option<u64>,
    /// Only the records up to this position
    #[arg(long, value_name = "POSITION", conflicts_with = "checkpoint")]
    to: Option<u64>,
    /// A checkpoint that was kept elsewhere: the ledger must go on from it, which is proven
    #[arg(long, value_name = "FILE")]
    checkpoint: Vec<PathBuf>,
    #[command(flatten)]
    directory: Directory,
    #[command(flatten)]
    signer: Signer,
}

impl Verify {
    pub(super) fn run(self) -> Result<Answer, Failure> {
        let format = self.directory.format;
        if let Some(pack) = &self.pack {
            let key = self.signer.told()?;
            let pack = open_pack(pack)?;
            let report =
                pack.verify(self.signer.organisation(), key).or_fail("the pack can't be verified")?;
            show(format, &report.to_value(), |_| coloured(&report.to_string(), report.is_sound()))?;
            return Ok(Answer::of(report.is_sound()));
        }
        let copy = self.directory.copy()?;
        let (organisation, key) = self.signer.of(&self.directory.data)?;
        if !copy.dir().join("journal").is_dir() {
            return Err(no_data(copy.dir()));
        }
        let part = self.record.is_some() || self.from.is_some() || self.to.is_some();
        if !part && self.checkpoint.is_empty() {
            let report = placet_audit::verify_with(
                copy.dir(),
                &organisation,
                key,
                self.directory.archive(copy.dir())?.as_ref(),
            );
            show(format, &report.to_value(), |_| coloured(&report.to_string(), report.is_sound()))?;
            return Ok(Answer::of(report.is_sound()));
        }
        let keys = placet_audit::keys(copy.dir(), &organisation, key).or_fail("can't read the handovers")?;
        let data = self.directory.open(copy.dir())?;
        if !self.checkpoint.is_empty() {
            let mut held = Vec::new();
            for path in &self.checkpoint {
                let kept = std::fs::read(path).or_fail(format_args!("can't read `{}`", path.display()))?;
                match placet_audit::held(&data, &organisation, &keys, &kept) {
                    Ok(one) => held.push(one),
                    Err(error) => return wrong(format, &error),
                }
            }
            let all = held.iter().map(placet_audit::Held::to_value).collect::<Vec<_>>();
            let document = Value::from(object! { "verdict" => "sound", "checkpoints" => all });
            show(format, &document, |_| {
                let text: String = held.iter().map(ToString::to_string).collect();
                coloured(&format!("{text}the ledger goes on from what was kept"), true)
            })?;
            return Ok(Answer::Yes);
        }
        let index = placet_audit::index(&data).or_fail("can't search the ledger")?;
        let shown = match self.record {
            Some(record) => placet_audit::prove(&data, &index, &organisation, &keys, record)
                .map(|shown| (shown.to_value(), shown.to_string())),
            None => {
                let range = (self.from.unwrap_or(1), self.to.unwrap_or(u64::MAX));
                placet_audit::prove_range(&data, &index, &organisation, &keys, range)
                    .map(|report| (report.to_value(), report.to_string()))
            }
        };
        match shown {
            Ok((document, text)) => {
                show(format, &document, |_| coloured(&text, true))?;
                Ok(Answer::Yes)
            }
            Err(error) => wrong(format, &error),
        }
    }
}

/// A pack that isn't as its manifest says is an answer, too: exit status 1.
pub(super) fn open_pack(path: &std::path::Path) -> Result<Pack, Failure> {
    Pack::open(path).map_err(|error| {
        let failure = Failure::new(error.to_string());
        if matches!(error, OpenPackError::NoPack { .. }) { failure.no() } else { failure }
    })
}

/// A ledger that is wrong is an answer; one that can't be looked at is none.
fn wrong(format: Format, error: &ProveError) -> Result<Answer, Failure> {
    if !error.is_finding() {
        return Err(Failure::new(error.to_string()));
    }
    let document = Value::from(object! { "verdict" => "differs", "finding" => error.to_string() });
    show(format, &document, |_| coloured(&format!("wrong: {error}\nthe ledger does not hold"), false))?;
    Ok(Answer::No)
}
