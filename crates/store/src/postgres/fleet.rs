//! What each gateway of a database says of itself with its signs of life: so that one can be asked about all.

use tokio_postgres::Client;
use tokio_postgres::types::Type;

use super::{Commons, DatabaseError, signed, unsigned};

/// Made beside the other tables, since older databases have those already.
pub(super) const TABLE: &str = "
BEGIN;
SELECT pg_advisory_xact_lock(7812443907);
CREATE TABLE IF NOT EXISTS placet_about (
  gateway bigint PRIMARY KEY, release text, version text NOT NULL, revision bigint NOT NULL,
  told timestamptz NOT NULL DEFAULT clock_timestamp());
COMMIT;
";
const TELL: &str = "INSERT INTO placet_about (gateway, release, version, revision) VALUES ($1, $2, $3, $4)
  ON CONFLICT (gateway) DO UPDATE SET release = $2, version = $3, revision = $4, told = clock_timestamp()";
const FORGET: &str = "DELETE FROM placet_about WHERE told < clock_timestamp() - interval '1 day'";
/// Those that live, by the database's clock.
const FLEET: &str = "SELECT g.id, g.name, a.release, a.version, a.revision,
    floor(extract(epoch FROM clock_timestamp() - a.told) * 1000)::bigint
  FROM placet_gateway g LEFT JOIN placet_about a ON a.gateway = g.id
  WHERE g.lease_until > clock_timestamp() ORDER BY g.id LIMIT 256";

/// What a gateway says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// The digest of the release that decides its calls; none where there is none.
    pub release: Option<String>,
    /// The version of the program.
    pub version: &'static str,
    /// How far it has followed the facts.
    pub revision: u64,
}

/// A gateway that lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sibling {
    /// The number of its lease.
    pub lease: u64,
    /// Its name in the settings.
    pub name: String,
    /// What it said last; none of a gateway that says nothing, of an older version.
    pub about: Option<Said>,
}

/// What a gateway said of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// The digest of its release; none where it has none.
    pub release: Option<String>,
    /// The version of the program.
    pub version: String,
    /// How far it has followed the facts.
    pub revision: u64,
    /// How long ago, in milliseconds.
    pub ago_ms: u64,
}

pub(super) async fn tell(client: &Client, gateway: i64, about: &About) -> Result<(), DatabaseError> {
    let revision = signed(about.revision);
    let release = about.release.as_deref();
    let parameters: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 4] = [
        (&gateway, Type::INT8),
        (&release, Type::TEXT),
        (&about.version, Type::TEXT),
        (&revision, Type::INT8),
    ];
    client.execute_typed(TELL, &parameters).await?;
    Ok(())
}

pub(super) async fn forget(client: &Client) -> Result<(), DatabaseError> {
    client.execute_typed(FORGET, &[]).await?;
    Ok(())
}

impl Commons {
    /// The gateways that live, at most 256, the oldest lease first.
    pub async fn fleet(&self) -> Result<Vec<Sibling>, DatabaseError> {
        let rows = self.client()?.query_typed(FLEET, &[]).await?;
        rows.iter()
            .map(|row| {
                let version: Option<String> = row.try_get(3)?;
                let number = |at: usize| {
                    let number: Option<i64> = row.try_get(at)?;
                    Ok::<_, DatabaseError>(number.map_or(0, |number| unsigned(number.max(0))))
                };
                let about = match version {
                    None => None,
                    Some(version) => Some(Said {
                        release: row.try_get(2)?,
                        version,
                        revision: number(4)?,
                        ago_ms: number(5)?,
                    }),
                };
                Ok(Sibling { lease: number(0)?, name: row.try_get(1)?, about })
            })
            .collect()
    }
}
