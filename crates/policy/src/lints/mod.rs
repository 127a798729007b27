//! What an author should know of a release that loads: each thing a lint with a name, an entry in
//! `docs/reference/lints.md`, and a way to say that it is meant so.

mod bodies;
mod catalog;
mod cedar;
mod reach;
mod registry;
mod silence;
mod values;

use crate::{Release, finding::Finding, rego::ast::Parsed};

pub use registry::{LINTS, Lint};
pub(crate) use silence::{Silence, apply};

/// All lints that look at a whole release.
pub(crate) fn all(release: &Release, modules: &[Parsed]) -> Vec<Finding> {
    let mut findings = reach::check(release, modules);
    findings.extend(bodies::check(release, modules));
    findings.extend(cedar::check(release));
    findings.extend(catalog::check(release, modules));
    findings
}
