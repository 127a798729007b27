//! A tool that is an operation of an HTTP API: which request its arguments are.
//!
//! The request is made of the canonical arguments and of nothing else ([`Operation::request`]), and a request of an
//! agent's own HTTP client is read back into arguments by the same template ([`crate::Catalog::route`]).

mod define;
mod multipart;
mod route;

use std::{borrow::Cow, collections::BTreeMap, fmt::Write as _};

use placet_json::{Object, Value, object};

use crate::{Argument, Source, Type};
pub use define::definition;
pub(crate) use multipart::is_file_name;
pub(crate) use route::ambiguous;
pub use route::{Claim, Incoming, Routed};

/// The longest path of a request, in bytes: with the upstream's address it is a URL of at most 2048.
const MAX_PATH: usize = 1536;
/// The longest query, in bytes.
const MAX_QUERY: usize = 8192;
/// The longest value of a header, in bytes.
const MAX_HEADER: usize = 4096;
/// How often percent-encoding is taken off a value to see what a server might make of it.
const LAYERS: usize = 3;

/// Method, path, query, headers and body of one operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    pub(crate) method: Verb,
    pub(crate) path: Vec<Segment>,
    pub(crate) query: BTreeMap<String, Part>,
    /// By name in lower case.
    pub(crate) header: BTreeMap<String, Part>,
    pub(crate) body: Body,
    /// Which arguments of a multipart body are files, by name.
    pub(crate) files: BTreeMap<String, File>,
    /// The headers of the answer that belong to the result, in lower case.
    pub(crate) returns: Vec<String>,
    /// What agents are told of the tool.
    pub(crate) description: String,
    /// What they are told of its arguments, by name.
    pub(crate) describe: BTreeMap<String, String>,
}

/// The methods that an operation may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// `GET`
    Get,
    /// `POST`
    Post,
    /// `PUT`
    Put,
    /// `PATCH`
    Patch,
    /// `DELETE`
    Delete,
}

/// A segment of a path: fixed text, with at most one argument in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) before: String,
    pub(crate) slot: Option<String>,
    pub(crate) after: String,
}

/// The value of a query parameter or header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    Fixed(String),
    Argument(String),
}

/// What the body is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Body {
    /// There is none.
    None,
    /// A JSON object of the arguments that stand nowhere else.
    Json,
    /// The same as `application/x-www-form-urlencoded`.
    Form,
    /// The same as `multipart/form-data`.
    Multipart,
    /// One argument is the whole JSON document.
    Argument(String),
}

/// How an argument is a file of a multipart body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct File {
    pub(crate) name: Part,
    /// The media type.
    pub(crate) kind: String,
    /// Whether the argument is the file's bytes in base64, and not its text.
    pub(crate) base64: bool,
}

/// A request as it is sent, without credential, host and what the transport adds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpRequest {
    /// The method.
    pub method: &'static str,
    /// The path below the upstream's address, percent-encoded; begins with a slash.
    pub path: String,
    /// The query, encoded, without its question mark.
    pub query: Option<String>,
    /// Names in lower case, and values of visible ASCII.
    pub headers: Vec<(String, String)>,
    /// The type of the body, where there is one.
    pub content_type: Option<Cow<'static, str>>,
    /// The body.
    pub body: Vec<u8>,
    /// The headers of the answer that belong to the result, in lower case.
    pub returns: Vec<String>,
}

/// A body with its type.
type Sent = (Option<Cow<'static, str>>, Vec<u8>);

/// An argument that can't stand where the operation has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unfit {
    pub(crate) argument: String,
    pub(crate) demand: String,
}

impl Verb {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Get, Self::Post, Self::Put, Self::Patch, Self::Delete];
    /// As it stands in a request.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
    /// The method of this name, in capitals.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|verb| verb.as_str() == text)
    }
    /// Whether repeating it changes nothing more (RFC 9110 §9.2.2).
    #[must_use]
    pub fn is_idempotent(self) -> bool {
        matches!(self, Self::Get | Self::Put | Self::Delete)
    }
}

impl Segment {
    pub(crate) fn fixed(text: &str) -> Self {
        Self { before: text.to_owned(), slot: None, after: String::new() }
    }
}

impl Operation {
    /// Its method.
    #[must_use]
    pub fn method(&self) -> Verb {
        self.method
    }
    /// Its path as the catalog writes it.
    #[must_use]
    pub fn path(&self) -> String {
        let mut out = String::new();
        for Segment { before, slot, after } in &self.path {
            out.extend(["/", before]);
            out.extend(slot.iter().flat_map(|slot| ["{", slot, "}"]));
            out.push_str(after);
        }
        out
    }

    /// The arguments that stand in path, query or headers, in that order, each as often as it does.
    pub(crate) fn placed(&self) -> impl Iterator<Item = &str> {
        let parts = self.query.values().chain(self.header.values()).filter_map(Part::argument);
        let body = match &self.body {
            Body::Argument(name) => Some(name.as_str()),
            Body::None | Body::Json | Body::Form | Body::Multipart => None,
        };
        let names = self.files.values().filter_map(|file| file.name.argument());
        self.path.iter().filter_map(|segment| segment.slot.as_deref()).chain(parts).chain(body).chain(names)
    }

    /// The request that these complete, canonical arguments are.
    pub(crate) fn request(
        &self,
        types: &BTreeMap<String, Argument>,
        arguments: &Object,
    ) -> Result<HttpRequest, Unfit> {
        let mut path = String::new();
        for segment in &self.path {
            path.push('/');
            path.push_str(&segment.before);
            if let Some(name) = &segment.slot {
                let value = arguments.get(name).ok_or_else(|| unfit(name, "is missing"))?;
                let text = scalar(value)
                    .ok_or_else(|| unfit(name, "must be a text, a number or a truth value in a path"))?;
                let whole = format!("{}{text}{}", segment.before, segment.after);
                if text.is_empty() {
                    return Err(unfit(name, "must not be empty in a path"));
                }
                one_segment(&whole, types.get(name).is_some_and(is_deliberate))
                    .map_err(|demand| unfit(name, demand))?;
                encode(&text, &mut path);
            }
            path.push_str(&segment.after);
        }
        let mut pairs = Vec::new();
        for (name, part) in &self.query {
            match part {
                Part::Fixed(text) => pairs.push((name.as_str(), text.clone())),
                Part::Argument(argument) => pairs.extend(flat(name, argument, arguments)?),
            }
        }
        let query = (!pairs.is_empty()).then(|| encoded(&pairs));
        let mut headers = Vec::new();
        for (name, part) in &self.header {
            let value = match part {
                Part::Fixed(text) => text.clone(),
                Part::Argument(argument) => match arguments.get(argument) {
                    None => continue,
                    Some(value) => {
                        let text = scalar(value).filter(|text| is_header_value(text));
                        text.ok_or_else(|| unfit(argument, "must be visible ASCII in a header"))?
                    }
                },
            };
            headers.push((name.clone(), value));
        }
        if path.len() > MAX_PATH || query.as_ref().is_some_and(|query| query.len() > MAX_QUERY) {
            let longest = self.placed().next().unwrap_or("?");
            return Err(unfit(longest, "makes the address of the request too long"));
        }
        let (content_type, body) = self.body(arguments)?;
        let returns = self.returns.clone();
        Ok(HttpRequest { method: self.method.as_str(), path, query, headers, content_type, body, returns })
    }

    fn body(&self, arguments: &Object) -> Result<Sent, Unfit> {
        let canonical = |value: &Value| {
            let canonical = value.canonical().map_err(|_| unfit("body", "has no canonical form"))?;
            Ok((Some(Cow::Borrowed("application/json")), canonical.as_bytes().to_vec()))
        };
        match &self.body {
            Body::None => Ok((None, Vec::new())),
            Body::Argument(name) => match arguments.get(name) {
                Some(document) => canonical(document),
                None => Ok((None, Vec::new())),
            },
            Body::Json => canonical(&Value::Object(self.rest(arguments))),
            Body::Form => {
                let rest = self.rest(arguments);
                let mut pairs = Vec::new();
                for (name, _) in &rest {
                    pairs.extend(flat(name, name, arguments)?);
                }
                Ok((Some(Cow::Borrowed("application/x-www-form-urlencoded")), encoded(&pairs).into_bytes()))
            }
            Body::Multipart => multipart::write(&self.rest(arguments), &self.files, arguments),
        }
    }

    /// The arguments that stand nowhere but in the body.
    fn rest(&self, arguments: &Object) -> Object {
        let mut rest = arguments.clone();
        rest.retain(|name, _| !self.placed().any(|placed| placed == name));
        rest
    }

    pub(crate) fn to_value(&self) -> Value {
        let Self { method, path: _, query, header, body, files, returns, description, describe } = self;
        let parts = |parts: &BTreeMap<String, Part>| -> Object {
            parts.iter().map(|(name, part)| (name.clone(), Value::from(part.text()))).collect()
        };
        let body = match body {
            Body::None => "none".to_owned(),
            Body::Json => "json".to_owned(),
            Body::Form => "form".to_owned(),
            Body::Multipart => "multipart".to_owned(),
            Body::Argument(name) => format!("{{{name}}}"),
        };
        let describe: Object =
            describe.iter().map(|(name, text)| (name.clone(), Value::from(text.as_str()))).collect();
        let mut document = object! {
            "method" => method.as_str(), "path" => self.path(), "query" => parts(query), "header" => parts(header),
            "body" => body, "description" => description.as_str(), "describe" => describe,
        };
        if !files.is_empty() {
            let files = files.iter().map(|(name, file)| (name.clone(), file.to_value()));
            document.insert("files", files.collect::<Object>());
        }
        if !returns.is_empty() {
            let returns = returns.iter().map(|name| Value::from(name.as_str()));
            document.insert("returns", Value::Array(returns.collect()));
        }
        Value::Object(document)
    }
}

impl Part {
    pub(crate) fn argument(&self) -> Option<&str> {
        match self {
            Self::Argument(name) => Some(name),
            Self::Fixed(_) => None,
        }
    }
    fn text(&self) -> String {
        match self {
            Self::Argument(name) => format!("{{{name}}}"),
            Self::Fixed(text) => text.clone(),
        }
    }
}

impl File {
    fn to_value(&self) -> Value {
        let Self { name, kind, base64 } = self;
        Value::Object(object! { "name" => name.text(), "type" => kind.as_str(), "base64" => *base64 })
    }
}

/// A value that has one text.
pub(crate) fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        // The canonical number: the one that was decided on.
        Value::Number(number) => number.canonical().ok(),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Pairs of a query or form: a list is its elements under one name.
fn flat<'n>(name: &'n str, argument: &str, arguments: &Object) -> Result<Vec<(&'n str, String)>, Unfit> {
    let none = || unfit(argument, "must be a text, a number, a truth value, or a list of them");
    match arguments.get(argument) {
        None => Ok(Vec::new()),
        Some(Value::Array(elements)) => {
            elements.iter().map(|element| Ok((name, scalar(element).ok_or_else(none)?))).collect()
        }
        Some(value) => Ok(vec![(name, scalar(value).ok_or_else(none)?)]),
    }
}

/// Whether the release says what the argument may look like, so that a slash in it was meant.
fn is_deliberate(argument: &Argument) -> bool {
    match argument {
        Argument::Given { ty, .. } => {
            matches!(
                ty,
                Type::Id { pattern: Some(_) } | Type::Text { pattern: Some(_), .. } | Type::Enum { .. }
            )
        }
        Argument::Bound(source) => matches!(source, Source::Constant(_)),
    }
}

/// Whether a text stays one segment of a path, whatever a server or proxy on the way decodes and tidies up.
fn one_segment(text: &str, deliberate: bool) -> Result<(), &'static str> {
    piecewise(text, deliberate)?;
    let mut decoded = text.to_owned();
    for _ in 0..LAYERS {
        if !decoded.contains('%') {
            return Ok(());
        }
        decoded = percent_decoded(&decoded);
        // Nobody means an encoded slash inside a value that is encoded once more.
        piecewise(&decoded, false)?;
    }
    Ok(())
}

fn piecewise(text: &str, deliberate: bool) -> Result<(), &'static str> {
    if text.chars().any(char::is_control) {
        return Err("must have no control characters in a path");
    }
    if !deliberate && text.contains(['/', '\\']) {
        return Err("must have no slash in a path: the catalog gives no `pattern` that says otherwise");
    }
    // `..;x` is a step up to servers that take off parameters.
    let step = |piece: &str| matches!(piece.split(';').next().unwrap_or_default(), "" | "." | "..");
    if text.split(['/', '\\']).any(step) {
        return Err("must not be a step (`.`, `..` or nothing) in a path");
    }
    Ok(())
}

fn percent_decoded(text: &str) -> String {
    let hex = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let mut bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    while let Some((byte, rest)) = bytes.split_first() {
        bytes = rest;
        let pair = if *byte == b'%' { hex(rest.first()).zip(hex(rest.get(1))) } else { None };
        match pair.and_then(|(high, low)| u8::try_from(high.checked_mul(16)?.checked_add(low)?).ok()) {
            Some(decoded) => {
                out.push(decoded);
                bytes = rest.get(2..).unwrap_or_default();
            }
            None => out.push(*byte),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// A value of a header that no parser can take for two.
pub(crate) fn is_header_value(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= MAX_HEADER
        && text.trim_matches(' ').len() == text.len()
        && text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}

/// RFC 3986's unreserved characters stay, every other byte is encoded.
pub(crate) fn encode(text: &str, out: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing into a `String` can't fail.
            let _infallible = write!(out, "%{byte:02X}");
        }
    }
}

fn encoded(pairs: &[(&str, String)]) -> String {
    let mut out = String::new();
    for (name, value) in pairs {
        if !out.is_empty() {
            out.push('&');
        }
        encode(name, &mut out);
        out.push('=');
        encode(value, &mut out);
    }
    out
}

fn unfit(argument: &str, demand: impl Into<String>) -> Unfit {
    Unfit { argument: argument.to_owned(), demand: demand.into() }
}
