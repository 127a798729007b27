//! `http`: a tool that is an operation of an HTTP API.

use std::collections::{BTreeMap, BTreeSet};

use placet_core::EffectClass;

use crate::{
    Argument, Credential, Type,
    operation::{Body, File, Operation, Part, Segment, Verb, is_file_name, is_header_value},
    read::{Item, Reader, Table},
};

/// The longest description, in bytes.
const MAX_DESCRIPTION: usize = 4096;
/// The most segments, parameters or headers.
const MAX_PARTS: usize = 64;
/// Headers that say what a request is, where it comes from or who sends it: none is an argument's.
const OURS: &[&str] = &[
    "authorization",
    "connection",
    "content-digest",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "dpop",
    "expect",
    "forwarded",
    "host",
    "idempotency-key",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "via",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-url",
    "x-real-ip",
    "x-rewrite-url",
];

/// The most headers of an answer that a result has.
const MAX_RETURNS: usize = 16;
/// Headers of an answer that are the connection's, the gateway's or a secret's, and no result's.
const NEVER_RETURNED: &[&str] = &[
    "alt-svc",
    "cache-control",
    "clear-site-data",
    "connection",
    "content-encoding",
    "content-length",
    "content-security-policy",
    "content-type",
    "keep-alive",
    "mcp-session-id",
    "placet-answered-by",
    "proxy-authenticate",
    "proxy-authorization",
    "refresh",
    "set-cookie",
    "set-cookie2",
    "strict-transport-security",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "www-authenticate",
    "x-content-type-options",
];

/// What an entry says beside its `http`.
pub(super) struct Beside<'a> {
    pub(super) full: &'a str,
    pub(super) effect: Option<EffectClass>,
    pub(super) credential: Option<&'a Credential>,
    pub(super) arguments: &'a BTreeMap<String, Argument>,
}

/// Reads `http`, `description` and `describe` of an entry.
pub(super) fn operation(
    reader: &mut Reader<'_>,
    table: &mut Table<'_, '_>,
    beside: &Beside<'_>,
) -> Option<Operation> {
    let description = table.get("description");
    let describe = table.get("describe");
    let accepts = table.get("accepts");
    let Some(item) = table.get("http") else {
        for (name, given) in [("description", description), ("describe", describe)] {
            if let Some(item) = given {
                let message =
                    format!("`{name}` is for a tool with `http`; of any other the upstream says what it is");
                reader.problem(item.span().start, message, "remove it");
            }
        }
        return None;
    };
    if let Some(item) = accepts {
        let message =
            "`accepts` is for definitions of an upstream; of a tool with `http` this entry is the definition";
        reader.problem(item.span().start, message, "remove `accepts`");
    }
    if beside.credential == Some(&Credential::Process) {
        let remedy = "say `vault:NAME`, `call-token` or `none`";
        reader.problem(item.span().start, "an HTTP operation has no process", remedy);
    }
    let description = description.and_then(|item| words(reader, item, "`description`")).unwrap_or_default();
    let describe = describe.map(|item| described(reader, item, beside)).unwrap_or_default();
    one(reader, item, beside).map(|operation| Operation { description, describe, ..operation })
}

fn one(reader: &mut Reader<'_>, item: Item<'_, '_>, beside: &Beside<'_>) -> Option<Operation> {
    let at = item.span().start;
    let mut table = reader.table(item, format!("the `http` of `{}`", beside.full))?;
    let verb = |text: &str| Verb::parse(text).ok_or("none of `GET`, `POST`, `PUT`, `PATCH`, `DELETE`");
    let method = reader
        .required(&mut table, "method", "say `GET`, `POST`, `PUT`, `PATCH` or `DELETE`")
        .and_then(|item| reader.parsed(item, "`method`", verb));
    let path = reader
        .required(&mut table, "path", "write it below the upstream's `url`, as in `/cases/{case_id}`")
        .and_then(|item| reader.parsed(item, "`path`", template));
    let query = table.get("query").map_or_else(BTreeMap::new, |item| parts(reader, item, "query"));
    let header = table.get("header").map_or_else(BTreeMap::new, |item| parts(reader, item, "header"));
    let body = table.get("body").map_or(Some(Body::None), |item| reader.parsed(item, "`body`", body));
    let files = table.get("files").map_or_else(BTreeMap::new, |item| files(reader, item));
    let returns = table.get("returns").map_or_else(Vec::new, |item| returns(reader, item));
    reader.finish(&table);
    let operation = Operation {
        method: method?,
        path: path?,
        query,
        header,
        body: body?,
        files,
        returns,
        description: String::new(),
        describe: BTreeMap::new(),
    };
    for (message, remedy) in faults(&operation, beside) {
        reader.problem(at, message, remedy);
    }
    Some(operation)
}

/// What is wrong with an operation whose parts are right.
fn faults(operation: &Operation, beside: &Beside<'_>) -> Vec<(String, &'static str)> {
    let mut faults = Vec::new();
    let mut placed = BTreeSet::new();
    for name in operation.placed() {
        if !beside.arguments.contains_key(name) {
            faults.push((format!("`{{{name}}}` names no argument"), "declare it under `args`"));
        } else if !placed.insert(name) {
            faults.push((format!("the argument `{name}` stands in two places"), "keep one of them"));
        }
    }
    let is_scalar = |name: &str| match beside.arguments.get(name) {
        Some(Argument::Given { ty, .. }) => !matches!(ty, Type::List { .. } | Type::Object { .. }),
        Some(Argument::Bound(_)) | None => true,
    };
    for name in operation.path.iter().filter_map(|segment| segment.slot.as_deref()) {
        if matches!(beside.arguments.get(name), Some(Argument::Given { required: false, .. })) {
            faults.push((
                format!("the argument `{name}` may be missing, and with it a segment of the path"),
                "make it required, or put it into `query`",
            ));
        }
    }
    let one_text = operation.path.iter().filter_map(|segment| segment.slot.as_deref());
    let named = operation.files.values().filter_map(|file| file.name.argument());
    for name in one_text.chain(operation.header.values().filter_map(Part::argument)).chain(named) {
        if !is_scalar(name) {
            faults.push((
                format!("the argument `{name}` has no one text, so it can't stand in a path, a header or the name of a file"),
                "put it into `query` (a list of texts or numbers) or the body",
            ));
        }
    }
    let is_flat = |name: &str| match beside.arguments.get(name) {
        Some(Argument::Given { ty: Type::List { items, .. }, .. }) => {
            !matches!(**items, Type::List { .. } | Type::Object { .. })
        }
        _ => is_scalar(name),
    };
    let rest: Vec<&str> =
        beside.arguments.keys().map(String::as_str).filter(|name| !placed.contains(name)).collect();
    let fields = matches!(operation.body, Body::Form | Body::Multipart);
    let form = if fields { rest.as_slice() } else { &[] };
    for name in operation.query.values().filter_map(Part::argument).chain(form.iter().copied()) {
        if !is_flat(name) {
            faults.push((
                format!("the argument `{name}` can't be written as `name=value`"),
                "put it into a JSON body",
            ));
        }
    }
    for name in operation.files.keys() {
        if operation.body != Body::Multipart {
            faults.push(("`files` are parts of a multipart body".to_owned(), "say `body = \"multipart\"`"));
        } else if !rest.contains(&name.as_str()) {
            faults.push((
                format!("the file `{name}` is no argument that stands in the body alone"),
                "name an argument that `path`, `query` and `header` don't have",
            ));
        } else if !matches!(
            beside.arguments.get(name),
            Some(Argument::Given { ty: Type::Text { .. }, .. } | Argument::Bound(_))
        ) {
            faults.push((format!("the file `{name}` is no text"), "say `type = \"text\"` of the argument"));
        }
    }
    if matches!(operation.body, Body::None | Body::Argument(_)) {
        for name in rest {
            faults.push((
                format!("the argument `{name}` isn't used: it stands in no part of the request"),
                "put `{name}` into `path`, `query` or `header`, or say `body = \"json\"`",
            ));
        }
    }
    if operation.method == Verb::Get && operation.body != Body::None {
        faults.push(("a GET has no body".to_owned(), "put its arguments into `query`, or use `POST`"));
    }
    if beside.effect == Some(EffectClass::Read)
        && matches!(operation.method, Verb::Put | Verb::Patch | Verb::Delete)
    {
        faults.push((
            format!("a {} is no read", operation.method.as_str()),
            "say `effect = \"write\"` or `\"destructive\"`",
        ));
    }
    faults
}

/// `/cases/{case_id}/notes`. A segment has at most one argument, with fixed text around it.
fn template(text: &str) -> Result<Vec<Segment>, String> {
    let below = text.strip_prefix('/').ok_or("a path begins with `/`")?;
    if text.len() > 2048 {
        return Err("a path has at most 2048 bytes".to_owned());
    }
    let pieces: Vec<&str> = below.split('/').collect();
    if pieces.len() > MAX_PARTS {
        return Err(format!("a path has at most {MAX_PARTS} segments"));
    }
    let last = pieces.len().saturating_sub(1);
    let plain = |text: &str| {
        text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~!$'()*+,=:@".contains(&byte))
    };
    let segment = |(i, piece): (usize, &&str)| -> Result<Segment, String> {
        let Some((before, rest)) = piece.split_once('{') else {
            if matches!(*piece, "." | "..") || (piece.is_empty() && i != last) {
                return Err("a path has no empty segment, `.` or `..`".to_owned());
            }
            return if plain(piece) {
                Ok(Segment::fixed(piece))
            } else {
                Err(format!("`{piece}` is neither plain text of a path nor has one `{{argument}}`"))
            };
        };
        let (slot, after) = rest.split_once('}').ok_or_else(|| format!("`{piece}` has no `}}`"))?;
        if slot.is_empty() || !plain(before) || !plain(after) {
            return Err(format!("`{piece}` is neither plain text of a path nor has one `{{argument}}`"));
        }
        Ok(Segment { before: before.to_owned(), slot: Some(slot.to_owned()), after: after.to_owned() })
    };
    pieces.iter().enumerate().map(segment).collect()
}

fn part(text: &str) -> Result<Part, String> {
    match text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
        Some(name) if !name.is_empty() && !name.contains(['{', '}']) => Ok(Part::Argument(name.to_owned())),
        _ if text.contains(['{', '}']) => {
            Err(format!("`{text}` is neither fixed text nor one `{{argument}}`"))
        }
        _ => Ok(Part::Fixed(text.to_owned())),
    }
}

fn body(text: &str) -> Result<Body, String> {
    match text {
        "none" => Ok(Body::None),
        "json" => Ok(Body::Json),
        "form" => Ok(Body::Form),
        "multipart" => Ok(Body::Multipart),
        _ => match part(text) {
            Ok(Part::Argument(name)) => Ok(Body::Argument(name)),
            Ok(Part::Fixed(_)) | Err(_) => {
                Err(format!("`{text}` is none of `none`, `json`, `form`, `multipart`, `{{argument}}`"))
            }
        },
    }
}

fn parts(reader: &mut Reader<'_>, item: Item<'_, '_>, what: &str) -> BTreeMap<String, Part> {
    let Some(table) = reader.table(item, format!("`{what}`")) else { return BTreeMap::new() };
    let mut parts = BTreeMap::new();
    for (name, at, item) in table.all() {
        let Some(part) = reader.parsed(item, &format!("`{what}.{name}`"), part) else { continue };
        if what == "header" {
            let lower = name.to_ascii_lowercase();
            let token = !name.is_empty()
                && name.len() <= 128
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte));
            if !token {
                reader.problem(at, format!("`{name}` is not the name of a header"), "");
                continue;
            }
            if OURS.contains(&lower.as_str())
                || lower.starts_with("x-forwarded-")
                || lower.starts_with("mcp-")
            {
                let message = format!("the header `{name}` is made by the gateway, or by nobody");
                reader.problem(at, message, "remove it; a credential goes into the vault");
                continue;
            }
            if let Part::Fixed(text) = &part
                && !is_header_value(text)
            {
                reader.problem(at, format!("`{name}` must be visible ASCII"), "");
                continue;
            }
            if parts.insert(lower, part).is_some() {
                reader.problem(at, format!("the header `{name}` stands there twice"), "keep one of them");
            }
        } else if name.is_empty() || name.len() > 128 {
            reader.problem(at, "the name of a query parameter has 1 to 128 bytes", "");
        } else {
            parts.insert(name.to_owned(), part);
        }
    }
    if parts.len() > MAX_PARTS {
        reader.problem(item.span().start, format!("`{what}` has more than {MAX_PARTS} members"), "");
    }
    parts
}

/// `files = { attachment = { name = "notes.csv", type = "text/csv", base64 = false } }`.
fn files(reader: &mut Reader<'_>, item: Item<'_, '_>) -> BTreeMap<String, File> {
    let Some(table) = reader.table(item, "`files`") else { return BTreeMap::new() };
    let mut files = BTreeMap::new();
    for (argument, _, item) in table.all() {
        let Some(mut table) = reader.table(item, format!("`files.{argument}`")) else { continue };
        let name = reader
            .required(&mut table, "name", "write the file's name, or `\"{argument}\"`")
            .and_then(|item| reader.parsed(item, "`name`", file_name));
        let kind = reader
            .required(&mut table, "type", "write its media type, as in `text/csv`")
            .and_then(|item| reader.parsed(item, "`type`", media_type));
        let base64 = table.get("base64").map_or(Some(false), |item| reader.truth(item, "`base64`"));
        reader.finish(&table);
        if let (Some(name), Some(kind), Some(base64)) = (name, kind, base64) {
            files.insert(argument.to_owned(), File { name, kind, base64 });
        }
    }
    files
}

fn file_name(text: &str) -> Result<Part, String> {
    match part(text)? {
        Part::Fixed(text) if !is_file_name(&text) => Err(format!(
            "`{text}` is no name of a file: 1 to 255 bytes without slash, quote or control character"
        )),
        part => Ok(part),
    }
}

fn media_type(text: &str) -> Result<String, String> {
    let token = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$&^_.+-".contains(&byte))
    };
    match text.split_once('/') {
        Some((kind, sub)) if text.len() <= 127 && token(kind) && token(sub) => Ok(text.to_ascii_lowercase()),
        Some(_) | None => Err(format!("`{text}` is no media type")),
    }
}

/// `returns = ["etag", "x-request-id"]`.
fn returns(reader: &mut Reader<'_>, item: Item<'_, '_>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for item in reader.list(item, "`returns`") {
        let at = item.span().start;
        let Some(text) = reader.text(item, "a name of `returns`") else { continue };
        let name = text.to_ascii_lowercase();
        let token = !name.is_empty()
            && name.len() <= 128
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte));
        if !token {
            reader.problem(at, format!("`{text}` is not the name of a header"), "");
        } else if NEVER_RETURNED.contains(&name.as_str()) || name.starts_with("access-control-") {
            let message = format!("the header `{text}` is the connection's, the gateway's or a secret's");
            reader.problem(at, message, "remove it");
        } else if names.contains(&name) {
            reader.problem(at, format!("the header `{text}` stands there twice"), "keep one of them");
        } else {
            names.push(name);
        }
    }
    if names.len() > MAX_RETURNS {
        reader.problem(item.span().start, format!("`returns` has more than {MAX_RETURNS} names"), "");
    }
    names
}

fn words(reader: &mut Reader<'_>, item: Item<'_, '_>, what: &str) -> Option<String> {
    let text = reader.text(item, what)?;
    if text.len() > MAX_DESCRIPTION || text.chars().any(|c| c.is_control() && c != '\n') {
        let message = format!("{what} has at most {MAX_DESCRIPTION} bytes and no control characters");
        reader.problem(item.span().start, message, "");
        return None;
    }
    Some(text.to_owned())
}

fn described(reader: &mut Reader<'_>, item: Item<'_, '_>, beside: &Beside<'_>) -> BTreeMap<String, String> {
    let Some(table) = reader.table(item, "`describe`") else { return BTreeMap::new() };
    let mut out = BTreeMap::new();
    for (name, at, item) in table.all() {
        match beside.arguments.get(name) {
            Some(Argument::Given { .. }) => {
                out.extend(words(reader, item, "`describe`").map(|text| (name.to_owned(), text)));
            }
            Some(Argument::Bound(_)) => {
                reader.problem(
                    at,
                    format!("agents don't see the argument `{name}`"),
                    "remove its description",
                );
            }
            None => reader.problem(at, format!("there is no argument `{name}`"), "declare it under `args`"),
        }
    }
    out
}
