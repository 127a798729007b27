//! `not deny[_]`, in a form that means the same in every engine.
//!
//! OPA refuses a wildcard under a negation (it binds a name that is unsafe there); regorus takes it, and then never
//! holds while the set is empty. `count([1 | deny[_]]) == 0` says what is meant, in both.

use super::ast::{Mentions, Parsed, parse};
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

/// Parses a module and rewrites it. Line numbers stay as they are.
pub(crate) fn rewrite(file: &str, text: &str, v1: bool) -> Result<(Parsed, Vec<Rewrite>), Finding> {
    let mut parsed = parse(file, text, v1)?;
    let mut rewrites = Vec::new();
    for _ in 0..PASSES {
        let mut found: Vec<_> =
            parsed.module.policy.iter().flat_map(|rule| Mentions::of_rule(rule).wild_negations).collect();
        let outer: Vec<_> = found.iter().map(|(whole, _, _)| whole.clone()).collect();
        found.retain(|(whole, _, _)| {
            !outer.iter().any(|other| other != whole && whole.start <= other.start && other.end <= whole.end)
        });
        if found.is_empty() {
            return Ok((parsed, rewrites));
        }
        found.sort_by_key(|(whole, _, _)| whole.start);
        let mut next = String::with_capacity(parsed.text.len().saturating_add(64));
        let mut done = 0;
        for (whole, inner, (line, column)) in found {
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
            let to = format!("count([1 | {body}]) == 0");
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
}
