//! How a source is, for readiness, metrics and people.

use std::collections::BTreeMap;

use placet_json::{Value, object};

use super::mapping::Told;

/// What a source is doing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum State {
    /// There is no connection; the text says why not.
    #[default]
    Connecting,
    /// Everything is being fetched anew.
    Fetching,
    /// Connected, and nothing is missing.
    Live,
    /// Connected, but something is missing: decisions that depend on it get stale.
    Gap,
    /// The server refuses our token: only an operator can help.
    Refused,
}

impl State {
    /// As it is written.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Fetching => "fetching",
            Self::Live => "live",
            Self::Gap => "gap",
            Self::Refused => "refused",
        }
    }
}

/// A source's state in the making.
#[derive(Debug, Clone, Default)]
pub struct Status {
    /// What it is doing.
    pub state: State,
    /// Why it isn't live, if it isn't.
    pub why: Option<String>,
    /// Entries that couldn't be fetched or applied so far, each with its reason.
    pub missing: BTreeMap<u64, String>,
    /// Places that no rule is for.
    pub unmapped: Told,
    /// Places and facts that couldn't be used.
    pub wrong: Told,
    /// Updates that arrived.
    pub updates: u64,
    /// Transactions that were written.
    pub transactions: u64,
    /// The last policy's hash, and what became of it.
    pub policy: Option<(String, Result<String, String>)>,
}

/// A source's state as others see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// What it is doing.
    pub state: State,
    /// Why it isn't live.
    pub why: Option<String>,
    /// Places that no rule is for.
    pub unmapped: Told,
    /// Places and facts that couldn't be used.
    pub wrong: Told,
    /// Updates that arrived.
    pub updates: u64,
    /// Transactions that were written.
    pub transactions: u64,
    /// The last policy's hash, and what became of it.
    pub policy: Option<(String, Result<String, String>)>,
}

impl Status {
    /// For others: a connected source with something missing has a gap.
    #[must_use]
    pub fn shown(&self) -> Shown {
        let first = self.missing.values().next().or_else(|| self.wrong.some.first());
        let (state, why) = match (&self.state, first) {
            (State::Live, Some(first)) => (State::Gap, Some(first.clone())),
            (state, _) => (state.clone(), self.why.clone()),
        };
        Shown {
            state,
            why,
            unmapped: self.unmapped.clone(),
            wrong: self.wrong.clone(),
            updates: self.updates,
            transactions: self.transactions,
            policy: self.policy.clone(),
        }
    }
}

impl Shown {
    /// As JSON, for administrators.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let told = |told: &Told| {
            let some = told.some.iter().map(|text| Value::from(text.as_str())).collect();
            object! { "count" => u64::try_from(told.count).unwrap_or(u64::MAX), "some" => Value::Array(some) }
        };
        let policy = self.policy.as_ref().map_or(Value::Null, |(hash, outcome)| {
            let (ok, text) = match outcome {
                Ok(text) => (true, text),
                Err(text) => (false, text),
            };
            object! { "hash" => hash.as_str(), "ok" => ok, "says" => text.as_str() }.into()
        });
        object! {
            "state" => self.state.as_str(), "why" => self.why.as_deref().map_or(Value::Null, Value::from),
            "unmapped" => told(&self.unmapped), "wrong" => told(&self.wrong),
            "updates" => self.updates, "transactions" => self.transactions, "policy" => policy,
        }
        .into()
    }
}
