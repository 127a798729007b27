//! The file: lines that are appended and synced; replaced as a whole when keys are erased.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::cipher::{hex, unhex};
use super::{Kept, Keys, SubjectKeyId, SubjectsError, is_subject};
use crate::disk;

/// A file that this process alone writes.
pub(super) struct KeyFile {
    path: PathBuf,
    /// Open at its end; held while it is written. None until the first key, and after a failed write: what it left
    /// behind is cut before the next.
    file: Mutex<Option<File>>,
}

impl KeyFile {
    /// A last line that a crash cut short is removed: nothing was sealed under its key.
    pub(super) fn open(path: &Path) -> Result<(Self, Keys), SubjectsError> {
        let keys = read(path)?;
        Ok((Self { path: path.to_owned(), file: Mutex::new(None) }, keys))
    }

    /// Adds keys, durably.
    pub(super) fn append(&self, made: &[(SubjectKeyId, Kept)], master: &str) -> Result<(), SubjectsError> {
        let mut place = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let lines: String = made.iter().map(|(id, kept)| line(*id, kept, master)).collect();
        let written = self.at_end(place.take()).and_then(|mut file| {
            file.write_all(lines.as_bytes())?;
            file.sync_all()?;
            Ok(file)
        });
        *place = Some(written.map_err(|error| failed(&self.path, error))?);
        Ok(())
    }

    /// The file, open behind its last whole line.
    fn at_end(&self, open: Option<File>) -> io::Result<File> {
        if let Some(file) = open {
            return Ok(file);
        }
        let file = disk::open_private(&self.path, false)?;
        let text = fs::read(&self.path)?;
        let end = whole(&text);
        file.set_len(end.try_into().unwrap_or(u64::MAX))?;
        disk::sync_dir(self.path.parent().unwrap_or(Path::new(".")))?;
        let mut file = file;
        io::Seek::seek(&mut file, io::SeekFrom::End(0))?;
        Ok(file)
    }

    /// Writes a new file with what `now` tells, and puts it in the old one's place. Nobody appends meanwhile.
    pub(super) fn replace(
        &self,
        master: &str,
        now: impl FnOnce() -> (Vec<(SubjectKeyId, Kept)>, Vec<SubjectKeyId>),
    ) -> Result<(), SubjectsError> {
        let mut place = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let (kept, gone) = now();
        // A key that is on disk and not yet told here was made by somebody who still waits for this lock's holder to
        // tell; it is read from the file, so that it isn't lost.
        let there = read(&self.path)?;
        let late = there
            .kept
            .into_iter()
            .filter(|(id, _)| !gone.contains(id) && kept.binary_search_by_key(id, |(id, _)| *id).is_err());
        let kept: Vec<_> = kept.iter().cloned().chain(late).collect();
        write(&self.path, master, &kept, &gone)?;
        *place = None;
        Ok(())
    }
}

/// What a file says; one that isn't there is empty.
pub(super) fn read(path: &Path) -> Result<Keys, SubjectsError> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Keys::default()),
        Err(error) => return Err(failed(path, error)),
    };
    let mut keys = Keys::default();
    let whole = text.get(..whole(&text)).unwrap_or_default();
    for (at, line) in whole.split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.is_empty()) {
        let wrong = || SubjectsError::Line { path: path.display().to_string(), line: at.saturating_add(1) };
        let line = std::str::from_utf8(line).map_err(|_| wrong())?;
        read_line(&mut keys, line).ok_or_else(wrong)?;
    }
    Ok(keys)
}

/// Replaces a file, durably.
pub(super) fn write(
    path: &Path,
    master: &str,
    kept: &[(SubjectKeyId, Kept)],
    gone: &[SubjectKeyId],
) -> Result<(), SubjectsError> {
    let fresh = path.with_extension("new");
    let written = || -> io::Result<()> {
        let mut file = disk::open_private(&fresh, true)?;
        let mut text = String::new();
        for id in gone {
            text.push_str("gone ");
            text.push_str(&id.to_string());
            text.push('\n');
        }
        text.extend(kept.iter().map(|(id, kept)| line(*id, kept, master)));
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&fresh, path)?;
        disk::sync_dir(path.parent().unwrap_or(Path::new(".")))
    };
    written().map_err(|error| failed(path, error))
}

fn line(id: SubjectKeyId, Kept { subject, wrapped }: &Kept, master: &str) -> String {
    format!("key {id} {master} {} {subject}\n", hex(wrapped))
}

fn read_line(keys: &mut Keys, line: &str) -> Option<()> {
    let mut words = line.split(' ');
    match words.next()? {
        "gone" => {
            let id = SubjectKeyId::parse(words.next()?)?;
            keys.gone.insert(id);
        }
        "key" => {
            let id = SubjectKeyId::parse(words.next()?)?;
            let _master = words.next()?;
            let wrapped = unhex(words.next()?)?.into_boxed_slice();
            let subject: Arc<str> = Arc::from(words.next().filter(|subject| is_subject(subject))?);
            keys.insert(id, Kept { subject, wrapped });
        }
        _ => return None,
    }
    words.next().is_none().then_some(())
}

/// Where the last whole line ends.
fn whole(text: &[u8]) -> usize {
    text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at.saturating_add(1))
}

fn failed(path: &Path, error: io::Error) -> SubjectsError {
    SubjectsError::Io { path: path.display().to_string(), error }
}
