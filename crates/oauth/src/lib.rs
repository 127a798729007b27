//! Tokens for agents, their enrolment, and the vault for the upstreams' own secrets.
//!
//! - [`token`] is the token endpoint as a function: `client_credentials` with `private_key_jwt` (RFC 7523) and DPoP
//!   (RFC 9449), yielding a workflow token.
//! - [`code`] is the authorization code flow, from the request that an agent pushes to the code that it redeems.
//! - [`enrol`] makes an agent's key known, by a code that works once.
//! - [`metadata`] and [`challenge`] tell clients where to go (RFC 8414, RFC 9728, RFC 6750).
//! - [`vault`] keeps upstream secrets encrypted.
//!
//! What is deliberately absent: no HTTP, no clock, no storage. What is registered and what is granted are asked of a
//! [`registry::Registry`]; what was used is remembered by a [`placet_jose::replay::ReplayWindow`].

pub mod challenge;
pub mod code;
pub mod enrol;
pub mod error;
pub mod form;
pub mod metadata;
pub mod nonce;
pub mod registry;
pub mod secret;
pub mod token;
pub mod vault;

pub use error::OAuthError;
pub use secret::Secret;
