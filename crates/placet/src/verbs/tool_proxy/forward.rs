//! One request: read, checked, passed on, its answer streamed back.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use placet_verify::Refused;

use super::{Owned, Proxy};

/// What belongs to a connection (RFC 9110 §7.6.1), or to our check, and ends here.
const ENDS_HERE: [HeaderName; 12] = [
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
    HeaderName::from_static("dpop"),
    HeaderName::from_static("keep-alive"),
];

/// How long a body may take to arrive.
const BODY_READ: std::time::Duration = std::time::Duration::from_secs(30);

pub(super) async fn handle(State(proxy): State<Arc<Proxy>>, request: Request<Body>) -> Response {
    let (head, body) = request.into_parts();
    let body = match tokio::time::timeout(BODY_READ, Limited::new(body, proxy.max_body).collect()).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            return StatusCode::PAYLOAD_TOO_LARGE.into_response();
        }
        Ok(Err(_)) => return StatusCode::BAD_REQUEST.into_response(),
        Err(_) => return StatusCode::REQUEST_TIMEOUT.into_response(),
    };
    let call = Owned {
        method: head.method.as_str().to_owned(),
        target: head.uri.to_string(),
        headers: head.headers.clone(),
        body: body.clone(),
    };
    if let Err(refused) = proxy.admit(call).await {
        eprintln!("placet tool-proxy: refused: {refused}");
        return unauthorised(refused);
    }
    let mut outgoing = Request::new(Full::new(body));
    *outgoing.method_mut() = head.method;
    match proxy.place(&head.uri.to_string()).parse() {
        Ok(uri) => *outgoing.uri_mut() = uri,
        Err(_) => return StatusCode::BAD_GATEWAY.into_response(),
    }
    *outgoing.headers_mut() = kept(&head.headers);
    match proxy.http.send(outgoing).await {
        Ok(answer) => {
            let (mut head, body) = answer.into_parts();
            head.headers = kept(&head.headers);
            Response::from_parts(head, Body::new(body))
        }
        Err(error) => {
            eprintln!("placet tool-proxy: the tool can't be reached: {error}");
            StatusCode::BAD_GATEWAY.into_response()
        }
    }
}

/// One answer for all refusals: which check failed is for our log, not for who sent it.
fn unauthorised(refused: Refused) -> Response {
    if refused == Refused::WindowFull {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let body = r#"{"error":"unauthorized"}"#;
    let headers = [
        (header::WWW_AUTHENTICATE, HeaderValue::from_static("DPoP algs=\"EdDSA ES256\"")),
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (StatusCode::UNAUTHORIZED, headers, body).into_response()
}

fn kept(headers: &HeaderMap) -> HeaderMap {
    // Headers that `Connection` names belong to the connection as well.
    let named: Vec<String> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .collect();
    headers
        .iter()
        .filter(|(name, _)| !ENDS_HERE.contains(name) && !named.iter().any(|named| named == name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}
