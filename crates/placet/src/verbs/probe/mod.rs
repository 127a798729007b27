//! `placet probe`: is there a road to a tool around the gateway? Knocks at each upstream with what a thief might have.
//!
//! It sends only what changes nothing: MCP's `initialize` and `tools/list`, HTTP's `OPTIONS`, and `GET` on paths that
//! were named. Tokens that it makes are for nobody or long expired: at a tool that checks, none opens anything.

mod knock;
mod report;
mod roads;

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use placet_server::settings::{Settings, Transport};
use url::Url;

use super::{connect::workflow_token, serve::variable};
use crate::{
    failure::{Failure, OrFail},
    keyfile,
    output::{Answer, Format, show},
};

use knock::Knock;
use report::{Found, State};
use roads::{Presented, Roads};

/// Try the roads to tools around the gateway; harmless requests only
#[derive(Debug, Args)]
#[command(after_help = "Example, from a host where an agent runs:\n  \
    placet probe --upstream https://billing.example/mcp --old-credential-file old-key.txt\n\n  \
    Every upstream of a gateway's settings, with an agent's own token as well:\n  \
    placet probe --config placet.toml --agent-key agent.pem --workflow acme/wf-9\n\n\
    Exit status: 0 no road is open, 1 one is, 2 it could not be told")]
pub(crate) struct Probe {
    /// A gateway's settings: every upstream in them; `placet.toml`, if no `--upstream` is given
    #[arg(long, env = "PLACET_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// A tool's address, as often as needed
    #[arg(long, value_name = "URL")]
    upstream: Vec<Url>,
    /// What `--upstream` speaks
    #[arg(long, value_enum, default_value = "mcp")]
    protocol: Speaks,
    /// Also `GET` this path of an HTTP API, which must change nothing
    #[arg(long, value_name = "PATH")]
    get: Vec<String>,
    /// Also send this MCP message, as it is: a `tools/call` that does no harm, say
    #[arg(long, value_name = "FILE")]
    message: Option<PathBuf>,
    /// The credential that agents had before Placet: it should open nothing any more
    #[arg(long, value_name = "FILE")]
    old_credential_file: Option<PathBuf>,
    /// Where the old credential goes; by default where the settings put the upstream's secret
    #[arg(long, value_name = "NAME")]
    old_credential_header: Option<String>,
    /// An agent's key: its own workflow token is fetched and shown to the tools
    #[arg(long, value_name = "FILE")]
    agent_key: Option<PathBuf>,
    /// The gateway of that agent
    #[arg(long, env = "PLACET_GATEWAY", default_value = "http://127.0.0.1:8717", value_name = "URL")]
    gateway: String,
    /// That agent's workflow, where it has several
    #[arg(long, value_name = "TENANT/WORKFLOW")]
    workflow: Option<String>,
    /// A request that a tool got and answered, as `curl` would send it: headers, an empty line, the body. It is sent
    /// again
    #[arg(long, value_name = "FILE")]
    captured: Option<PathBuf>,
    /// The gateway's token key: what is shown as expired and as somebody else's is then truly signed. Without it, by a
    /// key made on the spot
    #[arg(long, value_name = "FILE")]
    token_key: Option<PathBuf>,
    /// The gateway's issuer, as its call tokens name it; by default its `server.public_url`, or `--gateway`
    #[arg(long, value_name = "URL")]
    issuer: Option<String>,
    /// How to print
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// What a tool speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Speaks {
    /// MCP over Streamable HTTP.
    Mcp,
    /// An HTTP API.
    Rest,
}

/// A tool that is probed.
struct Target {
    name: String,
    /// None: a program, without an address.
    url: Option<Url>,
    speaks: Speaks,
    audience: String,
    secret_header: String,
    secret_prefix: String,
}

impl Probe {
    pub(crate) fn run(self) -> Result<Answer, Failure> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .or_fail("can't start")?;
        runtime.block_on(self.probe())
    }

    async fn probe(self) -> Result<Answer, Failure> {
        let (targets, issuer) = self.targets()?;
        let old = self.old_credential_file.as_deref().map(secret).transpose()?;
        let captured = self.captured.as_deref().map(roads::captured).transpose()?;
        let agent = match &self.agent_key {
            Some(key) => Some(workflow_token(&self.gateway, key, self.workflow.as_deref()).await?),
            None => None,
        };
        let token_key = self.token_key.as_deref().map(keyfile::load).transpose()?;
        let issuer = self.issuer.clone().unwrap_or(issuer);
        let roads = Roads::new(issuer, token_key, agent, old, captured)?;
        let message = match &self.message {
            Some(path) => Some(std::fs::read(path).or_fail(format_args!("can't read `{}`", path.display()))?),
            None => None,
        };
        let mut found = Vec::new();
        for target in &targets {
            found.push(self.knock_at(target, &roads, message.as_deref()).await?);
        }
        let document = report::document(&found);
        show(self.format, &document, |_| report::page(&found))?;
        let is = |state: State| found.iter().any(|one| one.state() == state);
        if is(State::Unclear) && !is(State::Open) {
            return Err(Failure::new("an upstream answered neither yes nor no; what it said is above")
                .remedy("name a path that it serves (`--get PATH`), or a message (`--message FILE`)"));
        }
        Ok(Answer::of(!is(State::Open)))
    }

    async fn knock_at(
        &self,
        target: &Target,
        roads: &Roads,
        message: Option<&[u8]>,
    ) -> Result<Found, Failure> {
        let mut found = Found { name: target.name.clone(), url: target.url.clone(), roads: Vec::new() };
        let Some(url) = &target.url else { return Ok(found) };
        let knock = Knock::new(url, target.speaks == Speaks::Mcp, &self.get, message)?;
        for road in roads.all(url, &target.audience, &target.secret_header, &target.secret_prefix) {
            let outcome = if let Presented::Missing(why) = &road.presented {
                knock::Outcome::NotTried(why)
            } else {
                knock.with(&road.presented).await?
            };
            let unreachable = matches!(outcome, knock::Outcome::Unreachable(_));
            found.roads.push((road.what, outcome));
            // What can't be reached without a token can't be with one.
            if unreachable {
                break;
            }
        }
        Ok(found)
    }

    /// What is probed, and the issuer of call tokens for it.
    fn targets(&self) -> Result<(Vec<Target>, String), Failure> {
        let header =
            |fallback: &str| self.old_credential_header.clone().unwrap_or_else(|| fallback.to_owned());
        let prefix = |fallback: &str| match &self.old_credential_header {
            Some(name) if !name.eq_ignore_ascii_case("authorization") => String::new(),
            _ => fallback.to_owned(),
        };
        let mut targets: Vec<Target> = self
            .upstream
            .iter()
            .map(|url| Target {
                name: url.host_str().unwrap_or("?").to_owned(),
                url: Some(url.clone()),
                speaks: self.protocol,
                audience: url.as_str().to_owned(),
                secret_header: header("authorization"),
                secret_prefix: prefix("Bearer "),
            })
            .collect();
        let config = match &self.config {
            Some(config) => Some(config.clone()),
            None if targets.is_empty() => Some(PathBuf::from("placet.toml")),
            None => None,
        };
        let mut issuer = self.gateway.trim_end_matches('/').to_owned();
        if let Some(config) = config {
            let settings =
                Settings::load(&config, &variable).map_err(|problems| Failure::new(problems.to_string()))?;
            issuer.clone_from(&settings.server.public_url);
            targets.extend(settings.upstreams.iter().map(|upstream| {
                let (url, speaks) = match &upstream.transport {
                    Transport::Http { url, .. } => (Some(url.clone()), Speaks::Mcp),
                    Transport::Rest { url, .. } => (Some(url.clone()), Speaks::Rest),
                    Transport::Stdio { .. } => (None, Speaks::Mcp),
                };
                let audience = upstream.call_token_audience.clone();
                Target {
                    name: upstream.name.to_string(),
                    audience: audience
                        .unwrap_or_else(|| url.as_ref().map(ToString::to_string).unwrap_or_default()),
                    url,
                    speaks,
                    secret_header: header(upstream.secret_header.as_str()),
                    secret_prefix: prefix(&upstream.secret_prefix),
                }
            }));
        }
        if targets.is_empty() {
            return Err(
                Failure::new("there is no upstream to probe").remedy("name one with `--upstream URL`")
            );
        }
        Ok((targets, issuer))
    }
}

/// The longest file with a credential.
const MAX_SECRET: u64 = 16 * 1024;

fn secret(path: &Path) -> Result<String, Failure> {
    let meta = std::fs::metadata(path).or_fail(format_args!("can't read `{}`", path.display()))?;
    let text = (meta.len() <= MAX_SECRET).then(|| std::fs::read_to_string(path));
    let text = text
        .ok_or_else(|| Failure::new(format!("`{}` is too long for a credential", path.display())))?
        .or_fail(format_args!("can't read `{}`", path.display()))?;
    let text = text.trim();
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err(Failure::new(format!("`{}` doesn't hold one credential on one line", path.display())));
    }
    Ok(text.to_owned())
}
