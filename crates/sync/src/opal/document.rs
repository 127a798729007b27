//! The document of a source: what a fleet of OPA would have at `data`.

use std::fmt;

use placet_json::{Object, Value};

/// The most parts of a path.
const MAX_PARTS: usize = 64;
/// Stands before a number, or before a text that begins with it, while JSON Patch is applied: its crate reads
/// numbers as doubles, and facts are exact.
const MARK: char = '\u{1}';

/// Why a write isn't possible.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// Something on the way is no object.
    #[error("`{0}` is no object, so nothing can be put below it")]
    NoObject(Path),
    /// The path is too long.
    #[error("the path has more than {MAX_PARTS} parts")]
    TooDeep,
    /// The operations don't fit what is there.
    #[error("the patch of `{at}` doesn't apply: {why}")]
    Patch {
        /// Where.
        at: Path,
        /// Why.
        why: String,
    },
    /// Not a list of operations.
    #[error("a patch is no list of RFC 6902 operations: {0}")]
    NoPatch(String),
}

/// A place in the document, in one spelling only: `ord2`, `/ord2` and `//ord2/` are the same.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Path(Vec<String>);

impl Path {
    /// Reads a `dst_path`.
    pub fn parse(text: &str) -> Result<Self, DocumentError> {
        let parts: Vec<String> = text.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect();
        if parts.len() > MAX_PARTS { Err(DocumentError::TooDeep) } else { Ok(Self(parts)) }
    }
    /// Its parts.
    #[must_use]
    pub fn parts(&self) -> &[String] {
        &self.0
    }
    /// Whether `other` is this place or lies below it.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        other.0.starts_with(&self.0)
    }
    /// Whether one covers the other.
    #[must_use]
    pub fn meets(&self, other: &Self) -> bool {
        self.covers(other) || other.covers(self)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("/");
        }
        self.0.iter().try_for_each(|part| write!(f, "/{part}"))
    }
}

/// Puts `value` at `path`; what is missing on the way is made, as OPA does. The root is always an object: a list
/// there is put at `items`, as OPAL does.
pub(crate) fn put(document: &mut Value, path: &Path, value: Value) -> Result<(), DocumentError> {
    let Some((last, way)) = path.0.split_last() else {
        *document = if value.as_object().is_some() {
            value
        } else {
            Value::Object([("items", value)].into_iter().collect())
        };
        return Ok(());
    };
    let mut at = document;
    for (i, part) in way.iter().enumerate() {
        let blocked = || DocumentError::NoObject(Path(way.iter().take(i).cloned().collect()));
        let object = at.as_object_mut().ok_or_else(blocked)?;
        if object.get(part).is_none_or(|below| below.as_object().is_none() && below.is_null()) {
            object.insert(part.as_str(), Value::Object(Object::new()));
        }
        at = object.get_mut(part).ok_or_else(blocked)?;
    }
    let object = at.as_object_mut().ok_or_else(|| DocumentError::NoObject(Path(way.to_vec())))?;
    object.insert(last.as_str(), value);
    Ok(())
}

/// Applies RFC 6902 operations to what is at `path`: all or none.
pub(crate) fn patch(document: &mut Value, path: &Path, operations: &Value) -> Result<(), DocumentError> {
    let operations: json_patch::Patch = serde_json::from_value(carried(operations))
        .map_err(|error| DocumentError::NoPatch(error.to_string()))?;
    let wrong = |why: String| DocumentError::Patch { at: path.clone(), why };
    let there = path.0.iter().try_fold(&*document, |at, part| at.get(part));
    let mut subject = carried(there.ok_or_else(|| wrong("there is nothing".to_owned()))?);
    json_patch::patch(&mut subject, &operations).map_err(|error| wrong(error.to_string()))?;
    put(document, path, returned(subject).map_err(wrong)?)
}

/// For the patch crate: numbers become marked texts.
fn carried(value: &Value) -> serde_json::Value {
    match value {
        Value::Null => serde_json::Value::Null,
        Value::Bool(truth) => (*truth).into(),
        Value::Number(number) => {
            let text = number.canonical().unwrap_or_else(|_| number.as_str().to_owned());
            format!("{MARK}{text}").into()
        }
        Value::String(text) if text.starts_with(MARK) => format!("{MARK}{MARK}{text}").into(),
        Value::String(text) => text.as_str().into(),
        Value::Array(values) => values.iter().map(carried).collect::<Vec<_>>().into(),
        Value::Object(object) => serde_json::Value::Object(
            object.iter().map(|(name, value)| (name.to_owned(), carried(value))).collect(),
        ),
    }
}

/// Back from the patch crate.
fn returned(value: serde_json::Value) -> Result<Value, String> {
    Ok(match value {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(truth) => truth.into(),
        serde_json::Value::Number(_) => return Err("a number got in unmarked".to_owned()),
        serde_json::Value::String(text) => match text.strip_prefix(MARK) {
            None => text.into(),
            Some(rest) => match rest.strip_prefix(MARK) {
                Some(text) => text.into(),
                None => placet_json::parse(rest.as_bytes(), &super::wire::LIMITS)
                    .map_err(|error| error.to_string())?,
            },
        },
        serde_json::Value::Array(values) => {
            Value::Array(values.into_iter().map(returned).collect::<Result<_, _>>()?)
        }
        serde_json::Value::Object(members) => Value::Object(
            members
                .into_iter()
                .map(|(name, value)| returned(value).map(|value| (name, value)))
                .collect::<Result<_, _>>()?,
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Value {
        placet_json::parse(text.as_bytes(), &super::super::wire::LIMITS).unwrap()
    }
    fn path(text: &str) -> Path {
        Path::parse(text).unwrap()
    }

    #[test]
    fn one_place_has_one_name() {
        assert_eq!(path("ord2"), path("/ord2"));
        assert_eq!(path("//ord2/"), path("/ord2"));
        assert_eq!(path("").to_string(), "/");
        assert!(path("/").covers(&path("/a/b")) && path("/a").covers(&path("a/b")));
        assert!(!path("/a").covers(&path("/ab")) && path("/a/b").meets(&path("/a")));
        assert_eq!(Path::parse(&"/a".repeat(65)), Err(DocumentError::TooDeep));
    }

    #[test]
    fn puts_make_their_way_and_stop_at_what_is_no_object() {
        let mut document = json("{}");
        put(&mut document, &path("/a/b"), json("1")).unwrap();
        put(&mut document, &path("a/c"), json("[2]")).unwrap();
        assert_eq!(document, json(r#"{"a":{"b":1,"c":[2]}}"#));
        let error = put(&mut document, &path("/a/b/c"), json("1")).unwrap_err();
        assert_eq!(error, DocumentError::NoObject(path("/a/b")));
        put(&mut document, &path("/"), json("[1]")).unwrap();
        assert_eq!(document, json(r#"{"items":[1]}"#));
    }

    #[test]
    fn patches_keep_numbers_exact_and_apply_whole_or_not_at_all() {
        let mut document = json(r#"{"a":{"limit":0.10000000000000000555,"s":"\u0001x","n":null}}"#);
        patch(&mut document, &path("/a"), &json(r#"[{"op":"test","path":"/limit","value":1.0000000000000000555e-1},{"op":"add","path":"/more","value":250.10},{"op":"remove","path":"/n"}]"#)).unwrap();
        let text = super::super::wire::text(&document);
        assert!(text.contains("0.10000000000000000555") && text.contains("250.1"), "{text}");
        assert!(text.contains("\\u0001x"), "{text}");
        let before = document.clone();
        let half = json(r#"[{"op":"remove","path":"/more"},{"op":"remove","path":"/missing"}]"#);
        assert!(matches!(patch(&mut document, &path("/a"), &half), Err(DocumentError::Patch { .. })));
        assert_eq!(document, before);
        assert!(matches!(patch(&mut document, &path("/a"), &json("{}")), Err(DocumentError::NoPatch(_))));
        assert!(patch(&mut document, &path("/nowhere"), &half).is_err());
    }
}
