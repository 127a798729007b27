//! What Placet makes of a tool's message: which action on which resources, with which arguments, and what may come
//! back.
//!
//! A [`Catalog`] is read from a release's `catalog/*.toml`. [`classify`] turns arguments as an agent sent them into a
//! [`placet_core::Call`] with canonical arguments: closed, typed, in range, and with those that the gateway fills
//! itself. [`inspect`] looks at a result before anybody sees it. What has no entry does not exist; there is no
//! wildcard.
//!
//! Everything is a function of its arguments: no I/O, no clock, no facts of its own. It decides nothing.

mod argument;
mod classify;
mod entry;
mod guard;
mod limits;
mod lookup;
mod operation;
mod parse;
mod path;
mod problem;
mod read;
mod reading;
mod schema;
mod seal;
mod source;
mod writes;

pub use argument::{DEFAULT_MAX_ITEMS, DEFAULT_MAX_LENGTH, Field, Pattern, Type};
pub use classify::{
    Attempted, MAX_REASONS, Refused, classify, definition_accepted, holds, http_request, preview,
};
pub use entry::{Argument, Catalog, Credential, Entry, Guard, IdFrom, Owner, ResourceFrom};
pub use guard::{Guarded, inspect};
pub use limits::{Repeats, ToolLimits};
pub use lookup::{
    DEFAULT_KEEP, DEFAULT_KEEP_FOR, DEFAULT_MAX_AGE, DEFAULT_TIMEOUT, DidNot, Field as LookupField,
    LONGEST_KEEP_FOR, LONGEST_MAX_AGE, LONGEST_TIMEOUT, Lookup, MOST_KEPT, Resolver, Sign,
};
pub use operation::{Claim, HttpRequest, Incoming, Operation, Routed, Verb, definition};
pub use path::{Path, PathError};
pub use problem::Problem;
pub use reading::{Filling, PathTemplate, Reading, Slot, document_of, reading_arguments};
pub use schema::public_schema;
pub use seal::{HUMAN, PersonalType, Seal, Seals, Subject, SubjectId, WORKFLOW};
pub use source::Source;
pub use writes::{MAX_WRITES, Write};
