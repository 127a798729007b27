//! Where used tokens are remembered.

use std::{
    io,
    path::Path,
    sync::{Mutex, PoisonError},
};

use placet_jose::{
    LEEWAY,
    replay::{Admission, MemoryWindow, ReplayKey, ReplayWindow},
};

use crate::window::FileWindow;

/// Remembers uses, for all who answer to one audience. Looking up and inserting must be one step: a database's unique
/// key, say, whose `INSERT` is [`Admission::New`] or [`Admission::Seen`].
///
/// What can't be remembered must be refused: an error is [`Admission::Full`].
pub trait ReplayStore: Send + Sync {
    /// Inserts `key` if absent and keeps it until the clock reaches `forget_at`. Times are in seconds since the Unix
    /// epoch.
    fn first_use(&self, key: ReplayKey, forget_at: u64, now: u64) -> Admission;

    /// The earliest second of issue whose uses it knows: older tokens are refused, since they may have been used. 0 for
    /// a store that outlasts its users.
    fn remembers_since(&self) -> u64;
}

/// In memory. A restart forgets, so what was issued before it is refused, and for [`LEEWAY`] seconds after a start all
/// is: a gateway's clock may be ahead by that.
#[derive(Debug)]
pub struct MemoryStore {
    window: Mutex<MemoryWindow>,
    since: u64,
}

/// In a file that one process holds at a time: remembers over restarts, of the machine too.
#[derive(Debug)]
pub struct FileStore(Mutex<FileWindow>);

impl MemoryStore {
    /// A store that begins to remember at `now`, in seconds since the Unix epoch. `capacity` bounds the uses at once:
    /// calls per second × 35.
    #[must_use]
    pub fn started(now: u64, capacity: usize) -> Self {
        // What was used before now says at most LEEWAY later.
        let since = now.saturating_add(LEEWAY).saturating_add(1);
        Self { window: Mutex::new(MemoryWindow::new(capacity)), since }
    }
}

impl FileStore {
    /// Opens the store in `path`, or makes it. `capacity` as in [`MemoryStore::started`].
    pub fn open(path: &Path, capacity: usize, now: u64) -> io::Result<Self> {
        FileWindow::open(path, capacity, now).map(|window| Self(Mutex::new(window)))
    }
}

impl ReplayStore for MemoryStore {
    fn first_use(&self, key: ReplayKey, forget_at: u64, now: u64) -> Admission {
        self.window.lock().unwrap_or_else(PoisonError::into_inner).admit(key, forget_at, now)
    }
    fn remembers_since(&self) -> u64 {
        self.since
    }
}

impl ReplayStore for FileStore {
    fn first_use(&self, key: ReplayKey, forget_at: u64, now: u64) -> Admission {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).admit(key, forget_at, now)
    }
    fn remembers_since(&self) -> u64 {
        0
    }
}

impl<S: ReplayStore + ?Sized> ReplayStore for std::sync::Arc<S> {
    fn first_use(&self, key: ReplayKey, forget_at: u64, now: u64) -> Admission {
        (**self).first_use(key, forget_at, now)
    }
    fn remembers_since(&self) -> u64 {
        (**self).remembers_since()
    }
}

/// A store as the window of one check: locked for the one step that needs it, not while signatures are verified.
pub(crate) struct Once<'a, S>(pub(crate) &'a S);

impl<S: ReplayStore> ReplayWindow for Once<'_, S> {
    fn admit(&mut self, key: ReplayKey, forget_at: u64, now: u64) -> Admission {
        self.0.first_use(key, forget_at, now)
    }
}
