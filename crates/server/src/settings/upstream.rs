//! `[[upstream]]`: the tools' servers. Commands come from this file only, never from a release or the API.

use std::{collections::BTreeMap, path::PathBuf};

use http::HeaderName;
use placet_core::Name;
use url::Url;

use super::{Environs, read::Section};

/// The longest name: it stands before each tool's in `/mcp`, and a tool's name there has at most 128 characters.
const MAX_NAME: usize = 32;

/// A tools' server.
#[derive(Debug, Clone)]
pub struct Upstream {
    /// `name`: the first part of its tools' catalog names, and their prefix at `/mcp`.
    pub name: Name,
    /// How it is reached.
    pub transport: Transport,
    /// `call_token_audience`: the `aud` of call tokens for it; the URL by default.
    pub call_token_audience: Option<String>,
    /// `secret_header`: where a secret of the vault goes.
    pub secret_header: HeaderName,
    /// `secret_prefix`: what stands before it.
    pub secret_prefix: String,
    /// `secret_query`: the parameter of the query that it is instead, of an HTTP API.
    pub secret_query: Option<String>,
    /// `list_with`: with what its tools are listed.
    pub list_with: ListWith,
    /// `breaker_failures`: failures of transport in a row after which it is left alone; 0: never.
    pub breaker_failures: u64,
    /// `breaker_rest_ms`: for so long; then one call tries.
    pub breaker_rest_ms: u64,
    /// The line of its section.
    pub line: usize,
}

impl Upstream {
    /// Its name, and what its calls are probably to be shown, as a catalog's `credential` says it: a process has what
    /// it needs, and what opens the door to its list opens it to its tools.
    #[must_use]
    pub fn credential(&self) -> (Name, String) {
        let credential = match (&self.transport, &self.list_with) {
            (Transport::Stdio { .. }, _) => "process".to_owned(),
            (_, ListWith::CallToken) => "call-token".to_owned(),
            (_, ListWith::Vault(name)) => format!("vault:{name}"),
            (_, ListWith::Nothing) => "none".to_owned(),
        };
        (self.name.clone(), credential)
    }
}

/// With what an upstream's tools are listed: that is nobody's call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListWith {
    /// `none`.
    Nothing,
    /// `call-token`: a call token for the action `tools/list`.
    CallToken,
    /// `vault:NAME`: the organisation's own secret of that name.
    Vault(Name),
}

/// How an upstream is reached.
#[derive(Debug, Clone)]
pub enum Transport {
    /// `url`: MCP over Streamable HTTP.
    Http {
        /// The endpoint.
        url: Url,
        /// `allow_private`: whether its address may lie in a private range or on loopback.
        allow_private: bool,
    },
    /// `url` with `protocol = "rest"`: an HTTP API below an address, for tools that are its operations, lookups and
    /// resolvers.
    Rest {
        /// The address that paths are put after.
        url: Url,
        /// `allow_private`: whether its address may lie in a private range or on loopback.
        allow_private: bool,
    },
    /// `command`: MCP over standard input and output of a process.
    Stdio {
        /// Program and arguments; no shell is involved.
        command: Vec<String>,
        /// `env`: secrets given to it as variables. Of ours it inherits `PATH` only.
        env: Environs,
        /// `vars`: further variables, in plain text.
        vars: BTreeMap<String, String>,
        /// `cwd`: where it runs.
        cwd: Option<PathBuf>,
    },
}

/// Reads all of them.
pub(super) fn read(root: &mut Section<'_, '_>) -> Option<Vec<Upstream>> {
    let sections = root.sections("upstream");
    let read: Vec<_> = sections.into_iter().map(one).collect();
    read.into_iter().collect()
}

fn one(mut section: Section<'_, '_>) -> Option<Upstream> {
    let line = section.line();
    let name = section.required("name", name, "write a name of `a-z 0-9 -`, at most 32 characters");
    let url = section.optional_word(
        "url",
        |text| {
            Url::parse(text)
                .ok()
                .filter(|url| matches!(url.scheme(), "http" | "https") && url.fragment().is_none())
        },
        "write the URL of its MCP endpoint",
    );
    let protocol = section.word("protocol", "mcp", protocol, "write `mcp` or `rest`");
    let command = section.optional_texts("command");
    let allow_private = section.boolean("allow_private", false);
    let env = section.secrets("env");
    let vars = section.plain("vars");
    let cwd = section.optional_path("cwd");
    let audience = section.optional_word(
        "call_token_audience",
        |text| Url::parse(text).ok().map(|_| text.to_owned()),
        "write a URL",
    );
    let transport = match (url?, command?) {
        (Some(url), None) => {
            for (key, given) in [
                ("env", env.as_ref().is_some_and(|env| !env.is_empty())),
                ("cwd", cwd.as_ref().is_some_and(Option::is_some)),
            ] {
                if given {
                    section.problem(key, &format!("`{key}` is for a `command`"), "remove it");
                }
            }
            match protocol? {
                Protocol::Mcp => Some(Transport::Http { url, allow_private: allow_private? }),
                Protocol::Rest => Some(Transport::Rest { url, allow_private: allow_private? }),
            }
        }
        (None, Some(_)) if protocol == Some(Protocol::Rest) => {
            section.problem("protocol", "a `command` speaks MCP", "remove `protocol`, or give a `url`");
            None
        }
        (None, Some(command)) if !command.is_empty() => {
            Some(Transport::Stdio { command, env: env?, vars: vars?, cwd: cwd? })
        }
        (Some(_), Some(_)) => {
            section.problem("command", "`url` and `command` can't both be given", "remove one of them");
            None
        }
        (None, _) => {
            section.missing("url", "say how it is reached: `url` or `command`");
            None
        }
    };
    let secret_header = section.word(
        "secret_header",
        "authorization",
        |text| text.parse().ok(),
        "write the name of a header",
    );
    let secret_prefix = section.word(
        "secret_prefix",
        "Bearer ",
        |text| Some(text.to_owned()),
        "write what stands before the secret",
    );
    let secret_query = section.optional_word(
        "secret_query",
        |text| (!text.is_empty() && text.len() <= 128).then(|| text.to_owned()),
        "write the name of the query's parameter",
    );
    if matches!(secret_query, Some(Some(_))) && protocol != Some(Protocol::Rest) {
        section.problem(
            "secret_query",
            "only an HTTP API takes its secret in the query",
            "say `protocol = \"rest\"`, or use `secret_header`",
        );
    }
    let list_with =
        section.word("list_with", "none", list_with, "write `none`, `call-token` or `vault:NAME`");
    let breaker_failures = section.number("breaker_failures", 5, 0..=1_000);
    let breaker_rest_ms = section.number("breaker_rest_ms", 10_000, 100..=600_000);
    section.finish();
    Some(Upstream {
        name: name?,
        transport: transport?,
        call_token_audience: audience?,
        secret_header: secret_header?,
        secret_prefix: secret_prefix?,
        secret_query: secret_query?,
        list_with: list_with?,
        breaker_failures: breaker_failures?,
        breaker_rest_ms: breaker_rest_ms?,
        line,
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Mcp,
    Rest,
}

fn protocol(text: &str) -> Option<Protocol> {
    match text {
        "mcp" => Some(Protocol::Mcp),
        "rest" => Some(Protocol::Rest),
        _ => None,
    }
}

fn list_with(text: &str) -> Option<ListWith> {
    match text {
        "none" => Some(ListWith::Nothing),
        "call-token" => Some(ListWith::CallToken),
        other => Name::new(other.strip_prefix("vault:")?).ok().map(ListWith::Vault),
    }
}

fn name(text: &str) -> Option<Name> {
    let plain = text.len() <= MAX_NAME
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if plain { Name::new(text).ok() } else { None }
}
