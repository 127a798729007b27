//! Reading the ledger: does it hold, what happened, why, and would it be decided the same again.
//!
//! Everything here works on a data directory, served by somebody or not, and changes nothing in it but the search
//! index, which is a projection:
//!
//! - [`verify`]: journal, trees and signed checkpoints agree, every effect follows its warrant, every warrant ended.
//! - [`prove`], [`prove_range`], [`held`]: one record, a range of them, a checkpoint of elsewhere: each by its proof.
//! - [`export`], [`Pack`]: what an auditor takes home, and what it proves.
//! - [`backup`], [`restore`]: a directory as one archive and back, with a record of what may be missing.
//! - [`search`]: decisions by agent, person, workflow, action, reason and time.
//! - [`story`]: one decision told from its record, its effect and its proof.
//! - [`reconcile`]: an upstream's own log beside ours.
//! - [`event`]: a record as an OCSF event.
//! - [`explain`](fn@explain): one decision's rules with the values that it saw, and what would have permitted it.
//! - [`replay`]: decides again from record, archived release and the facts of that revision, and tells what differs.
//!
//! It asks no server, no network and no model.

mod access;
mod again;
mod backup;
mod base;
mod bodies;
mod branch;
mod compare;
mod data;
mod diff;
mod explain;
mod handover;
mod key;
mod ocsf;
mod pack;
mod past;
mod prove;
mod reconcile;
mod replay;
mod report;
mod retention;
mod right;
mod search;
mod story;
mod tell;
mod verify;

pub use access::{Present, Uses, digest_of, present};
pub use backup::{BackupError, BackupReport, Restore, Restored, backup, restore};
pub use branch::{Contrast, after, contrast, contrasted, tree};
pub use data::{Data, DataError, master_key};
pub use diff::{Changed, Count, LedgerDiff, MAX_EXAMPLES, Side, diff, diff_in};
pub use explain::{Explained, explain, explain_in};
pub use handover::{Handover, Keys, Old, RotateError, keys, rotate};
pub use key::{KeyError, checkpoint_key, organisation, read_key};
pub use ocsf::{Event, OCSF_VERSION, OUTSIDE, Sender, event};
pub use pack::{ExportError, Exported, OpenPackError, Pack, PackReport, Selection, export};
pub use prove::{Held, ProveError, RangeReport, Shown, held, prove, prove_range};
pub use reconcile::{Mapping, OneSided, ReconcileError, Reconciled, reconcile};
pub use replay::{Scope, WINDOW, replay};
pub use report::{Detail, Difference, MAX_DETAILS, Outcome, ReplayReport, What};
pub use retention::{Held as HeldBack, Hold, Holds, Retention, mark};
pub use search::{Entry, Query, SearchError, extract, index, search};
pub use story::{Given, Proof, Story, StoryError, story};
pub use verify::{Misfit, OpenWarrant, VerifyReport, verify, verify_with};
