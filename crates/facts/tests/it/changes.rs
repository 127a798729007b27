//! The JSON form of changes, and what each demands.

use placet_core::{FactsView, Freeze, ResourceRef, Standing, WorkflowId, WorkflowState};
use placet_facts::{Change, Kind, MAX_TEXT, Place, Transaction, World, parse_file};
use placet_json::{Limits, Value, parse};

use crate::{SUPPORT, acme, apply, human, json, name, of, organisation, support, tenant};

const KEY: &str = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs";

fn all() -> Vec<(Place, String)> {
    let acme = || Place::Tenant(tenant("acme"));
    let org = || Place::Organisation;
    let covers = format!("sha256:{}", "ab".repeat(32));
    let jwk = r#"{"kty":"OKP","crv":"Ed25519","x":"AA"}"#;
    vec![
        (org(), r#"{"tenant_created":{"id":"globex"}}"#.into()),
        (org(), format!(r#"{{"human_set":{{"id":"maya","standing":"active","home":"acme","keys":["{KEY}"]}}}}"#)),
        (org(), r#"{"human_standing":{"human":"maya","standing":"suspended"}}"#.into()),
        (org(), format!(r#"{{"agent_enrolled":{{"id":"a","type":"t","owner":"maya","standing":"active","keys":{{"{KEY}":{jwk}}}}}}}"#)),
        (org(), r#"{"agent_set":{"id":"agent-7","type":"t","owner":"maya","standing":"deactivated","keys":{}}}"#.into()),
        (org(), r#"{"agent_standing":{"agent":"agent-7","standing":"active"}}"#.into()),
        (org(), format!(r#"{{"agent_key_added":{{"agent":"agent-7","thumbprint":"{KEY}","key":{jwk}}}}}"#)),
        (org(), format!(r#"{{"agent_key_removed":{{"agent":"agent-7","thumbprint":"{KEY}"}}}}"#)),
        (org(), r#"{"enrolment_offered":{"code":"c0de","agent":"agent-7","at":"2026-03-01T09:00:00Z","until":"2026-03-01T10:00:00Z"}}"#.into()),
        (org(), r#"{"enrolment_taken":{"code":"c0de","agent":"agent-7"}}"#.into()),
        (org(), r#"{"risk_set":{"agent":"agent-7","risk":0.87}}"#.into()),
        (org(), r#"{"risk_set":{"human":"maya","risk":3}}"#.into()),
        (acme(), r#"{"risk_set":{"workflow":"wf-9","risk":100}}"#.into()),
        (org(), r#"{"frozen":{"what":"all"}}"#.into()),
        (org(), r#"{"frozen":{"what":{"tenant":"acme"}}}"#.into()),
        (org(), r#"{"frozen":{"what":{"agent":"agent-7"}}}"#.into()),
        (org(), r#"{"frozen":{"what":{"tool":"billing.refund"}}}"#.into()),
        (org(), r#"{"unfrozen":{"what":{"upstream":"billing"}}}"#.into()),
        (acme(), r#"{"assignment_set":{"human":"maya","roles":["a","b"],"until":"ended"}}"#.into()),
        (acme(), r#"{"assignment_set":{"human":"maya","roles":[],"until":"2026-03-01T12:00:00Z"}}"#.into()),
        (acme(), r#"{"assignment_removed":{"human":"maya"}}"#.into()),
        (acme(), r#"{"workflow_opened":{"id":"w","type":"t","owner":"maya","intents":["i"],"ends":"2026-03-01T12:00:00Z","bindings":{"case":"C-1"},"attributes":{"n":1.5,"deep":{"a":[true,"x"]}}}}"#.into()),
        (acme(), r#"{"workflow_closed":{"id":"wf-9"}}"#.into()),
        (acme(), r#"{"delegation_granted":{"id":"d","human":"maya","agent":"agent-7","workflow":"wf-9","grantor":"human","scope":{"actions":["a"],"intents":["i"],"limits":{"amount":99.5},"ends":"2026-03-01T12:00:00Z","depth":0}}}"#.into()),
        (acme(), r#"{"delegation_granted":{"id":"d","human":"maya","agent":"agent-7","workflow":"wf-9","grantor":{"parent":"dg-1"},"scope":{"actions":[],"intents":[],"limits":{},"ends":"2026-03-01T12:00:00Z","depth":0}}}"#.into()),
        (acme(), r#"{"delegation_revoked":{"id":"dg-1"}}"#.into()),
        (acme(), format!(r#"{{"approval_given":{{"id":"ap-1","name":"manager_approval","workflow":"wf-9","approver":"noor","role":"support_manager","covers":"{covers}","ends":"2026-03-01T12:00:00Z"}}}}"#)),
        (acme(), r#"{"approval_withdrawn":{"id":"ap-1"}}"#.into()),
        (acme(), r#"{"resource_set":{"type":"case","id":"C-1","attributes":{"customer_id":"c","n":100}}}"#.into()),
        (acme(), r#"{"resource_removed":{"type":"case","id":"C-1"}}"#.into()),
        (acme(), r#"{"tuple_added":{"tuple":"case:C-1#viewer@team:x#member"}}"#.into()),
        (acme(), r#"{"tuple_removed":{"tuple":"case:C-1#viewer@user:maya"}}"#.into()),
    ]
}

#[test]
fn every_change_reads_back_and_takes_no_unknown_member() {
    let mut kinds = std::collections::BTreeSet::new();
    for (place, text) in all() {
        let value = json(&text);
        let change = Change::from_value(&value, &place).unwrap_or_else(|error| panic!("{error} in {text}"));
        kinds.insert(change.kind());
        assert_eq!(change.to_value(), value);
        assert_eq!(change.is_of_tenant(), place != Place::Organisation);

        let other = if change.is_of_tenant() { Place::Organisation } else { Place::Tenant(tenant("acme")) };
        assert_eq!(
            Change::from_value(&value, &other).unwrap_err().kind,
            Kind::Malformed,
            "{text} was taken by {other}"
        );

        let mut more = value.clone();
        more.get_mut(change.kind()).unwrap().as_object_mut().unwrap().insert("tenant", "globex");
        let error = Change::from_value(&more, &place).unwrap_err();
        assert!(error.path.ends_with("/tenant"), "{error}");

        let mut two = value;
        two.as_object_mut().unwrap().insert("another", true);
        assert!(Change::from_value(&two, &place).is_err());

        let transaction = of(place, vec![change]);
        assert_eq!(Transaction::from_value(&transaction.to_value()).unwrap(), transaction);
    }
    assert_eq!(kinds.len(), 25, "each kind of change has a case here: {kinds:?}");
}

#[test]
fn a_members_absence_is_an_error() {
    for (place, text) in all() {
        let value = json(&text);
        let (kind, body) = value.as_object().unwrap().iter().next().unwrap();
        for member in body.as_object().unwrap().keys() {
            if ["keys", "bindings", "attributes"].contains(&member) {
                continue;
            }
            let mut less = value.clone();
            less.get_mut(kind).unwrap().as_object_mut().unwrap().remove(member);
            assert!(Change::from_value(&less, &place).is_err(), "{text} without `{member}` was taken");
        }
    }
}

#[test]
fn arg_3_attributes_are_exact_and_never_null() {
    let set = |attribute: &str| {
        format!(r#"{{"resource_set":{{"type":"case","id":"C-1","attributes":{{"a":{attribute}}}}}}}"#)
    };
    let place = Place::Tenant(tenant("acme"));
    for bad in [
        "null",
        "[null]",
        r#"{"b":null}"#,
        "1e400",
        "9007199254740993",
        "0.12345",
        "100.00000000000000000001",
    ] {
        assert!(Change::from_value(&json(&set(bad)), &place).is_err(), "{bad} was taken");
    }
    for reserved in ["type", "id", "tenant_id", "relations"] {
        let text = format!(
            r#"{{"resource_set":{{"type":"case","id":"C-1","attributes":{{"{reserved}":"globex"}}}}}}"#
        );
        assert!(Change::from_value(&json(&text), &place).is_err(), "`{reserved}` was taken");
    }
    let world = apply(&support(), &[&set("1.50e1")]).unwrap();
    let snapshot = world.snapshot(&tenant("acme")).unwrap();
    let case = ResourceRef { kind: name("case"), id: name("C-1") };
    assert_eq!(snapshot.resource(&case).unwrap().attributes[&name("a")].to_string(), "15");
}

#[test]
fn ops_1_a_private_key_never_becomes_a_fact() {
    let text = format!(
        r#"{{"agent_key_added":{{"agent":"agent-7","thumbprint":"{KEY}","key":{{"kty":"OKP","crv":"Ed25519","x":"AA","d":"SECRET"}}}}}}"#
    );
    let error = Change::from_value(&json(&text), &Place::Organisation).unwrap_err();
    assert!(!error.to_string().contains("SECRET"), "{error}");
}

#[test]
fn a_key_speaks_for_one_agent_until_it_is_removed() {
    let add = |agent: &str| {
        organisation(&format!(
            r#"{{"agent_key_added":{{"agent":"{agent}","thumbprint":"{KEY}","key":{{"kty":"OKP"}}}}}}"#
        ))
    };
    let owner = |world: &World| world.organisation().agent_of_key(KEY).map(|agent| agent.id.to_string());
    let world = support();
    assert_eq!(owner(&world).as_deref(), Some("agent-7"));
    assert!(world.apply(50, &add("agent-8")).is_err());
    let removed = world
        .apply(
            50,
            &organisation(&format!(r#"{{"agent_key_removed":{{"agent":"agent-7","thumbprint":"{KEY}"}}}}"#)),
        )
        .unwrap();
    assert_eq!(owner(&removed), None);
    let moved = removed.apply(51, &add("agent-8")).unwrap();
    assert_eq!(owner(&moved).as_deref(), Some("agent-8"));
    let replaced = moved
        .apply(
            52,
            &organisation(r#"{"agent_set":{"id":"agent-8","type":"t","owner":"noor","standing":"active"}}"#),
        )
        .unwrap();
    assert_eq!(owner(&replaced), None);
}

#[test]
fn a_transaction_is_applied_whole_or_not_at_all() {
    let world = support();
    let place = Place::Tenant(tenant("acme"));
    let changes = [r#"{"workflow_closed":{"id":"wf-9"}}"#, r#"{"workflow_closed":{"id":"wf-none"}}"#]
        .map(|c| Change::from_value(&json(c), &place).unwrap());
    let error = world.apply(99, &of(place, changes.to_vec())).unwrap_err();
    assert_eq!((error.kind, error.path.as_str()), (Kind::Unknown, "/changes/1"));
    let id = WorkflowId::new(tenant("acme"), name("wf-9"));
    assert_eq!(world.snapshot(&tenant("acme")).unwrap().workflow(&id).unwrap().state, WorkflowState::Open);
}

#[test]
fn what_a_change_names_must_be_there() {
    let world = support();
    for (transaction, kind) in [
        (acme(r#"{"workflow_closed":{"id":"wf-0"}}"#), Kind::Unknown),
        (acme(r#"{"assignment_set":{"human":"nobody","roles":["support"],"until":"ended"}}"#), Kind::Unknown),
        (
            acme(
                r#"{"workflow_opened":{"id":"w","type":"t","owner":"nobody","intents":[],"ends":"2026-03-01T12:00:00Z"}}"#,
            ),
            Kind::Unknown,
        ),
        (
            acme(
                r#"{"workflow_opened":{"id":"wf-9","type":"t","owner":"maya","intents":[],"ends":"2026-03-01T12:00:00Z"}}"#,
            ),
            Kind::Conflict,
        ),
        (acme(r#"{"delegation_revoked":{"id":"dg-0"}}"#), Kind::Unknown),
        (acme(r#"{"resource_removed":{"type":"support_case","id":"CASE-1"}}"#), Kind::Unknown),
        (acme(r#"{"tuple_removed":{"tuple":"support_case:CASE-1837#assignee@user:noor"}}"#), Kind::Unknown),
        (organisation(r#"{"human_standing":{"human":"nobody","standing":"active"}}"#), Kind::Unknown),
        (organisation(r#"{"human_set":{"id":"x","standing":"active","home":"globex"}}"#), Kind::Unknown),
        (
            organisation(
                r#"{"agent_enrolled":{"id":"agent-7","type":"t","owner":"maya","standing":"active"}}"#,
            ),
            Kind::Conflict,
        ),
        (
            organisation(r#"{"agent_set":{"id":"agent-0","type":"t","owner":"maya","standing":"active"}}"#),
            Kind::Unknown,
        ),
        (
            organisation(
                r#"{"agent_enrolled":{"id":"agent-0","type":"t","owner":"nobody","standing":"active"}}"#,
            ),
            Kind::Unknown,
        ),
        (organisation(r#"{"tenant_created":{"id":"acme"}}"#), Kind::Conflict),
        (organisation(r#"{"frozen":{"what":{"agent":"agent-0"}}}"#), Kind::Unknown),
        (organisation(r#"{"frozen":{"what":{"tenant":"globex"}}}"#), Kind::Unknown),
        (organisation(r#"{"unfrozen":{"what":"all"}}"#), Kind::Unknown),
        (
            organisation(&format!(
                r#"{{"agent_key_added":{{"agent":"agent-8","thumbprint":"{KEY}","key":{{"kty":"OKP"}}}}}}"#
            )),
            Kind::Conflict,
        ),
    ] {
        let error = world.apply(99, &transaction).expect_err(&transaction.to_value().to_string());
        assert_eq!(error.kind, kind, "{error}");
        assert!(error.path.starts_with("/changes/0"), "{error}");
    }
    let closed = apply(&world, &[r#"{"workflow_closed":{"id":"wf-9"}}"#]).unwrap();
    let grant = r#"{"delegation_granted":{"id":"d","human":"maya","agent":"agent-7","workflow":"wf-9","grantor":"human","scope":{"actions":[],"intents":[],"limits":{},"ends":"2026-03-01T12:00:00Z","depth":0}}}"#;
    assert!(apply(&world, &[grant]).is_ok());
    assert_eq!(apply(&closed, &[grant]).unwrap_err().kind, Kind::Conflict);
}

#[test]
fn a_stop_is_seen_and_ends() {
    let world = support();
    let stop = Freeze::Tool(name("billing.refund"));
    assert!(!world.snapshot(&tenant("acme")).unwrap().frozen(&stop));
    let frozen = world.apply(50, &organisation(r#"{"frozen":{"what":{"tool":"billing.refund"}}}"#)).unwrap();
    let snapshot = frozen.snapshot(&tenant("acme")).unwrap();
    assert!(snapshot.frozen(&stop) && !snapshot.frozen(&Freeze::All));
    assert_eq!(snapshot.revision().0, 50, "the organisation's change moves every tenant");
    let thawed =
        frozen.apply(51, &organisation(r#"{"unfrozen":{"what":{"tool":"billing.refund"}}}"#)).unwrap();
    assert!(!thawed.snapshot(&tenant("acme")).unwrap().frozen(&stop));
}

#[test]
fn a_removed_resource_leaves_no_relationships_to_its_name() {
    let world = apply(
        &support(),
        &[
            r#"{"resource_removed":{"type":"support_case","id":"CASE-1837"}}"#,
            r#"{"resource_set":{"type":"support_case","id":"CASE-1837"}}"#,
        ],
    )
    .unwrap();
    let case = ResourceRef { kind: name("support_case"), id: name("CASE-1837") };
    assert_eq!(
        world.snapshot(&tenant("acme")).unwrap().slice(&case).to_string(),
        r#"{"type":"support_case","id":"CASE-1837","tenant_id":"acme"}"#
    );
}

#[test]
fn a_slice_holds_attributes_and_relations() {
    let snapshot = support().snapshot(&tenant("acme")).unwrap();
    let case = ResourceRef { kind: name("support_case"), id: name("CASE-1837") };
    assert_eq!(
        snapshot.slice(&case),
        json(
            r#"{"type":"support_case","id":"CASE-1837","tenant_id":"acme","customer_id":"cust-101","open":true,"value":12.5,
                 "relations":{"assignee":["user:maya"],"viewer":["team:billing#member"]}}"#
        )
    );
}

#[test]
fn a_file_is_read_strictly() {
    for (bad, path) in [
        (r#"{"tenant":"acme","human":[]}"#, "/human"),
        (r#"{"tenant":"ac me"}"#, "/tenant"),
        (r#"{"workflows":[]}"#, "/workflows"),
        (r#"{"tenant":"acme","humans":{}}"#, "/humans"),
        (r#"{"tenant":"acme","humans":[{"id":"maya","home":"acme"}]}"#, "/humans/0"),
        (r#"{"tenant":"acme","tuples":["doc:1#viewer"]}"#, "/tuples/0"),
        (
            r#"{"tenant":"acme","changes":[{"workflow_closed":{"id":"a b"}}]}"#,
            "/changes/0/workflow_closed/id",
        ),
        (
            r#"{"tenant":"acme","changes":[{"human_standing":{"human":"maya","standing":"on"}}]}"#,
            "/changes/0/human_standing/standing",
        ),
        (r#"{"changes":[{"workflow_closed":{"id":"wf"}}]}"#, "/changes/0"),
    ] {
        assert_eq!(parse_file(&json(bad)).unwrap_err().path, path, "{bad}");
    }
    let file = r#"{"tenant":"acme","humans":[{"id":"maya","standing":"active","home":"acme"}],"changes":[{"human_standing":{"human":"maya","standing":"suspended"}},{"assignment_set":{"human":"maya","roles":[],"until":"ended"}}]}"#;
    let world = World::from_file(&json(file)).unwrap();
    assert_eq!(world.organisation().human(&human("maya")).unwrap().standing, Standing::Suspended);
    assert!(world.snapshot(&tenant("acme")).unwrap().assignment(&human("maya")).is_some());
    assert!(
        World::from_file(&json(r#"{"tenant":"acme","tenants":["acme"]}"#))
            .unwrap()
            .tenant(&tenant("acme"))
            .is_some()
    );
    assert_eq!(parse_file(&json(SUPPORT)).unwrap().len(), 2);
    assert!(parse(SUPPORT.as_bytes(), &Limits::MESSAGE).is_ok());
}

#[test]
fn a_transactions_texts_are_bounded() {
    let mut transaction = acme(r#"{"workflow_closed":{"id":"wf-9"}}"#);
    transaction.why = "x".repeat(MAX_TEXT + 1);
    assert_eq!(support().apply(99, &transaction).unwrap_err().path, "/why");
    assert!(Transaction::from_value(&transaction.to_value()).is_err());
    transaction.why = String::new();
    transaction.changes.clear();
    assert_eq!(support().apply(99, &transaction).unwrap_err().path, "/changes");
    let mut value = acme(r#"{"workflow_closed":{"id":"wf-9"}}"#).to_value();
    value.as_object_mut().unwrap().insert("forced", Value::from(true));
    assert_eq!(Transaction::from_value(&value).unwrap_err().path, "/forced");
}
