//! Tool lists: read to their end, kept until they are known or believed to be stale.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use placet_core::Timestamp;
use placet_json::Object;
use placet_mcp::tools::{BadTool, Listing, ToolDef};
use placet_mcp::{Era, Method, RpcError, headers};
use tokio::sync::Notify;

use crate::credential::Caller;
use crate::http::HttpUpstream;
use crate::stdio::StdioUpstream;
use crate::{Partition, Target, UpstreamError, wire};
use placet_core::Digest;

/// An upstream's tools at one moment.
#[derive(Debug)]
pub struct ToolSet {
    /// The definitions as they came, in the server's order.
    pub defs: Vec<ToolDef>,
    /// Definitions that can't be used, with their names where they have one.
    pub refused: Vec<(Option<String>, BadTool)>,
    /// When the list was read.
    pub fetched_at: Timestamp,
    /// The era in which it was.
    pub era: Era,
    index: BTreeMap<String, Tool>,
}

/// What calls need to know of a tool.
#[derive(Debug, Clone, Copy)]
struct Tool {
    at: usize,
    /// Whether arguments are repeated in headers.
    mirrors: bool,
}

/// A mark that a tool list is out of date.
#[derive(Debug, Default)]
pub(crate) struct Stale {
    marked: AtomicBool,
    notify: Notify,
}

impl ToolSet {
    fn new(listing: Listing, era: Era, fetched_at: Timestamp) -> Self {
        let (defs, refused) = listing.finish();
        let index = defs.iter().enumerate().map(|(at, def)| {
            let annotations = def.input_schema().map(headers::annotations);
            let mirrors = matches!(annotations, Some(Ok(found)) if !found.is_empty());
            (def.name.clone(), Tool { at, mirrors })
        });
        Self { index: index.collect(), defs, refused, fetched_at, era }
    }

    /// The definition of the tool of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&ToolDef> {
        self.defs.get(self.index.get(name)?.at)
    }

    /// Whether arguments of that tool are repeated in headers.
    pub(crate) fn mirrors(&self, name: &str) -> bool {
        self.index.get(name).is_some_and(|tool| tool.mirrors)
    }
}

impl Stale {
    pub(crate) fn mark(&self) {
        self.marked.store(true, Ordering::Release);
        self.notify.notify_one();
    }

    /// Whether it is marked.
    pub(crate) fn is_marked(&self) -> bool {
        self.marked.load(Ordering::Acquire)
    }

    /// Before a list is read: what is announced from here on counts again.
    pub(crate) fn clear(&self) {
        self.marked.store(false, Ordering::Release);
    }

    pub(crate) async fn marked(&self) {
        self.notify.notified().await;
    }
}

/// Reads an upstream's list over HTTP.
pub(crate) async fn over_http(
    http: &Arc<HttpUpstream>,
    caller: Caller<'_>,
    now: impl Fn() -> Timestamp,
) -> Result<ToolSet, UpstreamError> {
    match list_over_http(http, caller).await {
        Err(Lost::Session) => list_over_http(http, caller).await,
        listed => listed,
    }
    .map(|(listing, era)| ToolSet::new(listing, era, now()))
    .map_err(|lost| match lost {
        Lost::Session => UpstreamError::Status(404),
        Lost::Other(error) => error,
    })
}

enum Lost {
    Session,
    Other(UpstreamError),
}

impl From<UpstreamError> for Lost {
    fn from(error: UpstreamError) -> Self {
        Self::Other(error)
    }
}

async fn list_over_http(http: &HttpUpstream, caller: Caller<'_>) -> Result<(Listing, Era), Lost> {
    let manner = http.manner(caller, &Partition::Service).await?;
    let era = manner.era();
    let (mut listing, mut cursor) = (Listing::default(), None);
    loop {
        let id = http.id();
        let body = wire::request(id, Method::ToolsList, params(era, id, cursor, Vec::new()));
        let told = http.ask(caller, &Partition::Service, &manner, id, Method::ToolsList, body).await?;
        if told.status == 404 && http.lose(&Partition::Service, &manner).await {
            return Err(Lost::Session);
        }
        http.note_era(&manner, told.status, told.answer.as_ref());
        let Some(answer) = told.answer else { return Err(UpstreamError::Status(told.status).into()) };
        cursor = page(&mut listing, answer)?;
        if cursor.is_none() {
            return Ok((listing, era));
        }
    }
}

/// Reads an upstream's list from a process.
pub(crate) async fn over_stdio(
    stdio: &StdioUpstream,
    caller: Caller<'_>,
    now: impl Fn() -> Timestamp,
) -> Result<ToolSet, UpstreamError> {
    let running = stdio.running(&Partition::Service, None).await?;
    let (mut listing, mut cursor) = (Listing::default(), None);
    loop {
        let made = caller.make(&Target::Stdio { arguments: Digest::of(b"") })?;
        let body =
            |id| wire::request(id, Method::ToolsList, params(running.era, id, cursor.take(), made.meta));
        let answered = running.process.ask(stdio.timeouts.handshake, body).await?;
        let answer = answered.and_then(|answered| answered.answer);
        let answer = answer.ok_or_else(|| UpstreamError::protocol("`tools/list` was not answered"))?;
        cursor = page(&mut listing, answer)?;
        if cursor.is_none() {
            return Ok(ToolSet::new(listing, running.era, now()));
        }
    }
}

fn params(era: Era, id: u64, cursor: Option<String>, extra: Vec<(String, placet_json::Value)>) -> Object {
    let mut params = Object::new();
    if let Some(cursor) = cursor {
        params.insert("cursor", cursor);
    }
    let mut meta = wire::meta(era, id, None);
    meta.extend(extra);
    if !meta.is_empty() {
        params.insert("_meta", meta);
    }
    params
}

fn page(listing: &mut Listing, answer: Result<Object, RpcError>) -> Result<Option<String>, UpstreamError> {
    let result = answer
        .map_err(|error| UpstreamError::protocol(format!("`tools/list` was refused ({})", error.code)))?;
    listing.page(result).map_err(|bad| UpstreamError::protocol(bad.to_string()))
}
