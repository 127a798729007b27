//! How the cases came out: as JSON, and as JUnit's XML.

use std::fmt::Write as _;

use placet_json::{Value, object};

use super::cover::Coverage;

/// How the cases of a release came out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// In the order of their files.
    pub results: Vec<CaseResult>,
    /// Which rules and conditions the cases met; none where it wasn't asked for.
    pub coverage: Option<Coverage>,
    /// The seed of what was generated.
    pub seed: u64,
}

/// How one case came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaseResult {
    /// The case's file.
    pub file: String,
    /// Its name.
    pub name: String,
    /// Whether it came out as it says.
    pub passed: bool,
    /// What was expected.
    pub expected: String,
    /// What came out: the decision and its reasons.
    pub got: String,
    /// The decisions that were made, one after the other; none where it couldn't be run, of a rule and of a property.
    pub decisions: Vec<Decided>,
}

/// A decision of a case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided {
    /// Whether it is a permit.
    pub permits: bool,
    /// The codes of a denial's reasons.
    pub codes: Vec<String>,
}

pub(super) fn broken(file: &str, name: &str, message: &str) -> CaseResult {
    CaseResult {
        file: file.to_owned(),
        name: name.to_owned(),
        passed: false,
        expected: "a case that can be run".to_owned(),
        got: message.to_owned(),
        decisions: Vec::new(),
    }
}

impl Report {
    /// Whether all came out as they say. A release without a case doesn't pass.
    #[must_use]
    pub fn passed(&self) -> bool {
        !self.results.is_empty() && self.results.iter().all(|result| result.passed)
    }

    /// As JSON.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let failed = self.results.iter().filter(|result| !result.passed).count();
        let cases = self.results.iter().map(|result| {
            Value::Object(object! {
                "file" => result.file.as_str(), "name" => result.name.as_str(), "passed" => result.passed,
                "expected" => result.expected.as_str(), "got" => result.got.as_str(),
            })
        });
        let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        let mut document = object! {
            "passed" => self.passed(), "total" => count(self.results.len()), "failed" => count(failed), "seed" => self.seed, "cases" => cases.collect::<Vec<_>>(),
        };
        if let Some(coverage) = &self.coverage {
            document.insert("coverage", coverage.to_value());
        }
        Value::Object(document)
    }

    /// As JUnit's XML, which continuous integration reads.
    #[must_use]
    pub fn to_junit(&self) -> String {
        let failed = self.results.iter().filter(|result| !result.passed).count();
        let mut xml = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"placet\" tests=\"{}\" failures=\"{failed}\">\n",
            self.results.len()
        );
        for result in &self.results {
            let _infallible = write!(
                xml,
                "  <testcase classname=\"{}\" name=\"{}\"",
                escaped(&result.file),
                escaped(&result.name)
            );
            if result.passed {
                xml.push_str("/>\n");
            } else {
                let message = escaped(&format!("expected {}, got {}", result.expected, result.got));
                let _infallible = write!(xml, ">\n    <failure message=\"{message}\"/>\n  </testcase>\n");
            }
        }
        xml.push_str("</testsuite>\n");
        xml
    }
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' => out.push_str("&#10;"),
            // XML 1.0 §2.2 has no other control character.
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}
