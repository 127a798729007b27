//! Moments, as arguments: nothing in this crate reads a clock.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Milliseconds since 1970-01-01T00:00:00Z. Written as RFC 3339 in upper case with `Z`, with milliseconds only
/// where there are some.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(u64);

/// The last moment of the year 9999, the end of RFC 3339.
const LAST: u64 = 253_402_300_799_999;

/// Why a text is no [`Timestamp`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a moment of the form 2026-03-01T09:30:00Z (RFC 3339, upper case `T`, `Z` or an offset)"
)]
pub struct TimestampError(String);

impl Timestamp {
    /// A moment from milliseconds since the epoch; later than the year 9999 is held there.
    #[must_use]
    pub fn from_millis(millis: u64) -> Self {
        Self(millis.min(LAST))
    }
    /// A moment from seconds since the epoch.
    #[must_use]
    pub fn from_secs(secs: u64) -> Self {
        Self::from_millis(secs.saturating_mul(1000))
    }
    /// Milliseconds since the epoch.
    #[must_use]
    pub fn millis(self) -> u64 {
        self.0
    }
    /// Whole seconds since the epoch.
    #[must_use]
    pub fn secs(self) -> u64 {
        self.0 / 1000
    }
    /// Nanoseconds since the epoch, as Rego's `time.now_ns` counts them.
    #[must_use]
    pub fn nanos(self) -> i64 {
        i64::try_from(u128::from(self.0).saturating_mul(1_000_000)).unwrap_or(i64::MAX)
    }
    /// This moment and `millis` more.
    #[must_use]
    pub fn plus_millis(self, millis: u64) -> Self {
        Self::from_millis(self.0.saturating_add(millis))
    }
    /// Milliseconds from `earlier` to this moment; 0 if that lies later.
    #[must_use]
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
    /// Parses RFC 3339, strictly: upper-case `T` and `Z`, no space, no leap second, at most millisecond precision kept.
    pub fn parse(text: &str) -> Result<Self, TimestampError> {
        let error = || TimestampError(text.chars().take(64).collect());
        let bytes = text.as_bytes();
        if bytes.len() < 20
            || bytes.get(10) != Some(&b'T')
            || text.contains([' ', 't', 'z'])
            || bytes.get(17..19) == Some(b"60")
        {
            return Err(error());
        }
        let moment: jiff::Timestamp = text.parse().map_err(|_| error())?;
        u64::try_from(moment.as_millisecond()).map(Self::from_millis).map_err(|_| error())
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(i64::try_from(self.0).unwrap_or(i64::MAX)) {
            Ok(moment) => fmt::Display::fmt(&moment, f),
            Err(_) => write!(f, "{} ms", self.0),
        }
    }
}
impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
impl std::str::FromStr for Timestamp {
    type Err = TimestampError;
    fn from_str(text: &str) -> Result<Self, TimestampError> {
        Self::parse(text)
    }
}
impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_upper_case_rfc_3339_is_a_moment() {
        for bad in [
            "2026-03-01 09:30:00Z",
            "2026-03-01t09:30:00Z",
            "2026-03-01T09:30:00z",
            "2026-03-01T09:30:60Z",
            "2026-03-01",
            "",
            "1969-12-31T23:59:59Z",
        ] {
            assert!(Timestamp::parse(bad).is_err(), "{bad:?} was taken");
        }
        let moment = Timestamp::parse("2026-03-01T09:30:00.250Z").unwrap();
        assert_eq!(moment.to_string(), "2026-03-01T09:30:00.25Z");
        assert_eq!(Timestamp::parse("2026-03-01T10:30:00.250+01:00").unwrap(), moment);
    }
}
