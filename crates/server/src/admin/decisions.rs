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
    let unknown = || ApiError::missing(format_args!("decision `{id}` here"));
    let mut records = admin.books.decision(&id).map_err(ApiError::down)?.into_iter();
    let record = records.next().ok_or_else(unknown)?;
    let tenant = record
        .get("tenant")
        .and_then(Value::as_str)
        .map(|tenant| named(tenant, "tenant"))
        .transpose()?
        .map(TenantId::from);
    let world = admin.books.live().world();
    // Another tenant's decision and none look alike.
    rights::inside(&by, &world, &tenant.ok_or_else(unknown)?, admin.books.now()).map_err(|_| unknown())?;
    let answer = object! { "decision" => placet_record::document(&record), "record" => record, "effects" => Value::Array(records.collect()) };
    Ok(json(StatusCode::OK, &answer.into()))
}
