//! Which policies the virtual machine may answer for: none in which it could permit what the interpreter doesn't.

use placet_policy::Release;

use crate::common::{build, built, change, files, json, now, tree};

fn with(policy: &str) -> Release {
    build(&files(&[
        ("release.toml", "name = \"r\"\n[rego]\nversion = \"v1\"\nentrypoints = [\"p\"]\n"),
        ("policies/p.rego", &format!("package p\n{policy}\n")),
    ]))
}

#[test]
fn plain_comparisons_are_compiled() {
    let release = with(
        r#"
default allow := false
deny contains "no export" if input.action == "export"
mine if input.delegating_user.tenant_id == input.workflow.tenant_id
allow if { count(deny) == 0; input.action == "read" }
"#,
    );
    // `count` of a set could fail on what isn't one.
    assert!(!release.is_compiled());
    let release = with(
        r#"
default allow := false
deny contains "no export" if input.action == "export"
mine if input.delegating_user.tenant_id == input.workflow.tenant_id
allow if { mine; input.action == "read"; input.amount <= 100; input.intent != "harm" }
allow if { mine; input.action in ["list", "look"] }
"#,
    );
    assert!(release.is_compiled());
}

/// Each of these the virtual machine and the interpreter read differently, or might.
#[test]
fn pol_2_what_the_engines_could_read_differently_is_interpreted() {
    for (policy, why) in [
        (r"allow if not startswith(input.intent, 7)", "a failing built-in under `not`"),
        (r#"deny contains "x" if to_number(input.intent) > 7"#, "a failing built-in in a deny"),
        (r#"deny contains "x" if input.args.n > 5"#, "an order of values whose type nobody knows"),
        (r#"deny contains "x" if input.action > 5"#, "an order of unlike types"),
        (r"allow if input.amount * 2 < 100", "arithmetic"),
        (
            r"allow if f(input.amount)
f(x) if x < 100",
            "a function",
        ),
        (r#"allow if every r in input.delegating_user.roles { r == "support" }"#, "every"),
        (r#"allow if { some r in input.delegating_user.roles; r == "support" }"#, "some … in"),
        (r#"allow if input.action == "a" with input.action as "a""#, "with"),
        (r#"allow if { input.action == "a" } else if { input.action == "b" }"#, "else"),
        (r"allow if data.facts.x == 1", "data"),
        (r#"allow if placet.check("user:maya", "viewer", "doc:1")"#, "relationships"),
    ] {
        let release = with(&format!("default allow := false\n{policy}"));
        assert!(!release.is_compiled(), "{why}: {policy}");
    }
}

#[test]
fn a_compiled_permit_names_its_rule_and_its_denies_hold() {
    let release = built("support");
    assert!(release.is_compiled());
    let document = |action: &str, amount: &str| {
        json(&format!(
            r#"{{"action":"{action}","intent":"support_case_resolution","amount":{amount},"agent":{{"id":"agent-7","type":"support_agent"}},
            "delegating_user":{{"id":"maya","status":"active","tenant_id":"acme","roles":[]}},
            "workflow":{{"id":"wf-9","type":"support_case","state":"open","tenant_id":"acme","case_id":"CASE-1837","expires_at":"2026-03-01T12:00:00Z"}},
            "resource":{{"type":"support_case","id":"CASE-1837","tenant_id":"acme","case_id":"CASE-1837"}}}}"#
        ))
    };
    let decide =
        |action: &str, amount: &str| release.decide_document(&document(action, amount), None, Some(now()));
    let refund = decide("issue_refund", "100");
    assert!(refund.permits());
    assert!(refund.determining.iter().all(|by| by.at.starts_with("policies/")), "{refund:?}");
    assert!(!decide("issue_refund", "100.0001").permits());
    assert!(!decide("export_customer_data", "1").permits());

    // A deny that fires beside an allow: the interpreter is asked, and its reason is given.
    let mut changed = tree("support");
    let (from, to) = (
        "input.action == \"export_customer_data\"\n",
        "input.action == \"issue_refund\"\ninput.amount == 80\n",
    );
    change(&mut changed, "policies/support.rego", from, to);
    let changed = build(&changed);
    assert!(changed.is_compiled());
    let denied = changed.decide_document(&document("issue_refund", "80"), None, Some(now()));
    assert!(!denied.permits() && !denied.determining.is_empty(), "{denied:?}");
    assert!(changed.decide_document(&document("issue_refund", "79"), None, Some(now())).permits());
}
