//! What stands in the ledger on disk.

use std::path::{Path, PathBuf};

use placet_json::{Limits, Value};
use placet_record::Kind;
use placet_store::Reader;

/// A data directory's ledger.
#[derive(Debug, Clone)]
pub struct Ledger {
    data: PathBuf,
}

/// One entry.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its position.
    pub at: u64,
    /// Its kind.
    pub kind: Kind,
    /// In which tree it stands.
    pub tree: String,
    /// The record.
    pub record: Value,
}

impl Ledger {
    /// Of this directory.
    #[must_use]
    pub fn of(data: &Path) -> Self {
        Self { data: data.to_owned() }
    }
    /// The last position.
    #[must_use]
    pub fn last(&self) -> u64 {
        Reader::open(&self.data).unwrap().last()
    }
    /// The entries after this position.
    #[must_use]
    pub fn after(&self, at: u64) -> Vec<Entry> {
        let reader = Reader::open(&self.data).unwrap();
        let read = |record: placet_store::Record| Entry {
            at: record.sequence,
            kind: Kind::from_tag(record.kind).unwrap(),
            tree: record.tree.clone(),
            record: placet_json::parse(&record.payload, &Limits::RESULT).unwrap(),
        };
        reader.range(at + 1, reader.last()).map(|record| read(record.unwrap())).collect()
    }
}

impl Entry {
    /// A text of the record; empty if it isn't there.
    #[must_use]
    pub fn text(&self, pointer: &str) -> &str {
        self.record.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }
    /// What it says in a word or two: `permit`, a denial's code, an ending, an act's verb.
    #[must_use]
    pub fn gist(&self) -> String {
        match self.kind {
            Kind::Decision if self.text("/decision") == "deny" => {
                format!("deny {}", self.text("/reasons/0/code"))
            }
            Kind::Decision => "permit".to_owned(),
            Kind::Effect => self.text("/ending").to_owned(),
            Kind::Act => format!("act {}", self.text("/verb")),
            Kind::Amendment => format!("amended {}", self.text("/finding")),
            Kind::Gap => format!("restored by {}", self.text("/gap/by")),
            Kind::Facts | Kind::Release | Kind::Refusals => self.kind.as_str().to_owned(),
        }
    }
}
