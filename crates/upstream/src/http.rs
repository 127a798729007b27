//! An upstream over Streamable HTTP: how requests look, which era it is of, its sessions.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method as Verb, Request, Uri};
use http_body_util::Full;
use placet_core::Name;
use placet_json::{Object, Value};
use placet_mcp::discover::{self, Discovered, Probe};
use placet_mcp::rpc::code;
use placet_mcp::{Era, Method, RpcError, headers};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::timeout;
use url::{Position, Url};

use crate::config::{Bounds, Config, Http, Timeouts};
use crate::credential::Caller;
use crate::dial::Dialer;
use crate::egress::Resolve;
use crate::era::{Known, offers_only_legacy};
use crate::pool::{Lane, Pool};
use crate::post::{self, Broken, Reply};
use crate::session::{Session, Sessions};
use crate::wire::{self, Inbound};
use crate::{Made, Partition, Purpose, Target, UpstreamError};

/// Headers that say what a request is; no credential may set one.
pub(crate) const OURS: [&str; 10] = [
    "host",
    "content-type",
    "content-length",
    "transfer-encoding",
    "connection",
    "accept",
    "user-agent",
    "expect",
    "upgrade",
    IDEMPOTENCY_KEY,
];

/// What a call that changes something is sent with, so that a tool which sees it twice does it once.
pub(crate) const IDEMPOTENCY_KEY: &str = "idempotency-key";

const LAST_EVENT: HeaderName = HeaderName::from_static("last-event-id");

/// An upstream at an address.
pub(crate) struct HttpUpstream {
    pub(crate) name: Name,
    pub(crate) url: Url,
    pub(crate) pool: Arc<Pool>,
    pub(crate) era: Known,
    pub(crate) timeouts: Timeouts,
    pub(crate) bounds: Bounds,
    target: Uri,
    host: HeaderValue,
    ids: AtomicU64,
    probing: tokio::sync::Mutex<()>,
    pub(crate) sessions: Sessions,
}

/// How to talk to it.
#[derive(Debug, Clone)]
pub(crate) enum Manner {
    Modern,
    Legacy(Session),
    /// Before a legacy session exists.
    Handshake,
}

/// The answer to a request of our own.
pub(crate) struct Told {
    pub(crate) status: u16,
    pub(crate) session: Option<String>,
    /// The message as it came; empty if none did.
    pub(crate) raw: Bytes,
    pub(crate) answer: Option<Result<Object, RpcError>>,
}

impl Manner {
    pub(crate) fn era(&self) -> Era {
        match self {
            Self::Modern => Era::Modern,
            Self::Legacy(_) | Self::Handshake => Era::Legacy,
        }
    }

    /// Whether there is a session that the server can lose.
    pub(crate) fn is_kept(&self) -> bool {
        matches!(self, Self::Legacy(session) if session.is_kept())
    }
}

impl HttpUpstream {
    pub(crate) fn new(
        config: &Config,
        http: &Http,
        resolver: Arc<dyn Resolve>,
    ) -> Result<Self, UpstreamError> {
        let Timeouts { connect, idle, .. } = config.timeouts;
        let dialer = Dialer::new(http, resolver, connect)?;
        let invalid = |_| UpstreamError::protocol("the URL can't be put into a request");
        let target = http.url[Position::BeforePath..Position::AfterQuery].parse::<Uri>();
        let host = &http.url[Position::BeforeHost..Position::AfterPort];
        Ok(Self {
            name: config.name.clone(),
            url: http.url.clone(),
            pool: Arc::new(Pool::new(dialer, config.bounds.connections, idle, connect)),
            era: Known::new(config.era),
            timeouts: config.timeouts,
            bounds: config.bounds,
            target: target.map_err(|_| UpstreamError::protocol("the URL can't be put into a request"))?,
            host: HeaderValue::from_str(host).map_err(invalid)?,
            ids: AtomicU64::new(1),
            probing: tokio::sync::Mutex::default(),
            sessions: Sessions::new(config.bounds.sessions, config.timeouts.rest),
        })
    }

    /// A request id that was never used: they count up from 1 and stay below 2^53.
    pub(crate) fn id(&self) -> u64 {
        self.ids.fetch_add(1, Ordering::Relaxed)
    }

    /// How to talk to it in this partition; finds out, and opens a session, where that is still to be done.
    pub(crate) async fn manner(
        &self,
        caller: Caller<'_>,
        partition: &Partition,
    ) -> Result<Manner, UpstreamError> {
        let era = match self.era.get() {
            Some(era) => era,
            None => self.probe(caller, partition).await?,
        };
        match era {
            Era::Modern => Ok(Manner::Modern),
            Era::Legacy => Ok(Manner::Legacy(self.session(caller, partition).await?)),
        }
    }

    async fn probe(&self, caller: Caller<'_>, partition: &Partition) -> Result<Era, UpstreamError> {
        let _one = self.probing.lock().await;
        if let Some(era) = self.era.get() {
            return Ok(era);
        }
        let id = self.id();
        let request = discover::request(id.into(), Object::new(), wire::client_info());
        let told =
            self.ask(caller, partition, &Manner::Modern, id, Method::Discover, request.into_bytes()).await?;
        if let Some(Err(error)) = &told.answer
            && offers_only_legacy(error)
        {
            self.era.learn(Era::Legacy);
            return Ok(Era::Legacy);
        }
        match discover::probe_http(told.status, &told.raw) {
            Probe::Era(era) => {
                if let (Era::Modern, Some(Ok(result))) = (era, told.answer) {
                    Discovered::parse(result).map_err(|bad| UpstreamError::protocol(bad.to_string()))?;
                }
                tracing::debug!(upstream = %self.name, ?era, "probed");
                self.era.learn(era);
                Ok(era)
            }
            Probe::Unknown => Err(UpstreamError::Status(told.status)),
        }
    }

    /// Sends a request of our own, and waits for its answer.
    pub(crate) async fn ask(
        &self,
        caller: Caller<'_>,
        partition: &Partition,
        manner: &Manner,
        id: u64,
        method: Method,
        body: Vec<u8>,
    ) -> Result<Told, UpstreamError> {
        let mirrored = mirrored(manner, method, &Object::new(), None)?;
        self.send(caller, partition, manner, id, mirrored, body).await
    }

    /// Sends a notification, or an answer to a question.
    pub(crate) async fn tell(
        &self,
        caller: Caller<'_>,
        partition: &Partition,
        manner: &Manner,
        body: Vec<u8>,
    ) -> Result<(), UpstreamError> {
        let told = self.send(caller, partition, manner, 0, HeaderMap::new(), body).await?;
        if (200..300).contains(&told.status) { Ok(()) } else { Err(UpstreamError::Status(told.status)) }
    }

    async fn send(
        &self,
        caller: Caller<'_>,
        partition: &Partition,
        manner: &Manner,
        id: u64,
        mirrored: HeaderMap,
        body: Vec<u8>,
    ) -> Result<Told, UpstreamError> {
        let made = caller.make(&self.aim(Purpose::Session, &body))?;
        let request = self.request(manner, mirrored, &made, body.into())?;
        let lane = self.pool.take(partition).await?;
        let told = timeout(self.timeouts.handshake, self.talk(lane, request, id, self.bounds.answer));
        told.await.map_err(|_| UpstreamError::Timeout("a handshake"))?
    }

    /// Sends a request and waits for its answer, of `bound` bytes at most.
    pub(crate) async fn talk(
        &self,
        mut lane: Lane,
        request: Request<Full<Bytes>>,
        id: u64,
        bound: usize,
    ) -> Result<Told, UpstreamError> {
        let broken = |broken: Broken| UpstreamError::protocol(broken.to_string());
        let mut reply = post::send(&mut lane.line, request, bound).await.map_err(broken)?;
        let (status, session) = (reply.status.as_u16(), reply.session.take());
        let limits = wire::limits(bound);
        loop {
            let Some(raw) = reply.next().await.map_err(broken)? else {
                self.put_back(lane, reply);
                return Ok(Told { status, session, raw: Bytes::new(), answer: None });
            };
            let answer = match wire::read(&raw, &limits, id, true) {
                Ok(Inbound::Answer(answer)) => Some(answer),
                Ok(Inbound::Notice(_) | Inbound::Question(..) | Inbound::Stray) => continue,
                Err(_) => None,
            };
            self.put_back(lane, reply);
            return Ok(Told { status, session, raw, answer });
        }
    }

    /// Keeps the connection for the next request of its partition, once the rest of the answer has come.
    pub(crate) fn put_back(&self, lane: Lane, reply: Reply) {
        reply.end(lane, &self.pool);
    }

    /// Sends a notification, or an answer to a question, without waiting for anything. The credential is made now.
    pub(crate) fn tell_later(
        self: &Arc<Self>,
        caller: Caller<'_>,
        partition: &Partition,
        manner: &Manner,
        body: Vec<u8>,
    ) {
        let made = match caller.make(&self.aim(Purpose::Session, &body)) {
            Ok(made) => made,
            Err(error) => return tracing::debug!(upstream = %self.name, %error, "nothing was told"),
        };
        let request = match self.request(manner, HeaderMap::new(), &made, body.into()) {
            Ok(request) => request,
            Err(error) => return tracing::debug!(upstream = %self.name, %error, "nothing was told"),
        };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (http, partition) = (Arc::clone(self), partition.clone());
        runtime.spawn(async move {
            let told = timeout(http.timeouts.handshake, async {
                let lane = http.pool.take(&partition).await?;
                http.talk(lane, request, 0, http.bounds.answer).await
            });
            match told.await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => tracing::debug!(upstream = %http.name, %error, "told in vain"),
                Err(_) => tracing::debug!(upstream = %http.name, "told in vain: no answer in time"),
            }
        });
    }

    /// Forgets the session if there is one that the server can lose; says whether there was.
    pub(crate) async fn lose(&self, partition: &Partition, manner: &Manner) -> bool {
        let Manner::Legacy(session) = manner else { return false };
        if session.is_kept() {
            self.sessions.forget(partition, session).await;
        }
        session.is_kept()
    }

    /// Forgets the era if this answer could not have come from a server of it.
    pub(crate) fn note_era(&self, manner: &Manner, status: u16, answer: Option<&Result<Object, RpcError>>) {
        let code = answer.and_then(|answer| answer.as_ref().err()).map(|error| error.code);
        let changed = match manner.era() {
            Era::Modern => {
                let modern = code.is_some_and(|code| {
                    (-32700..=-32600).contains(&code) || (-32099..=-32020).contains(&code)
                });
                code == Some(code::UNSUPPORTED_VERSION)
                    || (matches!(status, 400 | 404 | 405 | 406) && !modern)
            }
            Era::Legacy => matches!(
                code,
                Some(code::HEADER_MISMATCH | code::MISSING_CAPABILITY | code::UNSUPPORTED_VERSION)
            ),
        };
        if changed {
            tracing::info!(upstream = %self.name, status, "the upstream changed its era");
            self.era.forget();
        }
    }

    pub(crate) fn aim<'a>(&'a self, purpose: Purpose, body: &'a [u8]) -> Target<'a> {
        Target::Http { purpose, method: "POST", url: &self.url, body }
    }

    /// The whole request. Every header is made here or is the credential's.
    pub(crate) fn request(
        &self,
        manner: &Manner,
        mirrored: HeaderMap,
        made: &Made,
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, UpstreamError> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Verb::POST;
        *request.uri_mut() = self.target.clone();
        let all = request.headers_mut();
        all.insert(HOST, self.host.clone());
        all.insert(USER_AGENT, HeaderValue::from_static(concat!("placet/", env!("CARGO_PKG_VERSION"))));
        all.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        all.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
        all.extend(mirrored);
        if let Manner::Legacy(session) = manner {
            session.headers(all);
        }
        for (name, secret) in &made.headers {
            if OURS.contains(&name.as_str()) || name.as_str().starts_with("mcp-") {
                return Err(UpstreamError::protocol(format!("a credential can't set the header `{name}`")));
            }
            all.append(name.clone(), secret_value(secret)?);
        }
        Ok(request)
    }

    /// The request that opens a legacy server's own stream, or takes one up after the event `last`.
    pub(crate) fn open_stream(
        &self,
        caller: Caller<'_>,
        manner: &Manner,
        last: Option<&str>,
    ) -> Result<Request<Full<Bytes>>, UpstreamError> {
        let target = Target::Http { purpose: Purpose::Session, method: "GET", url: &self.url, body: b"" };
        let made = caller.make(&target)?;
        let mut request = self.request(manner, HeaderMap::new(), &made, Bytes::new())?;
        *request.method_mut() = Verb::GET;
        let all = request.headers_mut();
        all.remove(CONTENT_TYPE);
        all.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        if let Some(last) = last {
            let value = HeaderValue::from_str(last);
            all.insert(LAST_EVENT, value.map_err(|_| UpstreamError::protocol("an event's id is malformed"))?);
        }
        Ok(request)
    }
}

/// The headers that repeat the body.
pub(crate) fn mirrored(
    manner: &Manner,
    method: Method,
    params: &Object,
    schema: Option<&Value>,
) -> Result<HeaderMap, UpstreamError> {
    let mut out = HeaderMap::new();
    if manner.era() == Era::Modern {
        for (name, value) in headers::headers_for(method, params, schema) {
            let unusable = || UpstreamError::protocol("an argument can't be put into a header");
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| unusable())?;
            out.insert(name, HeaderValue::from_str(&value).map_err(|_| unusable())?);
        }
    }
    Ok(out)
}

pub(crate) fn secret_value(secret: &SecretString) -> Result<HeaderValue, UpstreamError> {
    let mut value = HeaderValue::from_str(secret.expose_secret())
        .map_err(|_| UpstreamError::protocol("a credential can't be put into a header"))?;
    value.set_sensitive(true);
    Ok(value)
}
