//! How many answers of one agent are open at once.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use placet_core::AgentId;

/// Counts open answers of each agent, up to a bound.
#[derive(Debug, Clone)]
pub(super) struct Slots {
    most: usize,
    open: Arc<Mutex<HashMap<AgentId, usize>>>,
}

/// One open answer; dropping it is its end.
#[derive(Debug)]
pub(super) struct Slot {
    slots: Slots,
    agent: AgentId,
}

impl Slots {
    pub(super) fn new(most: usize) -> Self {
        Self { most, open: Arc::default() }
    }
    /// A place for one more answer; `None` where the agent has as many as it may.
    pub(super) fn take(&self, agent: &AgentId) -> Option<Slot> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(agent.clone()).or_default();
        if *count >= self.most {
            return None;
        }
        *count = count.saturating_add(1);
        Some(Slot { slots: self.clone(), agent: agent.clone() })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut open = self.slots.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.agent) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                // Only who is at work takes memory.
                open.remove(&self.agent);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ops_4_an_agent_has_only_so_many_open_answers_and_others_keep_theirs() {
        let slots = Slots::new(2);
        let [one, other] = ["agent-1", "agent-2"].map(|id| AgentId::new(id).unwrap());
        let first = slots.take(&one).unwrap();
        let second = slots.take(&one).unwrap();
        assert!(slots.take(&one).is_none());
        assert!(slots.take(&other).is_some(), "another agent isn't kept waiting");
        drop(first);
        let third = slots.take(&one);
        assert!(third.is_some() && slots.take(&one).is_none(), "a place that is free is given once");
        drop((third, second));
        assert!(slots.open.lock().unwrap().is_empty());
    }
}
