//! The only wiring: from settings to two listeners at work. Nothing else in the program builds an authority.

use std::{
    collections::BTreeMap,
    future::Future,
    net::SocketAddr,
    os::unix::fs::DirBuilderExt,
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use axum::Router;
use placet_core::{Facts, Name, Releases, authority::Authority};
use placet_gateway::{
    Credentials, Effects, Gateway, Injection, Ledger, Observer, Scheme, Service, Stage, VaultAccess,
};
use placet_jose::{KeySet, SigningKey, access::Access, htu::Htu};
use placet_oauth::{
    metadata::Metadata,
    token::{Nonces, TokenEndpoint},
    vault::{MasterKey, Place},
};
use placet_store::{Commons, Notary, Options, Projection};
use placet_upstream::{
    Bounds as UpstreamBounds, Config, Egress, Fuse, Http, Stdio, SystemResolver, Timeouts, Transport as Wire,
    Trust, Upstreams,
};
use secrecy::{ExposeSecret, SecretString};
use tokio::{net::TcpListener, sync::watch, task::JoinSet};

use crate::{
    admin::{self, Admin, Codes, Door},
    databases::{self, Databases},
    feeds, flood,
    keys::{Keyring, KeyringError},
    ledger::{LedgerBooks, LiveOffers},
    lifecycle::{self, Lifecycle},
    listen::{self, Bounds},
    mcp,
    metrics::Metrics,
    oauth::{self, OAuth},
    opal,
    outside::{Outside, OutsideError},
    people::{self, Seals},
    retention,
    settings::{Limits, ListWith, SecretError, Server, Settings, Transport, Upstream, Variables},
    shared, stream, transparency,
    uses::Uses,
    vault::{VaultFile, VaultFileError},
    window::{FileWindow, Outlasts},
};

/// Assertions and proofs remembered at once: administrators' and the token endpoint's, of some minutes.
const WINDOW: usize = 100_000;
/// Verified workflow tokens that are kept: agents at work at once.
const TOKENS: usize = 10_000;
/// How often the ledger's trees are signed.
const CHECKPOINT: Duration = Duration::from_secs(1);
/// The one scope.
const SCOPE: &str = "placet";

/// Why a server doesn't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A file or directory.
    #[error("`{path}`: {error}")]
    Io {
        /// Which.
        path: String,
        /// What it said.
        error: std::io::Error,
    },
    /// A key.
    #[error(transparent)]
    Key(#[from] KeyringError),
    /// A secret of an upstream.
    #[error("upstream `{upstream}`: {error}; {remedy}", remedy = error.remedy())]
    Secret {
        /// Which upstream.
        upstream: Name,
        /// Why.
        error: SecretError,
    },
    /// The URL of the gateways' database.
    #[error("`journal.postgres`: {0}; {remedy}", remedy = .0.remedy())]
    Database(SecretError),
    /// The ledger.
    #[error("{0}")]
    Ledger(#[from] placet_store::OpenError),
    /// The keys of subjects.
    #[error("{0}")]
    Subjects(#[from] placet_store::SubjectsError),
    /// What others saw of the ledger.
    #[error(transparent)]
    Outside(#[from] OutsideError),
    /// The archive of old segments.
    #[error("`retention.archive`: {0}")]
    Archive(String),
    /// The search index.
    #[error("the search index: {0}; run `placet doctor --rebuild`")]
    Index(#[from] placet_store::ProjectionError),
    /// The keys that sign releases.
    #[error("`release.signers`: {0}")]
    Signers(String),
    /// The release.
    #[error("the release from {from}: {why}")]
    Release {
        /// Where it came from.
        from: String,
        /// What is wrong.
        why: String,
    },
    /// A source of facts.
    #[error("{0}; see `[[source]]` in the settings")]
    Source(#[from] placet_facts::SourceError),
    /// The vault.
    #[error("{0}")]
    Vault(#[from] VaultFileError),
    /// An upstream.
    #[error("{0}")]
    Upstream(#[from] placet_upstream::UpstreamError),
    /// An identity feed.
    #[error(transparent)]
    Feed(#[from] feeds::FeedError),
    /// A stream out of the ledger.
    #[error("{0}; see `[[stream]]` in the settings")]
    Stream(#[from] stream::StreamError),
    /// A provider by which people sign in.
    #[error(transparent)]
    Identity(#[from] people::IdentityError),
    /// A listener.
    #[error("can't listen on {address}: {error}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        error: std::io::Error,
    },
    /// A URL of the settings.
    #[error("`{0}` can't be used as a URL")]
    Url(String),
    /// OPAL.
    #[error("{0}")]
    Opal(String),
    /// A database of facts.
    #[error("{0}")]
    Postgres(String),
    /// A lock file of another process, or a damaged window.
    #[error("what was used before can't be remembered: {0}")]
    Window(std::io::Error),
}

/// A server at work.
#[derive(Debug)]
pub struct Running {
    /// Where agents are served.
    pub agent_addr: SocketAddr,
    /// Where administrators are served.
    pub admin_addr: SocketAddr,
    /// Where feeds are served, if on a listener of their own.
    pub feeds_addr: Option<SocketAddr>,
    /// The agents' listener as agents call it.
    pub public_url: String,
    /// The administrators' listener as they call it.
    pub admin_url: String,
    /// Where OPAL clients are served, if they are.
    pub opal_addr: Option<SocketAddr>,
    /// What was found at the start.
    pub report: placet_store::OpenReport,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
    ledger: Ledger,
}

impl Running {
    /// Lets open requests finish, then ends; checkpoints are written.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        self.finish().await;
    }
    /// Serves until `shutdown` resolves.
    pub async fn until(self, shutdown: impl Future<Output = ()>) {
        shutdown.await;
        self.stop().await;
    }
    async fn finish(&mut self) {
        while self.tasks.join_next().await.is_some() {}
        let ledger = self.ledger.clone();
        match tokio::task::spawn_blocking(move || ledger.checkpoint()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "the last checkpoint could not be written"),
            Err(error) => tracing::error!(%error, "the last checkpoint could not be written"),
        }
    }
}

/// Starts a server. It serves once this returns.
#[expect(clippy::too_many_lines, reason = "the wiring, in the order of a start")]
pub async fn serve(mut settings: Settings, variables: Variables<'_>) -> Result<Running, StartError> {
    let started = Instant::now();
    let data = settings.server.data.clone();
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&data).map_err(|error| io(&data, error))?;
    let keyring = Keyring::open(&settings, variables)?;
    let (agents, admins) = (bind(settings.server.listen).await?, bind(settings.server.admin_listen).await?);
    let (agent_addr, admin_addr) =
        (address(&agents, settings.server.listen)?, address(&admins, settings.server.admin_listen)?);
    // Port 0 is known now; a URL that was given is taken as it is.
    if settings.is_default("server.public_url") {
        settings.server.public_url = format!("http://{agent_addr}");
    }
    if settings.is_default("server.admin_url") {
        settings.server.admin_url = format!("http://{admin_addr}");
    }
    let commons = shared::connect(&settings, variables, &keyring).await?;
    let Keyring { token, call, sender, checkpoint, session, operators, master, subjects } = keyring;

    let notary = Notary {
        organisation: settings.server.organisation.to_string(),
        key: Arc::new(checkpoint),
        every: CHECKPOINT,
    };
    let outside = Outside::of(&settings, &notary, variables)?;
    let options =
        Options { archive: retention::archive(&settings, variables)?, ..Options::new(wall, notary) };
    if commons.is_none() {
        outside.before().await?;
    }
    let (ledger, report) = shared::ledger(&data, options, commons.as_ref(), subjects.as_deref()).await?;
    outside.after(&ledger, commons.is_some()).await?;
    for source in &settings.sources {
        ledger.live().sources().declare(source.clone(), ledger.now())?;
    }
    let rules = lifecycle::rules(&settings.promotion).map_err(StartError::Signers)?;
    let lifecycle = Lifecycle::new(ledger.clone(), rules);
    lifecycle::put_in_force(&ledger, &lifecycle, &settings).await?;
    let metrics = Arc::new(Metrics::default());
    let (access_to_vault, vault) = open_vault(&data, master, commons.clone())?;

    let (streams, sending) = stream::open(stream::Parts {
        settings: &settings,
        variables,
        data: &data,
        commons: commons.as_ref(),
        ledger: ledger.clone(),
        vault: Arc::clone(&access_to_vault),
    })?;
    let senders = Senders { call, sender, vault: access_to_vault };
    let (gateway, upstreams) = gateway(&settings, variables, &ledger, senders, &metrics)?;
    let effects = gateway.effects().clone();
    ledger.live().runs_in(settings.server.environment.as_str());
    let lifecycle = lifecycle.shadowed(gateway.shadow().clone());
    let books: Arc<LedgerBooks> = Arc::new(LedgerBooks {
        ledger: ledger.clone(),
        index: Mutex::new(Projection::open(&data)?),
        reading: Mutex::default(),
    });
    let archived = Arc::clone(&books);
    let (opal_listener, opal_addr, opal_url) = bind_opal(&settings).await?;
    let opal::Started { opal, sources, app: opal_app } =
        opal::prepare(&settings, variables, &lifecycle, &metrics, opal_url.as_deref())
            .map_err(StartError::Opal)?;
    let databases = Arc::new(Databases::new(commons.as_ref(), &ledger));
    let tables =
        databases::prepare(&settings, variables, &ledger, &databases).map_err(StartError::Postgres)?;
    let fleet = opal.fleet().cloned();
    let now = ledger.now().secs();
    let Windows { proofs, oauth: asserted, admin: signed, people: seen } =
        windows(&data, commons.as_ref(), now)?;
    let codes = Arc::new(Codes::of(commons.clone()));
    let keys = KeySet::of(token.public());
    let server = &settings.server;
    let feeds = feeds::open(feeds::Parts {
        settings: &settings,
        variables,
        ledger: ledger.clone(),
        books: books.clone(),
        metrics: Arc::clone(&metrics),
        key: feeds::again(&token).map_err(KeyringError::again)?,
    })
    .await?;

    let endpoint = Arc::new(mcp::Endpoint::new(mcp::Parts {
        gateway,
        access: Access::new(server.public_url.clone(), server.resource(), keys.clone(), TOKENS),
        refusals: Arc::clone(&metrics) as Arc<dyn mcp::Refusals>,
        base: server.public_url.clone(),
        hosts: vec![authority_of(&server.public_url)],
        sessions: mcp::SessionKey::new(&session),
        proofs,
        max_body: settings.limits.body_bytes,
        streams: settings.limits.streams,
        body_read: Duration::from_millis(settings.limits.body_read_ms),
    }));
    let people = people::open(people::Parts {
        settings: &settings,
        variables,
        books: books.clone(),
        metrics: Arc::clone(&metrics),
        seals: Seals::new(&session),
        window: seen,
    })?;
    let oauth = token_service(
        server,
        token,
        keys,
        (books.clone(), Arc::clone(&codes), Arc::clone(&metrics)),
        asserted,
        people.serves(),
    )?;
    let follows = lifecycle::Follows::default();
    let admin = Arc::new(Admin {
        books,
        offers: Arc::new(LiveOffers {
            upstreams: Arc::clone(&upstreams),
            ledger: ledger.clone(),
            effects: effects.clone(),
            credentials: settings.upstreams.iter().map(Upstream::credential).collect(),
        }),
        door: Door {
            audience: server.admin_url.clone(),
            url: url(&server.admin_url)?,
            operators,
            window: signed,
            max_body: settings.limits.archive_bytes,
            body_read: Duration::from_millis(settings.limits.body_read_ms),
        },
        codes,
        vault: vault.clone(),
        lifecycle: Some(lifecycle.clone()),
        git: follows.clone(),
        opal,
        databases,
        streams: Some(streams),
        metrics: Arc::clone(&metrics),
        environment: server.environment.as_str(),
        public_url: server.public_url.clone(),
        started,
        waiters: admin::Waiters::default(),
    });

    let mut app =
        Router::new().merge(mcp::routes(endpoint)).merge(oauth::routes(oauth)).merge(feeds.agents());
    app = app.merge(people::routes(people));
    if settings.ledger.publish {
        let (witnessed, host) =
            (!settings.ledger.witnesses.is_empty(), authority_of(&settings.server.public_url));
        app = app.merge(transparency::routes(data.clone(), witnessed, host, Arc::clone(&metrics)));
    }
    let feed = Arc::clone(&admin);
    let admin_app = admin::routes(admin).merge(feeds.admins());
    let every = Duration::from_millis(settings.limits.resolve_every_ms);
    let (stop, mut tasks) = at_work((agents, app), (admins, admin_app), upstreams, settings.limits);
    for work in lifecycle.work(&settings, follows) {
        let stopped = told(stop.subscribe());
        tasks.spawn(async move {
            tokio::select! {
                () = work => {}
                () = stopped => {}
            }
        });
    }
    tasks.spawn(flood::sweep(ledger.clone(), Arc::clone(&metrics), stop.subscribe()));
    let retains = settings.retention.archive.is_some();
    if retains {
        let (books, stopped) = (archived, stop.subscribe());
        tasks.spawn(retention::work(
            settings.retention.clone(),
            ledger.clone(),
            books,
            Arc::clone(&metrics),
            stopped,
        ));
    }
    tasks.spawn(outside.follow(metrics, stop.subscribe()));
    if !every.is_zero() {
        let stopped = told(stop.subscribe());
        tasks.spawn(async move {
            tokio::select! {
                () = resolve(effects, every) => {}
                () = stopped => {}
            }
        });
    }
    let stopped = told(stop.subscribe());
    tasks.spawn(async move {
        stopped.await;
        feed.waiters.end();
    });
    let feeds_addr = feeds.address();
    feeds.work(&mut tasks, &stop, settings.limits.header_bytes);
    for work in sending {
        let stopped = told(stop.subscribe());
        tasks.spawn(async move {
            tokio::select! {
                () = work.run() => {}
                () = stopped => {}
            }
        });
    }
    opal::start(&mut tasks, sources, fleet, || Box::pin(told(stop.subscribe())));
    databases::start(&mut tasks, tables, || Box::pin(told(stop.subscribe())));
    if let (Some(listener), Some(app)) = (opal_listener, opal_app) {
        let connections = settings.opal_server.as_ref().map_or(0, |server| server.clients);
        let connections = usize::try_from(connections).unwrap_or(usize::MAX).saturating_mul(4);
        tasks.spawn(listen::serve_sockets(
            listener,
            bounds(&settings.limits, connections),
            app,
            told(stop.subscribe()),
        ));
    }
    if let Some(commons) = commons {
        let (attend, stopped) = (shared::attend(commons, ledger.clone(), vault), told(stop.subscribe()));
        tasks.spawn(async move {
            tokio::select! {
                () = attend => {}
                () = stopped => {}
            }
        });
    }
    tracing::info!(agents = %agent_addr, administrators = %admin_addr, took_ms = started.elapsed().as_millis(), "serving");
    Ok(Running {
        agent_addr,
        admin_addr,
        feeds_addr,
        public_url: settings.server.public_url.clone(),
        admin_url: settings.server.admin_url.clone(),
        opal_addr,
        report,
        stop,
        tasks,
        ledger,
    })
}

/// Where uses are remembered: of proofs with calls, of the token endpoint's assertions and proofs, of administrators'
/// assertions.
struct Windows {
    proofs: Uses,
    oauth: Uses,
    admin: Uses,
    people: Uses,
}

/// In files, or in the database of several gateways.
fn windows(data: &Path, commons: Option<&Commons>, now: u64) -> Result<Windows, StartError> {
    let dir = data.join("used");
    std::fs::create_dir_all(&dir).map_err(|error| io(&dir, error))?;
    let open = |name: &str, capacity, outlasts| match commons {
        Some(commons) => Ok(Uses::shared(commons.clone(), outlasts == Outlasts::Machine)),
        None => FileWindow::open_as(&dir.join(name), capacity, now, outlasts)
            .map(Uses::in_file)
            .map_err(StartError::Window),
    };
    Ok(Windows {
        proofs: open("proofs", mcp::MAX_PROOFS, Outlasts::Process)?,
        oauth: open("oauth", WINDOW, Outlasts::Machine)?,
        admin: open("admin", WINDOW, Outlasts::Machine)?,
        people: open("people", WINDOW, Outlasts::Machine)?,
    })
}

/// What the gateway makes credentials of.
struct Senders {
    call: SigningKey,
    sender: SigningKey,
    vault: Arc<dyn VaultAccess>,
}

/// The pipeline: the one place that builds an authority.
fn gateway(
    settings: &Settings,
    variables: Variables<'_>,
    ledger: &Ledger,
    senders: Senders,
    metrics: &Arc<Metrics>,
) -> Result<(Arc<Gateway>, Arc<Upstreams>), StartError> {
    let Senders { call, sender, vault } = senders;
    let releases = Arc::clone(ledger.releases());
    let clock = {
        let ledger = ledger.clone();
        Arc::new(move || ledger.now())
    };
    let credentials = Arc::new(Credentials {
        issuer: settings.server.public_url.clone(),
        tokens: call,
        sender,
        schemes: settings
            .upstreams
            .iter()
            .map(|upstream| (upstream.name.clone(), scheme(upstream)))
            .collect(),
        vault,
        releases: Arc::clone(&releases),
        live: Arc::clone(ledger.live()),
        clock: clock.clone(),
    });
    let configs = configs(settings, variables)?;
    let upstreams = Arc::new(Upstreams::new(
        configs,
        Arc::clone(&credentials) as Arc<dyn placet_upstream::Credentials>,
        SystemResolver,
        clock,
    )?);
    let authority = Authority::new(
        releases as Arc<dyn Releases>,
        Arc::clone(ledger.live()) as Arc<dyn Facts>,
        ledger.clone(),
        Arc::new(ledger.clone()),
    );
    let observer = Arc::clone(metrics) as Arc<dyn Observer>;
    let gateway =
        Arc::new(Gateway::new(authority, ledger.clone(), Arc::clone(&upstreams), credentials, observer));
    Ok((gateway, upstreams))
}

/// The token service on the agents' listener.
fn token_service(
    server: &Server,
    token: SigningKey,
    keys: KeySet,
    (books, codes, metrics): (Arc<LedgerBooks>, Arc<Codes>, Arc<Metrics>),
    window: Uses,
    consents: bool,
) -> Result<Arc<OAuth>, StartError> {
    let token_endpoint = format!("{}/oauth/token", server.public_url);
    Ok(Arc::new(OAuth {
        books,
        endpoint: TokenEndpoint {
            issuer: server.public_url.clone(),
            resource: server.resource(),
            url: url(&token_endpoint)?,
            key: token,
            nonces: Nonces::NotAsked,
        },
        metadata: Metadata {
            issuer: server.public_url.clone(),
            resource: server.resource(),
            token_endpoint,
            jwks_uri: format!("{}/oauth/jwks", server.public_url),
            consent: consents.then(|| {
                let at = |path: &str| format!("{}/oauth/{path}", server.public_url);
                (at("authorize"), at("par"))
            }),
            scopes: vec![SCOPE.to_owned()],
        },
        enrol_url: url(&format!("{}/oauth/enrol", server.public_url))?,
        par_url: url(&format!("{}/oauth/par", server.public_url))?,
        keys,
        codes,
        window,
        metrics,
    }))
}

/// Serves both listeners, and keeps tool lists fresh.
fn at_work(
    (agents, app): (TcpListener, Router),
    (admins, admin_app): (TcpListener, Router),
    upstreams: Arc<Upstreams>,
    limits: Limits,
) -> (watch::Sender<bool>, JoinSet<()>) {
    let (stop, stopped) = watch::channel(false);
    let mut tasks = JoinSet::new();
    tasks.spawn(listen::serve(agents, bounds(&limits, limits.connections), app, told(stopped.clone())));
    let admin_bounds = bounds(&limits, limits.admin_connections);
    tasks.spawn(listen::serve(admins, admin_bounds, admin_app, told(stopped.clone())));
    tasks.spawn(async move {
        tokio::select! {
            () = sync(&upstreams) => {}
            () = told(stopped) => {}
        }
    });
    (stop, tasks)
}

fn bounds(limits: &Limits, connections: usize) -> Bounds {
    Bounds {
        header_bytes: limits.header_bytes,
        header_read: Duration::from_millis(limits.header_read_ms),
        connections,
    }
}

/// The listener of OPAL clients, where they reach it, and how they call it.
async fn bind_opal(
    settings: &Settings,
) -> Result<(Option<TcpListener>, Option<SocketAddr>, Option<String>), StartError> {
    let Some(server) = &settings.opal_server else { return Ok((None, None, None)) };
    let listener = bind(server.listen).await?;
    let at = address(&listener, server.listen)?;
    let url =
        if settings.is_default("opal_server.url") { format!("http://{at}") } else { server.url.clone() };
    Ok((Some(listener), Some(at), Some(url)))
}

/// Reads every tool list, then keeps them fresh. One upstream that is away keeps no other from being listed.
async fn sync(upstreams: &Arc<Upstreams>) {
    let mut reading = JoinSet::new();
    for name in upstreams.names().cloned().collect::<Vec<_>>() {
        let upstreams = Arc::clone(upstreams);
        reading.spawn(async move {
            if let Err(error) = upstreams.sync(&name).await {
                tracing::warn!(upstream = %name, %error, "the tools can't be listed");
            }
        });
    }
    let first = async { while reading.join_next().await.is_some() {} };
    tokio::join!(first, upstreams.run());
}

/// Finds out again and again what effects nobody knows had, by their tools' resolvers.
async fn resolve(effects: Effects, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        effects.pass(every).await;
    }
}

/// What the gateway opens and what administrators change: two views of one vault.
type Vaults = (Arc<dyn VaultAccess>, Option<Arc<VaultFile>>);

fn open_vault(
    data: &Path,
    master: Option<MasterKey>,
    commons: Option<Commons>,
) -> Result<Vaults, StartError> {
    let Some(master) = master else { return Ok((Arc::new(NoVault), None)) };
    let file = Arc::new(match commons {
        None => VaultFile::open(&data.join("vault"), master)?,
        Some(commons) => VaultFile::open_shared(commons, master)?,
    });
    Ok((file.access(), Some(file)))
}

/// Without a master key there are no secrets, and a tool that needs one isn't called.
struct NoVault;

impl VaultAccess for NoVault {
    fn open(&self, place: &Place) -> Result<(SecretString, u64), String> {
        self.version(place).map(|version| (SecretString::default(), version))
    }
    fn version(&self, _: &Place) -> Result<u64, String> {
        Err("the vault has no master key: set `[vault] master_key` in the settings".to_owned())
    }
}

fn scheme(upstream: &Upstream) -> Scheme {
    let audience = match (&upstream.call_token_audience, &upstream.transport) {
        (Some(audience), _) => audience.clone(),
        (None, Transport::Http { url, .. } | Transport::Rest { url, .. }) => url.to_string(),
        (None, Transport::Stdio { .. }) => upstream.name.to_string(),
    };
    let service = match &upstream.list_with {
        ListWith::Nothing => Service::Nothing,
        ListWith::CallToken => Service::CallToken,
        ListWith::Vault(name) => Service::Vault(name.clone()),
    };
    let injection = Injection {
        header: upstream.secret_header.clone(),
        prefix: upstream.secret_prefix.clone(),
        query: upstream.secret_query.clone(),
    };
    Scheme { audience, injection, service }
}

fn configs(settings: &Settings, variables: Variables<'_>) -> Result<Vec<Config>, StartError> {
    let limits = settings.limits;
    let one = |upstream: &Upstream| {
        let wire = match &upstream.transport {
            Transport::Http { url, allow_private } => {
                let egress = if *allow_private { Egress::Private } else { Egress::Public };
                Wire::Http(Http { url: url.clone(), trust: Trust::System, egress })
            }
            Transport::Rest { url, allow_private } => {
                let egress = if *allow_private { Egress::Private } else { Egress::Public };
                Wire::Rest(Http { url: url.clone(), trust: Trust::System, egress })
            }
            Transport::Stdio { command, env, vars, cwd } => {
                let mut all: BTreeMap<String, SecretString> = vars
                    .iter()
                    .map(|(name, text)| (name.clone(), SecretString::from(text.as_str())))
                    .collect();
                if let Some(path) = variables("PATH") {
                    all.entry("PATH".to_owned()).or_insert_with(|| SecretString::from(path));
                }
                for (name, source) in env {
                    let secret = source
                        .fetch(variables)
                        .map_err(|error| StartError::Secret { upstream: upstream.name.clone(), error })?;
                    all.insert(name.clone(), SecretString::from(secret.expose_secret()));
                }
                Wire::Stdio(Stdio {
                    command: command.clone(),
                    env: all.into_iter().collect(),
                    cwd: cwd.clone(),
                })
            }
        };
        let timeouts = Timeouts { call: Duration::from_millis(limits.call_ms), ..Timeouts::DEFAULT };
        let bounds = UpstreamBounds { answer: limits.answer_bytes, ..UpstreamBounds::DEFAULT };
        let fuse = Fuse {
            failures: u32::try_from(upstream.breaker_failures).unwrap_or(u32::MAX),
            rest: Duration::from_millis(upstream.breaker_rest_ms),
        };
        Ok(Config { timeouts, bounds, fuse, ..Config::new(upstream.name.clone(), wire) })
    };
    settings.upstreams.iter().map(one).collect()
}

/// The wall clock, in milliseconds since the Unix epoch: the server's only reading of it.
#[expect(
    clippy::disallowed_methods,
    reason = "the one clock of the server; everything else is told the time"
)]
fn wall() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

async fn told(mut stopped: watch::Receiver<bool>) {
    // A sender that is gone means the same.
    drop(stopped.wait_for(|stopped| *stopped).await);
}

async fn bind(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|error| StartError::Listen { address, error })
}

fn address(listener: &TcpListener, address: SocketAddr) -> Result<SocketAddr, StartError> {
    listener.local_addr().map_err(|error| StartError::Listen { address, error })
}

fn url(text: &str) -> Result<Htu, StartError> {
    Htu::parse(text).map_err(|_| StartError::Url(text.to_owned()))
}

fn authority_of(url: &str) -> String {
    url.split_once("://").map_or("", |(_, authority)| authority).to_owned()
}

fn io(path: &Path, error: std::io::Error) -> StartError {
    StartError::Io { path: path.display().to_string(), error }
}

impl Observer for Metrics {
    fn decided(&self, decision: &'static str, code: &str) {
        Metrics::decided(self, decision, code);
    }
    fn ended(&self, ending: &'static str) {
        Metrics::ended(self, ending);
    }
    fn waived(&self, how: &'static str, code: &str) {
        Metrics::waived(self, how, code);
    }
    fn http_answered(&self, upstream: &str, class: &'static str) {
        Metrics::http_answered(self, upstream, class);
    }
    fn looked_up(&self, lookup: &str, outcome: &'static str) {
        Metrics::looked_up(self, lookup, outcome);
    }
    fn found_out(&self, finding: &'static str, by: &'static str) {
        Metrics::found_out(self, finding, by);
    }
    fn took(&self, stage: Stage, elapsed: Duration) {
        Metrics::took(self, stage.as_str(), elapsed);
    }
}

impl mcp::Refusals for Metrics {
    fn refused(&self, reason: &'static str) {
        Metrics::refused(self, reason);
    }
}
