//! Erasing somebody's data: their keys go, and with them whatever was sealed for them.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use bytes::Bytes;
use http::StatusCode;
use placet_core::{HumanId, TenantId};
use placet_gateway::Erasable;
use placet_json::{Value, object};

use super::{
    Admin, Caller,
    body::{Body, named},
    error::{ApiError, json},
    holds, rights,
};

/// What a person of the organisation is.
const HUMAN: &str = "human";

/// `POST /v1/erasures {kind, id, tenant?, why}`: what is sealed for this subject can't be opened any more, by anybody.
/// It is an operator's act, and nobody can take it back.
pub(super) async fn erase(
    State(admin): State<Arc<Admin>>,
    Caller(by): Caller,
    body: Bytes,
) -> Result<Response, ApiError> {
    rights::operator(&by)?;
    let mut body = Body::parse(&body)?;
    let (kind, id) = (body.name("kind")?, body.name("id")?);
    let tenant = body.optional_text("tenant")?;
    let tenant = tenant.map(|tenant| named(&tenant, "tenant")).transpose()?.map(TenantId::from);
    let why = body.why()?;
    body.finish()?;
    if why.trim().is_empty() {
        return Err(ApiError::malformed("`why` is missing", "say on whose demand, and by which right"));
    }
    if why.len() > placet_facts::MAX_TEXT {
        let limit = placet_facts::MAX_TEXT;
        return Err(ApiError::malformed(format!("`why` is longer than {limit} bytes"), "shorten it"));
    }
    let held = tenant.clone();
    let whom = match (kind.as_str(), tenant) {
        (HUMAN, None) => Erasable::Human(HumanId::from(id.clone())),
        (HUMAN, Some(_)) => {
            return Err(ApiError::malformed(
                "`tenant`: a person is the organisation's, in all tenants",
                "leave `tenant` out",
            ));
        }
        (_, Some(tenant)) => {
            rights::inside(&by, &admin.books.live().world(), &tenant, admin.books.now())?;
            Erasable::Subject(tenant, kind.clone(), id.clone())
        }
        (_, None) => {
            return Err(ApiError::malformed(
                format!("`tenant` is missing: a `{kind}` is a tenant's"),
                "name it, or erase a `human`",
            ));
        }
    };
    if whom.name().is_none() {
        return Err(ApiError::malformed(
            "`kind` is no kind of subjects",
            "name one that the catalog's `personal` names, `workflow`, or `human`",
        ));
    }
    holds::let_go(&admin, held.as_ref()).await?;
    let erased = admin.books.erase(by.name()?, whom, why).await?;
    Ok(json(
        StatusCode::OK,
        &object! {
            "kind" => kind.as_str(), "id" => id.as_str(), "sequence" => erased.at,
            "keys" => Value::from(u64::try_from(erased.keys).unwrap_or(u64::MAX)),
        }
        .into(),
    ))
}
