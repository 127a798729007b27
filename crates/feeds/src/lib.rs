//! Identity feeds: where an organisation's own systems say who its people are and what they may no longer do.
//!
//! [`scim`] answers a provider that writes people and groups; [`ssf`] reads what providers signal, and says what we revoke.
//!
//! From requests and facts to answers and transactions: no I/O, no clock, no randomness, no state. Who listens, in which
//! order things become durable and what is asked of others over the network is the server's.

mod feed;
pub mod scim;
pub mod ssf;

pub use feed::{Feed, GroupRule, HumanIdFrom};
