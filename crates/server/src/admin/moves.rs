//! Moving a workflow to another of the states that its type names. A move that an approval decides is moved by the last
//! yes of its chain; the yeses before it are facts of their own.

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    response::Response,
};
use bytes::Bytes;
use http::StatusCode;
use placet_core::{Approval, ApprovalId, Name, TenantId, WorkflowId, WorkflowState};
use placet_facts::{Change, Place, WorkflowMove};
use placet_json::{Value, object};
use placet_policy::{Moving, Unmoved};

use super::{
    Admin, Caller,
    acts::{commit, fresh},
    approvals::LIFE,
    body::{Body, named},
    door::Principal,
    error::{ApiError, json},
    fits, rights,
};

/// `POST /v1/tenants/{tenant}/workflows/{workflow}/move {to}`
pub(super) async fn go(
    State(admin): State<Arc<Admin>>,
    Caller(by): Caller,
    Path((tenant, workflow)): Path<(String, String)>,
    body: Bytes,
) -> Result<Response, ApiError> {
    let (tenant, world, now) =
        (TenantId::from(named(&tenant, "tenant")?), admin.books.live().world(), admin.books.now());
    let facts = rights::inside(&by, &world, &tenant, now)?;
    let id = WorkflowId::new(tenant.clone(), named(&workflow, "workflow")?);
    let known = facts
        .workflow(&id)
        .ok_or_else(|| ApiError::missing(format_args!("workflow `{id}` in `{tenant}`")))?;
    let mut body = Body::parse(&body)?;
    let (to, why) = (body.name("to")?, body.why()?);
    body.finish()?;
    let release = fits::in_force(&admin)?;
    let over = known.state != WorkflowState::Open
        || release.workflow_types().get(&known.kind).map_or(known.ends, |kind| kind.ends(known)) <= now;
    if over {
        return Err(ApiError::conflict(format!("the workflow `{id}` has ended"), "open another"));
    }
    let snapshot =
        world.snapshot(&tenant).ok_or_else(|| ApiError::missing(format_args!("tenant `{tenant}` here")))?;
    let human = match &by {
        Principal::Operator => None,
        Principal::Human(human) => Some(human),
    };
    let moving = release.moves(known, &to, human, &snapshot, now).map_err(|unmoved| match unmoved {
        Unmoved::Unknown(message, remedy) => {
            ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "unknown", message, remedy)
        }
        Unmoved::NoWay(message, remedy) => ApiError::conflict(message, remedy),
        Unmoved::Forbidden(message, remedy) => ApiError::forbidden(message, remedy),
    })?;
    let mut changes = Vec::with_capacity(3);
    let mut answer = object! { "workflow" => id.local().as_str() };
    let (from, spends, closes) = match (moving, human) {
        (Moving::Now { from, approvals, closes }, _) => (from, Some(approvals), closes),
        (Moving::Step { .. }, None) => return Err(ApiError::down("an operator came to a person's step")),
        (Moving::Step { from, approval, role, covers, given, then, closes }, Some(human)) => {
            let step = Approval {
                id: ApprovalId::new(tenant.clone(), named(&fresh("ap_")?, "approval")?),
                name: approval,
                workflow: id.clone(),
                approver: human.clone(),
                role,
                covers,
                ends: now.plus_millis(LIFE).min(known.ends),
                follows: given.last().cloned(),
            };
            answer.insert("approval", step.name.as_str());
            answer.insert("id", step.id.local().as_str());
            answer.insert("role", step.role.as_str());
            answer.insert("then", list(&then));
            let spends = then.is_empty().then(|| given.into_iter().chain([step.id.clone()]).collect());
            changes.push(Change::ApprovalGiven(step));
            (from, spends, closes)
        }
    };
    let moved = spends.is_some();
    if let Some(approvals) = spends {
        changes.push(Change::WorkflowMoved(WorkflowMove {
            workflow: id.clone(),
            from: from.clone(),
            to: to.clone(),
            approvals,
        }));
        if closes {
            changes.push(Change::WorkflowClosed(id));
        }
    }
    let revision = commit(&admin, &by, Place::Tenant(tenant), changes, why, None).await?;
    answer.insert("from", from.as_str());
    answer.insert("to", to.as_str());
    answer.insert("moved", moved);
    answer.insert("closed", moved && closes);
    answer.insert("revision", revision.0);
    Ok(json(StatusCode::OK, &answer.into()))
}

fn list(names: &[Name]) -> Value {
    Value::Array(names.iter().map(|name| Value::from(name.as_str())).collect())
}
