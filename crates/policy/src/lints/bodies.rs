//! Rule by rule: conditions that can't all hold, values that no input has, arithmetic on decimals, computed patterns.

use std::collections::{BTreeMap, BTreeSet};

use regorus::unstable::{BoolOp, Expr, Literal, Query, Rule, RuleHead};

use super::values::{Comparison, Vocabulary, comparisons, contradiction};
use crate::{
    Release,
    contract::Shape,
    finding::{Finding, Severity},
    rego::{
        ast::{self, Mentions, Parsed},
        lint, visit,
    },
};

/// Advice on an `allow` that compares no tenant or reads no workflow.
pub(super) fn bare(file: &str, at: (u32, u32), tenant: bool, workflow: bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut say = |code, message: &str, help: &str| {
        findings.push(Finding::new(Severity::Advice, file, at, message, help).coded(code));
    };
    if !tenant {
        say(
            "allow-without-tenant",
            "this `allow` compares no tenant: what keeps tenants apart is the platform's own check alone",
            "compare the resource's `tenant_id` with the workflow's",
        );
    }
    if !workflow {
        say(
            "allow-without-workflow",
            "this `allow` reads neither the workflow nor the intent: it permits for whatever purpose",
            "name the intent that it is for, or a state of the workflow",
        );
    }
    findings
}

pub(super) fn check(release: &Release, modules: &[Parsed]) -> Vec<Finding> {
    let Some(program) = &release.rego else { return Vec::new() };
    let packages: Vec<&str> = program.packages().collect();
    let vocabulary = Vocabulary::of(release);
    let required = required(release);
    let mut findings = Vec::new();
    for parsed in modules {
        let package = parsed.package.join(".");
        let helpers = helpers(modules, &package);
        for rule in &parsed.module.policy {
            let Some((name, _)) = ast::rule_name(rule) else { continue };
            let denies = name == "deny" && packages.contains(&package.as_str());
            let (queries, _) = visit::of_rule(rule);
            for query in queries {
                findings.extend(values(parsed, rule, query, &helpers, &vocabulary, denies));
            }
            if denies {
                findings.extend(missing(release, parsed, rule, &required));
            }
            findings.extend(expressions(release, parsed, rule));
        }
    }
    findings
}

/// By name, the one body of rules of a package that are complete and have just one.
fn helpers<'a>(modules: &'a [Parsed], package: &str) -> BTreeMap<String, (&'a Parsed, &'a Query)> {
    let mut found: BTreeMap<String, Vec<(&Parsed, &Query)>> = BTreeMap::new();
    for parsed in modules.iter().filter(|parsed| parsed.package.join(".") == package) {
        for rule in &parsed.module.policy {
            if let Rule::Spec { head: RuleHead::Compr { refr, .. }, bodies, .. } = rule.as_ref()
                && let Expr::Var { span, .. } = refr.as_ref()
            {
                let bodies = bodies.iter().map(|body| (parsed, body.query.as_ref()));
                found.entry(span.text().to_owned()).or_default().extend(bodies);
            }
        }
    }
    found
        .into_iter()
        .filter_map(|(name, bodies)| match bodies.as_slice() {
            [only] => Some((name, *only)),
            _ => None,
        })
        .collect()
}

/// What a body compares with values that never come, or with values that exclude each other.
fn values(
    parsed: &Parsed,
    rule: &Rule,
    query: &Query,
    helpers: &BTreeMap<String, (&Parsed, &Query)>,
    vocabulary: &Vocabulary,
    denies: bool,
) -> Vec<Finding> {
    let locals = Mentions::of_rule(rule).locals;
    let own = comparisons(parsed, query, &locals);
    let mut findings = Vec::new();
    let mut say = |code: &'static str, at, message: String, help: String| {
        let (code, message) = if denies {
            ("deny-never-fires", format!("this deny never fires: {message}"))
        } else {
            (code, message)
        };
        findings.push(Finding::new(Severity::Warning, &parsed.file, at, message, help).coded(code));
    };
    for comparison in &own {
        if let Some((code, message, help)) = vocabulary.never(comparison) {
            say(code, comparison.at, message, help);
        }
    }
    let mut all = own;
    let mut open: Vec<(&Query, u8)> = vec![(query, 0)];
    while let Some((query, depth)) = open.pop() {
        for statement in &query.stmts {
            if let Literal::Expr { expr, .. } = &statement.literal
                && let Expr::Var { span, .. } = expr.as_ref()
                && !locals.contains(span.text())
                && let Some((parsed, inner)) = helpers.get(span.text())
                && depth < 4
            {
                // A helper's own contradictions are told there; here it matters what it adds.
                all.extend(comparisons(parsed, inner, &BTreeSet::new()));
                open.push((inner, depth.saturating_add(1)));
            }
        }
    }
    if let Some((first, second)) = contradiction(&all) {
        say(
            "contradiction",
            first.at,
            format!(
                "`{}` and `{}` exclude each other, so that the rule never holds",
                first.text, second.text
            ),
            "remove one, or write two rules".to_owned(),
        );
    }
    findings
}

/// Attributes that some tool always gives.
fn required(release: &Release) -> BTreeSet<String> {
    release
        .catalog()
        .entries()
        .flat_map(|entry| entry.arguments().values())
        .filter_map(|argument| match argument {
            placet_catalog::Argument::Given { required: true, attribute: Some(name), .. } => {
                Some(name.as_str().to_owned())
            }
            placet_catalog::Argument::Given { .. } | placet_catalog::Argument::Bound(_) => None,
        })
        .collect()
}

/// Negations in a deny over members that an input may lack: then the deny doesn't fire.
fn missing(release: &Release, parsed: &Parsed, rule: &Rule, required: &BTreeSet<String>) -> Vec<Finding> {
    let locals = Mentions::of_rule(rule).locals;
    let rewritten: BTreeMap<u32, &str> = release
        .rewrites()
        .iter()
        .filter(|rewrite| rewrite.file == parsed.file && rewrite.to.ends_with("]) == 1"))
        .map(|rewrite| (rewrite.line, rewrite.from.as_str()))
        .collect();
    let mut findings = Vec::new();
    for query in visit::queries(rule) {
        for statement in &query.stmts {
            let Literal::NotExpr { expr, span } = &statement.literal else { continue };
            let Some(from) = rewritten.get(&span.line) else { continue };
            let mentions = Mentions::of_expr(expr);
            let open = mentions.references.iter().filter_map(|r| lint::input_path(parsed, r, &locals)).find(
                |path| {
                    let sure = release.contract.always(path)
                        || matches!(path.as_slice(), [name] if required.contains(name));
                    !path.is_empty() && !sure
                },
            );
            if let Some(path) = open {
                findings.push(
                    Finding::new(
                        Severity::Advice,
                        &parsed.file,
                        ast::at(&statement.span),
                        format!(
                            "where there is no `input.{}`, `{from}` has no answer, and this deny doesn't fire",
                            path.join(".")
                        ),
                        "add a deny for the case that it is missing, as `not` over the member alone",
                    )
                    .coded("deny-misses-missing"),
                );
            }
        }
    }
    findings
}

/// Comparisons of computed decimals, and patterns that aren't written in the policy.
#[expect(clippy::wildcard_enum_match_arm, reason = "of a syntax tree only some forms are meant")]
fn expressions(release: &Release, parsed: &Parsed, rule: &Rule) -> Vec<Finding> {
    let locals = Mentions::of_rule(rule).locals;
    let mut findings = Vec::new();
    for (expr, _) in visit::expressions(rule) {
        let at = ast::at(expr.span());
        match expr {
            Expr::BoolExpr { op, lhs, rhs, .. } => {
                let computed = [lhs, rhs].into_iter().find(|side| {
                    matches!(side.as_ref(), Expr::ArithExpr { .. })
                        && Mentions::of_expr(side)
                            .references
                            .iter()
                            .filter_map(|r| lint::input_path(parsed, r, &locals))
                            .any(|path| matches!(release.contract.shape(&path), Some(Shape::Decimal(_))))
                });
                if computed.is_some() {
                    let edge = if matches!(op, BoolOp::Eq | BoolOp::Ne) {
                        "may be wrong"
                    } else {
                        "may be wrong at the very bound"
                    };
                    findings.push(
                        Finding::new(
                            Severity::Advice,
                            &parsed.file,
                            at,
                            format!("arithmetic is on doubles, so that this comparison of a computed decimal {edge}"),
                            "compare `round((…) * 10000)` with `round(… * 10000)`, or let a budget count",
                        )
                        .coded("inexact-arithmetic"),
                    );
                }
            }
            Expr::Call { fcn, params, .. } => {
                let name = ast::full_path(fcn).map(|path| path.join(".")).unwrap_or_default();
                let index = match name.as_str() {
                    "regex.match"
                    | "regex.find_n"
                    | "regex.split"
                    | "glob.match"
                    | "regex.template_match" => 0,
                    "regex.replace" => 1,
                    _ => continue,
                };
                if params.get(index).is_some_and(|pattern| visit::literal_text(pattern).is_none()) {
                    findings.push(
                        Finding::new(
                            Severity::Advice,
                            &parsed.file,
                            at,
                            format!("the pattern of `{name}` is computed, so that it isn't checked before it is in force"),
                            "write the pattern in the policy, one rule for each",
                        )
                        .coded("computed-pattern"),
                    );
                }
            }
            _ => {}
        }
    }
    findings
}

/// A comparison as an author reads it, for messages.
pub(super) fn shown(comparison: &Comparison) -> &str {
    &comparison.text
}
