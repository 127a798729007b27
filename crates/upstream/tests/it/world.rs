//! The least world in which a call can be sent: an authority that permits, and credentials that are one secret.

use std::collections::BTreeSet;
use std::future::pending;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use placet_core::authority::{
    Authority, CredentialNote, Decision, Entry, Journal, Orphans, Outcome, Position, Recorded, Unrecorded,
};
use placet_core::{
    Agent, AgentId, Approval, Assignment, Call, CheckError, DecisionId, Delegation, DelegationId, Digest,
    EffectClass, Engine, EngineFault, Envelope, Evaluation, Facts, FactsView, FlowState, Freeze, Freshness,
    Grant, Human, HumanId, Moving, Name, NoSuchTenant, RelationModel, Releases, Resource, ResourceRef,
    Revision, TenantId, Timestamp, Workflow, WorkflowId,
};
use placet_json::{Limits, Value};
use placet_upstream::{
    Client, Config, CredentialError, Credentials, Egress, Errand, Http, Inspect, Made, Partition, Purpose,
    Request, Stdio, SystemResolver, Target, Transport, Trust, UpstreamError, Upstreams, Verdict,
};
use secrecy::SecretString;
use tokio::sync::mpsc;

pub(crate) const NOW: u64 = 1_767_225_600;

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

pub(crate) fn json(text: &str) -> Value {
    placet_json::parse(text.as_bytes(), &Limits::RESULT).unwrap()
}

/// An upstream of this name at this address.
pub(crate) fn at(upstream: &str, url: &str) -> Config {
    let url = url.parse().unwrap();
    let http = Http { url, trust: Trust::System, egress: Egress::Private };
    let mut config = Config::new(name(upstream), Transport::Http(http));
    config.timeouts.call = Duration::from_secs(10);
    config
}

/// An upstream that is this test binary, started again to play `role`.
pub(crate) fn played(upstream: &str, role: &str) -> Config {
    let binary = std::env::current_exe().unwrap().to_str().unwrap().to_owned();
    let arguments = ["child::plays_a_server", "--exact", "--ignored", "--nocapture", "--test-threads=1"];
    let command = std::iter::once(binary).chain(arguments.map(str::to_owned)).collect();
    let env = vec![("PLACET_TEST_ROLE".to_owned(), SecretString::from(role))];
    let mut config = Config::new(name(upstream), Transport::Stdio(Stdio { command, env, cwd: None }));
    config.timeouts.call = Duration::from_secs(10);
    config
}

/// A call of `tool` at `upstream`.
pub(crate) fn call(upstream: &str, tool: &str, arguments: &str) -> Call {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    Call {
        id: DecisionId::new(&format!("dc_{}", NEXT.fetch_add(1, Ordering::Relaxed))).unwrap(),
        release: Digest::of(b"release"),
        method: "tools/call",
        upstream: name(upstream),
        tool: tool.to_owned(),
        entry: name(&format!("{upstream}.{tool}")),
        action: name("act"),
        effect: EffectClass::Write,
        resources: Vec::new(),
        attributes: Vec::new(),
        bound: Vec::new(),
        arguments: json(arguments).canonical().unwrap(),
        labels: BTreeSet::from([name("customer_pii")]),
        lookups: Vec::new(),
        writes: Vec::new(),
        moves: Vec::new(),
    }
}

pub(crate) fn read(upstream: &str, tool: &str, arguments: &str) -> Call {
    Call { effect: EffectClass::Read, ..call(upstream, tool, arguments) }
}

pub(crate) fn envelope(tenant: &str) -> Envelope {
    let tenant = TenantId::new(tenant).unwrap();
    let grant = Grant {
        human: HumanId::new("maya").unwrap(),
        agent: AgentId::new("agent-7").unwrap(),
        delegation: DelegationId::new(tenant.clone(), name("dl_1")),
        workflow: WorkflowId::new(tenant, name("wf-9")),
        intent: name("support"),
        token: "wt_1".to_owned(),
        expires: Timestamp::from_secs(NOW + 300),
        key: "thumbprint".to_owned(),
        proof: "jti".to_owned(),
    };
    Envelope::open(grant, Timestamp::from_secs(NOW)).unwrap()
}

/// What was asked of the credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Asked {
    Call { body: String },
    Session { body: String },
    Service,
    Errand,
    Stdio,
}

/// One secret for everything.
pub(crate) struct Vault {
    pub(crate) secret: &'static str,
    pub(crate) asked: Mutex<Vec<Asked>>,
}

impl Vault {
    fn made(&self) -> Made {
        let mut made =
            Made::nothing(CredentialNote::Vault { name: Name::new("billing").unwrap(), version: 1 });
        if !self.secret.is_empty() {
            let bearer = SecretString::from(format!("Bearer {}", self.secret));
            made.headers.push((http::header::AUTHORIZATION, bearer));
            made.scan.push(SecretString::from(self.secret));
        }
        made
    }
}

impl Credentials for Vault {
    fn make(&self, _: &Call, _: &Envelope, target: &Target<'_>) -> Result<Made, CredentialError> {
        let mut made = self.made();
        let text = |body: &[u8]| String::from_utf8(body.to_vec()).unwrap();
        self.asked.lock().unwrap().push(match target {
            Target::Http { purpose: Purpose::Call, body, .. } => Asked::Call { body: text(body) },
            Target::Http { purpose: Purpose::Session, body, .. } => Asked::Session { body: text(body) },
            Target::Stdio { arguments } => {
                made.meta.push(("dev.placet/token".to_owned(), Value::from(arguments.to_string())));
                Asked::Stdio
            }
        });
        Ok(made)
    }

    fn errand(&self, _: &Errand, _: &Target<'_>) -> Result<Made, CredentialError> {
        self.asked.lock().unwrap().push(Asked::Errand);
        Ok(self.made())
    }

    fn service(&self, _: &Name, _: &Target<'_>) -> Result<Made, CredentialError> {
        self.asked.lock().unwrap().push(Asked::Service);
        Ok(self.made())
    }
}

pub(crate) struct World {
    pub(crate) upstreams: Upstreams,
    pub(crate) vault: Arc<Vault>,
    authority: Authority<Ledger>,
}

/// What a call is made with.
pub(crate) struct Wish {
    pub(crate) tenant: &'static str,
    pub(crate) credential: &'static str,
    pub(crate) progress: Option<Value>,
    pub(crate) log_level: Option<placet_mcp::logging::LogLevel>,
    pub(crate) inspect: Inspect,
    pub(crate) operation: Option<placet_upstream::Operation>,
}

impl Default for Wish {
    fn default() -> Self {
        Self {
            tenant: "acme",
            credential: "billing.v1",
            progress: None,
            log_level: None,
            inspect: Inspect::new(|_, _, _| Verdict::Clean),
            operation: None,
        }
    }
}

impl World {
    pub(crate) fn new(configs: Vec<Config>) -> Self {
        Self::with_secret(configs, "")
    }

    pub(crate) fn with_secret(configs: Vec<Config>, secret: &'static str) -> Self {
        let vault = Arc::new(Vault { secret, asked: Mutex::default() });
        let now = Arc::new(|| Timestamp::from_secs(NOW));
        let upstreams = Upstreams::new(configs, Arc::<Vault>::clone(&vault), SystemResolver, now).unwrap();
        let authority = Authority::new(Arc::new(Always), Arc::new(Still), Ledger, Arc::new(Lost));
        Self { upstreams, vault, authority }
    }

    pub(crate) async fn run(&self, call: Call) -> Result<Outcome, UpstreamError> {
        self.run_with(call, Wish::default()).await.map(|(outcome, _)| outcome)
    }

    /// The whole way of a call; also what came beside its answer.
    pub(crate) async fn run_with(
        &self,
        call: Call,
        wish: Wish,
    ) -> Result<(Outcome, Vec<Value>), UpstreamError> {
        let clock = || Timestamp::from_secs(NOW);
        let Decision::Permit(permit) = self.authority.decide(envelope(wish.tenant), call, clock()) else {
            panic!("everything is permitted here")
        };
        let Ok(Recorded::Granted(warrant)) = self.authority.record(Decision::Permit(permit), &clock).await
        else {
            panic!("everything is recorded here")
        };
        let (items, mut received) = mpsc::channel(1024);
        let request = Request {
            call: warrant.call(),
            envelope: warrant.envelope(),
            partition: partition(wish.tenant, wish.credential),
            client: Client {
                progress: wish.progress,
                log_level: wish.log_level,
                traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()),
                tracestate: None,
                items,
            },
            inspect: wish.inspect,
            operation: wish.operation,
        };
        let ready = self.upstreams.connect(request).await?;
        let invocation = self.authority.issue(warrant, ready, clock()).unwrap();
        let effect = self.authority.send(invocation, &clock).await;
        let outcome = self.authority.close(effect).await.unwrap();
        let mut items = Vec::new();
        while let Ok(item) = received.try_recv() {
            items.push(item);
        }
        Ok((outcome, items))
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.vault.asked.lock().unwrap().clone()
    }
}

pub(crate) fn partition(tenant: &str, credential: &str) -> Partition {
    Partition::Tenant { tenant: TenantId::new(tenant).unwrap(), credential: name(credential) }
}

struct Always;

impl Engine for Always {
    fn release(&self) -> Digest {
        Digest::of(b"release")
    }

    fn evaluate(
        &self,
        _: &Envelope,
        _: &Call,
        _: &dyn FactsView,
        _: Timestamp,
    ) -> Result<Evaluation, EngineFault> {
        let verdict = placet_core::Verdict::Allow {
            determining: Vec::new(),
            obligations: Vec::new(),
            spends: Vec::new(),
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

impl Releases for Always {
    fn in_force(&self) -> Option<Arc<dyn Engine>> {
        Some(Arc::new(Always))
    }
}

struct Still;

impl Facts for Still {
    fn snapshot(&self, tenant: &TenantId) -> Result<Arc<dyn FactsView>, NoSuchTenant> {
        Ok(Arc::new(Nothing(tenant.clone())))
    }

    fn moved(&self, _: &TenantId, _: Revision) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(pending())
    }
}

struct Nothing(TenantId);

impl FactsView for Nothing {
    fn tenant(&self) -> &TenantId {
        &self.0
    }
    fn revision(&self) -> Revision {
        Revision(1)
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

struct Ledger;

impl Journal for Ledger {
    async fn durable(&self, _: Entry<'_>) -> Result<Position, Unrecorded> {
        Ok(Position(1))
    }
    fn queued(&self, _: Entry<'_>) -> Result<(), Unrecorded> {
        Ok(())
    }
}

struct Lost;

impl Orphans for Lost {
    fn unknown(&self, _: Position, _: &Envelope, _: &Call) {}
}
