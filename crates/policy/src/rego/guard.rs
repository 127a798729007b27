//! Negations over what may be missing.
//!
//! `not startswith(input.resource.path, "/secret")`: where there is no path, OPA has no answer, so that the body fails;
//! regorus holds the negation for true, so that it permits. The arguments of a negated call are asked for first:
//! `count([1 | [input.resource.path]; not startswith(…)]) == 1` means in both what it means in OPA.

use std::collections::BTreeSet;

use regorus::unstable::{AssignOp, BoolOp, Expr, Literal, LiteralStmt, Query, Rule};

use super::{
    ast::{self, Mentions},
    print::print,
    visit,
};
use crate::finding::Finding;

/// A negation, and what has to be there for it.
pub(super) struct Unguarded {
    /// The bytes of the whole negation.
    pub(super) whole: std::ops::Range<usize>,
    /// The bytes of what is negated.
    pub(super) inner: std::ops::Range<usize>,
    pub(super) at: (u32, u32),
    /// The arguments that may be missing, as text.
    pub(super) needs: Vec<String>,
}

/// The negations of a rule whose arguments may be missing and aren't asked for. One that can't be rewritten is refused.
pub(super) fn unguarded(file: &str, rule: &Rule) -> Result<Vec<Unguarded>, Finding> {
    let locals = Mentions::of_rule(rule).locals;
    let mut found = Vec::new();
    for query in visit::queries(rule) {
        for statement in &query.stmts {
            let Literal::NotExpr { expr, span } = &statement.literal else { continue };
            let parts = operands(expr, &locals);
            if parts.is_empty() || wild(expr) {
                continue;
            }
            let at = ast::at(&statement.span);
            let refused = |what: &str| {
                Finding::error(
                    file,
                    at,
                    format!(
                        "engines read this negation differently where an argument is missing, and {what}"
                    ),
                    "give the arguments names first: `x := input.…`, then `not …` over `x`",
                )
                .coded("engines-differ")
            };
            let needs: Vec<String> = parts
                .into_iter()
                .map(print)
                .collect::<Option<_>>()
                .filter(|needs: &Vec<String>| !needs.iter().any(|need| need.contains('\n')))
                .ok_or_else(|| refused("it can't be rewritten"))?;
            if asked(query, &needs) {
                continue;
            }
            if !statement.with_mods.is_empty() {
                return Err(refused("a `with` follows it"));
            }
            let source = span.source.get_contents();
            found.push(Unguarded {
                whole: ast::range_of(source, statement.span.start.min(span.start), span.end),
                inner: ast::range_of(source, expr.span().start, span.end),
                at,
                needs,
            });
        }
    }
    Ok(found)
}

/// Whether another statement of the same query is a list of all of these.
fn asked(query: &Query, needs: &[String]) -> bool {
    query.stmts.iter().filter_map(listed).any(|items| {
        let items: BTreeSet<String> = items.into_iter().filter_map(print).collect();
        needs.iter().all(|need| items.contains(need))
    })
}

/// The items of a statement that is nothing but a list: what a rewritten negation asks for first.
pub(super) fn listed(statement: &LiteralStmt) -> Option<Vec<&Expr>> {
    match &statement.literal {
        Literal::Expr { expr, .. } if matches!(expr.as_ref(), Expr::Array { .. }) => {
            Some(visit::children(expr))
        }
        Literal::Expr { .. }
        | Literal::NotExpr { .. }
        | Literal::SomeVars { .. }
        | Literal::SomeIn { .. }
        | Literal::Every { .. } => None,
    }
}

/// What OPA evaluates before it negates: arguments and operands that are computed. The two sides of an equality that
/// are plain references stay inside.
#[expect(clippy::wildcard_enum_match_arm, reason = "of a syntax tree only some forms are meant")]
fn operands<'a>(expr: &'a Expr, locals: &BTreeSet<String>) -> Vec<&'a Expr> {
    let dynamic = |expr: &&Expr| dynamic(expr, locals);
    match expr {
        Expr::Var { .. } | Expr::RefDot { .. } | Expr::RefBrack { .. } => steps(expr, locals),
        Expr::BoolExpr { op: BoolOp::Eq, lhs, rhs, .. }
        | Expr::AssignExpr { op: AssignOp::Eq, lhs, rhs, .. } => [lhs.as_ref(), rhs.as_ref()]
            .into_iter()
            .flat_map(|side| match ast::reference(side) {
                Some(_) => steps(side, locals),
                None => Some(side).filter(dynamic).into_iter().collect(),
            })
            .collect(),
        Expr::Array { .. } | Expr::Set { .. } | Expr::Object { .. } => {
            Some(expr).filter(dynamic).into_iter().collect()
        }
        _ => visit::children(expr).into_iter().filter(dynamic).collect(),
    }
}

/// The computed steps of a reference.
fn steps<'a>(expr: &'a Expr, locals: &BTreeSet<String>) -> Vec<&'a Expr> {
    let mut found = Vec::new();
    let mut current = expr;
    loop {
        if let Expr::RefBrack { refr, index, .. } = current {
            if dynamic(index, locals) {
                found.push(index.as_ref());
            }
            current = refr;
        } else if let Expr::RefDot { refr, .. } = current {
            current = refr;
        } else {
            return found;
        }
    }
}

/// Whether an expression may have no value: it reads something, or calls something.
#[expect(clippy::wildcard_enum_match_arm, reason = "of a syntax tree only some forms are meant")]
fn dynamic(expr: &Expr, locals: &BTreeSet<String>) -> bool {
    match expr {
        Expr::RefDot { .. } | Expr::RefBrack { .. } | Expr::Call { .. } | Expr::Membership { .. } => true,
        Expr::Var { span, .. } => !locals.contains(span.text()),
        _ => visit::children(expr).into_iter().any(|child| dynamic(child, locals)),
    }
}

/// Whether there is a wildcard in place: such a negation is rewritten otherwise.
fn wild(expr: &Expr) -> bool {
    matches!(expr, Expr::Var { span, .. } if span.text() == "_")
        || visit::children(expr).into_iter().any(wild)
}
