//! ARG-3: what is no exact number, or no number, never reaches a comparison, by whichever door it comes.

use placet_json::{Limits, Value, parse};
use placet_policy::{DecisionDocument, Release, Tree};

use crate::common::{build, files, json, load, now};

/// Numbers that are no JSON: no document, no call, no fact holds them.
const NO_JSON: &[&str] = &["NaN", "Infinity", "0x10", "01", "+5", ".5", "5."];

/// JSON, and no exact non-negative number.
const BAD: &[&str] = &[
    "100.00000000000000000001",
    "99.99999999999999999999",
    "100.00001",
    "9007199254740993",
    "1000000000000000",
    "1e29",
    "1e31",
    "1e400",
    "-1e400",
    "1e-400",
    "\"80\"",
    "\"\"",
    "null",
    "true",
    "false",
    "-5",
    "-0.01",
    "[80]",
    "{\"amount\":80}",
];

const CATALOG: &str = "[tool.\"t.pay\"]\naction = \"pay\"\neffect = \"write\"\nresource = { type = \"account\", id = \"$args.id\" }\ncredential = \"none\"\n[tool.\"t.pay\".args]\nid = { type = \"id\" }\namount = { type = \"decimal\", min = \"0\", max = \"100000\", attribute = \"amount\" }\nfee = { type = \"decimal\", min = \"0\", attribute = \"fee\", required = false }\n";
const TYPES: &str = "name = \"case\"\nintents = [\"help\"]\nagents = [\"bot\"]\nlongest_life = \"8h\"\nattributes = { limit = \"decimal\" }\n";
const RELATIONS: &str = "[type.account]\nattributes = { balance = \"decimal\" }\n";

/// Every comparison that could hold permits: whatever reaches one is seen.
fn rego() -> Release {
    let paths = ["amount", "fee", "args.amount", "resource.balance", "workflow.limit"];
    let rules = paths.map(|path| {
        format!("allow if input.{path} <= 100\nallow if input.{path} > 100\nallow if input.{path} != 100\n")
    });
    let rules = rules.concat();
    build(&with(
        "[rego]\nversion = \"v1\"\nentrypoints = [\"p\"]\n",
        "policies/p.rego",
        &format!("package p\n{rules}"),
    ))
}

fn cedar() -> Release {
    let members =
        [("context", "amount"), ("context", "fee"), ("resource", "balance"), ("context.workflow", "limit")];
    let policies = members.map(|(of, name)| {
        let both = ["lessThanOrEqual", "greaterThan"].map(|compare| {
            format!(
                "@id(\"{name}-{compare}\")\npermit (principal, action, resource is account) when {{ {of} has {name} && {of}.{name}.{compare}(decimal(\"100.0\")) }};\n"
            )
        });
        both.concat()
    });
    let policies = policies.concat();
    build(&with("[cedar]\n", "policies/p.cedar", &policies))
}

fn with(engine: &str, file: &str, policy: &str) -> Tree {
    files(&[
        ("release.toml", &format!("name = \"t\"\n{engine}")),
        (file, policy),
        ("catalog/t.toml", CATALOG),
        ("workflow_types/case.toml", TYPES),
        ("relations.toml", RELATIONS),
    ])
}

/// A document with a value at a path; nothing else in it is compared.
fn document(path: &str, value: &str) -> Value {
    let at = |name: &str| {
        if path == name {
            format!(",\"{}\":{value}", name.rsplit('.').next().unwrap())
        } else {
            String::new()
        }
    };
    let args =
        if path == "args.amount" { format!(",\"args\":{{\"amount\":{value}}}") } else { String::new() };
    json(&format!(
        r#"{{"action":"pay","intent":"help","agent":{{"id":"a","type":"bot"}},
            "delegating_user":{{"id":"m","status":"active","tenant_id":"acme","roles":[]}},
            "workflow":{{"id":"w","type":"case","state":"open","tenant_id":"acme","expires_at":"2026-03-01T12:00:00Z"{}}},
            "resource":{{"type":"account","id":"A-1","tenant_id":"acme"{}}}{}{}{args}}}"#,
        at("workflow.limit"),
        at("resource.balance"),
        at("amount"),
        at("fee"),
    ))
}

fn codes(document: &DecisionDocument) -> Vec<&str> {
    document.denied.iter().flat_map(placet_core::Reasons::all).map(|reason| reason.code.as_str()).collect()
}

#[test]
fn arg_3_what_is_no_json_number_is_read_nowhere() {
    for bad in NO_JSON {
        assert!(parse(format!("{{\"amount\":{bad}}}").as_bytes(), &Limits::MESSAGE).is_err(), "{bad}");
    }
}

#[test]
fn arg_3_no_document_brings_an_inexact_number_to_a_comparison() {
    for (release, paths) in [
        (rego(), &["amount", "fee", "resource.balance", "workflow.limit", "args.amount"][..]),
        (cedar(), &["amount", "fee", "resource.balance", "workflow.limit"][..]),
    ] {
        for path in paths {
            for good in ["0", "80", "100.0001", "99999999999.9999"] {
                let decision = release.decide_document(&document(path, good), None, Some(now()));
                assert_eq!(codes(&decision), Vec::<&str>::new(), "{path} = {good}");
            }
            for bad in BAD {
                // What a catalog doesn't bound below, and an open member's type, is the release's own choice.
                let signed = matches!(*path, "resource.balance" | "workflow.limit" | "args.amount");
                let open = *path == "args.amount"
                    && !bad.starts_with(|c: char| c.is_ascii_digit())
                    && *bad != "null";
                if (signed && matches!(*bad, "-5" | "-0.01")) || open {
                    continue;
                }
                let decision = release.decide_document(&document(path, bad), None, Some(now()));
                assert_eq!(codes(&decision), ["input_invalid"], "{path} = {bad}");
            }
        }
    }
}

#[test]
fn arg_3_no_fact_brings_an_inexact_number_to_a_comparison() {
    let release = rego();
    let facts = |balance: &str| {
        load(&json(&format!(
            r#"{{"tenant":"acme","resources":[{{"type":"account","id":"A-1","attributes":{{"balance":{balance}}}}}]}}"#
        )))
    };
    assert!(facts("80").is_ok(), "{:?}", facts("80").err());
    for bad in [
        "100.00000000000000000001",
        "9007199254740993",
        "1e29",
        "100.00001",
        "null",
        "[1,null]",
        "{\"a\":0.00001}",
    ] {
        let error = facts(bad).err().unwrap_or_else(|| panic!("{bad} became a fact"));
        assert!(error.contains("balance"), "{bad}: {error}");
    }
    // A text is a fact like any other; of an attribute that the release calls a decimal, it decides nothing.
    let text = release.decide_document(&document("resource.balance", "\"80\""), None, Some(now()));
    assert_eq!(codes(&text), ["input_invalid"]);
}

#[test]
fn numbers_of_the_facts_slice_are_the_exact_ones() {
    let policy = "package p\nallow if data.facts[\"account:A-1\"].balance == 99999999999.9999\n";
    let release =
        build(&with("[rego]\nversion = \"v1\"\nentrypoints = [\"p\"]\n", "policies/p.rego", policy));
    let facts = load(&json(
        r#"{"tenant":"acme","resources":[{"type":"account","id":"A-1","attributes":{"balance":99999999999.9999}}]}"#,
    ))
    .unwrap();
    let decision = release.decide_document(&document("amount", "1"), Some(facts.as_ref()), Some(now()));
    assert_eq!(codes(&decision), Vec::<&str>::new(), "{:?}", decision.denied);
}

#[test]
fn a_policy_that_writes_an_inexact_number_is_refused() {
    let tree = with(
        "[rego]\nversion = \"v1\"\nentrypoints = [\"p\"]\n",
        "policies/p.rego",
        "package p\nallow if input.amount <= 100.00000000000000000001\n",
    );
    let refused = Release::build(&tree).unwrap_err().to_string();
    assert!(refused.contains("policies/p.rego:2:26") && refused.contains("15 digits"), "{refused}");
    let tree = with(
        "[cedar]\n",
        "policies/p.cedar",
        "@id(\"a\")\npermit (principal, action, resource) when { context has amount && context.amount.lessThan(decimal(\"100.00001\")) };\n",
    );
    assert!(Release::build(&tree).is_err(), "Cedar's decimals have four digits after the point");
}
