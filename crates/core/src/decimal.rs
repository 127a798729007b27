//! Exact decimals: the numbers that policy reads.

use std::{cmp::Ordering, fmt};

use placet_json::{Number, Value};

/// The most digits after the point.
pub const MAX_SCALE: u8 = 4;
/// The most significant digits. An engine that compares as `f64` still compares these right (15 decimal digits
/// survive a round trip through an IEEE 754 double).
pub const MAX_DIGITS: u32 = 15;

/// `coefficient / 10^scale`, at most [`MAX_DIGITS`] digits and [`MAX_SCALE`] of them after the point, without
/// trailing zeros. What doesn't fit is refused, never rounded.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Decimal {
    coefficient: i64,
    scale: u8,
}

/// Why a number is no [`Decimal`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecimalError {
    /// Not a plain decimal such as `-12.34`.
    #[error("not a plain decimal number")]
    Form,
    /// More than [`MAX_SCALE`] digits after the point.
    #[error("more than {MAX_SCALE} digits after the point; the number is refused, not rounded")]
    Scale,
    /// More than [`MAX_DIGITS`] digits.
    #[error("more than {MAX_DIGITS} digits; the number is refused, not rounded")]
    Digits,
}

impl Decimal {
    /// Zero.
    pub const ZERO: Self = Self { coefficient: 0, scale: 0 };
    /// The largest.
    pub const MAX: Self = Self { coefficient: 999_999_999_999_999, scale: 0 };

    /// Parses a plain decimal: an optional `-`, digits, optionally a point and digits; no exponent, no leading zeros.
    pub fn parse(text: &str) -> Result<Self, DecimalError> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (whole, fraction) = match digits.split_once('.') {
            Some((_, "")) => return Err(DecimalError::Form),
            Some((whole, fraction)) => (whole, fraction),
            None => (digits, ""),
        };
        if whole.is_empty()
            || (whole.len() > 1 && whole.starts_with('0'))
            || !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit())
        {
            return Err(DecimalError::Form);
        }
        let fraction = fraction.trim_end_matches('0');
        let scale = u8::try_from(fraction.len()).map_err(|_| DecimalError::Scale)?;
        if scale > MAX_SCALE {
            return Err(DecimalError::Scale);
        }
        let mut coefficient: i64 = 0;
        for digit in whole.bytes().chain(fraction.bytes()) {
            coefficient = coefficient
                .checked_mul(10)
                .and_then(|c| c.checked_add(i64::from(digit.wrapping_sub(b'0'))))
                .ok_or(DecimalError::Digits)?;
        }
        if coefficient >= 10_i64.pow(MAX_DIGITS) {
            return Err(DecimalError::Digits);
        }
        let coefficient = if negative { coefficient.wrapping_neg() } else { coefficient };
        Ok(Self { coefficient, scale })
    }

    /// The exact value of a JSON number, whatever its spelling (`1e2` is 100).
    pub fn from_number(number: &Number) -> Result<Self, DecimalError> {
        Self::parse(&number.canonical().map_err(|_| DecimalError::Digits)?)
    }
    /// Digits after the point, without trailing zeros.
    #[must_use]
    pub fn scale(self) -> u8 {
        self.scale
    }
    /// Below zero.
    #[must_use]
    pub fn is_negative(self) -> bool {
        self.coefficient < 0
    }
    /// The sum, if it is still exact within the bounds.
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        let scale = self.scale.max(other.scale);
        let sum = self.at(scale).checked_add(other.at(scale))?;
        Self::normal(sum, scale)
    }
    /// The difference, if it is still exact within the bounds.
    #[must_use]
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.checked_add(Self { coefficient: other.coefficient.checked_neg()?, scale: other.scale })
    }
    /// As a JSON number.
    #[must_use]
    pub fn to_value(self) -> Value {
        placet_json::parse(self.to_string().as_bytes(), &placet_json::Limits::MESSAGE).unwrap_or(Value::Null)
    }

    fn at(self, scale: u8) -> i128 {
        i128::from(self.coefficient).saturating_mul(10_i128.pow(u32::from(scale.saturating_sub(self.scale))))
    }
    fn normal(mut coefficient: i128, mut scale: u8) -> Option<Self> {
        while scale > 0 && coefficient % 10 == 0 {
            coefficient /= 10;
            scale = scale.saturating_sub(1);
        }
        if coefficient.unsigned_abs() >= 10_u128.pow(MAX_DIGITS) {
            return None;
        }
        Some(Self { coefficient: i64::try_from(coefficient).ok()?, scale })
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        let scale = self.scale.max(other.scale);
        self.at(scale).cmp(&other.at(scale))
    }
}
impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.coefficient < 0 {
            f.write_str("-")?;
        }
        let digits = self.coefficient.unsigned_abs();
        let unit = 10_u64.pow(u32::from(self.scale));
        write!(f, "{}", digits.checked_div(unit).unwrap_or_default())?;
        if self.scale > 0 {
            write!(
                f,
                ".{:0width$}",
                digits.checked_rem(unit).unwrap_or_default(),
                width = usize::from(self.scale)
            )?;
        }
        Ok(())
    }
}
impl fmt::Debug for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
impl std::str::FromStr for Decimal {
    type Err = DecimalError;
    fn from_str(text: &str) -> Result<Self, DecimalError> {
        Self::parse(text)
    }
}
impl serde::Serialize for Decimal {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
impl<'de> serde::Deserialize<'de> for Decimal {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn arg_3_what_is_not_exact_is_refused() {
        assert_eq!(Decimal::parse("100.00000000000000000001"), Err(DecimalError::Scale));
        assert_eq!(Decimal::parse("9007199254740993"), Err(DecimalError::Digits));
        assert_eq!(Decimal::parse("999999999999999").unwrap().to_string(), "999999999999999");
        for bad in ["", "-", "1e2", "+1", "01", ".5", "5.", "1_0", "NaN", "0x1", "１", " 1"] {
            assert_eq!(Decimal::parse(bad), Err(DecimalError::Form), "{bad:?}");
        }
        assert_eq!(Decimal::parse("-0").unwrap(), Decimal::ZERO);
        assert_eq!(Decimal::parse("100.0000").unwrap(), Decimal::parse("100").unwrap());
    }

    proptest! {
        #[test]
        fn order_and_sum_are_those_of_the_integers(a in -99_999_999_999_i64..99_999_999_999, b in -99_999_999_999_i64..99_999_999_999) {
            let of = |n: i64| Decimal::normal(i128::from(n), 4).unwrap();
            prop_assert_eq!(of(a).cmp(&of(b)), a.cmp(&b));
            prop_assert_eq!(of(a).checked_add(of(b)).unwrap(), of(a.saturating_add(b)));
            prop_assert_eq!(Decimal::parse(&of(a).to_string()).unwrap(), of(a));
        }

        #[test]
        fn as_a_double_it_keeps_its_order(a in -999_999_999_999_999_i64..=999_999_999_999_999, b in -999_999_999_999_999_i64..=999_999_999_999_999, s in 0_u8..=4, t in 0_u8..=4) {
            let (x, y) = (Decimal::normal(i128::from(a), s).unwrap(), Decimal::normal(i128::from(b), t).unwrap());
            let double = |d: Decimal| d.to_string().parse::<f64>().unwrap();
            prop_assert_eq!(double(x).partial_cmp(&double(y)), Some(x.cmp(&y)));
        }
    }
}
