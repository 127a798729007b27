//! What an entry says of how often, how much and how many at once.

use placet_core::{Budget, Rate};
use placet_json::{Object, Value};

/// The bounds of one tool.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ToolLimits {
    /// Budgets of the tool's action; `tool_day` counts this tool alone. None names an approval.
    pub budgets: Vec<Budget>,
    /// Permits of one agent.
    pub rate: Option<Rate>,
    /// Calls of one agent that may be under way at once.
    pub concurrency: Option<u32>,
    /// What a repeated call is.
    pub repeats: Repeats,
}

/// What the same call again is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Repeats {
    /// The entry says nothing: as the release says.
    #[default]
    AsTheRelease,
    /// `idempotent = true`: a repetition changes nothing, so it is never refused.
    Harmless,
    /// `duplicates = "30s"`: refused within so many milliseconds; 0: never.
    Within(u64),
}

impl ToolLimits {
    /// As members of an entry's JSON; none where it says nothing.
    pub(crate) fn write(&self, out: &mut Object) {
        let Self { budgets, rate, concurrency, repeats } = self;
        if let Some(rate) = rate {
            out.insert("rate", rate.to_string());
        }
        if let Some(most) = concurrency {
            out.insert("concurrency", u64::from(*most));
        }
        match repeats {
            Repeats::AsTheRelease => {}
            Repeats::Harmless => drop(out.insert("idempotent", true)),
            Repeats::Within(millis) => drop(out.insert("duplicates_ms", *millis)),
        }
        if !budgets.is_empty() {
            let budgets = budgets.iter().map(|budget| {
                let mut bounds = Object::new();
                if let Some(count) = budget.count {
                    bounds.insert("count", count);
                }
                if let Some(amount) = budget.amount {
                    bounds.insert("amount", amount.to_string());
                }
                (budget.per.as_str(), Value::Object(bounds))
            });
            out.insert("budget", budgets.collect::<Object>());
        }
    }
}

#[cfg(test)]
mod tests {
    use placet_json::object;

    use super::*;

    #[test]
    fn an_entry_that_says_nothing_is_written_as_before() {
        let mut out = object! { "a" => 1_u64 };
        ToolLimits::default().write(&mut out);
        assert_eq!(out, object! { "a" => 1_u64 });
    }
}
