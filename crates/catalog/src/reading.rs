//! What the gateway reads on its own account: a read tool, or a document over HTTP. Nothing in it comes from an agent
//! but what a call names already: its resource's id, or, after the call, its arguments.

use std::{collections::BTreeMap, fmt::Write as _};

use placet_core::{EffectClass, Name, ResourceRef, TenantId};
use placet_json::{Canonical, Limits, Object, Value, object, parse};

use crate::{Argument, Catalog, Credential, Entry, Source};

/// How something is read.
#[derive(Debug, Clone)]
pub enum Reading {
    /// By a read tool of the catalog, with the credential and the accepted definitions of its own entry.
    Tool {
        /// Its catalog name.
        entry: Name,
        /// Its arguments.
        arguments: BTreeMap<String, Slot>,
    },
    /// By an HTTP GET at an upstream of `protocol = "rest"`.
    Get {
        /// The upstream; its address stands in the settings.
        upstream: Name,
        /// The path below it.
        path: PathTemplate,
        /// What the upstream is shown.
        credential: Credential,
    },
}

/// A place that is filled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Slot {
    /// `$tenant`
    Tenant,
    /// `$resource.id`
    ResourceId,
    /// `$idempotency_key`: what the call was sent with.
    IdempotencyKey,
    /// `$args.NAME`: an argument of the call.
    Argument(String),
    /// Always the same.
    Constant(Value),
}

/// What slots are filled from.
#[derive(Debug, Clone, Copy)]
pub struct Filling<'a> {
    /// Whose resource or call it is.
    pub tenant: &'a TenantId,
    /// The resource; a call may have none.
    pub resource: Option<&'a ResourceRef>,
    /// The call, where one was sent: its idempotency key and its arguments.
    pub call: Option<(&'a str, &'a Value)>,
}

/// `/cases/{resource.id}?fields=owner`: whole segments are filled, and a filled one stays one segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathTemplate {
    segments: Vec<Segment>,
    query: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Fixed(String),
    Filled(Slot),
}

/// The longest path that is made of a template, in bytes.
const MAX_PATH: usize = 2048;

impl Slot {
    /// Parses `$…`; anything else is a constant.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        match text {
            "$tenant" => return Ok(Self::Tenant),
            "$resource.id" => return Ok(Self::ResourceId),
            "$idempotency_key" => return Ok(Self::IdempotencyKey),
            _ => {}
        }
        match text.strip_prefix("$args.") {
            Some("") => Err("`$args.` names no argument".to_owned()),
            Some(name) => Ok(Self::Argument(name.to_owned())),
            None if text.starts_with('$') => {
                Err(format!("`{text}` is none of `$resource.id`, `$tenant`, `$args.…`, `$idempotency_key`"))
            }
            None => Ok(Self::Constant(Value::from(text))),
        }
    }
    /// Whether it can be filled before a call is decided.
    pub(crate) fn is_of_resource(&self) -> bool {
        matches!(self, Self::Tenant | Self::ResourceId | Self::Constant(_))
    }
    fn fill(&self, from: &Filling<'_>) -> Result<Value, String> {
        match self {
            Self::Tenant => Ok(Value::from(from.tenant.as_str())),
            Self::ResourceId => from
                .resource
                .map(|at| Value::from(at.id.as_str()))
                .ok_or("the call has no resource".to_owned()),
            Self::IdempotencyKey => {
                from.call.map(|(key, _)| Value::from(key)).ok_or("there is no call".to_owned())
            }
            Self::Argument(name) => {
                let value = from.call.and_then(|(_, arguments)| arguments.get(name));
                value.cloned().ok_or_else(|| format!("the call has no argument `{name}`"))
            }
            Self::Constant(value) => Ok(value.clone()),
        }
    }
    fn text(&self) -> String {
        match self {
            Self::Tenant => "$tenant".to_owned(),
            Self::ResourceId => "$resource.id".to_owned(),
            Self::IdempotencyKey => "$idempotency_key".to_owned(),
            Self::Argument(name) => format!("$args.{name}"),
            Self::Constant(value) => value.to_string(),
        }
    }
}

impl PathTemplate {
    /// Parses it. `{tenant}`, `{resource.id}`, `{idempotency_key}`, `{args.NAME}` stand for whole segments.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (path, query) = match text.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (text, None),
        };
        let plain = |text: &str, more: &str| {
            text.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b) || more.as_bytes().contains(&b))
        };
        let below = path.strip_prefix('/').ok_or("a path begins with `/`")?;
        let segments = below.split('/').map(|segment| {
            if let Some(name) = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
                return Slot::parse(&format!("${name}")).map(Segment::Filled);
            }
            if matches!(segment, "" | "." | "..") && below != segment {
                return Err("a path has no empty segment, `.` or `..`".to_owned());
            }
            if plain(segment, "!$&'()*+,;=:@") {
                Ok(Segment::Fixed(segment.to_owned()))
            } else {
                Err(format!("`{segment}` is neither plain text of a path nor one `{{…}}`"))
            }
        });
        let segments = segments.collect::<Result<Vec<_>, _>>()?;
        if let Some(query) = query
            && !plain(query, "!$'()*,;=:@/?&+")
        {
            return Err("a query holds nothing that is filled; put that into the path".to_owned());
        }
        Ok(Self { segments, query: query.map(str::to_owned) })
    }

    /// The path with its slots filled: percent-encoded, each one segment.
    pub fn fill(&self, from: &Filling<'_>) -> Result<String, String> {
        let mut out = String::new();
        for segment in &self.segments {
            out.push('/');
            match segment {
                Segment::Fixed(text) => out.push_str(text),
                Segment::Filled(slot) => {
                    let value = slot.fill(from)?;
                    let text = match &value {
                        Value::String(text) => text.clone(),
                        Value::Number(number) => number.to_string(),
                        Value::Bool(_) | Value::Null | Value::Array(_) | Value::Object(_) => {
                            return Err(format!("`{}` is neither a text nor a number", slot.text()));
                        }
                    };
                    // Encoded or not, servers and proxies take these for steps.
                    if matches!(text.as_str(), "" | "." | "..") {
                        return Err(format!("`{text}` can't be a segment of a path"));
                    }
                    encode(&text, &mut out);
                }
            }
        }
        if let Some(query) = &self.query {
            out.push('?');
            out.push_str(query);
        }
        if out.len() > MAX_PATH {
            return Err(format!("the path would be longer than {MAX_PATH} bytes"));
        }
        Ok(out)
    }
    fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.segments.iter().filter_map(|segment| match segment {
            Segment::Filled(slot) => Some(slot),
            Segment::Fixed(_) => None,
        })
    }
    fn text(&self) -> String {
        let mut out = String::new();
        for segment in &self.segments {
            match segment {
                Segment::Fixed(text) => out.extend(["/", text]),
                Segment::Filled(slot) => out.extend(["/{", slot.text().trim_start_matches('$'), "}"]),
            }
        }
        out.extend(self.query.iter().flat_map(|query| ["?", query]));
        out
    }
}

/// RFC 3986's unreserved characters stay, every other byte is encoded: a slash in an id is no separator.
fn encode(text: &str, out: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing into a `String` can't fail.
            let _infallible = write!(out, "%{byte:02X}");
        }
    }
}

impl Reading {
    /// The upstream that is read.
    #[must_use]
    pub fn upstream(&self) -> &str {
        match self {
            Self::Tool { entry, .. } => entry.as_str().split_once('.').map_or("", |(upstream, _)| upstream),
            Self::Get { upstream, .. } => upstream.as_str(),
        }
    }

    pub(crate) fn slots(&self) -> Vec<&Slot> {
        match self {
            Self::Tool { arguments, .. } => arguments.values().collect(),
            Self::Get { path, .. } => path.slots().collect(),
        }
    }

    /// What is wrong with it beside the rest of the catalog: message and remedy.
    pub(crate) fn check(&self, catalog: &Catalog) -> Result<(), (String, &'static str)> {
        let Self::Tool { entry: name, arguments } = self else { return Ok(()) };
        let entry = catalog
            .entry(name.as_str())
            .ok_or_else(|| (format!("the catalog has no tool `{name}`"), "describe it as a tool first"))?;
        if entry.effect() != EffectClass::Read {
            return Err((format!("`{name}` is no read tool"), "nothing is changed to learn something"));
        }
        if entry.http().is_some() {
            return Err((
                format!("`{name}` is an operation of an HTTP API"),
                "read it with `get` and `upstream`",
            ));
        }
        for argument in arguments.keys() {
            match entry.arguments().get(argument) {
                Some(Argument::Given { .. }) => {}
                Some(Argument::Bound(_)) => {
                    return Err((format!("`{name}` fills `{argument}` itself"), "leave it out"));
                }
                None => return Err((format!("`{name}` has no argument `{argument}`"), "see its `args`")),
            }
        }
        for (argument, kind) in entry.arguments() {
            match kind {
                Argument::Given { required: true, .. } if !arguments.contains_key(argument) => {
                    return Err((format!("`{name}` needs the argument `{argument}`"), "add it to `args`"));
                }
                Argument::Bound(Source::Tenant | Source::Constant(_)) | Argument::Given { .. } => {}
                Argument::Bound(source) => {
                    return Err((
                        format!("`{name}` fills `{argument}` from {source}, and nobody's call is read for"),
                        "read by another tool",
                    ));
                }
            }
        }
        Ok(())
    }

    pub(crate) fn to_value(&self) -> Value {
        Value::Object(match self {
            Self::Tool { entry, arguments } => {
                let arguments = arguments.iter().map(|(name, slot)| (name.clone(), Value::from(slot.text())));
                object! { "tool" => entry.as_str(), "args" => arguments.collect::<Object>() }
            }
            Self::Get { upstream, path, credential } => {
                object! { "get" => path.text(), "upstream" => upstream.as_str(), "credential" => credential.to_string() }
            }
        })
    }
}

/// The arguments of a read tool: those of `slots`, and those that the gateway fills, each of the type that the
/// catalog says.
pub fn reading_arguments(
    entry: &Entry,
    slots: &BTreeMap<String, Slot>,
    from: &Filling<'_>,
) -> Result<Canonical, String> {
    let mut complete = Object::new();
    for (name, argument) in entry.arguments() {
        match argument {
            Argument::Bound(Source::Tenant) => complete.insert(name.as_str(), from.tenant.as_str()),
            Argument::Bound(Source::Constant(value)) => complete.insert(name.as_str(), value.clone()),
            Argument::Bound(source) => return Err(format!("`{name}` comes from {source}")),
            Argument::Given { ty, .. } => {
                let Some(slot) = slots.get(name) else { continue };
                let value = slot.fill(from)?;
                ty.fits(&value).map_err(|misfit| format!("`{name}{}` {}", misfit.below, misfit.demand))?;
                complete.insert(name.as_str(), value)
            }
        };
    }
    Value::Object(complete)
        .canonical()
        .map_err(|error| format!("the arguments have no canonical form: {error}"))
}

/// The document in a `CallToolResult`: its structured content, else its one text read as JSON.
pub fn document_of(result: &Value) -> Result<Value, String> {
    if result.get("isError").and_then(Value::as_bool) == Some(true) {
        return Err("the tool answered that it failed".to_owned());
    }
    if let Some(structured) = result.get("structuredContent") {
        return Ok(structured.clone());
    }
    match result.get("content").and_then(Value::as_array) {
        Some([block]) => {
            let text = block.get("text").and_then(Value::as_str).ok_or("the tool answered with no text")?;
            parse(text.as_bytes(), &Limits::RESULT)
                .map_err(|error| format!("the tool's text is no JSON: {error}"))
        }
        Some(_) | None => Err("the tool answered with no document".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(template: &str, id: &str) -> Result<String, String> {
        let tenant = TenantId::new("acme").unwrap();
        let at = ResourceRef { kind: Name::new("case").unwrap(), id: Name::new(id).unwrap() };
        PathTemplate::parse(template)?.fill(&Filling { tenant: &tenant, resource: Some(&at), call: None })
    }

    #[test]
    fn ups_4_an_id_stays_one_segment() {
        assert_eq!(filled("/cases/{resource.id}", "CASE-1").unwrap(), "/cases/CASE-1");
        assert_eq!(
            filled("/t/{tenant}/{resource.id}?full=1", "a/../b").unwrap(),
            "/t/acme/a%2F..%2Fb?full=1"
        );
        assert_eq!(filled("/c/{resource.id}", "x|y@z:1").unwrap(), "/c/x%7Cy%40z%3A1");
        for id in [".", ".."] {
            assert!(filled("/c/{resource.id}", id).is_err(), "{id}");
        }
        assert_eq!(filled("/", "x").unwrap(), "/");
    }

    #[test]
    fn templates_that_could_leave_their_place_are_refused() {
        for bad in [
            "",
            "cases",
            "//host/x",
            "/a/../b",
            "/a//b",
            "/x{resource.id}",
            "/{nothing}",
            "/a?id={resource.id}",
            "/a#b",
            "/a b",
        ] {
            assert!(PathTemplate::parse(bad).is_err(), "{bad:?} was taken");
        }
    }
}
