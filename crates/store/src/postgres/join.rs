//! Joining the gateways of a database: the copy is read, what it lacks is fetched, and both are held against each other.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use tokio::runtime::Runtime;

use super::replica::{Replica, ReplicaError};
use super::session::Session;
use super::{Commons, DatabaseError, Postgres};
use crate::archive::History;
use crate::disk::{self, Disk};
use crate::fault::Faults;
use crate::fold::Fold;
use crate::follower::Notary;
use crate::kept::KeptStates;
use crate::open::{OpenError, agree, begin, resume};
use crate::subjects::write_rows;
use crate::trees::TreeCheck;
use crate::walk::{Walked, walk};

/// What a start found.
pub(crate) struct Joined {
    pub(crate) replica: Replica,
    pub(crate) session: (Runtime, Session),
    pub(crate) trees: BTreeMap<Arc<str>, TreeCheck>,
    pub(crate) segments: usize,
    pub(crate) time_ms: u64,
    /// The last record that was taken from a kept state.
    pub(crate) kept: u64,
}

/// Reads the copy in `data` to the fold, then the rest of the database's journal.
pub(crate) fn join<F: Fold + Clone>(
    data: &Path,
    disk: Disk,
    notary: &Notary,
    states: &KeptStates,
    commons: &Commons,
    fold: &mut F,
) -> Result<Joined, OpenError> {
    let io = |error| OpenError::Io { path: data.to_owned(), error };
    let fresh = fold.clone();
    let (walked, mut checks, kept) = loop {
        match begin(data, notary, states, (&History::default(), &mut None), fold) {
            Err(OpenError::Damaged(damage)) => {
                // The database has it. Segments before the last were synced, so most of the copy is good.
                tracing::warn!(%damage, "the copy of the journal lost its end; it is fetched again");
                shorten(data).map_err(io)?;
                *fold = fresh.clone();
            }
            other => break other?,
        }
    };
    drop(fresh);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(io)?;
    let session = runtime.block_on(Session::open(commons.database()))?;
    let mut replica = replica(data, disk, &walked, &runtime, &session)?;
    loop {
        let newer = runtime.block_on(session.newer(replica.next()))?;
        if newer.is_empty() {
            break;
        }
        for batch in newer {
            for frame in replica.take(&batch.frames).map_err(|error| refused(data, error))? {
                checks.leaf(frame.tree, frame.sequence, frame.leaf).map_err(io)?;
                fold.replay(&frame).map_err(|error| OpenError::Replay {
                    sequence: frame.sequence,
                    message: error.to_string(),
                })?;
            }
        }
    }
    let head = runtime.block_on(session.head())?;
    if head.next < replica.next() {
        return Err(DatabaseError::Older { database: head.next, copy: replica.next() }.into());
    }
    if head.next == replica.next() && head.link != replica.link() {
        let why = "the chain is another".to_owned();
        return Err(DatabaseError::Differs { sequence: replica.last(), why }.into());
    }
    agree(data, &checks)?;
    Ok(Joined {
        time_ms: walked.last_time_ms.max(head.time_ms),
        segments: walked.segments,
        kept,
        replica,
        session: (runtime, session),
        trees: checks.trees,
    })
}

/// Copies the journal of a database, the archives of its releases and the keys of subjects into `data`, where nothing is yet, to look at them
/// there. Returns the journal's last position.
pub fn fetch(database: &Postgres, data: &Path) -> Result<u64, OpenError> {
    let io = |error| OpenError::Io { path: data.to_owned(), error };
    disk::create_dir(data).map_err(io)?;
    let disk = Disk::open(data, 16 << 20, Faults::none()).map_err(io)?;
    let walked = walk(data, |_| Ok::<(), ()>(())).map_err(|_| OpenError::Locked(data.to_owned()))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(io)?;
    let session = runtime.block_on(Session::open(database))?;
    let mut replica = replica(data, disk, &walked, &runtime, &session)?;
    loop {
        let newer = runtime.block_on(session.newer(replica.next()))?;
        if newer.is_empty() {
            break;
        }
        for batch in newer {
            replica.take(&batch.frames).map_err(|error| refused(data, error))?;
        }
    }
    let releases = data.join("releases");
    disk::create_dir(&releases).map_err(io)?;
    for digest in runtime.block_on(session.releases())? {
        let archive = runtime.block_on(session.release(&digest))?;
        // A digest names a file, and nothing else does.
        if digest.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b':') {
            fs::write(releases.join(format!("{}.tar", digest.replace(':', "-"))), archive).map_err(io)?;
        }
    }
    let keys = runtime.block_on(session.subjects())?;
    write_rows(data, keys).map_err(|error| io(std::io::Error::other(error)))?;
    Ok(replica.last())
}

fn replica(
    data: &Path,
    disk: Disk,
    walked: &Walked,
    runtime: &Runtime,
    session: &Session,
) -> Result<Replica, OpenError> {
    let head = runtime.block_on(session.head())?;
    let resumed = resume(disk, walked, Some(head.journal));
    let (segments, encoder) = resumed.map_err(|error| OpenError::Io { path: data.to_owned(), error })?;
    let replica = Replica::new(segments, encoder.next(), encoder.link());
    if replica.journal() == head.journal { Ok(replica) } else { Err(DatabaseError::Foreign.into()) }
}

/// Forgets the copy's last segment.
fn shorten(data: &Path) -> std::io::Result<()> {
    if let Some(last) = disk::segments(data)?.pop() {
        fs::remove_file(last.path)?;
    }
    Ok(())
}

fn refused(data: &Path, error: ReplicaError) -> OpenError {
    match error {
        ReplicaError::Database(error) => error.into(),
        ReplicaError::Io(error) => OpenError::Io { path: data.to_owned(), error },
    }
}
