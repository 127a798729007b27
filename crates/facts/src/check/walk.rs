//! The check itself: a depth-first walk from the object, with what was found out kept.

use std::collections::{BTreeMap, BTreeSet};

use placet_core::{Allowed, CheckError, Name, RelationModel, ResourceRef, Rewrite};

use super::{MAX_DEPTH, known};
use crate::tuples::{Thing, Tuples};

/// The subject of a check.
#[derive(Debug, Clone)]
pub(super) struct Who {
    /// Its number; none if no tuple names it.
    thing: Option<Thing>,
    /// Tuples may name it by itself.
    kind: Allowed,
    /// Tuples may name all of its type.
    everyone: Allowed,
    /// The number of its type's name.
    word: Option<u32>,
}

impl Who {
    pub(super) fn one(tuples: &Tuples, subject: &ResourceRef) -> Self {
        Self { thing: tuples.thing(subject), ..Self::nobody(tuples, &subject.kind) }
    }
    /// An object of this type that no tuple names.
    pub(super) fn nobody(tuples: &Tuples, kind: &Name) -> Self {
        Self {
            thing: None,
            kind: Allowed::Type(kind.clone()),
            everyone: Allowed::Everyone(kind.clone()),
            word: tuples.word(kind),
        }
    }
}

/// A relation of an object. The address of a rewrite stands for type and relation: it is that of the model, which
/// stays where it is during a walk, and is only compared for equality.
type Key = (Thing, usize);

/// A finding, and the lowest open step of the path on which it rests as one that doesn't hold. Resting on none, it is
/// settled.
#[derive(Clone, Copy)]
struct Found {
    holds: bool,
    rests_on: usize,
}

const NOTHING: usize = usize::MAX;

impl Found {
    const YES: Self = Self { holds: true, rests_on: NOTHING };
    const NO: Self = Self { holds: false, rests_on: NOTHING };
}

/// What is being asked, and how many negations lead there.
struct Open {
    key: Key,
    negations: u32,
}

/// Checks of one subject; what one found out serves the next.
pub(super) struct Walk<'a> {
    tuples: &'a Tuples,
    model: &'a RelationModel,
    who: Who,
    steps: u32,
    limit: u32,
    path: Vec<Open>,
    negations: u32,
    known: BTreeMap<Key, bool>,
    /// What doesn't hold as long as an open step doesn't: settled if that step turns out so, forgotten if not. So each
    /// relation is walked once for each open step that turns out to hold, however the tuples are entangled.
    guesses: BTreeMap<Key, usize>,
    /// Their order.
    guessed: Vec<Key>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(tuples: &'a Tuples, model: &'a RelationModel, who: Who, limit: u32) -> Self {
        Self {
            tuples,
            model,
            who,
            steps: 0,
            limit,
            path: Vec::new(),
            negations: 0,
            known: BTreeMap::new(),
            guesses: BTreeMap::new(),
            guessed: Vec::new(),
        }
    }

    /// Whether the subject has `relation` on `object`.
    pub(super) fn holds(&mut self, object: Thing, relation: &Name) -> Result<bool, CheckError> {
        self.has(object, relation).map(|found| found.holds)
    }

    /// The steps of all checks so far.
    pub(super) fn steps(&self) -> u32 {
        self.steps
    }

    fn step(&mut self, steps: usize) -> Result<(), CheckError> {
        self.steps = self.steps.saturating_add(u32::try_from(steps).unwrap_or(u32::MAX));
        if self.steps > self.limit { Err(CheckError::Bound(self.limit)) } else { Ok(()) }
    }

    fn has(&mut self, object: Thing, relation: &Name) -> Result<Found, CheckError> {
        self.step(1)?;
        let Some(named) = self.tuples.named(object) else { return Ok(Found::NO) };
        let (relation, rewrite) = known(self.model, &named.kind, relation)?;
        let key = (object, std::ptr::from_ref(rewrite).addr());
        if let Some(holds) = self.known.get(&key) {
            return Ok(Found { holds: *holds, rests_on: NOTHING });
        }
        let open = self.guesses.get(&key).copied();
        if let Some(at) = open.or_else(|| self.path.iter().position(|open| open.key == key)) {
            let negations = self.path.get(at).map_or(0, |open| open.negations);
            if negations != self.negations {
                return Err(CheckError::Paradox { kind: named.kind.clone(), relation: relation.clone() });
            }
            return Ok(Found { holds: false, rests_on: at });
        }
        if self.path.len() >= MAX_DEPTH {
            return Err(CheckError::Deep(u32::try_from(MAX_DEPTH).unwrap_or(u32::MAX)));
        }
        let (at, mark) = (self.path.len(), self.guessed.len());
        self.path.push(Open { key, negations: self.negations });
        let found = self.rewritten(rewrite, object, relation);
        self.path.pop();
        Ok(self.settle(key, at, mark, found?))
    }

    /// What a step that is over means for itself and for the guesses that were made below it.
    fn settle(&mut self, key: Key, at: usize, mark: usize, found: Found) -> Found {
        if found.holds {
            // What was shown without the open steps stays shown; guesses may have rested on this step.
            for guess in self.guessed.drain(mark..) {
                self.guesses.remove(&guess);
            }
            self.known.insert(key, true);
            return Found::YES;
        }
        // It doesn't hold, so what rests on it no longer rests on it; it rests on what this step rests on, if on any.
        let settled = found.rests_on >= at;
        let mut keep = mark;
        for index in mark..self.guessed.len() {
            let Some(guess) = self.guessed.get(index).copied() else { break };
            let rests_on = self.guesses.get(&guess).copied().unwrap_or(NOTHING);
            if rests_on >= at && settled {
                self.guesses.remove(&guess);
                self.known.insert(guess, false);
                continue;
            }
            if rests_on >= at {
                self.guesses.insert(guess, found.rests_on);
            }
            self.guessed.swap(keep, index);
            keep = keep.saturating_add(1);
        }
        self.guessed.truncate(keep);
        if settled {
            self.known.insert(key, false);
            return Found::NO;
        }
        self.guesses.insert(key, found.rests_on);
        self.guessed.push(key);
        found
    }

    fn rewritten(&mut self, rewrite: &Rewrite, object: Thing, relation: &Name) -> Result<Found, CheckError> {
        match rewrite {
            Rewrite::Direct(subjects) => self.direct(subjects, object, relation),
            Rewrite::Computed(other) => self.has(object, other),
            Rewrite::From { via, relation } => self.from(object, via, relation),
            Rewrite::Union(parts) => {
                self.any(parts.iter(), |walk, part| walk.rewritten(part, object, relation))
            }
            Rewrite::Intersection(parts) => {
                for part in parts {
                    let found = self.rewritten(part, object, relation)?;
                    if !found.holds {
                        return Ok(found);
                    }
                }
                // An intersection of nothing would be everything.
                Ok(if parts.is_empty() { Found::NO } else { Found::YES })
            }
            Rewrite::Exclusion(base, without) => {
                let base = self.rewritten(base, object, relation)?;
                if !base.holds {
                    return Ok(base);
                }
                self.negations = self.negations.saturating_add(1);
                let without = self.rewritten(without, object, relation);
                self.negations = self.negations.saturating_sub(1);
                // No guess of an outer step passes a negation: that is an error above.
                Ok(if without?.holds { Found::NO } else { Found::YES })
            }
        }
    }

    fn direct(
        &mut self,
        subjects: &BTreeSet<Allowed>,
        object: Thing,
        relation: &Name,
    ) -> Result<Found, CheckError> {
        let tuples = self.tuples;
        let Some(word) = tuples.word(relation) else { return Ok(Found::NO) };
        let by_itself = subjects.contains(&self.who.kind)
            && self.who.thing.is_some_and(|thing| tuples.names(object, word, thing));
        let with_all = subjects.contains(&self.who.everyone)
            && self.who.word.is_some_and(|kind| tuples.names_everyone(object, word, kind));
        if by_itself || with_all {
            return Ok(Found::YES);
        }
        if !subjects.iter().any(|subject| matches!(subject, Allowed::Userset(..))) {
            return Ok(Found::NO);
        }
        let groups = self.ordered(tuples.usersets(object, word), |(group, of)| (*group, Some(*of)))?;
        self.any(groups.into_iter(), |walk, (group, of)| {
            let Some(named) = tuples.named(group) else { return Ok(Found::NO) };
            if subjects.contains(&Allowed::Userset(named.kind.clone(), of.clone())) {
                walk.has(group, of)
            } else {
                Ok(Found::NO)
            }
        })
    }

    /// Only objects that a tuple of `via` names lead on, and those whose type has no such relation lead nowhere.
    fn from(&mut self, object: Thing, via: &Name, relation: &Name) -> Result<Found, CheckError> {
        let tuples = self.tuples;
        let Some(named) = tuples.named(object) else { return Ok(Found::NO) };
        let (via, rewrite) = known(self.model, &named.kind, via)?;
        let Some(word) = tuples.word(via) else { return Ok(Found::NO) };
        let others = self.ordered(tuples.objects(object, word), |other| (*other, None))?;
        self.any(others.into_iter(), |walk, other| {
            let Some(named) = tuples.named(other) else { return Ok(Found::NO) };
            if walk.model.rewrite(&named.kind, relation).is_some()
                && rewrite.takes(&Allowed::Type(named.kind.clone()))
            {
                walk.has(other, relation)
            } else {
                Ok(Found::NO)
            }
        })
    }

    /// What leads on, counted before any of it is walked, and in the order of names: so whether a bound is reached
    /// depends on the facts alone.
    fn ordered<T>(
        &mut self,
        items: impl Iterator<Item = T>,
        name: impl Fn(&T) -> (Thing, Option<&Name>),
    ) -> Result<Vec<T>, CheckError> {
        let left = usize::try_from(self.limit.saturating_sub(self.steps)).unwrap_or(usize::MAX);
        let mut found: Vec<T> = items.take(left.saturating_add(1)).collect();
        self.step(found.len())?;
        if found.len() > 1 {
            let tuples = self.tuples;
            let full = |item: &T| {
                let (thing, relation) = name(item);
                (tuples.named(thing), relation.cloned())
            };
            found.sort_by(|a, b| full(a).cmp(&full(b)));
        }
        Ok(found)
    }

    fn any<T>(
        &mut self,
        parts: impl Iterator<Item = T>,
        mut ask: impl FnMut(&mut Self, T) -> Result<Found, CheckError>,
    ) -> Result<Found, CheckError> {
        let mut rests_on = NOTHING;
        for part in parts {
            let found = ask(self, part)?;
            if found.holds {
                return Ok(found);
            }
            rests_on = rests_on.min(found.rests_on);
        }
        Ok(Found { holds: false, rests_on })
    }
}
