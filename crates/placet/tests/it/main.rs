//! The binary, as users run it: exit statuses, messages, and the roads between its parts.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test that can't go on has failed"
)]

mod archive;
mod cancel;
mod check;
#[path = "../../../testing/src/cluster.rs"]
#[expect(unreachable_pub, reason = "a file that is shared with the crate of whole servers")]
mod cluster;
mod connect;
mod disk;
mod guide;
mod ledger;
mod lifecycle;
mod memory;
mod onboard;
mod openapi;
mod order;
mod postgres;
mod probe;
mod pure;
mod scan;
mod server;
mod support;
mod telemetry;
mod templates;
mod tool_proxy;
mod whys;
