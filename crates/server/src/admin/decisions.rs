//! One decision with all that the ledger knows of it.

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    response::Response,
};
use http::StatusCode;
use placet_core::{DecisionId, TenantId};
use placet_json::{Value, object};

use super::{
    Admin, Caller,
    body::named,
    door::Principal,
    error::{ApiError, json},
    rights,
};

/// `GET /v1/decisions/{decision}`: the decision document, the record, how its warrant ended.
pub(super) async fn show(
    State(admin): State<Arc<Admin>>,
    Caller(by): Caller,
    Path(decision): Path<String>,
) -> Result<Response, ApiError> {
    let id = DecisionId::from(named(&decision, "decision")?);
    let mut records = readable(&admin, &by, &id)?.into_iter();
    let record = records.next().unwrap_or(Value::Null);
    let answer = object! { "decision" => placet_record::document(&record), "record" => record, "effects" => Value::Array(records.collect()) };
    Ok(json(StatusCode::OK, &answer.into()))
}

/// `GET /v1/decisions/{decision}/explanation`: rules with the values that they saw, and what would have permitted it.
pub(super) async fn explain(
    State(admin): State<Arc<Admin>>,
    Caller(by): Caller,
    Path(decision): Path<String>,
) -> Result<Response, ApiError> {
    let id = DecisionId::from(named(&decision, "decision")?);
    readable(&admin, &by, &id)?;
    let explained = tokio::task::spawn_blocking(move || admin.books.explain(&id));
    let explained = explained.await.map_err(|_| ApiError::down("it could not be explained"))?;
    let explained = explained.map_err(ApiError::down)?.map_err(|why| {
        ApiError::conflict(why, "`placet audit replay` tells whether its evidence is whole")
    })?;
    Ok(json(StatusCode::OK, &explained.to_value()))
}

/// A decision's records, its own first, for whoever may read them.
fn readable(admin: &Admin, by: &Principal, id: &DecisionId) -> Result<Vec<Value>, ApiError> {
    let unknown = || ApiError::missing(format_args!("decision `{id}` here"));
    let records = admin.books.decision(id).map_err(ApiError::down)?;
    let record = records.first().ok_or_else(unknown)?;
    let tenant = record
        .get("tenant")
        .and_then(Value::as_str)
        .map(|tenant| named(tenant, "tenant"))
        .transpose()?
        .map(TenantId::from);
    let world = admin.books.live().world();
    // Another tenant's decision and none look alike.
    rights::inside(by, &world, &tenant.ok_or_else(unknown)?, admin.books.now()).map_err(|_| unknown())?;
    Ok(records)
}
