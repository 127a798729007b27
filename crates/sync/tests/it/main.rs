//! Both sides of OPAL against the real packages of PyPI (`peers/install.sh` puts them into `.peers/opal`).
//!
//! Those tests need the packages, so they run by `make peers`, or by
//! `cargo nextest run -p placet-sync --run-ignored only`. Tables are read from a PostgreSQL server of the test's own.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test that can't go on has failed"
)]

#[path = "../../../testing/src/cluster.rs"]
#[expect(unreachable_pub, reason = "a file that is shared with the crate of whole servers")]
mod cluster;
mod data;
mod fleet;
mod follow;
mod host;
mod opa;
mod peer;
mod policy;
mod tables;
