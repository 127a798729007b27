//! The keys of subjects in the gateways' database. A row without a wrapped key is erased.

use std::sync::Arc;

use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row as DbRow};

use super::{Commons, DatabaseError};
use crate::subjects::{Kept, Row, SubjectKeyId};

/// Made apart from the other tables, so that a database of an older version gets it, too.
pub(crate) const TABLE: &str = "
BEGIN;
SELECT pg_advisory_xact_lock(7812443908);
CREATE TABLE IF NOT EXISTS placet_subject (id bytea PRIMARY KEY, subject text, wrapped bytea);
CREATE INDEX IF NOT EXISTS placet_subject_name ON placet_subject (subject) WHERE subject IS NOT NULL;
COMMIT;
";

const ALL: &str = "SELECT id, subject, wrapped FROM placet_subject ORDER BY id";

impl Commons {
    /// All keys.
    pub(crate) async fn subject_keys(&self) -> Result<Vec<Row>, DatabaseError> {
        let rows = self.client()?.query_typed(ALL, &[]).await?;
        rows.iter().map(read).collect()
    }

    /// One key; none that isn't known.
    pub(crate) async fn subject_key(&self, id: &SubjectKeyId) -> Result<Option<Row>, DatabaseError> {
        let sql = "SELECT id, subject, wrapped FROM placet_subject WHERE id = $1";
        let row = self.client()?.query_typed_opt(sql, &[(&id.0.as_slice(), Type::BYTEA)]).await?;
        row.as_ref().map(read).transpose()
    }

    /// A subject's keys.
    pub(crate) async fn subject_keys_of(&self, subject: &str) -> Result<Vec<Row>, DatabaseError> {
        let sql = "SELECT id, subject, wrapped FROM placet_subject WHERE subject = $1 ORDER BY id";
        let rows = self.client()?.query_typed(sql, &[(&subject, Type::TEXT)]).await?;
        rows.iter().map(read).collect()
    }

    /// Keeps new keys: all or none.
    pub(crate) async fn put_subject_keys(&self, made: &[(SubjectKeyId, Kept)]) -> Result<(), DatabaseError> {
        let ids: Vec<&[u8]> = made.iter().map(|(id, _)| id.0.as_slice()).collect();
        let subjects: Vec<&str> = made.iter().map(|(_, kept)| &*kept.subject).collect();
        let wrapped: Vec<&[u8]> = made.iter().map(|(_, kept)| &*kept.wrapped).collect();
        let sql = "INSERT INTO placet_subject (id, subject, wrapped) SELECT * FROM unnest($1, $2, $3)";
        let params: &[(&(dyn tokio_postgres::types::ToSql + Sync), Type)] =
            &[(&ids, Type::BYTEA_ARRAY), (&subjects, Type::TEXT_ARRAY), (&wrapped, Type::BYTEA_ARRAY)];
        self.client()?.execute_typed(sql, params).await?;
        Ok(())
    }

    /// Erases keys: their numbers stay.
    pub(crate) async fn erase_subject_keys(&self, ids: &[SubjectKeyId]) -> Result<(), DatabaseError> {
        let ids: Vec<&[u8]> = ids.iter().map(|id| id.0.as_slice()).collect();
        let sql = "UPDATE placet_subject SET subject = NULL, wrapped = NULL
                   WHERE id = ANY($1) AND wrapped IS NOT NULL";
        self.client()?.execute_typed(sql, &[(&ids, Type::BYTEA_ARRAY)]).await?;
        Ok(())
    }
}

/// All keys of a database that nobody need serve; none where it has no such table yet.
pub(crate) async fn all(client: &Client) -> Result<Vec<Row>, DatabaseError> {
    let there = "SELECT to_regclass('placet_subject') IS NOT NULL";
    if !client.query_typed_one(there, &[]).await?.try_get::<_, bool>(0)? {
        return Ok(Vec::new());
    }
    client.query_typed(ALL, &[]).await?.iter().map(read).collect()
}

fn read(row: &DbRow) -> Result<Row, DatabaseError> {
    let wrong = || DatabaseError::Failed("a row of `placet_subject` isn't one".to_owned());
    let id = SubjectKeyId(row.try_get::<_, &[u8]>(0)?.try_into().map_err(|_| wrong())?);
    let (subject, wrapped): (Option<&str>, Option<&[u8]>) = (row.try_get(1)?, row.try_get(2)?);
    Ok(match (subject, wrapped) {
        (Some(subject), Some(wrapped)) => {
            (id, Some(Kept { subject: Arc::from(subject), wrapped: wrapped.into() }))
        }
        _ => (id, None),
    })
}
