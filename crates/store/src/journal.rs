//! The journal: one directory, one writer, entries durable in the order in which they were admitted.

use std::fmt;
use std::fs::File;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Sender, SyncSender, TrySendError};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use futures::channel::oneshot;
use placet_ledger::frame::Frame;
use placet_ledger::segment::START;

use crate::archive::{Archive, Candidate, History, Manifest, ShelveError, Shelved, Shelving, shelve};
use crate::disk::{self, Disk};
use crate::fault::Faults;
use crate::fold::{Fold, Receipt};
use crate::follower::{Follow, Follower, Health, Notary};
use crate::kept::{Keeper, KeptStates, Pace};
use crate::open::{OpenError, OpenReport, replay, resume};
use crate::postgres::{Commons, SharedParts, SharedWriter, join};
use crate::reader::Reader;
use crate::writer::{Bounds, Keeping, Message, Parts, Shared, Writer};

/// The longest entry: all its frames, 8 MiB, or what a smaller segment holds.
const MAX_ENTRY: usize = 8 << 20;
/// A batch is committed when it holds so much; with ≈ 1 kB a record some 1,000 of them.
const BATCH_BYTES: usize = 1 << 20;
const BATCH_ENTRIES: usize = 4096;
/// An entry that nobody waits for is durable after this time and a sync.
const LINGER: Duration = Duration::from_millis(10);

/// At ≈ 4 µs an entry, some 65 ms of folding.
const KEEP_EVERY: u64 = 16_384;

/// How a journal is opened.
#[derive(Clone)]
pub struct Options {
    /// The wall clock, Unix ms.
    pub clock: Arc<dyn Fn() -> u64 + Send + Sync>,
    /// Who signs the checkpoints; those that are there must be theirs.
    pub notary: Notary,
    /// Bytes of a segment, 16 MiB unless a test wants it small; at least 64 KiB.
    pub segment_bytes: u64,
    /// Entries that may wait for the writer, 4096: with ≈ 1 kB each some 4 MiB. Past it submitters hear `Busy`.
    pub queue: usize,
    /// Entries after which the folded state is kept again, 16,384, and at least as many bytes as the last one had: what a
    /// start or a look back folds at most.
    pub keep_every: u64,
    /// Where segments are that aren't kept here any more.
    pub archive: Option<Archive>,
    /// Faults on purpose, none outside tests.
    pub faults: Faults,
}

impl Options {
    /// The usual bounds.
    pub fn new(clock: impl Fn() -> u64 + Send + Sync + 'static, notary: Notary) -> Self {
        Self {
            clock: Arc::new(clock),
            notary,
            segment_bytes: 16 << 20,
            queue: 4096,
            keep_every: KEEP_EVERY,
            archive: None,
            faults: Faults::none(),
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("notary", &self.notary)
            .field("segment_bytes", &self.segment_bytes)
            .field("queue", &self.queue)
            .finish_non_exhaustive()
    }
}

/// Why an entry isn't acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError<R> {
    /// The fold refused it; it isn't on disk.
    #[error("the entry was refused")]
    Refused(R),
    /// Too many entries wait; it isn't on disk.
    #[error("the journal is busy")]
    Busy,
    /// No room for another segment; it isn't on disk. Passes when there is room again.
    #[error("the journal's disk is full")]
    Full,
    /// The journal has stopped: closed, or a write or sync failed. Whether the entry is on disk is known after a
    /// restart.
    #[error("the entry was not recorded")]
    Unrecorded,
}

/// How the journal is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The last durable sequence.
    pub durable: u64,
    /// Time of the last durable entry, Unix ms.
    pub time_ms: u64,
    /// The disk has no room for another segment: entries are refused for now.
    pub full: bool,
    /// Nothing is accepted until a restart.
    pub stopped: bool,
    /// Why it stopped.
    pub failure: Option<String>,
    /// Why a shared journal's database can't be reached. Nothing is accepted meanwhile; it passes by itself.
    pub unreachable: Option<String>,
    /// How long nothing was heard of a shared journal's database; under a second where all is well. `None`: the journal
    /// isn't shared.
    pub silent: Option<Duration>,
    /// Why trees and checkpoints are behind.
    pub checkpoints: Option<String>,
}

/// A handle on the journal; clones are the same journal, the last one closes it.
pub struct Journal<F: Fold> {
    inner: Arc<Inner<F>>,
}

struct Inner<F: Fold> {
    data: PathBuf,
    states: KeptStates,
    inbox: SyncSender<Message<F>>,
    follower: Mutex<Option<Sender<Follow>>>,
    shared: Arc<Shared>,
    health: Health,
    threads: Vec<JoinHandle<()>>,
    notary: Notary,
    archive: Option<Archive>,
    faults: Faults,
    /// One archiving at a time.
    shelving: Mutex<()>,
    /// The database of a shared journal: the lease ends with the last handle.
    commons: Option<Commons>,
    /// Held until all threads have ended.
    _lock: File,
}

/// The answer to a durable entry, as a future of any runtime or by [`Ticket::wait`]. Dropping it changes nothing.
#[must_use = "whether the entry is durable is known only by waiting"]
#[derive(Debug)]
pub struct Ticket<R>(Waiting<R>);

#[derive(Debug)]
enum Waiting<R> {
    For(oneshot::Receiver<Result<Receipt, SubmitError<R>>>),
    Refused(Option<SubmitError<R>>),
}

impl<F: Fold> Journal<F> {
    /// Opens or creates the journal below `data`: replays every record to `fold`, cuts a torn tail, refuses anything
    /// else with its exact place, and refuses a journal that is behind or beside its checkpoints.
    pub fn open(data: &Path, options: Options, mut fold: F) -> Result<(Self, OpenReport), OpenError> {
        let began = Instant::now();
        let io = |error| OpenError::Io { path: data.to_owned(), error };
        disk::create_dir(data).map_err(io)?;
        let lock = disk::lock(data).map_err(io)?.ok_or_else(|| OpenError::Locked(data.to_owned()))?;
        let segment_bytes = options.segment_bytes.max(64 << 10);
        let disk = Disk::open(data, segment_bytes, options.faults.clone()).map_err(io)?;
        let public = options.notary.key.public();
        let states = KeptStates::new(data, &options.notary.organisation, public, F::FORMAT);
        let manifest = Manifest::verified(data, &options.notary.organisation, &public)?;
        states.pin(manifest.as_ref().map_or(0, |manifest| manifest.state));
        let history = History { manifest: manifest.map(Arc::new), archive: options.archive.clone() };
        let mut remade = None;
        let (walked, checks, kept) =
            replay(data, &options.notary, &states, (&history, &mut remade), &mut fold)?;
        let (segments, encoder) = resume(disk, &walked, None).map_err(io)?;
        let report = OpenReport {
            records: walked.records,
            segments: walked.segments,
            kept,
            took: began.elapsed(),
            cut: walked.torn(),
        };

        fold.started();
        let shared = Arc::new(Shared::default());
        shared.durable.store(walked.records, Ordering::Release);
        shared.time_ms.store(walked.last_time_ms, Ordering::Release);
        let health = Health::default();
        let (leaves, inbox) = mpsc::channel();
        let (jobs, to_keep) = mpsc::sync_channel(1);
        let pace = Arc::new(Pace::default());
        let keeper = Keeper::new(states.clone(), Arc::clone(&options.notary.key), Arc::clone(&pace));
        if let Some(remade) = remade {
            pace.begin();
            if jobs.try_send(remade).is_err() {
                pace.end();
            }
        }
        let (notary, archive, faults) =
            (options.notary.clone(), options.archive.clone(), options.faults.clone());
        let follower = Follower::new(data, options.notary, options.faults, checks.trees, Arc::clone(&health));
        let writer = Writer::new(Parts {
            fold,
            segments,
            encoder,
            bounds: bounds(segment_bytes),
            clock: options.clock,
            shared: Arc::clone(&shared),
            follower: leaves.clone(),
            time_ms: walked.last_time_ms,
            keeping: Keeping {
                every: options.keep_every.max(1),
                pace,
                jobs,
                last: kept,
                // Without a state the next start would fold everything again: one is due.
                bytes: if kept == 0 { u64::MAX } else { 0 },
            },
        });
        let (entries, queue) = mpsc::sync_channel(options.queue.max(1));
        let threads = vec![
            spawn("journal", move || writer.run(&queue)).map_err(io)?,
            spawn("checkpoints", move || follower.run(&inbox)).map_err(io)?,
            spawn("states", move || keeper.run(&to_keep)).map_err(io)?,
        ];
        let inner = Inner {
            data: data.to_owned(),
            states,
            inbox: entries,
            follower: Mutex::new(Some(leaves)),
            shared,
            health,
            threads,
            notary,
            archive,
            faults,
            shelving: Mutex::default(),
            commons: None,
            _lock: lock,
        };
        Ok((Self { inner: Arc::new(inner) }, report))
    }

    /// Opens the journal of a database that several gateways share. `data` holds this gateway's copy of it, from which
    /// everything is read; what the copy lacks is fetched first, and a database that has less than the copy, or
    /// something else, is refused.
    pub fn open_shared(
        data: &Path,
        options: Options,
        commons: &Commons,
        mut fold: F,
    ) -> Result<(Self, OpenReport), OpenError>
    where
        F: Clone,
    {
        let began = Instant::now();
        let io = |error| OpenError::Io { path: data.to_owned(), error };
        disk::create_dir(data).map_err(io)?;
        let lock = disk::lock(data).map_err(io)?.ok_or_else(|| OpenError::Locked(data.to_owned()))?;
        let segment_bytes = options.segment_bytes.max(64 << 10);
        let disk = Disk::open(data, segment_bytes, options.faults.clone()).map_err(io)?;
        let public = options.notary.key.public();
        let states = KeptStates::new(data, &options.notary.organisation, public, F::FORMAT);
        let joined = join(data, disk, &options.notary, &states, commons, &mut fold)?;
        fold.started();
        let report = OpenReport {
            records: joined.replica.last(),
            segments: joined.segments,
            kept: joined.kept,
            took: began.elapsed(),
            cut: None,
        };
        let shared = Arc::new(Shared::default());
        shared.durable.store(joined.replica.last(), Ordering::Release);
        shared.time_ms.store(joined.time_ms, Ordering::Release);
        *shared.contact.lock().unwrap_or_else(PoisonError::into_inner) = Some(began);
        let health = Health::default();
        let (leaves, inbox) = mpsc::channel();
        let (jobs, to_keep) = mpsc::sync_channel(1);
        let pace = Arc::new(Pace::default());
        let keeper = Keeper::new(states.clone(), Arc::clone(&options.notary.key), Arc::clone(&pace));
        let (notary, faults) = (options.notary.clone(), options.faults.clone());
        let follower = Follower::new(data, options.notary, options.faults, joined.trees, Arc::clone(&health));
        let (entries, queue) = mpsc::sync_channel(options.queue.max(1));
        let bounds = bounds(segment_bytes);
        let writer = SharedWriter::new(SharedParts {
            fold,
            replica: joined.replica,
            session: joined.session,
            commons: commons.clone(),
            bounds,
            clock: options.clock,
            shared: Arc::clone(&shared),
            follower: leaves.clone(),
            time_ms: joined.time_ms,
            keeping: Keeping {
                every: options.keep_every.max(1),
                pace,
                jobs,
                last: joined.kept,
                bytes: if joined.kept == 0 { u64::MAX } else { 0 },
            },
        });
        let wake = entries.clone();
        commons.on_notice(move || wake.try_send(Message::Wake).is_ok());
        let threads = vec![
            spawn("journal", move || writer.run(&queue)).map_err(io)?,
            spawn("checkpoints", move || follower.run(&inbox)).map_err(io)?,
            spawn("states", move || keeper.run(&to_keep)).map_err(io)?,
        ];
        let inner = Inner {
            data: data.to_owned(),
            states,
            inbox: entries,
            follower: Mutex::new(Some(leaves)),
            shared,
            health,
            threads,
            notary,
            archive: None,
            faults,
            shelving: Mutex::default(),
            commons: Some(commons.clone()),
            _lock: lock,
        };
        Ok((Self { inner: Arc::new(inner) }, report))
    }

    /// Submits an entry and answers when it is on disk.
    pub fn durable(&self, entry: F::Entry) -> Ticket<F::Refusal> {
        let (reply, answer) = oneshot::channel();
        Ticket(match self.inner.send(Message::Entry { entry, reply: Some(reply) }) {
            Ok(()) => Waiting::For(answer),
            Err(error) => Waiting::Refused(Some(error)),
        })
    }

    /// Submits an entry that nobody waits for: it rides the next batch, at the latest after 10 ms. What the fold says
    /// to it, the fold alone hears.
    pub fn queued(&self, entry: F::Entry) -> Result<(), SubmitError<F::Refusal>> {
        self.inner.send(Message::Entry { entry, reply: None })
    }

    /// Answers when everything submitted before is on disk or refused. `false`: the journal has stopped, or is busy.
    pub async fn flush(&self) -> bool {
        let (done, answer) = oneshot::channel();
        self.inner.send(Message::Flush(done)).is_ok() && answer.await.is_ok()
    }

    /// Brings trees and checkpoints up to the last commit now; blocks. They follow by themselves.
    pub fn checkpoint(&self) -> Result<(), String> {
        let (done, answer) = mpsc::channel();
        let sent = self
            .inner
            .follower
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .as_ref()
            .is_some_and(|follower| follower.send(Follow::Seal(done)).is_ok());
        match answer.recv() {
            Ok(sealed) if sent => sealed,
            _ => Err("the checkpoints' thread has ended".to_owned()),
        }
    }

    /// Reads what is durable while the journal is written.
    #[must_use]
    pub fn reader(&self) -> Reader {
        Reader::live(&self.inner.data, Arc::clone(&self.inner.shared))
            .with_archive(self.inner.archive.clone())
    }

    /// Moves the oldest segments that `goes` lets go into the archive; blocks. `mark` is what is to be remembered of an
    /// archived record. `None`: no archive was named, or the journal is a database's.
    pub fn shelve(
        &self,
        margin: u64,
        dry_run: bool,
        goes: impl FnMut(&Candidate) -> bool,
        mark: impl FnMut(&Frame<'_>) -> Option<String>,
    ) -> Option<Result<Shelved, ShelveError>> {
        let Inner { data, notary, archive, states, faults, .. } = &*self.inner;
        let archive = archive.as_ref()?;
        let _one = self.inner.shelving.lock().unwrap_or_else(PoisonError::into_inner);
        let faults = faults.clone();
        let shelving = Shelving { notary, archive, states, margin, dry_run, faults };
        Some(shelve(data, &shelving, goes, mark))
    }

    /// Time of the last durable entry, of any gateway, Unix ms; 0 before the first.
    #[must_use]
    pub fn time_ms(&self) -> u64 {
        self.inner.shared.time_ms.load(Ordering::Acquire)
    }

    /// The folded states that are kept beside the journal.
    #[must_use]
    pub fn states(&self) -> KeptStates {
        self.inner.states.clone()
    }

    /// How long commits to a shared journal's database took; all zero where the journal isn't shared.
    #[must_use]
    pub fn commits(&self) -> crate::postgres::Commits {
        *self.inner.shared.commits.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// How the journal is.
    #[must_use]
    pub fn status(&self) -> Status {
        let shared = &self.inner.shared;
        Status {
            durable: shared.durable.load(Ordering::Acquire),
            time_ms: shared.time_ms.load(Ordering::Acquire),
            full: shared.full.load(Ordering::Relaxed),
            stopped: shared.stopped.load(Ordering::Acquire),
            failure: shared.failure.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            silent: shared
                .contact
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .map(|contact| contact.elapsed()),
            unreachable: shared.unreachable.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            checkpoints: self.inner.health.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}

impl<F: Fold> Clone for Journal<F> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<F: Fold> fmt::Debug for Journal<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal").field("data", &self.inner.data).finish_non_exhaustive()
    }
}

impl<F: Fold> Inner<F> {
    fn send(&self, message: Message<F>) -> Result<(), SubmitError<F::Refusal>> {
        self.inbox.try_send(message).map_err(|error| match error {
            TrySendError::Full(_) => SubmitError::Busy,
            TrySendError::Disconnected(_) => SubmitError::Unrecorded,
        })
    }
}

/// Closing commits what is queued and signs a last time.
impl<F: Fold> Drop for Inner<F> {
    fn drop(&mut self) {
        // Blocks while the queue is full; fails if the writer has ended already.
        if self.inbox.send(Message::Stop).is_err() {
            tracing::debug!("the journal had stopped");
        }
        self.follower.lock().unwrap_or_else(PoisonError::into_inner).take();
        let here = std::thread::current().id();
        for thread in self.threads.drain(..) {
            // A fold that holds the last handle is dropped by the writer itself.
            if thread.thread().id() != here && thread.join().is_err() {
                tracing::error!("a thread of the journal panicked");
            }
        }
        if let Some(commons) = self.commons.take() {
            commons.leave();
        }
    }
}

impl<R> Ticket<R> {
    /// Waits on this thread.
    pub fn wait(self) -> Result<Receipt, SubmitError<R>>
    where
        R: Unpin,
    {
        futures::executor::block_on(self)
    }
}

impl<R: Unpin> Future for Ticket<R> {
    type Output = Result<Receipt, SubmitError<R>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Waiting::For(answer) => {
                Pin::new(answer).poll(context).map(|answer| answer.unwrap_or(Err(SubmitError::Unrecorded)))
            }
            Waiting::Refused(error) => Poll::Ready(Err(error.take().unwrap_or(SubmitError::Unrecorded))),
        }
    }
}

fn bounds(segment_bytes: u64) -> Bounds {
    let entry_bytes =
        usize::try_from(segment_bytes).unwrap_or(MAX_ENTRY).saturating_sub(START).min(MAX_ENTRY);
    Bounds { batch_bytes: BATCH_BYTES, batch_entries: BATCH_ENTRIES, entry_bytes, linger: LINGER }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.into()).spawn(run)
}
