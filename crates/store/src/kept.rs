//! States that were kept beside the journal: what its entries fold to at some of its positions, so that a start and a
//! look back need not fold everything again. Never the truth: a file that doesn't fit is thrown away, and the journal
//! is folded from its first record.
//!
//! A file is `state/NNNNNNNNNNNN.state`, named by the last sequence that is in it: one line with format, program,
//! sequence, chain value and time; the fold's own bytes; a signed note (the C2SP form of the trees' checkpoints) over
//! the sequence and the SHA-256 of all before it; the note's length in 4 bytes. So a state can't be made by who can
//! write files but not sign, nor be taken for that of another journal or another program.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read as _, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Receiver;

use aws_lc_rs::digest::{Context, SHA256};
use placet_ledger::Hash;
use placet_ledger::checkpoint::{Checkpoint, SigningKey, VerifyingKey, origin};

use crate::disk;

/// The directory in the data directory.
pub(crate) const DIR: &str = "state";
/// No tenant has this name: `~` isn't in their alphabet.
const TREE: &str = "~state";
const MAGIC: &str = "placet-state-1";
/// The longest file that is read: what a start may hold in memory twice.
const MAX_FILE: u64 = 4 << 30;
/// The longest first line.
const MAX_LINE: u64 = 512;
/// The most files: beyond, every other one of the older half goes.
const MAX_FILES: usize = 256;

/// A state to be written down, on another thread than the one that folds.
pub type Keep = Box<dyn FnOnce(&mut dyn Write) -> io::Result<()> + Send>;

/// A state that was kept, checked against its signature; whether the journal has its link is for the reader to see.
#[derive(Debug)]
pub struct KeptState {
    /// The last record that is in it.
    pub sequence: u64,
    /// The chain's value after that record.
    pub link: Hash,
    /// That record's time, Unix ms.
    pub time_ms: u64,
    bytes: Vec<u8>,
    from: usize,
    to: usize,
}

impl KeptState {
    /// What the fold wrote.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        self.bytes.get(self.from..self.to).unwrap_or_default()
    }
}

/// The kept states of a data directory. Cheap to clone.
#[derive(Clone, Debug)]
pub struct KeptStates {
    dir: PathBuf,
    origin: String,
    key: VerifyingKey,
    format: &'static str,
    /// States up to here hold what was erased since; also one that is only being written.
    floor: Arc<AtomicU64>,
    /// The one that what is here is folded from, since what came before is archived; 0: none.
    pinned: Arc<AtomicU64>,
}

/// A state on its way to the disk.
pub(crate) struct Job {
    pub(crate) sequence: u64,
    pub(crate) link: Hash,
    pub(crate) time_ms: u64,
    pub(crate) state: Keep,
}

/// What the writer asks before it makes a job.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// A state is being written.
    busy: AtomicBool,
    /// Bytes of the last file.
    size: AtomicU64,
}

/// The thread that writes states.
pub(crate) struct Keeper {
    states: KeptStates,
    key: Arc<SigningKey>,
    pace: Arc<Pace>,
}

impl KeptStates {
    pub(crate) fn new(data: &Path, organisation: &str, key: VerifyingKey, format: &'static str) -> Self {
        let (floor, pinned) = (Arc::default(), Arc::default());
        Self { dir: data.join(DIR), origin: origin(organisation, TREE), key, format, floor, pinned }
    }

    /// The states of a directory, whatever fold wrote them, for who knows how to read a part of them.
    #[must_use]
    pub fn of_any(data: &Path, organisation: &str, key: VerifyingKey) -> Self {
        Self::new(data, organisation, key, "")
    }

    /// This one isn't thinned out.
    pub(crate) fn pin(&self, sequence: u64) {
        self.pinned.store(sequence, Ordering::Release);
    }

    /// The newest state that holds no record after `at`; those that can't be read or aren't ours are passed over.
    #[must_use]
    pub fn newest(&self, at: u64) -> Option<KeptState> {
        let mut files = self.files();
        files.retain(|(sequence, _)| *sequence <= at);
        files.into_iter().rev().find_map(|(sequence, path)| match self.read(sequence, &path) {
            Ok(state) => Some(state),
            Err(why) => {
                tracing::info!(path = %path.display(), why, "a kept state isn't used");
                None
            }
        })
    }

    /// The sequences of the files that are there, whether they fit or not, in order.
    #[must_use]
    pub fn sequences(&self) -> Vec<u64> {
        self.files().into_iter().map(|(sequence, _)| sequence).collect()
    }

    /// Throws every state away that holds no record after `at`, those included that are still being written: they hold
    /// what is erased by then. Durable when it returns.
    pub fn forget(&self, at: u64) -> io::Result<()> {
        self.floor.fetch_max(at, Ordering::AcqRel);
        let mut removed = false;
        for (sequence, path) in self.files() {
            if sequence <= at {
                match fs::remove_file(&path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    Ok(()) | Err(_) => removed = true,
                }
            }
        }
        if removed { disk::sync_dir(&self.dir) } else { Ok(()) }
    }

    /// Whether a state must not be kept any more.
    fn is_forgotten(&self, sequence: u64) -> bool {
        sequence <= self.floor.load(Ordering::Acquire)
    }

    /// Throws a file away.
    pub(crate) fn discard(&self, sequence: u64) {
        let path = self.path(sequence);
        if let Err(error) = fs::remove_file(&path) {
            tracing::debug!(path = %path.display(), %error, "a kept state couldn't be removed");
        }
    }

    fn read(&self, sequence: u64, path: &Path) -> Result<KeptState, String> {
        let wrong = |what: &str| what.to_owned();
        if fs::metadata(path).map_err(|error| error.to_string())?.len() > MAX_FILE {
            return Err(wrong("it is too large"));
        }
        let bytes = fs::read(path).map_err(|error| error.to_string())?;
        let (rest, length) = bytes.split_last_chunk::<4>().ok_or("it is cut short")?;
        let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
        let to = rest.len().checked_sub(length).ok_or("it is cut short")?;
        let (signed, note) = rest.split_at_checked(to).ok_or("it is cut short")?;
        let note = Checkpoint::open(note, &self.origin, &self.key).map_err(|error| error.to_string())?;
        if note.size != sequence || note.root != Hash::of(signed) {
            return Err(wrong("its content isn't what was signed"));
        }
        let end = signed.iter().position(|byte| *byte == b'\n').ok_or("it has no first line")?;
        let first = signed.get(..end).and_then(|first| std::str::from_utf8(first).ok()).unwrap_or_default();
        let (link, time_ms) = self.header(first, sequence).ok_or("another program or format wrote it")?;
        Ok(KeptState { sequence, link, time_ms, from: end.saturating_add(1), to, bytes })
    }

    fn header(&self, first: &str, sequence: u64) -> Option<(Hash, u64)> {
        let mut parts = first.split(' ');
        let ours = parts.next()? == MAGIC
            && parts.next().is_some_and(|format| self.format.is_empty() || format == self.format)
            && parts.next()? == env!("CARGO_PKG_VERSION")
            && parts.next()? == sequence.to_string();
        let link = hex(parts.next()?)?;
        let time_ms = parts.next()?.parse().ok()?;
        (ours && parts.next().is_none()).then_some((link, time_ms))
    }

    fn path(&self, sequence: u64) -> PathBuf {
        self.dir.join(format!("{sequence:012}.state"))
    }

    fn files(&self) -> Vec<(u64, PathBuf)> {
        let Ok(entries) = fs::read_dir(&self.dir) else { return Vec::new() };
        let mut files: Vec<_> = entries
            .filter_map(|entry| {
                let path = entry.ok()?.path();
                let sequence = path.file_name()?.to_str()?.strip_suffix(".state")?.parse().ok()?;
                Some((sequence, path))
            })
            .collect();
        files.sort_unstable();
        files
    }
}

impl Pace {
    /// Whether a state is due after so many bytes of journal: as many as the last state had, so that all states together
    /// are no larger than the journal; and none is being written.
    pub(crate) fn is_due(&self, bytes: u64) -> bool {
        !self.busy.load(Ordering::Acquire) && bytes >= self.size.load(Ordering::Relaxed)
    }
    /// A job is sent.
    pub(crate) fn begin(&self) {
        self.busy.store(true, Ordering::Release);
    }
    /// A job could not be sent.
    pub(crate) fn end(&self) {
        self.busy.store(false, Ordering::Release);
    }
}

impl Keeper {
    pub(crate) fn new(states: KeptStates, key: Arc<SigningKey>, pace: Arc<Pace>) -> Self {
        let last = states.files().pop().and_then(|(_, path)| fs::metadata(path).ok());
        pace.size.store(last.map_or(0, |last| last.len()), Ordering::Relaxed);
        Self { states, key, pace }
    }

    /// Writes states until the writer has ended. A failure costs nothing but the next start's time.
    pub(crate) fn run(self, jobs: &Receiver<Job>) {
        self.clear();
        for job in jobs {
            let sequence = job.sequence;
            match self.write(job) {
                Ok(size) => self.pace.size.store(size, Ordering::Relaxed),
                Err(error) => tracing::warn!(sequence, %error, "the state couldn't be kept"),
            }
            self.thin();
            self.pace.end();
        }
    }

    fn write(&self, Job { sequence, link, time_ms, state }: Job) -> io::Result<u64> {
        disk::create_dir(&self.states.dir)?;
        let fresh = self.states.dir.join("new");
        let mut out = Hashing {
            out: BufWriter::new(disk::open_private(&fresh, true)?),
            hash: Context::new(&SHA256),
            size: 0,
        };
        let (format, program) = (self.states.format, env!("CARGO_PKG_VERSION"));
        writeln!(out, "{MAGIC} {format} {program} {sequence} {link} {time_ms}")?;
        state(&mut out)?;
        let Hashing { mut out, hash, size } = out;
        let root = Hash::from_slice(hash.finish().as_ref()).ok_or(io::ErrorKind::InvalidData)?;
        let note = Checkpoint { origin: self.states.origin.clone(), size: sequence, root }.sign(&self.key);
        let length = u32::try_from(note.len()).map_err(|_| io::ErrorKind::InvalidData)?;
        out.write_all(note.as_bytes())?;
        out.write_all(&length.to_le_bytes())?;
        out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        if self.states.is_forgotten(sequence) {
            fs::remove_file(&fresh)?;
            return Ok(size);
        }
        fs::rename(&fresh, self.states.path(sequence))?;
        if self.states.is_forgotten(sequence) {
            // It was forgotten between the look and the name.
            self.states.discard(sequence);
        }
        disk::sync_dir(&self.states.dir)?;
        Ok(size.saturating_add(note.len().try_into().unwrap_or(0)))
    }

    /// What another program or another form of state left behind serves nobody any more.
    fn clear(&self) {
        for (sequence, path) in self.states.files() {
            let mut start = Vec::new();
            let read = File::open(&path).and_then(|file| file.take(MAX_LINE).read_to_end(&mut start));
            let first = start.split(|byte| *byte == b'\n').next();
            let first = first.and_then(|first| std::str::from_utf8(first).ok());
            if read.is_ok() && first.is_none_or(|first| self.states.header(first, sequence).is_none()) {
                self.states.discard(sequence);
            }
        }
    }

    fn thin(&self) {
        let files = self.states.files();
        if files.len() > MAX_FILES {
            let pinned = self.states.pinned.load(Ordering::Acquire);
            for (sequence, _) in files.iter().take(MAX_FILES / 2).step_by(2).filter(|(at, _)| *at != pinned) {
                self.states.discard(*sequence);
            }
        }
    }
}

struct Hashing {
    out: BufWriter<File>,
    hash: Context,
    size: u64,
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write_all(bytes)?;
        self.hash.update(bytes);
        self.size = self.size.saturating_add(bytes.len().try_into().unwrap_or(u64::MAX));
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

pub(crate) fn hex(text: &str) -> Option<Hash> {
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let pairs: Option<Vec<u8>> = digits
        .chunks_exact(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect();
    Hash::from_slice(&pairs?)
}
