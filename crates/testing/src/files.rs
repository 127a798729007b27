//! The release under attack, and what its tools say of themselves.

use std::collections::BTreeMap;

use placet_json::Value;
use placet_mcp::tools::ToolDef;

use crate::json;

/// Path and text of a release's files, which a test may change before the server starts.
pub type Files = BTreeMap<String, String>;

/// The definitions that an upstream offers.
#[must_use]
pub fn definitions(upstream: &str) -> Vec<Value> {
    let tools: &[(&str, &str)] = match upstream {
        "billing" => &[(
            "refund",
            r#"{"case_id":{"type":"string"},"amount":{"type":"number"},"customer":{"type":"string"}}"#,
        )],
        "crm" => &[
            ("get_case", r#"{"case_id":{"type":"string"}}"#),
            ("search_customers", r#"{"query":{"type":"string"},"tenant_id":{"type":"string"}}"#),
        ],
        _ => &[
            (
                "note",
                r#"{"text":{"type":"string"},"tags":{"type":"array","items":{"type":"string"}},"urgent":{"type":"boolean"},"weight":{"type":"number"},"about":{"type":"object"}}"#,
            ),
            ("place", r#"{"region":{"type":"string","x-mcp-header":"Region"}}"#),
            ("purge", "{}"),
        ],
    };
    let define = |(name, properties): &(&str, &str)| {
        json(
            format!(
                r#"{{"name":"{name}","description":"A tool that is recorded.","inputSchema":{{"type":"object","properties":{properties}}}}}"#
            )
            .as_bytes(),
        )
    };
    tools.iter().map(define).collect()
}

/// The release: the support desk's policy as its authors wrote it, and a package of our own.
pub(crate) fn release() -> Files {
    let policies = concat!(env!("CARGO_MANIFEST_DIR"), "/../../policies/demo");
    let kept = |path: &str| (path.to_owned(), std::fs::read_to_string(format!("{policies}/{path}")).unwrap());
    let mut files: Files =
        ["policies/support.rego", "reasons.toml", "relations.toml", "workflow_types/support_case.toml"]
            .into_iter()
            .map(kept)
            .collect();
    // The reasons of packages that aren't here would name rules that don't exist.
    let reasons =
        files["reasons.toml"].split("[[reason]]\ndeny = \"customer data stays").next().unwrap().to_owned();
    files.insert("reasons.toml".to_owned(), reasons);
    files.insert("release.toml".to_owned(), MANIFEST.to_owned());
    files.insert("policies/desk.rego".to_owned(), DESK.to_owned());
    for (upstream, catalog) in [("billing", BILLING), ("crm", CRM), ("desk", DESK_TOOLS)] {
        let mut catalog = catalog.to_owned();
        for tool in definitions(upstream) {
            let tool = ToolDef::parse(tool).unwrap();
            catalog = catalog.replace(&format!("@{}@", tool.name), &tool.digest.to_string());
        }
        files.insert(format!("catalog/{upstream}.toml"), catalog);
    }
    files
}

const MANIFEST: &str = r#"name = "hostile"

[rego]
version = "v0"
entrypoints = ["ai.support_agent.authz", "hostile.desk"]

[grants]
summarize_case = "rego"
issue_refund = "rego"
search_customers = "rego"
take_note = "rego"
purge_all = "rego"
"#;

const DESK: &str = r#"package hostile.desk

import rego.v1

default allow := false

allow if {
	input.action in {"take_note", "search_customers", "purge_all"}
	input.intent == "support_case_resolution"
}
"#;

const BILLING: &str = r#"[tool."billing.refund"]
action = "issue_refund"
effect = "destructive"
resource = { type = "support_case", id = "$args.case_id" }
credential = "vault:billing"
accepts = ["@refund@"]

[tool."billing.refund".args]
case_id = { type = "id", pattern = "CASE-[0-9]+" }
amount = { type = "decimal", min = "0.01", max = "10000", scale = 2, attribute = "amount" }
customer = { bind = "$resource.customer_id" }
"#;

const CRM: &str = r#"[tool."crm.get_case"]
action = "summarize_case"
effect = "read"
resource = { type = "support_case", id = "$args.case_id" }
credential = "call-token"
accepts = ["@get_case@"]

[tool."crm.get_case".args]
case_id = { type = "id", pattern = "CASE-[0-9]+" }

[tool."crm.get_case".result]
labels = ["customer_pii"]

[tool."crm.search_customers"]
action = "search_customers"
effect = "read"
resource = { type = "support_case", id = "$workflow.binding.support_case" }
credential = "call-token"
accepts = ["@search_customers@"]

[tool."crm.search_customers".args]
query = { type = "text", max_length = 80 }
tenant_id = { bind = "$tenant" }

[tool."crm.search_customers".result]
guard = { items = "$.customers[*]", tenant = "$.tenant_id" }
labels = ["customer_pii"]
"#;

const DESK_TOOLS: &str = r#"[tool."desk.note"]
action = "take_note"
effect = "write"
resource = { type = "support_case", id = "$workflow.binding.support_case" }
credential = "none"
accepts = ["@note@"]

[tool."desk.note".args]
text = { type = "text", max_length = 4000 }
tags = { type = "list", items = { type = "text", max_length = 40 }, required = false }
urgent = { type = "boolean", required = false }
weight = { type = "decimal", min = "-1000", max = "1000", scale = 4, required = false }

[tool."desk.place"]
action = "take_note"
effect = "write"
resource = { type = "support_case", id = "$workflow.binding.support_case" }
credential = "none"
accepts = ["@place@"]

[tool."desk.place".args]
region = { type = "text", max_length = 40 }

[tool."desk.purge"]
action = "purge_all"
effect = "destructive"
resource = { type = "support_case", id = "$workflow.binding.support_case" }
credential = "none"
accepts = ["@purge@"]
"#;
