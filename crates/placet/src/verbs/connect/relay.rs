//! Messages from the client to the gateway and back, in both eras of the protocol.
//!
//! A request that names its revision in `_meta` is modern: it stands for itself, and closing its stream cancels it. All
//! others belong to the legacy session that `initialize` opened.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use placet_json::{Limits, Object, Value, object};
use placet_mcp::{
    Id, Message, Method, RpcError,
    headers::{PROTOCOL_VERSION, SESSION_ID, headers_for, protocol_version},
    legacy, meta, sse,
};
use tokio::task::{AbortHandle, JoinSet};

use super::{
    agent::{Agent, Unanswered},
    stdio::{Client, Lines},
};
use crate::failure::Failure;

/// The longest answer, in bytes: what the gateway passes on, and its frame.
const MAX_ANSWER: usize = 9 << 20;
/// Requests in flight at once; a client that sends more waits.
const MAX_OPEN: usize = 64;
/// How long requests in flight may go on after the client has closed its side.
const LINGER: Duration = Duration::from_secs(30);
/// How long to wait before the stream of unrelated messages is opened again.
const REOPEN: Duration = Duration::from_secs(2);

/// Our own errors; the protocol's lie within -32768..-32000.
mod code {
    /// The gateway can't be reached.
    pub(super) const UNREACHABLE: i64 = -31001;
    /// The workflow or the delegation has ended.
    pub(super) const UNAUTHORISED: i64 = -31002;
    /// The gateway can't serve now.
    pub(super) const UNAVAILABLE: i64 = -31003;
    /// The connection broke: what became of the call isn't known here.
    pub(super) const UNKNOWN: i64 = -31004;
}

/// Serves standard input and output until the client closes it.
pub(super) async fn serve(agent: Arc<Agent>) -> Result<(), Failure> {
    let (client, writer) = Client::start();
    let relay = Arc::new(Relay {
        agent,
        client,
        session: tokio::sync::Mutex::default(),
        shared: std::sync::Mutex::default(),
    });
    let (mut lines, mut requests) = (Lines::new(), JoinSet::new());
    while let Some(line) = lines.next().await {
        relay.take(&line, &mut requests).await;
        while requests.try_join_next().is_some() {}
        if requests.len() >= MAX_OPEN {
            drop(requests.join_next().await);
        }
    }
    let finish = async { while requests.join_next().await.is_some() {} };
    drop(tokio::time::timeout(LINGER, finish).await);
    requests.abort_all();
    relay.end().await;
    drop((requests, relay));
    drop(tokio::time::timeout(LINGER, writer).await);
    Ok(())
}

struct Relay {
    agent: Arc<Agent>,
    client: Client,
    session: tokio::sync::Mutex<Session>,
    shared: std::sync::Mutex<Shared>,
}

/// A legacy session.
#[derive(Default)]
struct Session {
    id: Option<String>,
    revision: Option<String>,
    /// The client's own `initialize`, to be sent again where the gateway has forgotten the session.
    initialize: Option<Bytes>,
    listener: Option<AbortHandle>,
}

#[derive(Default)]
struct Shared {
    /// Modern requests in flight, by id as JSON.
    open: HashMap<String, AbortHandle>,
    /// Input schemas of tools that were listed, for the headers that mirror arguments.
    schemas: HashMap<String, Value>,
    listed: bool,
}

impl Relay {
    /// Takes one line of the client. Notifications and answers go out in order; requests run side by side.
    async fn take(self: &Arc<Self>, line: &[u8], requests: &mut JoinSet<()>) {
        let message = match Message::parse(line, &Limits::MESSAGE) {
            Ok(message) => message,
            Err(refused) => {
                let outcome = Err(refused.rpc_error());
                return self.client.send(Message::Response { id: refused.id, outcome }).await;
            }
        };
        match message {
            Message::Request { id, method, params } => {
                let modern = params.as_ref().is_some_and(|params| protocol_version(params).is_some());
                let (relay, key) = (Arc::clone(self), id.to_value().to_string());
                // Held until the request is known, so that its end finds it.
                let mut shared = self.shared();
                let open = requests.spawn({
                    let key = key.clone();
                    async move {
                        relay.request(id, method, params, modern).await;
                        relay.shared().open.remove(&key);
                    }
                });
                if modern {
                    shared.open.insert(key, open);
                }
            }
            Message::Notification { method, params } if method == Method::Cancelled.name() => {
                let key = params.as_ref().and_then(|params| params.get("requestId")).map(Value::to_string);
                let open = key.and_then(|key| self.shared().open.remove(&key));
                match open {
                    // Its stream closes, and with it the call upstream.
                    Some(open) => open.abort(),
                    None => self.notify(Message::Notification { method, params }).await,
                }
            }
            message @ (Message::Notification { .. } | Message::Response { .. }) => self.notify(message).await,
        }
    }

    /// A message without an answer.
    async fn notify(self: &Arc<Self>, message: Message) {
        let initialized =
            matches!(&message, Message::Notification { method, .. } if method == Method::Initialized.name());
        let modern = match &message {
            Message::Notification { method, params } => {
                let params = params.clone().unwrap_or_default();
                protocol_version(&params)
                    .and(Method::from_name(method))
                    .map(|method| headers_for(method, &params, None))
            }
            Message::Request { .. } | Message::Response { .. } => None,
        };
        let headers = match modern {
            Some(headers) => headers,
            None => self.session.lock().await.headers(),
        };
        // Nobody waits for it; that it failed is seen by the next request.
        drop(self.agent.send("POST", &headers, &message.into_bytes().into()).await);
        if initialized {
            self.listen().await;
        }
    }

    async fn request(self: &Arc<Self>, id: Id, method: String, params: Option<Object>, modern: bool) {
        let answered = if modern {
            self.modern(&id, &method, params).await
        } else {
            self.legacy(&id, &method, params).await
        };
        if let Err(error) = answered {
            self.client.send(Message::error(id, error)).await;
        }
    }

    async fn modern(&self, id: &Id, method: &str, params: Option<Object>) -> Result<(), RpcError> {
        let Some(known) = Method::from_name(method) else { return Err(RpcError::method_not_found()) };
        let params = params.unwrap_or_default();
        let schema = match (known, params.get("name").and_then(Value::as_str)) {
            (Method::ToolsCall, Some(tool)) => self.schema(tool, &params).await,
            _ => None,
        };
        let headers = headers_for(known, &params, schema.as_ref());
        let message = Message::Request { id: id.clone(), method: method.to_owned(), params: Some(params) };
        let response = self.agent.send("POST", &headers, &message.into_bytes().into()).await.map_err(told)?;
        self.answer(response, id, method).await.map(drop)
    }

    async fn legacy(self: &Arc<Self>, id: &Id, method: &str, params: Option<Object>) -> Result<(), RpcError> {
        let message = Message::Request { id: id.clone(), method: method.to_owned(), params };
        let body = Bytes::from(message.into_bytes());
        if method == Method::Initialize.name() {
            let response = self.agent.send("POST", &[], &body).await.map_err(told)?;
            let mut session = self.session.lock().await;
            session.close();
            session.id = session_id(&response);
            session.initialize = Some(body);
            let result = self.answer(response, id, method).await?;
            session.revision = result
                .as_ref()
                .and_then(|result| result.get("protocolVersion"))
                .and_then(Value::as_str)
                .map(str::to_owned);
            return Ok(());
        }
        let (headers, used) = {
            let session = self.session.lock().await;
            (session.headers(), session.id.clone())
        };
        let mut response = self.agent.send("POST", &headers, &body).await.map_err(told)?;
        if response.status() == StatusCode::NOT_FOUND && used.is_some() {
            // An unknown session: the request did nothing, and may be sent again in a new one.
            let headers = self.reopen(used.as_deref()).await?;
            response = self.agent.send("POST", &headers, &body).await.map_err(told)?;
        }
        self.answer(response, id, method).await.map(drop)
    }

    /// Opens the session again as the client opened it; the client doesn't notice. Returns the new session's headers.
    async fn reopen(self: &Arc<Self>, lost: Option<&str>) -> Result<Vec<(String, String)>, RpcError> {
        let headers = {
            let mut session = self.session.lock().await;
            if session.id.as_deref() != lost {
                // Another request has done it.
                return Ok(session.headers());
            }
            let Some(initialize) = session.initialize.clone() else {
                return Err(RpcError::new(
                    code::UNAVAILABLE,
                    "the gateway has forgotten this session; initialize again",
                ));
            };
            let response = self.agent.send("POST", &[], &initialize).await.map_err(told)?;
            let id = session_id(&response);
            let mut result = None;
            self.read(response, |message| {
                if let Message::Response { outcome: Ok(object), .. } = message {
                    result = Some(object);
                }
                None
            })
            .await?;
            let initialized = result.and_then(|result| legacy::Initialized::parse(result).ok());
            let initialized = initialized.ok_or_else(|| {
                RpcError::new(code::UNAVAILABLE, "the gateway doesn't open the session again")
            })?;
            session.close();
            session.id = id;
            session.revision = Some(initialized.revision.to_string());
            let headers = session.headers();
            self.agent
                .send("POST", &headers, &legacy::initialized().into_bytes().into())
                .await
                .map_err(told)?;
            headers
        };
        self.listen().await;
        Ok(headers)
    }

    /// Opens the stream of messages that belong to no request, where the gateway offers one.
    async fn listen(self: &Arc<Self>) {
        let mut session = self.session.lock().await;
        if session.id.is_none() {
            return;
        }
        let (relay, headers) = (Arc::clone(self), session.headers());
        let task = tokio::spawn(async move {
            while let Ok(response) = relay.agent.send("GET", &headers, &Bytes::new()).await {
                if !is_stream(&response) || !response.status().is_success() {
                    break;
                }
                drop(relay.read(response, Some).await);
                tokio::time::sleep(REOPEN).await;
            }
        });
        if let Some(before) = session.listener.replace(task.abort_handle()) {
            before.abort();
        }
    }

    /// Passes an answer on as it comes. Fails unless the response to `id` was among it; returns its result.
    async fn answer(
        &self,
        response: Response<Incoming>,
        id: &Id,
        method: &str,
    ) -> Result<Option<Object>, RpcError> {
        let status = response.status();
        let (mut answered, mut result) = (false, None);
        let read = self.read(response, |message| match message {
            // An error of the gateway's that lost the id is this request's all the same.
            Message::Response { id: named, outcome } if named.as_ref().is_none_or(|named| named == id) => {
                if answered {
                    return None;
                }
                answered = true;
                result = outcome.as_ref().ok().cloned();
                Some(Message::Response { id: Some(id.clone()), outcome })
            }
            Message::Response { .. } => None,
            message @ (Message::Request { .. } | Message::Notification { .. }) => Some(message),
        });
        let read = read.await;
        if method == Method::ToolsList.name()
            && let Some(result) = &result
        {
            self.learn(result);
        }
        match (answered, read) {
            (true, _) => Ok(result),
            (false, Err(error)) => Err(error),
            (false, Ok(())) if status.is_success() => Err(RpcError::new(
                code::UNKNOWN,
                "the gateway ended its answer early; whether the call took effect is in its ledger",
            )),
            (false, Ok(())) => Err(refused(status)),
        }
    }

    /// Reads the messages of an answer, JSON or a stream, and sends to the client what `pass` makes of them.
    async fn read(
        &self,
        response: Response<Incoming>,
        mut pass: impl FnMut(Message) -> Option<Message>,
    ) -> Result<(), RpcError> {
        let broken = || {
            RpcError::new(
                code::UNKNOWN,
                "the gateway's answer broke off; whether the call took effect is in its ledger",
            )
        };
        let limits = Limits { bytes: MAX_ANSWER, ..Limits::RESULT };
        if !is_stream(&response) {
            let success = response.status().is_success();
            let body = Limited::new(response.into_body(), MAX_ANSWER)
                .collect()
                .await
                .map_err(|_| broken())?
                .to_bytes();
            return match Message::parse(&body, &limits) {
                Ok(message) => {
                    if let Some(message) = pass(message) {
                        self.client.send(message).await;
                    }
                    Ok(())
                }
                Err(_) if body.is_empty() || !success => Ok(()),
                Err(_) => Err(broken()),
            };
        }
        let mut body = response.into_body();
        let mut decoder = sse::Decoder::new(MAX_ANSWER);
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| broken())?;
            let Some(data) = frame.data_ref() else { continue };
            for event in decoder.push(data).map_err(|_| broken())? {
                let Ok(message) = Message::parse(event.data.as_bytes(), &limits) else { continue };
                if let Some(message) = pass(message) {
                    self.client.send(message).await;
                }
            }
        }
        Ok(())
    }

    /// The input schema of a tool as this agent is shown it; tools are listed once where the client hasn't.
    async fn schema(&self, tool: &str, params: &Object) -> Option<Value> {
        {
            let shared = self.shared();
            match shared.schemas.get(tool) {
                Some(schema) => return Some(schema.clone()),
                None if shared.listed => return None,
                None => {}
            }
        }
        let revision = protocol_version(params)?.to_owned();
        let meta = object! { meta::PROTOCOL_VERSION => revision, meta::CLIENT_CAPABILITIES => Object::new() };
        let params = object! { "_meta" => meta };
        let headers = headers_for(Method::ToolsList, &params, None);
        let message = Message::Request {
            id: Id::from("placet-connect"),
            method: Method::ToolsList.name().to_owned(),
            params: Some(params),
        };
        let response = self.agent.send("POST", &headers, &message.into_bytes().into()).await.ok()?;
        let mut result = None;
        self.read(response, |message| {
            if let Message::Response { outcome: Ok(object), .. } = message {
                result = Some(object);
            }
            None
        })
        .await
        .ok()?;
        self.learn(&result?);
        self.shared().schemas.get(tool).cloned()
    }

    fn learn(&self, result: &Object) {
        let tools = result.get("tools").and_then(Value::as_array).unwrap_or_default();
        let mut shared = self.shared();
        shared.listed = true;
        for tool in tools {
            if let (Some(name), Some(schema)) =
                (tool.get("name").and_then(Value::as_str), tool.get("inputSchema"))
            {
                shared.schemas.insert(name.to_owned(), schema.clone());
            }
        }
    }

    /// Ends the session at the gateway.
    async fn end(&self) {
        let mut session = self.session.lock().await;
        session.close();
        if session.id.is_some() {
            let (headers, nothing) = (session.headers(), Bytes::new());
            let ended = self.agent.send("DELETE", &headers, &nothing);
            drop(tokio::time::timeout(Duration::from_secs(2), ended).await);
        }
    }

    fn shared(&self) -> std::sync::MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session {
    fn headers(&self) -> Vec<(String, String)> {
        let id = self.id.clone().map(|id| (SESSION_ID.to_owned(), id));
        let revision = self.revision.clone().map(|revision| (PROTOCOL_VERSION.to_owned(), revision));
        id.into_iter().chain(revision).collect()
    }
    fn close(&mut self) {
        if let Some(listener) = self.listener.take() {
            listener.abort();
        }
    }
}

fn session_id(response: &Response<Incoming>) -> Option<String> {
    response.headers().get(SESSION_ID).and_then(|id| id.to_str().ok()).map(str::to_owned)
}

fn is_stream(response: &Response<Incoming>) -> bool {
    let kind =
        response.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("text/event-stream"))
}

fn told(error: Unanswered) -> RpcError {
    match error {
        Unanswered::Unreachable(why) => {
            RpcError::new(code::UNREACHABLE, format!("the gateway can't be reached: {why}"))
        }
        Unanswered::Unauthorised(why) => RpcError::new(code::UNAUTHORISED, why),
        Unanswered::Unavailable(why) => RpcError::new(code::UNAVAILABLE, why),
        Unanswered::Broken(why) => RpcError::new(
            code::UNKNOWN,
            format!(
                "the connection to the gateway broke ({why}); whether the call took effect is in its ledger"
            ),
        ),
    }
}

fn refused(status: StatusCode) -> RpcError {
    match status.as_u16() {
        401 | 403 => RpcError::new(
            code::UNAUTHORISED,
            "the gateway doesn't accept this agent's token; the workflow may have ended",
        ),
        _ => RpcError::new(code::UNAVAILABLE, format!("the gateway answered {status}")),
    }
}
