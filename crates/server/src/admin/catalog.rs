//! What upstreams offer now, for whoever writes or reviews a catalog.

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    response::Response,
};
use http::StatusCode;
use placet_json::{Value, object};

use super::{
    Admin, Caller,
    body::named,
    error::{ApiError, json},
    rights,
};

/// `GET /v1/upstreams`
pub(super) async fn upstreams(
    State(admin): State<Arc<Admin>>,
    Caller(by): Caller,
) -> Result<Response, ApiError> {
    rights::operator(&by)?;
    let upstreams = admin.offers.upstreams().into_iter().map(|(name, health)| {
        let (answers, why) = match health {
            Ok(()) => (true, Value::Null),
            Err(why) => (false, why.into()),
        };
        Value::from(object! { "name" => name.as_str(), "answers" => answers, "why" => why })
    });
    Ok(json(StatusCode::OK, &object! { "upstreams" => Value::Array(upstreams.collect()) }.into()))
}

/// `GET /v1/upstreams/{upstream}/tools`: read anew. Descriptions are the upstream's words, for people to judge.
pub(super) async fn tools(
    State(admin): State<Arc<Admin>>,
    Caller(by): Caller,
    Path(upstream): Path<String>,
) -> Result<Response, ApiError> {
    rights::operator(&by)?;
    let name = named(&upstream, "upstream")?;
    let offers =
        admin.offers.pull(&name).await.ok_or_else(|| ApiError::missing(format_args!("upstream `{name}`")))?;
    let offers = offers.map_err(|why| {
        ApiError::new(
            StatusCode::BAD_GATEWAY,
            "upstream",
            format!("`{name}` doesn't tell its tools: {why}"),
            "is it running?",
        )
    })?;
    let tools = offers.into_iter().map(|offer| {
        let accepted = offer.accepted.map_or(Value::Null, Value::from);
        Value::from(object! { "name" => offer.name, "digest" => offer.digest, "accepted" => accepted, "definition" => offer.definition })
    });
    Ok(json(
        StatusCode::OK,
        &object! { "upstream" => name.as_str(), "protocol" => admin.offers.protocol(&name), "credential" => admin.offers.credential(&name).unwrap_or("none"), "tools" => Value::Array(tools.collect()) }.into(),
    ))
}
