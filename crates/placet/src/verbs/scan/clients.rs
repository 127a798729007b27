//! The configurations of clients that run agents: which servers of tools they name, and what they hold for them.

use std::path::Path;

use placet_json::{Object, Value};

use super::{
    collect::{Client, Collector, Place, Server},
    jsonc,
};

/// A client and its files below a home, or below a project.
pub(super) struct Known {
    pub(super) client: &'static str,
    pub(super) file: &'static str,
}

const fn known(client: &'static str, file: &'static str) -> Known {
    Known { client, file }
}

/// Below a home; Linux and macOS.
pub(super) const HOME: [Known; 22] = [
    known("Claude Desktop", ".config/Claude/claude_desktop_config.json"),
    known("Claude Desktop", "Library/Application Support/Claude/claude_desktop_config.json"),
    known("Claude Code", ".claude.json"),
    known("Claude Code", ".claude/settings.json"),
    known("Claude Code", ".claude/settings.local.json"),
    known("Claude Code", ".claude/.credentials.json"),
    known("Cursor", ".cursor/mcp.json"),
    known("VS Code", ".config/Code/User/mcp.json"),
    known("VS Code", ".config/Code/User/settings.json"),
    known("VS Code", "Library/Application Support/Code/User/mcp.json"),
    known("VS Code", "Library/Application Support/Code/User/settings.json"),
    known("VS Code Insiders", ".config/Code - Insiders/User/mcp.json"),
    known("VS Code Insiders", "Library/Application Support/Code - Insiders/User/mcp.json"),
    known("VSCodium", ".config/VSCodium/User/mcp.json"),
    known("Zed", ".config/zed/settings.json"),
    known("Windsurf", ".codeium/windsurf/mcp_config.json"),
    known("Gemini CLI", ".gemini/settings.json"),
    known("Codex", ".codex/config.toml"),
    known("Codex", ".codex/auth.json"),
    known("LM Studio", ".lmstudio/mcp.json"),
    known("Cline", ".config/Code/User/globalStorage/saoudrizwan.claude-dev/settings/cline_mcp_settings.json"),
    known(
        "Cline",
        "Library/Application Support/Code/User/globalStorage/saoudrizwan.claude-dev/settings/cline_mcp_settings.json",
    ),
];

/// At the end of a path, in a project.
pub(super) const PROJECT: [Known; 10] = [
    known("Claude Code", ".mcp.json"),
    known("Claude Code", ".claude/settings.json"),
    known("Claude Code", ".claude/settings.local.json"),
    known("Cursor", ".cursor/mcp.json"),
    known("VS Code", ".vscode/mcp.json"),
    known("VS Code", ".vscode/settings.json"),
    known("Zed", ".zed/settings.json"),
    known("Gemini CLI", ".gemini/settings.json"),
    known("Codex", ".codex/config.toml"),
    known("Windsurf", "mcp_config.json"),
];

/// Members that hold servers, from a configuration's root or from a project in it.
const MAPS: [&[&str]; 7] = [
    &["mcpServers"],
    &["servers"],
    &["context_servers"],
    &["mcp_servers"],
    &["mcp", "servers"],
    &["mcp.servers"],
    &["mcp", "mcpServers"],
];

/// Reads a client's configuration; `false` if it is no such document.
pub(super) fn read(client: &str, text: &str, place: &Place, into: &mut Collector) -> bool {
    let document = if place.file.extension().is_some_and(|extension| extension == "toml") {
        text.parse::<toml::Table>().ok().and_then(|table| placet_json::to_value(&table).ok())
    } else {
        jsonc::read(text)
    };
    let Some(document) = document else { return false };
    let mut roots = vec![(Vec::new(), &document)];
    if let Some(projects) = document.get("projects").and_then(Value::as_object) {
        roots.extend(
            projects.iter().map(|(name, project)| (vec!["projects".to_owned(), name.to_owned()], project)),
        );
    }
    let mut found: Vec<(Vec<String>, Server)> = Vec::new();
    for (root, value) in roots {
        for map in MAPS {
            let Some(servers) = map.iter().try_fold(value, |value, member| value.get(member)) else {
                continue;
            };
            for (name, server) in servers.as_object().into_iter().flat_map(Object::iter) {
                let Some(server) = one(name, server, into) else { continue };
                let path = root.iter().cloned().chain(map.iter().map(|member| (*member).to_owned()));
                found.push((path.chain([name.to_owned()]).collect(), server));
            }
        }
    }
    let mut walk = Walk { text, place, client, servers: &found, into };
    walk.value("", &document, &mut Vec::new());
    let allowed = document.get("permissions").map(|value| texts(value.get("allow"))).unwrap_or_default();
    let servers: Vec<Server> = found.into_iter().map(|(_, server)| server).collect();
    if !servers.is_empty() || !allowed.is_empty() {
        into.clients.push(Client { name: client.to_owned(), file: place.file.clone(), servers, allowed });
    }
    true
}

fn one(name: &str, server: &Value, into: &Collector) -> Option<Server> {
    let text = |member: &str| server.get(member).and_then(Value::as_str);
    let url = ["url", "serverUrl", "httpUrl"].iter().find_map(|member| text(member));
    // Zed kept a command as an object.
    let within = server.get("command").filter(|command| command.as_object().is_some()).unwrap_or(server);
    let command = within.get("path").or_else(|| within.get("command")).and_then(Value::as_str);
    let arguments = texts(within.get("args"));
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let allowed =
        ["autoApprove", "alwaysAllow"].iter().flat_map(|member| texts(server.get(member))).collect();
    let server = |runs: String, stdio, through_placet, governed| Server {
        name: name.to_owned(),
        runs,
        stdio,
        through_placet,
        governed,
        allowed,
    };
    match (url, command) {
        (Some(url), _) => {
            let origin = origin(url).unwrap_or_else(|| "(no URL)".to_owned());
            let governed = into.governed.origin(&origin);
            Some(server(origin, false, false, governed))
        }
        (None, Some(command)) => {
            let through = base(command) == "placet" && arguments.first() == Some(&"connect");
            let runs = runs(command, &arguments);
            let governed = if through { None } else { into.governed.program(&runs) };
            Some(server(runs, true, through, governed))
        }
        (None, None) => None,
    }
}

fn texts(value: Option<&Value>) -> Vec<String> {
    let items = value.and_then(Value::as_array).unwrap_or_default();
    items.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn base(command: &str) -> &str {
    command.rsplit(['/', '\\']).next().unwrap_or(command)
}

/// A URL without all that could be secret in it.
pub(super) fn origin(url: &str) -> Option<String> {
    let url = url::Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    Some(format!("{}://{}{port}", url.scheme(), url.host_str()?.to_ascii_lowercase()))
}

/// A program, and the package where it is one that runs packages. Other arguments may be secret and aren't shown.
pub(super) fn runs(command: &str, arguments: &[&str]) -> String {
    const RUNNERS: [&str; 10] =
        ["npx", "uvx", "bunx", "pnpm", "yarn", "docker", "podman", "pipx", "uv", "deno"];
    // Only after these is the first word surely the package, not the value of an option.
    const BEFORE: [&str; 11] =
        ["-y", "--yes", "-q", "--quiet", "run", "exec", "dlx", "tool", "-i", "--rm", "x"];
    let program = base(command);
    if !RUNNERS.contains(&program) {
        return program.to_owned();
    }
    let package = arguments.iter().find(|argument| !BEFORE.contains(argument));
    let fits = |package: &&&str| {
        !package.starts_with('-')
            && package.len() <= 100
            && package.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"@/._-:".contains(&byte))
    };
    package.filter(fits).map_or_else(|| program.to_owned(), |package| format!("{program} {package}"))
}

/// A walk over every value of a configuration.
struct Walk<'a> {
    text: &'a str,
    place: &'a Place,
    client: &'a str,
    servers: &'a [(Vec<String>, Server)],
    into: &'a mut Collector,
}

impl Walk<'_> {
    fn value(&mut self, name: &str, value: &Value, path: &mut Vec<String>) {
        match value {
            Value::String(text) => self.judge(name, text, path),
            Value::Array(items) => {
                let mut before = "";
                for (i, item) in items.iter().enumerate() {
                    path.push(i.to_string());
                    match item.as_str() {
                        // `--api-key VALUE`, `--api-key=VALUE`, `-e NAME=VALUE`.
                        Some(text) => {
                            match text.split_once('=').filter(|(name, _)| !name.contains([' ', '/', ':'])) {
                                Some((name, value)) => self.judge(name, value, path),
                                None if before.starts_with('-') => self.judge(before, text, path),
                                None => self.judge("", text, path),
                            }
                            before = text;
                        }
                        None => self.value(name, item, path),
                    }
                    path.pop();
                }
            }
            Value::Object(members) => {
                for (name, member) in members {
                    path.push(name.to_owned());
                    self.value(name, member, path);
                    path.pop();
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn judge(&mut self, name: &str, value: &str, path: &[String]) {
        let server = self.servers.iter().find(|(at, _)| path.starts_with(at)).map(|(_, server)| server);
        let user = server.map(|server| format!("{}: {}", self.client, server.name));
        let place = Place {
            line: line_of(self.text, value),
            path: path.to_vec(),
            user: Some(user.unwrap_or_else(|| self.client.to_owned())),
            governed: server.and_then(|server| server.governed.clone()),
            ..self.place.clone()
        };
        self.into.judge(name, value, &place);
    }
}

/// The line where a value stands as it is, if it does.
pub(super) fn line_of(text: &str, value: &str) -> Option<usize> {
    let first = value.lines().next().filter(|line| line.len() >= 4)?;
    let at = text.find(first)?;
    Some(text.get(..at)?.matches('\n').count().saturating_add(1))
}

/// The client whose configuration this is, by how its path ends.
pub(super) fn of_project(path: &Path) -> Option<&'static str> {
    PROJECT.iter().find(|known| path.ends_with(known.file)).map(|known| known.client)
}
