//! A flood of refusals: the first ones of a window are recorded one by one, the others counted, and the counts
//! recorded once when the window is over. An agent that is refused without end doesn't fill the disk, and the ledger
//! still says how often, and what it wanted.
//!
//! A denial that names a remedy is always recorded by itself: somebody may approve it. What is only counted is in
//! memory until its window is over; a crash loses at most that.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use placet_core::{
    Code, Name, TenantId, Timestamp,
    authority::{Asked, Denial},
};
use placet_record::{Refusals, Refused};

/// How long refusals are counted before they are written down, in milliseconds.
pub const WINDOW: u64 = 10_000;
/// Denials of one agent in one tenant that are recorded one by one in a window.
const SINGLE: u64 = 128;
/// Wrong proofs of one agent that are recorded one by one in a window.
const SINGLE_EVIDENCE: u64 = 64;
/// Distinct pairs of action and resource that a summary names; more are counted together.
pub const MAX_PAIRS: usize = 256;
/// Agents whose refusals are looked at in one window. Those of further agents are recorded one by one.
const MAX_AGENTS: usize = 10_000;

/// What is written of a window.
pub(crate) struct Summary {
    pub(crate) tenant: Option<TenantId>,
    pub(crate) record: String,
}

/// The windows that are open.
#[derive(Debug)]
pub(crate) struct Floods {
    open: Mutex<HashMap<(Option<TenantId>, Name), Window>>,
    /// When the first of them is over, so that looking costs nothing.
    due: AtomicU64,
    total: AtomicU64,
}

impl Default for Floods {
    fn default() -> Self {
        Self { open: Mutex::default(), due: AtomicU64::new(u64::MAX), total: AtomicU64::new(0) }
    }
}

#[derive(Debug)]
struct Window {
    since: Timestamp,
    seen: u64,
    pairs: BTreeMap<(String, String), Refused>,
    other: u64,
}

impl Floods {
    /// Whether a denial is counted, and so not recorded by itself.
    pub(crate) fn counts(&self, denial: &Denial, now: Timestamp) -> bool {
        if denial.remedy().is_some() {
            return false;
        }
        let envelope = denial.envelope();
        let (action, resource) = match denial.asked() {
            Asked::Call(call) => (call.action.as_str(), call.resources.first()),
            Asked::Refused(attempt) => (attempt.action.as_str(), attempt.resources.first()),
        };
        let refused = || Refused {
            action: action.to_owned(),
            resource: resource.map(ToString::to_string).unwrap_or_default(),
            code: denial.reasons().first().code.clone(),
            count: 0,
            last: denial.asked().id().as_str().to_owned(),
        };
        let key = (Some(envelope.tenant().clone()), envelope.agent().name().clone());
        self.count(key, SINGLE, refused, now)
    }

    /// The same for a wrong proof with a token of ours.
    pub(crate) fn counts_evidence(&self, agent: &Name, code: Code, now: Timestamp) -> bool {
        let refused = || Refused {
            action: "present_token".to_owned(),
            resource: String::new(),
            code: code.as_str().to_owned(),
            count: 0,
            last: String::new(),
        };
        self.count((None, agent.clone()), SINGLE_EVIDENCE, refused, now)
    }

    /// The windows that are over.
    pub(crate) fn over(&self, now: Timestamp) -> Vec<Summary> {
        if self.due.load(Ordering::Acquire) > now.millis() {
            return Vec::new();
        }
        self.close(now, |window| window.since.plus_millis(WINDOW) <= now)
    }
    /// All windows, for an orderly end.
    pub(crate) fn all(&self, now: Timestamp) -> Vec<Summary> {
        self.close(now, |_| true)
    }
    /// How many were only counted.
    pub(crate) fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    fn count(
        &self,
        key: (Option<TenantId>, Name),
        single: u64,
        refused: impl FnOnce() -> Refused,
        now: Timestamp,
    ) -> bool {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.len() >= MAX_AGENTS && !open.contains_key(&key) {
            return false;
        }
        let window = open.entry(key).or_insert_with(|| Window {
            since: now,
            seen: 0,
            pairs: BTreeMap::new(),
            other: 0,
        });
        self.due.fetch_min(window.since.plus_millis(WINDOW).millis(), Ordering::AcqRel);
        window.seen = window.seen.saturating_add(1);
        if window.seen <= single {
            return false;
        }
        window.add(refused());
        self.total.fetch_add(1, Ordering::Relaxed);
        true
    }

    fn close(&self, now: Timestamp, which: impl Fn(&Window) -> bool) -> Vec<Summary> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let mut closed = Vec::new();
        open.retain(|(tenant, agent), window| {
            if !which(window) {
                return true;
            }
            closed.extend(window.summary(tenant.as_ref(), agent, now));
            false
        });
        let due = open.values().map(|window| window.since.plus_millis(WINDOW).millis()).min();
        self.due.store(due.unwrap_or(u64::MAX), Ordering::Release);
        closed
    }
}

impl Window {
    fn add(&mut self, refused: Refused) {
        let key = (refused.action.clone(), refused.resource.clone());
        if self.pairs.len() >= MAX_PAIRS && !self.pairs.contains_key(&key) {
            self.other = self.other.saturating_add(1);
            return;
        }
        let pair = self.pairs.entry(key).or_insert_with(|| refused.clone());
        let count = pair.count.saturating_add(1);
        *pair = Refused { count, ..refused };
    }

    /// None where nothing was only counted.
    fn summary(&mut self, tenant: Option<&TenantId>, agent: &Name, until: Timestamp) -> Option<Summary> {
        let mut refused: Vec<Refused> = std::mem::take(&mut self.pairs).into_values().collect();
        if refused.is_empty() && self.other == 0 {
            return None;
        }
        // The most frequent first: it is what the index knows the record by.
        refused.sort_by_key(|one| std::cmp::Reverse(one.count));
        let refusals = Refusals {
            agent: agent.clone(),
            tenant: tenant.cloned(),
            since: self.since,
            until,
            refused,
            other: self.other,
        };
        Some(Summary { tenant: tenant.cloned(), record: refusals.write() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_are_recorded_and_the_others_counted_once_for_each_window() {
        let floods = Floods::default();
        let agent = Name::new("agent-7").unwrap();
        let at = Timestamp::from_secs(1_000);
        let many = SINGLE_EVIDENCE + 500;
        let counted = (0..many).filter(|_| floods.counts_evidence(&agent, Code::ProofReplayed, at)).count();
        assert_eq!((counted, floods.total()), (500, 500));
        assert!(!floods.counts_evidence(&Name::new("agent-8").unwrap(), Code::ProofReplayed, at));
        assert!(floods.over(at.plus_millis(WINDOW - 1)).is_empty());
        let over = floods.over(at.plus_millis(WINDOW));
        assert_eq!(over.len(), 1, "an agent of whom nothing was only counted has no summary");
        let refusals = Refusals::read(over[0].record.as_bytes()).unwrap();
        assert_eq!((refusals.count(), refusals.refused.len()), (500, 1));
        assert_eq!(refusals.refused[0].code, "proof_replayed");
        assert!(!floods.counts_evidence(&agent, Code::ProofReplayed, at.plus_millis(WINDOW)), "a new window");
        assert!(floods.all(at.plus_millis(WINDOW)).is_empty());
    }

    #[test]
    fn ops_4_pairs_and_agents_are_bounded() {
        let floods = Floods::default();
        let at = Timestamp::from_secs(1_000);
        let key = (None, Name::new("agent-7").unwrap());
        let refused = |resource: u64| Refused {
            action: "issue_refund".to_owned(),
            resource: format!("support_case:{resource}"),
            code: "no_rule_allows".to_owned(),
            count: 0,
            last: format!("dc_{resource}"),
        };
        for i in 0..1_000 {
            assert!(floods.count(key.clone(), 0, || refused(i), at));
        }
        let refusals = Refusals::read(floods.all(at)[0].record.as_bytes()).unwrap();
        assert_eq!(refusals.refused.len(), MAX_PAIRS);
        assert_eq!((refusals.count(), refusals.other), (1_000, 744));
        for i in 0..MAX_AGENTS {
            assert!(floods.count((None, Name::new(&format!("a{i}")).unwrap()), 0, || refused(0), at));
        }
        assert!(!floods.count((None, Name::new("another").unwrap()), 0, || refused(0), at));
    }
}
