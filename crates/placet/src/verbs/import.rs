//! `placet import`: from a client's own configuration to upstreams behind the gateway.
//!
//! Commands and addresses are taken over; values of environment variables are not, since they are mostly secrets: the
//! settings name where each is to be found, and a person puts it there.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use clap::Args;
use placet_json::{Object, Value, object};

use super::decide::document;
use crate::{
    failure::{Failure, OrFail},
    output::{Answer, Format, pretty, show},
};

/// Turn an MCP client's configuration into upstreams, and the client's new entry
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  placet import ~/.cursor/mcp.json --out desk")]
pub(crate) struct Import {
    /// The client's configuration: `mcp.json`, `claude_desktop_config.json`, VS Code's `mcp.json`
    file: PathBuf,
    /// Where to write `upstreams.toml` and `client.json`; by default they are printed
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// How to print
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// One server of a client's configuration.
struct Server {
    name: String,
    lines: String,
    /// Variables whose values were left behind.
    secrets: Vec<String>,
    /// Members that have no counterpart.
    ignored: Vec<String>,
}

impl Import {
    pub(crate) fn run(self) -> Result<Answer, Failure> {
        let configuration = document(&self.file)?;
        let servers = ["mcpServers", "servers"].iter().find_map(|name| configuration.get(name)?.as_object());
        let servers = servers.ok_or_else(|| {
            Failure::new(format!("`{}` lists no MCP servers", self.file.display()))
                .remedy("it should have a member `mcpServers` or `servers`")
        })?;
        let servers: Vec<Server> =
            servers.iter().map(|(name, server)| read(name, server)).collect::<Result<_, _>>()?;
        for (i, server) in servers.iter().enumerate() {
            if servers.iter().take(i).any(|other| other.name == server.name) {
                return Err(Failure::new(format!("two servers would both be named `{}`", server.name))
                    .remedy("rename one of them in the configuration"));
            }
        }
        let upstreams: String =
            servers.iter().map(|server| server.lines.as_str()).collect::<Vec<_>>().join("\n");
        let arguments =
            Value::Array(["connect", "--key", "agent.pem"].into_iter().map(Value::from).collect());
        let client = Value::from(
            object! { "mcpServers" => object! { "placet" => object! { "command" => "placet", "args" => arguments } } },
        );
        if let Some(dir) = &self.out {
            std::fs::create_dir_all(dir).or_fail(format_args!("can't make `{}`", dir.display()))?;
            write(&dir.join("upstreams.toml"), &upstreams)?;
            write(&dir.join("client.json"), &pretty(&client))?;
        }
        let listed = servers.iter().map(|server| {
            let list = |texts: &[String]| Value::Array(texts.iter().map(|text| Value::from(text.as_str())).collect());
            Value::from(object! { "name" => server.name.as_str(), "secrets" => list(&server.secrets), "ignored" => list(&server.ignored) })
        });
        let answer = Value::from(
            object! { "upstreams" => upstreams.as_str(), "client" => client.clone(), "servers" => Value::Array(listed.collect()) },
        );
        show(self.format, &answer, |_| told(&servers, &upstreams, &client, self.out.as_deref()))?;
        Ok(Answer::Yes)
    }
}

fn read(original: &str, server: &Value) -> Result<Server, Failure> {
    let members =
        server.as_object().ok_or_else(|| Failure::new(format!("the server `{original}` is no object")))?;
    let name: String = original
        .chars()
        .map(|letter| if letter.is_ascii_alphanumeric() { letter.to_ascii_lowercase() } else { '-' })
        .take(32)
        .collect();
    let (mut lines, mut secrets) = (format!("[[upstream]]\nname = {}\n", quoted(&name)), Vec::new());
    let text = |name: &str| members.get(name).and_then(Value::as_str);
    match (text("url").or_else(|| text("serverUrl")), text("command")) {
        (Some(url), _) => line(&mut lines, "url", &quoted(url)),
        (None, Some(command)) => {
            let arguments = members
                .get("args")
                .and_then(Value::as_array)
                .unwrap_or_default()
                .iter()
                .filter_map(Value::as_str);
            let all: Vec<String> = std::iter::once(command).chain(arguments).map(quoted).collect();
            line(&mut lines, "command", &format!("[{}]", all.join(", ")));
        }
        (None, None) => {
            return Err(Failure::new(format!("the server `{original}` has neither `url` nor `command`")));
        }
    }
    if let Some(env) = members.get("env").and_then(Value::as_object) {
        secrets.extend(env.keys().map(str::to_owned));
        let sources: Vec<String> =
            env.keys().map(|name| format!("{} = {{ env = {} }}", quoted(name), quoted(name))).collect();
        if !sources.is_empty() {
            line(&mut lines, "env", &format!("{{ {} }}", sources.join(", ")));
        }
    }
    if let Some(cwd) = text("cwd") {
        line(&mut lines, "cwd", &quoted(cwd));
    }
    // A header of a client's configuration is a standing credential: it belongs into the vault.
    if let Some(headers) = members.get("headers").and_then(Value::as_object) {
        secrets.extend(headers.keys().map(|name| format!("header {name}")));
    }
    Ok(Server { name, lines, secrets, ignored: ignored(members) })
}

fn ignored(members: &Object) -> Vec<String> {
    const KNOWN: [&str; 8] = ["url", "serverUrl", "command", "args", "env", "cwd", "headers", "type"];
    members.keys().filter(|name| !KNOWN.contains(name)).map(str::to_owned).collect()
}

fn told(servers: &[Server], upstreams: &str, client: &Value, out: Option<&Path>) -> String {
    let mut text = match out {
        Some(dir) => format!(
            "wrote `{}` and `{}`\n",
            dir.join("upstreams.toml").display(),
            dir.join("client.json").display()
        ),
        None => format!(
            "# for placet.toml\n{upstreams}\n# for the client, instead of all of these\n{}\n",
            pretty(client)
        ),
    };
    // Writing into a `String` can't fail.
    let mut say = |line: std::fmt::Arguments<'_>| {
        let _infallible = writeln!(text, "{line}");
    };
    for server in servers {
        if !server.secrets.is_empty() {
            say(format_args!(
                "`{}`: values not copied: {}; set them for `placet serve`, or put them into the vault",
                server.name,
                server.secrets.join(", ")
            ));
        }
        if !server.ignored.is_empty() {
            say(format_args!("`{}`: not taken over: {}", server.name, server.ignored.join(", ")));
        }
    }
    say(format_args!(
        "next: `placet catalog pull NAME` drafts the catalog of each; nothing is callable before it is reviewed"
    ));
    text
}

fn line(lines: &mut String, name: &str, value: &str) {
    // Writing into a `String` can't fail.
    let _infallible = writeln!(lines, "{name} = {value}");
}

/// A TOML basic string: JSON's escapes are a subset of its own.
fn quoted(text: &str) -> String {
    let mut out = String::new();
    placet_json::write_string(text, &mut out);
    out
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    if path.exists() {
        return Err(Failure::new(format!("`{}` is there already", path.display()))
            .remedy("nothing is overwritten; name another directory"));
    }
    std::fs::write(path, text).or_fail(format_args!("can't write `{}`", path.display()))
}
