//! The ledger as a transparency log (C2SP tlog-tiles): `/ledger/TREE/checkpoint` and `/ledger/TREE/tile/…` on the agents'
//! listener, for anybody. Hashes only: entry bundles would publish the records, so there are none.

use std::{io, path::PathBuf, sync::Arc};

use axum::{
    Router,
    extract::State,
    response::{IntoResponse, Response},
    routing::get,
};
use http::{HeaderMap, StatusCode, Uri, header};
use placet_ledger::{checkpoint::Checkpoint, frame::is_tree_name, tiles::Tile};
use placet_store::TreeReader;
use tokio::sync::Semaphore;

use crate::{admin::is_host, metrics::Metrics};

/// Reads of the disk at once; a tile of a high level takes 256 of them.
const READS: usize = 16;

struct Log {
    data: PathBuf,
    /// Whether only what witnesses cosigned is shown.
    witnessed: bool,
    reads: Semaphore,
    /// The one host that it is asked for, so that no other page reads it through a name of its own.
    host: String,
    metrics: Arc<Metrics>,
}

/// The routes, for the trees below `data`. `witnessed`: of each tree the newest checkpoint is shown that enough witnesses
/// cosigned, not the newest.
pub(crate) fn routes(data: PathBuf, witnessed: bool, host: String, metrics: Arc<Metrics>) -> Router {
    let log = Arc::new(Log { data, witnessed, reads: Semaphore::new(READS), host, metrics });
    Router::new().route("/ledger/{*rest}", get(serve)).with_state(log)
}

async fn serve(State(log): State<Arc<Log>>, uri: Uri, headers: HeaderMap) -> Response {
    if !is_host(&headers, &uri, &log.host) {
        log.metrics.refused("host");
        return StatusCode::MISDIRECTED_REQUEST.into_response();
    }
    let Some((tree, what)) = wanted(uri.path()) else { return missing() };
    let read = {
        let Ok(_slot) = log.reads.acquire().await else { return missing() };
        let log = Arc::clone(&log);
        tokio::task::spawn_blocking(move || log.read(&tree, what)).await
    };
    match read {
        Ok(Ok(Some(Found::Checkpoint(note)))) => {
            let kind = (header::CONTENT_TYPE, "text/plain; charset=utf-8");
            ([kind, (header::CACHE_CONTROL, "no-cache")], note).into_response()
        }
        Ok(Ok(Some(Found::Tile(bytes)))) => {
            let kind = (header::CONTENT_TYPE, "application/octet-stream");
            let keep = (header::CACHE_CONTROL, "public, max-age=31536000, immutable");
            ([kind, keep], bytes).into_response()
        }
        Ok(Ok(None)) => missing(),
        Ok(Err(error)) => unreadable(&error),
        Err(error) => unreadable(&error),
    }
}

#[derive(Clone, Copy)]
enum Wanted {
    Checkpoint,
    Tile(Tile),
}

enum Found {
    Checkpoint(Vec<u8>),
    Tile(Vec<u8>),
}

impl Log {
    fn read(&self, tree: &str, what: Wanted) -> io::Result<Option<Found>> {
        let reader = match TreeReader::open(&self.data, tree) {
            Ok(reader) => reader,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let note =
            if self.witnessed { placet_store::cosigned(&self.data, tree)? } else { reader.checkpoint()? };
        let Some(note) = note else { return Ok(None) };
        let tile = match what {
            Wanted::Checkpoint => return Ok(Some(Found::Checkpoint(note))),
            Wanted::Tile(tile) => tile,
        };
        // A tile beyond what is signed isn't part of the log yet.
        let size = size_of(&note).ok_or_else(|| io::Error::other("the checkpoint is damaged"))?;
        if !tile.exists_in(size) {
            return Ok(None);
        }
        Ok(Some(Found::Tile(tile.encode(&reader)?)))
    }
}

fn size_of(note: &[u8]) -> Option<u64> {
    let (text, _) = std::str::from_utf8(note).ok()?.split_once("\n\n")?;
    Some(Checkpoint::parse(&format!("{text}\n"))?.size)
}

/// The tree and what of it; a tree's name may hold slashes, encoded or not.
fn wanted(path: &str) -> Option<(String, Wanted)> {
    let path = path.strip_prefix("/ledger/")?;
    let (tree, what) = match path.strip_suffix("/checkpoint") {
        Some(tree) => (tree, Wanted::Checkpoint),
        None => {
            let (tree, tile) = path.rsplit_once("/tile/")?;
            (tree, Wanted::Tile(Tile::parse(&format!("tile/{tile}"))?))
        }
    };
    let tree = percent_encoding::percent_decode_str(tree).decode_utf8().ok()?.into_owned();
    is_tree_name(&tree).then_some((tree, what))
}

fn missing() -> Response {
    (StatusCode::NOT_FOUND, "there is no such log or tile\n").into_response()
}

fn unreadable(error: &dyn std::fmt::Display) -> Response {
    tracing::error!(%error, "the ledger's tree can't be read");
    (StatusCode::INTERNAL_SERVER_ERROR, "the log can't be read now\n").into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_a_tree_and_a_checkpoint_or_hash_tile() {
        let of = |path| {
            wanted(path).map(|(tree, what)| match what {
                Wanted::Checkpoint => format!("{tree} checkpoint"),
                Wanted::Tile(tile) => format!("{tree} {}", tile.path()),
            })
        };
        assert_eq!(of("/ledger/acme/checkpoint").as_deref(), Some("acme checkpoint"));
        assert_eq!(of("/ledger/a%2Fb/checkpoint").as_deref(), Some("a/b checkpoint"));
        assert_eq!(of("/ledger/a/b/tile/0/x001/234.p/7").as_deref(), Some("a/b tile/0/x001/234.p/7"));
        for bad in [
            "/ledger/checkpoint",
            "/ledger//checkpoint",
            "/ledger/acme",
            "/ledger/acme/tile/entries/000",
            "/ledger/acme/tile/0/0",
            "/ledger/a%00b/checkpoint",
            "/ledger/a b/checkpoint",
            "/other/acme/checkpoint",
        ] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }
}
