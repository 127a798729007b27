//! Opening a journal: one walk over its records to the fold and against the trees, then carry on where it ended.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_lc_rs::rand;
use placet_ledger::frame::{self, Encoder};
use placet_ledger::segment::{Damage, START, SegmentHeader};

use crate::archive::{History, ManifestError};
use crate::disk::{self, Disk};
use crate::fold::Fold;
use crate::follower::Notary;
use crate::kept::{Job, KeptState, KeptStates};
use crate::trees::{Disagreement, TreeChecks, TreeFault};
use crate::walk::{Place, Start, WalkError, Walked, walk_in};
use crate::writer::{Segments, fill};

/// Why a journal isn't opened. No record, hash or checkpoint was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process serves the directory.
    #[error("another process serves `{}`; stop it, or choose another data directory", .0.display())]
    Locked(PathBuf),
    /// The disk.
    #[error("cannot open the journal in `{}`: {error}", .path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What it said.
        error: io::Error,
    },
    /// Bytes that no crash explains.
    #[error(
        "the journal is damaged: {0}; restore it from a backup, or look at it with `placet audit verify`"
    )]
    Damaged(Damage),
    /// The fold refuses a record of its own past.
    #[error("record {sequence} cannot be replayed: {message}")]
    Replay {
        /// The record.
        sequence: u64,
        /// The fold's words.
        message: String,
    },
    /// A checkpoint signs more than the journal has.
    #[error(
        "the journal is older than its checkpoint: tree `{tree}` has {has} records, {signed} were signed; the last is record {last_sequence}"
    )]
    Shorter {
        /// The tree.
        tree: String,
        /// Records that were signed.
        signed: u64,
        /// Records that are there.
        has: u64,
        /// The journal's last record of that tree.
        last_sequence: u64,
    },
    /// A checkpoint signs something else.
    #[error("the journal isn't what its checkpoint signs: tree `{tree}`, {}", .sequence.map_or_else(|| "one of its signed records".to_owned(), |s| format!("record {s}")))]
    Differs {
        /// The tree.
        tree: String,
        /// The first record that differs, where the stored hashes still tell.
        sequence: Option<u64>,
    },
    /// What is archived isn't known.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// No kept state fits, so the archived records are needed, and don't come.
    #[error(
        "no kept state fits (an upgrade or an erasure ends them), so the start needs the records 1 to {last} of the archive `{location}`: {error}; name it in `[retention] archive`, and see that it can be read"
    )]
    Archived {
        /// The last record that is archived.
        last: u64,
        /// Where.
        location: String,
        /// What the archive said.
        error: io::Error,
    },
    /// The database of a shared journal.
    #[error(transparent)]
    Database(#[from] crate::postgres::DatabaseError),
    /// A checkpoint that isn't ours.
    #[error("tree `{tree}`: {message}")]
    Checkpoint {
        /// The tree.
        tree: String,
        /// What is wrong with it.
        message: String,
    },
}

/// What opening found.
#[derive(Clone, Debug)]
pub struct OpenReport {
    /// Records replayed.
    pub records: u64,
    /// Segments read.
    pub segments: usize,
    /// The last record whose effect was taken from a kept state instead of being folded; 0 if there was none. All records
    /// were read and checked nevertheless.
    pub kept: u64,
    /// How long it took.
    pub took: Duration,
    /// Where a torn write was cut: nothing of it had been acknowledged.
    pub cut: Option<Place>,
}

enum Stop {
    Fold { sequence: u64, message: String },
    Io(io::Error),
    Unfit(String),
}

/// Walks the journal: to the fold and against the trees. The newest kept state spares folding what it holds; if it
/// doesn't fit, it is thrown away and the next older one is tried. Answers the record that was begun with, too.
pub(crate) fn replay<F: Fold>(
    data: &Path,
    notary: &Notary,
    states: &KeptStates,
    past: (&History, &mut Option<Job>),
    fold: &mut F,
) -> Result<(Walked, TreeChecks, u64), OpenError> {
    let begun = begin(data, notary, states, past, fold)?;
    agree(data, &begun.1)?;
    Ok(begun)
}

/// The same, without holding the result against the checkpoints. Where the archive is read, the state that spares the
/// next start from it is made again.
pub(crate) fn begin<F: Fold>(
    data: &Path,
    notary: &Notary,
    states: &KeptStates,
    (history, remade): (&History, &mut Option<Job>),
    fold: &mut F,
) -> Result<(Walked, TreeChecks, u64), OpenError> {
    let mut newest = if F::FORMAT.is_empty() { None } else { states.newest(u64::MAX) };
    while let Some(kept) = newest {
        match replay_from(data, notary, (history, remade), Some(&kept), fold)? {
            Ok((walked, checks)) => return Ok((walked, checks, kept.sequence)),
            Err(why) => {
                tracing::warn!(sequence = kept.sequence, why, "a kept state doesn't fit the journal");
                states.discard(kept.sequence);
                newest = kept.sequence.checked_sub(1).and_then(|before| states.newest(before));
            }
        }
    }
    match replay_from(data, notary, (history, remade), None, fold)? {
        Ok((walked, checks)) => Ok((walked, checks, 0)),
        Err(why) => Err(OpenError::Replay { sequence: 0, message: why }),
    }
}

/// One walk; the inner error is that of `kept`, and the fold is as before.
fn replay_from<F: Fold>(
    data: &Path,
    notary: &Notary,
    (history, remade): (&History, &mut Option<Job>),
    kept: Option<&KeptState>,
    fold: &mut F,
) -> Result<Result<(Walked, TreeChecks), String>, OpenError> {
    let from = kept.map_or(0, |kept| kept.sequence);
    let mut taken = kept.is_none();
    let (base, pinned) = history.manifest.as_ref().map_or((1, 0), |manifest| (manifest.base, manifest.state));
    // A fold without states wants to know nothing of what came before.
    let spared = F::FORMAT.is_empty() || from.saturating_add(1) >= base;
    let start = if base > 1 && spared { Start::Base } else { Start::First };
    *remade = None;
    let io = |error| OpenError::Io { path: data.join("tree"), error };
    let mut checks = TreeChecks::open(data, &notary.organisation, notary.key.public(), true)
        .map_err(io)?
        .map_err(disagreement)?;
    if let Some(manifest) = history.manifest.as_ref().filter(|_| start == Start::Base) {
        checks.skip(&manifest.trees).map_err(io)?;
        if let Some(kept) = kept.filter(|kept| kept.sequence.saturating_add(1) == base) {
            if kept.link != manifest.link {
                return Ok(Err("it is of another journal".to_owned()));
            }
            if let Err(error) = fold.restore(kept.sequence, kept.body()) {
                return Ok(Err(error.to_string()));
            }
            taken = true;
        }
    }
    let walked = walk_in(data, history, start, |frame| {
        checks.leaf(frame.tree, frame.sequence, frame.leaf).map_err(Stop::Io)?;
        if frame.sequence <= from {
            if let Some(kept) = kept.filter(|kept| kept.sequence == frame.sequence) {
                if kept.link != frame.link {
                    return Err(Stop::Unfit("it is of another journal".to_owned()));
                }
                fold.restore(kept.sequence, kept.body()).map_err(|error| Stop::Unfit(error.to_string()))?;
                taken = true;
            }
            return Ok(());
        }
        fold.replay(frame)
            .map_err(|error| Stop::Fold { sequence: frame.sequence, message: error.to_string() })?;
        if frame.sequence == pinned {
            *remade = fold.keep().map(|state| Job {
                sequence: frame.sequence,
                link: frame.link,
                time_ms: frame.time_ms,
                state,
            });
        }
        Ok(())
    });
    let walked = match walked {
        Ok(walked) => walked,
        Err(WalkError::Visitor(Stop::Unfit(why))) => return Ok(Err(why)),
        Err(WalkError::Io { path, error }) => {
            return Err(match &history.manifest {
                Some(manifest) if start == Start::First && !path.exists() => {
                    let (last, location) = (base.saturating_sub(1), manifest.location.clone());
                    OpenError::Archived { last, location, error }
                }
                _ => OpenError::Io { path, error },
            });
        }
        Err(WalkError::Damage(damage)) => return Err(OpenError::Damaged(damage)),
        Err(WalkError::Visitor(Stop::Io(error))) => return Err(io(error)),
        Err(WalkError::Visitor(Stop::Fold { sequence, message })) => {
            return Err(OpenError::Replay { sequence, message });
        }
    };
    Ok(if taken { Ok((walked, checks)) } else { Err("the journal ends before it".to_owned()) })
}

/// Refuses a journal that isn't as its checkpoints say.
pub(crate) fn agree(data: &Path, checks: &TreeChecks) -> Result<(), OpenError> {
    let fault = checks.verdict().map_err(|error| OpenError::Io { path: data.join("tree"), error })?;
    fault.map_or(Ok(()), |fault| Err(disagreement(fault)))
}

fn disagreement(TreeFault { tree, what }: TreeFault) -> OpenError {
    let tree = tree.as_ref().to_owned();
    match what {
        Disagreement::Note(error) => OpenError::Checkpoint { tree, message: error.to_string() },
        Disagreement::Shorter { signed, has, last_sequence } => {
            OpenError::Shorter { tree, signed, has, last_sequence }
        }
        Disagreement::Differs { signed: _, first } => {
            OpenError::Differs { tree, sequence: first.map(|(_, sequence)| sequence) }
        }
    }
}

/// 16 random bytes.
pub(crate) fn random() -> io::Result<[u8; 16]> {
    let mut bytes = [0; 16];
    rand::fill(&mut bytes).map_err(|_| io::Error::other("the system gives no random numbers"))?;
    Ok(bytes)
}

/// Takes the journal up where it ended, or starts one, `journal` where it has a name already.
pub(crate) fn resume(
    disk: Disk,
    walked: &Walked,
    journal: Option<[u8; 16]>,
) -> io::Result<(Segments, Encoder)> {
    let position = |offset: usize| u64::try_from(offset).unwrap_or(u64::MAX);
    if let Some((segment, header, tail)) = &walked.end {
        let file = disk::open_private(&segment.path, false)?;
        let from = position(tail.offset);
        let size = disk.cut(&file, from, tail.torn.map_or(from, position))?;
        let next = fill(&disk);
        let segments = Segments { disk, journal: header.journal, file, offset: from, size, next };
        return Ok((segments, Encoder::new(tail.next, tail.link)));
    }
    let journal = journal.map_or_else(random, Ok)?;
    let link = frame::genesis(&journal);
    let file = disk.preallocate()?;
    let size = file.metadata()?.len();
    let file = disk.activate(file, &SegmentHeader { first: 1, journal, link })?;
    let next = fill(&disk);
    let segments = Segments { disk, journal, file, offset: position(START), size, next };
    Ok((segments, Encoder::new(1, link)))
}
