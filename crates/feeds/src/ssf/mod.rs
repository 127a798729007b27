//! Shared Signals (OpenID SSF, CAEP and RISC 1.0): what a provider says of its people becomes facts, and what we revoke is
//! said to those who want to know.
//!
//! [`receive`] reads a verified event; [`events`] derives what is to be said from an entry of the ledger.

mod event;
mod meaning;
mod subject;
mod tell;

pub use event::{CAEP, Known, RISC, SSF, kind_of};
pub use meaning::{Effect, Received, Source, Unmeant, receive, refusal};
pub use tell::{Outgoing, Stream, events, issued, supported};
