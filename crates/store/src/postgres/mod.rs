//! A journal that several gateways share: one total order in a PostgreSQL database.
//!
//! The database is the single commit point. Each gateway keeps a copy of the journal's frames in its data directory, the
//! same segments as a journal of its own, and everything is read from there: trees, checkpoints, the search index, an
//! audit. The copy is made again from the database wherever it lacks something.
//!
//! A batch is one transaction ([`SharedWriter`]): it locks the head, folds what other gateways wrote since, admits the
//! entries against that, inserts their frames and moves the head. So what a fold compares and sets is compared and set in
//! one order, at any number of gateways. `NOTIFY` only wakes; the position is the truth.
//!
//! | table | what |
//! |---|---|
//! | `placet_head` | one row: journal id, next position, the chain's value, time |
//! | `placet_journal` | one row a batch: its positions, its gateway, its frames |
//! | `placet_about` | what each gateway says of itself: release, version, how far it follows |
//! | `placet_gateway` | each start of a gateway, and until when it is believed to live |
//! | `placet_used` | proofs and assertions that were used |
//! | `placet_code` | enrolment codes that were handed out |
//! | `placet_release` | archives of releases |
//! | `placet_vault` | the sealed vault |
//! | `placet_subject` | the keys of subjects; one that was erased is a number only |
//! | `placet_setting` | what all gateways must have alike, as digests |

mod commits;
mod commons;
mod fleet;
mod join;
mod probe;
mod replica;
mod rows;
mod schema;
mod session;
mod streams;
mod subjects;
mod writer;

pub use commits::Commits;
pub use commons::Commons;
pub use fleet::{About, Said, Sibling};
pub use join::fetch;
pub use probe::{Probe, probe};
pub use rows::{Foreign, ForeignReader, ForeignRow, Moment, Prepared, ReadStopped, RowsOf, TableSpec};

pub(crate) use join::join;
pub(crate) use writer::{SharedParts, SharedWriter};

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};
use tokio_postgres::{Client, Config, Connection, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

/// How long a gateway that isn't heard of is believed to live.
const LEASE: Duration = Duration::from_secs(10);
/// Connecting, and waiting for a silent peer, take no longer.
const CONNECT: Duration = Duration::from_secs(2);

/// Where the database is, and who this gateway is there.
#[derive(Clone)]
pub struct Postgres {
    /// Names this gateway in the database, for operators.
    pub gateway: String,
    /// How long this gateway is believed to live after its last sign of life, by the database's clock: 10 s. Warrants that
    /// it leaves open are ended as `unknown` after this time.
    pub lease: Duration,
    config: Config,
    tls: MakeRustlsConnect,
}

impl fmt::Debug for Postgres {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Postgres")
            .field("gateway", &self.gateway)
            .field("lease", &self.lease)
            .finish_non_exhaustive()
    }
}

/// Why the database can't be used. None of these texts holds a password.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The URL isn't one.
    #[error("this is no URL of a PostgreSQL database: {0}; write it as `postgres://user@host/database`")]
    Url(String),
    /// A certificate.
    #[error("the database's certificate authority can't be used: {0}")]
    Authority(String),
    /// Others could read along.
    #[error("the database is on another machine and its URL asks for no TLS; leave `sslmode=disable` out")]
    Plain,
    /// It doesn't answer, or answers with an error.
    #[error("the database: {0}")]
    Failed(String),
    /// Another version's tables.
    #[error("the database's tables are of version {found}, this program's of {ours}")]
    Version {
        /// Theirs.
        found: i32,
        /// Ours.
        ours: i32,
    },
    /// The copy is of another journal.
    #[error("the data directory holds another journal than the database; choose another data directory")]
    Foreign,
    /// The database has lost what this gateway has seen.
    #[error(
        "the database is older than this gateway's copy: it ends before record {database}, the copy before {copy}; it was restored from a backup, or it is another one"
    )]
    Older {
        /// Its next position.
        database: u64,
        /// The copy's.
        copy: u64,
    },
    /// The database's frames don't carry on from the copy.
    #[error("the database's journal isn't what this gateway has seen, from record {sequence} on: {why}")]
    Differs {
        /// The first record that differs.
        sequence: u64,
        /// How.
        why: String,
    },
    /// Something that all gateways must have alike isn't.
    #[error("`{name}` differs from that of the other gateways on this database; give every gateway the same")]
    Setting {
        /// Which.
        name: String,
    },
}

impl From<tokio_postgres::Error> for DatabaseError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Failed(tell(&error))
    }
}

/// What the driver says, and what is behind it.
pub(crate) fn tell(error: &tokio_postgres::Error) -> String {
    if let Some(error) = error.as_db_error() {
        return format!("{} ({})", error.message(), error.code().code());
    }
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

impl Postgres {
    /// Reads a URL, or a list of `key=value`. `ca`: a file of certificates that the database's must be signed by, instead
    /// of the system's. `plain`: whether the URL may ask for a connection to another machine without TLS.
    pub fn new(url: &str, gateway: &str, ca: Option<&Path>, plain: bool) -> Result<Self, DatabaseError> {
        // The parser's errors name keys, not values.
        let mut config: Config =
            url.parse().map_err(|error: tokio_postgres::Error| DatabaseError::Url(tell(&error)))?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(DatabaseError::Url("it names no host".to_owned()));
        }
        let here = config.get_hosts().iter().all(is_here)
            && config.get_hostaddrs().iter().all(std::net::IpAddr::is_loopback);
        if config.get_hosts().iter().all(|host| matches!(host, Host::Unix(_)))
            && config.get_hostaddrs().is_empty()
        {
            config.ssl_mode(SslMode::Disable);
        } else if !here {
            if config.get_ssl_mode() == SslMode::Disable && !plain {
                return Err(DatabaseError::Plain);
            }
            if config.get_ssl_mode() != SslMode::Disable {
                config.ssl_mode(SslMode::Require);
            }
        }
        config
            .application_name(format!("placet {gateway}"))
            .connect_timeout(CONNECT)
            .tcp_user_timeout(CONNECT)
            .keepalives_idle(CONNECT)
            .target_session_attrs(TargetSessionAttrs::ReadWrite);
        Ok(Self { gateway: gateway.to_owned(), lease: LEASE, config, tls: tls(ca)? })
    }

    /// Another database of the same server, for tests.
    #[must_use]
    pub fn database(&self, name: &str) -> Self {
        let mut other = self.clone();
        other.config.dbname(name);
        other
    }

    pub(crate) async fn connect(&self) -> Result<(Client, Link), DatabaseError> {
        match tokio::time::timeout(CONNECT.saturating_mul(2), self.config.connect(self.tls.clone())).await {
            Ok(connected) => Ok(connected?),
            Err(_) => Err(DatabaseError::Failed("it doesn't answer".to_owned())),
        }
    }
}

/// What carries a client's messages.
pub(crate) type Link =
    Connection<Socket, <MakeRustlsConnect as tokio_postgres::tls::MakeTlsConnect<Socket>>::Stream>;

fn is_here(host: &Host) -> bool {
    match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => {
            name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
        }
    }
}

fn tls(ca: Option<&Path>) -> Result<MakeRustlsConnect, DatabaseError> {
    let mut roots = RootCertStore::empty();
    match ca {
        None => drop(roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
        Some(path) => {
            let wrong =
                |error: &dyn fmt::Display| DatabaseError::Authority(format!("`{}`: {error}", path.display()));
            for certificate in CertificateDer::pem_file_iter(path).map_err(|error| wrong(&error))? {
                roots.add(certificate.map_err(|error| wrong(&error))?).map_err(|error| wrong(&error))?;
            }
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| DatabaseError::Authority(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

/// A position as the database has it.
pub(crate) fn signed(position: u64) -> i64 {
    i64::try_from(position).unwrap_or(i64::MAX)
}

/// A position as we have it.
pub(crate) fn unsigned(position: i64) -> u64 {
    u64::try_from(position).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_on_another_machine_is_reached_by_tls_only() {
        let mode = |url: &str, plain| Postgres::new(url, "a", None, plain).map(|it| it.config.get_ssl_mode());
        assert_eq!(mode("postgres://placet@db.example/placet", false).unwrap(), SslMode::Require);
        assert_eq!(
            mode("postgres://placet@db.example/placet?sslmode=prefer", false).unwrap(),
            SslMode::Require
        );
        assert!(matches!(
            mode("postgres://placet@db.example/placet?sslmode=disable", false),
            Err(DatabaseError::Plain)
        ));
        assert_eq!(
            mode("postgres://placet@db.example/placet?sslmode=disable", true).unwrap(),
            SslMode::Disable
        );
        assert_eq!(mode("postgres://placet@127.0.0.1/placet", false).unwrap(), SslMode::Prefer);
        assert_eq!(mode("host=/run/postgresql user=placet", false).unwrap(), SslMode::Disable);
        for wrong in ["", "mysql://a@b/c", "postgres://", "user=placet"] {
            assert!(matches!(mode(wrong, false), Err(DatabaseError::Url(_))), "{wrong}");
        }
    }

    #[test]
    fn no_text_shows_the_password() {
        let url = "postgres://placet:hunter2@127.0.0.1:1/placet";
        let database = Postgres::new(url, "a", None, false).unwrap();
        assert!(!format!("{database:?}").contains("hunter2"));
        let wrong = Postgres::new("postgres://placet:hunter2@h/placet?nonsense=hunter2", "a", None, false);
        assert!(!wrong.unwrap_err().to_string().contains("hunter2"));
    }
}
