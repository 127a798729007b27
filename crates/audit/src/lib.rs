//! Reading the ledger: does it hold, what happened, why, and would it be decided the same again.
//!
//! Everything here works on a data directory, served by somebody or not, and changes nothing in it but the search
//! index, which is a projection:
//!
//! - [`verify`]: journal, trees and signed checkpoints agree, every effect follows its warrant, every warrant ended.
//! - [`search`]: decisions by agent, person, workflow, action, reason and time.
//! - [`story`]: one decision told from its record, its effect and its proof.
//! - [`replay`]: decides again from record, archived release and the facts of that revision, and tells what differs.
//!
//! It asks no server, no network and no model.

mod again;
mod bodies;
mod compare;
mod data;
mod key;
mod past;
mod replay;
mod report;
mod search;
mod story;
mod tell;
mod verify;

pub use data::{Data, DataError, master_key};
pub use key::{KeyError, checkpoint_key, organisation, read_key};
pub use replay::{Scope, WINDOW, replay};
pub use report::{Detail, Difference, MAX_DETAILS, Outcome, ReplayReport, What};
pub use search::{Entry, Query, SearchError, extract, index, search};
pub use story::{Given, Proof, Story, StoryError, story};
pub use verify::{Misfit, OpenWarrant, VerifyReport, verify};
