//! Identity feeds, from outside: what providers send, and what facts say afterwards.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::arithmetic_side_effects,
    clippy::wildcard_enum_match_arm,
    reason = "a test that can't go on has failed"
)]

mod desk;
mod providers;
mod scim;
mod signals;
