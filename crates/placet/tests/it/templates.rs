//! The templates: each a release that passes everything it says about itself.

use tempfile::tempdir;

use placet_json::Value;

use crate::support::placet;

/// What a release's cases must be of.
const CLASSES: [&str; 7] = [
    "# 1. allowed",
    "# 2. denied",
    "# 3. expired workflow",
    "# 4. inactive person",
    "# 5. another tenant",
    "# 6. missing approval",
    "# 7. a chain of calls",
];

#[test]
fn every_template_checks_clean_passes_its_cases_and_has_the_seven_classes() {
    let dir = tempdir().unwrap();
    let listed = placet(dir.path(), &["init", "--list", "--format", "json"]).expect(0).json();
    let names: Vec<String> = listed
        .get("templates")
        .and_then(Value::as_array)
        .unwrap()
        .iter()
        .map(|template| template.get("name").and_then(Value::as_str).unwrap().to_owned())
        .collect();
    assert_eq!(names.len(), 5, "{names:?}");
    for name in &names {
        placet(dir.path(), &["init", name, "--template", name]).expect(0);
        let release = format!("{name}/release");
        let checked = placet(dir.path(), &["check", &release, "--strict", "--format", "json"]).expect(0);
        assert!(!checked.out.contains("\"advice\": 1"), "{name}: {}", checked.out);
        let tested = placet(dir.path(), &["test", &release]).expect(0);
        assert!(tested.out.starts_with("passed: "), "{name}: {}", tested.out);
        let tests = dir.path().join(&release).join("tests");
        let cases: String = std::fs::read_dir(tests)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.is_file())
            .map(|path| std::fs::read_to_string(path).unwrap())
            .collect();
        for class in CLASSES {
            assert!(cases.contains(class), "{name} has no case of `{class}`");
        }
        assert!(cases.contains("property:"), "{name} has no property");
        // Settings that a server takes as they are.
        placet(dir.path(), &["serve", "--print-config", "--config", &format!("{name}/placet.toml")])
            .expect(0);
    }
}

#[test]
fn an_unknown_template_is_refused_with_those_that_there_are() {
    let dir = tempdir().unwrap();
    let ran = placet(dir.path(), &["init", "x", "--template", "supprt"]).expect(2);
    assert!(ran.err.contains("supprt") && ran.err.contains("support-desk"), "{}", ran.err);
    assert!(!dir.path().join("x").exists());
}
