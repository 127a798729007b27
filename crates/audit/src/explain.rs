//! One decision of the ledger explained: its rules with the values that it saw, and the changes of facts, or of what was
//! asked, after which the same decision would have been a permit. Each was decided again before it is told.

use std::sync::Arc;

use placet_core::{DecisionId, Digest, Envelope, FactsView, Timestamp, authority::Evidence};
use placet_facts::{Change, Place, Snapshot, Transaction, World, parse_tuple};
use placet_json::{Value, object};
use placet_policy::{FactEdit, Release};
use placet_record::{AskedRecord, DecisionRecord, document};
use placet_store::{ReadError, Reader, Subjects};

use crate::{
    Data, DataError,
    again::{Now, once},
    base::{Begin, begin},
    compare::is_fault,
    past::{Folded, Past},
    replay::WINDOW,
    right::{self, Proposal},
};

/// Changes of facts that are made one after the other.
const MAX_STEPS: usize = 6;
/// Changes that are told.
const MAX_TOLD: usize = 5;

/// A decision explained.
#[derive(Debug, Clone)]
pub struct Explained {
    permit: bool,
    value: Value,
}

impl Explained {
    /// Whether it was a permit.
    #[must_use]
    pub fn permits(&self) -> bool {
        self.permit
    }
    /// As JSON, of the same shape as [`placet_policy::Explanation`]'s; changes of facts name the fact.
    #[must_use]
    pub fn to_value(&self) -> Value {
        self.value.clone()
    }
}

/// A release of the past by its digest; else what is wrong with its archive.
type Releases<'a> = &'a dyn Fn(Digest) -> Result<Arc<Release>, String>;

/// Explains the decision `id` of a data directory; the inner error says why it can't be.
pub fn explain(data: &Data, id: &DecisionId) -> Result<Result<Explained, String>, DataError> {
    let release = |digest: Digest| data.release(digest).map_err(|why| why.to_string());
    let Begin { past, from } = begin(data, WINDOW)?;
    Ok(explain_from(past, from, data.reader(), id, &release)?)
}

/// Explains the decision `id` of a journal, which is read up to it.
pub fn explain_in(
    reader: &Reader,
    subjects: &Subjects,
    id: &DecisionId,
    releases: Releases<'_>,
) -> Result<Result<Explained, String>, ReadError> {
    explain_from(Past::new(WINDOW, subjects.clone()), 1, reader, id, releases)
}

fn explain_from(
    mut past: Past,
    from: u64,
    reader: &Reader,
    id: &DecisionId,
    releases: Releases<'_>,
) -> Result<Result<Explained, String>, ReadError> {
    for record in reader.range(from, reader.last()) {
        let record = record?;
        let Folded::Decision(decision) = past.fold(&record) else { continue };
        if decision.id == *id {
            return Ok(one(&past, &decision, releases));
        }
    }
    Ok(Err(format!("the ledger has no decision `{id}`; of a flood of refusals it keeps counts")))
}

fn one(past: &Past, record: &DecisionRecord, releases: Releases<'_>) -> Result<Explained, String> {
    let basis = record.basis.as_ref().ok_or("it rests on no release and no facts: there were none")?;
    let release = releases(basis.release)?;
    let (flow_at, counted_at) = match &record.asked {
        AskedRecord::Call(_) if !is_fault(record) => (Some(record.flow_at), record.counted_at),
        AskedRecord::Call(_) | AskedRecord::Attempt(Evidence::Call { .. } | Evidence::Nothing) => {
            (None, None)
        }
    };
    let snapshot = past.snapshot(&record.grant.workflow, basis.revision, flow_at, counted_at)?;
    let at = basis.revision.0.max(flow_at.unwrap_or(0)).max(counted_at.unwrap_or(0));
    let world = past.world(at).ok_or("the facts of then aren't known")?;
    Ok(tell(record, &release, world, snapshot))
}

/// What the facts were, and how they are changed.
struct Facts<'a> {
    world: &'a World,
    record: &'a DecisionRecord,
}

impl Facts<'_> {
    fn after(world: &World, place: &Place, change: &Change) -> Result<World, String> {
        let name = |text: &str| placet_core::Name::new(text).map_err(|error| error.to_string());
        let transaction = Transaction {
            place: place.clone(),
            changes: vec![change.clone()],
            author: name("explain")?,
            source: name("explain")?,
            why: String::new(),
            idempotency_key: None,
        };
        world.apply(world.revision().0.saturating_add(1), &transaction).map_err(|error| error.to_string())
    }

    fn snapshot(&self, world: &World) -> Option<Snapshot> {
        let basis = self.record.basis.as_ref()?;
        Some(world.snapshot(self.record.grant.workflow.tenant())?.recorded(basis.freshness.clone()))
    }

    fn altered(&self, edits: &[FactEdit]) -> Result<Arc<dyn FactsView>, String> {
        let place = Place::Tenant(self.record.grant.workflow.tenant().clone());
        let mut world = self.world.clone();
        for edit in edits {
            let change = match edit {
                FactEdit::TupleAdded(tuple) => {
                    Change::TupleAdded(parse_tuple(tuple).map_err(|error| error.to_string())?)
                }
                FactEdit::TupleRemoved(tuple) => {
                    Change::TupleRemoved(parse_tuple(tuple).map_err(|error| error.to_string())?)
                }
            };
            world = Self::after(&world, &place, &change)?;
        }
        let snapshot = self.snapshot(&world).ok_or("there is no such tenant")?;
        Ok(Arc::new(snapshot))
    }
}

fn tell(record: &DecisionRecord, release: &Release, world: &World, snapshot: Snapshot) -> Explained {
    let facts = Facts { world, record };
    let moment = record.basis.as_ref().map_or(record.time, |basis| basis.now);
    let seen = match &record.basis {
        Some(basis) => snapshot.recorded(basis.freshness.clone()),
        None => snapshot,
    };
    let alter = |edits: &[FactEdit]| facts.altered(edits);
    let explanation =
        record.input.as_ref().map(|input| release.explain(input, Some(&seen), Some(moment), Some(&alter)));
    let mut value = explanation.as_ref().map_or_else(
        || {
            object! {
                "decision" => Value::Null, "agent" => "", "operator" => "", "rules" => Vec::<Value>::new(),
                "facts" => object! { "relations" => Vec::<Value>::new(), "resources" => Vec::<Value>::new() },
                "changes" => Vec::<Value>::new(), "complete" => true,
            }
        },
        |explanation| explanation.to_value().into_object().unwrap_or_default(),
    );
    value.insert("decision", document(&record.document));
    value.insert("agent", told_to_agent(record));
    value.insert("operator", reasons(record, "operator"));
    value.insert(
        "recorded",
        object! { "id" => record.id.as_str(), "tenant" => record.grant.workflow.tenant().as_str() },
    );
    if !record.permit {
        let mut changes: Vec<Value> = Vec::new();
        if let Ok(envelope) = Envelope::open(record.grant.clone(), Timestamp::from_millis(0)) {
            let permits = Permits { facts: &facts, release, envelope: &envelope, moment };
            let edits: Vec<&[placet_policy::Edit]> = explanation
                .iter()
                .flat_map(|explanation| &explanation.changes)
                .map(|change| change.edits.as_slice())
                .collect();
            changes.extend(permits.found(&edits));
        }
        // The same call on other facts first, then another call.
        changes.extend(value.get("changes").and_then(Value::as_array).unwrap_or_default().iter().cloned());
        changes.truncate(MAX_TOLD);
        value.insert("changes", changes);
        if let Some(note) = note(record) {
            value.insert("note", note);
        }
    }
    Explained { permit: record.permit, value: Value::Object(value) }
}

struct Permits<'a> {
    facts: &'a Facts<'a>,
    release: &'a Release,
    envelope: &'a Envelope,
    moment: Timestamp,
}

impl Permits<'_> {
    /// Changes of facts after which the whole decision, platform and policies, is a permit.
    fn found(&self, edits: &[&[placet_policy::Edit]]) -> Vec<Value> {
        let mut found: Vec<Vec<Proposal>> = Vec::new();
        found.extend(self.one_by_one());
        for edits in edits {
            let Some(snapshot) = self.facts.snapshot(self.facts.world) else { continue };
            let proposals: Option<Vec<Proposal>> =
                edits.iter().map(|edit| right::of_edit(edit, self.facts.record, &snapshot)).collect();
            if let Some(proposals) = proposals
                && self.permits(&proposals)
                && !found.contains(&proposals)
            {
                found.push(proposals);
            }
        }
        found
            .into_iter()
            .map(|proposals| {
                let edits: Vec<Value> = proposals.iter().map(Proposal::to_value).collect();
                Value::Object(object! { "cost" => 10_u64, "edits" => edits })
            })
            .collect()
    }

    fn permits(&self, proposals: &[Proposal]) -> bool {
        let mut world = self.facts.world.clone();
        for proposal in proposals {
            match Facts::after(&world, &proposal.place, &proposal.change) {
                Ok(next) => world = next,
                Err(_) => return false,
            }
        }
        self.decided(&world).is_some_and(|now| now.permit)
    }

    fn decided(&self, world: &World) -> Option<Now> {
        let snapshot = self.facts.snapshot(world)?;
        once(self.facts.record, self.envelope, &snapshot, self.release, self.moment)
    }

    /// What the platform refuses is put right step by step, as far as facts can.
    fn one_by_one(&self) -> Option<Vec<Proposal>> {
        let mut world = self.facts.world.clone();
        let mut now = self.decided(&world)?;
        let mut done: Vec<Proposal> = Vec::new();
        while !now.permit && done.len() < MAX_STEPS {
            let snapshot = self.facts.snapshot(&world)?;
            let before = code(&now);
            let mut next = None;
            for proposal in right::proposals(&before, &now, self.facts.record, &snapshot, self.moment) {
                let Ok(changed) = Facts::after(&world, &proposal.place, &proposal.change) else {
                    continue;
                };
                let Some(then) = self.decided(&changed) else { continue };
                let goes_on = then.permit
                    || code(&then) != before
                    || then.remedy != now.remedy
                    || then.reasons != now.reasons;
                if goes_on && !done.contains(&proposal) {
                    next = Some((proposal, changed, then));
                    break;
                }
            }
            let (proposal, changed, then) = next?;
            done.push(proposal);
            (world, now) = (changed, then);
        }
        now.permit.then_some(done)
    }
}

fn code(now: &Now) -> String {
    now.reasons.first().map(|reason| reason.code.clone()).unwrap_or_default()
}

fn reasons(record: &DecisionRecord, text: &str) -> String {
    if record.permit {
        return "permitted".to_owned();
    }
    let all = record.document.get("reasons").and_then(Value::as_array).unwrap_or_default();
    let get =
        |reason: &Value, name: &str| reason.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    all.iter()
        .map(|reason| format!("{}: {}", get(reason, "code"), get(reason, text)))
        .collect::<Vec<_>>()
        .join("; ")
}

fn told_to_agent(record: &DecisionRecord) -> String {
    reasons(record, "message")
}

/// What no change of facts can put right, and what to do instead.
fn note(record: &DecisionRecord) -> Option<&'static str> {
    let code = record.document.pointer("/reasons/0/code").and_then(Value::as_str)?;
    match code {
        "workflow_expired" | "workflow_closed" => Some(
            "a workflow that is over stays over: open another (`placet workflow open`) and delegate in it (`placet delegate`)",
        ),
        "delegation_expired"
        | "delegation_revoked"
        | "delegation_limit"
        | "action_not_delegated"
        | "chain_invalid"
        | "intent_not_declared" => {
            Some("a delegation is never widened or revived: grant another (`placet delegate`)")
        }
        "token_expired" => Some("the agent fetches a new token and asks again"),
        "release_changed" => Some("the agent asks again: the release in force had changed meanwhile"),
        "facts_stale" => Some("a source of facts is past its bound: see `placet doctor`"),
        _ => None,
    }
}
