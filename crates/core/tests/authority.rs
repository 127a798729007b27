//! Authority can't be forged, skipped, reused, copied or read too early, and ids of two kinds don't mix: each of these
//! programs must not compile, for the reason that its `.stderr` names.

#[test]
fn authority_is_a_value_that_only_the_decider_makes() {
    let cases = trybuild::TestCases::new();
    cases.pass("tests/authority/honest.rs");
    cases.compile_fail("tests/authority/refused_*.rs");
}
