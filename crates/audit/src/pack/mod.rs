//! The evidence pack: what an auditor takes home. A tar of one tenant's records with the proof that they are all there,
//! and of whatever it takes to decide them again; `placet audit verify PACK` and `placet audit replay --pack PACK` need
//! nothing else.
//!
//! | entry | what |
//! |---|---|
//! | `trees/DIRECTORY/records` | a line for each record: sequence, Unix ms, kind, canonical JSON, one space between them |
//! | `trees/DIRECTORY/proof` | a hash a line: the roots of the subtrees outside of the records' range ([`placet_ledger::range`]) |
//! | `trees/DIRECTORY/checkpoint` | the signed tree head; `cosigned` beside it where witnesses saw one |
//! | `releases/sha256-….tar` | the releases that decided |
//! | `handover/….note` | which key follows which |
//! | `report.html` | the same for people; made from the records alone, so that a verifier makes it again |
//! | `README.txt` | how to check it |
//! | `manifest.json` | scope, trees, counts, the digest of every other entry; the last one |

mod collect;
mod export;
mod open;
mod report;

use placet_core::Timestamp;
use placet_json::{Value, object};
use placet_record::{DecisionRecord, Kind};
use placet_store::Record;

pub use export::{ExportError, Exported, export};
pub use open::{OpenPackError, Pack, PackReport};

/// The name of the last entry.
pub(crate) const MANIFEST: &str = "manifest.json";
/// The page for people.
pub(crate) const REPORT: &str = "report.html";

/// Which records are the evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// The tenant.
    pub tenant: String,
    /// Recorded at this moment or later.
    pub since: Option<Timestamp>,
    /// Recorded before this moment.
    pub until: Option<Timestamp>,
    /// Only of this workflow.
    pub workflow: Option<String>,
    /// Only for this person.
    pub human: Option<String>,
    /// Whether everything before is in the pack, so that decisions can be made again.
    pub history: bool,
}

impl Selection {
    /// Whether a record of the tenant was recorded in the time that is asked about.
    pub(crate) fn is_in_time(&self, record: &Record) -> bool {
        self.since.is_none_or(|since| record.time_ms >= since.millis())
            && self.until.is_none_or(|until| record.time_ms < until.millis())
    }

    /// Whether a decision is asked about.
    pub(crate) fn holds(&self, record: &Record, decision: &DecisionRecord) -> bool {
        self.is_in_time(record)
            && record.tree == self.tenant
            && self.workflow.as_deref().is_none_or(|it| it == decision.grant.workflow.local().as_str())
            && self.human.as_deref().is_none_or(|it| it == decision.grant.human.as_str())
    }

    pub(crate) fn to_value(&self) -> Value {
        let text = |text: Option<String>| text.map_or(Value::Null, Value::from);
        object! {
            "history" => self.history, "human" => text(self.human.clone()), "since" => text(self.since.map(|at| at.to_string())),
            "tenant" => self.tenant.as_str(), "until" => text(self.until.map(|at| at.to_string())), "workflow" => text(self.workflow.clone()),
        }
        .into()
    }

    pub(crate) fn of_value(value: &Value) -> Option<Self> {
        let text = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
        let time = |name: &str| match text(name) {
            None => Some(None),
            Some(text) => Timestamp::parse(&text).ok().map(Some),
        };
        Some(Self {
            tenant: text("tenant")?,
            since: time("since")?,
            until: time("until")?,
            workflow: text("workflow"),
            human: text("human"),
            history: value.get("history").and_then(Value::as_bool)?,
        })
    }
}

/// A part of a pack: records next to each other in one tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) tree: String,
    pub(crate) directory: String,
    pub(crate) from: u64,
    pub(crate) to: u64,
}

/// A record as a line.
pub(crate) fn line(record: &Record) -> Vec<u8> {
    let mut line = format!("{} {} {} ", record.sequence, record.time_ms, record.kind).into_bytes();
    line.extend_from_slice(&record.payload);
    line.push(b'\n');
    line
}

/// A line as a record; what the chain said of it isn't in a pack.
pub(crate) fn record(line: &[u8], tree: &str) -> Option<Record> {
    let mut parts = line.splitn(4, |byte| *byte == b' ');
    let mut number = || std::str::from_utf8(parts.next()?).ok()?.parse::<u64>().ok();
    let (sequence, time_ms, kind) = (number()?, number()?, u8::try_from(number()?).ok()?);
    let payload = parts.next()?.to_vec();
    let mut body = Vec::with_capacity(payload.len().saturating_add(tree.len()).saturating_add(18));
    body.extend_from_slice(&sequence.to_le_bytes());
    body.extend_from_slice(&time_ms.to_le_bytes());
    body.extend_from_slice(&[kind, u8::try_from(tree.len()).ok()?]);
    body.extend_from_slice(tree.as_bytes());
    body.extend_from_slice(&payload);
    let leaf = placet_ledger::frame::leaf_hash(&body);
    let none = placet_ledger::Hash([0; 32]);
    Some(Record {
        sequence,
        time_ms,
        tree: tree.to_owned(),
        kind,
        payload,
        sealed: Vec::new(),
        leaf,
        link: none,
    })
}

/// The decision of a record, if it is one that can be read.
pub(crate) fn decision(record: &Record) -> Option<DecisionRecord> {
    (Kind::from_tag(record.kind) == Some(Kind::Decision))
        .then(|| DecisionRecord::read(&record.payload).ok())
        .flatten()
}
