//! Entries count in the order in which they arrived, however long their fetches take.
//!
//! An entry that waits for its data holds nobody up: what came later is in force at once. When the data is there, the
//! document is folded again in the order of arrival, so that a late answer never undoes what was said after it.

use std::collections::VecDeque;

use placet_json::{Object, Value};

use super::document::{self, DocumentError, Path};

/// The most entries that are kept because an earlier one still waits.
pub const MAX_WAITING: usize = 1_024;

/// A place in the order of arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// What an entry does to the document, once its data is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Puts this at the path.
    Put(Value),
    /// Applies these RFC 6902 operations.
    Patch(Value),
}

/// There is no room for another entry: only a full fetch helps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("more than {MAX_WAITING} updates wait behind one that can't be fetched")]
pub struct Full;

#[derive(Debug)]
struct Arrival {
    ticket: Ticket,
    path: Path,
    op: Option<Op>,
}

/// The document, and the entries that aren't folded into it for good.
#[derive(Debug)]
pub struct Arrivals {
    base: Value,
    log: VecDeque<Arrival>,
    next: u64,
}

impl Default for Arrivals {
    fn default() -> Self {
        Self::new(Value::Object(Object::new()))
    }
}

impl Arrivals {
    /// Begins with a document.
    #[must_use]
    pub fn new(base: Value) -> Self {
        Self { base, log: VecDeque::new(), next: 0 }
    }

    /// An entry arrived; its data may follow.
    pub fn arrive(&mut self, path: Path) -> Result<Ticket, Full> {
        if self.log.len() >= MAX_WAITING {
            return Err(Full);
        }
        self.next = self.next.saturating_add(1);
        let ticket = Ticket(self.next);
        self.log.push_back(Arrival { ticket, path, op: None });
        Ok(ticket)
    }

    /// The data of an entry is there. Entries before it that it replaces altogether are given up: their tickets come
    /// back, so that nobody fetches for them any more.
    pub fn resolve(&mut self, ticket: Ticket, op: Op) -> Vec<Ticket> {
        let Some(at) = self.log.iter().position(|arrival| arrival.ticket == ticket) else {
            return Vec::new();
        };
        let mut replaced = Vec::new();
        if matches!(op, Op::Put(_))
            && let Some(path) = self.log.get(at).map(|arrival| arrival.path.clone())
        {
            self.log.retain(|arrival| {
                let stays = arrival.ticket >= ticket || !path.covers(&arrival.path);
                if !stays && arrival.op.is_none() {
                    replaced.push(arrival.ticket);
                }
                stays
            });
        }
        if let Some(arrival) = self.log.iter_mut().find(|arrival| arrival.ticket == ticket) {
            arrival.op = Some(op);
        }
        replaced
    }

    /// The entry won't get its data.
    pub fn give_up(&mut self, ticket: Ticket) {
        self.log.retain(|arrival| arrival.ticket != ticket);
    }

    /// Forgets all that waits; its tickets come back.
    pub fn clear(&mut self) -> Vec<Ticket> {
        self.log.drain(..).filter(|arrival| arrival.op.is_none()).map(|arrival| arrival.ticket).collect()
    }

    /// How many entries wait for their data.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.log.iter().filter(|arrival| arrival.op.is_none()).count()
    }

    /// The document as of now. Entries that can't be applied, and won't be by waiting, are dropped and told.
    pub fn fold(&mut self) -> (Value, Vec<(Ticket, DocumentError)>) {
        let mut wrong = Vec::new();
        while self.log.front().is_some_and(|arrival| arrival.op.is_some()) {
            let Some(Arrival { ticket, path, op: Some(op) }) = self.log.pop_front() else { break };
            if let Err(error) = apply(&mut self.base, &path, &op) {
                wrong.push((ticket, error));
            }
        }
        let mut document = self.base.clone();
        let mut waiting: Vec<Path> = Vec::new();
        let mut dropped = Vec::new();
        for Arrival { ticket, path, op } in &self.log {
            let Some(op) = op else {
                waiting.push(path.clone());
                continue;
            };
            if let Err(error) = apply(&mut document, path, op) {
                // What it needs may still be on its way.
                if waiting.iter().any(|other| other.meets(path)) {
                    waiting.push(path.clone());
                } else {
                    dropped.push((*ticket, error));
                }
            }
        }
        for (ticket, _) in &dropped {
            self.give_up(*ticket);
        }
        wrong.extend(dropped);
        (document, wrong)
    }
}

fn apply(document: &mut Value, path: &Path, op: &Op) -> Result<(), DocumentError> {
    match op {
        Op::Put(value) => document::put(document, path, value.clone()),
        Op::Patch(operations) => document::patch(document, path, operations),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Value {
        placet_json::parse(text.as_bytes(), &super::super::wire::LIMITS).unwrap()
    }
    fn path(text: &str) -> Path {
        Path::parse(text).unwrap()
    }
    fn put(text: &str) -> Op {
        Op::Put(json(text))
    }

    #[test]
    fn syn_2_a_late_answer_under_another_spelling_never_wins() {
        for first in ["ord2", "/ord2", "//ord2/"] {
            for second in ["ord2", "/ord2"] {
                let mut arrivals = Arrivals::default();
                let (one, two) =
                    (arrivals.arrive(path(first)).unwrap(), arrivals.arrive(path(second)).unwrap());
                let replaced = arrivals.resolve(two, put(r#"{"v":2}"#));
                assert_eq!(replaced, [one], "nobody needs it any more");
                assert_eq!(arrivals.fold().0, json(r#"{"ord2":{"v":2}}"#));
                assert!(arrivals.resolve(one, put(r#"{"v":1}"#)).is_empty());
                assert_eq!(arrivals.fold().0, json(r#"{"ord2":{"v":2}}"#));
            }
        }
    }

    #[test]
    fn syn_2_a_dead_url_at_the_root_delays_no_revocation_and_undoes_none() {
        let mut arrivals = Arrivals::new(json(r#"{"users":{"maya":{"ok":true}}}"#));
        let dead = arrivals.arrive(path("/")).unwrap();
        let revocation = arrivals.arrive(path("/users/maya")).unwrap();
        arrivals.resolve(revocation, put(r#"{"ok":false}"#));
        assert_eq!(arrivals.fold().0, json(r#"{"users":{"maya":{"ok":false}}}"#));
        assert_eq!(arrivals.waiting(), 1);
        arrivals.resolve(dead, put(r#"{"users":{"maya":{"ok":true},"lee":{}}}"#));
        assert_eq!(arrivals.fold().0, json(r#"{"users":{"maya":{"ok":false},"lee":{}}}"#));
        assert_eq!(arrivals.waiting(), 0);
    }

    #[test]
    fn a_patch_waits_for_what_it_builds_on_and_is_told_where_nothing_comes() {
        let mut arrivals = Arrivals::default();
        let base = arrivals.arrive(path("/users")).unwrap();
        let patch = arrivals.arrive(path("/users")).unwrap();
        let operations = Op::Patch(json(r#"[{"op":"remove","path":"/maya"}]"#));
        arrivals.resolve(patch, operations.clone());
        let (document, wrong) = arrivals.fold();
        assert_eq!((document, wrong.len()), (json("{}"), 0));
        arrivals.resolve(base, put(r#"{"maya":{},"lee":{}}"#));
        assert_eq!(arrivals.fold().0, json(r#"{"users":{"lee":{}}}"#));
        let lost = arrivals.arrive(path("/users")).unwrap();
        arrivals.resolve(lost, operations);
        let (document, wrong) = arrivals.fold();
        assert_eq!(document, json(r#"{"users":{"lee":{}}}"#));
        assert_eq!(wrong[0].0, lost);
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut arrivals = Arrivals::default();
        for _ in 0..MAX_WAITING {
            arrivals.arrive(path("/a")).unwrap();
        }
        assert_eq!(arrivals.arrive(path("/a")), Err(Full));
        assert_eq!(arrivals.clear().len(), MAX_WAITING);
        arrivals.arrive(path("/a")).unwrap();
    }
}
