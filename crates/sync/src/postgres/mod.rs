//! Facts that live in somebody else's PostgreSQL database: rows of tables and queries become entities, relationships and
//! roles of a tenant.
//!
//! A turn is one read-only transaction over all tables: by version what is new, and from time to time everything, which
//! finds what was deleted and what a version can't tell. Its differences from the facts are one transaction a tenant,
//! written only on the facts that they were made for. So several gateways may read the same database: whoever comes
//! second finds nothing to do, and whoever has read an older moment reads again before it writes ([`Host::transact`]).

mod image;
mod mapping;
mod source;
mod status;

use std::sync::Arc;

use placet_core::{Name, Revision, TenantId, Timestamp};
use placet_facts::{Transaction, World};

pub use crate::opal::{Pending, Untaken};
pub use mapping::{Table, Tables};
pub use source::{SourceSettings, check, run};
pub use status::{Shown, State};

/// A page of what a source wrote: up to which position it goes, and its transactions with their positions.
pub type Page = (u64, Vec<(u64, Transaction)>);

/// What a source works on: facts and the ledger.
pub trait Host: Send + Sync + 'static {
    /// Now.
    fn now(&self) -> Timestamp;
    /// The newest facts.
    fn world(&self) -> Arc<World>;
    /// The transactions of this source after a position of the journal, whoever wrote them: as many as are read at once.
    fn written(&self, source: &Name, after: u64) -> Pending<'_, Result<Page, String>>;
    /// Applies changes, all or none, durably, if the last change of their place is still that one: else
    /// [`Untaken::Moved`].
    fn transact(&self, transaction: Transaction, on: Revision) -> Pending<'_, Result<Revision, Untaken>>;
    /// Told how the source is after every turn; `seen`: of which moment what it knows of a tenant is complete, `gap`: what
    /// keeps it from being so.
    fn status(&self, source: &Name, status: &Shown);
    /// As [`Host::status`], for one tenant.
    fn age(&self, source: &Name, tenant: &TenantId, age: Age<'_>);
}

/// How fresh what a source says of one tenant is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Age<'a> {
    /// Complete as of this moment.
    Seen(Timestamp),
    /// The database can't be read: what is known ages.
    Broken(&'a str),
    /// Something can't be a fact: stale at once.
    Gap(&'a str),
}
