//! The result guard.

use placet_catalog::{Guarded, inspect};
use placet_json::Value;

use crate::{Facts, call, catalog, entry, json, tenant};

fn look(result: &str) -> Guarded {
    let search = entry("crm.search");
    let made = call(&search, r#"{"query":"refund"}"#, &Facts::acme()).unwrap();
    inspect(&search, &tenant("acme"), &made, &json(result))
}
fn text(text: &str) -> String {
    format!(r#"{{"content":[{{"type":"text","text":{}}}]}}"#, Value::from(text))
}
fn structured(document: &str) -> String {
    format!(r#"{{"content":[],"structuredContent":{document}}}"#)
}

#[test]
fn our_own_items_pass_with_the_upper_bound_of_labels() {
    for document in [r#"{"cases":[]}"#, r#"{"cases":[{"tenant_id":"acme"},{"tenant_id":"acme","x":null}]}"#] {
        for result in [structured(document), text(document)] {
            let Guarded::Clean { labels } = look(&result) else {
                panic!("{result} was withheld: {:?}", look(&result))
            };
            assert_eq!(labels.len(), 2);
        }
    }
}

#[test]
fn ten_2_a_foreign_item_withholds_the_result_wherever_it_stands() {
    let foreign = r#"{"cases":[{"tenant_id":"acme"},{"tenant_id":"globex","secret":1}]}"#;
    let clean = r#"{"cases":[{"tenant_id":"acme"}]}"#;
    let both = format!(
        r#"{{"structuredContent":{clean},"content":[{{"type":"text","text":{}}}]}}"#,
        Value::from(foreign)
    );
    let second = format!(
        r#"{{"content":[{{"type":"text","text":{}}},{{"type":"text","text":{}}}]}}"#,
        Value::from(clean),
        Value::from(foreign)
    );
    for result in [structured(foreign), text(foreign), both, second] {
        match look(&result) {
            Guarded::Foreign { path, problem } => {
                assert!(path.ends_with("$.cases[1]"), "{path}");
                assert!(problem.contains("globex"), "{problem}");
            }
            Guarded::Clean { .. } => panic!("{result} passed"),
        }
    }
}

#[test]
fn what_the_guard_cannot_read_is_withheld() {
    for result in [
        structured("{}"),
        structured("[]"),
        structured("null"),
        structured(r#"{"cases":{}}"#),
        structured(r#"{"cases":[{}]}"#),
        structured(r#"{"cases":[null]}"#),
        structured(r#"{"cases":[{"tenant_id":null}]}"#),
        structured(r#"{"cases":[{"tenant_id":["acme"]}]}"#),
        structured(r#"{"cases":[{"tenant_id":"Acme"}]}"#),
        structured(r#"{"cases":[{"tenant_id":"acme "}]}"#),
        text("two cases of globex"),
        text(r#"{"cases":[{"tenant_id":"acme","tenant_id":"globex"}]}"#),
        text(r#"{"cases":[]} and more"#),
        r#"{"content":[{"type":"image","data":"AAAA","mimeType":"image/png"}]}"#.into(),
        r#"{"content":[{"type":"resource","resource":{"uri":"x:y","text":"globex"}}]}"#.into(),
        r#"{"content":[{"type":"text"}]}"#.into(),
        r#"{"content":{}}"#.into(),
        r#"{"content":[],"cases":[{"tenant_id":"globex"}]}"#.into(),
        r#"{"isError":true,"content":[{"type":"text","text":"no such case of globex"}]}"#.into(),
        "[]".into(),
    ] {
        assert!(matches!(look(&result), Guarded::Foreign { .. }), "{result} passed");
    }
}

#[test]
fn a_guard_by_resource_admits_the_calls_own_only() {
    let catalog = catalog(
        r#"
[tool."crm.get_case"]
action = "read_case"
effect = "read"
resource = { type = "support_case", id = "$args.case_id" }
credential = "none"
args = { case_id = { type = "id" } }
result = { guard = { items = "$", resource = "$.case.id" } }
"#,
    );
    let entry = catalog.entry("crm.get_case").unwrap();
    let made = call(entry, r#"{"case_id":"CASE-2"}"#, &Facts::acme()).unwrap();
    let look = |document: &str| inspect(entry, &tenant("acme"), &made, &json(&structured(document)));
    assert!(matches!(look(r#"{"case":{"id":"CASE-2"}}"#), Guarded::Clean { .. }));
    assert!(matches!(look(r#"{"case":{"id":"CASE-1837"}}"#), Guarded::Foreign { .. }));
}

#[test]
fn without_a_guard_anything_passes_with_its_labels() {
    let refund = entry("billing.refund");
    let made = call(&refund, r#"{"case_id":"CASE-1837","amount":80}"#, &Facts::acme()).unwrap();
    let looked =
        inspect(&refund, &tenant("acme"), &made, &json(r#"{"content":[{"type":"text","text":"done"}]}"#));
    assert_eq!(looked, Guarded::Clean { labels: std::collections::BTreeSet::new() });
}
