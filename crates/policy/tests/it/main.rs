//! Releases as a whole: the ones in `policies/`, and ones that are made to go wrong.
#![expect(clippy::arithmetic_side_effects, reason = "small numbers of tests; an overflow would panic")]

// `cfg(test)` says to clippy that the helpers are tests too.
#[cfg(test)]
mod around;
#[cfg(test)]
mod cases;
#[cfg(test)]
mod common;
#[cfg(test)]
mod explain;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod models;
#[cfg(test)]
mod on_action;
#[cfg(test)]
mod ours;
#[cfg(test)]
mod packages;
#[cfg(test)]
mod platform;
#[cfg(test)]
mod policies;
#[cfg(test)]
mod states;
#[cfg(test)]
mod twins;
