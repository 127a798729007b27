//! Opening a pack: everything in it is checked against its manifest, its trees against their signed heads.

use std::{
    collections::BTreeMap,
    fmt,
    fs::{self, File},
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    iter::Peekable,
    path::{Component, Path, PathBuf},
};

use placet_core::Timestamp;
use placet_json::{Limits, Value, object};
use placet_ledger::{
    Hash,
    checkpoint::{Checkpoint, VerifyingKey, origin},
    range,
};
use placet_store::Record;
use tar::{Archive, EntryType};
use tempfile::TempDir;

use super::{MANIFEST, Part, REPORT, Selection, collect::Collected, export::digest, record, report};
use crate::{
    handover,
    report::MAX_DETAILS,
    verify::{Followed, Misfit, gap_text},
};

/// Entries at most.
const MAX_ENTRIES: usize = 100_000;
/// The longest manifest.
const MAX_MANIFEST: usize = 64 << 20;

/// Why a pack can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenPackError {
    /// A file.
    #[error("`{}`: {error}", .path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What it said.
        error: io::Error,
    },
    /// It is no pack, or was changed.
    #[error("`{}` is no evidence pack, or was changed: {what}", .path.display())]
    NoPack {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
}

/// A pack, unpacked for as long as this lives.
#[derive(Debug)]
pub struct Pack {
    dir: TempDir,
    organisation: String,
    key: String,
    made: String,
    selection: Selection,
    parts: Vec<Part>,
    population: Value,
}

/// What a verification of a pack saw.
#[derive(Debug)]
pub struct PackReport {
    /// What is wrong; empty: nothing.
    pub wrong: Vec<String>,
    /// Records of each tree: name, first leaf, leaf after the last, signed records.
    pub trees: Vec<(String, u64, u64, u64)>,
    /// The counts, taken again from the records.
    pub population: Value,
    /// Restored backups.
    pub gaps: Vec<String>,
    /// The scope.
    pub scope: Value,
    /// Whether the key was told by the caller, not by the pack itself.
    pub key_was_told: bool,
    /// The key that is believed.
    pub key: String,
}

impl Pack {
    /// Unpacks a pack; whatever isn't as its manifest says is refused.
    pub fn open(path: &Path) -> Result<Self, OpenPackError> {
        let refused = |what: String| OpenPackError::NoPack { path: path.to_owned(), what };
        let dir = tempfile::tempdir().map_err(at(path))?;
        let file = File::open(path).map_err(at(path))?;
        let (mut found, mut manifest) = (BTreeMap::new(), None);
        let mut archive = Archive::new(BufReader::new(file));
        for entry in archive.entries().map_err(at(path))? {
            let mut entry = entry.map_err(|error| refused(error.to_string()))?;
            let name = String::from_utf8(entry.path_bytes().into_owned())
                .map_err(|_| refused("a name in it is no text".to_owned()))?;
            let plain = Path::new(&name).components().all(|part| matches!(part, Component::Normal(_)));
            let regular = entry.header().entry_type() == EntryType::Regular;
            if !plain || name.is_empty() || !regular || manifest.is_some() || found.len() >= MAX_ENTRIES {
                return Err(refused(format!("`{}` doesn't belong in one", name.escape_debug())));
            }
            if name == MANIFEST {
                let mut text = Vec::new();
                let limit = u64::try_from(MAX_MANIFEST).unwrap_or(u64::MAX);
                entry
                    .by_ref()
                    .take(limit)
                    .read_to_end(&mut text)
                    .map_err(|error| refused(error.to_string()))?;
                manifest = Some(text);
                continue;
            }
            let to = dir.path().join(&name);
            if let Some(parent) = to.parent() {
                fs::create_dir_all(parent).map_err(at(&to))?;
            }
            let mut out = File::options().write(true).create_new(true).open(&to).map_err(at(&to))?;
            io::copy(&mut entry, &mut out).map_err(|error| refused(error.to_string()))?;
            out.flush().map_err(at(&to))?;
            let (_, digest) = digest(&mut File::open(&to).map_err(at(&to))?).map_err(at(&to))?;
            found.insert(name, digest.to_string());
        }
        let manifest = manifest.ok_or_else(|| refused("it has no manifest".to_owned()))?;
        let limits = Limits { bytes: MAX_MANIFEST, ..Limits::RESULT };
        let manifest = placet_json::parse(&manifest, &limits)
            .map_err(|error| refused(format!("its manifest can't be read: {error}")))?;
        let listed = manifest.get("files").and_then(Value::as_array).unwrap_or_default();
        let text = |value: &Value, name: &str| {
            value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let listed: BTreeMap<String, String> =
            listed.iter().map(|file| (text(file, "path"), text(file, "sha256"))).collect();
        if listed != found {
            return Err(refused("its entries aren't those that its manifest lists".to_owned()));
        }
        let parts = manifest.get("trees").and_then(Value::as_array).unwrap_or_default().iter().map(|part| {
            let number = |name: &str| part.get(name).and_then(Value::as_u64);
            let directory = text(part, "directory");
            let plain = !directory.is_empty() && !directory.contains(['/', '.']);
            Some(Part { tree: text(part, "tree"), directory, from: number("from")?, to: number("to")? })
                .filter(|part| plain && part.from <= part.to)
        });
        let parts = parts.collect::<Option<Vec<_>>>();
        let selection = manifest.get("scope").and_then(Selection::of_value);
        let version = manifest.get("v").and_then(Value::as_u64);
        let (Some(parts), Some(selection), Some(1)) = (parts, selection, version) else {
            return Err(refused("its manifest isn't of version 1".to_owned()));
        };
        // What the reader of a journal looks for.
        fs::create_dir_all(dir.path().join("journal")).map_err(at(path))?;
        Ok(Self {
            organisation: text(&manifest, "organisation"),
            key: text(&manifest, "key"),
            made: text(&manifest, "made"),
            population: manifest.get("population").cloned().unwrap_or(Value::Null),
            selection,
            parts,
            dir,
        })
    }

    /// Where it is unpacked: releases and handovers as in a data directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Whether everything before what is asked about is in it, so that decisions can be made again.
    #[must_use]
    pub fn has_history(&self) -> bool {
        self.selection.history
    }

    /// Its records in the journal's order.
    pub(crate) fn records(&self) -> io::Result<Merged> {
        let mut trees = Vec::new();
        for part in &self.parts {
            trees.push(Lines::open(self.dir.path(), part)?.peekable());
        }
        Ok(Merged(trees))
    }

    /// Checks everything: each tree's records against its signed head, the report and the counts against the records.
    /// `key`: whose checkpoints are believed; without one the pack's own key is, which proves who made it to nobody.
    pub fn verify(
        &self,
        organisation: Option<&str>,
        key: Option<VerifyingKey>,
    ) -> Result<PackReport, OpenPackError> {
        let refused =
            |what: &str| OpenPackError::NoPack { path: self.dir.path().to_owned(), what: what.to_owned() };
        let organisation = organisation.unwrap_or(&self.organisation);
        let trusted = match key {
            Some(key) => key,
            None => VerifyingKey::from_vkey(&self.key).map_err(|_| refused("it names no key"))?.1,
        };
        let keys = handover::keys(self.dir.path(), organisation, trusted).map_err(at(self.dir.path()))?;
        let mut report = PackReport {
            wrong: Vec::new(),
            trees: Vec::new(),
            population: Value::Null,
            gaps: Vec::new(),
            scope: self.selection.to_value(),
            key_was_told: key.is_some(),
            key: trusted.vkey(&origin(organisation, "")),
        };
        for part in &self.parts {
            match self.tree(part, organisation, &keys) {
                Ok(size) => report.trees.push((part.tree.clone(), part.from, part.to, size)),
                Err(what) => report.wrong.push(format!("tree `{}`: {what}", part.tree)),
            }
        }
        let (mut collected, mut followed) = (Collected::default(), Followed::new(organisation, keys));
        for record in self.records().map_err(at(self.dir.path()))? {
            let record = record.map_err(at(self.dir.path()))?;
            collected.add(&self.selection, &record);
            if self.selection.history {
                followed.record(&record);
            }
        }
        let Followed { misfits, gaps, .. } = followed;
        let misfits = misfits.into_iter().take(MAX_DETAILS);
        report.wrong.extend(misfits.map(|Misfit { sequence, what }| format!("record {sequence}: {what}")));
        report.gaps = gaps.iter().map(|(sequence, gap)| gap_text(*sequence, gap)).collect();
        report.population = collected.population();
        if report.population != self.population {
            report.wrong.push("its counts aren't those of its records".to_owned());
        }
        let page = report::page(&self.organisation, &self.selection, &collected, &self.made);
        if fs::read(self.dir.path().join(REPORT)).map_err(at(self.dir.path()))? != page.as_bytes() {
            report.wrong.push("its report isn't what its records say".to_owned());
        }
        Ok(report)
    }

    /// Signed records of the tree.
    fn tree(&self, part: &Part, organisation: &str, keys: &handover::Keys) -> Result<u64, String> {
        let below = self.dir.path().join("trees").join(&part.directory);
        let read = |name: &str| fs::read(below.join(name)).map_err(|error| format!("`{name}`: {error}"));
        let (note, name) = (read("checkpoint")?, origin(organisation, &part.tree));
        let head = keys.all.iter().find_map(|key| Checkpoint::open(&note, &name, key).ok());
        let head = head.ok_or("its checkpoint isn't signed by the key")?;
        let proof = String::from_utf8(read("proof")?).map_err(|error| error.to_string())?;
        let proof = proof.lines().map(hash).collect::<Option<Vec<_>>>().ok_or("its proof is malformed")?;
        let mut leaves = Vec::new();
        for record in Lines::open(self.dir.path(), part).map_err(|error| error.to_string())? {
            leaves.push(record.map_err(|error| error.to_string())?.leaf);
        }
        if u64::try_from(leaves.len()) != Ok(part.to.saturating_sub(part.from)) {
            return Err(format!(
                "it has {} records instead of those from {} to {}",
                leaves.len(),
                part.from,
                part.to
            ));
        }
        range::verify(&leaves, part.from, head.size, &proof, &head.root)
            .map_err(|error| error.to_string())?;
        Ok(head.size)
    }
}

impl PackReport {
    /// Whether everything holds.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.wrong.is_empty()
    }

    /// As JSON.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let trees = self.trees.iter().map(|(tree, from, to, size)| {
            Value::from(object! { "tree" => tree.as_str(), "from" => *from, "to" => *to, "signed" => *size })
        });
        let texts =
            |texts: &[String]| texts.iter().map(|text| Value::from(text.as_str())).collect::<Vec<_>>();
        object! {
            "verdict" => if self.is_sound() { "sound" } else { "differs" }, "wrong" => texts(&self.wrong), "trees" => trees.collect::<Vec<_>>(),
            "population" => self.population.clone(), "scope" => self.scope.clone(), "gaps" => texts(&self.gaps), "key" => self.key.as_str(),
            "key_was_told" => self.key_was_told,
        }
        .into()
    }
}

impl fmt::Display for PackReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for wrong in &self.wrong {
            writeln!(f, "wrong: {wrong}")?;
        }
        for gap in &self.gaps {
            writeln!(f, "{gap}")?;
        }
        for (tree, from, to, size) in &self.trees {
            writeln!(f, "tree {tree}: records {from} to {to} of {size} that are signed, all of them")?;
        }
        writeln!(f, "counts: {}", self.population)?;
        if !self.key_was_told {
            writeln!(
                f,
                "signed by the key that the pack itself names; compare it with the one you were told: {}",
                self.key
            )?;
        }
        writeln!(f, "{}", if self.is_sound() { "the pack holds" } else { "the pack does not hold" })
    }
}

fn hash(text: &str) -> Option<Hash> {
    let bytes =
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(text.get(at..at.saturating_add(2))?, 16).ok());
    Hash::from_slice(&bytes.collect::<Option<Vec<_>>>()?)
}

/// The records of one tree.
pub(crate) struct Lines {
    file: BufReader<File>,
    tree: String,
}

impl Lines {
    fn open(dir: &Path, part: &Part) -> io::Result<Self> {
        let file = File::open(dir.join("trees").join(&part.directory).join("records"))?;
        Ok(Self { file: BufReader::new(file), tree: part.tree.clone() })
    }
}

impl Iterator for Lines {
    type Item = io::Result<Record>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut line = Vec::new();
        // A body is at most 4 MiB.
        match (&mut self.file).take(5 << 20).read_until(b'\n', &mut line) {
            Ok(0) => None,
            Ok(_) => {
                let record = line.strip_suffix(b"\n").and_then(|line| record(line, &self.tree));
                Some(record.ok_or_else(|| io::Error::other("a line is no record")))
            }
            Err(error) => Some(Err(error)),
        }
    }
}

/// The records of all trees in the journal's order.
pub(crate) struct Merged(Vec<Peekable<Lines>>);

impl Iterator for Merged {
    type Item = io::Result<Record>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.0.iter_mut().filter_map(|lines| {
            let at = match lines.peek()? {
                Ok(record) => record.sequence,
                // It is told at once.
                Err(_) => 0,
            };
            Some((at, lines))
        });
        next.min_by_key(|(at, _)| *at).and_then(|(_, lines)| lines.next())
    }
}

fn at(path: &Path) -> impl Fn(io::Error) -> OpenPackError + use<> {
    let path = path.to_owned();
    move |error| OpenPackError::Io { path: path.clone(), error }
}

impl Pack {
    /// When it was made, as it says.
    #[must_use]
    pub fn made(&self) -> Option<Timestamp> {
        Timestamp::parse(&self.made).ok()
    }
}
