//! The traps of tokens and proofs, table by table.

mod access;
mod dpop;
mod guard;
mod operator;
mod support;
mod tidy;
mod verified;
