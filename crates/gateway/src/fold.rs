//! The state that the journal's entries fold into, on the writer's thread: facts, data flow, spent approvals, open
//! warrants. What is compared and set here is compared and set in the order of the journal.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    error::Error,
    sync::{Arc, Mutex, PoisonError},
};

use placet_core::{
    AgentId, ApprovalId, Attribute, Decimal, DecisionId, Digest, Moving, Name, TenantId, Timestamp, Tuple,
    WorkflowId,
    authority::{Ending, Position},
};
use placet_facts::{ChangeError, Live, Place, Transaction, World};
use placet_json::{Limits, Value, object};
use placet_ledger::frame::{Frame, FrameError};
use placet_record::{AskedRecord, DecisionRecord, EffectRecord, Kind, orphaned};
use placet_store::{At, Fold, FrameSink, Receipt};

use crate::{InForce, writes};

/// The tree of what belongs to no tenant.
pub const ORGANISATION: &str = "organisation";
/// How many denials with a remedy are remembered by their identifier.
const MAX_REMEDIABLE: usize = 65_536;

/// What is submitted to the journal.
#[derive(Debug)]
pub(crate) enum Commit {
    /// A change of facts.
    Facts(Box<Transaction>),
    /// A permit, with what it reserves.
    Permit(Box<Reservation>),
    /// A denial.
    Denial { tenant: TenantId, id: DecisionId, remediable: bool, record: String },
    /// The end of a warrant.
    Ended { at: Position, ending: Ending, record: String },
    /// A warrant of which nothing more is known.
    Orphan { tenant: TenantId, workflow: Name, decision: DecisionId, at: Position, detail: &'static str },
    /// A release comes into force.
    Release { digest: Digest, record: String },
    /// Something else that people did or tried.
    Act { tenant: Option<TenantId>, kind: Kind, record: String },
}

/// What a permit takes with it.
#[derive(Debug)]
pub(crate) struct Reservation {
    pub(crate) id: DecisionId,
    pub(crate) workflow: WorkflowId,
    pub(crate) entry: Name,
    pub(crate) action: Name,
    pub(crate) amount: Decimal,
    pub(crate) labels: BTreeSet<Name>,
    pub(crate) labels_at: u64,
    pub(crate) totals: Moving,
    pub(crate) spends: Vec<ApprovalId>,
    pub(crate) agent: AgentId,
    pub(crate) writes: Vec<Tuple>,
    pub(crate) record: String,
}

/// Why an entry isn't written.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// What it rests on has moved.
    Moved,
    /// The facts don't admit it.
    Change(ChangeError),
    /// The warrant has ended already.
    Ended,
    /// It can't be framed.
    Frame(FrameError),
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Moved => f.write_str("what it rests on has moved"),
            Self::Change(error) => error.fmt(f),
            Self::Ended => f.write_str("the warrant has ended already"),
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
    pub(crate) agent: AgentId,
    /// The relationships that it leaves behind if its effect happens.
    pub(crate) writes: Vec<Tuple>,
}

/// What others may look at while the writer works.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    open: Mutex<BTreeMap<u64, Open>>,
    remediable: Mutex<Remediable>,
    release: Mutex<Option<Digest>>,
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
    /// The position of a denial with a remedy.
    pub(crate) fn remediable(&self, id: &DecisionId) -> Option<u64> {
        self.remediable.lock().unwrap_or_else(PoisonError::into_inner).at.get(id).copied()
    }
    /// The release that came into force last.
    pub(crate) fn release(&self) -> Option<Digest> {
        *self.release.lock().unwrap_or_else(PoisonError::into_inner)
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
pub(crate) struct State {
    world: World,
    /// Open warrants, ahead of `seen` likewise.
    open: BTreeMap<u64, Open>,
    live: Arc<Live>,
    seen: Arc<Seen>,
    releases: Arc<InForce>,
}

/// What happens once the entry is durable.
pub(crate) enum Token {
    /// Publish this.
    World(World),
    /// Publish this, and the warrant is open.
    Opened(World, u64, Open),
    /// The warrant has ended.
    Closed(u64),
    /// The warrant has ended, and left this behind.
    Left(u64, World),
    /// A denial that an approval may turn.
    Remediable(DecisionId),
    /// A release.
    Release(Digest),
    /// Nothing.
    Nothing,
}

impl State {
    pub(crate) fn new(live: Arc<Live>, seen: Arc<Seen>, releases: Arc<InForce>) -> Self {
        Self { world: World::new(), open: BTreeMap::new(), live, seen, releases }
    }
    /// Ends an open warrant: frames its effect, and after it what the effect leaves behind.
    fn end(
        &mut self,
        at: Position,
        ending: Ending,
        time_ms: u64,
        record: &str,
        out: &mut FrameSink<'_>,
    ) -> Result<Token, Refusal> {
        let open = self.open.get(&at.0).ok_or(Refusal::Ended)?;
        out.push(open.tenant.as_str(), Kind::Effect.tag(), record.as_bytes())?;
        let left = writes::leave(&self.world, open, ending, time_ms, out)?;
        self.open.remove(&at.0);
        Ok(match left {
            Some(world) => {
                self.world = world.clone();
                Token::Left(at.0, world)
            }
            None => Token::Closed(at.0),
        })
    }
    fn permit(&self, at: u64, reservation: &Reservation) -> Result<World, Refusal> {
        let Reservation { workflow, entry, action, amount, labels, labels_at, totals, spends, .. } =
            reservation;
        let flow =
            self.world.tenant(workflow.tenant()).map(|tenant| tenant.flow(workflow)).ok_or(Refusal::Moved)?;
        if flow.labels_at != *labels_at || !totals.still(flow.totals_at) {
            return Err(Refusal::Moved);
        }
        let world = if spends.is_empty() {
            self.world.clone()
        } else {
            self.world.spend(at, spends).map_err(|_| Refusal::Moved)?
        };
        world.permitted(at, workflow, labels, entry, action, *amount).map_err(Refusal::Change)
    }
}

impl Fold for State {
    type Entry = Commit;
    type Refusal = Refusal;
    type Token = Token;

    fn replay(&mut self, frame: &Frame<'_>) -> Result<(), Box<dyn Error + Send + Sync>> {
        let at = frame.sequence;
        match Kind::from_tag(frame.kind) {
            Some(Kind::Facts) => {
                let document = placet_json::parse(frame.payload, &Limits::RESULT)?;
                let transaction =
                    document.get("transaction").ok_or("a record of facts without its `transaction`")?;
                self.world = self.world.apply(at, &Transaction::from_value(transaction)?)?;
            }
            Some(Kind::Decision) => {
                let record = DecisionRecord::read(frame.payload)?;
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
                            amount(&call.attributes).unwrap_or(Decimal::ZERO),
                        )?;
                        let open = Open {
                            tenant: record.grant.workflow.tenant().clone(),
                            workflow: record.grant.workflow.local().clone(),
                            decision: record.id,
                            agent: record.grant.agent,
                            writes: call.writes,
                        };
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
                self.open.remove(&EffectRecord::read(frame.payload)?.at);
            }
            Some(Kind::Release) => {
                let document = placet_json::parse(frame.payload, &Limits::RESULT)?;
                let digest = document
                    .get("release")
                    .and_then(Value::as_str)
                    .and_then(Digest::parse)
                    .ok_or("a release without its digest")?;
                *self.seen.release.lock().unwrap_or_else(PoisonError::into_inner) = Some(digest);
            }
            Some(Kind::Act | Kind::Refusals) => {}
            None => {
                return Err(format!(
                    "a record of the unknown kind {}: it was written by a newer version",
                    frame.kind
                )
                .into());
            }
        }
        // Replay is over before anybody reads; publishing the last state is enough, and costs a pointer each.
        self.live.publish(self.world.clone());
        self.seen.open.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&self.open);
        Ok(())
    }

    fn admit(&mut self, at: At, entry: Commit, out: &mut FrameSink<'_>) -> Result<Token, Refusal> {
        let At { sequence, time_ms } = at;
        match entry {
            Commit::Facts(mut transaction) => {
                transaction.stamp(Timestamp::from_millis(time_ms));
                let release = self.releases.current();
                // A release without relations has no model: its tuples are data, and grant nothing.
                let model = release.as_ref().map(|it| it.relations()).filter(|it| !it.types.is_empty());
                let world = self.world.apply_with(sequence, &transaction, model).map_err(Refusal::Change)?;
                let tree = match &transaction.place {
                    Place::Organisation => ORGANISATION,
                    Place::Tenant(tenant) => tenant.as_str(),
                };
                let record = Value::from(
                    object! { "time" => Timestamp::from_millis(time_ms).to_string(), "transaction" => transaction.to_value(), "v" => 1_u64 },
                );
                let record =
                    record.canonical().map_err(|_| Refusal::Frame(FrameError::TooLarge { limit: 0 }))?;
                out.push(tree, Kind::Facts.tag(), record.as_bytes())?;
                self.world = world.clone();
                Ok(Token::World(world))
            }
            Commit::Permit(reservation) => {
                let world = self.permit(sequence, &reservation)?;
                let Reservation { id, workflow, agent, writes, record, .. } = *reservation;
                out.push(workflow.tenant().as_str(), Kind::Decision.tag(), record.as_bytes())?;
                self.world = world.clone();
                let open = Open {
                    tenant: workflow.tenant().clone(),
                    workflow: workflow.local().clone(),
                    decision: id,
                    agent,
                    writes,
                };
                self.open.insert(sequence, open.clone());
                Ok(Token::Opened(world, sequence, open))
            }
            Commit::Denial { tenant, id, remediable, record } => {
                out.push(tenant.as_str(), Kind::Decision.tag(), record.as_bytes())?;
                Ok(if remediable { Token::Remediable(id) } else { Token::Nothing })
            }
            Commit::Ended { at, ending, record } => self.end(at, ending, time_ms, &record, out),
            Commit::Orphan { tenant, workflow, decision, at, detail } => {
                let record = orphaned(
                    &decision,
                    at,
                    tenant.as_str(),
                    workflow.as_str(),
                    Timestamp::from_millis(time_ms),
                    detail,
                );
                self.end(at, Ending::Unknown, time_ms, &record, out)
            }
            Commit::Release { digest, record } => {
                out.push(ORGANISATION, Kind::Release.tag(), record.as_bytes())?;
                Ok(Token::Release(digest))
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

    fn committed(&mut self, receipt: &Receipt, token: Token) {
        let open = || self.seen.open.lock().unwrap_or_else(PoisonError::into_inner);
        match token {
            Token::World(world) => self.live.publish(world),
            Token::Opened(world, at, warrant) => {
                open().insert(at, warrant);
                self.live.publish_flow(world);
            }
            Token::Closed(at) => {
                open().remove(&at);
            }
            Token::Left(at, world) => {
                open().remove(&at);
                self.live.publish(world);
            }
            Token::Remediable(id) => self.seen.remember(id, receipt.first),
            Token::Release(digest) => {
                *self.seen.release.lock().unwrap_or_else(PoisonError::into_inner) = Some(digest);
            }
            Token::Nothing => {}
        }
    }
}

/// The amount that a call adds to its action's total: its attribute `amount`, where it has one.
pub(crate) fn amount(attributes: &[(Name, Attribute)]) -> Option<Decimal> {
    attributes.iter().find_map(|(name, value)| match value {
        Attribute::Decimal(amount) if name.as_str() == "amount" => Some(*amount),
        Attribute::Decimal(_) | Attribute::Text(_) | Attribute::Bool(_) => None,
    })
}
