//! Databases: those of others whose rows are facts, wired to the ledger, and the gateways' own as operators see it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use placet_core::{Name, Revision, TenantId, Timestamp};
use placet_facts::{Mode, Place, Source, Transaction, World};
use placet_gateway::{Ledger, Refused};
use placet_json::{Limits, Value, object, parse};
use placet_record::Kind;
use placet_store::{About, Commons, Foreign, Postgres, Probe, Sibling, probe};
use placet_sync::postgres::{Age, Host, Page, Pending, Shown, SourceSettings, Tables, Untaken, run};
use secrecy::ExposeSecret as _;
use tokio::task::JoinSet;

use crate::settings::{Environment, PostgresSource, Settings, Variables};

/// The longest mapping file, in bytes.
const MAX_MAPPING: u64 = 1 << 20;
/// Records that are looked through at once.
const SCAN: u64 = 20_000;
/// How long the gateways' database may take to say where its journal ends.
const ASK: Duration = Duration::from_secs(1);

/// The databases of a server.
#[derive(Debug, Default)]
pub struct Databases {
    sources: Mutex<BTreeMap<Name, (BTreeSet<TenantId>, Shown)>>,
    journal: Option<(Commons, Ledger)>,
}

fn sibling(sibling: Sibling) -> Value {
    let Sibling { lease, name, about } = sibling;
    let mut told = object! { "lease" => lease, "name" => name };
    if let Some(said) = about {
        told.insert("release", said.release.map_or(Value::Null, Value::from));
        told.insert("version", said.version);
        told.insert("revision", said.revision);
        told.insert("said_ms_ago", said.ago_ms);
    }
    told.into()
}

/// A database of others, ready to be read.
pub(crate) type Ready = (SourceSettings, Arc<dyn Host>);

impl Databases {
    pub(crate) fn new(commons: Option<&Commons>, ledger: &Ledger) -> Self {
        if let Some(commons) = commons {
            let (releases, live) = (Arc::clone(ledger.releases()), Arc::clone(ledger.live()));
            commons.introduce(move || About {
                release: releases.current().map(|release| release.digest().to_string()),
                version: env!("CARGO_PKG_VERSION"),
                revision: live.world().revision().0,
            });
        }
        Self { sources: Mutex::default(), journal: commons.map(|commons| (commons.clone(), ledger.clone())) }
    }

    /// How each of others is, by name.
    #[must_use]
    pub fn sources(&self) -> BTreeMap<Name, (BTreeSet<TenantId>, Shown)> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many records of the gateways' journal aren't here yet; an error where the database can't say. None where there
    /// is one gateway.
    pub async fn behind(&self) -> Option<Result<u64, String>> {
        let (commons, ledger) = self.journal.as_ref()?;
        let head = match tokio::time::timeout(ASK, commons.last()).await {
            Ok(head) => head.map_err(|error| error.to_string()),
            Err(_) => Err("it doesn't answer".to_owned()),
        };
        Some(head.map(|last| last.saturating_sub(ledger.reader().last())))
    }

    /// The gateways that live, with what each says of itself; none where there is one gateway or no answer.
    async fn fleet(&self) -> Vec<Sibling> {
        let Some((commons, _)) = &self.journal else { return Vec::new() };
        match tokio::time::timeout(ASK, commons.fleet()).await {
            Ok(Ok(fleet)) => fleet,
            Ok(Err(_)) | Err(_) => Vec::new(),
        }
    }

    /// As administrators see them.
    pub async fn document(&self) -> Value {
        let journal = match (&self.journal, self.behind().await) {
            (Some((commons, ledger)), Some(behind)) => {
                let (connected, why) = match &behind {
                    Ok(_) => (true, Value::Null),
                    Err(why) => (false, why.as_str().into()),
                };
                let commits = ledger.commits();
                let fleet = self.fleet().await.into_iter().map(sibling);
                object! {
                    "gateways" => Value::Array(fleet.collect()),
                    "connected" => connected, "why" => why, "lease" => commons.lease(),
                    "behind" => behind.map_or(Value::Null, Value::from), "last" => ledger.reader().last(),
                    "commits" => commits.count, "commit_mean_us" => commits.mean_us(),
                }
                .into()
            }
            _ => Value::Null,
        };
        let sources = self.sources().into_iter().map(|(name, (tenants, shown))| {
            let mut told = shown.to_value();
            if let Some(object) = told.as_object_mut() {
                object.insert("name", name.as_str());
                object.insert("tenants", Value::Array(tenants.iter().map(|it| it.as_str().into()).collect()));
            }
            told
        });
        object! { "journal" => journal, "sources" => Value::Array(sources.collect()) }.into()
    }

    /// For Prometheus, in its text format.
    pub async fn metrics(&self) -> String {
        let mut page = String::new();
        // Writing into a `String` can't fail; names have no character that would have to be escaped.
        let mut family = |name: &str, kind: &str, help: &str, lines: &mut dyn Iterator<Item = String>| {
            let lines: Vec<String> = lines.collect();
            if !lines.is_empty() {
                let _infallible = writeln!(page, "# HELP placet_{name} {help}\n# TYPE placet_{name} {kind}");
                for line in &lines {
                    let _infallible = writeln!(page, "placet_{line}");
                }
            }
        };
        let behind = self.behind().await;
        let connected =
            behind.iter().map(|behind| format!("database_connected {}", u8::from(behind.is_ok())));
        family("database_connected", "gauge", "Whether the gateways' database answers.", &mut { connected });
        let lag = behind.iter().flatten().map(|behind| format!("database_lag_records {behind}"));
        family(
            "database_lag_records",
            "gauge",
            "Records of the gateways' journal that this one hasn't read yet.",
            &mut { lag },
        );
        if let Some((_, ledger)) = &self.journal {
            let commits = ledger.commits();
            let bucket =
                |(le, count): (String, u64)| format!("database_commit_seconds_bucket{{le=\"{le}\"}} {count}");
            let sums = [
                format!(
                    "database_commit_seconds_sum {}.{:06}",
                    commits.sum_us.div_euclid(1_000_000),
                    commits.sum_us.rem_euclid(1_000_000)
                ),
                format!("database_commit_seconds_count {}", commits.count),
            ];
            let mut lines = commits.buckets().map(bucket).chain(sums);
            family(
                "database_commit_seconds",
                "histogram",
                "How long commits to the gateways' database took.",
                &mut lines,
            );
        }
        let sources = self.sources();
        let each = |name: &'static str, of: fn(&Shown) -> u64| {
            let lines = sources
                .iter()
                .map(move |(source, (_, shown))| format!("{name}{{source=\"{source}\"}} {}", of(shown)));
            lines.collect::<Vec<_>>().into_iter()
        };
        family(
            "postgres_rows",
            "gauge",
            "Rows of a database that are facts.",
            &mut each("postgres_rows", |it| it.rows),
        );
        family(
            "postgres_rows_refused",
            "gauge",
            "Rows that can't be facts.",
            &mut each("postgres_rows_refused", |it| it.refused.count as u64),
        );
        family(
            "postgres_rows_foreign",
            "gauge",
            "Rows of tenants that a source may not speak of.",
            &mut each("postgres_rows_foreign", |it| it.foreign.count as u64),
        );
        family(
            "postgres_read_total",
            "counter",
            "Rows that were read.",
            &mut each("postgres_read_total", |it| it.read),
        );
        family(
            "postgres_transactions_total",
            "counter",
            "Transactions that rows became.",
            &mut each("postgres_transactions_total", |it| it.transactions),
        );
        family(
            "postgres_failures_total",
            "counter",
            "Readings that failed.",
            &mut each("postgres_failures_total", |it| it.failures),
        );
        page
    }
}

/// Reads mappings and secrets, and declares the sources. Nothing runs yet.
pub(crate) fn prepare(
    settings: &Settings,
    variables: Variables<'_>,
    ledger: &Ledger,
    databases: &Arc<Databases>,
) -> Result<Vec<Ready>, String> {
    let one = |source: &PostgresSource| {
        let wrong = |why: String| format!("`[[postgres]] {}`: {why}", source.name);
        let read = read(source, settings, variables).map_err(wrong)?;
        let mut parts = BTreeMap::new();
        for tenant in &source.tenants {
            let name = source.source(tenant).map_err(wrong)?;
            let mode = Mode::Polled { bound_ms: source.stale_after_ms };
            let declared = Source { name: name.clone(), place: Place::Tenant(tenant.clone()), mode };
            ledger
                .live()
                .sources()
                .declare(declared, ledger.now())
                .map_err(|error| wrong(error.to_string()))?;
            parts.insert(tenant.clone(), name);
        }
        let host = TablesHost { ledger: ledger.clone(), databases: Arc::clone(databases), parts };
        Ok((read, Arc::new(host) as Arc<dyn Host>))
    };
    settings.postgres.iter().map(one).collect()
}

/// Starts what was prepared.
pub(crate) fn start(
    tasks: &mut JoinSet<()>,
    ready: Vec<Ready>,
    stopped: impl Fn() -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>>,
) {
    for (settings, host) in ready {
        let stopped = stopped();
        tasks.spawn(async move {
            let name = settings.name.clone();
            tokio::select! {
                ended = run(settings, host) => if let Err(error) = ended {
                    tracing::error!(source = %name, error, "the database can't be followed");
                },
                () = stopped => {}
            }
        });
    }
}

fn read(
    source: &PostgresSource,
    settings: &Settings,
    variables: Variables<'_>,
) -> Result<SourceSettings, String> {
    let (database, tables) = open(source, settings, variables)?;
    if tables.needs_sweeps() && source.stale_after_ms <= source.sweep_ms {
        return Err(format!(
            "a table without `deleted` is known to be complete as of the last time everything was read: let `stale_after_ms` ({}) be longer than `sweep_ms` ({})",
            source.stale_after_ms, source.sweep_ms
        ));
    }
    let millis = Duration::from_millis;
    Ok(SourceSettings {
        name: source.name.clone(),
        database,
        tables,
        interval: millis(source.interval_ms),
        sweep: millis(source.sweep_ms),
        overlap: millis(source.overlap_ms),
        rows: usize::try_from(source.max_rows).unwrap_or(usize::MAX),
        bytes: source.max_bytes,
        row_bytes: usize::try_from(source.max_row_bytes).unwrap_or(usize::MAX),
    })
}

fn open(
    source: &PostgresSource,
    settings: &Settings,
    variables: Variables<'_>,
) -> Result<(Foreign, Tables), String> {
    let text = mapping(&source.mapping)?;
    let shown = source.mapping.display();
    let tables =
        Tables::parse(&text, source.tenants.clone()).map_err(|error| format!("`{shown}`: {error}"))?;
    let url = source.url.fetch(variables).map_err(|error| format!("`url`: {error}; {}", error.remedy()))?;
    let plain = settings.server.environment == Environment::Dev;
    let bounds =
        (Duration::from_millis(source.statement_ms), u32::try_from(source.max_row_bytes).unwrap_or(u32::MAX));
    let name = format!("facts {}", source.name);
    let (ca, channel) = (source.ca.as_deref(), source.notify.as_deref());
    let database = Foreign::new(url.expose_secret().trim(), &name, ca, plain, bounds, channel);
    Ok((database.map_err(|error| error.to_string())?, tables))
}

fn mapping(path: &Path) -> Result<String, String> {
    let shown = path.display();
    let size = std::fs::metadata(path).map_err(|error| format!("`{shown}`: {error}"))?.len();
    if size > MAX_MAPPING {
        return Err(format!("`{shown}` has more than {MAX_MAPPING} bytes"));
    }
    std::fs::read_to_string(path).map_err(|error| format!("`{shown}`: {error}"))
}

/// Looks at every database that the settings name, without a server: what it is, and what is wrong with it.
pub async fn look(settings: &Settings, variables: Variables<'_>) -> Vec<(String, Result<(), String>)> {
    let mut looked = Vec::new();
    let journal = &settings.journal;
    if let Some(source) = &journal.postgres {
        let plain = settings.server.environment == Environment::Dev;
        let found = async {
            let url = source.fetch(variables).map_err(|error| format!("{error}; {}", error.remedy()))?;
            let database =
                Postgres::new(url.expose_secret(), journal.gateway.as_str(), journal.ca.as_deref(), plain);
            probe(&database.map_err(|error| error.to_string())?).await.map_err(|error| error.to_string())
        };
        looked.push(match found.await {
            Ok(Probe { server, last, gateways }) => {
                let records =
                    last.map_or_else(|| "no journal yet".to_owned(), |last| format!("{last} records"));
                (
                    format!(
                        "database of the journal: PostgreSQL {server}, {records}, {gateways} gateways alive"
                    ),
                    Ok(()),
                )
            }
            Err(why) => ("database of the journal".to_owned(), Err(why)),
        });
    }
    for source in &settings.postgres {
        let found = async {
            let read = read(source, settings, variables)?;
            placet_sync::postgres::check(&read.database, &read.tables)
                .await
                .map(|()| read.tables.tables().len())
        };
        looked.push(match found.await {
            Ok(tables) => (format!("database of facts `{}`: {tables} tables", source.name), Ok(())),
            Err(why) => (format!("database of facts `{}`", source.name), Err(why)),
        });
    }
    looked
}

/// A source's way to the ledger.
struct TablesHost {
    ledger: Ledger,
    databases: Arc<Databases>,
    /// What a tenant's part is called among the sources of facts.
    parts: BTreeMap<TenantId, Name>,
}

impl Host for TablesHost {
    fn now(&self) -> Timestamp {
        self.ledger.now()
    }
    fn world(&self) -> Arc<World> {
        self.ledger.live().world()
    }
    fn written(&self, source: &Name, after: u64) -> Pending<'_, Result<Page, String>> {
        let (ledger, source) = (self.ledger.clone(), source.clone());
        Box::pin(async move {
            tokio::task::spawn_blocking(move || written(&ledger, &source, after))
                .await
                .map_err(|error| error.to_string())?
        })
    }
    fn transact(&self, transaction: Transaction, on: Revision) -> Pending<'_, Result<Revision, Untaken>> {
        Box::pin(async move {
            match self.ledger.transact_on(transaction, on).await {
                Ok(Some(revision)) => Ok(revision),
                Ok(None) => Err(Untaken::Moved),
                Err(Refused::Change(error)) => Err(Untaken::Change(error)),
                Err(Refused::Down(why)) => Err(Untaken::Down(why)),
                Err(other @ Refused::Overtaken) => Err(Untaken::Down(other.to_string())),
            }
        })
    }
    fn status(&self, source: &Name, status: &Shown) {
        let tenants = self.parts.keys().cloned().collect();
        let mut sources = self.databases.sources.lock().unwrap_or_else(PoisonError::into_inner);
        sources.insert(source.clone(), (tenants, status.clone()));
    }
    fn age(&self, _source: &Name, tenant: &TenantId, age: Age<'_>) {
        let Some(part) = self.parts.get(tenant) else { return };
        let sources = self.ledger.live().sources();
        let noted = match age {
            Age::Seen(at) => sources.closed(part).and_then(|()| sources.seen(part, at)),
            Age::Broken(why) => sources.broken(part, why),
            Age::Gap(why) => sources.gap(part, why),
        };
        if let Err(error) = noted {
            tracing::error!(source = %part, %error, "the age of its facts can't be told");
        }
    }
}

/// A page of what transactions of a source said, from the journal, which is the truth about who said what.
fn written(ledger: &Ledger, source: &Name, after: u64) -> Result<Page, String> {
    let reader = ledger.reader();
    let upto = ledger.live().world().revision().0.min(reader.last()).min(after.saturating_add(SCAN));
    let mut page = Vec::new();
    for record in reader.range(after.saturating_add(1), upto) {
        let record = record.map_err(|error| error.to_string())?;
        if Kind::from_tag(record.kind) != Some(Kind::Facts) {
            continue;
        }
        let document = parse(&record.payload, &Limits::RESULT).map_err(|error| error.to_string())?;
        let Some(transaction) = document.get("transaction") else { continue };
        if transaction.get("source").and_then(Value::as_str) == Some(source.as_str()) {
            let read = Transaction::from_value(transaction).map_err(|error| error.to_string())?;
            page.push((record.sequence, read));
        }
    }
    Ok((upto, page))
}
