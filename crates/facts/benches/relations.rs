//! Relationships among 10⁴, 10⁵ and 10⁶ tuples: a direct check, one through five folders and a team, one that finds
//! nothing on the same way, one change, and what a tuple takes in memory.
#![expect(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    reason = "a measurement that can't start has no result"
)]

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use placet_core::{Allowed, FactsView, Name, RelationModel, Rewrite, TenantId, Tuple};
use placet_facts::{Change, Place, Transaction, World};

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}
fn transaction(tenant: &str, changes: Vec<Change>) -> Transaction {
    Transaction {
        place: Place::Tenant(TenantId::from(name(tenant))),
        changes,
        author: name("bench"),
        source: name("bench"),
        why: String::new(),
        idempotency_key: None,
    }
}

fn model() -> RelationModel {
    let user = Allowed::Type(name("user"));
    let member = Allowed::Userset(name("team"), name("member"));
    let direct = |subjects: Vec<Allowed>| Rewrite::Direct(subjects.into_iter().collect());
    let viewer = || {
        Rewrite::Union(vec![
            direct(vec![user.clone(), member.clone()]),
            Rewrite::From { via: name("parent"), relation: name("viewer") },
        ])
    };
    let parent = || (name("parent"), direct(vec![Allowed::Type(name("folder"))]));
    RelationModel {
        types: [
            (name("team"), [(name("member"), direct(vec![user.clone(), member.clone()]))].into()),
            (name("folder"), [parent(), (name("viewer"), viewer())].into()),
            (
                name("doc"),
                [parent(), (name("owner"), direct(vec![user.clone()])), (name("viewer"), viewer())].into(),
            ),
        ]
        .into(),
    }
}

/// A tree of folders that is eight wide, three teams on each, documents in them, ten people in each team.
fn tuples(size: usize) -> impl Iterator<Item = Tuple> {
    let (folders, teams) = (size / 10, size / 100);
    let text = move |i: usize| match i % 10 {
        0 => format!("folder:f{}#parent@folder:f{}", i / 10 + 1, i / 80),
        1..=3 => format!("folder:f{}#viewer@team:t{}#member", i / 10, (i * 7) % teams),
        4 => format!("team:t{}#member@user:u{}", (i / 10) % teams, i / 10),
        5..=7 => format!("doc:d{}#parent@folder:f{}", i, i % folders),
        _ => format!("doc:d{}#owner@user:u{}", i - 3, (i * 31) % folders),
    };
    let deep = [
        "doc:deep#parent@folder:e1",
        "doc:deep#owner@user:deep",
        "folder:e5#viewer@team:deep#member",
        "team:deep#member@user:deep",
    ];
    let chain = (1..5).map(|i| format!("folder:e{i}#parent@folder:e{}", i + 1));
    let beside = (1..6)
        .flat_map(move |i| (0..3).map(move |j| format!("folder:e{i}#viewer@team:t{}#member", i * 3 + j)));
    let all = (0..size).map(text).chain(deep.map(str::to_owned)).chain(chain).chain(beside);
    all.map(|text| text.parse().unwrap())
}

fn world(size: usize) -> World {
    let file = placet_json::parse(br#"{"tenant":"acme"}"#, &placet_json::Limits::MESSAGE).unwrap();
    let mut world = World::from_file(&file).unwrap();
    let mut all = tuples(size).map(Change::TupleAdded).peekable();
    let mut revision = 0;
    while all.peek().is_some() {
        revision += 1;
        world = world.apply(revision, &transaction("acme", all.by_ref().take(50_000).collect())).unwrap();
    }
    world
}

/// Resident memory in bytes (`proc_pid_statm(5)`).
fn resident() -> usize {
    let pages: usize =
        std::fs::read_to_string("/proc/self/statm").unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

fn relations(criterion: &mut Criterion) {
    let acme = TenantId::new("acme").unwrap();
    let model = model();
    for size in [10_000, 100_000, 1_000_000] {
        let before = resident();
        let world = world(size);
        let snapshot = world.snapshot(&acme).unwrap();
        let count = snapshot.facts().tuple_count();
        println!(
            "{count} tuples: {} B of resident memory a tuple, names included",
            (resident() - before) / count
        );
        for (what, object, relation, subject, holds) in [
            ("direct", "doc:deep", "owner", "user:deep", true),
            ("direct_no", "doc:deep", "owner", "user:u1", false),
            ("depth_5", "doc:deep", "viewer", "user:deep", true),
            ("negative_deep", "doc:deep", "viewer", "user:stranger", false),
        ] {
            let (object, subject) = (object.parse().unwrap(), subject.parse().unwrap());
            let relation = name(relation);
            assert_eq!(snapshot.check(&model, &object, &relation, &subject), Ok(holds), "{what}");
            criterion.bench_function(&format!("relations/check/{what}/{size}"), |bench| {
                bench.iter(|| snapshot.check(&model, &object, &relation, &subject));
            });
        }
        let change = transaction("acme", vec![Change::TupleAdded("doc:d5#viewer@user:new".parse().unwrap())]);
        let revision = world.revision().0 + 1;
        criterion.bench_function(&format!("relations/change/{size}"), |bench| {
            bench.iter_batched_ref(|| (), |()| world.apply(revision, &change), BatchSize::SmallInput);
        });
    }
    let tenants: Vec<String> = (0..1000).map(|i| format!("\"t{i}\"")).collect();
    let file =
        format!(r#"{{"tenant":"t500","tenants":[{}],"tuples":["doc:1#owner@user:u1"]}}"#, tenants.join(","));
    let world =
        World::from_file(&placet_json::parse(file.as_bytes(), &placet_json::Limits::MESSAGE).unwrap())
            .unwrap();
    let change = transaction("t7", vec![Change::TupleAdded("doc:1#owner@user:u2".parse().unwrap())]);
    let revision = world.revision().0 + 1;
    criterion.bench_function("relations/change/1000_tenants", |bench| {
        bench.iter_batched_ref(|| (), |()| world.apply(revision, &change), BatchSize::SmallInput);
    });
}

criterion_group!(benches, relations);
criterion_main!(benches);
