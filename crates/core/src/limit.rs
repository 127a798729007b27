//! Budgets and limits: what a release bounds, and whether a call would go over it.
//!
//! Asked twice, with the same function: by the decision, on its snapshot, and by whoever writes the journal, on all that
//! stands before the permit's own entry. So no two permits share what only one of them may have.

use std::fmt;

use crate::{
    AgentId, Call, Code, Decimal, Digest, EffectClass, FlowState, Grant, HumanId, Name, Tallies, Timestamp,
    Total, WorkflowId,
};

/// The most calls that a rate may count, so that what is remembered of a tool and an agent is bounded.
pub const MAX_RATE: u32 = 1_000;
/// The longest window of a rate or of repeated calls, in milliseconds: one hour.
pub const MAX_WINDOW: u64 = 3_600_000;
/// The most calls that one agent may have remembered at once for being told from their repetition.
pub const MAX_REMEMBERED: u32 = 4_096;

/// Milliseconds of a day.
const DAY: u64 = 86_400_000;

/// A day in UTC, counted from 1970-01-01.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Day(pub u64);

impl Day {
    /// The day of a moment.
    #[must_use]
    pub fn of(moment: Timestamp) -> Self {
        Self(moment.millis() / DAY)
    }
}

/// What calls are added up over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Per {
    /// One workflow, for its whole life.
    Workflow,
    /// One person, in one tenant, for a day in UTC.
    HumanDay,
    /// One agent, in one tenant, for a day in UTC; calls of the agents below it count as its own.
    AgentDay,
    /// One tool, in one tenant, for a day in UTC.
    ToolDay,
    /// One tenant, for a day in UTC.
    TenantDay,
}

impl Per {
    /// All of them.
    pub const ALL: &[Self] =
        &[Self::Workflow, Self::HumanDay, Self::AgentDay, Self::ToolDay, Self::TenantDay];
    /// Those of a day.
    pub const DAYS: &[Self] = &[Self::HumanDay, Self::AgentDay, Self::ToolDay, Self::TenantDay];

    /// As releases and policy inputs name it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Workflow => "workflow",
            Self::HumanDay => "human_day",
            Self::AgentDay => "agent_day",
            Self::ToolDay => "tool_day",
            Self::TenantDay => "tenant_day",
        }
    }
    /// For people.
    fn of_whom(self) -> &'static str {
        match self {
            Self::Workflow => "in this workflow",
            Self::HumanDay => "for this person today",
            Self::AgentDay => "for this agent today",
            Self::ToolDay => "for this tool today",
            Self::TenantDay => "for today",
        }
    }
}

/// The most of one action, over one thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    /// Over what.
    pub per: Per,
    /// Permits at most.
    pub count: Option<u64>,
    /// The sum of `amount` at most.
    pub amount: Option<Decimal>,
    /// The approval that lets one call go over it.
    pub approval: Option<Name>,
}

/// So many permits in any window of this length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Permits at most, from 1 to [`MAX_RATE`].
    pub calls: u32,
    /// The window in milliseconds, from 1 to [`MAX_WINDOW`].
    pub window: u64,
}

impl Rate {
    /// Parses `10/1m`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let bad = || format!("`{text}` is no rate; write it as `10/1m`");
        let (calls, window) = text.split_once('/').ok_or_else(bad)?;
        let calls = calls.parse().map_err(|_| bad())?;
        if !(1..=MAX_RATE).contains(&calls) {
            return Err(format!("a rate counts 1 to {MAX_RATE} calls"));
        }
        match window_of(window)? {
            0 => Err("a rate's window is longer than nothing".to_owned()),
            window => Ok(Self { calls, window }),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.calls, Length(self.window))
    }
}

/// Parses a window such as `500ms`, `30s`, `5m` or `1h`, of at most [`MAX_WINDOW`], into milliseconds; 0 is none.
pub fn window_of(text: &str) -> Result<u64, String> {
    let at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(at).unwrap_or((text, ""));
    let millis: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => 0,
    };
    number
        .parse::<u64>()
        .ok()
        .filter(|_| millis > 0)
        .and_then(|number| number.checked_mul(millis))
        .filter(|length| *length <= MAX_WINDOW)
        .ok_or_else(|| format!("`{text}` is no window; write it as `30s` or `5m`, one hour at most"))
}

/// A length of time as it is written in a release.
struct Length(u64);

impl fmt::Display for Length {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            ms if ms > 0 && ms.is_multiple_of(3_600_000) => write!(f, "{}h", ms / 3_600_000),
            ms if ms > 0 && ms.is_multiple_of(60_000) => write!(f, "{}m", ms / 60_000),
            ms if ms.is_multiple_of(1_000) => write!(f, "{}s", ms / 1_000),
            ms => write!(f, "{ms}ms"),
        }
    }
}

/// All that bounds one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Budgets of the call's action.
    pub budgets: Vec<Budget>,
    /// Of the agent and the tool.
    pub rate: Option<Rate>,
    /// Calls of the agent and the tool that may be under way at once.
    pub concurrency: Option<u32>,
    /// The same call again within so many milliseconds is refused; 0: it isn't.
    pub duplicates: u64,
}

impl Limits {
    /// No bound at all.
    pub const NONE: Self = Self { budgets: Vec::new(), rate: None, concurrency: None, duplicates: 0 };

    /// Whether nothing is bounded.
    #[must_use]
    pub fn is_none(&self) -> bool {
        let Self { budgets, rate, concurrency, duplicates } = self;
        budgets.is_empty() && rate.is_none() && concurrency.is_none() && *duplicates == 0
    }
    /// What has to be remembered of a permit under these.
    #[must_use]
    pub fn keep(&self) -> Keep {
        Keep { rate: self.rate.map_or(0, |rate| rate.window), duplicates: self.duplicates }
    }
}

/// How long a permit is remembered, in milliseconds; 0: not at all. It stands in the permit's record, so that the
/// journal alone says what is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// For the rate of its agent and tool.
    pub rate: u64,
    /// For being told from its repetition.
    pub duplicates: u64,
}

impl Keep {
    /// Not remembered.
    pub const NOTHING: Self = Self { rate: 0, duplicates: 0 };
}

/// What a decision saw of what is counted, and what must still hold when its entry is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// The bounds, without those that an approval lifts.
    pub limits: Limits,
    /// What must be remembered of the permit: of all bounds.
    pub keep: Keep,
    /// The totals of days that a policy reads, each with the position of their last change.
    pub reads: Vec<(Per, u64)>,
}

impl Claims {
    /// Nothing is bounded, nothing read.
    pub const NONE: Self = Self { limits: Limits::NONE, keep: Keep::NOTHING, reads: Vec::new() };

    /// Whether all of it still holds.
    #[must_use]
    pub fn hold(&self, spending: &Spending, tallies: &Tallies, flow: &FlowState) -> bool {
        tallies.takes(spending)
            && self.reads.iter().all(|(per, at)| tallies.changed_at(*per, spending) == *at)
            && exceeded(&self.limits, spending, tallies, flow).is_empty()
    }
}

/// Who and what a permit is counted for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spending {
    /// The moment that it was decided for: it names the day, and the windows end at it.
    pub at: Timestamp,
    /// The workflow.
    pub workflow: WorkflowId,
    /// The delegating person.
    pub human: HumanId,
    /// The acting agent.
    pub agent: AgentId,
    /// Those above it in the chain, each once.
    pub above: Vec<AgentId>,
    /// The tool's catalog name.
    pub entry: Name,
    /// The action.
    pub action: Name,
    /// Its attribute `amount`, where it has one.
    pub amount: Option<Decimal>,
    /// What the tool does: of a call that changes something, an unknown end may be found out later.
    pub effect: EffectClass,
    /// What makes it the same call: agent, workflow, tool and canonical arguments.
    pub same: Digest,
}

impl Spending {
    /// Of a call by `grant`, whose chain of agents is `chain`, decided for `at`.
    #[must_use]
    pub fn of(grant: &Grant, call: &Call, chain: &[AgentId], at: Timestamp) -> Self {
        let mut above: Vec<AgentId> = chain.iter().filter(|agent| **agent != grant.agent).cloned().collect();
        above.sort_unstable();
        above.dedup();
        // No name holds a line break, so no two calls are written alike.
        let same = format!(
            "{}\n{}\n{}\n{}\n{}",
            grant.agent,
            grant.workflow.tenant(),
            grant.workflow.local(),
            call.entry,
            call.arguments.as_str()
        );
        Self {
            at,
            workflow: grant.workflow.clone(),
            human: grant.human.clone(),
            agent: grant.agent.clone(),
            above,
            entry: call.entry.clone(),
            action: call.action.clone(),
            amount: call.amount(),
            effect: call.effect,
            same: Digest::of(same.as_bytes()),
        }
    }
    /// The day that it counts for.
    #[must_use]
    pub fn day(&self) -> Day {
        Day::of(self.at)
    }
}

/// A bound that a call would go over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exceeded {
    /// Which kind.
    pub code: Code,
    /// For the agent: nothing of what others did.
    pub public: String,
    /// For operators.
    pub operator: String,
    /// The approval that would lift it.
    pub approval: Option<Name>,
}

/// The bounds that a call would go over, on these counts; nothing of them that the call itself already took.
#[must_use]
pub fn exceeded(limits: &Limits, spending: &Spending, tallies: &Tallies, flow: &FlowState) -> Vec<Exceeded> {
    let mut found = Vec::new();
    if limits.duplicates > 0 {
        found.extend(repeated(spending, tallies));
    }
    if let Some(rate) = limits.rate {
        found.extend(too_often(rate, spending, tallies));
    }
    if let Some(most) = limits.concurrency {
        let open = tallies.under_way(&spending.agent, &spending.entry);
        if open >= most {
            found.push(Exceeded {
                code: Code::ConcurrencyLimit,
                public: format!("{open} calls of this tool are still under way; wait for one to end"),
                operator: format!(
                    "`{}` has {open} calls of `{}` under way, of {most} at once",
                    spending.agent, spending.entry
                ),
                approval: None,
            });
        }
    }
    for budget in &limits.budgets {
        found.extend(over(budget, spending, tallies, flow));
    }
    found
}

fn repeated(spending: &Spending, tallies: &Tallies) -> Option<Exceeded> {
    let at = spending.at;
    if let Some(until) = tallies.repeats_until(&spending.same).filter(|until| *until > at) {
        return Some(Exceeded {
            code: Code::DuplicateEffect,
            public: format!(
                "the same call was permitted a moment ago; look at what came of it, or try again in {} if you mean it twice",
                seconds(until.since(at))
            ),
            operator: format!(
                "`{}` asked for the same call of `{}` in the same workflow; it counts as a repetition until {until}",
                spending.agent, spending.entry
            ),
            approval: None,
        });
    }
    let remembered = tallies.remembered(&spending.agent, at);
    (remembered >= MAX_REMEMBERED).then(|| Exceeded {
        code: Code::RateLimited,
        public: "too many calls at once; try again in a while".to_owned(),
        operator: format!(
            "`{}` has {remembered} calls remembered for their repetition, the most that is kept of one agent",
            spending.agent
        ),
        approval: None,
    })
}

fn too_often(rate: Rate, spending: &Spending, tallies: &Tallies) -> Option<Exceeded> {
    let at = spending.at;
    let recent = tallies.recent(&spending.agent, &spending.entry, at, rate.window);
    let count = u32::try_from(recent.len()).unwrap_or(u32::MAX);
    if count < rate.calls {
        return None;
    }
    // Once this one is out of the window there is room for another.
    let room = usize::try_from(count.saturating_sub(rate.calls)).unwrap_or(usize::MAX);
    let wait = recent.get(room).map_or(rate.window, |first| first.plus_millis(rate.window).since(at));
    Some(Exceeded {
        code: Code::RateLimited,
        public: format!("this tool takes {rate} of one agent; try again in {}", seconds(wait)),
        operator: format!(
            "`{}` had {count} calls of `{}` permitted, of {rate}",
            spending.agent, spending.entry
        ),
        approval: None,
    })
}

fn over(budget: &Budget, spending: &Spending, tallies: &Tallies, flow: &FlowState) -> Option<Exceeded> {
    let exceed = |operator: String| {
        Some(Exceeded {
            code: Code::BudgetExceeded,
            public: format!("this is over the budget for `{}` {}", spending.action, budget.per.of_whom()),
            operator,
            approval: budget.approval.clone(),
        })
    };
    let name = || format!("the budget `{}` of `{}`", budget.per.as_str(), spending.action);
    if budget.amount.is_some() && spending.amount.is_none() {
        return exceed(format!("{} bounds amounts, and the call has none", name()));
    }
    for (whose, total) in totals(budget.per, spending, tallies, flow) {
        if let Some(most) = budget.count.filter(|most| total.count >= *most) {
            return exceed(format!("{}{whose} is {most} calls, and {} were permitted", name(), total.count));
        }
        let (Some(most), Some(amount)) = (budget.amount, spending.amount) else { continue };
        if total.amount.checked_add(amount).is_none_or(|sum| sum > most) {
            return exceed(format!(
                "{}{whose} is {most}; {} was permitted, and {amount} more would be over it",
                name(),
                total.amount
            ));
        }
    }
    None
}

/// The totals that a budget bounds, with whose they are.
fn totals(per: Per, spending: &Spending, tallies: &Tallies, flow: &FlowState) -> Vec<(String, Total)> {
    match per {
        Per::Workflow => {
            let total = flow.totals.get(&spending.action).copied().unwrap_or(Total::ZERO);
            vec![(String::new(), total)]
        }
        Per::AgentDay => std::iter::once(&spending.agent)
            .chain(&spending.above)
            .map(|agent| (format!(" for agent `{agent}`"), tallies.agent_day(agent, spending)))
            .collect(),
        Per::HumanDay | Per::ToolDay | Per::TenantDay => {
            vec![(String::new(), tallies.total(per, spending))]
        }
    }
}

fn seconds(millis: u64) -> String {
    format!("{} s", millis.div_ceil(1_000).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_number_and_a_window() {
        assert_eq!(Rate::parse("10/1m"), Ok(Rate { calls: 10, window: 60_000 }));
        assert_eq!(Rate::parse("1/500ms").map(|rate| rate.to_string()), Ok("1/500ms".to_owned()));
        assert_eq!(Rate::parse("5/90s").map(|rate| rate.to_string()), Ok("5/90s".to_owned()));
        for bad in ["", "10", "/1m", "0/1m", "1001/1m", "10/0s", "10/2h", "10/1d", "10/m", "-1/1m", "10/1m "]
        {
            assert!(Rate::parse(bad).is_err(), "{bad:?}");
        }
        assert_eq!(window_of("0s"), Ok(0));
        assert!(window_of("99999999999999999999h").is_err());
    }
}
