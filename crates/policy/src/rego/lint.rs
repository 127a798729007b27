//! What a Rego release must not hold: cycles, functions that aren't admitted, paths that no input has.

use std::collections::{BTreeMap, BTreeSet};

use regorus::unstable::{Rule, RuleHead};

use super::{
    RESERVED,
    ast::{self, Mentions, Parsed, Reference, Step},
    builtins::{self, Standing, Why},
    differ,
};
use crate::{
    contract::{COMPUTED, Contract},
    finding::{Finding, Severity, nearest},
};

/// Rules by package and name.
pub(crate) type Rules<'a> = BTreeMap<Key, Vec<(&'a Parsed, &'a Rule)>>;

/// A rule's package and name.
pub(crate) type Key = (String, String);

pub(crate) fn rules(modules: &[Parsed]) -> Rules<'_> {
    let mut rules = Rules::new();
    for parsed in modules {
        for rule in &parsed.module.policy {
            if let Some((name, _)) = ast::rule_name(rule) {
                rules.entry((parsed.package.join("."), name)).or_default().push((parsed, rule));
            }
        }
    }
    rules
}

/// Checks all modules of a release together.
pub(crate) fn lint(modules: &[Parsed], contract: &Contract) -> Vec<Finding> {
    let mut findings = Vec::new();
    let rules = rules(modules);
    for parsed in modules {
        let package = parsed.package.join(".");
        let globals: BTreeSet<&str> =
            rules.keys().filter(|(of, _)| *of == package).map(|(_, name)| name.as_str()).collect();
        for rule in &parsed.module.policy {
            findings.extend(differ::check(parsed, rule, &globals));
            let mentions = Mentions::of_rule(rule);
            let place = ast::at(rule.span());
            if let Some((name, _)) = ast::rule_name(rule) {
                if name.starts_with(RESERVED) {
                    findings.push(Finding::error(
                        &parsed.file,
                        place,
                        format!("names that start with `{RESERVED}` are reserved"),
                        "rename the rule",
                    ));
                }
            } else {
                findings.push(Finding::error(&parsed.file, place, "the rule has no name", ""));
            }
            for call in &mentions.calls {
                if !is_function(parsed, &package, &call.name, &rules) {
                    findings.push(refused_call(&parsed.file, call, &package, &rules));
                }
            }
            for reference in &mentions.references {
                if let Some(finding) = unknown_path(parsed, reference, &mentions.locals, contract) {
                    findings.push(finding);
                }
            }
        }
    }
    findings.extend(cycles(&rules));
    findings
}

fn resolve(parsed: &Parsed, name: &str) -> String {
    let (first, rest) = name.split_once('.').map_or((name, None), |(first, rest)| (first, Some(rest)));
    match (parsed.aliases.get(first), rest) {
        (Some(path), Some(rest)) => format!("{}.{rest}", path.join(".")),
        (Some(path), None) => path.join("."),
        (None, _) => name.to_owned(),
    }
}

fn is_function(parsed: &Parsed, package: &str, name: &str, rules: &Rules<'_>) -> bool {
    if builtins::admitted(name) {
        return true;
    }
    let resolved = resolve(parsed, name);
    let defined = |package: &str, name: &str| {
        rules.get(&(package.to_owned(), name.to_owned())).is_some_and(|found| {
            found.iter().any(|(_, rule)| matches!(rule, Rule::Spec { head: RuleHead::Func { .. }, .. }))
        })
    };
    match resolved.strip_prefix("data.").and_then(|path| path.rsplit_once('.')) {
        Some((package, name)) => defined(package, name),
        None => defined(package, &resolved),
    }
}

fn refused_call(file: &str, call: &ast::Call, package: &str, rules: &Rules<'_>) -> Finding {
    let name = &call.name;
    if let Some(Standing::Refused(why)) = builtins::standing(name) {
        return Finding::error(
            file,
            call.at,
            format!("`{name}` isn't admitted: {}", why.reason()),
            why.remedy(),
        )
        .coded(if matches!(why, Why::Differs | Why::Withdrawn) {
            differ::CODE
        } else {
            "unadmitted-function"
        });
    }
    let mut known: Vec<&str> = builtins::names().collect();
    known.extend(rules.keys().filter(|(of, _)| of == package).map(|(_, name)| name.as_str()));
    let help =
        nearest(name, known.into_iter()).map(|near| format!("did you mean `{near}`?")).unwrap_or_default();
    Finding::error(file, call.at, format!("there is no admitted function `{name}`"), help)
        .coded("unadmitted-function")
}

fn unknown_path(
    parsed: &Parsed,
    reference: &Reference,
    locals: &BTreeSet<String>,
    contract: &Contract,
) -> Option<Finding> {
    let mut path = input_path(parsed, reference, locals)?;
    // A whole object may be compared or handed on.
    if path.is_empty() {
        return None;
    }
    let suggestion = contract.knows(&path.iter().map(String::as_str).collect::<Vec<_>>()).err()?;
    path.iter_mut().filter(|step| *step == COMPUTED).for_each(|step| "_".clone_into(step));
    let help = suggestion.map_or_else(
        || "declare it in the catalog, in a workflow type or in `relations.toml`".to_owned(),
        |near| format!("did you mean `{near}`?"),
    );
    Some(
        Finding::error(
            &parsed.file,
            reference.at,
            format!("no input has `input.{}`; the condition could never hold", path.join(".")),
            help,
        )
        .coded("unknown-path"),
    )
}

/// The steps below `input`, with imports resolved.
pub(crate) fn input_path(
    parsed: &Parsed,
    reference: &Reference,
    locals: &BTreeSet<String>,
) -> Option<Vec<String>> {
    let mut path = if reference.root == "input" {
        Vec::new()
    } else {
        let alias = parsed.aliases.get(&reference.root).filter(|_| !locals.contains(&reference.root))?;
        let (root, rest) = alias.split_first()?;
        if root != "input" {
            return None;
        }
        rest.to_vec()
    };
    path.extend(reference.steps.iter().map(|step| match step {
        Step::Name(name) => name.clone(),
        Step::Computed => COMPUTED.to_owned(),
    }));
    Some(path)
}

/// The rules that each rule names.
pub(crate) fn edges<'a>(rules: &'a Rules<'_>) -> BTreeMap<&'a Key, BTreeSet<&'a Key>> {
    let mut edges: BTreeMap<&Key, BTreeSet<&Key>> = BTreeMap::new();
    for (key, definitions) in rules {
        let found = edges.entry(key).or_default();
        for (parsed, rule) in definitions {
            for (path, computed) in targets(&Mentions::of_rule(rule), parsed) {
                found.extend(rules.keys().filter(|target| reaches(&path, computed, &key.0, target)));
            }
        }
    }
    edges
}

/// The paths that may be rules, and whether a computed step follows.
pub(crate) fn targets(mentions: &Mentions, parsed: &Parsed) -> Vec<(String, bool)> {
    let called = mentions.calls.iter().map(|call| (resolve(parsed, &call.name), false));
    // A local that is named like a rule counts as the rule: the bound must be sound, and the message says what to do.
    let read = mentions.references.iter().map(|reference| {
        let steps: Vec<&str> = reference
            .steps
            .iter()
            .map_while(|step| if let Step::Name(name) = step { Some(name.as_str()) } else { None })
            .collect();
        let computed = steps.len() < reference.steps.len();
        let mut path = resolve(parsed, &reference.root);
        for step in steps {
            path.push('.');
            path.push_str(step);
        }
        (path, computed)
    });
    called.chain(read).collect()
}

/// A rule that needs itself overflows the interpreter's stack: no such release is loaded.
fn cycles(rules: &Rules<'_>) -> Vec<Finding> {
    let edges = edges(rules);
    let mut findings = Vec::new();
    let mut done: BTreeSet<&(String, String)> = BTreeSet::new();
    for start in edges.keys() {
        if let Some(cycle) = walk(start, &edges, &done) {
            let names: Vec<String> =
                cycle.iter().map(|(package, name)| format!("{package}.{name}")).collect();
            if let Some((parsed, rule)) = rules.get(*start).and_then(|found| found.first()) {
                findings.push(
                    Finding::error(
                        &parsed.file,
                        ast::at(rule.span()),
                        format!("the rule needs itself: {}", names.join(" → ")),
                        "break the cycle; if a local name is meant, call it otherwise",
                    )
                    .coded("cycle"),
                );
            }
            done.extend(cycle);
        }
        done.insert(start);
    }
    findings
}

/// Whether a path may lead to a rule. A computed step may lead to whatever lies below.
pub(crate) fn reaches(path: &str, computed: bool, package: &str, (of, name): &(String, String)) -> bool {
    match path.strip_prefix("data.").or(if path == "data" { Some("") } else { None }) {
        Some(path) => {
            let rule = format!("{of}.{name}");
            let below = |long: &str, short: &str| {
                short.is_empty()
                    || long == short
                    || (long.starts_with(short) && long.as_bytes().get(short.len()) == Some(&b'.'))
            };
            // `data.p.rule.member` reads the rule; `data.p` or `data.p[x]` reads all of the package.
            below(path, &rule) || (below(&rule, path) && (computed || path != rule))
        }
        None => of == package && path.split('.').next() == Some(name.as_str()),
    }
}

/// A cycle through `start`, if there is one; without recursion, as the graph is the author's.
fn walk<'a>(
    start: &'a (String, String),
    edges: &BTreeMap<&'a (String, String), BTreeSet<&'a (String, String)>>,
    done: &BTreeSet<&'a (String, String)>,
) -> Option<Vec<&'a (String, String)>> {
    let mut parent: BTreeMap<&(String, String), &(String, String)> = BTreeMap::new();
    let mut open = vec![start];
    while let Some(node) = open.pop() {
        for next in edges.get(node).into_iter().flatten() {
            if *next == start {
                let mut cycle = vec![start];
                let mut at = node;
                while at != start {
                    cycle.push(at);
                    at = parent.get(at).copied().unwrap_or(start);
                }
                cycle.push(start);
                cycle.reverse();
                return Some(cycle);
            }
            if !done.contains(next) && !parent.contains_key(next) {
                parent.insert(next, node);
                open.push(next);
            }
        }
    }
    None
}

/// What an author should know about comparisons: Rego orders null and false below every number.
pub(crate) fn comparisons(modules: &[Parsed], guarded: &BTreeSet<String>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for parsed in modules {
        for (path, bounded_below, at) in super::near::upper_bounds(parsed) {
            if bounded_below {
                continue;
            }
            let name = path.join(".");
            let (severity, help) = if guarded.contains(&name) {
                (
                    Severity::Advice,
                    "the catalog's type and range, and the input's schema, stand before the policy"
                        .to_owned(),
                )
            } else {
                (
                    Severity::Warning,
                    format!("give `{name}` a type and a range in the catalog, or add a lower bound"),
                )
            };
            findings.push(Finding::new(severity, &parsed.file, at, format!("this comparison alone is also true for null, false and negative numbers: `input.{name}` has no lower bound here"), help).coded("null-comparison"));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{contract::Additions, rego::ast::parse};

    fn errors(sources: &[&str]) -> Vec<String> {
        let modules: Vec<Parsed> = sources
            .iter()
            .enumerate()
            .map(|(i, text)| parse(&format!("{i}.rego"), text, true).unwrap())
            .collect();
        lint(&modules, &Contract::new(&Additions::default())).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn pol_3_what_is_not_determined_is_refused_with_its_place() {
        for call in [
            "http.send({})",
            "opa.runtime()",
            "rand.intn(\"a\", 3)",
            "uuid.rfc4122(\"x\")",
            "net.cidr_contains(\"a\", \"b\")",
            "print(1)",
            "trace(\"x\")",
            "io.jwt.decode(\"x\")",
        ] {
            let found = errors(&[&format!("package p\nallow if {{\n  x := {call}\n  x\n}}\n")]);
            assert_eq!(found.len(), 1, "{call}: {found:?}");
            assert!(found.first().unwrap().starts_with("0.rego:3:"), "{found:?}");
        }
        assert!(
            errors(&["package p\nf(x) := x + 1\nallow if {\n  f(count([1])) == 2\n  time.now_ns() > 0\n}\n"])
                .is_empty()
        );
    }

    #[test]
    fn a_cycle_is_found_at_load_in_one_package_or_over_several() {
        assert_eq!(errors(&["package p\na if b\nb if a\n"]).len(), 1);
        assert_eq!(errors(&["package p\na if data.q.b\n", "package q\nimport data.p\nb if p.a\n"]).len(), 1);
        assert_eq!(errors(&["package p\nf(x) := f(x)\n"]).len(), 1);
        assert_eq!(errors(&["package p\na if data.p[input.action]\n"]).len(), 1);
        assert_eq!(
            errors(&["package p\na if b\nb if c\nc if input.action == \"x\"\nd if b\n"]),
            Vec::<String>::new()
        );
    }

    #[test]
    fn a_path_that_no_input_has_is_refused_with_a_suggestion() {
        let found = errors(&[
            "package p\nimport input.delegating_user as user\nallow if {\n  user.statuss == \"active\"\n  input.agent.tpye == \"x\"\n}\n",
        ]);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found.first().unwrap().contains("did you mean `input.delegating_user.status`?"), "{found:?}");
        assert!(found.last().unwrap().contains("0.rego:5:"), "{found:?}");
    }
}
