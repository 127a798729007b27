//! Streams out of the ledger: its records as OCSF events or OpenTelemetry logs, to files, HTTP, syslog and collectors.
//!
//! Each stream is a reader of the journal with a place of its own, which is moved only behind what its consumer
//! acknowledged: at least once, in order, nothing left out. No call knows of them: a consumer that is down or mute makes
//! its stream fall behind, and nothing else. Memory holds one batch a stream.

mod file;
mod http;
mod otlp;
mod sink;
mod syslog;

use std::{
    fmt::Write as _,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use placet_audit::{Event, event};
use placet_gateway::{Ledger, VaultAccess};
use placet_json::{Value, object};
use placet_store::{Commons, Cursors};
use tokio::{sync::Notify, time::Instant};

use crate::settings::{Settings, StreamAt, Variables};
use sink::{Failure, Sink};

/// How often is looked for new records.
const LOOK: Duration = Duration::from_millis(100);
/// How often is looked whether the stream is still held here and where it was left.
const HOLD: Duration = Duration::from_secs(1);
/// The first and the longest pause after a failure.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));
/// Records that are looked through for one batch at most.
const SCAN: usize = 2000;
/// Bytes of one batch's events, about.
const BATCH_BYTES: usize = 1 << 20;
/// The longest text of a failure that is kept.
const MAX_WHY: usize = 300;

/// Why a stream can't be opened.
#[derive(Debug, thiserror::Error)]
#[error("stream `{stream}`: {why}")]
pub struct StreamError {
    /// Which.
    pub stream: String,
    /// What is wrong.
    pub why: String,
}

/// The streams of a server.
#[derive(Clone)]
pub struct Streams(Arc<Inner>);

struct Inner {
    all: Vec<Stream>,
    cursors: Cursors,
    ledger: Ledger,
    sender: placet_audit::Sender,
}

struct Stream {
    at: StreamAt,
    status: Mutex<Status>,
    /// Its place was set anew.
    moved: Notify,
}

#[derive(Clone, Debug, Default)]
struct Status {
    /// Whether this gateway holds it.
    held: bool,
    /// Everything up to here was acknowledged.
    position: u64,
    /// Events that were sent, as often as they were.
    sent: u64,
    failures: u64,
    /// The last failure, while it lasts.
    why: Option<String>,
}

/// A stream as administrators see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Its name.
    pub name: String,
    /// What kind of consumer it has.
    pub kind: &'static str,
    /// `live`, `failing`, or `elsewhere` where another gateway holds it.
    pub state: &'static str,
    /// Everything up to here was acknowledged.
    pub position: u64,
    /// Records behind the journal's end.
    pub lag: u64,
    /// How old the first record is that wasn't acknowledged, in milliseconds.
    pub lag_ms: u64,
    /// Events that were sent since the start.
    pub sent: u64,
    /// Attempts that failed since the start.
    pub failures: u64,
    /// What the last failure was, while it lasts.
    pub why: Option<String>,
}

impl std::fmt::Debug for Streams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.all.iter().map(|stream| &stream.at.name)).finish()
    }
}

/// What streams are opened with.
pub(crate) struct Parts<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) variables: Variables<'a>,
    pub(crate) data: &'a Path,
    pub(crate) commons: Option<&'a Commons>,
    pub(crate) ledger: Ledger,
    pub(crate) vault: Arc<dyn VaultAccess>,
}

/// A stream's work, to be run until the end.
pub(crate) struct Work {
    streams: Streams,
    index: usize,
    sink: Sink,
}

/// Opens what the settings name; nothing is sent yet.
pub(crate) fn open(parts: Parts<'_>) -> Result<(Streams, Vec<Work>), StreamError> {
    let Parts { settings, variables, data, commons, ledger, vault } = parts;
    let cursors = commons.map_or_else(|| Cursors::files(data), |commons| Cursors::Shared(commons.clone()));
    let organisation = settings.server.organisation.to_string();
    let sender = placet_audit::Sender { organisation, version: env!("CARGO_PKG_VERSION").to_owned() };
    let mut sinks = Vec::new();
    for at in &settings.streams {
        let opened = Sink::open(at, &settings.server, variables, &vault);
        sinks.push(opened.map_err(|why| StreamError { stream: at.name.to_string(), why })?);
    }
    let all = settings.streams.iter().map(|at| Stream {
        at: at.clone(),
        status: Mutex::default(),
        moved: Notify::new(),
    });
    let streams = Streams(Arc::new(Inner { all: all.collect(), cursors, ledger, sender }));
    let work = sinks.into_iter().enumerate();
    let work = work.map(|(index, sink)| Work { streams: streams.clone(), index, sink }).collect();
    Ok((streams, work))
}

impl Streams {
    /// All of them.
    pub async fn list(&self) -> Vec<Shown> {
        let Inner { all, cursors, ledger, .. } = &*self.0;
        let (last, now) = (ledger.reader().last(), ledger.now().millis());
        let mut shown = Vec::new();
        for stream in all {
            let status = stream.status();
            let name = stream.at.name.as_str();
            // Where another gateway holds it, the database knows how far it has come.
            let known = if status.held { None } else { cursors.position(name).await.ok().flatten() };
            let position = known.map_or(status.position, |(position, _)| position);
            let elsewhere = !status.held && known.is_some_and(|(_, holder)| holder.is_some());
            let next = position.saturating_add(1);
            let oldest = if next <= last { ledger.reader().get(next).ok().flatten() } else { None };
            shown.push(Shown {
                name: name.to_owned(),
                kind: stream.at.to.as_str(),
                state: match (elsewhere, &status.why) {
                    (true, _) => "elsewhere",
                    (false, Some(_)) => "failing",
                    (false, None) => "live",
                },
                position,
                lag: last.saturating_sub(position),
                lag_ms: oldest.map_or(0, |record| now.saturating_sub(record.time_ms)),
                sent: status.sent,
                failures: status.failures,
                why: status.why,
            });
        }
        shown
    }

    /// Whether there is a stream of this name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.0.all.iter().any(|stream| stream.at.name.as_str() == name)
    }

    /// The last position that can be sent.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.0.ledger.reader().last()
    }

    /// Sets a stream's place: what comes behind `position` is sent, again or for the first time.
    pub async fn set(&self, name: &str, position: u64) -> Result<(), String> {
        self.0.cursors.set(name, position).await.map_err(|error| error.to_string())?;
        for stream in self.0.all.iter().filter(|stream| stream.at.name.as_str() == name) {
            stream.moved.notify_one();
        }
        Ok(())
    }

    /// In Prometheus' text format.
    pub async fn metrics(&self) -> String {
        let shown = self.list().await;
        let mut page = String::new();
        if shown.is_empty() {
            return page;
        }
        let mut series = |name: &str, kind: &str, help: &str, value: &dyn Fn(&Shown) -> String| {
            // A name has no character that would have to be escaped; writing into a `String` can't fail.
            let _infallible =
                write!(page, "# HELP placet_stream_{name} {help}\n# TYPE placet_stream_{name} {kind}\n");
            for one in &shown {
                let _infallible =
                    writeln!(page, "placet_stream_{name}{{stream=\"{}\"}} {}", one.name, value(one));
            }
        };
        series("position", "gauge", "Everything up to this record was acknowledged.", &|it| {
            it.position.to_string()
        });
        series("lag_records", "gauge", "Records behind the journal's end.", &|it| it.lag.to_string());
        series("lag_seconds", "gauge", "How old the first record is that wasn't acknowledged.", &|it| {
            format!("{}.{:03}", it.lag_ms.wrapping_div(1000), it.lag_ms.wrapping_rem(1000))
        });
        series("failing", "gauge", "Whether the last attempt failed.", &|it| {
            u8::from(it.state == "failing").to_string()
        });
        series("events_total", "counter", "Events that were sent, as often as they were.", &|it| {
            it.sent.to_string()
        });
        series("failures_total", "counter", "Attempts that failed.", &|it| it.failures.to_string());
        page
    }
}

impl Shown {
    /// As JSON.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let Self { name, kind, state, position, lag, lag_ms, sent, failures, why } = self;
        object! {
            "name" => name.as_str(), "kind" => *kind, "state" => *state, "position" => *position, "lag" => *lag,
            "lag_ms" => *lag_ms, "sent" => *sent, "failures" => *failures,
            "why" => why.as_deref().map_or(Value::Null, Value::from),
        }
        .into()
    }
}

impl Stream {
    fn status(&self) -> Status {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
    fn change(&self, change: impl FnOnce(&mut Status)) {
        change(&mut self.status.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// What was read for one batch.
struct Batch {
    events: Vec<Event>,
    /// Everything up to here is in `events`, or isn't for this stream.
    to: u64,
}

impl Work {
    /// Sends until it is dropped.
    pub(crate) async fn run(mut self) {
        let streams = self.streams.clone();
        let Some(stream) = streams.0.all.get(self.index) else { return };
        let mut pause = BACKOFF.0;
        let mut most = stream.at.batch;
        loop {
            let began = stream.status().sent;
            match session(&streams.0, stream, &mut self.sink, &mut most).await {
                Ok(()) => pause = BACKOFF.0,
                Err(failure) => {
                    if stream.status().sent > began {
                        pause = BACKOFF.0;
                    }
                    let why: String = failure.why.chars().take(MAX_WHY).collect();
                    if stream.status().why.is_none() {
                        tracing::warn!(stream = %stream.at.name, %why, "events can't be sent; it is tried again");
                    }
                    stream.change(|status| {
                        status.failures = status.failures.saturating_add(1);
                        status.why = Some(why);
                    });
                    if failure.smaller {
                        most = most.checked_div(2).unwrap_or(1).max(1);
                    }
                    let wait = failure.after.unwrap_or_else(|| jitter(pause)).min(BACKOFF.1);
                    drop(tokio::time::timeout(wait, stream.moved.notified()).await);
                    pause = pause.saturating_mul(2).min(BACKOFF.1);
                }
            }
        }
    }
}

/// Sends while the stream is held here; ends where it isn't, or was set anew.
async fn session(inner: &Inner, stream: &Stream, sink: &mut Sink, most: &mut usize) -> Result<(), Failure> {
    let name = stream.at.name.as_str();
    let first = if stream.at.from_start { 0 } else { inner.ledger.reader().last() };
    let failed = |error: placet_store::CursorError| Failure::of(error.to_string());
    let Some(mut held) = inner.cursors.hold(name, first).await.map_err(failed)? else {
        stream.change(|status| {
            status.held = false;
            status.why = None;
        });
        tokio::time::sleep(HOLD).await;
        return Ok(());
    };
    stream.change(|status| {
        status.held = true;
        status.position = held.position;
    });
    sink.begin(held.position);
    let mut read = held.position;
    let mut looked = Instant::now();
    loop {
        let batch = batch(inner, stream, read, *most).await?;
        let idle = batch.to == read;
        if !batch.events.is_empty() {
            // Another gateway may hold it by now, or it was set anew; then this isn't ours to send.
            if inner.cursors.hold(name, first).await.map_err(failed)? != Some(held) {
                return lost(stream);
            }
            let dropped = sink.send(&batch.events, batch.to).await?;
            if dropped > 0 {
                tracing::error!(stream = name, dropped, "the consumer has rejected events for good");
                stream.change(|status| status.failures = status.failures.saturating_add(1));
            }
            let sent = u64::try_from(batch.events.len()).unwrap_or(u64::MAX);
            stream.change(|status| status.sent = status.sent.saturating_add(sent));
            *most = most.saturating_add(most.checked_div(4).unwrap_or(0).max(1)).min(stream.at.batch);
        }
        read = batch.to;
        let acknowledged = sink.acknowledged(read).await?;
        let due = looked.elapsed() >= HOLD;
        // What is not for this stream moves its place only now and then: that is a write to the disk.
        if acknowledged > held.position && (!batch.events.is_empty() || due || sink.waits()) {
            match inner.cursors.keep(name, held, acknowledged).await.map_err(failed)? {
                Some(still) => held = still,
                None => return lost(stream),
            }
        } else if due && inner.cursors.hold(name, first).await.map_err(failed)? != Some(held) {
            return lost(stream);
        }
        if due {
            looked = Instant::now();
        }
        let told = stream.status().why.is_some();
        stream.change(|status| {
            status.position = held.position;
            status.why = None;
        });
        if told {
            tracing::info!(stream = name, "events are taken again");
        }
        if idle {
            // Set anew: the next look finds it.
            if tokio::time::timeout(LOOK, stream.moved.notified()).await.is_ok() {
                return Ok(());
            }
        }
    }
}

#[expect(clippy::unnecessary_wraps, reason = "the end of a session, as its caller ends")]
fn lost(stream: &Stream) -> Result<(), Failure> {
    stream.change(|status| status.held = false);
    Ok(())
}

/// The next records as events, read on a thread that may block.
async fn batch(inner: &Inner, stream: &Stream, from: u64, most: usize) -> Result<Batch, Failure> {
    let (ledger, sender, at) = (inner.ledger.clone(), inner.sender.clone(), stream.at.clone());
    let read = move || {
        let reader = ledger.reader();
        let mut batch = Batch { events: Vec::new(), to: from };
        let mut bytes = 0_usize;
        for record in reader.range(from.saturating_add(1), reader.last()).take(SCAN) {
            let record = record.map_err(|error| Failure::of(error.to_string()))?;
            batch.to = record.sequence;
            let mine = at.tenant.as_ref().is_none_or(|tenant| tenant.as_str() == record.tree)
                && (at.kinds.is_empty() || at.kinds.contains(&record.kind));
            if mine {
                let event = event(&record, &sender);
                bytes = bytes.saturating_add(event.ocsf.to_string().len());
                batch.events.push(event);
                if batch.events.len() >= most || bytes >= BATCH_BYTES {
                    break;
                }
            }
        }
        Ok(batch)
    };
    tokio::task::spawn_blocking(read).await.map_err(|error| Failure::of(error.to_string()))?
}

/// Between half of a pause and all of it.
fn jitter(pause: Duration) -> Duration {
    let mut byte = [0_u8; 1];
    // Without randomness it is the whole pause.
    if getrandom::fill(&mut byte).is_err() {
        return pause;
    }
    let half = pause.checked_div(2).unwrap_or(pause);
    half.saturating_add(half.saturating_mul(u32::from(byte[0])).checked_div(255).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_never_longer_than_it_is_and_never_shorter_than_half() {
        for _ in 0..200 {
            let pause = jitter(Duration::from_millis(1000));
            assert!((500..=1000).contains(&pause.as_millis()), "{pause:?}");
        }
    }
}
