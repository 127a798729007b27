//! Verbs that need no server.

use std::fs;

use placet_json::Value;
use tempfile::tempdir;

use crate::support::{piped, placet, policies};

const INPUT: &str = r#"{"action":"issue_refund","intent":"support_case_resolution","amount":AMOUNT,
    "agent":{"id":"agent-7","type":"support_agent","owner":"maya"},
    "delegating_user":{"id":"maya","kind":"user","status":"active","tenant_id":"acme","roles":["support"]},
    "workflow":{"id":"wf-9","type":"support_case","state":"open","tenant_id":"acme","case_id":"CASE-1837","expires_at":"2026-03-01T12:00:00Z"},
    "resource":{"type":"support_case","id":"CASE-1837","tenant_id":"acme","case_id":"CASE-1837"}}"#;

#[test]
fn what_init_writes_passes() {
    let dir = tempdir().unwrap();
    placet(dir.path(), &["init", "desk"]).expect(0);
    let desk = dir.path().join("desk");
    let checked = placet(&desk, &["check", "release", "--strict", "--format", "json"]).expect(0);
    assert_eq!(
        (
            checked.json().get("errors").and_then(Value::as_u64),
            checked.json().get("warnings").and_then(Value::as_u64)
        ),
        (Some(0), Some(0))
    );
    let tested = placet(&desk, &["test", "release", "--junit", "report.xml"]).expect(0);
    assert!(tested.out.contains("passed: 12 of 12 cases"), "{}", tested.out);
    assert!(fs::read_to_string(desk.join("report.xml")).unwrap().contains("<testsuite"));
    placet(&desk, &["serve", "--print-config"]).expect(0);
    let again = placet(dir.path(), &["init", "desk"]).expect(2);
    assert!(again.err.contains("is not empty"), "{}", again.err);
}

#[test]
fn a_failing_case_is_a_no() {
    let dir = tempdir().unwrap();
    placet(dir.path(), &["init", "desk"]).expect(0);
    let cases = dir.path().join("desk/release/tests/desk.yaml");
    fs::write(&cases, fs::read_to_string(&cases).unwrap().replace("expect: permit", "expect: deny")).unwrap();
    let tested = placet(dir.path(), &["test", "desk/release"]).expect(1);
    assert!(
        tested.out.contains("a small refund of the work's own case") && tested.out.contains("9 of 12"),
        "{}",
        tested.out
    );
    fs::write(dir.path().join("desk/release/policies/desk.rego"), "package desk.authz\nallow if {").unwrap();
    let checked = placet(dir.path(), &["check", "desk/release"]).expect(1);
    assert!(checked.out.contains("policies/desk.rego:"), "{}", checked.out);
    placet(dir.path(), &["release", "build", "desk/release"]).expect(1);
    placet(dir.path(), &["test", "desk/release"]).expect(1);
    placet(dir.path(), &["decide", "desk/release", "--input", "x.json"]).expect(2);
}

#[test]
fn decide_says_permit_deny_or_cannot() {
    let dir = tempdir().unwrap();
    let support = policies("support");
    let support = support.to_str().unwrap();
    let decide = |input: &str, more: &[&str]| {
        fs::write(dir.path().join("input.json"), input).unwrap();
        let mut arguments = vec!["decide", support, "--input", "input.json", "--format", "json"];
        arguments.extend(more);
        placet(dir.path(), &arguments)
    };
    let at = ["--at", "2026-03-01T09:30:00Z"];
    let amount = |amount: &str| INPUT.replace("AMOUNT", amount);

    let permitted = decide(&amount("80"), &at).expect(0);
    assert_eq!(permitted.text("/decision"), "permit");
    assert_eq!(permitted.text("/time"), "2026-03-01T09:30:00Z");
    assert!(permitted.text("/release").starts_with("sha256:"));

    let denied = decide(&amount("250"), &at).expect(1);
    assert_eq!(
        (denied.text("/reasons/0/code").as_str(), denied.text("/remedy/approval").as_str()),
        ("manager_approval_missing", "manager_approval")
    );
    let expired = decide(&amount("80"), &["--at", "2026-03-01T12:00:01Z"]).expect(1);
    assert_eq!(expired.text("/reasons/0/code"), "workflow_expired");
    for bad in ["null", "-5", "false", "\"80\"", "100.00000000000000000001"] {
        let denied = decide(&amount(bad), &at).expect(1);
        assert_eq!(denied.text("/reasons/0/code"), "input_invalid", "{bad}");
        assert!(denied.text("/reasons/0/message").contains("input.amount"), "{}", denied.out);
    }
    // Without a moment anywhere it is now, when this workflow is long over.
    assert_eq!(decide(&amount("80"), &[]).expect(1).text("/reasons/0/code"), "workflow_expired");
    let other = amount("80").replacen('{', r#"{"time":"2026-03-01T09:00:00Z","#, 1);
    assert_eq!(decide(&other, &at).expect(1).text("/reasons/0/code"), "input_invalid");

    for (input, told) in
        [("{", "input.json"), (r#"{"action":"a","action":"b"}"#, "action"), ("[] []", "input.json")]
    {
        let failed = decide(input, &at).expect(2);
        assert!(failed.err.contains(told) && failed.out.is_empty(), "{failed:?}");
    }
    placet(dir.path(), &["decide", support, "--input", "missing.json"]).expect(2);
    placet(dir.path(), &["decide", "missing", "--input", "input.json"]).expect(2);
    placet(dir.path(), &["decide", support]).expect(2);
    placet(dir.path(), &["decide", support, "--input", "input.json", "--at", "yesterday"]).expect(2);
    let stdin =
        piped(dir.path(), &["decide", support, "--input", "-", "--at", at[1]], &amount("80")).expect(0);
    assert!(stdin.out.starts_with("permit"), "colour and marks are for terminals: {}", stdin.out);
}

#[test]
fn a_release_has_one_digest_wherever_it_is_built() {
    let dir = tempdir().unwrap();
    placet(dir.path(), &["init", "a"]).expect(0);
    placet(dir.path(), &["init", "b"]).expect(0);
    let build = |name: &str, out: &str| {
        placet(dir.path(), &["release", "build", name, "--out", out, "--format", "json"])
            .expect(0)
            .text("/digest")
    };
    let (a, b) = (build("a/release", "a.tar"), build("b/release", "b.tar"));
    assert_eq!(a, b);
    assert_eq!(fs::read(dir.path().join("a.tar")).unwrap(), fs::read(dir.path().join("b.tar")).unwrap());
    let shown = placet(dir.path(), &["release", "show", "a.tar", "--format", "json"]).expect(0);
    assert_eq!(shown.text("/digest"), a);
    let mut bytes = fs::read(dir.path().join("a.tar")).unwrap();
    bytes[700] ^= 1;
    fs::write(dir.path().join("a.tar"), bytes).unwrap();
    let altered = placet(dir.path(), &["release", "show", "a.tar", "--format", "json"]);
    assert!(
        altered.code == 1 || altered.text("/digest") != a,
        "an altered archive is another release or none"
    );
    let rewritten =
        placet(dir.path(), &["release", "build", policies("support").to_str().unwrap(), "--format", "json"])
            .expect(0);
    assert_eq!(
        rewritten.json().pointer("/report/rewrites").unwrap().as_array().unwrap().len(),
        3,
        "the rewrites are named"
    );
}

#[test]
fn keys_are_private_and_never_overwritten() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempdir().unwrap();
    let made = placet(dir.path(), &["key", "generate", "k.pem", "--format", "json"]).expect(0);
    assert_eq!(fs::metadata(dir.path().join("k.pem")).unwrap().permissions().mode() & 0o777, 0o600);
    let before = fs::read(dir.path().join("k.pem")).unwrap();
    placet(dir.path(), &["key", "generate", "k.pem"]).expect(2);
    assert_eq!(fs::read(dir.path().join("k.pem")).unwrap(), before);
    assert_eq!(
        placet(dir.path(), &["key", "show", "k.pem", "--format", "json"]).expect(0).text("/thumbprint"),
        made.text("/thumbprint")
    );
    let set = placet(dir.path(), &["key", "show", "k.pem", "--jwks"]).expect(0);
    assert!(!set.out.contains("\"d\"") && set.text("/keys/0/kid") == made.text("/thumbprint"));
    fs::set_permissions(dir.path().join("k.pem"), fs::Permissions::from_mode(0o644)).unwrap();
    let open = placet(dir.path(), &["key", "show", "k.pem"]).expect(2);
    assert!(open.err.contains("chmod 600"), "{}", open.err);
}

#[test]
fn without_a_key_or_a_server_it_cannot_be_done() {
    let dir = tempdir().unwrap();
    let missing = placet(dir.path(), &["tenant", "list"]).expect(2);
    assert!(
        missing.err.contains("there is no key `data/keys/operator.pem`") && missing.err.lines().count() == 2,
        "{}",
        missing.err
    );
    placet(dir.path(), &["key", "generate", "k.pem"]).expect(0);
    let unreachable =
        placet(dir.path(), &["tenant", "list", "--key", "k.pem", "--server", "http://127.0.0.1:1"]).expect(2);
    assert!(unreachable.err.contains("can't reach http://127.0.0.1:1/v1/tenants"), "{}", unreachable.err);
    placet(dir.path(), &["no-such-verb"]).expect(2);
    fs::write(dir.path().join("placet.toml"), "[server]\nlisen = 1").unwrap();
    let settings = placet(dir.path(), &["serve"]).expect(2);
    assert!(
        settings.err.contains("placet.toml:2: there is no key `server.lisen`; did you mean `listen`?"),
        "{}",
        settings.err
    );
}
