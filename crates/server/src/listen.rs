//! A listener with bounds: connections, header bytes, header time. Bodies are bounded where they are read.

use std::{future::Future, sync::Arc, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use tokio::{net::TcpListener, sync::Semaphore};

/// The most headers of a request; hyper's own default.
const MAX_HEADERS: usize = 100;
/// How long open requests may go on after shutdown began.
const GRACE: Duration = Duration::from_secs(10);
/// How long to wait before accepting again where the system is out of file descriptors.
const BACKOFF: Duration = Duration::from_millis(100);

/// What a listener lets in.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// The most bytes of a request's line and headers (beyond: 431); at least 8 KiB.
    pub header_bytes: usize,
    /// How long a connection may take for a request's headers, idle time included.
    pub header_read: Duration,
    /// The most connections at once; further ones wait in the kernel's queue.
    pub connections: usize,
}

/// Serves `app` until `shutdown` resolves, then lets open requests finish for a while.
pub async fn serve(listener: TcpListener, bounds: Bounds, app: Router, shutdown: impl Future<Output = ()>) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(bounds.header_read)
        .max_headers(MAX_HEADERS)
        .max_buf_size(bounds.header_bytes.max(8192))
        .half_close(false);
    let (slots, graceful) = (Arc::new(Semaphore::new(bounds.connections)), GracefulShutdown::new());
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let accept = async {
            let slot = Arc::clone(&slots).acquire_owned().await.ok()?;
            Some((slot, listener.accept().await))
        };
        let accepted = tokio::select! {
            accepted = accept => accepted,
            () = &mut shutdown => break,
        };
        let (slot, stream) = match accepted {
            Some((slot, Ok((stream, _)))) => (slot, stream),
            Some((_, Err(error))) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(BACKOFF).await;
                continue;
            }
            None => break,
        };
        // Small answers leave at once.
        drop(stream.set_nodelay(true));
        let connection = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(app.clone()));
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended");
            }
            drop(slot);
        });
    }
    drop(listener);
    drop(tokio::time::timeout(GRACE, graceful.shutdown()).await);
}

/// Serves `app`, whose connections may become WebSockets, until `shutdown` resolves. Those end with it: their clients
/// come back and fetch everything.
pub async fn serve_sockets(
    listener: TcpListener,
    bounds: Bounds,
    app: Router,
    shutdown: impl Future<Output = ()>,
) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(bounds.header_read)
        .max_headers(MAX_HEADERS)
        .max_buf_size(bounds.header_bytes.max(8192))
        .half_close(false);
    let slots = Arc::new(Semaphore::new(bounds.connections));
    let mut connections = tokio::task::JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let accept = async {
            let slot = Arc::clone(&slots).acquire_owned().await.ok()?;
            Some((slot, listener.accept().await))
        };
        let (slot, stream) = tokio::select! {
            accepted = accept => match accepted {
                Some((slot, Ok((stream, _)))) => (slot, stream),
                Some((_, Err(error))) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(BACKOFF).await;
                    continue;
                }
                None => break,
            },
            Some(_) = connections.join_next() => continue,
            () = &mut shutdown => break,
        };
        drop(stream.set_nodelay(true));
        let service = TowerToHyperService::new(app.clone());
        let connection = http.serve_connection(TokioIo::new(stream), service).with_upgrades();
        connections.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended");
            }
            drop(slot);
        });
    }
}
