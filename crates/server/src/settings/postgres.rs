//! `[[postgres]]`: databases of others whose rows are facts.

use std::{collections::BTreeSet, path::PathBuf};

use placet_core::{Name, TenantId};
use placet_facts::MAX_BOUND_MS;

use super::{
    SecretSource, Settings,
    read::{Reader, Section},
};

/// The longest name of a source: it stands in `postgres:NAME:TENANT`.
const MAX_NAME: usize = 32;
/// The most tenants of one source.
const MAX_TENANTS: usize = 256;
/// The longest name of a channel: PostgreSQL's.
const MAX_CHANNEL: usize = 63;

/// A database that is read.
#[derive(Debug, Clone)]
pub struct PostgresSource {
    /// `name`: its transactions are `postgres:NAME`'s.
    pub name: Name,
    /// `url`: the database, with user and password.
    pub url: SecretSource,
    /// `ca`: certificates that the database's must be signed by, instead of the system's.
    pub ca: Option<PathBuf>,
    /// `tenant` or `tenants`: whose facts it may change.
    pub tenants: BTreeSet<TenantId>,
    /// Whether it was `tenant`: then there is one source of that name, else one for each tenant.
    pub single: bool,
    /// `mapping`: which rows are which facts.
    pub mapping: PathBuf,
    /// `interval_ms`: how often it is asked what is new.
    pub interval_ms: u64,
    /// `sweep_ms`: how often everything is read.
    pub sweep_ms: u64,
    /// `overlap_ms`: how long a transaction of the database may take from its version to its commit.
    pub overlap_ms: u64,
    /// `stale_after_ms`: how long decisions of its tenants may rest on what was last known to be complete.
    pub stale_after_ms: u64,
    /// `statement_ms`: how long a statement may take there.
    pub statement_ms: u64,
    /// `max_rows`: the most rows that are kept in mind.
    pub max_rows: u64,
    /// `max_row_bytes`: the most bytes of one row.
    pub max_row_bytes: u64,
    /// `max_bytes`: the most bytes of rows that are read at once.
    pub max_bytes: u64,
    /// `notify`: a channel on which the database announces changes.
    pub notify: Option<String>,
    /// The line of its section.
    pub line: usize,
}

impl PostgresSource {
    /// The source of its transactions.
    pub fn label(&self) -> Result<Name, String> {
        Name::new(&format!("postgres:{}", self.name)).map_err(|error| error.to_string())
    }
    /// The name of a tenant's part among the sources of facts.
    pub fn source(&self, tenant: &TenantId) -> Result<Name, String> {
        if self.single {
            return self.label();
        }
        Name::new(&format!("postgres:{}:{tenant}", self.name)).map_err(|error| error.to_string())
    }
}

/// Reads all of them.
pub(super) fn read(root: &mut Section<'_, '_>) -> Option<Vec<PostgresSource>> {
    let read: Vec<_> = root.sections("postgres").into_iter().map(one).collect();
    read.into_iter().collect()
}

fn one(mut section: Section<'_, '_>) -> Option<PostgresSource> {
    let line = section.line();
    let name = section.required(
        "name",
        |text| Name::new(text).ok().filter(|_| text.len() <= MAX_NAME && !text.contains([':', '/'])),
        "write a name of `A-Z a-z 0-9 . _ @ | -`, at most 32 characters",
    );
    let url = section.optional_secret("url");
    if matches!(url, Some(None)) {
        section.missing("url", "say where it lies, as in `url = { file = \"crm.url\" }`");
    }
    let ca = section.optional_path("ca");
    let tenant = section.optional_word("tenant", |text| TenantId::new(text).ok(), "name the tenant");
    let tenants = section.optional_texts("tenants");
    let (single, tenants) = match (tenant?, tenants?) {
        (Some(tenant), None) => (true, Some([tenant].into())),
        (None, Some(texts)) => {
            let ids: Option<BTreeSet<TenantId>> = texts.iter().map(|text| TenantId::new(text).ok()).collect();
            let ids = ids.filter(|ids| (1..=MAX_TENANTS).contains(&ids.len()));
            if ids.is_none() {
                section.problem(
                    "tenants",
                    "a tenant's name is none, or there are too many",
                    "name 1 to 256 tenants",
                );
            }
            (false, ids)
        }
        (None, None) => {
            section.missing("tenant", "name the tenant whose facts it may change, or `tenants`");
            (true, None)
        }
        (Some(_), Some(_)) => {
            section.problem("tenants", "`tenant` and `tenants` can't both be given", "remove one of them");
            (true, None)
        }
    };
    let mapping = section.path("mapping", "sync/postgres.toml");
    let interval_ms = section.number("interval_ms", 1_000, 100..=3_600_000);
    let sweep_ms = section.number("sweep_ms", 10_000, 100..=86_400_000);
    let overlap_ms = section.number("overlap_ms", 5_000, 0..=600_000);
    let stale_after_ms = section.number("stale_after_ms", 30_000, 1_000..=MAX_BOUND_MS);
    let statement_ms = section.number("statement_ms", 10_000, 100..=600_000);
    let max_rows = section.number("max_rows", 1_000_000, 1..=50_000_000);
    let max_row_bytes = section.number("max_row_bytes", 64 << 10, 256..=(1 << 20));
    let max_bytes = section.number("max_bytes", 256 << 20, (1 << 10)..=(8 << 30));
    let channel = |text: &str| (!text.is_empty() && text.len() <= MAX_CHANNEL).then(|| text.to_owned());
    let notify = section.optional_word("notify", channel, "write a channel's name, at most 63 bytes");
    section.finish();
    Some(PostgresSource {
        name: name?,
        url: url??,
        ca: ca?,
        tenants: tenants?,
        single,
        mapping: mapping?,
        interval_ms: interval_ms?,
        sweep_ms: sweep_ms?,
        overlap_ms: overlap_ms?,
        stale_after_ms: stale_after_ms?,
        statement_ms: statement_ms?,
        max_rows: max_rows?,
        max_row_bytes: max_row_bytes?,
        max_bytes: max_bytes?,
        notify: notify?,
        line,
    })
}

/// Two of one name, and bounds that can't be kept.
pub(super) fn check(reader: &Reader<'_>, settings: &Settings) {
    for (i, source) in settings.postgres.iter().enumerate() {
        if settings.postgres.iter().take(i).any(|other| other.name == source.name) {
            let message = format!("`{}` is a database already", source.name);
            reader.note(source.line, message, "name it otherwise");
        }
        if source.stale_after_ms <= source.interval_ms {
            let message = format!("`{}` would be stale between two readings", source.name);
            reader.note(source.line, message, "let `stale_after_ms` be longer than `interval_ms`");
        }
    }
}
