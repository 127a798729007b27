//! Shared Signals taken in: pushed to us (RFC 8935), or fetched (RFC 8936). An event is acknowledged once what it means is
//! durable, and counts once, also after a restart.

use std::{
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    extract::{Path, Request, State},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, header};
use placet_core::{Name, Timestamp};
use placet_facts::{Mode, Place, Source as FactsSource, SourceError};
use placet_feeds::ssf::{Received, Source, Unmeant, receive, refusal};
use placet_gateway::{SourceReport, SourceSays};
use placet_jose::{
    Expect, KeySet, Refused, Verified,
    keys::random_id,
    replay::{Admission, ReplayWindow as _},
    tokens::SecurityEvent,
};
use placet_json::{Limits, Object, Value, object, parse};
use placet_upstream::Once;
use tokio::sync::Mutex;

use super::{Aimed, FeedError, Inner, bearer, place, read, witness};
use crate::{
    books::{Books, Deed, Unwritten},
    settings::{Transmitter, TransmitterKeys, Variables},
};

/// The longest event token, in bytes.
const MAX_EVENT: usize = 32 * 1024;
/// How many events are fetched at once.
const BATCH: u64 = 100;
/// Keys aren't fetched more often than this, in milliseconds, whoever sends tokens of unknown ones.
const KEYS_EVERY: u64 = 60_000;
/// How long to wait after a failure.
const BACKOFF: Duration = Duration::from_secs(5);
const SET: &str = "application/secevent+jwt";

/// A transmitter to which we listen.
pub(super) struct Listened {
    source: Source,
    push: Option<[u8; 32]>,
    poll: Option<(Aimed, Duration)>,
    verify: Option<(Aimed, String, Duration)>,
    keys: RwLock<Arc<KeySet>>,
    keys_at: Option<Once>,
    keys_fetched: AtomicU64,
    /// One event at a time: looked up, recorded, remembered.
    turn: Mutex<()>,
    /// How long it may be silent, in milliseconds; none where silence means nothing.
    silence: Option<u64>,
}

/// Why an event isn't taken.
struct Untaken {
    /// The error of RFC 8935, or none where we are at fault and it is to be sent again.
    err: Option<&'static str>,
    why: String,
}

impl Listened {
    pub(super) fn open(one: &Transmitter, url: &str, variables: Variables<'_>) -> Result<Self, FeedError> {
        let failed = |why: String| FeedError::new(&one.name, why);
        let (keys, keys_at) = match &one.keys {
            TransmitterKeys::File(path) => {
                let shown = path.display();
                let bytes = std::fs::read(path)
                    .map_err(|error| failed(format!("`{shown}` can't be read: {error}")))?;
                let keys =
                    KeySet::of_transmitter(&bytes).map_err(|error| failed(format!("`{shown}`: {error}")))?;
                if keys.is_empty() {
                    return Err(failed(format!("`{shown}` holds no key that can be used")));
                }
                (keys, None)
            }
            TransmitterKeys::Url(url) => {
                (KeySet::new(), Some(place(url, one.allow_private).map_err(failed)?))
            }
        };
        let aimed = |delivery| Aimed::open(delivery, one.allow_private, variables).map_err(failed);
        let verify = one.verify.as_ref().map(|verify| {
            Ok((aimed(&verify.at)?, verify.stream.clone(), Duration::from_secs(verify.every_s)))
        });
        Ok(Self {
            source: Source {
                name: one.name.clone(),
                issuer: one.issuer.clone(),
                audience: one.audience.clone().unwrap_or_else(|| format!("{url}/ssf/push/{}", one.name)),
                subject_issuer: one.subject_issuer.clone().unwrap_or_else(|| one.issuer.clone()),
                tenant: one.tenant.clone(),
                feed: one.scim.clone(),
                effects: one.effects.clone(),
            },
            push: one.push.as_ref().map(|one| witness(one, variables)).transpose().map_err(failed)?,
            poll: one
                .poll
                .as_ref()
                .map(|(delivery, every)| Ok((aimed(delivery)?, Duration::from_millis(*every))))
                .transpose()?,
            verify: verify.transpose()?,
            keys: RwLock::new(Arc::new(keys)),
            keys_at,
            keys_fetched: AtomicU64::new(0),
            turn: Mutex::new(()),
            // Who is neither asked for events nor for a sign of life says nothing while nothing happens.
            silence: (one.silence_s > 0 && (one.poll.is_some() || one.verify.is_some()))
                .then(|| one.silence_s.saturating_mul(1000)),
        })
    }

    fn keys(&self) -> Arc<KeySet> {
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }
    /// From now on decisions depend on it: where it falls silent, they deny.
    pub(super) fn declare(&self, books: &dyn Books) -> Result<(), FeedError> {
        let place = self.place();
        let mode = self.silence.map_or(Mode::PushOnly, |bound_ms| Mode::Polled { bound_ms });
        let source = FactsSource { name: self.source.name.clone(), place, mode };
        books
            .live()
            .sources()
            .declare(source, books.now())
            .map_err(|error| FeedError::new(&self.source.name, error))
    }
    /// What it had to say up to `at` is here.
    fn alive(&self, inner: &Inner, at: Timestamp) {
        inner.ledger.source_seen(&self.source.name, &self.place(), at, &self.source.name);
    }
    fn place(&self) -> Place {
        self.source.tenant.clone().map_or(Place::Organisation, Place::Tenant)
    }
    fn broken(&self, inner: &Inner, why: &str) {
        self.noted(inner.books.live().sources().broken(&self.source.name, why));
    }
    fn noted(&self, noted: Result<(), SourceError>) {
        if let Err(error) = noted {
            tracing::error!(source = %self.source.name, %error, "a source isn't known");
        }
    }

    /// Fetches the keys, unless that was done just now.
    async fn refresh(&self, now: Timestamp) -> Result<(), String> {
        let Some(at) = &self.keys_at else { return Err("its keys are in a file".to_owned()) };
        let last = self.keys_fetched.load(Ordering::Acquire);
        if last != 0 && now.millis().saturating_sub(last) < KEYS_EVERY {
            return Err("its keys were fetched less than a minute ago".to_owned());
        }
        self.keys_fetched.store(now.millis(), Ordering::Release);
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, http::HeaderValue::from_static("application/json"));
        let answer = at.send(Method::GET, headers, Bytes::new()).await.map_err(|error| error.to_string())?;
        if answer.status != StatusCode::OK {
            return Err(format!("its keys: HTTP status {}", answer.status));
        }
        let keys = KeySet::of_transmitter(&answer.body).map_err(|error| error.to_string())?;
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
        Ok(())
    }

    async fn verified(&self, token: &str, now: Timestamp) -> Result<Verified<SecurityEvent>, Refused> {
        let open = |keys: &KeySet| {
            let expect = Expect { issuer: &self.source.issuer, audience: &self.source.audience, keys };
            Verified::<SecurityEvent>::open(token, &expect, now.secs())
        };
        match open(&self.keys()) {
            Err(Refused::UnknownKey) if self.keys_at.is_some() => {
                if let Err(why) = self.refresh(now).await {
                    tracing::warn!(source = %self.source.name, %why, "no new keys");
                    return Err(Refused::UnknownKey);
                }
                open(&self.keys())
            }
            other => other,
        }
    }
}

/// `POST /ssf/push/{source}`
pub(super) async fn push(
    State(inner): State<Arc<Inner>>,
    Path(name): Path<String>,
    request: Request,
) -> Response {
    let (head, body) = request.into_parts();
    let known = Name::new(&name).ok().and_then(|name| inner.sources.get(&name));
    let sent = bearer(&head.headers);
    // Who isn't known learns nothing, not even which sources there are.
    let Some(listened) = known.filter(|one| one.push.is_some() && one.push == sent) else {
        inner.metrics.refused("ssf_unauthenticated");
        return error(StatusCode::UNAUTHORIZED, "authentication_failed", "a bearer token is needed");
    };
    let media =
        head.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media = media.split(';').next().unwrap_or_default().trim();
    if !media.eq_ignore_ascii_case(SET) {
        return error(
            StatusCode::BAD_REQUEST,
            "invalid_request",
            "the media type is application/secevent+jwt",
        );
    }
    let Ok(body) = read(body, MAX_EVENT, inner.body_read).await else {
        inner.metrics.fed(listened.source.name.as_str(), "too_large");
        return error(StatusCode::BAD_REQUEST, "invalid_request", "the event is too large, or broke off");
    };
    let Ok(token) = std::str::from_utf8(&body) else {
        return error(StatusCode::BAD_REQUEST, "invalid_request", "the event is no text");
    };
    match take(&inner, listened, token.trim()).await {
        Ok(_) => StatusCode::ACCEPTED.into_response(),
        Err(Untaken { err: Some(err), why }) => error(StatusCode::BAD_REQUEST, err, &why),
        Err(Untaken { err: None, why }) => {
            tracing::error!(source = %listened.source.name, %why, "an event could not be recorded");
            StatusCode::SERVICE_UNAVAILABLE.into_response()
        }
    }
}

/// Takes one event: verified, new, recorded, remembered, in this order. A crash before the last step lets it come again,
/// which changes nothing more; before the one before, nothing is lost. Its `jti` is answered.
async fn take(inner: &Inner, listened: &Listened, token: &str) -> Result<String, Untaken> {
    let (name, now) = (listened.source.name.as_str(), inner.books.now());
    let verified = listened.verified(token, now).await.map_err(|refused| {
        inner.metrics.fed(name, refusal(refused));
        tracing::warn!(source = name, why = %refused, "an event was refused");
        Untaken { err: Some(refusal(refused)), why: refused.to_string() }
    })?;
    let said_at = Timestamp::from_secs(verified.issued_at()).min(now);
    let forget_at = verified.expires_at().saturating_add(placet_jose::LEEWAY);
    let event = verified.into_claims();
    let key = event.replay_key(&listened.source.issuer);
    let turn = listened.turn.lock().await;
    let full = || Untaken { err: None, why: "too many events are remembered".to_owned() };
    {
        let seen = inner.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.contains(&key) {
            inner.metrics.fed(name, "seen");
            return Ok(event.jti);
        }
    }
    let digest = placet_core::Digest::from_bytes(*key.as_bytes()).to_string().replace("sha256:", "");
    let Ok(digest) = Name::new(&format!("set:{digest}")) else {
        return Err(Untaken { err: None, why: "no name for the event".to_owned() });
    };
    let received = receive(&inner.books.live().world(), &listened.source, &event, &digest);
    let outcome = recorded(inner, listened, &event, received).await?;
    let admitted = {
        let mut seen = inner.taken.lock().unwrap_or_else(PoisonError::into_inner);
        seen.admit(key, forget_at, now.secs())
    };
    drop(turn);
    if admitted == Admission::Full {
        return Err(full());
    }
    inner.metrics.fed(name, outcome);
    listened.alive(inner, said_at);
    Ok(event.jti)
}

async fn recorded(
    inner: &Inner,
    listened: &Listened,
    event: &SecurityEvent,
    received: Received,
) -> Result<&'static str, Untaken> {
    let name = &listened.source.name;
    let down = |why: String| Untaken { err: None, why };
    match received {
        Received::Verification(_) => Ok("verified"),
        Received::Stream { status } => {
            tracing::warn!(source = %name, %status, "the transmitter has changed its stream");
            // While it is paused nothing is said: what it knows isn't known here, at any gateway.
            let (says, why) = if status == "enabled" {
                (SourceSays::Closed, "its transmitter says that the stream is enabled".to_owned())
            } else {
                (SourceSays::Gap, format!("its transmitter says that the stream is {status}"))
            };
            let (by, source) = (listened.source.name.clone(), listened.source.name.clone());
            let report = SourceReport { by, source, place: listened.place(), says, why };
            inner.books.source(report).await.map_err(|error| down(error.to_string()))?;
            Ok("stream_updated")
        }
        Received::Unmeant(Unmeant::Type) => Ok("unknown_event"),
        Received::Unmeant(Unmeant::Subject) => Ok("unknown_subject"),
        Received::Changes(transaction) => match inner.books.transact(transaction).await {
            Ok(_) => Ok("applied"),
            Err(Unwritten::Down(why)) => Err(down(why)),
            // Somebody was removed between look and commit: nothing of theirs is left to end.
            Err(Unwritten::Change(error)) => {
                tracing::warn!(source = %name, %error, "an event changed nothing");
                Ok("without_change")
            }
        },
        Received::Noted(known, people) => {
            let by = Name::new(&format!("ssf:{name}")).map_err(|error| down(error.to_string()))?;
            let people: Vec<String> = people.iter().map(ToString::to_string).collect();
            let why = format!("about {}; {}", people.join(", "), event.jti).chars().take(500).collect();
            let deed = Deed { by, verb: known.name().to_owned(), refused: false, why, tenant: None };
            inner.books.deed(deed).await.map(|_| "noted").map_err(|error| down(error.to_string()))
        }
    }
}

/// Fetches events and asks for signs of life, until it is dropped.
pub(super) async fn attend(inner: &Inner, listened: &Listened) {
    if listened.keys_at.is_some()
        && let Err(why) = listened.refresh(inner.books.now()).await
    {
        tracing::warn!(source = %listened.source.name, %why, "the keys can't be fetched yet");
    }
    let polling = async {
        match &listened.poll {
            None => std::future::pending().await,
            Some((aimed, every)) => fetch(inner, listened, aimed, *every).await,
        }
    };
    let asking = async {
        match &listened.verify {
            None => std::future::pending().await,
            Some((aimed, stream, every)) => ask(inner, listened, aimed, stream, *every).await,
        }
    };
    tokio::join!(polling, asking);
}

/// RFC 8936: what was taken is acknowledged with the next request.
async fn fetch(inner: &Inner, listened: &Listened, aimed: &Aimed, every: Duration) {
    let (mut acks, mut errors): (Vec<Value>, Object) = (Vec::new(), Object::new());
    loop {
        let began = inner.books.now();
        let asked = object! {
            "maxEvents" => BATCH, "returnImmediately" => true, "ack" => Value::Array(acks.clone()), "setErrs" => errors.clone(),
        };
        let answer = aimed.post("application/json", Value::from(asked).to_bytes().into()).await;
        let answer = answer.and_then(|answer| {
            let limits = Limits { bytes: super::MAX_ANSWER, depth: 8, members: 10_000 };
            match answer.status.as_u16() {
                200 => parse(&answer.body, &limits).map_err(|error| error.to_string()),
                202 | 204 => Ok(Object::new().into()),
                status => Err(format!("HTTP status {status}")),
            }
        });
        let answer = match answer {
            Ok(answer) => answer,
            Err(why) => {
                tracing::warn!(source = %listened.source.name, %why, "events can't be fetched");
                inner.metrics.fed(listened.source.name.as_str(), "unreachable");
                listened.broken(inner, &why);
                tokio::time::sleep(BACKOFF).await;
                continue;
            }
        };
        (acks, errors) = (Vec::new(), Object::new());
        let mut again = false;
        for (jti, token) in answer.get("sets").and_then(Value::as_object).into_iter().flatten() {
            match take(inner, listened, token.as_str().unwrap_or_default()).await {
                Ok(taken) if taken == jti => acks.push(jti.into()),
                Ok(_) => {
                    errors.insert(jti, object! { "err" => "invalid_request", "description" => "another jti stands in the event" });
                }
                Err(Untaken { err: Some(err), why }) => {
                    errors.insert(jti, object! { "err" => err, "description" => why });
                }
                // Neither acknowledged nor refused: it comes again.
                Err(Untaken { err: None, why }) => {
                    tracing::error!(source = %listened.source.name, %why, "an event could not be recorded");
                    again = true;
                }
            }
        }
        let more = answer.get("moreAvailable").and_then(Value::as_bool) == Some(true);
        // Only what was said to the end is known to be complete.
        if !again && !more {
            listened.alive(inner, began);
        }
        if again {
            tokio::time::sleep(BACKOFF).await;
        } else if acks.is_empty() && errors.is_empty() && !more {
            tokio::time::sleep(every).await;
        }
    }
}

/// Asks the transmitter for a verification event.
async fn ask(inner: &Inner, listened: &Listened, aimed: &Aimed, stream: &str, every: Duration) {
    loop {
        let state = random_id().unwrap_or_default();
        let asked = object! { "stream_id" => stream, "state" => state };
        match aimed.post("application/json", Value::from(asked).to_bytes().into()).await {
            Ok(answer) if answer.status.is_success() => {}
            Ok(answer) => {
                tracing::warn!(source = %listened.source.name, status = %answer.status, "the stream can't be verified");
                listened.broken(inner, &format!("its verification answers HTTP status {}", answer.status));
            }
            Err(why) => {
                tracing::warn!(source = %listened.source.name, %why, "the stream can't be verified");
                listened.broken(inner, &why);
            }
        }
        tokio::time::sleep(every).await;
    }
}

fn error(status: StatusCode, err: &str, why: &str) -> Response {
    let body = Value::from(object! { "err" => err, "description" => why }).to_bytes();
    (status, [(header::CONTENT_TYPE, "application/json"), (header::CONTENT_LANGUAGE, "en")], body)
        .into_response()
}
