//! `/scim/v2/…`: one request of a feed at a time, since each is read from the facts that the one before has made.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use http::{HeaderName, HeaderValue, StatusCode, header};
use placet_core::{Name, Revision};
use placet_facts::Place;
use placet_feeds::{
    Feed,
    scim::{self, Affected, MAX_BODY, MEDIA_TYPE, Reply, Scim, ScimError},
};
use placet_jose::keys::random_id;
use placet_json::Value;
use tokio::sync::Mutex;

use super::{Inner, Unread, bearer, read};
use crate::books::Unwritten;

/// How often roles are aligned before a request is given up: each round does up to 100 000 changes.
const ROUNDS: usize = 64;

/// A feed that is served.
pub(super) struct Served {
    feed: Feed,
    turn: Mutex<()>,
}

impl Served {
    pub(super) fn new(feed: Feed) -> Self {
        Self { feed, turn: Mutex::new(()) }
    }
}

pub(super) async fn serve(State(inner): State<Arc<Inner>>, request: Request) -> Response {
    let Some(served) = bearer(request.headers()).and_then(|hash| inner.scim.get(&hash)).cloned() else {
        inner.metrics.refused("scim_unauthenticated");
        let mut response = shown(StatusCode::UNAUTHORIZED, Some(&unauthenticated()));
        response
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"scim\""));
        return response;
    };
    let name = served.feed.name.to_string();
    match answer(&inner, &served, request).await {
        Ok(reply) => {
            inner.metrics.fed(&name, "answered");
            let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::OK);
            let mut response = shown(status, reply.body.as_ref());
            let mut put = |name: HeaderName, value: Option<String>| {
                if let Some(value) = value.and_then(|value| HeaderValue::from_str(&value).ok()) {
                    response.headers_mut().insert(name, value);
                }
            };
            put(header::LOCATION, reply.location.filter(|_| reply.status == 201));
            put(header::ETAG, reply.etag);
            response
        }
        Err(error) => {
            inner.metrics.fed(&name, error.sort.unwrap_or("refused"));
            let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::BAD_REQUEST);
            shown(status, Some(&error.document()))
        }
    }
}

async fn answer(inner: &Inner, served: &Served, request: Request) -> Result<Reply, ScimError> {
    let (head, body) = request.into_parts();
    let body = read(body, MAX_BODY, inner.body_read).await.map_err(|unread| match unread {
        Unread::TooLarge => ScimError::too_large(),
        Unread::Broken => ScimError::syntax("the body broke off"),
        Unread::Slow => ScimError::syntax("the body took too long"),
    })?;
    let path = head.uri.path().strip_prefix("/scim/v2").unwrap_or_default();
    let path = percent_encoding::percent_decode_str(path)
        .decode_utf8()
        .map_err(|_| ScimError::missing())?
        .into_owned();
    let text = |name: HeaderName| head.headers.get(name).and_then(|value| value.to_str().ok());
    let fresh = random_id().map_err(|_| ScimError::down())?.replace('_', ".");
    let fresh = Name::new(&fresh).map_err(|_| ScimError::down())?;
    let asked = scim::Request {
        method: head.method.as_str(),
        path: &path,
        query: head.uri.query().unwrap_or_default(),
        if_match: text(header::IF_MATCH),
        if_none_match: text(header::IF_NONE_MATCH),
        body: &body,
    };
    let base = format!("{}/scim/v2", inner.url);
    let turn = served.turn.lock().await;
    let outcome = {
        let world = inner.books.live().world();
        let scim =
            Scim { base: &base, feed: &served.feed, world: &world, now: inner.books.now(), fresh: &fresh };
        scim.answer(&asked)?
    };
    if let Some(transaction) = outcome.transaction {
        inner.books.transact(transaction).await.map_err(unwritten)?;
    }
    align(inner, &served.feed, &outcome.affected).await?;
    drop(turn);
    Ok(outcome.reply)
}

/// Roles and relations as the groups say, until nothing is left to do.
async fn align(inner: &Inner, feed: &Feed, affected: &Affected) -> Result<(), ScimError> {
    for _ in 0..ROUNDS {
        let world = inner.books.live().world();
        let transactions = scim::align(&world, feed, affected, inner.books.now());
        if transactions.is_empty() {
            return Ok(());
        }
        for transaction in transactions {
            // Roles are set as a whole: what somebody else takes meanwhile, here or at another gateway, stays taken.
            let on = match &transaction.place {
                Place::Organisation => world.organisation().revision(),
                Place::Tenant(tenant) => world.tenant(tenant).map_or(Revision(0), |facts| facts.revision()),
            };
            if inner.books.transact_on(transaction, on).await.map_err(unwritten)?.is_none() {
                tracing::debug!(feed = %feed.name, "facts have moved; roles are aligned anew");
            }
        }
    }
    Err(ScimError::down())
}

/// At the start: what a crash between two transactions has left undone.
pub(super) async fn align_all(inner: &Inner) {
    for served in inner.scim.values() {
        if let Err(error) = align(inner, &served.feed, &Affected::Everybody).await {
            tracing::error!(feed = %served.feed.name, %error, "roles couldn't be aligned with the feed's groups");
        }
    }
}

fn unwritten(error: Unwritten) -> ScimError {
    match error {
        Unwritten::Change(error) => scim::refused(&error),
        Unwritten::Down(why) => {
            tracing::error!(%why, "a feed's change could not be recorded");
            ScimError::down()
        }
    }
}

fn unauthenticated() -> Value {
    ScimError { status: 401, sort: None, detail: "a bearer token of a feed is needed".to_owned() }.document()
}

fn shown(status: StatusCode, body: Option<&Value>) -> Response {
    match body {
        Some(body) => (status, [(header::CONTENT_TYPE, MEDIA_TYPE)], body.to_bytes()).into_response(),
        None => status.into_response(),
    }
}
