//! Syslog: RFC 5424 messages over TCP, with TLS (RFC 5425) or without, each behind the count of its octets (RFC 6587).
//!
//! Syslog has no acknowledgement. So what was written counts as taken once its connection has lived on for a while; of a
//! connection that breaks, all that is younger comes again.

use std::{
    collections::VecDeque,
    path::Path,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use placet_audit::Event;
use placet_core::Timestamp;
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf},
    net::TcpStream,
    time::{Instant, timeout},
};
use tokio_rustls::TlsConnector;

use super::sink::Failure;
use crate::settings::Server;

/// Facility 13, log audit.
const FACILITY: u8 = 13;
/// Batches that wait for their connection to prove itself.
const MAX_WAITING: usize = 4096;

/// A receiver of syslog.
pub(super) struct Syslog {
    to: (String, u16),
    tls: Option<(TlsConnector, ServerName<'static>)>,
    settle: Duration,
    limit: Duration,
    host: String,
    line: Option<Box<dyn Line>>,
    /// When something was written, and up to which record.
    written: VecDeque<(Instant, u64)>,
    acknowledged: u64,
}

trait Line: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Line for T {}

impl Syslog {
    /// `tls`: none without it; the inner one names the authorities, instead of the system's.
    pub(super) fn open(
        to: (String, u16),
        tls: Option<Option<&Path>>,
        settle: Duration,
        limit: Duration,
        server: &Server,
    ) -> Result<Self, String> {
        let tls = match tls {
            None => None,
            Some(ca) => {
                let name = ServerName::try_from(to.0.clone()).map_err(|error| error.to_string())?;
                Some((TlsConnector::from(Arc::new(client(ca)?)), name))
            }
        };
        let host = url::Url::parse(&server.public_url)
            .ok()
            .and_then(|url| url.host_str().map(str::to_owned))
            .filter(|host| host.bytes().all(|b| b.is_ascii_graphic()) && host.len() <= 255)
            .unwrap_or_else(|| "-".to_owned());
        let written = VecDeque::new();
        Ok(Self { to, tls, settle, limit, host, line: None, written, acknowledged: 0 })
    }

    pub(super) fn begin(&mut self, position: u64) {
        self.line = None;
        self.written.clear();
        self.acknowledged = position;
    }

    /// Writes a batch.
    pub(super) async fn send(&mut self, events: &[Event], to: u64) -> Result<(), Failure> {
        if self.written.len() >= MAX_WAITING {
            tokio::time::sleep(self.settle).await;
        }
        let mut bytes = Vec::new();
        for event in events {
            let message = message(event, &self.host);
            bytes.extend_from_slice(format!("{} ", message.len()).as_bytes());
            bytes.extend_from_slice(message.as_bytes());
        }
        let limit = self.limit;
        let sent = timeout(limit, self.write(&bytes)).await;
        match sent {
            Ok(Ok(())) => {
                self.written.push_back((Instant::now(), to));
                Ok(())
            }
            Ok(Err(error)) => {
                self.line = None;
                Err(Failure::of(format!("{}:{}: {error}", self.to.0, self.to.1)))
            }
            Err(_) => {
                self.line = None;
                Err(Failure::of(format!("{}:{} doesn't read", self.to.0, self.to.1)))
            }
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        if self.line.is_none() {
            let stream = TcpStream::connect((self.to.0.as_str(), self.to.1)).await?;
            stream.set_nodelay(true)?;
            self.line = Some(match &self.tls {
                None => Box::new(stream),
                Some((connector, name)) => Box::new(connector.connect(name.clone(), stream).await?),
            });
        }
        let Some(line) = self.line.as_mut() else { return Ok(()) };
        line.write_all(bytes).await?;
        line.flush().await
    }

    /// Up to where the connection has proven itself; an error where it broke.
    pub(super) async fn acknowledged(&mut self, read: u64) -> Result<u64, Failure> {
        if let Some(line) = self.line.as_mut()
            && let Some(why) = ended(line).await
        {
            self.line = None;
            // What was written to it long enough ago stays taken; the rest comes again.
            if !self.written.is_empty() {
                return Err(Failure::of(format!("{}:{} {why}", self.to.0, self.to.1)));
            }
        }
        while let Some((when, to)) = self.written.front().copied()
            && when.elapsed() >= self.settle
        {
            self.acknowledged = to;
            self.written.pop_front();
        }
        // What isn't for this stream needs no acknowledgement.
        if self.written.is_empty() {
            self.acknowledged = self.acknowledged.max(read);
        }
        Ok(self.acknowledged)
    }
}

/// Why a connection is over, if it is. What a receiver says is read and thrown away, a little each time.
async fn ended(line: &mut Box<dyn Line>) -> Option<String> {
    let mut bytes = [0_u8; 1024];
    std::future::poll_fn(|context: &mut Context<'_>| {
        let mut buffer = ReadBuf::new(&mut bytes);
        Poll::Ready(match Pin::new(&mut *line).poll_read(context, &mut buffer) {
            Poll::Pending => None,
            Poll::Ready(Ok(())) if buffer.filled().is_empty() => Some("closed the connection".to_owned()),
            Poll::Ready(Ok(())) => None,
            Poll::Ready(Err(error)) => Some(error.to_string()),
        })
    })
    .await
}

/// `<PRI>1 TIME HOST placet - KIND [meta sequenceId="…"] EVENT`
fn message(event: &Event, host: &str) -> String {
    let severity: u8 = match event.severity {
        1 => 6,
        2 => 5,
        3 => 4,
        _ => 3,
    };
    let priority = FACILITY.saturating_mul(8).saturating_add(severity);
    let time = Timestamp::from_millis(event.time_ms);
    // RFC 5424 §7.3.1: it begins again at 1 behind 2147483647.
    let number = event.sequence.saturating_sub(1).checked_rem(2_147_483_647).unwrap_or(0).saturating_add(1);
    format!(
        "<{priority}>1 {time} {host} placet - {} [meta sequenceId=\"{number}\"] {}",
        event.kind, event.ocsf
    )
}

fn client(ca: Option<&Path>) -> Result<rustls::ClientConfig, String> {
    let mut roots = rustls::RootCertStore::empty();
    match ca {
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        Some(path) => {
            let failed = |error: &dyn std::fmt::Display| format!("`{}`: {error}", path.display());
            for certificate in CertificateDer::pem_file_iter(path).map_err(|error| failed(&error))? {
                let certificate = certificate.map_err(|error| failed(&error))?;
                roots.add(certificate).map_err(|error| failed(&error))?;
            }
        }
    }
    if roots.is_empty() {
        return Err("no certificate authorities to trust; name them with `ca`".to_owned());
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    Ok(rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_that_of_rfc_5424() {
        let event = |sequence, severity| Event {
            sequence,
            time_ms: 1_700_000_000_123,
            kind: "decision",
            severity,
            message: String::new(),
            ocsf: placet_json::object! { "a" => "ä" }.into(),
        };
        assert_eq!(
            message(&event(7, 2), "gw.example"),
            "<109>1 2023-11-14T22:13:20.123Z gw.example placet - decision [meta sequenceId=\"7\"] {\"a\":\"ä\"}"
        );
        assert!(message(&event(2_147_483_648, 4), "-").contains("sequenceId=\"1\""));
    }
}
