//! The traps of tokens and proofs, table by table.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::arithmetic_side_effects,
    reason = "a test that can't go on has failed"
)]

mod access;
mod dpop;
mod guard;
mod operator;
mod peer;
mod support;
mod tidy;
mod verified;
