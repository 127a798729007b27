//! The conditions of a package's `allow` rules, one by one: on a denial they say which rule was nearest, and what
//! it lacked. Nothing here knows a policy's names or numbers.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use regorus::{
    Value,
    unstable::{AssignOp, BoolOp, Expr, Literal, LiteralStmt, Rule, RuleAssign, RuleBody, RuleHead, Span},
};

use super::{
    RESERVED,
    ast::{self, Mentions, Parsed},
    lint::input_path,
};

/// One condition of a rule.
#[derive(Debug, Clone)]
pub(crate) struct Condition {
    /// Its key in the set of those that hold.
    pub(crate) key: String,
    /// Its text, white space made single.
    pub(crate) text: String,
    /// `package.rule`.
    pub(crate) rule: String,
    pub(crate) file: String,
    pub(crate) line: u32,
    /// Whether it reads `input.action`.
    pub(crate) about_action: bool,
    /// What it reads of the input.
    pub(crate) inputs: Vec<Vec<String>>,
    /// Earlier conditions of the same body that bind its names.
    pub(crate) depends: Vec<usize>,
    /// The rule of the same package that it is nothing but the name of.
    pub(crate) helper: Option<String>,
    /// The same condition, where it needs no interpreter.
    test: Option<Test>,
}

/// A comparison of the input's value at a path with a constant.
#[derive(Debug, Clone)]
struct Test {
    path: Vec<Value>,
    op: BoolOp,
    constant: Value,
}

impl Test {
    /// Reads it off a statement that is nothing else.
    #[expect(clippy::wildcard_enum_match_arm, reason = "of a syntax tree only some forms are meant")]
    fn of(statement: &LiteralStmt) -> Option<Self> {
        let Literal::Expr { expr, .. } = &statement.literal else { return None };
        let Expr::BoolExpr { op, lhs, rhs, .. } = expr.as_ref() else { return None };
        let constant = match rhs.as_ref() {
            Expr::String { value, .. }
            | Expr::RawString { value, .. }
            | Expr::Number { value, .. }
            | Expr::Bool { value, .. } => value.clone(),
            _ => return None,
        };
        let (root, steps) = ast::reference(lhs).filter(|_| statement.with_mods.is_empty())?;
        let path = steps.into_iter().map(|step| match step {
            ast::Step::Name(name) => Some(Value::from(name)),
            ast::Step::Computed => None,
        });
        let path: Vec<Value> = path.collect::<Option<_>>()?;
        (root == "input" && !path.is_empty()).then(|| Self { path, op: op.clone(), constant })
    }

    /// Whether it can't hold: there is no such value, or it compares otherwise. Values are ordered as the
    /// interpreter orders them.
    fn fails(&self, input: &Value) -> bool {
        let mut value = input;
        for step in &self.path {
            match value.as_object().ok().and_then(|object| object.get(step)) {
                Some(next) => value = next,
                None => return true,
            }
        }
        let order = value.cmp(&self.constant);
        let holds = match self.op {
            BoolOp::Lt => order.is_lt(),
            BoolOp::Le => order.is_le(),
            BoolOp::Eq => order.is_eq(),
            BoolOp::Ge => order.is_ge(),
            BoolOp::Gt => order.is_gt(),
            BoolOp::Ne => order.is_ne(),
        };
        !holds
    }
}

/// An `allow` rule's body.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    pub(crate) key: String,
    pub(crate) file: String,
    pub(crate) line: u32,
    pub(crate) conditions: Vec<Condition>,
    /// It gives `true` and no other body comes before it, so that its conditions are all that it takes.
    labelled: bool,
}

/// What is known of a package.
#[derive(Debug, Clone, Default)]
pub(crate) struct Conditions {
    pub(crate) candidates: Vec<Candidate>,
    helpers: BTreeMap<String, Vec<Condition>>,
    /// Modules that say which conditions hold: file name, text, whether it is in version 1 of the language.
    pub(crate) modules: Vec<(String, String, bool)>,
}

/// How deep a named rule's own conditions are followed.
pub(crate) const DEPTH: u8 = 4;

impl Conditions {
    /// Reads the modules of one package and writes the modules that evaluate its conditions.
    pub(crate) fn of(package: &str, modules: &[&Parsed], release_v1: bool) -> Self {
        let mut all = Self::default();
        let bodies_by_name = bodies_by_name(modules);
        for (index, parsed) in modules.iter().enumerate() {
            let v1 = ast::is_v1(parsed, release_v1);
            let mut text = format!("{}\n", parsed.module.package.span.text());
            for import in &parsed.module.imports {
                // The span of an import begins at its keyword.
                let _infallible = writeln!(text, "{}", ast::text_of(&import.span));
            }
            let mut rules = 0_usize;
            for (number, rule) in parsed.module.policy.iter().enumerate() {
                let Some((name, assign, bodies)) = complete(rule) else { continue };
                if name != "allow" && bodies_by_name.get(&name) != Some(&1) {
                    continue;
                }
                for (body, conditions) in split(
                    package,
                    &name,
                    parsed,
                    assign,
                    bodies,
                    &format!("{index}.{number}"),
                    &bodies_by_name,
                ) {
                    rules = rules.saturating_add(1);
                    emit(&mut text, v1, &conditions, (name == "allow").then_some(&body));
                    if name == "allow" {
                        let line = conditions.first().map_or_else(|| rule.span().line, |_| body.line);
                        all.candidates.push(Candidate {
                            key: body.key,
                            file: parsed.file.clone(),
                            line,
                            labelled: body.labelled,
                            conditions: conditions.into_iter().map(|(condition, _)| condition).collect(),
                        });
                    } else {
                        all.helpers.insert(
                            name.clone(),
                            conditions.into_iter().map(|(condition, _)| condition).collect(),
                        );
                    }
                }
            }
            if rules > 0 {
                all.modules.push((format!("conditions of {}", parsed.file), text, v1));
            }
        }
        all
    }

    /// The conditions of a rule that has one body, by its name.
    pub(crate) fn helper(&self, name: &str) -> &[Condition] {
        self.helpers.get(name).map_or(&[], Vec::as_slice)
    }

    /// The candidate that made `allow` true, where every other one is ruled out by plain comparisons: then nothing
    /// has to be evaluated again to name it.
    pub(crate) fn only(&self, input: &Value) -> Option<&Candidate> {
        let fails = |condition: &Condition| condition.test.as_ref().is_some_and(|test| test.fails(input));
        let mut left = self.candidates.iter().filter(|candidate| !candidate.conditions.iter().any(fails));
        let first = left.next().filter(|candidate| candidate.labelled)?;
        left.next().is_none().then_some(first)
    }

    /// The texts of all conditions.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &str> {
        let candidates = self.candidates.iter().flat_map(|candidate| &candidate.conditions);
        candidates.chain(self.helpers.values().flatten()).map(|condition| condition.text.as_str())
    }

    /// The conditions of a candidate that don't hold, each followed into the rules that it names.
    pub(crate) fn failed<'a>(
        &'a self,
        candidate: &'a Candidate,
        holds: &BTreeSet<String>,
    ) -> Vec<Vec<&'a Condition>> {
        self.failed_of(&candidate.conditions, holds, DEPTH)
    }

    /// Each failure as the path to it: the condition itself, then the one inside the rule that it names, and so on.
    fn failed_of<'a>(
        &'a self,
        conditions: &'a [Condition],
        holds: &BTreeSet<String>,
        depth: u8,
    ) -> Vec<Vec<&'a Condition>> {
        let mut failures = Vec::new();
        for condition in conditions {
            let bound = condition
                .depends
                .iter()
                .all(|index| conditions.get(*index).is_none_or(|earlier| holds.contains(&earlier.key)));
            if !bound || holds.contains(&condition.key) {
                continue;
            }
            let inner = match (&condition.helper, depth.checked_sub(1)) {
                (Some(helper), Some(depth)) => self
                    .helpers
                    .get(helper)
                    .map(|inner| self.failed_of(inner, holds, depth))
                    .unwrap_or_default(),
                (None, _) | (_, None) => Vec::new(),
            };
            if inner.is_empty() {
                failures.push(vec![condition]);
            }
            failures.extend(inner.into_iter().map(|path| std::iter::once(condition).chain(path).collect()));
        }
        failures
    }
}

struct BodyKey {
    key: String,
    line: u32,
    text: String,
    labelled: bool,
}

/// How many bodies each complete rule has: one with a single body can be followed.
fn bodies_by_name(modules: &[&Parsed]) -> BTreeMap<String, usize> {
    let mut count = BTreeMap::new();
    for parsed in modules {
        for rule in &parsed.module.policy {
            if let Some((name, _, bodies)) = complete(rule) {
                let more = bodies.len().max(1);
                count.entry(name).and_modify(|n: &mut usize| *n = n.saturating_add(more)).or_insert(more);
            }
        }
    }
    count
}

/// Whether all that can make a package's `allow` true are its candidates.
pub(crate) fn allows_by_candidates(modules: &[&Parsed]) -> bool {
    modules.iter().flat_map(|parsed| &parsed.module.policy).all(|rule| {
        ast::rule_name(rule).is_some_and(|(name, _)| name != "allow")
            || complete(rule).is_some()
            || matches!(rule.as_ref(), Rule::Default { value, .. }
                if matches!(value.as_ref(), Expr::Bool { value: Value::Bool(false), .. }))
    })
}

/// A rule without arguments that has a value: its name, the value assigned, its bodies.
fn complete(rule: &Rule) -> Option<(String, Option<&RuleAssign>, &[RuleBody])> {
    let Rule::Spec { head: RuleHead::Compr { refr, assign, .. }, bodies, .. } = rule else { return None };
    let Expr::Var { span, .. } = refr.as_ref() else { return None };
    Some((span.text().to_owned(), assign.as_ref(), bodies))
}

fn is_true(assign: Option<&RuleAssign>) -> bool {
    assign.is_none_or(|assign| {
        matches!(assign.value.as_ref(), Expr::Bool { value: regorus::Value::Bool(true), .. })
    })
}

type Split = Vec<(BodyKey, Vec<(Condition, String)>)>;

/// The conditions of each body, with the text that evaluates them.
fn split(
    package: &str,
    name: &str,
    parsed: &Parsed,
    assign: Option<&RuleAssign>,
    bodies: &[RuleBody],
    key: &str,
    helpers: &BTreeMap<String, usize>,
) -> Split {
    let mut out = Vec::new();
    let chained = bodies.iter().any(|body| body.is_else);
    let rule = format!("{package}.{name}");
    if bodies.is_empty() {
        if let Some(assign) = assign {
            // An infix expression's own span ends early; the assignment's doesn't.
            let mut span = assign.value.span().clone();
            span.end = assign.span.end;
            let condition = condition(
                parsed,
                &rule,
                &span,
                &Mentions::of_expr(&assign.value),
                format!("{key}.0.0"),
                helper_of(&assign.value, helpers),
            );
            let text = ast::text_of(&span).to_owned();
            out.push((
                BodyKey { key: format!("{key}.0"), line: span.line, text: text.clone(), labelled: true },
                vec![(condition, text)],
            ));
        }
        return out;
    }
    for (number, body) in bodies.iter().enumerate() {
        let value = if body.is_else { body.assign.as_ref() } else { assign };
        let mut conditions: Vec<(Condition, String)> = Vec::new();
        let mut bound: Vec<BTreeSet<String>> = Vec::new();
        for (index, statement) in body.query.stmts.iter().enumerate() {
            let mentions = Mentions::of_statement(statement);
            let helper = match &statement.literal {
                Literal::Expr { expr, .. } if statement.with_mods.is_empty() => helper_of(expr, helpers),
                Literal::Expr { .. }
                | Literal::SomeVars { .. }
                | Literal::SomeIn { .. }
                | Literal::NotExpr { .. }
                | Literal::Every { .. } => None,
            };
            let mut condition = condition(
                parsed,
                &rule,
                &statement.span,
                &mentions,
                format!("{key}.{number}.{index}"),
                helper,
            );
            condition.test = Test::of(statement);
            let names = names(&mentions, parsed, helpers);
            condition.depends = closure(&bound, &names);
            bound.push(names);
            conditions.push((condition, ast::text_of(&statement.span).to_owned()));
        }
        let text = conditions.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>().join("\n  ");
        let line = body.query.stmts.first().map_or(body.span.line, |_| body.span.line);
        out.push((
            BodyKey { key: format!("{key}.{number}"), line, text, labelled: is_true(value) && !chained },
            conditions,
        ));
    }
    out
}

fn helper_of(expr: &Expr, helpers: &BTreeMap<String, usize>) -> Option<String> {
    let Expr::Var { span, .. } = expr else { return None };
    (helpers.get(span.text()) == Some(&1)).then(|| span.text().to_owned())
}

fn condition(
    parsed: &Parsed,
    rule: &str,
    span: &Span,
    mentions: &Mentions,
    key: String,
    helper: Option<String>,
) -> Condition {
    let mut inputs: Vec<Vec<String>> = mentions
        .references
        .iter()
        .filter_map(|reference| input_path(parsed, reference, &mentions.locals))
        .collect();
    inputs.sort();
    inputs.dedup();
    Condition {
        key,
        text: super::rewrite::as_written(&single(ast::text_of(span))),
        rule: rule.to_owned(),
        file: parsed.file.clone(),
        line: span.line,
        about_action: inputs
            .iter()
            .any(|path| path.len() == 1 && path.first().is_some_and(|step| step == "action")),
        inputs,
        depends: Vec::new(),
        helper,
        test: None,
    }
}

/// White space made single, so that an author may lay out a condition freely.
pub(crate) fn single(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The names of a statement that other statements of the body may bind.
fn names(mentions: &Mentions, parsed: &Parsed, rules: &BTreeMap<String, usize>) -> BTreeSet<String> {
    let mut names = mentions.locals.clone();
    let global = |name: &String| {
        matches!(name.as_str(), "input" | "data" | "_")
            || parsed.aliases.contains_key(name)
            || rules.contains_key(name)
    };
    names.extend(
        mentions.references.iter().map(|reference| reference.root.clone()).filter(|name| !global(name)),
    );
    names
}

/// The earlier statements that share a name, and those that share one with these.
fn closure(earlier: &[BTreeSet<String>], names: &BTreeSet<String>) -> Vec<usize> {
    let mut all = names.clone();
    let mut found: BTreeSet<usize> = BTreeSet::new();
    loop {
        let before = found.len();
        for (index, other) in earlier.iter().enumerate() {
            if !other.is_disjoint(&all) {
                found.insert(index);
                all.extend(other.iter().cloned());
            }
        }
        if found.len() == before {
            return found.into_iter().collect();
        }
    }
}

/// Writes a rule for each condition and, for a body that permits, one for the whole.
fn emit(text: &mut String, v1: bool, conditions: &[(Condition, String)], body: Option<&BodyKey>) {
    let mut rule = |set: &str, key: &str, body: &str| {
        let line = if v1 {
            format!("{RESERVED}{set} contains \"{key}\" if {{\n  {body}\n}}\n")
        } else {
            format!("{RESERVED}{set}[\"{key}\"] {{\n  {body}\n}}\n")
        };
        text.push_str(&line);
    };
    for (condition, own) in conditions {
        let mut lines: Vec<&str> = condition
            .depends
            .iter()
            .filter_map(|index| conditions.get(*index))
            .map(|(_, text)| text.as_str())
            .collect();
        lines.push(own);
        rule("holds", &condition.key, &lines.join("\n  "));
    }
    if let Some(body) = body.filter(|body| body.labelled) {
        rule("by", &body.key, &body.text);
    }
}

/// Comparisons of an input's number with an upper bound: the path, whether the same body bounds it below, the place.
#[expect(clippy::wildcard_enum_match_arm, reason = "of a syntax tree only some forms are meant")]
pub(crate) fn upper_bounds(parsed: &Parsed) -> Vec<(Vec<String>, bool, (u32, u32))> {
    let mut found = Vec::new();
    let locals = BTreeSet::new();
    let path = |expr: &Expr| {
        let (root, steps) = ast::reference(expr)?;
        input_path(parsed, &ast::Reference { root, steps, at: (0, 0) }, &locals)
    };
    for rule in &parsed.module.policy {
        let Rule::Spec { bodies, .. } = rule.as_ref() else { continue };
        for body in bodies {
            let (mut upper, mut lower) = (Vec::new(), BTreeSet::new());
            for statement in &body.query.stmts {
                let Literal::Expr { expr, .. } = &statement.literal else { continue };
                match expr.as_ref() {
                    Expr::BoolExpr { op: BoolOp::Lt | BoolOp::Le, lhs, rhs, .. } => {
                        upper.extend(path(lhs).map(|path| (path, ast::at(&statement.span))));
                        lower.extend(path(rhs));
                    }
                    Expr::BoolExpr { op: BoolOp::Gt | BoolOp::Ge, lhs, rhs, .. } => {
                        upper.extend(path(rhs).map(|path| (path, ast::at(&statement.span))));
                        lower.extend(path(lhs));
                    }
                    Expr::BoolExpr { op: BoolOp::Eq, lhs, rhs, .. }
                    | Expr::AssignExpr { op: AssignOp::Eq, lhs, rhs, .. } => {
                        lower.extend(path(lhs).into_iter().chain(path(rhs)));
                    }
                    _ => {}
                }
            }
            found.extend(upper.into_iter().map(|(path, at)| (path.clone(), lower.contains(&path), at)));
        }
    }
    found
}
