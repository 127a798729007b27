//! What conditions compare the input with: values that never come, and values that exclude each other.

use std::collections::{BTreeMap, BTreeSet};

use regorus::{
    Value,
    unstable::{AssignOp, BoolOp, Expr, Literal, Query},
};

use crate::{
    Release,
    contract::{COMPUTED, Contract, Field, Need, Shape},
    finding::nearest,
    rego::{
        ast::{self, Parsed},
        lint::input_path,
        near::single,
        visit,
    },
};

/// A comparison of a member of the input with constants.
#[derive(Debug, Clone)]
pub(super) struct Comparison {
    pub(super) path: Vec<String>,
    pub(super) op: BoolOp,
    /// One constant; of `in` and a list of constants, each.
    pub(super) constants: Vec<Value>,
    pub(super) at: (u32, u32),
    pub(super) text: String,
}

/// The plain comparisons of a body.
pub(super) fn comparisons(parsed: &Parsed, query: &Query, locals: &BTreeSet<String>) -> Vec<Comparison> {
    let path = |expr: &Expr| {
        let (root, steps) = ast::reference(expr)?;
        input_path(parsed, &ast::Reference { root, steps, at: (0, 0) }, locals)
            .filter(|path| !path.is_empty())
    };
    let mut found = Vec::new();
    for statement in &query.stmts {
        let Literal::Expr { expr, .. } = &statement.literal else { continue };
        if !statement.with_mods.is_empty() {
            continue;
        }
        let Some((path, op, constants)) = read(expr, &path) else { continue };
        found.push(Comparison {
            path,
            op,
            constants,
            at: ast::at(&statement.span),
            text: single(ast::text_of(&statement.span)),
        });
    }
    found
}

#[expect(clippy::wildcard_enum_match_arm, reason = "of a syntax tree only some forms are meant")]
fn read(
    expr: &Expr,
    path: &dyn Fn(&Expr) -> Option<Vec<String>>,
) -> Option<(Vec<String>, BoolOp, Vec<Value>)> {
    let (op, lhs, rhs) = match expr {
        Expr::BoolExpr { op, lhs, rhs, .. } => (op.clone(), lhs, rhs),
        Expr::AssignExpr { op: AssignOp::Eq, lhs, rhs, .. } => (BoolOp::Eq, lhs, rhs),
        Expr::Membership { key: None, value, collection, .. } => {
            let (Expr::Array { items, .. } | Expr::Set { items, .. }) = collection.as_ref() else {
                // `"x" in input.labels`: some element is it.
                let mut path = path(collection)?;
                path.push(COMPUTED.to_owned());
                return Some((path, BoolOp::Eq, vec![constant(value)?]));
            };
            let constants = items.iter().map(|item| constant(item)).collect::<Option<Vec<_>>>()?;
            return Some((path(value)?, BoolOp::Eq, constants)).filter(|(_, _, all)| !all.is_empty());
        }
        _ => return None,
    };
    if let (Some(path), Some(constant)) = (path(lhs), constant(rhs)) {
        return Some((path, op, vec![constant]));
    }
    let op = match op {
        BoolOp::Lt => BoolOp::Gt,
        BoolOp::Le => BoolOp::Ge,
        BoolOp::Ge => BoolOp::Le,
        BoolOp::Gt => BoolOp::Lt,
        BoolOp::Eq => BoolOp::Eq,
        BoolOp::Ne => BoolOp::Ne,
    };
    Some((path(rhs)?, op, vec![constant(lhs)?]))
}

#[expect(clippy::wildcard_enum_match_arm, reason = "of a syntax tree only some forms are meant")]
fn constant(expr: &Expr) -> Option<Value> {
    match expr {
        Expr::String { .. } | Expr::RawString { .. } => visit::literal_text(expr).map(Value::from),
        Expr::Number { value, .. } | Expr::Bool { value, .. } => Some(value.clone()),
        Expr::Null { .. } => Some(Value::Null),
        _ => None,
    }
}

fn holds(op: &BoolOp, value: &Value, constant: &Value) -> bool {
    let order = value.cmp(constant);
    match op {
        BoolOp::Lt => order.is_lt(),
        BoolOp::Le => order.is_le(),
        BoolOp::Eq => order.is_eq(),
        BoolOp::Ge => order.is_ge(),
        BoolOp::Gt => order.is_gt(),
        BoolOp::Ne => order.is_ne(),
    }
}

/// Two comparisons of one member that can't both hold.
pub(super) fn contradiction(all: &[Comparison]) -> Option<(&Comparison, &Comparison)> {
    let mut by_path: BTreeMap<&[String], Vec<&Comparison>> = BTreeMap::new();
    for comparison in all.iter().filter(|one| !one.path.iter().any(|step| step == COMPUTED)) {
        by_path.entry(&comparison.path).or_default().push(comparison);
    }
    for group in by_path.values() {
        for (index, first) in group.iter().enumerate() {
            for second in group.iter().skip(index.saturating_add(1)) {
                if exclude(first, second) || exclude(second, first) {
                    return Some((first, second));
                }
            }
        }
    }
    None
}

fn exclude(first: &Comparison, second: &Comparison) -> bool {
    let any = |value: &Value| second.constants.iter().any(|constant| holds(&second.op, value, constant));
    match first.op {
        BoolOp::Eq => !first.constants.iter().any(any),
        // `x > 5` and `x < 5`: nothing lies between.
        BoolOp::Gt | BoolOp::Ge => {
            let (Some(lower), Some(upper)) = (first.constants.first(), second.constants.first()) else {
                return false;
            };
            match second.op {
                BoolOp::Lt => lower >= upper,
                BoolOp::Le if matches!(first.op, BoolOp::Gt) => lower >= upper,
                BoolOp::Le => lower > upper,
                BoolOp::Eq | BoolOp::Ne | BoolOp::Ge | BoolOp::Gt => false,
            }
        }
        BoolOp::Ne | BoolOp::Lt | BoolOp::Le => false,
    }
}

/// Which words members of the input can have.
pub(super) struct Vocabulary {
    contract: Contract,
    words: BTreeMap<Vec<String>, Words>,
}

struct Words {
    known: BTreeSet<String>,
    code: &'static str,
    /// What such a word is called.
    what: &'static str,
}

impl Vocabulary {
    pub(super) fn of(release: &Release) -> Self {
        let mut words = BTreeMap::new();
        let mut add = |path: &[&str], what, code, known: BTreeSet<String>| {
            if !known.is_empty() {
                words.insert(
                    path.iter().map(|step| (*step).to_owned()).collect(),
                    Words { known, code, what },
                );
            }
        };
        let catalog = release.catalog();
        let of = |name: &placet_core::Name| name.as_str().to_owned();
        let value = "unknown-value";
        add(
            &["action"],
            "action of the catalog",
            "rule-without-tool",
            catalog.entries().map(|entry| of(entry.action())).collect(),
        );
        add(
            &["tool", "name"],
            "tool of the catalog",
            value,
            catalog.entries().map(|entry| of(entry.name())).collect(),
        );
        add(&["tool", "upstream"], "upstream of the catalog", value, catalog.upstreams().map(of).collect());
        let labels = catalog.entries().flat_map(|entry| entry.labels()).map(of).collect();
        add(&["flow", "labels", COMPUTED], "label of the catalog", value, labels);
        let kinds: BTreeSet<String> = catalog
            .entries()
            .flat_map(|entry| entry.resources().iter().map(|resource| of(&resource.kind)))
            .chain(release.relations().types.keys().map(of))
            .chain(["workflow".to_owned()])
            .collect();
        if catalog.entries().next().is_some() {
            add(&["resource", "type"], "type of resource", value, kinds.clone());
            add(&["resources", COMPUTED, "type"], "type of resource", value, kinds);
        }
        let types = release.workflow_types();
        add(
            &["intent"],
            "intent of a workflow type",
            value,
            types.values().flat_map(|kind| &kind.intents).map(of).collect(),
        );
        add(
            &["agent", "type"],
            "type of agent in a workflow type",
            value,
            types.values().flat_map(|kind| &kind.agents).map(of).collect(),
        );
        add(&["workflow", "type"], "workflow type", value, types.keys().map(of).collect());
        for (name, chain) in types.values().flat_map(|kind| &kind.approvals) {
            let path = ["workflow", name.as_str()];
            add(
                &[path[0], path[1], "status"],
                "status of an approval",
                value,
                BTreeSet::from(["approved".to_owned()]),
            );
            add(
                &[path[0], path[1], "approver_role"],
                "role in the approval's chain",
                value,
                chain.steps.iter().map(of).collect(),
            );
        }
        Self { contract: release.contract.clone(), words }
    }

    /// The words that a member can have, and what they are called.
    pub(super) fn never_word(&self, path: &[String], word: &str) -> Option<(&'static str, String, String)> {
        let shape = self.contract.shape(path);
        let (known, code, what): (Vec<&str>, _, _) = match (self.words.get(path), shape) {
            (Some(words), _) => (words.known.iter().map(String::as_str).collect(), words.code, words.what),
            (None, Some(Shape::OneOf(words))) => {
                (words.iter().map(String::as_str).collect(), "unknown-value", "value of it")
            }
            (None, _) => return None,
        };
        if known.contains(&word) {
            return None;
        }
        let help = nearest(word, known.iter().copied()).map_or_else(
            || format!("there are: {}", known.iter().take(8).copied().collect::<Vec<_>>().join(", ")),
            |near| format!("did you mean `{near}`?"),
        );
        let name = path.join(".").replace(&format!(".{COMPUTED}"), "[_]");
        Some((code, format!("`{word}` is no {what}, so that `input.{name}` is never it"), help))
    }

    /// Why a comparison never holds: code, message, help.
    pub(super) fn never(&self, comparison: &Comparison) -> Option<(&'static str, String, String)> {
        let shown = super::bodies::shown(comparison);
        let shape = self.contract.shape(&comparison.path);
        for constant in &comparison.constants {
            if let (Some(expected), false) = (shape.and_then(sort), matches!(comparison.op, BoolOp::Ne))
                && expected != sort_of(constant)
            {
                let help = format!("compare it with {expected}");
                let holds = match comparison.op {
                    BoolOp::Eq => "never holds",
                    BoolOp::Lt | BoolOp::Le | BoolOp::Ge | BoolOp::Gt | BoolOp::Ne => "depends on no value",
                };
                return Some((
                    "type-mismatch",
                    format!(
                        "`{shown}` {holds}: the input has {expected} there, and this is {}",
                        sort_of(constant)
                    ),
                    help,
                ));
            }
            if let (BoolOp::Eq, Value::String(word)) = (&comparison.op, constant)
                && let Some(found) = self.never_word(&comparison.path, word)
            {
                return Some(found);
            }
        }
        None
    }
}

/// What sort of value a shape is, in words; none where it may be several.
fn sort(shape: &Shape) -> Option<&'static str> {
    match shape {
        Shape::Text | Shape::Id | Shape::Time | Shape::OneOf(_) => Some("a text"),
        Shape::Decimal(_) | Shape::Count => Some("a number"),
        Shape::Bool => Some("a truth value"),
        Shape::List(_) | Shape::Map(_) | Shape::Record(_) | Shape::Any => None,
    }
}

fn sort_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) | Value::Set(_) => "a list",
        Value::Object(_) => "an object",
        Value::Undefined => "nothing",
    }
}

impl Contract {
    /// The shape at a path; none where it is open or unknown.
    pub(crate) fn shape(&self, path: &[String]) -> Option<&Shape> {
        self.walk(path).map(|field| field.1)
    }

    /// Whether every input that a gateway builds has a member at a path.
    pub(crate) fn always(&self, path: &[String]) -> bool {
        self.walk(path).is_some_and(|(always, _)| always)
    }

    fn walk(&self, path: &[String]) -> Option<(bool, &Shape)> {
        let mut record = &self.root;
        let mut always = true;
        let mut shape: Option<&Shape> = None;
        for step in path {
            match shape {
                Some(Shape::List(inner) | Shape::Map(inner)) => {
                    shape = Some(inner);
                    always = false;
                }
                None | Some(Shape::Record(_)) => {
                    if let Some(Shape::Record(inner)) = shape {
                        record = inner;
                    }
                    let Field { need, shape: next } = record.fields.get(step)?;
                    always &= *need != Need::May;
                    shape = Some(next);
                }
                Some(_) => return None,
            }
            if let Some(Shape::Record(inner)) = shape {
                record = inner;
            }
        }
        shape.map(|shape| (always, shape))
    }
}
