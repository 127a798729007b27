//! A call's way over HTTP, to its answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use placet_core::authority::{Dispatch, Outcome};
use placet_core::{Call, EffectClass};
use placet_mcp::Era;

use crate::answer::{refused, unanswered};
use crate::credential::{Caller, Credentials, Who};
use crate::http::{HttpUpstream, Manner};
use crate::pool::Lane;
use crate::post::{self, Broken, Reply};
use crate::ready::{Side, garbage};
use crate::request::Inspect;
use crate::wire::{self, Inbound};
use crate::{Partition, UpstreamError};

/// Questions of an upstream that are answered (with a refusal) during one call; more end the call.
const QUESTIONS: usize = 16;
/// How often a stream that a legacy server closes early is taken up again during one call.
const RESUMES: usize = 8;
/// How long to wait before that, if the server doesn't say.
const RETRY: Duration = Duration::from_millis(500);
/// How long a server may ask to wait.
const LONGEST_RETRY: Duration = Duration::from_secs(5);
/// Bytes of an answer without messages, an error page, that are looked through for the credential.
const PAGE: usize = 64 << 10;

/// A request that is ready, on a connection that is.
pub(crate) struct HttpRoad {
    pub(crate) http: Arc<HttpUpstream>,
    pub(crate) partition: Partition,
    pub(crate) manner: Manner,
    pub(crate) lane: Lane,
    pub(crate) request: Request<Full<Bytes>>,
}

/// Bytes written on each connection that a call used.
#[derive(Default)]
pub(crate) struct Meter(Vec<(Arc<AtomicU64>, u64)>);

/// Tells a legacy server that nobody waits any more, unless the answer came.
struct Cancel<'a> {
    http: &'a Arc<HttpUpstream>,
    partition: &'a Partition,
    caller: Caller<'a>,
    manner: Manner,
    id: u64,
    armed: bool,
}

impl HttpRoad {
    /// Sends the request and reads until its answer.
    pub(crate) async fn exchange(
        self: Box<Self>,
        dispatch: &Dispatch<'_>,
        credentials: &dyn Credentials,
        inspect: &Inspect,
        mut side: Side,
        meter: &mut Meter,
    ) -> Outcome {
        let Self { http, partition, manner, mut lane, request } = *self;
        let call = dispatch.call;
        let caller = Caller { credentials, upstream: &http.name, who: Who::Call(call, dispatch.envelope) };
        let (id, http, partition) = (side.id, &http, &partition);
        let mut cancel = Cancel { http, partition, caller, manner, id, armed: false };
        let mut reply = match deliver(&mut cancel, &mut lane, request, call, meter).await {
            Ok(reply) => reply,
            Err(outcome) => return *outcome,
        };
        let status = reply.status.as_u16();
        side.leaked |= reply.header_texts().any(|text| side.scanner.finds_in(text));
        if !reply.has_messages() {
            cancel.armed = false;
            if status == 404 {
                http.lose(partition, &cancel.manner).await;
            }
            http.note_era(&cancel.manner, status, None);
            if let Ok(page) = reply.whole(PAGE).await {
                side.leaked |= side.scanner.finds_in(&String::from_utf8_lossy(&page));
            }
            return side.without_answer(call, status, meter.sent());
        }
        let limits = wire::limits(http.bounds.answer);
        let (mut questions, mut resumes) = (0_usize, 0_usize);
        loop {
            let raw = match reply.next().await {
                Ok(Some(raw)) => raw,
                ended @ (Ok(None) | Err(Broken::Connection)) => {
                    // A legacy server may close a stream early, to go on in another one.
                    let point = reply.resume_point().filter(|_| cancel.manner.is_kept() && resumes < RESUMES);
                    let Some(point) = point else {
                        if ended.is_err() {
                            return broke(call, meter.sent(), Broken::Connection);
                        }
                        http.note_era(&cancel.manner, status, None);
                        return side.without_answer(call, status, meter.sent());
                    };
                    resumes = resumes.saturating_add(1);
                    drop(reply);
                    (lane, reply) = match resume(http, caller, partition, &cancel.manner, point).await {
                        Ok(taken_up) => taken_up,
                        Err(error) => {
                            return unanswered(call, meter.sent(), format!("the stream ended: {error}"));
                        }
                    };
                    side.leaked |= reply.header_texts().any(|text| side.scanner.finds_in(text));
                    continue;
                }
                Err(broken) => return broke(call, meter.sent(), broken),
            };
            match wire::read(&raw, &limits, id, true) {
                Ok(Inbound::Answer(Ok(_))) if status >= 300 => {
                    return unanswered(call, meter.sent(), format!("a result with HTTP status {status}"));
                }
                Ok(Inbound::Answer(answer)) => {
                    cancel.armed = false;
                    http.note_era(&cancel.manner, status, Some(&answer));
                    http.put_back(lane, reply);
                    return side.judge(dispatch, inspect).outcome(answer, &raw, meter.sent());
                }
                Ok(Inbound::Notice(notice)) => side.pass(notice),
                Ok(Inbound::Question(question, method)) => {
                    questions = questions.saturating_add(1);
                    if questions > QUESTIONS {
                        return unanswered(call, meter.sent(), "the upstream asks without end");
                    }
                    if cancel.manner.era() == Era::Legacy {
                        let answer = wire::reply(question, &method);
                        http.tell_later(caller, partition, &cancel.manner, answer);
                    }
                }
                Ok(Inbound::Stray) => {}
                Err(_) if status >= 300 => {
                    cancel.armed = false;
                    http.note_era(&cancel.manner, status, None);
                    side.leaked |= side.scanner.finds_in(&String::from_utf8_lossy(&raw));
                    return side.without_answer(call, status, meter.sent());
                }
                Err(_) => return garbage(call, &side, &raw, meter.sent()),
            }
        }
    }
}

/// Sends the call. A legacy session that turns out to be gone is opened once more, for a read only.
async fn deliver(
    cancel: &mut Cancel<'_>,
    lane: &mut Lane,
    request: Request<Full<Bytes>>,
    call: &Call,
    meter: &mut Meter,
) -> Result<Reply, Box<Outcome>> {
    let (http, caller, partition) = (cancel.http, cancel.caller, cancel.partition);
    let bound = http.bounds.answer;
    let again = (cancel.manner.is_kept() && call.effect == EffectClass::Read).then(|| request.clone());
    meter.watch(lane);
    cancel.armed = cancel.manner.era() == Era::Legacy;
    let sent = post::send(&mut lane.line, request, bound).await;
    let reply = sent.map_err(|broken| broke(call, meter.sent(), broken))?;
    if reply.status.as_u16() != 404 || !http.lose(partition, &cancel.manner).await {
        return Ok(reply);
    }
    cancel.armed = false;
    drop(reply);
    let gone =
        |detail: &str| Box::new(refused(call, meter.sent(), format!("the session was gone: {detail}")));
    let Some(mut request) = again else {
        return Err(gone("nothing was done, and the next call opens a new one"));
    };
    let renewed = renew(http, caller, partition, &mut request).await;
    (cancel.manner, *lane) = renewed.map_err(|error| gone(&error.to_string()))?;
    meter.watch(lane);
    cancel.armed = true;
    let sent = post::send(&mut lane.line, request, bound).await;
    sent.map_err(|broken| broke(call, meter.sent(), broken).into())
}

/// A new session and connection for a call whose session was lost before it arrived.
async fn renew(
    http: &HttpUpstream,
    caller: Caller<'_>,
    partition: &Partition,
    request: &mut Request<Full<Bytes>>,
) -> Result<(Manner, Lane), UpstreamError> {
    let session = http.session(caller, partition).await?;
    session.headers(request.headers_mut());
    Ok((Manner::Legacy(session), http.pool.take(partition).await?))
}

/// Takes up a stream that ended before the answer. The call itself isn't sent again.
async fn resume(
    http: &HttpUpstream,
    caller: Caller<'_>,
    partition: &Partition,
    manner: &Manner,
    (last, wait): (String, Option<Duration>),
) -> Result<(Lane, Reply), UpstreamError> {
    tokio::time::sleep(wait.unwrap_or(RETRY).min(LONGEST_RETRY)).await;
    let request = http.open_stream(caller, manner, Some(&last))?;
    let mut lane = http.pool.take(partition).await?;
    let reply = post::send(&mut lane.line, request, http.bounds.answer).await;
    let reply = reply.map_err(|broken| UpstreamError::protocol(broken.to_string()))?;
    if reply.status.is_success() && reply.is_stream() {
        Ok((lane, reply))
    } else {
        Err(UpstreamError::Status(reply.status.as_u16()))
    }
}

pub(crate) fn broke(call: &Call, sent: u64, broken: Broken) -> Outcome {
    unanswered(call, sent, broken.to_string())
}

impl Meter {
    pub(crate) fn watch(&mut self, lane: &Lane) {
        self.0.push((lane.line.counter(), lane.line.sent()));
    }

    pub(crate) fn sent(&self) -> u64 {
        let each =
            self.0.iter().map(|(counter, before)| counter.load(Ordering::Acquire).saturating_sub(*before));
        each.fold(0, u64::saturating_add)
    }
}

impl Drop for Cancel<'_> {
    fn drop(&mut self) {
        if self.armed {
            self.http.tell_later(self.caller, self.partition, &self.manner, wire::cancelled(self.id));
        }
    }
}
