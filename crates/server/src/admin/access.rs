//! What an agent may do now and by what right, and the review of everybody's access with its sign-off.

use std::sync::Arc;

use axum::{
    extract::{Path, RawQuery, State},
    response::Response,
};
use bytes::Bytes;
use http::StatusCode;
use placet_audit::Present;
use placet_core::{AgentId, Digest, Standing, TenantId, WorkflowId};
use placet_json::{Value, object};

use super::{
    Admin, Caller,
    body::{Body, named},
    door::Principal,
    error::{ApiError, json},
    read::Query,
    rights,
};
use crate::books::Deed;

/// The most bytes of what a reviewer says.
const MAX_WHY: usize = 500;

/// `GET /v1/agents/{agent}/can?workflow=TENANT/ID`: to a person, their own agents.
pub(super) async fn can(
    State(admin): State<Arc<Admin>>,
    Caller(by): Caller,
    Path(agent): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let mut query = Query::parse(query.as_deref())?;
    let workflow = query.take("workflow");
    query.finish()?;
    let id = AgentId::from(named(&agent, "agent")?);
    let workflow = workflow
        .map(|text| {
            let (tenant, workflow) = text.split_once('/').ok_or_else(|| {
                ApiError::malformed(format!("`{text}` names no workflow"), "write it as TENANT/WORKFLOW")
            })?;
            Ok::<_, ApiError>(WorkflowId::new(
                TenantId::from(named(tenant, "tenant")?),
                named(workflow, "workflow")?,
            ))
        })
        .transpose()?;
    let (world, release) = (admin.books.live().world(), admin.books.release());
    let unknown = || ApiError::missing(format_args!("agent `{id}`"));
    let owner = world.organisation().agent(&id).map(|agent| agent.owner.clone()).ok_or_else(unknown)?;
    // Somebody else's agent and none look alike.
    rights::for_oneself(&by, &owner).map_err(|_| unknown())?;
    let present = Present { world: &world, release: release.as_deref(), now: admin.books.now() };
    let answer = present.can(&id, workflow.as_ref()).ok_or_else(unknown)?;
    Ok(json(StatusCode::OK, &answer))
}

/// `GET /v1/access`
pub(super) async fn report(
    State(admin): State<Arc<Admin>>,
    Caller(by): Caller,
) -> Result<Response, ApiError> {
    // Who is to sign must read all of it: a person who acts in every tenant that there is, or an operator.
    reviewer(&admin, &by)?;
    Ok(json(StatusCode::OK, &made(&admin).await?))
}

/// `POST /v1/access/sign {digest, why}`: the signature proves who it is; the digest, what was reviewed.
pub(super) async fn sign(
    State(admin): State<Arc<Admin>>,
    Caller(by): Caller,
    body: Bytes,
) -> Result<Response, ApiError> {
    let Principal::Human(human) = &by else {
        return Err(ApiError::forbidden(
            "a review is a person's, and an operator's key is nobody's",
            "act as the reviewer: `--as HUMAN --key THEIR-KEY`",
        ));
    };
    let mut body = Body::parse(&body)?;
    let (digest, why) = (body.text("digest")?, body.why()?);
    body.finish()?;
    let digest = Digest::parse(&digest)
        .ok_or_else(|| ApiError::malformed("`digest` is no digest", "send the report's `digest`"))?;
    if why.len() > MAX_WHY {
        return Err(ApiError::malformed(format!("`why` is longer than {MAX_WHY} bytes"), "say it shorter"));
    }
    reviewer(&admin, &by)?;
    let now = made(&admin).await?;
    if now.get("digest").and_then(Value::as_str) != Some(digest.to_string().as_str()) {
        return Err(ApiError::conflict(
            "what agents are granted isn't what this report says any more",
            "make the report again (`placet can --all --report FILE.json`), review it, and sign that one",
        ));
    }
    let agents = now.get("agents").and_then(Value::as_array).map_or(0, <[Value]>::len);
    let revision = now.get("revision").and_then(Value::as_u64).unwrap_or(0);
    let told = if why.is_empty() { String::new() } else { format!(": {why}") };
    let deed = Deed {
        by: by.name()?,
        verb: "access_reviewed".to_owned(),
        refused: false,
        why: format!("{digest}, {agents} agents at revision {revision}{told}"),
        tenant: None,
    };
    let sequence = admin.books.deed(deed).await?;
    let answer = object! {
        "digest" => digest.to_string(), "reviewer" => human.as_str(), "agents" => u64::try_from(agents).unwrap_or(u64::MAX),
        "revision" => revision, "sequence" => sequence, "time" => admin.books.now().to_string(),
    };
    Ok(json(StatusCode::CREATED, &answer.into()))
}

/// An operator, or an active person with a live assignment in every tenant: the report is about all of them.
fn reviewer(admin: &Admin, by: &Principal) -> Result<(), ApiError> {
    let Principal::Human(human) = by else { return Ok(()) };
    let (world, now) = (admin.books.live().world(), admin.books.now());
    let active = world.organisation().human(human).is_some_and(|human| human.standing == Standing::Active);
    let everywhere = world.tenants().all(|tenant| rights::live_assignment(tenant, human, now).is_some());
    if active && everywhere && world.tenants().next().is_some() {
        return Ok(());
    }
    Err(ApiError::forbidden(
        "a review of all access is for people with a live assignment in every tenant",
        "ask an operator for the report, or for an assignment",
    ))
}

async fn made(admin: &Arc<Admin>) -> Result<Value, ApiError> {
    let admin = Arc::clone(admin);
    let made = tokio::task::spawn_blocking(move || {
        let uses = admin.books.uses()?;
        let (world, release) = (admin.books.live().world(), admin.books.release());
        let present = Present { world: &world, release: release.as_deref(), now: admin.books.now() };
        Ok::<_, String>(present.access(&uses))
    });
    made.await.map_err(|_| ApiError::down("the report could not be made"))?.map_err(ApiError::down)
}
