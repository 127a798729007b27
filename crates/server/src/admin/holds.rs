//! Legal holds: what belongs to a tenant or one of its workflows stays in the data directory, and isn't erased.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use bytes::Bytes;
use http::StatusCode;
use placet_audit::Holds;
use placet_core::TenantId;
use placet_json::{Value, object};

use super::{
    Admin, Caller,
    body::{Body, named},
    error::{ApiError, json},
    rights,
};
use crate::books::Deed;

type Answer = Result<Response, ApiError>;

/// `GET /v1/holds`
pub(super) async fn list(State(admin): State<Arc<Admin>>, Caller(by): Caller) -> Answer {
    rights::operator(&by)?;
    let all: Vec<Value> = read(&admin)
        .await?
        .iter()
        .map(|(held, hold)| {
            let workflow = held.workflow.as_deref().map_or(Value::Null, Value::from);
            object! { "tenant" => held.tenant.as_str(), "workflow" => workflow, "at" => hold.at, "why" => hold.why.as_str() }
                .into()
        })
        .collect();
    Ok(json(StatusCode::OK, &object! { "holds" => all }.into()))
}

/// `POST /v1/holds {tenant, workflow?, why}`
pub(super) async fn hold(State(admin): State<Arc<Admin>>, Caller(by): Caller, body: Bytes) -> Answer {
    rights::operator(&by)?;
    act(&admin, by.name()?, &body, false).await
}

/// `POST /v1/holds/end {tenant, workflow?, why}`
pub(super) async fn end(State(admin): State<Arc<Admin>>, Caller(by): Caller, body: Bytes) -> Answer {
    rights::operator(&by)?;
    act(&admin, by.name()?, &body, true).await
}

async fn act(admin: &Arc<Admin>, by: placet_core::Name, body: &Bytes, ends: bool) -> Answer {
    let mut body = Body::parse(body)?;
    let tenant = TenantId::from(body.name("tenant")?);
    let workflow = body.optional_text("workflow")?;
    let workflow = workflow.map(|workflow| named(&workflow, "workflow")).transpose()?;
    let why = body.why()?;
    body.finish()?;
    if why.trim().is_empty() {
        return Err(ApiError::malformed("`why` is missing", "say on whose demand, or why it ends"));
    }
    if why.len() > placet_facts::MAX_TEXT {
        let limit = placet_facts::MAX_TEXT;
        return Err(ApiError::malformed(format!("`why` is longer than {limit} bytes"), "shorten it"));
    }
    if admin.books.live().world().tenant(&tenant).is_none() {
        return Err(ApiError::missing(format_args!("tenant `{tenant}`")));
    }
    let workflow = workflow.as_ref().map(placet_core::Name::as_str);
    let is_held =
        read(admin).await?.of(tenant.as_str()).any(|(held, _)| held.workflow.as_deref() == workflow);
    let what =
        workflow.map_or_else(|| format!("tenant `{tenant}`"), |name| format!("workflow `{tenant}/{name}`"));
    match (is_held, ends) {
        (true, false) => {
            return Err(ApiError::conflict(
                format!("the {what} is held already"),
                "see `placet audit holds`",
            ));
        }
        (false, true) => return Err(ApiError::missing(format_args!("hold of the {what}"))),
        (true, true) | (false, false) => {}
    }
    let verb = Holds::verb(workflow, ends);
    let deed = Deed { by, verb, refused: false, why, tenant: Some(tenant) };
    let sequence = admin.books.deed(deed).await?;
    Ok(json(StatusCode::OK, &object! { "sequence" => sequence, "what" => what }.into()))
}

/// Refuses to erase what is held: anything of a held tenant, and people, who are in all of them, while anything is.
pub(super) async fn let_go(admin: &Arc<Admin>, tenant: Option<&TenantId>) -> Result<(), ApiError> {
    let holds = read(admin).await?;
    let mut standing =
        holds.iter().filter(|(held, _)| tenant.is_none_or(|tenant| tenant.as_str() == held.tenant));
    match standing.next() {
        None => Ok(()),
        Some((whose, told)) => Err(ApiError::conflict(
            format!("tenant `{}` is under a legal hold since record {}: {}", whose.tenant, told.at, told.why),
            "end it with `placet audit hold --end` first, if you may",
        )),
    }
}

async fn read(admin: &Arc<Admin>) -> Result<Holds, ApiError> {
    let books = Arc::clone(&admin.books);
    let read = tokio::task::spawn_blocking(move || books.holds()).await;
    read.unwrap_or_else(|_| Err("the holds can't be read".to_owned())).map_err(ApiError::down)
}
