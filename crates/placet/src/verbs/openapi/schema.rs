//! From a JSON Schema to an argument's type.

use std::fmt::Write as _;

use placet_json::{Object, Value};

use super::{Document, quoted};

/// How deep a type may nest; the catalog takes 8.
const MAX_DEPTH: usize = 6;
const UUID: &str = "[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}";
const DATE: &str = "[0-9]{4}-[0-9]{2}-[0-9]{2}";

/// A type as the catalog writes it, without braces, and what of the schema is not in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Typed {
    /// `type = "decimal", min = "0"`
    pub(super) keys: String,
    /// `id`, `text`, `list`, …
    pub(super) kind: &'static str,
    /// For the comment behind it.
    pub(super) remarks: Vec<String>,
}

/// Where a value stands, as far as that says what it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stands {
    InPath,
    Elsewhere,
}

impl Document<'_> {
    /// The type of a schema, or why it has none.
    pub(super) fn typed(self, schema: &Value, name: &str, stands: Stands) -> Result<Typed, String> {
        self.nested(schema, name, stands, 0)
    }

    /// An object's schema with what `allOf` adds to it: properties, and which are required.
    pub(super) fn object(self, schema: &Value) -> Result<(Object, Vec<String>), String> {
        let mut out = (Object::new(), Vec::new());
        self.collect(schema, &mut out, 0)?;
        Ok(out)
    }

    fn collect(self, schema: &Value, out: &mut (Object, Vec<String>), depth: usize) -> Result<(), String> {
        if depth > MAX_DEPTH {
            return Err("it nests too deeply".to_owned());
        }
        let schema = self.at(schema)?;
        for part in schema.get("allOf").and_then(Value::as_array).unwrap_or_default() {
            self.collect(part, out, depth.saturating_add(1))?;
        }
        for keyword in ["oneOf", "anyOf", "not", "if"] {
            if schema.get(keyword).is_some() {
                return Err(format!("`{keyword}` says that it is one of several things"));
            }
        }
        for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            out.0.insert(name, property.clone());
        }
        let required = schema.get("required").and_then(Value::as_array).unwrap_or_default();
        out.1.extend(required.iter().filter_map(Value::as_str).map(str::to_owned));
        Ok(())
    }

    fn nested(self, schema: &Value, name: &str, stands: Stands, depth: usize) -> Result<Typed, String> {
        if depth > MAX_DEPTH {
            return Err("it nests too deeply".to_owned());
        }
        let schema = self.at(schema)?;
        let (schema, nullable) = without_null(self, schema)?;
        let mut remarks = Vec::new();
        if nullable {
            remarks.push("null isn't passed on".to_owned());
        }
        let mut typed = |kind: &'static str, keys: String| Typed {
            keys: format!("type = \"{kind}\"{keys}"),
            kind,
            remarks: std::mem::take(&mut remarks),
        };
        let values = schema.get("enum").and_then(Value::as_array);
        let constant = schema.get("const").map(std::slice::from_ref);
        if let Some(values) = values.or(constant) {
            let texts: Vec<&str> = values.iter().filter_map(Value::as_str).collect();
            if !texts.is_empty() && values.iter().all(|value| value.as_str().is_some() || value.is_null()) {
                let list: Vec<String> = texts.iter().map(|text| quoted(text)).collect();
                return Ok(typed("enum", format!(", values = [{}]", list.join(", "))));
            }
            let numbers: Vec<i64> = values.iter().filter_map(Value::as_i64).collect();
            if numbers.len() != values.len() {
                return Err("its `enum` is neither of texts nor of whole numbers".to_owned());
            }
            let (least, most) = (numbers.iter().min(), numbers.iter().max());
            let bounds =
                least.zip(most).map(|(least, most)| format!(", min = \"{least}\", max = \"{most}\""));
            let mut out = typed("integer", bounds.unwrap_or_default());
            let all: Vec<String> = numbers.iter().map(i64::to_string).collect();
            out.remarks.push(format!("only {}", all.join(", ")));
            return Ok(out);
        }
        let object = || schema.get("properties").is_some() || schema.get("allOf").is_some();
        match kind_of(schema) {
            Some("string") => Ok(text(schema, name, stands, typed)),
            Some("integer") => {
                let (keys, more) = range(schema, true);
                let mut out = typed("integer", keys);
                out.remarks.extend(more);
                Ok(out)
            }
            Some("number") => {
                let (mut keys, more) = range(schema, false);
                keys.push_str(&scale(schema));
                let mut out = typed("decimal", keys);
                out.remarks.extend(more);
                Ok(out)
            }
            Some("boolean") => Ok(typed("boolean", String::new())),
            Some("array") => {
                let items = schema.get("items").ok_or("its elements are of no type")?;
                let inner = self.nested(items, name, Stands::Elsewhere, depth.saturating_add(1))?;
                let most = schema.get("maxItems").and_then(Value::as_u64);
                let most = most.map(|most| format!(", max_items = {most}")).unwrap_or_default();
                let mut out = typed("list", format!(", items = {{ {} }}{most}", inner.keys));
                out.remarks.extend(inner.remarks);
                Ok(out)
            }
            Some("object") | None if object() => {
                let (properties, required) = self.object(schema)?;
                let (mut fields, mut more) = (Vec::new(), Vec::new());
                for (member, property) in &properties {
                    let needed = required.iter().any(|name| name == member);
                    match self.nested(property, member, Stands::Elsewhere, depth.saturating_add(1)) {
                        Ok(inner) => {
                            let optional = if needed { "" } else { ", required = false" };
                            fields.push(format!("{} = {{ {}{optional} }}", quoted(member), inner.keys));
                            more.extend(inner.remarks);
                        }
                        Err(why) if needed => {
                            return Err(format!("its member `{member}` can't be typed: {why}"));
                        }
                        Err(why) => more.push(format!("without `{member}`: {why}")),
                    }
                }
                let mut out = typed("object", format!(", fields = {{ {} }}", fields.join(", ")));
                out.remarks.extend(more);
                Ok(out)
            }
            Some("object") => Err("it is an object of any members".to_owned()),
            Some(_) | None => Err("its schema names no type".to_owned()),
        }
    }
}

/// The schema without `null`, in the ways of 3.0 and 3.1, and whether that was one of its values.
fn without_null<'v>(document: Document<'v>, schema: &'v Value) -> Result<(&'v Value, bool), String> {
    for keyword in ["oneOf", "anyOf"] {
        let Some(choices) = schema.get(keyword).and_then(Value::as_array) else { continue };
        let is_null = |choice: &&Value| choice.get("type").and_then(Value::as_str) == Some("null");
        let rest: Vec<&Value> = choices.iter().filter(|choice| !is_null(choice)).collect();
        return match rest.as_slice() {
            [one] => Ok((document.at(one)?, rest.len() < choices.len())),
            _ => Err(format!("`{keyword}` says that it is one of several things")),
        };
    }
    let nullable = schema.get("nullable").and_then(Value::as_bool) == Some(true);
    let listed = schema.get("type").and_then(Value::as_array).unwrap_or_default();
    Ok((schema, nullable || listed.iter().any(|kind| kind.as_str() == Some("null"))))
}

/// The one type that isn't `null`.
fn kind_of(schema: &Value) -> Option<&str> {
    match schema.get("type")? {
        Value::String(kind) => Some(kind),
        Value::Array(kinds) => {
            let mut kinds = kinds.iter().filter_map(Value::as_str).filter(|kind| *kind != "null");
            let first = kinds.next()?;
            kinds.next().is_none().then_some(first)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => None,
    }
}

fn text(
    schema: &Value,
    name: &str,
    stands: Stands,
    mut typed: impl FnMut(&'static str, String) -> Typed,
) -> Typed {
    let longest = schema.get("maxLength").and_then(Value::as_u64);
    let length = longest.map(|most| format!(", max_length = {most}")).unwrap_or_default();
    let lower = name.to_ascii_lowercase();
    let is_id = stands == Stands::InPath || lower == "id" || lower.ends_with("_id") || name.ends_with("Id");
    let format = schema.get("format").and_then(Value::as_str).unwrap_or_default();
    match (format, schema.get("pattern").and_then(Value::as_str)) {
        ("uuid", _) => typed("id", format!(", pattern = {}", quoted(UUID))),
        ("date", _) => typed("text", format!(", pattern = {}", quoted(DATE))),
        ("date-time", _) => typed("text", ", max_length = 40".to_owned()),
        ("email", _) => typed("text", ", max_length = 254".to_owned()),
        (_, Some(pattern)) => match whole(pattern) {
            Some(pattern) if is_id => typed("id", format!(", pattern = {}", quoted(pattern))),
            Some(pattern) => typed("text", format!(", pattern = {}{length}", quoted(pattern))),
            None => {
                let mut out = if is_id { typed("id", String::new()) } else { typed("text", length) };
                out.remarks.push(format!("its pattern {} holds somewhere in the text", quoted(pattern)));
                out
            }
        },
        _ if is_id => typed("id", String::new()),
        _ => typed("text", length),
    }
}

/// A pattern that fits from end to end, as the catalog's do: without its anchors, and in words that both know.
fn whole(pattern: &str) -> Option<&str> {
    let inner = pattern.strip_prefix('^')?.strip_suffix('$')?;
    let plain = !inner.contains("(?") && !inner.contains('|') && !inner.ends_with('\\');
    let known =
        inner.split('\\').skip(1).all(|rest| !rest.starts_with(|c: char| "pPkcux123456789".contains(c)));
    (plain && known && inner.len() <= 1024).then_some(inner)
}

/// Bounds that can be said exactly.
fn range(schema: &Value, whole: bool) -> (String, Vec<String>) {
    let (mut keys, mut remarks) = (String::new(), Vec::new());
    for (name, bound, strict, step) in
        [("min", "minimum", "exclusiveMinimum", 1), ("max", "maximum", "exclusiveMaximum", -1)]
    {
        let value = schema.get(bound).filter(|value| value.as_number().is_some());
        let (value, is_strict) = match schema.get(strict) {
            // 3.0: a truth value beside the bound; 3.1: a bound of its own.
            Some(Value::Bool(is_strict)) => (value, *is_strict),
            Some(own @ Value::Number(_)) => (Some(own), true),
            _ => (value, false),
        };
        let Some(value) = value else { continue };
        let text = match (is_strict, whole, value.as_i64()) {
            (true, true, Some(number)) => number.checked_add(step).map(|number| number.to_string()),
            _ => Some(value.to_string()).filter(|text| is_exact(text)),
        };
        match text {
            Some(text) => {
                let _infallible = write!(keys, ", {name} = \"{text}\"");
                if is_strict && !whole {
                    remarks.push(format!("not {value} itself"));
                }
            }
            None => remarks.push(format!("{bound} {value}")),
        }
    }
    (keys, remarks)
}

/// Whether the catalog can hold a number: at most 15 digits, at most 4 of them after the point.
fn is_exact(text: &str) -> bool {
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    let after = text.split_once('.').map_or(0, |(_, after)| after.len());
    !text.contains(['e', 'E']) && digits <= 15 && after <= 4
}

/// `multipleOf` 0.01 is a scale of 2.
fn scale(schema: &Value) -> String {
    let step = schema.get("multipleOf").map(Value::to_string).unwrap_or_default();
    let scale = ["1", "0.1", "0.01", "0.001", "0.0001"].iter().position(|known| *known == step);
    scale.map(|scale| format!(", scale = {scale}")).unwrap_or_default()
}
