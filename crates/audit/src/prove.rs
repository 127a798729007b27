//! Small proofs: of one record, of a range, of a checkpoint that somebody kept. None reads the whole journal's past.

use std::{collections::BTreeMap, fmt, io};

use placet_json::{Value, object};
use placet_ledger::{
    Hash,
    checkpoint::{Checkpoint, NoteError, origin},
    proof::{ProofError, consistency, inclusion, verify_consistency, verify_inclusion},
    range,
};
use placet_store::{Filter, Projection, ProjectionError, ReadError, Record, TreeReader};

use crate::{Data, Keys};

/// Why something can't be proven.
#[derive(Debug, thiserror::Error)]
pub enum ProveError {
    /// The journal.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The index.
    #[error(transparent)]
    Index(#[from] ProjectionError),
    /// The tree's files.
    #[error("the tree `{tree}` can't be read: {error}")]
    Tree {
        /// Which.
        tree: String,
        /// Why.
        error: io::Error,
    },
    /// There is no such record.
    #[error("the ledger has no record {0}")]
    Missing(u64),
    /// Its checkpoint isn't signed by a key that is trusted.
    #[error("tree `{tree}`: {error}")]
    Checkpoint {
        /// Which.
        tree: String,
        /// Why.
        error: NoteError,
    },
    /// Nothing of the tree is signed yet, or not so much.
    #[error("the newest checkpoint of tree `{tree}` signs {signed} records, and not yet record {sequence}")]
    Unsigned {
        /// Which.
        tree: String,
        /// How many are signed.
        signed: u64,
        /// The record.
        sequence: u64,
    },
    /// It isn't what was signed.
    #[error("tree `{tree}` isn't what was signed: {error}")]
    Wrong {
        /// Which.
        tree: String,
        /// Why.
        error: ProofError,
    },
    /// The checkpoint that was kept is of another ledger.
    #[error("the checkpoint is of `{0}`, not of this ledger")]
    Foreign(String),
    /// The ledger has less than the checkpoint that was kept.
    #[error("tree `{tree}` has {has} signed records, and the checkpoint {seen}: records are missing")]
    Behind {
        /// Which.
        tree: String,
        /// Signed here.
        has: u64,
        /// Signed there.
        seen: u64,
    },
}

impl ProveError {
    /// Whether it says that the ledger is wrong, not that it couldn't be looked at.
    #[must_use]
    pub fn is_finding(&self) -> bool {
        matches!(
            self,
            Self::Read(ReadError::Damaged(_))
                | Self::Wrong { .. }
                | Self::Behind { .. }
                | Self::Checkpoint { .. }
        )
    }
}

/// One record with its inclusion proof (RFC 6962 §2.1.1), checked.
#[derive(Debug)]
pub struct Shown {
    /// The record.
    pub record: Record,
    /// Its leaf, from 0.
    pub leaf: u64,
    /// The audit path.
    pub path: Vec<Hash>,
    /// The tree head.
    pub checkpoint: Checkpoint,
    /// The signed note.
    pub note: String,
}

/// Proves that the record at `sequence` is in its tree as it was signed.
pub fn prove(
    data: &Data,
    index: &Projection,
    organisation: &str,
    keys: &Keys,
    sequence: u64,
) -> Result<Shown, ProveError> {
    let record = data.reader().get(sequence)?.ok_or(ProveError::Missing(sequence))?;
    let leaf = leaf(index, &record)?;
    let (reader, checkpoint, note) = head(data, organisation, keys, &record.tree)?;
    let tree = || record.tree.clone();
    let path = inclusion(&reader, leaf, checkpoint.size)
        .map_err(|error| ProveError::Tree { tree: tree(), error })?;
    let path =
        path.ok_or_else(|| ProveError::Unsigned { tree: tree(), signed: checkpoint.size, sequence })?;
    verify_inclusion(&record.leaf, leaf, checkpoint.size, &path, &checkpoint.root)
        .map_err(|error| ProveError::Wrong { tree: tree(), error })?;
    Ok(Shown { record, leaf, path, checkpoint, note })
}

impl Shown {
    /// As JSON: all that it takes to check it without us.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let Self { record, leaf, path, checkpoint, note } = self;
        let path = path.iter().map(|hash| Value::from(hash.to_string())).collect::<Vec<_>>();
        object! {
            "verdict" => "sound", "sequence" => record.sequence, "time_ms" => record.time_ms, "kind" => u64::from(record.kind), "tree" => record.tree.as_str(),
            "leaf" => *leaf, "leaf_hash" => record.leaf.to_string(), "path" => path, "size" => checkpoint.size,
            "root" => checkpoint.root.to_string(), "checkpoint" => note.as_str(),
            "record" => String::from_utf8_lossy(&record.payload).into_owned(),
        }
        .into()
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { record, leaf, path, checkpoint, .. } = self;
        writeln!(
            f,
            "record {} is leaf {leaf} of the {} signed records of tree {}",
            record.sequence, checkpoint.size, record.tree
        )?;
        writeln!(f, "leaf {}", record.leaf)?;
        for hash in path {
            writeln!(f, "path {hash}")?;
        }
        writeln!(f, "root {}", checkpoint.root)?;
        writeln!(f, "the record holds")
    }
}

/// A range of records that hold.
#[derive(Debug)]
pub struct RangeReport {
    /// The first record.
    pub from: u64,
    /// The last.
    pub to: u64,
    /// How many of each tree, all of them next to each other there.
    pub trees: BTreeMap<String, u64>,
}

/// Proves that the records `from..=to` follow each other and are, in each tree, all that was signed between the first and
/// the last of them.
pub fn prove_range(
    data: &Data,
    index: &Projection,
    organisation: &str,
    keys: &Keys,
    (from, to): (u64, u64),
) -> Result<RangeReport, ProveError> {
    let to = to.min(data.reader().last());
    let mut trees: BTreeMap<String, (u64, Vec<Hash>, u64)> = BTreeMap::new();
    let mut link = None;
    for record in data.reader().range(from, to) {
        let record = record?;
        link = Some(record.link);
        if let Some((_, leaves, last)) = trees.get_mut(&record.tree) {
            leaves.push(record.leaf);
            *last = record.sequence;
        } else {
            let first = leaf(index, &record)?;
            trees.insert(record.tree.clone(), (first, vec![record.leaf], record.sequence));
        }
    }
    if link.is_none() {
        return Err(ProveError::Missing(from));
    }
    let mut report = RangeReport { from: from.max(1), to, trees: BTreeMap::new() };
    for (tree, (first, leaves, last)) in trees {
        let (reader, checkpoint, _) = head(data, organisation, keys, &tree)?;
        let end = first.saturating_add(u64::try_from(leaves.len()).unwrap_or(u64::MAX));
        let proof = range::prove(&reader, first, end, checkpoint.size)
            .map_err(|error| ProveError::Tree { tree: tree.clone(), error })?;
        let proof = proof.ok_or_else(|| ProveError::Unsigned {
            tree: tree.clone(),
            signed: checkpoint.size,
            sequence: last,
        })?;
        range::verify(&leaves, first, checkpoint.size, &proof, &checkpoint.root)
            .map_err(|error| ProveError::Wrong { tree: tree.clone(), error })?;
        report.trees.insert(tree, end.saturating_sub(first));
    }
    Ok(report)
}

impl RangeReport {
    /// As JSON.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let trees = self
            .trees
            .iter()
            .map(|(tree, records)| Value::from(object! { "tree" => tree.as_str(), "records" => *records }));
        object! { "verdict" => "sound", "from" => self.from, "to" => self.to, "trees" => trees.collect::<Vec<_>>() }.into()
    }
}

impl fmt::Display for RangeReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (tree, records) in &self.trees {
            writeln!(f, "tree {tree}: {records} records, next to each other and signed")?;
        }
        writeln!(f, "records {} to {} hold", self.from, self.to)
    }
}

/// A checkpoint that somebody kept, and the proof (RFC 6962 §2.1.2) that this ledger goes on from it.
#[derive(Debug)]
pub struct Held {
    /// The tree.
    pub tree: String,
    /// The one that was kept.
    pub old: Checkpoint,
    /// The ledger's.
    pub new: Checkpoint,
    /// From the one to the other.
    pub path: Vec<Hash>,
}

/// Holds the ledger against a checkpoint that was kept elsewhere.
pub fn held(data: &Data, organisation: &str, keys: &Keys, kept: &[u8]) -> Result<Held, ProveError> {
    let text = std::str::from_utf8(kept).unwrap_or_default();
    let name = text.lines().next().unwrap_or_default();
    let tree = name.strip_prefix(&origin(organisation, "")).filter(|tree| !tree.is_empty());
    let tree = tree.ok_or_else(|| ProveError::Foreign(name.escape_debug().to_string()))?.to_owned();
    let old = open(kept, organisation, keys, &tree)?;
    let (reader, new, _) = head(data, organisation, keys, &tree)?;
    if old.size > new.size {
        return Err(ProveError::Behind { tree, has: new.size, seen: old.size });
    }
    let path = if old.size == 0 {
        Vec::new()
    } else {
        let path = consistency(&reader, old.size, new.size)
            .map_err(|error| ProveError::Tree { tree: tree.clone(), error })?
            .unwrap_or_default();
        verify_consistency(old.size, &old.root, new.size, &new.root, &path)
            .map_err(|error| ProveError::Wrong { tree: tree.clone(), error })?;
        path
    };
    Ok(Held { tree, old, new, path })
}

impl Held {
    /// As JSON.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let path = self.path.iter().map(|hash| Value::from(hash.to_string())).collect::<Vec<_>>();
        object! {
            "verdict" => "sound", "tree" => self.tree.as_str(), "old_size" => self.old.size, "old_root" => self.old.root.to_string(),
            "size" => self.new.size, "root" => self.new.root.to_string(), "path" => path,
        }
        .into()
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "tree {}: the {} records of the checkpoint are the first of the {} that are signed here",
            self.tree, self.old.size, self.new.size
        )
    }
}

fn leaf(index: &Projection, record: &Record) -> Result<u64, ProveError> {
    let filter = Filter {
        tree: Some(record.tree.clone()),
        kinds: vec![record.kind],
        below: record.sequence.checked_add(1),
        limit: Some(1),
        ..Filter::default()
    };
    let found = index.search(&filter)?.into_iter().next().filter(|found| found.sequence == record.sequence);
    found.map(|found| found.leaf).ok_or(ProveError::Missing(record.sequence))
}

fn head(
    data: &Data,
    organisation: &str,
    keys: &Keys,
    tree: &str,
) -> Result<(TreeReader, Checkpoint, String), ProveError> {
    let unreadable = |error| ProveError::Tree { tree: tree.to_owned(), error };
    let reader = TreeReader::open(data.dir(), tree).map_err(unreadable)?;
    let note = reader.checkpoint().map_err(unreadable)?.unwrap_or_default();
    let checkpoint = open(&note, organisation, keys, tree)?;
    Ok((reader, checkpoint, String::from_utf8_lossy(&note).into_owned()))
}

/// A checkpoint by any of the ledger's keys.
fn open(note: &[u8], organisation: &str, keys: &Keys, tree: &str) -> Result<Checkpoint, ProveError> {
    let origin = origin(organisation, tree);
    let mut wrong = NoteError::Unsigned;
    for key in &keys.all {
        match Checkpoint::open(note, &origin, key) {
            Ok(checkpoint) => return Ok(checkpoint),
            Err(error) => wrong = error,
        }
    }
    Err(ProveError::Checkpoint { tree: tree.to_owned(), error: wrong })
}
