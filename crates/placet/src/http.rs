//! A plain HTTP client: no redirects, no proxies, no cookies.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{client::legacy::connect::HttpConnector, rt::TokioExecutor};

use crate::failure::{Failure, OrFail};

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);

/// A client with its own pool of connections. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    inner: hyper_util::client::legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl Client {
    /// A client for `url`; the system's certificates are read only where it is `https`.
    pub(crate) fn new(url: &str) -> Result<Self, Failure> {
        let mut roots = rustls::RootCertStore::empty();
        if url.starts_with("https:") {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        // This provider has both versions; were there none, no connection would come about.
        let versions = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions();
        let tls = versions
            .map(|builder| builder.with_root_certificates(roots).with_no_client_auth())
            .map_err(|error| Failure::new(error.to_string()))?;
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(CONNECT));
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        // A request is sent once: whether a second attempt is safe is the caller's to know.
        let inner = hyper_util::client::legacy::Client::builder(TokioExecutor::new())
            .retry_canceled_requests(false)
            .build(https);
        Ok(Self { inner })
    }

    /// Sends a request and waits for the head of its answer.
    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, SendError> {
        self.inner.request(request).await.map_err(SendError)
    }

    /// Sends a request and reads its whole answer, of at most `limit` bytes, within `timeout`.
    pub(crate) async fn fetch(
        &self,
        request: Request<Full<Bytes>>,
        limit: usize,
        timeout: Duration,
    ) -> Result<Response<Bytes>, Failure> {
        let url = request.uri().to_string();
        let fetch = async {
            let response = self
                .send(request)
                .await
                .map_err(|error| Failure::new(format!("can't reach {url}: {error}")))?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, limit)
                .collect()
                .await
                .or_fail(format_args!("can't read the answer of {url}"))?;
            Ok(Response::from_parts(head, body.to_bytes()))
        };
        match tokio::time::timeout(timeout, fetch).await {
            Ok(response) => response,
            Err(_) => Err(Failure::new(format!("{url} doesn't answer"))),
        }
    }
}

/// A request that failed before the head of its answer came.
#[derive(Debug)]
pub(crate) struct SendError(hyper_util::client::legacy::Error);

impl SendError {
    /// Whether no connection came about, so that nothing was sent.
    pub(crate) fn is_connect(&self) -> bool {
        self.0.is_connect()
    }
}

impl std::fmt::Display for SendError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut error: &dyn std::error::Error = &self.0;
        while let Some(source) = error.source() {
            error = source;
        }
        std::fmt::Display::fmt(error, f)
    }
}
