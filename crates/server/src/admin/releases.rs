//! Releases: take an archive, list what is kept, bring one into force.

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    response::Response,
};
use bytes::Bytes;
use http::StatusCode;
use placet_core::Digest;
use placet_json::{Value, object};

use super::{
    Admin, Caller,
    body::Body,
    error::{ApiError, json},
    rights,
};
use crate::books::{Deed, Unpromoted};

/// `GET /v1/releases`
pub(super) async fn list(State(admin): State<Arc<Admin>>, Caller(by): Caller) -> Result<Response, ApiError> {
    rights::operator(&by)?;
    let in_force = admin.books.in_force();
    let kept = admin.books.releases().map_err(ApiError::down)?;
    let current = in_force.as_ref().map(|release| release.digest);
    let candidates = admin.opal.candidates().map_err(ApiError::down)?;
    let releases = kept.iter().map(|digest| {
        let digest_text = digest.to_string();
        let of =
            candidates.iter().find(|told| told.get("digest").and_then(Value::as_str) == Some(&digest_text));
        let of = of.and_then(|told| told.get("source")).cloned().unwrap_or(Value::Null);
        Value::from(
            object! { "digest" => digest_text, "in_force" => Some(*digest) == current, "candidate_of" => of },
        )
    });
    let name = in_force.as_ref().map_or(Value::Null, |release| release.name.as_str().into());
    let current = current.map_or(Value::Null, |digest| digest.to_string().into());
    Ok(json(
        StatusCode::OK,
        &object! { "in_force" => current, "name" => name, "releases" => Value::Array(releases.collect()) }
            .into(),
    ))
}

/// `POST /v1/releases`: an archive, as `placet release build` writes it.
pub(super) async fn keep(
    State(admin): State<Arc<Admin>>,
    Caller(by): Caller,
    archive: Bytes,
) -> Result<Response, ApiError> {
    rights::operator(&by)?;
    let books = Arc::clone(&admin.books);
    // Loading a release compiles its policies.
    let kept = tokio::task::spawn_blocking(move || books.keep(&archive))
        .await
        .map_err(|_| ApiError::down("the release could not be loaded"))??;
    let deed = Deed {
        by: by.name()?,
        verb: format!("upload of release {}", kept.digest),
        refused: false,
        why: String::new(),
        tenant: None,
    };
    admin.books.deed(deed).await?;
    Ok(json(
        StatusCode::CREATED,
        &object! { "digest" => kept.digest.to_string(), "name" => kept.name }.into(),
    ))
}

/// `POST /v1/releases/{digest}/promote {why}`
pub(super) async fn promote(
    State(admin): State<Arc<Admin>>,
    Caller(by): Caller,
    Path(release): Path<String>,
    body: Bytes,
) -> Result<Response, ApiError> {
    rights::operator(&by)?;
    let digest = Digest::parse(&release)
        .ok_or_else(|| ApiError::malformed("this is not a release's digest", "give it as `sha256:…`"))?;
    let mut body = Body::parse(&body)?;
    let why = body.why()?;
    body.finish()?;
    let before = admin.books.in_force().map(|release| release.digest.to_string());
    let position = admin.books.promote(digest, &by.name()?, &why).await.map_err(|error| match error {
        Unpromoted::Unknown(digest) => ApiError::missing(format_args!("release `{digest}` here")),
        Unpromoted::NoRelease(_) | Unpromoted::Down(_) => error.into(),
    })?;
    let before = before.map_or(Value::Null, Value::from);
    Ok(json(
        StatusCode::OK,
        &object! { "digest" => digest.to_string(), "before" => before, "position" => position }.into(),
    ))
}
