//! Expressions as text again, for what is rewritten. Spans don't always hold an expression's last character.

use placet_json::Value as Json;
use regorus::unstable::{ArithOp, BinOp, BoolOp, Expr};

use super::{ast, visit};

/// An expression's text, with brackets around every infix; none of an assignment.
pub(crate) fn print(expr: &Expr) -> Option<String> {
    let list = |items: Vec<&Expr>| -> Option<String> {
        Some(items.into_iter().map(print).collect::<Option<Vec<_>>>()?.join(", "))
    };
    Some(match expr {
        Expr::String { .. } | Expr::RawString { .. } => {
            Json::from(visit::literal_text(expr)?.as_str()).to_string()
        }
        Expr::Number { span, .. }
        | Expr::Bool { span, .. }
        | Expr::Null { span, .. }
        | Expr::Var { span, .. } => span.text().to_owned(),
        Expr::Array { .. } => format!("[{}]", list(visit::children(expr))?),
        Expr::Set { items, .. } if items.is_empty() => "set()".to_owned(),
        Expr::Set { .. } => format!("{{{}}}", list(visit::children(expr))?),
        Expr::Object { fields, .. } => {
            let members =
                fields.iter().map(|(_, key, value)| Some(format!("{}: {}", print(key)?, print(value)?)));
            format!("{{{}}}", members.collect::<Option<Vec<_>>>()?.join(", "))
        }
        Expr::ArrayCompr { span, .. } | Expr::SetCompr { span, .. } | Expr::ObjectCompr { span, .. } => {
            let text = ast::text_of(span);
            let closed = (text.starts_with('[') && text.ends_with(']'))
                || (text.starts_with('{') && text.ends_with('}'));
            closed.then(|| text.to_owned())?
        }
        Expr::Call { fcn, .. } => {
            format!("{}({})", ast::full_path(fcn)?.join("."), list(visit::children(expr))?)
        }
        Expr::UnaryExpr { expr, .. } => format!("-{}", print(expr)?),
        Expr::RefDot { refr, field, .. } => format!("{}.{}", print(refr)?, field.0.text()),
        Expr::RefBrack { refr, index, .. } => format!("{}[{}]", print(refr)?, print(index)?),
        Expr::BinExpr { op, lhs, rhs, .. } => {
            let op = match op {
                BinOp::Union => "|",
                BinOp::Intersection => "&",
            };
            format!("({} {op} {})", print(lhs)?, print(rhs)?)
        }
        Expr::BoolExpr { op, lhs, rhs, .. } => {
            let op = match op {
                BoolOp::Lt => "<",
                BoolOp::Le => "<=",
                BoolOp::Eq => "==",
                BoolOp::Ge => ">=",
                BoolOp::Gt => ">",
                BoolOp::Ne => "!=",
            };
            format!("({} {op} {})", print(lhs)?, print(rhs)?)
        }
        Expr::ArithExpr { op, lhs, rhs, .. } => {
            let op = match op {
                ArithOp::Add => "+",
                ArithOp::Sub => "-",
                ArithOp::Mul => "*",
                ArithOp::Div => "/",
                ArithOp::Mod => "%",
            };
            format!("({} {op} {})", print(lhs)?, print(rhs)?)
        }
        Expr::Membership { key: None, value, collection, .. } => {
            format!("({} in {})", print(value)?, print(collection)?)
        }
        Expr::Membership { key: Some(_), .. } | Expr::AssignExpr { .. } => return None,
    })
}
