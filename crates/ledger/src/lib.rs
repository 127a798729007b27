//! The ledger's formats and proofs: journal segments, Merkle trees, checkpoints, tiles.
//!
//! What this crate does *not* do: it opens no file, reads no clock, draws no random number and knows nothing of
//! what a record means. It deals in bytes, sequence numbers, Unix milliseconds and tree names, so that a verifier
//! can be written from its documentation alone.
//!
//! - [`frame`]: one record on disk, and the chain that ties it to the one before.
//! - [`segment`]: a file of frames, how its end is found, and what is damage rather than a torn write.
//! - [`tree`]: RFC 6962 hashes, the frontier for appending, roots at any size.
//! - [`proof`]: inclusion and consistency proofs and their verification.
//! - [`range`]: that records next to each other are all that a tree has there.
//! - [`checkpoint`]: C2SP signed notes over a tree head.
//! - [`note`]: signed notes over any other text.
//! - [`cosign`]: C2SP cosignatures of witnesses, and what a witness checks.
//! - [`tiles`]: C2SP tlog-tiles paths and contents.

pub mod checkpoint;
pub mod cosign;
pub mod frame;
mod hash;
pub mod note;
pub mod proof;
pub mod range;
pub mod segment;
pub mod tiles;
pub mod tree;

pub use hash::Hash;
