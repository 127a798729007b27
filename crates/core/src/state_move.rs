//! Moves of a workflow between the states of its type that the effect of a call brings about.

use serde::{Deserialize, Serialize};

use crate::Name;

/// One way that a call's action opens: from a state to another, taken when the call's effect happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StateMove {
    /// The state that the workflow must be in by then.
    pub from: Name,
    /// The state that it is in afterwards.
    pub to: Name,
    /// Whether `from` is the first state of the type: a workflow that never moved is in it.
    pub initial: bool,
    /// Whether `to` closes the workflow.
    pub closes: bool,
}

impl StateMove {
    /// The one of `moves` that leaves the state `stage`; of a workflow that never moved, `None`. A type has one at most.
    #[must_use]
    pub fn from_stage<'m>(moves: &'m [Self], stage: Option<&Name>) -> Option<&'m Self> {
        moves.iter().find(|one| match stage {
            Some(stage) => one.from == *stage,
            None => one.initial,
        })
    }
}
