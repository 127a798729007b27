//! Effects that nobody knows: warrants of calls that change something, which ended without a whole answer.

use imbl::OrdMap;
use placet_core::{AgentId, DecisionId, EffectClass, Name, StateMove, TenantId, Timestamp};

use crate::fold::Open;

/// How many are kept in mind; of more, the oldest are found by a search of the ledger only.
const MAX_UNRESOLVED: usize = 65_536;

/// A call of which nobody knows whether it had its effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownEffect {
    /// Whose.
    pub tenant: TenantId,
    /// In which workflow, inside the tenant.
    pub workflow: Name,
    /// The decision that permitted it; the call's idempotency key.
    pub decision: DecisionId,
    /// When it ended.
    pub since: Timestamp,
    /// The agent that asked for it.
    pub agent: AgentId,
    /// How its workflow moves if it is found out that it happened.
    pub moves: Vec<StateMove>,
}

impl UnknownEffect {
    /// A read has no effect to be known.
    pub(crate) fn of(open: Open, since: Timestamp) -> Option<Self> {
        let Open { tenant, workflow, decision, effect, agent, writes: _, moves } = open;
        match effect {
            EffectClass::Read => None,
            EffectClass::Write | EffectClass::Destructive => {
                Some(Self { tenant, workflow, decision, since, agent, moves })
            }
        }
    }
}

/// Why a finding isn't in the ledger.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unamended {
    /// How it ended is known, or was found out.
    #[error("its effect isn't unknown, or not any more")]
    Known,
    /// The journal takes nothing.
    #[error("the journal takes no entries: {0}")]
    Down(String),
}

/// All of them, by the journal position of their decisions. A clone is a few pointers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Unresolved(OrdMap<u64, UnknownEffect>);

impl Unresolved {
    pub(crate) fn insert(&mut self, at: u64, effect: UnknownEffect) {
        if self.0.len() >= MAX_UNRESOLVED
            && let Some((oldest, _)) = self.0.get_min().cloned()
        {
            self.0.remove(&oldest);
        }
        self.0.insert(at, effect);
    }
    pub(crate) fn remove(&mut self, at: u64) {
        self.0.remove(&at);
    }
    pub(crate) fn get(&self, at: u64) -> Option<&UnknownEffect> {
        self.0.get(&at)
    }
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
    pub(crate) fn into_all(self) -> Vec<(u64, UnknownEffect)> {
        self.0.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(effect: EffectClass) -> Open {
        Open {
            tenant: TenantId::new("acme").unwrap(),
            workflow: Name::new("wf-9").unwrap(),
            decision: DecisionId::new("dc_1").unwrap(),
            effect,
            agent: placet_core::AgentId::new("agent-7").unwrap(),
            writes: Vec::new(),
            moves: Vec::new(),
        }
    }

    #[test]
    fn a_read_leaves_nothing_to_be_found_out_and_what_is_kept_is_bounded() {
        let now = Timestamp::from_secs(1);
        assert_eq!(UnknownEffect::of(open(EffectClass::Read), now), None);
        let effect = UnknownEffect::of(open(EffectClass::Write), now).unwrap();
        let mut all = Unresolved::default();
        for at in 0..70_000 {
            all.insert(at, effect.clone());
        }
        assert!(all.get(0).is_none() && all.get(69_999).is_some());
        assert_eq!(all.into_all().len(), MAX_UNRESOLVED);
    }
}
