//! Reading a journal from its first record to its last.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use placet_ledger::Hash;
use placet_ledger::frame::{self, Frame};
use placet_ledger::segment::{Damage, DamageKind, Frames, SegmentHeader, Tail};

use crate::disk::{self, SegmentFile};

/// A place in the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The segment's first sequence, its file's name.
    pub segment: u64,
    /// Byte offset in it.
    pub offset: u64,
    /// The first sequence that isn't there.
    pub sequence: u64,
}

/// Why the walk ended early.
#[derive(Debug)]
pub(crate) enum WalkError<E> {
    Io {
        path: PathBuf,
        error: io::Error,
    },
    Damage(Damage),
    /// The visitor stopped it.
    Visitor(E),
}

/// What the walk found.
#[derive(Debug)]
pub(crate) struct Walked {
    pub(crate) segments: usize,
    pub(crate) records: u64,
    pub(crate) last_time_ms: u64,
    /// The last segment and its tail; `None` if there is no segment.
    pub(crate) end: Option<(SegmentFile, SegmentHeader, Tail)>,
}

impl Walked {
    /// Where a torn write was found.
    pub(crate) fn torn(&self) -> Option<Place> {
        let (file, _, tail) = self.end.as_ref()?;
        tail.torn?;
        let offset = u64::try_from(tail.offset).unwrap_or(u64::MAX);
        Some(Place { segment: file.first, offset, sequence: tail.next })
    }
}

/// Reads every record of the journal below `data` in order, checked one by one and against the one before.
pub(crate) fn walk<E>(
    data: &Path,
    mut visit: impl FnMut(&Frame<'_>) -> Result<(), E>,
) -> Result<Walked, WalkError<E>> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |error| WalkError::Io { path, error }
    };
    let files = disk::segments(data).map_err(io(&data.join("journal")))?;
    let mut walked = Walked { segments: files.len(), records: 0, last_time_ms: 0, end: None };
    let mut before: Option<(SegmentHeader, Tail)> = None;
    let mut bytes = Vec::new();
    let count = files.len();
    for (at, file) in files.into_iter().enumerate() {
        let last = at.saturating_add(1) == count;
        bytes.clear();
        File::open(&file.path).and_then(|mut open| open.read_to_end(&mut bytes)).map_err(io(&file.path))?;
        let (sequence, link) = before.map_or((1, None), |(_, tail)| (tail.next, Some(tail.link)));
        let damage = |kind| WalkError::Damage(Damage { segment: file.first, offset: 0, sequence, kind });
        let (header, mut frames) = Frames::new(&bytes, last).map_err(damage)?;
        check_order(&file, &header, before.map(|(header, _)| header), sequence, link).map_err(damage)?;
        for frame in frames.by_ref() {
            let frame = frame.map_err(WalkError::Damage)?;
            walked.records = walked.records.saturating_add(1);
            walked.last_time_ms = frame.time_ms;
            visit(&frame).map_err(WalkError::Visitor)?;
        }
        let Some(tail) = frames.tail() else { return Err(damage(DamageKind::Incomplete)) };
        before = Some((header, tail));
        walked.end = Some((file, header, tail));
    }
    Ok(walked)
}

/// A segment must carry on exactly where the one before ended.
fn check_order(
    file: &SegmentFile,
    header: &SegmentHeader,
    before: Option<SegmentHeader>,
    sequence: u64,
    link: Option<Hash>,
) -> Result<(), DamageKind> {
    if header.first != file.first {
        return Err(DamageKind::SegmentHeader);
    }
    if before.is_some_and(|before| before.journal != header.journal) {
        return Err(DamageKind::ForeignSegment);
    }
    if header.first != sequence {
        return Err(DamageKind::MissingRecords { sequence, first: header.first });
    }
    if header.link != link.unwrap_or_else(|| frame::genesis(&header.journal)) {
        return Err(DamageKind::SegmentLink);
    }
    Ok(())
}
