//! Numbers as they were spelled.

use std::fmt;

/// A canonical number has at most this many significant digits (those of IEEE 754 decimal128).
const MAX_DIGITS: usize = 34;
/// A canonical number other than zero lies, by absolute value, between 10^-30 and 10^30, both included.
const MAX_EXPONENT: i64 = 30;
/// Spellings up to this length need no allocation.
const INLINE: usize = 22;

/// A JSON number, kept as it was spelled. Two numbers are equal if their spellings are: `1` is not `1.0`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Number(Repr);

// A spelling has one representation only (short ones are inline), so that the derived equality is that of the
// text.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Repr {
    Inline { length: u8, bytes: [u8; INLINE] },
    Heap(Box<str>),
}

/// Why a number has no canonical form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NumberError {
    /// More than 34 significant digits.
    #[error("a number has more than {MAX_DIGITS} significant digits")]
    TooPrecise,
    /// Not zero and outside 10^-30 to 10^30.
    #[error("a number is outside 10^-{MAX_EXPONENT} to 10^{MAX_EXPONENT}")]
    OutOfRange,
}

impl Number {
    /// The spelling must follow RFC 8259 section 6; the parser and the integer conversions see to it.
    pub(crate) fn spelled(text: &str) -> Self {
        let source = text.as_bytes();
        let mut bytes = [0; INLINE];
        match (bytes.get_mut(..source.len()), u8::try_from(source.len())) {
            (Some(target), Ok(length)) => {
                target.copy_from_slice(source);
                Self(Repr::Inline { length, bytes })
            }
            _ => Self(Repr::Heap(text.into())),
        }
    }

    /// The spelling.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match &self.0 {
            // Always ASCII: it was copied from a number.
            Repr::Inline { length, bytes } => bytes
                .get(..usize::from(*length))
                .and_then(|b| std::str::from_utf8(b).ok())
                .unwrap_or_default(),
            Repr::Heap(text) => text,
        }
    }

    /// The value if it is spelled as an integer (no fraction, no exponent) and fits.
    #[must_use]
    pub fn as_i64(&self) -> Option<i64> {
        self.as_str().parse().ok()
    }

    /// The value if it is spelled as an integer that is not negative (no fraction, no exponent) and fits.
    #[must_use]
    pub fn as_u64(&self) -> Option<u64> {
        match self.as_str() {
            "-0" => Some(0),
            text => text.parse().ok(),
        }
    }

    /// The one spelling of this value in canonical form v1: a plain decimal without exponent, leading or trailing
    /// zeros; zero is `0`, whatever its sign.
    pub fn canonical(&self) -> Result<String, NumberError> {
        let mut out = String::new();
        self.write_canonical(&mut out)?;
        Ok(out)
    }

    pub(crate) fn write_canonical(&self, out: &mut String) -> Result<(), NumberError> {
        let text = self.as_str();
        if is_canonical_integer(text) {
            out.push_str(text);
            return Ok(());
        }
        let (negative, rest) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (mantissa, exponent) = rest.split_once(['e', 'E']).unwrap_or((rest, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));

        // digits × 10^scale, without zeros at either end.
        let all: String = [whole, fraction].concat();
        let stripped = all.trim_end_matches('0');
        let digits = stripped.trim_start_matches('0');
        if digits.is_empty() {
            out.push('0');
            return Ok(());
        }
        if digits.len() > MAX_DIGITS {
            return Err(NumberError::TooPrecise);
        }
        let dropped = length(&all).saturating_sub(length(stripped));
        let scale = saturating_exponent(exponent).saturating_sub(length(fraction)).saturating_add(dropped);
        // Exponent of the first digit.
        let leading = scale.saturating_add(length(digits)).saturating_sub(1);
        let in_range =
            (-MAX_EXPONENT..MAX_EXPONENT).contains(&leading) || (leading == MAX_EXPONENT && digits == "1");
        if !in_range {
            return Err(NumberError::OutOfRange);
        }

        if negative {
            out.push('-');
        }
        let point = leading.saturating_add(1);
        if let Ok(zeros) = usize::try_from(scale) {
            out.push_str(digits);
            out.extend(std::iter::repeat_n('0', zeros));
        } else if let Some((before, after)) = usize::try_from(point)
            .ok()
            .filter(|point| *point > 0)
            .and_then(|point| digits.split_at_checked(point))
        {
            out.push_str(before);
            out.push('.');
            out.push_str(after);
        } else {
            out.push_str("0.");
            out.extend(std::iter::repeat_n('0', usize::try_from(point.saturating_neg()).unwrap_or_default()));
            out.push_str(digits);
        }
        Ok(())
    }
}

/// Integers of at most 18 digits are canonical as they stand, but for `-0`.
fn is_canonical_integer(text: &str) -> bool {
    text.len() <= 19
        && text != "-0"
        && text.bytes().enumerate().all(|(i, b)| b.is_ascii_digit() || (i == 0 && b == b'-'))
        && text.strip_prefix('-').unwrap_or(text).len() <= 18
}

fn length(text: &str) -> i64 {
    i64::try_from(text.len()).unwrap_or(i64::MAX)
}

/// An exponent beyond any limit may be spelled with any number of digits.
fn saturating_exponent(text: &str) -> i64 {
    // Far from the ends of i64, so that adding lengths cannot saturate it back into range.
    const FAR: i64 = i64::MAX / 4;
    let negative = text.starts_with('-');
    text.parse::<i64>().map_or(if negative { -FAR } else { FAR }, |value| value.clamp(-FAR, FAR))
}

impl From<i64> for Number {
    fn from(value: i64) -> Self {
        Self::spelled(&value.to_string())
    }
}

impl From<u64> for Number {
    fn from(value: u64) -> Self {
        Self::spelled(&value.to_string())
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(spelled: &str, expected: Result<&str, NumberError>) {
        assert_eq!(Number::spelled(spelled).canonical().as_deref(), expected.as_ref().copied(), "{spelled}");
    }

    #[test]
    fn arg_3_one_spelling_for_each_value() {
        for (spelled, canonical) in [
            ("0", "0"),
            ("-0", "0"),
            ("0.000", "0"),
            ("-0e99999999999999999999", "0"),
            ("80", "80"),
            ("80.0", "80"),
            ("8e1", "80"),
            ("8E+1", "80"),
            ("800e-1", "80"),
            ("100.00000000000000001", "100.00000000000000001"),
            ("9007199254740993", "9007199254740993"),
            ("-5", "-5"),
            ("-0.50", "-0.5"),
            ("1.5e1", "15"),
            ("1.25e1", "12.5"),
            ("0.00125", "0.00125"),
            ("125e-5", "0.00125"),
            ("1e30", "1000000000000000000000000000000"),
            ("1e-30", "0.000000000000000000000000000001"),
            ("1234567890123456789012345678901234e-4", "123456789012345678901234567890.1234"),
            ("-999999999999999999", "-999999999999999999"),
            ("9999999999999999999", "9999999999999999999"),
        ] {
            check(spelled, Ok(canonical));
        }
    }

    #[test]
    fn arg_3_out_of_range_is_refused_never_rounded() {
        check("12345678901234567890123456789012345e-10", Err(NumberError::TooPrecise));
        for spelled in [
            "1e400",
            "1e31",
            "1.1e30",
            "9e30",
            "1e-31",
            "9.9e-31",
            "1e99999999999999999999",
            "1e-99999999999999999999",
        ] {
            check(spelled, Err(NumberError::OutOfRange));
        }
    }

    #[test]
    fn integers_are_read_only_if_spelled_as_integers() {
        assert_eq!(Number::spelled("-0").as_u64(), Some(0));
        assert_eq!(Number::spelled("-0").as_i64(), Some(0));
        assert_eq!(Number::spelled("1.0").as_i64(), None);
        assert_eq!(Number::spelled("1e0").as_u64(), None);
        assert_eq!(Number::spelled("9223372036854775808").as_i64(), None);
        assert_eq!(Number::from(u64::MAX).as_u64(), Some(u64::MAX));
        assert_eq!(Number::from(i64::MIN).as_i64(), Some(i64::MIN));
    }

    #[test]
    fn long_spellings_are_kept() {
        let long = "1".repeat(500);
        assert_eq!(Number::spelled(&long).as_str(), long);
        assert_ne!(Number::spelled("1"), Number::spelled("1.0"));
    }
}
