//! `placet check`: what an author should know before anybody relies on a release.

use crate::{
    Release, Tree, cases,
    finding::{Finding, Severity},
    manifest::{self, EngineName},
    rego::{ast, lint},
    release, states,
};

/// Looks at a tree of files: errors that would refuse it, warnings, and advice. Sorted by file and line.
#[must_use]
pub fn check(tree: &Tree) -> Vec<Finding> {
    let parts = release::read(tree, None);
    let mut findings = parts.findings;
    findings.extend(lint::comparisons(&parts.modules, &parts.guarded));
    if let Some(release) = &parts.release {
        for rewrite in release.rewrites() {
            let message = format!(
                "`{}` means different things to different engines; it is evaluated as `{}`",
                rewrite.from, rewrite.to
            );
            findings.push(Finding::new(
                Severity::Advice,
                &rewrite.file,
                (rewrite.line, rewrite.column),
                message,
                format!("write `{}`", rewrite.to),
            ));
        }
        findings.extend(tools_without_rule(release));
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
    findings.sort_by(|a, b| {
        (&a.file, a.line, a.column, a.severity).cmp(&(&b.file, b.line, b.column, b.severity))
    });
    findings
}

fn tools_without_rule(release: &Release) -> Vec<Finding> {
    let mut findings = Vec::new();
    for entry in release.catalog().entries() {
        let action = entry.action().as_str();
        let possible = match release.granter(action) {
            Some(EngineName::Rego) => release.rego.as_ref().is_some_and(|program| program.may_allow(action)),
            Some(EngineName::Cedar) => {
                release.cedar.as_ref().is_some_and(|program| program.may_allow(action))
            }
            None => false,
        };
        if !possible {
            let file = release
                .tree()
                .iter()
                .find(|(path, bytes)| {
                    release.layout().inner(path).starts_with("catalog/")
                        && String::from_utf8_lossy(bytes).contains(entry.name().as_str())
                })
                .map_or("catalog", |(path, _)| path);
            let message = format!(
                "no rule allows `{action}`, the action of `{}`: the tool can never be used",
                entry.name()
            );
            findings.push(Finding::new(
                Severity::Advice,
                file,
                (0, 0),
                message,
                "add a rule, or leave the entry out",
            ));
        }
    }
    findings
}
