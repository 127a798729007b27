use std::{fs, path::Path, sync::Arc};

use placet_core::{
    AgentId, Call, DecisionId, DelegationId, Engine as _, Envelope, Evaluation, FactsView, Grant, HumanId,
    Name, Reasons, TenantId, Timestamp, Verdict, WorkflowId,
};
use placet_facts::{Place, Snapshot, Transaction, World, tenant_of};
use placet_json::{Limits, Value, parse};
use placet_policy::{Release, Tree};

pub(crate) fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../policies"))
}

/// A tree from disk.
pub(crate) fn tree(name: &str) -> Tree {
    fn read(folder: &Path, below: &str, tree: &mut Tree) {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let path = if below.is_empty() { name } else { format!("{below}/{name}") };
            if entry.file_type().unwrap().is_dir() {
                read(&entry.path(), &path, tree);
            } else {
                tree.insert(path, fs::read(entry.path()).unwrap());
            }
        }
    }
    let mut tree = Tree::new();
    read(&root().join(name), "", &mut tree);
    tree
}

/// A release of its own, of these files.
pub(crate) fn files(files: &[(&str, &str)]) -> Tree {
    files.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())).collect()
}

pub(crate) fn build(tree: &Tree) -> Release {
    Release::build(tree).unwrap_or_else(|refused| panic!("{refused}"))
}

pub(crate) fn built(name: &str) -> Release {
    build(&tree(name))
}

/// A file of a tree with one text in it changed; it must be there.
pub(crate) fn change(tree: &mut Tree, path: &str, from: &str, to: &str) {
    let text = String::from_utf8(tree.remove(path).unwrap()).unwrap();
    assert!(text.contains(from), "{path} has no `{from}`");
    tree.insert(path.to_owned(), text.replace(from, to).into_bytes());
}

pub(crate) fn load(file: &Value) -> Result<Arc<dyn FactsView>, String> {
    let tenant = tenant_of(file).map_err(|e| e.to_string())?.ok_or("no tenant")?;
    let world = World::from_file(file).map_err(|e| e.to_string())?;
    Ok(Arc::new(world.snapshot(&tenant).ok_or("no such tenant")?))
}

pub(crate) fn json(text: &str) -> Value {
    parse(text.as_bytes(), &Limits::RESULT).unwrap()
}

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

pub(crate) fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

pub(crate) fn now() -> Timestamp {
    at("2026-03-01T09:30:00Z")
}

pub(crate) fn acme() -> TenantId {
    TenantId::new("acme").unwrap()
}

/// RFC 8037, appendix A.3.
pub(crate) const KEY: &str = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k";

/// The demonstration's facts, with a key for the agent.
pub(crate) fn world() -> World {
    let mut file = json(&fs::read_to_string(root().join("demo/tests/facts/demo.json")).unwrap());
    let key = json(&format!(
        r#"{{"{KEY}":{{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}}}}"#
    ));
    for agent in file.get_mut("agents").and_then(Value::as_array_mut).unwrap() {
        if let Value::Object(agent) = agent
            && agent.get("id").and_then(Value::as_str) == Some("agent-7")
        {
            agent.insert("keys", key.clone());
        }
    }
    World::from_file(&file).unwrap()
}

/// The world after one more change, which is the organisation's or acme's.
pub(crate) fn after(world: &World, change: &str) -> World {
    let value = json(change);
    let (place, change) = match (
        placet_facts::Change::from_value(&value, &Place::Organisation),
        placet_facts::Change::from_value(&value, &Place::Tenant(acme())),
    ) {
        (Ok(change), _) => (Place::Organisation, change),
        (_, Ok(change)) => (Place::Tenant(acme()), change),
        (Err(one), Err(other)) => panic!("{change}: {one}; {other}"),
    };
    let transaction = Transaction {
        place,
        changes: vec![change],
        author: name("test"),
        source: name("test"),
        why: String::new(),
        idempotency_key: None,
    };
    world.apply(world.revision().0 + 1, &transaction).unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) fn snapshot(world: &World) -> Snapshot {
    world.snapshot(&acme()).unwrap()
}

pub(crate) fn grant() -> Grant {
    Grant {
        human: HumanId::new("maya").unwrap(),
        agent: AgentId::new("agent-7").unwrap(),
        delegation: DelegationId::new(acme(), name("dg-1")),
        workflow: WorkflowId::new(acme(), name("wf-9")),
        intent: name("support_case_resolution"),
        token: "t-1".to_owned(),
        expires: at("2026-03-02T00:00:00Z"),
        key: KEY.to_owned(),
        proof: "p-1".to_owned(),
    }
}

pub(crate) fn open(grant: Grant) -> Envelope {
    Envelope::open(grant, now()).unwrap()
}

pub(crate) fn classify(
    release: &Release,
    envelope: &Envelope,
    facts: &dyn FactsView,
    tool: &str,
    arguments: &str,
) -> Result<Call, Reasons> {
    let entry = release.catalog().entry(tool).unwrap();
    placet_catalog::classify(
        entry,
        envelope,
        facts,
        release.digest(),
        DecisionId::new("dc_1").unwrap(),
        &json(arguments),
    )
    .map(|call| {
        let moves = release.moves_on(envelope.workflow(), &call.action, facts);
        Call { moves, ..call }
    })
    .map_err(|refused| refused.reasons)
}

pub(crate) const SMALL: (&str, &str) = ("billing.refund", r#"{"case_id":"CASE-1837","amount":80}"#);
pub(crate) const LARGE: (&str, &str) = ("billing.refund", r#"{"case_id":"CASE-1837","amount":250}"#);

/// Classifies on `before` and decides on `facts`.
pub(crate) fn decide_after(
    release: &Release,
    envelope: &Envelope,
    before: &dyn FactsView,
    facts: &dyn FactsView,
    (tool, arguments): (&str, &str),
    now: Timestamp,
) -> Evaluation {
    let call =
        classify(release, envelope, before, tool, arguments).unwrap_or_else(|reasons| panic!("{reasons:?}"));
    release.evaluate(envelope, &call, facts, now).unwrap()
}

pub(crate) fn decide(
    release: &Release,
    envelope: &Envelope,
    facts: &dyn FactsView,
    call: (&str, &str),
) -> Evaluation {
    decide_after(release, envelope, facts, facts, call, now())
}

/// The codes of a denial; none of a permit.
pub(crate) fn codes(evaluation: &Evaluation) -> Vec<String> {
    match &evaluation.verdict {
        Verdict::Allow { .. } => Vec::new(),
        Verdict::Deny { reasons, .. } => reasons.all().iter().map(|reason| reason.code.clone()).collect(),
    }
}
