//! Canonical form v1: the one text of a value.
//!
//! Member names sorted by code point; no white space; numbers as plain decimals without exponent, leading or
//! trailing zeros, `-0` as `0`, at most 34 significant digits between 10^-30 and 10^30; strings with escapes only
//! for `"`, `\` and the control characters, those as `\b \f \n \r \t` or `\u00xx` in lower case.

use std::fmt;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use crate::{Error, ErrorKind, Limits, MAX_DEPTH, Value, parse, write};

/// Text in canonical form v1. Only [`Value::canonical`] and [`Canonical::parse`] make one; a clone shares the text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Canonical(Arc<str>);

pub(crate) fn of(value: &Value) -> Result<Canonical, Error> {
    let mut out = String::new();
    write::canonical(value, 0, &mut out)?;
    Ok(Canonical(out.into()))
}

impl Canonical {
    /// Accepts bytes that are in canonical form already, as read back from a record; anything else is refused.
    pub fn parse(bytes: &[u8], limits: &Limits) -> Result<Self, Error> {
        let canonical = of(&parse(bytes, limits)?)?;
        if canonical.as_bytes() == bytes { Ok(canonical) } else { Err(Error::new(ErrorKind::NotCanonical)) }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// SHA-256 of the bytes.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        Sha256::digest(self.as_bytes()).into()
    }

    /// The value, members in their sorted order.
    #[must_use]
    pub fn to_value(&self) -> Value {
        // What was written from a value within MAX_DEPTH reads back; nothing else bounds it.
        let limits = Limits { bytes: usize::MAX, depth: MAX_DEPTH, members: usize::MAX };
        match crate::parse::unbounded(&self.0, &limits) {
            Ok(value) => value,
            Err(error) => unreachable!("canonical text does not read back: {error}"),
        }
    }
}

impl fmt::Display for Canonical {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Canonical {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Canonical({})", self.0)
    }
}
