//! Shared Signals sent out: what we revoke, to those who are named in the settings. Events are derived from the ledger, so
//! a stream needs to remember no more than how far it came: at least once, never out of order, nothing lost by a restart.

use std::{
    collections::{BTreeSet, VecDeque},
    io::Write as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    extract::{Path as Segment, Query, Request, State},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode, header};
use placet_facts::Transaction;
use placet_feeds::ssf::{Outgoing, SSF, Stream, events, issued, supported};
use placet_gateway::Ledger;
use placet_jose::{KeySet, keys::random_id, tokens::SecurityEvent};
use placet_json::{Limits, Object, Value, object, parse};
use placet_record::Kind;

use super::{Aimed, FeedError, Inner, bearer, file, read, witness};
use crate::{
    admin::json,
    settings::{Receiver, Variables},
};

/// Events of a stream that are out and not acknowledged; the rest waits in the ledger.
const WINDOW: usize = 1000;
/// Entries that are looked through at once.
const SCAN: u64 = 2000;
/// Verifications that were asked for and not fetched yet.
const MAX_ASKED: usize = 16;
/// The longest request of a receiver, in bytes.
const MAX_BODY: usize = 256 * 1024;
/// How long a request that may wait does.
const WAIT: Duration = Duration::from_secs(20);
/// How often is looked for news.
const LOOK: Duration = Duration::from_millis(100);
/// The longest pause after a failed push.
const MAX_BACKOFF: Duration = Duration::from_mins(1);

/// A receiver's stream.
pub(super) struct Told {
    stream: Stream,
    token: [u8; 32],
    push: Option<Aimed>,
    path: PathBuf,
    state: Mutex<Progress>,
}

#[derive(Debug)]
struct Progress {
    /// Every event of an entry up to here was acknowledged.
    acknowledged: u64,
    /// Entries up to here are in `out`, or had nothing for this stream.
    scanned: u64,
    out: VecDeque<Outgoing>,
    done: BTreeSet<String>,
    asked: VecDeque<Outgoing>,
}

impl Told {
    pub(super) fn open(
        one: &Receiver,
        data: &Path,
        variables: Variables<'_>,
        ledger: &Ledger,
    ) -> Result<Self, FeedError> {
        let failed = |why: String| FeedError::new(&one.name, why);
        let path = file(data, &one.name);
        let acknowledged = match std::fs::read_to_string(&path) {
            Ok(text) => text.trim().parse().map_err(|_| {
                failed(format!("`{}` is damaged; remove it to begin with what is new", path.display()))
            })?,
            // A new stream begins now.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let last = ledger.reader().last();
                keep(&path, last).map_err(|error| failed(error.to_string()))?;
                last
            }
            Err(error) => return Err(failed(format!("`{}`: {error}", path.display()))),
        };
        Ok(Self {
            stream: Stream {
                id: one.name.clone(),
                audience: one.audience.clone(),
                tenant: one.tenant.clone(),
            },
            token: witness(&one.token, variables).map_err(failed)?,
            push: one
                .push
                .as_ref()
                .map(|delivery| Aimed::open(delivery, one.allow_private, variables))
                .transpose()
                .map_err(failed)?,
            path,
            state: Mutex::new(Progress {
                acknowledged,
                scanned: acknowledged,
                out: VecDeque::new(),
                done: BTreeSet::new(),
                asked: VecDeque::new(),
            }),
        })
    }

    pub(super) fn pushes(&self) -> bool {
        self.push.is_some()
    }

    fn state(&self) -> std::sync::MutexGuard<'_, Progress> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks for news; what is out isn't more than the window. `true`: there is more to look through.
    fn look(&self, inner: &Inner) -> Result<bool, String> {
        let mut state = self.state();
        let world = inner.books.live().world();
        // Only changes of facts are told, so nothing is read while there are none.
        let last = world.revision().0;
        if last <= state.scanned || state.out.len() >= WINDOW {
            return Ok(false);
        }
        let to = last.min(state.scanned.saturating_add(SCAN));
        for record in inner.ledger.reader().range(state.scanned.saturating_add(1), to) {
            let record = record.map_err(|error| error.to_string())?;
            if Kind::from_tag(record.kind) == Some(Kind::Facts) {
                let document = parse(&record.payload, &Limits::RESULT).map_err(|error| error.to_string())?;
                let transaction =
                    document.get("transaction").ok_or("a record of facts has no transaction")?;
                let transaction = Transaction::from_value(transaction).map_err(|error| error.to_string())?;
                let at = (record.sequence, record.time_ms.checked_div(1000).unwrap_or_default());
                state.out.extend(events(&world, &inner.issuer, &self.stream, at, &transaction));
            }
            state.scanned = record.sequence;
            if state.out.len() >= WINDOW {
                break;
            }
        }
        self.settle(&mut state)?;
        Ok(state.scanned < last)
    }

    /// What is out, oldest first, with its tokens.
    fn waiting(&self, inner: &Inner, most: usize) -> Result<(Vec<(String, String)>, bool), String> {
        let state = self.state();
        let mut waiting =
            state.asked.iter().chain(state.out.iter().filter(|one| !state.done.contains(&one.event.jti)));
        let mut sets = Vec::new();
        for one in waiting.by_ref().take(most) {
            let token =
                issued(&inner.key, &inner.issuer, &self.stream, one).map_err(|error| error.to_string())?;
            sets.push((one.event.jti.clone(), token));
        }
        let more = waiting.next().is_some();
        Ok((sets, more))
    }

    /// What the receiver has, or will never take.
    fn acknowledge(&self, ids: impl IntoIterator<Item = String>) -> Result<(), String> {
        let mut state = self.state();
        for id in ids {
            if state.out.iter().any(|one| one.event.jti == id) {
                state.done.insert(id);
            } else {
                state.asked.retain(|one| one.event.jti != id);
            }
        }
        self.settle(&mut state)
    }

    /// Drops what is done from the front, and writes down how far the stream came.
    fn settle(&self, state: &mut Progress) -> Result<(), String> {
        while let Some(front) = state.out.front().map(|front| front.event.jti.clone())
            && state.done.remove(&front)
        {
            state.out.pop_front();
        }
        let reached = state.out.front().map_or(state.scanned, |front| front.position.saturating_sub(1));
        if reached > state.acknowledged {
            keep(&self.path, reached).map_err(|error| error.to_string())?;
            state.acknowledged = reached;
        }
        Ok(())
    }

    fn document(&self, inner: &Inner) -> Value {
        let delivery = if self.pushes() {
            object! { "method" => "urn:ietf:rfc:8935" }
        } else {
            object! {
                "method" => "urn:ietf:rfc:8936",
                "endpoint_url" => format!("{}/ssf/poll/{}", inner.url, self.stream.id),
            }
        };
        let types = || Value::Array(supported().iter().map(|one| Value::from(one.as_str())).collect());
        object! {
            "stream_id" => self.stream.id.as_str(), "iss" => inner.issuer.as_str(),
            "aud" => self.stream.audience.as_str(), "delivery" => delivery,
            "events_supported" => types(), "events_delivered" => types(),
        }
        .into()
    }
}

/// Sends events to a receiver that wants them pushed, one after the other, until it is dropped.
pub(super) async fn push(inner: &Inner, told: &Told) {
    let Some(aimed) = &told.push else { return };
    let mut pause = Duration::from_secs(1);
    loop {
        let sets = told.look(inner).and_then(|_| told.waiting(inner, 1));
        let set = match sets {
            Ok((sets, _)) => sets.into_iter().next(),
            Err(why) => {
                tracing::error!(stream = %told.stream.id, %why, "events can't be read");
                tokio::time::sleep(MAX_BACKOFF).await;
                continue;
            }
        };
        let Some((jti, token)) = set else {
            tokio::time::sleep(LOOK).await;
            continue;
        };
        let outcome = match aimed.post("application/secevent+jwt", token.into()).await {
            Ok(answer) if answer.status.is_success() => Ok("sent"),
            // A receiver that refuses an event would refuse it again (RFC 8935 §2.4).
            Ok(answer) if answer.status == StatusCode::BAD_REQUEST => {
                let said = String::from_utf8_lossy(&answer.body).chars().take(200).collect::<String>();
                tracing::error!(stream = %told.stream.id, %jti, %said, "the receiver has refused an event");
                Ok("refused")
            }
            Ok(answer) => Err(format!("HTTP status {}", answer.status)),
            Err(why) => Err(why),
        };
        match outcome {
            Ok(outcome) => {
                inner.metrics.fed(told.stream.id.as_str(), outcome);
                if let Err(why) = told.acknowledge([jti]) {
                    tracing::error!(stream = %told.stream.id, %why, "the stream's place can't be kept");
                }
                pause = Duration::from_secs(1);
            }
            Err(why) => {
                inner.metrics.fed(told.stream.id.as_str(), "unreachable");
                tracing::warn!(stream = %told.stream.id, %why, "an event can't be sent yet");
                tokio::time::sleep(pause).await;
                pause = pause.saturating_mul(2).min(MAX_BACKOFF);
            }
        }
    }
}

/// `GET /.well-known/ssf-configuration`
pub(super) async fn configuration(State(inner): State<Arc<Inner>>) -> Response {
    let at = |path: &str| format!("{}/ssf/{path}", inner.url);
    let texts = |texts: &[&str]| Value::Array(texts.iter().map(|text| Value::from(*text)).collect());
    json(
        StatusCode::OK,
        &object! {
            "spec_version" => "1_0", "issuer" => inner.issuer.as_str(), "jwks_uri" => at("jwks"),
            "delivery_methods_supported" => texts(&["urn:ietf:rfc:8935", "urn:ietf:rfc:8936"]),
            "configuration_endpoint" => at("streams"), "status_endpoint" => at("status"),
            "verification_endpoint" => at("verify"), "default_subjects" => "ALL",
            "authorization_schemes" => Value::Array(vec![object! { "spec_urn" => "urn:ietf:rfc:6750" }.into()]),
        }
        .into(),
    )
}

/// `GET /ssf/jwks`
pub(super) async fn jwks(State(inner): State<Arc<Inner>>) -> Response {
    json(StatusCode::OK, &KeySet::of(inner.key.public()).to_jwks())
}

/// `GET /ssf/streams`: the caller's one.
pub(super) async fn streams(
    State(inner): State<Arc<Inner>>,
    headers: HeaderMap,
    Query(query): Query<Vec<(String, String)>>,
) -> Response {
    let Some(told) = known(&inner, &headers) else { return unauthenticated(&inner) };
    match query.iter().find(|(name, _)| name == "stream_id") {
        None => json(StatusCode::OK, &Value::Array(vec![told.document(&inner)])),
        Some((_, id)) if id == told.stream.id.as_str() => json(StatusCode::OK, &told.document(&inner)),
        Some(_) => StatusCode::NOT_FOUND.into_response(),
    }
}

/// `GET /ssf/status?stream_id=…`
pub(super) async fn status(
    State(inner): State<Arc<Inner>>,
    headers: HeaderMap,
    Query(query): Query<Vec<(String, String)>>,
) -> Response {
    let Some(told) = known(&inner, &headers) else { return unauthenticated(&inner) };
    let asked = query.iter().find(|(name, _)| name == "stream_id");
    if asked.is_some_and(|(_, id)| id != told.stream.id.as_str()) {
        return StatusCode::NOT_FOUND.into_response();
    }
    let status = object! { "stream_id" => told.stream.id.as_str(), "status" => "enabled" };
    json(StatusCode::OK, &status.into())
}

/// `POST /ssf/verify {stream_id, state}`: an event that says only that the stream lives.
pub(super) async fn verify(State(inner): State<Arc<Inner>>, request: Request) -> Response {
    let (told, asked) = match asked(&inner, request).await {
        Ok(asked) => asked,
        Err(response) => return response,
    };
    if asked.get("stream_id").and_then(Value::as_str) != Some(told.stream.id.as_str()) {
        return StatusCode::NOT_FOUND.into_response();
    }
    let mut event = Object::new();
    match asked.get("state") {
        None => {}
        Some(Value::String(state)) if state.len() <= 512 => {
            event.insert("state", state.as_str());
        }
        Some(_) => return problem("`state` is no text of up to 512 bytes"),
    }
    let Ok(jti) = random_id() else { return StatusCode::SERVICE_UNAVAILABLE.into_response() };
    let mut state = told.state();
    if state.asked.len() >= MAX_ASKED {
        return StatusCode::TOO_MANY_REQUESTS.into_response();
    }
    let subject = object! { "format" => "opaque", "id" => told.stream.id.as_str() };
    let outgoing = Outgoing {
        position: 0,
        at: inner.books.now().secs(),
        event: SecurityEvent {
            jti,
            kind: format!("{SSF}verification"),
            event,
            subject: Some(subject.into()),
        },
    };
    state.asked.push_back(outgoing);
    StatusCode::NO_CONTENT.into_response()
}

/// `POST /ssf/poll/{stream}` (RFC 8936)
pub(super) async fn poll(
    State(inner): State<Arc<Inner>>,
    Segment(stream): Segment<String>,
    request: Request,
) -> Response {
    let (told, asked) = match asked(&inner, request).await {
        Ok(asked) => asked,
        Err(response) => return response,
    };
    if told.stream.id.as_str() != stream || told.pushes() {
        return StatusCode::NOT_FOUND.into_response();
    }
    let Some(Poll { most, immediately, acks, errors }) = Poll::read(&asked) else {
        return problem("`maxEvents`, `returnImmediately`, `ack` or `setErrs` is malformed");
    };
    for (jti, said) in &errors {
        tracing::error!(stream = %told.stream.id, %jti, %said, "the receiver has refused an event");
        inner.metrics.fed(told.stream.id.as_str(), "refused");
    }
    let taken: Vec<String> = acks.into_iter().chain(errors.into_iter().map(|(jti, _)| jti)).collect();
    if let Err(why) = told.acknowledge(taken) {
        tracing::error!(stream = %told.stream.id, %why, "the stream's place can't be kept");
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let end = tokio::time::Instant::now().checked_add(WAIT);
    loop {
        let sets = told.look(&inner).and_then(|behind| Ok((told.waiting(&inner, most)?, behind)));
        let ((sets, more), behind) = match sets {
            Ok(sets) => sets,
            Err(why) => {
                tracing::error!(stream = %told.stream.id, %why, "events can't be read");
                return StatusCode::SERVICE_UNAVAILABLE.into_response();
            }
        };
        let over = end.is_none_or(|end| tokio::time::Instant::now() >= end);
        if sets.is_empty() && behind && most > 0 && !over {
            tokio::task::yield_now().await;
            continue;
        }
        if !sets.is_empty() || immediately || most == 0 || over {
            let shown: Object = sets.into_iter().collect();
            return json(StatusCode::OK, &object! { "sets" => shown, "moreAvailable" => more }.into());
        }
        tokio::time::sleep(LOOK).await;
    }
}

struct Poll {
    most: usize,
    immediately: bool,
    acks: Vec<String>,
    errors: Vec<(String, String)>,
}

impl Poll {
    fn read(asked: &Object) -> Option<Self> {
        let most = match asked.get("maxEvents") {
            None => 100,
            Some(most) => usize::try_from(most.as_u64()?).ok()?.min(WINDOW),
        };
        let immediately = match asked.get("returnImmediately") {
            None => false,
            Some(immediately) => immediately.as_bool()?,
        };
        let acks = match asked.get("ack") {
            None => Vec::new(),
            Some(acks) => {
                acks.as_array()?.iter().map(|one| one.as_str().map(str::to_owned)).collect::<Option<_>>()?
            }
        };
        let errors = match asked.get("setErrs") {
            None => Vec::new(),
            Some(errors) => errors
                .as_object()?
                .iter()
                .map(|(jti, error)| (jti.to_owned(), error.to_string().chars().take(200).collect()))
                .collect(),
        };
        Some(Self { most, immediately, acks, errors })
    }
}

fn known(inner: &Inner, headers: &HeaderMap) -> Option<Arc<Told>> {
    let hash = bearer(headers)?;
    inner.streams.values().find(|told| told.token == hash).cloned()
}

async fn asked(inner: &Inner, request: Request) -> Result<(Arc<Told>, Object), Response> {
    let (head, body) = request.into_parts();
    let told = known(inner, &head.headers).ok_or_else(|| unauthenticated(inner))?;
    let body = read(body, MAX_BODY, inner.body_read)
        .await
        .map_err(|_| problem("the body is too large, or broke off"))?;
    let limits = Limits { bytes: MAX_BODY, depth: 6, members: 10_000 };
    let asked = parse(&body, &limits).ok().and_then(Value::into_object);
    asked.map(|asked| (told, asked)).ok_or_else(|| problem("the body is no JSON object"))
}

fn unauthenticated(inner: &Inner) -> Response {
    inner.metrics.refused("ssf_unauthenticated");
    (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Bearer realm=\"ssf\"")]).into_response()
}

fn problem(why: &str) -> Response {
    json(StatusCode::BAD_REQUEST, &object! { "err" => "invalid_request", "description" => why }.into())
}

/// Written beside and moved, so that a crash leaves the old place or the new one.
fn keep(path: &Path, position: u64) -> std::io::Result<()> {
    let fresh = path.with_extension("new");
    let mut file = std::fs::File::create(&fresh)?;
    file.write_all(format!("{position}\n").as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&fresh, path)
}
