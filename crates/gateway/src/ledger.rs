//! The journal as the pipeline and the administrators use it: one commit point for decisions, effects, facts, releases
//! and acts.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwapOption;
use placet_core::{
    DecisionId, Digest, Engine, Envelope, Name, Releases, Revision, TenantId, Timestamp,
    authority::{Asked, Entry, Journal as CoreJournal, Orphans, Position, Unrecorded},
};
use placet_facts::{ChangeError, Live, Transaction, World};
use placet_json::{Value, object};
use placet_policy::Release;
use placet_record::{DecisionRecord, Kind, denied, ended, permitted};
use placet_store::{Journal, OpenError, OpenReport, Options, Reader, SubmitError};

use crate::fold::{Commit, Refusal, Reservation, Seen, State, amount};

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
    archives: PathBuf,
    wall: Arc<dyn Fn() -> u64 + Send + Sync>,
    last: AtomicU64,
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
        let (live, seen) = (Arc::new(Live::new(World::new())), Arc::new(Seen::default()));
        let releases = Arc::new(InForce::default());
        let wall = Arc::clone(&options.clock);
        let (journal, report) = Journal::open(
            data,
            options,
            State::new(Arc::clone(&live), Arc::clone(&seen), Arc::clone(&releases)),
        )?;
        let reader = journal.reader();
        let last = AtomicU64::new(journal.status().time_ms);
        let archives = data.join("releases");
        let ledger =
            Self { inner: Arc::new(Inner { journal, reader, live, seen, releases, archives, wall, last }) };
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
    /// Where the archive of a release is kept.
    #[must_use]
    pub fn archive(&self, release: Digest) -> PathBuf {
        self.inner.archives.join(format!("{}.tar", release.to_string().replace(':', "-")))
    }
    pub(crate) fn warrants(&self) -> std::collections::BTreeMap<u64, crate::fold::Open> {
        self.inner.seen.open()
    }
    /// How many warrants are open.
    #[must_use]
    pub fn open_warrants(&self) -> usize {
        self.inner.seen.open().len()
    }

    /// Now: the wall clock, but never before the last entry.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let wall = (self.inner.wall)();
        Timestamp::from_millis(self.inner.last.fetch_max(wall, Ordering::AcqRel).max(wall))
    }
    /// How far the wall clock is behind the last entry, in milliseconds.
    #[must_use]
    pub fn clock_behind(&self) -> u64 {
        self.inner.last.load(Ordering::Acquire).saturating_sub((self.inner.wall)())
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
        if status.full {
            return Err("the disk is full: make room in the data directory's file system".to_owned());
        }
        let behind = self.clock_behind();
        if behind > MAX_CLOCK_BEHIND {
            return Err(format!("the wall clock is {behind} ms behind the ledger; set the clock"));
        }
        Ok(())
    }

    /// Applies changes, all or none, durably; the next decision sees them.
    pub async fn transact(&self, transaction: Transaction) -> Result<Revision, Refused> {
        self.commit(Commit::Facts(Box::new(transaction))).await.map(Revision)
    }

    /// Puts a release in force: its archive is kept, the entry durable, then the pointer moves.
    pub async fn promote(&self, release: Arc<Release>, by: &Name, why: &str) -> Result<u64, Refused> {
        let digest = release.digest();
        self.keep(&release)
            .map_err(|error| Refused::Down(format!("can't keep the release's archive: {error}")))?;
        let record = object! {
            "by" => by.as_str(), "name" => release.name().as_str(), "release" => digest.to_string(), "time" => self.now().to_string(), "v" => 1_u64, "why" => why,
        };
        let record = Value::from(record).canonical().map_err(|error| Refused::Down(error.to_string()))?;
        let at = self.commit(Commit::Release { digest, record: record.as_str().to_owned() }).await?;
        self.inner.releases.0.store(Some(release));
        Ok(at)
    }

    /// Puts the release of the journal in force again, after a start.
    pub fn resume(&self, release: Arc<Release>) {
        self.inner.releases.0.store(Some(release));
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

    /// A recent denial with a remedy, by its identifier.
    pub fn remediable(&self, id: &DecisionId) -> Result<Option<DecisionRecord>, String> {
        let Some(at) = self.inner.seen.remediable(id) else { return Ok(None) };
        let record = self.inner.reader.get(at).map_err(|error| error.to_string())?;
        record
            .map(|record| DecisionRecord::read(&record.payload).map_err(|error| error.to_string()))
            .transpose()
    }

    /// Writes the newest checkpoints now, for instance before an orderly end.
    pub fn checkpoint(&self) -> Result<(), String> {
        self.inner.journal.checkpoint()
    }

    async fn commit(&self, entry: Commit) -> Result<u64, Refused> {
        match self.inner.journal.durable(entry).await {
            Ok(receipt) => {
                self.inner.last.fetch_max(receipt.time_ms, Ordering::AcqRel);
                Ok(receipt.first)
            }
            Err(SubmitError::Refused(Refusal::Change(error))) => Err(Refused::Change(error)),
            Err(SubmitError::Refused(other)) => Err(Refused::Down(other.to_string())),
            Err(down) => Err(Refused::Down(down_text(&down))),
        }
    }

    fn keep(&self, release: &Release) -> std::io::Result<()> {
        std::fs::create_dir_all(&self.inner.archives)?;
        let path = self.archive(release.digest());
        if path.exists() {
            return Ok(());
        }
        let partial = path.with_extension("partial");
        let mut file = std::fs::File::create(&partial)?;
        std::io::Write::write_all(&mut file, release.archive())?;
        file.sync_all()?;
        std::fs::rename(&partial, &path)?;
        std::fs::File::open(&self.inner.archives)?.sync_all()
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
        let commit = self.entry(&entry);
        match self.inner.journal.durable(commit).await {
            Ok(receipt) => {
                self.inner.last.fetch_max(receipt.time_ms, Ordering::AcqRel);
                Ok(Position(receipt.first))
            }
            Err(SubmitError::Refused(Refusal::Moved)) => Err(Unrecorded::Moved),
            Err(SubmitError::Refused(other)) => Err(Unrecorded::Down(other.to_string())),
            Err(down) => Err(Unrecorded::Down(down_text(&down))),
        }
    }

    fn queued(&self, entry: Entry<'_>) -> Result<(), Unrecorded> {
        self.inner.journal.queued(self.entry(&entry)).map_err(|error| Unrecorded::Down(down_text(&error)))
    }
}

impl Ledger {
    fn entry(&self, entry: &Entry<'_>) -> Commit {
        match entry {
            Entry::Permitted(permit) => {
                let (call, evaluation) = (permit.call(), permit.evaluation());
                Commit::Permit(Box::new(Reservation {
                    id: call.id.clone(),
                    workflow: permit.envelope().workflow().clone(),
                    entry: call.entry.clone(),
                    action: call.action.clone(),
                    amount: amount(&call.attributes).unwrap_or(placet_core::Decimal::ZERO),
                    labels: call.labels.clone(),
                    labels_at: evaluation.labels_at,
                    totals: evaluation.totals,
                    spends: permit.spends().iter().map(|approval| approval.id.clone()).collect(),
                    agent: permit.envelope().agent().clone(),
                    writes: call.writes.clone(),
                    record: permitted(permit),
                }))
            }
            Entry::Denied(denial) => Commit::Denial {
                tenant: denial.envelope().tenant().clone(),
                id: match denial.asked() {
                    Asked::Call(call) => call.id.clone(),
                    Asked::Refused(attempt) => attempt.id.clone(),
                },
                remediable: denial.remedy().is_some(),
                record: denied(denial),
            },
            Entry::Ended { permit, at, credential, outcome } => Commit::Ended {
                at: *at,
                ending: outcome.ending,
                record: ended(permit, *at, credential, outcome, self.now()),
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
