//! The journal's files: segments filled with zeros ahead, named when they come into use, and the directory's lock.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use placet_ledger::segment::SegmentHeader;

use crate::fault::{Fault, Faults, Point};

/// Name of the file in the data directory that its server holds locked.
pub const LOCK: &str = "lock";
const NEXT: &str = "next";
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// The journal's directory.
#[derive(Clone, Debug)]
pub(crate) struct Disk {
    dir: PathBuf,
    segment_bytes: u64,
    faults: Faults,
}

/// A segment file's first sequence and path.
#[derive(Clone, Debug)]
pub(crate) struct SegmentFile {
    pub(crate) first: u64,
    pub(crate) path: PathBuf,
}

/// Locks the data directory for this process; `None` if another one holds it.
pub(crate) fn lock(data: &Path) -> io::Result<Option<File>> {
    let file = open_private(&data.join(LOCK), false)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Creates a directory and its parents, for this user only.
pub(crate) fn create_dir(dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// Makes a directory's own entries durable.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Opens or creates a file for reading and writing, for this user only.
pub(crate) fn open_private(path: &Path, truncate: bool) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(truncate).mode(0o600).open(path)
}

/// The journal's segments below a data directory, in order.
pub(crate) fn segments(data: &Path) -> io::Result<Vec<SegmentFile>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(data.join("journal"))? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".seg"));
        if let Some(first) = name.and_then(|name| name.parse().ok()) {
            files.push(SegmentFile { first, path });
        }
    }
    files.sort_by_key(|file| file.first);
    Ok(files)
}

impl Disk {
    /// The journal's directory in `data`, created if need be.
    pub(crate) fn open(data: &Path, segment_bytes: u64, faults: Faults) -> io::Result<Self> {
        let dir = data.join("journal");
        create_dir(&dir)?;
        sync_dir(data)?;
        Ok(Self { dir, segment_bytes, faults })
    }

    /// Fills a file with zeros and syncs it, so that later syncs write data only. Fails with nothing left behind that
    /// counts.
    pub(crate) fn preallocate(&self) -> io::Result<File> {
        self.faults.pass(Point::Preallocate)?;
        let path = self.dir.join(NEXT);
        let filled = open_private(&path, true).and_then(|mut file| {
            let mut left = self.segment_bytes;
            while left > 0 {
                let piece = usize::try_from(left).unwrap_or(usize::MAX).min(ZEROS.len());
                file.write_all(ZEROS.get(..piece).unwrap_or(&ZEROS))?;
                left = left.saturating_sub(u64::try_from(piece).unwrap_or(u64::MAX));
            }
            file.sync_all()?;
            Ok(file)
        });
        if filled.is_err() && fs::remove_file(&path).is_err() {
            tracing::warn!("a half-filled segment couldn't be removed; it is filled anew");
        }
        filled
    }

    /// Brings a filled file into use: header, sync, name, sync of the directory.
    pub(crate) fn activate(&self, file: File, header: &SegmentHeader) -> io::Result<File> {
        self.faults.pass(Point::Activate)?;
        file.write_all_at(&header.encode(), 0)?;
        file.sync_data()?;
        fs::rename(self.dir.join(NEXT), self.dir.join(format!("{:012}.seg", header.first)))?;
        sync_dir(&self.dir)?;
        Ok(file)
    }

    /// Writes a batch and makes it durable. After an error nothing is known about these bytes.
    pub(crate) fn append(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        match self.faults.at(Point::Write) {
            Fault::Pass => file.write_all_at(bytes, offset)?,
            Fault::Fail(kind) => return Err(kind.into()),
            Fault::Torn(len) => {
                file.write_all_at(bytes.get(..len).unwrap_or(bytes), offset)?;
                return Err(io::ErrorKind::Other.into());
            }
        }
        self.faults.pass(Point::Sync)?;
        file.sync_data()
    }

    /// Writes bytes that are durable elsewhere: a crash may lose them here.
    pub(crate) fn write(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.faults.pass(Point::Write)?;
        file.write_all_at(bytes, offset)
    }

    /// Zeros what a torn write left in `from..to`, fills the file up to its full size, and makes all of it durable:
    /// what was read from the page cache after a crash need not be on disk yet.
    pub(crate) fn cut(&self, file: &File, from: u64, to: u64) -> io::Result<u64> {
        let len = file.metadata()?.len();
        let size = len.max(self.segment_bytes);
        let zero = |from: u64, to: u64| {
            let mut at = from;
            while at < to {
                let piece = usize::try_from(to.saturating_sub(at)).unwrap_or(usize::MAX).min(ZEROS.len());
                file.write_all_at(ZEROS.get(..piece).unwrap_or(&ZEROS), at)?;
                at = at.saturating_add(u64::try_from(piece).unwrap_or(u64::MAX));
            }
            io::Result::Ok(())
        };
        zero(from, to.min(len))?;
        zero(len.max(from), size)?;
        file.sync_all()?;
        Ok(size)
    }
}
