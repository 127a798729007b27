//! Connections to one HTTP upstream, kept for the tenant and credential that they were opened for.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use crate::dial::{Dialer, Line};
use crate::{Partition, UpstreamError};

/// How long a connection may take to be ready again after an answer; it is at once, or something is wrong with it.
const SETTLE: Duration = Duration::from_millis(100);

/// Connections of one upstream.
pub(crate) struct Pool {
    dialer: Dialer,
    idle: Mutex<HashMap<Partition, Vec<Idle>>>,
    /// One permit for each open connection, idle ones included.
    open: Arc<Semaphore>,
    /// Who waits for a permit: then none is kept idle.
    waiting: AtomicUsize,
    rest: Duration,
    wait: Duration,
}

struct Idle {
    lane: Lane,
    since: Instant,
}

/// A connection of one partition.
pub(crate) struct Lane {
    pub(crate) line: Line,
    partition: Partition,
    _open: OwnedSemaphorePermit,
}

struct Waiting<'a>(&'a AtomicUsize);

impl Pool {
    /// `most` connections, closed after `rest` without use; `wait` is how long to wait for a free one.
    pub(crate) fn new(dialer: Dialer, most: usize, rest: Duration, wait: Duration) -> Self {
        let open = Arc::new(Semaphore::new(most.clamp(1, Semaphore::MAX_PERMITS)));
        Self { dialer, idle: Mutex::default(), open, waiting: AtomicUsize::new(0), rest, wait }
    }

    /// A connection that is ready for a request: one of this partition's own, or a new one.
    pub(crate) async fn take(&self, partition: &Partition) -> Result<Lane, UpstreamError> {
        while let Some(mut lane) = self.pop(partition) {
            // A connection that the upstream closed says so here, before anything was sent.
            if let Ok(Ok(())) = timeout(SETTLE, lane.line.sender.ready()).await {
                return Ok(lane);
            }
        }
        let permit = self.permit().await?;
        let line = self.dialer.dial().await?;
        Ok(Lane { line, partition: partition.clone(), _open: permit })
    }

    /// Takes back a connection whose answer was read to its end.
    pub(crate) fn give(&self, lane: Lane) {
        if lane.line.sender.is_closed() || self.waiting.load(Ordering::Acquire) > 0 {
            return;
        }
        let idle = Idle { since: Instant::now(), lane };
        let mut all = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(idle.lane.partition.clone()).or_default().push(idle);
    }

    /// Closes what rested too long or was closed from the other side.
    pub(crate) fn sweep(&self) {
        let mut all = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, lanes| {
            lanes.retain(|idle| idle.since.elapsed() < self.rest && !idle.lane.line.sender.is_closed());
            !lanes.is_empty()
        });
    }

    fn pop(&self, partition: &Partition) -> Option<Lane> {
        let mut all = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let lanes = all.get_mut(partition)?;
        while let Some(idle) = lanes.pop() {
            if idle.since.elapsed() < self.rest && !idle.lane.line.sender.is_closed() {
                return Some(idle.lane);
            }
        }
        all.remove(partition);
        None
    }

    async fn permit(&self) -> Result<OwnedSemaphorePermit, UpstreamError> {
        if let Ok(permit) = Arc::clone(&self.open).try_acquire_owned() {
            return Ok(permit);
        }
        self.evict();
        self.waiting.fetch_add(1, Ordering::AcqRel);
        let _waiting = Waiting(&self.waiting);
        match timeout(self.wait, Arc::clone(&self.open).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) | Err(_) => Err(UpstreamError::Busy("connections")),
        }
    }

    /// Closes the connection that was used longest ago, whosever it is.
    fn evict(&self) {
        let mut all = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        // Each partition's first is its oldest.
        let oldest = all
            .iter()
            .filter_map(|(partition, lanes)| Some((lanes.first()?.since, partition.clone())))
            .min_by_key(|(since, _)| *since);
        if let Some(lanes) = oldest.and_then(|(_, partition)| all.get_mut(&partition)) {
            drop(lanes.remove(0));
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
