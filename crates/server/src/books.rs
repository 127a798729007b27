//! What the administration API needs of the ledger and of the release in force: the seam between listeners and gateway.

use std::{future::Future, pin::Pin, sync::Arc};

use placet_core::{DecisionId, Digest, Name, RelationModel, Revision, TenantId, Timestamp};
use placet_facts::{ChangeError, Live, Transaction, World};
use placet_gateway::{Erasable, Erased, InFlight, SourceReport};
use placet_json::Value;
use placet_policy::Release;
use placet_record::DecisionRecord;

/// A future of a trait object.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Why something isn't in the ledger.
#[derive(Debug, thiserror::Error)]
pub enum Unwritten {
    /// The facts don't admit it; nothing was applied.
    #[error("{0}")]
    Change(ChangeError),
    /// The ledger takes nothing; the text is for operators.
    #[error("the ledger takes no entries: {0}")]
    Down(String),
}

/// Why a release isn't taken.
#[derive(Debug, thiserror::Error)]
pub enum Unpromoted {
    /// It is none: the findings, one a line.
    #[error("{0}")]
    NoRelease(String),
    /// There is no such release here.
    #[error("there is no release `{0}` here")]
    Unknown(Digest),
    /// The ledger takes nothing; the text is for operators.
    #[error("the ledger takes no entries: {0}")]
    Down(String),
}

/// Something that a person did, or tried, that changed no fact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deed {
    /// Who.
    pub by: Name,
    /// What.
    pub verb: String,
    /// Whether it was refused.
    pub refused: bool,
    /// Why.
    pub why: String,
    /// In which tenant, if in one.
    pub tenant: Option<TenantId>,
}

/// Whose transactions are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whose {
    /// The organisation's.
    Organisation,
    /// One tenant's.
    Tenant(TenantId),
    /// The organisation's and one tenant's.
    With(TenantId),
    /// The organisation's and every tenant's.
    Everybody,
}

/// A page of the change feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    /// Position, time in Unix ms, transaction.
    pub entries: Vec<(u64, u64, Value)>,
    /// The position to go on from: nothing up to it is missing here.
    pub next: u64,
    /// Whether there is more to read now.
    pub more: bool,
}

/// A release as administrators see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleaseInfo {
    /// Its digest.
    pub digest: Digest,
    /// Its name.
    pub name: String,
}

/// The ledger and the release in force.
pub trait Books: Send + Sync + 'static {
    /// The newest facts.
    fn live(&self) -> &Arc<Live>;
    /// Now: the wall clock, but never before the last entry.
    fn now(&self) -> Timestamp;
    /// Whether calls can be served; else why not, for operators.
    fn ready(&self) -> Result<(), String>;
    /// How far the wall clock is behind the last entry, in milliseconds.
    fn clock_behind(&self) -> u64;
    /// Applies changes, all or none, durably.
    fn transact(&self, transaction: Transaction) -> Pending<'_, Result<Revision, Unwritten>>;
    /// The same, if the last change of the transaction's place is still the one of this revision; none where it isn't.
    fn transact_on(
        &self,
        transaction: Transaction,
        on: Revision,
    ) -> Pending<'_, Result<Option<Revision>, Unwritten>>;
    /// Records a deed.
    fn deed(&self, deed: Deed) -> Pending<'_, Result<u64, Unwritten>>;
    /// Erases a subject's data for good, as an act of the ledger.
    fn erase(&self, by: Name, whom: Erasable, why: String) -> Pending<'_, Result<Erased, Unwritten>>;
    /// The legal holds in force.
    fn holds(&self) -> Result<placet_audit::Holds, String>;
    /// How many keys of subjects there are, and how many were erased.
    fn subject_keys(&self) -> (usize, usize);
    /// Records that a source of facts has a gap or that it is closed, or notes that it was seen: for every gateway.
    fn source(&self, report: SourceReport) -> Pending<'_, Result<(), Unwritten>>;
    /// The facts as they were after a journal position.
    fn as_of(&self, at: Revision) -> Result<World, String>;
    /// The position of the last entry no later than a moment; 0 before the first.
    fn revision_at(&self, moment: Timestamp) -> Result<Revision, String>;
    /// The last position that can be read.
    fn last(&self) -> u64;
    /// Whether this transaction was applied under its idempotency key already, and at which revision.
    fn repeated(&self, transaction: &Transaction) -> Result<Option<Revision>, ChangeError>;
    /// Transactions after the position `from`, oldest first: at most `limit`, and of so many records as are read at once.
    fn changes(&self, whose: &Whose, from: u64, limit: usize) -> Result<Changes, String>;
    /// Transactions, newest first: at most `limit` before the position `below`.
    fn history(
        &self,
        whose: &Whose,
        below: Option<u64>,
        limit: usize,
    ) -> Result<Vec<(u64, u64, Value)>, String>;
    /// A recent denial with a remedy.
    fn remediable(&self, id: &DecisionId) -> Result<Option<DecisionRecord>, String>;
    /// Records of a decision: itself, then how its warrant ended.
    fn decision(&self, id: &DecisionId) -> Result<Vec<Value>, String>;
    /// What the journal tells of grants and of their use: one reading of it, from its beginning.
    fn uses(&self) -> Result<placet_audit::Uses, String>;
    /// Why a decision came out so, and what would have permitted it; the inner error says why that can't be told.
    fn explain(&self, id: &DecisionId) -> Result<Result<placet_audit::Explained, String>, String>;
    /// Two releases asked about the ledger's decisions, one reading of it at a time. `go_on` hears how many records of how
    /// many are read; where it says no, nobody waits for the answer any more, and there is none.
    fn compare(
        &self,
        scope: &placet_audit::Scope,
        a: &Release,
        b: &Release,
        go_on: &mut dyn FnMut(u64, u64) -> bool,
    ) -> Result<Option<placet_audit::LedgerDiff>, String>;
    /// The calls on their way, the newest first; bounded.
    fn in_flight(&self) -> Result<Vec<InFlight>, String>;
    /// The release in force itself, for what it says of workflows and of people's acts.
    fn release(&self) -> Option<Arc<Release>>;
    /// The release in force.
    fn in_force(&self) -> Option<ReleaseInfo>;
    /// The release in force and its relationship model.
    fn relations(&self) -> Option<(Digest, RelationModel)>;
    /// All releases that are kept.
    fn releases(&self) -> Result<Vec<Digest>, String>;
    /// Takes a release's archive, without putting it in force.
    fn keep(&self, archive: &[u8]) -> Result<ReleaseInfo, Unpromoted>;
}

/// The upstreams' tools as they are offered now, for whoever writes a catalog.
pub trait Offers: Send + Sync + 'static {
    /// The upstreams, by name, each with whether it answers.
    fn upstreams(&self) -> Vec<(Name, Result<(), String>)>;
    /// Each upstream's breaker: `closed`, `open` or `half_open`, and how often it opened.
    fn circuits(&self) -> Vec<(Name, &'static str, u64)>;
    /// The effects that nobody knows; none where there is no gateway.
    fn effects(&self) -> Option<placet_gateway::Effects>;
    /// What an upstream speaks: `mcp`, or `rest` where it is an HTTP API.
    fn protocol(&self, _upstream: &Name) -> &'static str {
        "mcp"
    }
    /// What its calls would be shown by its settings, as a catalog's `credential` says it: a proposal.
    fn credential(&self, _upstream: &Name) -> Option<&str> {
        None
    }
    /// Reads the definitions of an upstream anew: name, digest, definition. `None`: there is no such upstream.
    fn pull<'a>(&'a self, upstream: &'a Name) -> Pending<'a, Option<Result<Vec<Offer>, String>>>;
}

/// A tool as its upstream offers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Its name there.
    pub name: String,
    /// The digest of its definition, `sha256:…`.
    pub digest: String,
    /// The definition.
    pub definition: Value,
    /// Whether the release in force accepts this definition; none where its catalog has no such tool.
    pub accepted: Option<bool>,
}
