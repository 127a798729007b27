//! What one gateway does for all: whoever does it is named here, for as long as its lease lives.

use tokio_postgres::types::Type;

use super::{Commons, DatabaseError};

/// Made beside the other tables, since older databases have those already. `document` is what the task knows, for
/// whoever takes it over.
pub(super) const TABLE: &str = "
BEGIN;
SELECT pg_advisory_xact_lock(7812443907);
CREATE TABLE IF NOT EXISTS placet_leader (name text PRIMARY KEY, gateway bigint NOT NULL, document bytea);
COMMIT;
";
/// Takes the task where nobody whose lease lives has it; a row comes back to whoever has it then.
const LEAD: &str = "INSERT INTO placet_leader (name, gateway)
  SELECT $1, $2 WHERE EXISTS (SELECT 1 FROM placet_gateway WHERE id = $2 AND lease_until > clock_timestamp())
  ON CONFLICT (name) DO UPDATE SET gateway = $2 WHERE placet_leader.gateway = $2 OR NOT EXISTS (
    SELECT 1 FROM placet_gateway g WHERE g.id = placet_leader.gateway AND g.lease_until > clock_timestamp())
  RETURNING 1";
const KEEP: &str = "UPDATE placet_leader SET document = $3 WHERE name = $1 AND gateway = $2
  AND EXISTS (SELECT 1 FROM placet_gateway WHERE id = $2 AND lease_until > clock_timestamp())";
const KEPT: &str = "SELECT document FROM placet_leader WHERE name = $1";

impl Commons {
    /// Whether this gateway does the task of this name: it did before, or nobody does whose lease lives. A gateway that
    /// goes on under a new lease has to wait until its old one has ended, as any other.
    pub async fn lead(&self, name: &str) -> Result<bool, DatabaseError> {
        let id = self.gateway();
        let rows = self.client()?.query_typed(LEAD, &[(&name, Type::TEXT), (&id, Type::INT8)]).await?;
        Ok(!rows.is_empty())
    }
    /// Keeps what the task knows, for whoever takes it over; `false` where another gateway does it by now.
    pub async fn keep(&self, name: &str, document: &[u8]) -> Result<bool, DatabaseError> {
        let id = self.gateway();
        let parameters: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 3] =
            [(&name, Type::TEXT), (&id, Type::INT8), (&document, Type::BYTEA)];
        Ok(self.client()?.execute_typed(KEEP, &parameters).await? > 0)
    }
    /// What was kept last, by whichever gateway.
    pub async fn kept(&self, name: &str) -> Result<Option<Vec<u8>>, DatabaseError> {
        let rows = self.client()?.query_typed(KEPT, &[(&name, Type::TEXT)]).await?;
        rows.first().map_or(Ok(None), |row| Ok(row.try_get(0)?))
    }
}
