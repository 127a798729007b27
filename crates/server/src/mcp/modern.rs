//! 2026-07-28: self-describing requests, no session.

use std::sync::Arc;

use axum::{
    http::{HeaderMap, StatusCode},
    response::Response,
};
use placet_core::Name;
use placet_json::object;
use placet_mcp::{Era, Message, Method, RpcError, discover, modern, tools::CallParams};

use super::{Caller, Endpoint, empty, fields, message, tools::Wanted};
use crate::telemetry::Parent;

impl Endpoint {
    pub(super) async fn modern(
        self: Arc<Self>,
        caller: Caller,
        only: Option<&Name>,
        headers: &HeaderMap,
        body: Message,
    ) -> Response {
        let fields = fields(headers);
        let named = method_of(&body);
        if let Message::Notification { .. } = &body {
            // Closing the stream is what cancels; a notification changes nothing here.
            return match modern::notification(fields.iter().copied(), true, &body) {
                Ok(_) => empty(StatusCode::ACCEPTED),
                Err(refusal) => self.bad_request(&caller, &named, refusal).await,
            };
        }
        let schemas = self.schemas(&caller, only, &body);
        let request = match modern::over_http(fields.iter().copied(), body, |name| schemas.get(name)) {
            Ok(request) => request,
            Err(refusal) => return self.bad_request(&caller, &named, refusal).await,
        };
        let id = request.id;
        match request.method {
            Method::Discover => message(
                StatusCode::OK,
                Message::result(id, discover::result(capabilities(Era::Modern), server_info(), None)),
            ),
            Method::ToolsList => self.tools_list(&caller, only, Era::Modern, id, &request.params),
            Method::ToolsCall => {
                let meta = request.meta;
                let wanted = Wanted {
                    era: Era::Modern,
                    session: None,
                    progress: meta.progress_token,
                    log_level: meta.log_level,
                    parent: Parent::in_meta(Some(&meta.rest)),
                };
                match CallParams::parse(request.params) {
                    Ok(params) => {
                        self.tools_call(&caller, only, headers, id, params, Some(&meta.rest), wanted).await
                    }
                    Err(error) => self.bad_params(&caller, id, error).await,
                }
            }
            // Not built yet, not of this era, or no request: refused, one by one, so that a new method must be placed.
            Method::Initialize
            | Method::Initialized
            | Method::Ping
            | Method::LoggingSetLevel
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
            | Method::TasksStatus => {
                self.unserved(&caller, StatusCode::NOT_FOUND, id, request.method.name()).await
            }
        }
    }

    pub(super) async fn bad_params(&self, caller: &Caller, id: placet_mcp::Id, error: RpcError) -> Response {
        self.protocol_refusal(
            caller,
            Method::ToolsCall.name(),
            placet_core::Code::MessageInvalid,
            &error.message,
        )
        .await;
        message(StatusCode::OK, Message::error(id, error))
    }
}

pub(super) fn method_of(message: &Message) -> String {
    match message {
        Message::Request { method, .. } | Message::Notification { method, .. } => {
            method.chars().take(128).collect()
        }
        Message::Response { .. } => "response".to_owned(),
    }
}

/// What we declare: tools, and logging.
pub(super) fn capabilities(era: Era) -> placet_json::Object {
    match era {
        Era::Modern => object! { "tools" => object! {} },
        Era::Legacy => object! { "tools" => object! {}, "logging" => object! {} },
    }
}

pub(super) fn server_info() -> placet_json::Object {
    object! { "name" => "placet", "version" => env!("CARGO_PKG_VERSION") }
}
