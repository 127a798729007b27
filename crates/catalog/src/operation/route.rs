//! From a request of an agent's own HTTP client to the one operation that it is, and its arguments.

use std::sync::Arc;

use placet_core::Name;
use placet_json::{Limits, Object, Value, parse};

use super::{Body, Operation, Part, Segment, Verb, multipart, scalar};
use crate::{Argument, Catalog, Entry, Source, Type, argument::shown};

/// A request as it came, nothing decoded.
#[derive(Debug, Clone, Copy)]
pub struct Incoming<'a> {
    /// The method.
    pub method: &'a str,
    /// The path below the upstream, with its percent-encoding; begins with a slash.
    pub path: &'a str,
    /// The query without its question mark.
    pub query: Option<&'a str>,
    /// Names in lower case, and values that are text.
    pub headers: &'a [(&'a str, &'a str)],
    /// The body.
    pub body: &'a [u8],
}

/// What a request is.
#[derive(Debug, Clone)]
pub struct Routed {
    /// The operation's entry.
    pub entry: Arc<Entry>,
    /// The arguments as far as the request has them, not checked yet.
    pub arguments: Object,
    /// What the request says of arguments that the gateway fills. It is never sent; it must be what is filled in.
    pub claims: Vec<Claim>,
    /// What else is in the request that no argument is for: why it can't be that call, for the agent.
    pub misfit: Option<String>,
}

/// What an agent's client wrote where the gateway fills something in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The argument.
    pub argument: String,
    /// What it was said to be.
    pub value: Value,
}

impl Claim {
    /// Whether that is what was filled in.
    #[must_use]
    pub fn holds(&self, filled: &Value) -> bool {
        self.value == *filled || (self.value.as_str().is_some() && scalar(&self.value) == scalar(filled))
    }
}

/// An operation whose path a request has.
struct Candidate<'a> {
    entry: &'a Arc<Entry>,
    operation: &'a Operation,
    /// What stands in the path's slots.
    slots: Vec<(&'a str, String)>,
    /// Whether those are of their arguments' types.
    fits: bool,
    /// Whether every fixed parameter of the query is there.
    whole: bool,
}

impl Catalog {
    /// The one operation that a request to this upstream is; `None` where it is none, or could be several.
    #[must_use]
    pub fn route(&self, upstream: &Name, incoming: &Incoming<'_>) -> Option<Routed> {
        let method = Verb::parse(incoming.method)?;
        let segments: Option<Vec<String>> =
            incoming.path.strip_prefix('/')?.split('/').map(|segment| decoded(segment, false)).collect();
        let segments = segments?;
        let query = incoming.query.filter(|query| !query.is_empty()).map_or(Some(Vec::new()), pairs);
        let entries = self.entries().filter(|entry| entry.upstream() == upstream);
        let mut found: Vec<Candidate<'_>> = entries
            .filter_map(|entry| Candidate::of(entry, method, &segments, query.as_deref().unwrap_or_default()))
            .collect();
        for better in
            [|candidate: &Candidate<'_>| candidate.fits, |candidate: &Candidate<'_>| candidate.whole]
        {
            if found.len() > 1 {
                found.retain(better);
            }
        }
        let [one] = found.as_slice() else { return None };
        let mut reading = Reading {
            entry: one.entry,
            arguments: Object::new(),
            claims: Vec::new(),
            misfit: query.is_none().then(|| "the query is not percent-encoded as it should be".to_owned()),
        };
        for (name, text) in &one.slots {
            reading.text(name, text);
        }
        reading.query(one.operation, &query.unwrap_or_default());
        reading.headers(one.operation, incoming.headers);
        reading.body(one.operation, incoming);
        let Reading { entry, arguments, claims, misfit } = reading;
        Some(Routed { entry: Arc::clone(entry), arguments, claims, misfit })
    }
}

impl<'a> Candidate<'a> {
    fn of(
        entry: &'a Arc<Entry>,
        method: Verb,
        segments: &[String],
        query: &[(String, String)],
    ) -> Option<Self> {
        let operation = entry.http().filter(|operation| operation.method == method)?;
        if operation.path.len() != segments.len() {
            return None;
        }
        let mut slots = Vec::new();
        for (template, segment) in operation.path.iter().zip(segments) {
            match template.read(segment) {
                Form::Other => return None,
                Form::Fixed => {}
                Form::Filled(slot, text) => slots.push((slot, text.to_owned())),
            }
        }
        let mut whole = true;
        for (name, part) in &operation.query {
            let Part::Fixed(text) = part else { continue };
            let mut given = query.iter().filter(|(other, _)| other == name).peekable();
            whole &= given.peek().is_some();
            if given.any(|(_, value)| value != text) {
                return None;
            }
        }
        let fits = slots.iter().all(|(name, text)| could_be(entry, name, text));
        Some(Self { entry, operation, slots, fits, whole })
    }
}

/// What a segment of a request is to one of a template.
enum Form<'a, 't> {
    /// Something else.
    Other,
    /// Its fixed text.
    Fixed,
    /// Its slot's argument, and what stands for it.
    Filled(&'a str, &'t str),
}

impl Segment {
    fn read<'a, 't>(&'a self, segment: &'t str) -> Form<'a, 't> {
        let Some(slot) = &self.slot else {
            return if segment == self.before { Form::Fixed } else { Form::Other };
        };
        let text = segment.strip_prefix(self.before.as_str());
        match text.and_then(|text| text.strip_suffix(self.after.as_str())) {
            Some(text) if !text.is_empty() => Form::Filled(slot, text),
            Some(_) | None => Form::Other,
        }
    }

    /// Whether a text is of this form, with a value that its argument can have.
    fn could_be(&self, entry: &Entry, text: &str) -> bool {
        matches!(self.read(text), Form::Filled(slot, text) if could_be(entry, slot, text))
    }
}

/// What has been read of a request.
struct Reading<'a> {
    entry: &'a Arc<Entry>,
    arguments: Object,
    claims: Vec<Claim>,
    misfit: Option<String>,
}

impl Reading<'_> {
    fn misfit(&mut self, why: String) {
        self.misfit.get_or_insert(why);
    }
    /// A value that stands for an argument as text.
    fn text(&mut self, name: &str, text: &str) {
        let value = match self.entry.arguments().get(name) {
            Some(Argument::Given { ty, .. }) => typed(ty, text),
            Some(Argument::Bound(_)) | None => Value::from(text),
        };
        self.value(name, value);
    }
    fn value(&mut self, name: &str, value: Value) {
        match self.entry.arguments().get(name) {
            Some(Argument::Given { .. }) => {
                if self.arguments.insert(name, value).is_some() {
                    self.misfit(format!("the argument `{}` is given twice", shown(name)));
                }
            }
            Some(Argument::Bound(_)) => self.claims.push(Claim { argument: name.to_owned(), value }),
            None => self.misfit(format!("the argument `{}` isn't known to this tool", shown(name))),
        }
    }
    /// All that a query or form says of one argument.
    fn texts(&mut self, name: &str, values: &[&str]) {
        if let Some(Argument::Given { ty: Type::List { items, .. }, .. }) = self.entry.arguments().get(name) {
            let list = values.iter().map(|text| typed(items, text)).collect();
            return self.value(name, Value::Array(list));
        }
        match values {
            [one] => self.text(name, one),
            _ => self.misfit(format!("the argument `{}` is given twice", shown(name))),
        }
    }
    fn query(&mut self, operation: &Operation, query: &[(String, String)]) {
        for (name, values) in grouped(query) {
            match operation.query.get(name) {
                Some(Part::Argument(argument)) => self.texts(argument, &values),
                Some(Part::Fixed(_)) => {}
                None => {
                    self.misfit(format!("the query parameter `{}` isn't known to this tool", shown(name)));
                }
            }
        }
    }
    fn headers(&mut self, operation: &Operation, headers: &[(&str, &str)]) {
        for (name, part) in &operation.header {
            let Part::Argument(argument) = part else { continue };
            let mut values = headers.iter().filter(|(other, _)| other == name).map(|(_, value)| *value);
            match (values.next(), values.next()) {
                (None, _) => {}
                (Some(value), None) => self.text(argument, value),
                (Some(_), Some(_)) => self.misfit(format!("the header `{name}` stands there twice")),
            }
        }
    }
    fn body(&mut self, operation: &Operation, incoming: &Incoming<'_>) {
        if incoming.body.is_empty() {
            return;
        }
        let kind = incoming.headers.iter().find(|(name, _)| *name == "content-type").map(|(_, value)| *value);
        let whole_kind = kind.unwrap_or_default();
        let kind =
            kind.and_then(|kind| kind.split(';').next()).unwrap_or_default().trim().to_ascii_lowercase();
        match &operation.body {
            Body::None => self.misfit("this tool takes no body".to_owned()),
            Body::Form if kind == "application/x-www-form-urlencoded" => {
                let Some(form) = std::str::from_utf8(incoming.body).ok().and_then(pairs) else {
                    return self.misfit("the form is not percent-encoded as it should be".to_owned());
                };
                for (name, values) in grouped(&form) {
                    if self.is_of_body(operation, name) {
                        self.texts(name, &values);
                    }
                }
            }
            Body::Form => self.misfit("the body must be application/x-www-form-urlencoded".to_owned()),
            Body::Multipart if kind == "multipart/form-data" => {
                match multipart::read(whole_kind, incoming.body) {
                    Ok(fields) => self.fields(operation, &fields),
                    Err(why) => self.misfit(format!("the body can't be taken as multipart/form-data: {why}")),
                }
            }
            Body::Multipart => self.misfit("the body must be multipart/form-data".to_owned()),
            Body::Json | Body::Argument(_)
                if kind != "application/json"
                    && !(kind.starts_with("application/") && kind.ends_with("+json")) =>
            {
                self.misfit("the body must be application/json".to_owned());
            }
            Body::Json | Body::Argument(_) => {
                let document =
                    match parse(incoming.body, &Limits { bytes: incoming.body.len(), ..Limits::MESSAGE }) {
                        Ok(document) => document,
                        Err(error) => {
                            return self.misfit(format!("the body can't be taken as JSON: {error}"));
                        }
                    };
                match (&operation.body, document) {
                    (Body::Argument(name), document) => self.value(name, document),
                    (_, Value::Object(members)) => {
                        for (name, value) in &members {
                            if self.is_of_body(operation, name) {
                                self.value(name, value.clone());
                            }
                        }
                    }
                    (_, _) => self.misfit("the body must be a JSON object".to_owned()),
                }
            }
        }
    }
    fn fields(&mut self, operation: &Operation, fields: &[multipart::Field]) {
        let mut pairs = Vec::new();
        for field in fields {
            let file = operation.files.get(&field.name);
            match multipart::text(field, file) {
                Ok(text) => pairs.push((field.name.clone(), text)),
                Err(why) => self.misfit(format!("the part `{}` {why}", shown(&field.name))),
            }
            match (file.map(|file| &file.name), &field.file) {
                (Some(Part::Argument(argument)), Some(name)) => self.text(argument, name),
                (Some(Part::Fixed(fixed)), Some(name)) if fixed != name => {
                    self.misfit(format!("the file of `{}` is named `{}`", shown(&field.name), shown(fixed)));
                }
                (None, Some(_)) => self.misfit(format!("the part `{}` is no file", shown(&field.name))),
                (Some(_) | None, _) => {}
            }
        }
        for (name, values) in grouped(&pairs) {
            if self.is_of_body(operation, name) {
                self.texts(name, &values);
            }
        }
    }
    /// Whether an argument may stand in the body; else that is a misfit.
    fn is_of_body(&mut self, operation: &Operation, name: &str) -> bool {
        let elsewhere = operation.placed().any(|placed| placed == name);
        if elsewhere {
            self.misfit(format!("the argument `{}` doesn't stand in the body", shown(name)));
        }
        !elsewhere
    }
}

/// Whether two operations of one upstream could be meant by one request; then a value could turn the one into the other.
pub(crate) fn ambiguous(one: &Entry, other: &Entry) -> bool {
    let (Some(a), Some(b)) = (one.http(), other.http()) else { return false };
    if a.method != b.method || a.path.len() != b.path.len() {
        return false;
    }
    let told_apart = a.query.iter().any(|(name, part)| match (part, b.query.get(name)) {
        (Part::Fixed(text), Some(Part::Fixed(other))) => text != other,
        _ => false,
    });
    !told_apart && a.path.iter().zip(&b.path).all(|(a, b)| overlap(one, a, other, b))
}

fn overlap(one: &Entry, a: &Segment, other: &Entry, b: &Segment) -> bool {
    match (&a.slot, &b.slot) {
        (None, None) => a.before == b.before,
        (None, Some(_)) => b.could_be(other, &a.before),
        (Some(_), None) => a.could_be(one, &b.before),
        (Some(slot), Some(other_slot)) => {
            let begin = a.before.starts_with(&b.before) || b.before.starts_with(&a.before);
            let end = a.after.ends_with(&b.after) || b.after.ends_with(&a.after);
            let whole = |segment: &Segment, text: &str| format!("{}{text}{}", segment.before, segment.after);
            if let Some(values) = all_of(one, slot) {
                return values.iter().any(|text| b.could_be(other, &whole(a, text)));
            }
            if let Some(values) = all_of(other, other_slot) {
                return values.iter().any(|text| a.could_be(one, &whole(b, text)));
            }
            begin && end
        }
    }
}

/// All values of an argument, where they can be counted up.
fn all_of(entry: &Entry, name: &str) -> Option<Vec<String>> {
    match entry.arguments().get(name)? {
        Argument::Given { ty: Type::Enum { values }, .. } => Some(values.iter().cloned().collect()),
        Argument::Given { ty: Type::Boolean, .. } => Some(vec!["false".to_owned(), "true".to_owned()]),
        Argument::Bound(Source::Constant(value)) => Some(scalar(value).into_iter().collect()),
        Argument::Given { .. } | Argument::Bound(_) => None,
    }
}

/// Whether an argument can have the value that this text stands for.
fn could_be(entry: &Entry, name: &str, text: &str) -> bool {
    match entry.arguments().get(name) {
        Some(Argument::Given { ty, .. }) => ty.fits(&typed(ty, text)).is_ok(),
        Some(Argument::Bound(Source::Constant(value))) => scalar(value).as_deref() == Some(text),
        Some(Argument::Bound(_)) => true,
        None => false,
    }
}

/// The value that a text stands for in path, query, header or form. What is of no such type stays a text, and is refused
/// as one.
fn typed(ty: &Type, text: &str) -> Value {
    match ty {
        Type::Decimal { .. } | Type::Integer { .. } => {
            let plain = text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
            let number = if plain { parse(text.as_bytes(), &Limits::MESSAGE).ok() } else { None };
            number.filter(|value| value.as_number().is_some()).unwrap_or_else(|| Value::from(text))
        }
        Type::Boolean => match text {
            "true" => Value::from(true),
            "false" => Value::from(false),
            other => Value::from(other),
        },
        Type::Id { .. } | Type::Text { .. } | Type::Enum { .. } | Type::List { .. } | Type::Object { .. } => {
            Value::from(text)
        }
    }
}

/// Pairs of a query or form (WHATWG URL, §5): `+` is a space. `;` separates nothing here and something elsewhere, so it
/// must be encoded.
fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    text.split('&')
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            if name.is_empty() || pair.contains(';') {
                return None;
            }
            Some((decoded(name, true)?, decoded(value, true)?))
        })
        .collect()
}

fn grouped(pairs: &[(String, String)]) -> Vec<(&str, Vec<&str>)> {
    let mut out: Vec<(&str, Vec<&str>)> = Vec::new();
    for (name, value) in pairs {
        match out.iter_mut().find(|(other, _)| other == name) {
            Some((_, values)) => values.push(value),
            None => out.push((name, vec![value])),
        }
    }
    out
}

/// Takes one layer of percent-encoding off. Nothing is repaired: a stray `%`, or what isn't UTF-8, is no text.
fn decoded(text: &str, plus: bool) -> Option<String> {
    let hex = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => {
                let high = hex(bytes.next())?;
                let low = hex(bytes.next())?;
                u8::try_from(high.checked_mul(16)?.checked_add(low)?).ok()?
            }
            b'+' if plus => b' ',
            other => other,
        });
    }
    String::from_utf8(out).ok()
}
