//! Reading single records and ranges, of a live journal or of a directory that nobody serves.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use placet_ledger::Hash;
use placet_ledger::frame::{self, Fault, HEADER};
use placet_ledger::segment::{Damage, DamageKind, Frames, START};

use crate::disk::{self, SegmentFile};
use crate::writer::Shared;

/// Where a segment's header has the link before its first frame.
const LINK_IN_HEADER: u32 = 40;

/// A record, checked against the one before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Position in the journal, from 1.
    pub sequence: u64,
    /// Unix ms.
    pub time_ms: u64,
    /// The tree that it is a leaf of.
    pub tree: String,
    /// What the payload is.
    pub kind: u8,
    /// Canonical JSON.
    pub payload: Vec<u8>,
    /// What belongs to it and is no part of its leaf; mostly empty.
    pub sealed: Vec<u8>,
    /// Its leaf hash.
    pub leaf: Hash,
    /// The chain's value after it.
    pub link: Hash,
}

/// Why a record can't be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The disk.
    #[error("cannot read `{}`: {error}", .path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What it said.
        error: io::Error,
    },
    /// The journal's bytes aren't what was written.
    #[error(transparent)]
    Damaged(Damage),
}

/// Reads records by their sequence. Shareable between threads.
#[derive(Debug)]
pub struct Reader {
    data: PathBuf,
    end: End,
    segments: Mutex<BTreeMap<u64, Arc<Segment>>>,
}

#[derive(Debug)]
enum End {
    Live(Arc<Shared>),
    Fixed(u64),
}

/// An open segment; where its frames start is learnt by hopping once, 4 bytes a record.
#[derive(Debug)]
struct Segment {
    first: u64,
    path: PathBuf,
    file: File,
    offsets: Mutex<Vec<u32>>,
}

impl Reader {
    /// Opens a directory that need not be served by anybody; what lies behind a torn write isn't there.
    pub fn open(data: &Path) -> Result<Self, ReadError> {
        let reader = Self { data: data.to_owned(), end: End::Fixed(0), segments: Mutex::default() };
        let Some(last) = reader.files()?.pop() else { return Ok(reader) };
        let bytes = std::fs::read(&last.path).map_err(|error| ReadError::Io { path: last.path, error })?;
        let damaged =
            |kind| ReadError::Damaged(Damage { segment: last.first, offset: 0, sequence: last.first, kind });
        let (_, mut frames) = Frames::new(&bytes, true).map_err(damaged)?;
        for frame in frames.by_ref() {
            frame.map_err(ReadError::Damaged)?;
        }
        let tail = frames.tail().ok_or_else(|| damaged(DamageKind::Incomplete))?;
        Ok(Self { end: End::Fixed(tail.next.saturating_sub(1)), ..reader })
    }

    pub(crate) fn live(data: &Path, shared: Arc<Shared>) -> Self {
        Self { data: data.to_owned(), end: End::Live(shared), segments: Mutex::default() }
    }

    /// The last sequence that can be read; 0 in an empty journal.
    #[must_use]
    pub fn last(&self) -> u64 {
        match &self.end {
            End::Live(shared) => shared.durable.load(Ordering::Acquire),
            End::Fixed(last) => *last,
        }
    }

    /// One record. `None`: it isn't there, or not yet.
    pub fn get(&self, sequence: u64) -> Result<Option<Record>, ReadError> {
        if sequence == 0 || sequence > self.last() {
            return Ok(None);
        }
        if let Some(segment) = self.known(sequence)
            && let Some(extent) = segment.extent(sequence)?
        {
            return segment.read(sequence, extent).map(Some);
        }
        // The journal has gone on to a segment that isn't open yet.
        self.refresh()?;
        let Some(segment) = self.known(sequence) else { return Ok(None) };
        match segment.extent(sequence)? {
            Some(extent) => segment.read(sequence, extent).map(Some),
            None => Err(segment.damaged(0, sequence, DamageKind::Hole)),
        }
    }

    /// The records of a range of sequences, both ends included, as far as they are there now.
    pub fn range(&self, from: u64, to: u64) -> impl Iterator<Item = Result<Record, ReadError>> + '_ {
        (from.max(1)..=to.min(self.last())).map_while(|sequence| self.get(sequence).transpose())
    }

    fn files(&self) -> Result<Vec<SegmentFile>, ReadError> {
        disk::segments(&self.data).map_err(|error| ReadError::Io { path: self.data.join("journal"), error })
    }

    fn known(&self, sequence: u64) -> Option<Arc<Segment>> {
        let open = self.segments.lock().unwrap_or_else(PoisonError::into_inner);
        open.range(..=sequence).next_back().map(|(_, segment)| Arc::clone(segment))
    }

    fn refresh(&self) -> Result<(), ReadError> {
        let files = self.files()?;
        let mut open = self.segments.lock().unwrap_or_else(PoisonError::into_inner);
        for SegmentFile { first, path } in files {
            if let Entry::Vacant(entry) = open.entry(first) {
                let file = File::open(&path).map_err(|error| ReadError::Io { path: path.clone(), error })?;
                let offsets = Mutex::new(vec![u32::try_from(START).unwrap_or_default()]);
                entry.insert(Arc::new(Segment { first, path, file, offsets }));
            }
        }
        Ok(())
    }
}

impl Segment {
    /// Where the frame starts and where it ends. `None`: the segment's frames end before it.
    fn extent(&self, sequence: u64) -> Result<Option<(u32, u32)>, ReadError> {
        let at = usize::try_from(sequence.saturating_sub(self.first)).unwrap_or(usize::MAX);
        let mut offsets = self.offsets.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let (Some(from), Some(to)) = (offsets.get(at), offsets.get(at.saturating_add(1))) {
                return Ok(Some((*from, *to)));
            }
            let known = u64::try_from(offsets.len()).unwrap_or(u64::MAX);
            let here = self.first.saturating_add(known).saturating_sub(1);
            let from = offsets.last().copied().unwrap_or_default();
            let mut start = [0; HEADER + 8];
            match self.file.read_exact_at(&mut start, from.into()) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
                Err(error) => return Err(self.io(error)),
            }
            if start.starts_with(&[0; 8]) {
                return Ok(None);
            }
            let end = frame::claim(&start)
                .filter(|claim| claim.sequence == here)
                .and_then(|claim| from.checked_add(u32::try_from(claim.size).ok()?));
            offsets.push(end.ok_or_else(|| self.damaged(from, here, DamageKind::Frame(Fault::Header)))?);
        }
    }

    fn read(&self, sequence: u64, (from, to): (u32, u32)) -> Result<Record, ReadError> {
        // The link of the frame before stands right in front; the first frame's is in the segment's header.
        let first = usize::try_from(from).is_ok_and(|from| from == START);
        let lead = if first { LINK_IN_HEADER } else { from.saturating_sub(32) };
        let mut bytes = vec![0; usize::try_from(to.saturating_sub(lead)).unwrap_or_default()];
        self.file.read_exact_at(&mut bytes, lead.into()).map_err(|error| self.io(error))?;
        let skip = usize::try_from(from.saturating_sub(lead)).unwrap_or_default();
        let (link, frame) = match (bytes.first_chunk::<{ Hash::LEN }>(), bytes.get(skip..)) {
            (Some(link), Some(frame)) => (Hash(*link), frame),
            _ => return Err(self.damaged(from, sequence, DamageKind::Hole)),
        };
        match frame::read(frame, 0, sequence, &link) {
            Ok(Some(frame)) => Ok(Record {
                sequence,
                time_ms: frame.time_ms,
                tree: frame.tree.to_owned(),
                kind: frame.kind,
                payload: frame.payload.to_vec(),
                sealed: frame.sealed.to_vec(),
                leaf: frame.leaf,
                link: frame.link,
            }),
            Ok(None) => Err(self.damaged(from, sequence, DamageKind::Hole)),
            Err(fault) => Err(self.damaged(from, sequence, DamageKind::Frame(fault))),
        }
    }

    fn io(&self, error: io::Error) -> ReadError {
        ReadError::Io { path: self.path.clone(), error }
    }

    fn damaged(&self, offset: u32, sequence: u64, kind: DamageKind) -> ReadError {
        ReadError::Damaged(Damage { segment: self.first, offset: offset.into(), sequence, kind })
    }
}
