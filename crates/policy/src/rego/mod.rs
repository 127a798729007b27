//! Rego: read and checked at load, interpreted at every decision.

pub(crate) mod ast;
mod bounds;
pub(crate) mod builtins;
pub(crate) mod compiled;
pub(crate) mod convert;
#[cfg(test)]
mod corpus;
pub(crate) mod differ;
mod guard;
pub(crate) mod lint;
pub(crate) mod near;
mod print;
pub(crate) mod program;
pub(crate) mod rewrite;
pub(crate) mod visit;

/// Rule names that start so are ours.
pub(crate) const RESERVED: &str = "__placet_";

/// The function that asks for a relationship.
pub(crate) const CHECK: &str = "placet.check";
