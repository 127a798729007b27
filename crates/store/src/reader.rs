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

use crate::archive::{Archive, ArchivedSegment, History, Manifest};
use crate::disk::{self, SegmentFile};
use crate::writer::Shared;

/// Archived segments that are held in memory at most.
const HELD: usize = 4;
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
    /// The record is in the archive, which wasn't named or doesn't give it.
    #[error("record {sequence} is only in the archive `{location}`, in `{}`{}", .segment.name(), .error.as_ref().map_or_else(|| "; name the archive with `--archive`, or in `[retention]`".to_owned(), |error| format!(": {error}")))]
    Archived {
        /// The record.
        sequence: u64,
        /// Where it is.
        location: String,
        /// The archived segment.
        segment: Box<ArchivedSegment>,
        /// What the archive said. `None`: no archive was named.
        error: Option<io::Error>,
    },
}

/// Reads records by their sequence. Shareable between threads.
#[derive(Debug)]
pub struct Reader {
    data: PathBuf,
    end: End,
    segments: Mutex<BTreeMap<u64, Arc<Segment>>>,
    archive: Option<Archive>,
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
    bytes: Bytes,
    offsets: Mutex<Vec<u32>>,
}

/// A segment's content.
#[derive(Debug)]
enum Bytes {
    File(File),
    /// From the archive.
    Held(Vec<u8>),
}

impl Bytes {
    fn read_exact_at(&self, to: &mut [u8], at: u64) -> io::Result<()> {
        match self {
            Self::File(file) => file.read_exact_at(to, at),
            Self::Held(bytes) => {
                let from = usize::try_from(at).unwrap_or(usize::MAX);
                let part = bytes.get(from..).and_then(|rest| rest.get(..to.len()));
                to.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
                Ok(())
            }
        }
    }
}

impl Reader {
    /// Opens a directory that need not be served by anybody; what lies behind a torn write isn't there.
    pub fn open(data: &Path) -> Result<Self, ReadError> {
        let reader =
            Self { data: data.to_owned(), end: End::Fixed(0), segments: Mutex::default(), archive: None };
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
        Self { data: data.to_owned(), end: End::Live(shared), segments: Mutex::default(), archive: None }
    }

    /// The same, which reads archived segments there.
    #[must_use]
    pub fn with_archive(self, archive: Option<Archive>) -> Self {
        Self { archive, ..self }
    }

    /// What of the journal is archived, as the directory says; unverified.
    pub fn manifest(&self) -> io::Result<Option<Manifest>> {
        Manifest::read(&self.data)
    }

    /// The archive that was named.
    #[must_use]
    pub fn archive(&self) -> Option<&Archive> {
        self.archive.as_ref()
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
        let segment = match self.known(sequence).filter(|segment| !segment.is_archived()) {
            Some(segment) => segment,
            None => match self.archived(sequence)? {
                Some(segment) => segment,
                None => return Ok(None),
            },
        };
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
                entry.insert(Arc::new(Segment::new(first, path, Bytes::File(file))));
            }
        }
        Ok(())
    }

    /// The archived segment with this record.
    fn archived(&self, sequence: u64) -> Result<Option<Arc<Segment>>, ReadError> {
        let journal = self.data.join("journal");
        let history =
            History::of(&self.data).map_err(|error| ReadError::Io { path: journal.clone(), error })?;
        let (Some(manifest), Some(segment)) = (&history.manifest, history.segment(sequence)) else {
            return Ok(None);
        };
        let refused = |error| ReadError::Archived {
            sequence,
            location: manifest.location.clone(),
            segment: Box::new(segment.clone()),
            error,
        };
        let archive = self.archive.as_ref().ok_or_else(|| refused(None))?;
        let bytes = archive.fetch(segment).map_err(|error| refused(Some(error)))?;
        let found = Arc::new(Segment::new(segment.first, journal.join(segment.name()), Bytes::Held(bytes)));
        let mut open = self.segments.lock().unwrap_or_else(PoisonError::into_inner);
        let held: Vec<_> = open.values().filter(|one| one.is_archived()).map(|one| one.first).collect();
        for first in held.into_iter().rev().skip(HELD.saturating_sub(1)) {
            open.remove(&first);
        }
        open.insert(found.first, Arc::clone(&found));
        Ok(Some(found))
    }
}

impl Segment {
    fn new(first: u64, path: PathBuf, bytes: Bytes) -> Self {
        let offsets = Mutex::new(vec![u32::try_from(START).unwrap_or_default()]);
        Self { first, path, bytes, offsets }
    }

    const fn is_archived(&self) -> bool {
        matches!(self.bytes, Bytes::Held(_))
    }

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
            match self.bytes.read_exact_at(&mut start, from.into()) {
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
        self.bytes.read_exact_at(&mut bytes, lead.into()).map_err(|error| self.io(error))?;
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
