//! A data directory as it lies there: its journal and the archives of its releases.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use placet_core::Digest;
use placet_ledger::checkpoint::VerifyingKey;
use placet_policy::{MAX_ARCHIVE, Release};
use placet_store::{Archive, ReadError, Reader, Record, Subjects, SubjectsError};

use crate::Pack;

/// Why a directory can't be read.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// There is no journal in it.
    #[error("`{}` is no data directory: it has no `journal`", .0.display())]
    NoJournal(PathBuf),
    /// The journal can't be read, or isn't what was written.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// What came before is archived, and can't be done without.
    #[error("{0}")]
    Archived(String),
    /// The keys of what is sealed.
    #[error(transparent)]
    Subjects(#[from] SubjectsError),
}

/// A master key as its file has it: 32 bytes in base64.
pub fn master_key(text: &[u8]) -> Result<[u8; 32], String> {
    let text = text.trim_ascii();
    let bytes = STANDARD.decode(text).ok().and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or_else(|| "it isn't 32 bytes in base64".to_owned())
}

/// A data directory. Releases are loaded once, when they are first asked for.
#[derive(Debug)]
pub struct Data {
    dir: PathBuf,
    reader: Reader,
    subjects: Subjects,
    /// An evidence pack, in place of a journal.
    pack: Option<Pack>,
    /// Whose kept state the facts before what is archived are taken from.
    signer: Option<(String, VerifyingKey)>,
    releases: Mutex<BTreeMap<Digest, Loaded>>,
}

/// A release of the past, or what is wrong with its archive.
type Loaded = Result<Arc<Release>, Arc<str>>;

impl Data {
    /// Opens a directory. What a server writes into it after this isn't seen. What is sealed opens where the directory
    /// has the master key itself, as in development.
    pub fn open(dir: &Path) -> Result<Self, DataError> {
        let master = std::fs::read(dir.join("keys").join("master.key")).ok();
        let master = master.as_deref().and_then(|text| master_key(text).ok());
        Self::open_with(dir, master.as_ref())
    }
    /// The same, with the master key under which the keys of subjects are wrapped; without one nothing that is sealed
    /// opens.
    pub fn open_with(dir: &Path, master: Option<&[u8; 32]>) -> Result<Self, DataError> {
        if !dir.join("journal").is_dir() {
            return Err(DataError::NoJournal(dir.to_owned()));
        }
        Ok(Self {
            dir: dir.to_owned(),
            reader: Reader::open(dir)?,
            subjects: Subjects::read(dir, master)?,
            pack: None,
            signer: None,
            releases: Mutex::default(),
        })
    }
    /// The same, which reads what is archived there.
    #[must_use]
    pub fn with_archive(self, archive: Option<Archive>) -> Self {
        Self { reader: self.reader.with_archive(archive), ..self }
    }
    /// The same, with the organisation and the key of its checkpoints: where the beginning is archived, the facts are taken
    /// from a kept state that this key signed.
    #[must_use]
    pub fn trusting(self, organisation: String, key: VerifyingKey) -> Self {
        Self { signer: Some((organisation, key)), ..self }
    }
    pub(crate) fn signer(&self) -> Option<&(String, VerifyingKey)> {
        self.signer.as_ref()
    }
    pub(crate) fn is_pack(&self) -> bool {
        self.pack.is_some()
    }
    /// The keys of what is sealed.
    #[must_use]
    pub fn subjects(&self) -> &Subjects {
        &self.subjects
    }
    /// An evidence pack as data: its records and its releases.
    pub fn of_pack(pack: Pack) -> Result<Self, DataError> {
        let dir = pack.dir().to_owned();
        Ok(Self {
            reader: Reader::open(&dir)?,
            subjects: Subjects::none(),
            dir,
            pack: Some(pack),
            signer: None,
            releases: Mutex::default(),
        })
    }
    /// All records from one position to another, in order; those of a pack have gaps between them.
    pub(crate) fn records(
        &self,
        from: u64,
        last: u64,
    ) -> Result<Box<dyn Iterator<Item = Result<Record, ReadError>> + '_>, ReadError> {
        let Some(pack) = &self.pack else { return Ok(Box::new(self.reader.range(from, last))) };
        let unreadable = |error| ReadError::Io { path: self.dir.clone(), error };
        let records = pack.records().map_err(unreadable)?;
        Ok(Box::new(
            records
                .take_while(move |record| record.as_ref().map_or(true, |record| record.sequence <= last))
                .map(move |record| record.map_err(unreadable)),
        ))
    }
    /// The last position; of a pack, that isn't known before it is read.
    pub(crate) fn last(&self) -> u64 {
        if self.pack.is_some() { u64::MAX } else { self.reader.last() }
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
