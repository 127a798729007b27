//! The record of a restored backup: whatever was recorded after the backup isn't there, and everybody sees that.

use placet_core::{Digest, Timestamp};
use placet_json::{Limits, Value};

use crate::{
    read::{BadRecord, bad, digest, list, member, number, object, text, time},
    writer::Writer,
};

/// A restore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// The digest of the backup's archive.
    pub backup: Digest,
    /// Who restored it, in their own words.
    pub by: String,
    /// The last record of the backup.
    pub last: u64,
    /// When it was restored.
    pub restored: Timestamp,
    /// When the last record of the backup was written: nothing is known of the time between this and `restored`.
    pub since: Timestamp,
    /// The trees as they were restored.
    pub trees: Vec<GapTree>,
    /// Why.
    pub why: String,
    /// The same as a signed note, by the key of the checkpoints: see [`Gap::text`].
    pub note: String,
}

/// A tree as it was restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GapTree {
    /// Its name.
    pub tree: String,
    /// Its records.
    pub size: u64,
    /// Its root, in hexadecimal digits.
    pub root: String,
}

impl Gap {
    /// What is signed: a line `placet/ORGANISATION/gap`, a line of canonical JSON.
    #[must_use]
    pub fn text(&self, organisation: &str) -> String {
        format!("{}\n{}\n", Self::signer(organisation), self.part())
    }

    /// The name of the signature's key.
    #[must_use]
    pub fn signer(organisation: &str) -> String {
        format!("placet/{organisation}/gap")
    }

    /// The record, in canonical form.
    #[must_use]
    pub fn write(&self) -> String {
        Writer::new(1024).part("gap", &self.part()).text("note", &self.note).number("v", 1).end()
    }

    fn part(&self) -> String {
        let mut w = Writer::new(512);
        w.shown("backup", &self.backup)
            .text("by", &self.by)
            .number("last", self.last)
            .shown("restored", &self.restored)
            .shown("since", &self.since);
        w.parts(
            "trees",
            self.trees.iter().map(|tree| {
                let mut w = Writer::new(128);
                w.text("root", &tree.root).number("size", tree.size).text("tree", &tree.tree).end()
            }),
        );
        w.text("why", &self.why).end()
    }

    /// Reads a record's bytes.
    pub fn read(bytes: &[u8]) -> Result<Self, BadRecord> {
        let document: Value = placet_json::parse(bytes, &Limits::RESULT).map_err(|error| bad("", error))?;
        let record = object(&document, "")?;
        let gap = object(member(record, "gap")?, "gap")?;
        let trees = list(gap, "trees")?.iter().map(|tree| {
            let tree = object(tree, "trees")?;
            Ok(GapTree {
                tree: text(tree, "tree")?.to_owned(),
                size: number(tree, "size")?,
                root: text(tree, "root")?.to_owned(),
            })
        });
        Ok(Self {
            backup: digest(gap, "backup")?,
            by: text(gap, "by")?.to_owned(),
            last: number(gap, "last")?,
            restored: time(gap, "restored")?,
            since: time(gap, "since")?,
            trees: trees.collect::<Result<_, BadRecord>>()?,
            why: text(gap, "why")?.to_owned(),
            note: text(record, "note")?.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_canonical_and_read_back() {
        let gap = Gap {
            backup: Digest::of(b"archive"),
            by: "operator \"x\"".to_owned(),
            last: 17,
            restored: Timestamp::from_secs(20),
            since: Timestamp::from_secs(10),
            trees: vec![GapTree { tree: "acme".to_owned(), size: 9, root: "ab".repeat(32) }],
            why: "the disk\nfailed".to_owned(),
            note: "placet/example/gap\n{}\n\n\u{2014} x AAAA\n".to_owned(),
        };
        let text = gap.write();
        let value = placet_json::parse(text.as_bytes(), &Limits::RESULT).unwrap();
        assert_eq!(value.canonical().unwrap().as_str(), text);
        assert_eq!(Gap::read(text.as_bytes()).unwrap(), gap);
        assert_eq!(gap.text("example").lines().count(), 2);
        assert!(Gap::read(b"{}").is_err());
    }
}
