//! The search index: a table over the records, never the truth, made again from the journal at will.

use std::fmt::Write as _;
use std::path::Path;

use rusqlite::{Connection, OptionalExtension, Transaction, params, params_from_iter, types::Value};

use crate::reader::{ReadError, Reader, Record};

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS position (one INTEGER PRIMARY KEY CHECK (one = 1), seq INTEGER NOT NULL, link BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS trees (tree TEXT PRIMARY KEY, size INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS records (
  seq INTEGER PRIMARY KEY, time_ms INTEGER NOT NULL, tree TEXT NOT NULL, leaf INTEGER NOT NULL, kind INTEGER NOT NULL,
  human TEXT, agent TEXT, workflow TEXT, intent TEXT, action TEXT, resource TEXT,
  decision TEXT, reason TEXT, release TEXT, decision_id TEXT);
";
/// Columns that a filter may name; each has an index.
const COLUMNS: [&str; 10] = [
    "human",
    "agent",
    "workflow",
    "intent",
    "action",
    "resource",
    "decision",
    "reason",
    "release",
    "decision_id",
];
/// Records of one transaction.
const CHUNK: usize = 2000;
/// The most rows that one search returns.
const MAX_ROWS: u32 = 10_000;

/// What the index knows of a record besides its frame. `None`: the record has no such field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// For whom.
    pub human: Option<String>,
    /// The agent that acted.
    pub agent: Option<String>,
    /// In which workflow.
    pub workflow: Option<String>,
    /// For which purpose.
    pub intent: Option<String>,
    /// What was asked.
    pub action: Option<String>,
    /// On what.
    pub resource: Option<String>,
    /// What was decided.
    pub decision: Option<String>,
    /// The first reason's code.
    pub reason: Option<String>,
    /// The release that decided.
    pub release: Option<String>,
    /// The decision that the record is or belongs to.
    pub decision_id: Option<String>,
}

/// A row that a search found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Sequence in the journal.
    pub sequence: u64,
    /// Unix ms.
    pub time_ms: u64,
    /// Its tree.
    pub tree: String,
    /// Its leaf in the tree, from 0: what an inclusion proof is about.
    pub leaf: u64,
    /// What the record is.
    pub kind: u8,
    /// The extracted fields.
    pub row: Row,
}

/// What is searched: every field that is set must match exactly.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only this tree.
    pub tree: Option<String>,
    /// Only these kinds; empty: all.
    pub kinds: Vec<u8>,
    /// Fields that must match.
    pub row: Row,
    /// Not before, Unix ms.
    pub from_ms: Option<u64>,
    /// Before, Unix ms.
    pub until_ms: Option<u64>,
    /// Sequences below this one: the last row's of the page before.
    pub below: Option<u64>,
    /// Rows at most, up to 10,000; `None`: 100.
    pub limit: Option<u32>,
}

/// Why the index can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ProjectionError {
    /// SQLite.
    #[error("the search index failed: {0}")]
    Sql(#[from] rusqlite::Error),
    /// The journal.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// It was made from another journal, or from records that are no longer there: rebuild it.
    #[error("the search index was made from another journal; rebuild it with `placet doctor --rebuild`")]
    Foreign,
}

/// The index.
#[derive(Debug)]
pub struct Projection {
    db: Connection,
}

impl Projection {
    /// Opens or creates `data/index.sqlite`.
    pub fn open(data: &Path) -> Result<Self, ProjectionError> {
        Self::with(Connection::open(data.join("index.sqlite"))?)
    }

    /// An index in memory, for one use on somebody else's directory.
    pub fn in_memory() -> Result<Self, ProjectionError> {
        Self::with(Connection::open_in_memory()?)
    }

    fn with(db: Connection) -> Result<Self, ProjectionError> {
        db.busy_timeout(std::time::Duration::from_secs(5))?;
        // A projection may lose its last rows in a crash: the journal still has them.
        db.pragma_update(None, "journal_mode", "WAL")?;
        db.pragma_update(None, "synchronous", "NORMAL")?;
        db.execute_batch(SCHEMA)?;
        for column in COLUMNS {
            db.execute_batch(&format!(
                "CREATE INDEX IF NOT EXISTS by_{column} ON records ({column}, seq) WHERE {column} IS NOT NULL"
            ))?;
        }
        db.execute_batch(
            "CREATE INDEX IF NOT EXISTS by_tree ON records (tree, seq);
             CREATE UNIQUE INDEX IF NOT EXISTS by_leaf ON records (tree, leaf);
             CREATE INDEX IF NOT EXISTS by_time ON records (time_ms);",
        )?;
        Ok(Self { db })
    }

    /// The last sequence in the index.
    pub fn last(&self) -> Result<u64, ProjectionError> {
        Ok(self.position()?.map_or(0, |(sequence, _)| sequence))
    }

    /// Indexes what the journal has beyond the index; `extract` reads a record. Returns how many.
    pub fn catch_up(
        &mut self,
        reader: &Reader,
        mut extract: impl FnMut(&Record) -> Row,
    ) -> Result<u64, ProjectionError> {
        let mut at = 0;
        if let Some((sequence, link)) = self.position()? {
            let there = reader.get(sequence)?.is_some_and(|record| record.link.0.as_slice() == link);
            if !there {
                return Err(ProjectionError::Foreign);
            }
            at = sequence;
        }
        let end = reader.last();
        let indexed = end.saturating_sub(at);
        let mut records = reader.range(at.saturating_add(1), end).peekable();
        while records.peek().is_some() {
            let transaction = self.db.transaction()?;
            for record in records.by_ref().take(CHUNK) {
                let record = record?;
                insert(&transaction, &record, &extract(&record))?;
            }
            transaction.commit()?;
        }
        Ok(indexed)
    }

    /// Forgets everything and indexes the whole journal again.
    pub fn rebuild(
        &mut self,
        reader: &Reader,
        extract: impl FnMut(&Record) -> Row,
    ) -> Result<u64, ProjectionError> {
        self.db
            .execute_batch("BEGIN; DELETE FROM records; DELETE FROM trees; DELETE FROM position; COMMIT;")?;
        self.catch_up(reader, extract)
    }

    /// The rows that match, the newest first.
    pub fn search(&self, filter: &Filter) -> Result<Vec<Found>, ProjectionError> {
        let (sql, values) = filter.sql();
        let mut statement = self.db.prepare_cached(&sql)?;
        let rows = statement.query_map(params_from_iter(values), found)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn position(&self) -> Result<Option<(u64, Vec<u8>)>, ProjectionError> {
        Ok(self
            .db
            .query_row("SELECT seq, link FROM position", [], |row| Ok((unsigned(row.get(0)?), row.get(1)?)))
            .optional()?)
    }
}

fn insert(transaction: &Transaction<'_>, record: &Record, row: &Row) -> rusqlite::Result<()> {
    let leaf: i64 = transaction
        .prepare_cached(
            "INSERT INTO trees VALUES (?1, 1) ON CONFLICT (tree) DO UPDATE SET size = size + 1 RETURNING size - 1",
        )?
        .query_row([&record.tree], |row| row.get(0))?;
    let Row { human, agent, workflow, intent, action, resource, decision, reason, release, decision_id } =
        row;
    transaction
        .prepare_cached("INSERT INTO records VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15)")?
        .execute(params![
            signed(record.sequence),
            signed(record.time_ms),
            record.tree,
            leaf,
            record.kind,
            human,
            agent,
            workflow,
            intent,
            action,
            resource,
            decision,
            reason,
            release,
            decision_id
        ])?;
    transaction
        .prepare_cached(
            "INSERT INTO position VALUES (1, ?1, ?2) ON CONFLICT (one) DO UPDATE SET seq = ?1, link = ?2",
        )?
        .execute(params![signed(record.sequence), record.link.0.as_slice()])?;
    Ok(())
}

impl Filter {
    fn sql(&self) -> (String, Vec<Value>) {
        let Row { human, agent, workflow, intent, action, resource, decision, reason, release, decision_id } =
            &self.row;
        let fields =
            [human, agent, workflow, intent, action, resource, decision, reason, release, decision_id];
        let texts = COLUMNS.into_iter().zip(fields).chain([("tree", &self.tree)]);
        let mut sql = "SELECT * FROM records WHERE 1".to_owned();
        let mut values = Vec::new();
        let mut and = |condition: &str, value: Value| {
            sql.push_str(" AND ");
            sql.push_str(condition);
            values.push(value);
        };
        for (column, value) in texts {
            if let Some(value) = value {
                and(&format!("{column} = ?"), Value::Text(value.clone()));
            }
        }
        let bounds =
            [("time_ms >= ?", self.from_ms), ("time_ms < ?", self.until_ms), ("seq < ?", self.below)];
        for (condition, bound) in bounds {
            if let Some(bound) = bound {
                and(condition, Value::Integer(signed(bound)));
            }
        }
        if !self.kinds.is_empty() {
            let kinds: Vec<String> = self.kinds.iter().map(u8::to_string).collect();
            sql.push_str(" AND kind IN (");
            sql.push_str(&kinds.join(","));
            sql.push(')');
        }
        let limit = self.limit.unwrap_or(100).min(MAX_ROWS);
        // Writing to a `String` cannot fail.
        write!(sql, " ORDER BY seq DESC LIMIT {limit}").unwrap_or_default();
        (sql, values)
    }
}

fn found(row: &rusqlite::Row<'_>) -> rusqlite::Result<Found> {
    Ok(Found {
        sequence: unsigned(row.get("seq")?),
        time_ms: unsigned(row.get("time_ms")?),
        tree: row.get("tree")?,
        leaf: unsigned(row.get("leaf")?),
        kind: row.get("kind")?,
        row: Row {
            human: row.get("human")?,
            agent: row.get("agent")?,
            workflow: row.get("workflow")?,
            intent: row.get("intent")?,
            action: row.get("action")?,
            resource: row.get("resource")?,
            decision: row.get("decision")?,
            reason: row.get("reason")?,
            release: row.get("release")?,
            decision_id: row.get("decision_id")?,
        },
    })
}

/// SQLite's integers are signed; sequences and times stay far below 2^63.
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_searched_by_its_index() {
        let index = Projection::in_memory().unwrap();
        for (at, column) in COLUMNS.into_iter().enumerate() {
            let mut row = Row::default();
            let fields = [
                &mut row.human,
                &mut row.agent,
                &mut row.workflow,
                &mut row.intent,
                &mut row.action,
                &mut row.resource,
                &mut row.decision,
                &mut row.reason,
                &mut row.release,
                &mut row.decision_id,
            ];
            *fields.into_iter().nth(at).unwrap() = Some("x".into());
            let (sql, values) = Filter { row, ..Filter::default() }.sql();
            let mut statement = index.db.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let plan: Vec<String> = statement
                .query_map(params_from_iter(values), |row| row.get("detail"))
                .unwrap()
                .map(Result::unwrap)
                .collect();
            assert!(plan[0].contains(&format!("USING INDEX by_{column} ({column}=?)")), "{plan:?}");
            assert_eq!(plan.len(), 1, "no sorting: {plan:?}");
        }
    }
}
