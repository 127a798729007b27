//! Somebody else's database, to be read: rows of tables and queries, as JSON.
//!
//! Nothing is written there. A read is one read-only transaction that sees one moment of all tables; each row's size, each
//! page and each statement's time are bounded, and rows that are larger stay where they are.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio_postgres::config::TargetSessionAttrs;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{AsyncMessage, Client, IsolationLevel, Row as PgRow, Statement, Transaction};

use super::{DatabaseError, Link, Postgres, tell};

/// Rows that are fetched at once.
const PAGE: i32 = 256;
/// How much longer than its statement an answer may take.
const GRACE: Duration = Duration::from_secs(5);

/// A database that is read.
#[derive(Debug, Clone)]
pub struct Foreign {
    database: Postgres,
    /// How long one statement, or the next page of its rows, may take.
    statement: Duration,
    /// The most bytes of a row; of a larger one only its key is read.
    row_bytes: u32,
    /// A channel on which changes are announced.
    channel: Option<String>,
}

/// What is read of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableSpec {
    /// The rows.
    pub rows: RowsOf,
    /// The columns that tell rows apart.
    pub key: Vec<String>,
    /// The column that grows with every change of a row.
    pub version: Option<String>,
    /// The column that says that a row is gone: true, or anything but null where it is no boolean.
    pub deleted: Option<String>,
    /// The column that names the tenant.
    pub tenant: Option<String>,
    /// The columns of a row's document.
    pub columns: BTreeSet<String>,
}

/// Where rows come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowsOf {
    /// A table or view, its schema before it where it has one: `schema.table`.
    Table(String),
    /// The text of a query, without a semicolon.
    Query(String),
}

/// A row as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignRow {
    /// Its key: a JSON array.
    pub key: String,
    /// Whether the table says that it is gone.
    pub deleted: bool,
    /// What stands in the tenant's column; none for null, and where no such column is named.
    pub tenant: Option<String>,
    /// Its document, JSON; none where it is larger than a row may be.
    pub document: Option<String>,
    /// The document's size.
    pub bytes: u64,
    /// Whether a column of numbers holds none: `NaN`, or an infinite one, which JSON has no number for.
    pub odd: bool,
}

/// A table that was found to be there, with its columns.
#[derive(Clone)]
pub struct Prepared {
    all: Statement,
    newer: Option<Statement>,
    newest: Option<Statement>,
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prepared").field("newer", &self.newer.is_some()).finish_non_exhaustive()
    }
}

/// Why reading stopped.
#[derive(Debug, thiserror::Error)]
pub enum ReadStopped<E> {
    /// The database.
    #[error("{0}")]
    Database(DatabaseError),
    /// Whoever took the rows.
    #[error("{0}")]
    Taker(E),
}

impl<E> From<tokio_postgres::Error> for ReadStopped<E> {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Database(error.into())
    }
}

impl Foreign {
    /// Where it is. `name` stands in its list of sessions; for the other arguments see [`Postgres::new`]. `channel`: a
    /// name on which it notifies of changes.
    pub fn new(
        url: &str,
        name: &str,
        ca: Option<&Path>,
        plain: bool,
        (statement, row_bytes): (Duration, u32),
        channel: Option<&str>,
    ) -> Result<Self, DatabaseError> {
        let mut database = Postgres::new(url, name, ca, plain)?;
        // A replica can be read as well.
        database.config.target_session_attrs(TargetSessionAttrs::Any);
        Ok(Self { database, statement, row_bytes, channel: channel.map(str::to_owned) })
    }

    /// Connects. `wake` is notified when the database announces a change.
    pub async fn connect(&self, wake: Arc<Notify>) -> Result<ForeignReader, DatabaseError> {
        let (client, link) = self.database.connect().await?;
        let ended = Ended(tokio::spawn(carry(link, wake)));
        let millis = self.statement.as_millis();
        let listen = self.channel.as_deref().map_or_else(String::new, |it| format!("LISTEN {};", quoted(it)));
        let session = format!(
            "SET default_transaction_read_only = on; SET statement_timeout = {millis}; SET lock_timeout = {millis};
             SET idle_in_transaction_session_timeout = {}; SET TimeZone = 'UTC'; SET DateStyle = 'ISO, YMD';
             SET IntervalStyle = 'iso_8601'; SET bytea_output = 'hex'; SET extra_float_digits = 1;
             SET client_min_messages = 'warning'; {listen}",
            millis.saturating_mul(2).max(10_000)
        );
        let reader = ForeignReader {
            client,
            _ended: ended,
            limit: self.statement.saturating_add(GRACE),
            row_bytes: self.row_bytes,
        };
        reader.within(async { Ok(reader.client.batch_execute(&session).await?) }).await?;
        Ok(reader)
    }
}

/// The connection's task goes with its reader.
struct Ended(tokio::task::JoinHandle<()>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A connection to a database that is read.
pub struct ForeignReader {
    client: Client,
    _ended: Ended,
    limit: Duration,
    row_bytes: u32,
}

impl fmt::Debug for ForeignReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForeignReader").finish_non_exhaustive()
    }
}

impl ForeignReader {
    /// Whether the connection has ended.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Looks whether a table and its columns are there and can be read.
    pub async fn prepare(&self, table: &TableSpec) -> Result<Prepared, DatabaseError> {
        self.within(async {
            let probe = self.client.prepare(&probe(table)).await?;
            let kind = |at: usize| probe.columns().get(at).map(|column| column.type_().clone());
            let version = match (&table.version, kind(0)) {
                (None, _) => None,
                (Some(_), Some(kind)) if VERSIONS.contains(&kind) => Some(kind),
                (Some(name), kind) => {
                    let kind = kind.map_or_else(String::new, |kind| kind.name().to_owned());
                    return Err(DatabaseError::Failed(format!(
                        "the column `{name}` is of type `{kind}`: a version is a whole number, a `numeric` or a `timestamptz`"
                    )));
                }
            };
            let flag = kind(1) == Some(Type::BOOL);
            let numbers = probe.columns().iter().skip(2).filter(|column| NUMBERS.contains(column.type_()));
            let numbers: Vec<String> = numbers.map(|column| column.name().to_owned()).collect();
            let all = self.client.prepare_typed(&select(table, flag, &numbers, None), &[Type::INT4]).await?;
            let (newer, newest) = match &version {
                None => (None, None),
                Some(kind) => {
                    let types = [Type::INT4, Type::TEXT];
                    let newer = self.client.prepare_typed(&select(table, flag, &numbers, Some(kind)), &types).await?;
                    (Some(newer), Some(self.client.prepare(&newest(table, kind)).await?))
                }
            };
            Ok(Prepared { all, newer, newest })
        })
        .await
    }

    /// Begins to read at one moment of the database.
    pub async fn moment(&mut self) -> Result<Moment<'_>, DatabaseError> {
        let (limit, row_bytes) = (self.limit, self.row_bytes);
        let begin =
            self.client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true);
        match tokio::time::timeout(limit, begin.start()).await {
            Ok(transaction) => Ok(Moment { transaction: transaction?, limit, row_bytes }),
            Err(_) => Err(silent()),
        }
    }

    async fn within<T>(
        &self,
        answer: impl Future<Output = Result<T, DatabaseError>>,
    ) -> Result<T, DatabaseError> {
        tokio::time::timeout(self.limit, answer).await.unwrap_or_else(|_| Err(silent()))
    }
}

/// One moment of the database.
pub struct Moment<'a> {
    transaction: Transaction<'a>,
    limit: Duration,
    row_bytes: u32,
}

impl fmt::Debug for Moment<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Moment").finish_non_exhaustive()
    }
}

impl Moment<'_> {
    /// Gives the rows to `take`, page by page: all of them, or those whose version is `since` or a later one. Where the
    /// table has no version it is all of them.
    pub async fn rows<E>(
        &self,
        table: &Prepared,
        since: Option<&str>,
        mut take: impl FnMut(ForeignRow) -> Result<(), E>,
    ) -> Result<(), ReadStopped<E>> {
        let most = i32::try_from(self.row_bytes).unwrap_or(i32::MAX);
        let (statement, params): (&Statement, &[&(dyn ToSql + Sync)]) = match (&table.newer, &since) {
            (Some(newer), Some(since)) => (newer, &[&most, since]),
            _ => (&table.all, &[&most]),
        };
        let portal = self.within(self.transaction.bind(statement, params)).await?;
        loop {
            let page = self.within(self.transaction.query_portal(&portal, PAGE)).await?;
            let last = page.len() < usize::try_from(PAGE).unwrap_or(usize::MAX);
            for row in &page {
                take(read(row)?).map_err(ReadStopped::Taker)?;
            }
            if last {
                return Ok(());
            }
        }
    }

    /// The newest version of a table that isn't ahead of the database's clock; none where there is none.
    pub async fn newest(&self, table: &Prepared) -> Result<Option<String>, DatabaseError> {
        let Some(statement) = &table.newest else { return Ok(None) };
        let row = tokio::time::timeout(self.limit, self.transaction.query_one(statement, &[])).await;
        Ok(row.map_err(|_| silent())??.try_get(0)?)
    }

    async fn within<T, E>(
        &self,
        answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, ReadStopped<E>> {
        match tokio::time::timeout(self.limit, answer).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(ReadStopped::Database(silent())),
        }
    }
}

/// The types of a version: they are ordered, and written and read back exactly.
const VERSIONS: &[Type] =
    &[Type::INT2, Type::INT4, Type::INT8, Type::NUMERIC, Type::TIMESTAMPTZ, Type::TIMESTAMP];

/// The types that have values beside numbers.
const NUMBERS: &[Type] = &[Type::NUMERIC, Type::FLOAT4, Type::FLOAT8];

fn silent() -> DatabaseError {
    DatabaseError::Failed("it doesn't answer".to_owned())
}

fn read<E>(row: &PgRow) -> Result<ForeignRow, ReadStopped<E>> {
    let bytes: i32 = row.try_get(4)?;
    Ok(ForeignRow {
        key: row.try_get(0)?,
        deleted: row.try_get(1)?,
        tenant: row.try_get(2)?,
        document: row.try_get(3)?,
        bytes: u64::try_from(bytes).unwrap_or(0),
        odd: row.try_get(5)?,
    })
}

/// Carries messages until the connection ends.
async fn carry(mut link: Link, wake: Arc<Notify>) {
    loop {
        match std::future::poll_fn(|context| link.poll_message(context)).await {
            Some(Ok(AsyncMessage::Notification(_))) => wake.notify_one(),
            Some(Ok(_)) => {}
            Some(Err(error)) => {
                tracing::debug!(error = tell(&error), "the connection to a database of facts broke");
                return;
            }
            None => return,
        }
    }
}

/// As an identifier of SQL.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn source(table: &TableSpec) -> String {
    match &table.rows {
        RowsOf::Table(name) => name.split('.').map(quoted).collect::<Vec<_>>().join("."),
        // On a line of its own: the query's last line may be a comment.
        RowsOf::Query(text) => format!("({text}\n)"),
    }
}

fn column(name: &str) -> String {
    format!("t.{}", quoted(name))
}

/// Asks for nothing but the types of columns: the version, the mark of what is gone, then the document's.
fn probe(table: &TableSpec) -> String {
    let of = |name: &Option<String>| name.as_deref().map_or_else(|| "NULL".to_owned(), column);
    let columns = table.columns.iter().map(|name| column(name));
    let all = [of(&table.version), of(&table.deleted)].into_iter().chain(columns).collect::<Vec<_>>();
    format!("SELECT {} FROM {} AS t", all.join(", "), source(table))
}

fn select(table: &TableSpec, flag: bool, numbers: &[String], version: Option<&Type>) -> String {
    let odd = |name: &String| {
        format!("coalesce({}::text IN ('NaN', 'Infinity', '-Infinity'), false)", column(name))
    };
    let odd =
        std::iter::once("false".to_owned()).chain(numbers.iter().map(odd)).collect::<Vec<_>>().join(" OR ");
    let list = |names: &mut dyn Iterator<Item = &String>| {
        names.map(|name| column(name)).collect::<Vec<_>>().join(", ")
    };
    let deleted = match &table.deleted {
        None => "false".to_owned(),
        Some(name) if flag => format!("coalesce({}, false)", column(name)),
        Some(name) => format!("{} IS NOT NULL", column(name)),
    };
    let tenant = table
        .tenant
        .as_ref()
        .map_or_else(|| "NULL::text".to_owned(), |name| format!("{}::text", column(name)));
    let since = match (version, &table.version) {
        (Some(kind), Some(name)) => {
            format!(" WHERE {0} >= $2::text::{1} ORDER BY {0}", column(name), kind.name())
        }
        _ => String::new(),
    };
    format!(
        "SELECT json_build_array({})::text, {deleted}, {tenant}, CASE WHEN octet_length(b.body) <= $1 THEN b.body END, octet_length(b.body), {odd}
         FROM {} AS t CROSS JOIN LATERAL (SELECT row_to_json(c)::text AS body FROM (SELECT {}) AS c) AS b{since}",
        list(&mut table.key.iter()),
        source(table),
        list(&mut table.columns.iter()),
    )
}

/// A version that is ahead of the clock would hide all that come before it.
fn newest(table: &TableSpec, kind: &Type) -> String {
    let name = table.version.as_deref().map_or_else(|| "NULL".to_owned(), column);
    let behind = match *kind {
        Type::TIMESTAMPTZ => format!(" WHERE {name} <= clock_timestamp()"),
        Type::TIMESTAMP => format!(" WHERE {name} <= (clock_timestamp() AT TIME ZONE 'UTC')"),
        _ => String::new(),
    };
    format!("SELECT max({name})::text FROM {} AS t{behind}", source(table))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_and_a_query_ends_on_its_own_line() {
        let mut table = TableSpec {
            rows: RowsOf::Table("crm.the \"cases\"".to_owned()),
            key: vec!["id".to_owned()],
            version: Some("at\"; DROP TABLE x; --".to_owned()),
            deleted: None,
            tenant: None,
            columns: ["id".to_owned()].into(),
        };
        let sql = select(&table, false, &["n".to_owned()], Some(&Type::TIMESTAMPTZ));
        assert!(sql.contains("FROM \"crm\".\"the \"\"cases\"\"\" AS t"), "{sql}");
        assert!(sql.contains("t.\"at\"\"; DROP TABLE x; --\" >= $2::text::timestamptz"), "{sql}");
        table.rows = RowsOf::Query("SELECT 1 AS id -- all".to_owned());
        assert!(select(&table, false, &[], None).contains("(SELECT 1 AS id -- all\n) AS t"));
    }
}
