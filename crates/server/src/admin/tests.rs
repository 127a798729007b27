#![expect(clippy::arithmetic_side_effects, reason = "small numbers of a test")]

use std::{collections::BTreeMap, sync::Mutex, time::Duration};

use axum::body::Body;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use placet_core::{DecisionId, Digest, Name, Revision, TenantId, Timestamp};
use placet_facts::{ChangeError, Keys, Live, Place, Transaction, World, parse_file};
use placet_gateway::{Erasable, Erased, InFlight, SourceReport, SourceSays};
use placet_jose::{
    Algorithm, KeySet, SigningKey, Stamp, digest::ContentDigest, htu::Htu, keys::random_id, mint,
    tokens::OperatorAssertion,
};
use placet_json::{Limits, Value, object};
use placet_oauth::vault::MasterKey;
use placet_policy::{Release, Tree};
use placet_record::DecisionRecord;

use super::{openapi::OPERATIONS, *};
use crate::{
    books::{Changes, Deed, Offer, Pending, ReleaseInfo, Unpromoted, Unwritten, Whose},
    uses::Uses,
    window::FileWindow,
};

mod enrolling;
mod live;
mod reviewing;
mod risks;

const NOW: u64 = 1_772_357_400;
const BASE: &str = "http://127.0.0.1:8718";

/// Books in memory: the fold of a log, as the journal's is.
struct Shelf {
    live: Arc<Live>,
    log: Mutex<Vec<(u64, Transaction)>>,
    keys: Mutex<Keys>,
    deeds: Mutex<Vec<Deed>>,
    denials: BTreeMap<DecisionId, String>,
    calls: Mutex<Vec<InFlight>>,
    release: Option<Arc<Release>>,
}

impl Shelf {
    fn of(facts: &str, denials: &[(&str, &str)]) -> Self {
        let file = placet_json::parse(facts.as_bytes(), &Limits::MESSAGE).unwrap();
        let log: Vec<_> = (1..).zip(parse_file(&file).unwrap()).collect();
        let world = World::fold(log.iter().map(|(at, transaction)| (*at, transaction))).unwrap();
        let denials =
            denials.iter().map(|(id, record)| (DecisionId::new(id).unwrap(), (*record).to_owned())).collect();
        Self {
            live: Arc::new(Live::new(world)),
            log: Mutex::new(log),
            keys: Mutex::default(),
            deeds: Mutex::default(),
            denials,
            calls: Mutex::default(),
            release: Some(Arc::new(release())),
        }
    }
}

impl Books for Shelf {
    fn live(&self) -> &Arc<Live> {
        &self.live
    }
    fn now(&self) -> Timestamp {
        Timestamp::from_secs(NOW)
    }
    fn ready(&self) -> Result<(), String> {
        Ok(())
    }
    fn clock_behind(&self) -> u64 {
        0
    }
    fn transact(&self, transaction: Transaction) -> Pending<'_, Result<Revision, Unwritten>> {
        Box::pin(async move {
            let mut log = self.log.lock().unwrap();
            let at = log.len() as u64 + 1;
            let mut keys = self.keys.lock().unwrap();
            if let Some(first) = keys.repeated(&transaction).map_err(Unwritten::Change)? {
                return Ok(first);
            }
            keys.remember(at, &transaction).map_err(Unwritten::Change)?;
            let world = self.live.world().apply(at, &transaction).map_err(Unwritten::Change)?;
            log.push((at, transaction));
            self.live.publish(world);
            Ok(Revision(at))
        })
    }
    fn transact_on(
        &self,
        transaction: Transaction,
        _on: Revision,
    ) -> Pending<'_, Result<Option<Revision>, Unwritten>> {
        Box::pin(async move { self.transact(transaction).await.map(Some) })
    }
    fn deed(&self, deed: Deed) -> Pending<'_, Result<u64, Unwritten>> {
        self.deeds.lock().unwrap().push(deed);
        Box::pin(async { Ok(0) })
    }
    fn erase(&self, _: Name, _: Erasable, _: String) -> Pending<'_, Result<Erased, Unwritten>> {
        Box::pin(async { Ok(Erased { at: 7, keys: 0 }) })
    }
    fn holds(&self) -> Result<placet_audit::Holds, String> {
        Ok(placet_audit::Holds::default())
    }
    fn subject_keys(&self) -> (usize, usize) {
        (0, 0)
    }
    fn source(&self, report: SourceReport) -> Pending<'_, Result<(), Unwritten>> {
        let SourceReport { by, source, place, says, why } = report;
        let sources = self.live.sources();
        match says {
            SourceSays::Seen(at) => sources.seen(&source, at).unwrap(),
            SourceSays::Gap => sources.record([(source.clone(), (place, why.clone()))].into()),
            SourceSays::Closed => sources.record([].into()),
        }
        if !matches!(says, SourceSays::Seen(_)) {
            let verb = format!("source {}: {source}", says.as_str());
            self.deeds.lock().unwrap().push(Deed { by, verb, refused: false, why, tenant: None });
        }
        Box::pin(async { Ok(()) })
    }
    fn as_of(&self, at: Revision) -> Result<World, String> {
        let log = self.log.lock().unwrap();
        World::as_of(log.iter().map(|(at, transaction)| (*at, transaction)), at.0)
            .map_err(|error| error.to_string())
    }
    fn revision_at(&self, _: Timestamp) -> Result<Revision, String> {
        Ok(Revision(0))
    }
    fn last(&self) -> u64 {
        self.log.lock().unwrap().len() as u64
    }
    fn repeated(&self, transaction: &Transaction) -> Result<Option<Revision>, ChangeError> {
        self.keys.lock().unwrap().repeated(transaction)
    }
    fn changes(&self, whose: &Whose, from: u64, limit: usize) -> Result<Changes, String> {
        let log = self.log.lock().unwrap();
        let mut page = Changes { entries: Vec::new(), next: from, more: false };
        for (at, transaction) in log.iter().filter(|(at, _)| *at > from) {
            if page.entries.len() == limit {
                page.more = true;
                break;
            }
            page.next = *at;
            if is_of(whose, transaction) {
                page.entries.push((*at, 0, transaction.to_value()));
            }
        }
        Ok(page)
    }
    fn history(
        &self,
        whose: &Whose,
        below: Option<u64>,
        limit: usize,
    ) -> Result<Vec<(u64, u64, Value)>, String> {
        let log = self.log.lock().unwrap();
        let of = log.iter().rev().filter(|(at, _)| below.is_none_or(|below| *at < below));
        let of = of.filter(|(_, transaction)| is_of(whose, transaction));
        Ok(of.take(limit).map(|(at, transaction)| (*at, 0, transaction.to_value())).collect())
    }
    fn remediable(&self, id: &DecisionId) -> Result<Option<DecisionRecord>, String> {
        self.denials
            .get(id)
            .map(|record| DecisionRecord::read(record.as_bytes()).map_err(|error| error.to_string()))
            .transpose()
    }
    fn decision(&self, id: &DecisionId) -> Result<Vec<Value>, String> {
        Ok(self.remediable(id)?.map(|record| record.document).into_iter().collect())
    }
    fn explain(&self, id: &DecisionId) -> Result<Result<placet_audit::Explained, String>, String> {
        Ok(Err(format!("the ledger has no decision `{id}`")))
    }
    fn compare(
        &self,
        _: &placet_audit::Scope,
        _: &Release,
        _: &Release,
        _: &mut dyn FnMut(u64, u64) -> bool,
    ) -> Result<Option<placet_audit::LedgerDiff>, String> {
        Err("these books have no ledger".to_owned())
    }
    fn uses(&self) -> Result<placet_audit::Uses, String> {
        Ok(placet_audit::Uses::default())
    }
    fn in_flight(&self) -> Result<Vec<InFlight>, String> {
        Ok(self.calls.lock().unwrap().clone())
    }
    fn release(&self) -> Option<Arc<Release>> {
        self.release.clone()
    }
    fn in_force(&self) -> Option<ReleaseInfo> {
        None
    }
    fn relations(&self) -> Option<(Digest, placet_core::RelationModel)> {
        None
    }
    fn releases(&self) -> Result<Vec<Digest>, String> {
        Ok(Vec::new())
    }
    fn keep(&self, _: &[u8]) -> Result<ReleaseInfo, Unpromoted> {
        Err(Unpromoted::NoRelease("release.toml is missing".into()))
    }
}

/// The demonstration's release, in which managers may stop some things.
fn release() -> Release {
    fn read(folder: &std::path::Path, below: &str, tree: &mut Tree) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let path = if below.is_empty() { name } else { format!("{below}/{name}") };
            if entry.file_type().unwrap().is_dir() {
                read(&entry.path(), &path, tree);
            } else {
                tree.insert(path, std::fs::read(entry.path()).unwrap());
            }
        }
    }
    let mut tree = Tree::new();
    let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/../../policies/demo");
    read(std::path::Path::new(demo), "", &mut tree);
    let mut add = |path: &str, text: &str| tree.get_mut(path).unwrap().extend_from_slice(text.as_bytes());
    add(
        "release.toml",
        "\n[acts.freeze]\ntool = [{ role = \"support_manager\", tenant = \"acme\" }]\ntenant = [{ role = \"support_manager\" }]\n\
         [acts.unfreeze]\ntenant = [{ role = \"support_manager\" }]\n",
    );
    Release::build(&tree).unwrap_or_else(|refused| panic!("{refused}"))
}

fn is_of(whose: &Whose, transaction: &Transaction) -> bool {
    match (whose, &transaction.place) {
        (Whose::Everybody, _) | (Whose::Organisation | Whose::With(_), Place::Organisation) => true,
        (Whose::Tenant(id) | Whose::With(id), Place::Tenant(tenant)) => id == tenant,
        (Whose::Organisation, Place::Tenant(_)) | (Whose::Tenant(_), Place::Organisation) => false,
    }
}

struct NoOffers;

impl Offers for NoOffers {
    fn circuits(&self) -> Vec<(Name, &'static str, u64)> {
        Vec::new()
    }
    fn effects(&self) -> Option<placet_gateway::Effects> {
        None
    }
    fn upstreams(&self) -> Vec<(Name, Result<(), String>)> {
        Vec::new()
    }
    fn pull<'a>(&'a self, _: &'a Name) -> Pending<'a, Option<Result<Vec<Offer>, String>>> {
        Box::pin(async { None })
    }
}

/// A server with an operator, Maya of acme, who delegated, Mo, acme's manager, and Gil of globex, a manager too.
struct Fixture {
    shelf: Arc<Shelf>,
    admin: Arc<Admin>,
    keys: BTreeMap<&'static str, SigningKey>,
    _dir: tempfile::TempDir,
}

fn fixture() -> Fixture {
    let keys: BTreeMap<_, _> = ["operator", "maya", "mo", "gil", "zoe"]
        .map(|who| (who, SigningKey::generate(Algorithm::EdDsa).unwrap()))
        .into();
    let print = |who: &str| keys[who].public().thumbprint();
    let facts = format!(
        r#"{{"tenant":"acme","tenants":["acme","globex"],
        "humans":[{{"id":"maya","standing":"active","home":"acme","keys":["{}"]}},{{"id":"mo","standing":"active","home":"acme","keys":["{}"]}},
                  {{"id":"gil","standing":"active","home":"globex","keys":["{}"]}},{{"id":"zoe","standing":"suspended","home":"acme","keys":["{}"]}}],
        "agents":[{{"id":"agent-7","type":"support_agent","owner":"maya","standing":"active"}}],
        "assignments":[{{"human":"maya","roles":["support","support_manager"],"until":"ended"}},{{"human":"mo","roles":["support_manager"],"until":"ended"}},
                       {{"human":"zoe","roles":["support_manager"],"until":"ended"}}],
        "workflows":[{{"id":"wf-9","type":"support_case","owner":"maya","intents":["support_case_resolution"],"ends":"2026-03-01T12:00:00Z","bindings":{{"support_case":"CASE-1837"}}}}],
        "delegations":[{{"id":"dg-1","human":"maya","agent":"agent-7","workflow":"wf-9","grantor":"human",
            "scope":{{"actions":["issue_refund"],"intents":["support_case_resolution"],"limits":{{}},"ends":"2026-03-01T12:00:00Z","depth":1}}}}]}}"#,
        print("maya"),
        print("mo"),
        print("gil"),
        print("zoe")
    );
    let shelf = Arc::new(Shelf::of(&facts, &[("dc_1", &denial("dc_1"))]));
    let dir = tempfile::tempdir().unwrap();
    let master = MasterKey::new(MasterKey::generate().unwrap()).unwrap();
    let vault = VaultFile::open(&dir.path().join("vault"), master).unwrap();
    let admin = Arc::new(Admin {
        books: Arc::clone(&shelf) as Arc<dyn Books>,
        offers: Arc::new(NoOffers),
        door: Door {
            audience: BASE.into(),
            url: Htu::parse(BASE).unwrap(),
            operators: KeySet::of(keys["operator"].public()),
            window: Uses::in_file(FileWindow::open(&dir.path().join("used"), 10_000, NOW).unwrap()),
            max_body: 64 * 1024,
            body_read: Duration::from_secs(5),
        },
        codes: Arc::default(),
        vault: Some(Arc::new(vault)),
        opal: Arc::default(),
        lifecycle: None,
        git: crate::lifecycle::Follows::default(),
        databases: Arc::default(),
        streams: None,
        metrics: Arc::default(),
        environment: "dev",
        public_url: "http://127.0.0.1:8717".into(),
        started: now(),
        waiters: Waiters::default(),
    });
    Fixture { shelf, admin, keys, _dir: dir }
}

fn now() -> std::time::Instant {
    std::time::Instant::now()
}

/// The record of a denial that a manager's approval would change.
fn denial(id: &str) -> String {
    let digest = Digest::of(b"x");
    let grant = r#""delegation":"dg-1","human":"maya","agent":"agent-7","intent":"support_case_resolution","tenant":"acme","workflow":"wf-9""#;
    let remedy = format!(r#"{{"approval":"manager_approval","covers":"{digest}","role":"support_manager"}}"#);
    placet_json::parse(
        format!(
            r#"{{"v":1,"id":"{id}","decision":"deny",{grant},"token":{{"expires":"2026-03-01T10:00:00Z","jti":"t","key":"k","proof":"p"}},"chain":["agent-7"],
            "attempt":{{"action":"issue_refund","evidence":null,"method":"tools/call","resources":[],"target":"billing.refund"}},
            "time":"2026-03-01T09:30:00Z","flow_at":0,"spends":[],"input":null,"facts":null,"release":null,"determining":[],"obligations":[],
            "reasons":[{{"code":"manager_approval_missing","operator":"o","public":"p","policy":"","at":""}}],"remedy":{remedy}}}"#
        )
        .as_bytes(),
        &Limits::MESSAGE,
    )
    .unwrap()
    .to_string()
}

/// A request to be signed, and the ways to get it wrong.
#[derive(Clone)]
struct Sent<'a> {
    who: &'a str,
    key: &'a str,
    method: &'a str,
    path: &'a str,
    body: String,
    claimed_path: Option<&'a str>,
    claimed_body: Option<&'a str>,
    audience: &'a str,
    at: u64,
    jti: Option<&'a str>,
    host: &'a str,
}

fn sent<'a>(who: &'a str, method: &'a str, path: &'a str, body: &str) -> Sent<'a> {
    Sent {
        who,
        key: who,
        method,
        path,
        body: body.to_owned(),
        claimed_path: None,
        claimed_body: None,
        audience: BASE,
        at: NOW,
        jti: None,
        host: "127.0.0.1:8718",
    }
}

impl Fixture {
    async fn send(&self, sent: &Sent<'_>) -> (StatusCode, Value) {
        let key = &self.keys[sent.key];
        let principal =
            if sent.who == "operator" { "operator".to_owned() } else { format!("human:{}", sent.who) };
        let (path, query) = sent
            .path
            .split_once('?')
            .map_or((sent.path, None), |(path, query)| (path, Some(query.to_owned())));
        let url = Htu::parse(BASE).unwrap().with_path(sent.claimed_path.unwrap_or(path)).unwrap();
        let claims = OperatorAssertion {
            sub: principal.clone(),
            jti: sent.jti.map_or_else(|| random_id().unwrap(), str::to_owned),
            htm: sent.method.to_owned(),
            htu: url,
            query,
            digest: ContentDigest::of(sent.claimed_body.unwrap_or(&sent.body).as_bytes()),
        };
        let stamp = Stamp {
            issuer: &principal,
            audience: sent.audience,
            issued_at: sent.at,
            expires_at: sent.at + 30,
        };
        let mut request = Request::builder()
            .method(sent.method)
            .uri(sent.path)
            .header("host", sent.host)
            .header("authorization", format!("Placet {}", mint(key, &stamp, &claims).unwrap()));
        if sent.who != "operator" {
            request = request.header(KEY_HEADER, URL_SAFE_NO_PAD.encode(key.public().to_jwk().to_bytes()));
        }
        self.raw(request.body(Body::from(sent.body.clone())).unwrap()).await
    }
    async fn raw(&self, request: Request<Body>) -> (StatusCode, Value) {
        let response = TowerToHyperService::new(routes(Arc::clone(&self.admin))).call(request).await.unwrap();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, placet_json::parse(&body, &Limits::RESULT).unwrap_or(Value::Null))
    }
    async fn ask(&self, who: &str, method: &str, path: &str, body: &str) -> (StatusCode, Value) {
        self.send(&sent(who, method, path, body)).await
    }
    fn revision(&self) -> u64 {
        self.shelf.live.world().revision().0
    }
    fn refused_deeds(&self) -> Vec<Deed> {
        self.shelf.deeds.lock().unwrap().iter().filter(|deed| deed.refused).cloned().collect()
    }
}

fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// A path of the description with something in its places.
fn filled(path: &str) -> String {
    path.split('/')
        .map(|part| if part.starts_with('{') { "acme" } else { part })
        .collect::<Vec<_>>()
        .join("/")
}

#[tokio::test]
async fn ops_2_nothing_answers_without_a_signature_and_no_header_makes_up_for_it() {
    let fixture = fixture();
    for operation in OPERATIONS {
        let method = operation.method.to_uppercase();
        for headers in [
            &[][..],
            &[("x-forwarded-for", "127.0.0.1"), ("forwarded", "for=127.0.0.1")],
            &[("authorization", "Bearer secret-api-key")],
            &[("authorization", "Placet x.y.z")],
        ] {
            let mut request = Request::builder()
                .method(method.as_str())
                .uri(filled(operation.path))
                .header("host", "127.0.0.1:8718");
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let (status, body) = fixture.raw(request.body(Body::empty()).unwrap()).await;
            assert_eq!(
                (status, text(&body, "/error/code")),
                (StatusCode::UNAUTHORIZED, "unauthenticated"),
                "{method} {}",
                operation.path
            );
        }
    }
    assert_eq!(fixture.admin.metrics.refusals("admin_unauthenticated"), OPERATIONS.len() as u64 * 4);
    assert!(fixture.shelf.deeds.lock().unwrap().is_empty(), "what isn't ours is counted, not recorded");
}

#[tokio::test]
async fn every_described_operation_is_routed_and_every_path_described() {
    let fixture = fixture();
    for operation in OPERATIONS {
        let (status, body) =
            fixture.ask("operator", &operation.method.to_uppercase(), &filled(operation.path), "").await;
        assert!(
            status != StatusCode::METHOD_NOT_ALLOWED
                && text(&body, "/error/message") != "there is no such path",
            "{} {}",
            operation.method,
            operation.path
        );
    }
    let described = openapi::describe();
    assert_eq!(
        described.pointer("/paths").unwrap().as_object().unwrap().len(),
        OPERATIONS.iter().map(|operation| operation.path).collect::<std::collections::BTreeSet<_>>().len()
    );
    let source = include_str!("mod.rs");
    let routed = source
        .lines()
        .filter_map(|line| line.trim().strip_prefix(".route(\""))
        .filter_map(|rest| rest.split('"').next())
        .filter(|path| path.starts_with("/v1/"));
    for path in routed {
        assert!(OPERATIONS.iter().any(|operation| operation.path == path), "{path} is not described");
    }
}

#[tokio::test]
async fn mcp_2_a_foreign_host_or_origin_reaches_nothing() {
    let fixture = fixture();
    for path in ["/healthz", "/metrics", "/readyz", "/v1/status", "/nothing"] {
        for (name, value) in [
            ("host", "evil.example"),
            ("host", "127.0.0.1:8718.evil.example"),
            ("host", "x/healthz?"),
            ("host", "127.0.0.1"),
            ("origin", "https://evil.example"),
            ("origin", "null"),
        ] {
            let mut request = Request::builder().uri(path);
            if name != "host" {
                request = request.header("host", "127.0.0.1:8718");
            }
            let (status, _) = fixture.raw(request.header(name, value).body(Body::empty()).unwrap()).await;
            assert_eq!(status, StatusCode::MISDIRECTED_REQUEST, "{path} {name}: {value}");
        }
    }
    let (status, _) =
        fixture.send(&Sent { host: "LOCALHOST:8718", ..sent("operator", "GET", "/v1/status", "") }).await;
    assert_eq!(status, StatusCode::MISDIRECTED_REQUEST);
    assert_eq!(fixture.ask("operator", "GET", "/v1/status", "").await.0, StatusCode::OK);
}

#[tokio::test]
async fn an_assertion_is_good_for_one_request_once() {
    let fixture = fixture();
    let good = || sent("operator", "POST", "/v1/tenants", r#"{"id":"t-1"}"#);
    let body = r#"{"id":"t-2"}"#.to_owned();
    for (what, wrong) in [
        ("another body", Sent { claimed_body: Some("{}"), body, ..good() }),
        ("another path", Sent { claimed_path: Some("/v1/humans"), ..good() }),
        ("another audience", Sent { audience: "http://127.0.0.1:8717", ..good() }),
        ("expired", Sent { at: NOW - 60, ..good() }),
        ("not yet", Sent { at: NOW + 30, ..good() }),
        ("another's key", Sent { key: "maya", ..good() }),
        ("a person with the operator's key", Sent { who: "maya", key: "operator", ..good() }),
        ("a suspended person", sent("zoe", "GET", "/v1/tenants", "")),
    ] {
        assert_eq!(fixture.send(&wrong).await.0, StatusCode::UNAUTHORIZED, "{what}");
    }
    let once = Sent { jti: Some("the-same-jti-twice"), ..good() };
    assert_eq!(fixture.send(&once).await.0, StatusCode::OK);
    let revision = fixture.revision();
    assert_eq!(fixture.send(&once).await.0, StatusCode::UNAUTHORIZED, "used twice");
    assert_eq!(fixture.revision(), revision);
}

#[tokio::test]
async fn a_person_can_do_nothing_that_is_an_operators_and_the_attempt_is_recorded() {
    let fixture = fixture();
    let before = fixture.revision();
    for (method, path, body) in [
        ("POST", "/v1/tenants", r#"{"id":"x"}"#),
        ("POST", "/v1/humans", r#"{"id":"x","home":"acme"}"#),
        ("POST", "/v1/humans/maya/standing", r#"{"standing":"active"}"#),
        ("POST", "/v1/humans/maya/keys", r#"{"jwk":{}}"#),
        ("POST", "/v1/agents", r#"{"id":"x","type":"t","owner":"maya"}"#),
        ("POST", "/v1/agents/agent-7/codes", ""),
        ("POST", "/v1/agents/agent-7/standing", r#"{"standing":"active"}"#),
        ("POST", "/v1/freezes", r#"{"what":"all"}"#),
        ("POST", "/v1/freezes/end", r#"{"what":"all"}"#),
        ("POST", "/v1/erasures", r#"{"kind":"human","id":"maya","why":"x"}"#),
        ("POST", "/v1/tenants/acme/assignments", r#"{"human":"maya","roles":["support_manager"]}"#),
        ("POST", "/v1/facts", r#"{"place":"organisation","changes":[{"tenant_created":{"id":"x"}}]}"#),
        ("GET", "/v1/risks", ""),
        ("POST", "/v1/risks", r#"{"agent":"agent-7","risk":0}"#),
        ("GET", "/v1/facts", ""),
        ("GET", "/v1/humans", ""),
        ("GET", "/v1/vault", ""),
        ("GET", "/v1/releases", ""),
        ("POST", "/v1/releases", ""),
        ("POST", "/v1/releases/sha256:x/promote", ""),
        ("POST", "/v1/vault", r#"{"tenant":"acme","upstream":"u","secret":"s"}"#),
        ("GET", "/v1/upstreams/billing/tools", ""),
    ] {
        let (status, body) = fixture.ask("maya", method, path, body).await;
        assert_eq!(
            (status, text(&body, "/error/code")),
            (StatusCode::FORBIDDEN, "forbidden"),
            "{method} {path}: {body}"
        );
        assert!(!text(&body, "/error/remedy").is_empty());
        let deeds = fixture.refused_deeds();
        let last = deeds.last().expect("recorded");
        assert_eq!(
            (last.by.as_str(), last.verb.as_str()),
            ("human:maya", format!("{method} {path}").as_str())
        );
    }
    assert_eq!(fixture.revision(), before);
    assert_eq!(fixture.refused_deeds().len(), 22);
}

#[tokio::test]
async fn ten_1_another_tenant_looks_like_none() {
    let fixture = fixture();
    let pairs = [
        ("GET", "/v1/tenants/{}/workflows", ""),
        ("GET", "/v1/tenants/{}/totals", ""),
        ("GET", "/v1/facts?tenant={}", ""),
        ("POST", "/v1/tenants/{}/workflows/wf-9/close", ""),
        ("POST", "/v1/tenants/{}/delegations", "{}"),
    ];
    for (method, path, body) in pairs {
        let (theirs, none) = (path.replace("{}", "acme"), path.replace("{}", "nowhere"));
        let (theirs, none) =
            (fixture.ask("gil", method, &theirs, body).await, fixture.ask("gil", method, &none, body).await);
        assert_eq!(theirs.0, StatusCode::NOT_FOUND);
        assert_eq!(theirs.1.to_string().replace("acme", "nowhere"), none.1.to_string(), "{method} {path}");
    }
    assert_eq!(
        fixture.ask("gil", "GET", "/v1/decisions/dc_1", "").await.1.to_string().replace("dc_1", "dc_0"),
        fixture.ask("gil", "GET", "/v1/decisions/dc_0", "").await.1.to_string()
    );
    assert_eq!(fixture.ask("maya", "GET", "/v1/decisions/dc_1", "").await.0, StatusCode::OK);
    assert_eq!(
        fixture.ask("maya", "GET", "/v1/tenants", "").await.1.to_string(),
        r#"{"tenants":[{"id":"acme"}]}"#
    );
}

#[tokio::test]
async fn an_approval_is_given_by_a_person_with_the_role_who_is_not_the_delegating_one() {
    let fixture = fixture();
    let ask = |who| fixture.ask(who, "POST", "/v1/approvals", r#"{"decision":"dc_1"}"#);
    for (who, status, told) in [
        ("operator", StatusCode::FORBIDDEN, "an approval is a person's"),
        ("maya", StatusCode::FORBIDDEN, "nobody approves what is done in their own name"),
        ("gil", StatusCode::NOT_FOUND, "there is no denial `dc_1`"),
        ("zoe", StatusCode::UNAUTHORIZED, ""),
    ] {
        let before = fixture.revision();
        let (got, body) = ask(who).await;
        assert_eq!(got, status, "{who}: {body}");
        assert!(text(&body, "/error/message").starts_with(told), "{who}: {body}");
        assert_eq!(fixture.revision(), before);
    }
    assert_eq!(fixture.refused_deeds().len(), 3, "the unauthenticated one is counted only");
    let (status, body) = ask("mo").await;
    assert_eq!(status, StatusCode::CREATED, "{body}");
    assert_eq!(text(&body, "/ends"), "2026-03-01T10:30:00Z");
    let world = fixture.shelf.live.world();
    let acme = world.tenant(&TenantId::new("acme").unwrap()).unwrap();
    let approval = acme.approvals().next().unwrap();
    assert_eq!(
        (approval.approver.as_str(), approval.role.as_str(), approval.covers),
        ("mo", "support_manager", Digest::of(b"x"))
    );
    assert_eq!(fixture.shelf.log.lock().unwrap().last().unwrap().1.author.as_str(), "human:mo");
    let path = format!("/v1/tenants/acme/approvals/{}/withdraw", text(&body, "/id"));
    assert_eq!(fixture.ask("maya", "POST", &path, "").await.0, StatusCode::FORBIDDEN, "another's approval");
    assert_eq!(fixture.ask("mo", "POST", &path, "").await.0, StatusCode::OK);
}

#[tokio::test]
async fn delegation_narrows_and_is_revoked_by_who_gave_it() {
    let fixture = fixture();
    assert_eq!(
        fixture
            .ask(
                "operator",
                "POST",
                "/v1/agents",
                r#"{"id":"agent-8","type":"support_agent","owner":"maya"}"#
            )
            .await
            .0,
        StatusCode::CREATED
    );
    let below = |actions: &str| {
        format!(r#"{{"agent":"agent-8","grantor":{{"parent":"dg-1"}},"scope":{{"actions":[{actions}]}}}}"#)
    };
    let (status, body) = fixture
        .ask(
            "maya",
            "POST",
            "/v1/tenants/acme/delegations",
            &below(r#""issue_refund","export_customer_data""#),
        )
        .await;
    assert_eq!(
        (status, text(&body, "/error/code")),
        (StatusCode::UNPROCESSABLE_ENTITY, "widening"),
        "{body}"
    );
    let (status, body) =
        fixture.ask("maya", "POST", "/v1/tenants/acme/delegations", &below(r#""issue_refund""#)).await;
    assert_eq!(status, StatusCode::CREATED, "{body}");
    assert_eq!(
        (text(&body, "/human"), text(&body, "/workflow"), text(&body, "/grantor")),
        ("maya", "wf-9", "dg-1")
    );
    let revoke = format!("/v1/tenants/acme/delegations/{}/revoke", text(&body, "/id"));
    assert_eq!(fixture.ask("mo", "POST", &revoke, "").await.0, StatusCode::FORBIDDEN);
    assert_eq!(fixture.ask("maya", "POST", &revoke, r#"{"why":"done"}"#).await.0, StatusCode::OK);
    assert_eq!(
        fixture
            .ask(
                "maya",
                "POST",
                "/v1/tenants/acme/workflows",
                r#"{"type":"support_case","intents":["x"],"ends":"2026-03-01T09:00:00Z"}"#
            )
            .await
            .1
            .pointer("/error/message")
            .unwrap()
            .as_str(),
        Some("`ends` has passed")
    );
    assert_eq!(
        fixture
            .ask(
                "maya",
                "POST",
                "/v1/tenants/acme/workflows",
                r#"{"owner":"mo","type":"support_case","intents":["x"],"ends":"2026-03-02T09:00:00Z"}"#
            )
            .await
            .0,
        StatusCode::FORBIDDEN
    );
    assert_eq!(
        fixture.ask("maya", "POST", "/v1/freezes", r#"{"what":{"agent":"agent-7"},"why":"odd"}"#).await.0,
        StatusCode::OK,
        "an owner stops their agent"
    );
    assert_eq!(
        fixture.ask("operator", "GET", "/v1/freezes", "").await.1.to_string(),
        r#"{"freezes":[{"what":{"agent":"agent-7"}}]}"#
    );
}

#[tokio::test]
async fn ten_1_a_stop_tells_a_person_of_calls_in_their_own_tenants_only() {
    let fixture = fixture();
    let call = |at: u64, tenant: &str, tool: &str| InFlight {
        at,
        decision: DecisionId::new(&format!("dc_{at}")).unwrap(),
        workflow: placet_core::WorkflowId::new(TenantId::new(tenant).unwrap(), "wf-9".parse().unwrap()),
        human: placet_core::HumanId::new("maya").unwrap(),
        chain: vec!["planner-1".parse::<Name>().unwrap().into(), "agent-7".parse::<Name>().unwrap().into()],
        tool: tool.parse().unwrap(),
        upstream: tool.split('.').next().unwrap().parse().unwrap(),
        since: Timestamp::from_secs(NOW),
    };
    *fixture.shelf.calls.lock().unwrap() = vec![
        call(7, "acme", "billing.refund"),
        call(8, "globex", "billing.refund"),
        call(9, "acme", "crm.read"),
    ];
    let stop = |who, what: &str| {
        let body = format!(r#"{{"what":{what},"why":"odd"}}"#);
        let fixture = &fixture;
        async move {
            let (status, told) = fixture.ask(who, "POST", "/v1/freezes", &body).await;
            let calls = told.get("in_flight").and_then(Value::as_array).unwrap_or_default();
            let ids: Vec<String> = calls.iter().map(|call| text(call, "/decision").to_owned()).collect();
            (status, ids, told.get("elsewhere").and_then(Value::as_u64))
        }
    };
    let told = |ids: &[&str], elsewhere| {
        (StatusCode::OK, ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>(), elsewhere)
    };
    let tool = r#"{"tool":"billing.refund"}"#;
    assert_eq!(stop("maya", tool).await, told(&["dc_7"], Some(1)), "a manager of acme");
    assert_eq!(stop("operator", tool).await, told(&["dc_7", "dc_8"], None));
    assert_eq!(stop("operator", r#"{"upstream":"crm"}"#).await, told(&["dc_9"], None));
    assert_eq!(stop("operator", r#"{"tenant":"globex"}"#).await, told(&["dc_8"], None));
    assert_eq!(stop("operator", r#"{"agent":"agent-7"}"#).await, told(&["dc_7", "dc_8", "dc_9"], None));
    assert_eq!(stop("maya", r#"{"agent":"agent-7"}"#).await, told(&["dc_7", "dc_9"], Some(1)), "its owner");
    for (who, what) in
        [("gil", tool), ("gil", r#"{"tenant":"acme"}"#), ("mo", r#"{"agent":"agent-7"}"#), ("mo", r#""all""#)]
    {
        assert_eq!(stop(who, what).await.0, StatusCode::FORBIDDEN, "{who} {what}");
    }
    // Not even whether there is such a tenant or agent.
    let (_, body) = fixture.ask("gil", "POST", "/v1/freezes", r#"{"what":{"tenant":"acme"}}"#).await;
    let (_, none) = fixture.ask("gil", "POST", "/v1/freezes", r#"{"what":{"tenant":"nowhere"}}"#).await;
    assert_eq!(body.to_string().replace("acme", "nowhere"), none.to_string());
}

#[tokio::test]
async fn ops_1_a_secret_goes_in_and_never_out() {
    let fixture = fixture();
    let canary = "sk-live-canary-3141592";
    let body =
        object! { "tenant" => "acme", "upstream" => "billing", "secret" => canary, "why" => "rotation" };
    let (status, answer) = fixture.ask("operator", "POST", "/v1/vault", &Value::from(body).to_string()).await;
    assert_eq!(status, StatusCode::CREATED, "{answer}");
    let (_, listed) = fixture.ask("operator", "GET", "/v1/vault", "").await;
    assert_eq!(text(&listed, "/secrets/0/upstream"), "billing");
    let (_, refused) = fixture
        .ask(
            "maya",
            "POST",
            "/v1/vault",
            &format!(r#"{{"tenant":"acme","upstream":"billing","secret":"{canary}"}}"#),
        )
        .await;
    let (_, malformed) = fixture
        .ask(
            "operator",
            "POST",
            "/v1/vault",
            &format!(r#"{{"tenant":"acme","upstream":"billing","secret":"{canary}","x":1}}"#),
        )
        .await;
    let seen = format!(
        "{answer}{listed}{refused}{malformed}{:?}{:?}{}",
        fixture.shelf.deeds.lock().unwrap(),
        fixture.admin,
        fixture.admin.metrics.render()
    );
    assert!(!seen.contains(canary));
}

#[tokio::test]
async fn ops_4_a_body_is_bounded_and_strict() {
    let fixture = fixture();
    let (status, _) = fixture.ask("operator", "POST", "/v1/tenants", &" ".repeat(65 * 1024)).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    let deep = format!("{}{}", "[".repeat(40_000), "]".repeat(10));
    for body in [
        deep.as_str(),
        "[]",
        "{",
        r#"{"id":"a","id":"b"}"#,
        r#"{"id":"a","x":1}"#,
        r#"{"id":null}"#,
        r#"{"id":"a b"}"#,
        r#"{"Id":"a"}"#,
    ] {
        let before = fixture.revision();
        let (status, answer) = fixture.ask("operator", "POST", "/v1/tenants", body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{answer}");
        assert_eq!(fixture.revision(), before);
    }
    assert_eq!(fixture.refused_deeds().len(), 8);
}

#[tokio::test]
async fn facts_are_applied_whole_and_read_as_of_any_revision() {
    let fixture = fixture();
    let before = fixture.revision();
    let bad = r#"{"tenant":"acme","humans":[{"id":"new","standing":"active","home":"acme"}],"assignments":[{"human":"nobody","roles":["support"],"until":"ended"}]}"#;
    let (status, _) = fixture.ask("operator", "POST", "/v1/facts", bad).await;
    assert!(status.is_client_error());
    assert_eq!(fixture.revision(), before, "nothing of a file that fails later is applied");
    let good = r#"{"tenant":"acme","resources":[{"type":"support_case","id":"CASE-1","attributes":{"customer_id":"C-1"}}]}"#;
    let (status, body) = fixture.ask("operator", "POST", "/v1/facts", good).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    let now = fixture.ask("operator", "GET", "/v1/facts?tenant=acme", "").await.1;
    let then = fixture.ask("operator", "GET", &format!("/v1/facts?tenant=acme&at={before}"), "").await.1;
    assert_eq!(now.pointer("/resources").unwrap().as_array().unwrap().len(), 1);
    assert_eq!(then.pointer("/resources").unwrap().as_array().unwrap().len(), 0);
    let (status, body) = fixture.ask("operator", "GET", "/v1/facts?tenant=acme&tenant=globex", "").await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{body}");
    assert_eq!(
        fixture.shelf.log.lock().unwrap().last().unwrap().1.author.as_str(),
        "operator",
        "whoever signed is the author"
    );
}

#[tokio::test]
async fn no_tenant_shares_the_organisation_s_tree() {
    let fixture = fixture();
    for body in [r#"{"id":"organisation"}"#, r#"{"id":"acme"}"#] {
        assert_eq!(
            fixture.ask("operator", "POST", "/v1/tenants", body).await.0,
            StatusCode::CONFLICT,
            "{body}"
        );
    }
}

#[tokio::test]
async fn probes_say_why_not() {
    let fixture = fixture();
    let probe = |path: &str| {
        fixture
            .raw(Request::builder().uri(path).header("host", "127.0.0.1:8718").body(Body::empty()).unwrap())
    };
    assert_eq!(probe("/healthz").await.0, StatusCode::OK);
    let (status, body) = probe("/readyz").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(text(&body, "/checks/release").starts_with("no release is in force"));
    assert_eq!(probe("/metrics").await.0, StatusCode::OK);
}
