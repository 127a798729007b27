//! Hostile cases, each through a whole server: what was answered, recorded, counted, and what reached the tool.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test that can't go on has failed"
)]

mod arguments;
mod duties;
mod endings;
mod enrolment;
mod envelope;
mod feeds;
mod gateways;
mod http_parts;
mod limits;
mod live;
mod lookups;
mod moves;
mod neighbour;
mod operations;
mod privacy;
mod protocol;
mod races;
mod releases;
mod rest;
mod signals;
mod sources;
mod stops;
mod streams;
mod support;
mod tenancy;
mod tools;
