//! Hostile cases, each through a whole server: what was answered, recorded, counted, and what reached the tool.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::similar_names,
    clippy::arithmetic_side_effects,
    reason = "a test that can't go on has failed; `stage` and `state` are words of their trades"
)]

mod arguments;
mod consent;
mod duties;
mod endings;
mod enrolment;
mod envelope;
mod feeds;
mod gateways;
mod holds;
mod http_parts;
mod limits;
mod live;
mod lookups;
mod moves;
mod neighbour;
mod operations;
mod people;
mod people_peers;
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
