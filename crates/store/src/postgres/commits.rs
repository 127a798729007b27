//! How long commits to a shared database took.

use std::time::Duration;

/// Upper bounds, in microseconds.
const BOUNDS: [u64; 11] =
    [500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000, 5_000_000];

/// Commits of a gateway since its start: from asking for the lock to the database's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Commits {
    /// How many.
    pub count: u64,
    /// How long all of them took, in microseconds.
    pub sum_us: u64,
    counts: [u64; BOUNDS.len()],
}

impl Commits {
    pub(crate) fn took(&mut self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.count = self.count.saturating_add(1);
        self.sum_us = self.sum_us.saturating_add(micros);
        for (count, _) in self.counts.iter_mut().zip(BOUNDS).filter(|(_, bound)| micros <= *bound) {
            *count = count.saturating_add(1);
        }
    }

    /// The mean, in microseconds; 0 before the first.
    #[must_use]
    pub fn mean_us(&self) -> u64 {
        self.sum_us.checked_div(self.count).unwrap_or(0)
    }

    /// Upper bounds in seconds, as they are written, and how many commits took no longer.
    pub fn buckets(&self) -> impl Iterator<Item = (String, u64)> + '_ {
        let finite = BOUNDS.iter().zip(self.counts).map(|(bound, count)| {
            let (whole, rest) = (bound.div_euclid(1_000_000), bound.rem_euclid(1_000_000));
            (format!("{whole}.{rest:06}").trim_end_matches('0').trim_end_matches('.').to_owned(), count)
        });
        finite.chain(std::iter::once(("+Inf".to_owned(), self.count)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_cumulative() {
        let mut commits = Commits::default();
        for micros in [400, 900, 2_000_000, 9_000_000] {
            commits.took(Duration::from_micros(micros));
        }
        let buckets: Vec<_> = commits.buckets().collect();
        let of = |le: &str| buckets.iter().find(|(bound, _)| bound == le).map(|(_, count)| *count);
        assert_eq!(
            (of("0.0005"), of("0.001"), of("1"), of("5"), of("+Inf")),
            (Some(1), Some(2), Some(2), Some(3), Some(4))
        );
        assert_eq!(commits.mean_us(), 2_750_325);
    }
}
