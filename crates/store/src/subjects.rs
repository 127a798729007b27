//! Keys of subjects: what is about somebody is sealed under a key of theirs, and erasing that key erases it.
//!
//! A subject is named by a text, for instance `human:maya` or `acme~customer:cust-101`; what it means isn't known here.
//! Each data key is wrapped under the server's master key (AES-256-GCM-SIV, RFC 8452) and durable before the first body
//! that is sealed under it. A body about several subjects is sealed under all of their keys: without one of them it
//! doesn't open.
//!
//! Alone, a gateway keeps the keys in `subjects` of its data directory, lines of text; gateways that share a journal
//! keep them in its database, in the table `placet_subject`. An erased key leaves its number and nothing else, so that
//! a body without a key is told from one whose key was lost.
//!
//! ```text
//! key NUMBER MASTER WRAPPED SUBJECT
//! gone NUMBER
//! ```

mod cipher;
mod file;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::postgres::{Commons, DatabaseError};
use cipher::Wrap;
use file::KeyFile;

/// The file in the data directory.
pub(crate) const FILE: &str = "subjects";
/// The most subjects of one body: a call on as many resources.
const MAX_KEYS: usize = 1024;
/// The longest name of a subject.
pub const MAX_SUBJECT: usize = 400;

/// Names a data key; random.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubjectKeyId(pub [u8; 16]);

impl fmt::Display for SubjectKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&cipher::hex(&self.0))
    }
}

impl SubjectKeyId {
    /// From 32 lower-case hex digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        cipher::unhex(text)?.try_into().ok().map(Self)
    }
}

/// Why keys can't be used.
#[derive(Debug, thiserror::Error)]
pub enum SubjectsError {
    /// The file.
    #[error("the keys of subjects, `{path}`: {error}")]
    Io {
        /// Which.
        path: String,
        /// What it said.
        error: io::Error,
    },
    /// A line that isn't one.
    #[error("the keys of subjects, `{path}`: line {line} isn't one; restore the file from a backup")]
    Line {
        /// The file.
        path: String,
        /// From 1.
        line: usize,
    },
    /// The gateways' database.
    #[error("the keys of subjects: {0}")]
    Database(#[from] DatabaseError),
    /// The keys are wrapped under another master key, or were altered.
    #[error("the keys of subjects don't open with this `vault.master_key`")]
    Master,
    /// There is no master key.
    #[error("there is no master key: set `[vault] master_key` in the settings")]
    Shut,
    /// A subject without a key.
    #[error("a subject has no key yet")]
    Unknown,
    /// Too many subjects, or a name that isn't one.
    #[error(
        "a body is about 1 to {MAX_KEYS} subjects, each of 1 to {MAX_SUBJECT} letters, digits and `._:@|/~-`"
    )]
    Name,
    /// The cryptographic library refused.
    #[error("it could not be sealed")]
    Seal,
}

/// What a sealed body comes to.
#[derive(Clone, PartialEq, Eq)]
pub enum Opening {
    /// What was sealed.
    Open(Vec<u8>),
    /// A key that it takes was erased.
    Erased,
    /// A key that it takes isn't here, and wasn't erased either.
    NoKey,
    /// It isn't what was sealed.
    Altered,
}

impl fmt::Debug for Opening {
    /// Without what was sealed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open(_) => "Open",
            Self::Erased => "Erased",
            Self::NoKey => "NoKey",
            Self::Altered => "Altered",
        })
    }
}

/// The keys. Cheap to clone; clones are the same keys.
#[derive(Clone)]
pub struct Subjects(Arc<Inner>);

struct Inner {
    /// None: nothing opens.
    wrap: Option<Wrap>,
    place: Place,
    keys: Mutex<Keys>,
}

enum Place {
    /// Written and replaced as a whole.
    File(KeyFile),
    /// In the database of several gateways.
    Shared(Commons),
    /// Read only.
    Nowhere,
}

/// A key as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) subject: Arc<str>,
    pub(crate) wrapped: Box<[u8]>,
}

#[derive(Debug, Default)]
pub(crate) struct Keys {
    pub(crate) kept: BTreeMap<SubjectKeyId, Kept>,
    /// The key of a subject under which is sealed from now on.
    newest: BTreeMap<Arc<str>, SubjectKeyId>,
    /// Erased.
    pub(crate) gone: BTreeSet<SubjectKeyId>,
    /// Erased in the journal, and not yet where the keys are kept.
    due: BTreeSet<SubjectKeyId>,
}

impl Keys {
    pub(crate) fn insert(&mut self, id: SubjectKeyId, kept: Kept) {
        if !self.gone.contains(&id) && !self.due.contains(&id) {
            self.newest.insert(Arc::clone(&kept.subject), id);
            self.kept.insert(id, kept);
        }
    }
    fn remove(&mut self, id: SubjectKeyId) -> bool {
        let Some(kept) = self.kept.remove(&id) else { return false };
        if self.newest.get(&kept.subject) == Some(&id) {
            self.newest.remove(&kept.subject);
        }
        true
    }
}

impl fmt::Debug for Subjects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subjects").field("keys", &self.lock().kept.len()).finish_non_exhaustive()
    }
}

impl Subjects {
    /// No keys and no master key: nothing can be sealed, and nothing opens.
    #[must_use]
    pub fn none() -> Self {
        Self(Arc::new(Inner { wrap: None, place: Place::Nowhere, keys: Mutex::default() }))
    }

    /// The keys of a data directory, which this process serves.
    pub fn open(data: &Path, master: &[u8; 32]) -> Result<Self, SubjectsError> {
        let (file, keys) = KeyFile::open(&data.join(FILE))?;
        Self::of(Place::File(file), keys, Some(Wrap::new(master)?))
    }

    /// The keys of gateways that share a journal. Blocks.
    pub fn open_shared(commons: &Commons, master: &[u8; 32]) -> Result<Self, SubjectsError> {
        let mut keys = Keys::default();
        for row in futures::executor::block_on(commons.subject_keys())? {
            add(&mut keys, row);
        }
        Self::of(Place::Shared(commons.clone()), keys, Some(Wrap::new(master)?))
    }

    /// The keys of a data directory as they lie there, to read what is sealed. Without a master key nothing opens, but
    /// what is erased is still told from what isn't.
    pub fn read(data: &Path, master: Option<&[u8; 32]>) -> Result<Self, SubjectsError> {
        let keys = file::read(&data.join(FILE))?;
        Self::of(Place::Nowhere, keys, master.map(Wrap::new).transpose()?)
    }

    fn of(place: Place, keys: Keys, wrap: Option<Wrap>) -> Result<Self, SubjectsError> {
        // Another master key is found now, not when somebody asks.
        if let (Some(wrap), Some((id, kept))) = (&wrap, keys.kept.iter().next()) {
            drop(wrap.unwrap(*id, kept)?);
        }
        Ok(Self(Arc::new(Inner { wrap, place, keys: Mutex::new(keys) })))
    }

    /// Whether something can be sealed.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.0.wrap.is_some()
    }

    /// How many keys there are, and how many were erased.
    #[must_use]
    pub fn count(&self) -> (usize, usize) {
        let keys = self.lock();
        (keys.kept.len(), keys.gone.len().saturating_add(keys.due.len()))
    }

    /// Makes keys for those of the subjects that have none; they are durable when it returns. A key costs a sync or a
    /// question to the database, once for each subject.
    pub async fn ensure(&self, subjects: &BTreeSet<String>) -> Result<(), SubjectsError> {
        let missing: Vec<Arc<str>> = {
            let keys = self.lock();
            let missing = subjects.iter().filter(|subject| !keys.newest.contains_key(subject.as_str()));
            missing.map(|subject| Arc::from(subject.as_str())).collect()
        };
        if missing.is_empty() {
            return Ok(());
        }
        let wrap = self.0.wrap.as_ref().ok_or(SubjectsError::Shut)?;
        let mut made = Vec::with_capacity(missing.len());
        for subject in missing {
            if !is_subject(&subject) {
                return Err(SubjectsError::Name);
            }
            made.push(wrap.make(subject)?);
        }
        match &self.0.place {
            Place::Nowhere => return Err(SubjectsError::Shut),
            Place::File(file) => file.append(&made, wrap.master())?,
            Place::Shared(commons) => commons.put_subject_keys(&made).await?,
        }
        let mut keys = self.lock();
        for (id, kept) in made {
            keys.insert(id, kept);
        }
        Ok(())
    }

    /// Seals a text about these subjects; the keys that it takes, and the sealed bytes. Each subject must have a key.
    pub fn seal(
        &self,
        subjects: &BTreeSet<String>,
        text: &[u8],
    ) -> Result<(Vec<SubjectKeyId>, Vec<u8>), SubjectsError> {
        let wrap = self.0.wrap.as_ref().ok_or(SubjectsError::Shut)?;
        if !(1..=MAX_KEYS).contains(&subjects.len()) {
            return Err(SubjectsError::Name);
        }
        let mut used = Vec::with_capacity(subjects.len());
        {
            let keys = self.lock();
            for subject in subjects {
                let id = keys.newest.get(subject.as_str()).ok_or(SubjectsError::Unknown)?;
                let kept = keys.kept.get(id).ok_or(SubjectsError::Unknown)?;
                used.push((*id, kept.clone()));
            }
        }
        used.sort_by_key(|(id, _)| *id);
        let sealed = wrap.seal(&used, text)?;
        Ok((used.into_iter().map(|(id, _)| id).collect(), sealed))
    }

    /// Opens what [`Subjects::seal`] made. On a shared journal a key that isn't known here is asked for: that blocks.
    ///
    /// A body that takes no key was never kept, which is as if it were erased.
    #[must_use]
    pub fn unseal(&self, ids: &[SubjectKeyId], sealed: &[u8]) -> Opening {
        if ids.is_empty() {
            return Opening::Erased;
        }
        let mut used = Vec::with_capacity(ids.len());
        for id in ids {
            match self.find(*id) {
                Ok(Some(kept)) => used.push((*id, kept)),
                Ok(None) => return Opening::Erased,
                Err(()) => return Opening::NoKey,
            }
        }
        let Some(wrap) = &self.0.wrap else { return Opening::NoKey };
        wrap.unseal(&used, sealed).map_or(Opening::Altered, Opening::Open)
    }

    /// `None`: it was erased. An error: it isn't here.
    fn find(&self, id: SubjectKeyId) -> Result<Option<Kept>, ()> {
        {
            let keys = self.lock();
            if let Some(kept) = keys.kept.get(&id) {
                return Ok(Some(kept.clone()));
            }
            if keys.gone.contains(&id) || keys.due.contains(&id) {
                return Ok(None);
            }
        }
        let Place::Shared(commons) = &self.0.place else { return Err(()) };
        // Another gateway made it.
        match futures::executor::block_on(commons.subject_key(&id)) {
            Ok(Some(row)) => {
                let mut keys = self.lock();
                add(&mut keys, row);
                match keys.kept.get(&id) {
                    Some(kept) => Ok(Some(kept.clone())),
                    None => Ok(None),
                }
            }
            Ok(None) => Err(()),
            Err(error) => {
                tracing::error!(%error, "the key of a subject can't be asked for");
                Err(())
            }
        }
    }

    /// The subject of a key that isn't erased.
    #[must_use]
    pub fn subject(&self, id: SubjectKeyId) -> Option<Arc<str>> {
        self.lock().kept.get(&id).map(|kept| Arc::clone(&kept.subject))
    }

    /// The keys of a subject, those included that other gateways made.
    pub async fn keys_of(&self, subject: &str) -> Result<Vec<SubjectKeyId>, SubjectsError> {
        if let Place::Shared(commons) = &self.0.place {
            let rows = commons.subject_keys_of(subject).await?;
            let mut keys = self.lock();
            for row in rows {
                add(&mut keys, row);
            }
        }
        let keys = self.lock();
        Ok(keys.kept.iter().filter(|(_, kept)| &*kept.subject == subject).map(|(id, _)| *id).collect())
    }

    /// The journal says that these keys are erased: from now on nothing is sealed under them and nothing opens.
    /// [`Subjects::settle`] must follow.
    pub fn forget(&self, ids: &[SubjectKeyId]) {
        let mut keys = self.lock();
        for id in ids {
            keys.remove(*id);
            if !keys.gone.contains(id) {
                keys.due.insert(*id);
            }
        }
    }

    /// Whether keys are forgotten that are still kept somewhere.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.lock().due.is_empty()
    }

    /// Erases the forgotten keys where they are kept; durable when it returns.
    pub async fn settle(&self) -> Result<(), SubjectsError> {
        let due: Vec<SubjectKeyId> = self.lock().due.iter().copied().collect();
        if due.is_empty() {
            return Ok(());
        }
        match &self.0.place {
            Place::Nowhere => {}
            Place::Shared(commons) => commons.erase_subject_keys(&due).await?,
            Place::File(file) => {
                let wrap = self.0.wrap.as_ref().ok_or(SubjectsError::Shut)?;
                file.replace(wrap.master(), || {
                    let keys = self.lock();
                    let kept = keys.kept.iter().map(|(id, kept)| (*id, kept.clone())).collect();
                    (kept, keys.gone.union(&keys.due).copied().collect())
                })?;
            }
        }
        let mut keys = self.lock();
        for id in due {
            keys.due.remove(&id);
            keys.gone.insert(id);
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Keys> {
        self.0.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A row as the database has it: without a wrapped key it is erased.
pub(crate) type Row = (SubjectKeyId, Option<Kept>);

fn add(keys: &mut Keys, (id, kept): Row) {
    match kept {
        Some(kept) => {
            // One key is as good as the other; what is here already stays the one that is used.
            let newest = keys.newest.get(&kept.subject).copied();
            let subject = Arc::clone(&kept.subject);
            keys.insert(id, kept);
            if let Some(newest) = newest {
                keys.newest.insert(subject, newest);
            }
        }
        None => {
            keys.remove(id);
            keys.gone.insert(id);
        }
    }
}

/// Writes the keys of a database into a directory, as a gateway of its own would have them.
pub(crate) fn write_rows(data: &Path, rows: Vec<Row>) -> Result<(), SubjectsError> {
    let mut keys = Keys::default();
    for row in rows {
        add(&mut keys, row);
    }
    let kept: Vec<_> = keys.kept.into_iter().collect();
    let gone: Vec<_> = keys.gone.into_iter().collect();
    file::write(&data.join(FILE), "-", &kept, &gone)
}

/// Whether a text can name a subject.
#[must_use]
pub fn is_subject(name: &str) -> bool {
    (1..=MAX_SUBJECT).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._:@|/~-".contains(&b))
}

#[cfg(test)]
mod tests;
