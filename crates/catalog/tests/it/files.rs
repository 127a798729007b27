//! Catalog files: what is read, and what is told of mistakes.

use placet_catalog::{Catalog, Credential, Problem};
use placet_core::EffectClass;

use crate::{SUPPORT, catalog, name};

fn problems(text: &str) -> Vec<Problem> {
    Catalog::parse(&[("catalog/t.toml".into(), text.into())]).expect_err(text)
}
fn tool(name: &str) -> String {
    format!(
        "[tool.\"{name}\"]\naction = \"x\"\neffect = \"read\"\nresource = {{ type = \"t\", id = \"one\" }}\ncredential = \"none\"\n"
    )
}

#[test]
fn a_catalog_is_read() {
    let catalog = catalog(SUPPORT);
    let refund = catalog.tool(&name("billing"), "refund").unwrap();
    assert_eq!(refund.name().as_str(), "billing.refund");
    assert_eq!(refund.effect(), EffectClass::Destructive);
    assert_eq!(refund.credential(), &Credential::Vault(name("billing")));
    assert_eq!(refund.accepted().len(), 1);
    assert_eq!(refund.prefixed(), "billing__refund");
    let search = catalog.entry("crm.search").unwrap();
    assert_eq!(
        search.labels().iter().map(placet_core::Name::as_str).collect::<Vec<_>>(),
        ["bank_account", "customer_pii"]
    );
    assert_eq!(catalog.entries().count(), 2);
    assert_eq!(
        catalog.to_value().pointer("/billing.refund/args/amount/max").and_then(|v| v.as_str()),
        Some("100")
    );
    assert_eq!(
        catalog.to_value().pointer("/crm.search/result/guard/tenant").and_then(|v| v.as_str()),
        Some("$.tenant_id")
    );
    assert!(catalog.to_value().canonical().is_ok());
}

#[test]
fn cat_1_what_has_no_entry_does_not_exist() {
    let catalog = catalog(SUPPORT);
    for missing in [
        "billing.Refund",
        "billing.refunds",
        "Billing.refund",
        "billing",
        "refund",
        "",
        ".",
        "billing.",
        "billing__refund",
    ] {
        assert!(catalog.entry(missing).is_none(), "{missing}");
    }
    assert!(Catalog::parse(&[]).unwrap().entries().next().is_none());
    for wildcard in ["billing.*", "*.refund", "*"] {
        assert!(!problems(&tool(wildcard)).is_empty());
    }
}

#[test]
fn cat_3_a_name_has_one_reading_and_one_entry() {
    let twice = [("catalog/a.toml".to_owned(), tool("a.b.c")), ("catalog/b.toml".to_owned(), tool("a.b.c"))];
    let problems_of_two = Catalog::parse(&twice).unwrap_err();
    assert_eq!((problems_of_two[0].file.as_str(), problems_of_two[0].line), ("catalog/b.toml", Some(1)));
    // `a.b` + `c` and `a` + `b.c` would share a name, as would `a__b` + `c` and `a` + `b__c`: upstreams have no `.` and no `_`.
    let dotted = catalog(&tool("a.b.c"));
    let entry = dotted.entry("a.b.c").unwrap();
    assert_eq!((entry.upstream().as_str(), entry.tool()), ("a", "b.c"));
    for bad in ["a__b.c", "a_b.c", "A.c", ".c", "a.", "a", "ä.c", "a b.c"] {
        assert!(!problems(&tool(bad)).is_empty(), "{bad}");
    }
    // One file can't name a table twice: TOML itself says so.
    assert!(problems(&format!("{}{}", tool("a.b"), tool("a.b")))[0].message.starts_with("not TOML"));
}

#[test]
fn every_mistake_is_told_with_its_line() {
    let problems = problems(
        r#"[tool."a.b"]
action = "x y"
effect = "maybe"
colour = "red"
credential = "vault:"
resource = { type = "t", id = "$args.nothing", extra = 1 }
[tool."a.b".args]
n = { type = "number" }
m = { type = "decimal", min = 0.01 }
"#,
    );
    let lines: Vec<_> = problems.iter().filter_map(|p| p.line).collect();
    for line in [2, 3, 4, 5, 6, 8, 9] {
        assert!(lines.contains(&line), "nothing is told of line {line}: {problems:#?}");
    }
    assert!(problems.iter().all(|p| p.to_string().starts_with("catalog/t.toml:")));
}

#[test]
fn what_would_mean_nothing_or_too_much_is_refused() {
    let args = |args: &str| format!("{}args = {{ {args} }}\n", tool("a.b"));
    for bad in [
        args(r#"v = { type = "decimal", min = 0.1 }"#),
        args(r#"v = { type = "decimal", min = "2", max = "1" }"#),
        args(r#"v = { type = "decimal", scale = 5 }"#),
        args(r#"v = { type = "id", pattern = "a)|(b" }"#),
        args(r#"v = { type = "id", pattern = "(" }"#),
        args(r#"v = { type = "id", min = 1 }"#),
        args(r#"v = { type = "enum", values = [] }"#),
        args(r#"v = { type = "any" }"#),
        args("v = { }"),
        args(r#"v = { type = "id", required = "yes" }"#),
        args(r#"v = { type = "id", attribute = "workflow" }"#),
        args(r#"v = { type = "id", attribute = "x" }, w = { type = "id", attribute = "x" }"#),
        args(r#"v = { type = "list", items = { type = "id" }, attribute = "x" }"#),
        args(r#"v = { bind = "$resource" }"#),
        args(r#"v = { bind = "$env.HOME" }"#),
        args(r#"v = { bind = "$tenant", type = "id" }"#),
        args(r#"v = { bind = "$tenant", const = "x" }"#),
        args(r"v = { const = 1.5 }"),
        args(r"v = { const = [1] }"),
        tool("a.b").replace("\"one\"", "\"$resource.id\""),
        tool("a.b").replace("\"one\"", "\"no spaces allowed\""),
        tool("a.b").replace("\"one\"", "\"$args.v\"") + r#"args = { v = { type = "id", required = false } }"#,
        tool("a.b").replace("\"one\"", "\"$args.v\"") + r#"args = { v = { type = "decimal" } }"#,
        tool("a.b").replace("\"one\"", "\"$args.v\"") + r#"args = { v = { bind = "$resource.x" } }"#,
        tool("a.b") + r#"result = { guard = { items = "$.x[*]" } }"#,
        tool("a.b") + r#"result = { guard = { items = "$.x[*]", tenant = "$.t", resource = "$.r" } }"#,
        tool("a.b") + r#"result = { guard = { items = "$.x[*]", tenant = "$.t[*]" } }"#,
        tool("a.b") + r#"result = { guard = { items = "x", tenant = "$.t" } }"#,
        tool("a.b") + r#"result = { fields = { "$.x" = [] } }"#,
        tool("a.b") + r#"accepts = ["sha256:abc"]"#,
        tool("a.b").replace("credential = \"none\"\n", ""),
        tool("a.b").replace("effect = \"read\"\n", ""),
        "[tools.x]\n".to_owned(),
        "tool = 1\n".to_owned(),
        "[tool.billing.refund]\naction = \"x\"\n".to_owned(),
        "[tool".to_owned(),
    ] {
        assert!(!problems(&bad).is_empty(), "{bad}");
    }
    assert_eq!(catalog(&args(r#"v = { type = "id", attribute = "x" }"#)).entries().count(), 1);
}
