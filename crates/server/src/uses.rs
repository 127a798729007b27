//! What was used once: remembered in a file of this server, or in the database of several gateways.

use std::sync::{Mutex, PoisonError};

use placet_jose::replay::{Admission, ReplayKey, ReplayWindow};
use placet_store::{Commons, DatabaseError};

use crate::window::FileWindow;

/// A window that lasts.
#[derive(Debug)]
pub struct Uses(Kept);

#[derive(Debug)]
enum Kept {
    File(Mutex<FileWindow>),
    Shared { commons: Commons, durable: bool },
}

impl Uses {
    /// In a file.
    #[must_use]
    pub fn in_file(window: FileWindow) -> Self {
        Self(Kept::File(Mutex::new(window)))
    }
    /// In the gateways' database: a use at one of them is one at all. `durable`: each outlasts the database's machine;
    /// else it outlasts its process, which is enough for what lives too briefly to be used after a start.
    #[must_use]
    pub fn shared(commons: Commons, durable: bool) -> Self {
        Self(Kept::Shared { commons, durable })
    }

    /// As [`ReplayWindow::admit`], for a thread that serves. A database that can't be reached admits nothing.
    pub async fn admit(&self, key: ReplayKey, forget_at: u64, now: u64) -> Admission {
        match &self.0 {
            Kept::File(window) => {
                window.lock().unwrap_or_else(PoisonError::into_inner).admit(key, forget_at, now)
            }
            Kept::Shared { commons, durable } => {
                told(commons.first_use(key.as_bytes(), forget_at, now, *durable).await)
            }
        }
    }
}

/// Blocks.
impl ReplayWindow for &Uses {
    fn admit(&mut self, key: ReplayKey, forget_at: u64, now: u64) -> Admission {
        futures::executor::block_on(Uses::admit(self, key, forget_at, now))
    }
}

fn told(first: Result<bool, DatabaseError>) -> Admission {
    match first {
        Ok(true) => Admission::New,
        Ok(false) => Admission::Seen,
        Err(error) => {
            tracing::error!(%error, "whether this was used before can't be looked up, so it is refused");
            Admission::Full
        }
    }
}
