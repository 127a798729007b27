//! Rows of a real PostgreSQL server become facts.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use placet_core::{HumanId, Name, ResourceRef, Revision, Standing, TenantId, Timestamp};
use placet_facts::{Change, Place, Transaction, World};
use placet_json::Limits;
use placet_store::Foreign;
use placet_sync::postgres::{Age, Host, Page, Pending, Shown, SourceSettings, State, Tables, Untaken, run};
use tokio::task::JoinHandle;

use crate::cluster::Cluster;

const FACTS: &str = r#"{"tenant":"acme","tenants":["acme","globex"],"humans":[
  {"id":"lena","standing":"active","home":"globex"},{"id":"local","standing":"active","home":"acme"}],
  "resources":[{"type":"case","id":"LOCAL"}]}"#;

/// A ledger in memory that several gateways share.
struct Shelf {
    world: Mutex<Arc<World>>,
    log: Mutex<Vec<(u64, Transaction)>>,
    began: Instant,
}

impl Shelf {
    fn new() -> Arc<Self> {
        let world =
            World::from_file(&placet_json::parse(FACTS.as_bytes(), &Limits::MESSAGE).unwrap()).unwrap();
        Arc::new(Self { world: Mutex::new(Arc::new(world)), log: Mutex::default(), began: Instant::now() })
    }
    fn world(&self) -> Arc<World> {
        self.world.lock().unwrap().clone()
    }
    fn apply(&self, transaction: &Transaction) -> Result<u64, placet_facts::ChangeError> {
        let mut world = self.world.lock().unwrap();
        let revision = world.revision().0 + 1;
        *world = Arc::new(world.apply(revision, transaction)?);
        self.log.lock().unwrap().push((revision, transaction.clone()));
        Ok(revision)
    }
    fn attribute(&self, tenant: &str, id: &str, name: &str) -> Option<String> {
        let (tenant, name) = (TenantId::new(tenant).unwrap(), name.parse::<Name>().unwrap());
        let at = ResourceRef { kind: "case".parse().unwrap(), id: id.parse().unwrap() };
        Some(self.world().tenant(&tenant)?.resource(&at)?.attributes.get(&name)?.to_string())
    }
    fn cases(&self, tenant: &str) -> BTreeSet<String> {
        let world = self.world();
        let facts = world.tenant(&TenantId::new(tenant).unwrap()).unwrap();
        facts.resources().map(|resource| resource.at.id.to_string()).collect()
    }
    fn standing(&self, human: &str) -> Option<Standing> {
        self.world().organisation().human(&HumanId::new(human).unwrap()).map(|human| human.standing)
    }
    fn transactions(&self) -> usize {
        self.log.lock().unwrap().len()
    }
}

/// What a gateway was told of a tenant last.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Told {
    Seen(Timestamp),
    Broken(String),
    Gap(String),
}

/// One gateway of them.
struct Gateway {
    shelf: Arc<Shelf>,
    shown: Mutex<Option<Shown>>,
    ages: Mutex<BTreeMap<String, Told>>,
    /// How long a write takes to arrive.
    slow: Duration,
}

impl Host for Gateway {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(u64::try_from(self.shelf.began.elapsed().as_millis()).unwrap() + 1)
    }
    fn world(&self) -> Arc<World> {
        self.shelf.world()
    }
    fn written(&self, source: &Name, after: u64) -> Pending<'_, Result<Page, String>> {
        let upto = self.shelf.world().revision().0;
        let log = self.shelf.log.lock().unwrap();
        let page = log
            .iter()
            .filter(|(at, it)| *at > after && *at <= upto && it.source == *source)
            .cloned()
            .collect();
        Box::pin(async move { Ok((upto, page)) })
    }
    fn transact(&self, transaction: Transaction, on: Revision) -> Pending<'_, Result<Revision, Untaken>> {
        Box::pin(async move {
            tokio::time::sleep(self.slow).await;
            let world = self.shelf.world();
            let now = match &transaction.place {
                Place::Organisation => world.organisation().revision(),
                Place::Tenant(tenant) => world.tenant(tenant).map_or(Revision(0), |facts| facts.revision()),
            };
            if now != on {
                return Err(Untaken::Moved);
            }
            self.shelf.apply(&transaction).map(Revision).map_err(Untaken::Change)
        })
    }
    fn status(&self, _: &Name, status: &Shown) {
        *self.shown.lock().unwrap() = Some(status.clone());
    }
    fn age(&self, _: &Name, tenant: &TenantId, age: Age<'_>) {
        let told = match age {
            Age::Seen(at) => Told::Seen(at),
            Age::Broken(why) => Told::Broken(why.to_owned()),
            Age::Gap(why) => Told::Gap(why.to_owned()),
        };
        self.ages.lock().unwrap().insert(tenant.to_string(), told);
    }
}

impl Gateway {
    async fn until(&self, what: &str, check: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        while !check(self) {
            let shown = self.shown.lock().unwrap().clone();
            assert!(
                began.elapsed() < Duration::from_secs(20),
                "{what}: {shown:?} {:?}",
                self.ages.lock().unwrap()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    fn shown(&self) -> Shown {
        self.shown.lock().unwrap().clone().unwrap_or_default()
    }
    fn age(&self, tenant: &str) -> Option<Told> {
        self.ages.lock().unwrap().get(tenant).cloned()
    }
    fn is_live(&self) -> bool {
        self.shown().state == State::Live
    }
    /// Waits for a reading of everything that began after this.
    async fn swept(&self) {
        let now = Host::now(self);
        self.until("a sweep", |gateway| gateway.shown().swept.is_some_and(|at| at > now)).await;
    }
}

struct Reading {
    gateway: Arc<Gateway>,
    task: JoinHandle<Result<(), String>>,
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl std::ops::Deref for Reading {
    type Target = Gateway;
    fn deref(&self) -> &Gateway {
        &self.gateway
    }
}

/// How a database is read.
struct How {
    tenants: &'static [&'static str],
    sweep: Duration,
    overlap: Duration,
    rows: usize,
    channel: Option<&'static str>,
    slow: Duration,
}

impl Default for How {
    fn default() -> Self {
        let (sweep, overlap, slow) = (Duration::from_millis(400), Duration::ZERO, Duration::ZERO);
        Self { tenants: &["acme"], sweep, overlap, rows: 1_000, channel: None, slow }
    }
}

fn read(cluster: &Cluster, mapping: &str, shelf: &Arc<Shelf>, how: &How) -> Reading {
    let tenants = how.tenants.iter().map(|id| TenantId::new(id).unwrap()).collect();
    let bounds = (Duration::from_secs(5), 4_096);
    let settings = SourceSettings {
        name: "crm".parse().unwrap(),
        database: Foreign::new(&cluster.url("crm"), "test", None, false, bounds, how.channel).unwrap(),
        tables: Tables::parse(mapping, tenants).unwrap(),
        interval: Duration::from_millis(100),
        sweep: how.sweep,
        overlap: how.overlap,
        rows: how.rows,
        bytes: 1 << 20,
        row_bytes: 4_096,
    };
    let gateway = Arc::new(Gateway {
        shelf: Arc::clone(shelf),
        shown: Mutex::default(),
        ages: Mutex::default(),
        slow: how.slow,
    });
    Reading { task: tokio::spawn(run(settings, gateway.clone())), gateway }
}

fn crm() -> Cluster {
    let cluster = Cluster::start();
    let _url = cluster.database("crm");
    sql(
        &cluster,
        "CREATE TABLE cases (id text PRIMARY KEY, customer text, amount numeric, owner text, org text DEFAULT 'acme',
           updated_at timestamptz NOT NULL DEFAULT now(), deleted boolean);
         CREATE TABLE staff (id text PRIMARY KEY, active boolean, roles text[], until timestamptz, n bigint GENERATED ALWAYS AS IDENTITY);",
    );
    cluster
}

fn sql(cluster: &Cluster, text: &str) {
    let _printed = cluster.sql("crm", text);
}

const CASES: &str = r#"
[[table]]
from = "public.cases"
key = ["id"]
version = "updated_at"
deleted = "deleted"
resource = { type = "case", id = "{/id}", attributes = { customer = "/customer", amount = "/amount" } }
tuples = ["case:{/id}#owner@user:{/owner}"]
"#;
const STAFF: &str = r#"
[[table]]
name = "staff"
query = "SELECT id, active, roles, until, n FROM staff -- everybody"
key = ["id"]
version = "n"
person = { id = "{/id}", standing = "/active" }
assignment = { human = "{/id}", roles = "/roles", until = "/until" }
"#;
/// Nothing but versions tells what is new.
const SELDOM: Duration = Duration::from_hours(1);

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_facts_and_stay_so_through_inserts_updates_and_deletions() {
    let (cluster, shelf) = (crm(), Shelf::new());
    sql(&cluster, "INSERT INTO cases (id, customer, amount, owner) VALUES ('C-1', 'cu-1', 250.50, 'maya')");
    sql(
        &cluster,
        "INSERT INTO staff (id, active, roles, until) VALUES ('maya', true, '{support,lead}', '2126-01-01 00:00:00+02')",
    );
    let reading = read(&cluster, &format!("{CASES}{STAFF}"), &shelf, &How::default());
    reading.until("the first rows", Gateway::is_live).await;
    assert_eq!(shelf.attribute("acme", "C-1", "amount").as_deref(), Some("250.5"));
    assert_eq!(shelf.standing("maya"), Some(Standing::Active));
    let acme = TenantId::new("acme").unwrap();
    let maya = HumanId::new("maya").unwrap();
    let assignment = shelf.world().tenant(&acme).unwrap().assignment(&maya).cloned().unwrap();
    assert_eq!(assignment.roles.len(), 2);
    assert_eq!(assignment.until, placet_core::Until::At(Timestamp::parse("2125-12-31T22:00:00Z").unwrap()));
    let tuples = || shelf.world().tenant(&acme).unwrap().tuple_count();
    assert_eq!(tuples(), 1);
    let before = shelf.transactions();
    reading.swept().await;
    reading.swept().await;
    assert_eq!(shelf.transactions(), before, "nothing is said twice");

    sql(&cluster, "UPDATE cases SET customer = 'cu-2', owner = NULL, updated_at = now() WHERE id = 'C-1'");
    reading
        .until("an update", |_| shelf.attribute("acme", "C-1", "customer").as_deref() == Some("\"cu-2\""))
        .await;
    assert_eq!(tuples(), 0, "a relationship that isn't said any more is gone");
    sql(&cluster, "UPDATE cases SET deleted = true, updated_at = now(); DELETE FROM staff");
    reading.until("deletions", |_| shelf.cases("acme").len() == 1).await;
    reading.until("a leaver", |_| shelf.standing("maya") == Some(Standing::Deactivated)).await;
    let roles = |_: &Gateway| shelf.world().tenant(&acme).unwrap().assignment(&maya).is_some();
    reading.until("their roles", |it| !roles(it)).await;
    assert_eq!(shelf.cases("acme"), ["LOCAL".to_owned()].into(), "what isn't the source's stays");
    let sources: BTreeSet<String> =
        shelf.log.lock().unwrap().iter().map(|(_, it)| it.source.to_string()).collect();
    assert_eq!(sources, ["postgres:crm".to_owned()].into());
}

#[tokio::test(flavor = "multi_thread")]
async fn syn_1_rows_of_one_version_and_late_commits_are_all_read() {
    let (cluster, shelf) = (crm(), Shelf::new());
    let how = How { sweep: SELDOM, overlap: Duration::from_secs(3), ..How::default() };
    let reading = read(&cluster, CASES, &shelf, &how);
    reading.until("a start", Gateway::is_live).await;
    // Until the first moment is older than the overlap everything is read.
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(3_300) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let swept = reading.shown().swept;
    // Clock ties: the same version in two commits, one after the other was read.
    let at = "date_trunc('day', now()) + interval '1 hour'";
    sql(&cluster, "INSERT INTO cases (id, updated_at) VALUES ('T-0', now())");
    reading.until("a row", |_| shelf.cases("acme").contains("T-0")).await;
    let tie = cluster.sql("crm", "SELECT updated_at FROM cases WHERE id = 'T-0'");
    for id in ["T-1", "T-2"] {
        sql(&cluster, &format!("INSERT INTO cases (id, updated_at) VALUES ('{id}', '{tie}')"));
        reading.until("a tie", |_| shelf.cases("acme").contains(id)).await;
    }
    // A transaction that began before another one and ends after it has the older version.
    let late = std::thread::spawn({
        let url = cluster.url("crm");
        move || {
            let text = "BEGIN; INSERT INTO cases (id) VALUES ('LATE'); SELECT pg_sleep(1); COMMIT";
            let out =
                std::process::Command::new("psql").args(["-X", "-q", "-c", text]).arg(url).output().unwrap();
            assert!(out.status.success());
        }
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    sql(&cluster, "INSERT INTO cases (id) VALUES ('EARLY')");
    reading.until("what was committed first", |_| shelf.cases("acme").contains("EARLY")).await;
    assert!(!shelf.cases("acme").contains("LATE"));
    reading.until("the late one", |_| shelf.cases("acme").contains("LATE")).await;
    late.join().unwrap();
    // A version that is ahead of the clock hides none that come after it.
    sql(&cluster, "INSERT INTO cases (id, updated_at) VALUES ('AHEAD', 'infinity')");
    reading.until("a version ahead", |_| shelf.cases("acme").contains("AHEAD")).await;
    tokio::time::sleep(Duration::from_millis(3_300)).await;
    sql(&cluster, "INSERT INTO cases (id) VALUES ('AFTER')");
    reading.until("what came after it", |_| shelf.cases("acme").contains("AFTER")).await;
    assert_eq!(reading.shown().swept, swept, "all of this was found by versions: {at}");
    assert!(reading.is_live());
}

#[tokio::test(flavor = "multi_thread")]
async fn syn_4_a_row_that_cant_be_facts_is_refused_as_a_whole_and_its_tenant_is_stale() {
    let (cluster, shelf) = (crm(), Shelf::new());
    let mapping = CASES.replace("version =", "tenant = \"org\"\nversion =");
    let how = How { tenants: &["acme", "globex"], ..How::default() };
    sql(&cluster, "INSERT INTO cases (id, customer, owner) VALUES ('C-1', 'cu-1', 'maya')");
    let reading = read(&cluster, &mapping, &shelf, &how);
    reading.until("a start", Gateway::is_live).await;
    for (wrong, set) in [
        ("an id outside the alphabet", "id = E'C-1\\n<x>'"),
        ("an id that is too long", "id = repeat('x', 200)"),
        ("a person outside the alphabet", "customer = 'cu-9', owner = 'ma ya'"),
        ("no number", "customer = 'cu-9', amount = 'NaN'"),
        ("an inexact number", "customer = 'cu-9', amount = 0.123456789"),
        ("a row that is too large", "customer = repeat('x', 5000), owner = 'eve'"),
        ("letters of others", "customer = 'cu-9', owner = 'm\u{430}ya'"),
    ] {
        sql(&cluster, &format!("UPDATE cases SET {set}, updated_at = now()"));
        reading.until(wrong, |it| matches!(it.age("acme"), Some(Told::Gap(_)))).await;
        assert!(matches!(reading.age("globex"), Some(Told::Seen(_))), "{wrong}: a neighbour doesn't wait");
        assert_eq!(
            shelf.attribute("acme", "C-1", "customer").as_deref(),
            Some("\"cu-1\""),
            "{wrong}: nothing of it"
        );
        assert_eq!(reading.shown().refused.count, 1, "{wrong}");
        sql(
            &cluster,
            "UPDATE cases SET id = 'C-1', customer = 'cu-1', owner = 'maya', amount = NULL, updated_at = now()",
        );
        reading
            .until("it is well again", |it| matches!(it.age("acme"), Some(Told::Seen(_))) && it.is_live())
            .await;
        assert_eq!(shelf.cases("acme").len(), 2, "{wrong}: {:?}", shelf.cases("acme"));
    }
    // Other tenants: nothing of theirs is touched, and it is told.
    sql(
        &cluster,
        "INSERT INTO cases (id, org) VALUES ('X-1', 'initech'), ('X-2', ''), ('X-3', NULL), ('X-4', 'acme/../globex')",
    );
    reading.until("rows of others", |it| it.shown().foreign.count == 4).await;
    assert!(reading.is_live());
    assert!(reading.shown().foreign.some.iter().any(|text| text.contains("initech")));
    assert_eq!((shelf.cases("acme").len(), shelf.cases("globex").len()), (2, 0));
    // A row that moves is one tenant's or the other's.
    sql(&cluster, "UPDATE cases SET org = 'globex', updated_at = now() WHERE id = 'C-1'");
    reading.until("a row moves", |_| shelf.cases("globex").contains("C-1")).await;
    assert!(!shelf.cases("acme").contains("C-1"));
    sql(&cluster, "UPDATE cases SET org = 'initech', updated_at = now() WHERE id = 'C-1'");
    reading.until("a row goes", |_| shelf.cases("globex").is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_a_person_of_another_tenant_is_out_of_reach_and_so_is_their_row() {
    let (cluster, shelf) = (crm(), Shelf::new());
    sql(
        &cluster,
        "INSERT INTO staff (id, active, roles) VALUES ('lena', false, '{support}'), ('rae', true, '{support}')",
    );
    let reading = read(&cluster, STAFF, &shelf, &How::default());
    reading.until("a gap", |it| matches!(it.age("acme"), Some(Told::Gap(_)))).await;
    reading.until("the other row", |_| shelf.standing("rae") == Some(Standing::Active)).await;
    assert_eq!(shelf.standing("lena"), Some(Standing::Active));
    let acme = TenantId::new("acme").unwrap();
    assert!(shelf.world().tenant(&acme).unwrap().assignment(&HumanId::new("lena").unwrap()).is_none());
    reading.swept().await;
    assert!(matches!(reading.age("acme"), Some(Told::Gap(_))), "it stays until the row is right");
    sql(&cluster, "DELETE FROM staff WHERE id = 'lena'");
    reading.until("it is well", Gateway::is_live).await;
    assert_eq!(shelf.standing("lena"), Some(Standing::Active));
}

#[tokio::test(flavor = "multi_thread")]
async fn del_4_an_outage_and_a_changed_table_age_take_nothing_away_and_pass() {
    let (cluster, shelf) = (crm(), Shelf::new());
    sql(&cluster, "INSERT INTO cases (id, customer) VALUES ('C-1', 'cu-1')");
    let reading = read(&cluster, CASES, &shelf, &How::default());
    reading.until("a start", Gateway::is_live).await;
    let before = shelf.transactions();
    sql(&cluster, "ALTER TABLE cases RENAME customer TO client");
    reading
        .until(
            "a changed table",
            |it| matches!(it.age("acme"), Some(Told::Broken(why)) if why.contains("customer")),
        )
        .await;
    assert_eq!(shelf.attribute("acme", "C-1", "customer").as_deref(), Some("\"cu-1\""));
    sql(
        &cluster,
        "ALTER TABLE cases RENAME client TO customer; ALTER TABLE cases ALTER customer TYPE varchar(40)",
    );
    reading.until("it is back", Gateway::is_live).await;
    cluster.stop("immediate");
    reading.until("an outage", |it| matches!(it.age("acme"), Some(Told::Broken(_)))).await;
    assert_eq!(shelf.transactions(), before, "nothing was taken away");
    cluster.run();
    sql(&cluster, "UPDATE cases SET customer = 'cu-2'");
    reading
        .until("the server is back", |_| {
            shelf.attribute("acme", "C-1", "customer").as_deref() == Some("\"cu-2\"")
        })
        .await;
    reading.until("it is well", Gateway::is_live).await;
    // A connection that is cut is made again, and everything is read anew.
    let cut =
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name LIKE 'placet%'";
    let _cut = cluster.sql("postgres", cut);
    sql(&cluster, "UPDATE cases SET customer = 'cu-3'");
    reading
        .until("a new connection", |_| {
            shelf.attribute("acme", "C-1", "customer").as_deref() == Some("\"cu-3\"")
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_several_tables_is_one_transaction_and_a_notice_wakes() {
    let (cluster, shelf) = (crm(), Shelf::new());
    sql(
        &cluster,
        "CREATE TABLE holds (id text PRIMARY KEY, n bigint); INSERT INTO cases (id, customer) VALUES ('C-1', 'cu-1');
         INSERT INTO holds VALUES ('C-1', 1)",
    );
    let mapping = format!(
        "{CASES}\n[[table]]\nfrom = \"holds\"\nkey = [\"id\"]\nversion = \"n\"\ntuples = [\"case:{{/id}}#held@user:auditor\"]\n"
    );
    let how = How { sweep: Duration::from_secs(2), channel: Some("cases"), ..How::default() };
    let reading = read(&cluster, &mapping, &shelf, &how);
    reading.until("a start", Gateway::is_live).await;
    let before = shelf.transactions();
    sql(
        &cluster,
        "BEGIN; UPDATE cases SET customer = 'cu-2', updated_at = now(); INSERT INTO holds VALUES ('C-2', 2);
         INSERT INTO cases (id) VALUES ('C-2'); NOTIFY cases; COMMIT",
    );
    reading.until("both", |_| shelf.cases("acme").contains("C-2")).await;
    let log = shelf.log.lock().unwrap();
    let [(_, transaction)] = &log[before..] else { panic!("{:?}", &log[before..]) };
    let kinds: Vec<&str> = transaction.changes.iter().map(Change::kind).collect();
    assert_eq!(kinds, ["resource_set", "resource_set", "tuple_added"]);
    assert!(transaction.idempotency_key.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_went_while_nobody_read_is_gone_at_the_start_and_only_the_sources_own() {
    let (cluster, shelf) = (crm(), Shelf::new());
    sql(&cluster, "INSERT INTO cases (id, customer) VALUES ('C-1', 'cu-1'), ('C-2', 'cu-2')");
    let reading = read(&cluster, CASES, &shelf, &How::default());
    reading.until("a start", Gateway::is_live).await;
    drop(reading);
    sql(&cluster, "DELETE FROM cases WHERE id = 'C-1'");
    let reading = read(&cluster, CASES, &shelf, &How { sweep: SELDOM, ..How::default() });
    reading.until("a second start", Gateway::is_live).await;
    assert_eq!(shelf.cases("acme"), ["C-2", "LOCAL"].map(str::to_owned).into());
    drop(reading);
    // While a row can't be read nothing is taken away, whatever else went.
    sql(&cluster, "DELETE FROM cases; INSERT INTO cases (id) VALUES ('C 3')");
    let reading = read(&cluster, CASES, &shelf, &How::default());
    reading.until("a gap", |it| matches!(it.age("acme"), Some(Told::Gap(_)))).await;
    assert_eq!(shelf.cases("acme").len(), 2);
    sql(&cluster, "DELETE FROM cases");
    reading.until("it is well", Gateway::is_live).await;
    assert_eq!(shelf.cases("acme"), ["LOCAL".to_owned()].into());
}

#[tokio::test(flavor = "multi_thread")]
async fn bounds_are_told_with_their_remedy() {
    let (cluster, shelf) = (crm(), Shelf::new());
    sql(&cluster, "INSERT INTO cases (id) SELECT 'C-' || n FROM generate_series(1, 11) n");
    let few = How { rows: 10, ..How::default() };
    let reading = read(&cluster, CASES, &shelf, &few);
    reading
        .until(
            "too many rows",
            |it| matches!(it.age("acme"), Some(Told::Broken(why)) if why.contains("raise `max_rows`")),
        )
        .await;
    assert_eq!(shelf.transactions(), 0, "nothing of them");
    sql(&cluster, "DELETE FROM cases WHERE id = 'C-1'");
    reading.until("few enough", Gateway::is_live).await;
    assert_eq!(shelf.cases("acme").len(), 11);
    sql(
        &cluster,
        "UPDATE cases SET customer = repeat('x', 3900), updated_at = now(); INSERT INTO staff (id) SELECT 'p' || n FROM generate_series(1, 2) n",
    );
    reading
        .until("rows of some size", |_| {
            shelf.attribute("acme", "C-2", "customer").is_some_and(|it| it.len() > 3000)
        })
        .await;
}

/// Two gateways read the same rows; one is slow, so that what it wants to write is often older than what the other wrote.
#[tokio::test(flavor = "multi_thread")]
async fn rac_two_gateways_that_read_the_same_rows_never_write_an_older_one() {
    let (cluster, shelf) = (crm(), Shelf::new());
    sql(&cluster, "INSERT INTO cases (id, amount) VALUES ('C-1', 0)");
    let fast = read(&cluster, CASES, &shelf, &How::default());
    let slow = read(&cluster, CASES, &shelf, &How { slow: Duration::from_millis(120), ..How::default() });
    fast.until("a start", Gateway::is_live).await;
    slow.until("a start", Gateway::is_live).await;
    for n in 1..=30 {
        sql(&cluster, &format!("UPDATE cases SET amount = {n}, updated_at = clock_timestamp()"));
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    fast.until("the last one", |_| shelf.attribute("acme", "C-1", "amount").as_deref() == Some("30")).await;
    fast.swept().await;
    slow.swept().await;
    let amount = "amount".parse::<Name>().unwrap();
    let said = |change: &Change| {
        let Change::ResourceSet(resource) = change else { return None };
        resource.attributes.get(&amount)?.to_string().parse::<u64>().ok()
    };
    let log = shelf.log.lock().unwrap().clone();
    let amounts: Vec<u64> =
        log.iter().flat_map(|(_, transaction)| &transaction.changes).filter_map(said).collect();
    assert!(amounts.is_sorted() && amounts.len() > 3, "{amounts:?}");
    assert_eq!(shelf.attribute("acme", "C-1", "amount").as_deref(), Some("30"));
    // What one of them says after a start is held against what the other wrote.
    drop(fast);
    sql(&cluster, "DELETE FROM cases");
    slow.until("a deletion", |_| shelf.cases("acme").len() == 1).await;
}
