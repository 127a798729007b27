//! One decision: live facts, input, both engines, canonical input. With 10, 10³ and 10⁵ resources in the tenant.
#![expect(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    reason = "a benchmark's fixture is right or the benchmark stops"
)]

use std::{collections::BTreeMap, fs, hint::black_box, path::Path};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use placet_core::{
    AgentId, Call, DecisionId, DelegationId, Engine as _, Envelope, FactsView as _, Grant, HumanId, Name,
    TenantId, Timestamp, Verdict, WorkflowId,
};
use placet_facts::{Change, Place, Snapshot, Transaction, World};
use placet_json::{Limits, Value, parse};
use placet_policy::{Release, Tree};

fn read(folder: &Path, below: &str, tree: &mut Tree) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let path = if below.is_empty() { name } else { format!("{below}/{name}") };
        if entry.path().is_dir() {
            read(&entry.path(), &path, tree);
        } else {
            tree.insert(path, fs::read(entry.path()).unwrap());
        }
    }
}

fn release(name: &str) -> Release {
    let mut tree = BTreeMap::new();
    read(&Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../policies")).join(name), "", &mut tree);
    Release::build(&tree).unwrap()
}

/// RFC 8037, appendix A.3.
const KEY: &str = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k";

fn facts(resources: usize) -> Snapshot {
    let text = fs::read_to_string(Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../policies/demo/tests/facts/demo.json"
    )))
    .unwrap();
    let mut file = parse(text.as_bytes(), &Limits::RESULT).unwrap();
    let key = parse(
        format!(
            r#"{{"{KEY}":{{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}}}}"#
        )
        .as_bytes(),
        &Limits::MESSAGE,
    )
    .unwrap();
    for agent in file.get_mut("agents").and_then(Value::as_array_mut).unwrap() {
        if let Value::Object(agent) = agent
            && agent.get("id").and_then(Value::as_str) == Some("agent-7")
        {
            agent.insert("keys", key.clone());
        }
    }
    let mut world = World::from_file(&file).unwrap();
    let acme = TenantId::new("acme").unwrap();
    let all: Vec<Change> = (0..resources)
        .map(|number| {
            let one = format!(r#"{{"resource_set":{{"type":"support_case","id":"CASE-{0}","attributes":{{"case_id":"CASE-{0}","customer_id":"cust-{0}"}}}}}}"#, 10_000 + number);
            Change::from_value(&parse(one.as_bytes(), &Limits::MESSAGE).unwrap(), &Place::Tenant(acme.clone())).unwrap()
        })
        .collect();
    for changes in all.chunks(1_000) {
        let name = Name::new("bench").unwrap();
        let transaction = Transaction {
            place: Place::Tenant(acme.clone()),
            changes: changes.to_vec(),
            author: name.clone(),
            source: name,
            why: String::new(),
            idempotency_key: None,
        };
        world = world.apply(world.revision().0 + 1, &transaction).unwrap();
    }
    world.snapshot(&acme).unwrap()
}

fn envelope(now: Timestamp) -> Envelope {
    let (acme, name) = (TenantId::new("acme").unwrap(), |text: &str| Name::new(text).unwrap());
    let grant = Grant {
        human: HumanId::new("maya").unwrap(),
        agent: AgentId::new("agent-7").unwrap(),
        delegation: DelegationId::new(acme.clone(), name("dg-1")),
        workflow: WorkflowId::new(acme, name("wf-9")),
        intent: name("support_case_resolution"),
        token: "bench".to_owned(),
        expires: now.plus_millis(60_000),
        key: KEY.to_owned(),
        proof: "bench".to_owned(),
    };
    Envelope::open(grant, now).unwrap()
}

fn call(release: &Release, envelope: &Envelope, facts: &Snapshot, tool: &str, arguments: &str) -> Call {
    let entry = release.catalog().entry(tool).unwrap();
    let arguments = parse(arguments.as_bytes(), &Limits::MESSAGE).unwrap();
    placet_catalog::classify(
        entry,
        envelope,
        facts,
        release.digest(),
        DecisionId::new("dc_bench").unwrap(),
        &arguments,
    )
    .unwrap()
}

fn decide(c: &mut Criterion) {
    let now = Timestamp::parse("2026-03-01T09:30:00Z").unwrap();
    let envelope = envelope(now);
    for (engine, name) in [("rego", "support"), ("cedar", "support-cedar"), ("both", "demo")] {
        let release = release(name);
        let mut group = c.benchmark_group(format!("decide/{engine}"));
        for resources in [10, 1_000, 100_000] {
            let facts = facts(resources);
            let small =
                call(&release, &envelope, &facts, "billing.refund", r#"{"case_id":"CASE-1837","amount":80}"#);
            let evaluation = release.evaluate(&envelope, &small, &facts, now).unwrap();
            assert!(matches!(evaluation.verdict, Verdict::Allow { .. }), "{evaluation:?}");
            group.bench_with_input(BenchmarkId::new("permit", resources), &small, |b, call| {
                b.iter(|| release.evaluate(black_box(&envelope), call, &facts, now));
            });
            let large = call(
                &release,
                &envelope,
                &facts,
                "billing.refund",
                r#"{"case_id":"CASE-1837","amount":250}"#,
            );
            group.bench_with_input(BenchmarkId::new("denial with reasons", resources), &large, |b, call| {
                b.iter(|| release.evaluate(black_box(&envelope), call, &facts, now));
            });
            assert_eq!(facts.tenant().as_str(), "acme");
        }
        group.finish();
    }
}

criterion_group!(benches, decide);
criterion_main!(benches);
