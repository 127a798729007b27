//! The server: settings, the two listeners, the administration API, and the only wiring of all parts.
//!
//! Nothing here decides about calls: that is the release's, through the one authority which `run` builds. The agents'
//! listener and the administrators' listener are two sockets, and what belongs to one isn't found on the other.

pub mod admin;
mod authorize;
pub mod books;
pub mod databases;
pub mod feeds;
mod flood;
pub mod keys;
mod ledger;
pub mod lifecycle;
pub mod listen;
pub mod log;
pub mod mcp;
pub mod metrics;
pub mod oauth;
pub mod opal;
pub mod outside;
pub mod people;
mod retention;
pub mod run;
pub mod settings;
mod shared;
pub mod stream;
mod telemetry;
mod transparency;
pub mod tree;
pub mod uses;
pub mod vault;
pub use placet_verify::window;
