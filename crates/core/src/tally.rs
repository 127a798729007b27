//! What was permitted, added up: by day and person, agent, tool and tenant; what is recent, repeated and under way.
//!
//! A fold of one tenant's permits and endings in the order of the journal, and of nothing else: whoever folds the same
//! entries has the same counts. A clone is a few pointers, and two of them share what is equal.

use imbl::{OrdMap, OrdSet, Vector};

use crate::{
    AgentId, ApprovalId, Day, Decimal, Digest, HumanId, Keep, Name, Per, Spending, Timestamp, Total,
};

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
}

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

/// Whose totals of a day.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Whose {
    /// A person's.
    Human(HumanId),
    /// An agent's.
    Agent(AgentId),
    /// A tool's.
    Tool(Name),
    /// The tenant's.
    Tenant,
}

/// A part of the counts, for whoever writes them down and reads them back: [`Tallies::parts`], [`Tallies::put`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TallyPart {
    /// [`Tallies::at`], and the newest day of a permit.
    Head(u64, Day),
    /// One total of a day, and the position of the day's last change.
    Total(Day, Whose, u64, Name, Total),
    /// Moments of permits of an agent and a tool.
    Recent(AgentId, Name, Vec<Timestamp>),
    /// Until when a call of an agent counts as a repetition.
    Repeat(Digest, Timestamp, AgentId),
    /// What the permit at a position took, which hasn't ended.
    Open(u64, Reserved),
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

    /// All of it in parts; put into empty counts in any order, they are these counts again.
    pub fn parts(&self) -> impl Iterator<Item = TallyPart> + '_ {
        // The others are made of these.
        let Self { at, newest, days, recent, under_way: _, repeats, forget: _, remembered: _, open } = self;
        let totals = days.iter().flat_map(|((day, whose), of)| {
            of.totals.iter().map(move |(action, total)| {
                TallyPart::Total(*day, whose.clone(), of.at, action.clone(), *total)
            })
        });
        let recent = recent.iter().map(|((agent, entry), moments)| {
            TallyPart::Recent(agent.clone(), entry.clone(), moments.iter().copied().collect())
        });
        let repeats =
            repeats.iter().map(|(same, (until, agent))| TallyPart::Repeat(*same, *until, agent.clone()));
        let open = open.iter().map(|(position, reserved)| TallyPart::Open(*position, reserved.clone()));
        std::iter::once(TallyPart::Head(*at, *newest)).chain(totals).chain(recent).chain(repeats).chain(open)
    }

    /// Puts a part back; see [`Tallies::parts`].
    pub fn put(&mut self, part: TallyPart) {
        match part {
            TallyPart::Head(at, newest) => (self.at, self.newest) = (at, newest),
            TallyPart::Total(day, whose, at, action, total) => {
                let mut totals = self.days.get(&(day, whose.clone())).cloned().unwrap_or_default();
                totals.at = at;
                totals.totals.insert(action, total);
                self.days.insert((day, whose), totals);
            }
            TallyPart::Recent(agent, entry, moments) => {
                self.recent.insert((agent, entry), moments.into_iter().collect());
            }
            TallyPart::Repeat(same, until, agent) => self.remember(same, until, agent),
            TallyPart::Open(position, reserved) => {
                let pair = (reserved.spending.agent.clone(), reserved.spending.entry.clone());
                let open = self.under_way.get(&pair).copied().unwrap_or_default();
                self.under_way.insert(pair, open.saturating_add(1));
                self.open.insert(position, reserved);
            }
        }
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
            self.remember(spending.same, until, spending.agent.clone());
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
        Some(reserved)
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

    fn remember(&mut self, same: Digest, until: Timestamp, agent: AgentId) {
        self.forget.insert((until, same));
        let kept = self.remembered.get(&agent).copied().unwrap_or_default();
        self.remembered.insert(agent.clone(), kept.saturating_add(1));
        self.repeats.insert(same, (until, agent));
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Limits, MAX_REMEMBERED, TenantId, WorkflowId, exceeded};

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }
    fn spending(agent: &str, amount: i64, same: u64, at: u64) -> Spending {
        Spending {
            at: Timestamp::from_millis(at),
            workflow: WorkflowId::new(TenantId::new("acme").unwrap(), name("wf-1")),
            human: HumanId::new("maya").unwrap(),
            agent: AgentId::new(agent).unwrap(),
            above: Vec::new(),
            entry: name("billing.refund"),
            action: name("issue_refund"),
            amount: Decimal::parse(&amount.to_string()).ok(),
            same: Digest::of(&same.to_le_bytes()),
        }
    }
    fn reserved(spending: Spending) -> Reserved {
        Reserved { spending, spends: Vec::new() }
    }

    #[test]
    fn what_is_remembered_of_an_agent_is_bounded_and_ends() {
        let mut tallies = Tallies::default();
        let keep = Keep { rate: 0, duplicates: 1_000 };
        for i in 0..u64::from(MAX_REMEMBERED) {
            tallies.permitted(i + 1, reserved(spending("a", 1, i, 0)), keep);
        }
        let limits = Limits { duplicates: 1_000, ..Limits::NONE };
        let flow = crate::FlowState::EMPTY;
        let codes = |agent: &str, at: u64| {
            let found = exceeded(&limits, &spending(agent, 1, u64::MAX, at), &tallies, &flow);
            found.iter().map(|one| one.code.as_str()).collect::<Vec<_>>()
        };
        assert_eq!(codes("a", 999), ["rate_limited"]);
        assert!(codes("b", 999).is_empty(), "another agent isn't kept out by it");
        assert!(codes("a", 1_000).is_empty());
        tallies.permitted(9_999, reserved(spending("a", 1, u64::MAX, 1_000)), keep);
        assert_eq!((tallies.repeats.len(), tallies.forget.len(), tallies.remembered.len()), (1, 1, 1));
    }

    #[test]
    fn a_total_beyond_what_is_exact_is_over_every_budget() {
        let mut tallies = Tallies::default();
        for position in 1..4 {
            tallies.permitted(
                position,
                reserved(spending("a", 900_000_000_000_000, position, 0)),
                Keep::NOTHING,
            );
        }
        let most = Decimal::MAX;
        let budget = crate::Budget { per: Per::HumanDay, count: None, amount: Some(most), approval: None };
        let limits = Limits { budgets: vec![budget], ..Limits::NONE };
        let found = exceeded(&limits, &spending("a", 1, 9, 0), &tallies, &crate::FlowState::EMPTY);
        assert_eq!(found.len(), 1);
    }

    proptest! {
        #[test]
        fn whatever_returns_leaves_no_trace_but_the_position(
            calls in prop::collection::vec((0_u8..3, 1_i64..1_000, 0_u64..5, 0_u64..200_000_000, any::<bool>()), 1..40)
        ) {
            let keep = Keep { rate: 0, duplicates: 5_000 };
            let (mut with, mut without) = (Tallies::default(), Tallies::default());
            let mut position = 0;
            let mut now = 0;
            for (agent, amount, same, later, returns) in calls {
                now = now.max(later);
                let of = spending(["a", "b", "c"][usize::from(agent)], amount, same, now);
                if !exceeded(&Limits { duplicates: 5_000, ..Limits::NONE }, &of, &with, &crate::FlowState::EMPTY).is_empty() {
                    continue;
                }
                position += 2;
                with.permitted(position, reserved(of.clone()), keep);
                prop_assert!(with.ended(position + 1, position, returns).is_some());
                prop_assert!(with.ended(position + 1, position, returns).is_none(), "it ends once");
                if !returns {
                    without.permitted(position, reserved(of.clone()), keep);
                    without.ended(position + 1, position, false);
                }
                for per in Per::DAYS {
                    prop_assert_eq!(with.total(*per, &of), without.total(*per, &of));
                }
                prop_assert_eq!(with.under_way(&of.agent, &of.entry), 0);
                prop_assert_eq!(with.remembered(&of.agent, of.at), without.remembered(&of.agent, of.at));
            }
            with.permitted(position + 2, reserved(spending("a", 1, 99, now)), Keep { rate: 9, duplicates: 9 });
            let mut again = Tallies::default();
            with.parts().for_each(|part| again.put(part));
            prop_assert_eq!(again, with);
        }
    }
}
