//! Adding records to a journal that nobody serves: what an offline act leaves behind.

use std::error::Error;
use std::path::Path;

use placet_ledger::frame::{Frame, FrameError};

use crate::fold::{At, Fold, FrameSink, Receipt};
use crate::follower::Notary;
use crate::journal::{Journal, Options};
use crate::open::OpenError;

/// A record to be added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addition {
    /// The tree that it becomes a leaf of.
    pub tree: String,
    /// What the payload is.
    pub kind: u8,
    /// Canonical JSON.
    pub payload: Vec<u8>,
}

/// Why nothing was added.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The journal isn't opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The record isn't one, or the disk didn't take it.
    #[error("the record wasn't written: {0}")]
    Unwritten(String),
}

/// Opens the journal as its server would, with the same checks, signs its trees as they are, adds the record that `make`
/// gives, which is told the last one's position and moment (Unix ms), and signs them again. The server must not be at
/// work.
pub fn append(
    data: &Path,
    notary: Notary,
    clock: impl Fn() -> u64 + Send + Sync + 'static,
    make: impl FnOnce(u64, u64) -> Result<Addition, String>,
) -> Result<Receipt, AppendError> {
    let (journal, report) = Journal::open(data, Options::new(clock, notary), Blind)?;
    let unwritten = |why: &dyn std::fmt::Debug| AppendError::Unwritten(format!("{why:?}"));
    journal.checkpoint().map_err(AppendError::Unwritten)?;
    let addition = make(report.records, journal.time_ms()).map_err(AppendError::Unwritten)?;
    let receipt = journal.durable(addition).wait().map_err(|error| unwritten(&error))?;
    journal.checkpoint().map_err(AppendError::Unwritten)?;
    Ok(receipt)
}

/// Knows nothing of what records mean.
struct Blind;

impl Fold for Blind {
    type Entry = Addition;
    type Refusal = FrameError;
    type Token = ();

    fn replay(&mut self, _: &Frame<'_>) -> Result<(), Box<dyn Error + Send + Sync>> {
        Ok(())
    }

    fn admit(&mut self, _: At, entry: Addition, out: &mut FrameSink<'_>) -> Result<(), FrameError> {
        out.push(&entry.tree, entry.kind, &entry.payload)?;
        Ok(())
    }

    fn committed(&mut self, _: &Receipt, (): ()) {}
}
