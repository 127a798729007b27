//! The whole life of one call as values that consume each other:
//!
//! `Envelope + Call → Decision(Permit | Denial) → Recorded(Warrant | Denial) → Invocation → Effect → Outcome`
//!
//! A permit can't be forged, a warrant can't be skipped, used twice, copied, lost in silence or spent after what it
//! rests on has ended; an outcome can't be read before its effect is recorded. The proofs have private fields and are
//! neither `Clone`, `Default` nor `Deserialize`; `tests/authority` holds each of these refusals by its error code.

use std::{collections::BTreeSet, future::Future, pin::pin, sync::Arc};

use futures::future::{Either, select};
use placet_json::Value;

use crate::{
    AgentId, Approval, Basis, Call, Code, DecisionId, Determining, Digest, Engine, EngineFault, Envelope,
    Evaluation, Facts, FactsView, FlowAt, Flowing, Grantor, MAX_CHAIN, Moving, Name, NoSuchTenant,
    Obligation, Reason, Reasons, Releases, Remedy, ResourceRef, Revision, Timestamp, Until, Verdict,
    overlay::AsReserved,
};

/// How often a decision is made again because what it rested on moved before it was recorded.
const MAX_ROUNDS: u32 = 64;
/// The longest life of an invocation before its first byte, in milliseconds.
pub const INVOCATION_LIFE: u64 = 2_000;

/// A journal entry's sequence number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position(pub u64);

/// Why an entry isn't in the journal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unrecorded {
    /// The journal takes nothing: no calls. The text is for operators.
    #[error("the journal takes no entries: {0}")]
    Down(String),
    /// An approval was spent, labels or totals moved since the decision: decide again.
    #[error("what the decision rested on has moved")]
    Moved,
}

/// The single commit point. One entry holds decision, reservation, spent approval and proof id together.
pub trait Journal: Send + Sync {
    /// Waits until the entry is durable.
    fn durable(&self, entry: Entry<'_>) -> impl Future<Output = Result<Position, Unrecorded>> + Send;
    /// Rides the next commit.
    fn queued(&self, entry: Entry<'_>) -> Result<(), Unrecorded>;
}

/// What is journalled of a call.
#[derive(Debug)]
pub enum Entry<'a> {
    /// A permit, before anything happens.
    Permitted(&'a Permit),
    /// A denial.
    Denied(&'a Denial),
    /// How a warrant ended.
    Ended {
        /// The warrant's decision.
        permit: &'a Permit,
        /// Its position.
        at: Position,
        /// The credential that was made for it.
        credential: &'a CredentialNote,
        /// What came of it.
        outcome: &'a Outcome,
    },
}

/// Told of every warrant that was dropped instead of closed, so that it ends as `unknown`.
pub trait Orphans: Send + Sync {
    /// The warrant at this position ended nobody knows how. Never blocks.
    fn unknown(&self, at: Position, envelope: &Envelope, call: &Call);
}

/// What the ledger keeps of a credential: never the credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CredentialNote {
    /// None was made: the warrant ended before.
    None,
    /// A call token of ours.
    CallToken {
        /// Its identifier.
        jti: String,
        /// Its one audience.
        audience: String,
        /// Its end.
        expires: Timestamp,
    },
    /// A secret of the vault, injected.
    Vault {
        /// The secret's name.
        name: Name,
        /// Its version.
        version: u64,
    },
    /// The upstream process's own environment; nothing was added to the call.
    Process,
    /// The catalog says that the tool takes none.
    Unneeded,
}

/// How a warrant ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The upstream answered.
    Done,
    /// The upstream answered with an error.
    Failed,
    /// The answer was withheld: a foreign item, or the injected secret.
    Filtered,
    /// What it rested on ended before the first byte: nothing was sent.
    Revoked,
    /// Bytes were sent and no whole answer came back; the effect may have happened.
    Unknown,
}

impl Ending {
    /// As it is recorded.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Filtered => "filtered",
            Self::Revoked => "revoked",
            Self::Unknown => "unknown",
        }
    }
}

/// What goes back to the agent.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// The upstream's result.
    Result(Value),
    /// The upstream's protocol error: code, message, data.
    Error(Value),
    /// Nothing of the upstream's.
    Nothing,
}

/// What came of an invocation.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// How it ended.
    pub ending: Ending,
    /// What goes back.
    pub answer: Answer,
    /// SHA-256 of the answer's bytes as they came, where one came.
    pub digest: Option<Digest>,
    /// Bytes that were sent of the request; 0 is a promise that the upstream saw nothing.
    pub sent: u64,
    /// Labels of the answer, at most those of the decision.
    pub labels: BTreeSet<Name>,
    /// For operators.
    pub detail: String,
}

/// A connection on which nothing was sent yet, with the credential for one call.
pub trait Connection: Send {
    /// What the ledger keeps of the credential.
    fn credential(&self) -> &CredentialNote;
    /// Sends the call and waits for its end. Dropping the future cancels upstream.
    fn exchange(self, dispatch: Dispatch<'_>) -> impl Future<Output = Outcome> + Send;
}

/// What an upstream gets to see: the call's bytes and whose they are. Never the warrant. Only this module makes one.
#[derive(Debug)]
#[expect(clippy::manual_non_exhaustive, reason = "nobody else may make one, in this crate either")]
pub struct Dispatch<'a> {
    /// The call, with the canonical arguments.
    pub call: &'a Call,
    /// On whose behalf.
    pub envelope: &'a Envelope,
    _sealed: (),
}

/// What was asked.
#[derive(Debug)]
pub enum Asked {
    /// A call that the catalog could classify.
    Call(Call),
    /// One that it couldn't.
    Refused(Attempt),
}

impl Asked {
    /// The decision's identifier.
    #[must_use]
    pub fn id(&self) -> &DecisionId {
        match self {
            Self::Call(call) => &call.id,
            Self::Refused(attempt) => &attempt.id,
        }
    }
}

/// A call that never got past classification, as far as it is known.
#[derive(Debug)]
pub struct Attempt {
    /// The decision's identifier.
    pub id: DecisionId,
    /// The protocol's method.
    pub method: String,
    /// What was asked for, as it was named; cut to 256 characters.
    pub target: String,
    /// The action, where the catalog knows one; else the method.
    pub action: String,
    /// The resources that it named, where they could be read.
    pub resources: Vec<ResourceRef>,
    /// What it takes to refuse it again.
    pub evidence: Evidence,
}

/// What it takes to refuse a call again that the catalog couldn't classify.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Evidence {
    /// It was a call of a tool.
    Call {
        /// The upstream.
        upstream: String,
        /// The tool's name there.
        tool: String,
        /// The arguments as they came.
        arguments: String,
        /// The definition that the upstream offered then: a digest, or why there was none.
        offered: Offered,
        /// What lookups had for it.
        lookups: Vec<crate::LookedUp>,
    },
    /// It never came to a call: the protocol itself refused it.
    Nothing,
}

/// What an upstream offered under a tool's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offered {
    /// A definition with this digest.
    Definition(Digest),
    /// No such tool.
    Absent,
    /// Its tools couldn't be read yet.
    Unread,
}

/// What a refusal before the decision was judged on.
pub enum Judged {
    /// These facts, and the catalog of this release.
    On(Arc<dyn FactsView>, Digest),
    /// Neither was looked at, or there was none.
    Blind,
}

impl std::fmt::Debug for Judged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::On(facts, release) => write!(f, "On(revision {}, {release})", facts.revision()),
            Self::Blind => f.write_str("Blind"),
        }
    }
}

/// What a denial rests on.
#[derive(Debug)]
pub enum Ground {
    /// A release and a snapshot.
    Basis(Basis),
    /// Neither could be had at this moment.
    Nothing(Timestamp),
}

/// A decision.
#[must_use]
#[derive(Debug)]
pub enum Decision {
    /// Yes.
    Permit(Box<Permit>),
    /// No.
    Deny(Box<Denial>),
}

/// A recorded decision.
#[must_use]
#[derive(Debug)]
pub enum Recorded {
    /// A warrant: good once, for seconds.
    Granted(Warrant),
    /// A denial.
    Refused(Box<Denial>),
}

/// A yes that isn't recorded yet, so it isn't worth anything yet.
#[must_use]
#[derive(Debug)]
pub struct Permit {
    envelope: Envelope,
    call: Call,
    basis: Basis,
    evaluation: Evaluation,
    flow: Flowing,
    spent: Vec<Approval>,
    chain: Vec<AgentId>,
    ends: Timestamp,
}

/// A no.
#[must_use]
#[derive(Debug)]
pub struct Denial {
    envelope: Envelope,
    asked: Asked,
    ground: Ground,
    reasons: Reasons,
    determining: Vec<Determining>,
    remedy: Option<Remedy>,
    input: Option<placet_json::Canonical>,
    flow_at: FlowAt,
    chain: Vec<AgentId>,
}

/// A permit that the ledger has recorded.
#[must_use]
pub struct Warrant {
    permit: Box<Permit>,
    at: Position,
    orphans: Option<Arc<dyn Orphans>>,
}

/// A warrant with its credential and connection, re-checked, on which nothing was sent yet.
#[must_use]
#[derive(Debug)]
pub struct Invocation<C> {
    warrant: Warrant,
    connection: C,
    issued: Timestamp,
    checked: Revision,
}

/// A warrant that may no longer be used. It still has to be closed.
#[must_use]
#[derive(Debug)]
pub struct Withdrawn {
    warrant: Warrant,
    reason: String,
    credential: CredentialNote,
}

/// What came of a warrant; it can't be read before it is recorded.
#[must_use]
#[derive(Debug)]
pub struct Effect {
    warrant: Warrant,
    credential: CredentialNote,
    outcome: Outcome,
}

impl Permit {
    /// On whose behalf.
    #[must_use]
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }
    /// The call.
    #[must_use]
    pub fn call(&self) -> &Call {
        &self.call
    }
    /// What it rests on.
    #[must_use]
    pub fn basis(&self) -> &Basis {
        &self.basis
    }
    /// Verdict and input.
    #[must_use]
    pub fn evaluation(&self) -> &Evaluation {
        &self.evaluation
    }
    /// The rules that permitted.
    #[must_use]
    pub fn determining(&self) -> &[Determining] {
        match &self.evaluation.verdict {
            Verdict::Allow { determining, .. } | Verdict::Deny { determining, .. } => determining,
        }
    }
    /// Duties that come with it.
    #[must_use]
    pub fn obligations(&self) -> &[Obligation] {
        match &self.evaluation.verdict {
            Verdict::Allow { obligations, .. } => obligations,
            Verdict::Deny { .. } => &[],
        }
    }
    /// The chain of agents, the one that the human delegated to first, the acting one last.
    #[must_use]
    pub fn chain(&self) -> &[AgentId] {
        &self.chain
    }
    /// The approvals that are spent with it.
    #[must_use]
    pub fn spends(&self) -> &[Approval] {
        &self.spent
    }
}

impl Denial {
    /// On whose behalf.
    #[must_use]
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }
    /// What was asked.
    #[must_use]
    pub fn asked(&self) -> &Asked {
        &self.asked
    }
    /// What it rests on.
    #[must_use]
    pub fn ground(&self) -> &Ground {
        &self.ground
    }
    /// Why.
    #[must_use]
    pub fn reasons(&self) -> &Reasons {
        &self.reasons
    }
    /// The denies that fired.
    #[must_use]
    pub fn determining(&self) -> &[Determining] {
        &self.determining
    }
    /// What would make it a yes.
    #[must_use]
    pub fn remedy(&self) -> Option<&Remedy> {
        self.remedy.as_ref()
    }
    /// The policy input, where it came to one.
    #[must_use]
    pub fn input(&self) -> Option<&placet_json::Canonical> {
        self.input.as_ref()
    }
    /// The last permits and endings that it was decided on.
    #[must_use]
    pub fn flow_at(&self) -> FlowAt {
        self.flow_at
    }
    /// The chain of agents as far as facts know it, the acting one last.
    #[must_use]
    pub fn chain(&self) -> &[AgentId] {
        &self.chain
    }
}

impl Permit {
    /// The last permits and endings that it was decided on.
    #[must_use]
    pub fn flow_at(&self) -> FlowAt {
        self.flow.at()
    }
}

impl Warrant {
    /// The call that it is for, to prepare credential and connection.
    #[must_use]
    pub fn call(&self) -> &Call {
        &self.permit.call
    }
    /// On whose behalf.
    #[must_use]
    pub fn envelope(&self) -> &Envelope {
        &self.permit.envelope
    }
    /// The chain of agents, the acting one last.
    #[must_use]
    pub fn chain(&self) -> &[AgentId] {
        &self.permit.chain
    }
    /// The denial that it passed over, where it rests on a waiver.
    #[must_use]
    pub fn passed_over(&self) -> Option<&crate::PassedOver> {
        self.permit.evaluation.passed_over.as_ref()
    }
    /// Its journal position.
    #[must_use]
    pub fn position(&self) -> Position {
        self.at
    }
    /// Gives it back unused, for instance when its credential can't be made.
    pub fn withdraw(self, reason: impl Into<String>) -> Withdrawn {
        Withdrawn { warrant: self, reason: reason.into(), credential: CredentialNote::None }
    }
    fn end(&mut self) {
        self.orphans = None;
    }
}

impl Withdrawn {
    /// Why, for operators.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

impl std::fmt::Debug for Warrant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Warrant({} at {})", self.permit.call.id, self.at.0)
    }
}

impl Drop for Warrant {
    fn drop(&mut self) {
        if let Some(orphans) = self.orphans.take() {
            orphans.unknown(self.at, &self.permit.envelope, &self.permit.call);
        }
    }
}

/// The moment, asked for anew whenever a decision is made again.
pub type Clock<'a> = &'a (dyn Fn() -> Timestamp + Send + Sync);

/// The only maker of authority; one place in the program builds it.
pub struct Authority<J> {
    releases: Arc<dyn Releases>,
    facts: Arc<dyn Facts>,
    journal: J,
    orphans: Arc<dyn Orphans>,
}

impl<J> std::fmt::Debug for Authority<J> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Authority")
    }
}

impl<J: Journal> Authority<J> {
    /// Brings the seams together. A tidy test holds that the program does this in exactly one place.
    pub fn new(
        releases: Arc<dyn Releases>,
        facts: Arc<dyn Facts>,
        journal: J,
        orphans: Arc<dyn Orphans>,
    ) -> Self {
        Self { releases, facts, journal, orphans }
    }

    /// Decides on the newest snapshot of the envelope's own tenant, by the release in force. Pure but for these two reads.
    pub fn decide(&self, envelope: Envelope, call: Call, now: Timestamp) -> Decision {
        let Ok(facts) = self.facts.snapshot(envelope.tenant()) else {
            let operator = format!("there is no tenant `{}`", envelope.tenant());
            let reason = Reason::platform(Code::WorkflowUnknown, "there is no such workflow", operator);
            return deny(envelope, Vec::new(), Asked::Call(call), Ground::Nothing(now), reason.into());
        };
        let Some(engine) = self.releases.in_force() else {
            let reason = Reason::platform(
                Code::NoRelease,
                "no policy is in force, so nothing is permitted",
                "no release was ever promoted on this server",
            );
            return deny(envelope, Vec::new(), Asked::Call(call), Ground::Nothing(now), reason.into());
        };
        decide_on(&*engine, &*facts, envelope, call, now)
    }

    /// Denies what never came to a call, so that it is recorded like every other denial. `judged` is what the refusal
    /// was judged on: whoever replays it judges on the same.
    pub fn refuse(
        &self,
        envelope: Envelope,
        attempt: Attempt,
        reasons: Reasons,
        judged: &Judged,
        now: Timestamp,
    ) -> Decision {
        let (ground, chain) = match judged {
            Judged::On(facts, release) => {
                (Ground::Basis(Basis::of(*release, &**facts, now, &[])), chain(&**facts, &envelope))
            }
            Judged::Blind => (Ground::Nothing(now), Vec::new()),
        };
        deny(envelope, chain, Asked::Refused(attempt), ground, reasons)
    }

    /// Records the decision. A permit waits for the disk and is decided again if what it rests on moved before it was
    /// there; a denial, which nothing follows, rides the next commit, unless it names a remedy.
    pub async fn record(&self, decision: Decision, clock: Clock<'_>) -> Result<Recorded, Unrecorded> {
        let mut decision = decision;
        for _ in 0..MAX_ROUNDS {
            let permit = match decision {
                Decision::Deny(denial) => {
                    if denial.remedy.is_some() {
                        // Whoever is told how to be allowed may ask for it at once: the record must be there.
                        self.journal.durable(Entry::Denied(&denial)).await?;
                    } else {
                        self.journal.queued(Entry::Denied(&denial))?;
                    }
                    return Ok(Recorded::Refused(denial));
                }
                Decision::Permit(permit) => permit,
            };
            match self.journal.durable(Entry::Permitted(&permit)).await {
                Ok(at) => {
                    return Ok(Recorded::Granted(Warrant {
                        permit,
                        at,
                        orphans: Some(Arc::clone(&self.orphans)),
                    }));
                }
                Err(Unrecorded::Moved) => decision = self.decide(permit.envelope, permit.call, clock()),
                Err(down @ Unrecorded::Down(_)) => return Err(down),
            }
        }
        let (envelope, asked) = match decision {
            Decision::Permit(permit) => (permit.envelope, Asked::Call(permit.call)),
            Decision::Deny(denial) => (denial.envelope, denial.asked),
        };
        let reason = Reason::platform(
            Code::Contended,
            "too much happens at once in this workflow; try again",
            format!("{MAX_ROUNDS} rounds"),
        );
        let Decision::Deny(denial) =
            deny(envelope, Vec::new(), asked, Ground::Nothing(clock()), reason.into())
        else {
            return Err(Unrecorded::Moved);
        };
        self.journal.queued(Entry::Denied(&denial))?;
        Ok(Recorded::Refused(denial))
    }

    /// Spends the warrant once credential and connection are ready, unless what it rests on has ended since.
    pub fn issue<C: Connection>(
        &self,
        warrant: Warrant,
        connection: C,
        now: Timestamp,
    ) -> Result<Invocation<C>, Box<Withdrawn>> {
        match self.holds(&warrant.permit, now) {
            Ok(checked) => Ok(Invocation { warrant, connection, issued: now, checked }),
            Err(reason) => {
                let credential = connection.credential().clone();
                Err(Box::new(Withdrawn { warrant, reason, credential }))
            }
        }
    }

    /// Sends the call and waits for its end. If what it rests on ends meanwhile, the upstream call is cancelled and the
    /// effect is `unknown`, since bytes have left.
    pub async fn send<C: Connection>(&self, invocation: Invocation<C>, clock: Clock<'_>) -> Effect {
        let Invocation { warrant, connection, issued, checked } = invocation;
        let credential = connection.credential().clone();
        if clock().since(issued) > INVOCATION_LIFE {
            let outcome =
                unsent(Ending::Revoked, "the invocation was older than two seconds before its first byte");
            return Effect { warrant, credential, outcome };
        }
        let permit = &*warrant.permit;
        let outcome = {
            let dispatch = Dispatch { call: &permit.call, envelope: &permit.envelope, _sealed: () };
            let mut exchange = pin!(connection.exchange(dispatch));
            // What moved between the check and the first byte counts, too.
            let mut seen = checked;
            loop {
                match select(exchange.as_mut(), self.facts.moved(permit.envelope.tenant(), seen)).await {
                    Either::Left((outcome, _)) => break outcome,
                    Either::Right(((), _)) => match self.holds(permit, clock()) {
                        Ok(revision) => seen = revision,
                        Err(reason) => {
                            break Outcome {
                                ending: Ending::Unknown,
                                answer: Answer::Nothing,
                                digest: None,
                                sent: u64::try_from(permit.call.arguments.as_bytes().len())
                                    .unwrap_or(u64::MAX),
                                labels: permit.call.labels.clone(),
                                detail: format!("cancelled in mid-call: {reason}"),
                            };
                        }
                    },
                }
            }
        };
        Effect { warrant, credential, outcome }
    }

    /// Records the effect and lets its outcome out: durable before the answer for what changes something, with the
    /// next commit for a read.
    pub async fn close(&self, effect: Effect) -> Result<Outcome, Unrecorded> {
        let Effect { mut warrant, credential, outcome } = effect;
        self.end(&warrant, &credential, &outcome).await?;
        warrant.end();
        Ok(outcome)
    }

    /// Records that nothing was sent. Returns why, for operators.
    pub async fn close_withdrawn(&self, withdrawn: Withdrawn) -> Result<String, Unrecorded> {
        let Withdrawn { mut warrant, reason, credential } = withdrawn;
        let outcome = unsent(Ending::Revoked, &reason);
        self.journal
            .durable(Entry::Ended {
                permit: &warrant.permit,
                at: warrant.at,
                credential: &credential,
                outcome: &outcome,
            })
            .await?;
        warrant.end();
        Ok(reason)
    }

    async fn end(
        &self,
        warrant: &Warrant,
        credential: &CredentialNote,
        outcome: &Outcome,
    ) -> Result<(), Unrecorded> {
        let entry = Entry::Ended { permit: &warrant.permit, at: warrant.at, credential, outcome };
        match warrant.permit.call.effect {
            crate::EffectClass::Read => self.journal.queued(entry),
            crate::EffectClass::Write | crate::EffectClass::Destructive => {
                self.journal.durable(entry).await.map(|_| ())
            }
        }
    }

    /// Whether a recorded permit would be given again, on the newest facts, and on which; its own reservations are
    /// excluded. Where no fact moved and nothing that it rests on has ended, the decision stands for the two seconds
    /// that an invocation lives.
    fn holds(&self, permit: &Permit, now: Timestamp) -> Result<Revision, String> {
        if now >= permit.envelope.expires() {
            return Err("the token expired".to_owned());
        }
        let Some(engine) = self.releases.in_force() else { return Err("no release is in force".to_owned()) };
        if engine.release() != permit.basis.release {
            return Err("another release is in force".to_owned());
        }
        let facts = self
            .facts
            .snapshot(permit.envelope.tenant())
            .map_err(|NoSuchTenant| "the tenant is gone".to_owned())?;
        let revision = facts.revision();
        let recent = now.since(permit.basis.now) <= INVOCATION_LIFE && now < permit.ends;
        if revision == permit.basis.revision && recent {
            return Ok(revision);
        }
        let facts = AsReserved { newest: &*facts, flow: &permit.flow, spent: &permit.spent };
        match engine.evaluate(&permit.envelope, &permit.call, &facts, now) {
            Ok(Evaluation { verdict: Verdict::Allow { .. }, .. }) => Ok(revision),
            Ok(Evaluation { verdict: Verdict::Deny { reasons, .. }, .. }) => {
                Err(reasons.first().operator.clone())
            }
            Err(fault) => Err(fault.to_string()),
        }
    }
}

/// Decides with this engine on these facts, as replay does, too. It makes a decision, and no journal has seen it.
fn decide_on(
    engine: &dyn Engine,
    facts: &dyn FactsView,
    envelope: Envelope,
    call: Call,
    now: Timestamp,
) -> Decision {
    let flow = Flowing::of(facts, envelope.workflow());
    let chain = chain(facts, &envelope);
    let evaluated = engine.evaluate(&envelope, &call, facts, now);
    match evaluated {
        Err(EngineFault { code, operator }) => {
            let basis = Basis::of(engine.release(), facts, now, &[]);
            let public = if code == Code::ReleaseChanged {
                "the policy changed while the call was on its way; try again"
            } else {
                "the policy could not be evaluated, so the call is denied"
            };
            deny(
                envelope,
                chain,
                Asked::Call(call),
                Ground::Basis(basis),
                Reason::platform(code, public, operator).into(),
            )
        }
        Ok(evaluation) => {
            let input = evaluation.input.as_ref().map_or(&b""[..], placet_json::Canonical::as_bytes);
            let basis = Basis::of(engine.release(), facts, now, input);
            match evaluation {
                Evaluation {
                    verdict: Verdict::Deny { reasons, determining, remedy },
                    input,
                    labels_at: _,
                    totals: _,
                    claims: _,
                    passed_over: _,
                } => Decision::Deny(Box::new(Denial {
                    flow_at: flow.at(),
                    envelope,
                    asked: Asked::Call(call),
                    ground: Ground::Basis(basis),
                    reasons,
                    determining,
                    remedy,
                    input,
                    chain,
                })),
                Evaluation { verdict: Verdict::Allow { ref spends, .. }, .. } => {
                    let mut spent = facts.approvals(envelope.workflow());
                    spent.retain(|approval| spends.contains(&approval.id));
                    let spent: Vec<Approval> = spent.into_iter().cloned().collect();
                    let ends = ends(facts, &envelope, &spent);
                    Decision::Permit(Box::new(Permit {
                        envelope,
                        call,
                        basis,
                        evaluation,
                        flow,
                        spent,
                        chain,
                        ends,
                    }))
                }
            }
        }
    }
}

/// The chain of agents as facts know it, outermost first; it ends where a link is unknown or the bound is reached, and
/// the platform's checks deny such a chain.
#[must_use]
pub fn chain(facts: &dyn FactsView, envelope: &Envelope) -> Vec<AgentId> {
    let mut chain = Vec::with_capacity(2);
    let mut next = facts.delegation(envelope.delegation());
    while let Some(delegation) = next {
        chain.push(delegation.agent.clone());
        next = match &delegation.grantor {
            Grantor::Parent(parent) if chain.len() < MAX_CHAIN => facts.delegation(parent),
            Grantor::Parent(_) | Grantor::Human => None,
        };
    }
    chain.reverse();
    chain
}

/// The first end among all that a permit rests on: token, workflow, delegations, assignment, approvals.
fn ends(facts: &dyn FactsView, envelope: &Envelope, spent: &[Approval]) -> Timestamp {
    let mut first = envelope.expires();
    if let Some(workflow) = facts.workflow(envelope.workflow()) {
        first = first.min(workflow.ends);
    }
    if let Some(Until::At(end)) = facts.assignment(envelope.human()).map(|assignment| assignment.until) {
        first = first.min(end);
    }
    let mut next = facts.delegation(envelope.delegation());
    for _ in 0..MAX_CHAIN {
        let Some(delegation) = next else { break };
        first = first.min(delegation.scope.ends);
        next = match &delegation.grantor {
            Grantor::Parent(parent) => facts.delegation(parent),
            Grantor::Human => None,
        };
    }
    spent.iter().fold(first, |first, approval| first.min(approval.ends))
}

fn deny(envelope: Envelope, chain: Vec<AgentId>, asked: Asked, ground: Ground, reasons: Reasons) -> Decision {
    Decision::Deny(Box::new(Denial {
        envelope,
        asked,
        ground,
        reasons,
        determining: Vec::new(),
        remedy: None,
        input: None,
        flow_at: FlowAt::UNKNOWN,
        chain,
    }))
}

fn unsent(ending: Ending, detail: &str) -> Outcome {
    Outcome {
        ending,
        answer: Answer::Nothing,
        digest: None,
        sent: 0,
        labels: BTreeSet::new(),
        detail: detail.to_owned(),
    }
}

impl Moving {
    /// Whether a verdict that was built on this still holds when the workflow's totals are at `now`.
    #[must_use]
    pub fn still(self, now: u64) -> bool {
        match self {
            Self::Independent => true,
            Self::Since(position) => position == now,
        }
    }
}
