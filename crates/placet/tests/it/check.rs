//! `placet check`: excerpts, JSON, SARIF, schemas.

use std::{fs, path::Path};

use jsonschema::validator_for;
use placet_json::Value;
use tempfile::tempdir;

use crate::support::{placet, policies};

/// The folder of the releases of this repository.
fn releases() -> std::path::PathBuf {
    Path::new(&policies("support")).parent().unwrap().to_owned()
}

/// Compares with `tests/data/check-NAME.txt`, the sum at the end left out; what differs is written to a file.
fn golden(name: &str, text: &str) {
    let text = text.trim_end().rsplit_once('\n').unwrap().0;
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let expected = fs::read_to_string(data.join(format!("check-{name}.txt"))).unwrap_or_default();
    if text != expected {
        let new = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("check-{name}.txt"));
        fs::write(&new, text).unwrap();
        panic!("`placet check` says something else; it is in {}:\n{text}", new.display());
    }
}

#[test]
fn the_essays_policy_is_told_where_and_what() {
    golden("support", &placet(&releases(), &["check", "support"]).expect(0).out);
}

#[test]
fn the_demonstrations_release_is_told_where_and_what() {
    golden("demo", &placet(&releases(), &["check", "demo"]).expect(0).out);
}

#[test]
fn what_is_refused_is_shown_with_its_line() {
    let dir = tempdir().unwrap();
    placet(dir.path(), &["init", "desk"]).expect(0);
    let policy = dir.path().join("desk/release/policies/desk.rego");
    let text = fs::read_to_string(&policy).unwrap();
    let broken = "\nallow if {\n\tregex.match(`^CASE-\\d+$`, input.resource.id)\n\tinput.workflow.expired_at != \"x\"\n\thttp.send({})\n}\n";
    fs::write(&policy, text + broken).unwrap();
    golden("refused", &placet(dir.path(), &["check", "desk/release"]).expect(1).out);
}

#[test]
fn sarif_fits_its_schema_and_names_files_as_the_repository_does() {
    let schema: serde_json::Value =
        serde_json::from_str(include_str!("../data/sarif-2.1.0.schema.json")).unwrap();
    let schema = validator_for(&schema).unwrap();
    let dir = tempdir().unwrap();
    placet(dir.path(), &["init", "desk"]).expect(0);
    let manifest = dir.path().join("desk/release/release.toml");
    let policy = dir.path().join("desk/release/policies/desk.rego");
    fs::write(
        &policy,
        fs::read_to_string(&policy).unwrap()
            + "\nlonely if input.action == \"read_case\"\nother if http.send({})\n",
    )
    .unwrap();
    let log = |code| {
        let ran = placet(dir.path(), &["check", "desk/release", "--format", "sarif"]).expect(code);
        let log: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
        let errors: Vec<String> = schema.iter_errors(&log).map(|error| error.to_string()).collect();
        assert_eq!(errors, Vec::<String>::new());
        log
    };
    let refused = log(1);
    let results = refused["runs"][0]["results"].as_array().unwrap();
    let result = results.iter().find(|result| result["ruleId"] == "unadmitted-function").unwrap();
    assert_eq!(result["level"], "error");
    let place = &result["locations"][0]["physicalLocation"];
    assert_eq!(place["artifactLocation"]["uri"], "desk/release/policies/desk.rego");
    assert!(place["region"]["startLine"].as_u64().unwrap() > 10);
    let rule = result["ruleIndex"].as_u64().unwrap();
    let rules = &refused["runs"][0]["tool"]["driver"]["rules"];
    assert_eq!(rules[usize::try_from(rule).unwrap()]["id"], "unadmitted-function");

    fs::write(&policy, fs::read_to_string(&policy).unwrap().replace("other if http.send({})\n", "")).unwrap();
    let silence = "\n[[silence]]\nlint = \"dead-rule\"\nreason = \"for the next release\"\n";
    fs::write(&manifest, fs::read_to_string(&manifest).unwrap() + silence).unwrap();
    let silenced = log(0);
    let results = silenced["runs"][0]["results"].as_array().unwrap();
    let result = results.iter().find(|result| result["ruleId"] == "dead-rule").unwrap();
    assert_eq!(result["suppressions"][0]["justification"], "for the next release");
    let ran = placet(dir.path(), &["check", "desk/release", "--strict"]).expect(0);
    assert!(ran.out.contains("silenced: dead-rule at policies/desk.rego:"), "{}", ran.out);
    assert!(ran.out.contains("1 silenced"), "{}", ran.out);
    let json = placet(dir.path(), &["check", "desk/release", "--format", "json"]).expect(0).json();
    assert_eq!(json.get("silenced").and_then(Value::as_u64), Some(1));
}

#[test]
fn a_release_shows_the_schemas_that_it_makes() {
    let cedar = placet(&releases(), &["check", "support-cedar", "--schema", "cedar"]).expect(0).out;
    for words in ["entity support_case", "action \"issue_refund\"", "manager_approval?", "__cedar::decimal"] {
        assert!(cedar.contains(words), "{words}: {cedar}");
    }
    let input = placet(&releases(), &["check", "support", "--schema", "input"]).expect(0).json();
    assert!(input.pointer("/properties/amount").is_some());
    let none = placet(&releases(), &["check", "support", "--schema", "cedar"]).expect(2);
    assert!(none.err.contains("no Cedar policies"), "{}", none.err);
}
