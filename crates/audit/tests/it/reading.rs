//! A ledger that nobody touched.

use placet_audit::{Outcome, Query, Scope, StoryError, What, index, replay, search, story, verify};
use placet_core::{DecisionId, Digest, TenantId, authority::Offered};
use placet_record::Kind;
use placet_store::Row;

use crate::desk::{self, Desk, ORGANISATION, POLICY, at, morning, public};

#[tokio::test]
async fn every_decision_of_a_morning_is_the_same_again() {
    let dir = morning().await;
    let data = desk::data(&dir);
    let (mut told, mut calls) = ((0, 0), 0);
    let report =
        replay(&data, &Scope::default(), None, &mut |at, last| (told, calls) = ((at, last), calls + 1))
            .unwrap();
    assert!(report.is_same(), "{report}");
    assert_eq!(
        (report.same, report.differs, report.cannot_tell, report.not_decided),
        (12, 0, 0, 1),
        "{report}"
    );
    assert_eq!(report.to_string(), "same: 12 of 12 (1 refused before there was anything to decide)\n");
    assert_eq!(told, (data.reader().last(), data.reader().last()));
    let value = report.to_value();
    assert_eq!(
        (at(&value, "/verdict").as_str(), at(&value, "/same").as_u64(), at(&value, "/decisions").as_u64()),
        (Some("same"), Some(12), Some(12))
    );

    let one = Scope { decision: Some(DecisionId::new("dc_1").unwrap()), ..Scope::default() };
    assert_eq!(replay(&data, &one, None, &mut |_, _| ()).unwrap().to_string(), "same\n");
    let none = Scope { tenant: Some(TenantId::new("globex").unwrap()), ..Scope::default() };
    let nothing = replay(&data, &none, None, &mut |_, _| ()).unwrap();
    assert_eq!((nothing.decided(), nothing.to_string().as_str()), (0, "no decision to make again\n"));
}

#[tokio::test]
async fn cat_1_a_hidden_a_changed_and_a_missing_tool_are_told_alike_and_refused_again() {
    let desk = Desk::open().await;
    let case = r#"{"case_id":"CASE-1837"}"#;
    let changed = Offered::Definition(Digest::of(b"another definition"));
    let mut operators = Vec::new();
    for offered in [changed, Offered::Absent, Offered::Unread] {
        let denial = desk.ask("crm.get_case", case, offered).await.unwrap_err();
        let reason = denial.reasons().first();
        assert_eq!(
            (reason.code.as_str(), reason.public.as_str()),
            ("tool_unknown", "there is no tool `get_case` here")
        );
        operators.push(reason.operator.clone());
    }
    assert!(
        operators[0].starts_with("tool_changed: ")
            && operators[0].contains(&Digest::of(b"another definition").to_string()),
        "{operators:?}"
    );
    let missing = desk.call("crm.get_cases", case).await.unwrap_err();
    assert_eq!(missing.reasons().first().public, "there is no tool `get_cases` here");
    // A name that is no name, and arguments too long to be kept.
    let odd = desk.call("\u{1b}[31m.get_case", case).await.unwrap_err();
    assert_eq!(odd.reasons().first().public, "there is no tool `get_case` here");
    let long = format!("{{\"case_id\":\"{}\"}}", "x".repeat(70_000));
    let denial = desk.call("crm.get_case", &long).await.unwrap_err();
    assert_eq!(denial.reasons().first().code, "argument_invalid");
    let dir = desk.close();
    let report = replay(&desk::data(&dir), &Scope::default(), None, &mut |_, _| ()).unwrap();
    assert_eq!((report.same, report.differs, report.cannot_tell), (5, 0, 1), "{report}");
    assert!(
        !report.is_same()
            && report.to_string().contains("can't tell: the arguments were too long to be kept"),
        "{report}"
    );
}

#[tokio::test]
async fn decisions_that_overtake_each_other_are_the_same_again() {
    // Eight calls decide before the first of them is recorded: each rests on the workflow's permits of its own moment.
    let desk = Desk::open().await;
    let refunds = (1..=8).map(|amount| format!("{{\"case_id\":\"CASE-1837\",\"amount\":{amount}}}"));
    let decided: Vec<_> = refunds.map(|arguments| desk.decide("billing.refund", &arguments)).collect();
    for decision in decided.into_iter().rev() {
        desk.carry_out(decision).await.unwrap();
    }
    let late = desk.decide("billing.refund", r#"{"case_id":"CASE-1837","amount":9}"#);
    let overtaken = desk.decide("billing.refund", r#"{"case_id":"CASE-1837","amount":9}"#);
    let late = desk.warrant(late).await;
    desk.deactivate().await;
    // It was permitted by the facts of its moment, and withdrawn by those of the next.
    desk.withdrawn(late).await;
    // The journal takes no permit of older facts: this one is decided again, and denied.
    assert!(desk.carry_out(overtaken).await.is_err());
    let dir = desk.close();
    let report = replay(&desk::data(&dir), &Scope::default(), None, &mut |_, _| ()).unwrap();
    assert_eq!((report.same, report.decided()), (10, 10), "{report}");
    let seen = verify(dir.path(), ORGANISATION, public());
    assert!(seen.is_sound() && seen.effects == 9, "{seen}");
}

#[tokio::test]
async fn another_release_is_held_against_the_past() {
    let dir = morning().await;
    let data = desk::data(&dir);
    let against = |edit: fn(&str, String) -> String| {
        replay(&data, &Scope::default(), Some(&desk::release(edit)), &mut |_, _| ()).unwrap()
    };
    // The same rules, in other places of their files and under another digest.
    let moved = against(|path, text| if path == POLICY { format!("{text}\n# moved\n") } else { text });
    assert!(moved.is_same() && moved.same == 12, "{moved}");
    // A smaller limit: the refund of 80 is the one that changes.
    let smaller = against(|_, text| {
        let text = text.replace("input.amount <= 100", "input.amount <= 50");
        text.replace("input.amount > 100", "input.amount > 50")
    });
    assert_eq!((smaller.same, smaller.differs), (11, 1), "{smaller}");
    let Outcome::Differs(differences) = &smaller.details[0].outcome else { panic!("{smaller}") };
    assert_eq!(
        (smaller.details[0].id.as_str(), differences[0].what, differences[0].recorded.as_str()),
        ("dc_1", What::Decision, "permit")
    );
    assert!(differences[0].now.starts_with("deny (manager_approval_missing"), "{smaller}");
    // A catalog that takes no amount over 9: three refunds stop at the catalog, and others for another reason.
    let narrow = against(|path, text| {
        if path == "catalog/billing.toml" { text.replace("max = \"10000\"", "max = \"9\"") } else { text }
    });
    let ids: Vec<&str> = narrow.details.iter().map(|detail| detail.id.as_str()).collect();
    assert_eq!(ids, ["dc_1", "dc_2", "dc_3", "dc_5"], "{narrow}");
    assert!(narrow.to_string().contains("argument_invalid"), "{narrow}");
}

#[tokio::test]
async fn a_story_tells_everything_that_the_record_has() {
    let dir = morning().await;
    let data = desk::data(&dir);
    let index = index(&data).unwrap();
    let key = public();
    let tell = |id: &str| story(&data, &index, &DecisionId::new(id).unwrap(), Some((ORGANISATION, &key)));
    let story = tell("dc_3").unwrap();
    let text = story.to_string();
    for part in [
        "Permitted: issue_refund by agent-7 on support_case:CASE-1837, for maya",
        "tenant acme",
        "maya (active, as support), by delegation dg-1",
        "maya → agent-7 (support_agent)",
        "wf-9 (support_case), intent support_case_resolution",
        r#"billing.refund {"amount":250,"case_id":"CASE-1837","customer":"cust-101"} (filled in: customer from $resource.customer_id)"#,
        "rule ai.support_agent.authz at policies/support.rego:",
        "manager_approval by omar as support_manager",
        "amount = 250; resource.case_id = CASE-1837; resource.customer_id = cust-101; resource.tenant_id = acme; flow.labels = [\"customer_pii\"]",
        "a token for this call, call-1, for https://billing.example",
        "billing.refund, arguments sha256:",
        "done at 2026-03-01T09:3",
        "placet/example/acme signs, root ",
    ] {
        assert!(text.contains(part), "`{part}` isn't in\n{text}");
    }
    assert!(text.lines().count() <= 18, "{text}");
    let value = story.to_value();
    assert_eq!(at(&value, "/document/decision").as_str(), Some("permit"));
    assert_eq!(at(&value, "/approvals/0/approval/id").as_str(), Some("ap-1"));
    assert_eq!(at(&value, "/effect/record/ending").as_str(), Some("done"));
    assert_eq!(at(&value, "/input/amount").as_i64(), Some(250));
    let proof = story.proof.unwrap();
    assert_eq!(
        (proof.checkpoint.size, at(&value, "/proof/leaf").as_u64()),
        (at(&value, "/proof/size").as_u64().unwrap(), Some(proof.leaf))
    );

    let denied = tell("dc_2").unwrap().to_string();
    assert!(
        denied.starts_with("Denied: issue_refund")
            && denied.contains("(manager_approval_missing; ")
            && denied.contains("somebody with the role support_manager"),
        "{denied}"
    );
    assert!(tell("dc_6").unwrap().to_string().contains("(export_forbidden; ai.support_agent.authz"));
    assert!(tell("dc_9").unwrap().to_string().contains("tools/call crm.delete_all"));
    assert!(matches!(tell("dc_99"), Err(StoryError::Unknown(_))));
    // Another's key proves nothing.
    let other = placet_ledger::checkpoint::SigningKey::from_seed(&[1; 32]).unwrap().public();
    let unproven =
        placet_audit::story(&data, &index, &DecisionId::new("dc_3").unwrap(), Some((ORGANISATION, &other)))
            .unwrap();
    assert_eq!(unproven.proof.unwrap_err(), "the checkpoint isn't signed by the key");
}

#[tokio::test]
async fn decisions_are_found_by_what_they_were_about() {
    let dir = morning().await;
    let data = desk::data(&dir);
    let index = index(&data).unwrap();
    let ids = |query: Query| -> Vec<String> {
        search(&index, &query).unwrap().into_iter().filter_map(|entry| entry.row.decision_id).collect()
    };
    let row = |edit: fn(&mut Row)| {
        let mut row = Row::default();
        edit(&mut row);
        Query { row, ..Query::default() }
    };
    assert_eq!(ids(Query::default()).len(), 13);
    assert_eq!(ids(row(|row| row.decision = Some("permit".into()))), ["dc_4", "dc_3", "dc_1", "dc_0"]);
    assert_eq!(ids(row(|row| row.reason = Some("manager_approval_missing".into()))), ["dc_5", "dc_2"]);
    assert_eq!(ids(row(|row| row.action = Some("export_customer_data".into()))), ["dc_6"]);
    assert_eq!(ids(row(|row| row.resource = Some("support_case:CASE-2001".into()))), ["dc_8"]);
    assert_eq!(ids(row(|row| row.human = Some("omar".into()))), [""; 0]);
    assert_eq!(ids(Query { limit: Some(1), ..row(|row| row.agent = Some("agent-7".into())) }), ["dc_12"]);
    assert_eq!(ids(Query { kinds: vec![Kind::Effect], ..Query::default() }).len(), 4);
    let first = search(&index, &Query::default()).unwrap().pop().unwrap();
    assert_eq!(ids(Query { until: Some(first.time), ..Query::default() }), [""; 0]);
    assert_eq!(ids(Query { since: Some(first.time), ..Query::default() }).len(), 13);
    assert_eq!(ids(Query { tenant: Some("globex".into()), ..Query::default() }), [""; 0]);
}

#[tokio::test]
async fn an_untouched_ledger_holds() {
    let dir = morning().await;
    let report = verify(dir.path(), ORGANISATION, public());
    assert!(report.is_sound(), "{report}");
    assert_eq!((report.permits, report.denials, report.effects, report.open.len()), (4, 9, 4, 0), "{report}");
    assert!(report.to_string().ends_with("the ledger holds\n"), "{report}");
    assert_eq!(placet_audit::organisation(dir.path()).unwrap().as_deref(), Some(ORGANISATION));
    assert!(!verify(dir.path(), "another", public()).is_sound());
    assert_eq!(at(&report.to_value(), "/verdict").as_str(), Some("sound"));
}

#[tokio::test]
async fn a_ledger_that_is_being_written_reads_as_well() {
    let desk = Desk::open().await;
    desk.call("crm.get_case", r#"{"case_id":"CASE-1837"}"#).await.unwrap();
    let dir = desk.dir.path().to_owned();
    let data = placet_audit::Data::open(&dir).unwrap();
    let report = replay(&data, &Scope::default(), None, &mut |_, _| ()).unwrap();
    assert_eq!((report.same, report.decided()), (1, 1), "{report}");
    assert!(verify(&dir, ORGANISATION, public()).is_sound());
}
