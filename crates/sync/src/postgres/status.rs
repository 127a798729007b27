//! How a source is, for readiness, metrics and people.

use placet_core::Timestamp;
use placet_json::{Value, object};

use crate::opal::Told;

/// What a source is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum State {
    /// The database can't be read; the text says why not.
    #[default]
    Connecting,
    /// It is read, and everything is a fact.
    Live,
    /// It is read, but some rows can't be facts.
    Gap,
}

impl State {
    /// As it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Live => "live",
            Self::Gap => "gap",
        }
    }
}

/// A source's state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shown {
    /// What it is doing.
    pub state: State,
    /// Why it isn't live.
    pub why: Option<String>,
    /// Rows that are known.
    pub rows: u64,
    /// Rows that were read since the start.
    pub read: u64,
    /// Transactions that were written since the start.
    pub transactions: u64,
    /// Turns that failed since the start.
    pub failures: u64,
    /// When everything was read last.
    pub swept: Option<Timestamp>,
    /// Rows that can't be facts, and facts that weren't admitted.
    pub refused: Told,
    /// Rows of tenants that this source may not speak of.
    pub foreign: Told,
}

impl Shown {
    /// As JSON, for administrators.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let told = |told: &Told| {
            let some = told.some.iter().map(|text| Value::from(text.as_str())).collect();
            object! { "count" => u64::try_from(told.count).unwrap_or(u64::MAX), "some" => Value::Array(some) }
        };
        object! {
            "state" => self.state.as_str(), "why" => self.why.as_deref().map_or(Value::Null, Value::from),
            "rows" => self.rows, "read" => self.read, "transactions" => self.transactions, "failures" => self.failures,
            "swept" => self.swept.map_or(Value::Null, |at| at.to_string().into()),
            "refused" => told(&self.refused), "foreign" => told(&self.foreign),
        }
        .into()
    }
}
