//! `placet catalog pull --openapi`: drafts that load once a person has chosen, and reasons for what isn't drafted.

use std::path::Path;

use placet_json::Value;
use placet_samples::desk;
use tempfile::tempdir;

use crate::support::{Ran, placet};

const ORDERS: &str = include_str!("../data/orders.openapi.json");

fn pull(dir: &Path, upstream: &str, text: &str, more: &[&str]) -> Ran {
    std::fs::write(dir.join("api"), text).unwrap();
    let mut arguments = vec!["catalog", "pull", upstream, "--openapi", "api"];
    arguments.extend(more);
    placet(dir, &arguments)
}

fn rows(ran: &Ran, name: &str) -> Vec<String> {
    let rows = ran.json().get(name).and_then(Value::as_array).unwrap().to_vec();
    let texts = |row: &Value| {
        let object = row.as_object().unwrap();
        object.values().map(|text| text.as_str().unwrap().to_owned()).collect::<Vec<_>>().join(" | ")
    };
    rows.iter().map(texts).collect()
}

/// The draft in a project, with a resource chosen for each tool: what the catalog says of it.
fn loaded(dir: &Path, draft: &str) -> Ran {
    placet(dir, &["init", "desk"]).expect(0);
    let resource = "resource = { type = \"support_case\", id = \"$workflow.binding.support_case\" }";
    let chosen = draft.lines().map(|line| if line.starts_with("# resource = ") { resource } else { line });
    let chosen = chosen.collect::<Vec<_>>().join("\n");
    std::fs::write(dir.join("desk/release/catalog/api.toml"), chosen).unwrap();
    placet(dir, &["check", "desk/release"])
}

#[test]
fn a_hand_written_description_in_yaml_becomes_entries() {
    let dir = tempdir().unwrap();
    let json = pull(dir.path(), "cases", desk::DESCRIPTION, &["--format", "json"]).expect(0);
    assert_eq!(
        rows(&json, "mapped"),
        [
            "search_cases | GET | /cases",
            "get_case | GET | /cases/{case_id}",
            "add_note | POST | /cases/{case_id}/notes",
            "refund_case | POST | /cases/{case_id}/refunds",
            "close_case | POST | /cases/{case_id}/close",
            "attach_file | POST | /cases/{case_id}/attachments",
        ]
    );
    assert_eq!(
        rows(&json, "unmapped"),
        ["HEAD | /cases/{case_id} | a tool is a GET, POST, PUT, PATCH or DELETE"]
    );
    assert_eq!(
        rows(&json, "left_out"),
        [
            "search_cases | query parameter `fields` | a list with commas (`explode: false`) isn't written here"
        ]
    );
    let text = pull(dir.path(), "cases", desk::DESCRIPTION, &[]).expect(0);
    assert!(text.err.contains("6 operations drafted, 1 not mapped, 1 parts left out"), "{}", text.err);
    for line in [
        "# secret_header = \"x-api-key\"",
        "# url = \"http://127.0.0.1:9003/v1\"",
        "effect = \"read\" # review",
        "credential = \"vault:cases\" # review",
        "http = { method = \"POST\", path = \"/cases/{case_id}/refunds\", body = \"json\" }",
        "http = { method = \"POST\", path = \"/cases/{case_id}/attachments\", body = \"multipart\", files = { \"file\" = { name = \"file\", type = \"application/octet-stream\", base64 = true } } }",
        "\"case_id\" = { type = \"id\", pattern = \"CASE-[0-9]+\" } # review",
        "\"amount\" = { type = \"decimal\", min = \"0.01\", max = \"10000\", scale = 2 } # review",
        "\"reason\" = { type = \"text\", max_length = 200, required = false } # review: null isn't passed on",
        "\"status\" = { type = \"enum\", values = [\"open\", \"closed\"], required = false } # review",
        "\"limit\" = { type = \"integer\", min = \"1\", max = \"50\", required = false } # review",
        "\"case_id\" = \"The case's number.\"",
        "description = \"Pays an amount back. Can't be taken back.\"",
    ] {
        assert!(text.out.contains(line), "{line}\n{}", text.out);
    }
    assert!(!text.out.contains("\"id\" ="), "what is read only isn't an argument");
    let checked = loaded(dir.path(), &text.out);
    assert_eq!(checked.code, 0, "{checked:?}");
}

#[test]
fn a_generated_description_in_json_becomes_entries() {
    let dir = tempdir().unwrap();
    let json = pull(dir.path(), "orders", ORDERS, &["--format", "json"]).expect(0);
    assert_eq!(
        rows(&json, "mapped"),
        [
            "get_orders | GET | /orders",
            "orders_controller_create_order | POST | /orders",
            "orders_controller_get_order | GET | /orders/{id}",
            "orders_controller_replace_order | PUT | /orders/{id}",
            "orders_controller_delete_order | DELETE | /orders/{id}",
            "add_lines | POST | /orders/{id}/lines",
            "cancel | POST | /orders/{id}:cancel",
        ]
    );
    let unmapped = rows(&json, "unmapped");
    for (row, why) in unmapped.iter().zip([
        "POST | /payments | its body can't be typed: `oneOf` says that it is one of several things",
        "GET | /files/{path} | `{path}` of its path is no parameter",
        "POST | /loop | `next` of its body can't be an argument: ",
        "* | /elsewhere | `other.json#/paths/x` lies in another file",
    ]) {
        assert!(row.starts_with(why), "{row}");
    }
    assert_eq!(unmapped.len(), 4, "{unmapped:?}");
    let left_out = rows(&json, "left_out").join("\n");
    for why in [
        "`where`",
        "`session` | cookies aren't sent",
        "`metadata` of the body | it is an object of any members",
    ] {
        assert!(left_out.contains(why), "{why}: {left_out}");
    }
    let draft = json.text("/draft");
    for line in [
        "query = { \"filter[status]\" = \"{filter_status}\", \"customerId\" = \"{customerId}\", \"tag\" = \"{tag}\", \"pageSize\" = \"{pageSize}\" }, header = { \"X-Region\" = \"{X_Region}\" }",
        "\"pageSize\" = { type = \"integer\", min = \"1\", max = \"200\", required = false }",
        "\"tag\" = { type = \"list\", items = { type = \"text\" }, max_items = 10, required = false }",
        "\"reference\" = { type = \"text\", pattern = \"[A-Z]{2}-\\\\d{1,9}\" }",
        "\"total\" = { type = \"decimal\", min = \"0\", max = \"99999.99\", scale = 2 }",
        "\"carrier\" = { type = \"enum\", values = [\"new\", \"paid\", \"sent\"], required = false } # review: null isn't passed on",
        "\"priority\" = { type = \"integer\", min = \"1\", max = \"5\", required = false } # review: only 1, 2, 5",
        "http = { method = \"POST\", path = \"/orders/{id}/lines\", body = \"{body}\" }",
        "http = { method = \"POST\", path = \"/orders/{id_in_path}:cancel\", body = \"form\" }",
        "effect = \"destructive\" # review\ndescription = \"\"",
        "# deprecated\n",
    ] {
        assert!(draft.contains(line), "{line}\n{draft}");
    }
    assert!(!draft.contains("createdAt"), "{draft}");
    let checked = loaded(dir.path(), &draft);
    assert_eq!(checked.code, 0, "{checked:?}\n{draft}");
}

#[test]
fn what_is_no_description_is_refused_with_the_reason() {
    let dir = tempdir().unwrap();
    for (text, why) in [
        ("{", "neither JSON nor YAML"),
        ("a: [1", "neither JSON nor YAML"),
        ("{\"swagger\":\"2.0\"}", "Swagger 2.0"),
        ("openapi: 2.5.0\npaths: {}", "OpenAPI `2.5.0`"),
        ("openapi: 3.1.0", "no `paths`"),
        ("x: 1", "no member `openapi`"),
    ] {
        let ran = pull(dir.path(), "cases", text, &[]).expect(2);
        assert!(ran.err.contains(why) && ran.out.is_empty(), "{text}: {ran:?}");
    }
    let ran = pull(dir.path(), "Not A Name", "openapi: 3.1.0\npaths: {}", &[]).expect(2);
    assert!(ran.err.contains("can't be an upstream's name"), "{ran:?}");
    let ran = placet(dir.path(), &["catalog", "pull", "cases", "--openapi", "nowhere.yaml"]).expect(2);
    assert!(ran.err.contains("can't read `nowhere.yaml`"), "{ran:?}");
}
