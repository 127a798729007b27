//! What an envelope may see: delegation ∩ workflow type ∩ the release's action index. A preview; no policy runs, and
//! nothing that is listed is thereby permitted.

use placet_core::{Digest, Envelope, Facts as _, Name};
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
        let mut listed = Vec::new();
        for entry in release.catalog().entries() {
            if only.is_some_and(|only| only != entry.upstream())
                || release.visible(entry, envelope, &*facts).is_err()
            {
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
