//! One connection to an HTTP upstream: the checked address, TLS, HTTP/1.1, and a count of what was written.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use url::{Host, Url};

use crate::config::{Http, Trust};
use crate::egress::{self, Resolve, Unreachable};
use crate::{Egress, UpstreamError};

/// Makes connections to one upstream.
pub(crate) struct Dialer {
    url: Url,
    egress: Egress,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    resolver: Arc<dyn Resolve>,
    limit: Duration,
}

/// An open connection. Dropping it closes it, whatever is in flight.
pub(crate) struct Line {
    pub(crate) sender: SendRequest<Full<Bytes>>,
    sent: Arc<AtomicU64>,
    driver: JoinHandle<()>,
}

impl Dialer {
    pub(crate) fn new(
        http: &Http,
        resolver: Arc<dyn Resolve>,
        limit: Duration,
    ) -> Result<Self, UpstreamError> {
        egress::check_url(&http.url, http.egress)?;
        let tls = if http.url.scheme() == "https" {
            Some((TlsConnector::from(Arc::new(client(&http.trust)?)), server_name(&http.url)?))
        } else {
            None
        };
        Ok(Self { url: http.url.clone(), egress: http.egress, tls, resolver, limit })
    }

    /// Connects, to an address that was checked.
    pub(crate) async fn dial(&self) -> Result<Line, UpstreamError> {
        timeout(self.limit, self.dial_unlimited()).await.map_err(|_| UpstreamError::Timeout("connect"))?
    }

    async fn dial_unlimited(&self) -> Result<Line, UpstreamError> {
        let addresses = egress::addresses(&self.url, self.egress, &*self.resolver).await.map_err(
            |error| match error {
                Unreachable::Forbidden(forbidden) => UpstreamError::Forbidden(forbidden),
                Unreachable::Io(error) => UpstreamError::Io(error),
            },
        )?;
        let end = Instant::now().checked_add(self.limit);
        let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
        let mut left = u32::try_from(addresses.len()).unwrap_or(u32::MAX);
        for address in addresses {
            // A share of the time for each, so that a dead address doesn't take it all.
            let rest = end.map_or(self.limit, |end| end.saturating_duration_since(Instant::now()));
            let share = rest.checked_div(left).unwrap_or(rest);
            left = left.saturating_sub(1);
            match timeout(share, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return self.shake(stream).await,
                Ok(Err(error)) => last = error,
                Err(_) => last = io::ErrorKind::TimedOut.into(),
            }
        }
        Err(last.into())
    }

    async fn shake(&self, stream: TcpStream) -> Result<Line, UpstreamError> {
        stream.set_nodelay(true)?;
        let stream = match &self.tls {
            None => Stream::Plain(stream),
            Some((connector, name)) => Stream::Tls(Box::new(connector.connect(name.clone(), stream).await?)),
        };
        let sent = Arc::new(AtomicU64::new(0));
        let counted = TokioIo::new(Counted { stream, sent: Arc::clone(&sent) });
        let (sender, connection) = http1::handshake(counted).await.map_err(io::Error::other)?;
        let driver = tokio::spawn(async move {
            // How a connection ends is seen by the request on it.
            drop(connection.await);
        });
        let mut line = Line { sender, sent, driver };
        line.sender.ready().await.map_err(io::Error::other)?;
        Ok(line)
    }
}

impl Line {
    /// Bytes written so far, before encryption.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Acquire)
    }

    /// The count itself, which outlives the connection.
    pub(crate) fn counter(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.sent)
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

fn client(trust: &Trust) -> Result<ClientConfig, UpstreamError> {
    let mut roots = RootCertStore::empty();
    match trust {
        Trust::Only(certificates) => {
            for certificate in certificates {
                roots.add(certificate.clone()).map_err(io::Error::other)?;
            }
        }
        Trust::System => {
            // A broken certificate among the system's is the system's business; none at all is ours.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    if roots.is_empty() {
        return Err(UpstreamError::Io(io::Error::other("no certificate authorities to trust")));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn server_name(url: &Url) -> Result<ServerName<'static>, UpstreamError> {
    let name = match url.host() {
        Some(Host::Domain(name)) => ServerName::try_from(name.to_owned()).map_err(io::Error::other)?,
        Some(Host::Ipv4(address)) => ServerName::IpAddress(std::net::IpAddr::from(address).into()),
        Some(Host::Ipv6(address)) => ServerName::IpAddress(std::net::IpAddr::from(address).into()),
        None => {
            return Err(UpstreamError::Forbidden(crate::Forbidden::Url("an upstream's URL names a host")));
        }
    };
    Ok(name)
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

struct Counted {
    stream: Stream,
    sent: Arc<AtomicU64>,
}

impl Counted {
    fn count(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = written {
            self.sent.fetch_add(u64::try_from(bytes).unwrap_or(u64::MAX), Ordering::AcqRel);
        }
        written
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        };
        self.count(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Stream::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        };
        self.count(written)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Plain(stream) => stream.is_write_vectored(),
            Stream::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
