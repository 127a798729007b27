//! Resources that are read at their source before a call is decided, and what a call's record keeps of that.

use crate::{Name, ResourceRef, Timestamp};

/// How a resource's attributes came to be known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// Somebody told, and tells when they change: they hold until then.
    Told,
    /// They were read, and hold as long as the release's lookup of that name says.
    Observed {
        /// By what: `lookup:NAME`.
        source: Name,
        /// When the reading began.
        at: Timestamp,
        /// How long it is remembered, and beside how many. None: for good, as before there was a bound.
        retention: Option<Retention>,
    },
}

/// What bounds the memory of what was read. It stands in the reading itself, so that the journal alone says what is
/// remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Readings of the same type in the tenant, at most; at least 1.
    pub of_type: u32,
    /// Readings in the tenant, at most; at least 1.
    pub of_tenant: u32,
    /// For how long at most, in milliseconds from its beginning.
    pub millis: u64,
}

/// One resource of a call that a lookup is responsible for, as it stood when the call was about to be decided. It is a
/// part of the call: a decision made again sees the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LookedUp {
    /// The lookup's name in the release's catalog.
    pub lookup: Name,
    /// The resource.
    pub resource: ResourceRef,
    /// The moment at which its age counts for this call, however long the call then takes.
    pub asked: Timestamp,
    /// What was found.
    pub found: Found,
}

/// What a lookup had for a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// It was read for this call, at this moment.
    Read(Timestamp),
    /// An earlier reading, of this moment, was young enough.
    Kept(Timestamp),
    /// Nothing that could be used; why, for operators.
    Nothing(String),
}

impl LookedUp {
    /// The age of what was found, in milliseconds.
    #[must_use]
    pub fn age(&self) -> Option<u64> {
        match &self.found {
            Found::Read(at) | Found::Kept(at) => Some(self.asked.since(*at)),
            Found::Nothing(_) => None,
        }
    }
}
