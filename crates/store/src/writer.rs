//! The one thread that writes: admits entries in order, frames them, makes a batch durable, then answers.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use futures::channel::oneshot;
use placet_ledger::Hash;
use placet_ledger::frame::{Encoder, Mark};
use placet_ledger::segment::{START, SegmentHeader};

use crate::disk::Disk;
use crate::fold::{At, Fold, FrameSink, Receipt};
use crate::follower::Follow;
use crate::journal::SubmitError;
use crate::kept::{Job, Pace};

/// A full disk is tried again after this time.
const RETRY: Duration = Duration::from_millis(250);

/// Where an answer goes.
pub(crate) type Reply<R> = oneshot::Sender<Result<Receipt, SubmitError<R>>>;

/// What the writer is told.
pub(crate) enum Message<F: Fold> {
    /// `reply`: somebody waits for it to be durable.
    Entry { entry: F::Entry, reply: Option<Reply<F::Refusal>> },
    /// Make everything so far durable.
    Flush(oneshot::Sender<()>),
    /// Another gateway wrote to a shared journal.
    Wake,
    /// The journal is closed.
    Stop,
}

/// What other threads may read.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    pub(crate) durable: AtomicU64,
    pub(crate) time_ms: AtomicU64,
    pub(crate) full: AtomicBool,
    pub(crate) stopped: AtomicBool,
    pub(crate) failure: Mutex<Option<String>>,
    /// When a shared journal's database was heard of last.
    pub(crate) contact: Mutex<Option<Instant>>,
    /// Why a shared journal can't be reached now.
    pub(crate) unreachable: Mutex<Option<String>>,
    /// How long commits to a shared journal's database took.
    pub(crate) commits: Mutex<crate::postgres::Commits>,
}

/// The segment in use and the one filled ahead.
pub(crate) struct Segments {
    pub(crate) disk: Disk,
    pub(crate) journal: [u8; 16],
    pub(crate) file: File,
    /// Where the next batch goes, and the file's size.
    pub(crate) offset: u64,
    pub(crate) size: u64,
    pub(crate) next: Next,
}

/// The segment ahead.
pub(crate) enum Next {
    Filling(JoinHandle<io::Result<File>>),
    Ready(File),
    Failed { at: Instant },
}

impl Segments {
    /// Whether an entry of any permitted size can be written now, in this segment or the next.
    pub(crate) fn has_room(&mut self, queued: usize, entry: usize) -> bool {
        let needed = bytes(queued.saturating_add(entry));
        if self.size.saturating_sub(self.offset) >= needed {
            return true;
        }
        self.next_is_ready()
    }

    fn next_is_ready(&mut self) -> bool {
        if let Next::Failed { at } = &self.next
            && at.elapsed() >= RETRY
        {
            self.next = fill(&self.disk);
        }
        self.next = match std::mem::replace(&mut self.next, Next::Failed { at: Instant::now() }) {
            Next::Filling(thread) => match thread.join() {
                Ok(Ok(file)) => Next::Ready(file),
                Ok(Err(error)) => {
                    tracing::error!(%error, "no room for the journal's next segment: calls are refused");
                    Next::Failed { at: Instant::now() }
                }
                Err(_) => Next::Failed { at: Instant::now() },
            },
            other @ (Next::Ready(_) | Next::Failed { .. }) => other,
        };
        matches!(self.next, Next::Ready(_))
    }

    /// Goes on in the segment ahead. Everything before `first` is durable.
    pub(crate) fn rotate(&mut self, first: u64, link: Hash) -> io::Result<()> {
        if !self.next_is_ready() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let Next::Ready(file) = std::mem::replace(&mut self.next, Next::Failed { at: Instant::now() }) else {
            return Err(io::ErrorKind::StorageFull.into());
        };
        self.size = file.metadata()?.len();
        self.file = self.disk.activate(file, &SegmentHeader { first, journal: self.journal, link })?;
        self.offset = bytes(START);
        self.next = fill(&self.disk);
        Ok(())
    }
}

/// Fills a segment ahead on a thread of its own.
pub(crate) fn fill(disk: &Disk) -> Next {
    let disk = disk.clone();
    match std::thread::Builder::new().name("journal-fill".into()).spawn(move || disk.preallocate()) {
        Ok(thread) => Next::Filling(thread),
        Err(error) => {
            tracing::error!(%error, "no thread to fill the journal's next segment");
            Next::Failed { at: Instant::now() }
        }
    }
}

/// The bounds of a batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Bytes after which a batch is committed.
    pub(crate) batch_bytes: usize,
    /// Entries after which a batch is committed.
    pub(crate) batch_entries: usize,
    /// Bytes of one entry's frames.
    pub(crate) entry_bytes: usize,
    /// How long an entry that nobody waits for may stay in memory.
    pub(crate) linger: Duration,
}

pub(crate) struct Pending<F: Fold> {
    pub(crate) token: F::Token,
    pub(crate) receipt: Receipt,
    pub(crate) reply: Option<Reply<F::Refusal>>,
}

pub(crate) struct Writer<F: Fold> {
    pub(crate) fold: F,
    pub(crate) segments: Segments,
    pub(crate) encoder: Encoder,
    pub(crate) bounds: Bounds,
    pub(crate) clock: Arc<dyn Fn() -> u64 + Send + Sync>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) follower: Sender<Follow>,
    pub(crate) time_ms: u64,
    pub(crate) keeping: Keeping,
    batch: Batch<F>,
}

/// When the state is kept next, and by whom.
pub(crate) struct Keeping {
    pub(crate) every: u64,
    pub(crate) pace: Arc<Pace>,
    pub(crate) jobs: SyncSender<Job>,
    /// The last record that is in the last state, and the journal's bytes since.
    pub(crate) last: u64,
    pub(crate) bytes: u64,
}

impl Keeping {
    /// Has the state written down, if it is time.
    pub(crate) fn keep<F: Fold>(&mut self, fold: &F, last: u64, link: Hash, time_ms: u64) {
        let Self { every, pace, jobs, last: kept, bytes } = self;
        if F::FORMAT.is_empty() || last.saturating_sub(*kept) < *every || !pace.is_due(*bytes) {
            return;
        }
        let Some(state) = fold.keep() else { return };
        pace.begin();
        let job = Job { sequence: last, link, time_ms, state };
        if jobs.try_send(job).is_err() {
            pace.end();
        }
        (*kept, *bytes) = (last, 0);
    }
}

struct Batch<F: Fold> {
    pending: Vec<Pending<F>>,
    leaves: Vec<(Arc<str>, Hash)>,
    names: HashSet<Arc<str>>,
    flushes: Vec<oneshot::Sender<()>>,
    /// Refused because of what stands before it in this batch: told when that is there to be seen.
    refused: Vec<(Reply<F::Refusal>, F::Refusal)>,
    /// When it is committed at the latest; at once if somebody waits.
    due: Option<Instant>,
    waited_for: bool,
}

/// What is needed to make a [`Writer`].
pub(crate) struct Parts<F: Fold> {
    pub(crate) fold: F,
    pub(crate) segments: Segments,
    pub(crate) encoder: Encoder,
    pub(crate) bounds: Bounds,
    pub(crate) clock: Arc<dyn Fn() -> u64 + Send + Sync>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) follower: Sender<Follow>,
    pub(crate) time_ms: u64,
    pub(crate) keeping: Keeping,
}

/// Whatever ends the writer, a panic of the fold included, stops the journal.
pub(crate) struct Stopped(pub(crate) Arc<Shared>);

impl Drop for Stopped {
    fn drop(&mut self) {
        self.0.stopped.store(true, Ordering::Release);
    }
}

impl<F: Fold> Writer<F> {
    pub(crate) fn new(parts: Parts<F>) -> Self {
        let Parts { fold, segments, encoder, bounds, clock, shared, follower, time_ms, keeping } = parts;
        let batch = Batch {
            pending: Vec::new(),
            leaves: Vec::new(),
            names: HashSet::new(),
            flushes: Vec::new(),
            refused: Vec::new(),
            due: None,
            waited_for: false,
        };
        Self { fold, segments, encoder, bounds, clock, shared, follower, time_ms, keeping, batch }
    }

    /// Writes until the journal is closed or the disk fails. Entries that are still queued then are never answered,
    /// and their submitters read that as `Unrecorded`.
    pub(crate) fn run(mut self, inbox: &Receiver<Message<F>>) {
        let _stopped = Stopped(Arc::clone(&self.shared));
        if let Err(error) = self.write(inbox) {
            tracing::error!(%error, "the journal can't be written; nothing is accepted until a restart");
            *self.shared.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
        }
    }

    fn write(&mut self, inbox: &Receiver<Message<F>>) -> io::Result<()> {
        loop {
            let full = self.shared.full.load(Ordering::Relaxed);
            let message = match self.batch.due {
                Some(due) => inbox.recv_timeout(due.saturating_duration_since(Instant::now())),
                // Nobody calls a server that isn't ready: that there is room again must be found out here.
                None if full => inbox.recv_timeout(RETRY),
                None => inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            let mut open = match message {
                Ok(message) => self.take(message)?,
                Err(RecvTimeoutError::Timeout) => {
                    if full {
                        self.look_for_room();
                    }
                    true
                }
                Err(RecvTimeoutError::Disconnected) => false,
            };
            while open
                && !self.batch_is_full()
                && let Ok(message) = inbox.try_recv()
            {
                open = self.take(message)?;
            }
            let due = self.batch.due.is_some_and(|due| due <= Instant::now());
            if self.batch.waited_for || due || self.batch_is_full() || !open {
                self.commit()?;
            }
            if !open {
                return Ok(());
            }
        }
    }

    /// Whether another entry fits; who asks whether the disk is full is told the same.
    fn look_for_room(&mut self) -> bool {
        let room = self.segments.has_room(self.encoder.bytes().len(), self.bounds.entry_bytes);
        self.shared.full.store(!room, Ordering::Relaxed);
        room
    }

    fn batch_is_full(&self) -> bool {
        self.batch.pending.len() >= self.bounds.batch_entries
            || self.encoder.bytes().len() >= self.bounds.batch_bytes
    }

    /// Handles a message; `false` when the journal is closed.
    fn take(&mut self, message: Message<F>) -> io::Result<bool> {
        match message {
            Message::Entry { entry, reply } => self.admit(entry, reply)?,
            Message::Flush(done) => {
                self.batch.flushes.push(done);
                self.batch.waited_for = true;
            }
            Message::Wake => {}
            Message::Stop => return Ok(false),
        }
        Ok(true)
    }

    fn admit(&mut self, entry: F::Entry, reply: Option<Reply<F::Refusal>>) -> io::Result<()> {
        // Before the fold sees it: an entry that it applied must be written or the journal is lost.
        if !self.look_for_room() {
            answer(reply, Err(SubmitError::Full));
            return Ok(());
        }
        let time_ms = (self.clock)().max(self.time_ms);
        let (mark, leaves) = (self.encoder.mark(), self.batch.leaves.len());
        let at = At { sequence: self.encoder.next(), time_ms };
        let mut sink = FrameSink {
            encoder: &mut self.encoder,
            leaves: &mut self.batch.leaves,
            names: &mut self.batch.names,
            time_ms,
            limit: mark.bytes().saturating_add(self.bounds.entry_bytes),
        };
        let token = match self.fold.admit(at, entry, &mut sink) {
            Ok(token) => token,
            Err(refusal) => {
                self.encoder.rollback(&mark);
                self.batch.leaves.truncate(leaves);
                match reply {
                    Some(reply) if !self.batch.pending.is_empty() => {
                        self.batch.refused.push((reply, refusal));
                        self.batch.waited_for = true;
                    }
                    reply => answer(reply, Err(SubmitError::Refused(refusal))),
                }
                return Ok(());
            }
        };
        self.encoder.end_entry();
        self.time_ms = time_ms;
        let left = self.segments.size.saturating_sub(self.segments.offset);
        if bytes(self.encoder.bytes().len()) > left {
            self.commit_up_to(&mark, leaves)?;
            self.segments.rotate(at.sequence, mark.link())?;
        }
        let records = self.encoder.next().saturating_sub(at.sequence);
        self.batch.waited_for |= reply.is_some();
        if self.batch.due.is_none() {
            self.batch.due = Instant::now().checked_add(self.bounds.linger);
        }
        let receipt = Receipt { first: at.sequence, records, time_ms };
        self.batch.pending.push(Pending { token, receipt, reply });
        Ok(())
    }

    /// The entry after `mark` doesn't fit into this segment: finish the segment with those before it.
    fn commit_up_to(&mut self, mark: &Mark, leaves: usize) -> io::Result<()> {
        let bytes_before = self.encoder.bytes().get(..mark.bytes()).unwrap_or_default();
        if !bytes_before.is_empty() {
            self.segments.disk.append(&self.segments.file, bytes_before, self.segments.offset)?;
        }
        self.encoder.committed_up_to(mark);
        let rest = self.batch.leaves.split_off(leaves);
        self.durable(mark.next().saturating_sub(1));
        self.batch.leaves = rest;
        Ok(())
    }

    fn commit(&mut self) -> io::Result<()> {
        let framed = self.encoder.bytes();
        if !framed.is_empty() {
            self.segments.disk.append(&self.segments.file, framed, self.segments.offset)?;
            self.segments.offset = self.segments.offset.saturating_add(bytes(framed.len()));
            self.keeping.bytes = self.keeping.bytes.saturating_add(bytes(framed.len()));
            self.encoder.committed();
        }
        let last = self.encoder.next().saturating_sub(1);
        self.durable(last);
        self.batch.due = None;
        self.batch.waited_for = false;
        self.fold.settled(last);
        self.keeping.keep(&self.fold, last, self.encoder.link(), self.time_ms);
        for flush in self.batch.flushes.drain(..) {
            if flush.send(()).is_err() {
                tracing::debug!("nobody waits for the flush any more");
            }
        }
        Ok(())
    }

    /// The pending entries are on disk, up to `last`.
    fn durable(&mut self, last: u64) {
        self.shared.durable.store(last, Ordering::Release);
        if let Some(entry) = self.batch.pending.last() {
            self.shared.time_ms.store(entry.receipt.time_ms, Ordering::Release);
        }
        if !self.batch.leaves.is_empty() {
            let leaves = std::mem::take(&mut self.batch.leaves);
            if self.follower.send(Follow::Leaves(leaves)).is_err() {
                tracing::error!("the checkpoints' thread is gone; a restart makes them up");
            }
        }
        for Pending { token, receipt, reply } in self.batch.pending.drain(..) {
            self.fold.committed(&receipt, token);
            answer(reply, Ok(receipt));
        }
        for (reply, refusal) in self.batch.refused.drain(..) {
            answer(Some(reply), Err(SubmitError::Refused(refusal)));
        }
    }
}

pub(crate) fn answer<R>(reply: Option<Reply<R>>, result: Result<Receipt, SubmitError<R>>) {
    // Whoever asked may have stopped waiting; the entry stands all the same.
    if let Some(reply) = reply
        && reply.send(result).is_err()
    {
        tracing::trace!("nobody waits for the entry any more");
    }
}

pub(crate) fn bytes(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}
