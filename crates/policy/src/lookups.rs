//! Resources that a lookup reads: which a call waits for, and whether what was read still holds. The gateway reads;
//! here nothing waits.

use std::{collections::BTreeMap, sync::Arc};

use placet_catalog::{Catalog, Lookup};
use placet_core::{
    Call, Code, DecisionId, Envelope, FactsView, Found, Freeze, Known, LookedUp, Name, Reason, Reasons,
    Resource, ResourceRef, Timestamp, authority::Offered,
};
use placet_json::Value;

use crate::{Finding, Release, admit::reviewed, contract::Shape, platform};

/// What must be read before a call can be decided.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// How.
    pub lookup: Arc<Lookup>,
    /// Of which resource.
    pub resource: ResourceRef,
}

/// What a call's resources have, and lack.
#[derive(Debug, Clone, Default)]
pub struct Lookups {
    /// What is known well enough, or can't be read.
    pub known: Vec<LookedUp>,
    /// What has to be read.
    pub wanted: Vec<Wanted>,
}

impl Release {
    /// What has to be looked up before this can be decided. Nothing is wanted for a call that would be refused whatever
    /// the answer: no agent makes the gateway read that may not act, or not on this resource.
    #[expect(clippy::too_many_arguments, reason = "each is one independent input of a pure function")]
    #[must_use]
    pub fn lookups(
        &self,
        envelope: &Envelope,
        facts: &dyn FactsView,
        id: DecisionId,
        upstream: &Name,
        tool: &str,
        arguments: &Value,
        offered: Offered,
        now: Timestamp,
    ) -> Lookups {
        let mut found = Lookups::default();
        let Some(entry) = self.catalog().tool(upstream, tool) else { return found };
        if self.catalog().lookups().next().is_none()
            || self.visible(entry, envelope, facts).is_err()
            || reviewed(entry, offered).is_err()
        {
            return found;
        }
        let Ok(call) = placet_catalog::preview(entry, envelope, facts, self.digest(), id, arguments) else {
            return found;
        };
        for resource in &call.resources {
            let Some(lookup) = self.catalog().lookup(&resource.kind) else { continue };
            match facts.resource(resource) {
                Some(known) => match observed(lookup, known, now) {
                    Observation::Told => {}
                    Observation::Holds(at) => {
                        found.known.push(looked(lookup, resource, now, Found::Kept(at)));
                    }
                    Observation::Old(_) => found.want(lookup, resource),
                },
                None => found.want(lookup, resource),
            }
        }
        if !found.wanted.is_empty() && !self.waits(envelope, &call, facts, now) {
            found.wanted.clear();
        }
        found.stop_frozen(facts, now);
        found
    }

    /// Whether all that stands between a call and its decision is a resource that isn't known.
    fn waits(&self, envelope: &Envelope, call: &Call, facts: &dyn FactsView, now: Timestamp) -> bool {
        let Err(reasons) = platform::check(self, envelope, call, facts, now) else { return false };
        let workflow = facts.workflow(envelope.workflow());
        let kind = workflow.and_then(|workflow| self.workflow_types().get(&workflow.kind));
        let (Some(workflow), Some(kind)) = (workflow, kind) else { return false };
        reasons.first().code == Code::ResourceUnknown.as_str()
            && platform::bound(call, workflow, kind).is_ok()
    }
}

impl Lookups {
    fn want(&mut self, lookup: &Arc<Lookup>, resource: &ResourceRef) {
        if !self.wanted.iter().any(|wanted| wanted.resource == *resource) {
            self.wanted.push(Wanted { lookup: Arc::clone(lookup), resource: resource.clone() });
        }
    }
    /// A stop holds for the gateway's own readings, too.
    fn stop_frozen(&mut self, facts: &dyn FactsView, now: Timestamp) {
        let known = &mut self.known;
        self.wanted.retain(|Wanted { lookup, resource }| {
            let upstream = Name::new(lookup.reading.upstream()).ok().map(Freeze::Upstream);
            let tool = match &lookup.reading {
                placet_catalog::Reading::Tool { entry, .. } => Some(Freeze::Tool(entry.clone())),
                placet_catalog::Reading::Get { .. } => None,
            };
            let frozen = upstream.into_iter().chain(tool).find(|what| facts.frozen(what));
            if let Some(what) = &frozen {
                known.push(looked(lookup, resource, now, Found::Nothing(format!("frozen: {what:?}"))));
            }
            frozen.is_none()
        });
    }
}

/// What a lookup had for a call at `now`.
#[must_use]
pub fn looked(lookup: &Lookup, resource: &ResourceRef, now: Timestamp, found: Found) -> LookedUp {
    LookedUp { lookup: lookup.name.clone(), resource: resource.clone(), asked: now, found }
}

/// Whether a resource that is known may be decided on. What was told may; what was read may while it is young enough:
/// at the moment that the call asked for it, where one did, else now.
pub(crate) fn usable(
    release: &Release,
    call: &Call,
    resource: &Resource,
    now: Timestamp,
) -> Result<(), Reasons> {
    let Known::Observed { source, at, retention: _ } = &resource.known else { return Ok(()) };
    let asked = call.lookups.iter().find(|looked| looked.resource == resource.at).map_or(now, |l| l.asked);
    let why = match release.catalog().lookup(&resource.at.kind) {
        None => format!("known by `{source}` only, which the release doesn't have"),
        Some(lookup) => match observed(lookup, resource, asked) {
            Observation::Told | Observation::Holds(_) => return Ok(()),
            Observation::Old(why) => why,
        },
    };
    let operator = format!("`{}` was read at {at}, and that doesn't hold any more: {why}", resource.at);
    let reasons = Reason::platform(Code::ResourceUnknown, UNKNOWN, operator).into();
    Err(explained(reasons, &call.lookups))
}

/// Adds why a lookup had nothing to what operators are told of an unknown resource. Agents are told the same, whether
/// there is none, it is another tenant's, or it couldn't be read.
pub(crate) fn explained(reasons: Reasons, lookups: &[LookedUp]) -> Reasons {
    let nothing = lookups.iter().find_map(|looked| match &looked.found {
        Found::Nothing(why) => Some((looked, why)),
        Found::Read(_) | Found::Kept(_) => None,
    });
    let Some((looked, why)) = nothing.filter(|_| reasons.first().code == Code::ResourceUnknown.as_str())
    else {
        return reasons;
    };
    let mut all = reasons.all().to_vec().into_iter();
    let Some(first) = all.next() else { return reasons };
    let operator = format!("{}; lookup `{}` of `{}`: {why}", first.operator, looked.lookup, looked.resource);
    Reasons::new(Reason { operator, ..first }, all.collect())
}

/// Lookups that read what the types of resources don't describe: every call on such a resource would break the input's
/// schema.
pub(crate) fn undescribed(
    catalog: &Catalog,
    described: Option<&BTreeMap<String, Shape>>,
    files: &[(String, String)],
) -> Vec<Finding> {
    let Some(described) = described else { return Vec::new() };
    let mut findings = Vec::new();
    for lookup in catalog.lookups() {
        for name in lookup.attributes.keys().filter(|name| !described.contains_key(name.as_str())) {
            let head = format!("[lookup.{}", lookup.name);
            let at = files.iter().find_map(|(path, text)| {
                let line = text.lines().position(|line| line.starts_with(&head))?;
                Some((path.as_str(), u32::try_from(line.saturating_add(1)).unwrap_or(0)))
            });
            let (path, line) = at.unwrap_or(("catalog", 0));
            let message = format!(
                "the lookup `{}` reads `{name}`, which no type in `relations.toml` describes",
                lookup.name
            );
            let remedy = format!("add it to the attributes of `[type.{}]`", lookup.resource);
            findings.push(Finding::error(path, (line, 0), message, remedy));
        }
    }
    findings
}

const UNKNOWN: &str = "there is no such resource here";

enum Observation {
    /// Nobody has to read it.
    Told,
    /// It was read then, and that holds.
    Holds(Timestamp),
    /// It has to be read again; why.
    Old(String),
}

fn observed(lookup: &Lookup, resource: &Resource, now: Timestamp) -> Observation {
    let Known::Observed { source, at, retention: _ } = &resource.known else { return Observation::Told };
    if source.as_str().strip_prefix("lookup:") != Some(lookup.name.as_str()) {
        return Observation::Old(format!("it was read by `{source}`, and `{}` reads it now", lookup.name));
    }
    let bound = u64::try_from(lookup.max_age.as_millis()).unwrap_or(u64::MAX);
    match now.since(*at) {
        age if age <= bound => Observation::Holds(*at),
        age => Observation::Old(format!("it is {age} ms old, past its bound of {bound} ms")),
    }
}
