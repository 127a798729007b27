//! `placet tool-proxy`: stands in front of a tool and lets in only calls that a gateway permitted, each once.

mod forward;
mod issuer;

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::Router;
use clap::Args;
use placet_jose::{
    guard::{Guard, Reach, Request, verify_call},
    htu::Htu,
    refused::Refused,
};
use placet_server::{
    listen::{self, Bounds},
    window::FileWindow,
};
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
        let url = self.url.as_deref().unwrap_or(&self.audience);
        let url = Htu::parse(url).or_fail(format_args!("`{url}` is not the URL of a tool"))?;
        let guard = Guard {
            issuer: issuer.name().to_owned(),
            keys: issuer.keys(),
            audience: self.audience.clone(),
            url,
            reach: if self.http_api { Reach::Below } else { Reach::Endpoint },
            not_before: 0,
        };
        std::fs::create_dir_all(&self.state)
            .or_fail(format_args!("can't make `{}`", self.state.display()))?;
        let window = FileWindow::open(&self.state.join("used"), CAPACITY, clock::secs())
            .or_fail(format_args!("can't remember used tokens in `{}`", self.state.display()))?;
        let listener =
            TcpListener::bind(self.listen).await.or_fail(format_args!("can't listen on {}", self.listen))?;
        let address = listener.local_addr().or_fail("can't listen")?;
        eprintln!("placet tool-proxy: {} is guarded on http://{address}", self.upstream);
        let proxy = Arc::new(Proxy {
            http: Client::new(self.upstream.as_str())?,
            upstream: self.upstream,
            max_body: self.max_body,
            guard: Mutex::new(guard),
            issuer,
            window: Mutex::new(window),
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
    guard: Mutex<Guard>,
    issuer: Issuer,
    window: Mutex<FileWindow>,
}

impl Proxy {
    /// Where a request that was let in goes. Of an HTTP API, to the same place below the tool's own address.
    pub(super) fn place(&self, target: &str) -> String {
        let guard = self.guard.lock().unwrap_or_else(PoisonError::into_inner);
        let base = match guard.reach {
            Reach::Endpoint => return self.upstream.as_str().to_owned(),
            Reach::Below => guard.url.path().trim_end_matches('/'),
        };
        let below = target.strip_prefix(base).unwrap_or(target);
        format!("{}{below}", self.upstream.as_str().trim_end_matches('/'))
    }

    /// Checks a call and spends its token. Keys that the gateway has rotated to are fetched once in a while.
    async fn admit(self: &Arc<Self>, request: Owned) -> Result<(), Refused> {
        let request = Arc::new(request);
        match self.check(&request).await {
            Err(Refused::UnknownKey) => match self.issuer.refresh(clock::secs()).await {
                Some(keys) => {
                    self.guard.lock().unwrap_or_else(PoisonError::into_inner).keys = keys;
                    self.check(&request).await
                }
                None => Err(Refused::UnknownKey),
            },
            checked => checked,
        }
    }

    async fn check(self: &Arc<Self>, request: &Arc<Owned>) -> Result<(), Refused> {
        let (proxy, request) = (Arc::clone(self), Arc::clone(request));
        // The window waits for the disk.
        let checked = tokio::task::spawn_blocking(move || {
            let guard = proxy.guard.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let headers: Vec<(&str, &[u8])> =
                request.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
            let request = Request {
                method: &request.method,
                target: &request.target,
                headers: &headers,
                body: &request.body,
            };
            let mut window = Once { window: &proxy.window };
            verify_call(&request, &guard, &mut window, clock::secs()).map(drop)
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

/// Locks the window for the one step that needs it, not while signatures are verified.
struct Once<'a> {
    window: &'a Mutex<FileWindow>,
}

impl placet_jose::replay::ReplayWindow for Once<'_> {
    fn admit(
        &mut self,
        key: placet_jose::replay::ReplayKey,
        forget_at: u64,
        now: u64,
    ) -> placet_jose::replay::Admission {
        self.window.lock().unwrap_or_else(PoisonError::into_inner).admit(key, forget_at, now)
    }
}
