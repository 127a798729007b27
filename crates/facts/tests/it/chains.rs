//! Delegations below delegations.

use placet_core::{DelegationId, DelegationState, FactsView, MAX_CHAIN};
use placet_facts::{Kind, World};

use crate::{apply, name, organisation, support, tenant};

fn child(id: &str, agent: &str, parent: &str, rest: &[(&str, &str)]) -> String {
    let mut fields = vec![
        ("human", "maya".to_owned()),
        ("workflow", "wf-9".to_owned()),
        ("actions", r#"["issue_refund"]"#.to_owned()),
        ("intents", r#"["support_case_resolution"]"#.to_owned()),
        ("limits", r#"{"amount":50}"#.to_owned()),
        ("ends", "2026-03-01T11:00:00Z".to_owned()),
        ("depth", "1".to_owned()),
    ];
    for (name, value) in rest {
        (*value).clone_into(&mut fields.iter_mut().find(|(n, _)| n == name).unwrap().1);
    }
    let [human, workflow, actions, intents, limits, ends, depth] =
        <[_; 7]>::try_from(fields.into_iter().map(|(_, v)| v).collect::<Vec<_>>()).unwrap();
    format!(
        r#"{{"delegation_granted":{{"id":"{id}","human":"{human}","agent":"{agent}","workflow":"{workflow}","grantor":{{"parent":"{parent}"}},
            "scope":{{"actions":{actions},"intents":{intents},"limits":{limits},"ends":"{ends}","depth":{depth}}}}}}}"#
    )
}

#[test]
fn del_1_a_wider_grant_is_refused_and_a_narrower_one_taken() {
    let world = support();
    let narrow = apply(&world, &[&child("dg-2", "agent-7", "dg-1", &[])]).unwrap();
    let id = DelegationId::new(tenant("acme"), name("dg-2"));
    assert_eq!(
        narrow.snapshot(&tenant("acme")).unwrap().delegation(&id).unwrap().state,
        DelegationState::Live
    );
    for wider in [
        ("actions", r#"["issue_refund","export_customers"]"#),
        ("intents", r#"["marketing"]"#),
        ("limits", r#"{"amount":100.01}"#),
        ("limits", "{}"),
        ("ends", "2026-03-01T12:00:00.001Z"),
        ("depth", "2"),
    ] {
        let error = apply(&world, &[&child("dg-2", "agent-7", "dg-1", &[wider])]).expect_err(wider.0);
        assert_eq!((error.kind, error.path.as_str()), (Kind::Widening, "/changes/0/scope"), "{error}");
    }
    let error = apply(&world, &[&child("dg-2", "agent-7", "dg-1", &[("human", "noor")])]).unwrap_err();
    assert_eq!(error.kind, Kind::Widening, "another person's authority: {error}");
    let other = r#"{"workflow_opened":{"id":"wf-10","type":"support_case","owner":"maya","intents":["support_case_resolution"],"ends":"2026-03-01T12:00:00Z"}}"#;
    let error =
        apply(&world, &[other, &child("dg-2", "agent-7", "dg-1", &[("workflow", "wf-10")])]).unwrap_err();
    assert_eq!(error.kind, Kind::Widening, "another workflow: {error}");
    let error = apply(&world, &[&child("dg-2", "planner-1", "dg-1", &[])]).unwrap_err();
    assert_eq!(error.kind, Kind::Conflict, "the agent itself again: {error}");
    let error = apply(&world, &[&child("dg-1", "agent-7", "dg-1", &[])]).unwrap_err();
    assert_eq!(error.kind, Kind::Conflict, "its own id: {error}");
}

#[test]
fn del_1_nothing_hangs_below_a_revoked_delegation_of_the_chain() {
    let world = apply(
        &support(),
        &[&child("dg-2", "agent-7", "dg-1", &[]), r#"{"delegation_revoked":{"id":"dg-1"}}"#],
    )
    .unwrap();
    for parent in ["dg-1", "dg-2"] {
        let error = apply(&world, &[&child("dg-3", "agent-8", parent, &[("depth", "0")])]).unwrap_err();
        assert_eq!(error.kind, Kind::Conflict, "below {parent}: {error}");
    }
    assert!(apply(&support(), &[&child("dg-2", "agent-7", "dg-0", &[])]).is_err(), "an unknown parent");
}

#[test]
fn del_1_a_person_who_may_not_act_grants_nothing() {
    let root =
        child("dg-2", "agent-7", "dg-1", &[("human", "gone")]).replace(r#"{"parent":"dg-1"}"#, r#""human""#);
    let error = apply(&support(), &[&root]).unwrap_err();
    assert_eq!(error.kind, Kind::Conflict, "{error}");
}

#[test]
fn del_1_a_chain_has_a_longest_length() {
    let mut world: World = support();
    let root = r#"{"delegation_granted":{"id":"c-1","human":"maya","agent":"planner-1","workflow":"wf-9","grantor":"human",
        "scope":{"actions":["issue_refund"],"intents":["support_case_resolution"],"limits":{},"ends":"2026-03-01T12:00:00Z","depth":200}}}"#;
    world = apply(&world, &[root]).unwrap();
    for i in 2..=MAX_CHAIN + 1 {
        let agent =
            format!(r#"{{"agent_enrolled":{{"id":"a-{i}","type":"t","owner":"maya","standing":"active"}}}}"#);
        world = world.apply(world.revision().0 + 1, &organisation(&agent)).unwrap();
        let grant = child(
            &format!("c-{i}"),
            &format!("a-{i}"),
            &format!("c-{}", i - 1),
            &[("limits", "{}"), ("depth", &(200 - i).to_string())],
        );
        let granted = apply(&world, &[&grant]);
        if i <= MAX_CHAIN {
            world = granted.unwrap();
        } else {
            assert_eq!(granted.unwrap_err().kind, Kind::Widening);
        }
    }
}
