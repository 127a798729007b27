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
//! - [`checkpoint`]: C2SP signed notes over a tree head.
//! - [`tiles`]: C2SP tlog-tiles paths and contents.

pub mod checkpoint;
pub mod frame;
mod hash;
pub mod proof;
pub mod segment;
pub mod tiles;
pub mod tree;

pub use hash::Hash;
