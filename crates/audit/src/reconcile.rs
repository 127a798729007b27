//! An upstream's own log beside ours: calls that never came through the gateway, and effects that we believe in and the
//! upstream doesn't know.

use std::{collections::BTreeMap, fmt};

use placet_core::{Decimal, Digest, Timestamp};
use placet_json::{Limits, Value, object};
use placet_record::{AskedRecord, DecisionRecord, EffectRecord, Kind};
use placet_store::ReadError;

use crate::Data;

/// Lines of the upstream's log at most.
const MAX_LINES: usize = 5_000_000;
/// Findings of each kind that are kept; all are counted.
const MAX_FINDINGS: usize = 1000;

/// How the upstream's log is to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    /// The member or column with the moment, RFC 3339.
    pub time: String,
    /// The one that names the tool, if any does.
    pub tool: Option<String>,
    /// Members or columns, each with the argument of the call that it must equal.
    pub pairs: Vec<(String, String)>,
    /// How far the two clocks and the call's own time may be apart, in milliseconds.
    pub window_ms: u64,
}

/// Why a log can't be compared.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The journal.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A line of the upstream's log.
    #[error("line {line}: {what}")]
    Line {
        /// Which, from 1.
        line: usize,
        /// What is wrong with it.
        what: String,
    },
    /// Too much.
    #[error("the log has more than {MAX_LINES} lines; compare it in parts")]
    TooLong,
}

/// Something that only one side has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OneSided {
    /// Our decision, or the line of the upstream's log.
    pub which: String,
    /// When.
    pub time: Timestamp,
    /// The tool, and what was compared.
    pub what: String,
    /// The tool alone, where the log names it.
    pub tool: Option<String>,
    /// What stands for this call of the upstream's log in the ledger: the same for the same line, however often it is
    /// compared. Empty on our own side.
    pub digest: String,
}

impl OneSided {
    fn ours(which: String, time: Timestamp, what: String) -> Self {
        Self { which, time, what, tool: None, digest: String::new() }
    }
}

/// What the comparison came to.
#[derive(Debug, Default)]
pub struct Reconciled {
    /// Calls that both sides have.
    pub matched: u64,
    /// Calls of the upstream's that never came through the gateway.
    pub not_through_us: Vec<OneSided>,
    /// How many those are.
    pub not_through_us_count: u64,
    /// Effects that ended `done` here and that the upstream doesn't know.
    pub not_there: Vec<OneSided>,
    /// How many those are.
    pub not_there_count: u64,
    /// Effects that ended `unknown` here and that the upstream has: they happened.
    pub unknown_happened: Vec<OneSided>,
}

type Key = Vec<String>;

struct Ours {
    time: u64,
    id: String,
    ending: String,
    what: String,
}

/// Compares `log`, CSV with a header or JSON lines, with what was sent to `upstream`. What we sent outside of the log's own
/// time isn't missed there.
pub fn reconcile(
    data: &Data,
    upstream: &str,
    log: &str,
    mapping: &Mapping,
) -> Result<Reconciled, ReconcileError> {
    let theirs = rows(log, mapping)?;
    let (Some(first), Some(last)) =
        (theirs.iter().map(|row| row.time).min(), theirs.iter().map(|row| row.time).max())
    else {
        return Ok(Reconciled::default());
    };
    let mut ours = sent(data, upstream, mapping)?;
    let mut report = Reconciled::default();
    let mut alike: BTreeMap<(u64, Key), u64> = BTreeMap::new();
    for row in theirs {
        let candidates = ours.get_mut(&row.key);
        let near = candidates.and_then(|candidates| {
            let distance = |ours: &Ours| ours.time.abs_diff(row.time);
            let (at, nearest) = candidates.iter().enumerate().min_by_key(|(_, ours)| distance(ours))?;
            (distance(nearest) <= mapping.window_ms).then(|| candidates.swap_remove(at))
        });
        let time = Timestamp::from_millis(row.time);
        match near {
            Some(ours) => {
                report.matched = report.matched.saturating_add(1);
                if ours.ending == "unknown" && report.unknown_happened.len() < MAX_FINDINGS {
                    report.unknown_happened.push(OneSided::ours(ours.id, time, ours.what));
                }
            }
            None => {
                report.not_through_us_count = report.not_through_us_count.saturating_add(1);
                if report.not_through_us.len() < MAX_FINDINGS {
                    let tool = mapping.tool.as_ref().and_then(|_| row.key.first().cloned());
                    let same = (row.time, row.key.clone());
                    let nth = alike.entry(same).or_insert(0_u64);
                    *nth = nth.saturating_add(1);
                    // Lines that are alike are told apart by their order.
                    let text = Value::from(object! {
                        "key" => Value::Array(row.key.iter().map(|it| Value::from(it.as_str())).collect()),
                        "nth" => *nth, "time" => row.time, "upstream" => upstream,
                    });
                    report.not_through_us.push(OneSided {
                        which: format!("line {}", row.line),
                        time,
                        what: row.key.join(" "),
                        tool,
                        digest: Digest::of(text.to_string().as_bytes()).to_string(),
                    });
                }
            }
        }
    }
    let span = first.saturating_sub(mapping.window_ms)..=last.saturating_add(mapping.window_ms);
    let mut left: Vec<Ours> = ours.into_values().flatten().collect();
    left.retain(|ours| ours.ending == "done" && span.contains(&ours.time));
    left.sort_by_key(|ours| ours.time);
    report.not_there_count = u64::try_from(left.len()).unwrap_or(u64::MAX);
    let found = left
        .into_iter()
        .take(MAX_FINDINGS)
        .map(|Ours { time, id, what, ending: _ }| OneSided::ours(id, Timestamp::from_millis(time), what));
    report.not_there = found.collect();
    Ok(report)
}

/// What was sent to the upstream, by what it is compared in.
fn sent(data: &Data, upstream: &str, mapping: &Mapping) -> Result<BTreeMap<Key, Vec<Ours>>, ReconcileError> {
    let mut open: BTreeMap<u64, (Key, String)> = BTreeMap::new();
    let mut sent: BTreeMap<Key, Vec<Ours>> = BTreeMap::new();
    for record in data.reader().range(1, data.reader().last()) {
        let record = record?;
        match Kind::from_tag(record.kind) {
            Some(Kind::Decision) => {
                let Ok(decision) = DecisionRecord::read(&record.payload) else { continue };
                let AskedRecord::Call(call) = &decision.asked else { continue };
                if !decision.permit || call.upstream.as_str() != upstream {
                    continue;
                }
                let arguments = call.arguments.to_value();
                let mut key = Key::new();
                if mapping.tool.is_some() {
                    key.push(call.tool.clone());
                }
                key.extend(mapping.pairs.iter().map(|(_, argument)| plain(arguments.get(argument))));
                open.insert(record.sequence, (key, call.tool.clone()));
            }
            Some(Kind::Effect) => {
                let Ok(effect) = EffectRecord::read(&record.payload) else { continue };
                let Some((key, tool)) = open.remove(&effect.at) else { continue };
                if matches!(effect.ending.as_str(), "done" | "failed" | "filtered" | "unknown") {
                    let what = format!("{tool} {}", key.join(" "));
                    let id = effect.decision.as_str().to_owned();
                    // A withheld answer was an effect all the same.
                    let ending = if effect.ending == "filtered" { "done".to_owned() } else { effect.ending };
                    sent.entry(key).or_default().push(Ours { time: record.time_ms, id, ending, what });
                }
            }
            Some(Kind::Facts | Kind::Release | Kind::Act | Kind::Refusals | Kind::Amendment | Kind::Gap)
            | None => {}
        }
    }
    Ok(sent)
}

struct Row {
    line: usize,
    time: u64,
    key: Key,
}

fn rows(log: &str, mapping: &Mapping) -> Result<Vec<Row>, ReconcileError> {
    let json = log.trim_start().starts_with('{');
    let mut rows = Vec::new();
    let mut header: Option<Vec<String>> = None;
    for (at, text) in log.lines().enumerate() {
        let line = at.saturating_add(1);
        let wrong = |what: String| ReconcileError::Line { line, what };
        if line > MAX_LINES {
            return Err(ReconcileError::TooLong);
        }
        if text.trim().is_empty() {
            continue;
        }
        let get: BTreeMap<String, String> = if json {
            let document = placet_json::parse(text.as_bytes(), &Limits::MESSAGE)
                .map_err(|error| wrong(format!("no JSON: {error}")))?;
            let members = document.as_object().ok_or_else(|| wrong("no JSON object".to_owned()))?;
            members.iter().map(|(name, value)| (name.to_owned(), plain(Some(value)))).collect()
        } else {
            let cells = cells(text).ok_or_else(|| wrong("a quote doesn't end".to_owned()))?;
            let Some(header) = &header else {
                header = Some(cells);
                continue;
            };
            if cells.len() != header.len() {
                return Err(wrong(format!("{} columns instead of {}", cells.len(), header.len())));
            }
            header.iter().cloned().zip(cells.into_iter().map(|cell| number(&cell).unwrap_or(cell))).collect()
        };
        let member = |name: &str| get.get(name).cloned().ok_or_else(|| wrong(format!("it has no `{name}`")));
        let time = member(&mapping.time)?;
        let time =
            Timestamp::parse(&time).map_err(|error| wrong(format!("`{}`: {error}", mapping.time)))?.millis();
        let mut key = Key::new();
        if let Some(tool) = &mapping.tool {
            key.push(member(tool)?);
        }
        for (name, _) in &mapping.pairs {
            key.push(member(name)?);
        }
        rows.push(Row { line, time, key });
    }
    Ok(rows)
}

/// A value as it is compared: numbers by what they are worth, not by how they are written.
fn plain(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => number(text).unwrap_or_else(|| text.clone()),
        Some(value) => {
            let text = value.to_string();
            number(&text).unwrap_or(text)
        }
    }
}

fn number(text: &str) -> Option<String> {
    Decimal::parse(text).ok().map(|number| number.to_string())
}

/// A line of CSV (RFC 4180), without line breaks in its cells.
fn cells(line: &str) -> Option<Vec<String>> {
    let (mut cells, mut cell, mut quoted) = (Vec::new(), String::new(), false);
    let mut letters = line.chars().peekable();
    while let Some(letter) = letters.next() {
        match (letter, quoted) {
            ('"', true) if letters.peek() == Some(&'"') => {
                letters.next();
                cell.push('"');
            }
            ('"', _) => quoted = !quoted,
            (',', false) => cells.push(std::mem::take(&mut cell)),
            (other, _) => cell.push(other),
        }
    }
    cells.push(cell);
    (!quoted).then_some(cells)
}

impl Reconciled {
    /// Whether both sides have the same.
    #[must_use]
    pub fn is_same(&self) -> bool {
        self.not_through_us_count == 0 && self.not_there_count == 0
    }

    /// As JSON.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let list = |all: &[OneSided]| {
            let one = |it: &OneSided| {
                Value::from(
                    object! { "which" => it.which.as_str(), "time" => it.time.to_string(), "what" => it.what.as_str() },
                )
            };
            all.iter().map(one).collect::<Vec<_>>()
        };
        object! {
            "verdict" => if self.is_same() { "same" } else { "differs" }, "matched" => self.matched,
            "not_through_us_count" => self.not_through_us_count, "not_through_us" => list(&self.not_through_us),
            "not_there_count" => self.not_there_count, "not_there" => list(&self.not_there), "unknown_happened" => list(&self.unknown_happened),
        }
        .into()
    }
}

impl fmt::Display for Reconciled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for OneSided { which, time, what, .. } in &self.not_through_us {
            writeln!(f, "never came through the gateway: {which}, {time}: {what}")?;
        }
        for OneSided { which, time, what, .. } in &self.not_there {
            writeln!(f, "done here, unknown there: {which}, {time}: {what}")?;
        }
        for OneSided { which, time, what, .. } in &self.unknown_happened {
            writeln!(f, "unknown here, and it happened: {which}, {time}: {what}")?;
        }
        let Self { matched, not_through_us_count, not_there_count, .. } = self;
        writeln!(
            f,
            "{matched} on both sides, {not_through_us_count} never came through the gateway, {not_there_count} unknown there"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping() -> Mapping {
        Mapping {
            time: "at".to_owned(),
            tool: Some("op".to_owned()),
            pairs: vec![("sum".to_owned(), "amount".to_owned())],
            window_ms: 1000,
        }
    }

    #[test]
    fn csv_and_json_lines_say_the_same() {
        let csv = "at,op,sum,note\n2026-01-01T00:00:00Z,refund,80.00,\"a, \"\"b\"\"\"\n";
        let json = r#"{"at":"2026-01-01T00:00:00Z","op":"refund","sum":80}"#;
        for log in [csv, json] {
            let rows = rows(log, &mapping()).unwrap();
            assert_eq!((rows.len(), &rows[0].key), (1, &vec!["refund".to_owned(), "80".to_owned()]), "{log}");
        }
    }

    #[test]
    fn a_line_that_cannot_be_read_is_named() {
        let cases = [
            ("at,op,sum\n2026-01-01T00:00:00Z,refund\n", "line 2: 2 columns instead of 3"),
            ("at,op,sum\nyesterday,refund,8\n", "line 2: `at`"),
            ("at,op\n2026-01-01T00:00:00Z,refund\n", "line 2: it has no `sum`"),
            ("at,op,sum\n2026-01-01T00:00:00Z,\"refund,8\n", "line 2: a quote doesn't end"),
            ("{\"at\":1}\n{", "line 1: it has no `op`"),
        ];
        for (log, wrong) in cases {
            let error = rows(log, &mapping()).err().unwrap().to_string();
            assert!(error.starts_with(wrong) || error.contains("`at`"), "{error}");
        }
    }
}
