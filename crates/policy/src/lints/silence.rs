//! `[[silence]]` of `release.toml`: findings that the owners of a release live with, and why.

use serde::Deserialize;

use super::registry::{LINTS, named};
use crate::{
    finding::{Finding, Severity, nearest},
    manifest::line_of,
};

/// One entry.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Silence {
    /// The lint's name.
    lint: String,
    /// The file that it is about; every file without.
    file: Option<String>,
    /// Why.
    reason: String,
}

/// The file that silences are in.
const FILE: &str = "release.toml";

/// Marks what is silenced, and adds what is wrong with the silences themselves. `all` says whether every lint was
/// asked, so that a silence without a finding has none to silence.
pub(crate) fn apply(silences: &[Silence], findings: &mut Vec<Finding>, manifest: &str, all: bool) {
    let mut more = Vec::new();
    for silence in silences {
        let at = line_of(manifest, &format!("\"{}\"", silence.lint));
        let error = |message: String, help: String| Finding::error(FILE, at, message, help);
        let Some(lint) = named(&silence.lint) else {
            let near = nearest(&silence.lint, LINTS.iter().map(|lint| lint.code));
            let help = near.map(|near| format!("did you mean `{near}`?")).unwrap_or_default();
            more.push(error(format!("there is no lint `{}`", silence.lint), help));
            continue;
        };
        if silence.reason.trim().is_empty() {
            more.push(error(
                format!("`{}` is silenced without a reason", lint.code),
                "write why in `reason`".to_owned(),
            ));
            continue;
        }
        let fits = |finding: &&mut Finding| {
            finding.code == lint.code
                && finding.severity != Severity::Error
                && silence.file.as_ref().is_none_or(|file| *file == finding.file)
        };
        let mut any = false;
        for finding in findings.iter_mut().filter(fits) {
            finding.silenced = Some(silence.reason.as_str().into());
            any = true;
        }
        // What is an error at its worst may be less elsewhere.
        let softer = matches!(lint.code, "engines-differ" | "cedar-validation");
        if lint.severity == Severity::Error && !softer && !any {
            more.push(error(
                format!("`{}` is an error and can't be silenced", lint.code),
                "remove the entry".to_owned(),
            ));
        } else if all && !any {
            more.push(
                Finding::new(
                    Severity::Advice,
                    FILE,
                    at,
                    format!("`{}` is silenced, and nothing of the kind was found", lint.code),
                    "remove the entry",
                )
                .coded("unused-silence"),
            );
        }
    }
    findings.extend(more);
}
