//! The life of a call on made-up seams: what ends meanwhile is noticed, and nothing is lost.

use std::{
    collections::BTreeSet,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use futures::executor::block_on;
use placet_core::{
    Agent, AgentId, Approval, Assignment, Call, CheckError, DecisionId, Delegation, DelegationId, Digest,
    EffectClass, Engine, EngineFault, Envelope, Evaluation, Facts, FactsView, FlowState, Freeze, Freshness,
    Grant, Human, HumanId, Moving, Name, NoSuchTenant, Reason, RelationModel, Releases, Resource,
    ResourceRef, Revision, TenantId, Timestamp, Verdict, Workflow, WorkflowId,
    authority::{
        Answer, Authority, Connection, CredentialNote, Dispatch, Ending, Entry, Journal, Orphans, Outcome,
        Position, Recorded, Unrecorded,
    },
};
use placet_json::Value;

/// Facts that are a revision, and from some revision on a no.
#[derive(Clone)]
struct World {
    revision: Arc<AtomicU64>,
    denied_from: Arc<AtomicU64>,
    tenant: TenantId,
}

struct View {
    revision: u64,
    tenant: TenantId,
}

impl FactsView for View {
    fn tenant(&self) -> &TenantId {
        &self.tenant
    }
    fn revision(&self) -> Revision {
        Revision(self.revision)
    }
    fn freshness(&self, _: Timestamp) -> Freshness {
        Freshness::Fresh(0)
    }
    fn human(&self, _: &HumanId) -> Option<&Human> {
        None
    }
    fn agent(&self, _: &AgentId) -> Option<&Agent> {
        None
    }
    fn assignment(&self, _: &HumanId) -> Option<&Assignment> {
        None
    }
    fn workflow(&self, _: &WorkflowId) -> Option<&Workflow> {
        None
    }
    fn delegation(&self, _: &DelegationId) -> Option<&Delegation> {
        None
    }
    fn approvals(&self, _: &WorkflowId) -> Vec<&Approval> {
        Vec::new()
    }
    fn resource(&self, _: &ResourceRef) -> Option<&Resource> {
        None
    }
    fn frozen(&self, _: &Freeze) -> bool {
        false
    }
    fn flow(&self, _: &WorkflowId) -> Arc<FlowState> {
        Arc::new(FlowState::EMPTY)
    }
    fn check(
        &self,
        _: &RelationModel,
        _: &ResourceRef,
        _: &Name,
        _: &ResourceRef,
    ) -> Result<bool, CheckError> {
        Ok(false)
    }
    fn slice(&self, _: &ResourceRef) -> Value {
        Value::Null
    }
}

impl Facts for World {
    fn snapshot(&self, _: &TenantId) -> Result<Arc<dyn FactsView>, NoSuchTenant> {
        Ok(Arc::new(View { revision: self.revision.load(Ordering::SeqCst), tenant: self.tenant.clone() }))
    }
    fn moved(&self, _: &TenantId, since: Revision) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        let moved = self.revision.load(Ordering::SeqCst) > since.0;
        Box::pin(async move {
            if !moved {
                std::future::pending::<()>().await;
            }
        })
    }
}

struct Rule(World);

impl Engine for Rule {
    fn release(&self) -> Digest {
        Digest::of(b"the release")
    }
    fn evaluate(
        &self,
        _: &Envelope,
        _: &Call,
        facts: &dyn FactsView,
        _: Timestamp,
    ) -> Result<Evaluation, EngineFault> {
        let denied = facts.revision().0 >= self.0.denied_from.load(Ordering::SeqCst);
        let verdict = if denied {
            let reason = Reason::platform(placet_core::Code::Frozen, "frozen", "frozen since");
            Verdict::Deny { reasons: reason.into(), determining: Vec::new(), remedy: None }
        } else {
            Verdict::Allow { determining: Vec::new(), obligations: Vec::new(), spends: Vec::new() }
        };
        Ok(Evaluation {
            verdict,
            input: None,
            labels_at: 0,
            totals: Moving::Independent,
            claims: placet_core::Claims::NONE,
            passed_over: None,
        })
    }
}

impl Releases for World {
    fn in_force(&self) -> Option<Arc<dyn Engine>> {
        Some(Arc::new(Rule(self.clone())))
    }
}

/// What was written, in order; refuses as `Moved` as often as it is told.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>, Arc<AtomicU64>);

impl Log {
    fn write(&self, entry: &Entry<'_>) -> Position {
        let mut lines = self.0.lock().unwrap();
        lines.push(match entry {
            Entry::Permitted(_) => "permit".to_owned(),
            Entry::Denied(denial) => format!("deny {}", denial.reasons().first().code),
            Entry::Ended { outcome, .. } => format!("{} {}", outcome.ending.as_str(), outcome.sent),
        });
        Position(u64::try_from(lines.len()).unwrap())
    }
    fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

impl Journal for Log {
    async fn durable(&self, entry: Entry<'_>) -> Result<Position, Unrecorded> {
        if self.1.load(Ordering::SeqCst) > 0 {
            self.1.fetch_sub(1, Ordering::SeqCst);
            return Err(Unrecorded::Moved);
        }
        Ok(self.write(&entry))
    }
    fn queued(&self, entry: Entry<'_>) -> Result<(), Unrecorded> {
        self.write(&entry);
        Ok(())
    }
}

impl Orphans for Log {
    fn unknown(&self, _: Position, _: &Envelope, _: &Call) {
        self.0.lock().unwrap().push("orphan".to_owned());
    }
}

/// An upstream that answers at once, or never.
#[derive(Debug)]
struct Upstream {
    answers: bool,
}

impl Connection for Upstream {
    fn credential(&self) -> &CredentialNote {
        &CredentialNote::Unneeded
    }
    async fn exchange(self, dispatch: Dispatch<'_>) -> Outcome {
        if !self.answers {
            std::future::pending::<()>().await;
        }
        let (ending, answer, sent) = (Ending::Done, Answer::Result(Value::Null), 7);
        Outcome {
            ending,
            answer,
            digest: None,
            sent,
            labels: dispatch.call.labels.clone(),
            detail: String::new(),
        }
    }
}

struct Desk {
    world: World,
    log: Log,
    authority: Authority<Log>,
}

impl Desk {
    fn new() -> Self {
        let tenant = TenantId::new("acme").unwrap();
        let world = World {
            revision: Arc::new(AtomicU64::new(1)),
            denied_from: Arc::new(AtomicU64::new(u64::MAX)),
            tenant,
        };
        let log = Log::default();
        let authority = Authority::new(
            Arc::new(world.clone()),
            Arc::new(world.clone()),
            log.clone(),
            Arc::new(log.clone()),
        );
        Self { world, log, authority }
    }
    /// The next fact denies.
    fn revoke(&self) {
        let next = self.world.revision.load(Ordering::SeqCst) + 1;
        self.world.denied_from.store(next, Ordering::SeqCst);
        self.world.revision.store(next, Ordering::SeqCst);
    }
    fn permit(&self) -> placet_core::authority::Warrant {
        let decision = self.authority.decide(envelope(), call(), at(10));
        match block_on(self.authority.record(decision, &|| at(10))).unwrap() {
            Recorded::Granted(warrant) => warrant,
            Recorded::Refused(denial) => panic!("{denial:?}"),
        }
    }
}

fn at(secs: u64) -> Timestamp {
    Timestamp::from_secs(secs)
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn envelope() -> Envelope {
    let tenant = TenantId::new("acme").unwrap();
    let grant = Grant {
        human: HumanId::new("maya").unwrap(),
        agent: AgentId::new("agent-7").unwrap(),
        delegation: DelegationId::new(tenant.clone(), name("dg-1")),
        workflow: WorkflowId::new(tenant, name("wf-9")),
        intent: name("support"),
        token: "wt_1".to_owned(),
        expires: at(11),
        key: String::new(),
        proof: String::new(),
    };
    Envelope::open(grant, at(10)).unwrap()
}

fn call() -> Call {
    Call {
        id: DecisionId::new("dc_1").unwrap(),
        release: Digest::of(b"the release"),
        method: "tools/call",
        upstream: name("billing"),
        tool: "refund".to_owned(),
        entry: name("billing.refund"),
        action: name("issue_refund"),
        effect: EffectClass::Destructive,
        resources: Vec::new(),
        attributes: Vec::new(),
        bound: Vec::new(),
        arguments: Value::from(placet_json::Object::new()).canonical().unwrap(),
        labels: BTreeSet::new(),
        lookups: Vec::new(),
        writes: Vec::new(),
        moves: Vec::new(),
    }
}

#[test]
fn a_permit_is_recorded_sent_and_ended() {
    let desk = Desk::new();
    let invocation = desk.authority.issue(desk.permit(), Upstream { answers: true }, at(10)).unwrap();
    let effect = block_on(desk.authority.send(invocation, &|| at(10)));
    assert_eq!(block_on(desk.authority.close(effect)).unwrap().ending, Ending::Done);
    assert_eq!(desk.log.lines(), ["permit", "done 7"]);
}

#[test]
fn rac_3_what_is_revoked_before_the_first_byte_sends_nothing() {
    let desk = Desk::new();
    let warrant = desk.permit();
    desk.revoke();
    let withdrawn = desk.authority.issue(warrant, Upstream { answers: true }, at(10)).unwrap_err();
    assert_eq!(block_on(desk.authority.close_withdrawn(*withdrawn)).unwrap(), "frozen since");
    assert_eq!(desk.log.lines(), ["permit", "revoked 0"]);
}

#[test]
fn rac_3_what_expires_before_the_first_byte_sends_nothing() {
    let desk = Desk::new();
    let withdrawn = desk.authority.issue(desk.permit(), Upstream { answers: true }, at(11)).unwrap_err();
    assert_eq!(withdrawn.reason(), "the token expired");
    block_on(desk.authority.close_withdrawn(*withdrawn)).unwrap();
    assert_eq!(desk.log.lines(), ["permit", "revoked 0"]);
}

/// The fact comes between the check and the exchange: it must not be taken for one that was seen already.
#[test]
fn rac_3_a_revocation_between_check_and_exchange_cancels_the_call() {
    let desk = Desk::new();
    let invocation = desk.authority.issue(desk.permit(), Upstream { answers: false }, at(10)).unwrap();
    desk.revoke();
    let effect = block_on(desk.authority.send(invocation, &|| at(10)));
    let outcome = block_on(desk.authority.close(effect)).unwrap();
    assert_eq!(outcome.ending, Ending::Unknown);
    assert!(outcome.detail.contains("frozen since"), "{}", outcome.detail);
}

#[test]
fn an_old_invocation_sends_nothing() {
    let desk = Desk::new();
    let invocation = desk.authority.issue(desk.permit(), Upstream { answers: true }, at(10)).unwrap();
    let late = || Timestamp::from_millis(12_001);
    let effect = block_on(desk.authority.send(invocation, &late));
    assert_eq!(block_on(desk.authority.close(effect)).unwrap().ending, Ending::Revoked);
    assert_eq!(desk.log.lines(), ["permit", "revoked 0"]);
}

#[test]
fn a_dropped_warrant_is_reported_and_an_ended_one_is_not() {
    let desk = Desk::new();
    drop(desk.permit());
    assert_eq!(desk.log.lines(), ["permit", "orphan"]);
    let invocation = desk.authority.issue(desk.permit(), Upstream { answers: true }, at(10)).unwrap();
    drop(invocation);
    assert_eq!(desk.log.lines(), ["permit", "orphan", "permit", "orphan"]);
}

#[test]
fn rac_1_a_decision_whose_ground_moved_is_made_again_and_may_turn() {
    let desk = Desk::new();
    desk.log.1.store(3, Ordering::SeqCst);
    drop(desk.permit());
    let decision = desk.authority.decide(envelope(), call(), at(10));
    desk.log.1.store(1, Ordering::SeqCst);
    desk.revoke();
    let recorded = block_on(desk.authority.record(decision, &|| at(10))).unwrap();
    assert!(matches!(recorded, Recorded::Refused(_)));
    assert_eq!(desk.log.lines().last().map(String::as_str), Some("deny frozen"));
}

#[test]
fn what_moves_for_ever_is_denied() {
    let desk = Desk::new();
    desk.log.1.store(u64::MAX, Ordering::SeqCst);
    let decision = desk.authority.decide(envelope(), call(), at(10));
    let recorded = block_on(desk.authority.record(decision, &|| at(10))).unwrap();
    assert!(matches!(recorded, Recorded::Refused(_)));
    assert_eq!(desk.log.lines(), ["deny contended"]);
}
