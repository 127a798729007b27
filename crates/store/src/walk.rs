//! Reading a journal from its first record to its last.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use placet_ledger::Hash;
use placet_ledger::frame::{self, Frame};
use placet_ledger::segment::{Damage, DamageKind, Frames, SegmentHeader, Tail};

use crate::archive::History;
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
    visit: impl FnMut(&Frame<'_>) -> Result<(), E>,
) -> Result<Walked, WalkError<E>> {
    walk_in(data, &History::default(), Start::First, visit)
}

/// Where a walk begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// At the first record; what is archived is read there.
    First,
    /// At the first record that isn't archived.
    Base,
}

/// The same where segments may be archived.
pub(crate) fn walk_in<E>(
    data: &Path,
    history: &History,
    start: Start,
    mut visit: impl FnMut(&Frame<'_>) -> Result<(), E>,
) -> Result<Walked, WalkError<E>> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |error| WalkError::Io { path, error }
    };
    let mut files = disk::segments(data).map_err(io(&data.join("journal")))?;
    let mut before: Option<(SegmentHeader, Tail)> = None;
    let mut records = 0;
    if let Some(manifest) = &history.manifest {
        // A crash may have left files of what is archived: they are read in the archive's place.
        match start {
            Start::First => {
                for segment in manifest.segments.iter().rev() {
                    if files.iter().all(|file| file.first != segment.first) {
                        let path = data.join("journal").join(segment.name());
                        files.push(SegmentFile { first: segment.first, path });
                    }
                }
                files.sort_by_key(|file| file.first);
            }
            Start::Base => {
                files.retain(|file| file.first >= manifest.base);
                records = manifest.base.saturating_sub(1);
                let (journal, next, link) = (manifest.journal, manifest.base, manifest.link);
                let header = SegmentHeader { first: 1, journal, link };
                before = Some((header, Tail { offset: 0, next, link, torn: None }));
            }
        }
    }
    let mut walked = Walked { segments: files.len(), records, last_time_ms: 0, end: None };
    let mut bytes = Vec::new();
    let count = files.len();
    for (at, file) in files.into_iter().enumerate() {
        let last = at.saturating_add(1) == count;
        bytes.clear();
        match history.segment(file.first).filter(|_| !file.path.exists()) {
            Some(segment) => bytes = history.fetch(segment).map_err(io(&file.path))?,
            None => {
                let read = File::open(&file.path).and_then(|mut open| open.read_to_end(&mut bytes));
                read.map_err(io(&file.path))?;
            }
        }
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
