//! What an envelope may see: delegation ∩ workflow type ∩ the release's action index. A preview; no policy runs, and
//! nothing that is listed is thereby permitted.

use placet_catalog::Entry;
use placet_core::{Envelope, Facts as _, FactsView, Grantor, MAX_CHAIN, Name};
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
        let (Some(release), Ok(facts)) = (self.ledger().releases().current(), self.ledger().live().snapshot(envelope.tenant())) else {
            return Vec::new();
        };
        let mut listed = Vec::new();
        for entry in release.catalog().entries() {
            if only.is_some_and(|only| only != entry.upstream()) || visible(&release, entry, envelope, &*facts).is_err() {
                continue;
            }
            let Some(tools) = self.upstreams().tools(entry.upstream()) else { continue };
            let Some(offered) = tools.get(entry.tool()).filter(|offered| entry.accepts(&offered.digest)) else { continue };
            let definition = placet_mcp::tools::hide_arguments(&offered.raw, &entry.hidden_arguments());
            listed.push(Listed { upstream: entry.upstream().clone(), tool: entry.tool().to_owned(), definition });
        }
        listed
    }
}

impl Gateway {
    /// The definition of one tool as this envelope may see it.
    #[must_use]
    pub fn definition_for(&self, envelope: &Envelope, upstream: &Name, tool: &str) -> Option<Value> {
        self.list(envelope, Some(upstream)).into_iter().find(|listed| listed.tool == tool).map(|listed| listed.definition)
    }
}

/// Whether a tool exists for this envelope; else why not, for operators.
pub(crate) fn visible(release: &Release, entry: &Entry, envelope: &Envelope, facts: &dyn FactsView) -> Result<(), String> {
    let action = entry.action();
    if !release.may_grant(action) {
        return Err(format!("no policy of the release can grant `{action}`"));
    }
    let workflow = facts.workflow(envelope.workflow()).ok_or_else(|| format!("there is no workflow `{}`", envelope.workflow()))?;
    if !release.workflow_type_admits(&workflow.kind, action) {
        return Err(format!("the workflow type `{}` doesn't admit `{action}`", workflow.kind));
    }
    let mut next = Some(envelope.delegation());
    for _ in 0..MAX_CHAIN {
        let Some(id) = next else { break };
        let delegation = facts.delegation(id).ok_or_else(|| format!("there is no delegation `{id}`"))?;
        if !delegation.scope.actions.contains(action) {
            return Err(format!("the delegation `{id}` doesn't cover `{action}`"));
        }
        next = match &delegation.grantor {
            Grantor::Parent(parent) => Some(parent),
            Grantor::Human => None,
        };
    }
    Ok(())
}
