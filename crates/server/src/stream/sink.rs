//! Where a stream's events go.

use std::{sync::Arc, time::Duration};

use placet_audit::Event;
use placet_gateway::VaultAccess;

use super::{file::File, http::Web, otlp, syslog::Syslog};
use crate::settings::{Server, StreamAt, StreamTo, Variables};

/// Why a batch wasn't acknowledged.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) why: String,
    /// How long the consumer wants to be left alone.
    pub(super) after: Option<Duration>,
    /// It would take a smaller batch.
    pub(super) smaller: bool,
}

impl Failure {
    pub(super) fn of(why: impl Into<String>) -> Self {
        Self { why: why.into(), after: None, smaller: false }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::of(error.to_string())
    }
}

/// A consumer.
pub(super) enum Sink {
    File(File),
    Http { web: Web, array: bool },
    Otlp { web: Web, resource: placet_json::Value },
    Syslog(Syslog),
}

impl Sink {
    pub(super) fn open(
        at: &StreamAt,
        server: &Server,
        variables: Variables<'_>,
        vault: &Arc<dyn VaultAccess>,
    ) -> Result<Self, String> {
        let limit = Duration::from_millis(at.timeout_ms);
        match &at.to {
            StreamTo::File { path } => Ok(Self::File(File::open(path)?)),
            StreamTo::Http { at, array } => {
                Ok(Self::Http { web: Web::open(at, &at.url, limit, variables, vault)?, array: *array })
            }
            StreamTo::Otlp { at } => {
                let url = otlp::address(&at.url)?;
                let web = Web::open(at, &url, limit, variables, vault)?;
                Ok(Self::Otlp { web, resource: otlp::resource(server) })
            }
            StreamTo::Syslog { host, port, tls, ca, settle_ms } => {
                let settle = Duration::from_millis(*settle_ms);
                let to = (host.clone(), *port);
                Ok(Self::Syslog(Syslog::open(to, tls.then_some(ca.as_deref()), settle, limit, server)?))
            }
        }
    }

    /// What was sent and not acknowledged is forgotten: it comes again from this position.
    pub(super) fn begin(&mut self, position: u64) {
        if let Self::Syslog(syslog) = self {
            syslog.begin(position);
        }
    }

    /// Sends a batch, whose last record is `to`; how many events the consumer has dropped for good.
    pub(super) async fn send(&mut self, events: &[Event], to: u64) -> Result<u64, Failure> {
        match self {
            Self::File(file) => file.add(lines(events)).await?,
            Self::Http { web, array: false } => drop(web.post("application/x-ndjson", lines(events)).await?),
            Self::Http { web, array: true } => drop(web.post("application/json", array(events)).await?),
            Self::Otlp { web, resource } => {
                let answer = web.post("application/json", otlp::logs(resource, events)).await?;
                return otlp::rejected(&answer);
            }
            Self::Syslog(syslog) => syslog.send(events, to).await?,
        }
        Ok(0)
    }

    /// Up to where all is acknowledged, where all up to `read` was sent.
    pub(super) async fn acknowledged(&mut self, read: u64) -> Result<u64, Failure> {
        match self {
            Self::Syslog(syslog) => syslog.acknowledged(read).await,
            Self::File(_) | Self::Http { .. } | Self::Otlp { .. } => Ok(read),
        }
    }

    /// Whether acknowledgements come later than what is sent.
    pub(super) fn waits(&self) -> bool {
        matches!(self, Self::Syslog(_))
    }
}

fn lines(events: &[Event]) -> Vec<u8> {
    let mut text = String::new();
    for event in events {
        text.push_str(&event.ocsf.to_string());
        text.push('\n');
    }
    text.into_bytes()
}

fn array(events: &[Event]) -> Vec<u8> {
    let all: Vec<String> = events.iter().map(|event| event.ocsf.to_string()).collect();
    format!("[{}]", all.join(",")).into_bytes()
}
