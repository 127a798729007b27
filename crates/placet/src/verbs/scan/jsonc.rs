//! JSON as editors keep it: with comments and a comma too many.

use placet_json::{Limits, Value};

/// The largest client configuration: one that remembers its projects grows.
pub(super) const LIMITS: Limits = Limits { bytes: 32 << 20, depth: 64, members: 200_000 };

/// Reads it. Comments and trailing commas become spaces, so that lines stay where they are.
pub(super) fn read(text: &str) -> Option<Value> {
    placet_json::parse(plain(text).as_bytes(), &LIMITS).ok()
}

fn plain(text: &str) -> String {
    let mut out: Vec<char> = Vec::with_capacity(text.len());
    let mut letters = text.trim_start_matches('\u{feff}').chars().peekable();
    let mut comma: Option<usize> = None;
    while let Some(letter) = letters.next() {
        match (letter, letters.peek()) {
            ('"', _) => {
                comma = None;
                out.push(letter);
                string(&mut letters, &mut out);
            }
            ('/', Some('/')) => while letters.next_if(|next| *next != '\n').is_some() {},
            ('/', Some('*')) => {
                let mut star = false;
                letters.next();
                for next in letters.by_ref() {
                    if star && next == '/' {
                        break;
                    }
                    star = next == '*';
                    if next == '\n' {
                        out.push('\n');
                    }
                }
            }
            (',', _) => {
                comma = Some(out.len());
                out.push(letter);
            }
            ('}' | ']', _) => {
                if let Some(place) = comma.take().and_then(|at| out.get_mut(at)) {
                    *place = ' ';
                }
                out.push(letter);
            }
            (other, _) => {
                if !other.is_whitespace() {
                    comma = None;
                }
                out.push(other);
            }
        }
    }
    out.into_iter().collect()
}

/// The rest of a string, with its closing quote.
fn string(letters: &mut std::iter::Peekable<std::str::Chars<'_>>, out: &mut Vec<char>) {
    while let Some(letter) = letters.next() {
        out.push(letter);
        match letter {
            '"' => return,
            '\\' => out.extend(letters.next()),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_commas_go_and_strings_stay() {
        let text = "{ // servers\n  \"a\": \"http://x/*y*/,}\", /* two\n lines */ \"b\": [1, 2, ],\n}\n";
        assert_eq!(read(text).unwrap().to_string(), r#"{"a":"http://x/*y*/,}","b":[1,2]}"#);
        assert_eq!(plain(text).lines().count(), text.lines().count());
        assert!(read("{\"a\": }").is_none());
    }
}
