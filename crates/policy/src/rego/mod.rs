//! Rego: read and checked at load, interpreted at every decision.

pub(crate) mod ast;
pub(crate) mod compiled;
pub(crate) mod convert;
pub(crate) mod lint;
pub(crate) mod near;
pub(crate) mod program;
pub(crate) mod rewrite;

/// Rule names that start so are ours.
pub(crate) const RESERVED: &str = "__placet_";

/// The function that asks for a relationship.
pub(crate) const CHECK: &str = "placet.check";
