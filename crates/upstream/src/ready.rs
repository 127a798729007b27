//! A connection for one call: sends the prepared bytes, reads until the answer, judges it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use placet_core::authority::{Connection, CredentialNote, Dispatch, Ending, Outcome};
use placet_core::{Call, DecisionId, EffectClass};
use placet_json::{Canonical, Object, Value, object};
use placet_mcp::{Era, Method, RpcError, logging, meta, translate};
use tokio::time::timeout;

use crate::answer::{Judge, refused, unanswered};
use crate::credential::{Caller, Credentials, Who};
use crate::http::{HttpUpstream, Manner};
use crate::pool::Lane;
use crate::post::{self, Broken};
use crate::process::{Slot, Step};
use crate::request::{Client, Inspect};
use crate::scan::Scanner;
use crate::sync::Stale;
use crate::wire::{self, Inbound, Notice};
use crate::{Partition, UpstreamError};

/// Questions of an upstream that are answered (with a refusal) during one call; more end the call.
const QUESTIONS: usize = 16;
/// Bytes of an answer without messages, an error page, that are looked through for the credential.
const PAGE: usize = 64 << 10;

/// A connection with one call's credential on which nothing was sent yet.
pub struct Ready {
    pub(crate) id: DecisionId,
    pub(crate) arguments: Canonical,
    pub(crate) note: CredentialNote,
    pub(crate) credentials: Arc<dyn Credentials>,
    pub(crate) inspect: Inspect,
    pub(crate) side: Side,
    pub(crate) road: Road,
}

/// Over what the call goes.
pub(crate) enum Road {
    Http(Box<HttpRoad>),
    Stdio { slot: Slot, line: Vec<u8>, era: Era, limit: std::time::Duration },
}

pub(crate) struct HttpRoad {
    pub(crate) http: Arc<HttpUpstream>,
    pub(crate) partition: Partition,
    pub(crate) manner: Manner,
    pub(crate) lane: Lane,
    pub(crate) request: Request<Full<Bytes>>,
}

/// What goes back beside the answer.
pub(crate) struct Side {
    /// Our request's id, its progress token too.
    pub(crate) id: u64,
    pub(crate) client: Client,
    pub(crate) scanner: Scanner,
    pub(crate) stale: Arc<Stale>,
    pub(crate) leaked: bool,
}

/// Bytes written on each connection that a call used.
#[derive(Default)]
struct Meter(Vec<(Arc<AtomicU64>, u64)>);

/// Tells a legacy server that nobody waits any more, unless the answer came.
struct Cancel<'a> {
    http: &'a Arc<HttpUpstream>,
    partition: &'a Partition,
    caller: Caller<'a>,
    manner: Manner,
    id: u64,
    armed: bool,
}

impl Ready {
    /// The era in which the upstream will answer.
    #[must_use]
    pub fn era(&self) -> Era {
        match &self.road {
            Road::Http(road) => road.manner.era(),
            Road::Stdio { era, .. } => *era,
        }
    }
}

impl Connection for Ready {
    fn credential(&self) -> &CredentialNote {
        &self.note
    }

    async fn exchange(self, dispatch: Dispatch<'_>) -> Outcome {
        let call = dispatch.call;
        if self.id != call.id || self.arguments != call.arguments {
            return refused(call, 0, "the connection was made ready for another call");
        }
        let Self { credentials, inspect, side, road, .. } = self;
        match road {
            Road::Http(road) => {
                let mut meter = Meter::default();
                let limit = road.http.timeouts.call;
                let exchange = road.exchange(&dispatch, &*credentials, &inspect, side, &mut meter);
                match timeout(limit, exchange).await {
                    Ok(outcome) => outcome,
                    Err(_) => unanswered(call, meter.sent(), "no answer in time"),
                }
            }
            Road::Stdio { slot, line, limit, .. } => {
                let written = Arc::clone(&slot.written);
                match timeout(limit, over_stdio(slot, line, &dispatch, &inspect, side)).await {
                    Ok(outcome) => outcome,
                    Err(_) => unanswered(call, written.bytes(), "no answer in time"),
                }
            }
        }
    }
}

async fn over_stdio(
    mut slot: Slot,
    line: Vec<u8>,
    dispatch: &Dispatch<'_>,
    inspect: &Inspect,
    mut side: Side,
) -> Outcome {
    slot.send(line);
    loop {
        match slot.next().await {
            Step::Notice(notice) => side.pass(notice),
            Step::Gone => return unanswered(dispatch.call, slot.written.bytes(), "the process ended"),
            Step::Answer(answered) => {
                let sent = slot.written.bytes();
                let Some(answer) = answered.answer else {
                    return garbage(dispatch.call, &side, &answered.raw, sent);
                };
                return side.judge(dispatch, inspect).outcome(answer, &answered.raw, sent);
            }
        }
    }
}

impl HttpRoad {
    async fn exchange(
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
        // Kept only where a lost session may be opened again.
        let again = (cancel.manner.is_kept() && call.effect == EffectClass::Read).then(|| request.clone());
        meter.watch(&lane);
        cancel.armed = cancel.manner.era() == Era::Legacy;
        let mut reply = match post::send(&mut lane.line, request, http.bounds.answer).await {
            Ok(reply) => reply,
            Err(broken) => return broke(call, meter.sent(), broken),
        };
        if reply.status.as_u16() == 404 && http.lose(partition, &cancel.manner).await {
            cancel.armed = false;
            let Some(mut request) = again else {
                return refused(call, meter.sent(), "the session was gone; nothing was done, and a new one will be used");
            };
            drop(reply);
            let renewed = renew(http, caller, partition, &mut request).await;
            let (session, fresh) = match renewed {
                Ok(renewed) => renewed,
                Err(error) => return refused(call, meter.sent(), format!("the session was gone: {error}")),
            };
            (cancel.manner, lane) = (session, fresh);
            meter.watch(&lane);
            cancel.armed = true;
            reply = match post::send(&mut lane.line, request, http.bounds.answer).await {
                Ok(reply) => reply,
                Err(broken) => return broke(call, meter.sent(), broken),
            };
        }
        let status = reply.status.as_u16();
        side.leaked |= reply.header_texts().any(|text| side.scanner.finds_in(text));
        if !reply.has_messages() {
            cancel.armed = false;
            http.note_era(&cancel.manner, status, None);
            if let Ok(page) = reply.whole(PAGE).await {
                side.leaked |= side.scanner.finds_in(&String::from_utf8_lossy(&page));
            }
            return side.without_answer(call, status, meter.sent());
        }
        let limits = wire::limits(http.bounds.answer);
        let mut questions = 0_usize;
        loop {
            let raw = match reply.next().await {
                Ok(Some(raw)) => raw,
                Ok(None) => {
                    http.note_era(&cancel.manner, status, None);
                    return side.without_answer(call, status, meter.sent());
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

fn broke(call: &Call, sent: u64, broken: Broken) -> Outcome {
    unanswered(call, sent, broken.to_string())
}

fn garbage(call: &Call, side: &Side, raw: &[u8], sent: u64) -> Outcome {
    let mut outcome = unanswered(call, sent, "the answer is not a message of the protocol");
    if side.leaked || side.scanner.finds_in(&String::from_utf8_lossy(raw)) {
        outcome.ending = Ending::Filtered;
    }
    outcome
}

impl Side {
    fn judge<'a>(&'a self, dispatch: &'a Dispatch<'_>, inspect: &'a Inspect) -> Judge<'a> {
        Judge {
            call: dispatch.call,
            envelope: dispatch.envelope,
            inspect,
            scanner: &self.scanner,
            leaked: self.leaked,
        }
    }

    /// What an HTTP status alone tells: the upstream turned the call away, or something between it and us gave up.
    fn without_answer(&self, call: &Call, status: u16, sent: u64) -> Outcome {
        let mut outcome = match status {
            300..=399 => refused(call, sent, format!("redirected (HTTP status {status}), which is not followed")),
            408 | 499 | 500.. | ..=299 => unanswered(call, sent, format!("HTTP status {status} without an answer")),
            _ => refused(call, sent, format!("refused with HTTP status {status}")),
        };
        if self.leaked {
            outcome.ending = Ending::Filtered;
        }
        outcome
    }

    /// Hands a side message on, as far as the agent's client wants it.
    fn pass(&mut self, notice: Notice) {
        let Notice { method, mut params } = notice;
        let wanted = match Method::from_name(&method) {
            Some(Method::ToolsListChanged) => {
                self.stale.mark();
                false
            }
            Some(Method::Progress) => self.own_progress(&mut params),
            Some(Method::LogMessage) => logging::wanted(self.client.log_level, &params),
            _ => false,
        };
        if !wanted {
            return;
        }
        let params = Value::Object(translate::notification_for(Era::Legacy, params, None));
        if self.scanner.finds(&params) {
            self.leaked = true;
            return;
        }
        let item: Object = object! { "jsonrpc" => "2.0", "method" => method, "params" => params };
        if self.client.items.try_send(item.into()).is_err() {
            tracing::trace!("a side message found no room");
        }
    }

    /// Puts the client's own token in the place of ours.
    fn own_progress(&self, params: &mut Object) -> bool {
        let ours = params.get(meta::PROGRESS_TOKEN).and_then(Value::as_u64) == Some(self.id);
        match (&self.client.progress, params.get_mut(meta::PROGRESS_TOKEN)) {
            (Some(own), Some(token)) if ours => {
                *token = own.clone();
                true
            }
            _ => false,
        }
    }
}

impl Meter {
    fn watch(&mut self, lane: &Lane) {
        self.0.push((lane.line.counter(), lane.line.sent()));
    }

    fn sent(&self) -> u64 {
        let each = self.0.iter().map(|(counter, before)| counter.load(Ordering::Acquire).saturating_sub(*before));
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

impl fmt::Debug for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ready").field("id", &self.id).field("note", &self.note).finish_non_exhaustive()
    }
}
