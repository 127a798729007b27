//! Forms that engines read differently: refused when a release is built, each with what to write instead.

use std::collections::{BTreeMap, BTreeSet};

use placet_json::{Limits, Value as Json, parse};
use regorus::{
    Engine, Value,
    unstable::{Expr, Literal, Rule},
};

use super::{
    ast::{self, Mentions, Parsed},
    guard, visit,
};
use crate::finding::Finding;

/// The code of these findings. In an archive that was in force before one was known, it is a warning.
pub(crate) const CODE: &str = "engines-differ";

/// Where the pattern of a regular expression stands among the arguments.
const PATTERNS: &[(&str, usize)] = &[
    ("regex.match", 0),
    ("regex.find_n", 0),
    ("regex.find_all_string_submatch_n", 0),
    ("regex.split", 0),
    ("regex.replace", 1),
];

/// Looks at one rule. `globals` are the names of its package's rules.
pub(crate) fn check(parsed: &Parsed, rule: &Rule, globals: &BTreeSet<&str>) -> Vec<Finding> {
    let refuse =
        |at, message: String, help: String| Finding::error(&parsed.file, at, message, help).coded(CODE);
    let mut findings = Vec::new();
    for (expr, whole) in visit::expressions(rule) {
        let at = ast::at(expr.span());
        if let Expr::Number { span, .. } = expr
            && !exact(span.text())
        {
            findings.push(refuse(
                at,
                format!("the number `{}` has more digits than an engine keeps", span.text()),
                "write at most 15 digits, or a whole number below 2^63".to_owned(),
            ));
        }
        if let Expr::Membership { .. } = expr
            && !whole
        {
            findings.push(refuse(
                at,
                "engines read `in` differently as a value, where the collection is missing".to_owned(),
                "let it be a condition by itself, in a rule of its own if need be".to_owned(),
            ));
        }
        if let Expr::Call { fcn, params, .. } = expr {
            let name = ast::full_path(fcn).map(|path| path.join(".")).unwrap_or_default();
            if name == "walk" && params.len() != 2 {
                findings.push(refuse(
                    at,
                    "engines read `walk` with one argument differently".to_owned(),
                    "write `walk(document, [path, value])`".to_owned(),
                ));
            }
            let pattern = PATTERNS
                .iter()
                .find(|(function, _)| *function == name)
                .and_then(|(_, index)| params.get(*index))
                .and_then(|pattern| visit::literal_text(pattern));
            if let Some(pattern) = pattern
                && let Err((what, help)) = regular(&pattern, name == "regex.split")
            {
                findings.push(refuse(at, format!("the pattern `{pattern}`: {what}"), help));
            }
        }
    }
    for query in visit::queries(rule) {
        for modifier in query.stmts.iter().flat_map(|statement| &statement.with_mods) {
            let target = ast::full_path(&modifier.refr).unwrap_or_default();
            if !matches!(target.first().map(String::as_str), Some("input" | "data")) {
                findings.push(refuse(
                    ast::at(&modifier.span),
                    format!("`with` can't replace the function `{}` here", target.join(".")),
                    "replace a part of `input` or `data`".to_owned(),
                ));
            }
        }
    }
    findings.extend(unbound(rule, parsed, globals).into_iter().map(|(name, at)| {
        refuse(
            at,
            format!("the name `{name}` is bound nowhere outside of this negation"),
            format!("write `some {name}` in a rule of its own and negate that rule, or use `every`"),
        )
    }));
    findings
}

/// Whether an engine that keeps doubles keeps the number.
fn exact(text: &str) -> bool {
    let Ok(Json::Number(number)) = parse(text.as_bytes(), &Limits::MESSAGE) else { return false };
    if number.as_i64().is_some() {
        return true;
    }
    let digits = number.canonical().unwrap_or_default();
    let digits: String = digits.chars().filter(char::is_ascii_digit).collect();
    (1..=15).contains(&digits.trim_matches('0').len())
}

/// Names that only a negation mentions: it would be asked for each value of them, or for none.
fn unbound(rule: &Rule, parsed: &Parsed, globals: &BTreeSet<&str>) -> Vec<(String, (u32, u32))> {
    let locals = Mentions::of_rule(rule).locals;
    let mut negated: BTreeMap<String, (u32, u32)> = BTreeMap::new();
    let mut bound: BTreeSet<String> = BTreeSet::new();
    let (_, heads) = visit::of_rule(rule);
    for head in heads {
        names(head, &mut |name, _| bound.extend([name.to_owned()]));
    }
    for query in visit::queries(rule) {
        for statement in &query.stmts {
            if guard::listed(statement).is_some() {
                continue;
            }
            let negation = matches!(statement.literal, Literal::NotExpr { .. });
            for expr in visit::of_statement(statement) {
                names(expr, &mut |name, at| {
                    if negation {
                        negated.entry(name.to_owned()).or_insert(at);
                    } else {
                        bound.extend([name.to_owned()]);
                    }
                });
            }
        }
    }
    let known = |name: &str| {
        matches!(name, "input" | "data" | "_")
            || locals.contains(name)
            || bound.contains(name)
            || globals.contains(name)
            || parsed.aliases.contains_key(name)
    };
    negated.into_iter().filter(|(name, _)| !known(name)).collect()
}

/// The names that an expression mentions in place.
fn names(expr: &Expr, see: &mut dyn FnMut(&str, (u32, u32))) {
    if let Expr::Var { span, .. } = expr {
        see(span.text(), ast::at(span));
    }
    for child in visit::children(expr) {
        names(child, see);
    }
    // What a comprehension collects is bound inside of it.
}

/// What is wrong with a regular expression, and what to write.
type Wrong = (&'static str, String);

/// Checks that a pattern means the same in RE2, which OPA has, and in the engine.
pub(crate) fn regular(pattern: &str, splits: bool) -> Result<(), Wrong> {
    let wrong = |what, help: &str| Err((what, help.to_owned()));
    if splits && pattern.is_empty() {
        return wrong("engines split at an empty pattern differently", "use `split(text, \"\")`");
    }
    let mut class = false;
    let mut rest = pattern.chars().peekable();
    while let Some(c) = rest.next() {
        let next = rest.peek().copied();
        match (c, next) {
            ('\\', Some(letter)) => {
                rest.next();
                escape(letter, class)?;
            }
            ('[', Some(':')) if class => {
                // A named class, up to its end.
                while rest.next().is_some_and(|c| c != ']') {}
            }
            ('[', _) if class => {
                return wrong("engines read a bracket inside of a class differently", "write it as `\\[`");
            }
            ('[', _) => {
                class = true;
                if next == Some('^') {
                    rest.next();
                }
                if rest.peek() == Some(&']') {
                    return wrong(
                        "engines read a class that begins with a bracket differently",
                        "write it as `\\]`",
                    );
                }
            }
            (']', _) => class = false,
            ('&' | '-' | '~', Some(same)) if class && c == same => {
                return wrong(
                    "one engine takes it as an operation on classes",
                    "write the second one with a backslash",
                );
            }
            ('(', Some('?')) => {
                rest.next();
                for flag in rest.by_ref() {
                    match flag {
                        'i' | 'm' | 's' | 'U' | '-' => {}
                        ':' | ')' | 'P' | '<' => break,
                        _ => {
                            return wrong(
                                "it begins a group that not every engine has",
                                "use `(?:…)`, or the flags i, m, s, U",
                            );
                        }
                    }
                }
            }
            ('{', Some(',')) if !class => {
                return wrong("engines read `{,` differently", "write `{0,…}`, or `\\{`");
            }
            ('{', Some(digit)) if !class && digit.is_ascii_digit() => {
                let mut count = 0_u32;
                for c in rest.by_ref() {
                    match c.to_digit(10) {
                        Some(digit) => count = count.saturating_mul(10).saturating_add(digit),
                        None if c == ',' => count = 0,
                        None => break,
                    }
                    if count > 1000 {
                        return wrong("it repeats more than 1000 times", "check the length with `count`");
                    }
                }
            }
            _ => {}
        }
    }
    if compiles(pattern) {
        Ok(())
    } else {
        wrong("the engine doesn't take it", "write a regular expression of RE2 that is not as large")
    }
}

/// Escapes that mean something else in another engine: regorus' classes are those of Unicode, RE2's those of ASCII.
fn escape(letter: char, class: bool) -> Result<(), Wrong> {
    let what = "of this escape, engines make Unicode's characters or ASCII's";
    let (inside, alone) = match letter {
        'd' => ("0-9", "[0-9]"),
        'w' => ("0-9A-Za-z_", "[0-9A-Za-z_]"),
        's' => ("\\t\\n\\f\\r ", "[\\t\\n\\f\\r ]"),
        'D' => ("", "[^0-9]"),
        'W' => ("", "[^0-9A-Za-z_]"),
        'S' => ("", "[^\\t\\n\\f\\r ]"),
        'b' | 'B' => {
            return Err((
                what,
                "write the characters before and after as a class, or anchor with `^` and `$`".to_owned(),
            ));
        }
        '<' | '>' | 'Q' | 'E' | 'C' | 'u' | 'U' | '0'..='9' => {
            return Err(("not every engine has this escape", "write the characters themselves".to_owned()));
        }
        _ => return Ok(()),
    };
    Err((
        what,
        match (class, inside) {
            (true, "") => format!("write the class the other way round, with `{alone}`"),
            (true, inside) => format!("write `{inside}` in the class"),
            (false, _) => format!("write `{alone}`"),
        },
    ))
}

/// Whether the engine takes a pattern.
fn compiles(pattern: &str) -> bool {
    let mut engine = Engine::new();
    let module = "package pattern\nvalid := regex.is_valid(input)\n";
    engine.set_input(Value::from(pattern));
    engine.add_policy("pattern.rego".to_owned(), module.to_owned()).is_ok()
        && engine.eval_rule("data.pattern.valid".to_owned()).is_ok_and(|valid| valid == Value::Bool(true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_no_double_holds_are_told() {
        for good in
            ["0", "100", "0.0001", "99999999999.9999", "1700000000000000000", "9223372036854775807", "1e3"]
        {
            assert!(exact(good), "{good}");
        }
        for bad in ["100.00000000000000000001", "9223372036854775808", "0.1234567890123456"] {
            assert!(!exact(bad), "{bad}");
        }
    }

    #[test]
    fn a_pattern_that_engines_read_differently_is_told_with_another() {
        for good in [
            "^CASE-[0-9]+$",
            "(?i)abc",
            "[[:alpha:]_-]",
            "a{2,3}",
            "\\.\\-\\[",
            "\\p{Greek}",
            "[^a-z]",
            "(?P<x>a)",
            "",
        ] {
            assert_eq!(regular(good, false), Ok(()), "{good}");
        }
        for bad in [
            "\\d", "[\\w.]", "[^\\S]", "\\bx", "(?x) a", "(?=a)", "[a&&b]", "[a--b]", "[[a]]", "a{,3}",
            "a{1001}", "\\Qa\\E", "(", "[]a]",
        ] {
            assert!(regular(bad, false).is_err(), "{bad}");
        }
        assert!(regular("", true).is_err());
        assert_eq!(regular("x\\d", false).unwrap_err().1, "write `[0-9]`");
    }

    #[test]
    fn an_archive_is_evaluated_as_it_was_archived() {
        let tree = |body: &str| -> crate::Tree {
            let files = [
                (
                    "release.toml",
                    "name = \"t\"\n[rego]\nversion = \"v1\"\nentrypoints = [\"p\"]\n".to_owned(),
                ),
                ("policies/p.rego", format!("package p\nallow if {body}\n")),
            ];
            files.into_iter().map(|(path, text)| (path.to_owned(), text.into_bytes())).collect()
        };
        let document = br#"{"action":"a","intent":"i","args":{},"agent":{},"delegating_user":{},"workflow":{},"resource":{}}"#;
        let document = parse(document, &Limits::MESSAGE).unwrap();
        let now = placet_core::Timestamp::parse("2026-03-01T09:30:00Z").unwrap();
        let permits =
            |release: &crate::Release| release.decide_document(&document, None, Some(now)).permits();

        // Before negations over what is missing were rewritten, this one held.
        let old = tree("not startswith(input.args.x, \"a\")");
        let built = crate::Release::build(&old).unwrap();
        assert!(!permits(&built));
        assert!(!permits(&crate::Release::from_archive(built.archive()).unwrap()));
        let archived = crate::Release::from_archive(&crate::archive::pack(&old).unwrap()).unwrap();
        assert!(permits(&archived), "a recorded decision is made again as it was made");

        let old = tree("regex.match(`^\\w$`, input.action)");
        assert!(crate::Release::build(&old).is_err());
        let archived = crate::Release::from_archive(&crate::archive::pack(&old).unwrap()).unwrap();
        assert!(permits(&archived));
        assert!(archived.findings().iter().any(|finding| finding.code == CODE));
    }
}
