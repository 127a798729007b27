//! Operations of HTTP APIs: from a decided call to the request that is sent, and from a request of an agent's own HTTP
//! client to a call.

use std::sync::Arc;

use placet_catalog::{Claim, Entry, Incoming, http_request};
use placet_core::{
    Call, Code, Envelope, Name, Reason,
    authority::{Answer, Outcome},
};
use placet_json::Value;
use placet_upstream::{Client, HTTP_META, Operation};

use crate::{Answered, Departure, Gateway, Public, ToolCall, Unavailable};

/// A request of an agent's own HTTP client, as a rim read it.
#[derive(Debug)]
pub struct HttpCall<'a> {
    /// The upstream.
    pub upstream: &'a Name,
    /// Method, path, query, headers and body as they came.
    pub incoming: Incoming<'a>,
    /// What the client wants to hear meanwhile.
    pub client: Client,
}

/// What became of a request.
#[derive(Debug)]
pub enum Unrouted {
    /// It is no operation that exists here; the refusal is on record.
    Refused(Public),
    /// It is one, and this came of it.
    Answered(Answered),
}

/// What a rim knows of a call beside its arguments, and what must hold for it to be that call.
#[derive(Debug, Default)]
pub(crate) struct Rim {
    claims: Vec<Claim>,
    misfit: Option<String>,
}

impl Rim {
    /// Asked of a call that is visible and whose arguments are right: the rest of the request must fit, too.
    pub(crate) fn holds(&self, call: &Call) -> Result<(), Reason> {
        let invalid = |public: String| {
            let operator = format!("{public} (request of an HTTP client)");
            Err(Reason::platform(Code::ArgumentInvalid, public, operator))
        };
        if let Some(misfit) = &self.misfit {
            return invalid(misfit.clone());
        }
        for claim in &self.claims {
            let filled = call.bound.iter().find(|bound| bound.argument == claim.argument);
            if !filled.is_some_and(|bound| claim.holds(&bound.value)) {
                return invalid(format!(
                    "the argument `{}` is filled by the gateway, and the request says something else",
                    claim.argument
                ));
            }
        }
        Ok(())
    }
}

impl Gateway {
    /// Takes a request of an agent's own HTTP client through the pipeline, as the one call that it is. Nothing of the
    /// request itself is sent on.
    pub async fn call_http(
        self: &Arc<Self>,
        envelope: Envelope,
        http: HttpCall<'_>,
    ) -> Result<Unrouted, Unavailable> {
        let HttpCall { upstream, incoming, client } = http;
        let release = self.ledger().releases().current();
        let routed = release.as_ref().and_then(|release| release.catalog().route(upstream, &incoming));
        let Some(routed) = routed else {
            let target: String = format!("{upstream} {} {}", incoming.method, incoming.path);
            let refused = self.refuse_operation(envelope, &target).await?;
            return Ok(Unrouted::Refused(refused));
        };
        let call = ToolCall {
            upstream: upstream.clone(),
            tool: routed.entry.tool().to_owned(),
            arguments: Value::Object(routed.arguments),
            client,
            departure: Departure::Cancels,
        };
        let rim = Rim { claims: routed.claims, misfit: routed.misfit };
        self.call_with(envelope, call, rim).await.map(Unrouted::Answered)
    }
}

/// The request that a decided call is; `None` where its tool is one of MCP.
pub(crate) fn operation(entry: &Entry, call: &Call) -> Result<Option<Operation>, String> {
    let Some(request) = http_request(entry, call) else { return Ok(None) };
    let placet_catalog::HttpRequest { method, path, query, headers, content_type, body, returns } = request?;
    Ok(Some(Operation { method, path, query, headers, content_type, body, returns }))
}

/// The class of the HTTP status of an answer that goes back; `None` of an answer of MCP, or of none.
pub(crate) fn class_of(outcome: &Outcome) -> Option<&'static str> {
    let Answer::Result(result) = &outcome.answer else { return None };
    match result.get("_meta")?.get(HTTP_META)?.get("status")?.as_u64()? {
        200..=299 => Some("2xx"),
        400..=499 => Some("4xx"),
        500..=599 => Some("5xx"),
        _ => Some("other"),
    }
}
