//! `placet catalog pull UPSTREAM --openapi FILE`: from a description of an HTTP API to draft entries.
//!
//! OpenAPI 3.0 and 3.1, in JSON or YAML. What can be known is written down; what a person must choose is marked; what
//! has no counterpart is named with the reason, and nothing of it is guessed.

mod operation;
mod schema;

use std::{fmt::Write as _, path::Path};

use placet_json::{Limits, Value, object};

use crate::failure::{Failure, OrFail};

/// The longest document, in bytes.
const MAX_DOCUMENT: u64 = 16 << 20;
/// How many references may lead from one to the next.
const MAX_REFERENCES: usize = 16;
const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];
/// Members of a path that could be operations, and can't be tools.
const OTHER_METHODS: [&str; 3] = ["head", "options", "trace"];

/// Draft entries, and what isn't in them.
#[derive(Debug)]
pub(super) struct Draft {
    /// The catalog file.
    pub(super) text: String,
    /// Tool, method and path of each entry.
    mapped: Vec<[String; 3]>,
    /// Method, path and reason of each operation that has no entry.
    unmapped: Vec<[String; 3]>,
    /// Tool, part and reason of what an entry leaves out.
    left_out: Vec<[String; 3]>,
}

/// A document whose references can be followed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Document<'d>(&'d Value);

impl<'d> Document<'d> {
    /// What stands there, or where its `$ref` leads, inside this document.
    fn at(self, value: &'d Value) -> Result<&'d Value, String> {
        let mut value = value;
        for _ in 0..MAX_REFERENCES {
            let Some(reference) = value.get("$ref").and_then(Value::as_str) else { return Ok(value) };
            let pointer = reference
                .strip_prefix('#')
                .ok_or_else(|| format!("`{}` lies in another file", shown(reference)))?;
            value = self.0.pointer(pointer).ok_or_else(|| format!("`{}` leads nowhere", shown(reference)))?;
        }
        Err("its references lead in a circle".to_owned())
    }
}

/// A tool's own schema of one argument as the catalog writes a type, without braces, and what of it isn't in there.
pub(super) fn argument(root: &Value, schema: &Value, name: &str) -> Result<(String, Vec<String>), String> {
    let typed = Document(root).typed(schema, name, schema::Stands::Elsewhere)?;
    Ok((typed.keys, typed.remarks))
}

/// Reads the file and drafts entries for this upstream.
pub(super) fn pull(upstream: &str, file: &Path) -> Result<Draft, Failure> {
    let named = upstream.len() <= 32
        && !upstream.is_empty()
        && upstream.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if !named {
        return Err(Failure::new(format!("`{upstream}` can't be an upstream's name"))
            .remedy("use `a-z 0-9 -`, at most 32 characters"));
    }
    let what = || format!("can't read `{}`", file.display());
    let length = std::fs::metadata(file).or_fail(what())?.len();
    if length > MAX_DOCUMENT {
        return Err(Failure::new(format!(
            "`{}` has {length} bytes, more than {MAX_DOCUMENT}",
            file.display()
        )));
    }
    let text = std::fs::read_to_string(file).or_fail(what())?;
    let limits = Limits { bytes: text.len(), ..Limits::RESULT };
    let document = if text.trim_start().starts_with('{') {
        placet_json::parse(text.as_bytes(), &limits).map_err(|error| error.to_string())
    } else {
        placet_policy::read_yaml(&text)
    };
    let document = document
        .map_err(|error| Failure::new(format!("`{}` is neither JSON nor YAML: {error}", file.display())))?;
    draft(upstream, &document).map_err(|why| {
        Failure::new(format!("`{}`: {why}", file.display()))
            .remedy("give a description in OpenAPI 3.0 or 3.1")
    })
}

fn draft(upstream: &str, document: &Value) -> Result<Draft, String> {
    match document.get("openapi").and_then(Value::as_str) {
        Some(version) if version.starts_with("3.0") || version.starts_with("3.1") => {}
        Some(version) => return Err(format!("it is of OpenAPI `{}`", shown(version))),
        None if document.get("swagger").is_some() => return Err("it is of Swagger 2.0".to_owned()),
        None => return Err("it has no member `openapi`".to_owned()),
    }
    let paths = document.get("paths").and_then(Value::as_object).ok_or("it has no `paths`")?;
    let scheme = credential(document);
    let mut draft = Draft {
        text: head(upstream, document, &scheme),
        mapped: Vec::new(),
        unmapped: Vec::new(),
        left_out: Vec::new(),
    };
    let document = Document(document);
    for (path, item) in paths {
        let item = match document.at(item) {
            Ok(item) => item,
            Err(why) => {
                draft.unmapped.push(["*".to_owned(), path.to_owned(), why]);
                continue;
            }
        };
        for method in OTHER_METHODS.into_iter().filter(|method| item.get(method).is_some()) {
            let why = "a tool is a GET, POST, PUT, PATCH or DELETE".to_owned();
            draft.unmapped.push([method.to_ascii_uppercase(), path.to_owned(), why]);
        }
        for method in METHODS {
            let Some(operation) = item.get(method) else { continue };
            let place = operation::Place { upstream, method, path, item, operation, document };
            let verb = method.to_ascii_uppercase();
            match operation::entry(&place, &scheme, &draft.mapped) {
                Ok(entry) => {
                    draft.text.push_str(&entry.text);
                    let tool = &entry.tool;
                    draft
                        .left_out
                        .extend(entry.left_out.into_iter().map(|(what, why)| [tool.clone(), what, why]));
                    draft.mapped.push([entry.tool.clone(), verb, path.to_owned()]);
                }
                Err(why) => draft.unmapped.push([verb, path.to_owned(), why]),
            }
        }
    }
    if !draft.unmapped.is_empty() {
        draft.text.push_str("\n# Not mapped:\n");
        for [method, path, why] in &draft.unmapped {
            let _infallible = writeln!(draft.text, "#   {method} {}: {}", shown(path), shown(why));
        }
    }
    Ok(draft)
}

impl Draft {
    pub(super) fn to_value(&self) -> Value {
        let rows = |rows: &[[String; 3]], names: [&str; 3]| {
            let row = |row: &[String; 3]| {
                let members = names.iter().zip(row);
                Value::Object(
                    members.map(|(name, text)| ((*name).to_owned(), Value::from(text.as_str()))).collect(),
                )
            };
            Value::Array(rows.iter().map(row).collect())
        };
        Value::from(object! {
            "draft" => self.text.as_str(),
            "mapped" => rows(&self.mapped, ["tool", "method", "path"]),
            "unmapped" => rows(&self.unmapped, ["method", "path", "why"]),
            "left_out" => rows(&self.left_out, ["tool", "what", "why"]),
        })
    }
    /// For whoever waits at the terminal; empty where nothing is to be said.
    pub(super) fn summary(&self) -> String {
        match (self.unmapped.len(), self.left_out.len()) {
            (0, 0) => String::new(),
            (unmapped, left_out) => format!(
                "{} operations drafted, {unmapped} not mapped, {left_out} parts left out: the draft says which and why",
                self.mapped.len()
            ),
        }
    }
}

/// How the API is authenticated to: what stands in `credential`, and lines of the settings.
struct Scheme {
    credential: &'static str,
    settings: String,
}

fn credential(document: &Value) -> Scheme {
    let schemes = document.pointer("/components/securitySchemes").and_then(Value::as_object);
    for (_, scheme) in schemes.into_iter().flatten() {
        let text = |name: &str| scheme.get(name).and_then(Value::as_str).unwrap_or_default();
        let settings = match (text("type"), text("in"), text("scheme").to_ascii_lowercase().as_str()) {
            ("apiKey", "header", _) => format!(
                "# secret_header = {}\n# secret_prefix = \"\"\n",
                quoted(&text("name").to_ascii_lowercase())
            ),
            ("http", _, "basic") => {
                "# secret_prefix = \"Basic \"      # the secret is base64 of user:password\n".to_owned()
            }
            ("http", _, "bearer") | ("oauth2" | "openIdConnect", _, _) => String::new(),
            ("apiKey", "query", _) => format!("# secret_query = {}\n", quoted(text("name"))),
            _ => continue,
        };
        return Scheme { credential: "vault", settings };
    }
    Scheme { credential: "none", settings: String::new() }
}

fn head(upstream: &str, document: &Value, scheme: &Scheme) -> String {
    let title = document.pointer("/info/title").and_then(Value::as_str).unwrap_or("an OpenAPI document");
    let url = document.pointer("/servers/0/url").and_then(Value::as_str).unwrap_or("https://…");
    format!(
        "# Drafted from `{}`. Nothing here is reviewed: choose action, effect, resource and types, then\n\
         # remove the marks. Where an answer lists items of several tenants, add a `result.guard`.\n\
         #\n# The settings beside it (`url` is where its paths begin):\n\
         # [[upstream]]\n# name = \"{upstream}\"\n# url = {}\n# protocol = \"rest\"\n{}",
        shown(title),
        quoted(&shown(url)),
        scheme.settings
    )
}

/// A text of the document as it may stand on one line.
fn shown(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect()
}

pub(super) fn quoted(text: &str) -> String {
    let mut out = String::new();
    placet_json::write_string(text, &mut out);
    out
}
