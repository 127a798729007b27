//! The reader and the canonical form, seen from outside.
#![expect(clippy::arithmetic_side_effects, reason = "small numbers of tests; an overflow would panic")]

// `cfg(test)` says to clippy that the helpers are tests too.
#[cfg(test)]
mod check;
#[cfg(test)]
mod corpus;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod refusals;
