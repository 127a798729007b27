//! Streams out of the ledger for administrators: how far each has come, and setting its place anew.

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    response::Response,
};
use bytes::Bytes;
use http::StatusCode;
use placet_json::{Value, object};

use super::{
    Admin, Caller,
    body::Body,
    error::{ApiError, json},
    rights,
};
use crate::{books::Deed, stream::Shown};

type Answer = Result<Response, ApiError>;

/// `GET /v1/streams`
pub(super) async fn list(State(admin): State<Arc<Admin>>, Caller(by): Caller) -> Answer {
    rights::operator(&by)?;
    let shown = match &admin.streams {
        Some(streams) => streams.list().await,
        None => Vec::new(),
    };
    let all = Value::Array(shown.iter().map(Shown::to_value).collect());
    let last = admin.streams.as_ref().map_or(0, crate::stream::Streams::last);
    Ok(json(StatusCode::OK, &object! { "streams" => all, "last" => last }.into()))
}

/// `POST /v1/streams/{stream}/rewind {to, why}`: what comes behind record `to` is sent, again or, where `to` is ahead,
/// left out what lies between. Recorded as an act.
pub(super) async fn rewind(
    State(admin): State<Arc<Admin>>,
    Caller(by): Caller,
    Path(name): Path<String>,
    body: Bytes,
) -> Answer {
    rights::operator(&by)?;
    let mut body = Body::parse(&body)?;
    let (to, why) = (body.required("to")?, body.why()?);
    body.finish()?;
    let to = to.as_u64().ok_or_else(|| {
        ApiError::malformed("`to` is no position", "write a whole number: 0 for the beginning")
    })?;
    let missing = || ApiError::missing(format_args!("stream `{name}`"));
    let streams = admin.streams.as_ref().filter(|streams| streams.has(&name)).ok_or_else(missing)?;
    let last = streams.last();
    if to > last {
        return Err(ApiError::malformed(
            format!("`to`: the ledger ends at record {last}"),
            "name a record that is there, or 0 for the beginning",
        ));
    }
    // First the deed: records that are left out must not be so by nobody.
    let verb = format!("stream rewind {name} to {to}");
    admin.books.deed(Deed { by: by.name()?, verb, refused: false, why, tenant: None }).await?;
    streams.set(&name, to).await.map_err(ApiError::down)?;
    Ok(json(StatusCode::OK, &object! { "name" => name.as_str(), "position" => to }.into()))
}
