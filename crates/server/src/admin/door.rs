//! Who asks: every request to `/v1` is signed for itself, by an operator or by a person, and counts once.
//!
//! The order: host, size, signature over method, URL and body, single use. Nothing is read from the request before it
//! is authenticated but what authenticates it.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{Method, StatusCode, Uri, header, request::Parts};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use placet_core::{HumanId, Name, Standing};
use placet_jose::{
    KeySet, PublicKey, claimed_issuer,
    htu::Htu,
    replay::{Admission, ReplayWindow},
    tokens::{OperatorAssertion, OperatorRequest},
};
use placet_json::Limits;

use super::{Admin, error::ApiError};
use crate::{books::Deed, uses::Uses};

/// The header in which a person shows their public key, a JWK in base64url: facts know its thumbprint only.
pub const KEY_HEADER: &str = "placet-key";
/// The longest such key.
const MAX_KEY: usize = 2048;

/// Who signed a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principal {
    /// Whoever holds an operator's key.
    Operator,
    /// A person, by a key that facts name as theirs.
    Human(HumanId),
}

impl Principal {
    /// As the author of transactions and deeds.
    pub(super) fn name(&self) -> Result<Name, ApiError> {
        match self {
            Self::Operator => super::body::named("operator", "principal"),
            Self::Human(id) => super::body::named(&format!("human:{id}"), "principal"),
        }
    }
}

/// What requests are authenticated by. Fixed at the start, but for the people, whom facts name.
pub struct Door {
    /// The administrators' listener as they call it: `aud` of every assertion.
    pub audience: String,
    /// The same, parsed.
    pub url: Htu,
    /// The operators' public keys.
    pub operators: KeySet,
    /// Uses that count once, also after a restart.
    pub window: Uses,
    /// The longest body, in bytes.
    pub max_body: usize,
    /// How long a body may take to arrive.
    pub body_read: std::time::Duration,
}

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Door").field("audience", &self.audience).finish_non_exhaustive()
    }
}

/// A request whose `Host` isn't ours came by a name that somebody else controls (DNS rebinding): 421.
pub(super) async fn host(State(admin): State<Arc<Admin>>, request: Request, next: Next) -> Response {
    let expected = admin.door.url.origin().split_once("://").map_or("", |(_, authority)| authority);
    if is_host(request.headers(), request.uri(), expected) {
        next.run(request).await
    } else {
        admin.metrics.refused("host");
        StatusCode::MISDIRECTED_REQUEST.into_response()
    }
}

/// Whether the one `Host` of a request is `expected`, and its target no other. A foreign `Origin` is refused as well.
#[must_use]
pub fn is_host(headers: &http::HeaderMap, uri: &Uri, expected: &str) -> bool {
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.as_bytes(),
        _ => return false,
    };
    let same = |authority: &[u8]| authority.eq_ignore_ascii_case(expected.as_bytes());
    let origin = headers.get_all(header::ORIGIN).iter().all(|origin| {
        origin
            .as_bytes()
            .splitn(2, |byte| *byte == b'/')
            .nth(1)
            .is_some_and(|rest| same(rest.strip_prefix(b"/").unwrap_or(rest)))
    });
    same(host) && uri.authority().is_none_or(|authority| same(authority.as_str().as_bytes())) && origin
}

/// Authenticates, hands the principal on, and records what was refused to somebody who is known.
pub(super) async fn authenticated(State(admin): State<Arc<Admin>>, request: Request, next: Next) -> Response {
    let (mut head, body) = request.into_parts();
    let body = match read(body, &admin.door).await {
        Ok(body) => body,
        Err(refused) => {
            admin.metrics.refused("admin_body");
            return refused.into_response();
        }
    };
    let Some(principal) = open(&admin, &head, &body).await else {
        admin.metrics.refused("admin_unauthenticated");
        return ApiError::unauthenticated().into_response();
    };
    let verb = format!("{} {}", head.method, head.uri.path());
    let acts = head.method != Method::GET;
    head.extensions.insert(principal.clone());
    let response = next.run(Request::from_parts(head, Body::from(body))).await;
    let refused = response.extensions().get::<ApiError>().filter(|error| error.status.is_client_error());
    if let Some(error) = refused.filter(|error| acts || error.status == StatusCode::FORBIDDEN)
        && let Ok(by) = principal.name()
    {
        let why = format!("{}: {}", error.code, error.message.chars().take(500).collect::<String>());
        let deed = Deed { by, verb, refused: true, why, tenant: None };
        if let Err(error) = admin.books.deed(deed).await {
            tracing::error!(%error, "a refused attempt could not be recorded");
        }
    }
    response
}

async fn read(body: Body, door: &Door) -> Result<Bytes, ApiError> {
    let refused = |status, code, message: &str| ApiError::new(status, code, message, "");
    match tokio::time::timeout(door.body_read, Limited::new(body, door.max_body).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            Err(refused(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "the body is too large"))
        }
        Ok(Err(_)) => Err(refused(StatusCode::BAD_REQUEST, "malformed", "the body broke off")),
        Err(_) => Err(refused(StatusCode::REQUEST_TIMEOUT, "timeout", "the body took too long")),
    }
}

/// `None` for every reason alike.
async fn open(admin: &Arc<Admin>, head: &Parts, body: &Bytes) -> Option<Principal> {
    let mut values = head.headers.get_all(header::AUTHORIZATION).iter();
    let (value, None) = (values.next()?.to_str().ok()?, values.next()) else { return None };
    let (scheme, token) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("Placet") {
        return None;
    }
    let issuer = claimed_issuer(token).ok()?;
    let (principal, keys) = match issuer.strip_prefix("human:") {
        None if issuer == "operator" => (Principal::Operator, admin.door.operators.clone()),
        None => return None,
        Some(id) => person(admin, head, id)?,
    };
    let door = &admin.door;
    let url = door.url.with_path(head.uri.path()).ok()?;
    let request = OperatorRequest { method: head.method.as_str(), url: &url, query: head.uri.query(), body };
    // The wall clock of the ledger never runs back, so that an assertion that has expired stays so.
    let now = admin.books.now().secs();
    let assertion = OperatorAssertion::open(token, &issuer, &keys, &door.audience, &request, now).ok()?;
    let (key, forget_at) =
        (OperatorAssertion::replay_key(&assertion), OperatorAssertion::forget_at(&assertion));
    let admin = Arc::clone(admin);
    // The window waits for the disk.
    let admitted = tokio::task::spawn_blocking(move || {
        ReplayWindow::admit(&mut &admin.door.window, key, forget_at, now)
    });
    match admitted.await {
        Ok(Admission::New) => Some(principal),
        Ok(Admission::Seen | Admission::Full) | Err(_) => None,
    }
}

/// A person who may act, and the key that they show, if facts say that it is theirs.
fn person(admin: &Admin, head: &Parts, id: &str) -> Option<(Principal, KeySet)> {
    let id = HumanId::new(id).ok()?;
    let shown = head.headers.get(KEY_HEADER)?.as_bytes();
    if shown.len() > MAX_KEY {
        return None;
    }
    let jwk = placet_json::parse(&URL_SAFE_NO_PAD.decode(shown).ok()?, &Limits::MESSAGE).ok()?;
    let key = PublicKey::from_jwk(&jwk).ok()?;
    let world = admin.books.live().world();
    let human = world.organisation().human(&id)?;
    let known = human.standing == Standing::Active && human.keys.contains(&key.thumbprint().to_string());
    known.then(|| (Principal::Human(id), KeySet::of(&key)))
}
