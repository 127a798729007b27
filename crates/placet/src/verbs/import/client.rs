//! Clients' configurations: where each keeps its servers, and what a server of it is here.

use std::path::Path;

use placet_json::{Object, Value, object};
use url::Url;

use super::secrets::{Source, looks_so, named};
use crate::failure::Failure;

/// Where clients keep their servers: Claude, Cursor, Windsurf and most others; VS Code's `mcp.json`; Zed; VS Code's
/// settings.
const PLACES: [&[&str]; 4] = [&["mcpServers"], &["servers"], &["context_servers"], &["mcp", "servers"]];
/// Members that say how a server is reached.
const KNOWN: [&str; 14] = [
    "url",
    "serverUrl",
    "httpUrl",
    "command",
    "args",
    "env",
    "cwd",
    "headers",
    "type",
    "transport",
    "source",
    "path",
    "enabled",
    "disabled",
];

/// A server, as it is to be reached from now on.
#[derive(Debug)]
pub(super) struct Server {
    /// The upstream's name.
    pub(super) name: String,
    pub(super) reached: Reached,
    /// Standing credentials that were found, by where they stood.
    pub(super) found: Vec<String>,
    /// What a person should know, or has to do.
    pub(super) notes: Vec<String>,
}

#[derive(Debug)]
pub(super) enum Reached {
    Process {
        command: Vec<String>,
        env: Vec<(String, Source)>,
        vars: Vec<(String, String)>,
        cwd: Option<String>,
    },
    Http {
        url: String,
        shown: Option<Shown>,
    },
}

/// What an HTTP server is shown.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) header: String,
    pub(super) prefix: &'static str,
    pub(super) source: Source,
}

/// Where the servers stand in a configuration, and they themselves.
pub(super) fn servers(configuration: &Value) -> Option<(&'static [&'static str], &Object)> {
    PLACES.into_iter().find_map(|path| {
        let found = path.iter().try_fold(configuration, |value, name| value.get(name))?;
        Some((path, found.as_object()?))
    })
}

/// The client's own entry for Placet, in the shape of where it goes.
pub(super) fn entry(path: &[&str], arguments: &[String]) -> Value {
    let arguments = Value::Array(arguments.iter().map(|text| text.as_str().into()).collect());
    let mut entry = Object::new();
    match path.last() {
        Some(&"context_servers") => drop(entry.insert("source", "custom")),
        Some(&"servers") => drop(entry.insert("type", "stdio")),
        _ => {}
    }
    entry.insert("command", "placet");
    entry.insert("args", arguments);
    object! { "placet" => entry }.into()
}

/// Reads one server; `None` is Placet itself, or one that is switched off.
pub(super) fn read(original: &str, server: &Value, base: &Path) -> Result<Option<Server>, Failure> {
    let members =
        server.as_object().ok_or_else(|| Failure::new(format!("the server `{original}` is no object")))?;
    let off = members.get("disabled").and_then(Value::as_bool) == Some(true)
        || members.get("enabled").and_then(Value::as_bool) == Some(false);
    let text = |name: &str| members.get(name).and_then(Value::as_str).map(|text| expanded(text, base));
    // Older Zed: `"command": { "path": …, "args": …, "env": … }`.
    let nested = members.get("command").and_then(Value::as_object);
    let program = text("command").or_else(|| nested?.get("path")?.as_str().map(|text| expanded(text, base)));
    let of = |name: &str| members.get(name).or_else(|| nested?.get(name));
    let mut words: Vec<String> = program.into_iter().collect();
    for word in of("args").and_then(Value::as_array).unwrap_or_default() {
        words.push(expanded(word.as_str().unwrap_or(&word.to_string()), base));
    }
    let ours = words
        .first()
        .is_some_and(|program| Path::new(program).file_name().is_some_and(|name| name == "placet"));
    if off || ours {
        return Ok(None);
    }
    let name: String = original
        .chars()
        .map(|letter| if letter.is_ascii_alphanumeric() { letter.to_ascii_lowercase() } else { '-' })
        .take(32)
        .collect();
    let mut server = Server {
        name,
        reached: Reached::Http { url: String::new(), shown: None },
        found: Vec::new(),
        notes: Vec::new(),
    };
    let mut headers: Vec<(String, String)> = pairs(of("headers"), base);
    let url = text("url")
        .or_else(|| text("serverUrl"))
        .or_else(|| text("httpUrl"))
        .or_else(|| remote(&words, &mut headers));
    if let Some(url) = url {
        server.http(&url, headers).map_err(|why| Failure::new(format!("the server `{original}`: {why}")))?;
        if members.get("type").and_then(Value::as_str) == Some("sse") {
            server.notes.push(
                "it speaks the old SSE transport; put its address for Streamable HTTP into `url`".to_owned(),
            );
        }
    } else if words.is_empty() {
        return Err(Failure::new(format!("the server `{original}` has neither `url` nor `command`"))
            .remedy("remove it, or say how it is reached"));
    } else {
        server.process(words, pairs(of("env"), base), text("cwd"));
    }
    let ignored: Vec<&str> = members.keys().filter(|name| !KNOWN.contains(name)).collect();
    if !ignored.is_empty() {
        server.notes.push(format!("not taken over: {}", ignored.join(", ")));
    }
    Ok(Some(server))
}

/// `npx mcp-remote URL --header 'Authorization: …'` is a server over HTTP in disguise.
fn remote(words: &[String], headers: &mut Vec<(String, String)>) -> Option<String> {
    let at = words.iter().position(|word| word == "mcp-remote" || word.starts_with("mcp-remote@"))?;
    let rest = words.get(at.checked_add(1)?..)?;
    let url = rest.iter().find(|word| word.starts_with("http://") || word.starts_with("https://"))?;
    for (flag, value) in rest.iter().zip(rest.iter().skip(1)) {
        if flag == "--header"
            && let Some((name, value)) = value.split_once(':')
        {
            headers.push((name.trim().to_owned(), value.trim().to_owned()));
        }
    }
    Some(url.clone())
}

/// What editors put in for these names. Others are left to whoever resolves them.
fn expanded(text: &str, base: &Path) -> String {
    let home = super::super::serve::variable("HOME").unwrap_or_default();
    let text = text.replace("${workspaceFolder}", &base.display().to_string()).replace("${userHome}", &home);
    match text.strip_prefix("~/") {
        Some(rest) if !home.is_empty() => format!("{home}/{rest}"),
        _ => text,
    }
}

fn pairs(value: Option<&Value>, base: &Path) -> Vec<(String, String)> {
    let pair = |(name, value): (&str, &Value)| {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        (name.to_owned(), expanded(&text, base))
    };
    value.and_then(Value::as_object).into_iter().flatten().map(pair).collect()
}

impl Server {
    fn http(&mut self, url: &str, headers: Vec<(String, String)>) -> Result<(), String> {
        let mut url = Url::parse(url).map_err(|_| "its `url` is none".to_owned())?;
        let mut shown: Option<Shown> = None;
        for (name, value) in headers {
            let (prefix, secret) = match value.split_once(' ') {
                Some((scheme, rest)) if scheme.eq_ignore_ascii_case("bearer") => ("Bearer ", rest.trim()),
                Some((scheme, rest)) if scheme.eq_ignore_ascii_case("basic") => ("Basic ", rest.trim()),
                Some((scheme, rest)) if scheme.eq_ignore_ascii_case("token") => ("token ", rest.trim()),
                _ => ("", value.as_str()),
            };
            if shown.is_none() && (named(&name) || !prefix.is_empty() || looks_so(secret)) {
                self.found.push(format!("header {name}"));
                let source = Source::of(secret);
                shown = Some(Shown { header: name.to_ascii_lowercase(), prefix, source });
            } else {
                self.notes.push(format!(
                    "the header {name} isn't sent: a tool is shown one credential, and nothing else"
                ));
            }
        }
        if let Some(password) = url.password().map(str::to_owned) {
            let pair = format!("{}:{password}", url.username());
            let encoded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, pair);
            self.found.push("the password in its URL".to_owned());
            // A URL with a host takes both away.
            let _infallible = (url.set_password(None), url.set_username(""));
            shown.get_or_insert(Shown {
                header: "authorization".to_owned(),
                prefix: "Basic ",
                source: Source::Plain(encoded),
            });
        }
        let query: Vec<(String, String)> = url.query_pairs().into_owned().collect();
        let (secret, open): (Vec<_>, Vec<_>) =
            query.into_iter().partition(|(name, value)| named(name) || looks_so(value));
        if !secret.is_empty() {
            if open.is_empty() {
                url.set_query(None);
            } else {
                url.query_pairs_mut().clear().extend_pairs(open);
            }
        }
        for (name, value) in secret {
            self.found.push(format!("`{name}` in its URL"));
            self.notes.push(format!(
                "`{name}` goes in the header Authorization now, as Bearer; see that the server takes it, or name its own in `secret_header`"
            ));
            shown.get_or_insert(Shown {
                header: "authorization".to_owned(),
                prefix: "Bearer ",
                source: Source::of(&value),
            });
        }
        self.reached = Reached::Http { url: url.to_string(), shown };
        Ok(())
    }

    fn process(&mut self, words: Vec<String>, given: Vec<(String, String)>, cwd: Option<String>) {
        let (mut env, mut vars): (Vec<(String, Source)>, Vec<(String, String)>) = Default::default();
        for (name, value) in given {
            let source = Source::of(&value);
            if named(&name) || looks_so(&value) || !matches!(source, Source::Plain(_)) {
                if matches!(source, Source::Plain(_)) {
                    self.found.push(format!("variable {name}"));
                }
                env.push((name, source));
            } else {
                vars.push((name, value));
            }
        }
        // A client's process has its home; programs that are fetched when they are started need it.
        if !vars.iter().any(|(name, _)| name == "HOME")
            && let Some(home) = super::super::serve::variable("HOME")
        {
            vars.push(("HOME".to_owned(), home));
        }
        let command = self.without_secrets(words, &mut env);
        self.reached = Reached::Process { command, env, vars, cwd };
    }

    /// A secret among the arguments becomes a variable, which a shell puts there.
    fn without_secrets(&mut self, words: Vec<String>, env: &mut Vec<(String, Source)>) -> Vec<String> {
        let (mut line, mut moved, mut expected) = (Vec::new(), false, false);
        for (at, word) in words.iter().enumerate() {
            let (option, value) = match word.split_once('=') {
                Some((option, value)) if option.starts_with('-') => (Some(option), value),
                _ => (None, word.as_str()),
            };
            let header =
                value.split_once(':').is_some_and(|(name, _)| named(name.trim()) && !name.contains('/'));
            let is_secret = at > 0
                && !value.is_empty()
                && (option.is_none() || option.is_some_and(named) || looks_so(value))
                && (expected
                    || option.is_some_and(named)
                    || looks_so(value)
                    || (header && value.contains(' ')));
            expected = option.is_none() && word.starts_with('-') && named(word);
            if is_secret && !value.starts_with('-') {
                let variable = format!("PLACET_ARGUMENT_{at}");
                let before = option.map(|option| format!("{}=", shell(option))).unwrap_or_default();
                line.push(format!("{before}\"${variable}\""));
                self.found.push(format!("argument {at}"));
                env.push((variable, Source::of(value)));
                moved = true;
            } else {
                line.push(shell(word));
            }
        }
        if !moved {
            return words;
        }
        vec!["sh".to_owned(), "-c".to_owned(), format!("exec {}", line.join(" "))]
    }
}

/// A word as a shell takes it for one.
fn shell(word: &str) -> String {
    let plain =
        !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_./@:,+=".contains(&b));
    if plain { word.to_owned() } else { format!("'{}'", word.replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Server {
        let value = placet_json::parse(text.as_bytes(), &placet_json::Limits::MESSAGE).unwrap();
        read("My Tool", &value, Path::new("/work")).unwrap().unwrap()
    }

    #[test]
    fn a_token_among_the_arguments_becomes_a_variable() {
        let server = one(
            r#"{"command":"npx","args":["-y","it's","--api-key","canary","--token=canary2","--root=${workspaceFolder}/src","postgresql://a:canary3@h/d"]}"#,
        );
        let Reached::Process { command, env, .. } = &server.reached else { panic!("{server:?}") };
        assert_eq!(
            command.last().unwrap(),
            "exec npx -y 'it'\\''s' --api-key \"$PLACET_ARGUMENT_4\" --token=\"$PLACET_ARGUMENT_5\" --root=/work/src \"$PLACET_ARGUMENT_7\""
        );
        assert_eq!(env.len(), 3);
        assert_eq!(server.found, ["argument 4", "argument 5", "argument 7"]);
        assert!(!format!("{server:?}").contains("canary"));
    }

    #[test]
    fn mcp_remote_is_what_it_stands_for() {
        let server = one(
            r#"{"command":"npx","args":["mcp-remote@latest","https://mcp.example/mcp","--header","X-Api-Key: canary"]}"#,
        );
        let Reached::Http { url, shown: Some(shown) } = &server.reached else { panic!("{server:?}") };
        assert_eq!(
            (url.as_str(), shown.header.as_str(), shown.prefix),
            ("https://mcp.example/mcp", "x-api-key", "")
        );
    }

    #[test]
    fn secrets_leave_a_url() {
        let server = one(r#"{"url":"https://u:canary@mcp.example/mcp?api_key=canary2&region=eu"}"#);
        let Reached::Http { url, shown: Some(shown) } = &server.reached else { panic!("{server:?}") };
        assert_eq!((url.as_str(), shown.prefix), ("https://mcp.example/mcp?region=eu", "Basic "));
        assert_eq!(server.found.len(), 2);
    }

    #[test]
    fn placet_itself_and_what_is_switched_off_are_left_alone() {
        for text in [
            r#"{"command":"/usr/bin/placet","args":["connect"]}"#,
            r#"{"url":"https://x.example","disabled":true}"#,
        ] {
            let value = placet_json::parse(text.as_bytes(), &placet_json::Limits::MESSAGE).unwrap();
            assert!(read("x", &value, Path::new("")).unwrap().is_none(), "{text}");
        }
    }
}
