//! For a service that wants to be called through a Placet gateway and in no other way: checks the call token of each
//! request, itself, in the service.
//!
//! ```
//! use placet_verify::{KeySet, MemoryStore, Reach, Request, Trust, Verifier};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let jwks = br#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
//! # let now = 1_772_000_000;
//! let trust = Trust {
//!     issuer: "https://gw.example".to_owned(),
//!     keys: KeySet::from_jwks(jwks)?, // what GET https://gw.example/oauth/jwks answered
//!     audience: "https://billing.example/mcp".to_owned(),
//!     url: "https://billing.example/mcp".to_owned(),
//!     reach: Reach::Endpoint,
//! };
//! let verifier = Verifier::new(trust, MemoryStore::started(now, 70_000))?;
//!
//! let request = Request { method: "POST", target: "/mcp", headers: &[], body: b"{}" };
//! match verifier.verify(&request, now) {
//!     Ok(call) => println!("{} for {}: {}", call.agent(), call.human(), call.action()),
//!     Err(refused) => println!("401; for our log only: {refused}"),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! In this order, and a call that fails a check doesn't use up its token: the form of the headers (each at most once), size,
//! `typ`, algorithm, pinned key by `kid`, signature, issuer, the one audience, times (30 s at most, 5 s for clocks),
//! method and URL, the proof of the gateway's sender key (RFC 9449), SHA-256 of the body's bytes, and last that the token
//! wasn't used before.
//!
//! What is deliberately absent: no HTTP, no clock (`now` is an argument, in seconds since the Unix epoch), no fetching of
//! keys. What was used is kept in a [`ReplayStore`]; the one in memory makes the verifier refuse what was issued before
//! its start, the one in a file remembers over a restart, and replicas of one audience need one that they share.

mod call;
mod store;
mod verifier;
pub mod window;

pub use call::Call;
pub use placet_jose::{
    KeySet, LEEWAY, Refused,
    guard::{Reach, Request},
    replay::{Admission, ReplayKey},
};
pub use store::{FileStore, MemoryStore, ReplayStore};
pub use verifier::{Trust, Unusable, Verifier};
