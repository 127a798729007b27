//! Questions about relationships, by the newest facts and the model of the release in force: the same answers that
//! policies get. They are asked by `POST` because ids don't fit into paths; nothing is changed.

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    response::Response,
};
use bytes::Bytes;
use http::StatusCode;
use placet_core::{CheckError, FactsView as _, RelationModel, ResourceRef, TenantId, TupleError};
use placet_facts::Snapshot;
use placet_json::{Object, Value, object};

use super::{
    Admin, Caller,
    body::{Body, named},
    door::Principal,
    error::{ApiError, json},
    rights,
};

type Answer = Result<Response, ApiError>;
type Shared = State<Arc<Admin>>;

/// `POST /v1/tenants/{tenant}/relations/check {subject, relation, object}`: whether the subject has the relation.
pub(super) async fn check(
    State(admin): Shared,
    Caller(by): Caller,
    Path(tenant): Path<String>,
    body: Bytes,
) -> Answer {
    let mut body = Body::parse(&body)?;
    let (subject, relation, object) =
        (resource(&mut body, "subject")?, body.name("relation")?, resource(&mut body, "object")?);
    body.finish()?;
    ask(&admin, &by, &tenant, move |facts, model| {
        let allowed = facts.check(model, &object, &relation, &subject)?;
        Ok(object! { "allowed" => allowed })
    })
    .await
}

/// `POST /v1/tenants/{tenant}/relations/expand {object, relation}`: who has the relation, and by which rewrites.
pub(super) async fn expand(
    State(admin): Shared,
    Caller(by): Caller,
    Path(tenant): Path<String>,
    body: Bytes,
) -> Answer {
    let mut body = Body::parse(&body)?;
    let (object, relation) = (resource(&mut body, "object")?, body.name("relation")?);
    body.finish()?;
    ask(&admin, &by, &tenant, move |facts, model| {
        Ok(object! { "expansion" => facts.expand(model, &object, &relation)?.to_value() })
    })
    .await
}

/// `POST /v1/tenants/{tenant}/relations/objects {type, relation, subject}`: on what the subject has the relation.
pub(super) async fn objects(
    State(admin): Shared,
    Caller(by): Caller,
    Path(tenant): Path<String>,
    body: Bytes,
) -> Answer {
    let mut body = Body::parse(&body)?;
    let (kind, relation, subject) =
        (body.name("type")?, body.name("relation")?, resource(&mut body, "subject")?);
    body.finish()?;
    ask(&admin, &by, &tenant, move |facts, model| {
        Ok(object! { "objects" => texts(&facts.objects(model, &kind, &relation, &subject)?) })
    })
    .await
}

/// `POST /v1/tenants/{tenant}/relations/subjects {object, relation, type}`: who of a type has the relation.
pub(super) async fn subjects(
    State(admin): Shared,
    Caller(by): Caller,
    Path(tenant): Path<String>,
    body: Bytes,
) -> Answer {
    let mut body = Body::parse(&body)?;
    let (object, relation, kind) =
        (resource(&mut body, "object")?, body.name("relation")?, body.name("type")?);
    body.finish()?;
    ask(&admin, &by, &tenant, move |facts, model| {
        let found = facts.subjects(model, &object, &relation, &kind)?;
        Ok(object! {
            "subjects" => texts(&found.named), "everyone" => found.everyone, "except" => texts(&found.except),
        })
    })
    .await
}

/// Asks on a thread of its own: a listing may take a second.
async fn ask(
    admin: &Arc<Admin>,
    by: &Principal,
    tenant: &str,
    question: impl FnOnce(&Snapshot, &RelationModel) -> Result<Object, CheckError> + Send + 'static,
) -> Answer {
    let tenant = TenantId::from(named(tenant, "tenant")?);
    let world = admin.books.live().world();
    rights::inside(by, &world, &tenant, admin.books.now())?;
    let facts =
        world.snapshot(&tenant).ok_or_else(|| ApiError::missing(format_args!("tenant `{tenant}` here")))?;
    let (release, model) = admin.books.relations().ok_or_else(|| {
        ApiError::conflict("no release is in force, so there is no relationship model", "promote a release")
    })?;
    let revision = facts.revision();
    let answered = tokio::task::spawn_blocking(move || question(&facts, &model)).await;
    let mut answer = answered
        .map_err(|_| ApiError::down("the question could not be answered"))?
        .map_err(|error| refused(&error))?;
    answer.insert("release", release.to_string());
    answer.insert("revision", revision.0);
    Ok(json(StatusCode::OK, &answer.into()))
}

fn refused(error: &CheckError) -> ApiError {
    let message = error.to_string();
    match error {
        CheckError::Unknown { .. } => ApiError::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "unknown",
            message,
            "see the `relations.toml` of the release in force",
        ),
        CheckError::Bound(_) | CheckError::Deep(_) | CheckError::Long(_) => ApiError::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "limit",
            message,
            "ask about less, or nest groups less deeply",
        ),
        CheckError::Paradox { .. } => {
            ApiError::conflict(message, "remove the tuple that leads back through an `except`")
        }
    }
}

/// `type:id`
fn resource(body: &mut Body, name: &str) -> Result<ResourceRef, ApiError> {
    body.text(name)?.parse().map_err(|error: TupleError| {
        ApiError::malformed(format!("`{name}`: {error}"), "write it as `type:id`, as in `user:maya`")
    })
}

fn texts(resources: &[ResourceRef]) -> Value {
    Value::Array(resources.iter().map(|resource| Value::from(resource.to_string())).collect())
}
