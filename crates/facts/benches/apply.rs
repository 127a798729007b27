//! One change against worlds of 10⁴, 10⁵ and 10⁶ resources: it must not grow with them.
#![expect(clippy::unwrap_used, reason = "a measurement that can't start has no result")]

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use placet_core::{FactsView, Known, Name, Resource, ResourceRef, TenantId};
use placet_facts::{Change, Place, Transaction, World, parse_resource, parse_tuple};

fn transaction(changes: Vec<Change>) -> Transaction {
    let name = |text| Name::new(text).unwrap();
    let acme = TenantId::from(name("acme"));
    Transaction {
        place: Place::Tenant(acme),
        changes,
        author: name("bench"),
        source: name("bench"),
        why: String::new(),
        idempotency_key: None,
    }
}
fn case(i: usize) -> ResourceRef {
    parse_resource(&format!("support_case:CASE-{i}")).unwrap()
}
fn set(i: usize) -> Change {
    let customer = Name::new("customer_id").unwrap();
    Change::ResourceSet(Resource {
        at: case(i),
        attributes: [(customer, placet_json::Value::from(format!("cust-{i}")))].into(),
        known: Known::Told,
    })
}

fn world(size: usize) -> World {
    let file = placet_json::parse(br#"{"tenant":"acme"}"#, &placet_json::Limits::MESSAGE).unwrap();
    let empty = World::from_file(&file).unwrap();
    let indices: Vec<usize> = (0..size).collect();
    (1..).zip(indices.chunks(50_000)).fold(empty, |world, (revision, chunk)| {
        let changes = chunk.iter().flat_map(|i| {
            let tuple = parse_tuple(&format!("support_case:CASE-{i}#assignee@user:u{}", i % 1000)).unwrap();
            [set(*i), Change::TupleAdded(tuple)]
        });
        world.apply(revision, &transaction(changes.collect())).unwrap()
    })
}

fn apply(criterion: &mut Criterion) {
    for size in [10_000, 100_000, 1_000_000] {
        let world = world(size);
        let acme = TenantId::new("acme").unwrap();
        let change = transaction(vec![set(size / 2)]);
        let revision = world.revision().0.saturating_add(1);
        criterion.bench_function(&format!("facts/apply/{size}"), |bench| {
            bench.iter_batched_ref(|| (), |()| world.apply(revision, &change), BatchSize::SmallInput);
        });
        let at = case(size / 3);
        criterion.bench_function(&format!("facts/read/{size}"), |bench| {
            bench.iter(|| world.snapshot(&acme).is_some_and(|snapshot| snapshot.resource(&at).is_some()));
        });
    }
}

criterion_group!(benches, apply);
criterion_main!(benches);
