//! The essay's policy and its Cedar twin decide alike, on inputs that nobody chose.

use std::sync::OnceLock;

use placet_policy::Release;
use proptest::prelude::*;

use crate::common::{built, json, now, tree};

fn releases() -> &'static (Release, Release) {
    static RELEASES: OnceLock<(Release, Release)> = OnceLock::new();
    RELEASES.get_or_init(|| (built("support"), built("support-cedar")))
}

fn interpreted() -> &'static Release {
    static RELEASE: OnceLock<Release> = OnceLock::new();
    RELEASE.get_or_init(|| built("support").interpreted())
}

#[test]
fn the_essays_policy_is_compiled_and_a_replay_interprets_it() {
    assert!(releases().0.is_compiled());
    assert!(!interpreted().is_compiled());
}

#[test]
fn both_run_the_same_cases() {
    for file in [
        "tests/decisions.yaml",
        "tests/calls.yaml",
        "tests/facts/support.json",
        "catalog/crm.toml",
        "catalog/billing.toml",
    ] {
        assert_eq!(tree("support").get(file), tree("support-cedar").get(file), "{file}");
    }
}

fn one_of(words: &'static [&'static str]) -> impl Strategy<Value = &'static str> {
    prop::sample::select(words)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn rego_and_cedar_decide_alike(
        action in one_of(&["summarize_case", "issue_refund", "export_customer_data", "delete_case"]),
        intent in one_of(&["support_case_resolution", "support_case_resolution", "marketing"]),
        agent in one_of(&["support_agent", "support_agent", "coding_agent"]),
        status in one_of(&["active", "active", "suspended"]),
        tenants in (one_of(&["acme", "acme", "acme", "globex"]), one_of(&["acme", "acme", "acme", "globex"]), one_of(&["acme", "acme", "acme", "globex"])),
        case in one_of(&["CASE-1837", "CASE-1837", "CASE-2001"]),
        amount in prop::option::of(prop::sample::select(vec!["0", "0.01", "80", "99.9999", "100", "100.0001", "250", "10000.5"])),
        ends in one_of(&["2026-03-01T09:29:59.999Z", "2026-03-01T09:30:00Z", "2026-03-01T09:30:00.001Z", "2026-03-01T12:00:00Z"]),
        approval in one_of(&["", "", r#","manager_approval":{"status":"approved","approver_role":"support_manager"}"#, r#","manager_approval":{"status":"approved","approver_role":"support"}"#, r#","manager_approval":{"status":"pending","approver_role":"support_manager"}"#, r#","manager_approval":{"status":"approved"}"#]),
    ) {
        let amount = amount.map(|amount| format!(r#""amount":{amount},"#)).unwrap_or_default();
        let (a, b, c) = tenants;
        let document = json(&format!(
            r#"{{"action":"{action}","intent":"{intent}",{amount}"agent":{{"id":"agent-7","type":"{agent}"}},
                "delegating_user":{{"id":"maya","status":"{status}","tenant_id":"{a}","roles":[]}},
                "workflow":{{"id":"wf-9","type":"support_case","state":"open","tenant_id":"{b}","case_id":"CASE-1837","expires_at":"{ends}"{approval}}},
                "resource":{{"type":"support_case","id":"{case}","tenant_id":"{c}","case_id":"{case}"}}}}"#
        ));
        let (rego, cedar) = releases();
        let (x, y) = (rego.decide_document(&document, None, Some(now())), cedar.decide_document(&document, None, Some(now())));
        prop_assert_eq!(x.permits(), y.permits(), "rego: {:?}\ncedar: {:?}", x, y);
        let z = interpreted().decide_document(&document, None, Some(now()));
        prop_assert_eq!((&x.denied, &x.determining), (&z.denied, &z.determining));
        // And a denial is never without a reason.
        prop_assert!(x.denied.iter().all(|reasons| !reasons.all().is_empty()));
    }
}
