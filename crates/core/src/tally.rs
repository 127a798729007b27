//! What was permitted, added up: by day and person, agent, tool and tenant; what is recent, repeated and under way.
//!
//! A fold of one tenant's permits and endings in the order of the journal, and of nothing else: whoever folds the same
//! entries has the same counts. A clone is a few pointers, and two of them share what is equal.

mod row;
#[cfg(test)]
mod tests;

use imbl::{OrdMap, OrdSet, Vector};

use crate::{
    AgentId, ApprovalId, Day, Decimal, Digest, EffectClass, HumanId, Keep, Name, Per, Spending, Timestamp,
    Total,
};

pub use row::{TallyOf, TallyRow};

/// The counts of one tenant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tallies {
    at: u64,
    newest: Day,
    days: OrdMap<(Day, Whose), DayTotals>,
    /// Moments of permits, by agent and tool, as long as a rate may ask for them.
    recent: OrdMap<(AgentId, Name), Vector<Timestamp>>,
    under_way: OrdMap<(AgentId, Name), u32>,
    /// Until when a call counts as a repetition, and whose it is.
    repeats: OrdMap<Digest, (Timestamp, AgentId)>,
    forget: OrdSet<(Timestamp, Digest)>,
    remembered: OrdMap<AgentId, u32>,
    open: OrdMap<u64, Reserved>,
    /// What permits took whose end nobody knows, until it is found out.
    doubtful: OrdMap<u64, Reserved>,
}

/// Permits of unknown end whose reservations are remembered, at most; of more, those of the oldest stay spent.
pub const MAX_DOUBTFUL: usize = 4_096;

/// The totals of one day, by action.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DayTotals {
    at: u64,
    totals: OrdMap<Name, Total>,
}

/// What a permit took whose warrant hasn't ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reserved {
    /// For whom and what it is counted.
    pub spending: Spending,
    /// The approvals that it spent.
    pub spends: Vec<ApprovalId>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Whose {
    Human(HumanId),
    Agent(AgentId),
    Tool(Name),
    Tenant,
}

impl Tallies {
    /// The journal position of the last permit or ending of the tenant; 0 before the first.
    #[must_use]
    pub fn at(&self) -> u64 {
        self.at
    }
    /// Whether a permit that was decided for this moment can be counted: not two days after another's.
    #[must_use]
    pub fn takes(&self, spending: &Spending) -> bool {
        spending.day().0.saturating_add(1) >= self.newest.0
    }
    /// The totals of a day: the person's, the acting agent's, the tool's, the tenant's. None before the first permit.
    #[must_use]
    pub fn day(&self, per: Per, spending: &Spending) -> Option<&DayTotals> {
        self.days.get(&(spending.day(), Whose::of(per, spending)?))
    }
    /// One action's total of a day.
    #[must_use]
    pub fn total(&self, per: Per, spending: &Spending) -> Total {
        self.day(per, spending).map_or(Total::ZERO, |day| day.of(&spending.action))
    }
    /// The action's total of any agent's day.
    #[must_use]
    pub fn agent_day(&self, agent: &AgentId, spending: &Spending) -> Total {
        let key = (spending.day(), Whose::Agent(agent.clone()));
        self.days.get(&key).map_or(Total::ZERO, |day| day.of(&spending.action))
    }
    /// The position of the last change of a day's totals; 0 before the first.
    #[must_use]
    pub fn changed_at(&self, per: Per, spending: &Spending) -> u64 {
        self.day(per, spending).map_or(0, |day| day.at)
    }
    /// The permits of an agent and a tool in the window that ends at `now`, the earliest first.
    #[must_use]
    pub fn recent(&self, agent: &AgentId, entry: &Name, now: Timestamp, window: u64) -> Vec<Timestamp> {
        let all = self.recent.get(&(agent.clone(), entry.clone()));
        let mut recent: Vec<Timestamp> =
            all.into_iter().flatten().copied().filter(|at| at.plus_millis(window) > now).collect();
        recent.sort_unstable();
        recent
    }
    /// How many calls of an agent and a tool haven't ended.
    #[must_use]
    pub fn under_way(&self, agent: &AgentId, entry: &Name) -> u32 {
        self.under_way.get(&(agent.clone(), entry.clone())).copied().unwrap_or_default()
    }
    /// Until when a call counts as a repetition.
    #[must_use]
    pub fn repeats_until(&self, same: &Digest) -> Option<Timestamp> {
        self.repeats.get(same).map(|(until, _)| *until)
    }
    /// How many calls of an agent are remembered at `now` for their repetition.
    #[must_use]
    pub fn remembered(&self, agent: &AgentId, now: Timestamp) -> u32 {
        let kept = self.remembered.get(agent).copied().unwrap_or_default();
        // What is past goes with the next permit; until then it isn't counted.
        let past = self.forget.iter().take_while(|(until, _)| *until <= now);
        let own = past.filter(|(_, same)| self.repeats.get(same).is_some_and(|(_, of)| of == agent));
        kept.saturating_sub(u32::try_from(own.count()).unwrap_or(u32::MAX))
    }
    /// All totals of a day by whose they are: `("human", "maya")`, and `("tenant", "")`.
    pub fn of_day(&self, day: Day) -> impl Iterator<Item = ((&'static str, &str), &DayTotals)> {
        self.days.iter().filter(move |((of, _), _)| *of == day).map(|((_, whose), totals)| {
            let name = match whose {
                Whose::Human(id) => ("human", id.as_str()),
                Whose::Agent(id) => ("agent", id.as_str()),
                Whose::Tool(name) => ("tool", name.as_str()),
                Whose::Tenant => ("tenant", ""),
            };
            (name, totals)
        })
    }
    /// The calls of each agent and tool that haven't ended.
    pub fn all_under_way(&self) -> impl Iterator<Item = (&AgentId, &Name, u32)> {
        self.under_way.iter().map(|((agent, entry), count)| (agent, entry, *count))
    }

    /// Counts a permit that is recorded at `position`.
    pub fn permitted(&mut self, position: u64, reserved: Reserved, keep: Keep) {
        self.at = position;
        let spending = &reserved.spending;
        let day = spending.day();
        if day > self.newest {
            self.newest = day;
            self.days = std::mem::take(&mut self.days)
                .into_iter()
                .filter(|((of, _), _)| of.0.saturating_add(1) >= day.0)
                .collect();
        }
        if self.takes(spending) {
            let amount = spending.amount.unwrap_or(Decimal::ZERO);
            for whose in Whose::all(spending) {
                let mut totals = self.days.get(&(day, whose.clone())).cloned().unwrap_or_default();
                totals.at = position;
                let total = totals.of(&spending.action);
                totals.totals.insert(spending.action.clone(), total.and(amount));
                self.days.insert((day, whose), totals);
            }
        }
        let pair = (spending.agent.clone(), spending.entry.clone());
        let open = self.under_way.get(&pair).copied().unwrap_or_default();
        self.under_way.insert(pair.clone(), open.saturating_add(1));
        if keep.rate > 0 {
            let mut recent = self.recent.get(&pair).cloned().unwrap_or_default();
            while recent.front().is_some_and(|first| first.plus_millis(keep.rate) <= spending.at) {
                recent.pop_front();
            }
            recent.push_back(spending.at);
            self.recent.insert(pair, recent);
        }
        if keep.duplicates > 0 {
            self.forget_until(spending.at);
            self.forget(&spending.same);
            let until = spending.at.plus_millis(keep.duplicates);
            self.repeats.insert(spending.same, (until, spending.agent.clone()));
            self.forget.insert((until, spending.same));
            let kept = self.remembered.get(&spending.agent).copied().unwrap_or_default();
            self.remembered.insert(spending.agent.clone(), kept.saturating_add(1));
        }
        self.open.insert(position, reserved);
    }

    /// Counts the ending, recorded at `position`, of the permit at `permit`. `returned`: the call provably never left,
    /// so that all it took comes back but its place in the rate. What it had taken; none if it isn't open.
    pub fn ended(&mut self, position: u64, permit: u64, returned: bool) -> Option<Reserved> {
        let reserved = self.open.remove(&permit)?;
        self.at = position;
        let spending = &reserved.spending;
        let pair = (spending.agent.clone(), spending.entry.clone());
        match self.under_way.get(&pair).copied().unwrap_or_default() {
            0 | 1 => drop(self.under_way.remove(&pair)),
            open => drop(self.under_way.insert(pair, open.saturating_sub(1))),
        }
        if returned {
            self.give_back(position, &reserved.spending);
        }
        Some(reserved)
    }

    /// Counts the ending, recorded at `position`, of the permit at `permit` of which nobody knows whether it had its
    /// effect. It keeps what it took; of a call that changes something that is remembered until [`Tallies::found`].
    pub fn ended_unknown(&mut self, position: u64, permit: u64) -> Option<Reserved> {
        let reserved = self.ended(position, permit, false)?;
        if reserved.spending.effect != EffectClass::Read {
            if self.doubtful.len() >= MAX_DOUBTFUL
                && let Some((oldest, _)) = self.doubtful.get_min().cloned()
            {
                self.doubtful.remove(&oldest);
            }
            self.doubtful.insert(permit, reserved.clone());
        }
        Some(reserved)
    }

    /// It was found out, as recorded at `position`, how the permit at `permit` ended that [`Tallies::ended_unknown`] left
    /// open. `returned`: the call had no effect, so that all it took comes back but its place in the rate. What it had
    /// taken; none if that was found out before, or isn't remembered.
    pub fn found(&mut self, position: u64, permit: u64, returned: bool) -> Option<Reserved> {
        let reserved = self.doubtful.remove(&permit)?;
        if returned {
            self.at = position;
            self.give_back(position, &reserved.spending);
        }
        Some(reserved)
    }

    fn give_back(&mut self, position: u64, spending: &Spending) {
        self.forget(&spending.same);
        let amount = spending.amount.unwrap_or(Decimal::ZERO);
        for whose in Whose::all(spending) {
            let key = (spending.day(), whose);
            let Some(mut totals) = self.days.get(&key).cloned() else { continue };
            totals.at = position;
            let total = totals.of(&spending.action);
            totals.totals.insert(spending.action.clone(), total.without(amount));
            self.days.insert(key, totals);
        }
    }

    /// Says how much of an action a day began with: of the person, the agent, the tool or the tenant of `spending`.
    /// For tests that begin in the middle of a day.
    pub fn begin_with(&mut self, per: Per, spending: &Spending, action: Name, total: Total) {
        if let Some(whose) = Whose::of(per, spending) {
            self.newest = self.newest.max(spending.day());
            let mut totals = self.days.get(&(spending.day(), whose.clone())).cloned().unwrap_or_default();
            totals.totals.insert(action, total);
            self.days.insert((spending.day(), whose), totals);
        }
    }

    fn forget_until(&mut self, now: Timestamp) {
        while let Some((_, same)) = self.forget.get_min().copied().filter(|(until, _)| *until <= now) {
            self.forget(&same);
        }
    }
    fn forget(&mut self, same: &Digest) {
        let Some((until, agent)) = self.repeats.remove(same) else { return };
        self.forget.remove(&(until, *same));
        match self.remembered.get(&agent).copied().unwrap_or_default() {
            0 | 1 => drop(self.remembered.remove(&agent)),
            kept => drop(self.remembered.insert(agent, kept.saturating_sub(1))),
        }
    }
}

impl Whose {
    fn of(per: Per, spending: &Spending) -> Option<Self> {
        match per {
            Per::Workflow => None,
            Per::HumanDay => Some(Self::Human(spending.human.clone())),
            Per::AgentDay => Some(Self::Agent(spending.agent.clone())),
            Per::ToolDay => Some(Self::Tool(spending.entry.clone())),
            Per::TenantDay => Some(Self::Tenant),
        }
    }
    fn all(spending: &Spending) -> impl Iterator<Item = Self> {
        let own = Per::DAYS.iter().filter_map(|per| Self::of(*per, spending));
        own.chain(spending.above.iter().cloned().map(Self::Agent))
    }
}

impl DayTotals {
    /// One action's total.
    #[must_use]
    pub fn of(&self, action: &Name) -> Total {
        self.totals.get(action).copied().unwrap_or(Total::ZERO)
    }
    /// All totals, by action.
    pub fn iter(&self) -> impl Iterator<Item = (&Name, &Total)> {
        self.totals.iter()
    }
}

impl Total {
    /// Nothing yet.
    pub const ZERO: Self = Self { count: 0, amount: Decimal::ZERO };

    /// One more. A sum that isn't exact any more stays at the largest one, which is over every budget.
    #[must_use]
    pub fn and(self, amount: Decimal) -> Self {
        Self {
            count: self.count.saturating_add(1),
            amount: self.amount.checked_add(amount).unwrap_or(Decimal::MAX),
        }
    }
    /// One less.
    #[must_use]
    pub fn without(self, amount: Decimal) -> Self {
        Self {
            count: self.count.saturating_sub(1),
            amount: self.amount.checked_sub(amount).unwrap_or(self.amount),
        }
    }
}
