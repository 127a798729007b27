//! Cases, properties, and what they meet of the rules.

use placet_policy::{Report, TestOptions, Tree};

use crate::common::{build, files, load};

const HEAD: &str = "name = \"t\"\n[rego]\nversion = \"v1\"\nentrypoints = [\"p\"]\n";
const CATALOG: &str = "[tool.\"t.read\"]\naction = \"read\"\neffect = \"read\"\nresource = { type = \"doc\", id = \"$args.id\" }\ncredential = \"none\"\n[tool.\"t.read\".args]\nid = { type = \"id\" }\namount = { type = \"decimal\", min = \"0\", max = \"1000\", scale = 2, attribute = \"amount\" }\n";
const KIND: &str =
    "name = \"work\"\nintents = [\"job\"]\nagents = [\"robot\"]\nlongest_life = \"8h\"\nattributes = {}\n";

fn release(policy: &str, cases: &str) -> Tree {
    files(&[
        ("release.toml", HEAD),
        ("policies/p.rego", policy),
        ("catalog/t.toml", CATALOG),
        ("workflow_types/work.toml", KIND),
        ("tests/c.yaml", cases),
    ])
}

fn run(policy: &str, cases: &str, options: &TestOptions) -> Report {
    build(&release(policy, cases)).test_with(&load, options)
}

const WITHIN: &str = "package p\nallow if {\n  input.action == \"read\"\n  input.resource.tenant_id == input.workflow.tenant_id\n  input.amount <= 100\n}\n";
/// The tenants aren't compared.
const ACROSS: &str = "package p\nallow if {\n  input.action == \"read\"\n  input.amount <= 100\n}\n";

fn property(of: &str) -> String {
    format!("- name: all\n  at: 2026-03-01T09:30:00Z\n  property: {of}\n  expect: deny\n")
}

#[test]
fn a_property_that_holds_passes_and_the_same_seed_runs_the_same_inputs() {
    for of in ["for every amount above 100", "{ given: { amount: { above: 100 }, action: read }, runs: 300 }"]
    {
        let seeded = |seed| run(WITHIN, &property(of), &TestOptions { seed, ..TestOptions::default() });
        let first = seeded(7);
        assert!(first.passed(), "{:?}", first.results);
        assert_eq!(first, seeded(7));
    }
}

#[test]
fn a_property_that_does_not_hold_shows_the_smallest_input_and_its_seed() {
    let at_most = "for every amount below 100";
    let report = run(WITHIN, &property(at_most), &TestOptions { seed: 3, ..TestOptions::default() });
    assert!(!report.passed());
    let got = &report.results[0].got;
    // What the failure doesn't need is gone, and what is left is the simplest.
    let small = r#"{"action":"read","agent":{},"delegating_user":{},"intent":"job","resource":{"tenant_id":"acme"},"workflow":{"tenant_id":"acme"},"amount":0}"#;
    assert_eq!(*got, format!("permit, with seed 3 for {small}"));
    assert_eq!(report, run(WITHIN, &property(at_most), &TestOptions { seed: 3, ..TestOptions::default() }));
}

#[test]
fn ten_1_a_rule_that_forgets_the_person_is_found_by_a_property() {
    let policy = "package p\nallow if input.action == \"read\"\n";
    let cases = property("{ given: { delegating_user.status: suspended }, runs: 200 }");
    let report = run(policy, &cases, &TestOptions::default());
    assert!(!report.passed() && report.results[0].got.contains("suspended"), "{:?}", report.results);
}

#[test]
fn another_tenants_resource_is_denied_even_where_a_policy_forgets_it() {
    for policy in [WITHIN, ACROSS] {
        let report =
            run(policy, &property("for every tenant other than the workflow's"), &TestOptions::default());
        assert!(report.passed(), "{:?}", report.results);
    }
}

#[test]
fn what_a_property_names_must_exist_and_be_understood() {
    for (of, says) in [
        ("for every amont above 100", "did you mean `input.amount`?"),
        ("for all amounts", "isn't understood"),
        ("{ given: { amount: { over: 3 } } }", "one of `other_than`"),
        ("{ given: { amount: 3 }, runs: 0 }", "`runs` is between"),
    ] {
        let report = run(WITHIN, &property(of), &TestOptions::default());
        assert!(!report.passed() && report.results[0].got.contains(says), "{of}: {:?}", report.results);
    }
    let two = "- name: both\n  property: for every amount above 1\n  input: {}\n  expect: deny\n";
    assert!(run(WITHIN, two, &TestOptions::default()).results[0].got.contains("exactly one of"));
}

#[test]
fn coverage_counts_rules_and_both_sides_of_each_condition() {
    let policy = format!("{WITHIN}deny contains \"no\" if input.amount == 13\n");
    let case = |name: &str, amount: &str, expect: &str| {
        format!(
            "- name: {name}\n  at: 2026-03-01T09:30:00Z\n  input:\n    action: read\n    intent: job\n    amount: {amount}\n    agent: {{ id: a, type: robot }}\n    delegating_user: {{ id: m, status: active, tenant_id: acme, roles: [] }}\n    workflow: {{ id: w, type: work, state: open, tenant_id: acme }}\n    resource: {{ type: doc, id: d, tenant_id: acme }}\n  expect: {expect}\n"
        )
    };
    let options = TestOptions { coverage: true, ..TestOptions::default() };
    let one = run(&policy, &case("small", "80", "permit"), &options).coverage.unwrap();
    let rule = one.rules.iter().find(|rule| rule.effect == "permit").unwrap();
    assert_eq!((rule.met, rule.conditions.len(), rule.at.as_str()), (1, 3, "policies/p.rego:2"));
    assert_eq!(one.points(), (8, 4), "{one:?}");
    let more =
        [case("small", "80", "permit"), case("large", "250", "deny"), case("unlucky", "13", "deny")].concat();
    let three = run(&policy, &more, &options).coverage.unwrap();
    assert_eq!(three.points(), (8, 6), "{three:?}");
    let amount = three.rules[0].conditions.iter().find(|c| c.text == "input.amount <= 100").unwrap();
    assert_eq!((amount.held, amount.failed), (2, 1));
    assert_eq!(three.rules.iter().find(|rule| rule.effect == "deny").map(|rule| rule.met), Some(1));
    // Without a case nothing is met, and every rule is told.
    let none =
        run(&policy, &more, &TestOptions { filter: Some("nothing".to_owned()), ..options }).coverage.unwrap();
    assert_eq!((none.points(), none.percent()), ((8, 0), 0));
}
