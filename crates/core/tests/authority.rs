//! Authority can't be forged, skipped, reused, copied or read too early, and ids of two kinds don't mix: each of these
//! programs must not compile, for the reason that its `.stderr` names. And what does compile notices what ends meanwhile.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::arithmetic_side_effects,
    reason = "a test that can't go on has failed"
)]

#[path = "authority/life.rs"]
mod life;

#[test]
fn authority_is_a_value_that_only_the_decider_makes() {
    let cases = trybuild::TestCases::new();
    cases.pass("tests/authority/honest.rs");
    cases.compile_fail("tests/authority/refused_*.rs");
}
