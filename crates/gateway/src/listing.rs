//! What an envelope may see: delegation ∩ workflow type ∩ the release's action index. A preview; no policy runs, and
//! nothing that is listed is thereby permitted.

use placet_core::{
    DelegationState, Digest, Envelope, Facts as _, FactsView, Freeze, Grantor, MAX_CHAIN, Name, Standing,
    Timestamp, WorkflowState,
};
use placet_json::Value;

use crate::Gateway;

/// A tool as it may be shown.
#[derive(Debug, Clone)]
pub struct Listed {
    /// The upstream.
    pub upstream: Name,
    /// Its name there.
    pub tool: String,
    /// Its definition, without the arguments that the gateway fills.
    pub definition: Value,
}

impl Gateway {
    /// The tools that this envelope may see, in a fixed order; of one upstream, or of all.
    #[must_use]
    pub fn list(&self, envelope: &Envelope, only: Option<&Name>) -> Vec<Listed> {
        let (Some(release), Ok(facts)) =
            (self.ledger().releases().current(), self.ledger().live().snapshot(envelope.tenant()))
        else {
            return Vec::new();
        };
        if !stands(&*facts, envelope, self.ledger().now()) {
            return Vec::new();
        }
        let mut listed = Vec::new();
        for entry in release.catalog().entries() {
            if only.is_some_and(|only| only != entry.upstream())
                || facts.frozen(&Freeze::Tool(entry.name().clone()))
                || facts.frozen(&Freeze::Upstream(entry.upstream().clone()))
                || release.visible(entry, envelope, &*facts).is_err()
            {
                continue;
            }
            if let Some(definition) = placet_catalog::definition(entry) {
                if self.upstreams().is_rest(entry.upstream()) {
                    let (upstream, tool) = (entry.upstream().clone(), entry.tool().to_owned());
                    listed.push(Listed { upstream, tool, definition });
                }
                continue;
            }
            let Some(tools) = self.upstreams().tools(entry.upstream()) else { continue };
            let Some(offered) = tools
                .get(entry.tool())
                .filter(|offered| entry.accepts(&Digest::from_bytes(*offered.digest.as_bytes())))
            else {
                continue;
            };
            let mut definition = offered.raw.clone();
            if let Some(schema) = definition.get_mut("inputSchema") {
                *schema = placet_catalog::public_schema(entry, schema);
            }
            listed.push(Listed {
                upstream: entry.upstream().clone(),
                tool: entry.tool().to_owned(),
                definition,
            });
        }
        listed
    }
}

impl Gateway {
    /// The definition of one tool as this envelope may see it.
    #[must_use]
    pub fn definition_for(&self, envelope: &Envelope, upstream: &Name, tool: &str) -> Option<Value> {
        self.list(envelope, Some(upstream))
            .into_iter()
            .find(|listed| listed.tool == tool)
            .map(|listed| listed.definition)
    }
}

/// Whether anything that this envelope rests on has ended. A call would be told why; a listing is just empty.
fn stands(facts: &dyn FactsView, envelope: &Envelope, now: Timestamp) -> bool {
    let frozen = |what: Freeze| facts.frozen(&what);
    let workflow = facts.workflow(envelope.workflow());
    let human = facts.human(envelope.human());
    let assignment = facts.assignment(envelope.human());
    if frozen(Freeze::All)
        || frozen(Freeze::Tenant(envelope.tenant().clone()))
        || !workflow.is_some_and(|workflow| workflow.state == WorkflowState::Open && now < workflow.ends)
        || !human.is_some_and(|human| human.standing == Standing::Active)
        || !assignment.is_some_and(|assignment| assignment.until.lives(now))
    {
        return false;
    }
    let mut next = facts.delegation(envelope.delegation());
    for _ in 0..MAX_CHAIN {
        let Some(delegation) = next else { return false };
        let agent = facts.agent(&delegation.agent);
        if delegation.state != DelegationState::Live
            || now >= delegation.scope.ends
            || !agent.is_some_and(|agent| agent.standing == Standing::Active)
            || frozen(Freeze::Agent(delegation.agent.clone()))
        {
            return false;
        }
        match &delegation.grantor {
            Grantor::Human => return true,
            Grantor::Parent(parent) => next = facts.delegation(parent),
        }
    }
    false
}
