//! Releases: take an archive, list what is kept, bring one into force.

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
    lives, rights,
};
use crate::{books::Deed, lifecycle::Way};

/// `GET /v1/releases`
pub(super) async fn list(State(admin): State<Arc<Admin>>, Caller(by): Caller) -> Result<Response, ApiError> {
    rights::operator(&by)?;
    let in_force = admin.books.in_force();
    let kept = admin.books.releases().map_err(ApiError::down)?;
    let current = in_force.as_ref().map(|release| release.digest);
    let candidates = admin.opal.candidates().map_err(ApiError::down)?;
    let lives = admin.lifecycle.as_ref().map(|lifecycle| lifecycle.ledger().lives()).unwrap_or_default();
    let releases: Vec<Value> = kept.iter().map(|digest| {
        let life = lives.of(*digest);
        let approved = life.reviews.iter().filter(|(_, review)| review.approves);
        let approved = approved.map(|(by, _)| Value::from(by.as_str())).collect();
        let digest_text = digest.to_string();
        let of =
            candidates.iter().find(|told| told.get("digest").and_then(Value::as_str) == Some(&digest_text));
        let of = of.and_then(|told| told.get("source")).cloned().unwrap_or(Value::Null);
        Value::from(
            object! { "digest" => digest_text, "in_force" => Some(*digest) == current, "candidate_of" => of,
              "signed" => life.envelope.is_some(), "approved_by" => Value::Array(approved) },
        )
    }).collect();
    let name = in_force.as_ref().map_or(Value::Null, |release| release.name.as_str().into());
    let current = current.map_or(Value::Null, |digest| digest.to_string().into());
    Ok(json(
        StatusCode::OK,
        &object! {
            "emergency_until" => lives.emergency().map_or(Value::Null, |until| until.to_string().into()), "git" => admin.git.to_value(),
            "in_force" => current, "name" => name, "releases" => Value::Array(releases),
        }
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
    let by = deed.by.clone();
    admin.books.deed(deed).await?;
    lives::brought(&admin, kept.digest, &by).await?;
    Ok(json(
        StatusCode::CREATED,
        &object! { "digest" => kept.digest.to_string(), "name" => kept.name }.into(),
    ))
}

/// `POST /v1/releases/{digest}/promote {emergency, why}`
pub(super) async fn promote(
    State(admin): State<Arc<Admin>>,
    Caller(by): Caller,
    Path(release): Path<String>,
    body: Bytes,
) -> Result<Response, ApiError> {
    rights::operator(&by)?;
    let digest = lives::digest(&release)?;
    let mut body = Body::parse(&body)?;
    let emergency = body.optional("emergency").is_some_and(|emergency| emergency.as_bool() == Some(true));
    let why = body.why()?;
    body.finish()?;
    if emergency && why.is_empty() {
        return Err(ApiError::malformed("an emergency needs a reason", "say why: `--why TEXT`"));
    }
    let way = if emergency { Way::Emergency } else { Way::Promotion };
    let lifecycle = lives::lifecycle(&admin)?;
    let (position, before) = lifecycle.promote(digest, &by.name()?, &why, way).await?;
    Ok(json(StatusCode::OK, &lives::moved(digest, before, position)))
}
