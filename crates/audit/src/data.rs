//! A data directory as it lies there: its journal and the archives of its releases.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use placet_core::Digest;
use placet_policy::{MAX_ARCHIVE, Release};
use placet_store::{ReadError, Reader};

/// Why a directory can't be read.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// There is no journal in it.
    #[error("`{}` is no data directory: it has no `journal`", .0.display())]
    NoJournal(PathBuf),
    /// The journal can't be read, or isn't what was written.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// A data directory. Releases are loaded once, when they are first asked for.
#[derive(Debug)]
pub struct Data {
    dir: PathBuf,
    reader: Reader,
    releases: Mutex<BTreeMap<Digest, Loaded>>,
}

/// A release of the past, or what is wrong with its archive.
type Loaded = Result<Arc<Release>, Arc<str>>;

impl Data {
    /// Opens a directory. What a server writes into it after this isn't seen.
    pub fn open(dir: &Path) -> Result<Self, DataError> {
        if !dir.join("journal").is_dir() {
            return Err(DataError::NoJournal(dir.to_owned()));
        }
        Ok(Self { dir: dir.to_owned(), reader: Reader::open(dir)?, releases: Mutex::default() })
    }
    /// Where it is.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }
    /// Its journal.
    #[must_use]
    pub fn reader(&self) -> &Reader {
        &self.reader
    }
    /// A release as its archive has it; else what is wrong with the archive.
    pub fn release(&self, digest: Digest) -> Loaded {
        let mut releases = self.releases.lock().unwrap_or_else(PoisonError::into_inner);
        releases.entry(digest).or_insert_with(|| self.load(digest).map(Arc::new).map_err(Arc::from)).clone()
    }

    fn load(&self, digest: Digest) -> Result<Release, String> {
        let path = self.dir.join("releases").join(format!("{}.tar", digest.to_string().replace(':', "-")));
        let shown = path.display();
        let bytes = match std::fs::metadata(&path) {
            Ok(found) if found.len() > u64::try_from(MAX_ARCHIVE).unwrap_or(u64::MAX) => {
                return Err(format!("`{shown}` is longer than any release's archive"));
            }
            Ok(_) => std::fs::read(&path).map_err(|error| format!("`{shown}` can't be read: {error}"))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(format!("its archive `{shown}` isn't there"));
            }
            Err(error) => return Err(format!("`{shown}` can't be read: {error}")),
        };
        let found = Digest::of(&bytes);
        if found != digest {
            return Err(format!("its archive `{shown}` was altered: its digest is {found}"));
        }
        let release = Release::from_archive(&bytes)
            .map_err(|refused| format!("its archive `{shown}` doesn't load: {refused}"))?
            .interpreted();
        if release.digest() == digest {
            Ok(release)
        } else {
            Err(format!("its archive `{shown}` loads as {}", release.digest()))
        }
    }
}
