//! Calls that are operations of an HTTP API: one request, whose answer becomes the result.
//!
//! Method, path, query, headers and body come from the catalog's template and the decided arguments; the agent's own
//! request, where it had one, is nowhere in it. Redirects aren't followed. What a status says of the effect: 2xx it
//! happened, 4xx it didn't, 5xx of a call that changes something nobody knows.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Method as Verb, Request as HttpRequest};
use http_body_util::Full;
use placet_core::authority::{Answer, Dispatch, Ending, Outcome};
use placet_core::{Digest, EffectClass};
use placet_json::{Limits, Object, Value, object, parse};

use crate::answer::{refused, unanswered};
use crate::credential::{Caller, Who};
use crate::http::{IDEMPOTENCY_KEY, OURS};
use crate::pool::Lane;
use crate::post::{self, Broken};
use crate::read::RestUpstream;
use crate::ready::{Ready, Road, Side};
use crate::request::{Inspect, Verdict};
use crate::road::{Meter, broke};
use crate::scan::Scanner;
use crate::upstreams::{Upstream, Upstreams};
use crate::{Made, Purpose, Request, Target, UpstreamError, wire};

/// The member of a result's `_meta` that holds the HTTP status and the type of the body.
pub const HTTP_META: &str = "dev.placet/http";

/// The longest value of a header that goes into a result, in bytes.
const MAX_RETURNED: usize = 1024;

/// The request that a call is, as the catalog made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// The method.
    pub method: &'static str,
    /// The path below the upstream's address, percent-encoded; begins with a slash.
    pub path: String,
    /// The query without its question mark, encoded.
    pub query: Option<String>,
    /// Headers of the API's own, by name in lower case.
    pub headers: Vec<(String, String)>,
    /// The type of the body, where there is one.
    pub content_type: Option<Cow<'static, str>>,
    /// The body.
    pub body: Vec<u8>,
    /// The headers of the answer that belong to the result, in lower case.
    pub returns: Vec<String>,
}

/// A request that is ready, on a connection that is.
pub(crate) struct RestRoad {
    rest: Arc<RestUpstream>,
    lane: Lane,
    request: HttpRequest<Full<Bytes>>,
    returns: Vec<String>,
}

/// What an answer came to, before it is looked into.
struct Came {
    status: u16,
    kind: String,
    body: Bytes,
    /// Those of its headers that belong to the result.
    headers: Object,
}

impl Upstreams {
    pub(crate) async fn over_rest(
        &self,
        upstream: &Upstream,
        rest: &Arc<RestUpstream>,
        request: Request<'_>,
    ) -> Result<Ready, UpstreamError> {
        let Request { call, envelope, partition, client, inspect, operation } = request;
        let operation = operation.ok_or_else(|| UpstreamError::protocol("the call is no operation"))?;
        let caller =
            Caller { credentials: &*self.credentials, upstream: &rest.name, who: Who::Call(call, envelope) };
        let path = match &operation.query {
            Some(query) => format!("{}?{query}", operation.path),
            None => operation.path.clone(),
        };
        let (target, url) = rest.place(&path)?;
        let method = operation.method;
        let aim = Target::Http { purpose: Purpose::Call, method, url: &url, body: &operation.body };
        let lane = rest.pool.take(&partition).await?;
        let made = caller.make(&aim)?;
        let mut request = rest.request(target, &made)?;
        let returns = operation.returns.clone();
        fill(&mut request, operation, &made)?;
        if let Some(key) = wire::idempotency(call, &mut Object::new()) {
            request.headers_mut().insert(IDEMPOTENCY_KEY, key);
        }
        for (name, text) in [("traceparent", &client.traceparent), ("tracestate", &client.tracestate)] {
            if let Some(value) = text.as_ref().and_then(|text| HeaderValue::from_str(text).ok()) {
                request.headers_mut().insert(name, value);
            }
        }
        let Made { headers: _, query: _, meta: _, note, scan, spent } = made;
        let scanner = Scanner::new(&scan, &spent);
        let side = Side { id: 0, client, scanner, stale: Arc::clone(&upstream.stale), leaked: false };
        Ok(Ready {
            id: call.id.clone(),
            arguments: call.arguments.clone(),
            note,
            credentials: Arc::clone(&self.credentials),
            breaker: Arc::clone(&upstream.breaker),
            inspect,
            side,
            road: Road::Rest(Box::new(RestRoad { rest: Arc::clone(rest), lane, request, returns })),
        })
    }
}

/// Puts method, headers and body into a request that has address and credential.
fn fill(
    request: &mut HttpRequest<Full<Bytes>>,
    operation: Operation,
    made: &Made,
) -> Result<(), UpstreamError> {
    let Operation { method, path: _, query: _, headers, content_type, body, returns: _ } = operation;
    let unusable = |what: &str| UpstreamError::protocol(format!("{what} can't be put into a request"));
    *request.method_mut() = Verb::from_bytes(method.as_bytes()).map_err(|_| unusable("the method"))?;
    let all = request.headers_mut();
    all.insert(ACCEPT, HeaderValue::from_static("application/json, text/*;q=0.5"));
    for (name, value) in headers {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| unusable("a header's name"))?;
        let ours = OURS.contains(&name.as_str()) && name != ACCEPT;
        if ours || made.headers.iter().any(|(credential, _)| *credential == name) {
            return Err(UpstreamError::protocol(format!("an argument can't set the header `{name}`")));
        }
        all.insert(name, HeaderValue::from_str(&value).map_err(|_| unusable("a header's value"))?);
    }
    if let Some(kind) = content_type {
        all.insert(CONTENT_TYPE, HeaderValue::from_str(&kind).map_err(|_| unusable("the body's type"))?);
    }
    *request.body_mut() = Full::new(Bytes::from(body));
    Ok(())
}

impl RestRoad {
    pub(crate) fn limit(&self) -> Duration {
        self.rest.timeouts.call
    }

    /// Sends the request and reads its answer to the end.
    pub(crate) async fn exchange(
        self: Box<Self>,
        dispatch: &Dispatch<'_>,
        inspect: &Inspect,
        mut side: Side,
        meter: &mut Meter,
    ) -> Outcome {
        let Self { rest, mut lane, request, returns } = *self;
        let (call, bound) = (dispatch.call, rest.bounds.answer);
        meter.watch(&lane);
        let mut reply = match post::send(&mut lane.line, request, bound).await {
            Ok(reply) => reply,
            Err(broken) => return broke(call, meter.sent(), broken),
        };
        let (status, kind) = (reply.status.as_u16(), reply.content_type());
        let headers = returned(&returns, |name| reply.header_text(name));
        side.leaked |= reply.header_texts().any(|text| side.scanner.finds_in(text));
        let body = match reply.whole(bound).await {
            Ok(body) => body,
            Err(broken) => {
                let happened = (200..300).contains(&status) && broken == Broken::TooLong;
                let mut outcome = broke(call, meter.sent(), broken);
                if happened || side.leaked {
                    outcome.ending = Ending::Filtered;
                }
                return outcome;
            }
        };
        reply.end(lane, &rest.pool);
        judge(dispatch, inspect, &side, &Came { status, kind, body, headers }, meter.sent())
    }
}

/// What an answer says of the effect, and what of it goes back.
fn judge(dispatch: &Dispatch<'_>, inspect: &Inspect, side: &Side, came: &Came, sent: u64) -> Outcome {
    let call = dispatch.call;
    let Came { status, kind, body, headers } = came;
    let ended = |ending, answer, detail: String| Outcome {
        ending,
        answer,
        digest: Some(Digest::of(body)),
        sent,
        labels: call.labels.clone(),
        detail,
    };
    let text = std::str::from_utf8(body);
    let json = is_json(kind).then(|| parse(body, &Limits { bytes: body.len(), ..Limits::RESULT }));
    let leaked = side.leaked
        || side.scanner.finds_in(&String::from_utf8_lossy(body))
        || json.as_ref().is_some_and(|json| json.as_ref().is_ok_and(|json| side.scanner.finds(json)));
    if leaked {
        let detail = format!("the answer (HTTP status {status}) held the credential of the call");
        return ended(Ending::Filtered, Answer::Nothing, detail);
    }
    let ending = match status {
        200..=299 => Ending::Done,
        300..=399 => {
            let detail = format!("redirected (HTTP status {status}), which is not followed");
            return Outcome { digest: Some(Digest::of(body)), ..refused(call, sent, detail) };
        }
        408 | 499 | 500.. | ..=199 if call.effect != EffectClass::Read => {
            let detail = format!("HTTP status {status}, which doesn't say whether it happened");
            return Outcome { digest: Some(Digest::of(body)), ..unanswered(call, sent.max(1), detail) };
        }
        _ => Ending::Failed,
    };
    let refused = || format!("refused with HTTP status {status}");
    let detail = if ending == Ending::Done { String::new() } else { refused() };
    let readable = match (&json, text) {
        (_, Ok("")) => Ok((None, None)),
        (Some(Ok(json)), Ok(text)) => Ok((Some(text), Some(json))),
        (Some(Err(error)), _) => Err(format!("the answer is no JSON: {error}")),
        (None, Ok(text)) if kind.starts_with("text/") => Ok((Some(text), None)),
        (Some(_) | None, Err(_)) => Err("the answer is no text".to_owned()),
        (None, Ok(_)) => Err(format!("the answer is of the type `{}`, which nobody looks into", cut(kind))),
    };
    let verdict = readable.map(|(text, json)| {
        let result = result(*status, kind, text, json, headers);
        (inspect.ask(call, dispatch.envelope, &result), result)
    });
    match (ending, verdict) {
        (_, Ok((Verdict::Clean, result))) => ended(ending, Answer::Result(result), detail),
        (Ending::Done, Ok((Verdict::Foreign(why), _)) | Err(why)) => {
            ended(Ending::Filtered, Answer::Nothing, why)
        }
        // That it failed may be known; what it said about that may not.
        (_, Ok((Verdict::Foreign(why), _)) | Err(why)) => {
            let bare = result(*status, "", None, None, &Object::new());
            ended(ending, Answer::Result(bare), format!("{detail}; its body is withheld: {why}"))
        }
    }
}

/// The result as MCP has it: the body as it came is its one text, and JSON objects are its structured content.
fn result(status: u16, kind: &str, text: Option<&str>, json: Option<&Value>, headers: &Object) -> Value {
    let mut content = Vec::new();
    if let Some(text) = text {
        content.push(Value::from(object! { "type" => "text", "text" => text }));
    } else if status >= 400 {
        let text = format!("The tool refused with HTTP status {status}.");
        content.push(Value::from(object! { "type" => "text", "text" => text }));
    }
    let mut http = object! { "status" => u64::from(status) };
    if text.is_some() {
        http.insert("content_type", kind);
    }
    if !headers.is_empty() {
        http.insert("headers", headers.clone());
    }
    let mut result = object! {
        "resultType" => "complete", "content" => Value::Array(content), "_meta" => object! { HTTP_META => http },
    };
    if let Some(Value::Object(members)) = json {
        result.insert("structuredContent", members.clone());
    }
    if status >= 400 {
        result.insert("isError", true);
    }
    result.into()
}

/// The headers of an answer that belong to the result, by name; one that is longer than [`MAX_RETURNED`] or no visible
/// ASCII isn't there.
fn returned<'r>(names: &[String], header: impl Fn(&str) -> Option<&'r str>) -> Object {
    let value = |name: &String| {
        let text = header(name)?;
        let fits = text.len() <= MAX_RETURNED && text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        fits.then(|| (name.clone(), Value::from(text)))
    };
    names.iter().filter_map(value).collect()
}

fn is_json(kind: &str) -> bool {
    kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"))
}

fn cut(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(64).collect()
}
