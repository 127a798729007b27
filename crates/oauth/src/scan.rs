//! Finding an injected secret in what an upstream answers: in a result, an error, a header.
//!
//! Found are the secret itself and its usual disguises: base64 in either alphabet, at any offset of a longer text
//! (as in `Basic` credentials); percent-encoding of any of its letters; JSON escapes of any of its letters, also in
//! JSON within JSON. Not found is what an upstream encrypts, splits or spells otherwise: this catches echoes, not
//! conspiracies.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use memchr::memmem;
use zeroize::Zeroizing;

use crate::secret::Secret;

/// Below this length a secret would be found by chance, above all in base64.
pub const MIN_SECRET: usize = 8;

/// How deep JSON is looked for within JSON strings: a tool's text content is one level.
const NESTING: usize = 3;

/// The forms of some secrets, prepared for looking through many answers.
pub struct Scanner {
    needles: Vec<Zeroizing<Vec<u8>>>,
}

/// A secret too short to be told from chance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a secret must have at least {MIN_SECRET} bytes")]
pub struct TooShort;

impl Scanner {
    /// Prepares the forms of these secrets.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a Secret>) -> Result<Self, TooShort> {
        let mut needles: Vec<Zeroizing<Vec<u8>>> = Vec::new();
        for secret in secrets {
            let secret = secret.expose().as_bytes();
            if secret.len() < MIN_SECRET {
                return Err(TooShort);
            }
            let encoded = (0..3).flat_map(|offset| base64_forms(secret, offset));
            for needle in std::iter::once(Zeroizing::new(secret.to_vec())).chain(encoded) {
                if !needles.contains(&needle) {
                    needles.push(needle);
                }
            }
        }
        Ok(Self { needles })
    }

    /// Whether any of the secrets is in `bytes`, in any of the forms.
    #[must_use]
    pub fn finds(&self, bytes: &[u8]) -> bool {
        if self.finds_plain(bytes) || self.finds_percent(bytes) {
            return true;
        }
        let mut text: Option<Vec<u8>> = None;
        for _ in 0..NESTING {
            let Some(next) = unescape_json(text.as_deref().unwrap_or(bytes)) else { return false };
            if self.finds_plain(&next) || self.finds_percent(&next) {
                return true;
            }
            text = Some(next);
        }
        false
    }

    fn finds_plain(&self, bytes: &[u8]) -> bool {
        self.needles.iter().any(|needle| memmem::find(bytes, needle).is_some())
    }

    fn finds_percent(&self, bytes: &[u8]) -> bool {
        unescape_percent(bytes).is_some_and(|text| self.finds_plain(&text))
    }
}

impl std::fmt::Debug for Scanner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scanner").field("forms", &self.needles.len()).finish_non_exhaustive()
    }
}

/// Whether any of the secrets is in `bytes`. Looking through many answers, prepare a [`Scanner`] once.
pub fn scan<'a>(bytes: &[u8], secrets: impl IntoIterator<Item = &'a Secret>) -> Result<bool, TooShort> {
    Scanner::new(secrets).map(|scanner| scanner.finds(bytes))
}

/// What stays the same of the base64 of any text in which the secret begins at `offset` modulo 3.
fn base64_forms(secret: &[u8], offset: usize) -> Vec<Zeroizing<Vec<u8>>> {
    let mut padded = Zeroizing::new(vec![0; offset]);
    padded.reserve_exact(secret.len());
    padded.extend_from_slice(secret);
    // Letters that mix with the bytes before: 8 bits spoil two, 16 bits three. The last letter that is full of the
    // secret's own bits is number ⌊bits / 6⌋.
    let first = [0, 2, 3].get(offset).copied().unwrap_or(0);
    let end = padded.len().saturating_mul(8).wrapping_div(6);
    [STANDARD.encode(&*padded), URL_SAFE.encode(&*padded)]
        .into_iter()
        .filter_map(|text| text.get(first..end).map(|part| Zeroizing::new(part.as_bytes().to_vec())))
        .collect()
}

/// The text with its percent escapes resolved, if there are any. `+` may stand for a space or for itself; a secret
/// with neither is found either way.
fn unescape_percent(bytes: &[u8]) -> Option<Vec<u8>> {
    memchr::memchr(b'%', bytes)?;
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((byte, after)) = rest.split_first() {
        if *byte == b'%'
            && let Some(value) = after.get(..2).and_then(hex)
            && let Ok(value) = u8::try_from(value)
        {
            out.push(value);
            rest = after.get(2..).unwrap_or_default();
        } else {
            out.push(*byte);
            rest = after;
        }
    }
    Some(out)
}

/// The text with its JSON escapes resolved, wherever they stand, if there are any.
fn unescape_json(bytes: &[u8]) -> Option<Vec<u8>> {
    memchr::memchr(b'\\', bytes)?;
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        let Some((kind, after)) = after.split_first().filter(|_| *byte == b'\\') else {
            out.push(*byte);
            continue;
        };
        rest = after;
        match kind {
            b'b' => out.push(8),
            b'f' => out.push(12),
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            b'u' => {
                let (letter, used) = unicode(after);
                let mut buffer = [0; 4];
                out.extend_from_slice(letter.encode_utf8(&mut buffer).as_bytes());
                rest = after.get(used..).unwrap_or_default();
            }
            other => out.push(*other),
        }
    }
    Some(out)
}

/// The letter of `XXXX` or, for a surrogate pair, `XXXX\uXXXX`, and how many bytes it took.
fn unicode(bytes: &[u8]) -> (char, usize) {
    let unit = |at: usize| {
        bytes.get(at..at.saturating_add(4)).and_then(hex).and_then(|unit| u16::try_from(unit).ok())
    };
    let Some(first) = unit(0) else { return (char::REPLACEMENT_CHARACTER, 0) };
    let second = if bytes.get(4..6) == Some(b"\\u") { unit(6) } else { None };
    let pair = [Some(first), second.filter(|_| (0xd800..0xdc00).contains(&first))];
    let mut letters = char::decode_utf16(pair.into_iter().flatten());
    match letters.next() {
        Some(Ok(letter)) if letter.len_utf16() == 2 => (letter, 10),
        Some(Ok(letter)) => (letter, 4),
        Some(Err(_)) | None => (char::REPLACEMENT_CHARACTER, 4),
    }
}

fn hex(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0_u32, |value, digit| {
        let digit = char::from(*digit).to_digit(16)?;
        value.checked_mul(16)?.checked_add(digit)
    })
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use proptest::prelude::*;

    use super::*;

    const SECRET: &str = "sk-live/9?Ä\"x\\y+z 0123";

    fn found(text: &str) -> bool {
        scan(text.as_bytes(), [&Secret::new(SECRET.to_owned())]).unwrap()
    }

    fn escaped(text: &str) -> String {
        placet_json::Value::from(text).to_string()
    }

    #[test]
    fn cre_3_an_echo_in_any_usual_form_is_found() {
        let all_percent: String =
            SECRET.bytes().flat_map(|byte| format!("%{byte:02x}").into_bytes()).map(char::from).collect();
        let some_percent = SECRET.replace('/', "%2F").replace('?', "%3f").replace(' ', "%20");
        let all_unicode: String = SECRET
            .encode_utf16()
            .flat_map(|unit| format!("\\u{unit:04X}").into_bytes())
            .map(char::from)
            .collect();
        let slashes = escaped(SECRET).replace('/', "\\/");
        for text in [
            SECRET.to_owned(),
            format!("error: bad key {SECRET}!"),
            escaped(SECRET),
            slashes.clone(),
            escaped(&escaped(SECRET)),
            escaped(&format!("{{\"text\":{slashes}}}")),
            all_unicode,
            format!("https://x.example/?key={all_percent}"),
            format!("https://x.example/?key={some_percent}&a=1"),
            escaped(&format!("https://x.example/?key={some_percent}")),
        ] {
            assert!(found(&text), "{text}");
            assert!(found(&format!("{{\"result\":{text}}}")), "{text}");
        }
    }

    #[test]
    fn cre_3_base64_at_any_offset_is_found() {
        for before in ["", "u", "us", "user:", "user1:", "user12:"] {
            for after in ["", "\n", "xx", "xxx"] {
                let text = format!("{before}{SECRET}{after}");
                for encoded in [STANDARD.encode(&text), URL_SAFE_NO_PAD.encode(&text)] {
                    assert!(found(&format!("Authorization: Basic {encoded}")), "{text}");
                    assert!(found(&escaped(&encoded).replace('/', "\\/")), "{text}");
                    assert!(
                        found(&encoded.replace('+', "%2B").replace('/', "%2f").replace('=', "%3D")),
                        "{text}"
                    );
                }
            }
        }
    }

    #[test]
    fn what_only_resembles_it_is_not_found() {
        for text in [
            "",
            "sk-live/9",
            SECRET.strip_prefix('s').unwrap(),
            SECRET.strip_suffix('3').unwrap(),
            &SECRET.to_uppercase(),
            "%",
            "\\",
            "\\u",
            "%2",
        ] {
            assert!(!found(text), "{text}");
        }
        assert_eq!(scan(b"", [&Secret::new("short".to_owned())]), Err(TooShort));
        assert_eq!(scan(b"anything", []), Ok(false));
    }

    #[test]
    fn surrogate_pairs_are_read() {
        let secret = Secret::new("key-\u{1f511}-0123".to_owned());
        assert_eq!(scan(br#""key-\ud83d\udd11-0123""#, [&secret]), Ok(true));
        assert_eq!(scan(br#""key-\ud83d-0123""#, [&secret]), Ok(false));
    }

    proptest! {
        #[test]
        fn any_secret_in_any_text_is_found(secret in "[ -~]{8,40}", before in "[ -~]{0,20}", after in "[ -~]{0,20}") {
            let secret = Secret::new(secret);
            let text = format!("{before}{}{after}", secret.expose());
            prop_assert!(scan(text.as_bytes(), [&secret]).unwrap());
            prop_assert!(scan(STANDARD.encode(&text).as_bytes(), [&secret]).unwrap());
            prop_assert!(scan(escaped(&text).as_bytes(), [&secret]).unwrap());
        }

        #[test]
        fn any_bytes_are_looked_through(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let result = scan(&bytes, [&Secret::new("not-in-there".to_owned())]);
            prop_assert_eq!(result, Ok(false));
        }
    }
}
