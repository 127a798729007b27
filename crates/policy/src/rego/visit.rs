//! Ways through regorus' syntax tree.

use regorus::unstable::{Expr, Literal, LiteralStmt, Query, Rule, RuleHead};

/// The expressions that are evaluated in place with this one. What is inside of a comprehension isn't: see [`inner`].
pub(crate) fn children(expr: &Expr) -> Vec<&Expr> {
    match expr {
        Expr::String { .. }
        | Expr::RawString { .. }
        | Expr::Number { .. }
        | Expr::Bool { .. }
        | Expr::Null { .. }
        | Expr::Var { .. }
        | Expr::ArrayCompr { .. }
        | Expr::SetCompr { .. }
        | Expr::ObjectCompr { .. } => Vec::new(),
        Expr::Array { items, .. } | Expr::Set { items, .. } => items.iter().map(AsRef::as_ref).collect(),
        Expr::Object { fields, .. } => {
            fields.iter().flat_map(|(_, key, value)| [key.as_ref(), value.as_ref()]).collect()
        }
        Expr::Call { params, .. } => params.iter().map(AsRef::as_ref).collect(),
        Expr::UnaryExpr { expr, .. } => vec![expr],
        Expr::RefDot { refr, .. } => vec![refr],
        Expr::RefBrack { refr, index, .. } => vec![refr, index],
        Expr::BinExpr { lhs, rhs, .. }
        | Expr::BoolExpr { lhs, rhs, .. }
        | Expr::ArithExpr { lhs, rhs, .. }
        | Expr::AssignExpr { lhs, rhs, .. } => vec![lhs, rhs],
        Expr::Membership { key, value, collection, .. } => {
            key.iter().map(AsRef::as_ref).chain([value.as_ref(), collection.as_ref()]).collect()
        }
    }
}

/// A comprehension's query and the expressions that it collects.
#[expect(clippy::wildcard_enum_match_arm, reason = "of a syntax tree only some forms are meant")]
pub(crate) fn inner(expr: &Expr) -> Option<(&Query, Vec<&Expr>)> {
    match expr {
        Expr::ArrayCompr { term, query, .. } | Expr::SetCompr { term, query, .. } => {
            Some((query, vec![term]))
        }
        Expr::ObjectCompr { key, value, query, .. } => Some((query, vec![key, value])),
        _ => None,
    }
}

/// A statement's own expressions; the query of an `every` isn't among them.
pub(crate) fn of_statement(statement: &LiteralStmt) -> Vec<&Expr> {
    let mut own: Vec<&Expr> = match &statement.literal {
        Literal::SomeVars { .. } => Vec::new(),
        Literal::SomeIn { key, value, collection, .. } => {
            key.iter().map(AsRef::as_ref).chain([value.as_ref(), collection.as_ref()]).collect()
        }
        Literal::Expr { expr, .. } | Literal::NotExpr { expr, .. } => vec![expr],
        Literal::Every { domain, .. } => vec![domain],
    };
    own.extend(statement.with_mods.iter().map(|modifier| modifier.r#as.as_ref()));
    own
}

/// A rule's bodies, and its expressions outside of them.
pub(crate) fn of_rule(rule: &Rule) -> (Vec<&Query>, Vec<&Expr>) {
    match rule {
        Rule::Spec { head, bodies, .. } => {
            let mut own: Vec<&Expr> = Vec::new();
            match head {
                RuleHead::Compr { refr, assign, .. } => {
                    own.push(refr);
                    own.extend(assign.iter().map(|assign| assign.value.as_ref()));
                }
                RuleHead::Set { refr, key, .. } => {
                    own.push(refr);
                    own.extend(key.iter().map(AsRef::as_ref));
                }
                RuleHead::Func { args, assign, .. } => {
                    own.extend(args.iter().map(AsRef::as_ref));
                    own.extend(assign.iter().map(|assign| assign.value.as_ref()));
                }
            }
            for body in bodies {
                own.extend(body.assign.iter().map(|assign| assign.value.as_ref()));
            }
            (bodies.iter().map(|body| body.query.as_ref()).collect(), own)
        }
        Rule::Default { value, .. } => (Vec::new(), vec![value]),
    }
}

/// All queries of a rule, those of comprehensions and of `every` among them.
pub(crate) fn queries(rule: &Rule) -> Vec<&Query> {
    let (mut open, heads) = of_rule(rule);
    let mut found = Vec::new();
    for head in heads {
        below(head, &mut open);
    }
    while let Some(query) = open.pop() {
        found.push(query);
        for statement in &query.stmts {
            if let Literal::Every { query, .. } = &statement.literal {
                open.push(query);
            }
            for expr in of_statement(statement) {
                below(expr, &mut open);
            }
        }
    }
    found
}

/// The queries of comprehensions that stand in an expression, however deep in place.
fn below<'a>(expr: &'a Expr, found: &mut Vec<&'a Query>) {
    let mut open = vec![expr];
    while let Some(expr) = open.pop() {
        if let Some((query, collected)) = inner(expr) {
            found.push(query);
            open.extend(collected);
        }
        open.extend(children(expr));
    }
}

/// All expressions of a rule, wherever they stand; `true` for one that is a statement by itself.
pub(crate) fn expressions(rule: &Rule) -> Vec<(&Expr, bool)> {
    let (_, heads) = of_rule(rule);
    let mut open: Vec<(&Expr, bool)> = heads.into_iter().map(|expr| (expr, false)).collect();
    for query in queries(rule) {
        for statement in &query.stmts {
            let whole = matches!(&statement.literal, Literal::Expr { .. } | Literal::NotExpr { .. });
            for (index, expr) in of_statement(statement).into_iter().enumerate() {
                open.push((expr, whole && index == 0));
            }
        }
    }
    let mut found = Vec::new();
    while let Some((expr, whole)) = open.pop() {
        found.push((expr, whole));
        open.extend(children(expr).into_iter().map(|expr| (expr, false)));
        if let Some((_, collected)) = inner(expr) {
            open.extend(collected.into_iter().map(|expr| (expr, false)));
        }
    }
    found
}

/// The text of a literal.
#[expect(clippy::wildcard_enum_match_arm, reason = "of a syntax tree only some forms are meant")]
pub(crate) fn literal_text(expr: &Expr) -> Option<String> {
    match expr {
        Expr::String { value, .. } | Expr::RawString { value, .. } => {
            value.as_string().ok().map(ToString::to_string)
        }
        _ => None,
    }
}
