//! Explaining a decision, comparing two releases on the past, and who may do what.

use placet_audit::{Count, Present, Scope, Uses, diff, digest_of, explain, present};
use placet_core::{AgentId, DecisionId, TenantId, Timestamp};
use placet_facts::{Change, Place};
use placet_json::Value;

use crate::desk::{self, Desk, at, morning, release};

const SMALL: &str = r#"{"case_id":"CASE-1837","amount":80}"#;
const LARGE: &str = r#"{"case_id":"CASE-1837","amount":250}"#;

fn changes(value: &Value) -> Vec<Vec<(String, String)>> {
    let text =
        |value: &Value, name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    at(value, "/changes")
        .as_array()
        .unwrap()
        .iter()
        .map(|change| {
            let edits = change.get("edits").and_then(Value::as_array).unwrap();
            edits.iter().map(|edit| (text(edit, "kind"), text(edit, "text"))).collect()
        })
        .collect()
}

#[tokio::test]
async fn a_denial_of_the_ledger_tells_the_fact_that_would_have_permitted_it_and_another_amount() {
    let desk = Desk::open().await;
    let denial = desk.call("billing.refund", LARGE).await.unwrap_err();
    let id = denial.asked().id().clone();
    let dir = desk.close();
    let explained = explain(&desk::data(&dir), &id).unwrap().unwrap();
    let value = explained.to_value();
    assert!(!explained.permits());
    assert_eq!(at(&value, "/decision/decision").as_str(), Some("deny"));
    assert_eq!(at(&value, "/rules/0/outcome").as_str(), Some("lacks"));
    let changes = changes(&value);
    assert_eq!(changes[0].len(), 1, "{changes:?}");
    assert_eq!(changes[0][0].0, "approval_given");
    assert!(changes[0][0].1.contains("by `omar` in the role `support_manager`"), "{changes:?}");
    // The fact is in the form that facts are written in.
    let fact = at(&value, "/changes/0/edits/0/fact");
    assert!(Change::from_value(fact, &Place::Tenant(TenantId::new("acme").unwrap())).is_ok(), "{fact}");
    assert!(
        changes.iter().flatten().any(|(_, text)| text.starts_with("set `input.amount` to 100")),
        "{changes:?}"
    );
}

#[tokio::test]
async fn what_the_platform_refuses_is_put_right_by_facts_as_far_as_they_can() {
    let desk = Desk::open().await;
    desk.deactivate().await;
    let inactive = desk.call("billing.refund", SMALL).await.unwrap_err().asked().id().clone();
    // Two things are in the way: the person and the manager's yes.
    let both = desk.call("billing.refund", LARGE).await.unwrap_err().asked().id().clone();
    let outside = desk
        .call("billing.refund", r#"{"case_id":"CASE-2001","amount":8}"#)
        .await
        .unwrap_err()
        .asked()
        .id()
        .clone();
    let dir = desk.close();
    let data = desk::data(&dir);
    let of = |id: &DecisionId| changes(&explain(&data, id).unwrap().unwrap().to_value());
    let kinds = |id: &DecisionId| {
        of(id)
            .iter()
            .map(|edits| edits.iter().map(|(kind, _)| kind.clone()).collect::<Vec<_>>())
            .collect::<Vec<_>>()
    };
    assert_eq!(kinds(&inactive), [["person_reinstated"]]);
    assert_eq!(kinds(&both), [["person_reinstated", "approval_given"]]);
    assert!(of(&outside).is_empty(), "{:?}", of(&outside));
    let unknown = explain(&data, &DecisionId::new("dc_none").unwrap()).unwrap().unwrap_err();
    assert!(unknown.contains("no decision `dc_none`"));
}

#[tokio::test]
async fn a_permit_of_the_ledger_tells_the_rule_and_its_values() {
    let desk = Desk::open().await;
    let id = desk.call("billing.refund", SMALL).await.unwrap();
    let dir = desk.close();
    let explained = explain(&desk::data(&dir), &id).unwrap().unwrap();
    let value = explained.to_value();
    assert!(explained.permits() && changes(&value).is_empty());
    assert_eq!(at(&value, "/rules/0/outcome").as_str(), Some("permits"));
}

#[tokio::test]
async fn two_releases_are_asked_about_the_same_morning() {
    let dir = morning().await;
    let data = desk::data(&dir);
    let own = release(|_, text| text);
    let same = diff(&data, &Scope::default(), &own, &own, &mut |_, _| ()).unwrap();
    assert!(same.is_same(), "{:?}", same.to_value());
    assert_eq!((same.compared, same.both_permit, same.both_deny), (12, 4, 8));
    // Half of the limit: the refund of 80 is a denial, the one that a manager approved isn't asked for one.
    let lower =
        release(|path, text| if path == "policies/support.rego" { text.replace("100", "50") } else { text });
    let changed = diff(&data, &Scope::default(), &own, &lower, &mut |_, _| ()).unwrap();
    assert_eq!(changed.changes, Count { permitted: 0, denied: 1 }, "{}", changed.to_value());
    assert_eq!(changed.by_agent.get("agent-7"), Some(&Count { permitted: 0, denied: 1 }));
    assert_eq!(changed.by_tool.get("billing.refund"), Some(&Count { permitted: 0, denied: 1 }));
    assert!(
        changed.by_rule.keys().any(|rule| rule.contains("policies/support.rego:")),
        "{:?}",
        changed.by_rule
    );
    assert_eq!(placet_audit::LedgerDiff::from_value(&changed.to_value()), Some(changed.clone()));
    let example = &changed.examples[0];
    assert!(example.was.permits && !example.now.permits && example.now.code == "manager_approval_missing");
    // The other way round they are newly permitted.
    let back = diff(&data, &Scope::default(), &lower, &own, &mut |_, _| ()).unwrap();
    assert_eq!(back.changes, Count { permitted: 1, denied: 0 });
    // A range without that decision has no change.
    let after = Scope { from: Some(example.sequence + 1), ..Scope::default() };
    assert!(diff(&data, &after, &own, &lower, &mut |_, _| ()).unwrap().is_same());
}

#[tokio::test]
async fn what_an_agent_may_do_is_told_with_its_right_and_what_it_never_used() {
    let dir = morning().await;
    let data = desk::data(&dir);
    let (world, digest) = present(&data).unwrap().unwrap();
    let own = data.release(digest.unwrap()).unwrap();
    let agent = AgentId::new("agent-7").unwrap();
    let now = Timestamp::parse("2026-03-01T09:40:00Z").unwrap();
    let look = Present { world: &world, release: Some(&own), now };
    let can = look.can(&agent, None).unwrap();
    // Maya was deactivated at the end of that morning.
    assert_eq!(at(&can, "/grants/0/usable"), &Value::from(false));
    assert!(at(&can, "/grants/0/why_not/0").as_str().unwrap().contains("deactivated"), "{can}");
    assert_eq!(at(&can, "/grants/0/by/0/human").as_str(), Some("maya"));
    assert_eq!(at(&can, "/grants/0/workflow/id").as_str(), Some("wf-9"));
    assert!(look.can(&AgentId::new("nobody").unwrap(), None).is_none());
    let report = look.access(&Uses::read(data.reader()).unwrap());
    let agents = at(&report, "/agents").as_array().unwrap();
    let ours = agents.iter().find(|of| of.get("agent").and_then(Value::as_str) == Some("agent-7")).unwrap();
    let unused = at(ours, "/grants/0/unused").as_array().unwrap();
    let unused: Vec<&str> = unused.iter().filter_map(Value::as_str).collect();
    // It refunded and read; it was refused the export.
    assert!(unused.contains(&"export_customer_data") && !unused.contains(&"issue_refund"), "{unused:?}");
    assert!(at(ours, "/last_use").as_str().is_some() && at(ours, "/since").as_str().is_some());
    // What is signed doesn't change as time passes, nor with use.
    let digest = digest_of(agents);
    assert_eq!(at(&report, "/digest").as_str().map(str::to_owned), digest.map(|digest| digest.to_string()));
    let later = Present { now: now.plus_millis(60_000), ..look };
    assert_eq!(digest_of(at(&later.access(&Uses::default()), "/agents").as_array().unwrap()), digest);
    // Once the delegation has ended it isn't a grant any more.
    let over = Present { now: Timestamp::parse("2026-03-02T09:40:00Z").unwrap(), ..look };
    assert!(at(&over.can(&agent, None).unwrap(), "/grants").as_array().unwrap().is_empty());
}
