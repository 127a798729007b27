//! A support desk at work: the release of `policies/support`, its facts, and calls through the one authority onto a
//! tool that answers at once.

use std::{
    error::Error,
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use placet_audit::Data;
use placet_core::{
    AgentId, ApprovalId, Call, DecisionId, DelegationId, Digest, Envelope, Grant, HumanId, Name, Reason,
    TenantId, Timestamp, WorkflowId,
    authority::{
        Answer, Asked, Attempt, Authority, Connection, CredentialNote, Decision, Denial, Dispatch, Ending,
        Evidence, Judged, Offered, Outcome, Recorded, Warrant,
    },
};
use placet_core::{Approval, Code, Facts as _, Standing};
use placet_facts::{Change, Place, Transaction, parse_file};
use placet_gateway::{Erasable, Ledger};
use placet_json::{Limits, Object, Value, object};
use placet_ledger::{
    checkpoint::{SigningKey, VerifyingKey},
    frame::{Frame, FrameError},
};
use placet_policy::{Release, Tree};
use placet_store::{Archive, At, Fold, FrameSink, Journal, Notary, Options, Receipt, Shelved, Subjects};
use tempfile::TempDir;

/// The desk's one policy.
pub(crate) const POLICY: &str = "policies/support.rego";
pub(crate) const ORGANISATION: &str = "example";
/// RFC 8037 appendix A: an Ed25519 key and its thumbprint.
const KEY: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
const THUMBPRINT: &str = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k";

pub(crate) fn key() -> SigningKey {
    SigningKey::from_seed(&[7; 32]).unwrap()
}
pub(crate) fn public() -> VerifyingKey {
    key().public()
}
fn definition() -> Digest {
    Digest::of(b"the definition that was reviewed")
}
fn options(clock: impl Fn() -> u64 + Send + Sync + 'static, key: SigningKey) -> Options {
    let notary =
        Notary { organisation: ORGANISATION.to_owned(), key: Arc::new(key), every: Duration::from_hours(1) };
    Options { segment_bytes: 256 << 10, ..Options::new(clock, notary) }
}

/// The support desk's release, with the tools' definition accepted; `edit` may change any file's text.
pub(crate) fn release(edit: impl Fn(&str, String) -> String) -> Release {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies/support");
    let mut tree = Tree::new();
    read(&root, "", &mut tree);
    for (path, bytes) in &mut tree {
        let mut text = String::from_utf8(std::mem::take(bytes)).unwrap();
        if path.starts_with("catalog/") {
            let lines = text.lines().filter(|line| !line.starts_with("accepts")).map(|line| {
                let tool = line.starts_with("[tool.") && line.ends_with("\"]");
                if tool { format!("{line}\naccepts = [\"{}\"]\n", definition()) } else { format!("{line}\n") }
            });
            text = lines.collect();
        }
        *bytes = edit(path, text).into_bytes();
    }
    Release::build(&tree).unwrap_or_else(|refused| panic!("{refused}"))
}

fn read(dir: &Path, below: &str, tree: &mut Tree) {
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{below}{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            read(&entry.path(), &format!("{name}/"), tree);
        } else {
            tree.insert(name, fs::read(entry.path()).unwrap());
        }
    }
}

/// The desk.
pub(crate) struct Desk {
    pub(crate) dir: TempDir,
    ledger: Ledger,
    authority: Authority<Ledger>,
    release: Arc<Release>,
    clock: Arc<AtomicU64>,
    decisions: AtomicU64,
}

impl Desk {
    /// Opens it at half past nine, with its facts and its release.
    pub(crate) async fn open() -> Self {
        Self::open_with(None, None, |_, text| text).await
    }
    /// The same, with small segments, many kept states and an archive.
    pub(crate) async fn archiving(archive: Archive) -> Self {
        Self::open_with(Some(archive), None, |_, text| text).await
    }
    /// The same, where notes are personal.
    pub(crate) async fn sealing(archive: Archive, master: &[u8; 32]) -> Self {
        let edit = |path: &str, text: String| {
            if path == "catalog/crm.toml" {
                format!("{text}\n[personal.note]\nattributes = [\"text\"]\n")
            } else {
                text
            }
        };
        Self::open_with(Some(archive), Some(master), edit).await
    }
    async fn open_with(
        archive: Option<Archive>,
        master: Option<&[u8; 32]>,
        edit: impl Fn(&str, String) -> String,
    ) -> Self {
        let dir = TempDir::new().unwrap();
        let clock = Arc::new(AtomicU64::new(Timestamp::parse("2026-03-01T09:30:00Z").unwrap().millis()));
        let wall = Arc::clone(&clock);
        let mut options = options(move || wall.load(Ordering::Relaxed), key());
        if archive.is_some() {
            options = Options { segment_bytes: 64 << 10, keep_every: 8, archive, ..options };
        }
        let subjects =
            master.map_or_else(Subjects::none, |master| Subjects::open(dir.path(), master).unwrap());
        let (ledger, _) = Ledger::open_sealing(dir.path(), options, subjects).unwrap();
        let facts =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies/support/tests/facts/support.json");
        let mut facts = placet_json::parse(&fs::read(facts).unwrap(), &Limits::RESULT).unwrap();
        let agents = facts.as_object_mut().unwrap().get_mut("agents").unwrap().as_array_mut().unwrap();
        let mut keys = Object::new();
        keys.insert(THUMBPRINT, object! { "kty" => "OKP", "crv" => "Ed25519", "x" => KEY });
        agents[0].as_object_mut().unwrap().insert("keys", keys);
        for transaction in parse_file(&facts).unwrap() {
            ledger.transact(transaction).await.unwrap();
        }
        let release = Arc::new(release(edit));
        ledger.promote(Arc::clone(&release), &name("operator"), "the first").await.unwrap();
        let authority = Authority::new(
            ledger.releases().clone(),
            ledger.live().clone(),
            ledger.clone(),
            Arc::new(ledger.clone()),
        );
        Self { dir, ledger, authority, release, clock, decisions: AtomicU64::new(0) }
    }

    pub(crate) fn envelope(&self) -> Envelope {
        let acme = TenantId::new("acme").unwrap();
        let grant = Grant {
            human: HumanId::new("maya").unwrap(),
            agent: AgentId::new("agent-7").unwrap(),
            delegation: DelegationId::new(acme.clone(), name("dg-1")),
            workflow: WorkflowId::new(acme, name("wf-9")),
            intent: name("support_case_resolution"),
            token: "token-1".to_owned(),
            expires: self.now().plus_millis(300_000),
            key: THUMBPRINT.to_owned(),
            proof: "proof-1".to_owned(),
        };
        Envelope::open(grant, self.now()).unwrap()
    }
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.clock.fetch_add(250, Ordering::Relaxed))
    }
    fn id(&self) -> DecisionId {
        DecisionId::new(&format!("dc_{}", self.decisions.fetch_add(1, Ordering::Relaxed))).unwrap()
    }

    /// Asks and, where it is permitted, carries out.
    pub(crate) async fn call(&self, tool: &str, arguments: &str) -> Result<DecisionId, Box<Denial>> {
        self.ask(tool, arguments, Offered::Definition(definition())).await
    }
    pub(crate) async fn ask(
        &self,
        tool: &str,
        arguments: &str,
        offered: Offered,
    ) -> Result<DecisionId, Box<Denial>> {
        let decision = self.decision(tool, arguments, offered);
        self.carry_out(decision).await
    }
    /// Decides, and records nothing yet.
    pub(crate) fn decide(&self, tool: &str, arguments: &str) -> Decision {
        self.decision(tool, arguments, Offered::Definition(definition()))
    }
    fn decision(&self, tool: &str, arguments: &str, offered: Offered) -> Decision {
        let (upstream, tool) = tool.split_once('.').unwrap();
        let arguments = placet_json::parse(arguments.as_bytes(), &Limits::MESSAGE).unwrap();
        let (envelope, id, now) = (self.envelope(), self.id(), self.now());
        let facts = self.ledger.live().snapshot(envelope.tenant()).unwrap();
        match self.release.admit(&envelope, &*facts, id, upstream, tool, &arguments, offered, &[]) {
            Ok((call, _)) => self.authority.decide(envelope, call, now),
            Err(refused) => {
                let (attempt, reasons) = *refused;
                self.authority.refuse(
                    envelope,
                    attempt,
                    reasons,
                    &Judged::On(facts, self.release.digest()),
                    now,
                )
            }
        }
    }
    /// Records a permit.
    pub(crate) async fn warrant(&self, decision: Decision) -> Warrant {
        let Recorded::Granted(warrant) = self.authority.record(decision, &|| self.now()).await.unwrap()
        else {
            panic!("refused")
        };
        warrant
    }
    /// Closes a warrant that no longer holds when it is issued.
    pub(crate) async fn withdrawn(&self, warrant: Warrant) {
        let withdrawn = self.authority.issue(warrant, Ready::new(self.now()), self.now()).unwrap_err();
        self.authority.close_withdrawn(*withdrawn).await.unwrap();
    }
    /// A message that never came to a call.
    pub(crate) async fn refuse(&self) -> Box<Denial> {
        let attempt = Attempt {
            id: self.id(),
            method: "resources/read".to_owned(),
            target: "resources/read".to_owned(),
            action: "resources/read".to_owned(),
            resources: Vec::new(),
            evidence: Evidence::Nothing,
        };
        let reason = Reason::platform(Code::MethodRefused, "not here", "the method isn't governed");
        let facts = self.ledger.live().snapshot(self.envelope().tenant()).unwrap();
        let judged = Judged::On(facts, self.release.digest());
        let decision = self.authority.refuse(self.envelope(), attempt, reason.into(), &judged, self.now());
        self.carry_out(decision).await.unwrap_err()
    }
    pub(crate) async fn carry_out(&self, decision: Decision) -> Result<DecisionId, Box<Denial>> {
        let clock = || self.now();
        match self.authority.record(decision, &clock).await.unwrap() {
            Recorded::Refused(denial) => Err(denial),
            Recorded::Granted(warrant) => {
                let id = warrant.call().id.clone();
                let invocation = self.authority.issue(warrant, Ready::new(self.now()), self.now()).unwrap();
                let effect = self.authority.send(invocation, &clock).await;
                self.authority.close(effect).await.unwrap();
                Ok(id)
            }
        }
    }

    /// The manager approves exactly the call of this denial.
    pub(crate) async fn approve(&self, denial: &Denial, id: &str) {
        let acme = TenantId::new("acme").unwrap();
        let Asked::Call(Call { .. }) = denial.asked() else { panic!("nothing to approve") };
        let remedy = denial.remedy().unwrap();
        let approval = Approval {
            id: ApprovalId::new(acme.clone(), name(id)),
            name: remedy.approval.clone(),
            workflow: denial.envelope().workflow().clone(),
            approver: HumanId::new("omar").unwrap(),
            role: remedy.role.clone(),
            covers: remedy.covers,
            ends: self.now().plus_millis(3_600_000),
            follows: None,
        };
        self.change(Place::Tenant(acme), Change::ApprovalGiven(approval)).await;
    }
    pub(crate) async fn deactivate(&self) {
        let human = HumanId::new("maya").unwrap();
        self.change(Place::Organisation, Change::HumanStanding { human, standing: Standing::Deactivated })
            .await;
    }
    async fn change(&self, place: Place, change: Change) {
        let transaction = Transaction {
            place,
            changes: vec![change],
            author: name("operator"),
            source: name("test"),
            why: String::new(),
            idempotency_key: None,
        };
        self.ledger.transact(transaction).await.unwrap();
    }

    /// Archives what ends before this record, as a server does.
    pub(crate) fn shelve(&self, before: u64) -> Shelved {
        let goes = |candidate: &placet_store::Candidate| candidate.segment.last < before;
        self.ledger.shelve(20, goes, placet_audit::mark).unwrap().unwrap()
    }
    /// Whether the facts as they were after this record have a text in them.
    pub(crate) fn knew(&self, at: u64, text: &str) -> bool {
        let world = self.ledger.as_of(placet_core::Revision(at)).unwrap();
        world.documents().any(|document| document.to_string().contains(text))
    }
    /// Erases the note.
    pub(crate) async fn erase_note(&self) {
        let whom = Erasable::Subject(TenantId::new("acme").unwrap(), name("note"), name("N-1"));
        assert_eq!(self.ledger.erase(name("operator"), whom, "asked for".to_owned()).await.unwrap().keys, 1);
    }
    pub(crate) fn last(&self) -> u64 {
        self.ledger.reader().last()
    }
    /// The case's note, told anew.
    pub(crate) async fn note(&self, text: &str) {
        let change =
            format!(r#"{{"resource_set":{{"type":"note","id":"N-1","attributes":{{"text":"{text}"}}}}}}"#);
        let change = placet_json::parse(change.as_bytes(), &Limits::RESULT).unwrap();
        let place = Place::Tenant(TenantId::new("acme").unwrap());
        let change = Change::from_value(&change, &place).unwrap();
        self.change(place, change).await;
    }
    pub(crate) async fn act(&self, verb: &str, why: &str) {
        let act = placet_gateway::Act {
            by: name("operator"),
            verb: verb.to_owned(),
            refused: false,
            why: why.to_owned(),
            tenant: Some(TenantId::new("acme").unwrap()),
        };
        self.ledger.act(act).await.unwrap();
    }

    /// A morning: 4 permits, 8 denials that were decided on something, and one that wasn't. Then it closes.
    pub(crate) async fn morning(self) -> TempDir {
        self.call("crm.get_case", r#"{"case_id":"CASE-1837"}"#).await.unwrap();
        self.call("billing.refund", r#"{"case_id":"CASE-1837","amount":80.00}"#).await.unwrap();
        let large = r#"{"case_id":"CASE-1837","amount":250}"#;
        let denial = self.call("billing.refund", large).await.unwrap_err();
        self.approve(&denial, "ap-1").await;
        self.call("billing.refund", large).await.unwrap();
        self.call("billing.refund", r#"{"case_id":"CASE-1837","amount":5}"#).await.unwrap();
        self.refused("billing.refund", large, "manager_approval_missing").await;
        self.refused("crm.export_customers", "{}", "export_forbidden").await;
        self.refused("billing.refund", r#"{"case_id":"CASE-1837","amount":null}"#, "argument_invalid").await;
        self.refused("billing.refund", r#"{"case_id":"CASE-2001","amount":8}"#, "resource_outside_workflow")
            .await;
        self.refused("crm.delete_all", "{}", "tool_unknown").await;
        let absent =
            self.ask("crm.get_case", r#"{"case_id":"CASE-1837"}"#, Offered::Absent).await.unwrap_err();
        assert_eq!(absent.reasons().first().code, "tool_unknown");
        assert_eq!(self.refuse().await.reasons().first().code, "method_refused");
        self.deactivate().await;
        self.refused("billing.refund", r#"{"case_id":"CASE-1837","amount":8}"#, "delegating_user_inactive")
            .await;
        self.close()
    }
    async fn refused(&self, tool: &str, arguments: &str, code: &str) {
        let denial = self.call(tool, arguments).await.unwrap_err();
        assert_eq!(denial.reasons().first().code, code, "{tool} {arguments}: {:?}", denial.reasons());
    }
    /// Ends the journal orderly, with its last checkpoints.
    pub(crate) fn close(self) -> TempDir {
        self.ledger.checkpoint().unwrap();
        self.dir
    }
}

/// A tool that answers at once.
#[derive(Debug)]
struct Ready(CredentialNote);

impl Ready {
    fn new(now: Timestamp) -> Self {
        Self(CredentialNote::CallToken {
            jti: "call-1".to_owned(),
            audience: "https://billing.example".to_owned(),
            expires: now.plus_millis(30_000),
        })
    }
}

impl Connection for Ready {
    fn credential(&self) -> &CredentialNote {
        &self.0
    }
    async fn exchange(self, dispatch: Dispatch<'_>) -> Outcome {
        let sent = u64::try_from(dispatch.call.arguments.as_bytes().len()).unwrap();
        let labels = dispatch.call.labels.clone();
        std::future::ready(()).await;
        Outcome {
            ending: Ending::Done,
            answer: Answer::Nothing,
            digest: Some(Digest::of(b"answer")),
            sent,
            labels,
            detail: String::new(),
        }
    }
}

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// A morning's data directory.
pub(crate) async fn morning() -> TempDir {
    Desk::open().await.morning().await
}

/// Opens a directory that nobody serves.
pub(crate) fn data(dir: &TempDir) -> Data {
    Data::open(dir.path()).unwrap()
}

pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// What somebody with access to the disk makes of a ledger, but without its key: each record goes through `edit`
/// (position, kind, text), the chain is written anew around them, trees and checkpoints stay as they were signed.
pub(crate) fn rewritten(from: &TempDir, edit: impl Fn(u64, u8, String) -> (u8, String)) -> TempDir {
    let dir = TempDir::new().unwrap();
    let source = data(from);
    let time = Arc::new(AtomicU64::new(0));
    let wall = Arc::clone(&time);
    let other = SigningKey::from_seed(&[8; 32]).unwrap();
    let (journal, _) =
        Journal::open(dir.path(), options(move || wall.load(Ordering::Relaxed), other), Raw).unwrap();
    let mut altered = false;
    for record in source.reader().range(1, u64::MAX) {
        let record = record.unwrap();
        let was = String::from_utf8(record.payload).unwrap();
        let (kind, text) = edit(record.sequence, record.kind, was.clone());
        altered |= kind != record.kind || text != was;
        time.store(record.time_ms, Ordering::Relaxed);
        journal.durable((record.tree, kind, text)).wait().unwrap();
    }
    assert!(altered, "nothing was altered");
    drop(journal);
    fs::remove_dir_all(dir.path().join("tree")).unwrap();
    copy(&from.path().join("tree"), &dir.path().join("tree"));
    copy(&from.path().join("releases"), &dir.path().join("releases"));
    dir
}

struct Raw;

impl Fold for Raw {
    type Entry = (String, u8, String);
    type Refusal = FrameError;
    type Token = ();
    fn replay(&mut self, _: &Frame<'_>) -> Result<(), Box<dyn Error + Send + Sync>> {
        Ok(())
    }
    fn admit(
        &mut self,
        _: At,
        (tree, kind, text): Self::Entry,
        out: &mut FrameSink<'_>,
    ) -> Result<(), FrameError> {
        out.push(&tree, kind, text.as_bytes()).map(drop)
    }
    fn committed(&mut self, _: &Receipt, (): ()) {}
}

/// One member of a report's JSON.
pub(crate) fn at<'v>(value: &'v Value, pointer: &str) -> &'v Value {
    value.pointer(pointer).unwrap_or_else(|| panic!("no `{pointer}` in {value}"))
}
