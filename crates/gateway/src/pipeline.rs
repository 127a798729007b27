//! The one way of a call.

use std::{future::Future, pin::pin, sync::Arc, time::Instant};

use futures::future::{Either, select};
use placet_catalog::{Entry, Guarded};
use placet_core::{
    Call, Code, DecisionId, Digest, Envelope, FactsView, LookedUp, NoSuchTenant, Reason,
    authority::{
        Answer, Attempt, Authority, Connection, CredentialNote, Decision, Dispatch, Ending, Evidence, Judged,
        Offered, Outcome, Recorded, Unrecorded, Warrant,
    },
};
use placet_core::{Facts as _, Name};
use placet_json::Value;
use placet_policy::unknown_tool;
use placet_upstream::{Client, Inspect, Request, UpstreamError, Upstreams, Verdict};
use tokio::sync::oneshot;
use tracing::Instrument as _;

use crate::{
    Credentials, Effects, Ledger, MAX_CLOCK_BEHIND, Observer, Public, Stage,
    lookup::{Lookups, Reader},
    operation::Rim,
    shadow::Shadow,
    trace,
    waived::Waived,
};

/// The method of a call.
const CALL: &str = "tools/call";

/// What never came to a call, and why.
type NotAdmitted = Box<(Attempt, placet_core::Reasons)>;

/// What a rim made of a `tools/call`.
#[derive(Debug)]
pub struct ToolCall {
    /// The upstream.
    pub upstream: Name,
    /// The tool's name at the upstream.
    pub tool: String,
    /// The arguments as they came, strictly parsed.
    pub arguments: Value,
    /// What the client wants to hear meanwhile.
    pub client: Client,
    /// Whether the client's going away cancels the call (MCP 2026-07-28) or not (2025-11-25 and before).
    pub departure: Departure,
}

/// What it means when the client goes away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Departure {
    /// The call is cancelled upstream and ends as `unknown`.
    Cancels,
    /// The call goes on.
    IsNothing,
}

/// What a rim answers.
#[derive(Debug)]
pub enum Answered {
    /// The upstream's result, as it came.
    Result(Value),
    /// The upstream's error, as it came.
    Error(Value),
    /// A refusal.
    Denied(Public),
    /// It was permitted, and then something broke; the texts are for the agent.
    Broken {
        /// The decision.
        decision: DecisionId,
        /// How the warrant ended.
        ending: Ending,
        /// One sentence.
        message: &'static str,
    },
}

/// The ledger takes nothing, so nothing happens. The text is for operators.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unavailable(pub String);

impl From<Unrecorded> for Unavailable {
    fn from(error: Unrecorded) -> Self {
        Self(error.to_string())
    }
}

/// The pipeline. One for each server.
pub struct Gateway {
    authority: Authority<Ledger>,
    ledger: Ledger,
    upstreams: Arc<Upstreams>,
    credentials: Arc<Credentials>,
    lookups: Arc<Lookups>,
    effects: Effects,
    observer: Arc<dyn Observer>,
    shadow: Shadow,
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Gateway")
    }
}

impl Gateway {
    /// Puts the parts together. `authority` is built on the same `ledger`.
    #[must_use]
    pub fn new(
        authority: Authority<Ledger>,
        ledger: Ledger,
        upstreams: Arc<Upstreams>,
        credentials: Arc<Credentials>,
        observer: Arc<dyn Observer>,
    ) -> Self {
        let reader = Reader {
            ledger: ledger.clone(),
            upstreams: Arc::clone(&upstreams),
            credentials: Arc::clone(&credentials),
        };
        let effects = Effects::new(reader.clone(), Arc::clone(&observer));
        let lookups = Arc::new(Lookups::new(reader, Arc::clone(&observer)));
        let shadow = Shadow::default();
        Self { authority, ledger, upstreams, credentials, lookups, effects, observer, shadow }
    }
    /// The place of a candidate beside the release in force.
    #[must_use]
    pub fn shadow(&self) -> &Shadow {
        &self.shadow
    }
    /// The ledger.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }
    /// The upstreams.
    #[must_use]
    pub fn upstreams(&self) -> &Arc<Upstreams> {
        &self.upstreams
    }

    /// The effects that nobody knows.
    #[must_use]
    pub fn effects(&self) -> &Effects {
        &self.effects
    }

    /// Takes a call through the pipeline. From the decision on it runs detached: dropping the future loses neither a
    /// record nor an effect.
    pub async fn call(self: &Arc<Self>, envelope: Envelope, call: ToolCall) -> Result<Answered, Unavailable> {
        // `_here` is dropped with this future when the client goes away.
        let (_here, gone) = oneshot::channel();
        let departed = match call.departure {
            Departure::Cancels => Departed::Watched(gone),
            Departure::IsNothing => Departed::Never,
        };
        self.run(envelope, call, departed, Rim::default()).await
    }

    /// Like [`Gateway::call`], for a call that was read out of a request of another form.
    pub(crate) async fn call_with(
        self: &Arc<Self>,
        envelope: Envelope,
        call: ToolCall,
        rim: Rim,
    ) -> Result<Answered, Unavailable> {
        // `_here` is dropped with this future when the client goes away.
        let (_here, gone) = oneshot::channel();
        self.run(envelope, call, Departed::Watched(gone), rim).await
    }

    /// Like [`Gateway::call`], but cancelled by whoever sends on `cancel`; dropping its sender is nothing.
    pub async fn call_cancellable(
        self: &Arc<Self>,
        envelope: Envelope,
        call: ToolCall,
        cancel: oneshot::Receiver<()>,
    ) -> Result<Answered, Unavailable> {
        self.run(envelope, call, Departed::Cancelled(cancel), Rim::default()).await
    }

    /// Refuses a message before it came to a call, so that the refusal is on record.
    pub async fn refuse(
        &self,
        envelope: Envelope,
        method: &str,
        code: Code,
        operator: &str,
    ) -> Result<Public, Unavailable> {
        let public = if code == Code::IntentNotDeclared {
            "the call must name one of the workflow's intents"
        } else {
            "the message is refused"
        };
        let reason = Reason::platform(code, public, operator);
        self.refuse_with(envelope, method, method, reason).await
    }

    /// Refuses a tool whose name can't be any tool's here.
    pub async fn refuse_tool(&self, envelope: Envelope, name: &str) -> Result<Public, Unavailable> {
        let reason =
            Reason::platform(Code::ToolUnknown, unknown_tool(name), "the name has no upstream's prefix");
        self.refuse_with(envelope, CALL, name, reason).await
    }

    /// Refuses a request that is no operation here, in the words for a tool that isn't there.
    pub(crate) async fn refuse_operation(
        &self,
        envelope: Envelope,
        target: &str,
    ) -> Result<Public, Unavailable> {
        let operator = "no operation of the catalog, or more than one, has this method, path and query";
        let reason = Reason::platform(Code::ToolUnknown, "there is no such tool here", operator);
        self.refuse_with(envelope, CALL, target, reason).await
    }

    async fn refuse_with(
        &self,
        envelope: Envelope,
        method: &str,
        target: &str,
        reason: Reason,
    ) -> Result<Public, Unavailable> {
        self.ledger.ready().map_err(Unavailable)?;
        let attempt = Attempt {
            id: decision_id()?,
            method: method.chars().take(128).collect(),
            target: target.chars().take(256).collect(),
            action: method.chars().take(128).collect(),
            resources: Vec::new(),
            evidence: Evidence::Nothing,
        };
        trace::asked(&envelope, &attempt.id, || target.to_owned());
        trace::action(&attempt.action);
        let judged = self.judged(&envelope);
        let decision = self.authority.refuse(envelope, attempt, reason.into(), &judged, self.ledger.now());
        match self.record(decision).await? {
            Recorded::Refused(denial) => {
                self.decided("deny", &denial.reasons().first().code);
                Ok(Public::of(&denial))
            }
            Recorded::Granted(_) => Err(Unavailable("a refusal came back as a permit".to_owned())),
        }
    }

    async fn run(
        self: &Arc<Self>,
        envelope: Envelope,
        call: ToolCall,
        departed: Departed,
        rim: Rim,
    ) -> Result<Answered, Unavailable> {
        self.ledger.ready().map_err(Unavailable)?;
        let ToolCall { upstream, tool, arguments, client, departure: _ } = call;
        let id = decision_id()?;
        trace::asked(&envelope, &id, || format!("{upstream}.{tool}"));
        let looked_up = self.look_up(&envelope, &id, &upstream, &tool, &arguments).await;
        let began = Instant::now();
        let now = self.ledger.now();
        let judged = self.judged(&envelope);
        let watched = self.shadow.watch(
            &envelope,
            upstream.as_str(),
            &tool,
            &arguments,
            || self.offered(&upstream, &tool),
            &looked_up,
            || self.ledger.live().snapshot(envelope.tenant()).ok(),
            (now, &id),
        );
        let admitted = trace::stage(Stage::Classify)
            .in_scope(|| self.classify(&judged, &envelope, &upstream, &tool, &arguments, id, &looked_up));
        let admitted = admitted.and_then(|(call, entry)| match rim.holds(&call) {
            Ok(()) => Ok((call, entry)),
            Err(reason) => Err(not_a_call(call, reason)),
        });
        // Before it is decided: a permit that can't be sent would spend what it rests on.
        let admitted = admitted.and_then(|(call, entry)| match self.upstreams.pass(&upstream) {
            Ok(pass) => Ok((call, entry, pass)),
            Err(error) => Err(unavailable(call, &error)),
        });
        let (decision, entry) = match admitted {
            Ok((call, entry, pass)) => {
                trace::action(call.action.as_str());
                let classified = Instant::now();
                self.observer.took(Stage::Classify, classified.duration_since(began));
                let decision =
                    trace::stage(Stage::Decide).in_scope(|| self.authority.decide(envelope, call, now));
                self.observer.took(Stage::Decide, classified.elapsed());
                (decision, Some((entry, pass)))
            }
            Err(refused) => {
                let (attempt, reason) = *refused;
                trace::action(&attempt.action);
                (self.authority.refuse(envelope, attempt, reason, &judged, now), None)
            }
        };
        if let Some(watched) = watched {
            watched.decided(&decision);
        }
        let gateway = Arc::clone(self);
        // Detached before it is recorded: once the entry is on its way to the journal, somebody must carry the warrant.
        let run = async move {
            match (gateway.record(decision).await?, entry) {
                (Recorded::Granted(warrant), Some((entry, _pass))) => {
                    let waived = Waived::of(&warrant);
                    gateway.decided("permit", "");
                    if let Some((how, code)) = waived.counted() {
                        gateway.observer.waived(how, code);
                    }
                    let answered = gateway.carry_out(warrant, entry, client, departed).await;
                    answered.map(|answered| waived.onto(answered))
                }
                (Recorded::Granted(_), None) => {
                    Err(Unavailable("a permit without a catalog entry".to_owned()))
                }
                (Recorded::Refused(denial), _) => {
                    gateway.decided("deny", &denial.reasons().first().code);
                    Ok(Answered::Denied(Public::of(&denial)))
                }
            }
        };
        let run = tokio::spawn(run.in_current_span());
        run.await.map_err(|error| Unavailable(format!("the call's task ended: {error}")))?
    }

    async fn record(&self, decision: Decision) -> Result<Recorded, Unavailable> {
        let began = Instant::now();
        let clock = || self.ledger.now();
        let recorded =
            self.authority.record(decision, &clock).instrument(trace::stage(Stage::Record)).await?;
        self.observer.took(Stage::Record, began.elapsed());
        Ok(recorded)
    }

    fn decided(&self, decision: &'static str, code: &str) {
        self.observer.decided(decision, code);
        trace::decided(decision, code);
    }

    fn ended(&self, ending: Ending) {
        self.observer.ended(ending.as_str());
        trace::ended(ending.as_str());
    }

    /// The facts and the release that a message is judged on.
    fn judged(&self, envelope: &Envelope) -> Judged {
        match (self.ledger.live().snapshot(envelope.tenant()), self.ledger.releases().current()) {
            (Ok(facts), Some(release)) => Judged::On(facts, release.digest()),
            (Err(NoSuchTenant), _) | (_, None) => Judged::Blind,
        }
    }

    /// Reads what a call's resources lack, where the catalog says how.
    async fn look_up(
        &self,
        envelope: &Envelope,
        id: &DecisionId,
        upstream: &Name,
        tool: &str,
        arguments: &Value,
    ) -> Vec<LookedUp> {
        let none = |release: Arc<placet_policy::Release>| release.catalog().lookups().next().is_none();
        if self.ledger.releases().current().is_none_or(none) {
            return Vec::new();
        }
        let began = Instant::now();
        let offered = self.offered(upstream, tool);
        let lookups = self.lookups.before(envelope, id, upstream, tool, arguments, offered);
        let looked_up = lookups.instrument(trace::stage(Stage::LookUp)).await;
        self.observer.took(Stage::LookUp, began.elapsed());
        looked_up
    }

    /// What an upstream offers under a tool's name now. What an HTTP API offers is what the release's entry says.
    fn offered(&self, upstream: &Name, tool: &str) -> Offered {
        if self.upstreams.is_rest(upstream) {
            let release = self.ledger.releases().current();
            let entry = release.as_ref().and_then(|release| release.catalog().tool(upstream, tool));
            let digest = entry.and_then(|entry| entry.own_definition());
            return digest.map_or(Offered::Absent, Offered::Definition);
        }
        match self.upstreams.tools(upstream) {
            None => Offered::Unread,
            Some(tools) => tools.get(tool).map_or(Offered::Absent, |offered| {
                Offered::Definition(Digest::from_bytes(*offered.digest.as_bytes()))
            }),
        }
    }

    /// Names the call's action and resource by the release's catalog, as far as this envelope may see.
    #[expect(clippy::too_many_arguments, reason = "each is one independent part of what was asked")]
    fn classify(
        &self,
        judged: &Judged,
        envelope: &Envelope,
        upstream: &Name,
        tool: &str,
        arguments: &Value,
        id: DecisionId,
        lookups: &[LookedUp],
    ) -> Result<(Call, Arc<Entry>), NotAdmitted> {
        let refuse = |id: DecisionId, reason: Reason| {
            let target = format!("{upstream}.{tool}").chars().take(256).collect();
            let attempt = Attempt {
                id,
                method: CALL.to_owned(),
                target,
                action: CALL.to_owned(),
                resources: Vec::new(),
                evidence: Evidence::Nothing,
            };
            Err(Box::new((attempt, reason.into())))
        };
        let behind = self.ledger.clock_behind();
        if behind > MAX_CLOCK_BEHIND {
            let operator = format!("the wall clock is {behind} ms behind the ledger");
            return refuse(
                id,
                Reason::platform(
                    Code::ClockBehind,
                    "the server's clock is wrong, so nothing is permitted",
                    operator,
                ),
            );
        }
        let Some(release) = self.ledger.releases().current() else {
            return refuse(
                id,
                Reason::platform(
                    Code::NoRelease,
                    "no policy is in force, so nothing is permitted",
                    "no release was ever promoted on this server",
                ),
            );
        };
        let facts = match judged {
            Judged::On(facts, digest) if *digest == release.digest() => facts,
            Judged::On(..) => {
                let public = "the policy changed while the call was on its way; try again";
                return refuse(id, Reason::platform(Code::ReleaseChanged, public, "promoted in between"));
            }
            Judged::Blind => {
                let operator = format!("there is no tenant `{}`", envelope.tenant());
                return refuse(id, Reason::platform(Code::ToolUnknown, unknown_tool(tool), operator));
            }
        };
        let offered = self.offered(upstream, tool);
        release.admit(envelope, &**facts, id, upstream.as_str(), tool, arguments, offered, lookups)
    }

    async fn carry_out(
        self: Arc<Self>,
        warrant: Warrant,
        entry: Arc<Entry>,
        client: Client,
        departed: Departed,
    ) -> Result<Answered, Unavailable> {
        let began = Instant::now();
        let issuing = trace::stage(Stage::Issue);
        let decision = warrant.call().id.clone();
        let clock = || self.ledger.now();
        let operation = crate::operation::operation(&entry, warrant.call());
        let upstream = warrant.call().upstream.clone();
        let inspect = Inspect::new(move |call, envelope, result| {
            match placet_catalog::inspect(&entry, envelope.tenant(), call, result) {
                Guarded::Clean { .. } => Verdict::Clean,
                Guarded::Foreign { path, .. } => Verdict::Foreign(format!(
                    "the result holds an item of another tenant, or of none, at `{path}`"
                )),
            }
        });
        let partition = self.credentials.partition(warrant.call(), warrant.envelope());
        let partition = partition.map_err(|error| error.to_string());
        let connected = match partition.and_then(|partition| Ok((partition, operation?))) {
            Ok((partition, operation)) => {
                let request = Request {
                    call: warrant.call(),
                    envelope: warrant.envelope(),
                    partition,
                    client,
                    inspect,
                    operation,
                };
                let connected = self.upstreams.connect(request).instrument(issuing.clone()).await;
                connected.map_err(|error| error.to_string())
            }
            Err(error) => Err(error),
        };
        let ready = match connected {
            Ok(ready) => Cancellable { ready, departed },
            Err(error) => {
                return self
                    .give_back(
                        warrant,
                        decision,
                        format!("no connection: {error}"),
                        "the tool can't be reached now; nothing was sent",
                    )
                    .await;
            }
        };
        // What was revoked at another gateway can't be heard of now.
        if let Err(why) = self.ledger.ready() {
            let message = "the authority for this call can't be looked up now; nothing was sent";
            return self.give_back(warrant, decision, why, message).await;
        }
        let issued = issuing.in_scope(|| self.authority.issue(warrant, ready, clock()));
        drop(issuing);
        let invocation = match issued {
            Ok(invocation) => invocation,
            Err(withdrawn) => {
                self.authority.close_withdrawn(*withdrawn).await?;
                self.ended(Ending::Revoked);
                let message = "the authority for this call ended before it was sent; nothing was sent";
                return Ok(Answered::Broken { decision, ending: Ending::Revoked, message });
            }
        };
        self.observer.took(Stage::Issue, began.elapsed());
        let sent = Instant::now();
        let effect = self.authority.send(invocation, &clock).instrument(trace::stage(Stage::Exchange)).await;
        self.observer.took(Stage::Exchange, sent.elapsed());
        let back = Instant::now();
        let outcome = self.authority.close(effect).instrument(trace::stage(Stage::Close)).await?;
        self.observer.took(Stage::Close, back.elapsed());
        self.ended(outcome.ending);
        if let Some(class) = crate::operation::class_of(&outcome) {
            self.observer.http_answered(upstream.as_str(), class);
        }
        Ok(answer(decision, outcome))
    }

    async fn give_back(
        &self,
        warrant: Warrant,
        decision: DecisionId,
        why: String,
        message: &'static str,
    ) -> Result<Answered, Unavailable> {
        tracing::warn!(decision = %decision, why, "a permitted call wasn't sent");
        self.authority.close_withdrawn(warrant.withdraw(why)).await?;
        self.ended(Ending::Revoked);
        Ok(Answered::Broken { decision, ending: Ending::Revoked, message })
    }
}

/// A call whose upstream rests. It isn't decided, so nothing is spent, and a replay has nothing to decide again.
fn unavailable(call: Call, error: &UpstreamError) -> NotAdmitted {
    let public = "the tool can't be reached now; nothing was decided or sent, try again later";
    let operator = format!("`{}`: {error}", call.upstream);
    not_a_call(call, Reason::platform(Code::UpstreamUnavailable, public, operator))
}

/// A call that isn't decided for a reason that no facts or policy hold.
fn not_a_call(call: Call, reason: Reason) -> NotAdmitted {
    let attempt = Attempt {
        id: call.id,
        method: CALL.to_owned(),
        target: call.entry.to_string(),
        action: call.action.to_string(),
        resources: call.resources,
        evidence: Evidence::Nothing,
    };
    Box::new((attempt, reason.into()))
}

fn answer(decision: DecisionId, outcome: Outcome) -> Answered {
    let Outcome { ending, answer, digest: _, sent, labels: _, detail } = outcome;
    match (ending, answer) {
        // A tool that failed may say how: an HTTP API does, with status and body.
        (Ending::Done | Ending::Failed, Answer::Result(result)) => Answered::Result(result),
        (Ending::Failed, Answer::Error(error)) => Answered::Error(error),
        (ending, Answer::Nothing | Answer::Result(_) | Answer::Error(_)) => {
            tracing::warn!(decision = %decision, ending = ending.as_str(), sent, detail, "a permitted call didn't end well");
            let message = match ending {
                Ending::Filtered => {
                    "the tool's answer held something that must not be passed on, so it is withheld"
                }
                Ending::Revoked => "the authority for this call ended before it was sent; nothing was sent",
                Ending::Done | Ending::Failed | Ending::Unknown => {
                    "the tool gave no whole answer; what it did is unknown, so look before you repeat it"
                }
            };
            Answered::Broken { decision, ending, message }
        }
    }
}

fn decision_id() -> Result<DecisionId, Unavailable> {
    const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
    let mut bytes = [0_u8; 26];
    getrandom::fill(&mut bytes).map_err(|error| Unavailable(format!("no randomness: {error}")))?;
    let mut text = String::with_capacity(29);
    text.push_str("dc_");
    text.extend(bytes.iter().filter_map(|byte| ALPHABET.get(usize::from(byte & 31)).map(|b| char::from(*b))));
    DecisionId::new(&text).map_err(|error| Unavailable(error.to_string()))
}

/// Resolves when the client has gone away and that means something.
enum Departed {
    /// Gone when the sender is dropped.
    Watched(oneshot::Receiver<()>),
    /// Gone when something is sent.
    Cancelled(oneshot::Receiver<()>),
    Never,
}

impl Departed {
    async fn wait(self) {
        match self {
            Self::Watched(gone) => drop(gone.await),
            Self::Cancelled(cancel) => {
                if cancel.await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
            Self::Never => std::future::pending().await,
        }
    }
}

/// A connection whose exchange ends as `unknown` when the client goes away.
struct Cancellable<C> {
    ready: C,
    departed: Departed,
}

impl<C: Connection> Connection for Cancellable<C> {
    fn credential(&self) -> &CredentialNote {
        self.ready.credential()
    }
    fn exchange(self, dispatch: Dispatch<'_>) -> impl Future<Output = Outcome> + Send {
        let Self { ready, departed } = self;
        let (labels, sent) = (
            dispatch.call.labels.clone(),
            u64::try_from(dispatch.call.arguments.as_bytes().len()).unwrap_or(u64::MAX),
        );
        async move {
            let exchange = pin!(ready.exchange(dispatch));
            let departed = pin!(departed.wait());
            match select(exchange, departed).await {
                Either::Left((outcome, _)) => outcome,
                Either::Right(_) => Outcome {
                    ending: Ending::Unknown,
                    answer: Answer::Nothing,
                    digest: None::<Digest>,
                    sent,
                    labels,
                    detail: "the client cancelled".to_owned(),
                },
            }
        }
    }
}

/// Reads of the facts that listings and rims need.
impl Gateway {
    /// The newest facts of the envelope's tenant.
    pub fn facts(&self, envelope: &Envelope) -> Result<Arc<dyn FactsView>, NoSuchTenant> {
        self.ledger.live().snapshot(envelope.tenant())
    }
}
