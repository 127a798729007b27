//! The journal as the pipeline and the administrators use it: one commit point for decisions, effects, facts, releases
//! and acts.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use placet_core::{
    Code, DecisionId, Digest, Engine, Envelope, Name, Releases, Revision, Spending, TenantId, Timestamp,
    authority::{Asked, Entry, Journal as CoreJournal, Orphans, Position, Unrecorded},
};
use placet_facts::{ChangeError, Live, Mode, Place, Transaction, World};
use placet_json::{Value, object};
use placet_ledger::frame::Frame;
use placet_policy::Release;
use placet_record::{Amendment, DecisionRecord, Kind, denied, ended, permitted, returns};
use placet_store::{
    Candidate, Commons, DatabaseError, Journal, OpenError, OpenReport, Options, Reader, Receipt, ShelveError,
    Shelved, Subjects, SubmitError,
};

use crate::{
    ArchiveError, Archives,
    effects::{Unamended, UnknownEffect},
    flood::{Floods, Summary},
    fold::{Commit, Ended, Over, Refusal, Reservation, Seen, State},
    keep::position_at,
    lives::{Entry as LifeEntry, Lives, Step},
    sealing::Sealed,
    sources::{SourceReport, SourceSays, Told},
};

/// A shared journal's database that isn't heard of for so long is lost: nothing is decided.
const MAX_SILENCE: Duration = Duration::from_secs(2);
/// Other gateways are told of a source's freshness at most so often.
const TELL_SEEN: u64 = 1_000;
/// The most that a wall clock may be behind the ledger, in milliseconds.
pub const MAX_CLOCK_BEHIND: u64 = 5_000;

/// The release in force: one pointer.
#[derive(Debug, Default)]
pub struct InForce(ArcSwapOption<Release>);

impl InForce {
    /// The release itself, for its catalog.
    #[must_use]
    pub fn current(&self) -> Option<Arc<Release>> {
        self.0.load_full()
    }
}

impl InForce {
    pub(crate) fn store(&self, release: Option<Arc<Release>>) {
        self.0.store(release);
    }
}

impl Releases for InForce {
    fn in_force(&self) -> Option<Arc<dyn Engine>> {
        self.current().map(|release| release as Arc<dyn Engine>)
    }
}

/// Why something isn't in the journal.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The facts don't admit it; nothing was applied.
    #[error("{0}")]
    Change(ChangeError),
    /// Another release came into force meanwhile.
    #[error("another release came into force meanwhile; look at it again")]
    Overtaken,
    /// The journal takes nothing.
    #[error("the journal takes no entries: {0}")]
    Down(String),
}

/// Something that a person did, or tried, that changed no fact.
#[derive(Debug, Clone)]
pub struct Act {
    /// Who.
    pub by: Name,
    /// The verb.
    pub verb: String,
    /// Whether it was refused.
    pub refused: bool,
    /// Why.
    pub why: String,
    /// In which tenant, if in one.
    pub tenant: Option<TenantId>,
}

/// Cheap to clone; every clone is the same ledger.
#[derive(Clone)]
pub struct Ledger {
    inner: Arc<Inner>,
}

struct Inner {
    journal: Journal<State>,
    reader: Reader,
    live: Arc<Live>,
    seen: Arc<Seen>,
    releases: Arc<InForce>,
    archives: Archives,
    commons: Option<Commons>,
    wall: Arc<dyn Fn() -> u64 + Send + Sync>,
    last: AtomicU64,
    floods: Floods,
    subjects: Subjects,
    /// Up to which moment other gateways were told what sources said was complete.
    seen_told: Mutex<BTreeMap<Name, Timestamp>>,
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ledger")
    }
}

impl Ledger {
    /// Opens a data directory: replays its journal, ends the warrants that a crash left open as `unknown`, and puts the
    /// release in force that was in force.
    pub fn open(data: &Path, options: Options) -> Result<(Self, OpenReport), OpenError> {
        Self::open_sealing(data, options, Subjects::none())
    }

    /// The same; what is personal is sealed under these keys.
    pub fn open_sealing(
        data: &Path,
        options: Options,
        subjects: Subjects,
    ) -> Result<(Self, OpenReport), OpenError> {
        let parts = Parts::new(Archives::new(data, None), subjects);
        let wall = Arc::clone(&options.clock);
        let (journal, report) = Journal::open(data, options, parts.state())?;
        let ledger = parts.ledger(journal, wall, None);
        for (at, open) in ledger.inner.seen.open() {
            let orphan = Commit::Orphan {
                tenant: open.tenant,
                workflow: open.workflow,
                decision: open.decision,
                at: Position(at),
                detail: "the gateway stopped before the effect was recorded",
            };
            // A full queue at start is waited for: each is asked for its place.
            drop(ledger.inner.journal.durable(orphan).wait());
        }
        Ok((ledger, report))
    }

    /// Opens the ledger that several gateways share in a database; `data` keeps this gateway's copy. Warrants that other
    /// gateways, or this one before, left open stay so until their lease has ended: [`Ledger::close_lapsed`]. Blocks.
    pub fn open_shared(
        data: &Path,
        options: Options,
        commons: &Commons,
        subjects: Subjects,
    ) -> Result<(Self, OpenReport), OpenError> {
        let archives = Archives::new(data, Some(commons.clone()));
        archives.bring_together().map_err(|error| match error {
            ArchiveError::Down(why) => DatabaseError::Failed(format!("the releases' archives: {why}")),
            other @ (ArchiveError::Missing | ArchiveError::NoRelease(_)) => {
                DatabaseError::Failed(other.to_string())
            }
        })?;
        let parts = Parts::new(archives, subjects);
        let wall = Arc::clone(&options.clock);
        let (journal, report) = Journal::open_shared(data, options, commons, parts.state())?;
        Ok((parts.ledger(journal, wall, Some(commons.clone())), report))
    }

    /// Ends the warrants as `unknown` that gateways left open whose lease has ended; how many. Nothing where the journal
    /// isn't shared: there a start does it.
    pub async fn close_lapsed(&self) -> Result<usize, String> {
        let Some(commons) = &self.inner.commons else { return Ok(0) };
        let open = self.inner.seen.open();
        if open.is_empty() {
            return Ok(0);
        }
        let positions: Vec<u64> = open.keys().copied().collect();
        let lapsed = commons.lapsed(&positions).await.map_err(|error| error.to_string())?;
        let mut closed = 0_usize;
        for at in lapsed {
            let Some(open) = open.get(&at) else { continue };
            let orphan = Commit::Orphan {
                tenant: open.tenant.clone(),
                workflow: open.workflow.clone(),
                decision: open.decision.clone(),
                at: Position(at),
                detail: "its gateway was lost before the effect was recorded",
            };
            match self.inner.journal.durable(orphan).await {
                Ok(_) => closed = closed.saturating_add(1),
                // Another gateway was faster.
                Err(SubmitError::Refused(Refusal::Ended)) => {}
                Err(down) => return Err(down_text(&down)),
            }
        }
        Ok(closed)
    }

    /// The newest facts.
    #[must_use]
    pub fn live(&self) -> &Arc<Live> {
        &self.inner.live
    }
    /// The release in force.
    #[must_use]
    pub fn releases(&self) -> &Arc<InForce> {
        &self.inner.releases
    }
    /// Reads entries.
    #[must_use]
    pub fn reader(&self) -> &Reader {
        &self.inner.reader
    }
    /// The release that the journal says is in force; its archive stands in [`Ledger::archive`].
    #[must_use]
    pub fn release_in_journal(&self) -> Option<Digest> {
        self.inner.seen.release()
    }
    /// The archives of releases.
    #[must_use]
    pub fn archives(&self) -> &Archives {
        &self.inner.archives
    }
    /// Where the archive of a release is kept.
    #[must_use]
    pub fn archive(&self, release: Digest) -> PathBuf {
        self.inner.archives.path(release)
    }
    pub(crate) fn warrants(&self) -> std::collections::BTreeMap<u64, crate::fold::Open> {
        self.inner.seen.open()
    }
    /// How many warrants are open.
    #[must_use]
    pub fn open_warrants(&self) -> usize {
        self.inner.seen.open().len()
    }

    /// The effects that nobody knows, by the journal position of their decisions.
    #[must_use]
    pub fn unresolved(&self) -> Vec<(u64, UnknownEffect)> {
        self.inner.seen.unresolved().into_all()
    }
    /// How many there are.
    #[must_use]
    pub fn unresolved_count(&self) -> usize {
        self.inner.seen.unresolved_count()
    }
    /// Records what was found out about one of them. The first finding stands.
    pub async fn amend(&self, amendment: &Amendment) -> Result<u64, Unamended> {
        let record = placet_record::amended(amendment, self.now());
        let Amendment { tenant, at, happened, .. } = amendment;
        let entry = Commit::Amended { tenant: tenant.clone(), at: *at, happened: *happened, record };
        match self.inner.journal.durable(entry).await {
            Ok(receipt) => {
                self.inner.last.fetch_max(receipt.time_ms, Ordering::AcqRel);
                Ok(receipt.first)
            }
            Err(SubmitError::Refused(Refusal::Resolved)) => Err(Unamended::Known),
            Err(SubmitError::Refused(other)) => Err(Unamended::Down(other.to_string())),
            Err(down) => Err(Unamended::Down(down_text(&down))),
        }
    }

    /// Now: the wall clock, but never before the last entry.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        // Other gateways' entries count, too.
        let wall = (self.inner.wall)().max(self.inner.journal.time_ms());
        Timestamp::from_millis(self.inner.last.fetch_max(wall, Ordering::AcqRel).max(wall))
    }
    /// How far the wall clock is behind the last entry, in milliseconds.
    #[must_use]
    pub fn clock_behind(&self) -> u64 {
        let last = self.inner.last.load(Ordering::Acquire).max(self.inner.journal.time_ms());
        last.saturating_sub((self.inner.wall)())
    }
    /// How long commits to the gateways' database took; all zero where there is one gateway.
    #[must_use]
    pub fn commits(&self) -> placet_store::Commits {
        self.inner.journal.commits()
    }
    /// Whether entries are taken and the clock is right; else why not, for operators.
    pub fn ready(&self) -> Result<(), String> {
        let status = self.inner.journal.status();
        if status.stopped {
            return Err(format!(
                "the journal has stopped: {}; restart when the disk is well",
                status.failure.unwrap_or_default()
            ));
        }
        if let Some(why) = status.unreachable {
            return Err(format!(
                "the shared journal can't be reached: {why}; it goes on by itself once it can"
            ));
        }
        if let Some(silent) = status.silent.filter(|silent| *silent > MAX_SILENCE) {
            return Err(format!("the shared journal hasn't answered for {} ms", silent.as_millis()));
        }
        if status.full {
            return Err("the disk is full: make room in the data directory's file system".to_owned());
        }
        let behind = self.clock_behind();
        if behind > MAX_CLOCK_BEHIND {
            return Err(format!("the wall clock is {behind} ms behind the ledger; set the clock"));
        }
        Ok(())
    }

    /// Applies changes, all or none, durably; the next decision sees them. The same transaction under the same
    /// idempotency key is applied once, and its revision is told again.
    pub async fn transact(&self, transaction: Transaction) -> Result<Revision, Refused> {
        self.prepare(&transaction).await?;
        self.commit(Commit::Facts(Box::new(transaction))).await.map(Revision)
    }

    /// As [`Ledger::transact`], if the last change of the transaction's place is still the one of this revision. None where
    /// it isn't: nothing is applied, and what moved can be read.
    pub async fn transact_on(
        &self,
        transaction: Transaction,
        on: Revision,
    ) -> Result<Option<Revision>, Refused> {
        match self.inner.journal.durable(Commit::FactsOn(Box::new(transaction), on)).await {
            Err(SubmitError::Refused(Refusal::Moved)) => {
                self.inner.journal.flush().await;
                Ok(None)
            }
            answer => self.committed(answer).await.map(Revision).map(Some),
        }
    }

    /// Whether this transaction was applied under its idempotency key already, and at which revision.
    pub fn repeated(&self, transaction: &Transaction) -> Result<Option<Revision>, ChangeError> {
        self.inner.seen.repeated(transaction)
    }

    /// The facts as they were after the entry `at`, folded from the nearest state that is held or kept.
    pub fn as_of(&self, at: Revision) -> Result<World, String> {
        let Inner { reader, seen, journal, subjects, .. } = &*self.inner;
        seen.moments.world(at.0.min(reader.last()), reader, &journal.states(), subjects)
    }

    /// The position of the last entry no later than a moment; 0 before the first.
    pub fn position_at(&self, moment: Timestamp) -> Result<Revision, String> {
        position_at(&self.inner.reader, moment.millis()).map(Revision).map_err(|error| error.to_string())
    }

    /// Puts a release in force: its archive is kept, the entry durable, and with it the pointer moves.
    pub async fn promote(&self, release: Arc<Release>, by: &Name, why: &str) -> Result<u64, Refused> {
        self.put_in_force(release, by, why, LifeEntry::Promoted, Over::Any).await
    }

    /// The same, of one that was compared with `over`: whatever came into force since refuses it.
    pub async fn put_in_force(
        &self,
        release: Arc<Release>,
        by: &Name,
        why: &str,
        how: LifeEntry,
        over: Over,
    ) -> Result<u64, Refused> {
        let digest = release.digest();
        let kept = self.inner.archives.share(&release).await;
        kept.map_err(|error| Refused::Down(format!("can't keep the release's archive: {error}")))?;
        let mut record = object! {
            "by" => by.as_str(), "name" => release.name().as_str(), "release" => digest.to_string(), "time" => self.now().to_string(), "v" => 1_u64, "why" => why,
        };
        how.onto(&mut record);
        let record = Value::from(record).canonical().map_err(|error| Refused::Down(error.to_string()))?;
        self.commit(Commit::Release { release, record: record.as_str().to_owned(), how, over }).await
    }

    /// Puts the release of the journal in force again, after a start.
    pub fn resume(&self, release: Arc<Release>) {
        self.inner.releases.0.store(Some(release));
    }

    /// Records a step in a release's life.
    pub async fn step(
        &self,
        release: Digest,
        step: Step,
        by: &Name,
        verb: &str,
        why: &str,
    ) -> Result<u64, Refused> {
        let record = object! {
            "by" => by.as_str(), "refused" => false, "step" => step.to_value(release), "time" => self.now().to_string(),
            "v" => 1_u64, "verb" => verb, "why" => why,
        };
        let record = Value::from(record).canonical().map_err(|error| Refused::Down(error.to_string()))?;
        self.commit(Commit::Step { release, step, record: record.as_str().to_owned() }).await
    }

    /// The lives of releases.
    #[must_use]
    pub fn lives(&self) -> Lives {
        self.inner.seen.lives()
    }

    /// Records an act that changed no fact.
    pub async fn act(&self, act: Act) -> Result<u64, Refused> {
        let Act { by, verb, refused, why, tenant } = act;
        let record = object! {
            "by" => by.as_str(), "refused" => refused, "time" => self.now().to_string(), "v" => 1_u64, "verb" => verb, "why" => why,
        };
        let record = Value::from(record).canonical().map_err(|error| Refused::Down(error.to_string()))?;
        self.commit(Commit::Act { tenant, kind: Kind::Act, record: record.as_str().to_owned() }).await
    }

    /// Records that a source has a gap, or that it is closed: durable, at every gateway, and after a restart.
    pub async fn source(&self, report: SourceReport) -> Result<u64, Refused> {
        let commit = self.told(&report).map_err(Refused::Down)?;
        self.commit(commit).await
    }

    /// Notes that what a source said was complete at `at`. Where several gateways share the journal the others are told
    /// from time to time: four times within the source's bound, and never more than once a second. `by`: who says it.
    pub fn source_seen(&self, source: &Name, place: &Place, at: Timestamp, by: &Name) {
        let sources = self.inner.live.sources();
        drop(sources.seen(source, at));
        let (Some(_), Some(Mode::Polled { bound_ms })) = (&self.inner.commons, sources.mode(source)) else {
            return;
        };
        {
            let mut told = self.inner.seen_told.lock().unwrap_or_else(PoisonError::into_inner);
            let every = bound_ms.checked_div(4).unwrap_or_default().max(TELL_SEEN);
            let last = told.get(source).map_or(0, |at| at.millis());
            if last != 0 && at.millis() < last.saturating_add(every) {
                return;
            }
            told.insert(source.clone(), at);
        }
        let (source, place, says) = (source.clone(), place.clone(), SourceSays::Seen(at));
        let report = SourceReport { by: by.clone(), source, place, says, why: String::new() };
        let queued = self
            .told(&report)
            .and_then(|commit| self.inner.journal.queued(commit).map_err(|error| down_text(&error)));
        if let Err(error) = queued {
            tracing::warn!(error, "other gateways couldn't be told how fresh a source is");
        }
    }

    fn told(&self, report: &SourceReport) -> Result<Commit, String> {
        let SourceReport { by, source, place, says, why } = report;
        let record = object! {
            "by" => by.as_str(), "refused" => false, "source" => Told::member(report), "time" => self.now().to_string(),
            "v" => 1_u64, "verb" => format!("source {}: {source}", says.as_str()), "why" => why.as_str(),
        };
        let record = Value::from(record).canonical().map_err(|error| error.to_string())?.as_str().to_owned();
        let told =
            Told { source: source.clone(), place: place.clone(), says: says.clone(), why: why.clone() };
        Ok(Commit::Source { told, record })
    }

    /// Records that a token of ours came with a wrong proof, which is evidence of theft; of a flood of them, how many.
    pub async fn evidence(&self, by: Name, code: Code, why: String) -> Result<(), Refused> {
        self.sweep();
        if self.inner.floods.counts_evidence(&by, code, self.now()) {
            return Ok(());
        }
        let act = Act { by, verb: "present_token".to_owned(), refused: true, why, tenant: None };
        self.act(act).await.map(drop)
    }

    /// Writes down the refusals that were only counted, of the windows that are over.
    pub fn sweep(&self) {
        for summary in self.inner.floods.over(self.now()) {
            let Summary { tenant, record } = summary;
            let commit = Commit::Act { tenant, kind: Kind::Refusals, record };
            if let Err(error) = self.inner.journal.queued(commit) {
                tracing::error!(error = %down_text(&error), "counted refusals couldn't be recorded");
            }
        }
    }

    /// How many refusals were counted instead of recorded one by one, since the start.
    #[must_use]
    pub fn only_counted(&self) -> u64 {
        self.inner.floods.total()
    }

    /// A recent denial with a remedy, by its identifier.
    pub fn remediable(&self, id: &DecisionId) -> Result<Option<DecisionRecord>, String> {
        let Some(at) = self.inner.seen.remediable(id) else { return Ok(None) };
        let record = self.inner.reader.get(at).map_err(|error| error.to_string())?;
        record.map(|record| self.read_decision(&record)).transpose()
    }

    /// Writes the newest checkpoints now, for instance before an orderly end.
    pub fn checkpoint(&self) -> Result<(), String> {
        for Summary { tenant, record } in self.inner.floods.all(self.now()) {
            let commit = Commit::Act { tenant, kind: Kind::Refusals, record };
            if let Err(error) = self.inner.journal.durable(commit).wait() {
                tracing::error!(error = %down_text(&error), "counted refusals couldn't be recorded");
            }
        }
        self.inner.journal.checkpoint()
    }

    /// Moves old segments that `goes` lets go into the archive, once they are signed; blocks. `margin`: how many records
    /// the facts of a decision may be behind it. `None`: there is no archive.
    pub fn shelve(
        &self,
        margin: u64,
        goes: impl FnMut(&Candidate) -> bool,
        mark: impl FnMut(&Frame<'_>) -> Option<String>,
    ) -> Option<Result<Shelved, ShelveError>> {
        if let Err(error) = self.inner.journal.checkpoint() {
            tracing::warn!(error, "what isn't signed isn't archived");
        }
        self.inner.journal.shelve(margin, false, goes, mark)
    }

    /// The keys of what is sealed.
    #[must_use]
    pub fn subjects(&self) -> &Subjects {
        &self.inner.subjects
    }
    /// The states that the journal keeps.
    pub(crate) fn states(&self) -> placet_store::KeptStates {
        self.inner.journal.states()
    }

    pub(crate) async fn commit(&self, entry: Commit) -> Result<u64, Refused> {
        let answer = self.inner.journal.durable(entry).await;
        self.committed(answer).await
    }

    async fn committed(&self, answer: Result<Receipt, SubmitError<Refusal>>) -> Result<u64, Refused> {
        match answer {
            Ok(receipt) => {
                self.inner.last.fetch_max(receipt.time_ms, Ordering::AcqRel);
                Ok(receipt.first)
            }
            Err(SubmitError::Refused(Refusal::Change(error))) => Err(Refused::Change(error)),
            Err(SubmitError::Refused(Refusal::Overtaken)) => Err(Refused::Overtaken),
            // What it repeats may still be on its way to the disk.
            Err(SubmitError::Refused(Refusal::Repeated(revision))) => {
                if self.inner.journal.flush().await {
                    Ok(revision.0)
                } else {
                    Err(Refused::Down("the journal has stopped".to_owned()))
                }
            }
            Err(SubmitError::Refused(other)) => Err(Refused::Down(other.to_string())),
            Err(down) => Err(Refused::Down(down_text(&down))),
        }
    }
}

/// What a ledger and its fold share.
struct Parts {
    live: Arc<Live>,
    seen: Arc<Seen>,
    releases: Arc<InForce>,
    archives: Archives,
    subjects: Subjects,
}

impl Parts {
    fn new(archives: Archives, subjects: Subjects) -> Self {
        Self {
            live: Arc::new(Live::new(World::new())),
            seen: Arc::default(),
            releases: Arc::default(),
            archives,
            subjects,
        }
    }
    fn state(&self) -> State {
        let archives = self.archives.clone();
        let fetch = move |digest| archives.load(digest).map(Arc::new).map_err(|error| error.to_string());
        let (live, seen, releases) =
            (Arc::clone(&self.live), Arc::clone(&self.seen), Arc::clone(&self.releases));
        State::new(live, seen, releases, Arc::new(fetch), self.subjects.clone())
    }
    fn ledger(
        self,
        journal: Journal<State>,
        wall: Arc<dyn Fn() -> u64 + Send + Sync>,
        commons: Option<Commons>,
    ) -> Ledger {
        let Self { live, seen, releases, archives, subjects } = self;
        seen.erasing.keeps(journal.states());
        let (reader, last) = (journal.reader(), AtomicU64::new(journal.status().time_ms));
        Ledger {
            inner: Arc::new(Inner {
                journal,
                reader,
                live,
                seen,
                releases,
                archives,
                commons,
                wall,
                last,
                floods: Floods::default(),
                subjects,
                seen_told: Mutex::default(),
            }),
        }
    }
}

fn down_text<R>(error: &SubmitError<R>) -> String
where
    SubmitError<R>: std::fmt::Display,
{
    error.to_string()
}

impl CoreJournal for Ledger {
    async fn durable(&self, entry: Entry<'_>) -> Result<Position, Unrecorded> {
        let commit = match self.marked(&entry) {
            None => self.entry(&entry, None),
            Some(marked) => self.seal_marked(&entry, marked).await?,
        };
        match self.inner.journal.durable(commit).await {
            Ok(receipt) => {
                self.inner.last.fetch_max(receipt.time_ms, Ordering::AcqRel);
                Ok(Position(receipt.first))
            }
            Err(SubmitError::Refused(Refusal::Moved)) => {
                // What it is decided on again must be what it was refused for, which others see once it is durable.
                self.inner.journal.flush().await;
                Err(Unrecorded::Moved)
            }
            Err(SubmitError::Refused(other)) => Err(Unrecorded::Down(other.to_string())),
            Err(down) => Err(Unrecorded::Down(down_text(&down))),
        }
    }

    fn queued(&self, entry: Entry<'_>) -> Result<(), Unrecorded> {
        if let Entry::Denied(denial) = &entry {
            self.sweep();
            if self.inner.floods.counts(denial, self.now()) {
                return Ok(());
            }
        }
        let commit = match self.marked(&entry) {
            None => self.entry(&entry, None),
            // A key is made for a subject that has none: that blocks, once for each.
            Some(marked) => futures::executor::block_on(self.seal_marked(&entry, marked))?,
        };
        self.inner.journal.queued(commit).map_err(|error| Unrecorded::Down(down_text(&error)))
    }
}

impl Ledger {
    /// What is submitted: with this record, or the entry's own in plain.
    pub(crate) fn entry(&self, entry: &Entry<'_>, sealed: Option<Sealed>) -> Commit {
        let record = |plain: &dyn Fn() -> String| sealed.unwrap_or_else(|| Sealed::plain(plain()));
        match entry {
            Entry::Permitted(permit) => {
                let (call, evaluation) = (permit.call(), permit.evaluation());
                Commit::Permit(Box::new(Reservation {
                    id: call.id.clone(),
                    workflow: permit.envelope().workflow().clone(),
                    basis: (permit.basis().release, permit.basis().revision),
                    entry: call.entry.clone(),
                    action: call.action.clone(),
                    effect: call.effect,
                    amount: call.amount().unwrap_or(placet_core::Decimal::ZERO),
                    labels: call.labels.clone(),
                    labels_at: evaluation.labels_at,
                    totals: evaluation.totals,
                    spends: permit.spends().iter().map(|approval| approval.id.clone()).collect(),
                    agent: permit.envelope().agent().clone(),
                    writes: call.writes.clone(),
                    moves: call.moves.clone(),
                    spending: Spending::of(
                        permit.envelope().grant(),
                        call,
                        permit.chain(),
                        permit.basis().now,
                    ),
                    claims: evaluation.claims.clone(),
                    record: record(&|| permitted(permit)),
                }))
            }
            Entry::Denied(denial) => Commit::Denial {
                tenant: denial.envelope().tenant().clone(),
                id: match denial.asked() {
                    Asked::Call(call) => call.id.clone(),
                    Asked::Refused(attempt) => attempt.id.clone(),
                },
                remediable: denial.remedy().is_some(),
                record: record(&|| denied(denial)),
            },
            Entry::Ended { permit, at, credential, outcome } => Commit::Ended {
                at: *at,
                ended: Ended {
                    ending: outcome.ending,
                    returned: returns(outcome),
                    error: placet_record::says_failed(outcome),
                },
                record: record(&|| ended(permit, *at, credential, outcome, self.now())),
            },
        }
    }
}

impl Orphans for Ledger {
    fn unknown(&self, at: Position, envelope: &Envelope, call: &placet_core::Call) {
        let orphan = Commit::Orphan {
            tenant: envelope.tenant().clone(),
            workflow: envelope.workflow().local().clone(),
            decision: call.id.clone(),
            at,
            detail: "the call was abandoned before its effect was recorded",
        };
        if let Err(error) = self.inner.journal.queued(orphan) {
            // It stays open in the journal, and the next start ends it.
            tracing::error!(at = at.0, decision = %call.id, error = %down_text(&error), "a dropped warrant couldn't be ended now");
        }
    }
}
