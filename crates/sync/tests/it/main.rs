//! Both sides of OPAL against the real packages of PyPI (`peers/install.sh` puts them into `.peers/opal`).
//!
//! These tests need the packages, so they run by `make peers`, or by
//! `cargo nextest run -p placet-sync --run-ignored only`.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test that can't go on has failed"
)]

mod data;
mod fleet;
mod follow;
mod host;
mod opa;
mod peer;
mod policy;
