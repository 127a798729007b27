//! Adapters to the tools: the Model Context Protocol over Streamable HTTP and stdio, in both eras, and operations of
//! HTTP APIs.
//!
//! [`Upstreams`] holds the configured tools, their definitions ([`ToolSet`]) and pools of connections and processes,
//! each used by one tenant with one credential only ([`Partition`]). [`Upstreams::connect`] makes a [`Ready`]: a
//! connection with one call's credential, on which nothing was sent yet. The authority sends it, and gets an outcome.
//!
//! What is sent is what was decided: the call's canonical argument bytes go into the request as they are, and
//! everything around them (headers, ids, `_meta`) is made anew. Nothing of the agent's request passes otherwise.
//!
//! Nothing here decides, labels, records or opens the vault: credentials come from [`Credentials`], and what may leave
//! an answer is asked of [`Inspect`]. Redirects are never followed, questions of a tool to the agent's client are
//! refused, and a call that may have arrived is never sent again.

mod answer;
mod breaker;
mod config;
mod credential;
mod dial;
mod egress;
mod era;
mod error;
mod http;
mod key;
mod listen;
mod once;
mod operation;
mod pool;
mod post;
mod process;
mod read;
mod ready;
mod request;
mod road;
mod scan;
mod session;
mod stdio;
mod sync;
mod upstreams;
mod wire;

pub use breaker::{Circuit, Fuse, Pass, Resting};
pub use config::{Bounds, Config, Http, Stdio, Timeouts, Transport, Trust};
pub use credential::{CredentialError, Credentials, Made, Purpose, Target};
pub use egress::{Egress, Forbidden, Resolve, Resolving, SystemResolver};
pub use error::UpstreamError;
pub use key::Partition;
pub use once::{Once, OnceAnswer};
pub use operation::{HTTP_META, Operation};
pub use read::{Document, Errand, Pays};
pub use ready::Ready;
pub use request::{Client, Inspect, Request, Verdict};
pub use sync::ToolSet;
pub use upstreams::{Health, Now, Upstreams};
