//! The writer's connection, and the statements of a batch.

use std::future::Future;
use std::time::Duration;

use placet_ledger::Hash;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row, Statement};

use super::{DatabaseError, Postgres, schema, signed, unsigned};

/// A statement that isn't answered by then has failed.
const ANSWER: Duration = Duration::from_secs(6);
/// Batches that are read at once.
const PAGE: i64 = 64;

const HEAD: &str = "SELECT next, link, time_ms, journal FROM placet_head";
const LOCK: &str = "SELECT next, link, time_ms, journal FROM placet_head FOR UPDATE";
/// The batches with anything from a position on.
const NEWER: &str = "SELECT frames FROM placet_journal
  WHERE first >= coalesce((SELECT max(first) FROM placet_journal WHERE first <= $1), 0) AND last >= $1
  ORDER BY first LIMIT $2";
/// Writes a batch if the gateway's lease holds; a statement of its own, so that it sees what ended the lease while the
/// lock was waited for.
const WRITE: &str = "WITH head AS (
    UPDATE placet_head SET next = $2::bigint + 1, link = $3::bytea, time_ms = $4::bigint
    WHERE EXISTS (SELECT 1 FROM placet_gateway WHERE id = $5::bigint AND lease_until > clock_timestamp()) RETURNING 1),
  batch AS (
    INSERT INTO placet_journal (first, last, time_ms, gateway, batch, frames)
    SELECT $1::bigint, $2::bigint, $4::bigint, $5::bigint, $6::bytea, $7::bytea FROM head RETURNING 1)
  SELECT (SELECT count(*) FROM batch), pg_notify('placet_journal', ($5::bigint)::text)";
const BATCH: &str = "SELECT batch FROM placet_journal WHERE first = $1";
const REGISTER: &str = "INSERT INTO placet_gateway (name, lease_until)
  VALUES ($1, clock_timestamp() + $2::float8 * interval '1 millisecond') RETURNING id";

/// The journal's end as the database has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) next: u64,
    pub(crate) link: Hash,
    pub(crate) time_ms: u64,
    pub(crate) journal: [u8; 16],
}

/// A batch of some gateway.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) frames: Vec<u8>,
}

/// A batch of ours.
#[derive(Debug)]
pub(crate) struct Written<'a> {
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) link: Hash,
    pub(crate) time_ms: u64,
    pub(crate) gateway: i64,
    pub(crate) batch: &'a [u8; 16],
    pub(crate) frames: &'a [u8],
}

/// A connection with its statements. It works only while its runtime is blocked on.
pub(crate) struct Session {
    client: Client,
    head: Statement,
    lock: Statement,
    newer: Statement,
    write: Statement,
    batch: Statement,
}

impl Session {
    pub(crate) async fn open(database: &Postgres) -> Result<Self, DatabaseError> {
        let (client, link) = database.connect().await?;
        tokio::spawn(async move {
            if let Err(error) = link.await {
                tracing::debug!(error = super::tell(&error), "the connection to the database ended");
            }
        });
        let prepared = async {
            schema::session(&client).await?;
            let (head, lock, newer, write, batch) = futures::try_join!(
                client.prepare(HEAD),
                client.prepare(LOCK),
                client.prepare(NEWER),
                client.prepare(WRITE),
                client.prepare(BATCH),
            )?;
            Ok((head, lock, newer, write, batch))
        };
        let (head, lock, newer, write, batch) = within(prepared).await?;
        Ok(Self { client, head, lock, newer, write, batch })
    }

    /// The journal's end.
    pub(crate) async fn head(&self) -> Result<Head, DatabaseError> {
        within(async { head(&self.client.query_one(&self.head, &[]).await?) }).await
    }

    /// The batches from a position on, at most a page of them.
    pub(crate) async fn newer(&self, from: u64) -> Result<Vec<Stored>, DatabaseError> {
        within(async { stored(self.client.query(&self.newer, &[&signed(from), &PAGE]).await?) }).await
    }

    /// Begins a transaction, locks the head, and reads the batches from a position on: one way there and back.
    pub(crate) async fn lock(&self, from: u64) -> Result<(Head, Vec<Stored>), DatabaseError> {
        within(async {
            let from = signed(from);
            let params: [&(dyn tokio_postgres::types::ToSql + Sync); 2] = [&from, &PAGE];
            // Each statement sees what was committed when it began, so the batches are read behind the lock.
            let ((), locked, newer) = futures::try_join!(
                self.client.batch_execute("BEGIN"),
                self.client.query_one(&self.lock, &[]),
                self.client.query(&self.newer, &params),
            )?;
            Ok((head(&locked)?, stored(newer)?))
        })
        .await
    }

    /// Writes a batch in the transaction that was begun, and commits. `false`: the lease has ended, and nothing was
    /// written. After an error only [`Session::batch_at`] of another session tells.
    pub(crate) async fn commit(&self, batch: &Written<'_>) -> Result<bool, DatabaseError> {
        within(async {
            let (first, last, time) = (signed(batch.first), signed(batch.last), signed(batch.time_ms));
            let (link, id) = (batch.link.0.as_slice(), batch.batch.as_slice());
            let params: [&(dyn tokio_postgres::types::ToSql + Sync); 7] =
                [&first, &last, &link, &time, &batch.gateway, &id, &batch.frames];
            let (written, committed) = futures::join!(
                self.client.query_one(&self.write, &params),
                self.client.batch_execute("COMMIT"),
            );
            // A commit of a transaction that failed succeeds, as a rollback.
            let rows: i64 = written?.try_get(0)?;
            committed?;
            Ok(rows == 1)
        })
        .await
    }

    /// Ends the transaction without having written anything.
    pub(crate) async fn rollback(&self) -> Result<(), DatabaseError> {
        within(async { Ok(self.client.batch_execute("ROLLBACK").await?) }).await
    }

    /// The id of the batch at a position, in the transaction that was begun.
    pub(crate) async fn batch_at(&self, first: u64) -> Result<Option<Vec<u8>>, DatabaseError> {
        within(async {
            let row = self.client.query_opt(&self.batch, &[&signed(first)]).await?;
            Ok(row.map(|row| row.try_get(0)).transpose()?)
        })
        .await
    }

    /// The keys of subjects.
    pub(crate) async fn subjects(&self) -> Result<Vec<crate::subjects::Row>, DatabaseError> {
        super::subjects::all(&self.client).await
    }

    /// The digests of the releases that are kept.
    pub(crate) async fn releases(&self) -> Result<Vec<String>, DatabaseError> {
        within(async {
            let rows = self.client.query_typed("SELECT digest FROM placet_release ORDER BY 1", &[]).await?;
            Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
        })
        .await
    }

    /// A release's archive.
    pub(crate) async fn release(&self, digest: &str) -> Result<Vec<u8>, DatabaseError> {
        within(async {
            let sql = "SELECT archive FROM placet_release WHERE digest = $1";
            Ok(self.client.query_typed_one(sql, &[(&digest, Type::TEXT)]).await?.try_get(0)?)
        })
        .await
    }

    /// Enters this gateway under a new number.
    pub(crate) async fn register(&self, database: &Postgres) -> Result<i64, DatabaseError> {
        within(register(&self.client, database)).await
    }
}

/// Enters a gateway; the number is that of its lease.
pub(crate) async fn register(client: &Client, database: &Postgres) -> Result<i64, DatabaseError> {
    let statement = client.prepare(REGISTER).await?;
    let lease = lease_ms(database);
    Ok(client.query_one(&statement, &[&database.gateway, &lease]).await?.try_get(0)?)
}

/// The lease as the database takes it.
pub(crate) fn lease_ms(database: &Postgres) -> f64 {
    database.lease.as_secs_f64() * 1000.0
}

fn head(row: &Row) -> Result<Head, DatabaseError> {
    let (link, journal): (Vec<u8>, Vec<u8>) = (row.try_get(1)?, row.try_get(3)?);
    let odd = |_| DatabaseError::Failed("the head isn't one of ours".to_owned());
    Ok(Head {
        next: unsigned(row.try_get(0)?),
        link: Hash(link.try_into().map_err(odd)?),
        time_ms: unsigned(row.try_get(2)?),
        journal: journal.try_into().map_err(odd)?,
    })
}

fn stored(rows: Vec<Row>) -> Result<Vec<Stored>, DatabaseError> {
    rows.into_iter().map(|row| Ok(Stored { frames: row.try_get(0)? })).collect()
}

/// What isn't answered in time has failed.
async fn within<T>(answer: impl Future<Output = Result<T, DatabaseError>>) -> Result<T, DatabaseError> {
    match tokio::time::timeout(ANSWER, answer).await {
        Ok(answer) => answer,
        Err(_) => Err(DatabaseError::Failed("it doesn't answer".to_owned())),
    }
}
