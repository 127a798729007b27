//! A small fold to test with: tickets that can be used once, counted per tree.

use std::collections::HashSet;
use std::error::Error;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use placet_ledger::checkpoint::{SigningKey, VerifyingKey};
use placet_ledger::frame::{Frame, FrameError};
use placet_store::{
    At, Commons, Faults, Fold, FrameSink, Journal, Keep, Notary, OpenError, OpenReport, Options, Postgres,
    Receipt,
};

use crate::cluster::Cluster;

pub(crate) const ORGANISATION: &str = "example";

/// Records to be written together; `once` may be used only once in the journal's life.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) once: String,
    pub(crate) records: Vec<(&'static str, Vec<u8>)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Spent,
    Frame(FrameError),
}

impl From<FrameError> for Refusal {
    fn from(error: FrameError) -> Self {
        Self::Frame(error)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) replayed: Vec<(u64, u64, String, u8, Vec<u8>)>,
    pub(crate) committed: Vec<(Receipt, String)>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Once {
    spent: HashSet<String>,
    pub(crate) seen: Arc<Mutex<Seen>>,
}

impl Fold for Once {
    type Entry = Entry;
    type Refusal = Refusal;
    type Token = String;
    const FORMAT: &'static str = "once-1";

    fn replay(&mut self, frame: &Frame<'_>) -> Result<(), Box<dyn Error + Send + Sync>> {
        let payload = std::str::from_utf8(frame.payload)?;
        let once = payload.split(' ').next().unwrap_or_default();
        self.spent.insert(once.to_owned());
        self.seen.lock().unwrap().replayed.push((
            frame.sequence,
            frame.time_ms,
            frame.tree.to_owned(),
            frame.kind,
            frame.payload.to_vec(),
        ));
        Ok(())
    }

    fn admit(&mut self, _: At, entry: Entry, out: &mut FrameSink<'_>) -> Result<String, Refusal> {
        if self.spent.contains(&entry.once) {
            return Err(Refusal::Spent);
        }
        for (tree, payload) in &entry.records {
            let mut bytes = format!("{} ", entry.once).into_bytes();
            bytes.extend_from_slice(payload);
            out.push(tree, 7, &bytes)?;
        }
        self.spent.insert(entry.once.clone());
        Ok(entry.once)
    }

    fn committed(&mut self, receipt: &Receipt, token: String) {
        self.seen.lock().unwrap().committed.push((*receipt, token));
    }

    fn keep(&self) -> Option<Keep> {
        let spent = self.spent.clone();
        Some(Box::new(move |out| spent.iter().try_for_each(|once| writeln!(out, "{once}"))))
    }

    fn restore(&mut self, _: u64, kept: &[u8]) -> Result<(), Box<dyn Error + Send + Sync>> {
        self.spent = std::str::from_utf8(kept)?.lines().map(str::to_owned).collect();
        Ok(())
    }
}

pub(crate) fn entry(once: impl Into<String>, tree: &'static str, len: usize) -> Entry {
    Entry { once: once.into(), records: vec![(tree, vec![b'x'; len])] }
}

pub(crate) fn key() -> SigningKey {
    SigningKey::from_seed(&[9; 32]).unwrap()
}

pub(crate) fn public() -> VerifyingKey {
    key().public()
}

pub(crate) fn options() -> Options {
    let notary =
        Notary { organisation: ORGANISATION.into(), key: Arc::new(key()), every: Duration::from_hours(1) };
    Options { segment_bytes: 64 << 10, ..Options::new(|| 1_700_000_000_000, notary) }
}

pub(crate) type Opened = (Journal<Once>, Arc<Mutex<Seen>>, OpenReport);

/// Where a journal is: a directory, and for a shared one its database beside it.
pub(crate) struct Place {
    dir: tempfile::TempDir,
    cluster: Option<Cluster>,
}

impl Place {
    pub(crate) fn files() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), cluster: None }
    }
    pub(crate) fn shared() -> Self {
        let cluster = Cluster::start();
        let _url = cluster.database("placet");
        Self { dir: tempfile::tempdir().unwrap(), cluster: Some(cluster) }
    }
    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }
    /// Runs SQL in its database.
    pub(crate) fn sql(&self, text: &str) -> String {
        self.cluster.as_ref().unwrap().sql("placet", text)
    }
    pub(crate) fn open(&self) -> Result<Opened, OpenError> {
        self.open_with(options())
    }
    pub(crate) fn open_with(&self, options: Options) -> Result<Opened, OpenError> {
        match &self.cluster {
            None => open_with(self.path(), options),
            Some(cluster) => open_shared(self.path(), options, &database(cluster, "one")),
        }
    }
}

/// A gateway's way to the cluster's database.
pub(crate) fn database(cluster: &Cluster, gateway: &str) -> Postgres {
    Postgres::new(&cluster.url("placet"), gateway, None, false).unwrap()
}

pub(crate) fn open_shared(dir: &Path, options: Options, database: &Postgres) -> Result<Opened, OpenError> {
    let fold = Once::default();
    let seen = Arc::clone(&fold.seen);
    let commons = Commons::open(database.clone())?;
    let (journal, report) = Journal::open_shared(dir, options, &commons, fold)?;
    Ok((journal, seen, report))
}

pub(crate) fn open_with(dir: &Path, options: Options) -> Result<Opened, OpenError> {
    let fold = Once::default();
    let seen = Arc::clone(&fold.seen);
    let (journal, report) = Journal::open(dir, options, fold)?;
    Ok((journal, seen, report))
}

pub(crate) fn open(dir: &Path) -> Result<Opened, OpenError> {
    open_with(dir, options())
}

pub(crate) fn with_faults(
    decide: impl Fn(placet_store::Point) -> placet_store::Fault + Send + Sync + 'static,
) -> Options {
    Options { faults: Faults::new(decide), ..options() }
}

/// Copies a data directory's files.
pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// The segments of a data directory, in order.
pub(crate) fn segments(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(dir.join("journal"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "seg"))
        .collect();
    files.sort();
    files
}
