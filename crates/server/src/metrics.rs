//! `/metrics` in Prometheus' text format: counters, gauges, histograms. Labels are our own words, never a caller's.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// Upper bounds of the latency buckets, in microseconds.
const BUCKETS: [u64; 14] =
    [10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 50_000, 250_000, 1_000_000, 10_000_000];
/// Label pairs of one counter at most: reason codes of a release come from its authors.
const MAX_SERIES: usize = 512;

/// All metrics of a server.
#[derive(Debug, Default)]
pub struct Metrics {
    refused: Counter,
    decisions: Counter,
    effects: Counter,
    waived: Counter,
    feeds: Counter,
    lookups: Counter,
    found_out: Counter,
    sign_ins: Counter,
    http_answers: Counter,
    stages: Mutex<BTreeMap<&'static str, Histogram>>,
    gauges: Mutex<BTreeMap<&'static str, u64>>,
    circuits: Mutex<BTreeMap<String, (&'static str, u64)>>,
}

impl Metrics {
    /// A request that was turned away before an envelope was open.
    pub fn refused(&self, reason: &str) {
        self.refused.add(reason, "");
    }
    /// A recorded decision and its first reason's code.
    pub fn decided(&self, decision: &str, code: &str) {
        self.decisions.add(decision, code);
    }
    /// A permit that passed a denial over.
    pub fn waived(&self, how: &str, code: &str) {
        self.waived.add(how, code);
    }
    /// A warrant's ending.
    pub fn ended(&self, ending: &str) {
        self.effects.add(ending, "");
    }
    /// The class of the status of an HTTP API's answer.
    pub fn http_answered(&self, upstream: &str, class: &str) {
        self.http_answers.add(upstream, class);
    }
    /// What a feed brought, and what became of it.
    pub fn fed(&self, feed: &str, outcome: &str) {
        self.feeds.add(feed, outcome);
    }
    /// How often a feed's requests or events had this outcome.
    #[must_use]
    pub fn fed_so_far(&self, feed: &str, outcome: &str) -> u64 {
        self.feeds.get(feed, outcome)
    }
    /// What a lookup had for a call.
    pub fn looked_up(&self, lookup: &str, outcome: &str) {
        self.lookups.add(lookup, outcome);
    }
    /// Somebody who came to sign in or out by a provider, and what became of it.
    pub fn signed_in(&self, provider: &str, outcome: &str) {
        self.sign_ins.add(provider, outcome);
    }
    /// Whether a call of unknown end had its effect, and who found out.
    pub fn found_out(&self, finding: &str, by: &str) {
        self.found_out.add(finding, by);
    }
    /// The state of each upstream's breaker, and how often it opened, in the place of the last ones.
    pub fn circuits<'a>(&self, circuits: impl Iterator<Item = (&'a str, &'static str, u64)>) {
        let circuits = circuits.map(|(upstream, state, opened)| (upstream.to_owned(), (state, opened)));
        *self.circuits.lock().unwrap_or_else(PoisonError::into_inner) = circuits.collect();
    }
    /// How long a stage of the pipeline took.
    pub fn took(&self, stage: &'static str, duration: Duration) {
        let mut stages = self.stages.lock().unwrap_or_else(PoisonError::into_inner);
        stages.entry(stage).or_default().observe(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
    }
    /// Sets a gauge.
    pub fn gauge(&self, name: &'static str, value: u64) {
        self.gauges.lock().unwrap_or_else(PoisonError::into_inner).insert(name, value);
    }
    /// How often something was refused for this reason.
    #[must_use]
    pub fn refusals(&self, reason: &str) -> u64 {
        self.refused.get(reason, "")
    }

    /// The page.
    #[must_use]
    pub fn render(&self) -> String {
        let mut out = String::with_capacity(4096);
        self.refused.render(
            &mut out,
            "placet_refused_total",
            "Requests turned away before an envelope was open.",
            ("reason", ""),
        );
        self.decisions.render(
            &mut out,
            "placet_decisions_total",
            "Recorded decisions.",
            ("decision", "code"),
        );
        self.effects.render(&mut out, "placet_effects_total", "How warrants ended.", ("ending", ""));
        self.waived.render(
            &mut out,
            "placet_waived_total",
            "Permits that passed a denial over: observed or excepted, and the denial's code.",
            ("as", "code"),
        );
        self.feeds.render(
            &mut out,
            "placet_feed_total",
            "What identity feeds brought, and what became of it.",
            ("feed", "outcome"),
        );
        self.sign_ins.render(
            &mut out,
            "placet_sign_ins_total",
            "People who came to sign in or out, and what became of it.",
            ("provider", "outcome"),
        );
        self.lookups.render(
            &mut out,
            "placet_lookups_total",
            "What lookups had for calls: read, kept or nothing.",
            ("lookup", "outcome"),
        );
        self.found_out.render(
            &mut out,
            "placet_effects_found_out_total",
            "Calls of unknown end of which it was found out whether they had their effect.",
            ("finding", "by"),
        );
        self.http_answers.render(
            &mut out,
            "placet_http_answers_total",
            "Answers of HTTP APIs that were passed on, by class of status.",
            ("upstream", "status"),
        );
        self.breakers(&mut out);
        let stages = self.stages.lock().unwrap_or_else(PoisonError::into_inner);
        if !stages.is_empty() {
            out.push_str("# HELP placet_stage_seconds How long the stages of a call took.\n# TYPE placet_stage_seconds histogram\n");
        }
        for (stage, histogram) in stages.iter() {
            histogram.render(&mut out, stage);
        }
        for (name, value) in self.gauges.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            line(&mut out, format_args!("# TYPE placet_{name} gauge\nplacet_{name} {value}\n"));
        }
        out
    }
}

impl Metrics {
    fn breakers(&self, out: &mut String) {
        let circuits = self.circuits.lock().unwrap_or_else(PoisonError::into_inner);
        if circuits.is_empty() {
            return;
        }
        out.push_str("# HELP placet_breaker_open Whether an upstream is left alone: 1, tried by one call: 0.5, or called: 0.\n# TYPE placet_breaker_open gauge\n");
        for (upstream, (state, _)) in circuits.iter() {
            let value = match *state {
                "open" => "1",
                "half_open" => "0.5",
                _ => "0",
            };
            line(out, format_args!("placet_breaker_open{{upstream=\"{}\"}} {value}\n", escape(upstream)));
        }
        out.push_str("# HELP placet_breaker_opened_total How often an upstream's breaker opened.\n# TYPE placet_breaker_opened_total counter\n");
        for (upstream, (_, opened)) in circuits.iter() {
            line(
                out,
                format_args!("placet_breaker_opened_total{{upstream=\"{}\"}} {opened}\n", escape(upstream)),
            );
        }
    }
}

#[derive(Debug, Default)]
struct Counter(Mutex<BTreeMap<(String, String), u64>>);

impl Counter {
    fn add(&self, first: &str, second: &str) {
        let mut series = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut key = (first.to_owned(), second.to_owned());
        if series.len() >= MAX_SERIES && !series.contains_key(&key) {
            "other".clone_into(&mut key.1);
        }
        let count = series.entry(key).or_default();
        *count = count.saturating_add(1);
    }
    fn get(&self, first: &str, second: &str) -> u64 {
        let series = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        series.get(&(first.to_owned(), second.to_owned())).copied().unwrap_or_default()
    }
    fn render(&self, out: &mut String, name: &str, help: &str, (first, second): (&str, &str)) {
        line(out, format_args!("# HELP {name} {help}\n# TYPE {name} counter\n"));
        for ((a, b), count) in self.0.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let (a, b) = (escape(a), escape(b));
            if second.is_empty() {
                line(out, format_args!("{name}{{{first}=\"{a}\"}} {count}\n"));
            } else {
                line(out, format_args!("{name}{{{first}=\"{a}\",{second}=\"{b}\"}} {count}\n"));
            }
        }
    }
}

#[derive(Debug, Default)]
struct Histogram {
    buckets: [u64; BUCKETS.len()],
    count: u64,
    micros: u64,
}

impl Histogram {
    fn observe(&mut self, micros: u64) {
        for (bucket, bound) in self.buckets.iter_mut().zip(BUCKETS) {
            if micros <= bound {
                *bucket = bucket.saturating_add(1);
            }
        }
        self.count = self.count.saturating_add(1);
        self.micros = self.micros.saturating_add(micros);
    }
    fn render(&self, out: &mut String, stage: &str) {
        for (count, bound) in self.buckets.iter().zip(BUCKETS) {
            line(
                out,
                format_args!(
                    "placet_stage_seconds_bucket{{stage=\"{stage}\",le=\"{}\"}} {count}\n",
                    seconds(bound)
                ),
            );
        }
        line(
            out,
            format_args!("placet_stage_seconds_bucket{{stage=\"{stage}\",le=\"+Inf\"}} {}\n", self.count),
        );
        line(out, format_args!("placet_stage_seconds_sum{{stage=\"{stage}\"}} {}\n", seconds(self.micros)));
        line(out, format_args!("placet_stage_seconds_count{{stage=\"{stage}\"}} {}\n", self.count));
    }
}

fn seconds(micros: u64) -> String {
    let text = format!("{}.{:06}", micros.wrapping_div(1_000_000), micros.wrapping_rem(1_000_000));
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn escape(label: &str) -> String {
    label.chars().take(128).fold(String::with_capacity(label.len()), |mut out, letter| {
        match letter {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            other => out.push(other),
        }
        out
    })
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing into a `String` can't fail.
    let _infallible = out.write_fmt(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_prometheus_text() {
        let metrics = Metrics::default();
        metrics.refused("unauthenticated");
        metrics.refused("unauthenticated");
        metrics.decided("deny", "tricky\"\n");
        metrics.took("decide", Duration::from_micros(60));
        metrics.gauge("open_warrants", 3);
        let page = metrics.render();
        for line in [
            "placet_refused_total{reason=\"unauthenticated\"} 2",
            "placet_decisions_total{decision=\"deny\",code=\"tricky\\\"\\n\"} 1",
            "placet_stage_seconds_bucket{stage=\"decide\",le=\"0.00005\"} 0",
            "placet_stage_seconds_bucket{stage=\"decide\",le=\"0.0001\"} 1",
            "placet_stage_seconds_bucket{stage=\"decide\",le=\"+Inf\"} 1",
            "placet_stage_seconds_sum{stage=\"decide\"} 0.00006",
            "placet_open_warrants 3",
        ] {
            assert!(page.lines().any(|other| other == line), "{line}\n{page}");
        }
        assert_eq!(metrics.refusals("unauthenticated"), 2);
    }

    #[test]
    fn series_are_bounded() {
        let metrics = Metrics::default();
        for i in 0..2000 {
            metrics.decided("deny", &i.to_string());
        }
        assert!(metrics.render().len() < 100_000);
    }
}
