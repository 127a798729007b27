//! Two releases on the same cases: which decisions change.

use placet_json::{Value, object};

use crate::{CaseResult, Decided, LoadFacts, Release, Tree};

/// A case that two releases decide differently.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaseDiff {
    /// The case's file.
    pub file: String,
    /// Its name.
    pub name: String,
    /// What the first says: the decision and its reasons.
    pub a: String,
    /// What the second says.
    pub b: String,
    /// Decisions of the case that become permits.
    pub permitted: u64,
    /// Decisions of the case that become denials.
    pub denied: u64,
}

impl CaseDiff {
    /// As JSON.
    #[must_use]
    pub fn to_value(&self) -> Value {
        Value::Object(object! {
            "file" => self.file.as_str(), "name" => self.name.as_str(), "a" => self.a.as_str(), "b" => self.b.as_str(),
            "permitted" => self.permitted, "denied" => self.denied,
        })
    }
}

/// What two releases make of the same cases.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CasesDiff {
    /// Cases that were run by both.
    pub compared: u64,
    /// Those of which a decision changes, and those that only one of the two can run.
    pub changes: Vec<CaseDiff>,
    /// Cases that are denied by both, for other reasons.
    pub other_reasons: u64,
}

impl CasesDiff {
    /// Whether no decision changes.
    #[must_use]
    pub fn is_same(&self) -> bool {
        self.changes.is_empty()
    }

    /// As JSON.
    #[must_use]
    pub fn to_value(&self) -> Value {
        Value::Object(object! {
            "compared" => self.compared, "same" => self.is_same(), "other_reasons" => self.other_reasons,
            "changes" => self.changes.iter().map(CaseDiff::to_value).collect::<Vec<_>>(),
        })
    }
}

/// Runs the cases of `tests` by both releases. Paths are those of a release: `tests/….yaml` and the facts beside.
#[must_use]
pub fn diff_cases(a: &Release, b: &Release, tests: &Tree, load: LoadFacts<'_>) -> CasesDiff {
    let (of_a, of_b) = (a.test_cases(tests, load), b.test_cases(tests, load));
    let mut diff = CasesDiff::default();
    for (a, b) in of_a.results.iter().zip(&of_b.results) {
        diff.add(a, b);
    }
    diff
}

impl CasesDiff {
    fn add(&mut self, a: &CaseResult, b: &CaseResult) {
        self.compared = self.compared.saturating_add(1);
        let (mut permitted, mut denied) = (0_u64, 0_u64);
        for (was, now) in a.decisions.iter().zip(&b.decisions) {
            permitted = permitted.saturating_add(u64::from(now.permits && !was.permits));
            denied = denied.saturating_add(u64::from(was.permits && !now.permits));
        }
        // A property has no decisions of its own; what it came to counts.
        let runs = |result: &CaseResult| (result.decisions.is_empty(), result.passed);
        let one_sided =
            a.decisions.len() != b.decisions.len() || (a.decisions.is_empty() && runs(a) != runs(b));
        if permitted > 0 || denied > 0 || one_sided {
            self.changes.push(CaseDiff {
                file: a.file.clone(),
                name: a.name.clone(),
                a: a.got.clone(),
                b: b.got.clone(),
                permitted,
                denied,
            });
            return;
        }
        let codes = |decided: &[Decided]| decided.iter().map(|one| one.codes.clone()).collect::<Vec<_>>();
        if codes(&a.decisions) != codes(&b.decisions) {
            self.other_reasons = self.other_reasons.saturating_add(1);
        }
    }
}
