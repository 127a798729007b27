//! What entry points lead to, and what their `allow` rules read on the way.

use std::collections::{BTreeMap, BTreeSet};

use regorus::unstable::{Rule, RuleBody};

use crate::{
    Release,
    finding::{Finding, Severity},
    rego::{
        CHECK,
        ast::{self, Mentions, Parsed},
        lint::{self, Key},
    },
};

pub(super) fn check(release: &Release, modules: &[Parsed]) -> Vec<Finding> {
    let Some(program) = &release.rego else { return Vec::new() };
    let rules = lint::rules(modules);
    let edges = lint::edges(&rules);
    let packages: Vec<&str> = program.packages().collect();
    let mut findings = Vec::new();

    let entry = |key: &&Key| {
        packages.iter().any(|package| {
            ["allow", "deny"]
                .iter()
                .any(|rule| lint::reaches(&format!("data.{package}.{rule}"), false, "", key))
        })
    };
    let reached = closure(rules.keys().filter(entry), &edges);
    for (key, found) in rules.iter().filter(|(key, _)| !reached.contains(*key)) {
        let Some((parsed, rule)) = found.first() else { continue };
        let message = format!("no entry point leads to the rule `{}.{}`", key.0, key.1);
        findings.push(
            Finding::new(
                Severity::Warning,
                &parsed.file,
                ast::at(rule.span()),
                message,
                "remove it, read it in a rule that is asked, or name its package in `entrypoints`",
            )
            .coded("dead-rule"),
        );
    }
    for (key, found) in &rules {
        if key.1 != "allow" || !packages.contains(&key.0.as_str()) {
            continue;
        }
        for (parsed, rule) in found {
            let Rule::Spec { bodies, .. } = rule else { continue };
            for body in bodies.iter().filter(|body| !body.query.stmts.is_empty()) {
                findings.extend(bare_allow(&key.0, parsed, body, &rules, &edges));
            }
        }
    }
    findings
}

fn closure<'a>(
    from: impl Iterator<Item = &'a Key>,
    edges: &BTreeMap<&'a Key, BTreeSet<&'a Key>>,
) -> BTreeSet<&'a Key> {
    let mut reached: BTreeSet<&Key> = BTreeSet::new();
    let mut open: Vec<&Key> = from.collect();
    while let Some(key) = open.pop() {
        if reached.insert(key) {
            open.extend(edges.get(key).into_iter().flatten().copied());
        }
    }
    reached
}

/// A body of `allow` that reads nothing of the tenant, or nothing of the workflow, itself or by the rules that it names.
fn bare_allow(
    package: &str,
    parsed: &Parsed,
    body: &RuleBody,
    rules: &lint::Rules<'_>,
    edges: &BTreeMap<&Key, BTreeSet<&Key>>,
) -> Vec<Finding> {
    let own: Vec<Mentions> = body.query.stmts.iter().map(Mentions::of_statement).collect();
    let named = own.iter().flat_map(|mentions| lint::targets(mentions, parsed));
    let direct: Vec<&Key> = named
        .flat_map(|(path, computed)| {
            rules.keys().filter(move |key| lint::reaches(&path, computed, package, key))
        })
        .collect();
    let reached = closure(direct.into_iter(), edges);
    let further: Vec<(&Parsed, Mentions)> = reached
        .iter()
        .filter_map(|key| rules.get(*key))
        .flatten()
        .map(|(parsed, rule)| (*parsed, Mentions::of_rule(rule)))
        .collect();
    let all = own.iter().map(|mentions| (parsed, mentions)).chain(further.iter().map(|(p, m)| (*p, m)));
    let (mut tenant, mut workflow) = (false, false);
    for (parsed, mentions) in all {
        tenant |= mentions.calls.iter().any(|call| call.name == CHECK);
        let paths = mentions.references.iter().filter_map(|r| lint::input_path(parsed, r, &mentions.locals));
        let mut of = (false, false);
        for path in paths {
            let first = path.first().map(String::as_str);
            tenant |= path.last().is_some_and(|step| step == "tenant_id") || first.is_none();
            workflow |= matches!(first, None | Some("workflow" | "intent"));
            of = (of.0 || first == Some("resource"), of.1 || first == Some("workflow"));
        }
        // What the resource is to the workflow, which is one tenant's.
        tenant |= of == (true, true);
    }
    let at = body.query.stmts.first().map_or((0, 0), |statement| ast::at(&statement.span));
    super::bodies::bare(&parsed.file, at, tenant, workflow)
}
