//! 2025-03-26 to 2025-11-25: the handshake, and sessions.

use std::sync::Arc;

use axum::{
    http::{HeaderMap, HeaderValue, StatusCode},
    response::Response,
};
use placet_core::{Code, Name};
use placet_json::Object;
use placet_mcp::{
    Direction, Era, Id, Message, Method, RpcError,
    headers::SESSION_ID,
    legacy::{Initialize, check_headers, initialize_result, pong},
    logging::LogLevel,
    tools::CallParams,
};

use super::{
    Caller, Endpoint, empty, fields, message,
    modern::{capabilities, method_of, server_info},
    session::Session,
    tools::Wanted,
};
use crate::telemetry::Parent;

impl Endpoint {
    pub(super) async fn legacy(
        self: Arc<Self>,
        caller: Caller,
        only: Option<&Name>,
        headers: &HeaderMap,
        body: Message,
    ) -> Response {
        let named = method_of(&body);
        if named == Method::Initialize.name() {
            return self.initialize(&caller, body).await;
        }
        let session = match self.session(&caller, headers) {
            Ok(session) => session,
            Err(response) => return *response,
        };
        let fields = fields(headers);
        if let Err(refusal) = check_headers(fields.iter().copied(), session.revision, &body) {
            return self.bad_request(&caller, &named, refusal).await;
        }
        let method = body.classify(Direction::ToServer, session.revision);
        match (body, method) {
            (Message::Request { id, params, .. }, Ok(Some(method))) => {
                self.legacy_request(&caller, only, headers, &session, id, method, params.unwrap_or_default())
                    .await
            }
            (Message::Request { id, .. }, _) => self.unserved(&caller, StatusCode::OK, id, &named).await,
            (Message::Notification { params, .. }, Ok(Some(Method::Cancelled))) => {
                if let Some(id) =
                    params.as_ref().and_then(|params| params.get("requestId")).and_then(Id::from_value)
                {
                    self.cancel(&session.id, &id);
                }
                empty(StatusCode::ACCEPTED)
            }
            (Message::Notification { .. }, Ok(Some(_))) => empty(StatusCode::ACCEPTED),
            (Message::Notification { .. }, _) => {
                self.protocol_refusal(&caller, &named, Code::MethodRefused, "an unknown notification").await;
                empty(StatusCode::BAD_REQUEST)
            }
            (Message::Response { .. }, _) => {
                self.protocol_refusal(
                    &caller,
                    "response",
                    Code::MessageInvalid,
                    "a response to a question that nobody asked",
                )
                .await;
                empty(StatusCode::BAD_REQUEST)
            }
        }
    }

    async fn initialize(&self, caller: &Caller, body: Message) -> Response {
        let Message::Request { id, params, .. } = body else {
            self.protocol_refusal(
                caller,
                Method::Initialize.name(),
                Code::MessageInvalid,
                "`initialize` without an id",
            )
            .await;
            return empty(StatusCode::BAD_REQUEST);
        };
        let asked = match Initialize::parse(params) {
            Ok(asked) => asked,
            Err(error) => {
                self.protocol_refusal(
                    caller,
                    Method::Initialize.name(),
                    Code::MessageInvalid,
                    &error.message,
                )
                .await;
                return message(StatusCode::BAD_REQUEST, Message::error(id, error));
            }
        };
        let Ok(session) = self.sessions.begin(&caller.principal, asked.revision) else {
            return self.refused(StatusCode::SERVICE_UNAVAILABLE, "no_randomness");
        };
        let result = initialize_result(asked.revision, capabilities(Era::Legacy), server_info(), None);
        let mut response = message(StatusCode::OK, Message::result(id, result));
        if let Ok(value) = HeaderValue::from_str(&session.id) {
            response.headers_mut().insert("mcp-session-id", value);
        }
        response
    }

    fn session(&self, caller: &Caller, headers: &HeaderMap) -> Result<Session, Box<Response>> {
        let mut ids = headers.get_all(SESSION_ID).iter();
        match (ids.next().map(HeaderValue::to_str), ids.next()) {
            (None, _) => Err(Box::new(self.refused(StatusCode::BAD_REQUEST, "session_missing"))),
            (Some(Ok(id)), None) => self
                .sessions
                .find(id, &caller.principal)
                .ok_or_else(|| Box::new(self.refused(StatusCode::NOT_FOUND, "session_unknown"))),
            _ => Err(Box::new(self.refused(StatusCode::NOT_FOUND, "session_unknown"))),
        }
    }

    pub(super) fn end_session(&self, caller: &Caller, headers: &HeaderMap) -> Response {
        match self.session(caller, headers) {
            Ok(session) => {
                self.sessions.end(&session);
                empty(StatusCode::NO_CONTENT)
            }
            Err(response) => *response,
        }
    }

    #[expect(clippy::too_many_arguments, reason = "one request with all that came with it")]
    async fn legacy_request(
        self: Arc<Self>,
        caller: &Caller,
        only: Option<&Name>,
        headers: &HeaderMap,
        session: &Session,
        id: Id,
        method: Method,
        params: Object,
    ) -> Response {
        match method {
            Method::Ping => message(StatusCode::OK, pong(id)),
            Method::ToolsList => self.tools_list(caller, only, Era::Legacy, id, &params),
            Method::LoggingSetLevel => match LogLevel::from_params(&params) {
                Some(level) => {
                    self.sessions.set_level(session, level);
                    message(StatusCode::OK, Message::result(id, Object::new()))
                }
                None => message(
                    StatusCode::OK,
                    Message::error(id, RpcError::invalid_params("`level` is no log level")),
                ),
            },
            Method::ToolsCall => {
                let params = match CallParams::parse(params) {
                    Ok(params) => params,
                    Err(error) => return self.bad_params(caller, id, error).await,
                };
                let meta = params.meta.clone();
                let wanted = Wanted {
                    era: Era::Legacy,
                    session: Some(session.id.clone()),
                    progress: meta
                        .as_ref()
                        .and_then(|meta| meta.get(placet_mcp::meta::PROGRESS_TOKEN))
                        .and_then(Id::from_value),
                    log_level: self.sessions.level(session),
                    parent: Parent::in_meta(meta.as_ref()),
                };
                self.tools_call(caller, only, headers, id, params, meta.as_ref(), wanted).await
            }
            // Not built yet, not of this era, or no request: refused, one by one, so that a new method must be placed.
            Method::Discover
            | Method::Initialize
            | Method::Initialized
            | Method::ResourcesList
            | Method::ResourceTemplatesList
            | Method::ResourcesRead
            | Method::SubscriptionsListen
            | Method::ResourcesSubscribe
            | Method::ResourcesUnsubscribe
            | Method::PromptsList
            | Method::PromptsGet
            | Method::Complete
            | Method::TasksGet
            | Method::TasksResult
            | Method::TasksUpdate
            | Method::TasksCancel
            | Method::TasksList
            | Method::Cancelled
            | Method::Progress
            | Method::LogMessage
            | Method::RootsListChanged
            | Method::Elicit
            | Method::Sample
            | Method::RootsList
            | Method::ElicitationComplete
            | Method::ToolsListChanged
            | Method::ResourcesListChanged
            | Method::PromptsListChanged
            | Method::ResourcesUpdated
            | Method::SubscriptionsAcknowledged
            | Method::TasksNotification
            | Method::TasksStatus => self.unserved(caller, StatusCode::OK, id, method.name()).await,
        }
    }
}
