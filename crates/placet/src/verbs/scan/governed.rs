//! The upstreams of a `placet.toml`: what goes to them by another road goes around the gateway.

use std::path::Path;

use super::clients::{origin, runs};
use crate::failure::{Failure, OrFail};

/// Upstreams by how they are reached. Secrets that the settings name aren't read.
#[derive(Debug, Default)]
pub(super) struct Governed {
    upstreams: Vec<(String, Reached)>,
}

#[derive(Debug)]
enum Reached {
    Url { origin: String, host: String },
    Program(String),
}

impl Governed {
    /// Reads the settings' upstreams.
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(path).or_fail(format_args!("can't read `{}`", path.display()))?;
        // The parser's own message would quote the line, and with it what stands there.
        let settings: toml::Table = text.parse().map_err(|_| {
            Failure::new(format!("`{}` is not TOML", path.display()))
                .remedy("`placet serve --print-config` says where it is wrong")
        })?;
        let sections = settings.get("upstream").and_then(toml::Value::as_array);
        let upstreams = sections.into_iter().flatten().filter_map(|section| {
            let name = section.get("name")?.as_str()?.to_owned();
            let reached = match section.get("url").and_then(toml::Value::as_str) {
                Some(url) => {
                    let origin = origin(url)?;
                    let host = url::Url::parse(url).ok()?.host_str()?.to_ascii_lowercase();
                    Reached::Url { origin, host }
                }
                None => {
                    let command: Vec<&str> =
                        section.get("command")?.as_array()?.iter().filter_map(toml::Value::as_str).collect();
                    let (program, arguments) = command.split_first()?;
                    Reached::Program(runs(program, arguments))
                }
            };
            Some((name, reached))
        });
        Ok(Self { upstreams: upstreams.collect() })
    }

    /// The upstream of this origin.
    pub(super) fn origin(&self, wanted: &str) -> Option<String> {
        self.named(|reached| matches!(reached, Reached::Url { origin, .. } if origin == wanted))
    }

    /// The upstream that runs as this program.
    pub(super) fn program(&self, wanted: &str) -> Option<String> {
        self.named(|reached| matches!(reached, Reached::Program(program) if program == wanted))
    }

    /// The upstream on this host.
    pub(super) fn host(&self, wanted: &str) -> Option<String> {
        self.named(
            |reached| matches!(reached, Reached::Url { host, .. } if host.eq_ignore_ascii_case(wanted)),
        )
    }

    /// An upstream on this domain or below it.
    pub(super) fn below(&self, domain: &str) -> Option<String> {
        self.named(|reached| match reached {
            Reached::Url { host, .. } => {
                host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            }
            Reached::Program(_) => false,
        })
    }

    fn named(&self, is: impl Fn(&Reached) -> bool) -> Option<String> {
        self.upstreams.iter().find(|(_, reached)| is(reached)).map(|(name, _)| name.clone())
    }
}
