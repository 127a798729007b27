//! The names of all lints.

use crate::finding::Severity;

/// A kind of finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lint {
    /// Its name: the anchor in `docs/reference/lints.md`, and what `[[silence]]` calls it.
    pub code: &'static str,
    /// How bad it is, at the worst. An error can't be silenced.
    pub severity: Severity,
    /// What it tells, in a sentence.
    pub tells: &'static str,
}

const fn lint(code: &'static str, severity: Severity, tells: &'static str) -> Lint {
    Lint { code, severity, tells }
}

use Severity::{Advice, Error, Warning};

/// All lints, by name.
pub const LINTS: &[Lint] = &[
    lint("action-without-grant", Warning, "with two engines, `[grants]` names none for an action"),
    lint("allow-without-tenant", Advice, "an `allow` compares no tenant"),
    lint("allow-without-workflow", Advice, "an `allow` reads neither the workflow nor the intent"),
    lint("cedar-validation", Error, "a Cedar policy doesn't fit the schema that the release makes"),
    lint("computed-pattern", Advice, "a pattern isn't written in the policy"),
    lint("contradiction", Warning, "conditions of one rule exclude each other"),
    lint("cycle", Error, "a rule needs itself"),
    lint("dead-rule", Warning, "no entry point leads to a rule"),
    lint("deny-misses-missing", Advice, "where a member is missing, a deny doesn't fire"),
    lint("deny-never-fires", Warning, "a deny's conditions can't all hold"),
    lint("engines-differ", Error, "engines read a form differently, or did before it was rewritten"),
    lint("entrypoint-empty", Warning, "an entry point has neither `allow` nor `deny`"),
    lint("grant-without-tool", Advice, "`[grants]` names an action that no tool has"),
    lint("inexact-arithmetic", Advice, "a computed decimal is compared"),
    lint("invalid", Error, "a file can't be read as what it should be"),
    lint("long-life", Advice, "workflows of a type live long"),
    lint("no-agent", Warning, "no agent may act in a type of workflow"),
    lint("no-entrypoint", Warning, "`[rego]` names no entry point"),
    lint("no-intent", Warning, "a type of workflow serves no intent"),
    lint("no-policy", Warning, "the release has no policy"),
    lint("no-tests", Advice, "the release has no tests"),
    lint("null-comparison", Warning, "a comparison also holds for null, false and negative numbers"),
    lint("private-untrusted-out", Warning, "one intent allows private data, untrusted text and a way out"),
    lint("rule-without-tool", Warning, "a rule is about an action that no tool has"),
    lint("state-without-exit", Warning, "no way leads out of a state"),
    lint("tool-without-rule", Advice, "no rule allows a tool's action"),
    lint("type-mismatch", Warning, "a value is compared with one of another type"),
    lint("unadmitted-function", Error, "a function isn't admitted, or doesn't exist"),
    lint("unknown-path", Error, "no input has a path that a policy reads"),
    lint("unknown-value", Warning, "no input ever has a value that a policy compares with"),
    lint("unreachable-state", Warning, "no way leads to a state"),
    lint("unused-approval", Advice, "nothing reads an approval"),
    lint("unused-reason", Advice, "a reason belongs to no condition"),
    lint("unused-silence", Advice, "a `[[silence]]` silences nothing"),
];

/// A lint by its name.
pub(crate) fn named(code: &str) -> Option<&'static Lint> {
    LINTS.iter().find(|lint| lint.code == code)
}
