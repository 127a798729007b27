//! Tools that are operations of an HTTP API: what is a template, what becomes of arguments, what a request is.

use std::sync::Arc;

use placet_catalog::{Catalog, Entry, HttpRequest, Incoming, Routed, definition, http_request};
use proptest::prelude::*;

use crate::{Facts, call, catalog, json, name};

pub(crate) const CASES: &str = r#"
[tool."cases.get"]
action = "read_case"
effect = "read"
description = "One case."
describe = { case_id = "Its number." }
resource = { type = "support_case", id = "$workflow.binding.support_case" }
credential = "none"
http = { method = "GET", path = "/t/{tenant}/cases/{case_id}", query = { view = "{view}", v = "2" }, header = { X-Region = "{region}" } }
[tool."cases.get".args]
case_id = { type = "text" }
tenant = { bind = "$tenant" }
view = { type = "enum", values = ["short", "full"], required = false }
region = { type = "text", required = false }

[tool."cases.search"]
action = "read_case"
effect = "read"
resource = { type = "support_case", id = "$workflow.binding.support_case" }
credential = "none"
http = { method = "GET", path = "/cases", query = { q = "{q}", tag = "{tags}", limit = "{limit}", open = "{open}" } }
[tool."cases.search".args]
q = { type = "text" }
tags = { type = "list", items = { type = "text" }, required = false }
limit = { type = "integer", min = "1", max = "50", required = false }
open = { type = "boolean", required = false }

[tool."cases.close"]
action = "close_case"
effect = "write"
resource = { type = "support_case", id = "$workflow.binding.support_case" }
credential = "none"
http = { method = "POST", path = "/cases/{case_id}:close", body = "json" }
[tool."cases.close".args]
case_id = { type = "id", pattern = "CASE-[0-9]+" }
amount = { type = "decimal", scale = 2 }
reason = { type = "text", required = false }
tenant = { bind = "$tenant" }

[tool."cases.file"]
action = "read_case"
effect = "read"
resource = { type = "support_case", id = "$workflow.binding.support_case" }
credential = "none"
http = { method = "GET", path = "/files/{path}" }
[tool."cases.file".args]
path = { type = "text", pattern = "[a-z/.]+" }

[tool."cases.pay"]
action = "close_case"
effect = "destructive"
resource = { type = "support_case", id = "$workflow.binding.support_case" }
credential = "none"
http = { method = "POST", path = "/pay", body = "form" }
[tool."cases.pay".args]
amount = { type = "decimal" }
to = { type = "text" }
"#;

fn entry(name: &str) -> Arc<Entry> {
    catalog(CASES).entry(name).unwrap().clone()
}

/// What is sent for these arguments, or the refusal's first words.
fn sent(tool: &str, arguments: &str) -> Result<HttpRequest, String> {
    let entry = entry(tool);
    let call = call(&entry, arguments, &Facts::acme())
        .map_err(|refused| refused.reasons.first().operator.clone())?;
    Ok(http_request(&entry, &call).unwrap().expect("what was classified can be sent"))
}

fn target(request: &HttpRequest) -> String {
    match &request.query {
        Some(query) => format!("{} {}?{query}", request.method, request.path),
        None => format!("{} {}", request.method, request.path),
    }
}

fn route(method: &str, path: &str, query: Option<&str>, body: (&str, &str)) -> Option<Routed> {
    let headers = [("content-type", body.0), ("x-region", "eu")];
    let incoming = Incoming { method, path, query, headers: &headers, body: body.1.as_bytes() };
    catalog(CASES).route(&name("cases"), &incoming)
}

fn problems(text: &str) -> String {
    let files = [("catalog/t.toml".to_owned(), text.to_owned())];
    let problems = Catalog::parse(&files).err().unwrap_or_default();
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn arguments_become_one_request() {
    let request = sent("cases.get", r#"{"case_id":"CASE 1/ü","view":"full","region":"eu-1"}"#);
    assert!(request.unwrap_err().contains("must have no slash"));
    let request = sent("cases.get", r#"{"case_id":"CASE 1;ü","view":"full","region":"eu-1"}"#).unwrap();
    assert_eq!(target(&request), "GET /t/acme/cases/CASE%201%3B%C3%BC?v=2&view=full");
    assert_eq!(request.headers, [("x-region".to_owned(), "eu-1".to_owned())]);
    assert!(request.body.is_empty() && request.content_type.is_none());

    let request =
        sent("cases.search", r#"{"q":"a&b=c+d #é","tags":["x","y z"],"limit":5.0,"open":true}"#).unwrap();
    assert_eq!(target(&request), "GET /cases?limit=5&open=true&q=a%26b%3Dc%2Bd%20%23%C3%A9&tag=x&tag=y%20z");

    let request = sent("cases.close", r#"{"reason":"done","amount":12.50,"case_id":"CASE-7"}"#).unwrap();
    assert_eq!(target(&request), "POST /cases/CASE-7:close");
    assert_eq!(request.content_type.as_deref(), Some("application/json"));
    assert_eq!(request.body, br#"{"amount":12.5,"reason":"done","tenant":"acme"}"#);

    let request = sent("cases.pay", r#"{"amount":1e1,"to":"a&b"}"#).unwrap();
    assert_eq!(request.body, b"amount=10&to=a%26b");
    assert_eq!(target(&sent("cases.file", r#"{"path":"a/b.txt"}"#).unwrap()), "GET /files/a%2Fb.txt");
}

#[test]
fn arg_6_what_could_leave_its_segment_or_header_is_refused() {
    for bad in [
        "",
        ".",
        "..",
        "../admin",
        "..\\\\admin",
        "a/b",
        "/",
        "//x",
        "%2e%2e%2fadmin",
        "%2e%2e",
        "a%2fb",
        "%252e%252e%252f",
        "%25252e%25252e",
        "..;x",
        "..;/x",
        "a\\u0000",
        "a\\r\\nX: y",
        "%0d%0a",
        "\\u007f",
    ] {
        let refused = sent("cases.get", &format!(r#"{{"case_id":"{bad}"}}"#));
        assert!(refused.is_err(), "{bad:?} became {refused:?}");
    }
    for bad in ["..", "a/../b", "/etc", "a//b", "a/", "./a"] {
        let refused = sent("cases.file", &format!(r#"{{"path":"{bad}"}}"#));
        assert!(refused.is_err(), "{bad:?} became {refused:?}");
    }
    for bad in ["", "a\\r\\nx: y", "a\\nb", " a", "ü", "a\\u0000"] {
        let refused = sent("cases.get", &format!(r#"{{"case_id":"1","region":"{bad}"}}"#));
        assert!(refused.unwrap_err().contains("in a header"), "{bad:?}");
    }
}

#[test]
fn arg_6_a_request_is_one_operation_or_none() {
    let plain = ("", "");
    let routed = route("GET", "/t/acme/cases/CASE%201%3B%C3%BC", Some("view=full&v=2"), plain).unwrap();
    assert_eq!(routed.entry.name().as_str(), "cases.get");
    assert_eq!(
        placet_json::Value::from(routed.arguments).canonical().unwrap().as_str(),
        r#"{"case_id":"CASE 1;ü","region":"eu","view":"full"}"#
    );
    assert_eq!(routed.claims.len(), 1);
    assert!(routed.claims[0].holds(&json("\"acme\"")) && !routed.claims[0].holds(&json("\"globex\"")));
    assert_eq!(routed.misfit, None);

    let routed = route("GET", "/cases", Some("q=a+b&tag=x&limit=5&open=true"), plain).unwrap();
    assert_eq!(
        placet_json::Value::from(routed.arguments).canonical().unwrap().as_str(),
        r#"{"limit":5,"open":true,"q":"a b","tags":["x"]}"#
    );
    for (method, path, query) in [
        ("GET", "/t/acme/cases/1/../2", None),
        ("GET", "/t/acme/cases//1", None),
        ("GET", "//t/acme/cases/1", None),
        ("GET", "/t/acme/cases/1/", None),
        ("GET", "/t/acme/cases/", None),
        ("GET", "/t/acme/cases/%ff", None),
        ("GET", "/t/acme/cases/%4", None),
        ("GET", "/t/acme/Cases/1", None),
        ("GET", "/t/acme/cases/1", Some("v=3")),
        ("HEAD", "/t/acme/cases/1", None),
        ("get", "/t/acme/cases/1", None),
        ("DELETE", "/t/acme/cases/1", None),
        ("GET", "/", None),
        ("GET", "/cases/CASE-7:close", None),
        ("POST", "/cases/CASE-7:open", None),
        ("POST", "/cases/:close", None),
    ] {
        assert!(route(method, path, query, plain).is_none(), "{method} {path}");
    }
    for (path, query, body, why) in [
        ("/t/acme/cases/1", Some("admin=1"), plain, "`admin` isn't known"),
        ("/t/acme/cases/1", Some("view=full&view=short"), plain, "given twice"),
        ("/t/acme/cases/1", Some("case_id=2"), plain, "`case_id` isn't known"),
        ("/t/acme/cases/1", Some("view=full;admin=1"), plain, "percent-encoded"),
        ("/t/acme/cases/1", Some("view=%zz"), plain, "percent-encoded"),
        ("/t/acme/cases/1", None, ("application/json", "{}"), "takes no body"),
    ] {
        let misfit = route("GET", path, query, body).unwrap().misfit.unwrap_or_default();
        assert!(misfit.contains(why), "{path} {query:?}: {misfit}");
    }
    for (body, why) in [
        (("application/json", r#"{"case_id":"CASE-8","amount":1}"#), "doesn't stand in the body"),
        (("application/json", r#"{"amount":1,"amount":2}"#), "can't be taken as JSON"),
        (("application/json", r#"{"amount":1,"admin":true}"#), "`admin` isn't known"),
        (("application/json", "[1]"), "must be a JSON object"),
        (("text/plain", r#"{"amount":1}"#), "must be application/json"),
    ] {
        let misfit = route("POST", "/cases/CASE-7:close", None, body).unwrap().misfit.unwrap_or_default();
        assert!(misfit.contains(why), "{body:?}: {misfit}");
    }
    let form = ("application/x-www-form-urlencoded", "amount=10&to=a%26b");
    let routed = route("POST", "/pay", None, form).unwrap();
    assert_eq!(
        placet_json::Value::from(routed.arguments).canonical().unwrap().as_str(),
        r#"{"amount":10,"to":"a&b"}"#
    );
}

#[test]
fn a_definition_is_made_of_the_entry_without_what_the_gateway_fills() {
    let definition = definition(&entry("cases.get")).unwrap();
    assert_eq!(definition.pointer("/description").unwrap().as_str(), Some("One case."));
    assert_eq!(
        definition.get("inputSchema").unwrap().canonical().unwrap().as_str(),
        r#"{"additionalProperties":false,"properties":{"case_id":{"description":"Its number.","maxLength":4096,"type":"string"},"region":{"maxLength":4096,"type":"string"},"view":{"enum":["full","short"],"type":"string"}},"required":["case_id"],"type":"object"}"#
    );
    assert_eq!(definition.pointer("/annotations/readOnlyHint").unwrap().as_bool(), Some(true));
}

#[test]
fn templates_that_mean_nothing_or_two_things_are_told_with_their_line() {
    let one = |more: &str, args: &str| {
        format!(
            "[tool.\"a.b\"]\naction = \"x\"\neffect = \"read\"\nresource = {{ type = \"t\", id = \"one\" }}\ncredential = \"none\"\n{more}\n[tool.\"a.b\".args]\n{args}\n"
        )
    };
    let id = "id = { type = \"id\" }";
    for (more, args, why) in [
        ("http = { path = \"/a\" }", "", "has no `method`"),
        ("http = { method = \"GET\" }", "", "has no `path`"),
        ("http = { method = \"TRACE\", path = \"/a\" }", "", "none of `GET`"),
        ("http = { method = \"GET\", path = \"a\" }", "", "begins with `/`"),
        ("http = { method = \"GET\", path = \"/a/../b\" }", "", "no empty segment, `.` or `..`"),
        ("http = { method = \"GET\", path = \"/a//b\" }", "", "no empty segment, `.` or `..`"),
        ("http = { method = \"GET\", path = \"//host/b\" }", "", "no empty segment, `.` or `..`"),
        ("http = { method = \"GET\", path = \"/a?x=1\" }", "", "neither plain text"),
        ("http = { method = \"GET\", path = \"/a;b\" }", "", "neither plain text"),
        ("http = { method = \"GET\", path = \"/%2e%2e\" }", "", "neither plain text"),
        ("http = { method = \"GET\", path = \"/{id}{id}\" }", id, "neither plain text"),
        ("http = { method = \"GET\", path = \"/{id}\" }", "", "names no argument"),
        ("http = { method = \"GET\", path = \"/a\" }", id, "isn't used"),
        (
            "http = { method = \"GET\", path = \"/{id}\", query = { x = \"{id}\" } }",
            id,
            "stands in two places",
        ),
        (
            "http = { method = \"GET\", path = \"/{id}\" }",
            "id = { type = \"id\", required = false }",
            "may be missing",
        ),
        (
            "http = { method = \"GET\", path = \"/{id}\" }",
            "id = { type = \"list\", items = { type = \"id\" } }",
            "no one text",
        ),
        ("http = { method = \"GET\", path = \"/a\", body = \"json\" }", id, "a GET has no body"),
        ("http = { method = \"DELETE\", path = \"/{id}\" }", id, "a DELETE is no read"),
        (
            "http = { method = \"GET\", path = \"/a\", header = { Authorization = \"{id}\" } }",
            id,
            "made by the gateway",
        ),
        (
            "http = { method = \"GET\", path = \"/a\", header = { X-Forwarded-Host = \"{id}\" } }",
            id,
            "made by the gateway",
        ),
        (
            "http = { method = \"GET\", path = \"/a\", header = { \"X Y\" = \"{id}\" } }",
            id,
            "not the name of a header",
        ),
        ("http = { method = \"GET\", path = \"/a\", queries = {} }", "", "unknown key `queries`"),
        ("http = { method = \"GET\", path = \"/a\" }\naccepts = []", "", "`accepts` is for definitions"),
        ("description = \"x\"", "", "`description` is for a tool with `http`"),
        (
            "http = { method = \"GET\", path = \"/{id}\" }\ndescribe = { other = \"x\" }",
            id,
            "no argument `other`",
        ),
    ] {
        let found = problems(&one(more, args));
        assert!(found.contains(why) && found.contains("catalog/t.toml:"), "{more} {args}: {found}");
    }
    let two = |first: &str, second: &str, kind: &str| {
        let entry = |tool: &str, path: &str| {
            let args = if path.contains("{id}") { format!("id = {kind}") } else { String::new() };
            one(&format!("http = {{ method = \"GET\", {path} }}"), &args).replace("a.b", tool)
        };
        problems(&(entry("a.one", first) + &entry("a.two", second)))
    };
    let any = "{ type = \"id\" }";
    for (first, second, kind) in [
        ("path = \"/c\"", "path = \"/c\"", any),
        ("path = \"/c/{id}\"", "path = \"/c/search\"", any),
        ("path = \"/c/{id}\"", "path = \"/c/{id}\"", any),
        ("path = \"/c/{id}\"", "path = \"/c/{id}:x\"", any),
        ("path = \"/c/{id}\"", "path = \"/c/7\"", "{ type = \"integer\" }"),
        ("path = \"/c\", query = { op = \"a\" }", "path = \"/c\"", any),
    ] {
        let found = two(first, second, kind);
        assert!(found.contains("can be one request"), "{first} {second}: {found}");
    }
    for (first, second, kind) in [
        ("path = \"/c/{id}\"", "path = \"/c/search\"", "{ type = \"id\", pattern = \"CASE-[0-9]+\" }"),
        ("path = \"/c/{id}\"", "path = \"/c/search\"", "{ type = \"integer\" }"),
        ("path = \"/c/{id}\"", "path = \"/c/{id}/x\"", any),
        ("path = \"/c/{id}\"", "path = \"/c/x\"", "{ type = \"enum\", values = [\"a\", \"b\"] }"),
        ("path = \"/c\", query = { op = \"a\" }", "path = \"/c\", query = { op = \"b\" }", any),
    ] {
        assert_eq!(two(first, second, kind), "", "{first} {second}");
    }
}

/// Percent-decoding by the standard's own words, for the other side.
fn unencoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8().unwrap().into_owned()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    /// Whatever an argument is: the path that is sent has as many segments as the template, and the one it stands in
    /// decodes to it exactly; as does its query parameter. And the request is read back as that call.
    #[test]
    fn arg_6_what_is_decided_is_what_arrives(
        case in prop_oneof!["\\PC{0,20}", "[./\\\\%;2eEfF?#&=+ a]{0,12}", any::<String>()],
        query in any::<String>(),
    ) {
        let arguments = placet_json::object! { "case_id" => case.as_str() };
        if let Ok(request) = sent("cases.get", &placet_json::Value::from(arguments).to_string()) {
            let segments: Vec<&str> = request.path.split('/').collect();
            prop_assert_eq!(segments.len(), 5, "{}", request.path);
            prop_assert_eq!(unencoded(segments[4]), case.clone());
            prop_assert!(request.path.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~%/".contains(&b)));
            let headers = [];
            let incoming = Incoming { method: "GET", path: &request.path, query: request.query.as_deref(), headers: &headers, body: b"" };
            let routed = catalog(CASES).route(&name("cases"), &incoming).unwrap();
            prop_assert_eq!(routed.arguments.get("case_id").and_then(placet_json::Value::as_str), Some(case.as_str()));
            prop_assert!(routed.misfit.is_none() && routed.claims.iter().all(|claim| claim.holds(&json("\"acme\""))));
        }
        let arguments = placet_json::object! { "q" => query.as_str() };
        let request = sent("cases.search", &placet_json::Value::from(arguments).to_string()).unwrap();
        let pairs: Vec<_> = url::form_urlencoded::parse(request.query.as_deref().unwrap().as_bytes()).collect();
        prop_assert_eq!(pairs, [("q".into(), query.into())]);
    }
}
