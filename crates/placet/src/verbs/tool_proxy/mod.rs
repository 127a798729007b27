//! `placet tool-proxy`: stands in front of a tool and lets in only calls that a gateway permitted, each once.

mod forward;
mod issuer;

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use axum::Router;
use clap::Args;
use placet_server::listen::{self, Bounds};
use placet_verify::{FileStore, Reach, Refused, Request, Trust, Verifier};
use tokio::net::TcpListener;
use url::Url;

use crate::{
    clock,
    failure::{Failure, OrFail},
    http::Client,
    output::Answer,
};

use issuer::Issuer;

/// Let in only calls that a gateway permitted: a verifying reverse proxy in front of one tool
#[derive(Debug, Args)]
#[command(after_help = "Example, before a billing server on loopback:\n  \
    placet tool-proxy --listen 127.0.0.1:9101 --upstream http://127.0.0.1:9001/mcp \\\n    \
    --audience https://billing.example/mcp --issuer https://gw.example \\\n    \
    --issuer-key https://gw.example/oauth/jwks --state /var/lib/placet-proxy\n\n  \
    Before an HTTP API, with every path below:\n  \
    placet tool-proxy --http-api --listen 127.0.0.1:9102 --upstream http://127.0.0.1:9002/v1 \\\n    \
    --audience https://cases.example/v1 --issuer-key https://gw.example/oauth/jwks --state /var/lib/placet-cases")]
pub(crate) struct ToolProxy {
    /// Where to listen
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
    /// The tool's own endpoint
    #[arg(long, value_name = "URL")]
    upstream: Url,
    /// It is an HTTP API: let in calls to the paths below its URL, with the method, path and query that the token names
    #[arg(long)]
    http_api: bool,
    /// The one audience of call tokens for this tool
    #[arg(long, value_name = "URL")]
    audience: String,
    /// The URL under which the gateway calls; the audience by default
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// The gateway's issuer; by default the origin of `--issuer-key`, where that is a URL
    #[arg(long, value_name = "URL")]
    issuer: Option<String>,
    /// The gateway's public keys: a JWK set, as a file or its `/oauth/jwks`
    #[arg(long, value_name = "FILE|URL")]
    issuer_key: String,
    /// Where used tokens are remembered, so that none counts twice, also after a restart
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    /// The longest request body, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 20)]
    max_body: usize,
}

/// Tokens remembered at once: 2000 calls a second for 35 seconds.
const CAPACITY: usize = 70_000;
const BOUNDS: Bounds =
    Bounds { header_bytes: 32 * 1024, header_read: Duration::from_secs(10), connections: 1024 };

impl ToolProxy {
    pub(crate) fn run(self) -> Result<Answer, Failure> {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().enable_all().build().or_fail("can't start")?;
        runtime.block_on(self.serve()).map(|()| Answer::Yes)
    }

    async fn serve(self) -> Result<(), Failure> {
        let issuer = Issuer::open(&self.issuer_key, self.issuer.as_deref()).await?;
        let trust = Trust {
            issuer: issuer.name().to_owned(),
            keys: issuer.keys(),
            audience: self.audience.clone(),
            url: self.url.clone().unwrap_or_else(|| self.audience.clone()),
            reach: if self.http_api { Reach::Below } else { Reach::Endpoint },
        };
        std::fs::create_dir_all(&self.state)
            .or_fail(format_args!("can't make `{}`", self.state.display()))?;
        let store = FileStore::open(&self.state.join("used"), CAPACITY, clock::secs())
            .or_fail(format_args!("can't remember used tokens in `{}`", self.state.display()))?;
        let verifier = Verifier::new(trust, store).map_err(|unusable| Failure::new(unusable.to_string()))?;
        let listener =
            TcpListener::bind(self.listen).await.or_fail(format_args!("can't listen on {}", self.listen))?;
        let address = listener.local_addr().or_fail("can't listen")?;
        eprintln!("placet tool-proxy: {} is guarded on http://{address}", self.upstream);
        let proxy = Arc::new(Proxy {
            http: Client::new(self.upstream.as_str())?,
            upstream: self.upstream,
            max_body: self.max_body,
            http_api: self.http_api,
            verifier,
            issuer,
        });
        let app = Router::new().fallback(forward::handle).with_state(proxy);
        listen::serve(listener, BOUNDS, app, super::shutdown()).await;
        Ok(())
    }
}

/// Everything that a request is checked by.
pub(super) struct Proxy {
    http: Client,
    upstream: Url,
    max_body: usize,
    http_api: bool,
    verifier: Verifier<FileStore>,
    issuer: Issuer,
}

impl Proxy {
    /// Where a request that was let in goes. Of an HTTP API, to the same place below the tool's own address.
    pub(super) fn place(&self, target: &str) -> String {
        if !self.http_api {
            return self.upstream.as_str().to_owned();
        }
        let base = self.verifier.path();
        let below = target.strip_prefix(base.trim_end_matches('/')).unwrap_or(target);
        format!("{}{below}", self.upstream.as_str().trim_end_matches('/'))
    }

    /// Checks a call and spends its token. Keys that the gateway has rotated to are fetched once in a while.
    async fn admit(self: &Arc<Self>, request: Owned) -> Result<(), Refused> {
        let request = Arc::new(request);
        match self.check(&request).await {
            Err(Refused::UnknownKey) if self.verifier.refresh_due(clock::secs()) => {
                match self.issuer.fetch_again().await {
                    Some(keys) if self.verifier.replace_keys(keys.clone()) => self.check(&request).await,
                    Some(_) | None => Err(Refused::UnknownKey),
                }
            }
            checked => checked,
        }
    }

    async fn check(self: &Arc<Self>, request: &Arc<Owned>) -> Result<(), Refused> {
        let (proxy, request) = (Arc::clone(self), Arc::clone(request));
        // The window waits for the disk.
        let checked = tokio::task::spawn_blocking(move || {
            let headers: Vec<(&str, &[u8])> =
                request.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
            let request = Request {
                method: &request.method,
                target: &request.target,
                headers: &headers,
                body: &request.body,
            };
            proxy.verifier.verify(&request, clock::secs()).map(drop)
        });
        checked.await.unwrap_or(Err(Refused::WindowFull))
    }
}

/// A request's own copy, for a check that waits.
pub(super) struct Owned {
    method: String,
    target: String,
    headers: http::HeaderMap,
    body: bytes::Bytes,
}
