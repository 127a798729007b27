//! A connection for one call: sends the prepared bytes, reads until the answer, judges it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use placet_core::authority::{Connection, CredentialNote, Dispatch, Ending, Outcome};
use placet_core::{Call, DecisionId};
use placet_json::{Canonical, Object, Value, object};
use placet_mcp::{Era, Method, logging, meta, translate};
use tokio::time::timeout;

use crate::answer::{Judge, refused, unanswered};
use crate::breaker::{Breaker, Way};
use crate::credential::Credentials;
use crate::operation::RestRoad;
use crate::process::{Slot, Step};
use crate::request::{Client, Inspect};
use crate::road::{HttpRoad, Meter};
use crate::scan::Scanner;
use crate::sync::Stale;
use crate::wire::Notice;

/// A connection with one call's credential on which nothing was sent yet.
pub struct Ready {
    pub(crate) id: DecisionId,
    pub(crate) arguments: Canonical,
    pub(crate) note: CredentialNote,
    pub(crate) credentials: Arc<dyn Credentials>,
    pub(crate) breaker: Arc<Breaker>,
    pub(crate) inspect: Inspect,
    pub(crate) side: Side,
    pub(crate) road: Road,
}

/// Over what the call goes.
pub(crate) enum Road {
    Http(Box<HttpRoad>),
    Stdio { slot: Slot, line: Vec<u8>, era: Era, limit: Duration },
    Rest(Box<RestRoad>),
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

impl Ready {
    /// The era in which the upstream will answer.
    #[must_use]
    pub fn era(&self) -> Era {
        match &self.road {
            Road::Http(road) => road.manner.era(),
            Road::Stdio { era, .. } => *era,
            // Its answer is made into a result here.
            Road::Rest(_) => Era::Modern,
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
        let Self { credentials, breaker, inspect, side, road, .. } = self;
        let outcome = match road {
            Road::Http(road) => {
                let mut meter = Meter::default();
                let limit = road.http.timeouts.call;
                let exchange = road.exchange(&dispatch, &*credentials, &inspect, side, &mut meter);
                match timeout(limit, exchange).await {
                    Ok(outcome) => outcome,
                    // The connection is being closed, and may be writing yet: nobody can promise 0.
                    Err(_) => unanswered(call, meter.sent().max(1), "no answer in time"),
                }
            }
            Road::Rest(road) => {
                let mut meter = Meter::default();
                let limit = road.limit();
                match timeout(limit, road.exchange(&dispatch, &inspect, side, &mut meter)).await {
                    Ok(outcome) => outcome,
                    Err(_) => unanswered(call, meter.sent().max(1), "no answer in time"),
                }
            }
            Road::Stdio { slot, line, limit, .. } => {
                let written = Arc::clone(&slot.written);
                match timeout(limit, over_stdio(slot, line, &dispatch, &inspect, side)).await {
                    Ok(outcome) => outcome,
                    Err(_) => unanswered(call, written.bytes(), "no answer in time"),
                }
            }
        };
        // An end without an answer of which nobody knows what it did is the way's fault; so is one of which nothing left.
        let failed = outcome.digest.is_none() && (outcome.ending == Ending::Unknown || outcome.sent == 0);
        breaker.note(if failed { Way::Failed } else { Way::Answered });
        outcome
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

/// What came of a call whose answer can't be read.
pub(crate) fn garbage(call: &Call, side: &Side, raw: &[u8], sent: u64) -> Outcome {
    let mut outcome = unanswered(call, sent, "the answer is not a message of the protocol");
    if side.leaked || side.scanner.finds_in(&String::from_utf8_lossy(raw)) {
        outcome.ending = Ending::Filtered;
    }
    outcome
}

impl Side {
    pub(crate) fn judge<'a>(&'a self, dispatch: &'a Dispatch<'_>, inspect: &'a Inspect) -> Judge<'a> {
        Judge {
            call: dispatch.call,
            envelope: dispatch.envelope,
            inspect,
            scanner: &self.scanner,
            leaked: self.leaked,
        }
    }

    /// What an HTTP status alone tells: the upstream turned the call away, or something between it and us gave up.
    pub(crate) fn without_answer(&self, call: &Call, status: u16, sent: u64) -> Outcome {
        let mut outcome = match status {
            300..=399 => {
                refused(call, sent, format!("redirected (HTTP status {status}), which is not followed"))
            }
            408 | 499 | 500.. | ..=299 => {
                unanswered(call, sent, format!("HTTP status {status} without an answer"))
            }
            _ => refused(call, sent, format!("refused with HTTP status {status}")),
        };
        if self.leaked {
            outcome.ending = Ending::Filtered;
        }
        outcome
    }

    /// Hands a side message on, as far as the agent's client wants it.
    pub(crate) fn pass(&mut self, notice: Notice) {
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

impl fmt::Debug for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ready").field("id", &self.id).field("note", &self.note).finish_non_exhaustive()
    }
}
