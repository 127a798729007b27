//! The document as it was last, kept in a file: pushed updates survive a restart.

use placet_json::{Value, parse};

use super::LIMITS;

pub(super) fn read_snapshot(path: &std::path::Path) -> Option<Value> {
    let bytes = std::fs::read(path).ok()?;
    parse(&bytes, &LIMITS).ok().filter(|value| value.as_object().is_some())
}

/// Before the facts: a restart in between then finds a document that is no older than they are.
pub(super) async fn write_snapshot(path: &std::path::Path, document: &Value) -> Result<(), String> {
    let (path, bytes) = (path.to_owned(), document.to_bytes());
    let write = move || -> std::io::Result<()> {
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir)?;
        }
        let fresh = path.with_extension("partial");
        let mut file = {
            use std::os::unix::fs::OpenOptionsExt as _;
            std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?
        };
        std::io::Write::write_all(&mut file, &bytes)?;
        file.sync_data()?;
        std::fs::rename(&fresh, &path)
    };
    tokio::task::spawn_blocking(write)
        .await
        .map_err(|error| error.to_string())?
        .map_err(|error| error.to_string())
}
