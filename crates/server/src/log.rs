//! Logs, structured: to standard error, so that standard output stays the program's. And traces, where they are wanted.

use std::io::IsTerminal;

use placet_gateway::trace;
use tracing_subscriber::{
    EnvFilter, Layer as _, filter::Targets, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

use crate::{
    settings::{LogFormat, Settings},
    telemetry::Exporter,
};

/// Logs, and traces, at work. Spans that haven't been sent are sent when it is dropped.
#[derive(Debug)]
pub struct Started {
    _traces: Option<Exporter>,
}

/// Starts logging and tracing for the whole process; a second start changes nothing.
pub fn start(settings: &Settings) -> Result<Started, String> {
    let log = &settings.log;
    let exporter = settings
        .telemetry
        .otlp
        .as_ref()
        .map(|collector| Exporter::new(collector, &settings.server))
        .transpose()
        .map_err(|error| format!("`telemetry.otlp`: {error}"))?;
    // Spans of calls are for the collector alone. With none, nothing takes them, and none is made.
    let quiet = format!("{}=off", trace::TARGET).parse().map_err(|error| format!("`log.level`: {error}"))?;
    let filter =
        EnvFilter::try_new(&log.level).map_err(|error| format!("`log.level`: {error}"))?.add_directive(quiet);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(true);
    let lines = match log.format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    let registry = tracing_subscriber::registry();
    let started = match &exporter {
        None => registry.with(lines.with_filter(filter)).try_init(),
        Some(exporter) => {
            let spans = tracing_opentelemetry::layer()
                .with_tracer(exporter.tracer())
                .with_location(false)
                .with_threads(false)
                .with_target(false)
                .with_tracked_inactivity(false)
                .with_context_activation(false)
                .with_filter(Targets::new().with_target(trace::TARGET, tracing::Level::INFO));
            registry.with(lines.with_filter(filter)).with(spans).try_init()
        }
    };
    Ok(Started { _traces: exporter.filter(|_| started.is_ok()) })
}
