//! The verifier as a service embeds it, and our tokens in the hands of libraries that Placet did not write.
#![expect(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    reason = "a test that can't go on has failed"
)]

mod peers;
mod support;
mod verifier;
