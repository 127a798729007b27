//! One HTTP request to an address of the settings, through the same guard as a call: the address is checked before it is
//! connected to, redirects aren't followed, and answers are bounded.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use tokio::time::timeout;
use url::Url;

use crate::{Http, Resolve, UpstreamError, dial::Dialer};

/// Somewhere to send requests to.
pub struct Once {
    url: Url,
    dialer: Dialer,
    limit: Duration,
    most: usize,
}

/// What came back.
#[derive(Debug, Clone)]
pub struct OnceAnswer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, at most as long as was allowed.
    pub body: Bytes,
}

impl std::fmt::Debug for Once {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Once").field("host", &self.url.host_str()).finish_non_exhaustive()
    }
}

impl Once {
    /// A place that may be asked; `limit` bounds each request as a whole, `most` the bytes of an answer.
    pub fn new(
        http: &Http,
        resolver: Arc<dyn Resolve>,
        limit: Duration,
        most: usize,
    ) -> Result<Self, UpstreamError> {
        Ok(Self { url: http.url.clone(), dialer: Dialer::new(http, resolver, limit)?, limit, most })
    }

    /// Sends a request on a connection of its own.
    pub async fn send(
        &self,
        method: Method,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<OnceAnswer, UpstreamError> {
        let exchange = timeout(self.limit, self.exchange(method, headers, body));
        exchange.await.map_err(|_| UpstreamError::Timeout("a request"))?
    }

    async fn exchange(
        &self,
        method: Method,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<OnceAnswer, UpstreamError> {
        let broken = |error: &dyn std::fmt::Display| UpstreamError::protocol(error.to_string());
        let host = match (self.url.host_str(), self.url.port()) {
            (Some(host), Some(port)) => format!("{host}:{port}"),
            (Some(host), None) => host.to_owned(),
            (None, _) => return Err(UpstreamError::protocol("the URL names no host")),
        };
        let target = match self.url.query() {
            Some(query) => format!("{}?{query}", self.url.path()),
            None => self.url.path().to_owned(),
        };
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = target.parse().map_err(|error| broken(&error))?;
        *request.headers_mut() = headers;
        let host = HeaderValue::from_str(&host).map_err(|error| broken(&error))?;
        request.headers_mut().insert(header::HOST, host);
        let mut line = self.dialer.dial().await?;
        let answer = line.sender.send_request(request).await.map_err(|error| broken(&error))?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, self.most).collect().await.map_err(|error| broken(&error))?;
        Ok(OnceAnswer { status: head.status, headers: head.headers, body: body.to_bytes() })
    }
}
