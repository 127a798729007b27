//! A data directory as one archive, and back. A restore leaves a signed record of what may be missing.
//!
//! The archive is a tar of the directory's files, checkpoints before the journal that they sign, with `manifest.json` at
//! its end. Left out: the server's keys unless asked for, and what is made again by itself (states, search index).

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, BufReader, BufWriter, Read, Seek as _, Write},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Component, Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use aws_lc_rs::digest::{Context, SHA256};
use placet_core::{Digest, Timestamp};
use placet_json::{Limits, Value, object};
use placet_ledger::{
    checkpoint::{Checkpoint, SigningKey, origin},
    note,
    segment::Frames,
};
use placet_record::{Gap, GapTree, Kind};
use placet_store::{Addition, Notary, TreeReader};
use tar::{Archive, Builder, EntryType, Header};

use crate::{VerifyReport, organisation, verify};

/// The tree of the records that belong to no tenant.
pub(crate) const ORGANISATION: &str = "organisation";
const MANIFEST: &str = "manifest.json";
/// Names what of the journal is in an archive.
const ARCHIVED: &str = "archived";
/// Made again by itself, or only of the moment.
const LEFT_OUT: [&str; 4] = ["lock", "state", "used", "lost+found"];
const INDEX: &str = "index.sqlite";
const KEYS: &str = "keys";
/// Files of an archive at most.
const MAX_FILES: usize = 1_000_000;
/// How often the segment that is being written is read until it is whole.
const TRIES: u32 = 50;

/// Why there is no backup, or nothing was restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// A file.
    #[error("`{}`: {error}", .path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What it said.
        error: io::Error,
    },
    /// There is no journal.
    #[error("`{}` is no data directory: it has no `journal`", .0.display())]
    NoJournal(PathBuf),
    /// The journal's last segment isn't what was written.
    #[error("the journal is damaged: {0}")]
    Damaged(String),
    /// The archive isn't one that `backup` wrote, or was changed.
    #[error("`{}` is no backup: {what}", .path.display())]
    Archive {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// Something is there already.
    #[error("`{}` isn't empty; a restore never overwrites anything", .0.display())]
    Occupied(PathBuf),
    /// What it holds doesn't hold.
    #[error("the ledger in the backup does not hold:\n{0}")]
    Unsound(String),
    /// Nothing in it is signed.
    #[error("no checkpoint in the backup names its organisation: nothing was signed yet; name it")]
    Unsigned,
    /// The gap can't be recorded.
    #[error(transparent)]
    Append(#[from] placet_store::AppendError),
}

/// What was backed up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupReport {
    /// Files.
    pub files: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// The last record.
    pub last: u64,
    /// The archive's digest.
    pub digest: Digest,
}

/// Writes the archive `to`, which must not exist. A server may be using the directory.
pub fn backup(data: &Path, to: &Path, with_keys: bool) -> Result<BackupReport, BackupError> {
    if !data.join("journal").is_dir() {
        return Err(BackupError::NoJournal(data.to_owned()));
    }
    let file = File::options().write(true).create_new(true).mode(0o600).open(to).map_err(at(to))?;
    let packed = Packing::new(file).pack(data, with_keys, to);
    if packed.is_err() {
        fs::remove_file(to).map_err(at(to))?;
    }
    packed
}

struct Packing {
    out: Builder<Hashing<BufWriter<File>>>,
    files: Vec<Value>,
    bytes: u64,
}

impl Packing {
    fn new(file: File) -> Self {
        Self { out: Builder::new(Hashing::new(BufWriter::new(file))), files: Vec::new(), bytes: 0 }
    }

    fn pack(mut self, data: &Path, with_keys: bool, to: &Path) -> Result<BackupReport, BackupError> {
        // What is signed stays provable by hashes and records that are copied later.
        let tree = data.join("tree");
        let trees = if tree.is_dir() { files_below(&tree)? } else { Vec::new() };
        let (hashes, signed): (Vec<_>, Vec<_>) =
            trees.into_iter().partition(|path| path.file_name().is_some_and(|name| name == "hashes"));
        for path in signed.iter().chain(&hashes) {
            self.file(data, path)?;
        }
        let last = self.journal(data)?;
        for path in files_below(data)? {
            let below = path.strip_prefix(data).unwrap_or(&path);
            let first =
                below.components().next().and_then(|part| part.as_os_str().to_str()).unwrap_or_default();
            let skipped = LEFT_OUT.contains(&first)
                || first.starts_with(INDEX)
                || matches!(first, "tree" | "journal")
                || (first == KEYS && !with_keys)
                || path.extension().is_some_and(|end| end == "new");
            if !skipped {
                self.file(data, &path)?;
            }
        }
        let Self { mut out, files, bytes } = self;
        let count = u64::try_from(files.len()).unwrap_or(u64::MAX);
        let manifest = Value::from(object! { "files" => files, "last" => last, "v" => 1_u64 }).to_string();
        append(&mut out, MANIFEST, manifest.len(), manifest.as_bytes()).map_err(at(to))?;
        let hashing = out.into_inner().map_err(at(to))?;
        let (writer, digest) = hashing.end();
        let file = writer.into_inner().map_err(|error| at(to)(error.into_error()))?;
        file.sync_all().map_err(at(to))?;
        Ok(BackupReport { files: count, bytes, last, digest })
    }

    /// A file as long as it is now; what is added to it meanwhile isn't needed.
    fn file(&mut self, data: &Path, path: &Path) -> Result<(), BackupError> {
        let mut file = match File::open(path) {
            Ok(file) => file,
            // A temporary one that has its name by now.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(at(path)(error)),
        };
        let len = file.metadata().map_err(at(path))?.len();
        let mut context = Context::new(&SHA256);
        copy(&mut (&mut file).take(len), &mut |piece| {
            context.update(piece);
            Ok(())
        })
        .map_err(at(path))?;
        file.rewind().map_err(at(path))?;
        let name = path.strip_prefix(data).unwrap_or(path).to_string_lossy().into_owned();
        append(&mut self.out, &name, usize::try_from(len).unwrap_or(usize::MAX), file.take(len))
            .map_err(at(path))?;
        self.add(name, len, digest_of(context));
        Ok(())
    }

    fn add(&mut self, name: String, len: u64, digest: Digest) {
        self.bytes = self.bytes.saturating_add(len);
        let entry = object! { "bytes" => len, "path" => name, "sha256" => digest.to_string() };
        self.files.push(entry.into());
    }

    /// The segments; of the one that is being written what is whole. Answers the last record.
    fn journal(&mut self, data: &Path) -> Result<u64, BackupError> {
        let dir = data.join("journal");
        let mut segments = files_below(&dir)?;
        segments.retain(|path| path.extension().is_some_and(|end| end == "seg"));
        let Some((newest, before)) = segments.split_last() else { return Ok(0) };
        for path in before {
            self.file(data, path)?;
        }
        let (bytes, last) = whole(newest)?;
        let name = newest.strip_prefix(data).unwrap_or(newest).to_string_lossy().into_owned();
        append(&mut self.out, &name, bytes.len(), bytes.as_slice()).map_err(at(newest))?;
        self.add(name, u64::try_from(bytes.len()).unwrap_or(u64::MAX), Digest::of(&bytes));
        // After the segments: it names whatever was archived before they were copied.
        self.file(data, &dir.join(ARCHIVED))?;
        Ok(last)
    }
}

/// A segment up to the last whole entry. Reading while a batch is written may see a later one and not an earlier one, so
/// that is tried again.
fn whole(path: &Path) -> Result<(Vec<u8>, u64), BackupError> {
    let mut wrong = String::new();
    for _ in 0..TRIES {
        let mut bytes = fs::read(path).map_err(at(path))?;
        match end(&bytes) {
            Ok((offset, last)) => {
                bytes.truncate(offset);
                return Ok((bytes, last));
            }
            Err(why) => wrong = why,
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Err(BackupError::Damaged(wrong))
}

fn end(segment: &[u8]) -> Result<(usize, u64), String> {
    let (_, mut frames) = Frames::new(segment, true).map_err(|damage| damage.to_string())?;
    for frame in frames.by_ref() {
        frame.map_err(|damage| damage.to_string())?;
    }
    let tail = frames.tail().ok_or("its end can't be found")?;
    Ok((tail.offset, tail.next.saturating_sub(1)))
}

/// How a backup is restored.
#[derive(Debug)]
pub struct Restore<'a> {
    /// The archive.
    pub archive: &'a Path,
    /// The data directory, which must not exist or be empty.
    pub data: &'a Path,
    /// The key of the checkpoints. `None`: the one in the backup.
    pub key: Option<&'a Path>,
    /// The organisation. `None`: the one that the checkpoints name.
    pub organisation: Option<&'a str>,
    /// Who restores it.
    pub by: &'a str,
    /// Why.
    pub why: &'a str,
    /// The wall clock, Unix ms.
    pub now: u64,
}

/// What was restored.
#[derive(Debug)]
pub struct Restored {
    /// The position of the gap's record.
    pub sequence: u64,
    /// The gap.
    pub gap: Gap,
    /// The verification of the backup.
    pub report: VerifyReport,
}

/// Unpacks a backup beside the directory, checks all of it, records the gap, and puts it in place.
pub fn restore(order: &Restore<'_>) -> Result<Restored, BackupError> {
    let Restore { archive, data, .. } = order;
    match fs::read_dir(data).map(|mut entries| entries.next().is_some()) {
        Ok(true) => return Err(BackupError::Occupied((*data).to_owned())),
        Ok(false) => fs::remove_dir(data).map_err(at(data))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(at(data)(error)),
    }
    let name = data.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let beside = data.with_file_name(format!(".{name}.restoring"));
    make_dir(&beside)?;
    let restored = unpack(archive, &beside).and_then(|backup| complete(order, &beside, backup));
    match restored {
        Ok(restored) => {
            fs::rename(&beside, data).map_err(at(data))?;
            Ok(restored)
        }
        Err(error) => {
            fs::remove_dir_all(&beside).map_err(at(&beside))?;
            Err(error)
        }
    }
}

fn complete(order: &Restore<'_>, dir: &Path, backup: Digest) -> Result<Restored, BackupError> {
    let path = order.key.map_or_else(|| dir.join("keys/checkpoint.key"), Path::to_owned);
    let key = seed(&path)?;
    let named = match order.organisation {
        Some(organisation) => Some(organisation.to_owned()),
        None => organisation(dir).map_err(at(dir))?,
    };
    let organisation = named.ok_or(BackupError::Unsigned)?;
    let report = verify(dir, &organisation, key.public());
    if !report.is_sound() {
        return Err(BackupError::Unsound(report.to_string()));
    }
    let key = Arc::new(key);
    let notary =
        Notary { organisation: organisation.clone(), key: Arc::clone(&key), every: Duration::from_hours(1) };
    let (now, mut made) = (order.now, None);
    let receipt = placet_store::append(
        dir,
        notary,
        move || now,
        |last, since| {
            let mut trees = Vec::new();
            for tree in placet_store::trees(dir).map_err(|error| error.to_string())? {
                let note = TreeReader::open(dir, &tree).and_then(|reader| reader.checkpoint());
                let Some(note) = note.map_err(|error| error.to_string())? else { continue };
                let head = Checkpoint::open(&note, &origin(&organisation, &tree), &key.public())
                    .map_err(|error| error.to_string())?;
                trees.push(GapTree { tree, size: head.size, root: head.root.to_string() });
            }
            let mut gap = Gap {
                backup,
                by: order.by.to_owned(),
                last,
                restored: Timestamp::from_millis(now.max(since)),
                since: Timestamp::from_millis(since),
                trees,
                why: order.why.to_owned(),
                note: String::new(),
            };
            gap.note = note::sign(&gap.text(&organisation), &Gap::signer(&organisation), &key);
            let payload = gap.write().into_bytes();
            made = Some(gap);
            Ok(Addition { tree: ORGANISATION.to_owned(), kind: Kind::Gap.tag(), payload })
        },
    )?;
    let gap = made.ok_or_else(|| BackupError::Damaged("the gap wasn't recorded".to_owned()))?;
    Ok(Restored { sequence: receipt.first, gap, report })
}

/// Unpacks the archive; whatever isn't in its manifest, or is otherwise, is refused. Answers the archive's digest.
fn unpack(path: &Path, dir: &Path) -> Result<Digest, BackupError> {
    let refused = |what: String| BackupError::Archive { path: path.to_owned(), what };
    let file = File::open(path).map_err(at(path))?;
    let mut reading = Hashing::new(BufReader::new(file));
    let (mut found, mut manifest) = (BTreeMap::new(), None);
    {
        let mut archive = Archive::new(&mut reading);
        for entry in archive.entries().map_err(at(path))? {
            let mut entry = entry.map_err(|error| refused(format!("it can't be read: {error}")))?;
            let name = String::from_utf8(entry.path_bytes().into_owned())
                .map_err(|_| refused("a name in it is no text".to_owned()))?;
            if entry.header().entry_type() != EntryType::Regular || !is_below(&name) {
                return Err(refused(format!(
                    "`{}` in it is no file of a data directory",
                    name.escape_debug()
                )));
            }
            if manifest.is_some() || found.len() > MAX_FILES {
                return Err(refused("it goes on behind its manifest".to_owned()));
            }
            if name == MANIFEST {
                let mut text = Vec::new();
                entry.read_to_end(&mut text).map_err(at(path))?;
                manifest = Some(text);
                continue;
            }
            let to = dir.join(&name);
            if let Some(parent) = to.parent() {
                make_dir(parent)?;
            }
            let mut out =
                File::options().write(true).create_new(true).mode(0o600).open(&to).map_err(at(&to))?;
            let mut context = Context::new(&SHA256);
            copy(&mut entry, &mut |piece| {
                context.update(piece);
                out.write_all(piece)
            })
            .map_err(at(&to))?;
            out.sync_all().map_err(at(&to))?;
            found.insert(name, digest_of(context).to_string());
        }
    }
    copy(&mut reading, &mut |_| Ok(())).map_err(at(path))?;
    let manifest = manifest.ok_or_else(|| refused("it has no manifest: it was cut".to_owned()))?;
    let limits = Limits { bytes: 1 << 30, ..Limits::RESULT };
    let manifest =
        placet_json::parse(&manifest, &limits).map_err(|error| refused(format!("its manifest: {error}")))?;
    let listed = manifest.get("files").and_then(Value::as_array).unwrap_or_default().iter().map(|file| {
        let text = |name: &str| file.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        (text("path"), text("sha256"))
    });
    let listed: BTreeMap<String, String> = listed.collect();
    let name = found
        .iter()
        .find(|(name, digest)| listed.get(*name) != Some(*digest))
        .or_else(|| listed.iter().find(|(name, _)| !found.contains_key(*name)));
    match name {
        None => Ok(reading.end().1),
        Some((name, _)) => Err(refused(format!("`{name}` isn't as its manifest says"))),
    }
}

/// A name that stays inside the directory.
fn is_below(name: &str) -> bool {
    let path = Path::new(name);
    path.components().all(|part| matches!(part, Component::Normal(_))) && path.components().next().is_some()
}

fn seed(path: &Path) -> Result<SigningKey, BackupError> {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let text = fs::read_to_string(path).map_err(at(path))?;
    let seed: Option<[u8; 32]> = STANDARD.decode(text.trim()).ok().and_then(|bytes| bytes.try_into().ok());
    let key = seed.and_then(|seed| SigningKey::from_seed(&seed).ok());
    key.ok_or_else(|| at(path)(io::Error::other("it is no checkpoint key: not 32 bytes in base64")))
}

/// All files below a directory, sorted.
fn files_below(dir: &Path) -> Result<Vec<PathBuf>, BackupError> {
    let (mut files, mut dirs) = (Vec::new(), vec![dir.to_owned()]);
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).map_err(at(&dir))? {
            let entry = entry.map_err(at(&dir))?;
            let kind = entry.file_type().map_err(at(&dir))?;
            if kind.is_dir() {
                dirs.push(entry.path());
            } else if kind.is_file() {
                files.push(entry.path());
            }
        }
    }
    files.sort();
    Ok(files)
}

fn append(out: &mut Builder<impl Write>, name: &str, len: usize, bytes: impl Read) -> io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o600);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(u64::try_from(len).unwrap_or(u64::MAX));
    out.append_data(&mut header, name, bytes)
}

fn make_dir(dir: &Path) -> Result<(), BackupError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(at(dir))
}

fn copy(from: &mut impl Read, to: &mut impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let len = from.read(&mut buffer)?;
        if len == 0 {
            return Ok(());
        }
        to(buffer.get(..len).unwrap_or_default())?;
    }
}

fn digest_of(context: Context) -> Digest {
    let digest = context.finish();
    Digest::from_bytes(<[u8; 32]>::try_from(digest.as_ref()).unwrap_or_default())
}

fn at(path: &Path) -> impl Fn(io::Error) -> BackupError + use<> {
    let path = path.to_owned();
    move |error| BackupError::Io { path: path.clone(), error }
}

/// What passes through, and its digest.
struct Hashing<T> {
    inner: T,
    context: Context,
}

impl<T> Hashing<T> {
    fn new(inner: T) -> Self {
        Self { inner, context: Context::new(&SHA256) }
    }
    fn end(self) -> (T, Digest) {
        (self.inner, digest_of(self.context))
    }
}

impl<T: Write> Write for Hashing<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let len = self.inner.write(bytes)?;
        self.context.update(bytes.get(..len).unwrap_or_default());
        Ok(len)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<T: Read> Read for Hashing<T> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let len = self.inner.read(bytes)?;
        self.context.update(bytes.get(..len).unwrap_or_default());
        Ok(len)
    }
}
