//! The strict reader, the writer and the canonical form against each other and against `serde_json`.
#![no_main]

#[path = "../../crates/json/tests/it/check.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| check::check(bytes));
