//! Stops: who may set and end them, and which calls on their way a stop hits.

use std::{collections::BTreeMap, sync::Arc};

use axum::{extract::State, response::Response};
use bytes::Bytes;
use http::StatusCode;
use placet_core::{AgentId, Freeze};
use placet_facts::{Change, Place};
use placet_gateway::InFlight;
use placet_json::{Object, Value, object};
use placet_policy::FreezeAct;

use super::{
    Admin, Caller,
    acts::{change, commit, done},
    body::Body,
    door::Principal,
    error::{ApiError, json},
    rights,
};

/// `POST /v1/freezes {what}`: nothing that it names goes on; what is on its way is cancelled, and told.
pub(super) async fn freeze(
    State(admin): State<Arc<Admin>>,
    Caller(by): Caller,
    body: Bytes,
) -> Result<Response, ApiError> {
    let (what, why) = asked(&body)?;
    may(&admin, &by, FreezeAct::Freeze, &what)?;
    // Read before and after: what was permitted meanwhile is hit, too, and what ended at once is told all the same.
    let before = calls(&admin).await;
    let changes = vec![Change::Frozen(what.clone())];
    let revision = commit(&admin, &by, Place::Organisation, changes, why, None).await?;
    let mut answer = object! { "revision" => revision.0 };
    tell(&admin, &by, &what, before, calls(&admin).await, &mut answer);
    Ok(json(StatusCode::OK, &answer.into()))
}

/// `POST /v1/freezes/end {what}`
pub(super) async fn unfreeze(
    State(admin): State<Arc<Admin>>,
    Caller(by): Caller,
    body: Bytes,
) -> Result<Response, ApiError> {
    let (what, why) = asked(&body)?;
    may(&admin, &by, FreezeAct::Unfreeze, &what)?;
    commit(&admin, &by, Place::Organisation, vec![Change::Unfrozen(what)], why, None).await.map(done)
}

/// What is to be stopped, in its one form, and why.
fn asked(body: &Bytes) -> Result<(Freeze, String), ApiError> {
    let mut body = Body::parse(body)?;
    let why = body.why()?;
    let Change::Frozen(what) = change("frozen", body.rest(), &Place::Organisation)? else {
        return Err(ApiError::down("a change changed its kind"));
    };
    Ok((what, why))
}

/// An operator; whoever has a role that the release names for it; and the owner of an agent may stop that agent.
fn may(admin: &Admin, by: &Principal, act: FreezeAct, what: &Freeze) -> Result<(), ApiError> {
    let Principal::Human(human) = by else { return Ok(()) };
    let (world, now) = (admin.books.live().world(), admin.books.now());
    let owns = |agent: &AgentId| world.organisation().agent(agent).is_some_and(|agent| agent.owner == *human);
    if act == FreezeAct::Freeze && matches!(what, Freeze::Agent(agent) if owns(agent)) {
        return Ok(());
    }
    let holders = admin.books.release().map(|release| release.may_freeze(act, what)).unwrap_or_default();
    let holds = holders.iter().any(|(role, tenant)| {
        let facts = world.tenant(tenant);
        facts
            .and_then(|facts| rights::live_assignment(facts, human, now))
            .is_some_and(|assignment| assignment.roles.contains(role))
    });
    if holds {
        return Ok(());
    }
    let remedy = match holders.first() {
        None => "ask an operator; `[acts]` of the release may name roles for it".to_owned(),
        Some((role, tenant)) => format!("ask an operator, or somebody with the role `{role}` in `{tenant}`"),
    };
    Err(ApiError::forbidden("this person may not do this", remedy))
}

/// The calls on their way. Not to know them must not keep anybody from stopping them.
async fn calls(admin: &Arc<Admin>) -> Result<Vec<InFlight>, String> {
    let books = Arc::clone(&admin.books);
    let read = tokio::task::spawn_blocking(move || books.in_flight()).await;
    read.unwrap_or_else(|_| Err("the calls on their way could not be read".to_owned()))
}

/// Adds the calls that the stop hits: to a person those of their tenants, and how many there are elsewhere.
fn tell(
    admin: &Admin,
    by: &Principal,
    what: &Freeze,
    before: Result<Vec<InFlight>, String>,
    after: Result<Vec<InFlight>, String>,
    answer: &mut Object,
) {
    let mut hit = BTreeMap::new();
    for read in [before, after] {
        match read {
            Ok(calls) => {
                hit.extend(calls.into_iter().filter(|call| call.is_hit_by(what)).map(|call| (call.at, call)));
            }
            Err(why) => {
                tracing::error!(why, "the calls that a stop hits can't be told");
                answer.insert(
                    "in_flight_unknown",
                    "the calls on their way could not be read; they are cancelled all the same",
                );
            }
        }
    }
    let (world, now) = (admin.books.live().world(), admin.books.now());
    let (mine, elsewhere): (Vec<_>, Vec<_>) =
        hit.into_values().partition(|call| rights::inside(by, &world, call.workflow.tenant(), now).is_ok());
    let mine = mine.iter().map(|call| {
        let chain = call.chain.iter().map(|agent| Value::from(agent.as_str()));
        Value::from(object! {
            "decision" => call.decision.as_str(), "tenant" => call.workflow.tenant().as_str(),
            "workflow" => call.workflow.local().as_str(), "human" => call.human.as_str(),
            "chain" => Value::Array(chain.collect()), "tool" => call.tool.as_str(), "since" => call.since.to_string(),
        })
    });
    answer.insert("in_flight", Value::Array(mine.collect()));
    if !elsewhere.is_empty() {
        answer.insert("elsewhere", u64::try_from(elsewhere.len()).unwrap_or(u64::MAX));
    }
}
