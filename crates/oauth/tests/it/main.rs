//! The endpoints as an agent, and as somebody who isn't one, sees them.
#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod enrol;
mod support;
mod token;
