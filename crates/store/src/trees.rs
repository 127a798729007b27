//! The trees' files: stored nodes and signed checkpoints, and how a journal is held against them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek as _, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use placet_ledger::Hash;
use placet_ledger::checkpoint::{Checkpoint, NoteError, VerifyingKey, origin};
use placet_ledger::tree::{Frontier, Nodes, root, stored_count, stored_index};

use crate::disk;

pub(crate) const HASHES: &str = "hashes";
pub(crate) const CHECKPOINT: &str = "checkpoint";

/// The names of the trees below a data directory.
pub fn trees(data: &Path) -> io::Result<Vec<String>> {
    let dir = data.join("tree");
    if !dir.try_exists()? {
        return Ok(Vec::new());
    }
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        if let Some(name) = entry?.file_name().to_str().and_then(tree_name) {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Copies the files of a tree, its checkpoint first: what it signs stays provable by the hashes that come after.
pub fn copy_tree(from: &Path, tree: &str, to: &Path) -> io::Result<()> {
    let (from, to) = (tree_dir(from, tree), tree_dir(to, tree));
    disk::create_dir(&to)?;
    for name in [CHECKPOINT, HASHES] {
        if let Some(bytes) = read_if_there(&from.join(name))? {
            fs::write(to.join(name), bytes)?;
        }
    }
    Ok(())
}

/// A tree's directory. Everything but letters, digits, `-` and `_` is written `%xx`, so that no name is a path.
pub(crate) fn tree_dir(data: &Path, tree: &str) -> PathBuf {
    let mut name = String::with_capacity(tree.len());
    for byte in tree.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_' {
            name.push(char::from(byte));
        } else {
            name.push('%');
            for digit in [byte >> 4, byte & 15] {
                name.extend(char::from_digit(digit.into(), 16));
            }
        }
    }
    data.join("tree").join(name)
}

fn tree_name(dir: &str) -> Option<String> {
    let mut parts = dir.split('%');
    let mut name = parts.next()?.to_owned();
    for part in parts {
        let (code, rest) = part.split_at_checked(2)?;
        name.push(char::from(u8::from_str_radix(code, 16).ok()?));
        name.push_str(rest);
    }
    (tree_dir(Path::new(""), &name) == Path::new("tree").join(dir)).then_some(name)
}

/// What a tree's checkpoint and the journal disagree about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Disagreement {
    Note(NoteError),
    /// The journal has fewer records of the tree than the checkpoint signs.
    Shorter {
        signed: u64,
        has: u64,
        last_sequence: u64,
    },
    /// Other records. `first`: leaf and sequence of the first that differs, if the stored hashes are the signed ones.
    Differs {
        signed: u64,
        first: Option<(u64, u64)>,
    },
}

/// One tree while the journal is walked: its frontier, what the checkpoint says, what the file of hashes has.
#[derive(Debug)]
pub(crate) struct TreeCheck {
    pub(crate) frontier: Frontier,
    pub(crate) checkpoint: Option<Checkpoint>,
    dir: PathBuf,
    stored: Option<BufReader<File>>,
    /// Stored nodes in the file that agree with the journal.
    pub(crate) agreed: u64,
    /// Stored nodes that the file lacks, from `agreed` on.
    pub(crate) missing: Vec<Hash>,
    difference: Option<(u64, u64)>,
    root_differs: bool,
    last_sequence: u64,
}

/// All trees while the journal is walked.
#[derive(Debug)]
pub(crate) struct TreeChecks {
    data: PathBuf,
    organisation: String,
    key: VerifyingKey,
    pub(crate) trees: BTreeMap<Arc<str>, TreeCheck>,
    /// A verify keeps no nodes; a start does, to write them.
    keep: bool,
}

/// A tree that isn't as signed.
#[derive(Clone, Debug)]
pub(crate) struct TreeFault {
    pub(crate) tree: Arc<str>,
    pub(crate) what: Disagreement,
}

impl TreeChecks {
    /// Opens the files of every tree below `data`; checkpoints must be signed by `key` for `organisation`.
    pub(crate) fn open(
        data: &Path,
        organisation: &str,
        key: VerifyingKey,
        keep: bool,
    ) -> io::Result<Result<Self, TreeFault>> {
        let mut checks = Self {
            data: data.to_owned(),
            organisation: organisation.to_owned(),
            key,
            trees: BTreeMap::new(),
            keep,
        };
        for name in trees(data)? {
            let tree: Arc<str> = name.into();
            match checks.load(&tree)? {
                Ok(check) => checks.trees.insert(tree, check),
                Err(error) => return Ok(Err(TreeFault { tree, what: Disagreement::Note(error) })),
            };
        }
        Ok(Ok(checks))
    }

    /// Begins behind so many records of each tree instead of at its first: their hashes stay here whole, and whether they
    /// are those that were signed shows when the checkpoint's root is compared.
    pub(crate) fn skip(&mut self, sizes: &BTreeMap<String, u64>) -> io::Result<()> {
        for (tree, size) in sizes {
            let tree: Arc<str> = tree.as_str().into();
            let check = self
                .trees
                .entry(Arc::clone(&tree))
                .or_insert_with(|| TreeCheck::new(tree_dir(&self.data, &tree), None, None));
            check.skip(*size)?;
        }
        Ok(())
    }

    fn load(&self, tree: &str) -> io::Result<Result<TreeCheck, NoteError>> {
        let dir = tree_dir(&self.data, tree);
        let checkpoint = match read_if_there(&dir.join(CHECKPOINT))? {
            None => None,
            Some(note) => match Checkpoint::open(&note, &origin(&self.organisation, tree), &self.key) {
                Ok(checkpoint) => Some(checkpoint),
                Err(error) => return Ok(Err(error)),
            },
        };
        let stored = match File::open(dir.join(HASHES)) {
            Ok(file) => Some(BufReader::new(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        Ok(Ok(TreeCheck::new(dir, checkpoint, stored)))
    }

    /// The next record of a tree.
    pub(crate) fn leaf(&mut self, tree: &str, sequence: u64, leaf: Hash) -> io::Result<()> {
        if !self.trees.contains_key(tree) {
            // It had no directory when we began, so there is nothing yet that it could disagree with.
            self.trees.insert(tree.into(), TreeCheck::new(tree_dir(&self.data, tree), None, None));
        }
        let Some(check) = self.trees.get_mut(tree) else { return Ok(()) };
        check.leaf(sequence, leaf, self.keep)
    }

    /// After the last record: the first tree that isn't as its checkpoint says.
    pub(crate) fn verdict(&self) -> io::Result<Option<TreeFault>> {
        for (tree, check) in &self.trees {
            if let Some(what) = check.verdict()? {
                return Ok(Some(TreeFault { tree: Arc::clone(tree), what }));
            }
        }
        Ok(None)
    }
}

impl TreeCheck {
    fn new(dir: PathBuf, checkpoint: Option<Checkpoint>, stored: Option<BufReader<File>>) -> Self {
        Self {
            frontier: Frontier::new(),
            checkpoint,
            dir,
            stored,
            agreed: 0,
            missing: Vec::new(),
            difference: None,
            root_differs: false,
            last_sequence: 0,
        }
    }

    fn skip(&mut self, size: u64) -> io::Result<()> {
        let reader = TreeReader::open_dir(&self.dir)?;
        self.frontier = Frontier::load(&reader, size)?;
        self.agreed = nodes_of(size);
        if let Some(stored) = &mut self.stored {
            stored.seek(SeekFrom::Start(offset_of(self.agreed)))?;
        }
        if let Some(checkpoint) = self.checkpoint.as_ref().filter(|checkpoint| checkpoint.size <= size) {
            self.root_differs = reader.root(checkpoint.size)? != checkpoint.root;
        }
        Ok(())
    }

    fn leaf(&mut self, sequence: u64, leaf: Hash, keep: bool) -> io::Result<()> {
        let index = self.frontier.size();
        self.last_sequence = sequence;
        let (stored, agreed, missing, difference) =
            (&mut self.stored, &mut self.agreed, &mut self.missing, &mut self.difference);
        let mut failed = None;
        self.frontier.append(leaf, |node| {
            if let Some(file) = stored {
                match read_hash(file) {
                    Ok(Some(hash)) if hash == node => {
                        *agreed = agreed.saturating_add(1);
                        return;
                    }
                    Ok(Some(_)) => *difference = Some((index, sequence)),
                    Ok(None) => {}
                    Err(error) => failed = Some(error),
                }
                *stored = None;
            }
            if keep {
                missing.push(node);
            }
        });
        if let Some(checkpoint) = &self.checkpoint
            && checkpoint.size == self.frontier.size()
        {
            self.root_differs = checkpoint.root != self.frontier.root();
        }
        failed.map_or(Ok(()), Err)
    }

    fn verdict(&self) -> io::Result<Option<Disagreement>> {
        let Some(Checkpoint { size: signed, root: signed_root, origin: _ }) = self.checkpoint else {
            return Ok(None);
        };
        let has = self.frontier.size();
        if !self.root_differs && has >= signed {
            return Ok(None);
        }
        // The file of hashes names the record if it is what was signed; it proves nothing by itself.
        let authentic = match TreeReader::open_dir(&self.dir) {
            Ok(reader) => reader.root(signed).is_ok_and(|root| root == signed_root),
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(error),
        };
        let first = self.difference.filter(|_| authentic);
        Ok(Some(if has < signed && first.is_none() {
            Disagreement::Shorter { signed, has, last_sequence: self.last_sequence }
        } else {
            Disagreement::Differs { signed, first }
        }))
    }
}

/// A tree's files: proofs and tiles of what was checkpointed.
#[derive(Debug)]
pub struct TreeReader {
    hashes: File,
    dir: PathBuf,
}

impl TreeReader {
    /// Opens the files of `tree` below a data directory.
    pub fn open(data: &Path, tree: &str) -> io::Result<Self> {
        Self::open_dir(&tree_dir(data, tree))
    }

    fn open_dir(dir: &Path) -> io::Result<Self> {
        Ok(Self { hashes: File::open(dir.join(HASHES))?, dir: dir.to_owned() })
    }

    /// The newest signed note, as it was written. `None`: none yet.
    pub fn checkpoint(&self) -> io::Result<Option<Vec<u8>>> {
        read_if_there(&self.dir.join(CHECKPOINT))
    }

    /// The root of the first `size` leaves.
    pub fn root(&self, size: u64) -> io::Result<Hash> {
        root(self, size)
    }
}

impl Nodes for TreeReader {
    type Error = io::Error;

    fn node(&self, level: u8, index: u64) -> io::Result<Hash> {
        let mut bytes = [0; Hash::LEN];
        self.hashes.read_exact_at(&mut bytes, offset_of(stored_index(level, index)))?;
        Ok(Hash(bytes))
    }
}

/// Byte offset of a stored node.
pub(crate) fn offset_of(stored: u64) -> u64 {
    stored.saturating_mul(32)
}

/// Stored nodes of a tree of `size` leaves.
pub(crate) fn nodes_of(size: u64) -> u64 {
    stored_count(size)
}

/// Replaces a file as a whole, durably.
pub(crate) fn replace(dir: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let temporary = dir.join(format!("{name}.new"));
    let file = disk::open_private(&temporary, true)?;
    file.write_all_at(bytes, 0)?;
    file.sync_all()?;
    fs::rename(&temporary, dir.join(name))?;
    disk::sync_dir(dir)
}

pub(crate) fn read_if_there(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The next hash; `None` at the end, also behind a half-written one.
fn read_hash(file: &mut impl Read) -> io::Result<Option<Hash>> {
    let mut bytes = [0; Hash::LEN];
    match file.read_exact(&mut bytes) {
        Ok(()) => Ok(Some(Hash(bytes))),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_s_directory_is_one_directory_and_reads_back() {
        for name in ["acme", "org", "../../etc", "a/b", "a|b@c:d.e", "..", ".", "a%2f"] {
            let dir = tree_dir(Path::new("/data"), name);
            assert_eq!(dir.parent(), Some(Path::new("/data/tree")), "{name}");
            let last = dir.file_name().unwrap().to_str().unwrap();
            assert_eq!(tree_name(last).as_deref(), Some(name));
        }
        assert_eq!(tree_name("a%2F"), None);
        assert_eq!(tree_name("a.b"), None);
    }
}
