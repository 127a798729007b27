//! `placet import`: from a client's own configuration to a directory that governs the same servers.
//!
//! Commands and addresses are taken over. Standing credentials are taken out: what an HTTP server is shown goes into
//! the vault, what a process needs into a file that its owner alone can read, and no value is ever printed. The tools
//! come as proposals: nothing is callable before somebody has looked.

mod client;
mod jsonc;
mod project;
mod secrets;
mod seed;

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use clap::Args;
use placet_core::{HumanId, TenantId};
use placet_json::{Limits, Object, Value, object};

use self::{
    client::{Reached, Server},
    secrets::Source,
    seed::Seeded,
};
use super::{bulk, common::texts, serve::variable};
use crate::{
    clock,
    failure::{Failure, OrFail},
    output::{Answer, Format, pretty, show},
};

/// The largest configuration, in bytes.
const MAX_FILE: u64 = 4 << 20;
/// The most servers of one.
const MAX_SERVERS: usize = 100;

/// Turn an MCP client's configuration into a directory that governs its servers
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  placet import .mcp.json\n  placet import ~/.cursor/mcp.json --out desk --tenant acme --human maya\n  placet import .vscode/mcp.json --write"
)]
pub(crate) struct Import {
    /// The client's configuration: `mcp.json`, `.mcp.json`, `claude_desktop_config.json`, VS Code's, Cursor's or Zed's;
    /// with comments where they allow them
    file: PathBuf,
    /// The directory to make; `placet` beside the configuration by default
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// The tenant whose work it is
    #[arg(long, default_value = "acme")]
    tenant: TenantId,
    /// The person whose client it is; the user of this machine by default
    #[arg(long)]
    human: Option<HumanId>,
    /// Start no server, not even to see what it offers: files only
    #[arg(long)]
    no_start: bool,
    /// Replace the servers in the client's configuration by Placet, and keep the former beside it
    #[arg(long)]
    write: bool,
    /// How to print
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// The client's configuration as it was read.
struct Read {
    text: String,
    plain: String,
    path: &'static [&'static str],
    servers: Vec<Server>,
    /// Those that were left alone.
    left: Vec<String>,
}

impl Import {
    pub(crate) fn run(self) -> Result<Answer, Failure> {
        let read = self.read()?;
        let beside = self.file.parent().unwrap_or(Path::new(""));
        let dir = self.out.clone().unwrap_or_else(|| beside.join("placet"));
        let human = self.human()?;
        let backup = self.file.with_file_name(format!(
            "{}.before-placet",
            self.file.file_name().unwrap_or_default().to_string_lossy()
        ));
        if self.write && backup.exists() {
            return Err(Failure::new(format!("`{}` is there already", backup.display()))
                .remedy("nothing was written; move it away"));
        }
        let kept = project::kept(&read.servers);
        let settings = project::settings(&read.servers, self.tenant.as_str(), &self.file);
        project::write(&dir, &settings, &kept)?;
        let seeded = if self.no_start {
            Seeded::default()
        } else {
            seed::seed(&dir, &read.servers, &kept, self.tenant.as_str())?
        };
        for path in &seeded.stored {
            std::fs::remove_file(dir.join(path)).or_fail(format_args!("can't remove `{path}`"))?;
        }
        let review = dir.join("review.toml");
        let mut actions = Vec::new();
        if !seeded.offered.is_empty() {
            let text = bulk::propose(&seeded.offered);
            actions = proposed(&text);
            project::put(&review, &text)?;
        }
        let facts = project::facts(self.tenant.as_str(), human.as_str(), &actions, clock::millis());
        project::put(&dir.join("facts.json"), &facts)?;
        let entry = client::entry(read.path, &self.arguments(&dir)?);
        project::put(&dir.join("client.json"), &pretty(&nested(read.path, &entry)))?;
        if self.write {
            rewrite(&self.file, &read, &entry, &backup)?;
        }
        let told =
            Told { import: &self, read: &read, dir: &dir, seeded: &seeded, entry: &entry, human: &human };
        show(self.format, &told.document(), |_| told.text(&backup))?;
        Ok(Answer::of(seeded.silent.is_empty()))
    }

    fn read(&self) -> Result<Read, Failure> {
        let shown = self.file.display();
        let what = || format!("can't read `{shown}`");
        if std::fs::metadata(&self.file).or_fail(what())?.len() > MAX_FILE {
            return Err(Failure::new(format!("`{shown}` has more than {MAX_FILE} bytes")));
        }
        let text = std::fs::read_to_string(&self.file).or_fail(what())?;
        let plain = jsonc::plain(&text);
        let configuration = placet_json::parse(plain.as_bytes(), &Limits::RESULT)
            .map_err(|error| Failure::new(format!("`{shown}` is no JSON: {error}")))?;
        let (path, found) = client::servers(&configuration).ok_or_else(|| {
            Failure::new(format!("`{shown}` lists no MCP servers"))
                .remedy("it should have a member `mcpServers`, `servers`, `context_servers` or `mcp.servers`")
        })?;
        if found.len() > MAX_SERVERS {
            return Err(Failure::new(format!("`{shown}` lists more than {MAX_SERVERS} servers")));
        }
        let base = std::fs::canonicalize(&self.file).or_fail(what())?;
        let base = base.parent().unwrap_or(Path::new(""));
        // An editor's configuration lies in a directory of its own within the workspace.
        let own = base.file_name().and_then(|name| name.to_str());
        let base = if matches!(own, Some(".vscode" | ".cursor" | ".zed")) {
            base.parent().unwrap_or(base)
        } else {
            base
        };
        let (mut servers, mut left): (Vec<Server>, Vec<String>) = Default::default();
        for (name, server) in found {
            match client::read(name, server, base)? {
                Some(read) if servers.iter().any(|other| other.name == read.name) => {
                    return Err(Failure::new(format!("two servers would both be named `{}`", read.name))
                        .remedy("rename one of them in the configuration"));
                }
                Some(read) => servers.push(read),
                None => left.push(name.to_owned()),
            }
        }
        if servers.is_empty() {
            return Err(Failure::new(format!("`{shown}` has no server to govern"))
                .remedy("what is switched off, and Placet itself, is left alone"));
        }
        Ok(Read { text, plain, path, servers, left })
    }

    fn human(&self) -> Result<HumanId, Failure> {
        if let Some(human) = &self.human {
            return Ok(human.clone());
        }
        let user = variable("USER").or_else(|| variable("LOGNAME")).unwrap_or_else(|| "me".to_owned());
        HumanId::new(&user).map_err(|_| {
            Failure::new(format!("`{user}` can't be a person's id")).remedy("name one with `--human`")
        })
    }

    /// What the client starts instead of its servers.
    fn arguments(&self, dir: &Path) -> Result<Vec<String>, Failure> {
        let dir = std::fs::canonicalize(dir).or_fail(format_args!("can't find `{}`", dir.display()))?;
        let key = dir.join("agent.pem").display().to_string();
        let workflow = format!("{}/{}", self.tenant, project::WORKFLOW);
        Ok(["connect", "--key", &key, "--agent", project::AGENT, "--workflow", &workflow]
            .map(str::to_owned)
            .into())
    }
}

/// The entry within the members that lead to where it goes.
fn nested(path: &[&str], entry: &Value) -> Value {
    path.iter().rev().fold(entry.clone(), |value, name| {
        let mut object = Object::new();
        object.insert(*name, value);
        object.into()
    })
}

/// The actions of a file of proposals.
fn proposed(review: &str) -> Vec<String> {
    let table: toml::Table = toml::from_str(review).unwrap_or_default();
    let tools = table.get("tool").and_then(toml::Value::as_table);
    let mut actions: Vec<String> = tools
        .into_iter()
        .flat_map(toml::Table::values)
        .filter_map(|tool| tool.get("action")?.as_str().map(str::to_owned))
        .collect();
    actions.sort();
    actions.dedup();
    actions
}

/// Puts the entry where the servers stood; the rest of the file stays as it is, comments and all.
fn rewrite(file: &Path, read: &Read, entry: &Value, backup: &Path) -> Result<(), Failure> {
    let what = || format!("can't write `{}`", file.display());
    let at = jsonc::place(&read.plain, read.path).ok_or_else(|| {
        Failure::new(format!("`{}` is left as it is: its servers weren't found again", file.display()))
    })?;
    let mut text = read.text.clone();
    let column = "  ".repeat(read.path.len());
    text.replace_range(at, &pretty(entry).replace('\n', &format!("\n{column}")));
    let file = std::fs::canonicalize(file).or_fail(what())?;
    std::fs::copy(&file, backup).or_fail(format_args!("can't write `{}`", backup.display()))?;
    private(backup)?;
    let beside = file.with_extension("placet-new");
    std::fs::write(&beside, &text).or_fail(what())?;
    let mode = std::fs::metadata(&file).or_fail(what())?.permissions();
    std::fs::set_permissions(&beside, mode).or_fail(what())?;
    std::fs::rename(&beside, &file).or_fail(what())
}

/// The former configuration holds the secrets still.
fn private(path: &Path) -> Result<(), Failure> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
        .or_fail(format_args!("can't close `{}` to others", path.display()))
}

/// What is said in the end.
struct Told<'t> {
    import: &'t Import,
    read: &'t Read,
    dir: &'t Path,
    seeded: &'t Seeded,
    entry: &'t Value,
    human: &'t HumanId,
}

impl Told<'_> {
    fn document(&self) -> Value {
        let servers = self.read.servers.iter().map(|server| {
            let tools = self.seeded.offered.iter().find(|offered| offered.upstream == server.name);
            Value::from(object! {
                "name" => server.name.as_str(), "secrets" => texts(&server.found), "notes" => texts(&server.notes),
                "tools" => tools.map_or(Value::Null, |offered| u64::try_from(offered.len()).unwrap_or(u64::MAX).into()),
                "silent" => self.seeded.silent.get(&server.name).map_or(Value::Null, |why| why.as_str().into()),
            })
        });
        object! {
            "dir" => self.dir.display().to_string(), "servers" => Value::Array(servers.collect()),
            "left" => texts(&self.read.left), "client" => nested(self.read.path, self.entry), "written" => self.import.write,
        }
        .into()
    }

    fn text(&self, backup: &Path) -> String {
        let mut text = String::new();
        // Writing into a `String` can't fail.
        let mut say = |line: std::fmt::Arguments<'_>| {
            let _infallible = writeln!(text, "{line}");
        };
        let dir = self.dir.display();
        say(format_args!("wrote `{dir}`: {} upstreams", self.read.servers.len()));
        for server in &self.read.servers {
            let offered = self.seeded.offered.iter().find(|offered| offered.upstream == server.name);
            match (offered, self.seeded.silent.get(&server.name)) {
                (Some(offered), _) => say(format_args!("\n{}: {} tools", server.name, offered.len())),
                (None, Some(why)) => {
                    say(format_args!("\n{}: doesn't say what it offers: {why}", server.name))
                }
                (None, None) => say(format_args!("\n{}: not started", server.name)),
            }
            if !server.found.is_empty() {
                say(format_args!(
                    "  standing credentials: {}; {}",
                    server.found.join(", "),
                    self.whereto(server)
                ));
            }
            for needed in needed(server) {
                say(format_args!(
                    "  set {needed} for `placet serve`: the client asked for it, or had it from its environment"
                ));
            }
            for note in &server.notes {
                say(format_args!("  {note}"));
            }
        }
        for name in &self.read.left {
            say(format_args!("\n{name}: left alone: it is switched off, or Placet itself"));
        }
        if self.import.write {
            say(format_args!(
                "\n`{}` starts Placet now; as it was: `{}`, with its secrets",
                self.import.file.display(),
                backup.display()
            ));
        } else {
            say(format_args!(
                "\nfor the client, instead of its servers (`--write` does it):\n{}",
                pretty(&nested(self.read.path, self.entry))
            ));
        }
        say(format_args!("\nnext:\n  cd {dir}"));
        if self.seeded.offered.is_empty() {
            say(format_args!(
                "  placet serve &\n  placet catalog pull --review review.toml   # which tools there are\n  placet catalog accept review.toml          # once you set to true what you looked at"
            ));
        } else {
            say(format_args!(
                "  placet catalog accept review.toml   # once you set to true what you looked at\n  placet serve &"
            ));
        }
        say(format_args!(
            "  placet agent enrol {} --type assistant --owner {}\n  placet facts apply facts.json\n  PLACET_ENROL=… placet connect …      # once, with the code that was printed; then the client does",
            project::AGENT,
            self.human
        ));
        text
    }

    fn whereto(&self, server: &Server) -> String {
        let stored =
            self.seeded.stored.iter().any(|path| path.starts_with(&format!("secrets/{}.", server.name)));
        match &server.reached {
            Reached::Http { .. } if stored => format!("in the vault as `{}`", server.name),
            Reached::Http { shown: Some(shown), .. } if matches!(shown.source, Source::Plain(_)) => format!(
                "in `secrets/{0}.vault`; `placet vault put {1} {0} --file secrets/{0}.vault`, likewise for `organisation`, then remove it",
                server.name, self.import.tenant
            ),
            Reached::Http { .. } => "not there, the client asks for it: `placet vault put`".to_owned(),
            Reached::Process { .. } => "in files of `secrets/`, which only you can read".to_owned(),
        }
    }
}

/// Variables that `placet serve` has to be given.
fn needed(server: &Server) -> Vec<String> {
    let of = |source: &Source| match source {
        Source::Plain(_) => None,
        Source::Variable(name) => Some(name.clone()),
        Source::Asked(id) => Some(project::asked(id)),
    };
    match &server.reached {
        Reached::Process { env, .. } => env.iter().filter_map(|(_, source)| of(source)).collect(),
        Reached::Http { .. } => Vec::new(),
    }
}
