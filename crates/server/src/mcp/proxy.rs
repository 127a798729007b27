//! `/proxy/{upstream}/…`: an agent's plain HTTP client calls an operation of an HTTP API by its own path.
//!
//! Method, path and query name the one operation of the catalog that they can be; its arguments then take the same way
//! as those of a `tools/call`, and the request to the upstream is made of them anew. No byte of the agent's request is
//! passed on.

use std::sync::Arc;

use axum::{
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header},
    response::Response,
};
use placet_catalog::Incoming;
use placet_core::{Code, Name, authority::Ending};
use placet_gateway::{Answered, HttpCall, Public, Unavailable, Unrouted};
use placet_jose::htu::Htu;
use placet_json::{Value, object};
use placet_upstream::{Client, HTTP_META};
use tokio::sync::mpsc;
use tracing::Instrument as _;

use super::{Endpoint, door::NoIntent, fields, read};
use crate::telemetry::{self, Parent};

/// Where the upstreams' paths begin.
pub(super) const PREFIX: &str = "/proxy/";
/// Whose answer it is: the tool's, or ours.
const ANSWERED_BY: &str = "placet-answered-by";
/// What a refusal before a call is recorded as.
const METHOD: &str = "tools/call";

impl Endpoint {
    pub(super) async fn proxy(
        self: Arc<Self>,
        method: Method,
        uri: Uri,
        headers: HeaderMap,
        body: Body,
    ) -> Response {
        if let Err(response) = self.check_origin(&headers) {
            return *response;
        }
        // The path with its percent-encoding: what it means is read once, by the catalog.
        let path = uri.path();
        let below = path.strip_prefix(PREFIX).unwrap_or_default();
        let (upstream, rest) =
            below.find('/').and_then(|at| below.split_at_checked(at)).unwrap_or((below, "/"));
        let (Ok(upstream), Ok(url)) = (Name::new(upstream), Htu::parse(&format!("{}{path}", self.base)))
        else {
            return self.refused(StatusCode::NOT_FOUND, "path");
        };
        let caller = match self.open(&method, &url, &headers).await {
            Ok(caller) => caller,
            Err(response) => return *response,
        };
        let Some(slot) = self.slots.take(&caller.agent) else {
            return self.refused(StatusCode::TOO_MANY_REQUESTS, "streams");
        };
        let body = match read(body, self.max_body, self.body_read).await {
            Ok(body) => body,
            Err(status) => return self.refused(status, "body"),
        };
        let mut parent = Parent::in_meta(None);
        let span = telemetry::open(&mut parent, &headers);
        let now = self.gateway.ledger().now();
        let intent = match caller.intent(None, &headers) {
            Ok(intent) => intent,
            Err(error) => {
                let Some(envelope) = caller.envelope_of_refusal(now) else {
                    return self.refused(StatusCode::UNAUTHORIZED, "token");
                };
                let what = no_intent(&error);
                let refused = self.gateway.refuse(envelope, METHOD, Code::IntentNotDeclared, what);
                return self.answer(refused.instrument(span).await.map(Unrouted::Refused));
            }
        };
        let Some(envelope) = caller.envelope(intent, now) else {
            return self.refused(StatusCode::UNAUTHORIZED, "token");
        };
        let Parent { traceparent, tracestate } = parent;
        // An HTTP API says nothing beside its answer.
        let (items, _unread) = mpsc::channel(1);
        let client = Client { progress: None, log_level: None, traceparent, tracestate, items };
        let incoming = Incoming {
            method: method.as_str(),
            path: rest,
            query: uri.query(),
            headers: &fields(&headers),
            body: &body,
        };
        let http = HttpCall { upstream: &upstream, incoming, client };
        let answered = self.gateway.call_http(envelope, http).instrument(span).await;
        drop(slot);
        self.answer(answered)
    }

    fn answer(&self, answered: Result<Unrouted, Unavailable>) -> Response {
        match answered {
            Ok(Unrouted::Answered(Answered::Result(result))) => passed(&result),
            Ok(Unrouted::Refused(public) | Unrouted::Answered(Answered::Denied(public))) => denied(&public),
            // No error of JSON-RPC comes from an HTTP API.
            Ok(Unrouted::Answered(Answered::Error(_))) => {
                problem(StatusCode::BAD_GATEWAY, "upstream", "the tool's answer can't be passed on", &[])
            }
            Ok(Unrouted::Answered(Answered::Broken { decision, ending, message })) => {
                let status = match ending {
                    Ending::Revoked => StatusCode::SERVICE_UNAVAILABLE,
                    Ending::Done | Ending::Failed | Ending::Unknown | Ending::Filtered => {
                        StatusCode::BAD_GATEWAY
                    }
                };
                let more = [("decision_id", decision.as_str().into()), ("ending", ending.as_str().into())];
                problem(status, "broken", message, &more)
            }
            Err(error) => {
                self.refusals.refused("unavailable");
                tracing::error!(%error, "the pipeline takes no calls");
                let detail = "the gateway takes no calls now; nothing was sent";
                problem(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail, &[])
            }
        }
    }
}

fn no_intent(error: &NoIntent) -> &'static str {
    match error {
        NoIntent::Several => {
            "several intents are possible, and the call names none; name one in the header `Placet-Intent`"
        }
        NoIntent::Two => "the call names two intents",
        NoIntent::Form => "the intent's name is malformed",
    }
}

/// The tool's own answer: its status, its body with its type, and of its headers those that the catalog names.
fn passed(result: &Value) -> Response {
    let http = result.get("_meta").and_then(|meta| meta.get(HTTP_META));
    let status = http
        .and_then(|http| http.get("status"))
        .and_then(Value::as_u64)
        .and_then(|status| StatusCode::from_u16(u16::try_from(status).ok()?).ok());
    let Some(status) = status else {
        return problem(StatusCode::BAD_GATEWAY, "upstream", "the tool's answer can't be passed on", &[]);
    };
    let kind = http.and_then(|http| http.get("content_type")).and_then(Value::as_str);
    let kind = kind.and_then(|kind| HeaderValue::from_str(kind).ok());
    let text = result.pointer("/content/0/text").and_then(Value::as_str).filter(|_| kind.is_some());
    let mut response = Response::new(Body::from(text.unwrap_or_default().to_owned()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.extend(http.and_then(|http| http.get("headers")).into_iter().flat_map(returned));
    headers.extend(kind.map(|kind| (header::CONTENT_TYPE, kind)));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(ANSWERED_BY, HeaderValue::from_static("tool"));
    response
}

fn returned(headers: &Value) -> Vec<(HeaderName, HeaderValue)> {
    let one = |(name, value): (&str, &Value)| {
        Some((name.parse().ok()?, HeaderValue::from_str(value.as_str()?).ok()?))
    };
    headers.as_object().into_iter().flat_map(|headers| headers.iter()).filter_map(one).collect()
}

fn denied(public: &Public) -> Response {
    let status = if public.unknown_tool { StatusCode::NOT_FOUND } else { StatusCode::FORBIDDEN };
    let more = [
        ("decision_id", public.decision.as_str().into()),
        ("message", public.message.as_str().into()),
        ("remedy", public.remedy.as_deref().map_or(Value::Null, Value::from)),
    ];
    problem(status, &public.code, &public.text(), &more)
}

/// RFC 9457.
fn problem(status: StatusCode, code: &str, detail: &str, more: &[(&str, Value)]) -> Response {
    let title = status.canonical_reason().unwrap_or_default();
    let mut document = object! {
        "type" => "about:blank", "title" => title, "status" => u64::from(status.as_u16()), "detail" => detail,
        "code" => code,
    };
    document.extend(more.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    let mut response = Response::new(Body::from(Value::from(document).to_bytes()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(ANSWERED_BY, HeaderValue::from_static("placet"));
    response
}
