//! `[[opal]]`: OPAL servers whose data are facts; `[opal_server]`: our own, for fleets of OPA.

use std::{net::SocketAddr, path::PathBuf};

use placet_core::{Name, TenantId};
use url::Url;

use super::{SecretSource, read::Section};

/// The longest name of a source: it stands in `opal:NAME`.
const MAX_NAME: usize = 32;

/// An OPAL server that is followed.
#[derive(Debug, Clone)]
pub struct OpalSource {
    /// `name`: its transactions are `opal:NAME`'s.
    pub name: Name,
    /// `url`: the server.
    pub url: Url,
    /// `token`: ours there; none for a server that asks for none.
    pub token: Option<SecretSource>,
    /// `tenant`: the one tenant whose facts it may change.
    pub tenant: TenantId,
    /// `scope`: a scope of the server.
    pub scope: Option<String>,
    /// `topics`: data topics.
    pub topics: Vec<String>,
    /// `mapping`: which places of the document are which facts.
    pub mapping: PathBuf,
    /// `policy`: directories of policy to follow.
    pub policy: Vec<String>,
    /// `promote`: whether a candidate that passes its tests comes into force by itself.
    pub promote: Promote,
    /// `fetch_from`: further origins that entries may point to.
    pub fetch_from: Vec<Url>,
    /// `shard`: the header `X-Shard-ID`.
    pub shard: Option<String>,
    /// `report`: whether every update is reported to the server.
    pub report: bool,
    /// `stale_after_ms`: how long decisions of the tenant may rest on what was last known to be complete.
    pub stale_after_ms: u64,
    /// The line of its section.
    pub line: usize,
}

/// When a candidate release comes into force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Promote {
    /// `never`: an operator promotes it.
    Never,
    /// `when-green`: at once, if all of its cases pass.
    WhenGreen,
}

/// Our server of OPAL clients.
#[derive(Debug, Clone)]
pub struct OpalServer {
    /// `listen`.
    pub listen: SocketAddr,
    /// `url`: as clients call it, without `/opal` and a trailing slash.
    pub url: String,
    /// `master_token`: with which tokens can be got at `/opal/token`.
    pub master_token: Option<SecretSource>,
    /// `clients`: at once.
    pub clients: u64,
    /// `queue`: messages that wait for one client.
    pub queue: u64,
    /// `acknowledge_ms`: how long a client may take to acknowledge a message.
    pub acknowledge_ms: u64,
}

/// Reads all sources.
pub(super) fn sources(root: &mut Section<'_, '_>) -> Option<Vec<OpalSource>> {
    let read: Vec<_> = root.sections("opal").into_iter().map(source).collect();
    read.into_iter().collect()
}

fn source(mut section: Section<'_, '_>) -> Option<OpalSource> {
    let line = section.line();
    let name = section.required(
        "name",
        |text| Name::new(text).ok().filter(|_| text.len() <= MAX_NAME && !text.contains([':', '/'])),
        "write a name of `A-Z a-z 0-9 . _ -`, at most 32 characters",
    );
    let url = section.required("url", base, "write its address, as in `https://opal.example`");
    let token = section.optional_secret("token");
    let tenant = section.required("tenant", |text| TenantId::new(text).ok(), "name the tenant");
    let scope = section.optional_word("scope", plain, "write a scope's id");
    let topics = section.optional_texts("topics");
    let mapping = section.path("mapping", "sync/opal.toml");
    let policy = section.optional_texts("policy");
    let promote = section.word(
        "promote",
        "never",
        |text| match text {
            "never" => Some(Promote::Never),
            "when-green" => Some(Promote::WhenGreen),
            _ => None,
        },
        "write `never` or `when-green`",
    );
    let fetch_from = section.optional_texts("fetch_from");
    let shard = section.optional_word("shard", plain, "write the shard's id");
    let report = section.boolean("report", true);
    let stale_after_ms = section.number("stale_after_ms", 15_000, 5_000..=placet_facts::MAX_BOUND_MS);
    section.finish();
    let fetch_from = fetch_from?.unwrap_or_default();
    let origins: Option<Vec<Url>> = fetch_from.iter().map(|text| base(text)).collect();
    if origins.is_none() {
        section.problem("fetch_from", "an origin is no URL", "write `[\"https://data.example\"]`");
    }
    Some(OpalSource {
        name: name?,
        url: url?,
        token: token?,
        tenant: tenant?,
        scope: scope?,
        topics: topics?.unwrap_or_else(|| vec!["policy_data".to_owned()]),
        mapping: mapping?,
        policy: policy?.unwrap_or_default(),
        promote: promote?,
        fetch_from: origins?,
        shard: shard?,
        report: report?,
        stale_after_ms: stale_after_ms?,
        line,
    })
}

/// The inner `None`: there is no such section, so nothing is served.
#[expect(clippy::option_option, reason = "absent, wrong and given are three things")]
pub(super) fn server(root: &mut Section<'_, '_>) -> Option<Option<OpalServer>> {
    let mut section = root.section("opal_server");
    if !section.exists() {
        return Some(None);
    }
    let listen = section.word(
        "listen",
        "127.0.0.1:8719",
        |text| text.parse::<SocketAddr>().ok(),
        "write address and port, as in `127.0.0.1:8719`",
    );
    let default = listen.map(|listen| format!("http://{listen}")).unwrap_or_default();
    let url = section.word(
        "url",
        &default,
        super::origin,
        "write scheme and host, as in `https://opal.example`, without a path",
    );
    let master_token = section.optional_secret("master_token");
    let clients = section.number("clients", 1_000, 1..=100_000);
    let queue = section.number("queue", 256, 1..=65_536);
    let acknowledge_ms = section.number("acknowledge_ms", 10_000, 100..=600_000);
    section.finish();
    Some(Some(OpalServer {
        listen: listen?,
        url: url?,
        master_token: master_token?,
        clients: clients?,
        queue: queue?,
        acknowledge_ms: acknowledge_ms?,
    }))
}

fn base(text: &str) -> Option<Url> {
    Url::parse(text).ok().filter(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none()
    })
}

fn plain(text: &str) -> Option<String> {
    let fine = !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic() && b != b'/');
    fine.then(|| text.to_owned())
}
