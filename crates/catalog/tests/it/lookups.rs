//! Lookups and resolvers: what is read, and what isn't taken.

use std::time::Duration;

use placet_catalog::{Catalog, DidNot, Filling, Reading, document_of, preview, reading_arguments};
use placet_core::{DecisionId, Digest, ResourceRef};
use placet_json::Value;

use crate::{Facts, SUPPORT, catalog, entry, envelope, json, name, tenant};

const READ: &str = r#"
[tool."crm.get_case"]
action = "read_case"
effect = "read"
resource = { type = "support_case", id = "$args.case_id" }
credential = "call-token"
[tool."crm.get_case".args]
case_id = { type = "id", pattern = "CASE-[0-9]+" }
depth = { type = "integer", required = false }
tenant_id = { bind = "$tenant" }
unit = { const = "EU" }
"#;

const LOOKUP: &str = r#"
[lookup.crm_case]
resource = "support_case"
tool = "crm.get_case"
args = { case_id = "$resource.id", depth = 2 }
tenant = "$.tenant"
id = "$.id"
[lookup.crm_case.attributes]
customer_id = { path = "$.customer.id", type = "id" }
limit = { path = "$.limit", type = "decimal", min = "0", required = false }
"#;

fn problems(text: &str) -> String {
    match Catalog::parse(&[("catalog/t.toml".to_owned(), text.to_owned())]) {
        Ok(_) => String::new(),
        Err(problems) => problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
    }
}

fn at(id: &str) -> ResourceRef {
    ResourceRef { kind: name("support_case"), id: name(id) }
}

#[test]
fn a_lookup_has_defaults_and_is_told_in_the_report() {
    let catalog = catalog(&format!("{SUPPORT}{READ}{LOOKUP}"));
    let lookup = catalog.lookup(&name("support_case")).unwrap();
    assert_eq!((lookup.max_age, lookup.timeout), (Duration::from_secs(5), Duration::from_secs(1)));
    assert_eq!(lookup.reading.upstream(), "crm");
    let told = catalog.to_value();
    let get = |pointer: &str| told.pointer(pointer).map(ToString::to_string).unwrap_or_default();
    assert_eq!(get("/lookup:crm_case/reading/args/case_id"), "\"$resource.id\"");
    assert_eq!(get("/lookup:crm_case/attributes/limit/required"), "false");
    assert!(catalog.lookup(&name("invoice")).is_none());
}

#[test]
fn the_arguments_of_a_reading_are_the_catalog_s_and_of_its_types() {
    let catalog = catalog(&format!("{READ}{LOOKUP}"));
    let lookup = catalog.lookup(&name("support_case")).unwrap();
    let Reading::Tool { entry, arguments } = &lookup.reading else { panic!("not by a tool") };
    let entry = catalog.entry(entry.as_str()).unwrap();
    let acme = tenant("acme");
    let read = |id: &str| {
        let at = at(id);
        reading_arguments(entry, arguments, &Filling { tenant: &acme, resource: Some(&at), call: None })
    };
    let given = read("CASE-7").unwrap();
    assert_eq!(given.as_str(), r#"{"case_id":"CASE-7","depth":2,"tenant_id":"acme","unit":"EU"}"#);
    assert!(read("DROP-7").unwrap_err().contains("must match"));
}

#[test]
fn ten_2_only_an_answer_about_this_resource_of_this_tenant_has_attributes() {
    let catalog = catalog(&format!("{READ}{LOOKUP}"));
    let lookup = catalog.lookup(&name("support_case")).unwrap();
    let read = |document: &str| lookup.extract(&tenant("acme"), &at("CASE-7"), &json(document));
    let good =
        read(r#"{"tenant":"acme","id":"CASE-7","customer":{"id":"cust-1"},"limit":null,"x":[1]}"#).unwrap();
    assert_eq!(good.into_iter().collect::<Vec<_>>(), [(name("customer_id"), Value::from("cust-1"))]);
    for (document, why) in [
        (r#"{"tenant":"globex","id":"CASE-7","customer":{"id":"cust-1"}}"#, "another tenant"),
        (r#"{"tenant":["acme"],"id":"CASE-7","customer":{"id":"cust-1"}}"#, "doesn't name a tenant"),
        (r#"{"id":"CASE-7","customer":{"id":"cust-1"}}"#, "doesn't name a tenant"),
        (r#"{"tenant":"acme","id":"CASE-8","customer":{"id":"cust-1"}}"#, "isn't about this resource"),
        (r#"{"tenant":"acme","id":"CASE-7","customer":{}}"#, "no `$.customer.id`"),
        (r#"{"tenant":"acme","id":"CASE-7","customer":{"id":7}}"#, "must be an identifier"),
        (r#"{"tenant":"acme","id":"CASE-7","customer":{"id":"c"},"limit":-1}"#, "must be at least 0"),
        (r#"{"tenant":"acme","id":"CASE-7","customer":{"id":"c"},"limit":"1"}"#, "must be a number"),
        ("[]", "doesn't name a tenant"),
    ] {
        let error = read(document).unwrap_err();
        assert!(error.contains(why), "{document}: {error}");
    }
}

#[test]
fn a_lookup_that_could_do_harm_or_nothing_is_refused() {
    let with = |from: &str, to: &str| {
        assert!(LOOKUP.contains(from) || READ.contains(from), "{from}");
        problems(&format!("{}{}", READ.replace(from, to), LOOKUP.replace(from, to)))
    };
    assert_eq!(problems(&format!("{READ}{LOOKUP}")), "");
    for (from, to, why) in [
        ("effect = \"read\"", "effect = \"write\"", "is no read tool"),
        ("tool = \"crm.get_case\"\n", "tool = \"crm.other\"\n", "no tool `crm.other`"),
        ("tool = \"crm.get_case\"\n", "", "says neither or both"),
        ("tool = \"crm.get_case\"\n", "tool = \"crm.get_case\"\nget = \"/x\"\n", "says neither or both"),
        ("\"$resource.id\"", "\"$args.case_id\"", "before the decision"),
        ("\"$resource.id\"", "\"$idempotency_key\"", "before the decision"),
        ("\"$resource.id\"", "\"$resource.owner\"", "none of `$resource.id`"),
        ("{ case_id = \"$resource.id\", depth = 2 }", "{ depth = 2 }", "needs the argument `case_id`"),
        ("depth = 2", "deep = 2", "has no argument `deep`"),
        ("depth = 2", "tenant_id = \"acme\"", "fills `tenant_id` itself"),
        ("{ bind = \"$tenant\" }", "{ bind = \"$human\" }", "nobody's call"),
        ("tenant = \"$.tenant\"\n", "", "has no `tenant`"),
        ("tenant = \"$.tenant\"\n", "tenant = \"$.t[*]\"\n", "one value is meant"),
        ("id = \"$.id\"\n", "id = \"$.id\"\nmax_age = \"2h\"\n", "at most 3600 s"),
        ("id = \"$.id\"\n", "id = \"$.id\"\ntimeout = \"11s\"\n", "at most 10 s"),
        ("id = \"$.id\"\n", "id = \"$.id\"\ntimeout = \"0s\"\n", "more than nothing"),
        ("id = \"$.id\"\n", "id = \"$.id\"\ntimeout = \"5\"\n", "as in `250ms`"),
        ("id = \"$.id\"\n", "id = \"$.id\"\nmax_age = \"900ms\"\n", "too old when it comes"),
        ("id = \"$.id\"\n", "id = \"$.id\"\ncredential = \"none\"\n", "the tool's own"),
        ("customer_id =", "tenant_id =", "set by Placet itself"),
        ("customer_id =", "customer_id.x =", "unknown key"),
    ] {
        let told = with(from, to);
        assert!(told.contains(why), "{from} → {to}: {told}");
    }
    let twice = format!("{READ}{LOOKUP}{}", LOOKUP.replace("crm_case", "other"));
    assert!(problems(&twice).contains("one lookup for a type"), "{}", problems(&twice));
    let process = "[lookup.x]\nresource = \"a\"\nget = \"/{resource.id}\"\nupstream = \"u\"\ncredential = \"process\"\ntenant = \"$.t\"\n";
    assert!(problems(process).contains("no process"));
    assert_eq!(problems(&process.replace("process", "vault:u")), "");
}

#[test]
fn a_resolver_tells_yes_no_or_nothing() {
    let args = "[tool.\"billing.refund\".args]";
    let with = |resolver: &str| {
        SUPPORT.replace(args, &format!("[tool.\"billing.refund\".resolver]\n{resolver}\n{args}"))
    };
    let good = r#"
tool = "crm.get_case"
args = { case_id = "$args.case_id" }
happened = { path = "$.status", equals = "booked" }
did_not_happen = { path = "$.status", equals = "none" }"#;
    let read = catalog(&format!("{}{READ}", with(good)));
    let resolver = read.entry("billing.refund").unwrap().resolver().unwrap();
    for (document, told) in [
        (r#"{"status":"booked"}"#, Some(true)),
        (r#"{"status":"none"}"#, Some(false)),
        (r#"{"status":"pending"}"#, None),
        (r#"{"status":["booked"]}"#, None),
        ("{}", None),
        ("null", None),
    ] {
        assert_eq!(resolver.reads(&json(document)), told, "{document}");
    }
    assert_eq!(resolver.reads_not_found(), None, "that there is none isn't said to mean anything");
    let get = r#"
get = "/refunds/{idempotency_key}"
upstream = "books"
credential = "none"
happened = { path = "$.paid", equals = true }
did_not_happen = "not_found""#;
    let read = catalog(&with(get));
    let resolver = read.entry("billing.refund").unwrap().resolver().unwrap();
    assert!(matches!(resolver.did_not, DidNot::NotFound));
    assert_eq!(
        (resolver.reads(&json(r#"{"paid":true}"#)), resolver.reads_not_found()),
        (Some(true), Some(false))
    );
    let Reading::Get { path, .. } = &resolver.reading else { panic!("not by a path") };
    let (acme, arguments) = (tenant("acme"), json("{}"));
    let filling = Filling { tenant: &acme, resource: None, call: Some(("dc_1", &arguments)) };
    assert_eq!(path.fill(&filling).unwrap(), "/refunds/dc_1");

    assert!(
        problems(&format!("{}{READ}", with(&good.replace("$args.case_id", "$nothing")))).contains("none of")
    );
    let by_tool = good.replace("{ path = \"$.status\", equals = \"none\" }", "\"not_found\"");
    assert!(problems(&format!("{}{READ}", with(&by_tool))).contains("doesn't answer `not_found`"));
    let of_read = READ.replace(
        "[tool.\"crm.get_case\".args]",
        &format!("[tool.\"crm.get_case\".resolver]{good}\n[tool.\"crm.get_case\".args]"),
    );
    assert!(problems(&of_read).contains("no effect to be resolved"));
}

#[test]
fn a_document_is_what_the_tool_structured_or_its_one_text() {
    let read = |result: &str| document_of(&json(result)).map(|value| value.to_string());
    assert_eq!(read(r#"{"structuredContent":{"a":1},"content":[]}"#).unwrap(), r#"{"a":1}"#);
    assert_eq!(read(r#"{"content":[{"type":"text","text":"{\"a\":1}"}]}"#).unwrap(), r#"{"a":1}"#);
    for none in [
        r#"{"isError":true,"structuredContent":{"a":1}}"#,
        r#"{"content":[]}"#,
        r#"{"content":[{"type":"text","text":"{}"},{"type":"text","text":"{}"}]}"#,
        r#"{"content":[{"type":"image","data":""}]}"#,
        r#"{"content":[{"type":"text","text":"no"}]}"#,
        r#"{"content":[{"type":"text","text":"{\"a\":1,\"a\":2}"}]}"#,
    ] {
        assert!(read(none).is_err(), "{none}");
    }
}

#[test]
fn what_a_call_would_be_is_known_before_its_resource_is() {
    let facts = Facts::acme();
    let ask = |arguments: &str| {
        let id = DecisionId::new("dc_1").unwrap();
        preview(&entry("billing.refund"), &envelope("acme"), &facts, Digest::of(b"r"), id, &json(arguments))
    };
    let call = ask(r#"{"case_id":"CASE-404","amount":5}"#).unwrap();
    assert_eq!(call.resources, [at("CASE-404")]);
    assert_eq!(call.attributes.len(), 1);
    assert!(!call.arguments.as_str().contains("customer"));
    assert!(ask(r#"{"case_id":"CASE-404","amount":500}"#).is_err());
}
