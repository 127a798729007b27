//! Sealed parts of a record: values that stand in the record only as a salted digest, and encrypted beside it.
//!
//! The record, which is the leaf of the tree, says where something is missing and what it must be:
//!
//! ```json
//! {"call":{"arguments":{"amount":80}}, "sealed":[{"at":["/call/arguments/email"],"digest":"sha256:…"}], "v":1}
//! ```
//!
//! The attachment, which is no part of the leaf, has the bodies in the same order, each encrypted under the keys of the
//! subjects that it is about:
//!
//! ```json
//! {"parts":[{"body":"base64url","keys":["hex"]}], "v":1}
//! ```
//!
//! A body is `{"salt":"base64url of 32 bytes","values":[…]}` in canonical form, and the digest is its SHA-256: who has no key
//! can't even confirm a guess. In a record that is read, what was opened is back in its place, and `sealed` names what
//! wasn't, with the reason.

use std::{borrow::Cow, collections::BTreeSet};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use placet_core::Digest;
use placet_json::{Limits, Object, Value, object};

use crate::read::{BadRecord, bad, list, object as as_object, text};

/// The member of a record that tells what is sealed.
pub const SEALED: &str = "sealed";
/// Bytes of a salt.
pub const SALT: usize = 32;

/// A place to be sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hole {
    /// A JSON pointer (RFC 6901) into the record.
    pub at: String,
    /// What stands there instead. None: the member is left out of its object.
    pub stand_in: Option<Value>,
}

/// What is sealed together, since it is about the same subjects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Whose it is.
    pub subjects: BTreeSet<String>,
    /// Where it stands.
    pub holes: Vec<Hole>,
}

/// What seals a body: the subjects and the text give the names of the keys and the sealed bytes.
pub type Sealing<'a, E> = &'a dyn Fn(&BTreeSet<String>, &[u8]) -> Result<(Vec<String>, Vec<u8>), E>;

/// Takes the parts out of a record, which is an object, and returns the attachment; empty where nothing was there to
/// be sealed. `salt` gives random bytes.
pub fn seal<E: From<BadRecord>>(
    record: &mut Value,
    parts: &[Part],
    salt: &mut dyn FnMut() -> Result<[u8; SALT], E>,
    sealing: Sealing<'_, E>,
) -> Result<Vec<u8>, E> {
    let (mut told, mut bodies) = (Vec::new(), Vec::new());
    for Part { subjects, holes } in parts {
        let (mut at, mut values) = (Vec::new(), Vec::new());
        for hole in holes {
            if let Some(value) = take(record, hole) {
                at.push(Value::from(hole.at.as_str()));
                values.push(value);
            }
        }
        if values.is_empty() {
            continue;
        }
        let salt = URL_SAFE_NO_PAD.encode(salt()?);
        let body = Value::from(object! { "salt" => salt, "values" => Value::Array(values) });
        let body = body.canonical().map_err(|error| bad(SEALED, error))?;
        let (keys, sealed) = sealing(subjects, body.as_bytes())?;
        told.push(Value::from(
            object! { "at" => Value::Array(at), "digest" => Digest::of(body.as_bytes()).to_string() },
        ));
        let keys = Value::Array(keys.into_iter().map(Value::from).collect());
        bodies.push(Value::from(object! { "body" => URL_SAFE_NO_PAD.encode(sealed), "keys" => keys }));
    }
    if told.is_empty() {
        return Ok(Vec::new());
    }
    let record = record.as_object_mut().ok_or_else(|| bad("", "isn't an object"))?;
    record.insert(SEALED, Value::Array(told));
    let attachment = Value::from(object! { "parts" => Value::Array(bodies), "v" => 1_u64 });
    let attachment = attachment.canonical().map_err(|error| bad(SEALED, error))?;
    Ok(attachment.as_bytes().to_vec())
}

/// What a sealed body comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unsealed {
    /// The text.
    Text(Vec<u8>),
    /// It stays shut.
    Shut(Shut),
}

/// Why a body stays shut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shut {
    /// A subject that it is about was erased.
    Erased,
    /// The key isn't here.
    NoKey,
    /// It isn't what was sealed.
    Altered,
}

impl Shut {
    /// As it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Erased => "erased",
            Self::NoKey => "no_key",
            Self::Altered => "altered",
        }
    }
    fn parse(text: &str) -> Option<Self> {
        [Self::Erased, Self::NoKey, Self::Altered].into_iter().find(|shut| shut.as_str() == text)
    }
}

/// A sealed part of a record that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Where it stands.
    pub at: Vec<String>,
    /// The keys that it takes.
    pub keys: Vec<String>,
    /// Why it is shut; none where it is back in its place.
    pub shut: Option<Shut>,
}

/// A record with its bodies, as far as they open.
#[derive(Debug, Clone)]
pub struct Opened<'a> {
    /// The record, in which `sealed` tells what is missing.
    pub payload: Cow<'a, [u8]>,
    /// Its sealed parts.
    pub parts: Vec<Found>,
}

impl Opened<'_> {
    /// Why something of it is missing; none where nothing is.
    #[must_use]
    pub fn shut(&self) -> Option<Shut> {
        self.parts.iter().filter_map(|part| part.shut).max()
    }
}

/// Puts the bodies of an attachment back into their record.
pub fn open<'a>(
    payload: &'a [u8],
    attachment: &[u8],
    unseal: &dyn Fn(&[String], &[u8]) -> Unsealed,
) -> Result<Opened<'a>, BadRecord> {
    if attachment.is_empty() {
        return Ok(Opened { payload: Cow::Borrowed(payload), parts: Vec::new() });
    }
    let mut record = placet_json::parse(payload, &Limits::RESULT).map_err(|error| bad("", error))?;
    let attachment = placet_json::parse(attachment, &Limits::RESULT).map_err(|error| bad(SEALED, error))?;
    let attachment = as_object(&attachment, SEALED)?;
    let told = record.as_object_mut().and_then(|record| record.remove(SEALED));
    let told = told.as_ref().and_then(Value::as_array).ok_or_else(|| bad(SEALED, "is missing"))?;
    let bodies = list(attachment, "parts")?;
    if told.len() != bodies.len() {
        return Err(bad(SEALED, "has another number of parts than the attachment"));
    }
    let (mut parts, mut missing) = (Vec::new(), Vec::new());
    for (told, body) in told.iter().zip(bodies) {
        let (told, body) = (as_object(told, SEALED)?, as_object(body, SEALED)?);
        let at = texts(told, "at")?;
        let keys = texts(body, "keys")?;
        let sealed =
            URL_SAFE_NO_PAD.decode(text(body, "body")?).map_err(|_| bad(SEALED, "holds no base64url"))?;
        let shut = match unseal(&keys, &sealed) {
            Unsealed::Shut(shut) => Some(shut),
            Unsealed::Text(text) if Digest::parse(self::text(told, "digest")?) == Some(Digest::of(&text)) => {
                fill(&mut record, &at, &text)?;
                None
            }
            Unsealed::Text(_) => Some(Shut::Altered),
        };
        if let Some(shut) = shut {
            let mut told = told.clone();
            told.insert("why", shut.as_str());
            missing.push(Value::Object(told));
        }
        parts.push(Found { at, keys, shut });
    }
    if !missing.is_empty()
        && let Some(record) = record.as_object_mut()
    {
        record.insert(SEALED, Value::Array(missing));
    }
    Ok(Opened { payload: Cow::Owned(record.to_bytes()), parts })
}

/// Where something is missing in a record, and why. Of a record whose attachment wasn't looked at, its key isn't here.
#[must_use]
pub fn missing(record: &Value) -> Vec<(String, Shut)> {
    let sealed = record.get(SEALED).and_then(Value::as_array).unwrap_or_default();
    let mut missing = Vec::new();
    for part in sealed {
        let why = part.get("why").and_then(Value::as_str).and_then(Shut::parse).unwrap_or(Shut::NoKey);
        let at = part.get("at").and_then(Value::as_array).unwrap_or_default();
        missing.extend(at.iter().filter_map(Value::as_str).map(|at| (at.to_owned(), why)));
    }
    missing
}

/// One step of a pointer, as it is written in one.
#[must_use]
pub fn step(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

fn texts(of: &Object, name: &str) -> Result<Vec<String>, BadRecord> {
    let one = |value: &Value| {
        value.as_str().map(str::to_owned).ok_or_else(|| bad(SEALED, "holds something that is no string"))
    };
    list(of, name)?.iter().map(one).collect()
}

fn fill(record: &mut Value, at: &[String], body: &[u8]) -> Result<(), BadRecord> {
    let mut body = placet_json::parse(body, &Limits::RESULT).map_err(|error| bad(SEALED, error))?;
    let values = body.get_mut("values").and_then(Value::as_array_mut).map(std::mem::take).unwrap_or_default();
    if values.len() != at.len() {
        return Err(bad(SEALED, "has another number of places than of values"));
    }
    for (at, value) in at.iter().zip(values) {
        let (parent, name) = at.rsplit_once('/').ok_or_else(|| bad(SEALED, "holds no JSON pointer"))?;
        match place(record, parent) {
            Some(Value::Object(object)) => {
                object.insert(name.replace("~1", "/").replace("~0", "~"), value);
            }
            Some(Value::Array(items)) => {
                let item = name.parse::<usize>().ok().and_then(|at| items.get_mut(at));
                *item.ok_or_else(|| bad(SEALED, "names a place that isn't there"))? = value;
            }
            Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) | None => {
                return Err(bad(SEALED, "names a place that isn't there"));
            }
        }
    }
    Ok(())
}

fn take(record: &mut Value, Hole { at, stand_in }: &Hole) -> Option<Value> {
    let (parent, name) = at.rsplit_once('/')?;
    match place(record, parent)? {
        Value::Object(object) => {
            let name = name.replace("~1", "/").replace("~0", "~");
            match stand_in {
                None => object.remove(&name),
                Some(stand_in) => {
                    object.get_mut(&name).map(|value| std::mem::replace(value, stand_in.clone()))
                }
            }
        }
        Value::Array(items) => {
            let value = items.get_mut(name.parse::<usize>().ok()?)?;
            Some(std::mem::replace(value, stand_in.clone().unwrap_or(Value::Null)))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

fn place<'a>(record: &'a mut Value, pointer: &str) -> Option<&'a mut Value> {
    let mut at = record;
    for step in pointer.split('/').skip(1) {
        at = match at {
            Value::Object(object) => object.get_mut(&step.replace("~1", "/").replace("~0", "~"))?,
            Value::Array(items) => items.get_mut(step.parse::<usize>().ok()?)?,
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return None,
        };
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Value {
        placet_json::parse(text.as_bytes(), &Limits::RESULT).unwrap()
    }
    fn part(subject: &str, holes: &[(&str, Option<&str>)]) -> Part {
        let hole = |(at, stand_in): &(&str, Option<&str>)| Hole {
            at: (*at).to_owned(),
            stand_in: stand_in.map(json),
        };
        Part { subjects: [subject.to_owned()].into(), holes: holes.iter().map(hole).collect() }
    }
    /// No cipher, but one that looks like one: each byte turned.
    #[expect(clippy::unnecessary_wraps, reason = "what seals may fail")]
    fn sealing(subjects: &BTreeSet<String>, text: &[u8]) -> Result<(Vec<String>, Vec<u8>), BadRecord> {
        Ok((subjects.iter().cloned().collect(), text.iter().map(|byte| !byte).collect()))
    }
    fn sealed(record: &mut Value, parts: &[Part]) -> Vec<u8> {
        seal::<BadRecord>(record, parts, &mut || Ok([7; SALT]), &sealing).unwrap()
    }
    fn all(_: &[String], body: &[u8]) -> Unsealed {
        Unsealed::Text(body.iter().map(|byte| !byte).collect())
    }

    const RECORD: &str = r#"{"call":{"arguments":{"a/b~c":[1,{"x":"maya@example.org"}],"amount":80},"list":["one","two"]},"input":{"email":"maya@example.org"},"v":1}"#;

    fn example() -> (Value, Vec<u8>) {
        let mut record = json(RECORD);
        let parts = [
            part("human:maya", &[("/call/arguments/a~1b~0c", None), ("/nothing/there", None)]),
            part("acme/customer:c", &[("/input", Some("null")), ("/call/list/1", Some(r#""""#))]),
            part("acme/customer:d", &[("/not/there", None)]),
        ];
        let attachment = sealed(&mut record, &parts);
        (record, attachment)
    }

    #[test]
    fn what_is_sealed_is_gone_from_the_record_and_comes_back() {
        let (record, attachment) = example();
        let leaf = record.canonical().unwrap();
        assert!(!leaf.as_str().contains("maya@example.org") && !leaf.as_str().contains("human:maya"));
        assert!(leaf.as_str().contains(r#""input":null"#) && leaf.as_str().contains(r#""list":["one",""]"#));
        let opened = open(leaf.as_bytes(), &attachment, &all).unwrap();
        assert_eq!(
            (json(std::str::from_utf8(&opened.payload).unwrap()), opened.shut()),
            (json(RECORD), None)
        );
        assert_eq!(opened.parts.len(), 2);
        assert_eq!(opened.parts[0].keys, ["human:maya"]);
        // Without an attachment the bytes are what they were.
        assert_eq!(&*open(RECORD.as_bytes(), b"", &all).unwrap().payload, RECORD.as_bytes());
    }

    #[test]
    fn what_stays_shut_is_told_with_its_reason() {
        let (record, attachment) = example();
        let leaf = record.canonical().unwrap();
        let unseal = |keys: &[String], body: &[u8]| match keys[0].as_str() {
            "human:maya" => Unsealed::Shut(Shut::Erased),
            _ => all(keys, body),
        };
        let opened = open(leaf.as_bytes(), &attachment, &unseal).unwrap();
        let read = json(std::str::from_utf8(&opened.payload).unwrap());
        assert_eq!(opened.shut(), Some(Shut::Erased));
        assert_eq!(missing(&read), [("/call/arguments/a~1b~0c".to_owned(), Shut::Erased)]);
        assert_eq!(read.pointer("/input/email").and_then(Value::as_str), Some("maya@example.org"));
        // The record as it lies there names all its places.
        assert_eq!(missing(&record).len(), 3);
        assert!(missing(&json(RECORD)).is_empty());
    }

    #[test]
    fn another_body_than_the_digest_s_is_altered_and_a_wrong_attachment_is_refused() {
        let (record, attachment) = example();
        let leaf = record.canonical().unwrap();
        let other = |_: &[String], _: &[u8]| Unsealed::Text(br#"{"salt":"00","values":[1,2]}"#.to_vec());
        assert_eq!(open(leaf.as_bytes(), &attachment, &other).unwrap().shut(), Some(Shut::Altered));
        for wrong in [&b"{}"[..], b"[]", b"x", br#"{"parts":[],"v":1}"#] {
            assert!(open(leaf.as_bytes(), wrong, &all).is_err(), "{wrong:?}");
        }
        assert!(open(RECORD.as_bytes(), &attachment, &all).is_err(), "a record that seals nothing");
    }

    #[test]
    fn equal_values_have_other_digests() {
        let mut salts = 0_u8;
        let mut digests = BTreeSet::new();
        for _ in 0..3 {
            let mut record = json(RECORD);
            let mut salt = || {
                salts += 1;
                Ok([salts; SALT])
            };
            seal::<BadRecord>(&mut record, &[part("x", &[("/input", None)])], &mut salt, &sealing).unwrap();
            digests.insert(record.pointer("/sealed/0/digest").unwrap().to_string());
        }
        assert_eq!(digests.len(), 3);
    }
}
