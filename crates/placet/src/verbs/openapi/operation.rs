//! From one operation of an API to one entry.

use std::fmt::Write as _;

use placet_json::{Object, Value};

use super::{
    Document, Scheme, quoted,
    schema::{Stands, Typed},
    shown,
};

/// Headers that aren't parameters (OpenAPI 3, Parameter Object), or that a gateway makes itself.
const NOT_OURS: [&str; 8] = [
    "accept",
    "content-type",
    "authorization",
    "cookie",
    "host",
    "user-agent",
    "idempotency-key",
    "connection",
];

/// Where an operation stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'d> {
    pub(super) upstream: &'d str,
    pub(super) method: &'d str,
    pub(super) path: &'d str,
    pub(super) item: &'d Value,
    pub(super) operation: &'d Value,
    pub(super) document: Document<'d>,
}

/// An entry, and what of the operation isn't in it.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) tool: String,
    pub(super) text: String,
    pub(super) left_out: Vec<(String, String)>,
}

/// An argument of the entry.
struct Argument {
    name: String,
    typed: Typed,
    required: bool,
    description: String,
}

/// What has been read of an operation.
#[derive(Default)]
struct Parts {
    arguments: Vec<Argument>,
    path: String,
    query: Vec<(String, String)>,
    header: Vec<(String, String)>,
    body: Option<String>,
    /// Members of a multipart body that are files.
    files: Vec<String>,
    left_out: Vec<(String, String)>,
}

pub(super) fn entry(place: &Place<'_>, scheme: &Scheme, taken: &[[String; 3]]) -> Result<Entry, String> {
    let text = |name: &str| place.operation.get(name).and_then(Value::as_str).unwrap_or_default();
    let tool = tool_name(place, taken);
    let mut parts = Parts { path: place.path.to_owned(), ..Parts::default() };
    if !place.path.starts_with('/') {
        return Err("its path doesn't begin with `/`".to_owned());
    }
    // The body first: its members are named by the API, parameters can have another name here.
    if let Some(body) = place.operation.get("requestBody") {
        parts.body(place, body)?;
    }
    for parameter in parameters(place)? {
        parts.parameter(place, parameter)?;
    }
    if let Some(slot) = slots(&parts.path).into_iter().find(|slot| !parts.has(slot)) {
        return Err(format!("`{{{}}}` of its path is no parameter", shown(&slot)));
    }
    let said = if text("summary").is_empty() { text("description") } else { text("summary") };
    let mut out = String::new();
    let _infallible = write!(out, "\n# {} {}\n", place.method.to_ascii_uppercase(), shown(place.path));
    if place.operation.get("deprecated").and_then(Value::as_bool) == Some(true) {
        out.push_str("# deprecated\n");
    }
    for (what, why) in &parts.left_out {
        let _infallible = writeln!(out, "# left out: {}: {}", shown(what), shown(why));
    }
    let full = quoted(&format!("{}.{tool}", place.upstream));
    let effect = match place.method {
        "get" => "read",
        "delete" => "destructive",
        _ => "write",
    };
    let credential = match scheme.credential {
        "vault" => format!("vault:{}", place.upstream),
        other => other.to_owned(),
    };
    let id = parts.arguments.iter().find(|argument| argument.required && argument.typed.kind == "id");
    let id = id.map_or("…".to_owned(), |argument| argument.name.clone());
    let _infallible = write!(
        out,
        "[tool.{full}]\naction = {} # review\neffect = \"{effect}\" # review\ndescription = {}\n# resource = {{ type = \"…\", id = \"$args.{id}\" }}\ncredential = \"{credential}\" # review\nhttp = {}\n",
        quoted(&tool),
        quoted(&shown(said)),
        parts.http(place)
    );
    if !parts.arguments.is_empty() {
        let _infallible = writeln!(out, "[tool.{full}.args]");
    }
    for Argument { name, typed, required, description: _ } in &parts.arguments {
        let optional = if *required { "" } else { ", required = false" };
        let remarks: Vec<String> = typed.remarks.iter().map(|remark| shown(remark)).collect();
        let remarks = if remarks.is_empty() { String::new() } else { format!(": {}", remarks.join("; ")) };
        let _infallible =
            writeln!(out, "{} = {{ {}{optional} }} # review{remarks}", quoted(name), typed.keys);
    }
    let described: Vec<&Argument> =
        parts.arguments.iter().filter(|argument| !argument.description.is_empty()).collect();
    if !described.is_empty() {
        let _infallible = writeln!(out, "[tool.{full}.describe]");
        for argument in described {
            let _infallible = writeln!(out, "{} = {}", quoted(&argument.name), quoted(&argument.description));
        }
    }
    Ok(Entry { tool, text: out, left_out: parts.left_out })
}

/// The parameters of path and operation; the operation's own take the place of the path's.
fn parameters<'d>(place: &Place<'d>) -> Result<Vec<&'d Value>, String> {
    let mut out: Vec<&Value> = Vec::new();
    let of = |value: &'d Value| value.get("parameters").and_then(Value::as_array).unwrap_or_default();
    for parameter in of(place.item).iter().chain(of(place.operation)) {
        let parameter = place.document.at(parameter)?;
        out.retain(|other| {
            other.get("name") != parameter.get("name") || other.get("in") != parameter.get("in")
        });
        out.push(parameter);
    }
    Ok(out)
}

impl Parts {
    fn has(&self, name: &str) -> bool {
        self.arguments.iter().any(|argument| argument.name == name)
    }
    /// A name for a parameter's argument that no other argument has.
    fn name(&self, of: &str, place: &str) -> String {
        let mut name: String =
            of.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).take(64).collect();
        name = name.trim_matches('_').to_owned();
        if name.is_empty() {
            "value".clone_into(&mut name);
        }
        while self.has(&name) {
            let _infallible = write!(name, "_in_{place}");
        }
        name
    }

    fn parameter(&mut self, place: &Place<'_>, parameter: &Value) -> Result<(), String> {
        let text = |name: &str| parameter.get(name).and_then(Value::as_str).unwrap_or_default();
        let (own, stands) = (text("name"), text("in"));
        let required =
            stands == "path" || parameter.get("required").and_then(Value::as_bool).unwrap_or_default();
        let lower = own.to_ascii_lowercase();
        if stands == "header" && NOT_OURS.contains(&lower.as_str()) {
            return Ok(());
        }
        let typed = match (stands, writable(parameter)) {
            ("path" | "query" | "header", Ok(schema)) => {
                let place_of = if stands == "path" { Stands::InPath } else { Stands::Elsewhere };
                let typed = place.document.typed(schema, own, place_of);
                typed.and_then(|typed| match (typed.kind, stands) {
                    ("object", _) => Err("an object can't be written there".to_owned()),
                    ("list", "path" | "header") => Err("a list can't be written there".to_owned()),
                    _ => Ok(typed),
                })
            }
            ("path" | "query" | "header", Err(why)) => Err(why),
            ("cookie", _) => Err("cookies aren't sent".to_owned()),
            (_, _) => Err("it stands nowhere that is known".to_owned()),
        };
        let typed = match typed {
            Ok(typed) => typed,
            Err(why) if required => {
                return Err(format!("its parameter `{}` can't be an argument: {why}", shown(own)));
            }
            Err(why) => {
                self.left_out.push((format!("{stands} parameter `{own}`"), why));
                return Ok(());
            }
        };
        let name = self.name(own, stands);
        match stands {
            "path" => {
                let slot = format!("{{{own}}}");
                if self.path.matches(&slot).count() != 1 {
                    return Err(format!("its path doesn't have `{}` once", shown(&slot)));
                }
                self.path = self.path.replace(&slot, &format!("{{{name}}}"));
            }
            "query" => self.query.push((own.to_owned(), name.clone())),
            _ => self.header.push((own.to_owned(), name.clone())),
        }
        let description = shown(text("description"));
        self.arguments.push(Argument { name, typed, required, description });
        Ok(())
    }

    fn body(&mut self, place: &Place<'_>, body: &Value) -> Result<(), String> {
        let document = place.document;
        let body = document.at(body)?;
        let needed = body.get("required").and_then(Value::as_bool).unwrap_or_default();
        let content = body.get("content").and_then(Value::as_object).ok_or("its body has no content")?;
        let essence = |kind: &str| kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let json = |kind: &str| {
            kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"))
        };
        let find = |wanted: &dyn Fn(&str) -> bool| {
            content.iter().find(|(kind, _)| wanted(&essence(kind))).map(|(_, media)| media)
        };
        let form = |kind: &str| kind == "application/x-www-form-urlencoded";
        let multipart = |kind: &str| kind == "multipart/form-data";
        let (media, coding) = match (find(&json), find(&form), find(&multipart)) {
            (Some(media), _, _) => (media, Coding::Json),
            (None, Some(media), _) => (media, Coding::Form),
            (None, None, Some(media)) => (media, Coding::Multipart),
            (None, None, None) => {
                let kinds: Vec<&str> = content.keys().collect();
                return Err(format!("its body is of {}, not JSON or a form", shown(&kinds.join(", "))));
            }
        };
        if place.method == "get" {
            return Err("it is a GET with a body".to_owned());
        }
        let schema = document.at(media.get("schema").ok_or("its body has no schema")?)?;
        let members = document.object(schema).map_err(|why| format!("its body can't be typed: {why}"))?;
        if members.0.is_empty() {
            return self.whole_body(place, schema, needed, coding);
        }
        self.members(document, &members, needed, coding)?;
        self.body = Some(coding.name().to_owned());
        Ok(())
    }

    fn members(
        &mut self,
        document: Document<'_>,
        (properties, required): &(Object, Vec<String>),
        needed: bool,
        coding: Coding,
    ) -> Result<(), String> {
        for (name, property) in properties {
            let inner = document.at(property)?;
            if inner.get("readOnly").and_then(Value::as_bool) == Some(true) {
                continue;
            }
            let required = needed && required.iter().any(|other| other == name);
            if coding == Coding::Multipart && is_file(inner) {
                let description = shown(inner.get("description").and_then(Value::as_str).unwrap_or_default());
                let remarks = vec!["the file in base64; give it a name and a type".to_owned()];
                let typed = Typed { keys: "type = \"text\"".to_owned(), kind: "text", remarks };
                self.files.push(name.to_owned());
                self.arguments.push(Argument { name: name.to_owned(), typed, required, description });
                continue;
            }
            let typed = document.typed(property, name, Stands::Elsewhere).and_then(|typed| {
                let nested =
                    typed.kind == "object" || (typed.kind == "list" && typed.keys.contains("\"object\""));
                if coding != Coding::Json && nested {
                    Err("a form has no nested members".to_owned())
                } else {
                    Ok(typed)
                }
            });
            match typed {
                Ok(typed) => {
                    let description = inner.get("description").and_then(Value::as_str).unwrap_or_default();
                    let description = shown(description);
                    self.arguments.push(Argument { name: name.to_owned(), typed, required, description });
                }
                Err(why) if required => {
                    return Err(format!("`{}` of its body can't be an argument: {why}", shown(name)));
                }
                Err(why) => self.left_out.push((format!("`{name}` of the body"), why)),
            }
        }
        Ok(())
    }

    /// A body that is no object with members: one argument is all of it.
    fn whole_body(
        &mut self,
        place: &Place<'_>,
        schema: &Value,
        required: bool,
        coding: Coding,
    ) -> Result<(), String> {
        let typed = place.document.typed(schema, "body", Stands::Elsewhere);
        let typed = typed.map_err(|why| format!("its body can't be typed: {why}"))?;
        if coding != Coding::Json {
            return Err("its form has no named members".to_owned());
        }
        self.arguments.push(Argument {
            name: "body".to_owned(),
            typed,
            required,
            description: String::new(),
        });
        self.body = Some("{body}".to_owned());
        Ok(())
    }

    fn http(&self, place: &Place<'_>) -> String {
        let mut out =
            format!("{{ method = \"{}\", path = {}", place.method.to_ascii_uppercase(), quoted(&self.path));
        for (what, parts) in [("query", &self.query), ("header", &self.header)] {
            if !parts.is_empty() {
                let parts: Vec<String> = parts
                    .iter()
                    .map(|(name, argument)| format!("{} = \"{{{argument}}}\"", quoted(name)))
                    .collect();
                let _infallible = write!(out, ", {what} = {{ {} }}", parts.join(", "));
            }
        }
        if let Some(body) = &self.body {
            let _infallible = write!(out, ", body = {}", quoted(body));
        }
        if !self.files.is_empty() {
            let file = |name: &String| {
                let kind = "application/octet-stream";
                format!("{} = {{ name = \"file\", type = \"{kind}\", base64 = true }}", quoted(name))
            };
            let files: Vec<String> = self.files.iter().map(file).collect();
            let _infallible = write!(out, ", files = {{ {} }}", files.join(", "));
        }
        out.push_str(" }");
        out
    }
}

/// How a body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    Json,
    Form,
    Multipart,
}

impl Coding {
    fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Form => "form",
            Self::Multipart => "multipart",
        }
    }
}

/// Whether a member of a multipart body is a file: OpenAPI 3.0 says `format: binary`, 3.1 `contentMediaType`.
fn is_file(schema: &Value) -> bool {
    let text = |name: &str| schema.get(name).and_then(Value::as_str);
    text("format") == Some("binary")
        || (text("contentMediaType").is_some() && matches!(text("type"), None | Some("string")))
}

/// The schema of a parameter that is written as the gateway writes one: plain, lists as repeated names.
fn writable(parameter: &Value) -> Result<&Value, String> {
    let text = |name: &str| parameter.get(name).and_then(Value::as_str);
    let plain = match text("in") {
        Some("query") => "form",
        _ => "simple",
    };
    if let Some(style) = text("style").filter(|style| *style != plain) {
        return Err(format!("its style `{}` isn't written here", shown(style)));
    }
    let schema = parameter.get("schema").ok_or("it is described by `content`, not by a schema")?;
    let listed = schema.get("type").and_then(Value::as_str) == Some("array");
    if listed && parameter.get("explode").and_then(Value::as_bool) == Some(false) {
        return Err("a list with commas (`explode: false`) isn't written here".to_owned());
    }
    Ok(schema)
}

fn slots(path: &str) -> Vec<String> {
    let after = path.split('{').skip(1);
    after.filter_map(|rest| rest.split_once('}')).map(|(slot, _)| slot.to_owned()).collect()
}

/// `getCaseById` is `get_case_by_id`; without an operationId, method and path.
fn tool_name(place: &Place<'_>, taken: &[[String; 3]]) -> String {
    let id = place.operation.get("operationId").and_then(Value::as_str).unwrap_or_default();
    let source = if id.is_empty() { format!("{} {}", place.method, place.path) } else { id.to_owned() };
    let mut name = String::new();
    let mut lower = false;
    for c in source.chars() {
        if c.is_ascii_uppercase() && lower {
            name.push('_');
        }
        lower = c.is_ascii_lowercase() || c.is_ascii_digit();
        if c.is_ascii_alphanumeric() {
            name.push(c.to_ascii_lowercase());
        } else if !name.ends_with('_') {
            name.push('_');
        }
    }
    let name: String = name.trim_matches('_').chars().take(64).collect();
    let name = if name.is_empty() { "operation".to_owned() } else { name };
    let is_taken = |name: &str| taken.iter().any(|[tool, _, _]| tool == name);
    if !is_taken(&name) {
        return name;
    }
    (2_u32..=1_000_000).map(|i| format!("{name}_{i}")).find(|name| !is_taken(name)).unwrap_or(name)
}
