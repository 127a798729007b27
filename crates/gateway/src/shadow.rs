//! A candidate beside the release in force, on the calls that really come: what would it have said?
//!
//! It decides nothing. A call is handed over after its decision, by value and without waiting; where the candidate is
//! behind, calls are left out and counted. The differences are counted by agent, tool and rule.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{SyncSender, TrySendError, sync_channel},
    },
};

use placet_core::{
    DecisionId, Digest, Engine as _, Envelope, FactsView, LookedUp, Timestamp, Verdict,
    authority::{Decision, Ground, Offered},
};
use placet_json::{Value, object};
use placet_policy::Release;

/// Calls that wait for the candidate: each holds its arguments, at most a request's body.
const QUEUE: usize = 256;
/// Kinds of difference that are told apart; further ones are counted together.
const MAX_KINDS: usize = 1024;

/// The place of a candidate beside the one in force. Cheap to clone; every clone is the same.
#[derive(Debug, Clone, Default)]
pub struct Shadow(Arc<Mutex<Option<Arc<Run>>>>);

#[derive(Debug)]
struct Run {
    candidate: Digest,
    since: Timestamp,
    queue: SyncSender<(Asked, Came)>,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    compared: AtomicU64,
    differing: AtomicU64,
    dropped: AtomicU64,
    kinds: Mutex<BTreeMap<Kind, u64>>,
}

/// A kind of difference.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    agent: String,
    tool: String,
    was: String,
    would: String,
    rule: String,
}

/// A call with all that its decision rested on.
pub(crate) struct Asked {
    envelope: Envelope,
    upstream: String,
    tool: String,
    arguments: Value,
    offered: Offered,
    lookups: Vec<LookedUp>,
    facts: Arc<dyn FactsView>,
    now: Timestamp,
    id: DecisionId,
}

impl std::fmt::Debug for Asked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Asked({})", self.id)
    }
}

/// A call before its decision is known.
pub(crate) struct Watched {
    run: Arc<Run>,
    asked: Asked,
}

/// What came of a decision: permitted or not, the first reason's code, the rule.
#[derive(Debug)]
struct Came {
    verdict: String,
    rule: String,
}

impl Shadow {
    /// Puts a candidate beside the one in force, in place of the one before, if there was one.
    pub fn start(&self, candidate: Arc<Release>, now: Timestamp) -> Result<(), String> {
        let (queue, calls) = sync_channel::<(Asked, Came)>(QUEUE);
        let counts = Arc::<Counts>::default();
        let run = Run { candidate: candidate.digest(), since: now, queue, counts: Arc::clone(&counts) };
        let work = move || {
            for (asked, was) in calls {
                counts.compare(&asked, &was, &candidate);
            }
        };
        std::thread::Builder::new()
            .name("shadow".to_owned())
            .spawn(work)
            .map_err(|error| format!("no thread for the candidate: {error}"))?;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(run));
        Ok(())
    }

    /// Takes it away; its last report.
    #[must_use]
    pub fn end(&self) -> Option<Value> {
        let report = self.report();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
        report
    }

    /// What it came to so far; none where there is no candidate.
    #[must_use]
    pub fn report(&self) -> Option<Value> {
        let run = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        let Run { candidate, since, queue: _, counts } = &*run;
        let kinds = counts.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        let mut kinds: Vec<(&Kind, u64)> = kinds.iter().map(|(kind, count)| (kind, *count)).collect();
        kinds.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let differences = kinds.into_iter().map(|(kind, count)| {
            let Kind { agent, tool, was, would, rule } = kind;
            Value::from(object! {
                "agent" => agent.as_str(), "calls" => count, "rule" => rule.as_str(), "tool" => tool.as_str(),
                "was" => was.as_str(), "would" => would.as_str(),
            })
        });
        let count = |of: &AtomicU64| of.load(Ordering::Relaxed);
        Some(
            object! {
                "compared" => count(&counts.compared), "differing" => count(&counts.differing),
                "differences" => Value::Array(differences.collect()), "dropped" => count(&counts.dropped),
                "release" => candidate.to_string(), "since" => since.to_string(),
            }
            .into(),
        )
    }

    /// Takes a call to be compared, if there is a candidate; else nothing is copied.
    #[expect(clippy::too_many_arguments, reason = "each is one independent part of what was asked")]
    pub(crate) fn watch(
        &self,
        envelope: &Envelope,
        upstream: &str,
        tool: &str,
        arguments: &Value,
        offered: impl FnOnce() -> Offered,
        lookups: &[LookedUp],
        facts: impl FnOnce() -> Option<Arc<dyn FactsView>>,
        (now, id): (Timestamp, &DecisionId),
    ) -> Option<Watched> {
        let run = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        let asked = Asked {
            envelope: envelope.clone(),
            upstream: upstream.to_owned(),
            tool: tool.to_owned(),
            arguments: arguments.clone(),
            offered: offered(),
            lookups: lookups.to_vec(),
            facts: facts()?,
            now,
            id: id.clone(),
        };
        Some(Watched { run, asked })
    }
}

impl Watched {
    /// Hands the call over with what came of it. Never waits.
    pub(crate) fn decided(self, decision: &Decision) {
        let Self { run, asked } = self;
        let basis = match decision {
            Decision::Permit(permit) => Some(permit.basis()),
            Decision::Deny(denial) => match denial.ground() {
                Ground::Basis(basis) => Some(basis),
                Ground::Nothing(_) => None,
            },
        };
        // What was decided on other facts or by the candidate itself says nothing.
        let same = basis
            .is_some_and(|basis| basis.revision == asked.facts.revision() && basis.release != run.candidate);
        let came = match decision {
            Decision::Permit(permit) => Came {
                verdict: "permit".to_owned(),
                rule: permit.determining().first().map(|by| by.policy.clone()).unwrap_or_default(),
            },
            Decision::Deny(denial) => Came {
                verdict: format!("deny {}", denial.reasons().first().code),
                rule: denial.reasons().first().policy.clone(),
            },
        };
        if !same {
            run.counts.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        match run.queue.try_send((asked, came)) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                run.counts.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

impl Counts {
    fn compare(&self, asked: &Asked, was: &Came, candidate: &Release) {
        let would = judge(asked, candidate);
        self.compared.fetch_add(1, Ordering::Relaxed);
        if would.verdict == was.verdict {
            return;
        }
        self.differing.fetch_add(1, Ordering::Relaxed);
        let kind = Kind {
            agent: asked.envelope.agent().to_string(),
            tool: format!("{}.{}", asked.upstream, asked.tool),
            was: was.verdict.clone(),
            would: would.verdict.clone(),
            // The rule that permits, on whichever side one does.
            rule: if would.verdict == "permit" { would.rule } else { was.rule.clone() },
        };
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        let other = || Kind {
            agent: "others".to_owned(),
            tool: "others".to_owned(),
            was: was.verdict.clone(),
            would: would.verdict.clone(),
            rule: String::new(),
        };
        let key = if kinds.len() < MAX_KINDS || kinds.contains_key(&kind) { kind } else { other() };
        let count = kinds.entry(key).or_default();
        *count = count.saturating_add(1);
    }
}

/// What the candidate says, by its own catalog and its own policies.
fn judge(asked: &Asked, candidate: &Release) -> Came {
    let Asked { envelope, upstream, tool, arguments, offered, lookups, facts, now, id } = asked;
    let denied = |code: &str, rule: &str| Came { verdict: format!("deny {code}"), rule: rule.to_owned() };
    let admitted =
        candidate.admit(envelope, &**facts, id.clone(), upstream, tool, arguments, *offered, lookups);
    let call = match admitted {
        Ok((call, _)) => call,
        Err(refused) => return denied(&refused.1.first().code, ""),
    };
    match candidate.evaluate(envelope, &call, &**facts, *now) {
        Err(fault) => denied(fault.code.as_str(), ""),
        Ok(evaluation) => match evaluation.verdict {
            Verdict::Allow { determining, .. } => Came {
                verdict: "permit".to_owned(),
                rule: determining.first().map(|by| by.policy.clone()).unwrap_or_default(),
            },
            Verdict::Deny { reasons, .. } => denied(&reasons.first().code, &reasons.first().policy),
        },
    }
}
