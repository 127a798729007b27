//! How far streams out of the journal have come, at which gateway: held by its lease, so that one that is gone is
//! replaced, and one that slept over its end moves nothing.

use tokio_postgres::types::{ToSql, Type};

use super::{Commons, DatabaseError, signed, unsigned};

/// The table.
pub(super) const TABLE: &str = "
BEGIN;
SELECT pg_advisory_xact_lock(7812443909);
CREATE TABLE IF NOT EXISTS placet_stream (
  name text PRIMARY KEY, position bigint NOT NULL, holder bigint NOT NULL, turn bigint NOT NULL);
COMMIT;
";

/// Only a gateway that lives takes hold, and only of what nobody else who lives holds. `turn` counts how often the place
/// changed hands or was set anew.
const HOLD: &str = "INSERT INTO placet_stream AS s (name, position, holder, turn)
  SELECT $1, $2, $3, 0 WHERE EXISTS (SELECT 1 FROM placet_gateway WHERE id = $3 AND lease_until > clock_timestamp())
  ON CONFLICT (name) DO UPDATE SET holder = $3, turn = s.turn + (CASE WHEN s.holder = $3 THEN 0 ELSE 1 END)
    WHERE s.holder = $3
       OR NOT EXISTS (SELECT 1 FROM placet_gateway g WHERE g.id = s.holder AND g.lease_until > clock_timestamp())
  RETURNING position, turn";
/// Who holds it and lives moves it.
const KEEP: &str = "UPDATE placet_stream SET position = $4 WHERE name = $1 AND holder = $2 AND turn = $3
  AND EXISTS (SELECT 1 FROM placet_gateway WHERE id = $2 AND lease_until > clock_timestamp())";
const SET: &str = "INSERT INTO placet_stream AS s (name, position, holder, turn) VALUES ($1, $2, 0, 1)
  ON CONFLICT (name) DO UPDATE SET position = $2, turn = s.turn + 1";
const GET: &str = "SELECT s.position, CASE WHEN g.lease_until > clock_timestamp() THEN g.id END
  FROM placet_stream s LEFT JOIN placet_gateway g ON g.id = s.holder WHERE s.name = $1";

type Param<'a> = (&'a (dyn ToSql + Sync), Type);

impl Commons {
    /// Takes hold of a stream, which begins at `first` where it isn't known; its position, its turn and the lease under
    /// which it is held.
    pub(crate) async fn hold_stream(
        &self,
        name: &str,
        first: u64,
    ) -> Result<Option<(u64, u64, i64)>, DatabaseError> {
        let (first, lease) = (signed(first), self.gateway());
        let params: &[Param<'_>] = &[(&name, Type::TEXT), (&first, Type::INT8), (&lease, Type::INT8)];
        let row = self.client()?.query_typed_opt(HOLD, params).await?;
        row.map(|row| Ok((unsigned(row.try_get(0)?), unsigned(row.try_get(1)?), lease))).transpose()
    }
    /// Moves a stream that is held; `false` where it isn't any more.
    pub(crate) async fn keep_stream(
        &self,
        name: &str,
        holder: i64,
        turn: u64,
        position: u64,
    ) -> Result<bool, DatabaseError> {
        let (turn, position) = (signed(turn), signed(position));
        let params: &[Param<'_>] =
            &[(&name, Type::TEXT), (&holder, Type::INT8), (&turn, Type::INT8), (&position, Type::INT8)];
        Ok(self.client()?.execute_typed(KEEP, params).await? == 1)
    }
    /// Sets a stream's place anew.
    pub(crate) async fn set_stream(&self, name: &str, position: u64) -> Result<(), DatabaseError> {
        let position = signed(position);
        self.client()?.execute_typed(SET, &[(&name, Type::TEXT), (&position, Type::INT8)]).await?;
        Ok(())
    }
    /// Where a stream is, and the lease of the gateway that holds it, if it lives.
    pub(crate) async fn stream(&self, name: &str) -> Result<Option<(u64, Option<u64>)>, DatabaseError> {
        let row = self.client()?.query_typed_opt(GET, &[(&name, Type::TEXT)]).await?;
        let read = row.map(|row| {
            let holder: Option<i64> = row.try_get(1)?;
            Ok::<_, DatabaseError>((unsigned(row.try_get(0)?), holder.map(unsigned)))
        });
        read.transpose()
    }
}
