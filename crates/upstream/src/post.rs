//! One HTTP request and its answer, JSON or a stream of events, read message by message within bounds.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::FutureExt;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use placet_mcp::sse::{Decoder, SseError};

use crate::dial::Line;
use crate::pool::{Lane, Pool};

/// How long an upstream may take to end a stream after its last message before the connection is given up.
const LINGER: Duration = Duration::from_millis(500);
/// A stream of events may be this many times as long as one answer: progress and logs come on it, too.
const STREAM: usize = 4;

/// Why an answer can't be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Broken {
    #[error("the connection broke")]
    Connection,
    #[error("the answer is longer than allowed")]
    TooLong,
    #[error("the answer is neither JSON nor an event stream")]
    Kind,
    #[error("the answer is compressed, which was not asked for")]
    Coding,
}

/// An answer whose head has come.
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    /// What a legacy server calls its session.
    pub(crate) session: Option<String>,
    headers: HeaderMap,
    body: Incoming,
    kind: Kind,
    bound: usize,
    read: usize,
    ended: bool,
}

enum Kind {
    /// One message.
    Json,
    /// One message an event.
    Events(Box<Decoder>, VecDeque<String>),
    /// No message; only the status counts.
    Other,
}

/// Sends a request and waits for the head of its answer. `bound` is the longest answer that is taken.
pub(crate) async fn send(
    line: &mut Line,
    request: Request<Full<Bytes>>,
    bound: usize,
) -> Result<Reply, Broken> {
    let response = line.sender.send_request(request).await.map_err(|_| Broken::Connection)?;
    let (head, body) = response.into_parts();
    let text = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
    let kind = match text(CONTENT_TYPE.as_str()).and_then(|kind| kind.split(';').next()).map(str::trim) {
        Some(kind) if kind.eq_ignore_ascii_case("application/json") => Kind::Json,
        // The frame around the data takes a few bytes more.
        Some(kind) if kind.eq_ignore_ascii_case("text/event-stream") => {
            Kind::Events(Box::new(Decoder::new(bound.saturating_add(1024))), VecDeque::new())
        }
        _ => Kind::Other,
    };
    if text(CONTENT_ENCODING.as_str()).is_some_and(|coding| !coding.eq_ignore_ascii_case("identity")) {
        return Err(Broken::Coding);
    }
    let session = text("mcp-session-id").map(str::to_owned);
    Ok(Reply {
        status: head.status,
        session,
        headers: head.headers,
        body,
        kind,
        bound,
        read: 0,
        ended: false,
    })
}

impl Reply {
    /// The next message of the answer, `None` at its end.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Broken> {
        match self.kind {
            Kind::Json => self.whole(self.bound).await.map(|all| (!all.is_empty()).then_some(all)),
            Kind::Events(..) => self.event().await,
            Kind::Other => Ok(None),
        }
    }

    /// Text that an answer holds beside its messages and that could betray something: header values.
    pub(crate) fn header_texts(&self) -> impl Iterator<Item = &str> {
        self.headers.values().filter_map(|value| std::str::from_utf8(value.as_bytes()).ok())
    }

    /// The value of a header that stands there once and is text.
    pub(crate) fn header_text(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter();
        match (values.next(), values.next()) {
            (Some(value), None) => value.to_str().ok(),
            (_, _) => None,
        }
    }

    /// Where a stream that ended early can be taken up again, and how long the server asks to wait before that.
    pub(crate) fn resume_point(&self) -> Option<(String, Option<Duration>)> {
        let Kind::Events(decoder, _) = &self.kind else { return None };
        Some((decoder.last_id()?.to_owned(), decoder.retry_ms().map(Duration::from_millis)))
    }

    /// The type of the body without its parameters, in lower case; empty where it doesn't say.
    pub(crate) fn content_type(&self) -> String {
        let kind = self.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
    }

    /// Whether the answer is a stream of events.
    pub(crate) fn is_stream(&self) -> bool {
        matches!(self.kind, Kind::Events(..))
    }

    /// Whether the answer can hold messages at all.
    pub(crate) fn has_messages(&self) -> bool {
        !matches!(self.kind, Kind::Other)
    }

    /// What is left of the body, up to `bound` bytes.
    pub(crate) async fn whole(&mut self, bound: usize) -> Result<Bytes, Broken> {
        let Some(mut first) = self.frame(bound).await? else { return Ok(Bytes::new()) };
        let Some(second) = self.frame(bound).await? else { return Ok(first) };
        let mut all = BytesMut::from(std::mem::take(&mut first));
        all.extend_from_slice(&second);
        while let Some(frame) = self.frame(bound).await? {
            all.extend_from_slice(&frame);
        }
        Ok(all.freeze())
    }

    async fn event(&mut self) -> Result<Option<Bytes>, Broken> {
        loop {
            if let Kind::Events(_, ready) = &mut self.kind
                && let Some(data) = ready.pop_front()
            {
                return Ok(Some(data.into()));
            }
            let Some(frame) = self.frame(self.bound.saturating_mul(STREAM)).await? else { return Ok(None) };
            let Kind::Events(decoder, ready) = &mut self.kind else { return Ok(None) };
            let events = decoder.push(&frame).map_err(|error| match error {
                SseError::TooLong => Broken::TooLong,
                SseError::Utf8 | _ => Broken::Kind,
            })?;
            // Events without data prime a stream for resuming; they are no messages.
            ready.extend(events.into_iter().map(|event| event.data).filter(|data| !data.is_empty()));
        }
    }

    async fn frame(&mut self, bound: usize) -> Result<Option<Bytes>, Broken> {
        while !self.ended {
            match self.body.frame().await {
                None => self.ended = true,
                Some(Err(_)) => return Err(Broken::Connection),
                Some(Ok(frame)) => {
                    let Ok(data) = frame.into_data() else { continue };
                    self.read = self.read.saturating_add(data.len());
                    if self.read > bound {
                        return Err(Broken::TooLong);
                    }
                    if !data.is_empty() {
                        return Ok(Some(data));
                    }
                }
            }
        }
        Ok(None)
    }

    /// Gives the connection back once the rest of the answer has come; waiting for that holds up nobody.
    pub(crate) fn end(mut self, lane: Lane, pool: &Arc<Pool>) {
        match self.rest().now_or_never() {
            Some(true) => pool.give(lane),
            Some(false) => drop(lane),
            None => {
                let pool = Arc::clone(pool);
                tokio::spawn(async move {
                    if let Ok(true) = tokio::time::timeout(LINGER, self.rest()).await {
                        pool.give(lane);
                    }
                });
            }
        }
    }

    async fn rest(&mut self) -> bool {
        loop {
            match self.frame(self.bound.saturating_mul(STREAM)).await {
                Ok(Some(_)) => {}
                Ok(None) => return true,
                Err(_) => return false,
            }
        }
    }
}
