//! The report of a scan: a document for programs, a page for people. No value of a credential is in either.

use std::{collections::BTreeSet, fmt::Write as _, path::Path};

use placet_json::{Object, Value, object};

use super::collect::{Client, Collector, Credential, MOST, Place, Server};
use super::shapes::Life;
use crate::{
    output::{Colour, paint, table},
    verbs::common::cell,
};

/// The document.
pub(super) fn document(found: &Collector) -> Value {
    let standing: Vec<&Credential> =
        found.credentials.iter().filter(|credential| found.standing(credential)).collect();
    let servers = || found.clients.iter().flat_map(|client| &client.servers);
    let count = |of: &dyn Fn(&&&Credential) -> bool| number(standing.iter().filter(of).count());
    let distinct: BTreeSet<&str> =
        standing.iter().map(|credential| credential.fingerprint.as_str()).collect();
    let totals = object! {
        "files" => found.files,
        "clients" => number(found.clients.len()),
        "servers" => number(servers().count()),
        "servers_around_placet" => number(servers().filter(|server| !server.through_placet).count()),
        "credentials" => number(found.credentials.len()),
        "standing" => number(standing.len()),
        "distinct" => number(distinct.len()),
        "never_expire" => count(&|credential| credential.kind.life == Life::Never),
        "without_owner" => count(&|credential| credential.place.owner.is_none()),
        "governed" => count(&|credential| credential.governed.is_some()),
    };
    let list = |values: Vec<Value>| Value::Array(values);
    Value::from(object! {
        "totals" => totals,
        "clients" => list(found.clients.iter().map(|one| client(found, one)).collect()),
        "credentials" => list(found.credentials.iter().take(MOST).map(|one| credential(found, one)).collect()),
        "unread" => list(found.unread.iter().take(MOST).map(|unread| Value::from(object! {
            "file" => path(found, &unread.file), "why" => unread.why.as_str(),
        })).collect()),
    })
}

fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

fn client(found: &Collector, client: &Client) -> Value {
    let Client { name, file, servers, allowed } = client;
    let servers = servers.iter().map(|server| {
        let Server { name, runs, stdio, through_placet, governed, allowed } = server;
        Value::from(object! {
            "name" => found.shown(name),
            "transport" => if *stdio { "stdio" } else { "http" },
            "runs" => found.shown(runs),
            "through_placet" => *through_placet,
            "governed_by" => optional(governed.as_deref()),
            "allowed_tools" => texts(found, allowed),
        })
    });
    Value::from(object! {
        "client" => name.as_str(),
        "file" => path(found, file),
        "servers" => Value::Array(servers.collect()),
        "allowed_tools" => texts(found, allowed),
    })
}

fn texts(found: &Collector, texts: &[String]) -> Value {
    Value::Array(texts.iter().map(|text| Value::from(found.shown(text))).collect())
}

fn optional(text: Option<&str>) -> Value {
    text.map_or(Value::Null, Value::from)
}

fn credential(found: &Collector, credential: &Credential) -> Value {
    let Credential { kind, place, fingerprint, governed } = credential;
    let (life, until) = match kind.life {
        Life::Never => ("never", None),
        Life::Unknown => ("unknown", None),
        Life::Until(end) if end <= found.now => ("expired", Some(end)),
        Life::Until(end) => ("until", Some(end)),
    };
    let moment = |secs: u64| Value::from(placet_core::Timestamp::from_secs(secs).to_string());
    let age = place.modified.map(|modified| found.now.saturating_sub(modified) / 86_400);
    Value::from(object! {
        "kind" => kind.code,
        "what" => kind.name,
        "file" => path(found, &place.file),
        "line" => place.line.map_or(Value::Null, |line| Value::from(number(line))),
        "path" => at(found, place).map_or(Value::Null, Value::from),
        "used_by" => place.user.as_deref().map_or(Value::Null, |user| Value::from(found.shown(user))),
        "owner" => place.owner.as_deref().map_or(Value::Null, |owner| Value::from(found.shown(owner))),
        "file_modified" => place.modified.map_or(Value::Null, moment),
        "age_days" => age.map_or(Value::Null, Value::from),
        "expires" => life,
        "until" => until.map_or(Value::Null, moment),
        "standing" => found.standing(credential),
        "governed_by" => optional(governed.as_deref()),
        "fingerprint" => fingerprint.as_str(),
    })
}

/// The members that lead to a value.
fn at(found: &Collector, place: &Place) -> Option<String> {
    let members: Vec<String> =
        place.path.iter().filter(|member| !member.is_empty()).map(|member| found.shown(member)).collect();
    (!members.is_empty()).then(|| members.join("."))
}

/// A file's path. Its folders' names are no secret, unless one has the form of it.
pub(super) fn path(found: &Collector, path: &Path) -> String {
    let parts: Vec<String> = path
        .to_string_lossy()
        .split('/')
        .map(|part| {
            if found.shapes.find(part).is_empty() {
                part.chars().map(|letter| if letter.is_control() { '?' } else { letter }).collect()
            } else {
                "(withheld)".to_owned()
            }
        })
        .collect();
    parts.join("/")
}

/// The page for people, from the document.
pub(super) fn page(document: &Value) -> String {
    let mut text = String::new();
    let items = |name: &str| document.get(name).and_then(Value::as_array).unwrap_or_default();
    let total =
        |name: &str| document.pointer(&format!("/totals/{name}")).and_then(Value::as_u64).unwrap_or_default();
    // Writing into a `String` can't fail.
    let mut say = |line: std::fmt::Arguments<'_>| {
        let _infallible = writeln!(text, "{line}");
    };
    if !items("clients").is_empty() {
        say(format_args!("Agents' clients and their tools"));
        let mut rows = Vec::new();
        for client in items("clients") {
            for server in client.get("servers").and_then(Value::as_array).unwrap_or_default() {
                rows.push(vec![
                    cell(client, "client"),
                    cell(server, "name"),
                    cell(server, "runs"),
                    road(server),
                    allowed(server),
                ]);
            }
            if let count @ 1.. =
                client.get("allowed_tools").and_then(Value::as_array).map_or(0, <[Value]>::len)
            {
                rows.push(vec![
                    cell(client, "client"),
                    "(its own)".into(),
                    String::new(),
                    String::new(),
                    format!("{count} without asking"),
                ]);
            }
        }
        say(format_args!("{}", table(&["CLIENT", "SERVER", "RUNS", "ROAD", "TOOLS"], &rows)));
    }
    let (standing, passing): (Vec<&Value>, Vec<&Value>) = items("credentials")
        .iter()
        .partition(|credential| credential.get("standing").and_then(Value::as_bool) == Some(true));
    for (title, credentials) in [("Standing credentials", standing), ("Ended, or soon", passing)] {
        if !credentials.is_empty() {
            say(format_args!("{title}"));
            let rows: Vec<Vec<String>> = credentials.into_iter().map(row).collect();
            let head = ["KIND", "WHERE", "USED BY", "AGE", "EXPIRES", "OWNER", "GOVERNED", "SAME"];
            say(format_args!("{}", table(&head, &rows)));
        }
    }
    for unread in items("unread") {
        say(format_args!("not read: {}: {}", cell(unread, "file"), cell(unread, "why")));
    }
    let clean = total("standing") == 0;
    let sum = format!(
        "{} standing credentials, {} different, in {} files read: {} never expire, {} have no owner, {} open an upstream that Placet governs",
        total("standing"),
        total("distinct"),
        total("files"),
        total("never_expire"),
        total("without_owner"),
        total("governed"),
    );
    say(format_args!("{}", paint(&sum, if clean { Colour::Green } else { Colour::Red })));
    if total("servers") > 0 {
        say(format_args!(
            "{} of {} servers of tools are reached around Placet",
            total("servers_around_placet"),
            total("servers")
        ));
    }
    if !clean {
        say(format_args!(
            "next: put each into the vault (`placet vault put`), let clients start `placet connect` (`placet import FILE`), and revoke the old one where it was issued"
        ));
    }
    text
}

fn road(server: &Value) -> String {
    if server.get("through_placet").and_then(Value::as_bool) == Some(true) {
        "through Placet".to_owned()
    } else {
        match server.get("governed_by").and_then(Value::as_str) {
            Some(upstream) => format!("around Placet, which governs it as `{upstream}`"),
            None => "around Placet".to_owned(),
        }
    }
}

fn allowed(server: &Value) -> String {
    match server.get("allowed_tools").and_then(Value::as_array).map_or(0, <[Value]>::len) {
        0 => String::new(),
        count => format!("{count} without asking"),
    }
}

fn row(credential: &Value) -> Vec<String> {
    let or = |name: &str, none: &str| {
        let text = cell(credential, name);
        if text.is_empty() { none.to_owned() } else { text }
    };
    let place = match (cell(credential, "line"), cell(credential, "path")) {
        (line, path) if line.is_empty() => format!("{} {path}", cell(credential, "file")),
        (line, path) => format!("{}:{line} {path}", cell(credential, "file")),
    };
    let expires = match cell(credential, "expires").as_str() {
        "until" => cell(credential, "until"),
        "unknown" => "not seen from it".to_owned(),
        other => other.to_owned(),
    };
    vec![
        or("what", "?"),
        place.trim_end().to_owned(),
        or("used_by", "-"),
        format!("{} d", or("age_days", "?")),
        expires,
        or("owner", "none"),
        or("governed_by", "-"),
        or("fingerprint", "-"),
    ]
}

/// The report as members that SARIF wants: kind, file, line, text.
pub(super) fn each(document: &Value) -> impl Iterator<Item = &Object> {
    let credentials = document.get("credentials").and_then(Value::as_array).unwrap_or_default();
    credentials
        .iter()
        .filter(|credential| credential.get("standing").and_then(Value::as_bool) == Some(true))
        .filter_map(Value::as_object)
}
