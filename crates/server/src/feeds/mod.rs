//! Identity feeds on the network: SCIM at `/scim/v2`, Shared Signals at `/ssf`, both off until the settings name somebody.
//!
//! What a feed may do is `placet_feeds`' and the settings'; here is the order: authenticated before anything is read,
//! durable before anything is answered or acknowledged.

mod receive;
mod scim;
mod tell;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{any, get},
};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use placet_core::{Digest, Name};
use placet_gateway::Ledger;
use placet_jose::{SigningKey, keys::KeyError};
use placet_upstream::{Egress, Http, Once, SystemResolver, Trust};
use secrecy::ExposeSecret;
use sha2::{Digest as _, Sha256};
use tokio::{net::TcpListener, sync::watch, task::JoinSet};
use url::Url;

use crate::{
    admin::is_host,
    books::Books,
    listen::{self, Bounds},
    metrics::Metrics,
    settings::{self, FeedsListener, SecretSource, Settings, Variables, Witness},
    window::FileWindow,
};

/// Events that are remembered at once: a month's.
const EVENTS: usize = 1_000_000;
/// How long one request to others may take, and the longest answer.
const ASK: Duration = Duration::from_secs(10);
const MAX_ANSWER: usize = 4 << 20;

/// Why feeds can't be served.
#[derive(Debug, thiserror::Error)]
#[error("feed `{feed}`: {why}")]
pub struct FeedError {
    /// Which.
    pub feed: String,
    /// What is wrong.
    pub why: String,
}

impl FeedError {
    fn new(feed: impl std::fmt::Display, why: impl std::fmt::Display) -> Self {
        Self { feed: feed.to_string(), why: why.to_string() }
    }
}

/// What feeds are served with.
pub(crate) struct Parts<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) variables: Variables<'a>,
    pub(crate) ledger: Ledger,
    pub(crate) books: Arc<dyn Books>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) key: SigningKey,
}

/// The feeds of a server.
pub(crate) struct Feeds {
    inner: Arc<Inner>,
    listen: FeedsListener,
    own: Option<TcpListener>,
    body_read: Duration,
}

pub(crate) struct Inner {
    books: Arc<dyn Books>,
    metrics: Arc<Metrics>,
    /// The listener as feeds call it.
    url: String,
    body_read: Duration,
    scim: BTreeMap<[u8; 32], Arc<scim::Served>>,
    sources: BTreeMap<Name, Arc<receive::Listened>>,
    streams: BTreeMap<Name, Arc<tell::Told>>,
    /// Events that were taken.
    taken: Mutex<FileWindow>,
    ledger: Ledger,
    /// Who signs what we tell.
    issuer: String,
    key: SigningKey,
}

/// The same key once more: keys aren't cloned by accident.
pub(crate) fn again(key: &SigningKey) -> Result<SigningKey, KeyError> {
    SigningKey::from_pkcs8_pem(&key.to_pkcs8_pem()?)
}

/// Opens what the settings name.
pub(crate) async fn open(parts: Parts<'_>) -> Result<Feeds, FeedError> {
    let Parts { settings, variables, ledger, books, metrics, key } = parts;
    let feeds = &settings.feeds;
    let failed = |error: &dyn std::fmt::Display| FeedError::new("feeds", error);
    let mut own = None;
    let mut url = match feeds.listen {
        FeedsListener::Admin => settings.server.admin_url.clone(),
        FeedsListener::Agents => settings.server.public_url.clone(),
        FeedsListener::Own(address) => {
            let listener = TcpListener::bind(address).await.map_err(|error| failed(&error))?;
            let bound = listener.local_addr().map_err(|error| failed(&error))?;
            own = Some(listener);
            format!("http://{bound}")
        }
    };
    if let Some(given) = &feeds.url {
        url.clone_from(given);
    }
    let data = settings.server.data.join("feeds");
    std::fs::create_dir_all(&data).map_err(|error| failed(&error))?;
    let taken =
        FileWindow::open(&data.join("events"), EVENTS, books.now().secs()).map_err(|error| failed(&error))?;
    let scim = feeds
        .scim
        .iter()
        .map(|one| {
            let hash = witness(&one.token, variables).map_err(|why| FeedError::new(&one.feed.name, why))?;
            Ok((hash, Arc::new(scim::Served::new(one.feed.clone()))))
        })
        .collect::<Result<BTreeMap<_, _>, FeedError>>()?;
    if scim.len() < feeds.scim.len() {
        return Err(FeedError::new("scim", "two feeds have the same token"));
    }
    let sources = feeds
        .transmitters
        .iter()
        .map(|one| Ok((one.name.clone(), Arc::new(receive::Listened::open(one, &url, variables)?))))
        .collect::<Result<BTreeMap<_, _>, FeedError>>()?;
    for source in sources.values() {
        receive::Listened::declare(source, &*books)?;
    }
    let streams = feeds
        .receivers
        .iter()
        .map(|one| Ok((one.name.clone(), Arc::new(tell::Told::open(one, &data, variables, &ledger)?))))
        .collect::<Result<_, FeedError>>()?;
    let inner = Inner {
        books,
        metrics,
        url,
        body_read: Duration::from_millis(settings.limits.body_read_ms),
        scim,
        sources,
        streams,
        taken: Mutex::new(taken),
        ledger,
        issuer: settings.server.public_url.clone(),
        key,
    };
    let feeds = Feeds { body_read: inner.body_read, inner: Arc::new(inner), listen: feeds.listen, own };
    scim::align_all(&feeds.inner).await;
    Ok(feeds)
}

impl Feeds {
    /// What stands on the agents' listener.
    pub(crate) fn agents(&self) -> Router {
        if self.listen == FeedsListener::Agents { self.routes() } else { Router::new() }
    }
    /// What stands on the administrators' listener.
    pub(crate) fn admins(&self) -> Router {
        if self.listen == FeedsListener::Admin { self.routes() } else { Router::new() }
    }
    /// Serves the own listener, if there is one; asks, listens and tells until the end.
    pub(crate) fn work(mut self, tasks: &mut JoinSet<()>, stop: &watch::Sender<bool>, header_bytes: usize) {
        let told = |mut stopped: watch::Receiver<bool>| async move {
            drop(stopped.wait_for(|stopped| *stopped).await);
        };
        if let Some(listener) = self.own.take() {
            let bounds = Bounds { header_bytes, header_read: self.body_read, connections: 256 };
            tasks.spawn(listen::serve(listener, bounds, self.routes(), told(stop.subscribe())));
        }
        for source in self.inner.sources.values() {
            let (inner, source) = (Arc::clone(&self.inner), Arc::clone(source));
            let stopped = told(stop.subscribe());
            tasks.spawn(async move {
                tokio::select! {
                    () = receive::attend(&inner, &source) => {}
                    () = stopped => {}
                }
            });
        }
        for stream in self.inner.streams.values().filter(|stream| stream.pushes()) {
            let (inner, stream) = (Arc::clone(&self.inner), Arc::clone(stream));
            let stopped = told(stop.subscribe());
            tasks.spawn(async move {
                tokio::select! {
                    () = tell::push(&inner, &stream) => {}
                    () = stopped => {}
                }
            });
        }
    }
    /// Where the own listener listens.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.own.as_ref().and_then(|own| own.local_addr().ok())
    }

    fn routes(&self) -> Router {
        let mut router = Router::new();
        if !self.inner.scim.is_empty() {
            router = router.route("/scim/v2", any(scim::serve)).route("/scim/v2/{*path}", any(scim::serve));
        }
        if !self.inner.sources.is_empty() {
            router = router.route("/ssf/push/{source}", axum::routing::post(receive::push));
        }
        if !self.inner.streams.is_empty() {
            router = router
                .route("/.well-known/ssf-configuration", get(tell::configuration))
                .route("/ssf/jwks", get(tell::jwks))
                .route("/ssf/streams", get(tell::streams))
                .route("/ssf/status", get(tell::status))
                .route("/ssf/verify", axum::routing::post(tell::verify))
                .route("/ssf/poll/{stream}", axum::routing::post(tell::poll));
        }
        router.with_state(Arc::clone(&self.inner)).layer(from_fn_with_state(Arc::clone(&self.inner), host))
    }
}

/// A `Host` that isn't ours is somebody else's name for this address.
async fn host(State(inner): State<Arc<Inner>>, request: Request, next: Next) -> Response {
    let expected = inner.url.split_once("://").map_or("", |(_, authority)| authority);
    if is_host(request.headers(), request.uri(), expected) {
        return next.run(request).await;
    }
    inner.metrics.refused("host");
    StatusCode::MISDIRECTED_REQUEST.into_response()
}

/// The hash of the bearer token of a request; none where there isn't exactly one.
fn bearer(headers: &HeaderMap) -> Option<[u8; 32]> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (value, None) = (values.next()?.to_str().ok()?, values.next()) else { return None };
    let (scheme, token) = value.split_once(' ')?;
    (scheme.eq_ignore_ascii_case("Bearer") && !token.is_empty()).then(|| hash(token.as_bytes()))
}

/// Tokens are compared by their hash: the time that takes says nothing about them.
fn hash(token: &[u8]) -> [u8; 32] {
    Sha256::digest(token).into()
}

fn witness(witness: &Witness, variables: Variables<'_>) -> Result<[u8; 32], String> {
    match witness {
        Witness::Hash(digest) => Ok(*Digest::as_bytes(digest)),
        Witness::Secret(source) => {
            let secret = source.fetch(variables).map_err(|error| format!("{error}; {}", error.remedy()))?;
            let text = secret.expose_secret();
            if text.len() < 20 {
                return Err(
                    "its token is shorter than 20 characters; make one with `placet scim token`".to_owned()
                );
            }
            Ok(hash(text.as_bytes()))
        }
    }
}

enum Unread {
    TooLarge,
    Broken,
    Slow,
}

async fn read(body: Body, most: usize, limit: Duration) -> Result<Bytes, Unread> {
    match tokio::time::timeout(limit, Limited::new(body, most).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Unread::TooLarge),
        Ok(Err(_)) => Err(Unread::Broken),
        Err(_) => Err(Unread::Slow),
    }
}

/// Somewhere to ask, by the guard that keeps a server from being led elsewhere.
fn place(url: &Url, allow_private: bool) -> Result<Once, String> {
    let egress = if allow_private { Egress::Private } else { Egress::Public };
    let http = Http { url: url.clone(), trust: Trust::System, egress };
    Once::new(&http, Arc::new(SystemResolver), ASK, MAX_ANSWER).map_err(|error| format!("`{url}`: {error}"))
}

/// An address with the token for it.
struct Aimed {
    at: Once,
    authorization: Option<http::HeaderValue>,
}

impl Aimed {
    fn open(
        delivery: &settings::Delivery,
        allow_private: bool,
        variables: Variables<'_>,
    ) -> Result<Self, String> {
        let authorization = delivery.token.as_ref().map(|source| fetch(source, variables)).transpose()?;
        Ok(Self { at: place(&delivery.url, allow_private)?, authorization })
    }
    /// `POST`, with a media type.
    async fn post(&self, media: &'static str, body: Bytes) -> Result<placet_upstream::OnceAnswer, String> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, http::HeaderValue::from_static(media));
        headers.insert(header::ACCEPT, http::HeaderValue::from_static("application/json"));
        if let Some(authorization) = &self.authorization {
            headers.insert(header::AUTHORIZATION, authorization.clone());
        }
        self.at.send(http::Method::POST, headers, body).await.map_err(|error| error.to_string())
    }
}

fn fetch(source: &SecretSource, variables: Variables<'_>) -> Result<http::HeaderValue, String> {
    let secret = source.fetch(variables).map_err(|error| format!("{error}; {}", error.remedy()))?;
    let mut value = http::HeaderValue::from_str(&format!("Bearer {}", secret.expose_secret()))
        .map_err(|_| "the token is no text for a header".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

/// Where a stream's place is kept. Names of the settings are letters, digits and `-`.
fn file(data: &Path, name: &Name) -> std::path::PathBuf {
    data.join(format!("{name}.stream"))
}
