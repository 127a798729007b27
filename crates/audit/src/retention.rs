//! What stays here, and what may go to the archive: days of promised replay, and legal holds.

use std::collections::BTreeMap;

use placet_core::Digest;
use placet_json::{Limits, Value};
use placet_ledger::frame::Frame;
use placet_record::Kind;
use placet_store::{Candidate, Manifest, ReadError};

use crate::Data;

/// A hold's verb, and that of its end; a workflow's id follows `workflow:`.
const HOLD: &str = "hold";
const LIFT: &str = "hold ended";
const DAY_MS: u64 = 86_400_000;

/// For how long decisions are promised to be replayed from what is here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Retention {
    /// Days, where nothing else is said; 0: nothing is promised.
    pub days: u64,
    /// Days of single tenants.
    pub tenants: BTreeMap<String, u64>,
}

impl Retention {
    /// Whether a segment may go to the archive: every promise about its records is over, and none of their tenants is held.
    #[must_use]
    pub fn lets_go(&self, candidate: &Candidate, holds: &Holds, now_ms: u64) -> bool {
        candidate.trees.keys().all(|tree| {
            let days = self.tenants.get(tree).copied().unwrap_or(self.days);
            let ends = candidate.segment.until_ms.saturating_add(days.saturating_mul(DAY_MS));
            ends < now_ms && holds.of(tree).next().is_none()
        })
    }
}

/// What is held: a tenant, or one of its workflows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Held {
    /// The tenant.
    pub tenant: String,
    /// The workflow. `None`: the tenant as a whole.
    pub workflow: Option<String>,
}

/// Legal holds, a fold of the acts that set and end them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holds(BTreeMap<Held, Hold>);

/// A hold in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// The record that set it.
    pub at: u64,
    /// Why.
    pub why: String,
}

impl Holds {
    /// The verb that an act has that sets or ends a hold.
    #[must_use]
    pub fn verb(workflow: Option<&str>, ends: bool) -> String {
        let verb = if ends { LIFT } else { HOLD };
        workflow.map_or_else(|| verb.to_owned(), |workflow| format!("{verb} workflow:{workflow}"))
    }

    /// All holds, in order of what they hold.
    pub fn iter(&self) -> impl Iterator<Item = (&Held, &Hold)> {
        self.0.iter()
    }

    /// The holds on a tenant and its workflows. What belongs to a workflow can't be told from the rest of its tenant's
    /// records once it is archived or erased, so each of them counts for the tenant.
    pub fn of(&self, tenant: &str) -> impl Iterator<Item = (&Held, &Hold)> {
        self.0.iter().filter(move |(held, _)| held.tenant == tenant)
    }

    /// The next record of a journal; those that are no holds change nothing.
    pub fn record(&mut self, sequence: u64, tree: &str, kind: u8, payload: &[u8]) {
        if let Some(mark) = mark_of(sequence, tree, kind, payload) {
            self.mark(&mark);
        }
    }

    /// What an archived record left behind in the manifest.
    pub fn mark(&mut self, mark: &str) {
        let mut fields = mark.splitn(5, ' ');
        let (Some(verb), Some(at), Some(tenant), Some(workflow)) =
            (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            return;
        };
        let workflow = (workflow != "-").then(|| workflow.to_owned());
        let held = Held { tenant: tenant.to_owned(), workflow };
        match (verb, at.parse()) {
            ("hold", Ok(at)) => {
                let why = fields.next().unwrap_or_default().to_owned();
                self.0.insert(held, Hold { at, why });
            }
            ("lift", Ok(_)) => {
                self.0.remove(&held);
            }
            _ => {}
        }
    }

    /// Those of a directory, by its records and by what archived ones left behind.
    pub fn read(data: &Data) -> Result<Self, ReadError> {
        let unreadable = |error| ReadError::Io { path: data.dir().join("journal"), error };
        let manifest = Manifest::read(data.dir()).map_err(unreadable)?;
        let mut holds = Self::default();
        let base = manifest.as_ref().map_or(1, |manifest| manifest.base);
        manifest.iter().flat_map(|manifest| &manifest.marks).for_each(|mark| holds.mark(mark));
        for record in data.reader().range(base, data.reader().last()) {
            let record = record?;
            holds.record(record.sequence, &record.tree, record.kind, &record.payload);
        }
        Ok(holds)
    }
}

/// What is remembered of an archived record: holds, and which releases were in force.
#[must_use]
pub fn mark(frame: &Frame<'_>) -> Option<String> {
    mark_of(frame.sequence, frame.tree, frame.kind, frame.payload)
}

/// A mark's release.
pub(crate) fn release_of(mark: &str) -> Option<Digest> {
    mark.strip_prefix("release ").and_then(Digest::parse)
}

fn mark_of(sequence: u64, tree: &str, kind: u8, payload: &[u8]) -> Option<String> {
    let kind = Kind::from_tag(kind).filter(|kind| matches!(kind, Kind::Act | Kind::Release))?;
    let document = placet_json::parse(payload, &Limits::RESULT).ok()?;
    let text = |name: &str| document.get(name).and_then(Value::as_str);
    if kind == Kind::Release {
        return Some(format!("release {}", Digest::parse(text("release")?)?));
    }
    let verb = text("verb")?;
    let (verb, rest) = match verb.strip_prefix(LIFT) {
        Some(rest) => ("lift", rest),
        None => ("hold", verb.strip_prefix(HOLD)?),
    };
    let workflow = if rest.is_empty() { "-" } else { rest.strip_prefix(" workflow:")? };
    if document.get("refused").and_then(Value::as_bool).unwrap_or_default() {
        return None;
    }
    let why: String =
        text("why").unwrap_or_default().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    Some(format!("{verb} {sequence} {tree} {workflow} {why}"))
}

#[cfg(test)]
mod tests {
    use placet_ledger::Hash;
    use placet_store::ArchivedSegment;

    use super::*;

    fn candidate(tenants: &[&str], until_ms: u64) -> Candidate {
        let segment =
            ArchivedSegment { first: 1, last: 9, since_ms: 0, until_ms, bytes: 1, digest: Hash([0; 32]) };
        Candidate { segment, trees: tenants.iter().map(|tenant| ((*tenant).to_owned(), 1)).collect() }
    }

    fn act(holds: &mut Holds, at: u64, verb: &str, why: &str) {
        let record = format!(r#"{{"by":"operator:o","refused":false,"verb":"{verb}","v":1,"why":"{why}"}}"#);
        holds.record(at, "acme", Kind::Act.tag(), record.as_bytes());
    }

    #[test]
    fn a_segment_goes_when_the_longest_promise_in_it_is_over() {
        let retention = Retention { days: 10, tenants: BTreeMap::from([("acme".to_owned(), 100)]) };
        let none = Holds::default();
        let goes =
            |tenants: &[&str], day: u64| retention.lets_go(&candidate(tenants, 0), &none, day * DAY_MS);
        assert!(!goes(&["org"], 10) && goes(&["org"], 11));
        assert!(!goes(&["org", "acme"], 100) && goes(&["org", "acme"], 101));
    }

    #[test]
    fn what_is_held_stays_until_the_hold_ends() {
        let (retention, mut holds) = (Retention::default(), Holds::default());
        act(&mut holds, 7, &Holds::verb(Some("wf-9"), false), "case 12\\nof ours");
        act(&mut holds, 8, &Holds::verb(None, false), "");
        let goes = |holds: &Holds, tenant: &str| retention.lets_go(&candidate(&[tenant], 0), holds, DAY_MS);
        assert!(!goes(&holds, "acme") && goes(&holds, "globex"));
        let why: Vec<_> =
            holds.of("acme").map(|(held, hold)| (held.workflow.clone(), hold.at, hold.why.clone())).collect();
        assert_eq!(
            why,
            [(None, 8, String::new()), (Some("wf-9".to_owned()), 7, "case 12 of ours".to_owned())]
        );
        act(&mut holds, 9, &Holds::verb(None, true), "over");
        assert!(!goes(&holds, "acme"));
        act(&mut holds, 10, &Holds::verb(Some("wf-9"), true), "over");
        assert!(goes(&holds, "acme"));
        act(&mut holds, 11, "vault put x", "no hold");
        assert_eq!(holds, Holds::default());
    }
}
