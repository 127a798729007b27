//! Two releases asked about the ledger of this server: which of its decisions they would make otherwise.
//!
//! The answer is told as it comes, in lines of JSON, since a long ledger takes minutes: how far the reading is, and at
//! last the comparison. One reading at a time, on half of the processors; it ends when nobody listens any more.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    body::Body,
    extract::{RawQuery, State},
    response::Response,
};
use bytes::Bytes;
use http::{HeaderValue, header};
use placet_audit::Scope;
use placet_core::TenantId;
use placet_json::{Value, object};
use placet_policy::{MAX_ARCHIVE, Release};
use tokio::sync::mpsc::{Sender, channel};

use super::{Admin, Caller, body::named, error::ApiError, read::Query, rights};

/// Lines that wait for a slow reader.
const WAITING: usize = 16;
/// How often is told how far the reading is.
const EVERY: Duration = Duration::from_millis(500);

/// `POST /v1/releases/diff?a_bytes=&from=&to=&since_ms=&until_ms=&tenant=`: the archive of A, of so many bytes, and behind
/// it the archive of B. Nothing of them is kept.
pub(super) async fn diff(
    State(admin): State<Arc<Admin>>,
    Caller(by): Caller,
    RawQuery(query): RawQuery,
    archives: Bytes,
) -> Result<Response, ApiError> {
    rights::operator(&by)?;
    let mut query = Query::parse(query.as_deref())?;
    let first = query.number("a_bytes")?.and_then(|bytes| usize::try_from(bytes).ok());
    let tenant = query.take("tenant").map(|tenant| named(&tenant, "tenant")).transpose()?.map(TenantId::from);
    let scope = Scope {
        from: query.number("from")?,
        to: query.number("to")?,
        since_ms: query.number("since_ms")?,
        until_ms: query.number("until_ms")?,
        tenant,
        decision: None,
    };
    query.finish()?;
    let first = first.filter(|first| *first > 0 && *first < archives.len()).ok_or_else(|| {
        ApiError::malformed(
            "`a_bytes` doesn't say where the first archive ends",
            "send both archives, and the length of the first",
        )
    })?;
    let (a, b) = (archives.slice(..first), archives.slice(first..));
    let load = |bytes: &Bytes, name: &str| {
        let refused = |why: String| {
            ApiError::malformed(
                format!("{name} is no release: {why}"),
                "send what `placet release build` wrote",
            )
        };
        if bytes.len() > MAX_ARCHIVE {
            return Err(refused(format!("it is longer than {MAX_ARCHIVE} bytes")));
        }
        // The interpreter, as in a comparison beside the server.
        Release::from_archive(bytes).map(Release::interpreted).map_err(|error| refused(error.to_string()))
    };
    let both = move || Ok::<_, ApiError>((load(&a, "A")?, load(&b, "B")?));
    let loaded = tokio::task::spawn_blocking(both).await;
    let (a, b) = loaded.map_err(|_| ApiError::down("the releases could not be loaded"))??;
    let (lines, mut told) = channel(WAITING);
    let books = Arc::clone(&admin.books);
    tokio::task::spawn_blocking(move || {
        let mut last = Instant::now();
        let mut go_on = |at: u64, of: u64| {
            if last.elapsed() < EVERY {
                return !lines.is_closed();
            }
            last = Instant::now();
            say(&lines, object! { "at" => at, "of" => of }.into())
        };
        let line = match books.compare(&scope, &a, &b, &mut go_on) {
            Ok(Some(diff)) => object! { "ledger" => diff.to_value() },
            Ok(None) => return,
            Err(error) => object! { "error" => ApiError::down(error).to_value() },
        };
        say(&lines, line.into());
    });
    let stream = futures::stream::poll_fn(move |context| told.poll_recv(context));
    let mut response = Response::new(Body::from_stream(stream));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    Ok(response)
}

/// Whether somebody still listens.
fn say(lines: &Sender<Result<Bytes, std::convert::Infallible>>, line: Value) -> bool {
    let mut bytes = line.to_bytes();
    bytes.push(b'\n');
    lines.blocking_send(Ok(bytes.into())).is_ok()
}
