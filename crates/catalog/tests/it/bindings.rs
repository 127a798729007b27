//! What the gateway fills, and whether it still holds.

use placet_catalog::{definition_accepted, holds, public_schema};
use placet_core::{Code, Digest};

use crate::{Facts, SUPPORT, call, catalog, entry, envelope, json, name, refund, tenant};

const ARGUMENTS: &str = r#"{"case_id":"CASE-1837","amount":80}"#;

#[test]
fn bound_arguments_are_recorded_with_their_source() {
    let call = refund(ARGUMENTS).unwrap();
    let bound: Vec<_> =
        call.bound.iter().map(|b| (b.argument.as_str(), b.from.as_str(), b.value.to_string())).collect();
    assert!(bound.contains(&("customer", "$resource.customer_id", r#""cust-101""#.into())), "{bound:?}");
    assert!(bound.contains(&("tenant", "$tenant", r#""acme""#.into())), "{bound:?}");
    assert_eq!(bound.len(), 3);
}

#[test]
fn ten_2_an_unknown_and_a_foreign_resource_are_refused_in_the_same_words() {
    // CASE-7 is another tenant's: in acme's facts it doesn't exist, as CASE-404 doesn't anywhere.
    let said = |case: &str| {
        let refused = refund(&format!(r#"{{"case_id":"{case}","amount":80}}"#)).unwrap_err();
        assert_eq!(refused.codes(), [Code::ResourceUnknown.as_str()].into());
        refused.reasons.first().public.clone()
    };
    assert_eq!(said("CASE-7"), said("CASE-404"));
    let missing = refund(r#"{"case_id":"CASE-2","amount":80}"#).unwrap_err();
    assert_eq!(
        missing.codes(),
        [Code::BindingChanged.as_str()].into(),
        "a known resource without the attribute"
    );
}

#[test]
fn ten_1_facts_of_another_tenant_classify_nothing() {
    let mut facts = Facts::acme();
    facts.tenant = tenant("globex");
    let refused = call(&entry("billing.refund"), ARGUMENTS, &facts).unwrap_err();
    assert_eq!(refused.codes(), [Code::TenantMismatch.as_str()].into());
    assert!(refused.attempted.resources.is_empty());
    let made = refund(ARGUMENTS).unwrap();
    assert!(holds(&entry("billing.refund"), &envelope("acme"), &made, &facts).is_err());
}

#[test]
fn rac_3_a_binding_that_moved_is_noticed() {
    let refund_entry = entry("billing.refund");
    let made = refund(ARGUMENTS).unwrap();
    let holding = |facts: &Facts| {
        holds(&refund_entry, &envelope("acme"), &made, facts).map_err(|reasons| reasons.first().code.clone())
    };
    assert_eq!(holding(&Facts::acme()), Ok(()));
    assert_eq!(
        holding(&Facts::acme().with("CASE-1837", r#"{"customer_id":"cust-666"}"#)),
        Err("binding_changed".into())
    );
    assert_eq!(holding(&Facts::acme().with("CASE-1837", "{}")), Err("binding_changed".into()));
    let mut gone = Facts::acme();
    gone.resources.clear();
    assert_eq!(holding(&gone), Err("resource_unknown".into()));

    let search = entry("crm.search");
    let made = call(&search, r#"{"query":"refund"}"#, &Facts::acme()).unwrap();
    assert_eq!(made.resources[0].to_string(), "support_case:CASE-1837");
    let mut moved = Facts::acme();
    moved.workflow.bindings.insert(name("support_case"), name("CASE-2"));
    assert!(holds(&search, &envelope("acme"), &made, &Facts::acme()).is_ok());
    assert_eq!(holds(&search, &envelope("acme"), &made, &moved).unwrap_err().first().code, "binding_changed");
    assert!(
        holds(&refund_entry, &envelope("acme"), &made, &Facts::acme()).is_err(),
        "a call of another entry"
    );
}

#[test]
fn a_binding_is_text_number_or_truth_and_comes_from_where_it_says() {
    let of = |source: &str| {
        let text = format!(
            "[tool.\"a.b\"]\naction = \"x\"\neffect = \"read\"\nresource = {{ type = \"support_case\", id = \"CASE-1837\" }}\ncredential = \"none\"\nargs = {{ v = {source} }}\n"
        );
        let catalog = catalog(&text);
        call(catalog.entry("a.b").unwrap(), "{}", &Facts::acme())
            .map(|call| call.arguments.to_string())
            .map_err(|refused| refused.reasons.first().code.clone())
    };
    for (source, expected) in [
        (r#"{ bind = "$tenant" }"#, r#"{"v":"acme"}"#),
        (r#"{ bind = "$human" }"#, r#"{"v":"maya"}"#),
        (r#"{ bind = "$agent" }"#, r#"{"v":"agent-7"}"#),
        (r#"{ bind = "$intent" }"#, r#"{"v":"support_case_resolution"}"#),
        (r#"{ bind = "$workflow.id" }"#, r#"{"v":"wf-9"}"#),
        (r#"{ bind = "$workflow.case_id" }"#, r#"{"v":"CASE-1837"}"#),
        (r#"{ bind = "$workflow.binding.support_case" }"#, r#"{"v":"CASE-1837"}"#),
        (r#"{ bind = "$resource.id" }"#, r#"{"v":"CASE-1837"}"#),
        (r#"{ bind = "$resource.limit" }"#, r#"{"v":12.5}"#),
        (r"{ const = 7 }", r#"{"v":7}"#),
        (r"{ const = false }", r#"{"v":false}"#),
    ] {
        assert_eq!(of(source).as_deref(), Ok(expected), "{source}");
    }
    for source in ["$workflow.region", "$workflow.nothing", "$workflow.binding.invoice", "$resource.nothing"]
    {
        assert_eq!(of(&format!("{{ bind = \"{source}\" }}")), Err("binding_changed".into()), "{source}");
    }
}

#[test]
fn cat_2_only_reviewed_definitions_are_accepted() {
    let zeros = Digest::from_bytes([0; 32]);
    assert!(definition_accepted(&entry("billing.refund"), &zeros).is_ok());
    assert_eq!(
        definition_accepted(&entry("billing.refund"), &Digest::of(b"other")).unwrap_err().first().code,
        "tool_changed"
    );
    assert!(
        definition_accepted(&entry("crm.search"), &zeros).is_err(),
        "where none was reviewed, none is accepted"
    );
}

#[test]
fn agents_do_not_see_what_the_gateway_fills() {
    let schema = json(
        r#"{"type":"object","title":"Refund","properties":{"case_id":{"type":"string","description":"which"},"customer":{"type":"string"},"extra":{"type":"string"},"amount":{"type":"number"}},
            "required":["case_id","customer","extra"],"additionalProperties":true,"anyOf":[{"required":["customer"]}],"examples":[{"customer":"cust-101"}],"$defs":{"x":{"type":"string"}}}"#,
    );
    let entry = catalog(SUPPORT).entry("billing.refund").unwrap().clone();
    assert_eq!(
        public_schema(&entry, &schema),
        json(
            r#"{"type":"object","title":"Refund","properties":{"case_id":{"type":"string","description":"which"},"amount":{"type":"number"},"note":{}},
                "required":["amount","case_id"],"additionalProperties":false,"$defs":{"x":{"type":"string"}}}"#
        )
    );
    assert_eq!(entry.hidden_arguments(), ["currency", "customer", "tenant"]);
}
