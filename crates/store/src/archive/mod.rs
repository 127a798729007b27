//! Where segments go that are older than what is kept here: a directory, or a bucket of an S3 API.
//!
//! An archived segment is the segment's file as it was, named by its first record and the SHA-256 of its bytes
//! (`000000000001-….seg`), so that nothing that is there is ever replaced by something else. What was archived is
//! listed in [`Manifest`], which stays with the journal, and goes only once the archive gave back the same bytes.

mod manifest;
mod s3;
mod shelve;

use std::fmt;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use placet_ledger::Hash;

pub use manifest::{ArchivedSegment, Manifest, ManifestError};
pub(crate) use shelve::shelve;
pub use shelve::{Because, Candidate, ShelveError, Shelved, Shelving, shelve_alone};

use crate::disk;
use s3::Bucket;

/// The longest segment that is read back: sixteen times the usual one.
const MAX_OBJECT: u64 = 256 << 20;

/// Looks up a variable of the environment.
pub type Variable<'a> = &'a dyn Fn(&str) -> Option<String>;

/// A place for segments. Cheap to clone.
#[derive(Clone)]
pub struct Archive {
    location: String,
    place: Arc<dyn Place>,
}

/// What an archive can do. Nothing is ever removed.
pub(crate) trait Place: Send + Sync {
    /// Keeps an object, durably; one of that name that is there is the same or half-written, and is replaced.
    fn put(&self, name: &str, bytes: &[u8]) -> io::Result<()>;
    /// The object. Not there: [`io::ErrorKind::NotFound`].
    fn get(&self, name: &str) -> io::Result<Vec<u8>>;
}

/// An archive that can't be used.
#[derive(Debug, thiserror::Error)]
#[error("the archive `{location}` can't be used: {why}")]
pub struct ArchiveError {
    /// Where it is.
    pub location: String,
    /// Why, with the remedy.
    pub why: String,
}

impl Archive {
    /// Opens `location`: the path of a directory that is there, or
    /// `s3://BUCKET/PREFIX?region=REGION&endpoint=URL` (both optional), whose credentials are the environment's
    /// `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN`. A bucket isn't asked yet.
    pub fn open(location: &str, variable: Variable<'_>) -> Result<Self, ArchiveError> {
        let fail = |why: String| ArchiveError { location: location.to_owned(), why };
        let place: Arc<dyn Place> = if location.starts_with("s3://") {
            Arc::new(Bucket::open(location, variable).map_err(fail)?)
        } else if location.contains("://") {
            return Err(fail("name a directory, or `s3://BUCKET/PREFIX`".to_owned()));
        } else {
            let dir = fs::canonicalize(location)
                .map_err(|error| fail(format!("{error}; make the directory first, or mount it")))?;
            let location = dir.display().to_string();
            return Ok(Self { location, place: Arc::new(Directory(dir)) });
        };
        Ok(Self { location: location.to_owned(), place })
    }

    /// Where it is, as manifests name it: without credentials.
    #[must_use]
    pub fn location(&self) -> &str {
        &self.location
    }

    /// Keeps a segment and reads it back: what comes must be what was given.
    pub(crate) fn keep(&self, segment: &ArchivedSegment, bytes: &[u8]) -> io::Result<()> {
        let name = segment.name();
        let there = matches!(self.place.get(&name), Ok(there) if Hash::of(&there) == segment.digest);
        if !there {
            self.place.put(&name, bytes)?;
            self.fetch(segment)?;
        }
        Ok(())
    }

    /// A segment, checked against its digest.
    pub fn fetch(&self, segment: &ArchivedSegment) -> io::Result<Vec<u8>> {
        let bytes = self.place.get(&segment.name())?;
        if Hash::of(&bytes) == segment.digest {
            Ok(bytes)
        } else {
            Err(io::Error::new(io::ErrorKind::InvalidData, "the archived segment isn't what was archived"))
        }
    }
}

impl fmt::Debug for Archive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Archive").field("location", &self.location).finish_non_exhaustive()
    }
}

/// A directory, of another disk or a mounted share.
struct Directory(PathBuf);

impl Place for Directory {
    fn put(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let fresh = self.0.join(format!("{name}.new"));
        let mut file = disk::open_private(&fresh, true)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&fresh, self.0.join(name))?;
        disk::sync_dir(&self.0)
    }

    fn get(&self, name: &str) -> io::Result<Vec<u8>> {
        let path = self.0.join(name);
        if fs::metadata(&path)?.len() > MAX_OBJECT {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it is longer than any segment"));
        }
        fs::read(path)
    }
}

/// What of a journal is elsewhere, and how to get at it.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    pub(crate) manifest: Option<Arc<Manifest>>,
    pub(crate) archive: Option<Archive>,
}

impl History {
    /// What the directory says, unverified; without an archive.
    pub(crate) fn of(data: &Path) -> io::Result<Self> {
        let manifest = Manifest::read(data)?.map(Arc::new);
        Ok(Self { manifest, archive: None })
    }

    /// The segment that holds this record, if it was archived.
    pub(crate) fn segment(&self, sequence: u64) -> Option<&ArchivedSegment> {
        self.manifest.as_ref()?.segment(sequence)
    }

    /// Its bytes.
    pub(crate) fn fetch(&self, segment: &ArchivedSegment) -> io::Result<Vec<u8>> {
        match &self.archive {
            Some(archive) => archive.fetch(segment),
            None => Err(io::Error::new(io::ErrorKind::NotFound, self.missing(segment))),
        }
    }

    /// What to tell somebody who wants an archived record, and has no archive.
    fn missing(&self, segment: &ArchivedSegment) -> String {
        let at = self.manifest.as_ref().map_or("", |manifest| manifest.location.as_str());
        format!("records {} to {} are only in the archive `{at}`", segment.first, segment.last)
    }
}
