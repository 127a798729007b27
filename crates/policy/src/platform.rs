//! What is checked before any policy is asked, in this order: freshness, freezes, agents, delegations, the person, the
//! workflow, intent, action, limits, the release, bindings, resources.
//!
//! The token is only a name and a ceiling; every check reads live facts, and a fact that is missing is a denial.

use placet_catalog::holds;
use placet_core::{
    Agent, AgentId, Assignment, Attribute, Call, Code, Delegation, DelegationState, Envelope, FactsView,
    Freeze, Freshness, Grantor, Human, MAX_CHAIN, Reason, Reasons, Resource, Standing, Timestamp, Workflow,
    WorkflowState,
};

use crate::{Release, WorkflowType, lookups};

/// Facts that a call stands on, all of them checked.
pub(crate) struct Standings<'a> {
    pub(crate) agent: &'a Agent,
    /// From the acting agent's delegation up to the person's own.
    pub(crate) chain: Vec<&'a Delegation>,
    pub(crate) human: &'a Human,
    pub(crate) assignment: &'a Assignment,
    pub(crate) workflow: &'a Workflow,
    pub(crate) kind: &'a WorkflowType,
    /// The workflow's state as policy reads it.
    pub(crate) state: &'a str,
    pub(crate) resources: Vec<&'a Resource>,
}

type Checked<T> = Result<T, Reasons>;

fn no<T>(code: Code, public: &str, operator: impl Into<String>) -> Checked<T> {
    Err(Reason::platform(code, public, operator).into())
}

/// Checks all of it.
pub(crate) fn check<'a>(
    release: &'a Release,
    envelope: &Envelope,
    call: &Call,
    facts: &'a dyn FactsView,
    now: Timestamp,
) -> Checked<Standings<'a>> {
    if let Freshness::Stale { source, age: _, why } = facts.freshness(now) {
        return no(
            Code::FactsStale,
            "what is known is too old to decide on; try again",
            format!("the source `{source}` {why}"),
        );
    }
    if facts.tenant() != envelope.tenant() {
        return no(
            Code::TenantMismatch,
            "the person doesn't act in this tenant",
            format!("facts of `{}` for a workflow of `{}`", facts.tenant(), envelope.tenant()),
        );
    }
    let chain = chain(envelope, facts)?;
    frozen(envelope, call, facts, &chain)?;
    let agent = agents(envelope, facts, &chain)?;
    standing(&chain, now)?;
    let (human, assignment) = person(envelope, facts, now)?;
    let (workflow, kind, state) = workflow(release, envelope, facts, &chain, now)?;
    scope(envelope, call, &chain, workflow, kind)?;
    if now >= envelope.expires() {
        return no(
            Code::TokenExpired,
            "the token's time is over",
            format!("the token ended at {}", envelope.expires()),
        );
    }
    if call.release != release.digest() {
        return no(
            Code::ReleaseChanged,
            "the rules changed meanwhile; try again",
            format!("classified by {}, decided by {}", call.release, release.digest()),
        );
    }
    let Some(entry) = release.catalog().entry(call.entry.as_str()) else {
        return no(
            Code::ToolUnknown,
            "there is no such tool here",
            format!("the catalog has no `{}`", call.entry),
        );
    };
    let resources = resources(release, call, facts, now)?;
    holds(entry, envelope, call, facts)?;
    bound(call, workflow, kind)?;
    crate::on_action::hold(call, kind)?;
    Ok(Standings { agent, chain, human, assignment, workflow, kind, state, resources })
}

/// The delegations from the acting agent's up to the person's own: known, and each in the same hands as the first.
fn chain<'a>(envelope: &Envelope, facts: &'a dyn FactsView) -> Checked<Vec<&'a Delegation>> {
    let Some(first) = facts.delegation(envelope.delegation()) else {
        return no(
            Code::DelegationUnknown,
            "there is no such delegation",
            format!("no delegation `{}`", envelope.delegation()),
        );
    };
    if &first.agent != envelope.agent()
        || &first.human != envelope.human()
        || &first.workflow != envelope.workflow()
    {
        return no(
            Code::DelegationUnknown,
            "there is no such delegation",
            format!("`{}` isn't this agent's for this person in this workflow", first.id),
        );
    }
    let mut chain = vec![first];
    let mut current = first;
    while let Grantor::Parent(parent) = &current.grantor {
        if chain.len() >= MAX_CHAIN {
            return no(
                Code::ChainInvalid,
                "the chain of delegations is not valid",
                format!("the chain has more than {MAX_CHAIN} delegations"),
            );
        }
        let Some(parent) = facts.delegation(parent) else {
            return no(
                Code::ChainInvalid,
                "the chain of delegations is not valid",
                format!("`{}` hangs on `{parent}`, which doesn't exist", current.id),
            );
        };
        if parent.human != first.human || parent.workflow != first.workflow {
            return no(
                Code::ChainInvalid,
                "the chain of delegations is not valid",
                format!("`{}` is for another person or workflow than `{}`", parent.id, first.id),
            );
        }
        chain.push(parent);
        current = parent;
    }
    Ok(chain)
}

fn frozen(envelope: &Envelope, call: &Call, facts: &dyn FactsView, chain: &[&Delegation]) -> Checked<()> {
    let fixed = [
        Freeze::All,
        Freeze::Tenant(envelope.tenant().clone()),
        Freeze::Tool(call.entry.clone()),
        Freeze::Upstream(call.upstream.clone()),
    ];
    let agents = chain.iter().map(|delegation| Freeze::Agent(delegation.agent.clone()));
    match fixed.into_iter().chain(agents).find(|what| facts.frozen(what)) {
        Some(what) => no(Code::Frozen, "this is stopped for now", format!("frozen: {what:?}")),
        None => Ok(()),
    }
}

fn agents<'a>(envelope: &Envelope, facts: &'a dyn FactsView, chain: &[&Delegation]) -> Checked<&'a Agent> {
    let known = |id: &AgentId| match facts.agent(id) {
        Some(agent) if agent.standing == Standing::Active => Ok(agent),
        Some(agent) => no(
            Code::AgentInactive,
            "the agent may not act",
            format!("agent `{id}` is {}", agent.standing.as_str()),
        ),
        None => no(Code::AgentUnknown, "the agent is not known", format!("no agent `{id}`")),
    };
    let acting = known(envelope.agent())?;
    if !acting.keys.contains_key(&envelope.grant().key) {
        return no(
            Code::AgentUnknown,
            "the agent is not known",
            format!("the key `{}` isn't one of agent `{}`", envelope.grant().key, acting.id),
        );
    }
    for delegation in chain.iter().skip(1) {
        known(&delegation.agent)?;
    }
    Ok(acting)
}

/// Each delegation lives, and is narrower than the one above it.
fn standing(chain: &[&Delegation], now: Timestamp) -> Checked<()> {
    for delegation in chain {
        if delegation.state != DelegationState::Live {
            return no(
                Code::DelegationRevoked,
                "the delegation was revoked",
                format!("`{}` was revoked", delegation.id),
            );
        }
        if now >= delegation.scope.ends {
            return no(
                Code::DelegationExpired,
                "the delegation has ended",
                format!("`{}` ended at {}", delegation.id, delegation.scope.ends),
            );
        }
    }
    for (child, parent) in chain.iter().zip(chain.iter().skip(1)) {
        if let Err(widening) = parent.scope.narrow(child.scope.clone()) {
            return no(
                Code::ChainInvalid,
                "the chain of delegations is not valid",
                format!("`{}` is wider than `{}`: {widening}", child.id, parent.id),
            );
        }
    }
    Ok(())
}

fn person<'a>(
    envelope: &Envelope,
    facts: &'a dyn FactsView,
    now: Timestamp,
) -> Checked<(&'a Human, &'a Assignment)> {
    let inactive = |why: String| no(Code::DelegatingUserInactive, "the delegating person may not act", why);
    let human = match facts.human(envelope.human()) {
        Some(human) if human.standing == Standing::Active => human,
        Some(human) => return inactive(format!("`{}` is {}", human.id, human.standing.as_str())),
        None => return inactive(format!("there is no person `{}`", envelope.human())),
    };
    match facts.assignment(&human.id) {
        Some(assignment) if assignment.until.lives(now) => Ok((human, assignment)),
        Some(_) | None => no(
            Code::TenantMismatch,
            "the person doesn't act in this tenant",
            format!("`{}` has no live assignment in `{}`", human.id, envelope.tenant()),
        ),
    }
}

fn workflow<'a>(
    release: &'a Release,
    envelope: &Envelope,
    facts: &'a dyn FactsView,
    chain: &[&Delegation],
    now: Timestamp,
) -> Checked<(&'a Workflow, &'a WorkflowType, &'a str)> {
    let Some(workflow) = facts.workflow(envelope.workflow()) else {
        return no(
            Code::WorkflowUnknown,
            "there is no such workflow",
            format!("no workflow `{}`", envelope.workflow()),
        );
    };
    if workflow.state != WorkflowState::Open {
        return no(
            Code::WorkflowClosed,
            "the workflow is closed",
            format!("workflow `{}` is closed", workflow.id),
        );
    }
    if now >= workflow.ends {
        return no(
            Code::WorkflowExpired,
            "the workflow's time is over",
            format!("workflow `{}` ended at {}", workflow.id, workflow.ends),
        );
    }
    let refused = |why: String| no(Code::WorkflowTypeRefused, "such a workflow doesn't admit this", why);
    let Some(kind) = release.workflow_types().get(&workflow.kind) else {
        return refused(format!("the release has no workflow type `{}`", workflow.kind));
    };
    if now >= kind.ends(workflow) {
        return no(
            Code::WorkflowExpired,
            "the workflow's time is over",
            format!(
                "workflow `{}` ended at {}: its type lets it live no longer",
                workflow.id,
                kind.ends(workflow)
            ),
        );
    }
    let Some(state) = kind.state(workflow) else {
        return refused(format!(
            "workflow `{}` is in a state in which workflows of type `{}` aren't open",
            workflow.id, kind.name
        ));
    };
    for delegation in chain {
        if !facts.agent(&delegation.agent).is_some_and(|agent| kind.agents.contains(&agent.kind)) {
            return refused(format!(
                "workflows of type `{}` don't admit agent `{}`",
                kind.name, delegation.agent
            ));
        }
    }
    Ok((workflow, kind, state))
}

/// Intent, action and limits, in every scope of the chain.
fn scope(
    envelope: &Envelope,
    call: &Call,
    chain: &[&Delegation],
    workflow: &Workflow,
    kind: &WorkflowType,
) -> Checked<()> {
    let intent = envelope.intent();
    if !workflow.intents.contains(intent)
        || !kind.intents.contains(intent)
        || chain.iter().any(|delegation| !delegation.scope.intents.contains(intent))
    {
        return no(
            Code::IntentNotDeclared,
            "this purpose wasn't declared",
            format!("intent `{intent}` isn't one of workflow, type and every delegation"),
        );
    }
    if let Some(delegation) = chain.iter().find(|delegation| !delegation.scope.actions.contains(&call.action))
    {
        return no(
            Code::ActionNotDelegated,
            "this wasn't delegated",
            format!("`{}` doesn't cover `{}`", delegation.id, call.action),
        );
    }
    for delegation in chain {
        for (name, limit) in &delegation.scope.limits {
            let within = match call.attributes.iter().find(|(of, _)| of == name) {
                // A call without the attribute isn't what the limit is about.
                None => true,
                Some((_, Attribute::Decimal(value))) => value <= limit,
                Some((_, Attribute::Text(_) | Attribute::Bool(_))) => false,
            };
            if !within {
                return no(
                    Code::DelegationLimit,
                    "this is over the delegation's limit",
                    format!("`{}` limits `{name}` to {limit}", delegation.id),
                );
            }
        }
    }
    Ok(())
}

/// Every resource is known. Another tenant's is as unknown as one that doesn't exist.
fn resources<'a>(
    release: &Release,
    call: &Call,
    facts: &'a dyn FactsView,
    now: Timestamp,
) -> Checked<Vec<&'a Resource>> {
    let mut found = Vec::with_capacity(call.resources.len());
    for at in &call.resources {
        match facts.resource(at) {
            Some(resource) => {
                lookups::usable(release, call, resource, now)?;
                found.push(resource);
            }
            None => return Err(lookups::explained(resource_unknown(&at.to_string()), &call.lookups)),
        }
    }
    Ok(found)
}

pub(crate) fn resource_unknown(at: &str) -> Reasons {
    Reason::platform(
        Code::ResourceUnknown,
        "there is no such resource here",
        format!("no resource `{at}` in this tenant"),
    )
    .into()
}

/// A resource of a type that the workflow is about is the one that it is about.
pub(crate) fn bound(call: &Call, workflow: &Workflow, kind: &WorkflowType) -> Checked<()> {
    for at in &call.resources {
        let is_bound = kind.binds.contains_key(&at.kind) || workflow.bindings.contains_key(&at.kind);
        if is_bound && workflow.bindings.get(&at.kind) != Some(&at.id) {
            return Err(resource_outside(&at.to_string()));
        }
    }
    Ok(())
}

pub(crate) fn resource_outside(at: &str) -> Reasons {
    Reason::platform(
        Code::ResourceOutsideWorkflow,
        "this isn't what the workflow is about",
        format!("the workflow isn't about `{at}`"),
    )
    .into()
}
