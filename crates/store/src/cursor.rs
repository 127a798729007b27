//! How far a reader of the journal has come: a number that outlives the process, for whoever sends records elsewhere.
//!
//! It is moved only behind what was acknowledged, so that after any crash records come again and none is left out. Where
//! several gateways share a journal the numbers are in its database; one gateway at a time holds each, by its lease.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::postgres::{Commons, DatabaseError};
use crate::{disk, trees};

/// Why a place can't be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum CursorError {
    /// The file.
    #[error("`{path}`: {error}")]
    Io {
        /// Which.
        path: String,
        /// What it said.
        error: io::Error,
    },
    /// The file holds no number.
    #[error(
        "`{0}` is damaged: it holds no number; set the place anew with `placet stream rewind`, or remove the file to begin as the settings say"
    )]
    Damaged(String),
    /// The database.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

/// A place that is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Everything up to this position was acknowledged.
    pub position: u64,
    /// Who may move it: one that has changed is somebody else's, or was set anew.
    pub(crate) holder: i64,
    pub(crate) turn: u64,
}

/// Where places are kept. Cheap to clone.
#[derive(Clone, Debug)]
pub enum Cursors {
    /// In files of the data directory, which one process serves.
    Files(Arc<Mutex<PathBuf>>),
    /// In the database of several gateways.
    Shared(Commons),
}

impl Cursors {
    /// In a data directory.
    #[must_use]
    pub fn files(data: &Path) -> Self {
        Self::Files(Arc::new(Mutex::new(data.join("streams"))))
    }

    /// Takes hold of a place; one that isn't known yet begins at `first`. `None`: another gateway holds it.
    pub async fn hold(&self, name: &str, first: u64) -> Result<Option<Held>, CursorError> {
        match self {
            Self::Shared(commons) => {
                let held = commons.hold_stream(name, first).await?;
                Ok(held.map(|(position, turn, holder)| Held { position, holder, turn }))
            }
            Self::Files(dir) => {
                let dir = locked(dir);
                if let Some((position, turn)) = read(&dir, name)? {
                    return Ok(Some(Held { position, holder: 0, turn }));
                }
                write(&dir, name, first, 0)?;
                Ok(Some(Held { position: first, holder: 0, turn: 0 }))
            }
        }
    }

    /// Moves a place that is held; `None` where it isn't held any more, or was set anew.
    pub async fn keep(&self, name: &str, held: Held, position: u64) -> Result<Option<Held>, CursorError> {
        let moved = match self {
            Self::Shared(commons) => commons.keep_stream(name, held.holder, held.turn, position).await?,
            Self::Files(dir) => {
                let dir = locked(dir);
                let same = read(&dir, name)?.is_some_and(|(_, turn)| turn == held.turn);
                if same {
                    write(&dir, name, position, held.turn)?;
                }
                same
            }
        };
        Ok(moved.then_some(Held { position, ..held }))
    }

    /// Sets a place anew, whoever holds it.
    pub async fn set(&self, name: &str, position: u64) -> Result<(), CursorError> {
        match self {
            Self::Shared(commons) => Ok(commons.set_stream(name, position).await?),
            Self::Files(dir) => {
                let dir = locked(dir);
                let turn = match read(&dir, name) {
                    Ok(found) => found.map_or(0, |(_, turn)| turn),
                    Err(CursorError::Damaged(_)) => 0,
                    Err(error) => return Err(error),
                };
                write(&dir, name, position, turn.saturating_add(1))
            }
        }
    }

    /// Where a place is, and which gateway holds it, by its lease; `None` where it isn't known.
    pub async fn position(&self, name: &str) -> Result<Option<(u64, Option<u64>)>, CursorError> {
        match self {
            Self::Shared(commons) => Ok(commons.stream(name).await?),
            Self::Files(dir) => Ok(read(&locked(dir), name)?.map(|(position, _)| (position, None))),
        }
    }
}

/// One at a time looks and writes.
fn locked(dir: &Mutex<PathBuf>) -> MutexGuard<'_, PathBuf> {
    dir.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `POSITION TURN`. Names are the settings': letters, digits, `-`, `_` and `.`, never only dots.
fn read(dir: &Path, name: &str) -> Result<Option<(u64, u64)>, CursorError> {
    let path = dir.join(name);
    let bytes = trees::read_if_there(&path).map_err(|error| failed(&path, error))?;
    let Some(bytes) = bytes else { return Ok(None) };
    let parsed = std::str::from_utf8(&bytes).ok().and_then(|text| {
        let (position, turn) = text.strip_suffix('\n')?.split_once(' ')?;
        Some((position.parse().ok()?, turn.parse().ok()?))
    });
    parsed.map(Some).ok_or_else(|| CursorError::Damaged(path.display().to_string()))
}

fn write(dir: &Path, name: &str, position: u64, turn: u64) -> Result<(), CursorError> {
    let path = dir.join(name);
    disk::create_dir(dir)
        .and_then(|()| trees::replace(dir, name, format!("{position} {turn}\n").as_bytes()))
        .map_err(|error| failed(&path, error))
}

fn failed(path: &Path, error: io::Error) -> CursorError {
    CursorError::Io { path: path.display().to_string(), error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_place_that_was_set_anew_is_not_moved_by_who_held_it() {
        let dir = tempfile::tempdir().unwrap();
        let cursors = Cursors::files(dir.path());
        assert_eq!(cursors.position("siem").await.unwrap(), None);
        let held = cursors.hold("siem", 5).await.unwrap().unwrap();
        assert_eq!(held.position, 5);
        let held = cursors.keep("siem", held, 9).await.unwrap().unwrap();
        // It outlives the process, and what the settings say of a beginning counts once.
        assert_eq!(Cursors::files(dir.path()).hold("siem", 0).await.unwrap().unwrap().position, 9);
        cursors.set("siem", 2).await.unwrap();
        assert_eq!(cursors.keep("siem", held, 12).await.unwrap(), None);
        assert_eq!(cursors.position("siem").await.unwrap(), Some((2, None)));
    }

    #[tokio::test]
    async fn a_damaged_place_is_told_and_can_be_set_anew() {
        let dir = tempfile::tempdir().unwrap();
        let cursors = Cursors::files(dir.path());
        assert!(cursors.hold("siem", 5).await.unwrap().is_some());
        for damaged in ["", "5", "5 0", "x 0\n", "-1 0\n"] {
            std::fs::write(dir.path().join("streams/siem"), damaged).unwrap();
            assert!(matches!(cursors.hold("siem", 0).await, Err(CursorError::Damaged(_))), "{damaged:?}");
        }
        cursors.set("siem", 3).await.unwrap();
        assert_eq!(cursors.hold("siem", 0).await.unwrap().unwrap().position, 3);
    }
}
