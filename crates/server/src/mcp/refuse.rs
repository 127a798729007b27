//! Refusals after the envelope is open: each is recorded, then answered.

use axum::{http::StatusCode, response::Response};
use placet_core::Code;
use placet_mcp::{Id, Message, Refusal, RpcError, message::NotAMessage};

use super::{Caller, Endpoint, json, message};

impl Endpoint {
    /// Authenticated, but no message of the protocol: duplicate members, a batch, an unknown member.
    pub(super) async fn not_a_message(&self, caller: &Caller, error: &NotAMessage) -> Response {
        let status =
            if error.is_too_long() { StatusCode::PAYLOAD_TOO_LARGE } else { StatusCode::BAD_REQUEST };
        self.protocol_refusal(caller, "message", Code::MessageInvalid, &error.to_string()).await;
        answer(status, error.id.clone(), error.rpc_error())
    }

    /// Headers that disagree with the body, a version that we don't speak, missing `_meta`.
    pub(super) async fn bad_request(&self, caller: &Caller, method: &str, refusal: Refusal) -> Response {
        let Refusal { http_status, id, error } = refusal;
        let code = if http_status == 404 { Code::MethodRefused } else { Code::MessageInvalid };
        self.protocol_refusal(caller, method, code, &error.message).await;
        answer(StatusCode::from_u16(http_status).unwrap_or(StatusCode::BAD_REQUEST), id, error)
    }

    /// A method that isn't governed here.
    pub(super) async fn unserved(
        &self,
        caller: &Caller,
        status: StatusCode,
        id: Id,
        method: &str,
    ) -> Response {
        self.protocol_refusal(caller, method, Code::MethodRefused, "the method isn't served").await;
        answer(status, Some(id), RpcError::method_not_found())
    }

    pub(super) async fn protocol_refusal(&self, caller: &Caller, method: &str, code: Code, operator: &str) {
        self.refusals.refused(code.as_str());
        let Some(envelope) = caller.envelope_of_refusal(self.gateway.ledger().now()) else { return };
        if let Err(error) = self.gateway.refuse(envelope, method, code, operator).await {
            tracing::error!(%error, "a refusal couldn't be recorded");
        }
    }
}

fn answer(status: StatusCode, id: Option<Id>, error: RpcError) -> Response {
    let Some(id) = id else {
        let body = placet_json::object! { "jsonrpc" => "2.0", "id" => placet_json::Value::Null, "error" => error.into_value() };
        return json(status, placet_json::Value::from(body).to_bytes());
    };
    message(status, Message::error(id, error))
}
