//! Arguments: closed, typed, in range, exact.

use placet_core::{Attribute, Code, Decimal};
use placet_json::{Limits, Object, Value, parse};
use proptest::prelude::*;

use crate::{Facts, call, catalog, entry, json, refund};

/// Refused for its arguments, with a reason that names what is wrong and nothing that is hidden.
fn refused(arguments: &str, names: &str) {
    let refused = refund(arguments).err().unwrap_or_else(|| panic!("{arguments} was taken"));
    let first = refused.reasons.first();
    assert_eq!(first.code, Code::ArgumentInvalid.as_str(), "{arguments}: {first:?}");
    assert!(first.public.contains(names), "{arguments}: {}", first.public);
    assert!(!first.public.contains("cust-101"), "{}", first.public);
}

#[test]
fn arguments_are_completed_and_canonical() {
    let call = refund(r#"{"note":"späte\u0041", "amount": 8.050e1, "case_id":"CASE-1837"}"#).unwrap();
    assert_eq!(
        call.arguments.as_str(),
        r#"{"amount":80.5,"case_id":"CASE-1837","currency":"EUR","customer":"cust-101","note":"späteA","tenant":"acme"}"#
    );
    assert_eq!(
        call.attributes,
        [("amount".parse().unwrap(), Attribute::Decimal(Decimal::parse("80.5").unwrap()))]
    );
    assert_eq!(
        (call.tool.as_str(), call.entry.as_str(), call.action.as_str(), call.method),
        ("refund", "billing.refund", "issue_refund", "tools/call")
    );
    assert_eq!(call.resources[0].to_string(), "support_case:CASE-1837");
    assert!(call.labels.is_empty());
}

#[test]
fn arg_1_duplicate_arguments_never_get_here() {
    assert!(parse(br#"{"case_id":"CASE-1837","amount":80,"amount":8000}"#, &Limits::MESSAGE).is_err());
    // Escapes are another spelling of the same name.
    assert!(parse(br#"{"case_id":"CASE-1837","amount":80,"\u0061mount":8000}"#, &Limits::MESSAGE).is_err());
}

#[test]
fn arg_2_names_are_not_folded() {
    for wrong in ["Amount", "AMOUNT", "amount ", "a\u{200b}mount", "ａmount", "ca\u{017f}e_id"] {
        refused(
            &format!(r#"{{"case_id":"CASE-1837","amount":80,"{wrong}":80}}"#),
            "isn't known to this tool",
        );
    }
    refused(r#"{"case_id":"CASE-1837","Amount":80}"#, "Amount");
}

#[test]
fn arg_3_amounts_are_numbers_in_range_and_exact() {
    for wrong in [
        "null",
        "false",
        "true",
        "-5",
        "-0",
        "0",
        "0.009",
        "1e400",
        "\"80\"",
        "\"\"",
        "[80]",
        "{\"value\":80}",
        "9007199254740993",
        "100.01",
        "1e3",
        "80.005",
        "100.00000000000000000001",
        "100.00000000000000001",
    ] {
        refused(&format!(r#"{{"case_id":"CASE-1837","amount":{wrong}}}"#), "`amount`");
    }
    assert!(parse(br#"{"amount":NaN}"#, &Limits::MESSAGE).is_err());
    for right in ["0.01", "100", "100.00", "1e2", "1.0E+2", "80.5"] {
        assert!(refund(&format!(r#"{{"case_id":"CASE-1837","amount":{right}}}"#)).is_ok(), "{right}");
    }
    refused(r#"{"case_id":"CASE-1837"}"#, "`amount` is missing");
}

#[test]
fn arg_4_ids_have_one_alphabet_and_their_pattern_is_whole() {
    for wrong in [
        "CASE-１８３７",
        "CASE-18\u{200b}37",
        "CASE-1837 ",
        " CASE-1837",
        "case-1837",
        "CASE-1837\\n",
        "\u{202e}CASE-1837",
        "CASE-1837/../1",
        "CASE-",
        "",
        "XCASE-1837",
    ] {
        refused(&format!(r#"{{"case_id":"{wrong}","amount":80}}"#), "`case_id`");
    }
    for wrong in ["1837", "null", "[\"CASE-1837\"]"] {
        refused(&format!(r#"{{"case_id":{wrong},"amount":80}}"#), "`case_id`");
    }
}

#[test]
fn arg_5_unknown_arguments_are_refused_and_hidden_ones_are_unknown() {
    refused(r#"{"case_id":"CASE-1837","amount":80,"force":true}"#, "`force` isn't known to this tool");
    let words = |name: &str| {
        refund(&format!(r#"{{"case_id":"CASE-1837","amount":80,"{name}":"cust-101"}}"#))
            .unwrap_err()
            .reasons
            .first()
            .public
            .replace(name, "X")
    };
    for hidden in ["customer", "tenant", "currency"] {
        assert_eq!(words(hidden), words("force"), "`{hidden}` can be told from an unknown argument");
    }
    refused("[]", "must be an object");
    refused("null", "must be an object");
    let long = "x".repeat(5000);
    assert!(refund(&format!(r#"{{"{long}":1}}"#)).unwrap_err().reasons.first().public.len() < 200);
}

#[test]
fn a_refusal_says_what_was_attempted() {
    let refused = refund(r#"{"case_id":"CASE-1837","amount":null}"#).unwrap_err();
    let attempted = &refused.attempted;
    assert_eq!((attempted.entry.as_str(), attempted.action.as_str()), ("billing.refund", "issue_refund"));
    assert_eq!(attempted.resources[0].to_string(), "support_case:CASE-1837");
    let many = refund(r#"{"amount":null,"a":1,"b":2}"#).unwrap_err();
    assert_eq!(many.reasons.all().len(), 4, "each mistake is told");
}

#[test]
fn texts_lists_and_objects_have_bounds() {
    let catalog = catalog(
        r#"
[tool."files.edit"]
action = "edit_file"
effect = "write"
resource = { type = "file", id = "$args.path" }
credential = "process"
[tool."files.edit".args]
path = { type = "id" }
dry_run = { type = "boolean", required = false, attribute = "dry_run" }
mode = { type = "enum", values = ["fast", "safe"] }
count = { type = "integer", min = 1, max = 3 }
title = { type = "text", max_length = 3 }
edits = { type = "list", max_items = 2, items = { type = "object", fields = { old = { type = "text" }, new = { type = "text" }, all = { type = "boolean", required = false } } } }
"#,
    );
    let entry = catalog.entry("files.edit").unwrap();
    let base =
        json(r#"{"path":"a/b.txt","mode":"safe","count":2,"title":"äöü","edits":[{"old":"a","new":"b"}]}"#);
    let with = |name: &str, value: &str| {
        let mut arguments = base.clone();
        arguments.as_object_mut().unwrap().insert(name, json(value));
        call(entry, &arguments.to_string(), &Facts::acme())
            .map_err(|refused| refused.reasons.first().public.clone())
    };
    assert!(
        with("dry_run", "true")
            .unwrap()
            .attributes
            .contains(&("dry_run".parse().unwrap(), Attribute::Bool(true)))
    );
    assert!(with("count", "2.0").is_ok_and(|call| call.arguments.as_str().contains(r#""count":2,"#)));
    for (name, value, says) in [
        ("dry_run", "null", "`dry_run`"),
        ("dry_run", "\"true\"", "`dry_run`"),
        ("mode", "\"Safe\"", "`mode`"),
        ("mode", "[]", "`mode`"),
        ("count", "2.5", "whole number"),
        ("count", "4", "at most 3"),
        ("count", "0", "at least 1"),
        ("title", "\"äöüß\"", "at most 3"),
        ("edits", "[{},{},{}]", "at most 2"),
        ("edits", r#"[{"old":"a"}]"#, "`edits[0].new` is missing"),
        ("edits", r#"[{"old":"a","new":"b","x":1}]"#, "`edits[0].x` isn't known"),
        ("edits", r#"[{"old":"a","new":null}]"#, "`edits[0].new`"),
        ("edits", r#"{"old":"a","new":"b"}"#, "must be an array"),
    ] {
        let public = with(name, value).expect_err(value);
        assert!(public.contains(says), "{name} = {value}: {public}");
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        prop::sample::select(vec!["0", "-0", "1e2", "80.50", "1e400", "0.000001", "99999999999999999999"])
            .prop_map(json),
        "\\PC{0,8}".prop_map(Value::from),
        prop::sample::select(vec!["CASE-1837", "CASE-2", "CASE-9"]).prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| prop::collection::vec(inner, 0..3).prop_map(Value::Array))
}

proptest! {
    #[test]
    fn arg_7_whatever_is_taken_is_within_its_types_and_is_classified_the_same_again(
        members in prop::collection::btree_map(prop::sample::select(vec!["case_id", "amount", "note", "customer", "tenant", "currency", "x"]), any_json(), 0..5),
        good in any::<bool>(),
    ) {
        let mut arguments: Object = members.into_iter().map(|(n, v)| (n.to_owned(), v)).collect();
        if good {
            arguments.remove("note");
            arguments.insert("case_id", "CASE-1837");
            arguments.insert("amount", 80_i64);
            for hidden in ["customer", "tenant", "currency", "x"] { arguments.remove(hidden); }
        }
        if let Ok(call) = refund(&Value::Object(arguments).to_string()) {
            let sent = call.arguments.to_value();
            let amount = Decimal::from_number(sent.get("amount").unwrap().as_number().unwrap()).unwrap();
            prop_assert!(amount >= Decimal::parse("0.01").unwrap() && amount <= Decimal::parse("100").unwrap());
            prop_assert_eq!(sent.get("tenant").and_then(Value::as_str), Some("acme"));
            prop_assert_eq!(sent.get("currency").and_then(Value::as_str), Some("EUR"));
            prop_assert!(call.resources[0].id.as_str() == sent.get("case_id").unwrap().as_str().unwrap());
            prop_assert_eq!(sent.canonical().unwrap(), call.arguments.clone());
            let mut again = sent.into_object().unwrap();
            for hidden in entry("billing.refund").hidden_arguments() { prop_assert!(again.remove(hidden).is_some()); }
            let twice = refund(&Value::Object(again).to_string()).unwrap();
            prop_assert_eq!(twice.arguments, call.arguments);
        } else {
            prop_assert!(!good, "what fits was refused");
        }
    }
}
