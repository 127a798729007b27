//! The one thread that writes to a shared journal: a batch is a transaction, and nobody is answered before its end is
//! known.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use futures::channel::oneshot;
use placet_ledger::Hash;
use placet_ledger::frame::{self, Encoder, HEADER};
use tokio::runtime::Runtime;

use super::replica::{Replica, ReplicaError};
use super::session::{Session, Stored, Written};
use super::{Commons, DatabaseError};
use crate::fold::{At, Fold, FrameSink, Receipt};
use crate::follower::Follow;
use crate::journal::SubmitError;
use crate::open::random;
use crate::writer::{Bounds, Keeping, Message, Pending, Reply, Shared, Stopped, answer, bytes};

/// How often the database is asked for what others wrote where no notice came.
const POLL: Duration = Duration::from_millis(250);
/// How long somebody waits for a database that can't be reached.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long somebody waits to hear whether a commit that broke off is in.
const DOUBT: Duration = Duration::from_secs(5);
/// A connection is tried again after this time.
const RETRY: Duration = Duration::from_millis(100);
/// Other gateways' batches larger than this together are folded without holding the lock.
const LONG: usize = 1 << 20;

/// What is needed to make a [`SharedWriter`].
pub(crate) struct SharedParts<F: Fold> {
    pub(crate) fold: F,
    pub(crate) replica: Replica,
    pub(crate) session: (Runtime, Session),
    pub(crate) commons: Commons,
    pub(crate) bounds: Bounds,
    pub(crate) clock: Arc<dyn Fn() -> u64 + Send + Sync>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) follower: Sender<Follow>,
    pub(crate) time_ms: u64,
    pub(crate) keeping: Keeping,
}

/// The writer of a shared journal.
pub(crate) struct SharedWriter<F: Fold + Clone> {
    fold: F,
    replica: Replica,
    runtime: Runtime,
    session: Option<Session>,
    retry_at: Option<Instant>,
    commons: Commons,
    bounds: Bounds,
    clock: Arc<dyn Fn() -> u64 + Send + Sync>,
    shared: Arc<Shared>,
    follower: Sender<Follow>,
    time_ms: u64,
    names: HashSet<Arc<str>>,
    waiting: VecDeque<Waiting<F>>,
    flushes: Vec<(Instant, oneshot::Sender<()>)>,
    doubtful: Option<Doubtful<F>>,
    keeping: Keeping,
}

/// An entry that no fold has seen yet.
struct Waiting<F: Fold> {
    entry: F::Entry,
    reply: Option<Reply<F::Refusal>>,
    since: Instant,
}

/// How an entry of a batch fares, told when the batch's end is known.
enum Fate<F: Fold> {
    Taken(Pending<F>),
    Refused(Option<Reply<F::Refusal>>, SubmitError<F::Refusal>),
}

/// What was framed for a transaction.
struct Framed {
    first: u64,
    last: u64,
    link: Hash,
    time_ms: u64,
    id: [u8; 16],
    bytes: Vec<u8>,
}

/// A batch whose transaction broke off.
struct Doubtful<F: Fold> {
    framed: Framed,
    fates: Vec<Fate<F>>,
    before: F,
    since: Instant,
    /// Those who waited were told that it isn't known to be recorded.
    told: bool,
}

/// Why the journal stops for good.
#[derive(Debug, thiserror::Error)]
enum Fatal {
    #[error("{0}")]
    Replica(ReplicaError),
    #[error(
        "record {sequence} of another gateway can't be folded: {message}; was it written by a newer version?"
    )]
    Replay { sequence: u64, message: String },
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("the database's head is at {database}, its journal ends before {journal}")]
    Head { database: u64, journal: u64 },
}

/// How a turn ended.
enum Turn {
    /// Nothing more to do now.
    Done,
    /// At once again.
    Again,
}

impl<F: Fold + Clone> SharedWriter<F> {
    pub(crate) fn new(parts: SharedParts<F>) -> Self {
        let SharedParts {
            fold,
            replica,
            session,
            commons,
            bounds,
            clock,
            shared,
            follower,
            time_ms,
            keeping,
        } = parts;
        Self {
            fold,
            replica,
            runtime: session.0,
            session: Some(session.1),
            retry_at: None,
            commons,
            bounds,
            clock,
            shared,
            follower,
            time_ms,
            names: HashSet::new(),
            waiting: VecDeque::new(),
            flushes: Vec::new(),
            doubtful: None,
            keeping,
        }
    }

    /// Writes until the journal is closed, or its copy can't be written, or the database has another past than ours.
    pub(crate) fn run(mut self, inbox: &Receiver<Message<F>>) {
        let _stopped = Stopped(Arc::clone(&self.shared));
        if let Err(error) = self.write(inbox) {
            tracing::error!(%error, "the shared journal can't be followed; nothing is accepted until a restart");
            *self.shared.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
        }
        if let Err(error) = self.replica.sync() {
            tracing::warn!(%error, "the journal's copy couldn't be synced; what it lacks is fetched at the next start");
        }
    }

    fn write(&mut self, inbox: &Receiver<Message<F>>) -> Result<(), Fatal> {
        let mut again = false;
        loop {
            let wait = if again { Duration::ZERO } else { self.wait() };
            let mut open = match inbox.recv_timeout(wait) {
                Ok(message) => self.take(message),
                Err(RecvTimeoutError::Timeout) => true,
                Err(RecvTimeoutError::Disconnected) => false,
            };
            // Bounded: what doesn't fit stays in the inbox, which says `Busy` when it is full.
            while open
                && self.waiting.len() < self.bounds.batch_entries
                && let Ok(message) = inbox.try_recv()
            {
                open = self.take(message);
            }
            again = match self.turn(!open) {
                Ok(turn) => matches!(turn, Turn::Again),
                Err(Broken::Fatal(fatal)) => return Err(fatal),
                Err(Broken::Database(error)) => {
                    self.lost(&error);
                    false
                }
            };
            self.give_up();
            let idle = self.waiting.is_empty() && self.flushes.is_empty() && self.doubtful.is_none();
            if !open && (idle || self.session.is_none()) {
                return Ok(());
            }
        }
    }

    /// Until when nothing need be done.
    fn wait(&self) -> Duration {
        if let Some(at) = self.retry_at {
            return at.saturating_duration_since(Instant::now());
        }
        if !self.flushes.is_empty() || self.doubtful.is_some() {
            return Duration::ZERO;
        }
        if self.waiting.iter().any(|waiting| waiting.reply.is_some()) {
            return Duration::ZERO;
        }
        self.waiting.front().map_or(POLL, |first| self.bounds.linger.saturating_sub(first.since.elapsed()))
    }

    /// Handles a message; `false` when the journal is closed.
    fn take(&mut self, message: Message<F>) -> bool {
        match message {
            Message::Entry { entry, reply } => {
                self.waiting.push_back(Waiting { entry, reply, since: Instant::now() });
            }
            Message::Flush(done) => self.flushes.push((Instant::now(), done)),
            Message::Wake => {}
            Message::Stop => return false,
        }
        true
    }

    /// Whether the entries that wait are to be written now.
    fn due(&self, closing: bool) -> bool {
        closing
            || !self.flushes.is_empty()
            || self.waiting.len() >= self.bounds.batch_entries
            || self.waiting.iter().any(|waiting| waiting.reply.is_some())
            || self.waiting.front().is_some_and(|first| first.since.elapsed() >= self.bounds.linger)
    }

    /// Settles a doubtful batch, then writes one, or hears what others wrote.
    fn turn(&mut self, closing: bool) -> Result<Turn, Broken> {
        if self.retry_at.is_some_and(|at| Instant::now() < at) {
            return Ok(Turn::Done);
        }
        let session = match self.session.take() {
            Some(session) => session,
            None => self.runtime.block_on(Session::open(self.commons.database()))?,
        };
        let turn = self.turn_on(&session, closing);
        // After an error of the database the session is dropped, and with it whatever transaction it had.
        if turn.is_ok() {
            self.session = Some(session);
            self.retry_at = None;
            *self.shared.unreachable.lock().unwrap_or_else(PoisonError::into_inner) = None;
            *self.shared.contact.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        }
        turn
    }

    fn turn_on(&mut self, session: &Session, closing: bool) -> Result<Turn, Broken> {
        if let Some(doubtful) = self.doubtful.take() {
            self.settle(session, doubtful)?;
        }
        if self.waiting.is_empty() || !self.due(closing) {
            let newer = self.runtime.block_on(session.newer(self.replica.next()))?;
            let more = !newer.is_empty();
            self.follow(&newer)?;
            if self.waiting.is_empty() && !more {
                for (_, done) in self.flushes.drain(..) {
                    tell(done);
                }
            }
            return Ok(if more { Turn::Again } else { Turn::Done });
        }
        self.batch(session)?;
        Ok(if self.waiting.is_empty() { Turn::Done } else { Turn::Again })
    }

    /// One transaction.
    fn batch(&mut self, session: &Session) -> Result<(), Broken> {
        let began = Instant::now();
        let (head, newer) = self.runtime.block_on(session.lock(self.replica.next()))?;
        let size: usize = newer.iter().map(|batch| batch.frames.len()).sum();
        if size > LONG || newer.iter().any(|batch| self.is_slow(batch)) {
            // Others needn't wait for our folding.
            self.runtime.block_on(session.rollback())?;
            return self.follow(&newer);
        }
        let came = !newer.is_empty();
        self.follow(&newer)?;
        if head.next != self.replica.next() {
            self.runtime.block_on(session.rollback())?;
            // More than a page came since; it is read before the lock is asked for again.
            return if came {
                Ok(())
            } else {
                Err(Fatal::Head { database: head.next, journal: self.replica.next() }.into())
            };
        }
        if head.link != self.replica.link() {
            let why = "the chain is another".to_owned();
            let differs = DatabaseError::Differs { sequence: self.replica.last(), why };
            return Err(Fatal::Replica(differs.into()).into());
        }
        self.time_ms = self.time_ms.max(head.time_ms);
        let before = self.fold.clone();
        let (framed, fates) = self.admit().map_err(Fatal::Io)?;
        let Some(framed) = framed else {
            self.tell(fates, true);
            return Ok(self.runtime.block_on(session.rollback())?);
        };
        let written = Written {
            first: framed.first,
            last: framed.last,
            link: framed.link,
            time_ms: framed.time_ms,
            gateway: self.commons.gateway(),
            batch: &framed.id,
            frames: &framed.bytes,
        };
        match self.runtime.block_on(session.commit(&written)) {
            Ok(true) => {
                self.shared.commits.lock().unwrap_or_else(PoisonError::into_inner).took(began.elapsed());
                self.committed(&framed, fates).map_err(Into::into)
            }
            Ok(false) => {
                self.fold = before;
                self.tell(fates, false);
                self.renew(session)
            }
            Err(error) => {
                self.doubtful = Some(Doubtful { framed, fates, before, since: Instant::now(), told: false });
                Err(error.into())
            }
        }
    }

    /// The lease has ended, and what was open under it is ended by whoever comes first: go on under another.
    fn renew(&mut self, session: &Session) -> Result<(), Broken> {
        let gateway = self.runtime.block_on(session.register(self.commons.database()))?;
        tracing::warn!(lease = gateway, "this gateway goes on under a new lease");
        self.commons.renew(gateway);
        Ok(())
    }

    /// Admits what waits, in order, up to the bounds of a batch.
    fn admit(&mut self) -> std::io::Result<(Option<Framed>, Vec<Fate<F>>)> {
        let first = self.replica.next();
        let mut encoder = Encoder::new(first, self.replica.link());
        let mut fates = Vec::new();
        let mut leaves = Vec::new();
        let mut time_ms = self.time_ms;
        while fates.len() < self.bounds.batch_entries && encoder.bytes().len() < self.bounds.batch_bytes {
            let Some(Waiting { entry, reply, since: _ }) = self.waiting.pop_front() else { break };
            let room = self.replica.has_room(encoder.bytes().len(), self.bounds.entry_bytes);
            self.shared.full.store(!room, Ordering::Relaxed);
            if !room {
                fates.push(Fate::Refused(reply, SubmitError::Full));
                continue;
            }
            let now = (self.clock)().max(time_ms);
            let mark = encoder.mark();
            let at = At { sequence: encoder.next(), time_ms: now };
            let mut sink = FrameSink {
                encoder: &mut encoder,
                leaves: &mut leaves,
                names: &mut self.names,
                time_ms: now,
                limit: mark.bytes().saturating_add(self.bounds.entry_bytes),
            };
            match self.fold.admit(at, entry, &mut sink) {
                Ok(token) => {
                    encoder.end_entry();
                    time_ms = now;
                    let records = encoder.next().saturating_sub(at.sequence);
                    let receipt = Receipt { first: at.sequence, records, time_ms };
                    fates.push(Fate::Taken(Pending { token, receipt, reply }));
                }
                Err(refusal) => {
                    encoder.rollback(&mark);
                    fates.push(Fate::Refused(reply, SubmitError::Refused(refusal)));
                }
            }
        }
        if encoder.bytes().is_empty() {
            return Ok((None, fates));
        }
        let framed = Framed {
            first,
            last: encoder.next().saturating_sub(1),
            link: encoder.link(),
            time_ms,
            id: random()?,
            bytes: encoder.bytes().to_vec(),
        };
        Ok((Some(framed), fates))
    }

    /// The batch is in the database.
    fn committed(&mut self, batch: &Framed, fates: Vec<Fate<F>>) -> Result<(), Fatal> {
        let frames = self.replica.take(&batch.bytes).map_err(Fatal::Replica)?;
        let leaves = frames.iter().map(|frame| (frame.tree.into(), frame.leaf)).collect();
        self.durable(batch.time_ms, leaves);
        self.tell(fates, true);
        self.settled(batch.bytes.len());
        if self.waiting.is_empty() {
            for (_, done) in self.flushes.drain(..) {
                tell(done);
            }
        }
        Ok(())
    }

    /// Folds what other gateways wrote.
    fn follow(&mut self, newer: &[Stored]) -> Result<(), Broken> {
        for batch in newer {
            let frames = self.replica.take(&batch.frames).map_err(Fatal::Replica)?;
            let leaves = frames.iter().map(|frame| (frame.tree.into(), frame.leaf)).collect();
            let Some(time_ms) = frames.last().map(|frame| frame.time_ms) else { continue };
            self.durable(time_ms, leaves);
            for frame in &frames {
                self.fold.replay(frame).map_err(|error| Fatal::Replay {
                    sequence: frame.sequence,
                    message: error.to_string(),
                })?;
            }
            self.settled(batch.frames.len());
        }
        Ok(())
    }

    /// The fold's state is that of the copy's end.
    fn settled(&mut self, len: usize) {
        self.keeping.bytes = self.keeping.bytes.saturating_add(bytes(len));
        self.fold.settled(self.replica.last());
        self.keeping.keep(&self.fold, self.replica.last(), self.replica.link(), self.time_ms);
    }

    /// Whether a batch has a record whose folding takes long.
    fn is_slow(&self, batch: &Stored) -> bool {
        let mut at = 0_usize;
        while let Some(claim) = batch.frames.get(at..).and_then(frame::claim) {
            // The kind stands behind sequence and time.
            let kind = batch.frames.get(at.saturating_add(HEADER).saturating_add(16));
            if kind.is_some_and(|kind| self.fold.is_slow(*kind)) {
                return true;
            }
            at = at.saturating_add(claim.size);
        }
        false
    }

    fn durable(&mut self, time_ms: u64, leaves: Vec<(Arc<str>, Hash)>) {
        self.time_ms = self.time_ms.max(time_ms);
        self.shared.time_ms.fetch_max(time_ms, Ordering::AcqRel);
        self.shared.durable.store(self.replica.last(), Ordering::Release);
        if !leaves.is_empty() && self.follower.send(Follow::Leaves(leaves)).is_err() {
            tracing::error!("the checkpoints' thread is gone; a restart makes them up");
        }
    }

    /// Answers in order. `recorded`: what the fold took is in the journal.
    fn tell(&mut self, fates: Vec<Fate<F>>, recorded: bool) {
        for fate in fates {
            match fate {
                Fate::Taken(Pending { token, receipt, reply }) if recorded => {
                    self.fold.committed(&receipt, token);
                    answer(reply, Ok(receipt));
                }
                Fate::Taken(Pending { reply, .. }) => answer(reply, Err(SubmitError::Unrecorded)),
                // What it was refused for may never have happened.
                Fate::Refused(reply, SubmitError::Refused(_)) if !recorded => {
                    answer(reply, Err(SubmitError::Unrecorded));
                }
                Fate::Refused(reply, error) => answer(reply, Err(error)),
            }
        }
    }

    /// Finds out whether a batch is in whose transaction broke off. The lock waits for that transaction's end.
    fn settle(&mut self, session: &Session, doubtful: Doubtful<F>) -> Result<(), Broken> {
        let first = doubtful.framed.first;
        let found = self.runtime.block_on(async {
            session.lock(u64::MAX >> 1).await?;
            let found = session.batch_at(first).await?;
            session.rollback().await?;
            Ok::<_, DatabaseError>(found)
        });
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                self.doubtful = Some(doubtful);
                return Err(error.into());
            }
        };
        let Doubtful { framed, fates, before, since: _, told } = doubtful;
        let recorded = found.as_deref() == Some(framed.id.as_slice());
        tracing::warn!(recorded, first, "a commit that broke off was looked up");
        if recorded {
            self.committed(&framed, fates)?;
            if told {
                // Warrants in it that nobody holds end with the lease.
                self.renew(session)?;
            }
        } else {
            self.fold = before;
            self.tell(fates, false);
        }
        Ok(())
    }

    /// The database can't be reached, or failed.
    fn lost(&mut self, error: &DatabaseError) {
        let mut unreachable = self.shared.unreachable.lock().unwrap_or_else(PoisonError::into_inner);
        if unreachable.is_none() {
            tracing::error!(%error, "the shared journal can't be written: calls are refused until it can");
        }
        *unreachable = Some(error.to_string());
        self.retry_at = Instant::now().checked_add(RETRY);
    }

    /// Lets nobody wait for ever. What nobody waits for stays, up to the bounds of a batch.
    fn give_up(&mut self) {
        if self.retry_at.is_none() {
            return;
        }
        let late = |since: &Instant| since.elapsed() >= PATIENCE;
        self.waiting.retain_mut(|waiting| {
            if !late(&waiting.since) || waiting.reply.is_none() {
                return true;
            }
            // Nobody may find it recorded after this.
            answer(waiting.reply.take(), Err(SubmitError::Unrecorded));
            false
        });
        self.flushes.retain(|(since, _)| !late(since));
        if let Some(doubtful) = &mut self.doubtful
            && doubtful.since.elapsed() >= DOUBT
        {
            doubtful.told = true;
            for fate in &mut doubtful.fates {
                let (Fate::Taken(Pending { reply, .. }) | Fate::Refused(reply, _)) = fate;
                answer(reply.take(), Err(SubmitError::Unrecorded));
            }
        }
    }
}

/// Why a turn broke off.
enum Broken {
    Database(DatabaseError),
    Fatal(Fatal),
}

impl From<DatabaseError> for Broken {
    fn from(error: DatabaseError) -> Self {
        Self::Database(error)
    }
}

impl From<Fatal> for Broken {
    fn from(error: Fatal) -> Self {
        Self::Fatal(error)
    }
}

fn tell(done: oneshot::Sender<()>) {
    if done.send(()).is_err() {
        tracing::debug!("nobody waits for the flush any more");
    }
}
