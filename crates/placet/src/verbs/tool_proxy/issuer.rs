//! The gateway's keys: pinned from a file, or fetched from the one URL that was named.

use std::{sync::Mutex, sync::PoisonError, time::Duration};

use http::Request;
use placet_jose::{KeySet, htu::Htu};

use crate::{
    clock,
    failure::{Failure, OrFail},
    http::Client,
};

/// The longest JWK set.
const MAX_SET: usize = 16 * 1024;
const PATIENCE: Duration = Duration::from_secs(10);
/// How often keys are fetched again at most, in seconds: a flood of unknown keys must not become one of fetches.
const REFRESH: u64 = 30;

/// The gateway as a signer.
pub(super) struct Issuer {
    name: String,
    source: Source,
    keys: KeySet,
    fetched: Mutex<u64>,
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
        Ok(Self { name, source, keys, fetched: Mutex::new(clock::secs()) })
    }
    pub(super) fn name(&self) -> &str {
        &self.name
    }
    pub(super) fn keys(&self) -> KeySet {
        self.keys.clone()
    }
    /// Fetches the keys again, where they come from a URL and that wasn't done lately.
    pub(super) async fn refresh(&self, now: u64) -> Option<KeySet> {
        let Source::Url(http, url) = &self.source else { return None };
        {
            let mut fetched = self.fetched.lock().unwrap_or_else(PoisonError::into_inner);
            if now < fetched.saturating_add(REFRESH) {
                return None;
            }
            *fetched = now;
        }
        fetch(http, url).await.ok().filter(|keys| !keys.is_empty())
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
