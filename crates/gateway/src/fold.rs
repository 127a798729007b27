//! The state that the journal's entries fold into, on the writer's thread: facts, data flow, spent approvals, open
//! warrants. What is compared and set here is compared and set in the order of the journal.

mod acted;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    error::Error,
    sync::{Arc, Mutex, PoisonError},
};

use imbl::OrdMap;
use placet_core::{
    AgentId, ApprovalId, Claims, Decimal, DecisionId, Digest, EffectClass, Moving, Name, Revision, Spending,
    StateMove, TenantId, Timestamp, Tuple, WorkflowId,
    authority::{Ending, Position},
};
use placet_facts::{ChangeError, Keys, Live, Place, Transaction, World};
use placet_json::{Value, object};
use placet_ledger::frame::{Frame, FrameError};
use placet_policy::Release;
use placet_record::{Amendment, AskedRecord, DecisionRecord, EffectRecord, Kind, orphaned};
use placet_store::{At, Fold, FrameSink, Keep, Receipt, SubjectKeyId, Subjects, Written};

use crate::{
    InForce,
    effects::{UnknownEffect, Unresolved},
    erase::{self, Erasing, Erasure},
    keep::{FORMAT, Moments, Parts},
    lives::{Entry, Lives, Step},
    sealing::{Sealed, seal_parts},
    sources::{self, Gaps, Told},
    writes,
};

/// The tree of what belongs to no tenant.
pub const ORGANISATION: &str = "organisation";
/// How many denials with a remedy are remembered by their identifier.
const MAX_REMEDIABLE: usize = 65_536;

/// What is submitted to the journal.
#[derive(Debug)]
pub(crate) enum Commit {
    /// A change of facts.
    Facts(Box<Transaction>),
    /// A change of facts, if this is still the last one of its place.
    FactsOn(Box<Transaction>, Revision),
    /// A permit, with what it reserves.
    Permit(Box<Reservation>),
    /// A denial.
    Denial { tenant: TenantId, id: DecisionId, remediable: bool, record: Sealed },
    /// The end of a warrant.
    Ended { at: Position, ended: Ended, record: Sealed },
    /// A warrant of which nothing more is known.
    Orphan { tenant: TenantId, workflow: Name, decision: DecisionId, at: Position, detail: &'static str },
    /// What was found out about an ending that nobody knew.
    Amended { tenant: TenantId, at: u64, happened: bool, record: String },
    /// A release comes into force, over the one that it was compared with, if it was.
    Release { release: Arc<Release>, record: String, how: Entry, over: Over },
    /// A step in a release's life.
    Step { release: Digest, step: Step, record: String },
    /// A subject is erased.
    Erase(Box<Erasure>),
    /// Something else that people did or tried.
    Act { tenant: Option<TenantId>, kind: Kind, record: String },
    /// What a source of facts says of itself.
    Source { told: Told, record: String },
}

/// How a warrant ended, as far as others depend on it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ended {
    pub(crate) ending: Ending,
    /// Whether the call provably never left, so that what it had reserved comes back.
    pub(crate) returned: bool,
    /// Whether the tool itself answered that it failed.
    pub(crate) error: bool,
}

/// The release that another was compared with before it comes into force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// With none: whichever is in force then, it takes its place.
    Any,
    /// With this one, or with there being none.
    This(Option<Digest>),
}

/// What a permit takes with it.
#[derive(Debug)]
pub(crate) struct Reservation {
    pub(crate) id: DecisionId,
    pub(crate) workflow: WorkflowId,
    /// The release and the revision of the facts that it was decided on.
    pub(crate) basis: (Digest, Revision),
    pub(crate) entry: Name,
    pub(crate) action: Name,
    pub(crate) effect: EffectClass,
    pub(crate) amount: Decimal,
    pub(crate) labels: BTreeSet<Name>,
    pub(crate) labels_at: u64,
    pub(crate) totals: Moving,
    pub(crate) spends: Vec<ApprovalId>,
    pub(crate) agent: AgentId,
    pub(crate) writes: Vec<Tuple>,
    pub(crate) moves: Vec<StateMove>,
    pub(crate) spending: Spending,
    pub(crate) claims: Claims,
    pub(crate) record: Sealed,
}

/// Why an entry isn't written.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// What it rests on has moved.
    Moved,
    /// Another release came into force meanwhile.
    Overtaken,
    /// The facts don't admit it.
    Change(ChangeError),
    /// The same transaction stands at this revision already, durable or on its way.
    Repeated(Revision),
    /// The warrant has ended already.
    Ended,
    /// How it ended is known, or was found out.
    Resolved,
    /// It can't be sealed: a subject's key was erased meanwhile.
    Sealing(String),
    /// It can't be framed.
    Frame(FrameError),
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Moved => f.write_str("what it rests on has moved"),
            Self::Overtaken => f.write_str("another release came into force meanwhile"),
            Self::Change(error) => error.fmt(f),
            Self::Repeated(revision) => write!(f, "it stands at revision {revision} already"),
            Self::Ended => f.write_str("the warrant has ended already"),
            Self::Resolved => f.write_str("its effect isn't unknown, or not any more"),
            Self::Sealing(why) => write!(f, "it can't be sealed: {why}"),
            Self::Frame(error) => error.fmt(f),
        }
    }
}

impl From<FrameError> for Refusal {
    fn from(error: FrameError) -> Self {
        Self::Frame(error)
    }
}

/// A warrant that has not ended.
#[derive(Debug, Clone)]
pub(crate) struct Open {
    pub(crate) tenant: TenantId,
    pub(crate) workflow: Name,
    pub(crate) decision: DecisionId,
    pub(crate) effect: EffectClass,
    pub(crate) agent: AgentId,
    /// The relationships that it leaves behind if its effect happens.
    pub(crate) writes: Vec<Tuple>,
    /// How its workflow moves then.
    pub(crate) moves: Vec<StateMove>,
}

/// What others may look at while the writer works.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    open: Mutex<BTreeMap<u64, Open>>,
    unresolved: Mutex<Unresolved>,
    remediable: Mutex<Remediable>,
    release: Mutex<Option<Digest>>,
    lives: Mutex<Lives>,
    keys: Mutex<Keys>,
    pub(crate) moments: Moments,
    /// What is to be done once something is erased.
    pub(crate) erasing: Erasing,
}

#[derive(Debug, Default)]
struct Remediable {
    at: HashMap<DecisionId, u64>,
    order: VecDeque<DecisionId>,
}

impl Seen {
    /// The warrants that are open.
    pub(crate) fn open(&self) -> BTreeMap<u64, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
    /// How many effects nobody knows.
    pub(crate) fn unresolved_count(&self) -> usize {
        self.unresolved.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
    /// The effects that nobody knows.
    pub(crate) fn unresolved(&self) -> Unresolved {
        self.unresolved.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
    fn unknown(&self, at: u64, effect: Option<UnknownEffect>) {
        if let Some(effect) = effect {
            self.unresolved.lock().unwrap_or_else(PoisonError::into_inner).insert(at, effect);
        }
    }
    /// The position of a denial with a remedy.
    pub(crate) fn remediable(&self, id: &DecisionId) -> Option<u64> {
        self.remediable.lock().unwrap_or_else(PoisonError::into_inner).at.get(id).copied()
    }
    /// The release that came into force last.
    pub(crate) fn release(&self) -> Option<Digest> {
        *self.release.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// The lives of releases.
    pub(crate) fn lives(&self) -> Lives {
        self.lives.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
    fn lived(&self, lives: &Lives) {
        self.lives.lock().unwrap_or_else(PoisonError::into_inner).clone_from(lives);
    }
    /// Whether this transaction was applied under its key already.
    pub(crate) fn repeated(&self, transaction: &Transaction) -> Result<Option<Revision>, ChangeError> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).repeated(transaction)
    }
    fn opened(&self, at: u64, warrant: Open) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).insert(at, warrant);
    }
    fn closed(&self, at: u64) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&at);
    }
    fn remember(&self, id: DecisionId, at: u64) {
        let mut remediable = self.remediable.lock().unwrap_or_else(PoisonError::into_inner);
        if remediable.order.len() >= MAX_REMEDIABLE
            && let Some(oldest) = remediable.order.pop_front()
        {
            remediable.at.remove(&oldest);
        }
        remediable.order.push_back(id.clone());
        remediable.at.insert(id, at);
    }
}

/// The fold. Its `world` is ahead of what is published by the batch that is being written.
///
/// Whatever changes before the commit stands in values that a clone copies: where a commit fails and others may have
/// written since, the clone from before it takes this one's place.
#[derive(Clone)]
pub(crate) struct State {
    world: World,
    /// Open warrants, ahead of `seen` likewise.
    open: OrdMap<u64, Open>,
    /// Effects that nobody knows, likewise.
    unresolved: Unresolved,
    /// Idempotency keys, ahead of `seen` likewise.
    keys: Keys,
    /// The release in force, ahead of `releases` likewise.
    release: Option<Digest>,
    /// Where the last erasure stands; 0 before the first.
    erased_at: u64,
    /// The lives of releases, ahead of `seen` likewise.
    lives: Lives,
    /// Gaps of sources that aren't closed, likewise.
    gaps: Gaps,
    live: Arc<Live>,
    seen: Arc<Seen>,
    releases: Arc<InForce>,
    fetch: Fetch,
    /// The keys of what is sealed.
    subjects: Subjects,
    /// Whether the start is over, so that what is replayed now was just written by another gateway.
    started: bool,
}

/// Fetches a release that another gateway promoted.
pub(crate) type Fetch = Arc<dyn Fn(Digest) -> Result<Arc<Release>, String> + Send + Sync>;

/// What happens once the entry is durable.
pub(crate) enum Token {
    /// Publish this.
    World(World),
    /// Publish this, and the warrant is open.
    Opened(World, u64, Open),
    /// The warrant has ended.
    Closed(World, u64, Option<UnknownEffect>),
    /// The warrant has ended, and left this behind.
    Left(World, u64, Option<UnknownEffect>),
    /// It was found out how this warrant ended; `true`: facts moved by it.
    Resolved(World, u64, bool),
    /// A denial that an approval may turn.
    Remediable(DecisionId),
    /// A release.
    Release(Arc<Release>),
    /// Publish this, and what was a subject's is forgotten everywhere.
    Erased(World, Vec<SubjectKeyId>),
    /// A step in a release's life.
    Step,
    /// A source said something.
    Source(Told, Gaps),
    /// Nothing.
    Nothing,
}

impl State {
    pub(crate) fn new(
        live: Arc<Live>,
        seen: Arc<Seen>,
        releases: Arc<InForce>,
        fetch: Fetch,
        subjects: Subjects,
    ) -> Self {
        Self {
            world: World::new(),
            open: OrdMap::new(),
            unresolved: Unresolved::default(),
            keys: Keys::default(),
            release: None,
            lives: Lives::default(),
            erased_at: 0,
            gaps: Gaps::default(),
            live,
            seen,
            releases,
            fetch,
            subjects,
            started: false,
        }
    }
    pub(crate) fn world(&self) -> &World {
        &self.world
    }
    /// An empty state by itself: it publishes to nobody and puts nothing in force.
    pub(crate) fn alone(subjects: &Subjects) -> Self {
        let fetch = |_| Err("a look back puts nothing in force".to_owned());
        let live = Arc::new(Live::new(World::new()));
        Self::new(live, Arc::default(), Arc::default(), Arc::new(fetch), subjects.clone())
    }
    /// The same state by itself.
    pub(crate) fn apart(&self) -> Self {
        let Self {
            world,
            open,
            unresolved,
            keys,
            release,
            erased_at,
            lives,
            gaps,
            live: _,
            seen: _,
            releases: _,
            fetch: _,
            subjects,
            started: _,
        } = self;
        Self {
            world: world.clone(),
            open: open.clone(),
            unresolved: unresolved.clone(),
            keys: keys.clone(),
            release: *release,
            erased_at: *erased_at,
            lives: lives.clone(),
            gaps: gaps.clone(),
            releases: Arc::clone(&self.releases),
            ..Self::alone(subjects)
        }
    }
    /// All that is kept of a settled state.
    fn parts(&self) -> Parts {
        let Self { world, open, unresolved, keys, release, lives, erased_at, gaps, seen, .. } = self;
        let Seen {
            open: _,
            unresolved: _,
            remediable,
            release: _,
            lives: _,
            keys: _,
            moments: _,
            erasing: _,
        } = &**seen;
        let remediable = {
            let Remediable { at, order } = &*remediable.lock().unwrap_or_else(PoisonError::into_inner);
            order.iter().filter_map(|id| Some((id.clone(), *at.get(id)?))).collect()
        };
        Parts {
            world: world.clone(),
            open: open.clone(),
            unresolved: unresolved.clone(),
            keys: keys.clone(),
            remediable,
            release: *release,
            erased_at: *erased_at,
            lives: lives.clone(),
            gaps: gaps.clone(),
        }
    }
    fn publish(&self) {
        self.live.publish(self.world.clone());
        self.live.sources().record(sources::all(&self.gaps));
        *self.seen.open.lock().unwrap_or_else(PoisonError::into_inner) =
            self.open.iter().map(|(at, open)| (*at, open.clone())).collect();
        self.seen.unresolved.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&self.unresolved);
        self.seen.keys.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&self.keys);
    }
    /// Puts the release in force that the journal says is in force; none where it can't be had, so that nothing is
    /// permitted by an older one.
    fn put_in_force(&self) {
        let Some(digest) = self.release else { return };
        match (self.fetch)(digest) {
            Ok(release) => self.releases.store(Some(release)),
            Err(error) => {
                tracing::error!(release = %digest, error, "the release in force can't be had: nothing is permitted");
                self.releases.store(None);
            }
        }
    }
    /// A release comes into force, unless another one came since it was compared.
    fn release(
        &mut self,
        release: Arc<Release>,
        record: &str,
        how: &Entry,
        over: Over,
        out: &mut FrameSink<'_>,
    ) -> Result<Token, Refusal> {
        if let Over::This(compared) = over
            && compared != self.release
        {
            return Err(Refusal::Overtaken);
        }
        out.push(ORGANISATION, Kind::Release.tag(), record.as_bytes())?;
        self.lives.in_force(release.digest(), how);
        self.release = Some(release.digest());
        Ok(Token::Release(release))
    }
    /// A warrant is over; if nobody knows how, it is kept in mind.
    fn close(&mut self, at: u64, unknown: bool, since: u64) -> Option<UnknownEffect> {
        let open = self.open.remove(&at)?;
        let effect = unknown.then(|| UnknownEffect::of(open, Timestamp::from_millis(since))).flatten()?;
        self.unresolved.insert(at, effect.clone());
        Some(effect)
    }
    /// Ends an open warrant: frames its effect, and after it what the effect leaves behind.
    fn end(
        &mut self,
        sequence: u64,
        at: Position,
        ended: Ended,
        time_ms: u64,
        record: &Sealed,
        out: &mut FrameSink<'_>,
    ) -> Result<Token, Refusal> {
        let Ended { ending, returned, error: _ } = ended;
        let open = self.open.get(&at.0).ok_or(Refusal::Ended)?;
        push(out, open.tenant.as_str(), Kind::Effect, record)?;
        let world = if ending == Ending::Unknown {
            self.world.ended_unknown(sequence, &open.tenant, at.0)
        } else {
            self.world.ended(sequence, &open.tenant, at.0, returned)
        };
        let left = writes::leave(&world, open, ended, time_ms, out)?;
        let unknown = self.close(at.0, ending == Ending::Unknown, time_ms);
        let token = match left {
            Some(left) => Token::Left(left, at.0, unknown),
            None => Token::Closed(world, at.0, unknown),
        };
        if let Token::Left(world, ..) | Token::Closed(world, ..) = &token {
            self.world = world.clone();
        }
        Ok(token)
    }
    /// Applies a record of facts, and remembers what of them is sealed.
    fn told(&mut self, frame: &Frame<'_>) -> Result<(), Box<dyn Error + Send + Sync>> {
        let (transaction, places) = erase::read_facts(frame, &self.subjects)?;
        self.world = self.world.apply(frame.sequence, &transaction)?;
        if let Place::Tenant(tenant) = &transaction.place {
            self.world = self.world.sealed(tenant, places);
        }
        self.keys.remember(frame.sequence, &transaction)?;
        Ok(())
    }

    /// Admits a change of facts, with what of it is personal sealed.
    fn change(
        &mut self,
        At { sequence, time_ms }: At,
        mut transaction: Transaction,
        out: &mut FrameSink<'_>,
    ) -> Result<Token, Refusal> {
        if let Some(revision) = self.keys.repeated(&transaction).map_err(Refusal::Change)? {
            return Err(Refusal::Repeated(revision));
        }
        transaction.stamp(Timestamp::from_millis(time_ms));
        let release = self.releases.current();
        // A release without relations has no model: its tuples are data, and grant nothing.
        let model = release.as_ref().map(|it| it.relations()).filter(|it| !it.types.is_empty());
        let mut world = self.world.apply_with(sequence, &transaction, model).map_err(Refusal::Change)?;
        let tree = match &transaction.place {
            Place::Organisation => ORGANISATION,
            Place::Tenant(tenant) => tenant.as_str(),
        };
        let record = Value::from(
            object! { "time" => Timestamp::from_millis(time_ms).to_string(), "transaction" => transaction.to_value(), "v" => 1_u64 },
        );
        let catalog = release.as_ref().map(|it| it.catalog());
        let parts = erase::plan(&transaction, catalog, &self.world, &self.subjects);
        if parts.is_empty() {
            let record = record.canonical().map_err(|_| Refusal::Frame(FrameError::TooLarge { limit: 0 }))?;
            out.push(tree, Kind::Facts.tag(), record.as_bytes())?;
        } else {
            let sealed = seal_parts(record, &parts, &self.subjects);
            let sealed = sealed.map_err(|error| Refusal::Sealing(error.to_string()))?;
            push(out, tree, Kind::Facts, &sealed)?;
            if let Place::Tenant(tenant) = &transaction.place {
                world = world.sealed(tenant, erase::places(&transaction, &parts));
            }
        }
        self.keys.remember(sequence, &transaction).map_err(Refusal::Change)?;
        self.world = world.clone();
        Ok(Token::World(world))
    }

    /// Admits the erasure of a subject.
    fn erase(
        &mut self,
        At { sequence, time_ms }: At,
        erasure: Erasure,
        out: &mut FrameSink<'_>,
    ) -> Result<Token, Refusal> {
        let tree = erasure.tenant.as_ref().map_or(ORGANISATION, TenantId::as_str);
        let record = erasure.record(Timestamp::from_millis(time_ms));
        let record = record.canonical().map_err(|_| Refusal::Frame(FrameError::TooLarge { limit: 0 }))?;
        out.push(tree, Kind::Act.tag(), record.as_bytes())?;
        self.world = erasure.world(&self.world);
        self.erased_at = sequence;
        Ok(Token::Erased(self.world.clone(), erasure.keys))
    }

    fn replay_end(&mut self, frame: &Frame<'_>) -> Result<(), Box<dyn Error + Send + Sync>> {
        let (at, effect) = (frame.sequence, EffectRecord::read(frame.payload)?);
        let unknown = effect.is_unknown();
        if let Some(open) = self.open.get(&effect.at) {
            self.world = if unknown {
                self.world.ended_unknown(at, &open.tenant, effect.at)
            } else {
                self.world.ended(at, &open.tenant, effect.at, effect.returned)
            };
        }
        let unknown = self.close(effect.at, unknown, frame.time_ms);
        self.seen.closed(effect.at);
        self.seen.unknown(effect.at, unknown);
        Ok(())
    }
    /// It was found out how a warrant of unknown end did end: frames that, and after it what follows from it.
    fn amend(
        &mut self,
        (sequence, time_ms): (u64, u64),
        tenant: &TenantId,
        (at, happened): (u64, bool),
        record: &str,
        out: &mut FrameSink<'_>,
    ) -> Result<Token, Refusal> {
        let effect = self.unresolved.get(at).ok_or(Refusal::Resolved)?;
        out.push(tenant.as_str(), Kind::Amendment.tag(), record.as_bytes())?;
        let found = self.world.found(sequence, tenant, at, !happened);
        let late = if happened { writes::leave_late(&found, effect, time_ms, out)? } else { None };
        let moved = late.is_some();
        let world = late.unwrap_or(found);
        self.unresolved.remove(at);
        self.world = world.clone();
        Ok(Token::Resolved(world, at, moved))
    }
    fn permit(&self, at: u64, reservation: &Reservation) -> Result<World, Refusal> {
        let Reservation { workflow, basis, entry, action, amount, labels, labels_at, totals, spends, .. } =
            reservation;
        let Reservation { spending, claims, .. } = reservation;
        let tenant = self.world.tenant(workflow.tenant()).ok_or(Refusal::Moved)?;
        // What ended stands before this entry: no permit of older facts, or of an older release, comes after it.
        let revision = self.world.organisation().revision().max(tenant.revision());
        if *basis != (self.release.ok_or(Refusal::Moved)?, revision)
            || sources::denies(&self.gaps, workflow.tenant())
        {
            return Err(Refusal::Moved);
        }
        let flow = tenant.flow(workflow);
        if flow.labels_at != *labels_at
            || !totals.still(flow.totals_at)
            || !claims.hold(spending, tenant.tallies(), &flow)
        {
            return Err(Refusal::Moved);
        }
        let world = if spends.is_empty() {
            self.world.clone()
        } else {
            self.world.spend(at, spends).map_err(|_| Refusal::Moved)?
        };
        world
            .permitted(at, workflow, labels, entry, action, *amount)
            .and_then(|world| world.counted(at, spending.clone(), spends.clone(), claims.keep))
            .map_err(Refusal::Change)
    }
}

fn push(out: &mut FrameSink<'_>, tree: &str, kind: Kind, sealed: &Sealed) -> Result<Written, FrameError> {
    out.push_sealed(tree, kind.tag(), sealed.record.as_bytes(), &sealed.attachment)
}

impl Fold for State {
    type Entry = Commit;
    type Refusal = Refusal;
    type Token = Token;
    const FORMAT: &'static str = FORMAT;

    fn replay(&mut self, frame: &Frame<'_>) -> Result<(), Box<dyn Error + Send + Sync>> {
        let at = frame.sequence;
        match Kind::from_tag(frame.kind) {
            Some(Kind::Facts) => {
                self.told(frame)?;
            }
            Some(Kind::Decision) => {
                let opened = erase::opened(frame.payload, frame.sealed, &self.subjects)?;
                let record = DecisionRecord::read(&opened.payload)?;
                let (spending, keep) = (record.spending(), record.keep);
                match (record.permit, record.asked) {
                    (true, AskedRecord::Call(call)) => {
                        let spends: Vec<_> = record
                            .spends
                            .into_iter()
                            .map(|id| ApprovalId::new(record.grant.workflow.tenant().clone(), id))
                            .collect();
                        if !spends.is_empty() {
                            self.world = self.world.spend(at, &spends)?;
                        }
                        self.world = self.world.permitted(
                            at,
                            &record.grant.workflow,
                            &call.labels,
                            &call.entry,
                            &call.action,
                            call.amount().unwrap_or(Decimal::ZERO),
                        )?;
                        if let Some(spending) = spending {
                            self.world = self.world.counted(at, spending, spends, keep)?;
                        }
                        let open = Open {
                            tenant: record.grant.workflow.tenant().clone(),
                            workflow: record.grant.workflow.local().clone(),
                            decision: record.id,
                            effect: call.effect,
                            agent: record.grant.agent,
                            writes: call.writes,
                            moves: call.moves,
                        };
                        self.seen.opened(at, open.clone());
                        self.open.insert(at, open);
                    }
                    (true, AskedRecord::Attempt(_)) => return Err("a permit without a call".into()),
                    (false, _) => {
                        if record.document.get("remedy").is_some_and(|remedy| !remedy.is_null()) {
                            self.seen.remember(record.id, at);
                        }
                    }
                }
            }
            Some(Kind::Effect) => {
                self.replay_end(frame)?;
            }
            Some(Kind::Amendment) => {
                let found = Amendment::read(frame.payload)?;
                self.world = self.world.found(at, &found.tenant, found.at, found.returned);
                self.unresolved.remove(found.at);
                self.seen.unresolved.lock().unwrap_or_else(PoisonError::into_inner).remove(found.at);
            }
            Some(Kind::Release) => self.released(frame.payload)?,
            Some(Kind::Act) => self.acted(frame)?,
            Some(Kind::Refusals | Kind::Gap) => {}
            None => {
                return Err(format!(
                    "a record of the unknown kind {}: it was written by a newer version",
                    frame.kind
                )
                .into());
            }
        }
        // At the start nobody reads yet. Later this is how another gateway's facts arrive here, and wake who waits.
        if Kind::from_tag(frame.kind) == Some(Kind::Facts) {
            self.live.publish(self.world.clone());
            self.seen.keys.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&self.keys);
        } else {
            self.live.publish_flow(self.world.clone());
        }
        self.seen.moments.hold(at, || self.apart());
        Ok(())
    }

    fn admit(&mut self, at: At, entry: Commit, out: &mut FrameSink<'_>) -> Result<Token, Refusal> {
        let At { sequence, time_ms } = at;
        match entry {
            Commit::Facts(transaction) => self.change(at, *transaction, out),
            Commit::FactsOn(transaction, on) => {
                let now = match &transaction.place {
                    Place::Organisation => Some(self.world.organisation().revision()),
                    Place::Tenant(tenant) => self.world.tenant(tenant).map(|facts| facts.revision()),
                };
                // What stands there already under the same key is told again.
                let repeated = self.keys.repeated(&transaction).is_ok_and(|at| at.is_some());
                if !repeated && now.is_some_and(|now| now != on) {
                    return Err(Refusal::Moved);
                }
                self.admit(at, Commit::Facts(transaction), out)
            }
            Commit::Permit(reservation) => {
                let world = self.permit(sequence, &reservation)?;
                let Reservation { id, workflow, agent, effect, writes, moves, record, .. } = *reservation;
                push(out, workflow.tenant().as_str(), Kind::Decision, &record)?;
                self.world = world.clone();
                let open = Open {
                    tenant: workflow.tenant().clone(),
                    workflow: workflow.local().clone(),
                    decision: id,
                    effect,
                    agent,
                    writes,
                    moves,
                };
                self.open.insert(sequence, open.clone());
                Ok(Token::Opened(world, sequence, open))
            }
            Commit::Denial { tenant, id, remediable, record } => {
                push(out, tenant.as_str(), Kind::Decision, &record)?;
                Ok(if remediable { Token::Remediable(id) } else { Token::Nothing })
            }
            Commit::Ended { at, ended, record } => self.end(sequence, at, ended, time_ms, &record, out),
            Commit::Amended { tenant, at, happened, record } => {
                self.amend((sequence, time_ms), &tenant, (at, happened), &record, out)
            }
            Commit::Orphan { tenant, workflow, decision, at, detail } => {
                let record = orphaned(
                    &decision,
                    at,
                    tenant.as_str(),
                    workflow.as_str(),
                    Timestamp::from_millis(time_ms),
                    detail,
                );
                let record = Sealed::plain(record);
                let ended = Ended { ending: Ending::Unknown, returned: false, error: false };
                self.end(sequence, at, ended, time_ms, &record, out)
            }
            Commit::Erase(erasure) => self.erase(at, *erasure, out),
            Commit::Release { release, record, how, over } => self.release(release, &record, &how, over, out),
            Commit::Step { release, step, record } => self.step(sequence, release, &step, &record, out),
            Commit::Source { told, record } => {
                let tree = match &told.place {
                    Place::Organisation => ORGANISATION,
                    Place::Tenant(tenant) => tenant.as_str(),
                };
                out.push(tree, Kind::Act.tag(), record.as_bytes())?;
                told.fold(&mut self.gaps);
                Ok(Token::Source(told, self.gaps.clone()))
            }
            Commit::Act { tenant, kind, record } => {
                out.push(
                    tenant.as_ref().map_or(ORGANISATION, TenantId::as_str),
                    kind.tag(),
                    record.as_bytes(),
                )?;
                Ok(Token::Nothing)
            }
        }
    }

    fn started(&mut self) {
        self.started = true;
        self.seen.forget(self.erased_at, &self.subjects);
        self.put_in_force();
    }

    fn is_slow(&self, kind: u8) -> bool {
        Kind::from_tag(kind) == Some(Kind::Release)
    }

    fn committed(&mut self, receipt: &Receipt, token: Token) {
        match token {
            Token::World(world) => self.live.publish(world),
            Token::Opened(world, at, warrant) => {
                self.seen.opened(at, warrant);
                self.live.publish_flow(world);
            }
            Token::Closed(world, at, unknown) => {
                self.seen.closed(at);
                self.seen.unknown(at, unknown);
                self.live.publish_flow(world);
            }
            Token::Left(world, at, unknown) => {
                self.seen.closed(at);
                self.seen.unknown(at, unknown);
                self.live.publish(world);
            }
            Token::Resolved(world, at, moved) => {
                self.seen.unresolved.lock().unwrap_or_else(PoisonError::into_inner).remove(at);
                if moved {
                    self.live.publish(world);
                } else {
                    self.live.publish_flow(world);
                }
            }
            Token::Remediable(id) => self.seen.remember(id, receipt.first),
            Token::Release(release) => {
                *self.seen.release.lock().unwrap_or_else(PoisonError::into_inner) = Some(release.digest());
                self.seen.lived(&self.lives);
                self.releases.store(Some(release));
            }
            Token::Erased(world, keys) => {
                self.subjects.forget(&keys);
                self.live.publish(world);
                self.seen.forget(receipt.first, &self.subjects);
            }
            Token::Step => self.seen.lived(&self.lives),
            Token::Source(told, gaps) => self.said(&told, &gaps),
            Token::Nothing => {}
        }
    }

    fn settled(&mut self, last: u64) {
        self.seen.keys.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&self.keys);
        self.seen.moments.hold(last, || self.apart());
    }

    fn keep(&self) -> Option<Keep> {
        // A start from the state wouldn't know that keys are still to be erased.
        self.subjects.is_settled().then(|| self.parts().keep())
    }

    fn restore(&mut self, _sequence: u64, kept: &[u8]) -> Result<(), Box<dyn Error + Send + Sync>> {
        let Parts { world, open, unresolved, keys, remediable, release, lives, gaps, erased_at } =
            Parts::read(kept)?;
        self.seen.lived(&lives);
        self.lives = lives;
        (self.world, self.open, self.unresolved) = (world, open, unresolved);
        (self.keys, self.release, self.gaps, self.erased_at) = (keys, release, gaps, erased_at);
        *self.seen.remediable.lock().unwrap_or_else(PoisonError::into_inner) = Remediable::default();
        for (id, at) in remediable {
            self.seen.remember(id, at);
        }
        *self.seen.release.lock().unwrap_or_else(PoisonError::into_inner) = release;
        self.publish();
        Ok(())
    }
}
