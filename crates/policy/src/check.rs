//! `placet check`: what an author should know before anybody relies on a release.

use crate::{
    Tree, cases,
    finding::{Finding, Severity},
    lints, manifest,
    rego::{ast, lint},
    release::{self, Rewrite},
    states,
};

/// Looks at a tree of files: errors that would refuse it, warnings, and advice. Sorted by file and line.
#[must_use]
pub fn check(tree: &Tree) -> Vec<Finding> {
    let parts = release::read(tree, None);
    let mut findings = parts.findings;
    findings.extend(lint::comparisons(&parts.modules, &parts.guarded));
    if let Some(release) = &parts.release {
        findings.extend(release.rewrites().iter().map(rewritten));
        findings.extend(lints::all(release, &parts.modules));
    }
    let v1 = parts.release.as_ref().is_none_or(|release| release.rego_v1);
    for (path, bytes) in tree {
        let inner = parts.release.as_ref().map_or(path.as_str(), |release| release.layout().inner(path));
        let Ok(text) = std::str::from_utf8(bytes) else { continue };
        if inner.starts_with("workflow_types/")
            && let Ok(kind) = manifest::workflow_type(path, text)
        {
            findings.extend(states::lints(&kind, path, text));
        }
        if cases::is_cases(inner) {
            findings.extend(cases::parse(path, text).err());
        }
        if inner.starts_with("policies/") && path.ends_with("_test.rego") {
            findings.extend(ast::parse(path, text, v1).err());
        }
    }
    let (silences, text) = &parts.silences;
    lints::apply(silences, &mut findings, text, parts.release.is_some());
    findings.sort_by(|a, b| {
        (&a.file, a.line, a.column, a.severity).cmp(&(&b.file, b.line, b.column, b.severity))
    });
    findings
}

/// Advice that a negation is evaluated in another form.
fn rewritten(rewrite: &Rewrite) -> Finding {
    let message = format!(
        "`{}` means different things to different engines; it is evaluated as `{}`",
        rewrite.from, rewrite.to
    );
    let help = format!("nothing needs to be done; `{}` says it in the open", rewrite.to);
    Finding::new(Severity::Advice, &rewrite.file, (rewrite.line, rewrite.column), message, help)
        .coded("engines-differ")
}
