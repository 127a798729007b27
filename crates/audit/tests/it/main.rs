//! Ledgers that a gateway's own journal wrote, read back, and altered.

mod alterations;
mod desk;
mod reading;
