//! OPAL 0.9: the client of an `opal-server`, and the server of `opal-client`s.
//!
//! OPAL itself promises delivery at most once and no order. What is added here: every message is acknowledged before
//! work begins; entries count in the order in which they arrived, whatever their fetches take ([`Arrivals`]); a fetch is
//! tried until it succeeds; a new connection fetches everything anew; and while anything is missing the source says so
//! ([`Status`]), so that decisions which depend on it are denied.

mod arrivals;
mod bundle;
pub(crate) mod diff;
mod document;
pub mod fleet;
mod http;
mod lead;
pub(crate) mod link;
pub(crate) mod mapping;
pub(crate) mod source;
mod status;
mod wire;

use std::{future::Future, pin::Pin, sync::Arc};

use placet_core::{Name, Revision, TenantId};
use placet_facts::{ChangeError, Transaction, World};

pub use arrivals::{Arrivals, Full, MAX_WAITING, Op, Ticket};
pub use bundle::{Bundle, BundleError, Modules};
pub use diff::{Changes, Owned, changes};
pub use document::{DocumentError, Path};
pub use http::{Caller, CallerError, Reply};
pub use lead::run;
pub use mapping::{Mapped, Mapping, MappingError, Told};
pub use source::{Source, SourceSettings};
pub use status::{Shown, State, Status};
pub use wire::{Callback, DataUpdate, Entry, Frame, SaveMethod, WireError};

/// A future of a trait object.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Why changes weren't taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Untaken {
    /// The facts don't admit one of them; nothing was applied.
    #[error("{0}")]
    Change(ChangeError),
    /// It rests on facts that are not the newest; nothing was applied.
    #[error("the facts have moved")]
    Moved,
    /// The ledger takes nothing now.
    #[error("{0}")]
    Down(String),
}

/// The policy of a bundle, for whoever builds a release of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyOf {
    /// The source's name.
    pub source: Name,
    /// What the source calls this version: a commit's hash.
    pub hash: String,
    /// All of its modules.
    pub modules: Modules,
}

/// What a source works on: facts, the ledger, releases.
pub trait Host: Send + Sync + 'static {
    /// The newest facts.
    fn world(&self) -> Arc<World>;
    /// Applies changes, all or none, durably.
    fn transact(&self, transaction: Transaction) -> Pending<'_, Result<Revision, Untaken>>;
    /// What transactions of this source have left in a tenant so far: folded from the journal.
    fn owned(&self, source: &Name, tenant: &TenantId) -> Pending<'_, Result<Owned, String>>;
    /// Builds a candidate release; the text says which it is, or which file is broken and why.
    fn candidate(&self, policy: PolicyOf) -> Pending<'_, Result<String, String>>;
    /// Whether this host may follow the source now; where several could, one does.
    fn leads(&self, _source: &Name) -> Pending<'_, Result<bool, String>> {
        Box::pin(async { Ok(true) })
    }
    /// The document that was kept last, wherever the source was followed; none where that is only a file here.
    fn kept(&self, _source: &Name) -> Pending<'_, Result<Option<Vec<u8>>, String>> {
        Box::pin(async { Ok(None) })
    }
    /// Keeps the document for whoever follows the source next.
    fn keep(&self, _source: &Name, _document: Vec<u8>) -> Pending<'_, Result<(), String>> {
        Box::pin(async { Ok(()) })
    }
    /// Another host follows the source from now on.
    fn left(&self, _source: &Name) {}
    /// Told on every change of a source's state, and while it is live at every sign of life.
    fn status(&self, source: &Name, status: &Shown);
}
