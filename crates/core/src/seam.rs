//! The seams that [`crate::authority`] works through. Deciding is synchronous and pure; only journal and upstream wait.

use std::sync::Arc;

use crate::{Call, Digest, EngineFault, Envelope, Evaluation, FactsView, Timestamp};

/// A release that decides: `(release, facts, envelope and call, now) → evaluation`, with no clock, I/O or randomness.
pub trait Engine: Send + Sync {
    /// Which release.
    fn release(&self) -> Digest;
    /// Decides. Any fault is the caller's denial.
    fn evaluate(
        &self,
        envelope: &Envelope,
        call: &Call,
        facts: &dyn FactsView,
        now: Timestamp,
    ) -> Result<Evaluation, EngineFault>;
}

/// The release in force.
pub trait Releases: Send + Sync {
    /// One atomic read; none where nothing was ever promoted.
    fn in_force(&self) -> Option<Arc<dyn Engine>>;
}
