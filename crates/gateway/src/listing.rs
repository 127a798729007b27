//! What an envelope may see: delegation ∩ workflow type ∩ the release's action index. A preview; no policy runs, and
//! nothing that is listed is thereby permitted.

use std::sync::Arc;

use placet_catalog::Entry;
use placet_core::{
    DelegationState, Digest, Envelope, Facts as _, FactsView, Freeze, Grantor, MAX_CHAIN, Name, Standing,
    Timestamp, WorkflowState,
};
use placet_json::Value;
use placet_policy::Release;

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
        let Some((release, facts)) = self.standing(envelope) else { return Vec::new() };
        let entries = release.catalog().entries();
        let entries = entries.filter(|entry| only.is_none_or(|only| only == entry.upstream()));
        let shown = entries.filter_map(|entry| {
            let definition = self.shown(&release, &*facts, envelope, entry)?;
            Some(Listed { upstream: entry.upstream().clone(), tool: entry.tool().to_owned(), definition })
        });
        shown.collect()
    }

    /// The input schema of one tool as this envelope may see it.
    #[must_use]
    pub fn schema_for(&self, envelope: &Envelope, upstream: &Name, tool: &str) -> Option<Value> {
        let (release, facts) = self.standing(envelope)?;
        let entry = release.catalog().tool(upstream, tool)?;
        self.shown(&release, &*facts, envelope, entry)?.get("inputSchema").cloned()
    }

    /// What a listing rests on, if this envelope still stands.
    fn standing(&self, envelope: &Envelope) -> Option<(Arc<Release>, Arc<dyn FactsView>)> {
        let release = self.ledger().releases().current()?;
        let facts = self.ledger().live().snapshot(envelope.tenant()).ok()?;
        stands(&*facts, envelope, self.ledger().now()).then_some((release, facts))
    }

    /// A tool's definition, without the arguments that the gateway fills, if this envelope may see it.
    fn shown(
        &self,
        release: &Release,
        facts: &dyn FactsView,
        envelope: &Envelope,
        entry: &Entry,
    ) -> Option<Value> {
        if facts.frozen(&Freeze::Tool(entry.name().clone()))
            || facts.frozen(&Freeze::Upstream(entry.upstream().clone()))
            || release.visible(entry, envelope, facts).is_err()
        {
            return None;
        }
        if let Some(definition) = placet_catalog::definition(entry) {
            return self.upstreams().is_rest(entry.upstream()).then_some(definition);
        }
        let tools = self.upstreams().tools(entry.upstream())?;
        let offered = tools.get(entry.tool())?;
        if !entry.accepts(&Digest::from_bytes(*offered.digest.as_bytes())) {
            return None;
        }
        let mut definition = offered.raw.clone();
        if let Some(schema) = definition.get_mut("inputSchema") {
            *schema = placet_catalog::public_schema(entry, schema);
        }
        Some(definition)
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
