//! The settings of a server: one TOML file, read once, parsed into required typed fields.
//!
//! Every key has a safe default, so that no file at all serves a development environment on loopback. Unknown keys,
//! missing secrets and unsafe combinations are [`Problem`]s with line and remedy, all of them at once. A secret is
//! never in the file: [`SecretSource`] says where it lies.

mod feeds;
mod identity;
mod ledger;
mod opal;
mod postgres;
mod print;
mod promotion;
mod read;
mod retention;
mod rules;
mod secret;
mod source;
mod stream;
mod upstream;

use std::{
    collections::BTreeMap,
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use placet_core::Name;
use url::Url;

use read::Reader;

pub use feeds::{
    Delivery, Feeds, FeedsListener, Keys as TransmitterKeys, Receiver, ScimFeed, Transmitter, Verify, Witness,
};
pub use identity::{DEVELOPMENT, IdentityProvider};
pub use ledger::{Transparency, WitnessAt};
pub use opal::{OpalServer, OpalSource, Promote};
pub use postgres::PostgresSource;
pub use print::Printed;
pub use promotion::{GitRef, GitSource, Promotion};
pub use retention::Retention;
pub use secret::{Secret, SecretError, SecretSource, check_private};
pub use stream::{StreamAt, StreamHttp, StreamTo, StreamToken};
pub use upstream::{ListWith, Transport, Upstream};

/// Looks up a variable of the environment; the binary gives the process', a test its own.
pub type Variables<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Where this server runs. One server is one environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Environment {
    /// A developer's machine: keys are made at the first start, plain HTTP may be allowed.
    Dev,
    /// Like production, with other people's patience.
    Staging,
    /// For earnest.
    Production,
}

impl Environment {
    /// As it is written, and as policy reads it at `input.environment`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dev => "dev",
            Self::Staging => "staging",
            Self::Production => "production",
        }
    }
}

/// All settings of a server.
#[derive(Debug)]
pub struct Settings {
    /// Listeners, addresses, data.
    pub server: Server,
    /// The release to bring into force at the start where none is; in dev also where it differs.
    pub release: ReleaseSource,
    /// What a release needs before it comes into force.
    pub promotion: Promotion,
    /// The tools' servers.
    pub upstreams: Vec<Upstream>,
    /// Sources of facts that feed by the API.
    pub sources: Vec<placet_facts::Source>,
    /// Identity feeds.
    pub feeds: Feeds,
    /// Providers by which people sign in.
    pub identity: Vec<IdentityProvider>,
    /// Keys that sign.
    pub keys: Keys,
    /// Upstream secrets.
    pub vault: Vault,
    /// Where the journal is.
    pub journal: Journal,
    /// Who sees the ledger's checkpoints.
    pub ledger: Transparency,
    /// How long the journal stays here, and where it goes then.
    pub retention: Retention,
    /// Bounds of the listeners.
    pub limits: Limits,
    /// Logs.
    pub log: Log,
    /// Traces.
    pub telemetry: Telemetry,
    /// OPAL servers that are followed.
    pub opal: Vec<OpalSource>,
    /// Databases of others whose rows are facts.
    pub postgres: Vec<PostgresSource>,
    /// Where records of the ledger are sent.
    pub streams: Vec<StreamAt>,
    /// The server of OPAL clients, if there is one.
    pub opal_server: Option<OpalServer>,
    /// Switches for development.
    pub dev: Dev,
    /// Where each value came from.
    pub origins: Vec<Printed>,
}

/// `[server]`: listeners, addresses, data.
#[derive(Debug, Clone)]
pub struct Server {
    /// `environment`.
    pub environment: Environment,
    /// `listen`: the agents' listener.
    pub listen: SocketAddr,
    /// `admin_listen`: the administrators' listener.
    pub admin_listen: SocketAddr,
    /// `public_url`: the agents' listener as agents call it; the issuer of tokens. Without a trailing slash.
    pub public_url: String,
    /// `admin_url`: the administrators' listener as they call it. Without a trailing slash.
    pub admin_url: String,
    /// `data`: the data directory.
    pub data: PathBuf,
    /// `organisation`: named in the ledger's checkpoints.
    pub organisation: Name,
}

impl Server {
    /// The URL of the gateway that every upstream lies behind, and the audience of workflow tokens.
    #[must_use]
    pub fn resource(&self) -> String {
        format!("{}/mcp", self.public_url)
    }
}

/// `[release]`: where the release of the first start comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReleaseSource {
    /// Nowhere: releases come by `placet promote`.
    None,
    /// `dir`: a tree of files.
    Dir(PathBuf),
    /// `archive`: what `placet release build` wrote.
    Archive(PathBuf),
}

/// `[keys]`: what the server signs with, and whom it believes.
#[derive(Debug, Clone)]
pub struct Keys {
    /// `token`: signs workflow and call tokens (PKCS#8 PEM, Ed25519 or P-256).
    pub token: SecretSource,
    /// `sender`: the gateway's own key towards upstreams, which call tokens are bound to (PKCS#8 PEM).
    pub sender: SecretSource,
    /// `checkpoint`: signs the ledger's tree heads (32 bytes in base64, an Ed25519 seed).
    pub checkpoint: SecretSource,
    /// `session`: seals ids of legacy sessions (32 bytes in base64).
    pub session: SecretSource,
    /// `operators`: the operators' public keys, a JWK set (RFC 7517).
    pub operators: PathBuf,
}

/// `[vault]`: upstream secrets.
#[derive(Debug, Clone)]
pub struct Vault {
    /// `master_key`: 32 bytes in base64, under which the data keys are wrapped. Without one the vault stays shut.
    pub master_key: Option<SecretSource>,
}

/// `[journal]`: where the journal is.
#[derive(Debug, Clone)]
pub struct Journal {
    /// `postgres`: the URL of the database that several gateways share. Without one the journal is in the data directory.
    pub postgres: Option<SecretSource>,
    /// `gateway`: what this gateway is called there, for operators.
    pub gateway: Name,
    /// `ca`: certificates that the database's must be signed by, instead of the system's.
    pub ca: Option<PathBuf>,
    /// `lease_ms`: how long a gateway that isn't heard of is believed to live.
    pub lease_ms: u64,
}

/// `[limits]`: bounds of the listeners.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// `body_bytes`: the longest body of an agent's request.
    pub body_bytes: usize,
    /// `archive_bytes`: the longest body of an administrative request: a release's archive.
    pub archive_bytes: usize,
    /// `header_bytes`: the most bytes of a request's line and headers.
    pub header_bytes: usize,
    /// `header_read_ms`: how long a request's headers may take to arrive.
    pub header_read_ms: u64,
    /// `body_read_ms`: how long a request's body may take to arrive.
    pub body_read_ms: u64,
    /// `connections`: the most connections of agents at once; further ones wait in the kernel's queue.
    pub connections: usize,
    /// `admin_connections`: the most connections of administrators at once.
    pub admin_connections: usize,
    /// `streams`: the most open answers of one agent at once.
    pub streams: usize,
    /// `answer_bytes`: the longest answer of an upstream.
    pub answer_bytes: usize,
    /// `call_ms`: the longest call of an upstream.
    pub call_ms: u64,
    /// `resolve_every_ms`: how often it is tried to find out what effects nobody knows had, and how long after their
    /// endings at the earliest; 0: only when somebody orders it.
    pub resolve_every_ms: u64,
}

/// `[log]`: logs.
#[derive(Debug, Clone)]
pub struct Log {
    /// `format`: for people or for machines.
    pub format: LogFormat,
    /// `level`: a filter of `tracing-subscriber`: `info`, `placet_gateway=debug,info`.
    pub level: String,
}

/// What a line of log looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// `[telemetry]`: traces of governed calls.
#[derive(Debug, Clone)]
pub struct Telemetry {
    /// `otlp`: the base URL of a collector that takes OTLP over HTTP, below which `v1/traces` lies. Without one there are
    /// no traces.
    pub otlp: Option<Url>,
}

/// `[dev]`: switches that only a development environment may have.
#[derive(Debug, Clone, Copy)]
pub struct Dev {
    /// `plain_http`: whether plain HTTP may be spoken on addresses other than loopback.
    pub plain_http: bool,
    /// `sign_in`: whether anybody on this machine may sign in as anybody, to try things out.
    pub sign_in: bool,
}

/// Why settings can't be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1; 0 for the file as a whole, or for a default that doesn't fit.
    pub line: usize,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub remedy: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        write!(f, ": {}", self.message)?;
        if self.remedy.is_empty() { Ok(()) } else { write!(f, "; {}", self.remedy) }
    }
}

/// All that is wrong with a settings file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            fmt::Display::fmt(problem, f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

impl Settings {
    /// Reads the settings of `file`; paths in it are relative to its directory.
    ///
    /// Secrets of the environment are looked up by `variables` once they are needed; that each source exists and that
    /// key files are private is checked here.
    pub fn load(file: &Path, variables: Variables<'_>) -> Result<Self, Problems> {
        let text = std::fs::read_to_string(file).map_err(|error| {
            Problems(vec![Problem {
                file: file.to_owned(),
                line: 0,
                message: format!("the settings can't be read: {error}"),
                remedy: "name the file with `--config`, or run `placet init` for one".to_owned(),
            }])
        })?;
        Self::parse(file, &text, variables)
    }

    /// The settings of an empty file in `dir`.
    pub fn defaults(dir: &Path, variables: Variables<'_>) -> Result<Self, Problems> {
        Self::parse(&dir.join("placet.toml"), "", variables)
    }

    /// Whether a key has its default.
    #[must_use]
    pub fn is_default(&self, key: &str) -> bool {
        self.origins.iter().all(|origin| origin.key != key || origin.line == 0)
    }

    /// Reads settings from `text`, which stands in `file`.
    pub fn parse(file: &Path, text: &str, variables: Variables<'_>) -> Result<Self, Problems> {
        let table = toml::de::DeTable::parse(text)
            .map_err(|error| Problems(vec![read::syntax(file, text, &error)]))?;
        let reader = Reader::new(file, text, variables);
        let mut root = reader.root(table.get_ref());
        let parsed = sections(&mut root);
        root.finish();
        if let Some(settings) = &parsed {
            rules::check(&reader, settings);
        }
        let (problems, origins) = reader.into_parts();
        match parsed {
            Some(settings) if problems.is_empty() => Ok(Self { origins, ..settings }),
            _ => Err(Problems(problems)),
        }
    }
}

/// `None` where a problem was noted. Every section is read all the same, so that all problems are told at once.
fn sections(root: &mut read::Section<'_, '_>) -> Option<Settings> {
    let server = server(root);
    let release = release(root, server.as_ref());
    let data = server.as_ref().map(|server| server.data.clone());
    let (keys, vault) = match (&server, &data) {
        (Some(server), Some(data)) => (keys(root, data), vault(root, server)),
        _ => (None, None),
    };
    let journal = journal(root);
    let ledger = ledger::read(root);
    let retention = retention::read(root);
    let upstreams = upstream::read(root);
    let sources = source::read(root);
    let feeds = feeds::read(root);
    let identity = identity::read(root);
    let (limits, log, telemetry) = (limits(root), log(root), telemetry(root));
    let (opal, opal_server) = (opal::sources(root), opal::server(root));
    let postgres = postgres::read(root);
    let streams = stream::read(root);
    let dev = dev(root, server.as_ref());
    let (release, promotion) = release?;
    Some(Settings {
        server: server?,
        promotion,
        release,
        upstreams: upstreams?,
        sources: sources?,
        feeds: feeds?,
        identity: identity?,
        keys: keys?,
        vault: vault?,
        journal: journal?,
        ledger: ledger?,
        retention: retention?,
        limits: limits?,
        log: log?,
        telemetry: telemetry?,
        opal: opal?,
        postgres: postgres?,
        streams: streams?,
        opal_server: opal_server?,
        dev: dev?,
        origins: Vec::new(),
    })
}

fn server(root: &mut read::Section<'_, '_>) -> Option<Server> {
    let mut section = root.section("server");
    let environment = section.word(
        "environment",
        "dev",
        |text| match text {
            "dev" => Some(Environment::Dev),
            "staging" => Some(Environment::Staging),
            "production" => Some(Environment::Production),
            _ => None,
        },
        "write `dev`, `staging` or `production`",
    );
    let address = |section: &mut read::Section<'_, '_>, key, default| {
        section.word(
            key,
            default,
            |text| text.parse::<SocketAddr>().ok(),
            "write address and port, as in `127.0.0.1:8717`",
        )
    };
    let listen = address(&mut section, "listen", "127.0.0.1:8717");
    let admin_listen = address(&mut section, "admin_listen", "127.0.0.1:8718");
    let remedy = "write scheme and host, as in `https://gw.example`, without a path";
    let public = listen.map(|listen| format!("http://{listen}")).unwrap_or_default();
    let public_url = section.word("public_url", &public, origin, remedy);
    let admin = admin_listen.map(|listen| format!("http://{listen}")).unwrap_or_default();
    let admin_url = section.word("admin_url", &admin, origin, remedy);
    let data = section.path("data", "./data");
    let organisation = section.word(
        "organisation",
        "organisation",
        |text| Name::new(text).ok().filter(|name| !name.as_str().contains('/')),
        "write a name of `A-Z a-z 0-9 . _ : @ | -`",
    );
    section.finish();
    Some(Server {
        environment: environment?,
        listen: listen?,
        admin_listen: admin_listen?,
        public_url: public_url?,
        admin_url: admin_url?,
        data: data?,
        organisation: organisation?,
    })
}

/// An origin: scheme, host, port. What a client compares byte for byte must not end in a slash.
fn origin(text: &str) -> Option<String> {
    let url = Url::parse(text).ok()?;
    let plain = matches!(url.scheme(), "http" | "https")
        && url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none()
        && url.host_str().is_some();
    if plain { Some(url.as_str().trim_end_matches('/').to_owned()) } else { None }
}

fn release(root: &mut read::Section<'_, '_>, server: Option<&Server>) -> Option<(ReleaseSource, Promotion)> {
    let mut section = root.section("release");
    let (dir, archive) = (section.optional_path("dir"), section.optional_path("archive"));
    let promotion = promotion::read(&mut section, server.map(|server| server.environment));
    section.finish();
    let source = match (dir?, archive?) {
        (None, None) => Some(ReleaseSource::None),
        (Some(dir), None) => Some(ReleaseSource::Dir(dir)),
        (None, Some(archive)) => Some(ReleaseSource::Archive(archive)),
        (Some(_), Some(_)) => {
            section.problem("archive", "`dir` and `archive` can't both be given", "remove one of them");
            None
        }
    };
    Some((source?, promotion?))
}

fn keys(root: &mut read::Section<'_, '_>, data: &Path) -> Option<Keys> {
    let mut section = root.section("keys");
    let in_data = |name: &str| data.join("keys").join(name);
    let token = section.secret_or("token", SecretSource::File(in_data("token.pem")));
    let sender = section.secret_or("sender", SecretSource::File(in_data("sender.pem")));
    let checkpoint = section.secret_or("checkpoint", SecretSource::File(in_data("checkpoint.key")));
    let session = section.secret_or("session", SecretSource::File(in_data("session.key")));
    let operators = section.path_or("operators", in_data("operators.jwks"));
    section.finish();
    Some(Keys {
        token: token?,
        sender: sender?,
        checkpoint: checkpoint?,
        session: session?,
        operators: operators?,
    })
}

fn vault(root: &mut read::Section<'_, '_>, server: &Server) -> Option<Vault> {
    let mut section = root.section("vault");
    let given = section.optional_secret("master_key");
    let master_key = match (given?, server.environment) {
        (None, Environment::Dev) => {
            let default = SecretSource::File(server.data.join("keys").join("master.key"));
            section.default("master_key", &default.to_string());
            Some(default)
        }
        (given, _) => given,
    };
    section.finish();
    Some(Vault { master_key })
}

fn journal(root: &mut read::Section<'_, '_>) -> Option<Journal> {
    let mut section = root.section("journal");
    let postgres = section.optional_secret("postgres");
    let gateway = section.word(
        "gateway",
        "gateway",
        |text| Name::new(text).ok(),
        "write a name of `A-Z a-z 0-9 . _ : @ | -`",
    );
    let ca = section.optional_path("ca");
    let lease_ms = section.number("lease_ms", 10_000, 1_000..=600_000);
    section.finish();
    Some(Journal { postgres: postgres?, gateway: gateway?, ca: ca?, lease_ms: lease_ms? })
}

fn limits(root: &mut read::Section<'_, '_>) -> Option<Limits> {
    const KIB: u64 = 1024;
    const MIB: u64 = 1024 * KIB;
    let mut section = root.section("limits");
    let body = section.number("body_bytes", MIB, KIB..=64 * MIB);
    let archive = section.number("archive_bytes", 16 * MIB, MIB..=256 * MIB);
    let header = section.number("header_bytes", 32 * KIB, 8 * KIB..=256 * KIB);
    let header_read_ms = section.number("header_read_ms", 10_000, 100..=60_000);
    let body_read_ms = section.number("body_read_ms", 30_000, 100..=300_000);
    let connections = section.number("connections", 8192, 1..=1_000_000);
    let admin_connections = section.number("admin_connections", 64, 1..=10_000);
    let streams = section.number("streams", 64, 1..=10_000);
    let answer = section.number("answer_bytes", 8 * MIB, KIB..=256 * MIB);
    let call_ms = section.number("call_ms", 30_000, 100..=3_600_000);
    let resolve_every_ms = section.number("resolve_every_ms", 30_000, 0..=3_600_000);
    section.finish();
    let size = |number: u64| usize::try_from(number).ok();
    Some(Limits {
        body_bytes: size(body?)?,
        archive_bytes: size(archive?)?,
        header_bytes: size(header?)?,
        header_read_ms: header_read_ms?,
        body_read_ms: body_read_ms?,
        connections: size(connections?)?,
        admin_connections: size(admin_connections?)?,
        streams: size(streams?)?,
        answer_bytes: size(answer?)?,
        call_ms: call_ms?,
        resolve_every_ms: resolve_every_ms?,
    })
}

fn log(root: &mut read::Section<'_, '_>) -> Option<Log> {
    let mut section = root.section("log");
    let format = section.word(
        "format",
        "text",
        |text| match text {
            "text" => Some(LogFormat::Text),
            "json" => Some(LogFormat::Json),
            _ => None,
        },
        "write `text` or `json`",
    );
    let level = section.word("level", "info", |text| Some(text.to_owned()), "write a level, as in `info`");
    section.finish();
    Some(Log { format: format?, level: level? })
}

fn telemetry(root: &mut read::Section<'_, '_>) -> Option<Telemetry> {
    let mut section = root.section("telemetry");
    let otlp = section.optional_word(
        "otlp",
        |text| {
            Url::parse(text).ok().filter(|url| {
                matches!(url.scheme(), "http" | "https") && url.query().is_none() && url.fragment().is_none()
            })
        },
        "write the collector's URL, as in `http://127.0.0.1:4318`",
    );
    section.finish();
    Some(Telemetry { otlp: otlp? })
}

/// The section itself is refused outside dev, whatever it says.
fn dev(root: &mut read::Section<'_, '_>, server: Option<&Server>) -> Option<Dev> {
    let mut section = root.section("dev");
    if section.exists() && server.is_some_and(|server| server.environment != Environment::Dev) {
        section.problem(
            "",
            "switches for development are refused here",
            "remove the section, or set `server.environment = \"dev\"`",
        );
    }
    let plain_http = section.boolean("plain_http", false);
    let sign_in = section.boolean("sign_in", false);
    section.finish();
    Some(Dev { plain_http: plain_http?, sign_in: sign_in? })
}

/// Environment variables of an upstream's process, by name.
pub type Environs = BTreeMap<String, SecretSource>;

#[cfg(test)]
mod tests;
