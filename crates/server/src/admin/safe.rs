//! The vault: secrets go in, names and ages come out.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use bytes::Bytes;
use http::StatusCode;
use placet_core::Timestamp;
use placet_json::{Value, object};
use placet_oauth::{
    Secret,
    vault::{Holder, Place},
};

use super::{
    Admin, Caller,
    body::Body,
    error::{ApiError, json},
    rights,
};
use crate::{books::Deed, vault::VaultFile};

/// The longest secret, in bytes.
const MAX_SECRET: usize = 16 * 1024;

/// `GET /v1/vault`
pub(super) async fn list(State(admin): State<Arc<Admin>>, Caller(by): Caller) -> Result<Response, ApiError> {
    rights::operator(&by)?;
    let now = admin.books.now().secs();
    let secrets = vault(&admin)?.list().into_iter().map(|(place, version, sealed_at)| {
        let (holder, human) = match &place.holder {
            Holder::Tenant => ("tenant", Value::Null),
            Holder::Human(id) => ("human", id.as_str().into()),
        };
        Value::from(object! {
            "tenant" => place.tenant, "upstream" => place.upstream, "holder" => holder, "human" => human, "version" => version,
            "since" => Timestamp::from_secs(sealed_at).to_string(), "age_s" => now.saturating_sub(sealed_at),
        })
    });
    Ok(json(StatusCode::OK, &object! { "secrets" => Value::Array(secrets.collect()) }.into()))
}

/// `POST /v1/vault {tenant, upstream, human, secret}`
pub(super) async fn put(
    State(admin): State<Arc<Admin>>,
    Caller(by): Caller,
    body: Bytes,
) -> Result<Response, ApiError> {
    rights::operator(&by)?;
    let mut body = Body::parse(&body)?;
    let (place, why) = (place(&mut body)?, body.why()?);
    let secret = Secret::new(body.text("secret")?);
    body.finish()?;
    if secret.expose().is_empty() || secret.expose().len() > MAX_SECRET {
        return Err(ApiError::malformed("the secret is empty or too long", "give at most 16 KiB"));
    }
    let vault = Arc::clone(vault(&admin)?);
    // First the deed: a secret that nobody is known to have put must not be there.
    let deed = Deed {
        by: by.name()?,
        verb: format!("vault put {}", shown(&place)),
        refused: false,
        why,
        tenant: None,
    };
    admin.books.deed(deed).await?;
    let now = admin.books.now().secs();
    let version = tokio::task::spawn_blocking(move || vault.put(&place, &secret, now)).await;
    let version = version
        .map_err(|_| ApiError::down("the vault failed"))?
        .map_err(|error| ApiError::down(error.to_string()))?;
    Ok(json(StatusCode::CREATED, &object! { "version" => version }.into()))
}

/// `POST /v1/vault/remove {tenant, upstream, human}`
pub(super) async fn remove(
    State(admin): State<Arc<Admin>>,
    Caller(by): Caller,
    body: Bytes,
) -> Result<Response, ApiError> {
    rights::operator(&by)?;
    let mut body = Body::parse(&body)?;
    let (place, why) = (place(&mut body)?, body.why()?);
    body.finish()?;
    let vault = Arc::clone(vault(&admin)?);
    let deed = Deed {
        by: by.name()?,
        verb: format!("vault remove {}", shown(&place)),
        refused: false,
        why,
        tenant: None,
    };
    let removed = tokio::task::spawn_blocking(move || vault.remove(&place)).await;
    let removed = removed
        .map_err(|_| ApiError::down("the vault failed"))?
        .map_err(|error| ApiError::down(error.to_string()))?;
    if !removed {
        return Err(ApiError::missing("such secret"));
    }
    admin.books.deed(deed).await?;
    Ok(json(StatusCode::OK, &object! { "removed" => true }.into()))
}

fn vault(admin: &Admin) -> Result<&Arc<VaultFile>, ApiError> {
    let shut =
        || ApiError::conflict("the vault has no master key", "set `[vault] master_key` in the settings");
    admin.vault.as_ref().ok_or_else(shut)
}

fn place(body: &mut Body) -> Result<Place, ApiError> {
    let (tenant, upstream) = (body.name("tenant")?, body.name("upstream")?);
    let holder = match body.optional_text("human")? {
        None => Holder::Tenant,
        Some(human) => Holder::Human(super::body::named(&human, "human")?.to_string()),
    };
    Ok(Place { tenant: tenant.to_string(), upstream: upstream.to_string(), holder })
}

fn shown(place: &Place) -> String {
    match &place.holder {
        Holder::Tenant => format!("{}/{}", place.tenant, place.upstream),
        Holder::Human(human) => format!("{}/{} of {human}", place.tenant, place.upstream),
    }
}
