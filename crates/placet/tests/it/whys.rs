//! `explain`, `diff`, and what `test` shows beside passing and failing.

use std::fs;

use placet_json::Value;
use tempfile::tempdir;

use crate::support::{placet, policies};

const INPUT: &str = r#"{"action":"issue_refund","intent":"support_case_resolution","amount":250,"time":"2026-03-01T09:30:00Z",
    "agent":{"id":"agent-7","type":"support_agent","owner":"maya"},
    "delegating_user":{"id":"maya","kind":"user","status":"active","tenant_id":"acme","roles":["support"]},
    "workflow":{"id":"wf-9","type":"support_case","state":"open","tenant_id":"acme","case_id":"CASE-1837","expires_at":"2026-03-01T12:00:00Z"},
    "resource":{"type":"support_case","id":"CASE-1837","tenant_id":"acme","case_id":"CASE-1837"}}"#;

#[test]
fn explain_shows_rules_values_and_what_would_permit_it() {
    let dir = tempdir().unwrap();
    let support = policies("support");
    let support = support.to_str().unwrap();
    fs::write(dir.path().join("input.json"), INPUT).unwrap();
    let told = placet(dir.path(), &["explain", support, "--input", "input.json"]).expect(1);
    for part in [
        "deny\n  manager_approval_missing",
        "lacks 1\n",
        "✗ input.amount <= 100   (input.amount is 250)",
        "✓ workflow_active",
        "would permit it (each was decided again)\n",
        "set `input.amount` to 100 (it is 250)",
        "the agent is told: ",
    ] {
        assert!(told.out.contains(part), "no `{part}` in\n{}", told.out);
    }
    let json =
        placet(dir.path(), &["explain", support, "--input", "input.json", "--format", "json"]).expect(1);
    assert_eq!(json.text("/decision/decision"), "deny");
    assert!(json.json().pointer("/changes/0/edits/0/patch/0/op").is_some());
    fs::write(dir.path().join("input.json"), INPUT.replace("250", "80")).unwrap();
    let permitted = placet(dir.path(), &["explain", support, "--input", "input.json"]).expect(0);
    assert!(
        permitted.out.contains("] permits\n") && !permitted.out.contains("would permit"),
        "{}",
        permitted.out
    );
    for wrong in [
        vec!["explain", "nonsense"],
        vec!["explain", support, "--input", "missing.json"],
        vec!["explain", "dc_4f0q2m8r6k1t5v9x3z7b2d6h0j", "--data", "nowhere"],
        vec!["explain", support, "--at", "2026-03-01T09:30:00Z"],
    ] {
        placet(dir.path(), &wrong).expect(2);
    }
}

#[test]
fn diff_tells_which_cases_change() {
    let dir = tempdir().unwrap();
    for name in ["a", "b"] {
        placet(dir.path(), &["init", name]).expect(0);
    }
    let same = placet(dir.path(), &["diff", "a/release", "b/release"]).expect(0);
    assert!(same.out.contains("cases: no decision changes of 10 compared"), "{}", same.out);
    let policy = dir.path().join("b/release/policies/desk.rego");
    fs::write(&policy, fs::read_to_string(&policy).unwrap().replace("<= 100", "<= 50")).unwrap();
    let changed = placet(dir.path(), &["diff", "a/release", "b/release", "--format", "json"]).expect(1);
    let cases =
        changed.json().pointer("/cases/changes").and_then(Value::as_array).map(<[_]>::to_vec).unwrap();
    let names: Vec<&str> =
        cases.iter().filter_map(|change| change.get("name").and_then(Value::as_str)).collect();
    assert_eq!(
        names,
        ["a small refund of the work's own case", "what was read isn't carried out by an export"]
    );
    let one = placet(dir.path(), &["diff", "a/release", "b/release", "--tests", "a/release/tests"]).expect(1);
    assert!(one.out.contains("A permit\n  B deny: manager_approval_missing"), "{}", one.out);
    placet(dir.path(), &["diff", "a/release", "missing"]).expect(2);
    placet(dir.path(), &["diff", "a/release", "b/release", "--ledger", "..", "--data", "nowhere"]).expect(2);
    placet(dir.path(), &["diff", "a/release", "b/release", "--ledger", "yesterday"]).expect(2);
}

#[test]
fn test_shows_coverage_junit_and_a_choice_of_cases() {
    let dir = tempdir().unwrap();
    placet(dir.path(), &["init", "desk"]).expect(0);
    let test = |more: &[&str], code| {
        let mut arguments = vec!["test", "desk/release"];
        arguments.extend(more);
        placet(dir.path(), &arguments).expect(code)
    };
    let covered = test(&["--coverage"], 0);
    assert!(
        covered.out.contains("RULE")
            && covered.out.contains("policies/desk.rego:")
            && covered.out.contains("coverage: "),
        "{}",
        covered.out
    );
    test(&["--min-coverage", "70"], 0);
    let short = test(&["--min-coverage", "100"], 1);
    assert!(short.out.contains("less than 100 %"), "{}", short.out);
    let chosen = test(&["--filter", "refund", "--format", "json"], 0);
    assert_eq!(chosen.json().get("total").and_then(Value::as_u64), Some(3));
    let junit = test(&["--format", "junit"], 0);
    assert!(
        junit.out.starts_with("<?xml") && junit.out.contains("tests=\"12\" failures=\"0\""),
        "{}",
        junit.out
    );
    // A rule that forgets what the tests promise: the counterexample is shown with its seed.
    let cases = dir.path().join("desk/release/tests/desk.yaml");
    let broken = fs::read_to_string(&cases)
        .unwrap()
        .replace("for every tenant other than the workflow's", "for every amount below 50");
    fs::write(&cases, broken).unwrap();
    let failed = test(&["--seed", "5"], 1);
    assert!(failed.out.contains("permit, with seed 5 for {"), "{}", failed.out);
    assert_eq!(failed.out, test(&["--seed", "5"], 1).out);
    placet(dir.path(), &["test", "desk/release/tests/desk.yaml", "--watch"]).expect(2);
}

#[test]
fn a_watched_release_is_tested_again_when_a_file_changes() {
    use std::{
        io::{BufRead as _, BufReader},
        process::Stdio,
    };
    let dir = tempdir().unwrap();
    placet(dir.path(), &["init", "desk"]).expect(0);
    let mut command = crate::support::command(dir.path());
    command.args(["test", "desk/release", "--watch"]).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut watching = command.spawn().unwrap();
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("passed: 12 of 12 cases")));
    let cases = dir.path().join("desk/release/tests/desk.yaml");
    fs::write(&cases, fs::read_to_string(&cases).unwrap().replacen("expect: permit", "expect: deny", 1))
        .unwrap();
    assert!(lines.any(|line| line.contains("failed: 11 of 12 cases")));
    watching.kill().unwrap();
    watching.wait().unwrap();
}

#[test]
fn cedar_is_proved_to_permit_no_more_or_a_request_is_shown_that_both_decided() {
    let dir = tempdir().unwrap();
    let cedar = policies("support-cedar");
    let cedar = cedar.to_str().unwrap();
    let solver = std::process::Command::new("cvc5").arg("--version").output();
    if solver.is_err() {
        // Without the solver it says so, and what to do.
        let told = placet(dir.path(), &["diff", cedar, cedar, "--symbolic"]).expect(2);
        assert!(
            told.err.contains("cvc5 can't be started") && told.err.contains("apt-get install cvc5"),
            "{}",
            told.err
        );
        return;
    }
    let same = placet(dir.path(), &["diff", cedar, cedar, "--symbolic"]).expect(0);
    assert!(same.out.contains("proved: B permits nothing that A doesn't"), "{}", same.out);
    let wider = dir.path().join("wider");
    let copied = std::process::Command::new("cp").arg("-r").arg(cedar).arg(&wider).status().unwrap();
    assert!(copied.success());
    let policy = fs::read_dir(wider.join("policies")).unwrap().next().unwrap().unwrap().path();
    let text = fs::read_to_string(&policy).unwrap();
    let old = "context.amount.lessThanOrEqual(decimal(\"100.0\"))";
    assert!(text.contains(old), "{text}");
    fs::write(&policy, text.replace(old, &old.replace("100.0", "500.0"))).unwrap();
    let wider = wider.to_str().unwrap();
    let more = placet(dir.path(), &["diff", cedar, wider, "--symbolic", "--format", "json"]).expect(1);
    let rows =
        more.json().pointer("/symbolic/requests").and_then(Value::as_array).map(<[_]>::to_vec).unwrap();
    let found = |wanted: &str| {
        rows.iter().filter(|row| row.get("outcome").and_then(Value::as_str) == Some(wanted)).count()
    };
    // By all three types of resources that the policy leaves open.
    assert_eq!((found("counterexample"), found("unknown")), (3, 0), "{}", more.out);
    assert!(more.out.contains("issue_refund"), "{}", more.out);
    // The other way round nothing is permitted that wasn't.
    placet(dir.path(), &["diff", wider, cedar, "--symbolic"]).expect(0);
    let rego = policies("support");
    let told = placet(dir.path(), &["diff", rego.to_str().unwrap(), cedar, "--symbolic"]).expect(2);
    assert!(told.err.contains("release A has no Cedar policies"), "{}", told.err);
}
