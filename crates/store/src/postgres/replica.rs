//! A gateway's copy of the shared journal: the same segments as a journal of its own, written after the commit.

use std::io;

use placet_ledger::Hash;
use placet_ledger::frame::{self, Frame};

use super::DatabaseError;
use crate::writer::{Segments, bytes};

/// The copy, and where it ends. It isn't synced while it is written: whatever a crash takes is fetched again.
pub(crate) struct Replica {
    segments: Segments,
    next: u64,
    link: Hash,
}

/// Why a batch isn't taken into the copy.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReplicaError {
    #[error(transparent)]
    Database(#[from] DatabaseError),
    #[error("the copy of the journal can't be written: {0}")]
    Io(#[from] io::Error),
}

impl Replica {
    pub(crate) fn new(segments: Segments, next: u64, link: Hash) -> Self {
        Self { segments, next, link }
    }
    /// The next position.
    pub(crate) const fn next(&self) -> u64 {
        self.next
    }
    /// The last position.
    pub(crate) const fn last(&self) -> u64 {
        self.next.saturating_sub(1)
    }
    /// The chain's value at its end.
    pub(crate) const fn link(&self) -> Hash {
        self.link
    }
    /// Which journal it is a copy of.
    pub(crate) const fn journal(&self) -> [u8; 16] {
        self.segments.journal
    }
    /// Whether so many bytes of frames can be taken.
    pub(crate) fn has_room(&mut self, queued: usize, entry: usize) -> bool {
        self.segments.has_room(queued, entry)
    }

    /// Takes the frames of a batch that the database has, as far as the copy lacks them, each checked against the one
    /// before; returns those that are new.
    pub(crate) fn take<'b>(&mut self, batch: &'b [u8]) -> Result<Vec<Frame<'b>>, ReplicaError> {
        let mut at = 0;
        // A copy that lost its end may end within a batch.
        while let Some(claim) = batch.get(at..).and_then(frame::claim)
            && claim.sequence < self.next
        {
            at = at.saturating_add(claim.size);
        }
        let (mut next, mut link, mut start) = (self.next, self.link, at);
        let mut frames = Vec::new();
        // Of the entry that is being read: where it starts, its first position, the link before it.
        let mut entry = (at, next, link);
        while at < batch.len() {
            let frame = match frame::read(batch, at, next, &link) {
                Ok(Some(frame)) => frame,
                Ok(None) => return Err(differs(next, "bytes are missing")),
                Err(fault) => return Err(differs(next, &fault.to_string())),
            };
            (at, next, link) = (frame.end, next.saturating_add(1), frame.link);
            frames.push(frame);
            if frame.more {
                continue;
            }
            let left = self.segments.size.saturating_sub(self.segments.offset);
            if bytes(at.saturating_sub(start)) > left {
                self.append(batch, start, entry.0)?;
                // What is in the segment that is left stays whatever happens.
                self.segments.file.sync_data()?;
                self.segments.rotate(entry.1, entry.2)?;
                start = entry.0;
            }
            entry = (at, next, link);
        }
        if entry.1 != next {
            return Err(differs(entry.1, "an entry of several records is incomplete"));
        }
        self.append(batch, start, at)?;
        (self.next, self.link) = (next, link);
        Ok(frames)
    }

    /// Makes the copy durable, for an orderly end.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.segments.file.sync_data()
    }

    fn append(&mut self, batch: &[u8], from: usize, to: usize) -> io::Result<()> {
        let part = batch.get(from..to).unwrap_or_default();
        if !part.is_empty() {
            self.segments.disk.write(&self.segments.file, part, self.segments.offset)?;
            self.segments.offset = self.segments.offset.saturating_add(bytes(part.len()));
        }
        Ok(())
    }
}

fn differs(sequence: u64, why: &str) -> ReplicaError {
    DatabaseError::Differs { sequence, why: why.to_owned() }.into()
}
