//! Ledger, counters and the tool's bytes, before and after.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::{Entry, Recorder, Stage, exchange};

/// A moment to compare with.
#[derive(Debug)]
pub struct Watch {
    at: u64,
    counters: BTreeMap<String, u64>,
    seen: Vec<usize>,
}

/// What must have happened since, and nothing else.
#[derive(Debug, Clone, Copy, Default)]
pub struct Want<'a> {
    /// Every new entry of the ledger but facts, in any order of decisions: `permit`, `deny CODE`, an ending, `act VERB`.
    pub ledger: &'a [&'a str],
    /// Refusals that were counted without an envelope, or by the rim.
    pub refused: &'a [(&'a str, u64)],
    /// Calls that reached a tool. With 0, no byte did but those with which tools are listed.
    pub calls: usize,
}

/// What a gateway sends without a call: era, session, list.
const HOUSEKEEPING: [&str; 6] =
    ["", "server/discover", "initialize", "notifications/initialized", "subscriptions/listen", "tools/list"];

impl Watch {
    /// Begins.
    pub async fn on(stage: &Stage) -> Self {
        stage.settle().await;
        Self {
            at: stage.ledger().last(),
            counters: counters(stage).await,
            seen: stage.recorders().map(|tool| tool.seen().len()).collect(),
        }
    }

    /// Asserts ledger, counters and bytes; returns the new entries.
    pub async fn assert(&self, stage: &Stage, what: &str, want: Want<'_>) -> Vec<Entry> {
        let mut entries = Vec::new();
        // A denial rides the next commit, some milliseconds later.
        for _ in 0..100 {
            entries = self.entries(stage);
            if entries.len() >= want.ledger.len() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        stage.settle().await;
        if entries.len() <= want.ledger.len() {
            entries = self.entries(stage);
        }
        let sorted = |mut gists: Vec<String>| {
            gists.sort();
            gists
        };
        let found = sorted(entries.iter().map(Entry::gist).collect());
        let wanted = sorted(want.ledger.iter().map(|gist| (*gist).to_owned()).collect());
        assert_eq!(found, wanted, "{what}: the ledger");

        assert_eq!(self.moved(stage).await, expected(&want), "{what}: the counters");

        let mut calls = 0;
        for (tool, before) in stage.recorders().zip(&self.seen) {
            let new = tool.seen().split_off(*before);
            calls += new.iter().filter(|seen| seen.method() == "tools/call").count();
            let odd: Vec<_> = new
                .iter()
                .filter(|seen| seen.method() != "tools/call" && !HOUSEKEEPING.contains(&seen.method()))
                .collect();
            assert!(odd.is_empty(), "{what}: the tool was sent {odd:?}");
        }
        assert_eq!(calls, want.calls, "{what}: calls that reached a tool");
        entries
    }

    /// Asserts that there were denials only, that they were counted, and that nothing reached a tool; returns them.
    pub async fn denials(&self, stage: &Stage, what: &str) -> Vec<Entry> {
        stage.settle().await;
        let gists: Vec<String> = self.entries(stage).iter().map(Entry::gist).collect();
        assert!(gists.iter().all(|gist| gist.starts_with("deny ")), "{what}: {gists:?}");
        let ledger: Vec<&str> = gists.iter().map(String::as_str).collect();
        // What the rim refuses is counted under its reason, too.
        let rim = |code: &str| {
            u64::try_from(gists.iter().filter(|gist| gist.strip_prefix("deny ") == Some(code)).count())
                .unwrap()
        };
        let refused =
            [("message_invalid", rim("message_invalid")), ("method_refused", rim("method_refused"))];
        let refused: Vec<_> = refused.into_iter().filter(|(_, count)| *count > 0).collect();
        self.assert(stage, what, Want { ledger: &ledger, refused: &refused, calls: 0 }).await
    }

    /// Asserts that exactly one request was refused, and returns the reason under which it was counted.
    pub async fn assert_refused(&self, stage: &Stage) -> String {
        let moved = self.moved(stage).await;
        let refused: Vec<_> = moved.iter().collect();
        let [(name, 1)] = refused[..] else { panic!("not one refusal: {refused:?}") };
        let reason =
            name.strip_prefix("placet_refused_total{reason=\"").and_then(|rest| rest.strip_suffix("\"}"));
        reason.unwrap_or_else(|| panic!("no refusal: {name}")).to_owned()
    }

    fn entries(&self, stage: &Stage) -> Vec<Entry> {
        let mut entries = stage.ledger().after(self.at);
        entries.retain(|entry| entry.kind != placet_record::Kind::Facts);
        entries
    }

    async fn moved(&self, stage: &Stage) -> BTreeMap<String, u64> {
        let after = counters(stage).await;
        let names: BTreeSet<&String> = after.keys().chain(self.counters.keys()).collect();
        let of = |all: &BTreeMap<String, u64>, name: &String| all.get(name).copied().unwrap_or_default();
        let moved = names.into_iter().map(|name| (name.clone(), of(&after, name) - of(&self.counters, name)));
        moved.filter(|(_, by)| *by > 0).collect()
    }
}

/// The counters that go with these entries and refusals.
fn expected(want: &Want<'_>) -> BTreeMap<String, u64> {
    let mut expected = BTreeMap::new();
    for gist in want.ledger {
        let name = match gist.split_once(' ') {
            Some(("act", _)) => continue,
            Some((decision, code)) => {
                format!(r#"placet_decisions_total{{decision="{decision}",code="{code}"}}"#)
            }
            None if *gist == "permit" => r#"placet_decisions_total{decision="permit",code=""}"#.to_owned(),
            None => format!(r#"placet_effects_total{{ending="{gist}"}}"#),
        };
        *expected.entry(name).or_default() += 1;
    }
    for (reason, count) in want.refused {
        *expected.entry(format!(r#"placet_refused_total{{reason="{reason}"}}"#)).or_default() += count;
    }
    expected
}

async fn counters(stage: &Stage) -> BTreeMap<String, u64> {
    let admin = stage.admin.address();
    let page = exchange(
        admin,
        format!("GET /metrics HTTP/1.1\r\nhost: {admin}\r\nconnection: close\r\n\r\n").as_bytes(),
    )
    .await;
    assert_eq!(page.status, 200);
    let text = page.text();
    let lines = text.lines().filter(|line| line.starts_with("placet_") && line.contains("_total{"));
    // What came back, beside what became of it.
    let lines = lines.filter(|line| !line.starts_with("placet_http_answers_total"));
    lines
        .map(|line| line.rsplit_once(' ').unwrap())
        .map(|(name, count)| (name.to_owned(), count.parse().unwrap()))
        .collect()
}

impl Stage {
    /// Every tool.
    pub fn recorders(&self) -> impl Iterator<Item = &Recorder> {
        [&self.billing, &self.crm, &self.desk].into_iter()
    }
}
