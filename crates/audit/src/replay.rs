//! Deciding everything again, in one pass over the journal.

use std::{
    num::NonZero,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, sync_channel},
    },
    thread,
};

use placet_core::{DecisionId, TenantId, authority::Evidence};
use placet_facts::Snapshot;
use placet_json::Value;
use placet_policy::Release;
use placet_record::{AskedRecord, DecisionRecord};
use placet_store::{ReadError, Record};

use crate::{
    Data, DataError,
    again::{Case, again},
    base::{Begin, begin},
    compare::is_fault,
    past::{Folded, Past},
    report::{Difference, Outcome, ReplayReport, What},
};

/// How many journal positions the facts of a decision may be behind it: a decision waits for the journal's queue (4096
/// entries) and the batch before it (4096), and as many again may be on their way there.
pub const WINDOW: u64 = 16_384;
/// Decisions that wait for a thread.
pub(crate) const QUEUE: usize = 256;
/// Progress is told after so many records.
const STEP: u64 = 2_000;

/// Which decisions are made again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scope {
    /// From this position on.
    pub from: Option<u64>,
    /// Up to this position, included.
    pub to: Option<u64>,
    /// Recorded at this moment or later, Unix ms.
    pub since_ms: Option<u64>,
    /// Recorded before this moment, Unix ms.
    pub until_ms: Option<u64>,
    /// Only of this tenant.
    pub tenant: Option<TenantId>,
    /// Only this one.
    pub decision: Option<DecisionId>,
}

impl Scope {
    fn holds(&self, record: &Record) -> bool {
        let Self { from, to, since_ms, until_ms, tenant, decision: _ } = self;
        from.is_none_or(|from| record.sequence >= from)
            && to.is_none_or(|to| record.sequence <= to)
            && since_ms.is_none_or(|since| record.time_ms >= since)
            && until_ms.is_none_or(|until| record.time_ms < until)
            && tenant.as_ref().is_none_or(|tenant| record.tree == tenant.as_str())
    }
}

/// Makes the decisions of `scope` again, each from its record, its release and the facts of its revision, and tells
/// what differs; against the release `other` instead of their own, where one is given. `progress` hears how many
/// records of how many are read.
pub fn replay(
    data: &Data,
    scope: &Scope,
    other: Option<&Release>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<ReplayReport, DataError> {
    let report = Mutex::new(ReplayReport {
        against: other.map(placet_core::Engine::release),
        ..ReplayReport::default()
    });
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let (cases, waiting) = sync_channel(QUEUE);
    let waiting = Mutex::new(waiting);
    let from = thread::scope(|threads_of| {
        for _ in 0..threads {
            threads_of.spawn(|| work(&waiting, data, other, &report));
        }
        let walked = walk(data, scope, other.is_some(), progress, |case| match case {
            Found::Case(case) => drop(cases.send(case)),
            Found::Unreadable(record, why) => {
                let outcome = Outcome::Differs(vec![Difference::new(What::Record, "a decision", why)]);
                add(&report, record.sequence, "", &record.tree, outcome);
            }
        });
        // Without a sender the threads end once they have done all.
        drop(cases);
        walked
    })?;
    let mut report = report.into_inner().unwrap_or_else(PoisonError::into_inner);
    report.archived = from.saturating_sub(1);
    report.finish();
    Ok(report)
}

pub(crate) enum Found<'r> {
    Case(Case),
    Unreadable(&'r Record, String),
}

/// Answers the first record that was looked at.
pub(crate) fn walk(
    data: &Data,
    scope: &Scope,
    against: bool,
    progress: &mut dyn FnMut(u64, u64),
    found: impl FnMut(Found<'_>),
) -> Result<u64, DataError> {
    let Begin { past, from } = begin(data, WINDOW)?;
    let last = scope.to.map_or(data.last(), |to| to.min(data.last()));
    let journal = Journal { past, records: data.records(from, last)?, last };
    let told = |at, of| {
        progress(at, of);
        true
    };
    journal.walk(scope, against, told, found)?;
    Ok(from)
}

/// Records in order, and what was before them.
pub(crate) struct Journal<R> {
    pub(crate) past: Past,
    pub(crate) records: R,
    pub(crate) last: u64,
}

impl<R: Iterator<Item = Result<Record, ReadError>>> Journal<R> {
    /// Ends early where `go_on`, which hears how many records of how many are read, says so.
    pub(crate) fn walk(
        self,
        scope: &Scope,
        against: bool,
        mut go_on: impl FnMut(u64, u64) -> bool,
        mut found: impl FnMut(Found<'_>),
    ) -> Result<(), DataError> {
        let Self { mut past, records, last } = self;
        for record in records {
            let record = record?;
            if record.sequence.is_multiple_of(STEP) && !go_on(record.sequence, last) {
                return Ok(());
            }
            match past.fold(&record) {
                Folded::Decision(decision)
                    if scope.holds(&record)
                        && scope.decision.as_ref().is_none_or(|only| *only == decision.id) =>
                {
                    found(Found::Case(case(&past, &record, decision, against)));
                }
                // It can't be told which decision it is.
                Folded::Unreadable(why) if scope.holds(&record) => found(Found::Unreadable(&record, why)),
                Folded::Decision(_) | Folded::Unreadable(_) | Folded::Other => {}
            }
        }
        go_on(last, last);
        Ok(())
    }
}

/// `against`: it is made again by another release than its own.
fn case(past: &Past, record: &Record, decision: Box<DecisionRecord>, against: bool) -> Case {
    let (snapshot, promoted) = match &decision.basis {
        Some(basis) => {
            // A refusal before the decision doesn't depend on what ran through the workflow, and doesn't tell it.
            let (flow_at, counted_at) = match &decision.asked {
                AskedRecord::Call(_) if !is_fault(&decision) => (Some(decision.flow_at), decision.counted_at),
                AskedRecord::Call(_) | AskedRecord::Attempt(Evidence::Call { .. } | Evidence::Nothing) => {
                    (None, None)
                }
            };
            (
                past.snapshot(&decision.grant.workflow, basis.revision, flow_at, counted_at)
                    .map(|snapshot| snapshot.recorded(basis.freshness.clone()))
                    .map(|snapshot| around(snapshot, &decision, against))
                    // What wasn't counted when it was made, its own release isn't told now.
                    .map(
                        |snapshot| {
                            if counted_at.is_none() && !against { snapshot.uncounted() } else { snapshot }
                        },
                    ),
                past.was_promoted(basis.release),
            )
        }
        None => (Err("it rests on none".to_owned()), true),
    };
    Case {
        sequence: record.sequence,
        tenant: record.tree.clone(),
        record: decision,
        snapshot,
        promoted,
        facts_shut: past.shut(),
    }
}

/// The environment isn't a fact: the record of a decision that read it says which it was. Risks weren't read before there
/// were any.
fn around(snapshot: Snapshot, decision: &DecisionRecord, against: bool) -> Snapshot {
    let Some(input) = &decision.input else { return snapshot };
    let environment = input.get("environment").and_then(Value::as_str).map(Arc::from);
    let snapshot = snapshot.in_environment(environment);
    if input.get("risk").is_none() && !against { snapshot.without_risks() } else { snapshot }
}

fn work(waiting: &Mutex<Receiver<Case>>, data: &Data, other: Option<&Release>, report: &Mutex<ReplayReport>) {
    loop {
        let case = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(case) = case else { return };
        // A thread that ends without emptying the queue would leave the reader waiting for ever.
        let outcome = catch_unwind(AssertUnwindSafe(|| again(&case, data, other)));
        let outcome = outcome.unwrap_or_else(|_| Outcome::CannotTell("the evaluation broke off".to_owned()));
        add(report, case.sequence, case.record.id.as_str(), &case.tenant, outcome);
    }
}

fn add(report: &Mutex<ReplayReport>, sequence: u64, id: &str, tenant: &str, outcome: Outcome) {
    report.lock().unwrap_or_else(PoisonError::into_inner).add(sequence, id, tenant, outcome);
}
