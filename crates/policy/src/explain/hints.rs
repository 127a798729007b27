//! What a policy's text mentions: constants to try, and the paths that its rules read. Nothing here knows a policy.

use std::collections::{BTreeMap, BTreeSet};

use placet_core::Decimal;
use placet_json::{Limits, Value, parse};
use regorus::unstable::{Literal, Rule};

use crate::{
    Release,
    cedar::{Form, Program},
    contract::COMPUTED,
    rego::{
        ast::{self, Mentions, Parsed},
        lint::input_path,
        near::single,
    },
    release,
};

/// The most constants of one kind that are remembered.
const MAX: usize = 128;

/// Constants, and the names beside them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Hints {
    pub(crate) texts: BTreeSet<String>,
    pub(crate) numbers: BTreeSet<Decimal>,
    names: BTreeSet<String>,
}

impl Hints {
    /// Reads a text of Rego or Cedar: literals and names, comments left out.
    pub(crate) fn of(text: &str) -> Self {
        let mut hints = Self::default();
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let end = match first {
                '"' => quoted(rest),
                '`' => rest
                    .get(1..)
                    .and_then(|inner| inner.find('`'))
                    .map_or(rest.len(), |at| at.saturating_add(2)),
                '#' => rest.find('\n').unwrap_or(rest.len()),
                '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
                c if c.is_ascii_digit() => {
                    rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len())
                }
                c if c.is_alphabetic() || c == '_' => {
                    rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())
                }
                c => c.len_utf8(),
            };
            let (token, after) = rest.split_at_checked(end).unwrap_or((rest, ""));
            match first {
                '"' => {
                    if let Ok(Value::String(text)) = parse(token.as_bytes(), &Limits::MESSAGE) {
                        hints.text(&text);
                    }
                }
                '`' => hints.text(token.trim_matches('`')),
                c if c.is_ascii_digit() => hints.numbers.extend(Decimal::parse(token.trim_end_matches('.'))),
                c if c.is_alphabetic() || c == '_' => {
                    hints.names.insert(token.to_owned());
                }
                _ => {}
            }
            rest = after;
        }
        hints
    }

    /// A text; one that is a number counts as both, as Cedar's decimals are texts.
    fn text(&mut self, text: &str) {
        if self.texts.len() < MAX {
            self.texts.insert(text.to_owned());
        }
        self.numbers.extend(Decimal::parse(text));
    }

    /// Whether a name is mentioned.
    pub(crate) fn names(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    pub(crate) fn join(&mut self, other: &Self) {
        self.texts.extend(other.texts.iter().take(MAX.saturating_sub(self.texts.len())).cloned());
        self.numbers.extend(other.numbers.iter().take(MAX.saturating_sub(self.numbers.len())));
        self.names.extend(other.names.iter().cloned());
    }
}

/// The length of a text in quotes, both of them included.
fn quoted(rest: &str) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at.saturating_add(1),
            _ => {}
        }
    }
    rest.len()
}

/// A statement of a deny.
#[derive(Debug, Clone)]
pub(crate) struct Statement {
    pub(crate) text: String,
    pub(crate) line: u32,
    pub(crate) inputs: Vec<Vec<String>>,
}

/// A rule that denies: where it is, and what it reads.
#[derive(Debug, Clone, Default)]
pub(crate) struct Deny {
    pub(crate) file: String,
    pub(crate) statements: Vec<Statement>,
    pub(crate) paths: BTreeSet<Vec<String>>,
    pub(crate) hints: Hints,
}

/// What the rules of a release mention, by their names.
#[derive(Debug, Default)]
pub(crate) struct Index {
    rules: BTreeMap<String, (BTreeSet<Vec<String>>, Hints)>,
    /// By place: `file:line`.
    pub(crate) denies: BTreeMap<String, Deny>,
    pub(crate) all: Hints,
}

impl Index {
    pub(crate) fn of(release: &Release) -> Self {
        let mut index = Self::default();
        for parsed in &release::read(release.tree(), None).modules {
            index.all.join(&Hints::of(&parsed.text));
            for rule in &parsed.module.policy {
                let Some((name, _)) = ast::rule_name(rule) else { continue };
                let mentions = Mentions::of_rule(rule);
                let (paths, hints) = (inputs(parsed, &mentions), Hints::of(&rule_text(rule)));
                if name == "deny" {
                    index.deny(parsed, rule, &paths, &hints);
                }
                let known = index.rules.entry(name).or_default();
                known.0.extend(paths);
                known.1.join(&hints);
            }
        }
        if let Some(cedar) = &release.cedar {
            for (policy, (file, line)) in cedar.policies() {
                let hints = Hints::of(&policy.to_string());
                index.all.join(&hints);
                if !crate::cedar::is_permit(policy) {
                    let inputs = Program::inputs(policy);
                    let statements = Form::conditions(policy).into_iter().map(|text| Statement {
                        text,
                        line: *line,
                        inputs: inputs.clone(),
                    });
                    let deny = Deny {
                        file: file.clone(),
                        statements: statements.collect(),
                        paths: inputs.iter().cloned().collect(),
                        hints,
                    };
                    index.denies.insert(format!("{file}:{line}"), deny);
                }
            }
        }
        index
    }

    fn deny(&mut self, parsed: &Parsed, rule: &Rule, paths: &BTreeSet<Vec<String>>, hints: &Hints) {
        let Rule::Spec { bodies, span, .. } = rule else { return };
        // Of several bodies it can't be told which one fired.
        let only = bodies.iter().filter(|_| bodies.len() == 1);
        let statements = only.flat_map(|body| &body.query.stmts).filter(|statement| {
            !matches!(&statement.literal, Literal::Expr { expr, .. }
                if matches!(expr.as_ref(), regorus::unstable::Expr::AssignExpr { .. }))
        });
        let statements = statements.map(|statement| Statement {
            text: single(ast::text_of(&statement.span)),
            line: statement.span.line,
            inputs: inputs(parsed, &Mentions::of_statement(statement)).into_iter().collect(),
        });
        let deny = self.denies.entry(format!("{}:{}", parsed.file, span.line)).or_default();
        parsed.file.clone_into(&mut deny.file);
        deny.statements.extend(statements);
        deny.paths.extend(paths.iter().cloned());
        deny.hints.join(hints);
    }

    /// What a text mentions, with what the rules mention that it names, and those that these name.
    pub(crate) fn reach(&self, text: &str, inputs: &[Vec<String>]) -> (BTreeSet<Vec<String>>, Hints) {
        let mut paths: BTreeSet<Vec<String>> = inputs.iter().cloned().collect();
        let mut hints = Hints::of(text);
        let mut done: BTreeSet<String> = BTreeSet::new();
        loop {
            let next =
                hints.names.iter().find(|name| self.rules.contains_key(*name) && !done.contains(*name));
            let Some(name) = next.cloned() else { break };
            if let Some((more, known)) = self.rules.get(&name) {
                paths.extend(more.iter().cloned());
                hints.join(known);
            }
            done.insert(name);
        }
        (paths, hints)
    }
}

fn inputs(parsed: &Parsed, mentions: &Mentions) -> BTreeSet<Vec<String>> {
    let paths =
        mentions.references.iter().filter_map(|reference| input_path(parsed, reference, &mentions.locals));
    paths.filter(|path| !path.is_empty()).collect()
}

/// A rule's text. A span of a rule may leave its head out, whose constants don't matter.
fn rule_text(rule: &Rule) -> String {
    match rule {
        Rule::Spec { bodies, head, .. } => {
            let mut text = String::new();
            if let regorus::unstable::RuleHead::Compr { assign: Some(assign), .. }
            | regorus::unstable::RuleHead::Func { assign: Some(assign), .. } = head
            {
                text.push_str(ast::text_of(assign.value.span()));
                text.push(' ');
            }
            for body in bodies {
                for statement in &body.query.stmts {
                    text.push_str(ast::text_of(&statement.span));
                    text.push('\n');
                }
            }
            text
        }
        Rule::Default { .. } => String::new(),
    }
}

/// Whether a step of a policy's path is computed.
pub(crate) fn is_computed(step: &str) -> bool {
    step == COMPUTED
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_and_names_are_read_and_comments_are_not() {
        let hints = Hints::of(
            "input.amount <= 100.5 # \"no\"\n x == \"a \\\"b\\\"\"; y := `raw`; decimal(\"7.0\") // \"nor\"",
        );
        let texts: Vec<&str> = hints.texts.iter().map(String::as_str).collect();
        assert_eq!(texts, ["7.0", "a \"b\"", "raw"]);
        let numbers: Vec<String> = hints.numbers.iter().map(ToString::to_string).collect();
        assert_eq!(numbers, ["7", "100.5"]);
        assert!(hints.names.contains("amount") && hints.names.contains("decimal"));
    }
}
