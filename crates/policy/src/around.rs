//! What stands around a call in the policy input, `risk` and `environment`: there only where some policy of the release
//! reads it, so that no record grows by what nobody reads.

use placet_core::{Decimal, Envelope, FactsView, Risky};
use placet_json::{Object, Value, object};

use crate::{Release, platform::Standings};

/// Which of it policies read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Around {
    risk: bool,
    environment: bool,
}

impl Around {
    /// What a path of the input leads to: one of them, or an object around them all.
    pub(crate) fn of_path(path: &[String]) -> Self {
        match path.first().map(String::as_str) {
            None | Some("[") => Self { risk: true, environment: true },
            Some(first) => Self { risk: first == "risk", environment: first == "environment" },
        }
    }
    /// What a Cedar policy names, which can't be computed there.
    pub(crate) fn in_text(text: &str) -> Self {
        Self { risk: text.contains("risk"), environment: text.contains("environment") }
    }
    pub(crate) fn and(self, other: Self) -> Self {
        Self { risk: self.risk || other.risk, environment: self.environment || other.environment }
    }
}

impl Release {
    /// What policies of either engine read.
    fn around(&self) -> Around {
        let rego = self.rego.as_ref().map_or_else(Around::default, |program| program.around);
        rego.and(self.cedar.as_ref().map_or_else(Around::default, |program| program.around))
    }

    /// Adds to an input what its policies read of it. What isn't known isn't there.
    pub(crate) fn surround(
        &self,
        document: &mut Object,
        envelope: &Envelope,
        facts: &dyn FactsView,
        standings: &Standings<'_>,
    ) {
        let Around { risk, environment } = self.around();
        if risk && let Some(risk) = risks(envelope, facts, standings) {
            document.insert("risk", risk);
        }
        if environment && let Some(environment) = facts.environment() {
            document.insert("environment", environment);
        }
    }
}

/// The workflow's, the person's, and the highest of the chain's agents: who hands work down hands its risk down.
fn risks(envelope: &Envelope, facts: &dyn FactsView, standings: &Standings<'_>) -> Option<Value> {
    let agents = standings.chain.iter().map(|delegation| &delegation.agent);
    let agent =
        agents.map(|agent| facts.risk(&Risky::Agent(agent.clone()))).collect::<Option<Vec<Decimal>>>()?;
    let agent = agent.into_iter().max().unwrap_or(Decimal::ZERO);
    let human = facts.risk(&Risky::Human(envelope.human().clone()))?;
    let workflow = facts.risk(&Risky::Workflow(envelope.workflow().clone()))?;
    Some(Value::from(object! {
        "agent" => agent.to_value(), "human" => human.to_value(), "workflow" => workflow.to_value(),
    }))
}
