//! A look at the gateways' database from outside.

use tokio_postgres::types::Type;

use super::{DatabaseError, Postgres, schema, unsigned};

/// The oldest server that has what is used: 13.
const OLDEST: i32 = 130_000;

/// What a look at a database finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// The server's version, as it says.
    pub server: String,
    /// The journal's last position; none where no gateway has made its tables yet.
    pub last: Option<u64>,
    /// How many gateways have a lease that holds.
    pub gateways: u64,
}

/// Connects, and looks whether gateways can work on it. Nothing is written.
pub async fn probe(database: &Postgres) -> Result<Probe, DatabaseError> {
    let (client, link) = database.connect().await?;
    let carried = tokio::spawn(link);
    let looked = async {
        schema::session(&client).await?;
        let version = "SELECT current_setting('server_version'), current_setting('server_version_num')::int4, pg_is_in_recovery()";
        let row = client.query_typed_one(version, &[]).await?;
        let (server, number, standby): (String, i32, bool) =
            (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        if number < OLDEST {
            return Err(DatabaseError::Failed(format!(
                "its server is PostgreSQL {server}; use 13 or a newer one"
            )));
        }
        if standby {
            return Err(DatabaseError::Failed("its server is a standby; name the primary".to_owned()));
        }
        let there =
            "SELECT to_regclass('placet_head') IS NOT NULL, has_schema_privilege(current_schema(), 'CREATE')";
        let row = client.query_typed_one(there, &[]).await?;
        if !row.try_get::<_, bool>(0)? {
            if row.try_get::<_, Option<bool>>(1)? != Some(true) {
                let why = "the role can't make tables there: let it own the database, or GRANT it CREATE on the schema";
                return Err(DatabaseError::Failed(why.to_owned()));
            }
            return Ok(Probe { server, last: None, gateways: 0 });
        }
        let head = client.query_typed_opt("SELECT next, version FROM placet_head", &[]).await?;
        let last = match head {
            None => None,
            Some(row) => {
                let found: i32 = row.try_get(1)?;
                if found != schema::VERSION {
                    return Err(DatabaseError::Version { found, ours: schema::VERSION });
                }
                Some(unsigned(row.try_get(0)?).saturating_sub(1))
            }
        };
        let writes = "SELECT has_table_privilege('placet_head', 'UPDATE') AND has_table_privilege('placet_journal', 'INSERT')";
        if !client.query_typed_one(writes, &[]).await?.try_get::<_, bool>(0)? {
            return Err(DatabaseError::Failed("the role can't write the journal's tables".to_owned()));
        }
        let alive = "SELECT count(*) FROM placet_gateway WHERE lease_until > clock_timestamp() AND $1";
        let gateways = client.query_typed_one(alive, &[(&true, Type::BOOL)]).await?.try_get::<_, i64>(0)?;
        Ok(Probe { server, last, gateways: unsigned(gateways) })
    };
    let looked = looked.await;
    carried.abort();
    looked
}
