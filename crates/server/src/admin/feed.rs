//! The change feed: transactions in the order of the journal, from any position on, without gaps.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{RawQuery, State},
    response::Response,
};
use http::StatusCode;
use placet_core::TenantId;
use placet_json::{Value, object};
use tokio::sync::{Semaphore, watch};

use super::{
    Admin, Caller,
    body::named,
    door::Principal,
    error::{ApiError, json},
    read::{Query, entry},
    rights,
};
use crate::books::{Changes, Whose};

/// The longest page, in transactions; the usual one.
const PAGE: (usize, usize) = (1000, 100);
/// The longest wait for a change, in milliseconds.
const MAX_WAIT_MS: u64 = 30_000;
/// Readers who wait at once: less than the listener's connections, so that others get through.
const WAITERS: usize = 32;

/// Places for those who wait.
#[derive(Debug)]
pub struct Waiters {
    places: Semaphore,
    ended: watch::Sender<bool>,
}

impl Default for Waiters {
    fn default() -> Self {
        Self { places: Semaphore::new(WAITERS), ended: watch::Sender::new(false) }
    }
}

impl Waiters {
    /// Nobody waits any more: the server stops, and who waits is answered now.
    pub fn end(&self) {
        self.ended.send_replace(true);
    }
}

/// `GET /v1/facts/changes?from=&tenant=&limit=&wait_ms=`: transactions after the position `from`, the oldest first, and
/// in `next` the position to go on from. With a tenant, the organisation's and that tenant's; a person sees their
/// tenant's. Without a change the answer comes after `wait_ms`.
pub(super) async fn changes(
    State(admin): State<Arc<Admin>>,
    Caller(by): Caller,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let mut query = Query::parse(query.as_deref())?;
    let tenant = query.take("tenant").map(|tenant| named(&tenant, "tenant")).transpose()?.map(TenantId::from);
    let (from, limit, wait) = (query.number("from")?, query.number("limit")?, query.number("wait_ms")?);
    query.finish()?;
    let last = admin.books.last();
    let from = from.unwrap_or(0);
    if from > last {
        return Err(super::read::to_come(from, last));
    }
    let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(PAGE.1).clamp(1, PAGE.0);
    let wait = wait.unwrap_or(0);
    if wait > MAX_WAIT_MS {
        return Err(ApiError::malformed(
            format!("`wait_ms` is longer than {MAX_WAIT_MS}"),
            "ask again with the `next` of the answer",
        ));
    }
    // Subscribed before the first look, so that nothing is published unseen between look and wait.
    let mut moved = admin.books.live().changes();
    let whose = whose(&admin, &by, tenant.as_ref())?;
    let mut page = look(&admin, whose, from, limit).await?;
    if wait > 0 && page.entries.is_empty() && !page.more {
        let Ok(_place) = admin.waiters.places.try_acquire() else {
            return Err(ApiError::new(
                StatusCode::TOO_MANY_REQUESTS,
                "busy",
                "too many readers wait for changes",
                "ask without `wait_ms`, or wait a moment",
            ));
        };
        let waited = async {
            while page.entries.is_empty() && !page.more {
                if moved.changed().await.is_err() {
                    return Ok(());
                }
                // Rights may have ended meanwhile.
                let whose = self::whose(&admin, &by, tenant.as_ref())?;
                page = look(&admin, whose, page.next, limit).await?;
            }
            Ok::<(), ApiError>(())
        };
        let mut ended = admin.waiters.ended.subscribe();
        tokio::select! {
            waited = tokio::time::timeout(Duration::from_millis(wait), waited) => {
                if let Ok(result) = waited {
                    result?;
                }
            }
            _ = ended.wait_for(|ended| *ended) => {}
        }
        drop(self::whose(&admin, &by, tenant.as_ref())?);
    }
    let Changes { entries, next, more } = page;
    let entries = Value::Array(entries.into_iter().map(entry).collect());
    Ok(json(StatusCode::OK, &object! { "changes" => entries, "next" => next, "more" => more }.into()))
}

fn whose(admin: &Admin, by: &Principal, tenant: Option<&TenantId>) -> Result<Whose, ApiError> {
    match (by, tenant) {
        (Principal::Operator, None) => Ok(Whose::Everybody),
        (Principal::Human(_), None) => rights::operator(by).map(|()| Whose::Everybody),
        (_, Some(tenant)) => {
            rights::inside(by, &admin.books.live().world(), tenant, admin.books.now())?;
            Ok(match by {
                Principal::Operator => Whose::With(tenant.clone()),
                // The organisation's people and agents are for operators.
                Principal::Human(_) => Whose::Tenant(tenant.clone()),
            })
        }
    }
}

async fn look(admin: &Arc<Admin>, whose: Whose, from: u64, limit: usize) -> Result<Changes, ApiError> {
    let books = Arc::clone(&admin.books);
    let page = tokio::task::spawn_blocking(move || books.changes(&whose, from, limit)).await;
    page.map_err(|_| ApiError::down("the changes could not be read"))?.map_err(ApiError::down)
}
