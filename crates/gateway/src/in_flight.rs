//! The calls that are on their way: permitted, and not ended yet. For whoever stops something and wants to know what it
//! hits.

use placet_core::{AgentId, DecisionId, Freeze, HumanId, Name, Timestamp, WorkflowId};
use placet_json::Value;
use placet_record::AskedRecord;

use crate::Ledger;

/// The most calls that are told at once, the newest first.
pub const MAX_IN_FLIGHT: usize = 1000;

/// A call on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InFlight {
    /// The journal position of its permit.
    pub at: u64,
    /// The decision that permitted it.
    pub decision: DecisionId,
    /// In which workflow.
    pub workflow: WorkflowId,
    /// For whom.
    pub human: HumanId,
    /// The chain of agents, the acting one last.
    pub chain: Vec<AgentId>,
    /// The tool, by its catalog name.
    pub tool: Name,
    /// Its upstream.
    pub upstream: Name,
    /// When it was permitted.
    pub since: Timestamp,
}

impl InFlight {
    /// Whether a stop on this hits it.
    #[must_use]
    pub fn is_hit_by(&self, what: &Freeze) -> bool {
        match what {
            Freeze::All => true,
            Freeze::Tenant(tenant) => self.workflow.tenant() == tenant,
            Freeze::Agent(agent) => self.chain.contains(agent),
            Freeze::Tool(tool) => self.tool == *tool,
            Freeze::Upstream(upstream) => self.upstream == *upstream,
        }
    }
}

impl Ledger {
    /// The calls on their way, the newest first, at most [`MAX_IN_FLIGHT`]; read from their own records.
    pub fn in_flight(&self) -> Result<Vec<InFlight>, String> {
        let open = self.warrants();
        open.keys().rev().take(MAX_IN_FLIGHT).filter_map(|at| self.one(*at).transpose()).collect()
    }

    fn one(&self, at: u64) -> Result<Option<InFlight>, String> {
        let Some(record) = self.reader().get(at).map_err(|error| error.to_string())? else {
            return Err(format!("the record {at} is missing"));
        };
        let record = self.read_decision(&record)?;
        let AskedRecord::Call(call) = record.asked else { return Ok(None) };
        let chain = record.document.get("chain").and_then(Value::as_array).unwrap_or_default();
        let chain = chain.iter().filter_map(|agent| AgentId::new(agent.as_str()?).ok()).collect();
        Ok(Some(InFlight {
            at,
            decision: record.id,
            workflow: record.grant.workflow,
            human: record.grant.human,
            chain,
            tool: call.entry,
            upstream: call.upstream,
            since: record.time,
        }))
    }
}
