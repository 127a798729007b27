//! Traces of governed calls, sent to a collector by OTLP over HTTP.
//!
//! Off by default; then no span is made. A span is of [`placet_gateway::trace`], and nothing else is sent: what the
//! logs say stays here. Every call is traced, whatever its client's `traceparent` says about sampling: a client
//! continues its trace, but doesn't choose what its operators see.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, header::HOST};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client as HyperClient, connect::HttpConnector},
    rt::TokioExecutor,
};
use opentelemetry::{
    Context, KeyValue,
    propagation::{Extractor, Injector, TextMapPropagator as _},
    trace::{TraceContextExt as _, TracerProvider as _},
};
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::{
    Resource,
    propagation::TraceContextPropagator,
    trace::{Sampler, SdkTracer, SdkTracerProvider},
};
use placet_gateway::trace;
use placet_json::{Object, Value};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use url::Url;

use crate::settings::Server;

/// W3C Trace Context: names of the fields, in `_meta` as in headers.
const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";
/// How long one batch may take.
const SEND: Duration = Duration::from_secs(5);
/// How long the last batch may take at the end.
const FLUSH: Duration = Duration::from_secs(5);
/// The most bytes of a collector's answer that are read.
const MAX_ANSWER: usize = 64 * 1024;

/// Sends spans until it is dropped; the last ones are sent then.
#[derive(Debug)]
pub(crate) struct Exporter {
    provider: SdkTracerProvider,
}

impl Exporter {
    /// An exporter to the collector at this base URL, below which `v1/traces` lies.
    pub(crate) fn new(collector: &Url, server: &Server) -> Result<Self, String> {
        let endpoint = format!("{}/v1/traces", collector.as_str().trim_end_matches('/'));
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Sender::new(collector)?)
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(endpoint)
            .with_timeout(SEND)
            .build()
            .map_err(|error| error.to_string())?;
        let resource = Resource::builder_empty()
            .with_service_name("placet")
            .with_attributes([
                KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
                KeyValue::new("deployment.environment.name", server.environment.as_str()),
                KeyValue::new("placet.organisation", server.organisation.to_string()),
            ])
            .build();
        let provider = SdkTracerProvider::builder()
            .with_sampler(Sampler::AlwaysOn)
            .with_resource(resource)
            .with_batch_exporter(exporter)
            .build();
        Ok(Self { provider })
    }

    pub(crate) fn tracer(&self) -> SdkTracer {
        self.provider.tracer("placet")
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        if let Err(error) = self.provider.shutdown_with_timeout(FLUSH) {
            tracing::warn!(%error, "the last spans could not be sent");
        }
    }
}

/// The trace context that came with a call in its `_meta`, and that goes to the upstream in its stead.
#[derive(Debug, Default)]
pub(crate) struct Parent {
    /// `traceparent`.
    pub(crate) traceparent: Option<String>,
    /// `tracestate`.
    pub(crate) tracestate: Option<String>,
}

impl Parent {
    /// What a call's `_meta` names.
    pub(crate) fn in_meta(meta: Option<&Object>) -> Self {
        let text = |name| meta.and_then(|meta| meta.get(name)).and_then(Value::as_str).map(str::to_owned);
        Self { traceparent: text(TRACEPARENT), tracestate: text(TRACESTATE) }
    }
}

/// Opens the span of a call, as a child of the client's where it named one in `_meta` or else in a header, and makes it
/// the parent of what the upstream does. Where tracing is off, what the client named is left as it is.
pub(crate) fn open(parent: &mut Parent, headers: &HeaderMap) -> Span {
    let span = trace::call();
    if span.is_disabled() {
        return span;
    }
    let propagator = TraceContextPropagator::new();
    let theirs = if parent.traceparent.is_some() {
        propagator.extract_with_context(&Context::new(), parent)
    } else {
        propagator.extract_with_context(&Context::new(), &Headers(headers))
    };
    if theirs.span().span_context().is_valid() {
        // Nothing has asked for the span's context yet, so it takes a parent.
        drop(span.set_parent(theirs));
    }
    *parent = Parent::default();
    propagator.inject_context(&span.context(), parent);
    span
}

impl Extractor for Parent {
    fn get(&self, key: &str) -> Option<&str> {
        match key {
            TRACEPARENT => self.traceparent.as_deref(),
            TRACESTATE => self.tracestate.as_deref(),
            _ => None,
        }
    }
    fn keys(&self) -> Vec<&str> {
        vec![TRACEPARENT, TRACESTATE]
    }
}

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|value| value.to_str().ok())
    }
    fn keys(&self) -> Vec<&str> {
        vec![TRACEPARENT, TRACESTATE]
    }
}

impl Injector for Parent {
    fn set(&mut self, key: &str, value: String) {
        match key {
            TRACEPARENT => self.traceparent = Some(value),
            TRACESTATE if !value.is_empty() => self.tracestate = Some(value),
            _ => {}
        }
    }
}

/// Sends batches: no redirects, no proxies. It has its own runtime, since the SDK's thread waits for it, also when the
/// server's has ended.
#[derive(Debug)]
struct Sender {
    runtime: tokio::runtime::Runtime,
    client: HyperClient<HttpsConnector<HttpConnector>, Full<Bytes>>,
    /// Whether the last batch was lost: that is said once.
    failing: AtomicBool,
}

impl Sender {
    fn new(collector: &Url) -> Result<Self, String> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| error.to_string())?;
        let mut roots = rustls::RootCertStore::empty();
        if collector.scheme() == "https" {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        // Between batches nothing drives a connection, so none is kept.
        let client = HyperClient::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(https);
        Ok(Self { runtime, client, failing: AtomicBool::new(false) })
    }

    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (head, body) = request.into_parts();
        let exchange = async {
            let response = self.client.request(Request::from_parts(head, Full::new(body))).await?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, MAX_ANSWER).collect().await?.to_bytes();
            Ok(Response::from_parts(head, body))
        };
        tokio::time::timeout(SEND, exchange).await?
    }

    fn tell(&self, problem: Option<String>) {
        let failed = self.failing.swap(problem.is_some(), Ordering::Relaxed);
        match (problem, failed) {
            (Some(problem), false) => tracing::warn!(problem, "spans can't be sent to the collector"),
            (None, true) => tracing::info!("the collector takes spans again"),
            (Some(_), true) | (None, false) => {}
        }
    }
}

#[async_trait::async_trait]
impl HttpClient for Sender {
    async fn send_bytes(&self, mut request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        request.headers_mut().remove(HOST);
        let answered = self.runtime.block_on(self.send(request));
        self.tell(match &answered {
            Ok(response) if response.status().is_success() => None,
            Ok(response) => Some(format!("it answered {}", response.status())),
            Err(error) => Some(error.to_string()),
        });
        answered
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing_subscriber::layer::SubscriberExt as _;

    const THEIRS: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

    fn opened(meta: Option<&str>, state: Option<&str>, header: Option<&str>) -> Parent {
        let provider = SdkTracerProvider::builder().with_sampler(Sampler::AlwaysOn).build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        let mut parent =
            Parent { traceparent: meta.map(str::to_owned), tracestate: state.map(str::to_owned) };
        let mut headers = HeaderMap::new();
        if let Some(header) = header {
            headers.insert(TRACEPARENT, header.parse().unwrap());
        }
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            assert!(!open(&mut parent, &headers).is_disabled());
        });
        parent
    }

    #[test]
    fn the_clients_trace_goes_on_with_our_span_and_our_sampling() {
        for (meta, header) in [(Some(THEIRS), None), (None, Some(THEIRS))] {
            let ours = opened(meta, Some("vendor=1"), header).traceparent.unwrap();
            assert!(ours.starts_with(&format!("00-{TRACE}-")) && ours.ends_with("-01"), "{ours}");
            assert!(!ours.contains("b7ad6b7169203331"), "{ours}");
        }
        let other = THEIRS.replace(TRACE, &"1".repeat(32));
        let both = opened(Some(THEIRS), None, Some(&other)).traceparent.unwrap();
        assert!(both.contains(TRACE), "`_meta` is nearer to the call: {both}");
        assert_eq!(opened(Some(THEIRS), Some("vendor=1"), None).tracestate.as_deref(), Some("vendor=1"));
    }

    #[test]
    fn a_malformed_parent_begins_a_new_trace_and_is_not_passed_on() {
        for theirs in ["", "00-x", "00-00000000000000000000000000000000-b7ad6b7169203331-01", "\u{1F41F}"] {
            let parent = opened(Some(theirs), Some("vendor=1"), None);
            let ours = parent.traceparent.unwrap();
            assert!(ours.len() == 55 && ours.ends_with("-01") && parent.tracestate.is_none(), "{ours}");
        }
    }

    #[test]
    fn without_a_collector_what_the_client_named_stays() {
        let mut parent = Parent { traceparent: Some(THEIRS.to_owned()), tracestate: None };
        assert!(open(&mut parent, &HeaderMap::new()).is_disabled());
        assert_eq!(parent.traceparent.as_deref(), Some(THEIRS));
    }
}
