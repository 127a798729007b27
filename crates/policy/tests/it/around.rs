//! Risk and environment in the policy input.

use std::sync::Arc;

use placet_core::{Engine as _, FactsView};
use placet_json::Value;
use placet_policy::{Release, Tree};

use crate::common::{
    SMALL, after, build, change, classify, codes, decide, grant, json, load, now, open, snapshot, tree, world,
};

const RULE: &str = r#"
deny contains "too_risky" if input.risk.agent > 0.5

deny contains "too_risky" if input.risk.workflow >= 3

deny contains "too_risky" if input.risk.human >= 100

deny contains "not_here" if input.environment == "staging"
"#;

fn guarded() -> Tree {
    let mut tree = tree("demo");
    let text = String::from_utf8(tree["policies/desk.rego"].clone()).unwrap();
    tree.insert("policies/desk.rego".to_owned(), format!("{text}{RULE}").into_bytes());
    tree
}

fn asked(release: &Release, facts: &dyn FactsView) -> (bool, Value) {
    let envelope = open(grant());
    let call = classify(release, &envelope, facts, SMALL.0, SMALL.1).unwrap();
    let evaluation = release.evaluate(&envelope, &call, facts, now()).unwrap();
    let input = json(std::str::from_utf8(evaluation.input.as_ref().unwrap().as_bytes()).unwrap());
    (codes(&evaluation).is_empty(), input)
}

#[test]
fn policy_reads_risks_which_are_0_until_they_are_set() {
    let release = build(&guarded());
    let world = world();
    let (permitted, input) = asked(&release, &snapshot(&world));
    assert!(permitted);
    assert_eq!(input.get("risk").unwrap().to_string(), r#"{"agent":0,"human":0,"workflow":0}"#);
    assert_eq!(input.get("environment"), None, "nobody said which");
    for (risk, permits) in [
        (r#"{"risk_set":{"agent":"agent-7","risk":0.5}}"#, true),
        (r#"{"risk_set":{"agent":"agent-7","risk":0.51}}"#, false),
        (r#"{"risk_set":{"agent":"agent-8","risk":9}}"#, true),
        (r#"{"risk_set":{"human":"maya","risk":100}}"#, false),
        (r#"{"risk_set":{"workflow":"wf-9","risk":2.9}}"#, true),
        (r#"{"risk_set":{"workflow":"wf-9","risk":3}}"#, false),
    ] {
        assert_eq!(asked(&release, &snapshot(&after(&world, risk))).0, permits, "{risk}");
    }
    // Where nobody reads it, it isn't there; nor where it wasn't known yet.
    assert_eq!(asked(&build(&tree("demo")), &snapshot(&world)).1.get("risk"), None);
    assert_eq!(asked(&release, &snapshot(&world).without_risks()).1.get("risk"), None);
}

#[test]
fn policy_reads_the_environment_that_the_server_says_it_is() {
    let release = build(&guarded());
    for (environment, permits) in [("production", true), ("staging", false)] {
        let facts = snapshot(&world()).in_environment(Some(Arc::from(environment)));
        let (permitted, input) = asked(&release, &facts);
        assert_eq!(permitted, permits, "{environment}");
        assert_eq!(input.get("environment").and_then(Value::as_str), Some(environment));
    }
    // In a release's own cases it is what they say.
    let mut tree = guarded();
    tree.retain(|path, _| !path.starts_with("tests/") || path.contains("/facts/"));
    let case = |environment: &str, expect: &str| {
        format!(
            "- name: in {environment}\n  at: 2026-03-01T09:30:00Z\n  environment: {environment}\n  facts: facts/demo.json\n  envelope: {{ human: maya, agent: agent-7, delegation: dg-1, workflow: wf-9, intent: support_case_resolution }}\n  call: {{ tool: billing.refund, args: {{ case_id: CASE-1837, amount: 40 }} }}\n  expect: {expect}\n"
        )
    };
    let cases = format!("{}{}", case("production", "permit"), case("staging", "deny"));
    tree.insert("tests/around.yaml".to_owned(), cases.into_bytes());
    let report = build(&tree).test(&load);
    assert!(report.passed(), "{report:?}");
}

#[test]
fn cedar_reads_them_too() {
    let mut tree = guarded();
    change(&mut tree, "policies/desk.rego", RULE, "");
    let forbid = r#"
@id("risky")
forbid (principal, action, resource)
when { context has risk && context.risk.agent.greaterThan(decimal("0.5")) };
@id("elsewhere")
forbid (principal, action, resource)
when { context has environment && context.environment == "staging" };
"#;
    tree.insert("policies/risk.cedar".to_owned(), forbid.as_bytes().to_vec());
    let release = build(&tree);
    let world = world();
    assert!(codes(&decide(&release, &open(grant()), &snapshot(&world), SMALL)).is_empty());
    let risky = after(&world, r#"{"risk_set":{"agent":"agent-7","risk":0.6}}"#);
    assert!(!codes(&decide(&release, &open(grant()), &snapshot(&risky), SMALL)).is_empty());
    let staging = snapshot(&world).in_environment(Some(Arc::from("staging")));
    assert!(!codes(&decide(&release, &open(grant()), &staging, SMALL)).is_empty());
}

#[test]
fn pol_3_a_path_that_no_input_has_is_refused() {
    let mut tree = guarded();
    change(&mut tree, "policies/desk.rego", "input.environment", "input.enviroment");
    let refused = Release::build(&tree).err().map(|refused| refused.to_string()).unwrap_or_default();
    assert!(refused.contains("input.environment"), "{refused}");
}
