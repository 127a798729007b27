//! JSON values as people write them in YAML.

use std::fmt;

use placet_json::{Limits, Object, Value, parse};
use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, SeqAccess, Visitor},
};

/// A value that was written in YAML. A number of more than 15 digits is read as a double and may be another number:
/// such a case goes into a JSON file.
#[derive(Debug, Clone)]
pub(crate) struct Yaml(pub(crate) Value);

/// Reads a document that people wrote in YAML, as JSON. A number of more than 15 digits may come out as another one.
pub fn read_yaml(text: &str) -> Result<Value, String> {
    let read: Result<Yaml, _> = serde_saphyr::from_str(text);
    read.map(|Yaml(value)| value)
        .map_err(|error| error.to_string().lines().next().unwrap_or_default().to_owned())
}

impl<'de> Deserialize<'de> for Yaml {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader).map(Self)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value of JSON")
    }
    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_none<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
    fn visit_bool<E: Error>(self, truth: bool) -> Result<Value, E> {
        Ok(Value::Bool(truth))
    }
    fn visit_i64<E: Error>(self, number: i64) -> Result<Value, E> {
        Ok(Value::from(number))
    }
    fn visit_u64<E: Error>(self, number: u64) -> Result<Value, E> {
        Ok(Value::from(number))
    }
    fn visit_f64<E: Error>(self, number: f64) -> Result<Value, E> {
        // The shortest text that reads back as the same double: for up to 15 digits, the text that was written.
        parse(number.to_string().as_bytes(), &Limits::MESSAGE)
            .map_err(|_| E::custom(format!("{number} is no number of JSON")))
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        Ok(Value::from(text))
    }
    fn visit_string<E: Error>(self, text: String) -> Result<Value, E> {
        Ok(Value::from(text))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Yaml(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Object::new();
        while let Some((name, Yaml(member))) = members.next_entry::<String, Yaml>()? {
            if object.insert(name.as_str(), member).is_some() {
                return Err(A::Error::custom(format!("`{name}` stands there twice")));
            }
        }
        Ok(Value::Object(object))
    }
}
