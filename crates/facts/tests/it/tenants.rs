//! Nothing of one tenant is in another's snapshot.

use placet_core::{DelegationId, FactsView, Grantor, ResourceRef, WorkflowId};
use placet_facts::{Change, Kind, Place, World};

use crate::{SUPPORT, human, json, name, of, organisation, support, tenant};

/// acme and globex with the same ids throughout.
fn twins() -> World {
    let world = support().apply(10, &organisation(r#"{"tenant_created":{"id":"globex"}}"#)).unwrap();
    let mut file = json(SUPPORT);
    let object = file.as_object_mut().unwrap();
    object.insert("tenant", "globex");
    for organisation in ["humans", "agents"] {
        object.remove(organisation);
    }
    object.insert("resources", json(r#"[{"type":"support_case","id":"CASE-1837","attributes":{"customer_id":"cust-globex"}},{"type":"support_case","id":"CASE-7"}]"#));
    let [transaction] = <[_; 1]>::try_from(placet_facts::parse_file(&file).unwrap()).unwrap();
    world.apply(11, &transaction).unwrap()
}

#[test]
fn ten_1_a_snapshot_knows_no_other_tenants_ids() {
    let world = twins();
    let acme = world.snapshot(&tenant("acme")).unwrap();
    assert_eq!(acme.tenant(), &tenant("acme"));
    for (of, known) in [("acme", true), ("globex", false)] {
        assert_eq!(
            acme.workflow(&WorkflowId::new(tenant(of), name("wf-9"))).is_some(),
            known,
            "workflow of {of}"
        );
        assert_eq!(
            acme.delegation(&DelegationId::new(tenant(of), name("dg-1"))).is_some(),
            known,
            "delegation of {of}"
        );
    }
    let foreign = WorkflowId::new(tenant("globex"), name("wf-9"));
    assert!(acme.approvals(&foreign).is_empty());
    assert_eq!(*acme.flow(&foreign), placet_core::FlowState::EMPTY);
    assert!(acme.resource(&ResourceRef { kind: name("support_case"), id: name("CASE-7") }).is_none());
    let case = ResourceRef { kind: name("support_case"), id: name("CASE-1837") };
    assert_eq!(acme.resource(&case).unwrap().attributes[&name("customer_id")].as_str(), Some("cust-101"));
    assert!(world.snapshot(&tenant("initech")).is_none());
}

#[test]
fn ten_1_a_tenants_transaction_touches_that_tenant_only() {
    let world = twins();
    let globex = || world.snapshot(&tenant("globex")).unwrap();
    let other = |id: &str| WorkflowId::new(tenant("globex"), name(id));
    let acme = || Place::Tenant(tenant("acme"));

    let mut workflow = globex().workflow(&other("wf-9")).unwrap().clone();
    workflow.id = other("wf-10");
    let mut delegation =
        globex().delegation(&DelegationId::new(tenant("globex"), name("dg-1"))).unwrap().clone();
    delegation.id = DelegationId::new(tenant("acme"), name("dg-2"));
    let mut below = delegation.clone();
    below.workflow = WorkflowId::new(tenant("acme"), name("wf-9"));
    below.agent = "agent-7".parse().unwrap();
    below.scope.depth = 0;
    below.grantor = Grantor::Parent(DelegationId::new(tenant("globex"), name("dg-1")));
    for change in [
        Change::WorkflowOpened(workflow),
        Change::WorkflowClosed(other("wf-9")),
        Change::DelegationGranted(delegation),
        Change::DelegationGranted(below),
        Change::DelegationRevoked(DelegationId::new(tenant("globex"), name("dg-1"))),
    ] {
        let error = world.apply(99, &of(acme(), vec![change.clone()])).expect_err(change.kind());
        assert!(matches!(error.kind, Kind::Malformed | Kind::Unknown), "{error}");
    }
    assert_eq!(
        world
            .apply(99, &of(Place::Tenant(tenant("initech")), vec![Change::AssignmentRemoved(human("maya"))]))
            .unwrap_err()
            .kind,
        Kind::Unknown
    );
    assert_eq!(
        world
            .apply(99, &of(Place::Organisation, vec![Change::AssignmentRemoved(human("maya"))]))
            .unwrap_err()
            .kind,
        Kind::Malformed
    );

    let closed = world.apply(99, &crate::acme(r#"{"workflow_closed":{"id":"wf-9"}}"#)).unwrap();
    assert_eq!(
        closed.snapshot(&tenant("globex")).unwrap().revision().0,
        11,
        "a tenant's change moves no other tenant"
    );
    assert_eq!(
        closed.snapshot(&tenant("globex")).unwrap().workflow(&other("wf-9")),
        globex().workflow(&other("wf-9"))
    );
}

/// The ledger keeps the organisation's own records in a tree of that name.
#[test]
fn ten_1_no_tenant_may_be_named_like_the_organisations_tree() {
    let file = crate::json(r#"{"tenants": ["organisation"]}"#);
    let transactions = placet_facts::parse_file(&file).unwrap();
    let refused = transactions
        .iter()
        .try_fold(placet_facts::World::new(), |world, transaction| world.apply(1, transaction));
    assert!(refused.unwrap_err().message.contains("organisation"));
}
