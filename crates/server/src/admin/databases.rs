//! Databases for administrators: the gateways' own, and those of others whose rows are facts.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use http::StatusCode;

use super::{
    Admin, Caller,
    error::{ApiError, json},
    rights,
};

/// `GET /v1/databases`
pub(super) async fn list(State(admin): State<Arc<Admin>>, Caller(by): Caller) -> Result<Response, ApiError> {
    rights::operator(&by)?;
    Ok(json(StatusCode::OK, &admin.databases.document().await))
}
