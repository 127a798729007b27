//! The Model Context Protocol, sans-I/O, as a gateway between its eras needs it.
//!
//! Messages stay JSON as they came ([`placet_json`]): a proxy must keep what it does not know. What decides is parsed
//! into types; what cannot be parsed is refused with the exact error that the specification names.
//!
//! There is no socket, clock, randomness or policy here, and nothing of Placet: what a method may do is the caller's
//! business, this crate only says which [`method::Class`] each one is of.
//!
//! | module | purpose |
//! |---|---|
//! | [`revision`] | revisions of the protocol and their two eras |
//! | [`message`], [`method`], [`rpc`] | JSON-RPC messages, every method of every revision, errors |
//! | [`modern`], [`headers`] | 2026-07-28 requests and their mirrored headers |
//! | [`legacy`], [`discover`] | the handshake, `server/discover`, finding out a peer's era |
//! | [`tools`], [`schema`], [`result`], [`input`] | definitions, calls, results, questions to the client |
//! | [`subscription`] | what a client wants to hear of |
//! | [`translate`], [`logging`], [`capability`] | between the eras |
//! | [`sse`], [`stdio`], [`idmap`] | framing; ids and progress tokens of our own |

pub mod capability;
pub mod discover;
pub mod headers;
pub mod idmap;
pub mod input;
pub mod legacy;
pub mod logging;
pub mod message;
pub mod method;
pub mod modern;
pub mod result;
pub mod revision;
pub mod rpc;
pub mod schema;
pub mod sse;
pub mod stdio;
pub mod subscription;
pub mod tools;
pub mod translate;

pub use message::{Id, Message};
pub use method::{Class, Direction, Kind, Method};
pub use revision::{Era, Revision};
pub use rpc::{Refusal, RpcError};

/// Keys of `_meta` that the protocol reserves.
pub mod meta {
    /// Prefix of the keys below.
    pub const RESERVED: &str = "io.modelcontextprotocol/";
    /// Revision of a modern request; required there.
    pub const PROTOCOL_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
    /// What the client can do, for this request; required in a modern one.
    pub const CLIENT_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
    /// What the client says it is; decides nothing.
    pub const CLIENT_INFO: &str = "io.modelcontextprotocol/clientInfo";
    /// Least severity of log messages wanted.
    pub const LOG_LEVEL: &str = "io.modelcontextprotocol/logLevel";
    /// What the server says it is; decides nothing.
    pub const SERVER_INFO: &str = "io.modelcontextprotocol/serverInfo";
    /// Request id of the `subscriptions/listen` that a notification belongs to.
    pub const SUBSCRIPTION_ID: &str = "io.modelcontextprotocol/subscriptionId";
    /// Token by which progress of this request is reported; not prefixed.
    pub const PROGRESS_TOKEN: &str = "progressToken";
}
