//! The pipeline at work: `open → classify → decide → record → issue → exchange → close → answer`.
//!
//! Protocol rims open an [`placet_core::Envelope`] and hand a [`ToolCall`] to [`Gateway::call`]; there is no other way
//! to a tool. Listings are previews: they filter and yield no permit. Nothing here parses HTTP or serves a socket.

mod archives;
mod credential;
mod effects;
mod erase;
mod flood;
mod fold;
mod in_flight;
mod keep;
mod ledger;
mod listing;
mod lives;
mod lookup;
mod observe;
mod operation;
mod pipeline;
mod public;
mod resolve;
mod seal_entry;
mod sealing;
mod shadow;
mod sources;
pub mod trace;
mod waived;
mod writes;

pub use archives::{ArchiveError, Archives};
pub use credential::{Credentials, Injection, OpenVault, Scheme, Service, VaultAccess};
pub use effects::{Unamended, UnknownEffect};
pub use erase::{Erasable, Erased};
pub use flood::{MAX_PAIRS, WINDOW as REFUSAL_WINDOW};
pub use fold::{ORGANISATION, Over};
pub use in_flight::{InFlight, MAX_IN_FLIGHT};
pub use ledger::{Act, InForce, Ledger, MAX_CLOCK_BEHIND, Refused};
pub use listing::Listed;
pub use lives::{Entry as ComesInForce, Life, Lives, Review, Step};
pub use observe::{NoObserver, Observer, Stage};
pub use operation::{HttpCall, Unrouted};
pub use pipeline::{Answered, Departure, Gateway, ToolCall, Unavailable};
pub use public::Public;
pub use resolve::{Effects, Unresolvable};
pub use shadow::Shadow;
pub use sources::{SourceReport, SourceSays};
