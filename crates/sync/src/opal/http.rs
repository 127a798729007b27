//! Calls to an OPAL server and to where its entries point: only to origins that the settings name, with bounds.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use placet_json::{Object, Value};
use secrecy::{ExposeSecret, SecretString};
use url::{Origin, Url};

use super::wire::MAX_BYTES;

/// How long one exchange may take, from the first byte to the last.
const EXCHANGE: Duration = Duration::from_secs(10);
/// Redirects that are followed, to origins that are allowed.
const MAX_REDIRECTS: usize = 3;

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallerError {
    /// The URL isn't one, or can't be called.
    #[error("`{0}` is no URL that can be fetched")]
    Url(String),
    /// The settings don't allow this origin.
    #[error("`{0}` isn't among the origins that this source may fetch from; add it to `fetch_from`")]
    Origin(String),
    /// No answer, or not a whole one.
    #[error("{0}")]
    Away(String),
    /// Another answer than one with data.
    #[error("{origin} answered {status}")]
    Status {
        /// Who.
        origin: String,
        /// The status.
        status: u16,
    },
}

/// Where to, how, with which headers and body.
type Asked = (Url, Method, Vec<(HeaderName, HeaderValue)>, Bytes);

impl CallerError {
    /// Whether trying again can't help.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Url(_) | Self::Origin(_))
    }
    /// Whether the token was refused.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Status { status: 401 | 403, .. })
    }
}

/// An answer with data.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The body.
    pub body: Bytes,
}

/// Who calls.
pub struct Caller {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    tls: Arc<rustls::ClientConfig>,
    base: Url,
    allowed: Vec<Origin>,
    token: SecretString,
    shard: Option<String>,
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller").field("base", &self.base.as_str()).finish_non_exhaustive()
    }
}

impl Caller {
    /// A caller of the server at `base`, which may fetch from there and from `more`.
    pub fn new(base: Url, token: SecretString, more: &[Url], shard: Option<String>) -> Result<Self, String> {
        let mut roots = rustls::RootCertStore::empty();
        if base.scheme() == "https" || more.iter().any(|url| url.scheme() == "https") {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(tls.clone())
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        let client = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(4)
            .pool_idle_timeout(Duration::from_secs(10))
            .pool_timer(hyper_util::rt::TokioTimer::new())
            .build(https);
        let allowed = std::iter::once(&base).chain(more).map(Url::origin).collect();
        Ok(Self { client, tls: Arc::new(tls), base, allowed, token, shard })
    }

    /// A URL of the server: `path` below its base, with these parameters.
    pub(crate) fn at(&self, path: &str, query: &[(&str, &str)]) -> Url {
        let mut url = self.base.clone();
        let base = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{base}{path}"));
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }
    pub(crate) fn tls(&self) -> Arc<rustls::ClientConfig> {
        Arc::clone(&self.tls)
    }
    /// The headers that say who we are: for the server only.
    pub(crate) fn credentials(&self) -> Result<Vec<(HeaderName, HeaderValue)>, CallerError> {
        let mut headers = Vec::with_capacity(2);
        if !self.token.expose_secret().is_empty() {
            let mut value = HeaderValue::from_str(&format!("Bearer {}", self.token.expose_secret()))
                .map_err(|_| CallerError::Url("the token".to_owned()))?;
            value.set_sensitive(true);
            headers.push((header::AUTHORIZATION, value));
        }
        if let Some(shard) = &self.shard
            && let Ok(value) = HeaderValue::from_str(shard)
        {
            headers.push((HeaderName::from_static("x-shard-id"), value));
        }
        Ok(headers)
    }

    /// Reads something of the server's own, with our token; follows redirects, without it to other origins.
    pub async fn own(&self, path: &str, query: &[(&str, &str)]) -> Result<Reply, CallerError> {
        let mut url = self.at(path, query);
        for _ in 0..=MAX_REDIRECTS {
            let headers = if url.origin() == self.base.origin() { self.credentials()? } else { Vec::new() };
            match self.exchange(Method::GET, &url, headers, Bytes::new()).await? {
                Answer::Data(body) => return Ok(Reply { body }),
                Answer::Moved(location) => {
                    url = url.join(&location).map_err(|_| CallerError::Url(told(&url)))?;
                    self.check(&url)?;
                }
            }
        }
        Err(CallerError::Away(format!("{} redirects too often", told(&url))))
    }

    /// Fetches what an entry points to. Our token isn't for its eyes.
    pub async fn fetch(&self, url: &str, config: Option<&Object>) -> Result<Reply, CallerError> {
        let (url, method, headers, body) = self.request(url, config, Method::GET)?;
        match self.exchange(method, &url, headers, body).await? {
            Answer::Data(body) => Ok(Reply { body }),
            Answer::Moved(_) => Err(CallerError::Away(format!("{} redirects", told(&url)))),
        }
    }

    /// Tells a callback how an update went.
    pub async fn report(
        &self,
        url: &str,
        config: Option<&Object>,
        report: &Value,
    ) -> Result<(), CallerError> {
        let (url, method, mut headers, _) = self.request(url, config, Method::POST)?;
        headers.push((header::CONTENT_TYPE, HeaderValue::from_static("application/json")));
        if url.origin() == self.base.origin()
            && !headers.iter().any(|(name, _)| *name == header::AUTHORIZATION)
        {
            headers.extend(self.credentials()?);
        }
        self.exchange(method, &url, headers, Bytes::from(report.to_bytes())).await.map(drop)
    }

    fn check(&self, url: &Url) -> Result<(), CallerError> {
        if self.allowed.contains(&url.origin()) { Ok(()) } else { Err(CallerError::Origin(told(url))) }
    }

    fn request(&self, url: &str, config: Option<&Object>, method: Method) -> Result<Asked, CallerError> {
        let url = self
            .base
            .join(url)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https"))
            .ok_or_else(|| CallerError::Url(url.chars().take(120).collect()))?;
        self.check(&url)?;
        let text = |name: &str| config.and_then(|config| config.get(name)).and_then(Value::as_str);
        let method = match text("method").map(str::to_ascii_uppercase).as_deref() {
            Some("GET") => Method::GET,
            Some("POST") => Method::POST,
            Some("PUT") => Method::PUT,
            Some("PATCH") => Method::PATCH,
            _ => method,
        };
        let mut headers = Vec::new();
        if let Some(given) = config.and_then(|config| config.get("headers")).and_then(Value::as_object) {
            for (name, value) in given.iter().take(32) {
                let name = HeaderName::from_bytes(name.as_bytes());
                let value = value.as_str().and_then(|value| HeaderValue::from_str(value).ok());
                if let (Ok(name), Some(mut value)) = (name, value) {
                    value.set_sensitive(true);
                    headers.push((name, value));
                }
            }
        }
        let body = match config.and_then(|config| config.get("data")) {
            None | Some(Value::Null) => Bytes::new(),
            Some(Value::String(text)) => Bytes::from(text.clone()),
            Some(value) => Bytes::from(value.to_bytes()),
        };
        Ok((url, method, headers, body))
    }

    async fn exchange(
        &self,
        method: Method,
        url: &Url,
        headers: Vec<(HeaderName, HeaderValue)>,
        body: Bytes,
    ) -> Result<Answer, CallerError> {
        let uri = url.as_str().parse::<Uri>().map_err(|_| CallerError::Url(told(url)))?;
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        for (name, value) in headers {
            if !matches!(name, header::HOST | header::CONTENT_LENGTH | header::TRANSFER_ENCODING) {
                request.headers_mut().append(name, value);
            }
        }
        let away = |why: String| CallerError::Away(format!("{}: {why}", told(url)));
        let exchange = async {
            let response = self.client.request(request).await.map_err(|error| away(innermost(&error)))?;
            let (head, body) = response.into_parts();
            if head.status.is_redirection() {
                let location = head.headers.get(header::LOCATION).and_then(|value| value.to_str().ok());
                return Ok(Answer::Moved(location.unwrap_or_default().to_owned()));
            }
            if !head.status.is_success() {
                return Err(CallerError::Status { origin: told(url), status: head.status.as_u16() });
            }
            let body = Limited::new(body, MAX_BYTES).collect().await;
            Ok(Answer::Data(body.map_err(|error| away(error.to_string()))?.to_bytes()))
        };
        tokio::time::timeout(EXCHANGE, exchange)
            .await
            .map_err(|_| away(format!("no whole answer in {} s", EXCHANGE.as_secs())))?
    }
}

enum Answer {
    Data(Bytes),
    Moved(String),
}

/// A URL as it may be told: what can hold a secret is left out.
pub(crate) fn told(url: &Url) -> String {
    format!("{}{}", url.origin().ascii_serialization(), url.path())
}

fn innermost(error: &dyn std::error::Error) -> String {
    let mut at = error;
    while let Some(source) = at.source() {
        at = source;
    }
    at.to_string()
}
