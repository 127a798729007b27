//! Making a pack: one pass over the journal, records to where they wait for the tar, then proofs and report.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, BufWriter, Read, Seek as _, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use placet_core::{Digest, Timestamp};
use placet_json::{Value, object};
use placet_ledger::{
    checkpoint::{Checkpoint, origin},
    range,
};
use placet_store::{ReadError, TreeReader};
use tar::{Builder, EntryType, Header};

use crate::{
    Data, Keys,
    backup::ORGANISATION,
    pack::{MANIFEST, Part, REPORT, Selection, collect::Collected, line, report},
};

/// What every pack says of itself.
const README: &str = "This is an evidence pack of a Placet ledger: records, and the proof that they are all that were \
recorded.\n\nRead `report.html`. Check everything, with nothing but this file and the key that the ledger's owner told \
you:\n\n  placet audit verify PACK.tar --key KEY\n  placet audit replay --pack PACK.tar\n\nor, without Placet: \
python3 verify_ledger.py --key KEY PACK.tar\n\nThe key in `manifest.json` is what the pack itself says: it proves \
nothing about who made it.\n";

/// Why there is no pack.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// A file.
    #[error("`{}`: {error}", .path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What it said.
        error: io::Error,
    },
    /// The journal.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A checkpoint.
    #[error("tree `{tree}`: {error}")]
    Checkpoint {
        /// Which tree.
        tree: String,
        /// What is wrong.
        error: String,
    },
    /// The ledger has no such tenant, or nothing of it is signed yet.
    #[error("nothing of the tenant `{0}` is signed")]
    NoTenant(String),
    /// Nothing was recorded then.
    #[error("nothing of the tenant `{0}` was recorded in that time and is signed")]
    Nothing(String),
    /// A release that decided isn't there any more.
    #[error("the release {0} that decided is missing: {1}")]
    Release(Digest, String),
}

/// What was exported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    /// Records in the pack.
    pub records: u64,
    /// Of them, decisions that were asked about.
    pub decisions: u64,
    /// Bytes of the pack.
    pub bytes: u64,
    /// The pack's digest; the manifest has those of its entries.
    pub manifest: Digest,
}

/// One tree on its way into the pack.
struct Tree {
    part: Part,
    reader: TreeReader,
    head: Checkpoint,
    note: Vec<u8>,
    leaf: u64,
    lines: BufWriter<File>,
}

/// Writes the pack `to`, which must not exist, of what is signed. `now` is the wall clock, told in the report.
pub fn export(
    data: &Data,
    organisation: &str,
    keys: &Keys,
    selection: &Selection,
    now: Timestamp,
    to: &Path,
) -> Result<Exported, ExportError> {
    let file = File::options().write(true).create_new(true).mode(0o600).open(to).map_err(at(to))?;
    let made = write(data, organisation, keys, selection, now, file, to);
    if made.is_err() {
        fs::remove_file(to).map_err(at(to))?;
    }
    made
}

fn write(
    data: &Data,
    organisation: &str,
    keys: &Keys,
    selection: &Selection,
    now: Timestamp,
    file: File,
    to: &Path,
) -> Result<Exported, ExportError> {
    let mut trees = vec![
        open(data, organisation, keys, &selection.tenant, to)?
            .ok_or_else(|| ExportError::NoTenant(selection.tenant.clone()))?,
    ];
    if selection.history {
        trees.extend(open(data, organisation, keys, ORGANISATION, to)?);
    }
    let (mut collected, mut releases) = (Collected::default(), BTreeSet::new());
    for record in data.reader().range(1, data.reader().last()) {
        let record = record?;
        if selection.until.is_some_and(|until| record.time_ms >= until.millis()) {
            break;
        }
        let Some(tree) = trees.iter_mut().find(|tree| tree.part.tree == record.tree) else { continue };
        let leaf = tree.leaf;
        tree.leaf = leaf.saturating_add(1);
        if leaf >= tree.head.size {
            continue;
        }
        if !selection.history && !selection.is_in_time(&record) {
            tree.part.from = tree.leaf;
            tree.part.to = tree.leaf;
            continue;
        }
        tree.part.to = tree.leaf;
        tree.lines.write_all(&line(&record)).map_err(at(to))?;
        collected.add(selection, &record);
        if let Some(basis) = super::decision(&record).and_then(|decision| decision.basis) {
            releases.insert(basis.release);
        }
    }
    if collected.permits.saturating_add(collected.denials) == 0
        && trees.iter().all(|tree| tree.part.from == tree.part.to)
    {
        return Err(ExportError::Nothing(selection.tenant.clone()));
    }
    let mut pack = Packing { out: Builder::new(BufWriter::new(file)), files: Vec::new() };
    let (mut records, mut parts) = (0_u64, Vec::new());
    for tree in trees {
        let Tree { part, reader, head, note, lines, .. } = tree;
        records = records.saturating_add(part.to.saturating_sub(part.from));
        let below = format!("trees/{}", part.directory);
        let mut lines = lines.into_inner().map_err(|error| at(to)(error.into_error()))?;
        lines.rewind().map_err(at(to))?;
        pack.stream(&format!("{below}/records"), &mut lines).map_err(at(to))?;
        let proof = range::prove(&reader, part.from, part.to, head.size).map_err(at(to))?.unwrap_or_default();
        let proof: Vec<String> = proof.iter().map(ToString::to_string).collect();
        let proof = if proof.is_empty() { String::new() } else { proof.join("\n") + "\n" };
        pack.add(&format!("{below}/proof"), proof.as_bytes()).map_err(at(to))?;
        pack.add(&format!("{below}/checkpoint"), &note).map_err(at(to))?;
        if let Some(cosigned) = placet_store::cosigned(data.dir(), &part.tree).map_err(at(to))? {
            pack.add(&format!("{below}/cosigned"), &cosigned).map_err(at(to))?;
        }
        parts.push(Value::from(object! {
            "directory" => part.directory, "from" => part.from, "size" => head.size, "to" => part.to, "tree" => part.tree,
        }));
    }
    for release in releases {
        let name = format!("{}.tar", release.to_string().replace(':', "-"));
        let archive = fs::read(data.dir().join("releases").join(&name))
            .map_err(|error| ExportError::Release(release, error.to_string()))?;
        pack.add(&format!("releases/{name}"), &archive).map_err(at(to))?;
    }
    handovers(data, &mut pack, to)?;
    let made = now.to_string();
    pack.add(REPORT, report::page(organisation, selection, &collected, &made).as_bytes()).map_err(at(to))?;
    pack.add("README.txt", README.as_bytes()).map_err(at(to))?;
    let manifest = Value::from(object! {
        "files" => std::mem::take(&mut pack.files), "key" => keys.newest.vkey(&origin(organisation, "")), "made" => made,
        "organisation" => organisation, "population" => collected.population(), "scope" => selection.to_value(), "trees" => parts, "v" => 1_u64,
    })
    .to_string();
    pack.add(MANIFEST, manifest.as_bytes()).map_err(at(to))?;
    let file = pack.out.into_inner().map_err(at(to))?.into_inner();
    let file = file.map_err(|error| at(to)(error.into_error()))?;
    file.sync_all().map_err(at(to))?;
    Ok(Exported {
        records,
        decisions: collected.permits.saturating_add(collected.denials),
        bytes: file.metadata().map_err(at(to))?.len(),
        manifest: Digest::of(manifest.as_bytes()),
    })
}

/// `None`: nothing of the tree is signed.
fn open(
    data: &Data,
    organisation: &str,
    keys: &Keys,
    tree: &str,
    to: &Path,
) -> Result<Option<Tree>, ExportError> {
    let reader = match TreeReader::open(data.dir(), tree) {
        Ok(reader) => reader,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(at(data.dir())(error)),
    };
    let Some(note) = reader.checkpoint().map_err(at(data.dir()))? else { return Ok(None) };
    let name = origin(organisation, tree);
    let head = Checkpoint::open(&note, &name, &keys.newest)
        .map_err(|error| ExportError::Checkpoint { tree: tree.to_owned(), error: error.to_string() })?;
    if head.size == 0 {
        return Ok(None);
    }
    let lines = BufWriter::new(tempfile::tempfile().map_err(at(to))?);
    let directory = directory(tree);
    let part = Part { tree: tree.to_owned(), directory, from: 0, to: 0 };
    Ok(Some(Tree { part, reader, head, note, leaf: 0, lines }))
}

/// As a data directory names it: whatever isn't a letter, a digit, `-` or `_` as `%xx`.
fn directory(tree: &str) -> String {
    let byte = |byte: u8| match byte {
        b'-' | b'_' => char::from(byte).to_string(),
        _ if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        _ => format!("%{byte:02x}"),
    };
    tree.bytes().map(byte).collect()
}

fn handovers(data: &Data, pack: &mut Packing, to: &Path) -> Result<(), ExportError> {
    let dir = data.dir().join("handover");
    let mut paths = match fs::read_dir(&dir) {
        Ok(entries) => entries
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(at(&dir))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(at(&dir)(error)),
    };
    paths.sort();
    for path in paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        pack.add(&format!("handover/{name}"), &fs::read(&path).map_err(at(&path))?).map_err(at(to))?;
    }
    Ok(())
}

struct Packing {
    out: Builder<BufWriter<File>>,
    files: Vec<Value>,
}

impl Packing {
    fn add(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let len = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.entry(name, len, bytes, Digest::of(bytes))
    }

    /// A file that is too long for the memory.
    fn stream(&mut self, name: &str, file: &mut File) -> io::Result<()> {
        let (len, digest) = digest(file)?;
        file.rewind()?;
        self.entry(name, len, file, digest)
    }

    fn entry(&mut self, name: &str, len: u64, bytes: impl Read, digest: Digest) -> io::Result<()> {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Regular);
        header.set_mode(0o644);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(len);
        self.out.append_data(&mut header, name, bytes)?;
        self.files.push(object! { "bytes" => len, "path" => name, "sha256" => digest.to_string() }.into());
        Ok(())
    }
}

/// Length and digest of a file from where it stands.
pub(super) fn digest(file: &mut impl Read) -> io::Result<(u64, Digest)> {
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    let (mut buffer, mut all) = (vec![0; 64 << 10], 0_u64);
    loop {
        let len = file.read(&mut buffer)?;
        if len == 0 {
            let digest = context.finish();
            return Ok((all, Digest::from_bytes(<[u8; 32]>::try_from(digest.as_ref()).unwrap_or_default())));
        }
        context.update(buffer.get(..len).unwrap_or_default());
        all = all.saturating_add(u64::try_from(len).unwrap_or(u64::MAX));
    }
}

fn at(path: &Path) -> impl Fn(io::Error) -> ExportError + use<> {
    let path = path.to_owned();
    move |error| ExportError::Io { path: path.clone(), error }
}
