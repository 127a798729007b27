//! The other face of `placet connect`: an HTTP API on loopback, for a local HTTP client that can't hold a key.
//!
//! Each request goes to the gateway's `/proxy/{upstream}/…` with a token and a proof of its own, and the answer comes
//! back as it is. Whoever knows the address acts as the agent, so it has a part that can't be guessed, and it is on
//! loopback only.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use placet_jose::{htu::Htu, keys::random_id};
use placet_json::{Value, object};
use placet_server::listen::{self, Bounds};
use tokio::net::TcpListener;

use super::agent::{Agent, Unanswered};
use crate::{
    failure::{Failure, OrFail},
    verbs::shutdown,
};

/// The longest body of a request, in bytes.
const MAX_BODY: usize = 8 << 20;
/// How long a body may take to arrive.
const BODY_READ: Duration = Duration::from_secs(30);
const BOUNDS: Bounds =
    Bounds { header_bytes: 32 * 1024, header_read: Duration::from_secs(10), connections: 64 };

/// What of a request belongs to its connection or names its sender: none of it goes to the gateway.
const ENDS_HERE: [HeaderName; 14] = [
    header::AUTHORIZATION,
    header::HOST,
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::CONTENT_LENGTH,
    header::TE,
    header::TRAILER,
    header::UPGRADE,
    header::EXPECT,
    header::PROXY_AUTHORIZATION,
    header::COOKIE,
    header::ORIGIN,
    HeaderName::from_static("dpop"),
    HeaderName::from_static("keep-alive"),
];
/// What of an answer is the client's.
const COMES_BACK: [HeaderName; 3] =
    [header::CONTENT_TYPE, header::CACHE_CONTROL, HeaderName::from_static("placet-answered-by")];

struct Face {
    agent: Arc<Agent>,
    upstream: String,
    /// `/` and what can't be guessed.
    door: String,
    /// Values of `Host` that are ours: a page of a browser that found the port has another.
    hosts: [String; 2],
}

/// Serves until it is told to end. The address goes to standard output, alone on a line.
pub(super) async fn serve(agent: Agent, address: SocketAddr, upstream: &str) -> Result<(), Failure> {
    if !address.ip().is_loopback() {
        return Err(Failure::new(format!(
            "`{address}` is not on loopback, and whoever reaches it acts as the agent"
        ))
        .remedy("use `127.0.0.1:PORT`"));
    }
    let listener = TcpListener::bind(address).await.or_fail(format_args!("can't listen on {address}"))?;
    let address = listener.local_addr().or_fail("can't listen")?;
    let door = format!("/{}", random_id().or_fail("no randomness")?);
    println!("http://{address}{door}");
    eprintln!("placet connect: `{upstream}` is served at the address on standard output");
    let hosts = [address.to_string(), format!("localhost:{}", address.port())];
    let face = Arc::new(Face { agent: Arc::new(agent), upstream: upstream.to_owned(), door, hosts });
    let app = Router::new().fallback(handle).with_state(face);
    listen::serve(listener, BOUNDS, app, shutdown()).await;
    Ok(())
}

async fn handle(State(face): State<Arc<Face>>, request: Request<Body>) -> Response {
    let (head, body) = request.into_parts();
    let host = head.headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    if !face.hosts.iter().any(|ours| ours.eq_ignore_ascii_case(host))
        || head.headers.contains_key(header::ORIGIN)
    {
        return StatusCode::MISDIRECTED_REQUEST.into_response();
    }
    let target = head.uri.path_and_query().map_or("", http::uri::PathAndQuery::as_str);
    let Some(below) = target.strip_prefix(face.door.as_str()).filter(|below| below.starts_with('/')) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let body = match tokio::time::timeout(BODY_READ, Limited::new(body, MAX_BODY).collect()).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            return StatusCode::PAYLOAD_TOO_LARGE.into_response();
        }
        Ok(Err(_)) => return StatusCode::BAD_REQUEST.into_response(),
        Err(_) => return StatusCode::REQUEST_TIMEOUT.into_response(),
    };
    match face.pass(head.method.as_str(), below, &head.headers, body).await {
        Ok(response) => response,
        Err(unanswered) => {
            let (status, code, detail) = match unanswered {
                Unanswered::Unreachable(why) => (StatusCode::BAD_GATEWAY, "unreachable", why),
                Unanswered::Broken(why) => (StatusCode::BAD_GATEWAY, "broken", why),
                Unanswered::Unauthorised(why) => (StatusCode::FORBIDDEN, "unauthorized", why),
                Unanswered::Unavailable(why) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable", why),
            };
            problem(status, code, &detail)
        }
    }
}

impl Face {
    async fn pass(
        &self,
        method: &str,
        below: &str,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Response, Unanswered> {
        let uri = format!("{}/{}{below}", self.agent.proxy(), self.upstream);
        let url = Htu::parse(uri.split('?').next().unwrap_or(&uri));
        let url = match url {
            Ok(url) => url,
            Err(error) => return Ok(problem(StatusCode::BAD_REQUEST, "path", &error.to_string())),
        };
        let text = |value: &HeaderValue| value.to_str().ok().map(str::to_owned);
        let mut passed: Vec<(String, String)> = headers
            .iter()
            .filter(|(name, _)| !ENDS_HERE.contains(name))
            .filter_map(|(name, value)| Some((name.as_str().to_owned(), text(value)?)))
            .collect();
        if let Some(intent) = self.agent.intent.as_ref().filter(|_| !headers.contains_key("placet-intent")) {
            passed.push(("placet-intent".to_owned(), intent.clone()));
        }
        let answer = self.agent.send_to(method, &url, &uri, &passed, &body).await?;
        let (head, body) = answer.into_parts();
        let mut response = Response::new(Body::new(body));
        *response.status_mut() = head.status;
        for name in &COMES_BACK {
            response.headers_mut().extend(head.headers.get(name).map(|value| (name.clone(), value.clone())));
        }
        Ok(response)
    }
}

/// RFC 9457, as the gateway's own.
fn problem(status: StatusCode, code: &str, detail: &str) -> Response {
    let title = status.canonical_reason().unwrap_or_default();
    let document = Value::from(object! {
        "type" => "about:blank", "title" => title, "status" => u64::from(status.as_u16()), "detail" => detail,
        "code" => code,
    });
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json")),
        (HeaderName::from_static("placet-answered-by"), HeaderValue::from_static("placet connect")),
    ];
    (status, headers, document.to_bytes()).into_response()
}
