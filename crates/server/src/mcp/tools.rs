//! `tools/list` and `tools/call`.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError},
};

use axum::{
    http::{HeaderMap, StatusCode},
    response::Response,
};
use placet_core::{Code, Name};
use placet_gateway::{Answered, Departure, Public, ToolCall, Unavailable};
use placet_json::{Object, Value, object};
use placet_mcp::{
    Era, Id, Message, Method, RpcError,
    logging::LogLevel,
    result::tool_error,
    tools::{CallParams, Listed, for_era, listing_result},
    translate,
};
use placet_upstream::Client;
use tokio::sync::{mpsc, oneshot};
use tracing::Instrument as _;

use super::{Caller, Endpoint, door::NoIntent, message, stream};
use crate::telemetry::{self, Parent};

/// Between an upstream's name and a tool's on the common path.
const SEPARATOR: &str = "__";
/// Side messages that wait for a slow client; more are dropped, since they stop no call.
const MAX_ITEMS: usize = 256;
/// JSON-RPC code for a call that was permitted and then broke; outside the range that the protocol reserves.
const BROKEN: i64 = -31_001;
/// JSON-RPC code for a gateway that takes no calls.
const UNAVAILABLE: i64 = -31_002;

/// What the client asked for around its call.
pub(super) struct Wanted {
    pub(super) era: Era,
    pub(super) session: Option<String>,
    pub(super) progress: Option<Id>,
    pub(super) log_level: Option<LogLevel>,
    pub(super) parent: Parent,
}

impl Endpoint {
    pub(super) fn tools_list(
        &self,
        caller: &Caller,
        only: Option<&Name>,
        era: Era,
        id: Id,
        params: &Object,
    ) -> Response {
        if params.contains_key("cursor") {
            // The list is one page; a cursor isn't ours.
            return message(StatusCode::OK, Message::error(id, RpcError::invalid_params("unknown cursor")));
        }
        let Some(envelope) = caller.envelope_of_refusal(self.gateway.ledger().now()) else {
            return self.refused(StatusCode::UNAUTHORIZED, "token");
        };
        let tools = self.gateway.list(&envelope, only).into_iter().filter_map(|listed| {
            let mut definition = listed.definition.into_object()?;
            if only.is_none() {
                definition.insert("name", format!("{}{SEPARATOR}{}", listed.upstream, listed.tool));
            }
            Some(Value::from(for_era(definition, era)))
        });
        let result = listing_result(Listed::Tools, tools.collect(), None, era);
        message(StatusCode::OK, Message::result(id, result))
    }

    /// The input schemas as this client was shown them, for its mirrored headers.
    pub(super) fn schemas(
        &self,
        caller: &Caller,
        only: Option<&Name>,
        body: &Message,
    ) -> BTreeMap<String, Value> {
        let Message::Request { method, params: Some(params), .. } = body else { return BTreeMap::new() };
        if method != Method::ToolsCall.name() {
            return BTreeMap::new();
        }
        let Some(name) = params.get("name").and_then(Value::as_str) else { return BTreeMap::new() };
        let Some((upstream, tool)) = split(only, name) else { return BTreeMap::new() };
        let Some(envelope) = caller.envelope_of_refusal(self.gateway.ledger().now()) else {
            return BTreeMap::new();
        };
        let schema = self.gateway.schema_for(&envelope, &upstream, tool);
        schema.map(|schema| (name.to_owned(), schema)).into_iter().collect()
    }

    #[expect(clippy::too_many_arguments, reason = "one request with all that came with it")]
    pub(super) async fn tools_call(
        self: Arc<Self>,
        caller: &Caller,
        only: Option<&Name>,
        headers: &HeaderMap,
        id: Id,
        params: CallParams,
        meta: Option<&Object>,
        mut wanted: Wanted,
    ) -> Response {
        let Some(slot) = self.slots.take(&caller.agent) else {
            return self.refused(StatusCode::TOO_MANY_REQUESTS, "streams");
        };
        let now = self.gateway.ledger().now();
        let CallParams { name, arguments, input_responses, request_state, task, meta: _ } = params;
        if input_responses.is_some() || request_state.is_some() || task.is_some() {
            self.protocol_refusal(
                caller,
                Method::ToolsCall.name(),
                Code::MethodRefused,
                "questions to the client and tasks aren't governed yet",
            )
            .await;
            return message(
                StatusCode::OK,
                Message::error(
                    id,
                    RpcError::invalid_params("questions to the client and tasks are not served here"),
                ),
            );
        }
        let span = telemetry::open(&mut wanted.parent, headers);
        let intent = match caller.intent(meta, headers) {
            Ok(intent) => intent,
            Err(error) => {
                let what = match error {
                    NoIntent::Several => {
                        "several intents are possible, and the call names none; name one in `_meta[\"dev.placet/intent\"]` or the header `Placet-Intent`"
                    }
                    NoIntent::Two => "the call names two intents",
                    NoIntent::Form => "the intent's name is malformed",
                };
                let Some(envelope) = caller.envelope_of_refusal(now) else {
                    return self.refused(StatusCode::UNAUTHORIZED, "token");
                };
                let refused = self
                    .gateway
                    .refuse(envelope, Method::ToolsCall.name(), Code::IntentNotDeclared, what)
                    .instrument(span)
                    .await;
                return finish(wanted.era, id, &name, refused.map(Answered::Denied));
            }
        };
        let Some(envelope) = caller.envelope(intent, now) else {
            return self.refused(StatusCode::UNAUTHORIZED, "token");
        };
        let Some((upstream, tool)) = split(only, &name) else {
            let refused = self.gateway.refuse_tool(envelope, &name).instrument(span).await;
            return finish(wanted.era, id, &name, refused.map(Answered::Denied));
        };
        let tool = tool.to_owned();
        let Wanted { era, session, progress, log_level, parent: Parent { traceparent, tracestate } } = wanted;
        let (items, received) = mpsc::channel(MAX_ITEMS);
        let client = Client {
            progress: progress.map(|token| token.to_value()),
            log_level,
            traceparent,
            tracestate,
            items,
        };
        let departure = match era {
            Era::Modern => Departure::Cancels,
            Era::Legacy => Departure::IsNothing,
        };
        let call = ToolCall { upstream, tool, arguments: Value::Object(arguments), client, departure };
        let (gateway, endpoint) = (Arc::clone(&self.gateway), Arc::clone(&self));
        let cancelled = session.map(|session| self.running(session, &id));
        let answer = async move {
            let _open = slot;
            let answered = match cancelled {
                None => gateway.call(envelope, call).await,
                Some((guard, cancelled)) => {
                    // A legacy client cancels by a message; the call itself stays alive when it only disconnects.
                    let call = gateway.call_cancellable(envelope, call, cancelled).await;
                    drop(guard);
                    call
                }
            };
            if let Err(error) = &answered {
                endpoint.refusals.refused("unavailable");
                tracing::Span::current().record("otel.status_code", "ERROR");
                tracing::error!(%error, "the pipeline takes no calls");
            }
            reply(era, id, &name, answered)
        };
        stream::respond(era, answer.instrument(span), received).await
    }

    fn running(self: &Arc<Self>, session: String, id: &Id) -> (Running, oneshot::Receiver<()>) {
        let (cancel, cancelled) = oneshot::channel();
        let key = (session, id.clone());
        self.running.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone(), cancel);
        (Running { endpoint: Arc::clone(self), key }, cancelled)
    }

    pub(super) fn cancel(&self, session: &str, id: &Id) {
        let cancel = self
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&(session.to_owned(), id.clone()));
        if let Some(cancel) = cancel {
            // A call that has just ended can't be cancelled any more.
            let _already_over = cancel.send(());
        }
    }
}

/// Forgets how to cancel a call when it has ended.
struct Running {
    endpoint: Arc<Endpoint>,
    key: (String, Id),
}

impl Drop for Running {
    fn drop(&mut self) {
        self.endpoint.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

/// Upstream and tool of a name: prefixed on the common path, bare on an upstream's own.
fn split<'a>(only: Option<&Name>, name: &'a str) -> Option<(Name, &'a str)> {
    if let Some(upstream) = only {
        return Some((upstream.clone(), name));
    }
    let (upstream, tool) = name.split_once(SEPARATOR)?;
    Some((Name::new(upstream).ok()?, tool))
}

fn finish(era: Era, id: Id, name: &str, answered: Result<Answered, Unavailable>) -> Response {
    message(StatusCode::OK, reply(era, id, name, answered))
}

/// The message for what the pipeline answered.
fn reply(era: Era, id: Id, name: &str, answered: Result<Answered, Unavailable>) -> Message {
    match answered {
        Ok(Answered::Result(result)) => {
            match result.into_object().map(|result| translate::result_for(era, Method::ToolsCall, result)) {
                Some(Ok(result)) => Message::result(id, result),
                Some(Err(_)) | None => Message::error(
                    id,
                    RpcError::internal("the tool's answer can't be passed on to this client"),
                ),
            }
        }
        Ok(Answered::Error(error)) => match RpcError::from_value(error) {
            Ok(error) => Message::error(id, translate::error_for(era, error)),
            Err(_) => Message::error(id, RpcError::internal("the tool answered with a malformed error")),
        },
        Ok(Answered::Denied(public)) => denied(era, id, name, &public),
        Ok(Answered::Broken { decision, ending, message: text }) => {
            let data = object! { "placet" => object! { "decision_id" => decision.as_str(), "ending" => ending.as_str() } };
            Message::error(id, RpcError::new(BROKEN, text).with_data(data))
        }
        Err(_) => {
            Message::error(id, RpcError::new(UNAVAILABLE, "the gateway takes no calls now; nothing was sent"))
        }
    }
}

/// A refused tool that the agent may see is a result, so that the model reads why; one that it may not see doesn't exist.
fn denied(era: Era, id: Id, _name: &str, public: &Public) -> Message {
    let structured = object! { "placet" => public.to_value() };
    if public.unknown_tool {
        return Message::error(id, RpcError::invalid_params(public.message.clone()).with_data(structured));
    }
    let result = tool_error(&public.text(), Value::from(structured));
    match translate::result_for(era, Method::ToolsCall, result) {
        Ok(result) => Message::result(id, result),
        Err(_) => Message::error(id, RpcError::internal("denied")),
    }
}
