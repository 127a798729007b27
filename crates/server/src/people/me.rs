//! What somebody has delegated, and its end.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode};
use maud::{Markup, html};
use placet_core::{Delegation, DelegationId, DelegationState, Grantor, Name, Scope, TenantId, WorkflowState};
use placet_facts::{Change, Place, TenantFacts};

use super::{
    People, Signed,
    pages::{Page, button},
    see,
    sign_in::first,
};

type Shared = State<Arc<People>>;

/// The most delegations that are shown.
const MAX_SHOWN: usize = 500;

/// `GET /me`
pub(super) async fn show(State(people): Shared, headers: HeaderMap) -> Response {
    let Some(signed) = people.signed(&headers) else { return first("/me") };
    let world = people.books.live().world();
    let now = people.books.now();
    let mut live = Vec::new();
    let mut over = Vec::new();
    for facts in world.tenants().filter(|facts| signed.acts_in(facts.id())) {
        for delegation in facts.delegations().filter(|one| one.human == *signed.human()) {
            let workflow = facts.workflow(&delegation.workflow);
            let lives = delegation.state == DelegationState::Live
                && delegation.scope.ends > now
                && workflow
                    .is_some_and(|workflow| workflow.state == WorkflowState::Open && workflow.ends > now);
            if lives { live.push((facts, delegation)) } else { over.push((facts, delegation)) }
        }
    }
    let agents = |world: &placet_facts::World| {
        let own = world.organisation().agents().filter(|agent| agent.owner == *signed.human());
        own.map(|agent| (agent.id.to_string(), agent.kind.to_string(), agent.standing.as_str()))
            .collect::<Vec<_>>()
    };
    let agents = agents(&world);
    let by = &signed.session.by;
    let body = html! {
        nav {
            span { "Signed in as " strong { (signed.human().as_str()) } " by " (by.provider.as_str()) }
            (button("/sign-out", &people.seals.form(&signed.cookie, "sign-out"), &[], "", "Sign out"))
        }
        h1 { "What acts in your name" }
        @if live.is_empty() { p { "Nothing: no agent may act for you now." } }
        @for (facts, delegation) in live.iter().take(MAX_SHOWN) { (one(&people, &signed, facts, delegation, true)) }
        @if !agents.is_empty() {
            h2 { "Agents that you are accountable for" }
            ul { @for (id, kind, standing) in &agents { li { (id) " (" (kind) "), " (standing) } } }
        }
        @if !over.is_empty() {
            h2 { "Over" }
            @for (facts, delegation) in over.iter().rev().take(MAX_SHOWN) { (one(&people, &signed, facts, delegation, false)) }
        }
    };
    Page::new("What acts in your name", body).into_response()
}

fn one(people: &People, signed: &Signed, facts: &TenantFacts, delegation: &Delegation, live: bool) -> Markup {
    let workflow = facts.workflow(&delegation.workflow);
    let (tenant, id) = (facts.id().as_str(), delegation.id.local().as_str());
    let form = people.seals.form(&signed.cookie, &about(facts.id(), delegation.id.local()));
    html! {
        section.over[!live] {
            strong { (delegation.agent.as_str()) }
            @if let Grantor::Parent(parent) = &delegation.grantor { " (passed on from " (parent.local().as_str()) ")" }
            dl {
                dt { "Tenant" } dd { (tenant) }
                dt { "Workflow" } dd {
                    (delegation.workflow.local().as_str())
                    @if let Some(workflow) = workflow { " (" (workflow.kind.as_str()) ")" }
                }
                (scope(&delegation.scope))
                dt { "Delegation" } dd { (id) @if delegation.state == DelegationState::Revoked { ", revoked" } }
            }
            @if live { (button("/me/revoke", &form, &[("tenant", tenant), ("delegation", id)], "no", "Revoke")) }
        }
    }
}

/// What a scope covers, as rows of a list of terms.
pub(super) fn scope(scope: &Scope) -> Markup {
    let Scope { actions, intents, limits, ends, depth } = scope;
    let list = |names: &std::collections::BTreeSet<Name>| {
        names.iter().map(Name::as_str).collect::<Vec<_>>().join(", ")
    };
    html! {
        dt { "May" } dd { (list(actions)) }
        dt { "For" } dd { (list(intents)) }
        @for (name, limit) in limits { dt { "At most" } dd { (name.as_str()) " " (limit.to_string()) } }
        dt { "Until" } dd { (ends.to_string()) }
        @if *depth > 0 { dt { "Passes on" } dd { "to other agents, " (depth) " deep" } }
    }
}

/// `POST /me/revoke {tenant, delegation}`: felt at the next decision.
pub(super) async fn revoke(State(people): Shared, headers: HeaderMap, body: Body) -> Response {
    let Some(signed) = people.signed(&headers) else { return first("/me") };
    match revoked(&people, &signed, &headers, body).await {
        Ok(()) => see("/me", []),
        Err(page) => page.into_response(),
    }
}

async fn revoked(people: &People, signed: &Signed, headers: &HeaderMap, body: Body) -> Result<(), Page> {
    let form = people.posted(headers, body).await?;
    let name = |member: &str| form.get(member).and_then(|text| Name::new(text).ok());
    let unknown = || Page::failed(StatusCode::NOT_FOUND, "There is no such delegation of yours.");
    let (tenant, local) = (name("tenant").map(TenantId::from), name("delegation"));
    let (Some(tenant), Some(local)) = (tenant, local) else { return Err(unknown()) };
    if !people.seals.is_form(&signed.cookie, &about(&tenant, &local), form.get("form").unwrap_or_default()) {
        people.metrics.refused("form");
        return Err(Page::refused("This form is of another session.", "Load the page anew, and try again."));
    }
    let id = DelegationId::new(tenant.clone(), local);
    let known = people.books.live().world().tenant(&tenant).is_some_and(|facts| {
        facts.delegation(&id).is_some_and(|delegation| delegation.human == *signed.human())
    });
    if !known || !signed.acts_in(&tenant) {
        return Err(unknown());
    }
    let author = signed.author().ok_or_else(unknown)?;
    let change = Change::DelegationRevoked(id);
    people
        .commit(author, Place::Tenant(tenant), vec![change], "revoked on one's own page".to_owned())
        .await
        .map_err(|error| {
            tracing::error!(%error, "a delegation could not be revoked");
            Page::failed(StatusCode::SERVICE_UNAVAILABLE, "It could not be revoked. Try again at once.")
        })
}

fn about(tenant: &TenantId, delegation: &Name) -> String {
    format!("revoke {tenant} {delegation}")
}
