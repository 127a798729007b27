//! What is counted of calls: budgets, rates, repetitions, and what is under way.

use std::sync::Arc;

use placet_core::{ApprovalId, Keep, Reserved, Spending, Tallies, TenantId};

use crate::{ChangeError, TenantFacts, World};

impl World {
    /// The world after a permit, recorded at `position`, is counted for whom it was given; see [`World::permitted`] for
    /// the workflow's own totals. Revisions stay.
    pub fn counted(
        &self,
        position: u64,
        spending: Spending,
        spends: Vec<ApprovalId>,
        keep: Keep,
    ) -> Result<Self, ChangeError> {
        let id = spending.workflow.tenant().clone();
        let mut tenant = TenantFacts::clone(self.facts_of(&id)?);
        let mut tallies = Tallies::clone(&tenant.tallies);
        tallies.permitted(position, Reserved { spending, spends }, keep);
        tenant.tallies = Arc::new(tallies);
        Ok(self.with(tenant))
    }

    /// The world after the ending, recorded at `position`, of the permit at `permit`. `returned`: the call provably never
    /// left, so what it had reserved comes back: its part of every total, its approvals, and its right to be asked
    /// again. Labels stay, as does its place in the rate. Revisions stay.
    #[must_use]
    pub fn ended(&self, position: u64, tenant: &TenantId, permit: u64, returned: bool) -> Self {
        self.after(position, tenant, permit, returned, |tallies| tallies.ended(position, permit, returned))
    }

    /// The world after the ending, recorded at `position`, of the permit at `permit` of which nobody knows whether it had
    /// its effect: it keeps what it reserved, until that is found out.
    #[must_use]
    pub fn ended_unknown(&self, position: u64, tenant: &TenantId, permit: u64) -> Self {
        self.after(position, tenant, permit, false, |tallies| tallies.ended_unknown(position, permit))
    }

    /// The world after it was found out, as recorded at `position`, how the permit at `permit` ended. `returned`: the call
    /// had no effect, and what it reserved comes back as in [`World::ended`]; once, whatever is found again.
    #[must_use]
    pub fn found(&self, position: u64, tenant: &TenantId, permit: u64, returned: bool) -> Self {
        self.after(position, tenant, permit, returned, |tallies| tallies.found(position, permit, returned))
    }

    fn after(
        &self,
        position: u64,
        tenant: &TenantId,
        permit: u64,
        returned: bool,
        count: impl FnOnce(&mut Tallies) -> Option<Reserved>,
    ) -> Self {
        let Some(facts) = self.tenant(tenant) else { return self.clone() };
        let mut tallies = Tallies::clone(&facts.tallies);
        let Some(Reserved { spending, spends }) = count(&mut tallies) else {
            return self.clone();
        };
        let mut facts = TenantFacts::clone(facts);
        facts.tallies = Arc::new(tallies);
        if returned {
            let mut flow = Arc::unwrap_or_clone(facts.flow(&spending.workflow));
            if let Some(total) = flow.totals.get_mut(&spending.action) {
                *total = total.without(spending.amount.unwrap_or(placet_core::Decimal::ZERO));
                flow.totals_at = position;
                facts.flows.insert(spending.workflow.local().clone(), Arc::new(flow));
            }
        }
        let next = self.with(facts);
        // An approval that was withdrawn meanwhile stays away.
        let restored = if returned { next.restore(permit, &spends).ok() } else { None };
        restored.unwrap_or(next)
    }
}
