//! Live facts: a log of changes for the organisation and one for each tenant, the state that it folds to, and what a
//! decision sees of it.
//!
//! [`Transaction`]s are applied to a [`World`], all of their changes or none; a [`World`] is a value, cheap to clone
//! and to keep, and any revision can be folded again from the log ([`World::fold`]). A [`Snapshot`] is what deciding
//! gets: the organisation's facts and one tenant's, without a way to another tenant's. [`Live`] publishes the newest.
//!
//! There is no I/O here, no clock and no randomness: the journal is kept elsewhere, and whoever appends to it calls
//! [`World::apply`] first.

mod apply;
mod change;
mod check;
mod consents;
mod counted;
mod directory;
mod ending;
mod enrolment;
mod error;
mod file;
mod intern;
mod keep;
mod keys;
mod live;
mod moves;
mod noun;
mod observed;
mod personal;
mod read;
mod risk;
mod sessions;
mod snapshot;
mod sources;
mod state;
mod transaction;
mod tuple;
mod tuples;
mod waiver;
mod world;

pub use change::Change;
pub use check::{
    Branch, Expansion, MAX_BRANCHES, MAX_DEPTH, MAX_RESULTS, MAX_STEPS, MAX_STEPS_OF_LIST, Subjects, Tree,
    allowed,
};
pub use consents::{
    Consent, ConsentAnswer, ConsentChange, ConsentRequest, MAX_ASKED, MAX_ASKED_BY_ONE, MAX_CLIENT_TEXT,
};
pub use directory::{DirectoryRecord, MAX_RECORD, RecordKind};
pub use ending::Ending;
pub use enrolment::{EnrolmentOffer, MAX_CODES};
pub use error::{ChangeError, Kind};
pub use file::{parse_file, tenant_of};
pub use keep::Rebuilding;
pub use keys::{Keys, MAX_KEYS};
pub use live::Live;
pub use moves::WorkflowMove;
pub use personal::{SealedFact, attribute_at, sealed_key};
pub use sessions::{Authentication, MAX_METHOD, MAX_METHODS, MAX_SESSIONS, Session, SessionChange};
pub use snapshot::Snapshot;
pub use sources::{
    DEFAULT_BOUND_MS, MAX_BOUND_MS, MAX_SOURCES, Mode, Source, SourceError, SourceStatus, Sources,
};
pub use state::{OrgFacts, TenantFacts};
pub use transaction::{MAX_CHANGES, MAX_TEXT, Place, Transaction};
pub use tuple::{TupleError, parse_resource, parse_tuple, resource_text, tuple_text};
pub use waiver::waiver_value;
pub use world::World;
