//! What decides whether an entry is written, and hears when it is.

use std::collections::HashSet;
use std::error::Error;
use std::sync::Arc;

use crate::kept::Keep;
use placet_ledger::Hash;
use placet_ledger::frame::{Encoder, Frame, FrameError};

/// The state that the journal's entries fold into. It lives on the writer's thread alone, so what it compares and sets
/// is compared and set in the order of the journal.
pub trait Fold: Send + 'static {
    /// What callers submit.
    type Entry: Send + 'static;
    /// Why an entry isn't written. A record that can't be framed is refused too.
    type Refusal: Send + 'static + From<FrameError>;
    /// What [`Fold::committed`] needs of an entry that [`Fold::admit`] took.
    type Token: Send;

    /// Names the form of what [`Fold::keep`] writes and the way it is folded, without a space: a state of another form
    /// isn't taken up. Empty: no states are kept.
    const FORMAT: &'static str = "";

    /// At the start: one record after the other, as it was written. On a shared journal later, too: what other gateways
    /// wrote. It is durable, so others may see it at once.
    fn replay(&mut self, frame: &Frame<'_>) -> Result<(), Box<dyn Error + Send + Sync>>;

    /// Checks an entry, applies it to the state that the next entry is checked against, and frames its records: together
    /// they are on disk or none is. On a refusal the state must be as before; its frames are dropped.
    ///
    /// Not durable yet: nothing that others can see may change here. If the disk fails, this value is dropped; on a shared
    /// journal a clone of it from before takes its place.
    fn admit(
        &mut self,
        at: At,
        entry: Self::Entry,
        out: &mut FrameSink<'_>,
    ) -> Result<Self::Token, Self::Refusal>;

    /// The start's replay is over. What is replayed after this was just written by another gateway.
    fn started(&mut self) {}

    /// Whether replaying a record of this kind takes long: no other gateway is kept waiting for it.
    fn is_slow(&self, kind: u8) -> bool {
        let _: u8 = kind;
        false
    }

    /// The entry is durable; called in order and before its submitter is answered. Publish snapshots here.
    fn committed(&mut self, receipt: &Receipt, token: Self::Token);

    /// Everything that was admitted is durable, up to the record `last`: the state is that of this position.
    fn settled(&mut self, _last: u64) {}

    /// The state to be written down by another thread. Called when the state is settled; quick, for the writer waits.
    fn keep(&self) -> Option<Keep> {
        None
    }

    /// At the start: takes up what [`Fold::keep`] wrote, in place of the records that it stands for. On an error the
    /// state must be as before; all records are replayed then.
    fn restore(&mut self, _sequence: u64, _kept: &[u8]) -> Result<(), Box<dyn Error + Send + Sync>> {
        Err("this fold keeps no states".into())
    }
}

/// Where an entry will stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At {
    /// Sequence of its first record.
    pub sequence: u64,
    /// Its time, Unix ms: the clock's, and never before the last entry's.
    pub time_ms: u64,
}

/// An entry is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Sequence of its first record.
    pub first: u64,
    /// Its records; they are numbered one after the other. 0 if the fold framed none.
    pub records: u64,
    /// Its time, Unix ms.
    pub time_ms: u64,
}

/// A record framed into the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Its sequence.
    pub sequence: u64,
    /// Its leaf in the tree.
    pub leaf: Hash,
}

/// Takes an entry's records.
#[derive(Debug)]
pub struct FrameSink<'a> {
    pub(crate) encoder: &'a mut Encoder,
    pub(crate) leaves: &'a mut Vec<(Arc<str>, Hash)>,
    pub(crate) names: &'a mut HashSet<Arc<str>>,
    pub(crate) time_ms: u64,
    pub(crate) limit: usize,
}

impl FrameSink<'_> {
    /// Frames one record: a leaf of `tree` whose `payload` is canonical JSON.
    pub fn push(&mut self, tree: &str, kind: u8, payload: &[u8]) -> Result<Written, FrameError> {
        self.push_sealed(tree, kind, payload, &[])
    }

    /// As [`FrameSink::push`], with what belongs to the record and is no part of its leaf.
    pub fn push_sealed(
        &mut self,
        tree: &str,
        kind: u8,
        payload: &[u8],
        sealed: &[u8],
    ) -> Result<Written, FrameError> {
        let (sequence, leaf) = self.encoder.push_sealed(self.time_ms, tree, kind, payload, sealed)?;
        if self.encoder.bytes().len().saturating_add(Hash::LEN) > self.limit {
            return Err(FrameError::TooLarge { limit: self.limit });
        }
        let name = if let Some(name) = self.names.get(tree) {
            Arc::clone(name)
        } else {
            let name: Arc<str> = tree.into();
            self.names.insert(Arc::clone(&name));
            name
        };
        self.leaves.push((name, leaf));
        Ok(Written { sequence, leaf })
    }
}
