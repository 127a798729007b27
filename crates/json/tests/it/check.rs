//! What must hold for any bytes whatever. The fuzz target `json` includes this file.

use placet_json::{Canonical, ErrorKind, Limits, parse};

/// Panics if the reader, the writer, the canonical form and `serde_json` do not agree about `bytes`.
pub(crate) fn check(bytes: &[u8]) {
    let value = match parse(bytes, &Limits::MESSAGE) {
        Ok(value) => value,
        Err(error) => {
            // We refuse more than serde_json does, but only for reasons that can be named.
            if serde_json::from_slice::<serde_json::Value>(bytes).is_ok() {
                let stricter = matches!(
                    error.kind(),
                    ErrorKind::DuplicateMember
                        | ErrorKind::TooLong
                        | ErrorKind::TooDeep
                        | ErrorKind::TooManyMembers
                        | ErrorKind::TooManyValues
                );
                assert!(stricter, "refused valid JSON: {error}");
            }
            return;
        }
    };
    serde_json::from_slice::<serde::de::IgnoredAny>(bytes).expect("accepted what is not JSON");

    let written = value.to_bytes();
    let again = parse(&written, &Limits::RESULT).expect("own text does not read back");
    assert_eq!(again, value);
    assert_eq!(again.to_bytes(), written);

    let Ok(canonical) = value.canonical() else { return };
    let reread = parse(canonical.as_bytes(), &Limits::RESULT).expect("canonical text does not read back");
    assert_eq!(reread.canonical().expect("canonical text has no canonical form"), canonical);
    assert_eq!(reread.to_bytes(), canonical.as_bytes(), "canonical text is not compact");
    assert_eq!(canonical.to_value(), reread);
    assert_eq!(Canonical::parse(canonical.as_bytes(), &Limits::RESULT).as_ref(), Ok(&canonical));
}
