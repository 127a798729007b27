//! Ledgers that a gateway's own journal wrote, read back, and altered.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests fail as tests do"
)]

mod alterations;
mod archived;
mod desk;
mod golden;
mod reading;
mod whys;
