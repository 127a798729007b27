//! The releases of this repository decide every case as they say.

use placet_policy::{Severity, check};

use crate::common::{built, load, tree};

#[test]
fn every_case_of_our_releases_comes_out_as_it_says() {
    for name in ["support", "support-cedar", "demo"] {
        let release = built(name);
        let report = release.test(&load);
        let failed: Vec<String> = report
            .results
            .iter()
            .filter(|r| !r.passed)
            .map(|r| format!("{}: expected {}, got {}", r.name, r.expected, r.got))
            .collect();
        assert!(failed.is_empty(), "{name}:\n{}", failed.join("\n"));
        assert!(report.passed() && report.results.len() > 9);
    }
}

#[test]
fn our_releases_have_no_error_and_no_warning() {
    for name in ["support", "support-cedar", "demo"] {
        let bad: Vec<String> = check(&tree(name))
            .iter()
            .filter(|finding| finding.severity != Severity::Advice)
            .map(ToString::to_string)
            .collect();
        assert!(bad.is_empty(), "{name}: {bad:#?}");
    }
}
