//! Risks of agents, people and workflows, as policy reads them at `input.risk`.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use bytes::Bytes;
use http::StatusCode;
use placet_core::TenantId;
use placet_facts::{Change, Place};
use placet_json::{Value, object};

use super::{
    Admin, Caller,
    acts::{change, commit, done},
    body::{Body, named},
    error::{ApiError, json},
    read::form,
    rights,
};

type Answer = Result<Response, ApiError>;

/// `GET /v1/risks`: those that somebody set and that aren't 0.
pub(super) async fn list(State(admin): State<Arc<Admin>>, Caller(by): Caller) -> Answer {
    rights::operator(&by)?;
    let world = admin.books.live().world();
    let mut all: Vec<Value> = world
        .organisation()
        .risks()
        .map(|(of, risk)| form(&Change::RiskSet { of: of.clone(), risk }))
        .collect();
    for tenant in world.tenants() {
        all.extend(tenant.risks().map(|(of, risk)| {
            let mut row = form(&Change::RiskSet { of, risk });
            if let Some(row) = row.as_object_mut() {
                row.insert("tenant", tenant.id().as_str());
            }
            row
        }));
    }
    Ok(json(StatusCode::OK, &object! { "risks" => all }.into()))
}

/// `POST /v1/risks {agent or human or workflow with tenant, risk}`
pub(super) async fn set(State(admin): State<Arc<Admin>>, Caller(by): Caller, body: Bytes) -> Answer {
    rights::operator(&by)?;
    let mut body = Body::parse(&body)?;
    let why = body.why()?;
    let place = match body.optional("tenant") {
        None => Place::Organisation,
        Some(tenant) => Place::Tenant(TenantId::from(named(tenant.as_str().unwrap_or_default(), "tenant")?)),
    };
    let change = change("risk_set", body.rest(), &place)?;
    commit(&admin, &by, place, vec![change], why, None).await.map(done)
}
