//! OPAL for administrators: sources, candidates of releases, tokens of clients.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use bytes::Bytes;
use http::StatusCode;
use placet_json::{Value, object};
use placet_sync::opal::fleet::{MAX_LIFE, PeerType, Scopes};

use super::{
    Admin, Caller,
    body::Body,
    error::{ApiError, json},
    rights,
};
use crate::books::Deed;

/// The life of a token where none is asked for: 7 days, in seconds.
const LIFE: u64 = 7 * 24 * 60 * 60;

/// `GET /v1/opal`: sources, and how many clients are connected.
pub(super) async fn status(
    State(admin): State<Arc<Admin>>,
    Caller(by): Caller,
) -> Result<Response, ApiError> {
    rights::operator(&by)?;
    let sources = admin.opal.sources().into_iter().map(|(name, (tenant, shown))| {
        let mut told = shown.to_value();
        if let Some(object) = told.as_object_mut() {
            object.insert("name", name.as_str());
            object.insert("tenant", tenant.as_str());
        }
        told
    });
    let clients = admin
        .opal
        .fleet()
        .map_or(Value::Null, |fleet| u64::try_from(fleet.connected()).unwrap_or(u64::MAX).into());
    Ok(json(
        StatusCode::OK,
        &object! { "clients" => clients, "sources" => Value::Array(sources.collect()) }.into(),
    ))
}

/// `GET /v1/releases/candidates`: what came of bundles, newest first.
pub(super) async fn candidates(
    State(admin): State<Arc<Admin>>,
    Caller(by): Caller,
) -> Result<Response, ApiError> {
    rights::operator(&by)?;
    let all = admin.opal.candidates().map_err(ApiError::down)?;
    Ok(json(StatusCode::OK, &object! { "candidates" => Value::Array(all) }.into()))
}

/// `POST /v1/opal/tokens {type, topics, scopes, life_s, why}`
pub(super) async fn token(
    State(admin): State<Arc<Admin>>,
    Caller(by): Caller,
    body: Bytes,
) -> Result<Response, ApiError> {
    rights::operator(&by)?;
    let mut body = Body::parse(&body)?;
    let texts = |value: Option<Value>, name: &str| -> Result<Vec<String>, ApiError> {
        let wrong = || ApiError::malformed(format!("`{name}` is no list of texts"), "write `[\"…\"]`");
        match value {
            None => Ok(Vec::new()),
            Some(value) => value
                .as_array()
                .ok_or_else(wrong)?
                .iter()
                .map(|text| text.as_str().map(str::to_owned).ok_or_else(wrong))
                .collect(),
        }
    };
    let kind = body.optional_text("type")?.unwrap_or_else(|| "client".to_owned());
    let peer_type = PeerType::parse(&kind).ok_or_else(|| {
        ApiError::malformed(
            "`type` is none of `client`, `datasource`, `listener`",
            "leave it out for a client",
        )
    })?;
    let allowed = Scopes {
        topics: texts(body.optional("topics"), "topics")?,
        scopes: texts(body.optional("scopes"), "scopes")?,
    };
    let life = match body.optional("life_s") {
        None => LIFE,
        Some(life) => life.as_u64().filter(|life| (1..=MAX_LIFE).contains(life)).ok_or_else(|| {
            ApiError::malformed("`life_s` is no number of seconds up to 90 days", "leave it out for 7 days")
        })?,
    };
    let why = body.why()?;
    body.finish()?;
    let fleet = admin.opal.fleet().ok_or_else(|| {
        ApiError::conflict("this server serves no OPAL clients", "add `[opal_server]` to its settings")
    })?;
    let shown = format!("OPAL token ({kind}) for {:?} {:?}", allowed.topics, allowed.scopes);
    let token = fleet
        .mint(peer_type, allowed, life)
        .map_err(|error| ApiError::malformed(error.to_string(), "name at most 64 topics and scopes"))?;
    let deed =
        Deed { by: by.name()?, verb: shown.chars().take(500).collect(), refused: false, why, tenant: None };
    admin.books.deed(deed).await?;
    Ok(json(StatusCode::CREATED, &object! { "token" => token, "life_s" => life }.into()))
}
