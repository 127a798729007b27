//! Approvals: a person says yes to one call that was denied with a remedy. The signature proves who says it; the role
//! comes from live facts; what is said yes to comes from the denial's own record, never from the request.

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    response::Response,
};
use bytes::Bytes;
use http::StatusCode;
use placet_core::{Approval, ApprovalId, DecisionId, Digest, Name, TenantId, WorkflowState};
use placet_facts::{Change, Place};
use placet_json::{Value, object};
use placet_record::DecisionRecord;

use super::{
    Admin, Caller,
    acts::{commit, done, fresh},
    body::{Body, named},
    door::Principal,
    error::{ApiError, json},
    rights,
};

/// How long an approval lives, in milliseconds, unless the workflow ends before.
const LIFE: u64 = 60 * 60 * 1000;

/// `POST /v1/approvals {decision}`
pub(super) async fn give(
    State(admin): State<Arc<Admin>>,
    Caller(by): Caller,
    body: Bytes,
) -> Result<Response, ApiError> {
    let Principal::Human(approver) = &by else {
        return Err(ApiError::forbidden(
            "an approval is a person's, and an operator's key is nobody's",
            "act as the approver: `--as HUMAN --key THEIR-KEY`",
        ));
    };
    let mut body = Body::parse(&body)?;
    let (decision, why) = (body.name("decision")?, body.why()?);
    body.finish()?;
    let decision = DecisionId::from(decision);
    let unknown = || ApiError::missing(format_args!("denial `{decision}` that an approval would change"));
    let record = admin.books.remediable(&decision).map_err(ApiError::down)?.ok_or_else(unknown)?;
    let tenant = record.grant.workflow.tenant().clone();
    let (world, now) = (admin.books.live().world(), admin.books.now());
    // Who has no assignment in the tenant doesn't learn that there is such a denial.
    let facts = rights::inside(&by, &world, &tenant, now).map_err(|_| unknown())?;
    let wanted = Wanted::of(&record).ok_or_else(unknown)?;
    let assignment = rights::live_assignment(facts, approver, now).ok_or_else(unknown)?;
    if !assignment.roles.contains(&wanted.role) {
        return Err(ApiError::forbidden(
            format!(
                "`{}` is given by the role `{}`, which {approver} doesn't have",
                wanted.approval, wanted.role
            ),
            "ask somebody who has it",
        ));
    }
    if *approver == record.grant.human {
        return Err(ApiError::forbidden(
            "nobody approves what is done in their own name",
            "ask somebody else",
        ));
    }
    let workflow = facts
        .workflow(&record.grant.workflow)
        .filter(|workflow| workflow.state == WorkflowState::Open && now < workflow.ends);
    let workflow =
        workflow.ok_or_else(|| ApiError::conflict("the workflow has ended", "nothing is left to approve"))?;
    let approval = Approval {
        id: ApprovalId::new(tenant.clone(), named(&fresh("ap_")?, "approval")?),
        name: wanted.approval,
        workflow: record.grant.workflow.clone(),
        approver: approver.clone(),
        role: wanted.role,
        covers: wanted.covers,
        ends: now.plus_millis(LIFE).min(workflow.ends),
    };
    let answer = object! {
        "id" => approval.id.local().as_str(), "tenant" => tenant.as_str(), "approval" => approval.name.as_str(), "decision" => decision.as_str(),
        "approver" => approver.as_str(), "role" => approval.role.as_str(), "ends" => approval.ends.to_string(),
    };
    // The denial names the key, so that a yes that is sent twice is one yes.
    let key = named(&format!("approval:{decision}:{approver}"), "key").ok();
    let revision =
        commit(&admin, &by, Place::Tenant(tenant), vec![Change::ApprovalGiven(approval)], why, key).await?;
    let mut answer = answer;
    answer.insert("revision", revision.0);
    Ok(json(StatusCode::CREATED, &answer.into()))
}

/// `POST /v1/tenants/{tenant}/approvals/{approval}/withdraw`
pub(super) async fn withdraw(
    State(admin): State<Arc<Admin>>,
    Caller(by): Caller,
    Path((tenant, approval)): Path<(String, String)>,
    body: Bytes,
) -> Result<Response, ApiError> {
    let (tenant, world) = (TenantId::from(named(&tenant, "tenant")?), admin.books.live().world());
    let facts = rights::inside(&by, &world, &tenant, admin.books.now())?;
    let id = ApprovalId::new(tenant.clone(), named(&approval, "approval")?);
    let known = facts
        .approval(&id)
        .ok_or_else(|| ApiError::missing(format_args!("approval `{id}` in `{tenant}`")))?;
    rights::for_oneself(&by, &known.approver)?;
    let mut body = Body::parse(&body)?;
    let why = body.why()?;
    body.finish()?;
    commit(&admin, &by, Place::Tenant(tenant), vec![Change::ApprovalWithdrawn(id)], why, None).await.map(done)
}

/// What a denial's remedy asks for.
struct Wanted {
    approval: Name,
    role: Name,
    covers: Digest,
}

impl Wanted {
    fn of(record: &DecisionRecord) -> Option<Self> {
        let remedy = record.document.get("remedy")?;
        let text = |name: &str| remedy.get(name).and_then(Value::as_str);
        Some(Self {
            approval: Name::new(text("approval")?).ok()?,
            role: Name::new(text("role")?).ok()?,
            covers: Digest::parse(text("covers")?)?,
        })
    }
}
