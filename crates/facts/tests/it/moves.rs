//! Moves between named states, and chains of approvals, as the log demands them.

use placet_core::{ApprovalId, Revision, Timestamp, WorkflowId};
use placet_facts::{Change, Keys, Kind, Place, Transaction, World};
use placet_json::Value;

use crate::{acme, apply, json, name, of, organisation, support, tenant};

const COVERS: &str = "sha256:2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881";

fn approval(id: &str, by: &str, more: &str) -> String {
    format!(
        r#"{{"approval_given":{{"id":"{id}","name":"go","workflow":"wf-9","approver":"{by}","role":"lead","covers":"{COVERS}","ends":"2026-03-01T11:00:00Z"{more}}}}}"#
    )
}

fn moved(from: &str, to: &str, approvals: &str) -> String {
    format!(r#"{{"workflow_moved":{{"id":"wf-9","from":"{from}","to":"{to}"{approvals}}}}}"#)
}

fn leads() -> World {
    let mut world = support();
    for id in ["ada", "bert", "cleo"] {
        let change = format!(r#"{{"human_set":{{"id":"{id}","standing":"active","home":"acme"}}}}"#);
        world = world.apply(world.revision().0 + 1, &organisation(&change)).unwrap();
        world = apply(
            &world,
            &[&format!(r#"{{"assignment_set":{{"human":"{id}","roles":["lead"],"until":"ended"}}}}"#)],
        )
        .unwrap();
    }
    world
}

fn stage(world: &World) -> Option<String> {
    let id = WorkflowId::new(tenant("acme"), name("wf-9"));
    world.tenant(id.tenant()).unwrap().workflow(&id).unwrap().stage.as_ref().map(ToString::to_string)
}

fn kind(result: Result<World, placet_facts::ChangeError>) -> Kind {
    result.unwrap_err().kind
}

#[test]
fn rac_1_of_two_moves_from_one_state_the_second_finds_it_gone() {
    let world = leads();
    assert_eq!(stage(&world), None);
    let first = apply(&world, &[&moved("draft", "review", "")]).unwrap();
    assert_eq!(stage(&first).as_deref(), Some("review"));
    assert_eq!(kind(apply(&first, &[&moved("draft", "done", "")])), Kind::Conflict);
    assert_eq!(stage(&apply(&first, &[&moved("review", "draft", "")]).unwrap()).as_deref(), Some("draft"));
    assert_eq!(kind(apply(&world, &[&moved("draft", "draft", "")])), Kind::Malformed);
    let closed = apply(&world, &[r#"{"workflow_closed":{"id":"wf-9"}}"#]).unwrap();
    assert_eq!(kind(apply(&closed, &[&moved("draft", "review", "")])), Kind::Conflict);
    assert_eq!(
        kind(apply(&world, &[r#"{"workflow_moved":{"id":"wf-0","from":"a","to":"b"}}"#])),
        Kind::Unknown
    );
}

#[test]
fn rac_2_a_move_spends_its_approvals_once() {
    let given =
        apply(&leads(), &[&approval("ap-1", "ada", ""), &approval("ap-2", "bert", r#","follows":"ap-1""#)]);
    let given = given.unwrap();
    let done = apply(&given, &[&moved("draft", "review", r#","approvals":["ap-1","ap-2"]"#)]).unwrap();
    let facts = done.tenant(&tenant("acme")).unwrap();
    assert_eq!(
        facts.spent_at(&ApprovalId::new(tenant("acme"), name("ap-2"))),
        Some(done.revision().0),
        "spent by the revision that moved it"
    );
    let back = apply(&done, &[&moved("review", "draft", "")]).unwrap();
    assert_eq!(
        kind(apply(&back, &[&moved("draft", "review", r#","approvals":["ap-1","ap-2"]"#)])),
        Kind::Conflict
    );
    assert_eq!(
        kind(apply(&given, &[&moved("draft", "review", r#","approvals":["ap-1","ap-1"]"#)])),
        Kind::Conflict
    );
    assert_eq!(kind(apply(&given, &[&moved("draft", "review", r#","approvals":["ap-9"]"#)])), Kind::Unknown);
    assert_eq!(stage(&given), None, "nothing of a refused move is kept");
}

#[test]
fn rac_2_a_step_follows_one_that_stands_and_is_another_persons() {
    let world = apply(&leads(), &[&approval("ap-1", "ada", "")]).unwrap();
    let follows = |id: &str, by: &str, before: &str| approval(id, by, &format!(r#","follows":"{before}""#));
    assert_eq!(kind(apply(&world, &[&follows("ap-2", "ada", "ap-1")])), Kind::Widening, "nobody twice");
    assert_eq!(kind(apply(&world, &[&follows("ap-2", "bert", "ap-0")])), Kind::Unknown);
    let two = apply(&world, &[&follows("ap-2", "bert", "ap-1")]).unwrap();
    assert_eq!(
        kind(apply(&two, &[&follows("ap-3", "ada", "ap-2")])),
        Kind::Widening,
        "nobody twice, however far"
    );
    assert!(apply(&two, &[&follows("ap-3", "cleo", "ap-2")]).is_ok());
    let other =
        approval("ap-4", "cleo", r#","follows":"ap-1""#).replace(r#""name":"go""#, r#""name":"stop""#);
    assert_eq!(kind(apply(&world, &[&other])), Kind::Conflict);
    let spent =
        world.spend(world.revision().0 + 1, &[ApprovalId::new(tenant("acme"), name("ap-1"))]).unwrap();
    assert_eq!(kind(apply(&spent, &[&follows("ap-2", "bert", "ap-1")])), Kind::Conflict);
    let gone = apply(&world, &[r#"{"approval_withdrawn":{"id":"ap-1"}}"#]).unwrap();
    assert_eq!(kind(apply(&gone, &[&follows("ap-2", "bert", "ap-1")])), Kind::Unknown);
}

#[test]
fn what_older_journals_say_reads_as_before_and_what_is_written_reads_back() {
    let old = r#"{"workflow_opened":{"id":"wf-1","type":"support_case","owner":"maya","intents":["support_case_resolution"],"ends":"2026-03-01T12:00:00Z"}}"#;
    let Change::WorkflowOpened(workflow) = &acme(old).changes[0] else { panic!() };
    assert_eq!((workflow.opened, &workflow.stage), (None, &None));
    for text in [
        moved("draft", "review", ""),
        moved("draft", "review", r#","approvals":["ap-1"]"#),
        approval("ap-1", "ada", ""),
        approval("ap-2", "ada", r#","follows":"ap-1""#),
        old.replace(r#""ends""#, r#""stage":"draft","opened":"2026-03-01T09:00:00Z","ends""#),
    ] {
        let transaction = acme(&text);
        assert_eq!(Transaction::from_value(&transaction.to_value()).unwrap(), transaction, "{text}");
    }
    assert!(
        Change::from_value(
            &json(r#"{"workflow_moved":{"id":"wf-9","to":"b"}}"#),
            &Place::Tenant(tenant("acme"))
        )
        .is_err()
    );
}

#[test]
fn a_workflow_is_as_old_as_the_journal_says_and_no_younger() {
    let now = Timestamp::parse("2026-03-01T09:30:00Z").unwrap();
    let opened = |more: &str| {
        let text = format!(
            r#"{{"workflow_opened":{{"id":"wf-1","type":"t","owner":"maya","intents":["i"],"ends":"2026-03-01T12:00:00Z"{more}}}}}"#
        );
        let mut transaction = of(Place::Tenant(tenant("acme")), acme(&text).changes);
        transaction.stamp(now);
        let value = transaction.changes[0].to_value();
        value.pointer("/workflow_opened/opened").and_then(Value::as_str).unwrap().to_owned()
    };
    assert_eq!(opened(""), now.to_string());
    assert_eq!(opened(r#","opened":"2026-03-01T10:00:00Z""#), now.to_string(), "a future is none");
    let past = Timestamp::parse("2026-03-01T09:00:00Z").unwrap();
    assert_eq!(opened(r#","opened":"2026-03-01T09:00:00Z""#), past.to_string());
}

#[test]
fn what_the_journal_adds_makes_no_other_transaction_of_one_that_is_sent_twice() {
    let text = r#"{"workflow_opened":{"id":"wf-1","type":"t","owner":"maya","intents":["i"],"ends":"2026-03-01T12:00:00Z"}}"#;
    let mut sent = acme(text);
    sent.idempotency_key = Some(name("k-1"));
    let mut written = sent.clone();
    written.stamp(Timestamp::parse("2026-03-01T09:30:00Z").unwrap());
    let mut keys = Keys::default();
    keys.remember(7, &written).unwrap();
    assert_eq!(keys.repeated(&sent), Ok(Some(Revision(7))));
    sent.why = "another".to_owned();
    assert!(keys.repeated(&sent).is_err());
}
