//! Finding decisions by what they were about.

use placet_core::Timestamp;
use placet_json::{Limits, Value, object};
use placet_record::Kind;
use placet_store::{Filter, Projection, ProjectionError, Record, Row};

use crate::Data;

/// Why a search can't be done.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct SearchError(#[from] ProjectionError);

/// What is searched: every field that is set must match exactly.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    /// The tenant.
    pub tenant: Option<String>,
    /// Kinds of records; empty: decisions.
    pub kinds: Vec<Kind>,
    /// The fields.
    pub row: Row,
    /// Recorded at this moment or later.
    pub since: Option<Timestamp>,
    /// Recorded before this moment.
    pub until: Option<Timestamp>,
    /// Positions below this one: the last entry of the page before.
    pub below: Option<u64>,
    /// Entries at most, up to 10,000; none: 100.
    pub limit: Option<u32>,
}

/// An entry that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its position in the journal.
    pub sequence: u64,
    /// When it was recorded.
    pub time: Timestamp,
    /// Its tree: the tenant's, or the organisation's.
    pub tree: String,
    /// Its leaf in the tree, from 0.
    pub leaf: u64,
    /// What it is.
    pub kind: Option<Kind>,
    /// The fields.
    pub row: Row,
}

impl Entry {
    /// As JSON.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let Self { sequence, time, tree, leaf, kind, row } = self;
        let Row { human, agent, workflow, intent, action, resource, decision, reason, release, decision_id } =
            row;
        let text = |text: &Option<String>| text.as_deref().map_or(Value::Null, Value::from);
        Value::from(object! {
            "sequence" => *sequence, "time" => time.to_string(), "tree" => tree.as_str(), "leaf" => *leaf,
            "kind" => kind.map_or(Value::Null, |kind| Value::from(kind.as_str())), "id" => text(decision_id),
            "decision" => text(decision), "reason" => text(reason), "human" => text(human), "agent" => text(agent),
            "workflow" => text(workflow), "intent" => text(intent), "action" => text(action), "resource" => text(resource),
            "release" => text(release),
        })
    }
}

/// The search index of a directory, brought up to date. Made again where it was made from another journal; in memory
/// where the directory can't be written to.
pub fn index(data: &Data) -> Result<Projection, SearchError> {
    match Projection::open(data.dir()) {
        Ok(mut index) => match index.catch_up(data.reader(), extract) {
            Ok(_) => return Ok(index),
            Err(ProjectionError::Foreign) => match index.rebuild(data.reader(), extract) {
                Ok(_) => return Ok(index),
                Err(ProjectionError::Sql(_)) => {}
                Err(error) => return Err(error.into()),
            },
            Err(ProjectionError::Sql(_)) => {}
            Err(error) => return Err(error.into()),
        },
        Err(ProjectionError::Sql(_)) => {}
        Err(error) => return Err(error.into()),
    }
    let mut index = Projection::in_memory()?;
    index.catch_up(data.reader(), extract)?;
    Ok(index)
}

/// The entries that match, the newest first.
pub fn search(index: &Projection, query: &Query) -> Result<Vec<Entry>, SearchError> {
    let Query { tenant, kinds, row, since, until, below, limit } = query;
    let kinds = if kinds.is_empty() {
        vec![Kind::Decision.tag()]
    } else {
        kinds.iter().map(|kind| kind.tag()).collect()
    };
    let filter = Filter {
        tree: tenant.clone(),
        kinds,
        row: row.clone(),
        from_ms: since.map(Timestamp::millis),
        until_ms: until.map(Timestamp::millis),
        below: *below,
        limit: *limit,
    };
    let found = index.search(&filter)?.into_iter().map(|found| Entry {
        sequence: found.sequence,
        time: Timestamp::from_millis(found.time_ms),
        tree: found.tree,
        leaf: found.leaf,
        kind: Kind::from_tag(found.kind),
        row: found.row,
    });
    Ok(found.collect())
}

/// What the index keeps of a record; of one that can't be read, nothing but its place.
#[must_use]
pub fn extract(record: &Record) -> Row {
    let Ok(document) = placet_json::parse(&record.payload, &Limits::RESULT) else { return Row::default() };
    let text = |pointer: &str| document.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    match Kind::from_tag(record.kind) {
        Some(Kind::Decision) => {
            let of = if document.get("call").is_some() { "/call" } else { "/attempt" };
            let first = |name: &str| text(&format!("{of}/resources/0/{name}"));
            Row {
                human: text("/human"),
                agent: text("/agent"),
                workflow: text("/workflow"),
                intent: text("/intent"),
                action: text(&format!("{of}/action")),
                resource: first("type").zip(first("id")).map(|(kind, id)| format!("{kind}:{id}")),
                decision: text("/decision"),
                reason: text("/reasons/0/code"),
                release: text("/release"),
                decision_id: text("/id"),
            }
        }
        Some(Kind::Effect) => Row {
            workflow: text("/workflow"),
            decision: text("/ending"),
            decision_id: text("/decision"),
            ..Row::default()
        },
        Some(Kind::Amendment) => Row {
            workflow: text("/workflow"),
            human: text("/by").filter(|by| by != "resolver"),
            decision: text("/finding"),
            reason: text("/why"),
            decision_id: text("/decision"),
            ..Row::default()
        },
        Some(Kind::Gap) => Row { human: text("/gap/by"), reason: text("/gap/why"), ..Row::default() },
        Some(Kind::Release) => Row { human: text("/by"), release: text("/release"), ..Row::default() },
        Some(Kind::Act) => {
            Row { human: text("/by"), action: text("/verb"), reason: text("/why"), ..Row::default() }
        }
        Some(Kind::Facts) => {
            Row { human: text("/transaction/author"), reason: text("/transaction/why"), ..Row::default() }
        }
        // It is found by what was refused most.
        Some(Kind::Refusals) => Row {
            agent: text("/agent"),
            action: text("/refused/0/action"),
            resource: text("/refused/0/resource").filter(|resource| !resource.is_empty()),
            decision: Some("deny".to_owned()),
            reason: text("/refused/0/code"),
            ..Row::default()
        },
        None => Row::default(),
    }
}
