//! Releases as a whole: the ones in `policies/`, and ones that are made to go wrong.
#![expect(clippy::arithmetic_side_effects, reason = "small numbers of tests; an overflow would panic")]

// `cfg(test)` says to clippy that the helpers are tests too.
#[cfg(test)]
mod common;
mod compiled;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod models;
#[cfg(test)]
mod ours;
#[cfg(test)]
mod platform;
#[cfg(test)]
mod policies;
#[cfg(test)]
mod states;
#[cfg(test)]
mod twins;
