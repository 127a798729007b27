//! Holding a whole data directory against its chain, its trees and its signed checkpoints.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use placet_ledger::checkpoint::VerifyingKey;
use placet_ledger::segment::Damage;

use crate::archive::{Archive, History, Manifest, ManifestError};
use crate::trees::{Disagreement, TreeChecks, TreeFault};
use crate::walk::{Place, Start, WalkError, walk_in};

/// What a verification saw.
#[derive(Debug)]
pub struct VerifyReport {
    /// Records that check out one after the other.
    pub records: u64,
    /// Segments that they stand in.
    pub segments: usize,
    /// Every tree that has records or a checkpoint.
    pub trees: Vec<TreeReport>,
    /// A torn write at the end, of which nothing was acknowledged; the next start cuts it.
    pub torn: Option<Place>,
    /// What of the ledger is in an archive.
    pub archived: Option<Archived>,
    /// The first thing that is wrong. `None`: nothing is.
    pub finding: Option<Finding>,
}

/// The beginning of a ledger that is in an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archived {
    /// Its last record.
    pub last: u64,
    /// Segments.
    pub segments: usize,
    /// Where.
    pub location: String,
    /// Whether it was read there and verified with the rest. Else the rest was verified against what the signed manifest
    /// and the trees' hashes, which stay whole, say of it.
    pub read: bool,
}

/// A tree in a [`VerifyReport`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeReport {
    /// Its name.
    pub tree: String,
    /// Its records in the journal.
    pub records: u64,
    /// How many of them a checkpoint signs. `None`: there is no checkpoint.
    pub signed: Option<u64>,
}

/// What is wrong, and where.
#[derive(Debug, thiserror::Error)]
pub enum Finding {
    /// A bit flipped, a record dropped, swapped or inserted: the first place where the journal isn't what was written.
    #[error(transparent)]
    Damaged(Damage),
    /// The journal's end is missing, as a checkpoint shows.
    #[error("tree `{tree}` has {has} records, {signed} were signed: dropped after record {last_sequence}")]
    Dropped {
        /// The tree.
        tree: String,
        /// Records that were signed.
        signed: u64,
        /// Records that are there.
        has: u64,
        /// The last record of the tree that is there; 0 if none.
        last_sequence: u64,
    },
    /// A journal with a sound chain that isn't the one that was signed.
    #[error("tree `{tree}` isn't what was signed: {}", match .first {
        Some((leaf, sequence)) => format!("leaf {leaf}, record {sequence} is the first that differs"),
        None => format!("one of its first {signed} records differs"),
    })]
    Forked {
        /// The tree.
        tree: String,
        /// Records that were signed.
        signed: u64,
        /// Leaf and sequence of the first that differs, where the stored hashes still tell.
        first: Option<(u64, u64)>,
    },
    /// A checkpoint that the key didn't sign.
    #[error("tree `{tree}`: {message}")]
    Checkpoint {
        /// The tree.
        tree: String,
        /// What is wrong with it.
        message: String,
    },
    /// What is archived isn't known.
    #[error("{0}")]
    Manifest(String),
    /// A file can't be read.
    #[error("cannot read `{}`: {error}", .path.display())]
    Unreadable {
        /// The file or directory.
        path: PathBuf,
        /// What it said.
        error: io::Error,
    },
}

impl VerifyReport {
    /// Whether everything checks out.
    #[must_use]
    pub const fn is_sound(&self) -> bool {
        self.finding.is_none()
    }
}

/// Verifies the directory `data` against checkpoints of `organisation` signed by `key`. Changes nothing, needs nobody's
/// leave, and finds the first difference from what was written. While somebody serves the directory, a batch that is
/// being written may show as torn.
#[must_use]
pub fn verify(data: &Path, organisation: &str, key: VerifyingKey) -> VerifyReport {
    verify_with(data, organisation, key, None)
}

/// The same; what is archived is read and verified there, if an archive is given.
#[must_use]
pub fn verify_with(
    data: &Path,
    organisation: &str,
    key: VerifyingKey,
    archive: Option<&Archive>,
) -> VerifyReport {
    let mut report = VerifyReport {
        records: 0,
        segments: 0,
        trees: Vec::new(),
        torn: None,
        archived: None,
        finding: None,
    };
    match check(data, (organisation, key), archive, &mut report) {
        Ok(finding) => report.finding = finding,
        Err(error) => report.finding = Some(Finding::Unreadable { path: data.to_owned(), error }),
    }
    report
}

fn check(
    data: &Path,
    (organisation, key): (&str, VerifyingKey),
    archive: Option<&Archive>,
    report: &mut VerifyReport,
) -> io::Result<Option<Finding>> {
    let manifest = match Manifest::verified(data, organisation, &key) {
        Ok(manifest) => manifest.map(Arc::new),
        Err(ManifestError::Io(error)) => return Err(error),
        Err(error @ ManifestError::Unsigned(_)) => return Ok(Some(Finding::Manifest(error.to_string()))),
    };
    report.archived = manifest.as_ref().map(|manifest| Archived {
        last: manifest.base.saturating_sub(1),
        segments: manifest.segments.len(),
        location: manifest.location.clone(),
        read: archive.is_some(),
    });
    let start = if manifest.is_some() && archive.is_none() { Start::Base } else { Start::First };
    let mut trees = match TreeChecks::open(data, organisation, key, false)? {
        Ok(trees) => trees,
        Err(fault) => return Ok(Some(finding(fault))),
    };
    if let Some(manifest) = manifest.as_ref().filter(|_| start == Start::Base) {
        trees.skip(&manifest.trees)?;
        report.records = manifest.base.saturating_sub(1);
    }
    let history = History { manifest, archive: archive.cloned() };
    let walked = walk_in(data, &history, start, |frame| {
        report.records = frame.sequence;
        trees.leaf(frame.tree, frame.sequence, frame.leaf)
    });
    report.trees = trees
        .trees
        .iter()
        .map(|(tree, check)| TreeReport {
            tree: tree.as_ref().to_owned(),
            records: check.frontier.size(),
            signed: check.checkpoint.as_ref().map(|checkpoint| checkpoint.size),
        })
        .collect();
    match walked {
        Ok(walked) => {
            report.segments = walked.segments;
            report.torn = walked.torn();
            Ok(trees.verdict()?.map(finding))
        }
        Err(WalkError::Damage(damage)) => Ok(Some(Finding::Damaged(damage))),
        Err(WalkError::Io { path, error }) => Ok(Some(Finding::Unreadable { path, error })),
        Err(WalkError::Visitor(error)) => Err(error),
    }
}

fn finding(TreeFault { tree, what }: TreeFault) -> Finding {
    let tree = tree.as_ref().to_owned();
    match what {
        Disagreement::Note(error) => Finding::Checkpoint { tree, message: error.to_string() },
        Disagreement::Shorter { signed, has, last_sequence } => {
            Finding::Dropped { tree, signed, has, last_sequence }
        }
        Disagreement::Differs { signed, first } => Finding::Forked { tree, signed, first },
    }
}
