//! Checkpoints that others have seen: cosigned ones beside a tree, anchored ones elsewhere, and what a witness remembers.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use placet_ledger::Hash;
use placet_ledger::checkpoint::Checkpoint;

use crate::disk;
use crate::trees::{read_if_there, replace, tree_dir};

const COSIGNED: &str = "cosigned";
const ENDING: &str = ".checkpoint";

/// The newest checkpoint of a tree that enough witnesses cosigned. `None`: none yet.
pub fn cosigned(data: &Path, tree: &str) -> io::Result<Option<Vec<u8>>> {
    read_if_there(&tree_dir(data, tree).join(COSIGNED))
}

/// Keeps a cosigned checkpoint in place of the one before.
pub fn keep_cosigned(data: &Path, tree: &str, note: &str) -> io::Result<()> {
    replace(&tree_dir(data, tree), COSIGNED, note.as_bytes())
}

/// Signs every tree's checkpoint anew by `sign`, from the note that is there to the one that takes its place. For a new
/// key; nobody may serve the directory.
pub fn resign(data: &Path, mut sign: impl FnMut(&str, &str) -> io::Result<String>) -> io::Result<u64> {
    let _lock = disk::lock(data)?
        .ok_or_else(|| io::Error::new(io::ErrorKind::WouldBlock, "another process serves the directory"))?;
    let mut signed = 0_u64;
    for tree in crate::trees::trees(data)? {
        let dir = tree_dir(data, &tree);
        if let Some(note) = read_if_there(&dir.join(crate::trees::CHECKPOINT))? {
            let note = String::from_utf8(note).map_err(|_| io::Error::other("a checkpoint is no text"))?;
            replace(&dir, crate::trees::CHECKPOINT, sign(&tree, &note)?.as_bytes())?;
            signed = signed.saturating_add(1);
        }
    }
    crate::archive::Manifest::resign(data, &mut sign)?;
    Ok(signed)
}

/// 32 random bytes: the seed of a new Ed25519 key.
pub fn fresh_seed() -> io::Result<[u8; 32]> {
    let mut seed = [0; 32];
    aws_lc_rs::rand::fill(&mut seed).map_err(|_| io::Error::other("the system gives no random numbers"))?;
    Ok(seed)
}

/// A directory that the server can add to and, where it lies on write-once storage, not change: checkpoints by tree and
/// size.
#[derive(Clone, Debug)]
pub struct Anchor(PathBuf);

impl Anchor {
    /// The directory, which must be there.
    pub fn open(dir: &Path) -> io::Result<Self> {
        if fs::metadata(dir)?.is_dir() {
            Ok(Self(dir.to_owned()))
        } else {
            Err(io::Error::new(io::ErrorKind::NotADirectory, "it is no directory"))
        }
    }

    /// Adds a checkpoint; one of that size that is there stays.
    pub fn put(&self, tree: &str, size: u64, note: &[u8]) -> io::Result<()> {
        let dir = tree_dir(&self.0, tree);
        disk::create_dir(&dir)?;
        let path = dir.join(format!("{size:020}{ENDING}"));
        match OpenOptions::new().write(true).create_new(true).mode(0o644).open(&path) {
            Ok(mut file) => {
                file.write_all(note)?;
                file.sync_all()?;
                disk::sync_dir(&dir)
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The trees that something is anchored of.
    pub fn trees(&self) -> io::Result<Vec<String>> {
        crate::trees::trees(&self.0)
    }

    /// The checkpoint of the greatest size. What can't be read as one, the file of a put that was cut short, is passed
    /// over. `None`: none.
    pub fn newest(&self, tree: &str) -> io::Result<Option<Checkpoint>> {
        let dir = tree_dir(&self.0, tree);
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut sizes = Vec::new();
        for entry in entries {
            let name = entry?.file_name();
            let size = name.to_str().and_then(|name| name.strip_suffix(ENDING));
            let size: Option<u64> = size.and_then(|size| size.parse().ok());
            sizes.extend(size);
        }
        sizes.sort_unstable_by(|a, b| b.cmp(a));
        for size in sizes {
            let note = fs::read(dir.join(format!("{size:020}{ENDING}")))?;
            if let Some(checkpoint) = text_of(&note).filter(|found| found.size == size) {
                return Ok(Some(checkpoint));
            }
        }
        Ok(None)
    }
}

fn text_of(note: &[u8]) -> Option<Checkpoint> {
    let (text, _) = std::str::from_utf8(note).ok()?.split_once("\n\n")?;
    Checkpoint::parse(&format!("{text}\n"))
}

/// What a witness remembers: the newest head of each log, durable before it is cosigned. One process at a time.
#[derive(Debug)]
pub struct Heads {
    dir: PathBuf,
    _lock: File,
}

impl Heads {
    /// Opens or makes the directory. `None`: another process has it.
    pub fn open(dir: &Path) -> io::Result<Option<Self>> {
        disk::create_dir(dir)?;
        let Some(lock) = disk::lock(dir)? else { return Ok(None) };
        disk::create_dir(&dir.join("heads"))?;
        disk::sync_dir(dir)?;
        Ok(Some(Self { dir: dir.join("heads"), _lock: lock }))
    }

    /// The newest head of a log. Unreadable: an error, never taken for none.
    pub fn get(&self, origin: &str) -> io::Result<Option<Checkpoint>> {
        let Some(text) = read_if_there(&self.dir.join(name(origin)))? else { return Ok(None) };
        let head = String::from_utf8(text).ok().and_then(|text| Checkpoint::parse(&text));
        match head.filter(|head| head.origin == origin) {
            Some(head) => Ok(Some(head)),
            None => Err(io::Error::other(format!("the head of `{origin}` is damaged"))),
        }
    }

    /// Remembers a head, durably.
    pub fn put(&self, head: &Checkpoint) -> io::Result<()> {
        replace(&self.dir, &name(&head.origin), head.text().as_bytes())
    }

    /// Forgets the head of a log, or of all logs whose origin begins with `origin` where that ends in a slash. What it was
    /// stays beside it under `forgotten-SIZE`.
    pub fn forget(&self, origin: &str) -> io::Result<Vec<Checkpoint>> {
        let mut forgotten = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            let Some(file) = path.file_name().and_then(|file| file.to_str()) else { continue };
            if file.len() != 2 * Hash::LEN {
                continue;
            }
            let head = String::from_utf8(fs::read(&path)?).ok().and_then(|text| Checkpoint::parse(&text));
            let Some(head) = head else { continue };
            let fits = head.origin == origin || (origin.ends_with('/') && head.origin.starts_with(origin));
            if fits {
                fs::rename(&path, self.dir.join(format!("{file}.forgotten-{}", head.size)))?;
                forgotten.push(head);
            }
        }
        disk::sync_dir(&self.dir)?;
        forgotten.sort_by(|a, b| a.origin.cmp(&b.origin));
        Ok(forgotten)
    }
}

/// An origin is no file's name: it may be longer than one.
fn name(origin: &str) -> String {
    Hash::of(origin.as_bytes()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(size: u64) -> Checkpoint {
        Checkpoint { origin: "placet/example/a/b".to_owned(), size, root: Hash([7; 32]) }
    }

    #[test]
    fn led_4_a_witness_s_memory_is_durable_and_damage_is_no_blank() {
        let dir = tempfile::tempdir().unwrap();
        let heads = Heads::open(dir.path()).unwrap().unwrap();
        assert!(Heads::open(dir.path()).unwrap().is_none(), "one process at a time");
        assert_eq!(heads.get("placet/example/a/b").unwrap(), None);
        heads.put(&head(3)).unwrap();
        heads.put(&head(5)).unwrap();
        drop(heads);
        let heads = Heads::open(dir.path()).unwrap().unwrap();
        assert_eq!(heads.get("placet/example/a/b").unwrap(), Some(head(5)));
        assert_eq!(heads.get("placet/example/a").unwrap(), None);
        assert_eq!(heads.forget("placet/example/").unwrap(), [head(5)]);
        assert_eq!(heads.forget("placet/example/a/b").unwrap(), []);
        assert_eq!(heads.get("placet/example/a/b").unwrap(), None);
        heads.put(&head(6)).unwrap();
        let file = dir.path().join("heads").join(name("placet/example/a/b"));
        std::fs::write(file, "").unwrap();
        assert!(heads.get("placet/example/a/b").is_err());
    }

    #[test]
    fn an_anchor_only_grows_and_a_torn_file_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let anchor = Anchor::open(dir.path()).unwrap();
        assert_eq!(anchor.newest("a/b").unwrap(), None);
        let note = |size| format!("{}\n\u{2014} x AAAAAAAA\n", head(size).text());
        for size in [9, 10, 100] {
            anchor.put("a/b", size, note(size).as_bytes()).unwrap();
        }
        anchor.put("a/b", 10, b"another").unwrap();
        assert_eq!(anchor.newest("a/b").unwrap(), Some(head(100)));
        anchor.put("a/b", 101, b"placet/exam").unwrap();
        assert_eq!(anchor.newest("a/b").unwrap(), Some(head(100)));
        assert_eq!(anchor.trees().unwrap(), ["a/b"]);
        assert!(Anchor::open(&dir.path().join("nowhere")).is_err());
    }
}
