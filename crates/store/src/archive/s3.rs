//! A bucket of an S3 API: Amazon's, or another's that speaks it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use rusty_s3::{Bucket as Signing, Credentials, S3Action as _, UrlStyle};
use url::Url;

use super::{MAX_OBJECT, Place, Variable};

/// A request's signature is good for so long, and the request may take so long.
const PATIENCE: Duration = Duration::from_mins(2);
const CONNECT: Duration = Duration::from_secs(10);
/// Attempts, for networks that fail now and then.
const ATTEMPTS: u32 = 3;

/// The part of a bucket below a prefix.
pub(super) struct Bucket {
    signing: Signing,
    prefix: String,
    credentials: Credentials,
}

impl Bucket {
    /// Reads `s3://BUCKET/PREFIX?region=…&endpoint=…`.
    pub(super) fn open(location: &str, variable: Variable<'_>) -> Result<Self, String> {
        let url = Url::parse(location).map_err(|error| error.to_string())?;
        if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
            return Err("give the credentials in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY".to_owned());
        }
        let name = url.host_str().ok_or("it names no bucket: write `s3://BUCKET/PREFIX`")?.to_owned();
        let (mut region, mut endpoint) = (variable("AWS_REGION"), variable("AWS_ENDPOINT_URL"));
        for (key, value) in url.query_pairs() {
            match &*key {
                "region" => region = Some(value.into_owned()),
                "endpoint" => endpoint = Some(value.into_owned()),
                other => return Err(format!("`{other}` isn't known; there are `region` and `endpoint`")),
            }
        }
        let region = region.unwrap_or_else(|| "us-east-1".to_owned());
        let (endpoint, style) = match endpoint {
            Some(endpoint) => (endpoint, UrlStyle::Path),
            None if name.contains('.') => (format!("https://s3.{region}.amazonaws.com"), UrlStyle::Path),
            None => (format!("https://s3.{region}.amazonaws.com"), UrlStyle::VirtualHost),
        };
        let endpoint = Url::parse(&endpoint).map_err(|error| format!("`endpoint`: {error}"))?;
        let prefix = url.path().trim_matches('/');
        if prefix.split('/').any(|part| matches!(part, "." | "..")) {
            return Err("the prefix has `.` or `..` in it".to_owned());
        }
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        let signing = Signing::new(endpoint, style, name, region).map_err(|error| error.to_string())?;
        let needed = |name: &str| {
            variable(name)
                .filter(|value| !value.is_empty())
                .ok_or_else(|| format!("the environment has no `{name}`"))
        };
        let (key, secret) = (needed("AWS_ACCESS_KEY_ID")?, needed("AWS_SECRET_ACCESS_KEY")?);
        let credentials = match variable("AWS_SESSION_TOKEN").filter(|token| !token.is_empty()) {
            Some(token) => Credentials::new_with_token(key, secret, token),
            None => Credentials::new(key, secret),
        };
        Ok(Self { signing, prefix, credentials })
    }

    fn ask(&self, method: &Method, name: &str, body: &Bytes) -> io::Result<Bytes> {
        let object = format!("{}{name}", self.prefix);
        let mut failed = None;
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                std::thread::sleep(Duration::from_millis(200).saturating_mul(attempt));
            }
            // Signed anew, for a signature ends.
            let url = if *method == Method::PUT {
                self.signing.put_object(Some(&self.credentials), &object).sign(PATIENCE)
            } else {
                self.signing.get_object(Some(&self.credentials), &object).sign(PATIENCE)
            };
            match elsewhere(method.clone(), &url, body.clone()) {
                Ok((status, bytes)) if status.is_success() => return Ok(bytes),
                Ok((StatusCode::NOT_FOUND, _)) => return Err(io::ErrorKind::NotFound.into()),
                Ok((status, bytes)) => {
                    let error = io::Error::other(format!("the bucket answers {status}{}", code(&bytes)));
                    if !status.is_server_error() {
                        return Err(error);
                    }
                    failed = Some(error);
                }
                Err(error) => failed = Some(error),
            }
        }
        Err(failed.unwrap_or_else(|| io::ErrorKind::TimedOut.into()))
    }
}

impl Place for Bucket {
    fn put(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.ask(&Method::PUT, name, &Bytes::copy_from_slice(bytes)).map(drop)
    }

    fn get(&self, name: &str) -> io::Result<Vec<u8>> {
        self.ask(&Method::GET, name, &Bytes::new()).map(Vec::from)
    }
}

/// The code of an S3 error document, which tells more than the status.
fn code(document: &[u8]) -> String {
    let text = String::from_utf8_lossy(document);
    let code = text.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>"));
    code.map(|(code, _)| format!(" ({})", code.chars().take(64).collect::<String>())).unwrap_or_default()
}

/// One request, on a thread of its own: the caller's may be one of a runtime, which can't wait in another.
fn elsewhere(method: Method, url: &Url, body: Bytes) -> io::Result<(StatusCode, Bytes)> {
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| {
            tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
                tokio::time::timeout(PATIENCE, send(method, url, body))
                    .await
                    .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            })
        });
        asked.join().unwrap_or_else(|_| Err(io::Error::other("the request broke off")))
    })
}

async fn send(method: Method, url: &Url, body: Bytes) -> io::Result<(StatusCode, Bytes)> {
    let mut roots = rustls::RootCertStore::empty();
    if url.scheme() == "https" {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_connect_timeout(Some(CONNECT));
    let https =
        HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(http);
    let client = Client::builder(TokioExecutor::new()).build(https);
    let request = Request::builder()
        .method(method)
        .uri(url.as_str())
        .body(Full::new(body))
        .map_err(io::Error::other)?;
    // The URL has a signature in it: it is in no message.
    let unreachable = |_| io::Error::new(io::ErrorKind::NotConnected, format!("can't reach `{}`", host(url)));
    let (head, body) = client.request(request).await.map_err(unreachable)?.into_parts();
    let limit = usize::try_from(MAX_OBJECT).unwrap_or(usize::MAX);
    let body = Limited::new(body, limit).collect().await.map_err(io::Error::other)?;
    Ok((head.status, body.to_bytes()))
}

fn host(url: &Url) -> String {
    url.host_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(location: &str) -> Result<Bucket, String> {
        Bucket::open(location, &|name| {
            name.starts_with("AWS_")
                .then(|| match name {
                    "AWS_REGION" => "eu-central-1".to_owned(),
                    "AWS_ENDPOINT_URL" | "AWS_SESSION_TOKEN" => String::new(),
                    _ => "x".to_owned(),
                })
                .filter(|value| !value.is_empty())
        })
    }

    #[test]
    fn a_location_is_a_bucket_a_prefix_and_where_it_is() {
        let amazon = open("s3://ledger/acme/segments/").unwrap();
        let url = amazon.signing.object_url("x").to_string();
        assert_eq!(
            (url.as_str(), amazon.prefix.as_str()),
            ("https://ledger.s3.eu-central-1.amazonaws.com/x", "acme/segments/")
        );
        let own = open("s3://ledger?endpoint=http://127.0.0.1:9000&region=here").unwrap();
        assert_eq!(own.signing.object_url("x").as_str(), "http://127.0.0.1:9000/ledger/x");
        assert_eq!((own.prefix.as_str(), own.signing.region()), ("", "here"));
        for (wrong, why) in [
            ("s3://key:secret@ledger", "AWS_ACCESS_KEY_ID"),
            ("s3://ledger?acl=public", "`acl` isn't known"),
            ("s3://ledger?endpoint=nowhere", "`endpoint`"),
        ] {
            let error = open(wrong).err().unwrap();
            assert!(error.contains(why), "{wrong}: {error}");
        }
        let error = Bucket::open("s3://ledger", &|_| None).err().unwrap();
        assert_eq!(error, "the environment has no `AWS_ACCESS_KEY_ID`");
    }
}
