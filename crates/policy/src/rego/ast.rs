//! What a Rego module mentions: references, calls, local names, negations. Read off regorus' syntax tree.

use std::collections::{BTreeMap, BTreeSet};

use regorus::unstable::{
    AssignOp, Expr, Import, Literal, LiteralStmt, Module, Parser, Query, Rule, RuleBody, RuleHead, Source,
    Span,
};

use crate::finding::Finding;

/// A parsed module.
pub(crate) struct Parsed {
    pub(crate) file: String,
    pub(crate) text: String,
    pub(crate) module: Module,
    /// The package, `data` left out.
    pub(crate) package: Vec<String>,
    /// What an import's name stands for, from `input` or `data` on.
    pub(crate) aliases: BTreeMap<String, Vec<String>>,
}

/// One step of a reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    Name(String),
    Computed,
}

/// A reference, with its root.
#[derive(Debug, Clone)]
pub(crate) struct Reference {
    pub(crate) root: String,
    pub(crate) steps: Vec<Step>,
    pub(crate) at: (u32, u32),
}

/// A call of a function.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) name: String,
    pub(crate) at: (u32, u32),
}

/// A place in a text.
type Bytes = std::ops::Range<usize>;

/// What an expression, a body or a rule mentions.
#[derive(Debug, Default)]
pub(crate) struct Mentions {
    pub(crate) references: Vec<Reference>,
    pub(crate) calls: Vec<Call>,
    /// Names that are declared or assigned inside.
    pub(crate) locals: BTreeSet<String>,
    /// `not` over an expression with a wildcard: the bytes of the whole, and of the expression.
    pub(crate) wild_negations: Vec<(Bytes, Bytes, (u32, u32))>,
}

/// Parses a module; `v1` is the release's language version, which an `import rego.v1` raises.
pub(crate) fn parse(file: &str, text: &str, v1: bool) -> Result<Parsed, Finding> {
    let failed = |error: &anyhow::Error| {
        let text = error.to_string();
        Finding::error(file, place_in(&text), message_in(&text), "")
    };
    if let Some(offset) = too_deep(text) {
        return Err(Finding::error(
            file,
            crate::finding::position(text, offset),
            format!("brackets are nested more than {MAX_NESTING} deep"),
            "give the inner part a name of its own",
        ));
    }
    let source = Source::from_contents(file.to_owned(), text.to_owned()).map_err(|e| failed(&e))?;
    let mut parser = Parser::new(&source).map_err(|e| failed(&e))?;
    if v1 {
        parser.enable_rego_v1().map_err(|e| failed(&e))?;
    }
    let module = parser.parse().map_err(|e| failed(&e))?;
    let package = full_path(&module.package.refr).ok_or_else(|| {
        Finding::error(file, at(&module.package.span), "the package's name can't be computed", "")
    })?;
    let aliases = module.imports.iter().filter_map(alias).collect();
    Ok(Parsed { file: file.to_owned(), text: text.to_owned(), module, package, aliases })
}

/// How deep brackets may be nested. The parser tries each bracket as a comprehension first and as a collection then,
/// so that its time doubles with each level.
const MAX_NESTING: usize = 10;

/// Where brackets are nested too deep, texts and comments left out.
fn too_deep(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    let mut bytes = text.bytes().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'[' | b'{' | b'(' => {
                depth = depth.saturating_add(1);
                if depth > MAX_NESTING {
                    return Some(at);
                }
            }
            b']' | b'}' | b')' => depth = depth.saturating_sub(1),
            b'#' => while bytes.next().is_some_and(|(_, byte)| byte != b'\n') {},
            b'`' => while bytes.next().is_some_and(|(_, byte)| byte != b'`') {},
            b'"' => {
                while let Some((_, byte)) = bytes.next() {
                    match byte {
                        b'\\' => drop(bytes.next()),
                        b'"' | b'\n' => break,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    None
}

/// `--> file:line:column` in regorus' messages.
fn place_in(message: &str) -> (u32, u32) {
    let place = message.lines().find_map(|line| line.strip_prefix("--> ")).unwrap_or("");
    let mut parts = place.rsplitn(3, ':');
    let column = parts.next().and_then(|n| n.parse().ok()).unwrap_or(0);
    let line = parts.next().and_then(|n| n.parse().ok()).unwrap_or(0);
    (line, column)
}

fn message_in(message: &str) -> String {
    let start = message.rfind("error: ").map_or(0, |at| at.saturating_add(7));
    message.get(start..).unwrap_or(message).trim().to_owned()
}

/// Where a span begins. Its own line and column are of a call's bracket or an infix's sign, and count a tab as four.
pub(crate) fn at(span: &Span) -> (u32, u32) {
    let text = span.source.get_contents();
    crate::finding::position(text, range_of(text, span.start, span.end).start)
}

/// The bytes of a statement from `start` to `end`. A string's token leaves its quotes out, so that spans which begin or
/// end with one are a byte short.
fn whole(source: &str, start: usize, end: usize) -> std::ops::Range<usize> {
    let bytes = source.as_bytes();
    let quote = |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(|b| matches!(b, b'"' | b'`'));
    let start = if quote(start.checked_sub(1)) { start.saturating_sub(1) } else { start };
    let mut open: Option<u8> = None;
    let mut inner = bytes.get(start..end).unwrap_or_default().iter();
    while let Some(byte) = inner.next() {
        match (open, *byte) {
            (Some(b'"'), b'\\') => {
                inner.next();
            }
            (Some(quote), byte) if byte == quote => open = None,
            (None, quote @ (b'"' | b'`')) => open = Some(quote),
            (None, b'#') => while inner.next().is_some_and(|byte| *byte != b'\n') {},
            (Some(_) | None, _) => {}
        }
    }
    start..if open.is_some() && quote(Some(end)) { end.saturating_add(1) } else { end }
}

/// The text of a span, with the quotes that belong to it.
pub(crate) fn text_of(span: &Span) -> &str {
    let source = span.source.get_contents();
    source.get(range_of(span.source.get_contents(), span.start, span.end)).unwrap_or_default()
}

pub(super) fn range_of(source: &str, start: u32, end: u32) -> std::ops::Range<usize> {
    whole(source, usize::try_from(start).unwrap_or(0), usize::try_from(end).unwrap_or(0))
}

fn alias(import: &Import) -> Option<(String, Vec<String>)> {
    let path = full_path(&import.refr)?;
    let name =
        import.r#as.as_ref().map_or_else(|| path.last().cloned(), |name| Some(name.text().to_owned()))?;
    matches!(path.first().map(String::as_str), Some("data" | "input")).then_some((name, path))
}

/// A reference whose every step is a name.
pub(crate) fn full_path(expr: &Expr) -> Option<Vec<String>> {
    let (root, steps) = reference(expr)?;
    let mut path = vec![root];
    for step in steps {
        match step {
            Step::Name(name) => path.push(name),
            Step::Computed => return None,
        }
    }
    Some(path)
}

/// A reference's root and steps.
#[expect(clippy::wildcard_enum_match_arm, reason = "of a syntax tree only some forms are meant")]
pub(crate) fn reference(expr: &Expr) -> Option<(String, Vec<Step>)> {
    let mut steps = Vec::new();
    let mut current = expr;
    // Deeper is no reference; the analysis that follows then sees its parts one by one.
    for _ in 0..256 {
        if let Expr::Var { span, .. } = current {
            steps.reverse();
            return Some((span.text().to_owned(), steps));
        }
        if let Expr::RefDot { refr, field, .. } = current {
            steps.push(Step::Name(field.0.text().to_owned()));
            current = refr;
        } else if let Expr::RefBrack { refr, index, .. } = current {
            steps.push(match index.as_ref() {
                Expr::String { value, .. } | Expr::RawString { value, .. } => {
                    value.as_string().map_or(Step::Computed, |text| Step::Name(text.to_string()))
                }
                _ => Step::Computed,
            });
            current = refr;
        } else {
            return None;
        }
    }
    None
}

impl Mentions {
    pub(crate) fn of_rule(rule: &Rule) -> Self {
        let mut mentions = Self::default();
        match rule {
            Rule::Spec { head, bodies, .. } => {
                match head {
                    RuleHead::Compr { refr, assign, .. } => {
                        mentions.head(refr);
                        if let Some(assign) = assign {
                            mentions.expr(&assign.value);
                        }
                    }
                    RuleHead::Set { refr, key, .. } => {
                        mentions.head(refr);
                        if let Some(key) = key {
                            mentions.expr(key);
                        }
                    }
                    RuleHead::Func { refr, args, assign, .. } => {
                        mentions.head(refr);
                        for arg in args {
                            mentions.declare(arg);
                        }
                        if let Some(assign) = assign {
                            mentions.expr(&assign.value);
                        }
                    }
                }
                for body in bodies {
                    mentions.body(body);
                }
            }
            Rule::Default { value, .. } => mentions.expr(value),
        }
        mentions
    }
    pub(crate) fn of_statement(statement: &LiteralStmt) -> Self {
        let mut mentions = Self::default();
        mentions.statement(statement);
        mentions
    }
    pub(crate) fn of_expr(expr: &Expr) -> Self {
        let mut mentions = Self::default();
        mentions.expr(expr);
        mentions
    }

    /// A head's computed steps; its names are the rule's own.
    fn head(&mut self, refr: &Expr) {
        if let Expr::RefBrack { refr, index, .. } = refr {
            self.head(refr);
            self.expr(index);
        } else if let Expr::RefDot { refr, .. } = refr {
            self.head(refr);
        }
    }
    fn body(&mut self, body: &RuleBody) {
        if let Some(assign) = &body.assign {
            self.expr(&assign.value);
        }
        self.query(&body.query);
    }
    fn query(&mut self, query: &Query) {
        for statement in &query.stmts {
            self.statement(statement);
        }
    }
    fn statement(&mut self, statement: &LiteralStmt) {
        match &statement.literal {
            Literal::SomeVars { vars, .. } => {
                self.locals.extend(vars.iter().map(|var| var.text().to_owned()));
            }
            Literal::SomeIn { key, value, collection, .. } => {
                if let Some(key) = key {
                    self.declare(key);
                }
                self.declare(value);
                self.expr(collection);
            }
            Literal::Expr { expr, .. } => self.expr(expr),
            Literal::NotExpr { expr, span } => {
                let mut inner = Self::default();
                inner.expr(expr);
                let wild = inner.references.iter().any(|r| r.root == "_");
                self.absorb(inner);
                // A `with` after the negation would have to stay outside of the rewritten form.
                if wild && statement.with_mods.is_empty() {
                    let start = statement.span.start.min(span.start);
                    let source = span.source.get_contents();
                    // An infix expression's own span ends early; the statement's doesn't.
                    self.wild_negations.push((
                        range_of(source, start, span.end),
                        range_of(source, expr.span().start, span.end),
                        at(&statement.span),
                    ));
                }
            }
            Literal::Every { key, value, domain, query, .. } => {
                self.locals.extend(key.iter().map(|key| key.text().to_owned()));
                self.locals.insert(value.text().to_owned());
                self.expr(domain);
                self.query(query);
            }
        }
        for modifier in &statement.with_mods {
            self.expr(&modifier.refr);
            self.expr(&modifier.r#as);
        }
    }
    fn absorb(&mut self, other: Self) {
        self.references.extend(other.references);
        self.calls.extend(other.calls);
        self.locals.extend(other.locals);
        self.wild_negations.extend(other.wild_negations);
    }
    /// The names that a pattern binds.
    #[expect(clippy::wildcard_enum_match_arm, reason = "of a syntax tree only some forms are meant")]
    fn declare(&mut self, pattern: &Expr) {
        match pattern {
            Expr::Var { span, .. } => {
                self.locals.insert(span.text().to_owned());
            }
            Expr::Array { items, .. } => items.iter().for_each(|item| self.declare(item)),
            Expr::Object { fields, .. } => fields.iter().for_each(|(_, _, value)| self.declare(value)),
            _ => self.expr(pattern),
        }
    }
    fn expr(&mut self, expr: &Expr) {
        match expr {
            Expr::String { .. }
            | Expr::RawString { .. }
            | Expr::Number { .. }
            | Expr::Bool { .. }
            | Expr::Null { .. } => {}
            Expr::Var { span, .. } => self.references.push(Reference {
                root: span.text().to_owned(),
                steps: Vec::new(),
                at: at(span),
            }),
            Expr::Array { items, .. } | Expr::Set { items, .. } => {
                for item in items {
                    self.expr(item);
                }
            }
            Expr::Object { fields, .. } => {
                for (_, key, value) in fields {
                    self.expr(key);
                    self.expr(value);
                }
            }
            Expr::ArrayCompr { term, query, .. } | Expr::SetCompr { term, query, .. } => {
                self.query(query);
                self.expr(term);
            }
            Expr::ObjectCompr { key, value, query, .. } => {
                self.query(query);
                self.expr(key);
                self.expr(value);
            }
            Expr::Call { fcn, params, span, .. } => {
                let name = full_path(fcn).map_or_else(|| fcn.span().text().to_owned(), |path| path.join("."));
                self.calls.push(Call { name, at: at(span) });
                for param in params {
                    self.expr(param);
                }
            }
            Expr::UnaryExpr { expr, .. } => self.expr(expr),
            Expr::RefDot { .. } | Expr::RefBrack { .. } => self.reference(expr),
            Expr::BinExpr { lhs, rhs, .. }
            | Expr::BoolExpr { lhs, rhs, .. }
            | Expr::ArithExpr { lhs, rhs, .. } => {
                self.expr(lhs);
                self.expr(rhs);
            }
            Expr::AssignExpr { op, lhs, rhs, .. } => {
                if matches!(op, AssignOp::ColEq) {
                    self.declare(lhs);
                } else {
                    self.expr(lhs);
                }
                self.expr(rhs);
            }
            Expr::Membership { key, value, collection, .. } => {
                if let Some(key) = key {
                    self.expr(key);
                }
                self.expr(value);
                self.expr(collection);
            }
        }
    }
    fn reference(&mut self, expr: &Expr) {
        if let Some((root, steps)) = reference(expr) {
            self.references.push(Reference { root, steps, at: at(expr.span()) });
        }
        let mut current = expr;
        loop {
            if let Expr::RefDot { refr, .. } = current {
                current = refr;
            } else if let Expr::RefBrack { refr, index, .. } = current {
                self.expr(index);
                current = refr;
            } else {
                // A root that is no name, such as a call's result.
                if !matches!(current, Expr::Var { .. }) {
                    self.expr(current);
                }
                return;
            }
        }
    }
}

/// A rule's name inside its package: the first step of its head, and all of its names.
pub(crate) fn rule_name(rule: &Rule) -> Option<(String, Vec<String>)> {
    let refr = match rule {
        Rule::Spec {
            head: RuleHead::Compr { refr, .. } | RuleHead::Set { refr, .. } | RuleHead::Func { refr, .. },
            ..
        }
        | Rule::Default { refr, .. } => refr,
    };
    let (root, steps) = reference(refr)?;
    let mut names = vec![root.clone()];
    for step in steps {
        let Step::Name(name) = step else { break };
        names.push(name);
    }
    Some((root, names))
}

/// Whether the module is written in the language's version 1.
pub(crate) fn is_v1(parsed: &Parsed, release_v1: bool) -> bool {
    release_v1 || parsed.module.rego_v1
}
