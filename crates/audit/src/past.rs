//! The facts as they were: the journal's entries folded as the gateway folded them, and the last of the worlds kept.

use std::collections::{BTreeMap, BTreeSet};

use placet_core::{ApprovalId, Decimal, Digest, FactsView, Revision, TenantId, WorkflowId};
use placet_facts::{Place, SealedFact, Snapshot, Transaction, World, attribute_at};
use placet_json::{Limits, Value};
use placet_record::{
    Amendment, AskedRecord, BadRecord, DecisionRecord, EffectRecord, Kind,
    sealed::{Shut, missing},
};
use placet_store::{Record, Subjects};

use crate::{
    base::{Begin, begin},
    bodies::opened,
};

/// The worlds of the last so many journal positions.
#[derive(Debug)]
pub(crate) struct Past {
    /// After each entry that changed something; the first one stands for all before the window.
    worlds: BTreeMap<u64, World>,
    window: u64,
    promoted: BTreeSet<Digest>,
    /// The last of them.
    release: Option<Digest>,
    broken: Option<String>,
    subjects: Subjects,
    /// Why some facts are missing.
    shut: Option<Shut>,
}

/// What a record was, once it is folded.
pub(crate) enum Folded {
    /// A decision.
    Decision(Box<DecisionRecord>),
    /// A decision that can't be read.
    Unreadable(String),
    /// Anything else.
    Other,
}

impl Past {
    pub(crate) fn new(window: u64, subjects: Subjects) -> Self {
        Self {
            worlds: BTreeMap::from([(0, World::new())]),
            window,
            promoted: BTreeSet::new(),
            release: None,
            broken: None,
            subjects,
            shut: None,
        }
    }

    /// From a world on, which is that after the record `at`.
    pub(crate) fn at(window: u64, subjects: Subjects, (at, world): (u64, World), shut: Option<Shut>) -> Self {
        Self { worlds: BTreeMap::from([(at, world)]), shut, ..Self::new(window, subjects) }
    }

    /// This release was in force at some time.
    pub(crate) fn promote(&mut self, release: Digest) {
        self.promoted.insert(release);
        self.release = Some(release);
    }

    /// Why some of the facts up to here are missing; none where all are there.
    pub(crate) fn shut(&self) -> Option<Shut> {
        self.shut
    }

    /// Goes on by one record.
    pub(crate) fn fold(&mut self, record: &Record) -> Folded {
        let folded = self.read(record);
        // What stands before the window is the newest world that is older than it.
        let start = record.sequence.saturating_sub(self.window);
        while self.worlds.keys().nth(1).is_some_and(|second| *second <= start) {
            self.worlds.pop_first();
        }
        folded
    }

    /// Whether a release ever came into force up to here.
    pub(crate) fn was_promoted(&self, release: Digest) -> bool {
        self.promoted.contains(&release)
    }

    /// What the decision saw that rests on `revision` and, where they are known, on the workflow's permit at `flow_at` and
    /// the tenant's permit or ending at `counted_at`: the world after the latest of them. Else how the facts differ from
    /// those.
    pub(crate) fn snapshot(
        &self,
        workflow: &WorkflowId,
        revision: Revision,
        flow_at: Option<u64>,
        counted_at: Option<u64>,
    ) -> Result<Snapshot, String> {
        if let Some(broken) = &self.broken {
            return Err(broken.clone());
        }
        let at = revision.0.max(flow_at.unwrap_or(0)).max(counted_at.unwrap_or(0));
        let found = self.worlds.range(..=at).next_back().or_else(|| self.worlds.first_key_value());
        let snapshot = found
            .and_then(|(_, world)| world.snapshot(workflow.tenant()))
            .ok_or_else(|| format!("there was no tenant `{}`", workflow.tenant()))?;
        if snapshot.revision() != revision {
            return Err(format!("at position {at} their revision was {}", snapshot.revision()));
        }
        let last = snapshot.facts().tallies().at();
        if let Some(counted) = counted_at.filter(|counted| *counted != last) {
            return Err(format!("the tenant's last permit or ending was at position {last}, not {counted}"));
        }
        let last = snapshot.flow(workflow).totals_at;
        match flow_at {
            Some(flow_at) if flow_at != last => {
                Err(format!("the workflow's last permit was at position {last}, not {flow_at}"))
            }
            Some(_) | None => Ok(snapshot),
        }
    }

    /// The world after the last change up to `at`.
    pub(crate) fn world(&self, at: u64) -> Option<&World> {
        self.worlds.range(..=at).next_back().or_else(|| self.worlds.first_key_value()).map(|(_, world)| world)
    }

    fn read(&mut self, record: &Record) -> Folded {
        let at = record.sequence;
        match Kind::from_tag(record.kind) {
            Some(Kind::Facts) => {
                let next = self.newest().and_then(|world| {
                    transact(world, record, &self.subjects)
                        .map_err(|why| format!("the record {at} of facts can't be applied: {why}"))
                });
                let next = next.map(|(world, shut)| {
                    self.shut = self.shut.max(shut);
                    world
                });
                self.push(at, next);
            }
            Some(Kind::Decision) => match decision(record, &self.subjects) {
                Ok(decision) => {
                    if decision.permit {
                        let next = self.newest().and_then(|world| {
                            permit(world, at, &decision)
                                .map_err(|why| format!("the permit {at} can't be applied: {why}"))
                        });
                        self.push(at, next);
                    }
                    return Folded::Decision(Box::new(decision));
                }
                Err(error) => {
                    // Whether it was a permit isn't known, so neither is what came after it.
                    self.push(at, Err(format!("the decision {at} can't be read: {error}")));
                    return Folded::Unreadable(error.to_string());
                }
            },
            Some(Kind::Release) => match released(record) {
                Some(digest) => {
                    self.promote(digest);
                }
                None => self.push(at, Err(format!("the record {at} of a release names none"))),
            },
            Some(Kind::Effect) => {
                let next = self.newest().and_then(|world| {
                    ending(world, record).map_err(|why| format!("the ending {at} can't be read: {why}"))
                });
                self.push(at, next);
            }
            Some(Kind::Amendment) => {
                let next = self.newest().and_then(|world| {
                    finding(world, record).map_err(|why| format!("the finding {at} can't be read: {why}"))
                });
                self.push(at, next);
            }
            Some(Kind::Act | Kind::Refusals | Kind::Gap) => {}
            None => self.push(
                at,
                Err(format!(
                    "the record {at} is of the unknown kind {}: it was written by a newer version",
                    record.kind
                )),
            ),
        }
        Folded::Other
    }

    fn newest(&self) -> Result<&World, String> {
        match (&self.broken, self.worlds.last_key_value()) {
            (None, Some((_, world))) => Ok(world),
            (Some(broken), _) => Err(broken.clone()),
            (None, None) => Err("there are no facts".to_owned()),
        }
    }

    fn push(&mut self, at: u64, next: Result<World, String>) {
        match next {
            Ok(world) => {
                self.worlds.insert(at, world);
            }
            Err(why) => {
                self.broken.get_or_insert(why);
            }
        }
    }
}

fn decision(record: &Record, subjects: &Subjects) -> Result<DecisionRecord, BadRecord> {
    DecisionRecord::read(&opened(record, subjects)?.payload)
}

/// The world after everything that a directory's journal holds, and the release in force.
pub(crate) fn newest(
    data: &crate::Data,
) -> Result<Result<(World, Option<Digest>), String>, crate::DataError> {
    let Begin { mut past, from } = begin(data, 0)?;
    for record in data.reader().range(from, data.reader().last()) {
        past.fold(&record?);
    }
    Ok(past.newest().cloned().map(|world| (world, past.release)))
}

/// The world after a transaction, and why some of its facts are missing.
fn transact(world: &World, record: &Record, subjects: &Subjects) -> Result<(World, Option<Shut>), String> {
    let opened = opened(record, subjects).map_err(|error| error.to_string())?;
    let document = placet_json::parse(&opened.payload, &Limits::RESULT).map_err(|error| error.to_string())?;
    let transaction = document.get("transaction").ok_or("it has no `transaction`")?;
    let transaction = Transaction::from_value(transaction).map_err(|error| error.to_string())?;
    let next = world.apply(record.sequence, &transaction).map_err(|error| error.to_string())?;
    // Of a record whose bodies aren't here at all, as in a pack, its own list tells.
    let missing = missing(&document);
    let shut = missing.iter().map(|(_, shut)| *shut).max();
    let Place::Tenant(tenant) = &transaction.place else { return Ok((next, shut)) };
    let places = missing.iter().filter_map(|(at, _)| attribute_at(&transaction, at));
    let places = places.map(|(at, name)| (at, name, SealedFact::Erased)).collect();
    Ok((next.sealed(tenant, places), shut))
}

fn permit(world: &World, at: u64, record: &DecisionRecord) -> Result<World, String> {
    let AskedRecord::Call(call) = &record.asked else { return Err("it has no call".to_owned()) };
    let workflow = &record.grant.workflow;
    let spends: Vec<_> =
        record.spends.iter().map(|id| ApprovalId::new(workflow.tenant().clone(), id.clone())).collect();
    let spent = world.spend(at, &spends).map_err(|error| error.to_string())?;
    let amount = call.amount().unwrap_or(Decimal::ZERO);
    let permitted = spent.permitted(at, workflow, &call.labels, &call.entry, &call.action, amount);
    let spending = record.spending().ok_or("it has no call")?;
    permitted
        .and_then(|world| world.counted(at, spending, spends, record.keep))
        .map_err(|error| error.to_string())
}

/// The ending of a permit that isn't open is the ledger's finding, and changes nothing here.
fn ending(world: &World, record: &Record) -> Result<World, String> {
    let effect = EffectRecord::read(&record.payload).map_err(|error| error.to_string())?;
    let tenant = TenantId::new(&record.tree).map_err(|error| error.to_string())?;
    if effect.is_unknown() {
        return Ok(world.ended_unknown(record.sequence, &tenant, effect.at));
    }
    Ok(world.ended(record.sequence, &tenant, effect.at, effect.returned))
}

fn finding(world: &World, record: &Record) -> Result<World, String> {
    let found = Amendment::read(&record.payload).map_err(|error| error.to_string())?;
    Ok(world.found(record.sequence, &found.tenant, found.at, found.returned))
}

pub(crate) fn released(record: &Record) -> Option<Digest> {
    let document = placet_json::parse(&record.payload, &Limits::RESULT).ok()?;
    document.get("release").and_then(Value::as_str).and_then(Digest::parse)
}

#[cfg(test)]
mod tests {
    use placet_core::{Name, TenantId};
    use placet_ledger::Hash;

    use super::*;

    fn record(sequence: u64, kind: Kind, payload: &str) -> Record {
        let payload = payload.as_bytes().to_vec();
        Record {
            sequence,
            time_ms: sequence,
            tree: "acme".to_owned(),
            kind: kind.tag(),
            payload,
            sealed: Vec::new(),
            leaf: Hash([0; 32]),
            link: Hash([0; 32]),
        }
    }
    fn facts(sequence: u64, place: &str, change: &str) -> Record {
        let transaction =
            format!(r#"{{"place":{place},"changes":[{change}],"author":"local","source":"file","why":""}}"#);
        record(sequence, Kind::Facts, &format!(r#"{{"transaction":{transaction},"v":1}}"#))
    }
    fn resource(sequence: u64) -> Record {
        facts(
            sequence,
            r#"{"tenant":"acme"}"#,
            &format!(r#"{{"resource_set":{{"type":"case","id":"C-{sequence}","attributes":{{}}}}}}"#),
        )
    }

    #[test]
    fn worlds_before_the_window_are_one_and_those_in_it_are_kept() {
        let mut past = Past::new(10, Subjects::none());
        let organisation = r#""organisation""#;
        past.fold(&facts(1, organisation, r#"{"tenant_created":{"id":"acme"}}"#));
        assert_eq!(past.broken, None);
        past.fold(&resource(2));
        let workflow = WorkflowId::new(TenantId::new("acme").unwrap(), Name::new("wf-9").unwrap());
        let revision = |past: &Past, at: u64| {
            past.snapshot(&workflow, Revision(at), Some(0), None).map(|snapshot| snapshot.revision().0)
        };
        // Facts that rest for long are still those that a decision saw.
        for sequence in 3..100 {
            past.fold(&record(sequence, Kind::Act, "{}"));
        }
        assert_eq!((revision(&past, 2), past.worlds.len()), (Ok(2), 1));
        for sequence in 100..200 {
            past.fold(&resource(sequence));
            assert!(past.worlds.len() <= 11, "{}", past.worlds.len());
        }
        for kept in 189..200 {
            assert_eq!(revision(&past, kept), Ok(kept));
        }
        assert_eq!(
            revision(&past, 188),
            Err("at position 188 their revision was 189".to_owned()),
            "never the facts of another moment"
        );
        assert_eq!(
            past.snapshot(&workflow, Revision(199), Some(7), None).unwrap_err(),
            "the workflow's last permit was at position 0, not 7"
        );
    }

    #[test]
    fn after_a_record_that_cannot_be_applied_nothing_is_known() {
        let mut past = Past::new(10, Subjects::none());
        past.fold(&resource(1));
        let workflow = WorkflowId::new(TenantId::new("acme").unwrap(), Name::new("wf-9").unwrap());
        let why = past.snapshot(&workflow, Revision(0), None, None).unwrap_err();
        assert!(why.starts_with("the record 1 of facts can't be applied"), "{why}");
        past.fold(&facts(2, r#""organisation""#, r#"{"tenant_created":{"id":"acme"}}"#));
        assert_eq!(past.snapshot(&workflow, Revision(2), None, None).unwrap_err(), why);
    }
}
