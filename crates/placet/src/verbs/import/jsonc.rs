//! JSON with comments and trailing commas, as the clients' editors allow it, and where a value stands in it.

use std::ops::Range;

/// The text with comments and trailing commas blanked out: JSON, every byte at its place.
pub(super) fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut last_comma: Option<usize> = None;
    while let Some(first) = rest.chars().next() {
        let taken = match first {
            '"' => {
                let length = string_end(rest);
                out.push_str(rest.get(..length).unwrap_or_default());
                last_comma = None;
                length
            }
            '/' if rest.starts_with("//") => {
                let length = rest.find('\n').unwrap_or(rest.len());
                out.extend(std::iter::repeat_n(' ', length));
                length
            }
            '/' if rest.starts_with("/*") => {
                let length = rest.find("*/").map_or(rest.len(), |end| end.saturating_add(2));
                let blank = rest.get(..length).unwrap_or_default().bytes();
                out.extend(blank.map(|byte| if byte == b'\n' { '\n' } else { ' ' }));
                length
            }
            ',' => {
                last_comma = Some(out.len());
                out.push(',');
                1
            }
            '}' | ']' => {
                if let Some(at) = last_comma.take() {
                    out.replace_range(at..at.saturating_add(1), " ");
                }
                out.push(first);
                1
            }
            _ => {
                if !first.is_whitespace() && first != '\u{feff}' {
                    last_comma = None;
                }
                // A byte order mark is no JSON; it is blanked byte for byte.
                if first == '\u{feff}' {
                    out.push_str("   ");
                } else {
                    out.push(first);
                }
                first.len_utf8()
            }
        };
        rest = rest.get(taken..).unwrap_or_default();
    }
    out
}

/// Where the value at a path of members stands in [`plain`] JSON.
pub(super) fn place(text: &str, path: &[&str]) -> Option<Range<usize>> {
    let mut within = skip_space(text, 0)..text.len();
    for name in path {
        within = member(text, within.start, name)?;
    }
    Some(within.start..value_end(text, within.start)?)
}

/// The value of one member of the object that begins here.
fn member(text: &str, at: usize, name: &str) -> Option<Range<usize>> {
    let mut at = skip_space(text, open(text, at, '{')?);
    while text.get(at..)?.starts_with('"') {
        let key_end = at.checked_add(string_end(text.get(at..)?))?;
        let key =
            placet_json::parse(text.get(at..key_end)?.as_bytes(), &placet_json::Limits::MESSAGE).ok()?;
        let colon = skip_space(text, key_end);
        let value = skip_space(text, open(text, colon, ':')?);
        let end = value_end(text, value)?;
        if key.as_str() == Some(name) {
            return Some(value..end);
        }
        at = skip_space(text, end);
        if !text.get(at..)?.starts_with(',') {
            return None;
        }
        at = skip_space(text, at.checked_add(1)?);
    }
    None
}

fn open(text: &str, at: usize, mark: char) -> Option<usize> {
    text.get(at..)?.starts_with(mark).then(|| at.saturating_add(1))
}

fn skip_space(text: &str, at: usize) -> usize {
    let rest = text.get(at..).unwrap_or_default();
    at.saturating_add(rest.len().saturating_sub(rest.trim_start().len()))
}

/// Where the value that begins here ends; nesting is counted, so nothing recurs.
fn value_end(text: &str, at: usize) -> Option<usize> {
    let (mut depth, mut at) = (0_usize, at);
    loop {
        let rest = text.get(at..)?;
        let length = match rest.chars().next()? {
            '"' => string_end(rest),
            '{' | '[' => {
                depth = depth.checked_add(1)?;
                1
            }
            '}' | ']' => {
                depth = depth.checked_sub(1)?;
                1
            }
            ',' | ':' => 1,
            first if first.is_whitespace() => first.len_utf8(),
            _ => rest.find(|c: char| ",}]:".contains(c) || c.is_whitespace()).unwrap_or(rest.len()),
        };
        at = at.checked_add(length)?;
        if depth == 0 {
            return Some(at);
        }
    }
}

/// The length of the string that the text begins with, quotes included.
fn string_end(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at.saturating_add(1),
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_trailing_commas_go_and_every_byte_keeps_its_place() {
        let text = "\u{feff}{ // one\n  \"a\": [1, 2, /* \"x\" */ ],\n  \"url\": \"https://x/*no*/\", \"q\": \"\\\"//\",\n}\n";
        let json = plain(text);
        assert_eq!(json.len(), text.len());
        let value = placet_json::parse(json.trim().as_bytes(), &placet_json::Limits::MESSAGE).unwrap();
        assert_eq!(value.to_string(), r#"{"a":[1,2],"url":"https://x/*no*/","q":"\"//"}"#);
    }

    #[test]
    fn a_value_is_found_where_it_stands() {
        let text = r#"{ "x": [{"mcp": 1}], "mcp": { "servers": {"a": {"b": "}"}} , "z": 2 } }"#;
        let at = place(text, &["mcp", "servers"]).unwrap();
        assert_eq!(&text[at], r#"{"a": {"b": "}"}}"#);
        assert_eq!(&text[place(text, &["mcp", "z"]).unwrap()], "2");
        assert!(place(text, &["mcp", "none"]).is_none());
        assert!(place("{\"a\": ", &["a"]).is_none());
    }
}
