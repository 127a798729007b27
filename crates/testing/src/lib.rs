//! A whole server in the test's process, with agents that hold keys, an administrator, and a tool that records every
//! byte that reaches it.
//!
//! What a hostile case asserts is always the same four things: what the caller was answered, what the ledger says,
//! what was counted, and what reached the tool. [`Watch`] holds the last three against what was expected.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::missing_panics_doc,
    reason = "only tests use it, and a test that can't go on has failed"
)]

mod admin;
mod agent;
mod cluster;
mod files;
mod ledger;
mod outsider;
mod recorder;
mod second;
mod stage;
mod watch;
mod wire;

pub use admin::Admin;
pub use agent::Agent;
pub use cluster::Cluster;
pub use files::{Files, definitions};
pub use ledger::{Entry, Ledger};
pub use recorder::{Recorder, Reply, Seen, Speaks};
pub use second::{Second, on_postgres, ready, url_file};
pub use stage::{Stage, StageBuilder, settings_of};
pub use watch::{Want, Watch};
pub use wire::{Answer, Http, exchange, raw};

use placet_json::{Limits, Value};

/// The wall clock, in seconds since the Unix epoch.
#[must_use]
pub fn now() -> u64 {
    millis() / 1000
}

/// The wall clock, in milliseconds since the Unix epoch.
#[expect(clippy::disallowed_methods, reason = "clients of a running server live in its time")]
#[must_use]
pub fn millis() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    u64::try_from(since.as_millis()).unwrap()
}

/// Reads JSON that must be JSON.
#[must_use]
pub fn json(text: &[u8]) -> Value {
    placet_json::parse(text, &Limits::RESULT)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(text)))
}
