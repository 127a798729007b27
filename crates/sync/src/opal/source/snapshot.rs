//! The document as it was last, kept in a file: pushed updates survive a restart.

use placet_json::{Value, parse};

use super::{Backoff, Host, LIMITS, SourceSettings, sleep};

/// The document that was kept last: by the hosts together, else in the file here.
pub(super) async fn newest(settings: &SourceSettings, host: &dyn Host) -> Option<Value> {
    let mut backoff = Backoff::default();
    loop {
        match host.kept(&settings.name).await {
            Ok(Some(kept)) => return read_kept(&kept),
            Ok(None) => return read_snapshot(&settings.snapshot),
            Err(error) => {
                tracing::error!(source = %settings.name, error, "what was kept of the source can't be read");
                sleep(backoff.next()).await;
            }
        }
    }
}

fn read_snapshot(path: &std::path::Path) -> Option<Value> {
    read_kept(&std::fs::read(path).ok()?)
}

fn read_kept(bytes: &[u8]) -> Option<Value> {
    parse(bytes, &LIMITS).ok().filter(|value| value.as_object().is_some())
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
