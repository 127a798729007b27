//! Approvals: a person says yes to one call that was denied with a remedy. The signature proves who says it; the role
//! comes from live facts; what is said yes to comes from the denial's own record, never from the request.

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    response::Response,
};
use bytes::Bytes;
use http::StatusCode;
use placet_core::{Approval, ApprovalId, DecisionId, Digest, Name, TenantId, Workflow, WorkflowState};
use placet_facts::{Change, Place};
use placet_json::{Object, Value, object};
use placet_policy::{Chain, Sought};
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
pub(super) const LIFE: u64 = 60 * 60 * 1000;

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
    let workflow = facts.workflow(&record.grant.workflow).ok_or_else(unknown)?;
    let chain = chain(&admin, &wanted, workflow)?;
    let snapshot = world.snapshot(&tenant).ok_or_else(unknown)?;
    let sought = Sought {
        name: &wanted.approval,
        chain: &chain,
        workflow: &workflow.id,
        covers: wanted.covers,
        own: &record.grant.human,
    };
    let mut given = sought.given(&snapshot, now);
    if chain.steps.len() == 1 {
        // One yes more is another approval, good for one call more.
        given.clear();
    } else if let Some(step) = given.iter().find(|step| step.approver == *approver) {
        // Sent twice, it is one yes.
        let mut answer = shown(step, &decision);
        answer.insert("then", names(chain.steps.iter().skip(given.len())));
        answer.insert("revision", world.revision().0);
        return Ok(json(StatusCode::OK, &answer.into()));
    } else if given.len() == chain.steps.len() {
        return Err(ApiError::conflict("every step of it is given", "let the agent call again"));
    }
    let (role, then) = sought
        .turn(approver, given.iter().map(|step| &step.approver), &snapshot, now)
        .map_err(|(message, remedy)| ApiError::forbidden(message, remedy))?;
    if workflow.state != WorkflowState::Open || workflow.ends <= now {
        return Err(ApiError::conflict("the workflow has ended", "nothing is left to approve"));
    }
    let approval = Approval {
        id: ApprovalId::new(tenant.clone(), named(&fresh("ap_")?, "approval")?),
        name: wanted.approval.clone(),
        workflow: record.grant.workflow.clone(),
        approver: approver.clone(),
        role,
        covers: wanted.covers,
        ends: now.plus_millis(LIFE).min(workflow.ends),
        follows: given.last().map(|step| step.id.clone()),
    };
    let mut answer = shown(&approval, &decision);
    if chain.steps.len() > 1 {
        answer.insert("then", names(then.iter()));
    }
    // The denial names the key, so that a yes that is sent twice is one yes.
    let key = named(&format!("approval:{decision}:{approver}"), "key").ok();
    let revision =
        commit(&admin, &by, Place::Tenant(tenant), vec![Change::ApprovalGiven(approval)], why, key).await?;
    answer.insert("revision", revision.0);
    Ok(json(StatusCode::CREATED, &answer.into()))
}

fn shown(approval: &Approval, decision: &DecisionId) -> Object {
    object! {
        "id" => approval.id.local().as_str(), "tenant" => approval.workflow.tenant().as_str(), "approval" => approval.name.as_str(),
        "decision" => decision.as_str(), "approver" => approval.approver.as_str(), "role" => approval.role.as_str(),
        "ends" => approval.ends.to_string(),
    }
}

fn names<'a>(names: impl Iterator<Item = &'a Name>) -> Value {
    Value::Array(names.map(|name| Value::from(name.as_str())).collect())
}

/// Who gives it, in which order: by the release in force, which will decide on it. Without one, as the denial says.
fn chain(admin: &Admin, wanted: &Wanted, workflow: &Workflow) -> Result<Chain, ApiError> {
    let Some(release) = admin.books.release() else {
        return Ok(Chain { steps: vec![wanted.role.clone()], delegating_user: false });
    };
    let known =
        release.workflow_types().get(&workflow.kind).and_then(|kind| kind.approvals.get(&wanted.approval));
    known.cloned().ok_or_else(|| {
        ApiError::conflict(
            format!("the release in force has no approval `{}` for this workflow", wanted.approval),
            "let the agent ask again",
        )
    })
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
