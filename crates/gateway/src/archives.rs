//! The archives of releases: in the data directory, and where several gateways share a database, in there too.

use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use placet_core::Digest;
use placet_policy::Release;
use placet_store::{Commons, DatabaseError};

/// Where archives are kept.
#[derive(Debug, Clone)]
pub struct Archives {
    dir: PathBuf,
    commons: Option<Commons>,
}

/// Why a release can't be had.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// It isn't kept.
    #[error("its archive isn't kept")]
    Missing,
    /// It can't be read or written now.
    #[error("its archive can't be read: {0}")]
    Down(String),
    /// It isn't what was kept.
    #[error("its archive doesn't load: {0}")]
    NoRelease(String),
}

impl From<DatabaseError> for ArchiveError {
    fn from(error: DatabaseError) -> Self {
        Self::Down(error.to_string())
    }
}

impl From<io::Error> for ArchiveError {
    fn from(error: io::Error) -> Self {
        Self::Down(error.to_string())
    }
}

impl Archives {
    pub(crate) fn new(data: &Path, commons: Option<Commons>) -> Self {
        Self { dir: data.join("releases"), commons }
    }

    /// Where the archive of a release is kept in the data directory.
    #[must_use]
    pub fn path(&self, release: Digest) -> PathBuf {
        self.dir.join(format!("{}.tar", release.to_string().replace(':', "-")))
    }

    /// Keeps an archive, durably. Blocks.
    pub fn keep(&self, release: &Release, archive: &[u8]) -> Result<(), ArchiveError> {
        self.keep_here(release.digest(), archive)?;
        if let Some(commons) = &self.commons {
            futures::executor::block_on(commons.put_release(&release.digest().to_string(), archive))?;
        }
        Ok(())
    }

    /// The same, for a thread that serves.
    pub(crate) async fn share(&self, release: &Release) -> Result<(), ArchiveError> {
        self.keep_here(release.digest(), release.archive())?;
        if let Some(commons) = &self.commons {
            commons.put_release(&release.digest().to_string(), release.archive()).await?;
        }
        Ok(())
    }

    /// Loads a release, fetching its archive first where another gateway brought it. Blocks.
    pub fn load(&self, digest: Digest) -> Result<Release, ArchiveError> {
        let archive = match std::fs::read(self.path(digest)) {
            Ok(archive) => archive,
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.fetch(digest)?,
            Err(error) => return Err(error.into()),
        };
        let release = Release::from_archive(&archive)
            .map_err(|refused| ArchiveError::NoRelease(refused.to_string()))?;
        if release.digest() == digest {
            Ok(release)
        } else {
            Err(ArchiveError::NoRelease("the archive was changed".to_owned()))
        }
    }

    /// All that are kept, here or by other gateways. Blocks.
    pub fn list(&self) -> Result<Vec<Digest>, ArchiveError> {
        let mut digests = self.list_here()?;
        if let Some(commons) = &self.commons {
            let theirs = futures::executor::block_on(commons.releases())?;
            digests.extend(theirs.iter().filter_map(|digest| Digest::parse(digest)));
        }
        digests.sort_unstable();
        digests.dedup();
        Ok(digests)
    }

    /// Brings both places together, so that each gateway can replay what any of them decided. Blocks.
    pub(crate) fn bring_together(&self) -> Result<(), ArchiveError> {
        let Some(commons) = &self.commons else { return Ok(()) };
        let here = self.list_here()?;
        let theirs: Vec<Digest> = futures::executor::block_on(commons.releases())?
            .iter()
            .filter_map(|digest| Digest::parse(digest))
            .collect();
        for digest in theirs.iter().filter(|digest| !here.contains(digest)) {
            self.fetch(*digest)?;
        }
        for digest in here.iter().filter(|digest| !theirs.contains(digest)) {
            let archive = std::fs::read(self.path(*digest))?;
            futures::executor::block_on(commons.put_release(&digest.to_string(), &archive))?;
        }
        Ok(())
    }

    fn fetch(&self, digest: Digest) -> Result<Vec<u8>, ArchiveError> {
        let commons = self.commons.as_ref().ok_or(ArchiveError::Missing)?;
        let archive = futures::executor::block_on(commons.release(&digest.to_string()))?;
        let archive = archive.ok_or(ArchiveError::Missing)?;
        self.keep_here(digest, &archive)?;
        Ok(archive)
    }

    fn list_here(&self) -> io::Result<Vec<Digest>> {
        let entries = match std::fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut digests: Vec<Digest> = entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter_map(|name| Digest::parse(&name.strip_suffix(".tar")?.replacen('-', ":", 1)))
            .collect();
        digests.sort_unstable();
        Ok(digests)
    }

    fn keep_here(&self, digest: Digest, archive: &[u8]) -> io::Result<()> {
        std::fs::create_dir_all(&self.dir)?;
        let path = self.path(digest);
        if path.exists() {
            return Ok(());
        }
        let partial = path.with_extension("partial");
        let mut file = std::fs::File::create(&partial)?;
        file.write_all(archive)?;
        file.sync_all()?;
        std::fs::rename(&partial, &path)?;
        std::fs::File::open(&self.dir)?.sync_all()
    }
}
