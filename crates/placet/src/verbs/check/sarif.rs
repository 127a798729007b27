//! Findings as SARIF 2.1.0 (OASIS), which code scanning and editors read.

use std::{fmt::Write as _, path::Path};

use placet_json::{Object, Value, object};
use placet_policy::{Finding, LINTS, Severity, Tree};

/// One log with one run.
pub(super) fn log(dir: &Path, tree: &Tree, findings: &[Finding]) -> Value {
    let rules: Vec<Value> = LINTS
        .iter()
        .map(|lint| {
            Value::from(object! {
                "id" => lint.code,
                "shortDescription" => object! { "text" => lint.tells },
                "help" => object! { "text" => format!("docs/reference/lints.md#{}", lint.code) },
                "defaultConfiguration" => object! { "level" => level(lint.severity) },
            })
        })
        .collect();
    let results: Vec<Value> = findings.iter().map(|finding| result(dir, tree, finding)).collect();
    let driver = object! {
        "name" => "placet",
        "version" => env!("CARGO_PKG_VERSION"),
        "rules" => rules,
    };
    let run = object! {
        "tool" => object! { "driver" => driver },
        "columnKind" => "unicodeCodePoints",
        "results" => results,
    };
    Value::from(object! {
        "$schema" => "https://json.schemastore.org/sarif-2.1.0.json",
        "version" => "2.1.0",
        "runs" => vec![Value::from(run)],
    })
}

fn result(dir: &Path, tree: &Tree, finding: &Finding) -> Value {
    let mut text = finding.message.clone();
    if !finding.help.is_empty() {
        text = format!("{text} ({})", finding.help);
    }
    let mut result = object! {
        "ruleId" => finding.code,
        "level" => level(finding.severity),
        "message" => object! { "text" => text },
    };
    if let Some(index) = LINTS.iter().position(|lint| lint.code == finding.code) {
        result.insert("ruleIndex", u64::try_from(index).unwrap_or_default());
    }
    // What concerns no file of the release has no place.
    if tree.contains_key(&finding.file) {
        let mut place = object! { "artifactLocation" => object! { "uri" => uri(dir, &finding.file) } };
        if finding.line > 0 {
            let mut region: Object = object! { "startLine" => u64::from(finding.line) };
            if finding.column > 0 {
                region.insert("startColumn", u64::from(finding.column));
            }
            place.insert("region", region);
        }
        let location = Value::from(object! { "physicalLocation" => place });
        result.insert("locations", vec![location]);
    }
    if let Some(reason) = &finding.silenced {
        let suppression = Value::from(object! { "kind" => "external", "justification" => &**reason });
        result.insert("suppressions", vec![suppression]);
    }
    Value::from(result)
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Advice => "note",
    }
}

/// The file as a relative reference: below the directory as it was given, so that a run at a repository's root names
/// files as the repository does; below the release where that was absolute.
fn uri(dir: &Path, file: &str) -> String {
    let dir = dir.to_string_lossy();
    let dir = dir.strip_prefix("./").unwrap_or(&dir).trim_end_matches('/');
    let path = if dir.is_empty() || dir == "." || dir.starts_with('/') || dir.starts_with("..") {
        file.to_owned()
    } else {
        format!("{dir}/{file}")
    };
    let mut uri = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            let _infallible = write!(uri, "%{byte:02X}");
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_named_as_the_repository_names_them() {
        let of = |dir: &str| uri(Path::new(dir), "policies/a b.rego");
        assert_eq!(of("desk/release/"), "desk/release/policies/a%20b.rego");
        assert_eq!(of("./release"), "release/policies/a%20b.rego");
        assert_eq!(of("."), "policies/a%20b.rego");
        assert_eq!(of("/tmp/release"), "policies/a%20b.rego");
    }
}
