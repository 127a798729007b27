//! The samples' SQLite files: schema, seed and opening.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use crate::{Kind, billing, chat, crm};

/// How long a writer waits for another one of the same file.
const BUSY: Duration = Duration::from_secs(5);

/// Why a sample could not be served or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Its database could not be opened, read or written.
    #[error("the sample's database: {0}")]
    Database(#[from] rusqlite::Error),
    /// Its socket or pipe failed.
    #[error("the sample's connection: {0}")]
    Io(#[from] std::io::Error),
    /// The client spoke no MCP that the sample understands.
    #[error("the sample's client: {0}")]
    Protocol(String),
}

/// Puts the file into its first state: the same customers, cases, balances and empty channels every time.
/// What was there before is gone.
pub fn seed(kind: Kind, database: &Path) -> Result<(), Error> {
    let mut connection = Connection::open(database)?;
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    let transaction = connection.transaction()?;
    match kind {
        Kind::Crm => crm::seed(&transaction),
        Kind::Billing => billing::seed(&transaction),
        Kind::Chat => chat::seed(&transaction),
    }?;
    transaction.commit()?;
    Ok(())
}

/// Opens a seeded file for a server. A missing file is an error: a tool that starts empty would look as if
/// nothing had happened.
pub(crate) fn open(database: &Path) -> Result<Connection, Error> {
    let connection = Connection::open_with_flags(
        database,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    connection.busy_timeout(BUSY)?;
    // A crash may lose the last rows of a demonstration, never the file.
    connection.pragma_update(None, "synchronous", "normal")?;
    Ok(connection)
}

/// Opens a file beside a running server, to look at it.
pub(crate) fn open_to_read(database: &Path) -> Result<Connection, Error> {
    let connection = Connection::open_with_flags(
        database,
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    connection.busy_timeout(BUSY)?;
    Ok(connection)
}
