//! A JSON value.

use crate::{Canonical, Error, Number, Object, canonical, write};

/// A JSON value, lossless but for white space and the spelling of string escapes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Value {
    /// `null`
    #[default]
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number as it was spelled.
    Number(Number),
    /// A string, unescaped.
    String(String),
    /// An array.
    Array(Vec<Value>),
    /// An object.
    Object(Object),
}

impl Value {
    /// Whether this is `null`.
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// The text, if this is a string.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        if let Self::String(text) = self { Some(text) } else { None }
    }

    /// The truth value, if this is one.
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        if let Self::Bool(value) = self { Some(*value) } else { None }
    }

    /// The number, if this is one.
    #[must_use]
    pub fn as_number(&self) -> Option<&Number> {
        if let Self::Number(number) = self { Some(number) } else { None }
    }

    /// See [`Number::as_i64`].
    #[must_use]
    pub fn as_i64(&self) -> Option<i64> {
        self.as_number().and_then(Number::as_i64)
    }

    /// See [`Number::as_u64`].
    #[must_use]
    pub fn as_u64(&self) -> Option<u64> {
        self.as_number().and_then(Number::as_u64)
    }

    /// The elements, if this is an array.
    #[must_use]
    pub fn as_array(&self) -> Option<&[Value]> {
        if let Self::Array(elements) = self { Some(elements) } else { None }
    }

    /// The elements to be changed, if this is an array.
    pub fn as_array_mut(&mut self) -> Option<&mut Vec<Value>> {
        if let Self::Array(elements) = self { Some(elements) } else { None }
    }

    /// The object, if this is one.
    #[must_use]
    pub fn as_object(&self) -> Option<&Object> {
        if let Self::Object(object) = self { Some(object) } else { None }
    }

    /// The object to be changed, if this is one.
    pub fn as_object_mut(&mut self) -> Option<&mut Object> {
        if let Self::Object(object) = self { Some(object) } else { None }
    }

    /// The object by value, if this is one.
    #[must_use]
    pub fn into_object(self) -> Option<Object> {
        if let Self::Object(object) = self { Some(object) } else { None }
    }

    /// The member `name`, if this is an object that has it.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.as_object()?.get(name)
    }

    /// The member `name` to be changed, if this is an object that has it.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut Value> {
        self.as_object_mut()?.get_mut(name)
    }

    /// The value that a JSON Pointer (RFC 6901) such as `/a/0/b` leads to; the empty pointer is the value itself.
    #[must_use]
    pub fn pointer(&self, pointer: &str) -> Option<&Value> {
        if pointer.is_empty() {
            return Some(self);
        }
        pointer.strip_prefix('/')?.split('/').try_fold(self, |value, segment| match value {
            Self::Object(object) if segment.contains('~') => {
                object.get(&segment.replace("~1", "/").replace("~0", "~"))
            }
            Self::Object(object) => object.get(segment),
            Self::Array(elements) => elements.get(array_index(segment)?),
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::String(_) => None,
        })
    }

    /// Compact text: members in their order, numbers as spelled, strings with the fewest escapes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = String::new();
        write::value(self, &mut out);
        out.into_bytes()
    }

    /// Canonical form v1 of this value; refused if a number has none or the nesting exceeds
    /// [`crate::MAX_DEPTH`].
    pub fn canonical(&self) -> Result<Canonical, Error> {
        canonical::of(self)
    }
}

/// RFC 6901 section 4: digits without a leading zero.
fn array_index(segment: &str) -> Option<usize> {
    let plain = segment == "0" || !segment.starts_with(['0', '+']);
    if plain { segment.parse().ok() } else { None }
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut out = String::new();
        write::value(self, &mut out);
        f.write_str(&out)
    }
}

macro_rules! from {
    ($($source:ty => $variant:ident),+ $(,)?) => {$(
        impl From<$source> for Value {
            fn from(value: $source) -> Self {
                Self::$variant(value.into())
            }
        }
    )+};
}

from! {
    bool => Bool,
    Number => Number,
    i64 => Number,
    u64 => Number,
    &str => String,
    String => String,
    &String => String,
    Vec<Value> => Array,
    Object => Object,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Limits, parse};

    #[test]
    fn pointers_follow_rfc_6901() {
        let value = parse(br#"{"a":[{"b":1},2],"c/d":3,"m~n":4,"":5}"#, &Limits::MESSAGE).unwrap();
        for (pointer, expected) in
            [("/a/0/b", Some(1)), ("/a/1", Some(2)), ("/c~1d", Some(3)), ("/m~0n", Some(4)), ("/", Some(5))]
        {
            assert_eq!(value.pointer(pointer).and_then(Value::as_i64), expected, "{pointer}");
        }
        assert_eq!(value.pointer(""), Some(&value));
        for pointer in ["a", "/a/2", "/a/01", "/a/+1", "/a/-", "/a/0/b/c", "/x"] {
            assert_eq!(value.pointer(pointer), None, "{pointer}");
        }
    }

    #[test]
    fn a_value_is_small() {
        assert!(size_of::<Value>() <= 40, "{}", size_of::<Value>());
    }
}
