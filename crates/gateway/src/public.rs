//! What an agent is told of a refusal: nothing about what it may not see.

use placet_core::{Code, DecisionId, authority::Denial};
use placet_json::{Value, object};

/// A refusal for the agent's eyes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Public {
    /// The decision, for whoever is asked about it.
    pub decision: DecisionId,
    /// Its first reason's code.
    pub code: String,
    /// One sentence.
    pub message: String,
    /// What would help, where something would.
    pub remedy: Option<String>,
    /// Whether the tool, to this agent, doesn't exist: then the protocol's own error says so.
    pub unknown_tool: bool,
}

impl Public {
    pub(crate) fn of(denial: &Denial) -> Self {
        let first = denial.reasons().first();
        let remedy = denial.remedy().map(|remedy| {
            let later = remedy.steps.iter().skip(remedy.given.saturating_add(1));
            let later = later.fold(String::new(), |text, role| {
                text + "after that one with the role `" + role.as_str() + "`; "
            });
            format!("ask a person with the role `{}` to approve it: placet approve {}; {later}then call again with the same arguments", remedy.role, denial.asked().id())
        });
        Self {
            decision: denial.asked().id().clone(),
            code: first.code.clone(),
            message: first.public.clone(),
            remedy,
            unknown_tool: first.code == Code::ToolUnknown.as_str(),
        }
    }

    /// As the answer's `placet` member.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let remedy = self.remedy.as_deref().map_or(Value::Null, Value::from);
        Value::from(
            object! { "decision_id" => self.decision.as_str(), "code" => self.code.as_str(), "message" => self.message.as_str(), "remedy" => remedy },
        )
    }

    /// As one text for the model.
    #[must_use]
    pub fn text(&self) -> String {
        let Self { decision, code, message, remedy, unknown_tool: _ } = self;
        let message = message.trim_end_matches('.');
        match remedy {
            Some(remedy) => format!("Denied ({code}): {message}. To go on, {remedy}. [{decision}]"),
            None => format!("Denied ({code}): {message}. [{decision}]"),
        }
    }
}
