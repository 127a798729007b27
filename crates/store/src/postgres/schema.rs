//! The tables.

use tokio_postgres::Client;

use super::{DatabaseError, fleet, streams, subjects};

/// The tables' version.
pub(crate) const VERSION: i32 = 1;

/// What every session sets: no statement and no forgotten transaction holds the head for long.
const SESSION: &str = "
SET lock_timeout = '5s';
SET statement_timeout = '15s';
SET idle_in_transaction_session_timeout = '3s';
SET default_transaction_isolation = 'read committed';
SET client_min_messages = 'warning';
SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off';
";

const TABLES: &str = "
BEGIN;
SELECT pg_advisory_xact_lock(7812443907);
CREATE TABLE IF NOT EXISTS placet_head (
  one boolean PRIMARY KEY DEFAULT true CHECK (one), version integer NOT NULL, journal bytea NOT NULL,
  next bigint NOT NULL, link bytea NOT NULL, time_ms bigint NOT NULL);
CREATE TABLE IF NOT EXISTS placet_journal (
  first bigint PRIMARY KEY, last bigint NOT NULL CHECK (last >= first), time_ms bigint NOT NULL,
  gateway bigint NOT NULL, batch bytea NOT NULL, frames bytea NOT NULL);
ALTER TABLE placet_journal ALTER frames SET STORAGE EXTERNAL;
CREATE TABLE IF NOT EXISTS placet_gateway (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL,
  started timestamptz NOT NULL DEFAULT clock_timestamp(), lease_until timestamptz NOT NULL);
CREATE TABLE IF NOT EXISTS placet_used (key bytea PRIMARY KEY, forget_at bigint NOT NULL);
CREATE INDEX IF NOT EXISTS placet_used_end ON placet_used (forget_at);
CREATE TABLE IF NOT EXISTS placet_code (hash bytea PRIMARY KEY, agent text NOT NULL, expires_at bigint NOT NULL);
CREATE TABLE IF NOT EXISTS placet_release (digest text PRIMARY KEY, archive bytea NOT NULL);
CREATE TABLE IF NOT EXISTS placet_vault (
  one boolean PRIMARY KEY DEFAULT true CHECK (one), version bigint NOT NULL, lines text NOT NULL);
CREATE TABLE IF NOT EXISTS placet_setting (name text PRIMARY KEY, value text NOT NULL);
COMMIT;
";

/// Prepares a session.
pub(crate) async fn session(client: &Client) -> Result<(), DatabaseError> {
    Ok(client.batch_execute(SESSION).await?)
}

/// Makes the tables where they aren't, and the head with a new journal's id.
pub(crate) async fn make(client: &Client, journal: &[u8; 16], link: &[u8]) -> Result<(), DatabaseError> {
    let there = client
        .query_typed_one("SELECT to_regclass('placet_setting') IS NOT NULL", &[])
        .await?
        .try_get::<_, bool>(0)?;
    if !there {
        client.batch_execute(TABLES).await?;
    }
    let there = client
        .query_typed_one("SELECT to_regclass('placet_subject') IS NOT NULL", &[])
        .await?
        .try_get::<_, bool>(0)?;
    if !there {
        client.batch_execute(subjects::TABLE).await?;
    }
    let there = client
        .query_typed_one("SELECT to_regclass('placet_about') IS NOT NULL", &[])
        .await?
        .try_get::<_, bool>(0)?;
    if !there {
        client.batch_execute(fleet::TABLE).await?;
    }
    let there = client
        .query_typed_one("SELECT to_regclass('placet_stream') IS NOT NULL", &[])
        .await?
        .try_get::<_, bool>(0)?;
    if !there {
        client.batch_execute(streams::TABLE).await?;
    }
    let sql = "INSERT INTO placet_head (version, journal, next, link, time_ms) VALUES ($1, $2, 1, $3, 0)
               ON CONFLICT DO NOTHING";
    let statement = client.prepare(sql).await?;
    client.execute(&statement, &[&VERSION, &journal.as_slice(), &link]).await?;
    let found = client.query_typed_one("SELECT version FROM placet_head", &[]).await?.try_get::<_, i32>(0)?;
    if found == VERSION { Ok(()) } else { Err(DatabaseError::Version { found, ours: VERSION }) }
}
