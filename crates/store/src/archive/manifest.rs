//! What was archived: `journal/archived`, one line for each segment, signed by the checkpoint key. Whoever can write
//! files but not sign can't make a missing beginning look like an archived one.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::path::Path;

use placet_ledger::Hash;
use placet_ledger::checkpoint::{Checkpoint, SigningKey, VerifyingKey, origin};
use placet_ledger::frame::is_tree_name;

use crate::kept::hex;
use crate::trees::{read_if_there, replace};

/// The file's name, below `journal`.
const FILE: &str = "archived";
const MAGIC: &str = "placet archived 1";
/// No tenant has this name: `~` isn't in their alphabet.
const TREE: &str = "~archived";

/// A segment in the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchivedSegment {
    /// Its first record.
    pub first: u64,
    /// Its last record.
    pub last: u64,
    /// When the first was recorded, Unix ms.
    pub since_ms: u64,
    /// When the last was recorded, Unix ms.
    pub until_ms: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// SHA-256 of the file.
    pub digest: Hash,
}

impl ArchivedSegment {
    /// Its name in the archive.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{:012}-{}.seg", self.first, self.digest)
    }
}

/// The beginning of a journal that is in an archive, and what the rest stands on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The journal's id.
    pub journal: [u8; 16],
    /// Where the segments are.
    pub location: String,
    /// The first record that is here.
    pub base: u64,
    /// The chain's value in front of it.
    pub link: Hash,
    /// The last record that is in the kept state from which the rest is folded.
    pub state: u64,
    /// How many records of each tree are archived.
    pub trees: BTreeMap<String, u64>,
    /// What whoever archived wanted to know of the archived records, in their order; each one line.
    pub marks: Vec<String>,
    /// The segments, in order.
    pub segments: Vec<ArchivedSegment>,
}

/// A manifest that can't be believed.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// The disk.
    #[error("`journal/archived` can't be read: {0}")]
    Io(#[from] io::Error),
    /// It isn't one, or the key didn't sign it.
    #[error("`journal/archived`, which tells what of the journal is in an archive, can't be believed: {0}")]
    Unsigned(String),
}

impl Manifest {
    /// What the directory says, without a look at the signature. `None`: nothing is archived.
    pub fn read(data: &Path) -> io::Result<Option<Self>> {
        let Some(file) = read_if_there(&data.join("journal").join(FILE))? else { return Ok(None) };
        let wrong =
            || io::Error::new(io::ErrorKind::InvalidData, "`journal/archived` isn't what was written");
        let (text, _) = parts(&file).ok_or_else(wrong)?;
        Self::parse(text).map(Some).ok_or_else(wrong)
    }

    /// The same, signed by `key`.
    pub fn verified(
        data: &Path,
        organisation: &str,
        key: &VerifyingKey,
    ) -> Result<Option<Self>, ManifestError> {
        let Some(file) = read_if_there(&data.join("journal").join(FILE))? else { return Ok(None) };
        let wrong = |why: &str| ManifestError::Unsigned(why.to_owned());
        let (text, note) = parts(&file).ok_or_else(|| wrong("it isn't what was written"))?;
        let note = Checkpoint::open(note.as_bytes(), &origin(organisation, TREE), key)
            .map_err(|error| ManifestError::Unsigned(error.to_string()))?;
        let manifest = Self::parse(text).ok_or_else(|| wrong("it isn't what was written"))?;
        if note.root == Hash::of(text.as_bytes()) && note.size == manifest.base.saturating_sub(1) {
            Ok(Some(manifest))
        } else {
            Err(wrong("it isn't what was signed"))
        }
    }

    /// Puts it in place of the one before, durably.
    pub(crate) fn write(&self, data: &Path, organisation: &str, key: &SigningKey) -> io::Result<()> {
        let text = self.text();
        let head = Checkpoint {
            origin: origin(organisation, TREE),
            size: self.base.saturating_sub(1),
            root: Hash::of(text.as_bytes()),
        };
        replace(&data.join("journal"), FILE, format!("{text}\n{}", head.sign(key)).as_bytes())
    }

    /// Replaces the note by what `sign` makes of it: a new key's signature is added. Nobody may serve the directory.
    pub(crate) fn resign(
        data: &Path,
        mut sign: impl FnMut(&str, &str) -> io::Result<String>,
    ) -> io::Result<()> {
        let dir = data.join("journal");
        let Some(file) = read_if_there(&dir.join(FILE))? else { return Ok(()) };
        let (text, note) = parts(&file).ok_or(io::ErrorKind::InvalidData)?;
        let note = sign(TREE, note)?;
        replace(&dir, FILE, format!("{text}\n{note}").as_bytes())
    }

    /// The archived segment with this record.
    #[must_use]
    pub fn segment(&self, sequence: u64) -> Option<&ArchivedSegment> {
        let at = self.segments.partition_point(|segment| segment.last < sequence);
        self.segments.get(at).filter(|segment| segment.first <= sequence)
    }

    fn text(&self) -> String {
        let Self { journal, location, base, link, state, trees, marks, segments } = self;
        let mut text = format!("{MAGIC}\njournal ");
        for byte in journal {
            line(&mut text, format_args!("{byte:02x}"));
        }
        line(&mut text, format_args!("\nat {location}\nbase {base} {link}\nstate {state}\n"));
        for (tree, size) in trees {
            line(&mut text, format_args!("tree {size} {tree}\n"));
        }
        for mark in marks {
            line(&mut text, format_args!("mark {mark}\n"));
        }
        for ArchivedSegment { first, last, since_ms, until_ms, bytes, digest } in segments {
            line(&mut text, format_args!("segment {first} {last} {since_ms} {until_ms} {bytes} {digest}\n"));
        }
        text
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let mut next = |name: &str| lines.next()?.strip_prefix(name);
        next(MAGIC).filter(|rest| rest.is_empty())?;
        let journal = u128::from_str_radix(next("journal ").filter(|id| id.len() == 32)?, 16).ok()?;
        let location = next("at ")?.to_owned();
        let (base, link) = next("base ")?.split_once(' ')?;
        let mut manifest = Self {
            journal: journal.to_be_bytes(),
            location,
            base: base.parse().ok()?,
            link: hex(link)?,
            state: next("state ")?.parse().ok()?,
            trees: BTreeMap::new(),
            marks: Vec::new(),
            segments: Vec::new(),
        };
        for line in lines {
            let (kind, rest) = line.split_once(' ')?;
            match kind {
                "tree" => {
                    let (size, tree) = rest.split_once(' ').filter(|(_, tree)| is_tree_name(tree))?;
                    manifest.trees.insert(tree.to_owned(), size.parse().ok()?);
                }
                "mark" => manifest.marks.push(rest.to_owned()),
                "segment" => manifest.segments.push(segment(rest)?),
                _ => return None,
            }
        }
        manifest.follows().then_some(manifest)
    }

    /// Whether the segments are the journal's beginning, and the rest starts behind them.
    fn follows(&self) -> bool {
        let mut next = 1;
        for segment in &self.segments {
            if segment.first != next || segment.last < segment.first {
                return false;
            }
            next = segment.last.saturating_add(1);
        }
        next == self.base && self.state.saturating_add(1) >= self.base && !self.segments.is_empty()
    }
}

/// Text and note.
fn parts(file: &[u8]) -> Option<(&str, &str)> {
    let file = std::str::from_utf8(file).ok()?;
    let at = file.find("\n\n")?.checked_add(1)?;
    let (text, rest) = file.split_at_checked(at)?;
    Some((text, rest.strip_prefix('\n')?))
}

fn segment(rest: &str) -> Option<ArchivedSegment> {
    let mut fields = rest.split(' ');
    let mut number = || fields.next()?.parse::<u64>().ok();
    let (first, last, since_ms, until_ms, bytes) = (number()?, number()?, number()?, number()?, number()?);
    let digest = hex(fields.next()?)?;
    fields.next().is_none().then_some(ArchivedSegment { first, last, since_ms, until_ms, bytes, digest })
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a `String` cannot fail.
    text.write_fmt(arguments).unwrap_or_default();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        let segment = |first, last| ArchivedSegment {
            first,
            last,
            since_ms: 5,
            until_ms: 6,
            bytes: 700,
            digest: Hash::of(b"segment"),
        };
        Manifest {
            journal: [7; 16],
            location: "/mnt/old segments".to_owned(),
            base: 30,
            link: Hash::of(b"link"),
            state: 35,
            trees: BTreeMap::from([("acme".to_owned(), 20), ("org".to_owned(), 9)]),
            marks: vec!["release sha256:00".to_owned()],
            segments: vec![segment(1, 9), segment(10, 29)],
        }
    }

    #[test]
    fn what_is_written_is_read_back_and_only_under_its_signature() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("journal")).unwrap();
        assert_eq!(Manifest::read(dir.path()).unwrap(), None);
        let (ours, other) =
            (SigningKey::from_seed(&[1; 32]).unwrap(), SigningKey::from_seed(&[2; 32]).unwrap());
        manifest().write(dir.path(), "desk", &ours).unwrap();
        assert_eq!(Manifest::read(dir.path()).unwrap(), Some(manifest()));
        let verified = |organisation: &str, key: &SigningKey| {
            Manifest::verified(dir.path(), organisation, &key.public()).map_err(|error| error.to_string())
        };
        assert_eq!(verified("desk", &ours), Ok(Some(manifest())));
        verified("desk", &other).unwrap_err();
        verified("other", &ours).unwrap_err();

        // Every altered byte is found.
        let path = dir.path().join("journal").join(FILE);
        let good = std::fs::read(&path).unwrap();
        let text = good.windows(2).position(|pair| pair == b"\n\n").unwrap();
        for at in 0..text {
            let mut bad = good.clone();
            bad[at] ^= 1;
            std::fs::write(&path, bad).unwrap();
            verified("desk", &ours).unwrap_err();
        }
        std::fs::write(&path, &good).unwrap();
        Manifest::resign(dir.path(), |tree, note| {
            let (text, _) = placet_ledger::note::parts(note).unwrap();
            Ok(format!("{note}{}", placet_ledger::note::signature(text, &origin("desk", tree), &other)))
        })
        .unwrap();
        for key in [&ours, &other] {
            assert_eq!(verified("desk", key), Ok(Some(manifest())));
        }
    }

    #[test]
    fn segments_that_leave_a_gap_are_no_manifest() {
        let mut gap = manifest();
        gap.segments.remove(0);
        assert_eq!(Manifest::parse(&gap.text()), None);
        let found = manifest();
        assert_eq!(found.segment(9).map(|segment| segment.first), Some(1));
        assert_eq!(found.segment(10).map(|segment| segment.first), Some(10));
        assert_eq!((found.segment(0), found.segment(30)), (None, None));
    }
}
