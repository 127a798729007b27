//! The directory that an import makes: settings, a release that permits reading and nothing else, people and work.

use std::{fmt::Write as _, path::Path};

use placet_core::Timestamp;
use placet_json::{Value, object};

use super::{
    client::{Reached, Server},
    secrets::Source,
};
use crate::{
    failure::{Failure, OrFail},
    keyfile,
    output::pretty,
};

/// How long the imported work may go on, in milliseconds: the type's longest life.
const LIFE_MS: u64 = 7 * 24 * 60 * 60 * 1000;
/// The agent that the client becomes.
pub(super) const AGENT: &str = "assistant-1";
pub(super) const WORKFLOW: &str = "everyday-1";

macro_rules! release {
    ($($path:literal),* $(,)?) => { &[$((concat!("release/", $path), include_str!(concat!("../../../assets/import/release/", $path)))),*] };
}

const RELEASE: &[(&str, &str)] = release![
    "release.toml",
    "relations.toml",
    "policies/start.rego",
    "policies/start_test.rego",
    "workflow_types/everyday.toml",
    "tests/start.yaml",
];

/// A secret that goes into a file of its own.
pub(super) struct Kept<'s> {
    /// Below the directory.
    pub(super) path: String,
    pub(super) value: &'s str,
    /// Whether it belongs into the vault, under the upstream's name.
    pub(super) vault: Option<&'s str>,
}

/// Every secret that stood in the configuration, with its file.
pub(super) fn kept(servers: &[Server]) -> Vec<Kept<'_>> {
    let mut kept = Vec::new();
    for server in servers {
        match &server.reached {
            Reached::Process { env, .. } => {
                kept.extend(env.iter().filter_map(|(name, source)| match source {
                    Source::Plain(value) => {
                        Some(Kept { path: file(&server.name, name), value: value.as_str(), vault: None })
                    }
                    Source::Variable(_) | Source::Asked(_) => None,
                }))
            }
            Reached::Http { shown: Some(shown), .. } => {
                if let Source::Plain(value) = &shown.source {
                    kept.push(Kept { path: file(&server.name, "vault"), value, vault: Some(&server.name) });
                }
            }
            Reached::Http { shown: None, .. } => {}
        }
    }
    kept
}

fn file(server: &str, name: &str) -> String {
    let name: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' }).collect();
    format!("secrets/{server}.{name}")
}

/// `placet.toml`.
pub(super) fn settings(servers: &[Server], organisation: &str, from: &Path) -> String {
    format!(
        "# Imported from {}. `placet serve --print-config` shows every setting and where it came from.\n[server]\nenvironment = \"dev\"\norganisation = {}\n\n[release]\ndir = \"release\"\n{}",
        from.display().to_string().replace(['\n', '\r'], " "),
        quoted(organisation),
        upstreams(servers.iter())
    )
}

/// The sections `[[upstream]]`.
pub(super) fn upstreams<'s>(servers: impl Iterator<Item = &'s Server>) -> String {
    let mut out = String::new();
    for server in servers {
        let mut line = |name: &str, value: &str| {
            // Writing into a `String` can't fail.
            let _infallible = writeln!(out, "{name} = {value}");
        };
        line("\n[[upstream]]\nname", &quoted(&server.name));
        match &server.reached {
            Reached::Process { command, env, vars, cwd } => {
                let words: Vec<String> = command.iter().map(|word| quoted(word)).collect();
                line("command", &format!("[{}]", words.join(", ")));
                let env: Vec<String> = env
                    .iter()
                    .map(|(name, source)| {
                        let source = match source {
                            Source::Plain(_) => format!("file = {}", quoted(&file(&server.name, name))),
                            Source::Variable(variable) => format!("env = {}", quoted(variable)),
                            Source::Asked(id) => format!("env = {}", quoted(&asked(id))),
                        };
                        format!("{} = {{ {source} }}", quoted(name))
                    })
                    .collect();
                if !env.is_empty() {
                    line("env", &format!("{{ {} }}", env.join(", ")));
                }
                let vars: Vec<String> = vars
                    .iter()
                    .map(|(name, value)| format!("{} = {}", quoted(name), quoted(value)))
                    .collect();
                if !vars.is_empty() {
                    line("vars", &format!("{{ {} }}", vars.join(", ")));
                }
                if let Some(cwd) = cwd {
                    line("cwd", &quoted(cwd));
                }
            }
            Reached::Http { url, shown } => {
                line("url", &quoted(url));
                if private(url) {
                    line("allow_private", "true");
                }
                if let Some(shown) = shown {
                    if shown.header != "authorization" {
                        line("secret_header", &quoted(&shown.header));
                    }
                    if shown.prefix != "Bearer " {
                        line("secret_prefix", &quoted(shown.prefix));
                    }
                    line("list_with", &quoted(&format!("vault:{}", server.name)));
                }
            }
        }
    }
    out
}

/// The variable that stands for what a client would ask its user for.
pub(super) fn asked(id: &str) -> String {
    let name: String =
        id.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect();
    format!("PLACET_{name}")
}

/// Whether an address names this machine or its network: its own client reached it, so the gateway may.
fn private(url: &str) -> bool {
    use std::net::IpAddr;
    let Ok(url) = url::Url::parse(url) else { return false };
    match url.host() {
        Some(url::Host::Domain(name)) => {
            name == "localhost" || name.ends_with(".local") || !name.contains('.')
        }
        Some(url::Host::Ipv4(ip)) => ip.is_private() || ip.is_loopback() || ip.is_link_local(),
        Some(url::Host::Ipv6(ip)) => IpAddr::V6(ip).is_loopback() || ip.is_unique_local(),
        None => false,
    }
}

/// `facts.json`: the person, their workspace, and the work that they delegate. The delegation names every action that
/// was proposed; what isn't in the catalog doesn't exist all the same.
pub(super) fn facts(tenant: &str, human: &str, actions: &[String], now_ms: u64) -> String {
    let ends = Timestamp::from_millis(now_ms.saturating_add(LIFE_MS)).to_string();
    let actions = Value::Array(actions.iter().map(|action| action.as_str().into()).collect());
    let one = |value: placet_json::Object| Value::Array(vec![value.into()]);
    let texts = |texts: &[&str]| Value::Array(texts.iter().map(|text| (*text).into()).collect());
    let workspace = object! { "workspace" => human };
    pretty(
        &object! {
            "tenant" => tenant, "tenants" => texts(&[tenant]),
            "humans" => one(object! { "id" => human, "standing" => "active", "home" => tenant }),
            "assignments" => one(object! { "human" => human, "roles" => texts(&["user"]), "until" => "ended" }),
            "resources" => one(object! { "type" => "workspace", "id" => human, "attributes" => workspace.clone() }),
            "workflows" => one(object! {
                "id" => WORKFLOW, "type" => "everyday", "owner" => human, "intents" => texts(&["everyday_work"]),
                "ends" => ends.as_str(), "bindings" => workspace.clone(), "attributes" => workspace,
            }),
            "delegations" => one(object! {
                "id" => "everyday-1", "human" => human, "agent" => AGENT, "workflow" => WORKFLOW, "grantor" => "human",
                "scope" => object! {
                    "actions" => actions, "intents" => texts(&["everyday_work"]), "limits" => object! {},
                    "ends" => ends.as_str(), "depth" => 0_u64,
                },
            }),
            "why" => "the work that was there before Placet",
        }
        .into(),
    )
}

/// Makes the directory; it must not be there yet.
pub(super) fn write(dir: &Path, settings: &str, secrets: &[Kept<'_>]) -> Result<(), Failure> {
    let what = || format!("can't make `{}`", dir.display());
    std::fs::create_dir_all(dir).or_fail(what())?;
    if std::fs::read_dir(dir).or_fail(what())?.next().is_some() {
        return Err(Failure::new(format!("`{}` is not empty", dir.display()))
            .remedy("nothing was written; name another directory with `--out`"));
    }
    put(&dir.join("placet.toml"), settings)?;
    put(&dir.join(".gitignore"), "data/\nsecrets/\n*.pem\n")?;
    for (path, text) in RELEASE {
        put(&dir.join(path), text)?;
    }
    for secret in secrets {
        keyfile::write_private(&dir.join(&secret.path), secret.value.as_bytes())?;
    }
    Ok(())
}

pub(super) fn put(path: &Path, text: &str) -> Result<(), Failure> {
    let what = || format!("can't write `{}`", path.display());
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).or_fail(what())?;
    }
    std::fs::write(path, text).or_fail(what())
}

/// A TOML basic string: JSON's escapes are a subset of its own.
fn quoted(text: &str) -> String {
    let mut out = String::new();
    placet_json::write_string(text, &mut out);
    out
}
