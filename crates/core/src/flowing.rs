//! What a decision saw of what ran before it, and where in the journal that stood.

use std::sync::Arc;

use crate::{FactsView, FlowState, Tallies, WorkflowId};

/// A workflow's data flow and its tenant's counts at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Flowing {
    pub(crate) state: Arc<FlowState>,
    pub(crate) tallies: Option<Arc<Tallies>>,
}

impl Flowing {
    pub(crate) fn of(facts: &dyn FactsView, workflow: &WorkflowId) -> Self {
        Self { state: facts.flow(workflow), tallies: facts.tallies() }
    }
    pub(crate) fn at(&self) -> FlowAt {
        FlowAt { workflow: self.state.totals_at, counted: self.tallies.as_ref().map(|tallies| tallies.at()) }
    }
}

/// The positions of the last permits and endings that a decision saw; with the revision, they say which moment of the
/// journal it was made on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlowAt {
    /// The last that changed the workflow's totals ([`FlowState::totals_at`]).
    pub workflow: u64,
    /// The last of the tenant ([`Tallies::at`]); none where nothing counted was at hand.
    pub counted: Option<u64>,
}

impl FlowAt {
    /// Nothing was looked at.
    pub const UNKNOWN: Self = Self { workflow: 0, counted: None };
}
