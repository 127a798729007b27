//! `[[upstream]]`: the tools' servers. Commands come from this file only, never from a release or the API.

use std::path::PathBuf;

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
    /// The line of its section.
    pub line: usize,
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
    /// `command`: MCP over standard input and output of a process.
    Stdio {
        /// Program and arguments; no shell is involved.
        command: Vec<String>,
        /// `env`: secrets given to it as variables. It inherits no other variables of ours.
        env: Environs,
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
        |text| Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.fragment().is_none()),
        "write the URL of its MCP endpoint",
    );
    let command = section.optional_texts("command");
    let allow_private = section.boolean("allow_private", false);
    let env = section.secrets("env");
    let cwd = section.optional_path("cwd");
    let audience = section.optional_word("call_token_audience", |text| Url::parse(text).ok().map(|_| text.to_owned()), "write a URL");
    let transport = match (url?, command?) {
        (Some(url), None) => {
            for (key, given) in [("env", env.as_ref().is_some_and(|env| !env.is_empty())), ("cwd", cwd.as_ref().is_some_and(Option::is_some))] {
                if given {
                    section.problem(key, &format!("`{key}` is for a `command`"), "remove it");
                }
            }
            Some(Transport::Http { url, allow_private: allow_private? })
        }
        (None, Some(command)) if !command.is_empty() => Some(Transport::Stdio { command, env: env?, cwd: cwd? }),
        (Some(_), Some(_)) => {
            section.problem("command", "`url` and `command` can't both be given", "remove one of them");
            None
        }
        (None, _) => {
            section.missing("url", "say how it is reached: `url` or `command`");
            None
        }
    };
    section.finish();
    Some(Upstream { name: name?, transport: transport?, call_token_audience: audience?, line })
}

fn name(text: &str) -> Option<Name> {
    let plain = text.len() <= MAX_NAME && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if plain { Name::new(text).ok() } else { None }
}
