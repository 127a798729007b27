//! A file that events are added to, a line each. It is opened anew for each batch, so whoever rotates it moves it away.

use std::{
    fs::{self, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use super::sink::Failure;

/// How far back the end of the last whole line is looked for: more than the longest event.
const MAX_LINE: u64 = 4 << 20;

/// The file.
pub(super) struct File {
    path: PathBuf,
}

impl File {
    pub(super) fn open(path: &Path) -> Result<Self, String> {
        match fs::metadata(path) {
            Ok(there) if !there.is_file() => Err(format!("`{}` is no file", path.display())),
            Ok(_) => Ok(Self { path: path.to_owned() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self { path: path.to_owned() }),
            Err(error) => Err(format!("`{}`: {error}", path.display())),
        }
    }

    /// Adds lines; they are on disk after this.
    pub(super) async fn add(&self, lines: Vec<u8>) -> Result<(), Failure> {
        let path = self.path.clone();
        let added = tokio::task::spawn_blocking(move || {
            add(&path, &lines).map_err(|error| Failure::of(format!("`{}`: {error}", path.display())))
        });
        added.await.map_err(|error| Failure::of(error.to_string()))?
    }
}

fn add(path: &Path, lines: &[u8]) -> io::Result<()> {
    let fresh = !path.exists();
    let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
    // A line that a crash cut is no line: it comes again as a whole.
    let length = file.metadata()?.len();
    let whole = whole(&mut file, length)?;
    if whole < length {
        file.set_len(whole)?;
    }
    if let Err(error) = file.write_all(lines) {
        // What a full disk left half is taken back, as far as it can be.
        let _best_effort = file.set_len(whole);
        return Err(error);
    }
    file.sync_data()?;
    if let (true, Some(dir)) = (fresh, path.parent().filter(|dir| !dir.as_os_str().is_empty())) {
        fs::File::open(dir)?.sync_all()?;
    }
    Ok(())
}

/// Where the last whole line ends.
fn whole(file: &mut fs::File, length: u64) -> io::Result<u64> {
    let from = length.saturating_sub(MAX_LINE);
    let mut last = [0_u8; 1];
    if length == 0 {
        return Ok(0);
    }
    file.seek(SeekFrom::Start(length.saturating_sub(1)))?;
    file.read_exact(&mut last)?;
    if last == *b"\n" {
        return Ok(length);
    }
    file.seek(SeekFrom::Start(from))?;
    let mut tail = Vec::new();
    file.take(MAX_LINE).read_to_end(&mut tail)?;
    match tail.iter().rposition(|byte| *byte == b'\n') {
        Some(at) => Ok(from.saturating_add(u64::try_from(at).unwrap_or(u64::MAX)).saturating_add(1)),
        None if from == 0 => Ok(0),
        None => {
            Err(io::Error::new(io::ErrorKind::InvalidData, "it doesn't consist of lines; name another file"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_was_cut_goes_and_whole_ones_stay() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events");
        add(&path, b"{\"a\":1}\n").unwrap();
        fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"a\":2").unwrap();
        add(&path, b"{\"a\":2}\n{\"a\":3}\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "{\"a\":1}\n{\"a\":2}\n{\"a\":3}\n");
        fs::write(&path, b"cut").unwrap();
        add(&path, b"x\n").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"x\n");
        // Whoever rotates it moves it away.
        fs::rename(&path, dir.path().join("events.1")).unwrap();
        add(&path, b"y\n").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"y\n");
    }
}
