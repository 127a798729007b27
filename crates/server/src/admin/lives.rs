//! A release's life: what it changes, what is signed of it, who reviewed it, its gates, and the way back.

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    response::Response,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::StatusCode;
use placet_core::{Digest, Name};
use placet_gateway::Life;
use placet_json::{Limits, Value, object, parse};
use placet_policy::{Release, Touched, touched};

use super::{
    Admin, Caller,
    body::Body,
    door::Principal,
    error::{ApiError, json},
    rights,
};
use crate::lifecycle::{Gate, Lifecycle, NotInForce, Way};

type Answer = Result<Response, ApiError>;
type Shared = State<Arc<Admin>>;

/// The most bytes of changed files that one answer shows.
const MAX_SHOWN: usize = 512 << 10;

impl From<NotInForce> for ApiError {
    fn from(error: NotInForce) -> Self {
        let refused = |status, code, remedy: &str| Self::new(status, code, error.to_string(), remedy);
        match &error {
            NotInForce::Unknown(digest) => Self::missing(format_args!("release `{digest}` here")),
            NotInForce::NoRelease(_) => refused(
                StatusCode::UNPROCESSABLE_ENTITY,
                "release_invalid",
                "run `placet check` on its directory",
            ),
            NotInForce::Shut(_) => refused(
                StatusCode::CONFLICT,
                "release_refused",
                "`placet review` shows what it lacks; the release in force stays",
            ),
            NotInForce::Envelope(_) => refused(
                StatusCode::UNPROCESSABLE_ENTITY,
                "signature_invalid",
                "sign it with a key that is configured: `placet release sign`",
            ),
            NotInForce::Reviewer(_) => {
                refused(StatusCode::FORBIDDEN, "forbidden", "somebody else must review it")
            }
            NotInForce::Nothing(_) => {
                refused(StatusCode::CONFLICT, "conflict", "`placet release list` shows what was in force")
            }
            NotInForce::Overtaken => {
                refused(StatusCode::CONFLICT, "conflict", "review it against the one in force now")
            }
            NotInForce::Down(_) => Self::down(error.to_string()),
        }
    }
}

/// The lifecycle, where this server has one.
pub(super) fn lifecycle(admin: &Admin) -> Result<Lifecycle, ApiError> {
    admin.lifecycle.clone().ok_or_else(|| ApiError::down("this server keeps no lives of releases"))
}

pub(super) fn digest(text: &str) -> Result<Digest, ApiError> {
    Digest::parse(text)
        .ok_or_else(|| ApiError::malformed("this is not a release's digest", "give it as `sha256:…`"))
}

/// `GET /v1/releases/{release}`: to operators and to people, as these review.
pub(super) async fn show(State(admin): Shared, Caller(_): Caller, Path(release): Path<String>) -> Answer {
    let (digest, lifecycle) = (digest(&release)?, lifecycle(&admin)?);
    let document = tokio::task::spawn_blocking(move || described(&lifecycle, digest))
        .await
        .map_err(|_| ApiError::down("the release could not be loaded"))??;
    Ok(json(StatusCode::OK, &document))
}

fn described(lifecycle: &Lifecycle, digest: Digest) -> Result<Value, ApiError> {
    let (tested, gates) = lifecycle.gates(digest, Way::Promotion)?;
    let release = &tested.release;
    let (life, current) = (lifecycle.ledger().lives().of(digest), lifecycle.ledger().releases().current());
    let Life { brought_by, envelope, reviews, at: _ } = &life;
    let signed = envelope.as_ref().map(|envelope| lifecycle.rules().read(envelope.as_bytes(), release));
    let (statement, signers, claimed) = match &signed {
        Some(Ok(signed)) => (signed.statement.to_value(), names(&signed.signers), names(&signed.claimed)),
        Some(Err(_)) | None => (Value::Null, names(&[]), names(&[])),
    };
    let reviews = reviews.iter().map(|(by, review)| {
        Value::from(object! { "approves" => review.approves, "at" => review.at, "by" => by.as_str() })
    });
    let parts = touched(current.as_deref(), release);
    let mut room = MAX_SHOWN;
    let changes: Vec<Value> =
        parts.iter().map(|part| changed(part, current.as_deref(), release, &mut room)).collect();
    let brought: Vec<String> = brought_by.iter().map(ToString::to_string).collect();
    Ok(object! {
        "digest" => digest.to_string(), "name" => release.name().as_str(),
        "in_force" => current.as_ref().is_some_and(|current| current.digest() == digest),
        "against" => current.as_ref().map_or(Value::Null, |current| current.digest().to_string().into()),
        "brought_by" => names(&brought), "statement" => statement, "signers" => signers, "claimed" => claimed,
        "reviews" => Value::Array(reviews.collect()), "changes" => Value::Array(changes),
        "gates" => shown(&gates), "open" => gates.iter().all(|gate| gate.open),
    }
    .into())
}

/// A part's changes, with the texts before and after, as long as there is room.
fn changed(part: &Touched, before: Option<&Release>, after: &Release, room: &mut usize) -> Value {
    let Touched { part, files, changed, reviewers, approvals } = part;
    let files = files.iter().map(|file| {
        let path = file.get(1..).unwrap_or_default();
        let mut text = |release: Option<&Release>| {
            let bytes = release.and_then(|release| release.tree().get(path));
            let text = bytes.and_then(|bytes| std::str::from_utf8(bytes).ok());
            match text.filter(|text| text.len() <= *room) {
                Some(text) => {
                    *room = room.saturating_sub(text.len());
                    text.into()
                }
                None => Value::Null,
            }
        };
        let (was, is) = (text(before), text(Some(after)));
        Value::from(object! { "after" => is, "before" => was, "change" => file.get(..1).unwrap_or_default(), "path" => path })
    });
    let reviewers = reviewers.iter().flatten().map(ToString::to_string).collect::<Vec<_>>();
    let count = u64::try_from(*changed).unwrap_or(u64::MAX);
    object! {
        "part" => part.as_ref().map_or(Value::Null, |part| part.as_str().into()), "changed" => count,
        "files" => Value::Array(files.collect()), "reviewers" => names(&reviewers), "approvals" => u64::from(*approvals),
    }
    .into()
}

fn names(names: &[String]) -> Value {
    Value::Array(names.iter().map(|name| Value::from(name.as_str())).collect())
}

/// Gates as JSON.
pub(super) fn shown(gates: &[Gate]) -> Value {
    Value::Array(gates.iter().map(Gate::to_value).collect())
}

/// `GET /v1/releases/{release}/archive`: what another server needs to take it.
pub(super) async fn archive(State(admin): Shared, Caller(by): Caller, Path(release): Path<String>) -> Answer {
    rights::operator(&by)?;
    let (digest, lifecycle) = (digest(&release)?, lifecycle(&admin)?);
    let envelope = lifecycle.ledger().lives().of(digest).envelope;
    let loading = lifecycle.clone();
    let tested = tokio::task::spawn_blocking(move || loading.tested(digest))
        .await
        .map_err(|_| ApiError::down("the release could not be loaded"))??;
    let envelope = match envelope {
        None => Value::Null,
        Some(text) => {
            parse(text.as_bytes(), &Limits::MESSAGE).map_err(|error| ApiError::down(error.to_string()))?
        }
    };
    let archive = STANDARD.encode(tested.release.archive());
    let answer = object! { "archive" => archive, "digest" => digest.to_string(), "envelope" => envelope };
    Ok(json(StatusCode::OK, &answer.into()))
}

/// `POST /v1/releases/{release}/envelope`: a DSSE envelope, as `placet release sign` writes it.
pub(super) async fn sign(
    State(admin): Shared,
    Caller(by): Caller,
    Path(release): Path<String>,
    envelope: Bytes,
) -> Answer {
    rights::operator(&by)?;
    let (digest, lifecycle) = (digest(&release)?, lifecycle(&admin)?);
    let signed = lifecycle.sign(digest, &envelope, &by.name()?).await?;
    let answer = object! {
        "claimed" => names(&signed.claimed), "digest" => digest.to_string(), "serial" => signed.statement.serial,
        "signers" => names(&signed.signers),
    };
    Ok(json(StatusCode::CREATED, &answer.into()))
}

/// `POST /v1/releases/{release}/review {approve, why}`
pub(super) async fn review(
    State(admin): Shared,
    Caller(by): Caller,
    Path(release): Path<String>,
    body: Bytes,
) -> Answer {
    let Principal::Human(_) = &by else {
        return Err(ApiError::forbidden(
            "a review is a person's, and an operator's key is nobody's",
            "act as the reviewer: `--as HUMAN --key THEIR-KEY`",
        ));
    };
    let (digest, lifecycle) = (digest(&release)?, lifecycle(&admin)?);
    let mut body = Body::parse(&body)?;
    let approves = body.required("approve")?.as_bool();
    let approves = approves.ok_or_else(|| {
        ApiError::malformed("`approve` is neither true nor false", "write `true` or `false`")
    })?;
    let why = body.why()?;
    body.finish()?;
    lifecycle.review(digest, &by.name()?, approves, &why).await?;
    let (_, gates) = tokio::task::spawn_blocking(move || lifecycle.gates(digest, Way::Promotion))
        .await
        .map_err(|_| ApiError::down("the release could not be loaded"))??;
    let open = gates.iter().all(|gate| gate.open);
    let answer = object! { "approve" => approves, "digest" => digest.to_string(), "gates" => shown(&gates), "open" => open };
    Ok(json(StatusCode::OK, &answer.into()))
}

/// `POST /v1/releases/rollback {to, why}`
pub(super) async fn rollback(State(admin): Shared, Caller(by): Caller, body: Bytes) -> Answer {
    rights::operator(&by)?;
    let lifecycle = lifecycle(&admin)?;
    let mut body = Body::parse(&body)?;
    let to = body.optional_text("to")?.map(|to| digest(&to)).transpose()?;
    let why = body.why()?;
    body.finish()?;
    let (position, to, before) = lifecycle.rollback(to, &by.name()?, &why).await?;
    Ok(json(StatusCode::OK, &moved(to, before, position)))
}

/// What is answered where another release is in force now.
pub(super) fn moved(digest: Digest, before: Option<Digest>, position: u64) -> Value {
    let before = before.map_or(Value::Null, |before| before.to_string().into());
    object! { "digest" => digest.to_string(), "before" => before, "position" => position }.into()
}

/// Notes who brought a release, where lives are kept.
pub(super) async fn brought(admin: &Admin, digest: Digest, by: &Name) -> Result<(), ApiError> {
    match &admin.lifecycle {
        Some(lifecycle) => Ok(lifecycle.brought(digest, by, "").await?),
        None => Ok(()),
    }
}

/// `POST /v1/releases/{release}/shadow {why}`
pub(super) async fn start_shadow(
    State(admin): Shared,
    Caller(by): Caller,
    Path(release): Path<String>,
    body: Bytes,
) -> Answer {
    rights::operator(&by)?;
    let (digest, lifecycle) = (digest(&release)?, lifecycle(&admin)?);
    let mut body = Body::parse(&body)?;
    let why = body.why()?;
    body.finish()?;
    lifecycle.start_shadow(digest, &by.name()?, &why).await?;
    Ok(json(StatusCode::OK, &object! { "digest" => digest.to_string(), "shadow" => true }.into()))
}

/// `GET /v1/releases/shadow`: what the candidate beside the release in force came to so far.
pub(super) async fn shadow(State(admin): Shared, Caller(by): Caller) -> Answer {
    rights::operator(&by)?;
    let report = lifecycle(&admin)?.shadow().report().unwrap_or(Value::Null);
    Ok(json(StatusCode::OK, &object! { "shadow" => report }.into()))
}

/// `POST /v1/releases/shadow {why}`: takes the candidate away; what it came to.
pub(super) async fn end_shadow(State(admin): Shared, Caller(by): Caller, body: Bytes) -> Answer {
    rights::operator(&by)?;
    let lifecycle = lifecycle(&admin)?;
    let mut body = Body::parse(&body)?;
    let why = body.why()?;
    body.finish()?;
    let report = lifecycle.end_shadow(&by.name()?, &why).await?;
    let report = report.ok_or_else(|| ApiError::missing("candidate beside the release in force"))?;
    Ok(json(StatusCode::OK, &object! { "shadow" => report }.into()))
}
