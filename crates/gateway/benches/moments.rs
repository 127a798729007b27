//! What facts cost on a long journal: a change, memory, a look back, a start.
//!
//! `cargo bench -p placet-gateway --bench moments -- ENTRIES TENANTS` (100000 and 1 without arguments) prints one line a
//! measurement. Each entry sets one resource and one tuple of a tenant.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_precision_loss,
    reason = "a measurement that can't go on has no result"
)]

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use futures::executor::block_on;
use placet_core::{Name, Resource, Revision, TenantId, Timestamp};
use placet_facts::{Change, Place, Transaction, parse_resource, parse_tuple};
use placet_gateway::Ledger;
use placet_ledger::checkpoint::SigningKey;
use placet_store::{Notary, OpenReport, Options};

/// Transactions that are sent before the first is waited for.
const AT_ONCE: usize = 1024;
/// Looks back.
const LOOKS: u64 = 200;

fn main() {
    let numbers: Vec<u64> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let (entries, tenants) =
        (numbers.first().copied().unwrap_or(100_000), numbers.get(1).copied().unwrap_or(1));
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = open(dir.path());
    let before = resident();
    let made: Vec<Change> = (0..tenants).map(|i| Change::TenantCreated(tenant(i))).collect();
    block_on(ledger.transact(transaction(Place::Organisation, made))).unwrap();
    let began = Instant::now();
    let mut sent = 0;
    while sent < entries {
        let until = entries.min(sent + AT_ONCE as u64);
        let batch = (sent..until).map(|i| ledger.transact(change(i, tenants)));
        for revision in block_on(futures::future::join_all(batch)) {
            revision.unwrap();
        }
        sent = until;
    }
    let took = began.elapsed();
    println!("{entries} entries of 2 facts, {tenants} tenants");
    println!("durable change, {AT_ONCE} at once: {:.1} µs", took.as_secs_f64() * 1e6 / entries as f64);
    println!("resident memory: {:.0} bytes a fact", (resident() - before) as f64 / (2 * entries) as f64);
    let one = Instant::now();
    for i in 0..100 {
        block_on(ledger.transact(change(entries / 2 + i, tenants))).unwrap();
    }
    println!("durable change, one at a time: {:.0} µs", one.elapsed().as_secs_f64() * 1e6 / 100.0);

    let last = ledger.reader().last();
    let mut looks: Vec<Duration> = (1..=LOOKS)
        .map(|i| {
            // In no order, so that none leans on the one before.
            let at = (i * 7919 % LOOKS) * last / LOOKS + 1;
            let began = Instant::now();
            assert!(ledger.as_of(Revision(at)).unwrap().revision() <= Revision(at));
            began.elapsed()
        })
        .collect();
    looks.sort_unstable();
    let of = |percent: usize| looks[(looks.len() * percent / 100).min(looks.len() - 1)].as_secs_f64() * 1e3;
    println!("look back, anywhere: p50 {:.1} ms, p99 {:.1} ms, most {:.1} ms", of(50), of(99), of(100));
    let began = Instant::now();
    ledger.position_at(Timestamp::from_millis(500_000_000)).unwrap();
    println!("position of a moment: {:.2} ms", began.elapsed().as_secs_f64() * 1e3);
    drop(ledger);

    println!(
        "journal {} MB, kept states {} MB",
        megabytes(&dir.path().join("journal")),
        megabytes(&dir.path().join("state"))
    );
    let (ledger, report) = open(dir.path());
    println!("start: {:?}, folded from record {} of {}", report.took, report.kept, report.records);
    drop(ledger);
    std::fs::remove_dir_all(dir.path().join("state")).unwrap();
    let (_, report) = open(dir.path());
    println!("start without kept states: {:?}", report.took);
}

fn open(dir: &Path) -> (Ledger, OpenReport) {
    let notary = Notary {
        organisation: "bench".to_owned(),
        key: Arc::new(SigningKey::from_seed(&[7; 32]).unwrap()),
        every: Duration::from_secs(1),
    };
    let clock = AtomicU64::new(1);
    Ledger::open(dir, Options::new(move || clock.fetch_add(1, Ordering::Relaxed), notary)).unwrap()
}

fn tenant(i: u64) -> TenantId {
    TenantId::new(&format!("tenant-{i}")).unwrap()
}

fn change(i: u64, tenants: u64) -> Transaction {
    let at = parse_resource(&format!("support_case:CASE-{i}")).unwrap();
    let customer = (Name::new("customer_id").unwrap(), placet_json::Value::from(format!("cust-{i}")));
    let tuple = parse_tuple(&format!("support_case:CASE-{i}#assignee@user:u{}", i % 1000)).unwrap();
    let changes = vec![
        Change::ResourceSet(Resource { at, attributes: [customer].into(), known: placet_core::Known::Told }),
        Change::TupleAdded(tuple),
    ];
    transaction(Place::Tenant(tenant(i % tenants)), changes)
}

fn transaction(place: Place, changes: Vec<Change>) -> Transaction {
    let name = |text| Name::new(text).unwrap();
    Transaction {
        place,
        changes,
        author: name("bench"),
        source: name("bench"),
        why: String::new(),
        idempotency_key: None,
    }
}

/// Bytes in memory (Linux; elsewhere 0).
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096
}

fn megabytes(dir: &Path) -> u64 {
    let files = std::fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok);
    files.filter_map(|file| file.metadata().ok()).map(|data| data.len()).sum::<u64>() / 1_000_000
}
