//! The gateway's keys: pinned from a file, or fetched from the one URL that was named.

use std::time::Duration;

use http::Request;
use placet_jose::{KeySet, htu::Htu};

use crate::{
    failure::{Failure, OrFail},
    http::Client,
};

/// The longest JWK set.
const MAX_SET: usize = 16 * 1024;
const PATIENCE: Duration = Duration::from_secs(10);

/// The gateway as a signer.
pub(super) struct Issuer {
    name: String,
    source: Source,
    keys: KeySet,
}

enum Source {
    File,
    Url(Client, String),
}

impl Issuer {
    /// Reads the keys. `name` is its `iss`.
    pub(super) async fn open(source: &str, name: Option<&str>) -> Result<Self, Failure> {
        let is_url = source.starts_with("https://") || source.starts_with("http://");
        let name = match (name, is_url) {
            (Some(name), _) => name.to_owned(),
            (None, true) => Htu::parse(source).or_fail(format_args!("`{source}`"))?.origin().to_owned(),
            (None, false) => {
                return Err(Failure::new("whose key is it? `--issuer` is missing")
                    .remedy("give the gateway's `server.public_url` as `--issuer`"));
            }
        };
        let (source, keys) = if is_url {
            trusted(source)?;
            let http = Client::new(source)?;
            let keys = fetch(&http, source).await?;
            (Source::Url(http, source.to_owned()), keys)
        } else {
            let document = std::fs::read(source).or_fail(format_args!("can't read `{source}`"))?;
            (Source::File, KeySet::from_jwks(&document).or_fail(format_args!("`{source}`"))?)
        };
        if keys.is_empty() {
            return Err(Failure::new("the gateway's key set is empty, and would let nobody in"));
        }
        Ok(Self { name, source, keys })
    }
    pub(super) fn name(&self) -> &str {
        &self.name
    }
    pub(super) fn keys(&self) -> KeySet {
        self.keys.clone()
    }
    /// Fetches the keys again, where they come from a URL.
    pub(super) async fn fetch_again(&self) -> Option<KeySet> {
        let Source::Url(http, url) = &self.source else { return None };
        fetch(http, url).await.ok()
    }
}

async fn fetch(http: &Client, url: &str) -> Result<KeySet, Failure> {
    let request = Request::get(url).body(http_body_util::Full::default()).or_fail(url)?;
    let response = http.fetch(request, MAX_SET, PATIENCE).await?;
    if !response.status().is_success() {
        return Err(Failure::new(format!("{url} answers {}", response.status())));
    }
    KeySet::from_jwks(response.body()).or_fail(url)
}

/// Keys over plain HTTP come from whoever sits in between; on loopback nobody does.
fn trusted(url: &str) -> Result<(), Failure> {
    let parsed = url::Url::parse(url).or_fail(format_args!("`{url}`"))?;
    let loopback = match parsed.host() {
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    };
    if parsed.scheme() == "https" || loopback {
        Ok(())
    } else {
        Err(Failure::new(format!("`{url}`: keys can't be fetched by plain HTTP"))
            .remedy("use `https`, or give the key set as a file"))
    }
}
