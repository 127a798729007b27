//! Moving the oldest segments into the archive.
//!
//! In this order, so that a crash anywhere loses nothing: each segment is kept in the archive and read back; then the
//! manifest that names it is durable; then its file goes. What a crash leaves behind is finished by the next run.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use placet_ledger::Hash;
use placet_ledger::checkpoint::{Checkpoint, origin};
use placet_ledger::frame::{self, Frame};
use placet_ledger::segment::{Damage, DamageKind, Frames};

use super::{Archive, ArchivedSegment, Manifest, ManifestError};
use crate::disk::{self, SegmentFile};
use crate::fault::{Faults, Point};
use crate::follower::Notary;
use crate::kept::KeptStates;
use crate::trees::{CHECKPOINT, read_if_there, tree_dir};

/// A segment that might go: what a rule of retention needs to know.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The segment, as it would be listed.
    pub segment: ArchivedSegment,
    /// Records of each tree in it.
    pub trees: BTreeMap<String, u64>,
}

/// What is archived, and where to.
#[derive(Debug)]
pub struct Shelving<'a> {
    /// Who signs.
    pub notary: &'a Notary,
    /// Where to.
    pub archive: &'a Archive,
    /// The kept states.
    pub states: &'a KeptStates,
    /// Records at least that stay folded only from records that are here: how far the facts of a decision may be behind it.
    pub margin: u64,
    /// Only tell what would be done.
    pub dry_run: bool,
    /// Faults on purpose.
    pub faults: Faults,
}

/// What a run did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shelved {
    /// Segments that went, or would.
    pub moved: Vec<ArchivedSegment>,
    /// The first record that is here now.
    pub base: u64,
    /// Why no more went.
    pub because: Because,
}

/// Why an archiving ends where it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Because {
    /// What follows is promised, or held.
    Promised,
    /// The last segment always stays.
    Last,
    /// No kept state is old enough: what is here could not be folded without the archive.
    NoState,
    /// Trees aren't signed that far.
    Unsigned,
}

impl Because {
    /// As it is told.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Promised => "what follows is promised to be replayed here, or held",
            Self::Last => "the segment that is written to stays",
            Self::NoState => "no kept state of the facts is old enough yet",
            Self::Unsigned => "checkpoints don't sign it yet",
        }
    }
}

/// Why nothing was archived, or not all.
#[derive(Debug, thiserror::Error)]
pub enum ShelveError {
    /// The disk.
    #[error("`{path}`: {error}", path = .path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What it said.
        error: io::Error,
    },
    /// The manifest.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A segment isn't what was written.
    #[error("the journal is damaged: {0}; nothing of it is archived")]
    Damaged(Damage),
    /// The archive.
    #[error("segment {segment:012} isn't archived, and stays here: {error}")]
    Archive {
        /// Which segment.
        segment: u64,
        /// What the archive said.
        error: io::Error,
    },
}

/// Moves the segments from the oldest on that `goes` lets go; `mark` is what is to be remembered of a record. Nobody
/// else may be at it; the journal may be written meanwhile.
pub(crate) fn shelve(
    data: &Path,
    shelving: &Shelving<'_>,
    mut goes: impl FnMut(&Candidate) -> bool,
    mut mark: impl FnMut(&Frame<'_>) -> Option<String>,
) -> Result<Shelved, ShelveError> {
    let Shelving { notary, archive, states, margin, dry_run, faults } = shelving;
    let io = |path: &Path| {
        let path = path.to_owned();
        move |error| ShelveError::Io { path, error }
    };
    let before = Manifest::verified(data, &notary.organisation, &notary.key.public())?;
    if !dry_run && let Some(before) = &before {
        finish(data, before, archive, faults)?;
    }
    let mut files = disk::segments(data).map_err(io(&data.join("journal")))?;
    let base = before.as_ref().map_or(1, |manifest| manifest.base);
    files.retain(|file| file.first >= base);
    // The last one is written to.
    files.pop();

    let mut read = Vec::new();
    let (mut next, mut link) = (base, before.as_ref().map(|manifest| manifest.link));
    let mut because = Because::Last;
    for file in &files {
        let bytes = fs::read(&file.path).map_err(io(&file.path))?;
        let one = candidate(file, &bytes, next, link, &mut mark).map_err(ShelveError::Damaged)?;
        if !goes(&one.candidate) {
            because = Because::Promised;
            break;
        }
        (next, link) = (one.candidate.segment.last.saturating_add(1), Some(one.link));
        read.push(one);
    }
    // What stays must be folded from a state that is here, and decisions in it may rest on facts of a little before.
    let state = states.newest(next.saturating_sub(1).saturating_sub(*margin));
    let mut kept = state.as_ref().map_or(0, |state| state.sequence);
    let fits = read.iter().take_while(|one| one.candidate.segment.last <= kept).count();
    if fits < read.len() {
        because = Because::NoState;
        read.truncate(fits);
    }
    let mut trees = before.as_ref().map(|manifest| manifest.trees.clone()).unwrap_or_default();
    let mut signed = Vec::new();
    for one in read {
        let mut after = trees.clone();
        for (tree, records) in &one.candidate.trees {
            let size = after.entry(tree.clone()).or_default();
            *size = size.saturating_add(*records);
        }
        if !are_signed(data, notary, &after).map_err(io(&data.join("tree")))? {
            because = Because::Unsigned;
            break;
        }
        trees = after;
        signed.push((one, trees.clone()));
    }
    let moved: Vec<_> = signed.iter().map(|(one, _)| one.candidate.segment.clone()).collect();
    let base = moved.last().map_or(base, |last| last.last.saturating_add(1));
    if *dry_run || moved.is_empty() {
        return Ok(Shelved { moved, base, because });
    }
    for (one, _) in &signed {
        let segment = &one.candidate.segment;
        let failed = |error| ShelveError::Archive { segment: segment.first, error };
        faults.pass(Point::Archive).map_err(failed)?;
        let bytes = fs::read(&one.path).map_err(io(&one.path))?;
        archive.keep(segment, &bytes).map_err(failed)?;
    }
    let Some((last, trees)) = signed.last() else { return Ok(Shelved { moved, base, because }) };
    if before.as_ref().is_some_and(|before| before.state > kept) {
        kept = before.as_ref().map_or(kept, |before| before.state);
    }
    let mut manifest = Manifest {
        journal: last.journal,
        location: archive.location().to_owned(),
        base,
        link: last.link,
        state: kept,
        trees: trees.clone(),
        marks: before.as_ref().map(|before| before.marks.clone()).unwrap_or_default(),
        segments: before.map(|before| before.segments).unwrap_or_default(),
    };
    manifest.segments.extend(moved.iter().cloned());
    manifest.marks.extend(signed.iter().flat_map(|(one, _)| one.marks.iter().cloned()));
    faults.pass(Point::Manifest).map_err(io(data))?;
    states.pin(kept);
    manifest.write(data, &notary.organisation, &notary.key).map_err(io(&data.join("journal")))?;
    finish(data, &manifest, archive, faults)?;
    Ok(Shelved { moved, base, because })
}

/// The same where no server is at work: refused while one is.
pub fn shelve_alone(
    data: &Path,
    shelving: &Shelving<'_>,
    goes: impl FnMut(&Candidate) -> bool,
    mark: impl FnMut(&Frame<'_>) -> Option<String>,
) -> Result<Shelved, ShelveError> {
    if shelving.dry_run {
        return shelve(data, shelving, goes, mark);
    }
    let io = |error| ShelveError::Io { path: data.join(disk::LOCK), error };
    let lock = disk::lock(data).map_err(io)?;
    let lock = lock.ok_or_else(|| {
        io(io::Error::new(
            io::ErrorKind::WouldBlock,
            "a server is at work, which archives by itself as its `[retention]` says",
        ))
    })?;
    let shelved = shelve(data, shelving, goes, mark);
    drop(lock);
    shelved
}

/// Removes the files of what is archived, each once the archive gave it back.
fn finish(data: &Path, manifest: &Manifest, archive: &Archive, faults: &Faults) -> Result<(), ShelveError> {
    let dir = data.join("journal");
    let io = |error| ShelveError::Io { path: dir.clone(), error };
    let mut removed = false;
    for file in disk::segments(data).map_err(io)? {
        let Some(segment) = manifest.segment(file.first).filter(|_| file.first < manifest.base) else {
            continue;
        };
        let failed = |error| ShelveError::Archive { segment: segment.first, error };
        archive.fetch(segment).map_err(failed)?;
        faults.pass(Point::Remove).map_err(failed)?;
        fs::remove_file(&file.path).map_err(io)?;
        removed = true;
    }
    if removed { disk::sync_dir(&dir).map_err(io) } else { Ok(()) }
}

/// A segment that was read whole.
struct Read {
    candidate: Candidate,
    path: PathBuf,
    journal: [u8; 16],
    /// Behind its last frame.
    link: Hash,
    marks: Vec<String>,
}

fn candidate(
    file: &SegmentFile,
    bytes: &[u8],
    next: u64,
    link: Option<Hash>,
    mark: &mut impl FnMut(&Frame<'_>) -> Option<String>,
) -> Result<Read, Damage> {
    let damage = |kind| Damage { segment: file.first, offset: 0, sequence: file.first, kind };
    let (header, mut frames) = Frames::new(bytes, false).map_err(damage)?;
    if header.first != next || header.first != file.first {
        return Err(damage(DamageKind::MissingRecords { sequence: next, first: header.first }));
    }
    if header.link != link.unwrap_or_else(|| frame::genesis(&header.journal)) {
        return Err(damage(DamageKind::SegmentLink));
    }
    let (mut trees, mut marks): (BTreeMap<String, u64>, _) = (BTreeMap::new(), Vec::new());
    let (mut since_ms, mut until_ms) = (None, 0);
    for frame in frames.by_ref() {
        let frame = frame?;
        since_ms.get_or_insert(frame.time_ms);
        until_ms = frame.time_ms;
        let records = trees.entry(frame.tree.to_owned()).or_default();
        *records = records.saturating_add(1);
        marks.extend(mark(&frame).filter(|mark| !mark.contains('\n')));
    }
    let tail = frames.tail().ok_or_else(|| damage(DamageKind::Incomplete))?;
    let segment = ArchivedSegment {
        first: header.first,
        last: tail.next.saturating_sub(1),
        since_ms: since_ms.unwrap_or_default(),
        until_ms,
        bytes: u64::try_from(bytes.len()).unwrap_or(u64::MAX),
        digest: Hash::of(bytes),
    };
    let candidate = Candidate { segment, trees };
    Ok(Read { candidate, path: file.path.clone(), journal: header.journal, link: tail.link, marks })
}

/// Whether every tree's checkpoint signs so many of its records.
fn are_signed(data: &Path, notary: &Notary, trees: &BTreeMap<String, u64>) -> io::Result<bool> {
    for (tree, size) in trees {
        let note = read_if_there(&tree_dir(data, tree).join(CHECKPOINT))?;
        let signed = note.and_then(|note| {
            Checkpoint::open(&note, &origin(&notary.organisation, tree), &notary.key.public()).ok()
        });
        if signed.is_none_or(|signed| signed.size < *size) {
            return Ok(false);
        }
    }
    Ok(true)
}
