//! Policies compiled for regorus' virtual machine, which answers a permit several times faster than its interpreter.
//!
//! The two differ where a built-in fails, where values of unlike types are compared, and in some forms of the language.
//! So only policies are compiled in which none of this can happen ([`plain`]), the two are compared on documents made
//! from the policy's own constants before the machine is used at all, and it never says more than that something is
//! permitted: a denial, and its reasons, are the interpreter's. A replay asks the interpreter about everything.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU32,
    sync::Arc,
    time::Duration,
};

use regorus::{
    Engine, Value,
    languages::rego::compiler::Compiler,
    rvm::{RegoVM, program::Program as Bytecode},
    unstable::{AssignOp, BoolOp, Expr, Literal, Query, Rule, RuleHead},
    utils::limits::ExecutionTimerConfig,
};

use super::{
    ast::{self, Mentions, Parsed, Reference},
    lint::input_path,
    program::part,
};
use crate::contract::Contract;

const NOW: &str = "time.now_ns";
const PARSE: &str = "time.parse_rfc3339_ns";
/// How often one evaluation may ask for the time.
const MAX_NOW: usize = 16;
/// Documents on which both are compared; an interpreted one takes some 30 µs.
const MAX_DOCUMENTS: usize = 160;
/// A moment between [`PAST`] and [`FUTURE`], in nanoseconds.
const MOMENT: i64 = 1_760_000_000_000_000_000;
const PAST: &str = "2001-01-01T00:00:00Z";
const FUTURE: &str = "2100-01-01T00:00:00Z";

/// Compiled entry points.
pub(crate) struct Compiled {
    program: Arc<Bytecode>,
    paths: Vec<String>,
    reads_now: bool,
    timer: ExecutionTimerConfig,
}

impl Compiled {
    /// Compiles the rules at `paths`, if the modules are plain and both engines agree about them.
    pub(crate) fn new(
        modules: &[Parsed],
        contract: &Contract,
        engine: &Engine,
        paths: Vec<String>,
        time: Duration,
    ) -> Option<Self> {
        let numbers = contract.decimals();
        let times = contract.times();
        let typed = Typed { numbers: &numbers, times: &times };
        if paths.is_empty()
            || !modules
                .iter()
                .all(|parsed| parsed.module.policy.iter().all(|rule| plain(parsed, rule, &typed)))
        {
            return None;
        }
        let mut engine = engine.clone();
        let policy = engine.compile_with_entrypoint(&paths.first()?.as_str().into()).ok()?;
        let names: Vec<&str> = paths.iter().map(String::as_str).collect();
        let program = Compiler::compile_from_policy_with_host_await(&policy, &names, &[(NOW, 0)]).ok()?;
        let reads_now = modules
            .iter()
            .flat_map(|parsed| &parsed.module.policy)
            .any(|rule| Mentions::of_rule(rule).calls.iter().any(|call| call.name == NOW));
        let check_interval = NonZeroU32::new(64).unwrap_or(NonZeroU32::MIN);
        let bound = ExecutionTimerConfig { limit: time, check_interval };
        let compiled = Self { program, paths, reads_now, timer: bound };
        compiled.agrees(&mut engine, &documents(modules, &typed)).then_some(compiled)
    }

    /// The values of the rules, in order; nothing where anything went wrong, and then the interpreter is to be asked.
    pub(crate) fn values(&self, input: &Value, nanos: i64) -> Option<Vec<Value>> {
        let mut vm = RegoVM::new();
        vm.set_strict_builtin_errors(true);
        vm.set_execution_timer_config(Some(self.timer));
        vm.load_program(Arc::clone(&self.program));
        vm.set_input(input.clone());
        let mut values = Vec::with_capacity(self.paths.len());
        for path in &self.paths {
            if self.reads_now {
                let answers = std::iter::repeat_n(Value::from(nanos), MAX_NOW);
                vm.set_host_await_responses([(Value::from(NOW), answers)]);
            }
            values.push(vm.execute_entry_point_by_name(path).ok()?);
        }
        Some(values)
    }

    fn agrees(&self, engine: &mut Engine, documents: &[Value]) -> bool {
        let now = |_: Vec<Value>| Ok(Value::from(MOMENT));
        if engine.add_extension(NOW.to_owned(), 0, Box::new(now)).is_err() {
            return false;
        }
        documents.iter().all(|document| {
            let Some(values) = self.values(document, MOMENT) else { return false };
            engine.set_input(document.clone());
            let mut both = self.paths.iter().zip(values);
            both.all(|(path, value)| {
                engine.eval_rule(path.clone()).is_ok_and(|other| {
                    ["allow", "deny"].iter().all(|name| told(&other, name) == told(&value, name))
                })
            })
        })
    }
}

/// A part of a verdict. Of a rule that has no value the interpreter's list has no item, the virtual machine's one that
/// says so.
fn told<'a>(verdict: &'a Value, name: &str) -> Option<&'a Value> {
    part(verdict, name).filter(|value| **value != Value::Undefined)
}

/// What the contract says of the input's values, by path.
struct Typed<'a> {
    numbers: &'a BTreeSet<String>,
    times: &'a BTreeSet<String>,
}

/// Whether a rule holds nothing in which the two engines could differ: no call that may fail, no arithmetic, no order
/// between values of unlike types, no function, no `with`, no data.
fn plain(parsed: &Parsed, rule: &Rule, typed: &Typed<'_>) -> bool {
    let mentions = Mentions::of_rule(rule);
    if mentions.references.iter().any(|reference| of_data(parsed, reference)) {
        return false;
    }
    let locals = &mentions.locals;
    let is = |expr: &Expr| plain_expr(parsed, expr, typed, locals);
    match rule {
        Rule::Default { args, value, .. } => args.is_empty() && constant(value).is_some(),
        Rule::Spec { head, bodies, .. } => {
            let head = match head {
                RuleHead::Compr { refr, assign, .. } => {
                    is(refr) && assign.as_ref().is_none_or(|assign| is(&assign.value))
                }
                RuleHead::Set { key, .. } => key.as_ref().is_none_or(|key| is(key)),
                RuleHead::Func { .. } => false,
            };
            head && bodies.iter().all(|body| {
                !body.is_else
                    && body.assign.is_none()
                    && body.query.stmts.iter().all(|statement| {
                        statement.with_mods.is_empty()
                            && match &statement.literal {
                                Literal::Expr { expr, .. } | Literal::NotExpr { expr, .. } => is(expr),
                                Literal::SomeVars { .. } => true,
                                Literal::SomeIn { .. } | Literal::Every { .. } => false,
                            }
                    })
            })
        }
    }
}

fn of_data(parsed: &Parsed, reference: &Reference) -> bool {
    let alias = parsed.aliases.get(&reference.root).and_then(|alias| alias.first());
    alias.map_or(reference.root.as_str(), String::as_str) == "data"
}

#[expect(clippy::wildcard_enum_match_arm, reason = "of a syntax tree only some forms are meant")]
fn plain_expr(parsed: &Parsed, expr: &Expr, typed: &Typed<'_>, locals: &BTreeSet<String>) -> bool {
    let is = |expr: &Expr| plain_expr(parsed, expr, typed, locals);
    match expr {
        Expr::Var { .. } => true,
        Expr::RefDot { refr, .. } => is(refr),
        Expr::RefBrack { refr, index, .. } => is(refr) && is(index),
        Expr::Array { items, .. } | Expr::Set { items, .. } => items.iter().all(|item| is(item)),
        Expr::Membership { key: None, value, collection, .. } => is(value) && is(collection),
        Expr::AssignExpr { op: AssignOp::ColEq, lhs, rhs, .. } => {
            matches!(**lhs, Expr::Var { .. }) && is(rhs)
        }
        Expr::BoolExpr { op: BoolOp::Eq | BoolOp::Ne, lhs, rhs, .. } => is(lhs) && is(rhs),
        Expr::BoolExpr { lhs, rhs, .. } => {
            let number = |expr: &Expr| is_number(parsed, expr, typed, locals);
            number(lhs) && number(rhs)
        }
        Expr::Call { fcn, params, .. } => match (ast::full_path(fcn).map(|path| path.join(".")), &**params) {
            (Some(name), []) => name == NOW,
            (Some(name), [only]) if name == PARSE => {
                path_of(parsed, only, locals).is_some_and(|path| typed.times.contains(&path))
            }
            // What `not R[_]` is rewritten to.
            (Some(name), [only]) if name == "count" => {
                matches!(&**only, Expr::ArrayCompr { term, query, .. } if is(term) && is_flat(query, &is))
            }
            _ => false,
        },
        _ => constant(expr).is_some(),
    }
}

fn is_flat(query: &Query, is: &dyn Fn(&Expr) -> bool) -> bool {
    query.stmts.iter().all(|statement| {
        statement.with_mods.is_empty() && matches!(&statement.literal, Literal::Expr { expr, .. } if is(expr))
    })
}

/// Whether an expression is a number, or undefined, whatever the input.
#[expect(clippy::wildcard_enum_match_arm, reason = "of a syntax tree only some forms are meant")]
fn is_number(parsed: &Parsed, expr: &Expr, typed: &Typed<'_>, locals: &BTreeSet<String>) -> bool {
    match expr {
        Expr::Number { .. } => true,
        Expr::Call { .. } => plain_expr(parsed, expr, typed, locals),
        _ => path_of(parsed, expr, locals).is_some_and(|path| typed.numbers.contains(&path)),
    }
}

/// The path below `input`, if every step is a name.
fn path_of(parsed: &Parsed, expr: &Expr, locals: &BTreeSet<String>) -> Option<String> {
    let (root, steps) = ast::reference(expr)?;
    let reference = Reference { root, steps, at: (0, 0) };
    let path = input_path(parsed, &reference, locals)?;
    (!path.is_empty() && !path.iter().any(|step| step == crate::contract::COMPUTED)).then(|| path.join("."))
}

#[expect(clippy::wildcard_enum_match_arm, reason = "of a syntax tree only some forms are meant")]
fn constant(expr: &Expr) -> Option<&Value> {
    match expr {
        Expr::String { value, .. }
        | Expr::RawString { value, .. }
        | Expr::Number { value, .. }
        | Expr::Bool { value, .. } => Some(value),
        _ => None,
    }
}

/// Documents made of the constants that the policies compare their input with: for each action one that fits, and that
/// one with each value changed by each other.
fn documents(modules: &[Parsed], typed: &Typed<'_>) -> Vec<Value> {
    let mut pools: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for parsed in modules {
        for rule in &parsed.module.policy {
            let mentions = Mentions::of_rule(rule);
            for reference in &mentions.references {
                if let Some(path) = input_path(parsed, reference, &mentions.locals).filter(|path| {
                    !path.is_empty() && !path.iter().any(|step| step == crate::contract::COMPUTED)
                }) {
                    pools.entry(path.join(".")).or_default();
                }
            }
            let Rule::Spec { bodies, .. } = &**rule else { continue };
            for statement in bodies.iter().flat_map(|body| &body.query.stmts) {
                let (Literal::Expr { expr, .. } | Literal::NotExpr { expr, .. }) = &statement.literal else {
                    continue;
                };
                let Expr::BoolExpr { lhs, rhs, .. } = &**expr else { continue };
                for (path, value) in [(lhs, rhs), (rhs, lhs)] {
                    if let (Some(path), Some(value)) =
                        (path_of(parsed, path, &mentions.locals), constant(value))
                    {
                        let pool = pools.entry(path).or_default();
                        if !pool.contains(value) {
                            pool.push(value.clone());
                        }
                    }
                }
            }
        }
    }
    for (path, pool) in &mut pools {
        if typed.numbers.contains(path) {
            let around = pool.iter().filter_map(|value| value.as_i64().ok());
            let around: Vec<Value> =
                around.flat_map(|n| [n.saturating_sub(1), n.saturating_add(1)]).map(Value::from).collect();
            pool.extend(around);
            pool.extend([Value::from(0_i64), Value::from(999_999_999_i64)]);
        } else if typed.times.contains(path) {
            pool.extend([Value::from(FUTURE), Value::from(PAST)]);
        } else {
            // Paths that are compared with each other are equal in some documents, and not in others.
            pool.extend([Value::from("same"), Value::from("other")]);
        }
    }
    let first = |pool: &Vec<Value>| pool.first().cloned().unwrap_or(Value::Undefined);
    let actions = pools.get("action").cloned().unwrap_or_else(|| vec![Value::from("same")]);
    let mut all = Vec::new();
    for action in actions {
        let mut fitting: BTreeMap<&str, Value> =
            pools.iter().map(|(path, pool)| (path.as_str(), first(pool))).collect();
        fitting.insert("action", action);
        all.push(document(&fitting));
        for (path, pool) in &pools {
            for value in pool.iter().cloned().chain([Value::Undefined]) {
                let mut changed = fitting.clone();
                changed.insert(path, value);
                all.push(document(&changed));
            }
        }
    }
    // An even choice where there are too many.
    let step = all.len().div_ceil(MAX_DOCUMENTS).max(1);
    all.into_iter().step_by(step).collect()
}

/// A document of values by path; one that is undefined is left out.
fn document(values: &BTreeMap<&str, Value>) -> Value {
    let mut root = Tree::default();
    for (path, value) in values.iter().filter(|(_, value)| **value != Value::Undefined) {
        let node =
            path.split('.').fold(&mut root, |node, step| node.members.entry(step.to_owned()).or_default());
        node.value = Some(value.clone());
    }
    root.into_value()
}

#[derive(Default)]
struct Tree {
    members: BTreeMap<String, Self>,
    value: Option<Value>,
}

impl Tree {
    fn into_value(self) -> Value {
        match self.value {
            Some(value) if self.members.is_empty() => value,
            Some(_) | None => {
                let members =
                    self.members.into_iter().map(|(name, tree)| (Value::from(name), tree.into_value()));
                Value::from(members.collect::<BTreeMap<_, _>>())
            }
        }
    }
}
