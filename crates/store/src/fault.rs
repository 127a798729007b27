//! Faults on purpose, for tests of what a bad disk does.

use std::fmt;
use std::io;
use std::sync::Arc;

/// Where the store touches the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// Filling a segment ahead.
    Preallocate,
    /// Giving a filled segment its header and name.
    Activate,
    /// Writing a batch.
    Write,
    /// Syncing a batch.
    Sync,
    /// Appending and syncing a tree's hashes.
    Hashes,
    /// Replacing a tree's checkpoint.
    Checkpoint,
    /// Keeping a segment in the archive.
    Archive,
    /// Writing down what is archived.
    Manifest,
    /// Removing the file of an archived segment.
    Remove,
}

/// What happens there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing unusual.
    Pass,
    /// The operation fails before it does anything.
    Fail(io::ErrorKind),
    /// A write puts so many bytes on disk, then fails. Elsewhere the same as a failure.
    Torn(usize),
}

/// Decides at each [`Point`]; passes everything unless a test says otherwise.
#[derive(Clone)]
pub struct Faults(Arc<dyn Fn(Point) -> Fault + Send + Sync>);

impl Faults {
    /// No faults but the disk's own.
    #[must_use]
    pub fn none() -> Self {
        Self(Arc::new(|_| Fault::Pass))
    }

    /// Faults as `decide` says.
    pub fn new(decide: impl Fn(Point) -> Fault + Send + Sync + 'static) -> Self {
        Self(Arc::new(decide))
    }

    pub(crate) fn at(&self, point: Point) -> Fault {
        (self.0)(point)
    }

    pub(crate) fn pass(&self, point: Point) -> io::Result<()> {
        match self.at(point) {
            Fault::Pass => Ok(()),
            Fault::Fail(kind) => Err(kind.into()),
            Fault::Torn(_) => Err(io::ErrorKind::Other.into()),
        }
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Faults")
    }
}
