//! The log and its fold; approvals and data flow beside the facts.

use std::collections::BTreeSet;

use placet_core::{ApprovalId, Decimal, FactsView, Revision, Standing, WorkflowId};
use placet_facts::{Kind, Transaction, World, parse_file};

use crate::{SUPPORT, acme, apply, human, json, name, organisation, support, tenant};

fn log() -> Vec<(u64, Transaction)> {
    let mut log = vec![organisation(r#"{"tenant_created":{"id":"acme"}}"#)];
    log.extend(parse_file(&json(SUPPORT)).unwrap());
    log.push(organisation(r#"{"human_standing":{"human":"maya","standing":"suspended"}}"#));
    log.push(acme(r#"{"resource_set":{"type":"support_case","id":"CASE-2"}}"#));
    log.push(organisation(r#"{"human_standing":{"human":"maya","standing":"active"}}"#));
    // Other entries of the journal stand between facts.
    (1..).step_by(3).zip(log).collect()
}

#[test]
fn rep_1_any_revision_can_be_folded_again() {
    let log = log();
    let of = |log: &'_ [(u64, Transaction)]| World::fold(log.iter().map(|(at, t)| (*at, t))).unwrap();
    let standing = |world: &World| world.organisation().human(&human("maya")).map(|maya| maya.standing);
    assert_eq!(standing(&of(&log)), Some(Standing::Active));
    for at in 0..20 {
        let then = World::as_of(log.iter().map(|(at, t)| (*at, t)), at).unwrap();
        let prefix: Vec<_> = log.iter().filter(|(revision, _)| *revision <= at).cloned().collect();
        assert_eq!(then.revision(), Revision(prefix.last().map_or(0, |(at, _)| *at)));
        assert_eq!(standing(&then), standing(&of(&prefix)));
        assert_eq!(standing(&then) == Some(Standing::Suspended), (10..16).contains(&at), "at {at}");
    }
    let acme = of(&log).snapshot(&tenant("acme")).unwrap();
    assert_eq!(acme.revision(), Revision(16));
    assert_eq!(acme.facts().revision(), Revision(13));
}

#[test]
fn an_entry_is_applied_once_and_in_order() {
    let world = support();
    let at = world.snapshot(&tenant("acme")).unwrap().facts().revision().0;
    let change = acme(r#"{"resource_set":{"type":"support_case","id":"CASE-2"}}"#);
    assert_eq!(world.apply(at, &change).unwrap_err().kind, Kind::Conflict);
    assert_eq!(world.apply(at - 1, &change).unwrap_err().kind, Kind::Conflict);
    assert!(world.apply(at + 1, &change).is_ok());
}

fn approval(id: &str, approver: &str, role: &str, approval: &str) -> String {
    let covers = format!("sha256:{}", "cd".repeat(32));
    format!(
        r#"{{"approval_given":{{"id":"{id}","name":"{approval}","workflow":"wf-9","approver":"{approver}","role":"{role}","covers":"{covers}","ends":"2026-03-01T12:00:00Z"}}}}"#
    )
}

#[test]
fn rac_2_an_approval_is_spent_once() {
    let world = apply(
        &support(),
        &[
            &approval("ap-1", "noor", "support_manager", "manager_approval"),
            &approval("ap-2", "noor", "support_manager", "manager_approval"),
        ],
    )
    .unwrap();
    let workflow = WorkflowId::new(tenant("acme"), name("wf-9"));
    let id = |local: &str| ApprovalId::new(tenant("acme"), name(local));
    let unspent = |world: &World| {
        world
            .snapshot(&tenant("acme"))
            .unwrap()
            .approvals(&workflow)
            .iter()
            .map(|a| a.id.local().to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(unspent(&world), ["ap-1", "ap-2"]);

    let spent = world.spend(40, &[id("ap-1")]).unwrap();
    assert_eq!(unspent(&spent), ["ap-2"]);
    assert_eq!(unspent(&world), ["ap-1", "ap-2"], "the world before is as it was");
    assert_eq!(spent.revision(), world.revision(), "spending is no change of facts");
    assert_eq!(spent.tenant(&tenant("acme")).unwrap().spent_at(&id("ap-1")), Some(40));
    for again in [vec![id("ap-1")], vec![id("ap-2"), id("ap-1")], vec![id("ap-2"), id("ap-2")]] {
        assert_eq!(spent.spend(41, &again).unwrap_err().kind, Kind::Conflict, "{again:?}");
    }
    assert_eq!(spent.spend(41, &[id("ap-3")]).unwrap_err().kind, Kind::Unknown);
    assert_eq!(apply(&spent, &[r#"{"approval_withdrawn":{"id":"ap-1"}}"#]).unwrap_err().kind, Kind::Conflict);
    let error =
        apply(&spent, &[&approval("ap-1", "noor", "support_manager", "manager_approval")]).unwrap_err();
    assert_eq!(error.kind, Kind::Conflict, "a spent approval is not given anew under its id");

    assert!(spent.restore(41, &[id("ap-1")]).is_err(), "only the decision that spent it gives it back");
    let restored = spent.restore(40, &[id("ap-1")]).unwrap();
    assert_eq!(unspent(&restored), ["ap-1", "ap-2"]);
    assert_eq!(unspent(&apply(&restored, &[r#"{"approval_withdrawn":{"id":"ap-1"}}"#]).unwrap()), ["ap-2"]);
}

#[test]
fn con_3_an_approver_needs_the_role_here_and_no_attribute_looks_like_an_approval() {
    for (approver, role, what, kind) in [
        ("maya", "support_manager", "manager_approval", Kind::Widening),
        ("noor", "support", "manager_approval", Kind::Widening),
        ("gone", "support_manager", "manager_approval", Kind::Conflict),
        ("nobody", "support_manager", "manager_approval", Kind::Unknown),
        ("noor", "support_manager", "case_id", Kind::Conflict),
    ] {
        let error = apply(&support(), &[&approval("ap-1", approver, role, what)]).expect_err(approver);
        assert_eq!(error.kind, kind, "{error}");
    }
}

#[test]
fn flo_1_labels_grow_with_permits_and_totals_add_up() {
    let workflow = WorkflowId::new(tenant("acme"), name("wf-9"));
    let pii: BTreeSet<_> = [name("customer_pii")].into();
    let none = BTreeSet::new();
    let amount = |text: &str| Decimal::parse(text).unwrap();
    let world = support();
    let refund = |world: &World, at, labels: &BTreeSet<_>, entry: &str, sum: &str| {
        world.permitted(at, &workflow, labels, &name(entry), &name("issue_refund"), amount(sum)).unwrap()
    };
    let first = refund(&world, 20, &none, "billing.refund", "80.50");
    let second = refund(&first, 21, &pii, "crm.get_case", "0");
    let third = refund(&second, 22, &pii, "crm.get_case", "0.5");
    let fourth = refund(&third, 23, &pii, "crm.search", "0");
    let states: Vec<_> =
        [&world, &first, &second, &third, &fourth].iter().map(|w| w.flow(&workflow)).collect();
    assert_eq!(
        states.iter().map(|s| (s.labels_at, s.totals_at)).collect::<Vec<_>>(),
        [(0, 0), (0, 20), (21, 21), (21, 22), (23, 23)]
    );
    assert_eq!(states[4].labels, pii);
    assert_eq!(states[4].sources, [name("crm.get_case"), name("crm.search")].into());
    let total = states[4].totals[&name("issue_refund")];
    assert_eq!((total.count, total.amount), (4, amount("81")));
    assert_eq!(fourth.revision(), world.revision(), "data flow is no change of facts");
    assert_eq!(*fourth.snapshot(&tenant("acme")).unwrap().flow(&workflow), *states[4]);

    let most = refund(&world, 20, &none, "billing.refund", "999999999999999");
    let over =
        most.permitted(21, &workflow, &none, &name("billing.refund"), &name("issue_refund"), amount("1"));
    assert_eq!(over.unwrap_err().kind, Kind::Conflict, "a total that isn't exact any more is refused");
    let unknown = WorkflowId::new(tenant("acme"), name("wf-0"));
    assert!(world.permitted(20, &unknown, &none, &name("a"), &name("a"), amount("0")).is_err());
}

#[test]
fn rep_1_a_world_that_was_written_down_reads_back_as_it_was() {
    let approvals = ["ap-1", "ap-2"].map(|id| approval(id, "noor", "support_manager", "manager_approval"));
    let world = apply(&support(), &approvals.each_ref().map(String::as_str)).unwrap();
    let at = world.revision().0;
    let spent = ApprovalId::new(tenant("acme"), name("ap-1"));
    let world = world.spend(at + 1, &[spent]).unwrap();
    let workflow = WorkflowId::new(tenant("acme"), name("wf-9"));
    let labels = BTreeSet::from([name("customer_pii")]);
    let amount = Decimal::parse("80.25").unwrap();
    let world = world
        .permitted(at + 1, &workflow, &labels, &name("crm.get_case"), &name("issue_refund"), amount)
        .unwrap();
    let world = world
        .apply(at + 2, &organisation(r#"{"frozen":{"what":{"tool":"billing.refund"}}}"#))
        .unwrap()
        .apply(at + 3, &organisation(r#"{"tenant_created":{"id":"globex"}}"#))
        .unwrap();
    let mut back = placet_facts::Rebuilding::default();
    for document in world.documents() {
        // As bytes, since that is how it is kept.
        assert!(back.take(&json(&document.to_string())).unwrap(), "{document}");
    }
    assert!(!back.take(&json(r#"{"something":{}}"#)).unwrap());
    let back = back.finish();
    let documents =
        |world: &World| world.documents().map(|document| document.to_string()).collect::<Vec<_>>();
    assert_eq!(documents(&back), documents(&world));
    assert_eq!(back.revision(), world.revision());
    let facts = |world: &World| world.tenant(&tenant("acme")).unwrap().clone();
    assert_eq!(facts(&back).unspent(&workflow), facts(&world).unspent(&workflow));
    assert_eq!(facts(&back).unspent(&workflow).len(), 1);
    assert_eq!(facts(&back).tuples().count(), 2);
    assert_eq!(*back.flow(&workflow), *world.flow(&workflow));
    let key = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs";
    assert_eq!(back.organisation().agent_of_key(key), world.organisation().agent_of_key(key));
    assert!(back.organisation().agent_of_key(key).is_some());
}
