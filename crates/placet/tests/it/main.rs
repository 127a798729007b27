//! The binary, as users run it: exit statuses, messages, and the roads between its parts.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test that can't go on has failed"
)]

mod cancel;
mod check;
#[path = "../../../testing/src/cluster.rs"]
#[expect(unreachable_pub, reason = "a file that is shared with the crate of whole servers")]
mod cluster;
mod connect;
mod disk;
mod gitops;
mod guide;
mod http_api;
mod ledger;
mod lifecycle;
mod memory;
mod openapi;
mod postgres;
mod pure;
mod server;
mod support;
mod telemetry;
mod tool_proxy;
mod whys;
