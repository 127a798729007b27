//! Between values and Rust types that know `serde`.
//!
//! Both ways go through text and this crate's own reader, so that no number passes through a float.

use serde::de::{DeserializeOwned, Error as _};
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::{Canonical, Error, ErrorKind, Limits, MAX_DEPTH, Object, Value, parse};

/// A text that one of our own types wrote is bounded by the memory it already takes.
const OWN: Limits = Limits { bytes: usize::MAX, depth: MAX_DEPTH, members: usize::MAX };

/// The value of something that serializes; refused are duplicate names and excess depth.
///
/// A float that is not finite becomes `null`, as JSON has no other word for it.
pub fn to_value<T: Serialize + ?Sized>(value: &T) -> Result<Value, Error> {
    let text = serde_json::to_string(value).map_err(|error| convert(&error))?;
    crate::parse::unbounded(&text, &OWN)
}

/// Something that deserializes, from a value.
pub fn from_value<T: DeserializeOwned>(value: &Value) -> Result<T, Error> {
    serde_json::from_slice(&value.to_bytes()).map_err(|error| convert(&error))
}

fn convert(error: &serde_json::Error) -> Error {
    Error::new(ErrorKind::Convert(error.to_string()))
}

fn raw<S: Serializer>(text: String, serializer: S) -> Result<S::Ok, S::Error> {
    RawValue::from_string(text).map_err(S::Error::custom)?.serialize(serializer)
}

/// Writes the value as it is, through `serde_json` only: no other format can carry a number as spelled.
impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        raw(self.to_string(), serializer)
    }
}

/// Reads the value strictly, within [`Limits::RESULT`], from `serde_json` text only. Inside `flatten`, `untagged` or
/// internally tagged types, which buffer their input and lose numbers, it fails.
impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        parse(raw.get().as_bytes(), &Limits::RESULT).map_err(D::Error::custom)
    }
}

/// As [`Value`] does.
impl Serialize for Object {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Value::Object(self.clone()).serialize(serializer)
    }
}

/// As [`Value`] does; anything but an object is refused.
impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer)?.into_object().ok_or_else(|| D::Error::custom("expected an object"))
    }
}

/// Writes the canonical text as a JSON value, through `serde_json` only.
impl Serialize for Canonical {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        raw(self.as_str().to_owned(), serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Record {
        name: String,
        count: u64,
        arguments: Value,
    }

    #[test]
    fn a_value_inside_a_type_keeps_its_numbers() {
        let text = r#"{"name":"x","count":18446744073709551615,"arguments":{"z":123456789012345678901234567890,"a":1.50}}"#;
        let record: Record = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&record).unwrap(), text);
        let value = to_value(&record).unwrap();
        assert_eq!(value.to_string(), text);
        assert_eq!(from_value::<Record>(&value).unwrap(), record);
    }

    #[test]
    fn arg_1_duplicates_inside_a_type_are_refused() {
        let text = r#"{"name":"x","count":1,"arguments":{"amount":80,"amount":8000}}"#;
        assert!(serde_json::from_str::<Record>(text).is_err());
        assert!(serde_json::from_str::<Object>("[]").is_err());
    }
}
