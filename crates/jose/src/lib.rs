//! Signed tokens and proofs of possession: all that a gateway, a guard in front of a tool and a local shim need.
//!
//! - [`Verified`] is the proof that a token was checked completely; nothing else yields one.
//! - [`dpop`] makes and checks proofs of possession (RFC 9449).
//! - [`tokens`] are the kinds of token there are, each with its own `typ`.
//! - [`access`] opens the token of a request at the gateway; [`guard`] checks a call token in front of a tool.
//!
//! What is deliberately absent: no HTTP, no clock (`now` is an argument, in seconds since the Unix epoch), no file
//! access, no fetching of keys (`jku`, `x5u` and their like are refused, never followed), no symmetric algorithms,
//! no RSA but to verify security events, no encryption (JWE), no issuer discovery.

pub mod access;
pub mod cache;
pub mod claims;
pub mod digest;
pub mod dpop;
pub mod dsse;
pub mod guard;
pub mod headers;
pub mod htu;
mod jws;
pub mod keys;
pub mod keyset;
pub mod openid;
pub mod refused;
pub mod replay;
pub mod tokens;
mod verified;

pub use keys::{Algorithm, PublicKey, SigningKey, Thumbprint};
pub use keyset::KeySet;
pub use refused::Refused;
pub use verified::{Expect, MintError, Stamp, Verified, claimed_issuer, mint};

/// Tolerance towards another machine's clock, in seconds, for `iat`, `nbf` and `exp`.
///
/// Five seconds, not the customary sixty: tokens here live seconds to minutes, and the leeway adds to their life.
pub const LEEWAY: u64 = 5;
