//! A replay window that outlasts a restart: each use is in a file before it counts.
//!
//! The file is a log of 40-byte entries, the key's digest and the second at which it may be forgotten. A torn last
//! entry was never acknowledged and is cut; forgotten entries go when the log is written anew.

use std::{
    collections::{BTreeSet, HashMap},
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use placet_jose::replay::{Admission, ReplayKey, ReplayWindow};

/// Bytes of an entry.
const ENTRY: usize = 40;
/// Forgotten entries that may stand in the log beside the live ones before it is written anew.
const SLACK: usize = 65_536;

type Digest = [u8; 32];

/// A bounded window in a file that one process holds at a time.
#[derive(Debug)]
pub struct FileWindow {
    path: PathBuf,
    file: File,
    /// Keeps other processes away; the log itself is replaced.
    _lock: File,
    seen: HashMap<Digest, u64>,
    by_end: BTreeSet<(u64, Digest)>,
    entries: usize,
    capacity: usize,
    outlasts: Outlasts,
    broken: bool,
}

/// What a use is remembered over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outlasts {
    /// The end of the machine: each use is on disk before it counts.
    Machine,
    /// The end of the process, however sudden: each use is with the operating system before it counts. For what lives
    /// too briefly to be used again once a machine has started.
    Process,
}

impl FileWindow {
    /// Opens the window in `path`, or makes it. `capacity` bounds the uses remembered at once; `now` is in seconds since
    /// the Unix epoch.
    pub fn open(path: &Path, capacity: usize, now: u64) -> io::Result<Self> {
        Self::open_as(path, capacity, now, Outlasts::Machine)
    }

    /// The same, remembering over less.
    pub fn open_as(path: &Path, capacity: usize, now: u64, outlasts: Outlasts) -> io::Result<Self> {
        let lock =
            OpenOptions::new().create(true).truncate(false).write(true).open(path.with_extension("lock"))?;
        lock.try_lock()
            .map_err(|_| io::Error::new(io::ErrorKind::ResourceBusy, "another process holds it"))?;
        let mut bytes = Vec::new();
        match File::open(path) {
            Ok(mut file) => drop(file.read_to_end(&mut bytes)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let mut window = Self {
            path: path.to_owned(),
            file: lock.try_clone()?,
            _lock: lock,
            seen: HashMap::new(),
            by_end: BTreeSet::new(),
            entries: 0,
            capacity,
            outlasts,
            broken: false,
        };
        for entry in bytes.chunks_exact(ENTRY) {
            if let Some((key, end)) = entry.split_first_chunk::<32>()
                && let Ok(end) = <[u8; 8]>::try_from(end)
            {
                let end = u64::from_be_bytes(end);
                if end > now {
                    window.remember(*key, end);
                }
            }
        }
        window.rewrite()?;
        Ok(window)
    }

    /// How many uses are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.seen.len()
    }

    /// Whether this use is remembered.
    #[must_use]
    pub fn contains(&self, key: &ReplayKey) -> bool {
        self.seen.contains_key(key.as_bytes())
    }

    /// Whether nothing is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }

    fn remember(&mut self, key: Digest, end: u64) {
        self.seen.insert(key, end);
        self.by_end.insert((end, key));
    }

    fn forget(&mut self, now: u64) {
        while let Some((end, key)) = self.by_end.first().copied()
            && end <= now
        {
            self.by_end.remove(&(end, key));
            self.seen.remove(&key);
        }
    }

    /// Writes the live entries to a new log that takes the old one's place.
    fn rewrite(&mut self) -> io::Result<()> {
        let fresh = self.path.with_extension("new");
        let mut bytes = Vec::with_capacity(self.seen.len().saturating_mul(ENTRY));
        for (end, key) in &self.by_end {
            bytes.extend_from_slice(key);
            bytes.extend_from_slice(&end.to_be_bytes());
        }
        let mut file = File::create(&fresh)?;
        file.write_all(&bytes)?;
        let durable = self.outlasts == Outlasts::Machine;
        if durable {
            file.sync_all()?;
        }
        std::fs::rename(&fresh, &self.path)?;
        if let Some(dir) = self.path.parent().filter(|dir| durable && !dir.as_os_str().is_empty()) {
            File::open(dir)?.sync_all()?;
        }
        self.file = file;
        self.entries = self.by_end.len();
        Ok(())
    }

    fn append(&mut self, key: &Digest, end: u64) -> io::Result<()> {
        let mut entry = [0; ENTRY];
        entry.iter_mut().zip(key.iter().chain(&end.to_be_bytes())).for_each(|(to, from)| *to = *from);
        self.file.write_all(&entry)?;
        if self.outlasts == Outlasts::Machine {
            self.file.sync_data()?;
        }
        self.entries = self.entries.saturating_add(1);
        if self.entries > self.seen.len().saturating_add(SLACK) { self.rewrite() } else { Ok(()) }
    }
}

impl ReplayWindow for FileWindow {
    fn admit(&mut self, key: ReplayKey, forget_at: u64, now: u64) -> Admission {
        let key = *key.as_bytes();
        if self.seen.contains_key(&key) {
            return Admission::Seen;
        }
        self.forget(now);
        // After a failed write the log may end in half an entry: nothing more is taken until it is opened anew.
        if self.broken || self.seen.len() >= self.capacity {
            return Admission::Full;
        }
        self.remember(key, forget_at);
        if self.append(&key, forget_at).is_ok() {
            return Admission::New;
        }
        self.broken = true;
        Admission::Full
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(jti: &str) -> ReplayKey {
        ReplayKey::new("test", &[jti])
    }

    #[test]
    fn env_4_a_use_counts_once_also_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("used");
        let mut window = FileWindow::open(&path, 8, 50).unwrap();
        assert_eq!(window.admit(key("a"), 100, 50), Admission::New);
        assert_eq!(window.admit(key("b"), 200, 50), Admission::New);
        assert_eq!(window.admit(key("a"), 100, 50), Admission::Seen);
        drop(window);
        let mut window = FileWindow::open(&path, 8, 60).unwrap();
        assert_eq!(window.admit(key("a"), 100, 60), Admission::Seen);
        assert_eq!(window.admit(key("b"), 200, 60), Admission::Seen);
        drop(window);
        let window = FileWindow::open(&path, 8, 150).unwrap();
        assert_eq!(window.len(), 1, "a was forgotten at 100");
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 40);
    }

    #[test]
    fn a_torn_entry_is_cut_and_a_second_process_kept_away() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("used");
        let mut window = FileWindow::open(&path, 8, 0).unwrap();
        assert_eq!(window.admit(key("a"), 100, 1), Admission::New);
        assert!(FileWindow::open(&path, 8, 0).is_err());
        drop(window);
        OpenOptions::new().append(true).open(&path).unwrap().write_all(&[7; 13]).unwrap();
        let mut window = FileWindow::open(&path, 8, 1).unwrap();
        assert_eq!(window.admit(key("a"), 100, 1), Admission::Seen);
        assert_eq!(window.admit(key("b"), 100, 1), Admission::New);
        drop(window);
        assert_eq!(FileWindow::open(&path, 8, 1).unwrap().len(), 2);
    }

    #[test]
    fn a_full_window_refuses_and_forgets_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut window = FileWindow::open(&dir.path().join("used"), 1, 0).unwrap();
        assert_eq!(window.admit(key("a"), 100, 1), Admission::New);
        assert_eq!(window.admit(key("b"), 100, 1), Admission::Full);
        assert_eq!(window.admit(key("a"), 100, 1), Admission::Seen);
        assert_eq!(window.admit(key("b"), 200, 100), Admission::New);
    }
}
