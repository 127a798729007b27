//! Counts written down and read back, a row for each thing that is counted: what a kept state is made of.

use serde::{Deserialize, Serialize};

use super::{DayTotals, Reserved, Tallies, Whose};
use crate::{
    AgentId, ApprovalId, Day, Decimal, Digest, EffectClass, HumanId, Name, Spending, TenantId, Timestamp,
    Total, WorkflowId,
};

/// One row of a tenant's counts. What follows from other rows isn't written.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum TallyRow {
    /// Once: where the counts are.
    Upto {
        /// The position of the last permit or ending.
        at: u64,
        /// The newest day, counted from 1970-01-01.
        newest: u64,
    },
    /// One action's total of somebody's day.
    Day {
        /// The day.
        day: u64,
        /// Whose it is.
        whose: TallyOf,
        /// The position of the day's last change.
        at: u64,
        /// The action.
        action: Name,
        /// How often.
        count: u64,
        /// How much.
        amount: Decimal,
    },
    /// Moments of permits of an agent and a tool.
    Recent {
        /// The agent.
        agent: AgentId,
        /// The tool's catalog name.
        entry: Name,
        /// In the order of the journal.
        moments: Vec<Timestamp>,
    },
    /// A call that counts as a repetition until then.
    Repeat {
        /// What makes it the same call.
        same: Digest,
        /// Until when.
        until: Timestamp,
        /// Whose call.
        agent: AgentId,
    },
    /// A permit whose warrant hasn't ended, or of which nobody knows how it did.
    Open {
        /// Whether it ended, and nobody knows how.
        doubtful: bool,
        /// What its tool does.
        effect: EffectClass,
        /// Its position.
        position: u64,
        /// Its moment.
        at: Timestamp,
        /// The workflow's local name.
        workflow: Name,
        /// The person.
        human: HumanId,
        /// The agent.
        agent: AgentId,
        /// The agents above it.
        above: Vec<AgentId>,
        /// The tool's catalog name.
        entry: Name,
        /// The action.
        action: Name,
        /// Its amount, where it has one.
        amount: Option<Decimal>,
        /// What makes it the same call.
        same: Digest,
        /// Local names of the approvals that it spent.
        spends: Vec<Name>,
    },
}

/// Whose day it is.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TallyOf {
    /// A person's.
    Human(HumanId),
    /// An agent's.
    Agent(AgentId),
    /// A tool's.
    Tool(Name),
    /// The tenant's.
    Tenant,
}

impl Tallies {
    /// All rows; [`Tallies::take`] takes them in any order.
    pub fn rows(&self) -> impl Iterator<Item = TallyRow> + '_ {
        let days = self.days.iter().flat_map(|((day, whose), totals)| {
            totals.totals.iter().map(|(action, total)| TallyRow::Day {
                day: day.0,
                whose: whose.into(),
                at: totals.at,
                action: action.clone(),
                count: total.count,
                amount: total.amount,
            })
        });
        let recent = self.recent.iter().map(|((agent, entry), moments)| TallyRow::Recent {
            agent: agent.clone(),
            entry: entry.clone(),
            moments: moments.iter().copied().collect(),
        });
        let repeats = self.repeats.iter().map(|(same, (until, agent))| TallyRow::Repeat {
            same: *same,
            until: *until,
            agent: agent.clone(),
        });
        let open = self.open.iter().map(|row| (false, row));
        let doubtful = self.doubtful.iter().map(|row| (true, row));
        let open = open.chain(doubtful).map(|(doubtful, (position, reserved))| {
            let Reserved { spending, spends } = reserved.clone();
            let Spending { at, workflow, human, agent, above, entry, action, amount, effect, same } =
                spending;
            let spends = spends.iter().map(|id| id.local().clone()).collect();
            let (position, workflow) = (*position, workflow.local().clone());
            TallyRow::Open {
                doubtful,
                effect,
                position,
                at,
                workflow,
                human,
                agent,
                above,
                entry,
                action,
                amount,
                same,
                spends,
            }
        });
        std::iter::once(TallyRow::Upto { at: self.at, newest: self.newest.0 })
            .chain(days)
            .chain(recent)
            .chain(repeats)
            .chain(open)
    }

    /// Takes a row of `tenant`'s.
    pub fn take(&mut self, row: TallyRow, tenant: &TenantId) {
        match row {
            TallyRow::Upto { at, newest } => (self.at, self.newest) = (at, Day(newest)),
            TallyRow::Day { day, whose, at, action, count, amount } => {
                let key = (Day(day), Whose::from(whose));
                let mut totals = self.days.get(&key).cloned().unwrap_or_else(DayTotals::default);
                totals.at = at;
                totals.totals.insert(action, Total { count, amount });
                self.days.insert(key, totals);
            }
            TallyRow::Recent { agent, entry, moments } => {
                self.recent.insert((agent, entry), moments.into_iter().collect());
            }
            TallyRow::Repeat { same, until, agent } => {
                let kept = self.remembered.get(&agent).copied().unwrap_or_default();
                self.remembered.insert(agent.clone(), kept.saturating_add(1));
                self.forget.insert((until, same));
                self.repeats.insert(same, (until, agent));
            }
            TallyRow::Open {
                doubtful,
                effect,
                position,
                at,
                workflow,
                human,
                agent,
                above,
                entry,
                action,
                amount,
                same,
                spends,
            } => {
                if !doubtful {
                    let pair = (agent.clone(), entry.clone());
                    let open = self.under_way.get(&pair).copied().unwrap_or_default();
                    self.under_way.insert(pair, open.saturating_add(1));
                }
                let workflow = WorkflowId::new(tenant.clone(), workflow);
                let spends = spends.into_iter().map(|id| ApprovalId::new(tenant.clone(), id)).collect();
                let spending =
                    Spending { at, workflow, human, agent, above, entry, action, amount, effect, same };
                let of = if doubtful { &mut self.doubtful } else { &mut self.open };
                of.insert(position, Reserved { spending, spends });
            }
        }
    }
}

impl From<&Whose> for TallyOf {
    fn from(whose: &Whose) -> Self {
        match whose.clone() {
            Whose::Human(id) => Self::Human(id),
            Whose::Agent(id) => Self::Agent(id),
            Whose::Tool(name) => Self::Tool(name),
            Whose::Tenant => Self::Tenant,
        }
    }
}
impl From<TallyOf> for Whose {
    fn from(of: TallyOf) -> Self {
        match of {
            TallyOf::Human(id) => Self::Human(id),
            TallyOf::Agent(id) => Self::Agent(id),
            TallyOf::Tool(name) => Self::Tool(name),
            TallyOf::Tenant => Self::Tenant,
        }
    }
}
