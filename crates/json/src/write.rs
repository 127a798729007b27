//! Writing values as text.

use crate::{Error, ErrorKind, MAX_DEPTH, Value};

/// Compact, members in their order.
pub(crate) fn value(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(true) => out.push_str("true"),
        Value::Bool(false) => out.push_str("false"),
        Value::Number(number) => out.push_str(number.as_str()),
        Value::String(text) => string(text, out),
        Value::Array(elements) => {
            out.push('[');
            for (i, element) in elements.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                self::value(element, out);
            }
            out.push(']');
        }
        Value::Object(object) => {
            out.push('{');
            for (i, (name, member)) in object.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                string(name, out);
                out.push(':');
                self::value(member, out);
            }
            out.push('}');
        }
    }
}

/// Canonical form v1.
pub(crate) fn canonical(value: &Value, depth: usize, out: &mut String) -> Result<(), Error> {
    match value {
        Value::Null | Value::Bool(_) => self::value(value, out),
        Value::Number(number) => {
            number.write_canonical(out).map_err(|error| Error::new(ErrorKind::Number(error)))?;
        }
        Value::String(text) => string(text, out),
        Value::Array(elements) => {
            let depth = deeper(depth)?;
            out.push('[');
            for (i, element) in elements.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                canonical(element, depth, out).map_err(|error| error.under_index(i))?;
            }
            out.push(']');
        }
        Value::Object(object) => {
            let depth = deeper(depth)?;
            let mut members: Vec<_> = object.iter().collect();
            // The byte order of UTF-8 is the order of code points.
            members.sort_unstable_by_key(|(name, _)| *name);
            out.push('{');
            for (i, (name, member)) in members.into_iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                string(name, out);
                out.push(':');
                canonical(member, depth, out).map_err(|error| error.under_name(name))?;
            }
            out.push('}');
        }
    }
    Ok(())
}

fn deeper(depth: usize) -> Result<usize, Error> {
    if depth >= MAX_DEPTH { Err(Error::new(ErrorKind::TooDeep)) } else { Ok(depth.saturating_add(1)) }
}

/// Escapes only what RFC 8259 section 7 demands.
/// Writes `text` as a JSON string in canonical form v1, quotes included.
pub fn string(text: &str, out: &mut String) {
    out.reserve(text.len().saturating_add(2));
    out.push('"');
    let mut rest = text;
    while let Some((plain, special, after)) = split_at_special(rest) {
        out.push_str(plain);
        match special {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            0x08 => out.push_str("\\b"),
            0x0c => out.push_str("\\f"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            control => {
                out.push_str("\\u00");
                out.push(if control >= 0x10 { '1' } else { '0' });
                out.push(char::from_digit(u32::from(control & 0xf), 16).unwrap_or('0'));
            }
        }
        rest = after;
    }
    out.push_str(rest);
    out.push('"');
}

/// Special bytes are ASCII, so both cuts fall between characters.
fn split_at_special(text: &str) -> Option<(&str, u8, &str)> {
    let position = text.bytes().position(|byte| byte < 0x20 || byte == b'"' || byte == b'\\')?;
    let (plain, rest) = text.split_at_checked(position)?;
    let (special, after) = rest.split_at_checked(1)?;
    Some((plain, *special.as_bytes().first()?, after))
}
