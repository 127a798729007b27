//! Two releases asked about the past: each decision made again by both, from its own record and on its own facts.

use std::{
    collections::BTreeMap,
    num::NonZero,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Mutex, PoisonError, mpsc::sync_channel},
    thread,
};

use placet_core::{Digest, Engine as _};
use placet_json::{Value, object};
use placet_policy::Release;
use placet_record::AskedRecord;
use placet_store::{Reader, Subjects};

use crate::{
    Data, DataError,
    again::{Case, Now, by},
    past::Past,
    replay::{Found, Journal, QUEUE, Scope, WINDOW, walk},
};

/// The most changed decisions that are told one by one.
pub const MAX_EXAMPLES: usize = 1000;
/// The most reasons that are told why something couldn't be compared.
const MAX_WHY: usize = 20;

/// What one release says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Side {
    /// Whether it permits.
    pub permits: bool,
    /// The first reason's code of a denial.
    pub code: String,
    /// The rule: that permitted, that denied, or that was nearest; file and line, or a platform check's code.
    pub rule: String,
}

/// A decision that the two decide differently.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// Its position in the journal.
    pub sequence: u64,
    /// Its identifier.
    pub id: String,
    /// The tenant.
    pub tenant: String,
    /// The agent that acted.
    pub agent: String,
    /// The person for whom.
    pub human: String,
    /// The tool, by its catalog name or as it was asked for.
    pub tool: String,
    /// By the first release.
    pub was: Side,
    /// By the second.
    pub now: Side,
}

/// How often something is newly permitted and newly denied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// Denials that become permits.
    pub permitted: u64,
    /// Permits that become denials.
    pub denied: u64,
}

/// What the two make of the past.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerDiff {
    /// The first release.
    pub a: Digest,
    /// The second.
    pub b: Digest,
    /// Decisions that were compared.
    pub compared: u64,
    /// Permits by both.
    pub both_permit: u64,
    /// Denials by both, with the same codes.
    pub both_deny: u64,
    /// Denials by both, with other codes.
    pub other_reasons: u64,
    /// What changes, in all.
    pub changes: Count,
    /// By the rule that is responsible: the one that permits or denies now.
    pub by_rule: BTreeMap<String, Count>,
    /// By agent.
    pub by_agent: BTreeMap<String, Count>,
    /// By tool.
    pub by_tool: BTreeMap<String, Count>,
    /// Changed decisions, in the journal's order, at most [`MAX_EXAMPLES`].
    pub examples: Vec<Changed>,
    /// Decisions that couldn't be compared, and how many for which reason.
    pub not_compared: BTreeMap<String, u64>,
}

impl LedgerDiff {
    /// Whether nothing is permitted or denied that wasn't before, and all of it could be compared.
    #[must_use]
    pub fn is_same(&self) -> bool {
        self.changes == Count::default() && self.not_compared.is_empty()
    }

    /// As JSON.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let groups = |groups: &BTreeMap<String, Count>| {
            let mut groups: Vec<(&String, &Count)> = groups.iter().collect();
            groups.sort_by_key(|(name, count)| {
                (std::cmp::Reverse(count.denied.saturating_add(count.permitted)), *name)
            });
            let told = groups.into_iter().map(|(name, count)| {
                Value::Object(object! { "name" => name.as_str(), "permitted" => count.permitted, "denied" => count.denied })
            });
            Value::Array(told.collect())
        };
        let side = |side: &Side| {
            object! {
                "decision" => if side.permits { "permit" } else { "deny" },
                "code" => side.code.as_str(), "rule" => side.rule.as_str(),
            }
        };
        let examples = self.examples.iter().map(|changed| {
            Value::Object(object! {
                "sequence" => changed.sequence, "id" => changed.id.as_str(), "tenant" => changed.tenant.as_str(),
                "agent" => changed.agent.as_str(), "human" => changed.human.as_str(), "tool" => changed.tool.as_str(),
                "was" => side(&changed.was), "now" => side(&changed.now),
            })
        });
        let not_compared = self
            .not_compared
            .iter()
            .map(|(why, count)| Value::Object(object! { "why" => why.as_str(), "count" => *count }));
        Value::Object(object! {
            "a" => self.a.to_string(), "b" => self.b.to_string(), "same" => self.is_same(),
            "compared" => self.compared, "both_permit" => self.both_permit, "both_deny" => self.both_deny,
            "other_reasons" => self.other_reasons,
            "permitted" => self.changes.permitted, "denied" => self.changes.denied,
            "by_rule" => groups(&self.by_rule), "by_agent" => groups(&self.by_agent), "by_tool" => groups(&self.by_tool),
            "examples" => examples.collect::<Vec<_>>(), "not_compared" => not_compared.collect::<Vec<_>>(),
        })
    }

    /// Reads what [`Self::to_value`] wrote; none where it isn't that.
    #[must_use]
    pub fn from_value(value: &Value) -> Option<Self> {
        let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
        let number = |value: &Value, name: &str| value.get(name).and_then(Value::as_u64);
        let list = |name: &str| value.get(name).and_then(Value::as_array);
        let count = |value: &Value| {
            Some(Count { permitted: number(value, "permitted")?, denied: number(value, "denied")? })
        };
        let groups = |name: &str| -> Option<BTreeMap<String, Count>> {
            list(name)?.iter().map(|group| Some((text(group, "name")?, count(group)?))).collect()
        };
        let side = |value: &Value| {
            let permits = match value.get("decision").and_then(Value::as_str)? {
                "permit" => true,
                "deny" => false,
                _ => return None,
            };
            Some(Side { permits, code: text(value, "code")?, rule: text(value, "rule")? })
        };
        let example = |value: &Value| {
            Some(Changed {
                sequence: number(value, "sequence")?,
                id: text(value, "id")?,
                tenant: text(value, "tenant")?,
                agent: text(value, "agent")?,
                human: text(value, "human")?,
                tool: text(value, "tool")?,
                was: side(value.get("was")?)?,
                now: side(value.get("now")?)?,
            })
        };
        let not_compared = list("not_compared")?.iter();
        let not_compared = not_compared.map(|of| Some((text(of, "why")?, number(of, "count")?)));
        Some(Self {
            a: Digest::parse(&text(value, "a")?)?,
            b: Digest::parse(&text(value, "b")?)?,
            compared: number(value, "compared")?,
            both_permit: number(value, "both_permit")?,
            both_deny: number(value, "both_deny")?,
            other_reasons: number(value, "other_reasons")?,
            changes: count(value)?,
            by_rule: groups("by_rule")?,
            by_agent: groups("by_agent")?,
            by_tool: groups("by_tool")?,
            examples: list("examples")?.iter().map(example).collect::<Option<_>>()?,
            not_compared: not_compared.collect::<Option<_>>()?,
        })
    }

    fn add(&mut self, case: &Case, compared: Result<(Side, Side, bool), String>) {
        let (was, now, same_codes) = match compared {
            Ok(sides) => sides,
            Err(why) => {
                // A reason that names a place is told for itself only as long as there are few.
                let why = if self.not_compared.len() < MAX_WHY { why } else { "another reason".to_owned() };
                let count = self.not_compared.entry(why).or_default();
                *count = count.saturating_add(1);
                return;
            }
        };
        self.compared = self.compared.saturating_add(1);
        let counter = match (was.permits, now.permits) {
            (true, true) => &mut self.both_permit,
            (false, false) if same_codes => &mut self.both_deny,
            (false, false) => &mut self.other_reasons,
            (_, permitted) => {
                let record = &case.record;
                let tool = match &record.asked {
                    AskedRecord::Call(call) => call.entry.to_string(),
                    AskedRecord::Attempt(placet_core::authority::Evidence::Call {
                        upstream, tool, ..
                    }) => {
                        format!("{upstream}.{tool}")
                    }
                    AskedRecord::Attempt(placet_core::authority::Evidence::Nothing) => String::new(),
                };
                let count = |count: &mut Count| {
                    let counter = if permitted { &mut count.permitted } else { &mut count.denied };
                    *counter = counter.saturating_add(1);
                };
                count(&mut self.changes);
                count(self.by_rule.entry(now.rule.clone()).or_default());
                count(self.by_agent.entry(record.grant.agent.to_string()).or_default());
                count(self.by_tool.entry(tool.clone()).or_default());
                self.examples.push(Changed {
                    sequence: case.sequence,
                    id: record.id.to_string(),
                    tenant: case.tenant.clone(),
                    agent: record.grant.agent.to_string(),
                    human: record.grant.human.to_string(),
                    tool,
                    was,
                    now,
                });
                // They come in any order; the earliest are kept.
                if self.examples.len() >= MAX_EXAMPLES.saturating_mul(2) {
                    self.cut();
                }
                return;
            }
        };
        *counter = counter.saturating_add(1);
    }

    fn cut(&mut self) {
        self.examples.sort_by_key(|changed| changed.sequence);
        self.examples.truncate(MAX_EXAMPLES);
    }
}

/// Asks two releases about the decisions of `scope`. `progress` hears how many records of how many are read.
pub fn diff(
    data: &Data,
    scope: &Scope,
    a: &Release,
    b: &Release,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<LedgerDiff, DataError> {
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    compare(a, b, threads, |found| walk(data, scope, true, progress, found).map(drop))
}

/// The same of a ledger that is being written, up to where it is now. Half of the processors decide. Where `go_on` says
/// so, it ends, and there is no answer.
pub fn diff_in(
    reader: &Reader,
    subjects: &Subjects,
    scope: &Scope,
    a: &Release,
    b: &Release,
    go_on: &mut dyn FnMut(u64, u64) -> bool,
) -> Result<Option<LedgerDiff>, DataError> {
    let threads = thread::available_parallelism().map_or(1, |all| (all.get() / 2).max(1));
    let last = scope.to.map_or(reader.last(), |to| to.min(reader.last()));
    let mut whole = true;
    let told = |at, of| {
        whole = go_on(at, of);
        whole
    };
    let journal = Journal { past: Past::new(WINDOW, subjects.clone()), records: reader.range(1, last), last };
    let diff = compare(a, b, threads, |found| journal.walk(scope, true, told, found))?;
    Ok(whole.then_some(diff))
}

fn compare(
    a: &Release,
    b: &Release,
    threads: usize,
    walk: impl FnOnce(&mut dyn FnMut(Found<'_>)) -> Result<(), DataError>,
) -> Result<LedgerDiff, DataError> {
    let report = Mutex::new(LedgerDiff {
        a: a.release(),
        b: b.release(),
        compared: 0,
        both_permit: 0,
        both_deny: 0,
        other_reasons: 0,
        changes: Count::default(),
        by_rule: BTreeMap::new(),
        by_agent: BTreeMap::new(),
        by_tool: BTreeMap::new(),
        examples: Vec::new(),
        not_compared: BTreeMap::new(),
    });
    let (cases, waiting) = sync_channel::<Case>(QUEUE);
    let waiting = Mutex::new(waiting);
    thread::scope(|threads_of| {
        for _ in 0..threads {
            threads_of.spawn(|| {
                loop {
                    let case = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok(case) = case else { return };
                    // A refusal before there was anything to decide is none of a release's.
                    if case.record.basis.is_none()
                        || matches!(
                            case.record.asked,
                            AskedRecord::Attempt(placet_core::authority::Evidence::Nothing)
                        )
                    {
                        continue;
                    }
                    // A thread that ends without emptying the queue would leave the reader waiting for ever.
                    let compared = catch_unwind(AssertUnwindSafe(|| both(&case, a, b)));
                    let compared = compared.unwrap_or_else(|_| Err("the evaluation broke off".to_owned()));
                    report.lock().unwrap_or_else(PoisonError::into_inner).add(&case, compared);
                }
            });
        }
        let walked = walk(&mut |found| match found {
            Found::Case(case) => drop(cases.send(case)),
            Found::Unreadable(_, why) => {
                let mut report = report.lock().unwrap_or_else(PoisonError::into_inner);
                let count = report.not_compared.entry(why).or_default();
                *count = count.saturating_add(1);
            }
        });
        drop(cases);
        walked
    })?;
    let mut report = report.into_inner().unwrap_or_else(PoisonError::into_inner);
    report.cut();
    Ok(report)
}

fn both(case: &Case, a: &Release, b: &Release) -> Result<(Side, Side, bool), String> {
    let (was, now) = (by(case, a)?, by(case, b)?);
    let codes = |now: &Now| now.reasons.iter().map(|reason| reason.code.clone()).collect::<Vec<_>>();
    let same = codes(&was) == codes(&now);
    Ok((side(&was), side(&now), same))
}

fn side(now: &Now) -> Side {
    let reason = now.reasons.first();
    let code = reason.map(|reason| reason.code.clone()).unwrap_or_default();
    let rule = match (now.determining.first(), reason) {
        (Some(rule), _) => format!("{} {}", rule.policy, rule.at),
        (None, Some(reason)) if !reason.at.is_empty() => format!("{} {}", reason.policy, reason.at),
        (None, _) => code.clone(),
    };
    Side { permits: now.permit, code, rule }
}
