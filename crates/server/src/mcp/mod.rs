//! The agents' endpoint: MCP over Streamable HTTP, 2026-07-28 and the legacy revisions, on one path.
//!
//! The rim parses, authenticates and answers; what is permitted is the gateway's to say. What isn't ours and
//! unauthenticated is counted; from the opened envelope on every refusal is recorded.

mod door;
mod legacy;
mod modern;
mod proxy;
mod refuse;
mod session;
mod slots;
mod stream;
mod tools;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Path, State},
    http::{HeaderMap, Method, StatusCode, Uri, header},
    response::Response,
    routing::any,
};
use placet_core::Name;
use placet_gateway::Gateway;
use placet_jose::{access::Access, htu::Htu};
use placet_json::{Limits, Object, object};
use placet_mcp::{Era, Id, Message, modern::era_of};
use tokio::sync::oneshot;

pub use session::SessionKey;

use self::{door::Caller, session::Sessions, slots::Slots};
use crate::uses::Uses;

/// Counts what is refused before there is an envelope.
pub trait Refusals: Send + Sync {
    /// One more, for this reason.
    fn refused(&self, reason: &'static str);
}

/// What the endpoint needs.
pub struct Endpoint {
    gateway: Arc<Gateway>,
    access: Access,
    replays: Uses,
    refusals: Arc<dyn Refusals>,
    /// `https://gw.example`, without a slash at the end.
    base: String,
    hosts: Vec<String>,
    started: u64,
    sessions: Sessions,
    running: Mutex<HashMap<(String, Id), oneshot::Sender<()>>>,
    slots: Slots,
    body_read: Duration,
    max_body: usize,
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint").field("base", &self.base).finish_non_exhaustive()
    }
}

/// The parts of an [`Endpoint`].
pub struct Parts {
    /// The pipeline.
    pub gateway: Arc<Gateway>,
    /// Checks tokens and proofs.
    pub access: Access,
    /// Counts refusals.
    pub refusals: Arc<dyn Refusals>,
    /// The public URL without a path.
    pub base: String,
    /// Values of `Host` that are ours.
    pub hosts: Vec<String>,
    /// Seals legacy session ids; kept over restarts.
    pub sessions: SessionKey,
    /// The proofs that were used, also before this start.
    pub proofs: Uses,
    /// The longest body of a request in bytes.
    pub max_body: usize,
    /// How long a body may take to arrive.
    pub body_read: Duration,
    /// The most open answers of one agent at once; a further call is refused.
    pub streams: usize,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts").field("base", &self.base).finish_non_exhaustive()
    }
}

/// Proofs that are remembered at once: 61 s of 4 000 calls a second, at most about 37 MB.
pub const MAX_PROOFS: usize = 244_000;

impl Endpoint {
    /// An endpoint. Proofs made before this second are refused: their uses may have been lost with the machine. What was
    /// used in this second, or is dated ahead, `proofs` remembers.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let Parts { gateway, access, refusals, base, hosts, sessions, proofs, max_body, body_read, streams } =
            parts;
        let started = gateway.ledger().now().secs();
        Self {
            gateway,
            access,
            replays: proofs,
            refusals,
            base,
            hosts,
            started,
            sessions: Sessions::new(sessions),
            running: Mutex::default(),
            slots: Slots::new(streams),
            body_read,
            max_body,
        }
    }
}

/// The endpoint's routes: `/mcp` for all upstreams, `/mcp/{upstream}` for one, `/proxy/{upstream}/…` for an HTTP API's own
/// paths.
pub fn routes(endpoint: Arc<Endpoint>) -> Router {
    let all = |State(endpoint): State<Arc<Endpoint>>, method: Method, headers: HeaderMap, body: Body| async move {
        endpoint.serve(None, &method, &headers, body).await
    };
    let one =
        |State(endpoint): State<Arc<Endpoint>>,
         Path(upstream): Path<String>,
         method: Method,
         headers: HeaderMap,
         body: Body| async move { endpoint.serve(Some(&upstream), &method, &headers, body).await };
    let proxy = |State(endpoint): State<Arc<Endpoint>>,
                 method: Method,
                 uri: Uri,
                 headers: HeaderMap,
                 body: Body| async move { endpoint.proxy(method, uri, headers, body).await };
    Router::new()
        .route("/mcp", any(all))
        .route("/mcp/{upstream}", any(one))
        .route("/proxy/{*below}", any(proxy))
        .with_state(endpoint)
}

impl Endpoint {
    async fn serve(
        self: Arc<Self>,
        upstream: Option<&str>,
        method: &Method,
        headers: &HeaderMap,
        body: Body,
    ) -> Response {
        if let Err(response) = self.check_origin(headers) {
            return *response;
        }
        let Ok(only) = upstream.map(Name::new).transpose() else {
            return self.refused(StatusCode::NOT_FOUND, "path");
        };
        let path = only.as_ref().map_or_else(|| "/mcp".to_owned(), |name| format!("/mcp/{name}"));
        let Ok(url) = Htu::parse(&format!("{}{path}", self.base)) else {
            return self.refused(StatusCode::NOT_FOUND, "path");
        };
        let opened = match self.open(method, &url, headers).await {
            Ok(opened) => opened,
            Err(response) => return *response,
        };
        match *method {
            Method::POST => {}
            Method::DELETE => return self.end_session(&opened, headers),
            // No stream of unrelated server messages is offered (2025-11-25, Transports: a server may answer 405).
            _ => return self.refused(StatusCode::METHOD_NOT_ALLOWED, "method"),
        }
        let json = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).is_some_and(|v| {
            v.split(';').next().is_some_and(|v| v.trim().eq_ignore_ascii_case("application/json"))
        });
        if !json {
            return self.refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content_type");
        }
        let body = match read(body, self.max_body, self.body_read).await {
            Ok(body) => body,
            Err(status) => return self.refused(status, "body"),
        };
        let message = match Message::parse(&body, &Limits { bytes: self.max_body, ..Limits::MESSAGE }) {
            Ok(message) => message,
            Err(error) => return self.not_a_message(&opened, &error).await,
        };
        let fields = fields(headers);
        match era_of(fields.iter().copied(), &message) {
            Era::Modern => self.modern(opened, only.as_ref(), headers, message).await,
            Era::Legacy => self.legacy(opened, only.as_ref(), headers, message).await,
        }
    }

    /// A foreign `Host` or `Origin` is a browser that was led here (MCP, Transports: security).
    fn check_origin(&self, headers: &HeaderMap) -> Result<(), Box<Response>> {
        let one = |name| {
            let mut values = headers.get_all(name).iter();
            (values.next().and_then(|value| value.to_str().ok()), values.next().is_some())
        };
        let (host, twice) = one(header::HOST);
        let ours = |host: &str| self.hosts.iter().any(|ours| ours.eq_ignore_ascii_case(host));
        if twice || !host.is_some_and(ours) {
            return Err(Box::new(self.refused(StatusCode::MISDIRECTED_REQUEST, "host")));
        }
        match one(header::ORIGIN) {
            (None, false) if !headers.contains_key(header::ORIGIN) => Ok(()),
            (Some(origin), false) if origin.split_once("://").is_some_and(|(_, host)| ours(host)) => Ok(()),
            _ => Err(Box::new(self.refused(StatusCode::FORBIDDEN, "origin"))),
        }
    }

    fn refused(&self, status: StatusCode, reason: &'static str) -> Response {
        self.refusals.refused(reason);
        respond(status, &object! { "error" => reason })
    }
}

async fn read(body: Body, most: usize, within: Duration) -> Result<Bytes, StatusCode> {
    match tokio::time::timeout(within, axum::body::to_bytes(body, most)).await {
        Ok(body) => body.map_err(|_| StatusCode::PAYLOAD_TOO_LARGE),
        Err(_) => Err(StatusCode::REQUEST_TIMEOUT),
    }
}

/// Header fields as text; what isn't text can't equal anything that the body mirrors, and is left out.
fn fields(headers: &HeaderMap) -> Vec<(&str, &str)> {
    headers.iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?))).collect()
}

fn respond(status: StatusCode, object: &Object) -> Response {
    json(status, placet_json::Value::from(object.clone()).to_bytes())
}

fn json(status: StatusCode, bytes: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response.headers_mut().insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    response
}

fn message(status: StatusCode, message: Message) -> Response {
    json(status, message.into_bytes())
}

fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}
