//! Negations, in forms that mean the same in every engine.
//!
//! `not deny[_]`: OPA refuses a wildcard under a negation (it binds a name that is unsafe there); regorus takes it, and
//! then never holds while the set is empty. `count([1 | deny[_]]) == 0` says what is meant, in both. Negations over
//! arguments that may be missing are the matter of [`guard`].

use super::{
    ast::{Mentions, Parsed, parse},
    guard,
};
use crate::finding::Finding;

/// One rewritten expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewrite {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
    /// The column, from 1.
    pub column: u32,
    /// As the author wrote it.
    pub from: String,
    /// As it is evaluated.
    pub to: String,
}

/// A negation may stand in a comprehension under another; each pass rewrites the innermost ones.
const PASSES: usize = 16;

/// A negation to be written otherwise.
struct Change {
    whole: std::ops::Range<usize>,
    inner: std::ops::Range<usize>,
    at: (u32, u32),
    /// What has to be there first; none for a wildcard's.
    needs: Option<Vec<String>>,
}

/// Parses a module and rewrites it. Line numbers stay as they are.
pub(crate) fn rewrite(file: &str, text: &str, v1: bool) -> Result<(Parsed, Vec<Rewrite>), Finding> {
    let mut parsed = parse(file, text, v1)?;
    let mut rewrites = Vec::new();
    for _ in 0..PASSES {
        let mut found = changes(file, &parsed)?;
        let outer: Vec<_> = found.iter().map(|change| change.whole.clone()).collect();
        found.retain(|Change { whole, .. }| {
            !outer.iter().any(|other| other != whole && whole.start <= other.start && other.end <= whole.end)
        });
        if found.is_empty() {
            return Ok((parsed, rewrites));
        }
        found.sort_by_key(|change| change.whole.start);
        let mut next = String::with_capacity(parsed.text.len().saturating_add(64));
        let mut done = 0;
        for Change { whole, inner, at: (line, column), needs } in found {
            let (Some(before), Some(from), Some(body)) =
                (parsed.text.get(done..whole.start), parsed.text.get(whole.clone()), parsed.text.get(inner))
            else {
                return Err(Finding::error(
                    file,
                    (line, column),
                    "this negation can't be rewritten",
                    "write `count([1 | …]) == 0` instead of `not …`",
                ));
            };
            let to = match needs {
                None => format!("count([1 | {body}]) == 0"),
                Some(needs) => format!("count([1 | [{}]; not {body}]) == 1", needs.join(", ")),
            };
            next.push_str(before);
            next.push_str(&to);
            rewrites.push(Rewrite { file: file.to_owned(), line, column, from: from.to_owned(), to });
            done = whole.end;
        }
        next.push_str(parsed.text.get(done..).unwrap_or_default());
        parsed = parse(file, &next, v1)?;
    }
    Err(Finding::error(
        file,
        (0, 0),
        "negations are nested too deeply to be rewritten",
        "write `count([1 | …]) == 0` instead of `not …[_]`",
    ))
}

fn changes(file: &str, parsed: &Parsed) -> Result<Vec<Change>, Finding> {
    let mut found = Vec::new();
    for rule in &parsed.module.policy {
        let missing = guard::unguarded(file, rule)?;
        // A wildcard that only a comprehension holds is the matter of the next pass.
        let wild = Mentions::of_rule(rule).wild_negations.into_iter();
        let wild = wild.filter(|(whole, _, _)| !missing.iter().any(|other| other.whole == *whole));
        found.extend(wild.map(|(whole, inner, at)| Change { whole, inner, at, needs: None }));
        found.extend(missing.into_iter().map(|guard::Unguarded { whole, inner, at, needs }| Change {
            whole,
            inner,
            at,
            needs: Some(needs),
        }));
    }
    Ok(found)
}

/// A condition as its author wrote it, if it is a rewritten negation. An author's own text of that form means the same.
pub(crate) fn as_written(text: &str) -> String {
    let inside = |end: &str| text.strip_prefix("count([1 | ").and_then(|rest| rest.strip_suffix(end));
    let negated = inside("]) == 1")
        .filter(|rest| rest.starts_with('['))
        .and_then(|rest| rest.split_once("]; not "))
        .map(|(_, body)| body)
        .or_else(|| inside("]) == 0"));
    negated.map_or_else(|| text.to_owned(), |body| format!("not {body}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(source: &str, v1: bool) -> (String, usize) {
        let (parsed, rewrites) = rewrite("p.rego", source, v1).unwrap();
        (parsed.text, rewrites.len())
    }

    #[test]
    fn a_wildcard_under_a_negation_is_rewritten_whatever_its_set_is_called() {
        let (out, n) = text("package p\nallow {\n  not forbidden[_]\n  not data.q.no[_]\n}\n", false);
        assert_eq!(
            out,
            "package p\nallow {\n  count([1 | forbidden[_]]) == 0\n  count([1 | data.q.no[_]]) == 0\n}\n"
        );
        assert_eq!(n, 2);
        let (out, _) = text("package p\nallow if {\n  not input.flow.labels[_] == \"pii\"\n}\n", true);
        assert!(out.contains("count([1 | input.flow.labels[_] == \"pii\"]) == 0"));
    }

    #[test]
    fn texts_comments_and_other_negations_stay() {
        let source =
            "package p\n# not deny[_]\nallow {\n  x := \"not deny[_]\"\n  not deny[x]\n  not input.a\n}\n";
        assert_eq!(text(source, false), (source.to_owned(), 0));
    }

    #[test]
    fn a_negation_inside_a_negation_is_rewritten_from_the_inside() {
        let (out, n) = text("package p\nallow {\n  not [1 | not deny[_]][_]\n}\n", false);
        assert_eq!(out, "package p\nallow {\n  count([1 | [1 | count([1 | deny[_]]) == 0][_]]) == 0\n}\n");
        assert_eq!(n, 2);
    }

    #[test]
    fn a_negation_over_what_may_be_missing_asks_for_it_first() {
        let source = "package p\nallow if {\n  not startswith(input.args.path, \"/a\")\n  not input.args.x == 1\n  not \"b\" in input.args.xs\n}\n";
        let (out, n) = text(source, true);
        assert_eq!(
            out,
            "package p\nallow if {\n  count([1 | [input.args.path]; not startswith(input.args.path, \"/a\")]) == 1\n  not input.args.x == 1\n  count([1 | [input.args.xs]; not \"b\" in input.args.xs]) == 1\n}\n"
        );
        assert_eq!(n, 2);
        // What is written so already stays.
        assert_eq!(text(&out, true), (out.clone(), 0));
        let bound = "package p\nallow if {\n  x := input.args.path\n  not startswith(x, \"/a\")\n  not is_set({1})\n}\n";
        assert_eq!(text(bound, true), (bound.to_owned(), 0));
    }

    #[test]
    fn a_condition_is_named_as_it_was_written() {
        for (rewritten, written) in [
            ("count([1 | deny[_]]) == 0", "not deny[_]"),
            ("count([1 | [input.args.x]; not f(input.args.x)]) == 1", "not f(input.args.x)"),
            ("count(input.args.xs) == 1", "count(input.args.xs) == 1"),
        ] {
            assert_eq!(as_written(rewritten), written);
        }
    }
}
