//! Holding a whole data directory against its chain, its trees and its signed checkpoints.

use std::io;
use std::path::{Path, PathBuf};

use placet_ledger::checkpoint::VerifyingKey;
use placet_ledger::segment::Damage;

use crate::trees::{Disagreement, TreeChecks, TreeFault};
use crate::walk::{Place, WalkError, walk};

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
    /// The first thing that is wrong. `None`: nothing is.
    pub finding: Option<Finding>,
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
    let mut report = VerifyReport { records: 0, segments: 0, trees: Vec::new(), torn: None, finding: None };
    match check(data, organisation, key, &mut report) {
        Ok(finding) => report.finding = finding,
        Err(error) => report.finding = Some(Finding::Unreadable { path: data.to_owned(), error }),
    }
    report
}

fn check(
    data: &Path,
    organisation: &str,
    key: VerifyingKey,
    report: &mut VerifyReport,
) -> io::Result<Option<Finding>> {
    let mut trees = match TreeChecks::open(data, organisation, key, false)? {
        Ok(trees) => trees,
        Err(fault) => return Ok(Some(finding(fault))),
    };
    let walked = walk(data, |frame| {
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
