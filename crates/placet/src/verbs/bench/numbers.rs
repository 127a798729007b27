//! Times gathered and what is told of them.

use std::time::Duration;

use placet_json::{Number, Value};

/// Times of single operations, in order of their length.
#[derive(Debug, Clone, Default)]
pub(super) struct Times(Vec<Duration>);

impl Times {
    pub(super) fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        Self(times)
    }

    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// The time that `percent` of them don't exceed (nearest rank); zero if there are none.
    pub(super) fn percentile(&self, percent: usize) -> Duration {
        let rank = self.0.len().saturating_mul(percent).div_ceil(100).saturating_sub(1);
        self.0.get(rank).copied().unwrap_or_default()
    }
}

/// How many a second.
pub(super) fn rate(count: usize, wall: Duration) -> f64 {
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    if wall.is_zero() { 0.0 } else { f64::from(count) / wall.as_secs_f64() }
}

/// A share of a time.
pub(super) fn each(total: Duration, count: usize) -> Duration {
    u32::try_from(count).ok().and_then(|count| total.checked_div(count)).unwrap_or_default()
}

pub(super) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

pub(super) fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// A measured number as JSON, to three places.
pub(super) fn json(number: f64) -> Value {
    let text = format!("{number:.3}");
    placet_json::parse(text.as_bytes(), &placet_json::Limits::MESSAGE)
        .unwrap_or_else(|_| Value::Number(Number::from(0_u64)))
}

/// A member of a document as text, with so many places; `–` where it wasn't measured.
pub(super) fn cell(document: &Value, name: &str, places: usize) -> String {
    let number = document.get(name).map(ToString::to_string).and_then(|text| text.parse::<f64>().ok());
    number.map_or_else(|| "–".to_owned(), |number| format!("{number:.places$}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let times = Times::of((1..=200).rev().map(Duration::from_micros).collect());
        assert_eq!(times.percentile(50), Duration::from_micros(100));
        assert_eq!(times.percentile(99), Duration::from_micros(198));
        assert_eq!(times.percentile(100), Duration::from_micros(200));
        assert_eq!(Times::of(vec![Duration::from_micros(7)]).percentile(50), Duration::from_micros(7));
        assert_eq!(Times::default().percentile(99), Duration::ZERO);
    }

    #[test]
    fn rates_and_shares_of_nothing_are_nothing() {
        assert!(rate(5, Duration::ZERO).abs() < f64::EPSILON);
        assert!((rate(500, Duration::from_millis(250)) - 2000.0).abs() < 1e-6);
        assert_eq!(each(Duration::from_secs(1), 0), Duration::ZERO);
        assert_eq!(json(1.23456).to_string(), "1.235");
    }
}
