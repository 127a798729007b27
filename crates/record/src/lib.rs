//! The ledger's entries as documents: canonical JSON, one schema, version 1.
//!
//! Written in one pass from core's values, read back strictly: [`DecisionRecord::read`] gives again the envelope and
//! the call, so that a decision can be made anew from its record. It knows no store and no engine.

mod amendment;
mod decision;
mod effect;
mod gap;
mod lookup;
mod read;
mod refusals;
mod schema;
pub mod sealed;
mod state_moves;
mod writer;

pub use amendment::{Amendment, amended};
pub use decision::{AskedRecord, DecisionRecord, denied, document, permitted, remedy};
pub use effect::{EffectRecord, ended, orphaned, returns, says_failed};
pub use gap::{Gap, GapTree};
pub use read::BadRecord;
pub use refusals::{Refusals, Refused};
pub use schema::{conforms, schema};

/// What kind of entry a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A transaction of facts.
    Facts,
    /// A decision.
    Decision,
    /// How a warrant ended.
    Effect,
    /// A release that came into force.
    Release,
    /// An act of a person that was refused, or that changed no fact.
    Act,
    /// A summary of refusals.
    Refusals,
    /// What was found out later about an effect.
    Amendment,
    /// A restored backup: what came after it isn't there.
    Gap,
}

impl Kind {
    /// All kinds.
    pub const ALL: &[Self] = &[
        Self::Facts,
        Self::Decision,
        Self::Effect,
        Self::Release,
        Self::Act,
        Self::Refusals,
        Self::Amendment,
        Self::Gap,
    ];

    /// The tag in the journal's frame.
    #[must_use]
    pub fn tag(self) -> u8 {
        match self {
            Self::Facts => 1,
            Self::Decision => 2,
            Self::Effect => 3,
            Self::Release => 4,
            Self::Act => 5,
            Self::Refusals => 6,
            Self::Amendment => 7,
            Self::Gap => 16,
        }
    }
    /// The kind of a tag.
    #[must_use]
    pub fn from_tag(tag: u8) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.tag() == tag)
    }
    /// As it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Facts => "facts",
            Self::Decision => "decision",
            Self::Effect => "effect",
            Self::Release => "release",
            Self::Act => "act",
            Self::Refusals => "refusals",
            Self::Amendment => "amendment",
            Self::Gap => "gap",
        }
    }
}
