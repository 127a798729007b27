//! Finding a secret in an answer, as it is or in the codings in which echoed headers and environments come back.

use std::borrow::Cow;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use memchr::memmem::Finder;
use placet_json::Value;
use secrecy::{ExposeSecret, SecretString};

/// Fewer bytes than this have no base64 core of their own.
const SHORTEST_CORE: usize = 6;
/// JSON texts inside strings of JSON texts that are looked into.
const LAYERS: usize = 3;

/// The secrets that an answer must not hold.
#[derive(Default)]
pub(crate) struct Scanner(Vec<Needle>);

struct Needle {
    plain: Finder<'static>,
    /// Base64 (both alphabets, three alignments) and hexadecimal.
    coded: Vec<Finder<'static>>,
}

impl Scanner {
    /// Looks for `secrets` in every usual coding, and for `spent` as they are: preparing the codings of a long token
    /// costs more than reading a short answer.
    pub(crate) fn new(secrets: &[SecretString], spent: &[SecretString]) -> Self {
        let coded = texts(secrets).map(Needle::new);
        Self(coded.chain(texts(spent).map(Needle::plain)).collect())
    }

    /// Whether any secret occurs in `value`: its strings and member names, unescaped, and its numbers.
    pub(crate) fn finds(&self, value: &Value) -> bool {
        !self.0.is_empty() && self.walk(value)
    }

    /// Whether any secret occurs in `text`.
    pub(crate) fn finds_in(&self, text: &str) -> bool {
        self.0.iter().any(|needle| needle.occurs(text))
    }

    fn walk(&self, value: &Value) -> bool {
        match value {
            Value::Null | Value::Bool(_) => false,
            Value::Number(number) => self.finds_in(number.as_str()),
            Value::String(text) => self.finds_in(text),
            Value::Array(elements) => elements.iter().any(|element| self.walk(element)),
            Value::Object(members) => {
                members.iter().any(|(name, value)| self.finds_in(name) || self.walk(value))
            }
        }
    }
}

fn texts(secrets: &[SecretString]) -> impl Iterator<Item = &str> {
    secrets.iter().map(ExposeSecret::expose_secret).filter(|secret| !secret.is_empty())
}

impl Needle {
    fn new(secret: &str) -> Self {
        let mut coded = Vec::new();
        for alignment in 0..3 {
            let core = base64_core(secret.as_bytes(), alignment);
            if core.len() >= SHORTEST_CORE {
                let url_safe = core.replace('+', "-").replace('/', "_");
                if url_safe != core {
                    coded.push(url_safe);
                }
                coded.push(core);
            }
        }
        if secret.len() >= SHORTEST_CORE {
            let hex = secret.bytes().fold(String::new(), |mut hex, byte| {
                for nibble in [byte >> 4, byte & 15] {
                    hex.extend(char::from_digit(nibble.into(), 16));
                }
                hex
            });
            coded.push(hex.to_ascii_uppercase());
            coded.push(hex);
        }
        Self {
            coded: coded.iter().map(|text| Finder::new(text).into_owned()).collect(),
            ..Self::plain(secret)
        }
    }

    fn plain(secret: &str) -> Self {
        Self { plain: Finder::new(secret).into_owned(), coded: Vec::new() }
    }

    fn occurs(&self, text: &str) -> bool {
        if self.occurs_as_is(text) {
            return true;
        }
        // JSON inside a string, perhaps itself inside one; then a URL inside that.
        let mut unescaped = Cow::Borrowed(text);
        for _ in 0..LAYERS {
            if !unescaped.contains('\\') {
                break;
            }
            unescaped = Cow::Owned(unescape(&unescaped));
            if self.occurs_as_is(&unescaped) {
                return true;
            }
        }
        if !unescaped.contains('%') {
            return false;
        }
        let decoded = percent_encoding::percent_decode_str(&unescaped).collect::<Vec<u8>>();
        self.plain.find(&decoded).is_some() || {
            // Forms write a space as `+`.
            let spaced: Vec<u8> =
                unescaped.bytes().map(|byte| if byte == b'+' { b' ' } else { byte }).collect();
            let decoded = percent_encoding::percent_decode(&spaced).collect::<Vec<u8>>();
            self.plain.find(&decoded).is_some()
        }
    }

    fn occurs_as_is(&self, text: &str) -> bool {
        self.plain.find(text.as_bytes()).is_some()
            || self.coded.iter().any(|needle| needle.find(text.as_bytes()).is_some())
    }
}

/// The base64 characters that depend on the secret alone when `alignment` other bytes stand before it in their group.
fn base64_core(secret: &[u8], alignment: usize) -> String {
    let mut shifted = vec![0; alignment];
    shifted.extend_from_slice(secret);
    let coded = STANDARD.encode(&shifted);
    // Each byte is 8 bits, each character 6: drop the characters that hold bits of neighbours.
    let first = alignment.saturating_mul(8).div_ceil(6);
    let end = shifted.len().saturating_mul(8) / 6;
    coded.get(first..end).unwrap_or_default().to_owned()
}

/// Takes backslash escapes of JSON off; what is none stays.
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        out.push_str(before);
        let mut chars = after.chars();
        match chars.next() {
            Some('u') => match after
                .get(1..5)
                .and_then(|hex| u32::from_str_radix(hex, 16).ok())
                .and_then(char::from_u32)
            {
                Some(c) => {
                    out.push(c);
                    rest = after.get(5..).unwrap_or_default();
                    continue;
                }
                None => out.push('u'),
            },
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('t') => out.push('\t'),
            Some(c) => out.push(c),
            None => out.push('\\'),
        }
        rest = chars.as_str();
    }
    out.push_str(rest);
    out
}

impl fmt::Debug for Scanner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scanner({} secrets)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;

    const SECRET: &str = "s3cr3t/\"key\"+\u{fc}~9";

    #[test]
    fn cre_3_a_secret_is_found_in_every_usual_coding() {
        let scanner = Scanner::new(&[SecretString::from(""), SecretString::from(SECRET)], &[]);
        let hex: Vec<String> = SECRET.bytes().map(|byte| format!("{byte:02x}")).collect();
        let hex = hex.concat();
        let percent =
            percent_encoding::utf8_percent_encode(SECRET, percent_encoding::NON_ALPHANUMERIC).to_string();
        let mut forms = vec![
            SECRET.to_owned(),
            format!("Authorization: Bearer {SECRET}\r\n"),
            hex.clone(),
            hex.to_uppercase(),
            percent.clone(),
            percent.to_lowercase(),
            format!("https://x/?k={percent}&b=1"),
            Value::from(SECRET).to_string(),
            Value::from(Value::from(SECRET).to_string()).to_string(),
            SECRET.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect::<Vec<_>>().concat(),
        ];
        for before in ["", "a", "ab", "abc", "Basic user:"] {
            for after in ["", "x", "yz"] {
                forms.push(STANDARD.encode(format!("{before}{SECRET}{after}")));
                forms.push(URL_SAFE_NO_PAD.encode(format!("{before}{SECRET}{after}")));
            }
        }
        for form in forms {
            assert!(scanner.finds(&Value::from(form.as_str())), "{form}");
            let mut nested = placet_json::Object::new();
            nested.insert(form.as_str(), Value::Null);
            assert!(scanner.finds(&Value::Array(vec![nested.into()])), "{form}");
        }
        for clean in ["s3cr3t", "", "%", "\\", "\\u12", "%zz", "a long harmless text with / and + and ~9"] {
            assert!(!scanner.finds(&Value::from(clean)), "{clean}");
        }
        assert!(!Scanner::new(&[], &[]).finds(&Value::from(SECRET)));
    }

    #[test]
    fn a_secret_of_digits_is_found_as_a_number() {
        let scanner = Scanner::new(&[SecretString::from("8675309")], &[]);
        assert!(scanner.finds(&Value::from(86_753_091_i64)));
    }

    #[test]
    fn cre_3_a_spent_token_is_found_as_it_is_and_inside_json() {
        let scanner = Scanner::new(&[], &[SecretString::from("eyJhbGciOi.eyJpc3Mi.c2ln")]);
        assert!(scanner.finds(&Value::from("Authorization: DPoP eyJhbGciOi.eyJpc3Mi.c2ln")));
        assert!(scanner.finds(&Value::from(r#"{"token": "eyJhbGciOi\u002eeyJpc3Mi\u002ec2ln"}"#)));
        assert!(!scanner.finds(&Value::from("eyJhbGciOi.eyJpc3Mi.c2lm")));
    }
}
