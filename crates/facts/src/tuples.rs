//! The tuples of one tenant: 16 bytes each in two orders, by object and by subject, on interned names.
//!
//! A clone is a few pointers; one change costs the logarithm of what is there.

use imbl::OrdSet;
use placet_core::{Name, ResourceRef, Subject, Tuple};

use crate::intern::Interner;

/// A subject that is one object.
const OBJECT: u32 = 0;
/// A subject that is every object of a type.
const EVERYONE: u32 = 1;
/// A userset's relation stands from here on.
const USERSET: u32 = 2;

/// A tuple by object: object, relation, sort of the subject, subject. Single objects stand before usersets.
type ByObject = (u32, u32, u32, u32);
/// A tuple by subject: sort of the subject, subject, relation, object.
type BySubject = (u32, u32, u32, u32);

/// An object's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Thing(pub(crate) u32);

/// All tuples of a tenant.
#[derive(Debug, Clone)]
pub(crate) struct Tuples {
    by_object: OrdSet<ByObject>,
    by_subject: OrdSet<BySubject>,
    things: Interner<ResourceRef>,
    /// Types and relations.
    words: Interner<Name>,
}

/// A tuple in numbers.
#[derive(Clone, Copy)]
struct Row {
    object: u32,
    relation: u32,
    sort: u32,
    subject: u32,
}

impl Row {
    fn by_object(self) -> ByObject {
        (self.object, self.relation, self.sort, self.subject)
    }
    fn by_subject(self) -> BySubject {
        (self.sort, self.subject, self.relation, self.object)
    }
}

impl Tuples {
    pub(crate) fn new() -> Self {
        Self {
            by_object: OrdSet::new(),
            by_subject: OrdSet::new(),
            things: Interner::new(),
            words: Interner::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.by_object.len()
    }

    /// Adds a tuple; false if it was there, none if no more names can be numbered.
    pub(crate) fn insert(&mut self, tuple: &Tuple) -> Option<bool> {
        if self.contains(tuple) {
            return Some(false);
        }
        // A number is never taken in vain: where one is missing, the whole of the facts is dropped by the caller.
        let object = self.take(&tuple.object)?;
        let relation = self.words.take(&tuple.relation)?;
        let (sort, subject) = match &tuple.subject {
            Subject::Object(object) => (OBJECT, self.take(object)?),
            Subject::Everyone(kind) => (EVERYONE, self.words.take(kind)?),
            Subject::Userset(object, relation) => {
                (self.words.take(relation)?.checked_add(USERSET)?, self.take(object)?)
            }
        };
        let row = Row { object, relation, sort, subject };
        self.by_object.insert(row.by_object());
        self.by_subject.insert(row.by_subject());
        Some(true)
    }

    /// Removes a tuple; false if it wasn't there.
    pub(crate) fn remove(&mut self, tuple: &Tuple) -> bool {
        let Some(row) = self.row(tuple) else { return false };
        if self.by_object.remove(&row.by_object()).is_none() {
            return false;
        }
        self.by_subject.remove(&row.by_subject());
        self.give(row.object);
        self.words.give(row.relation);
        match row.sort {
            OBJECT => self.give(row.subject),
            EVERYONE => drop(self.words.give(row.subject)),
            userset => {
                self.words.give(userset.saturating_sub(USERSET));
                self.give(row.subject);
            }
        }
        true
    }

    pub(crate) fn contains(&self, tuple: &Tuple) -> bool {
        self.row(tuple).is_some_and(|row| self.by_object.contains(&row.by_object()))
    }

    /// The tuples of an object, in order of relation and subject.
    pub(crate) fn of_object(&self, object: &ResourceRef) -> Vec<Tuple> {
        let Some(object) = self.things.number(object) else { return Vec::new() };
        let rows = self.by_object.range((object, 0, 0, 0)..=(object, u32::MAX, u32::MAX, u32::MAX));
        sorted(rows.filter_map(|row| self.tuple(*row)).collect())
    }

    /// All of them, in order.
    pub(crate) fn all(&self) -> Vec<Tuple> {
        sorted(self.by_object.iter().filter_map(|row| self.tuple(*row)).collect())
    }

    fn take(&mut self, thing: &ResourceRef) -> Option<u32> {
        if self.things.number(thing).is_some() {
            return self.things.take(thing);
        }
        // Types are few and things are many: they share the text of their type.
        let kind = self.words.take(&thing.kind)?;
        let kind = self.words.value(kind)?.clone();
        self.things.take(&ResourceRef { kind, id: thing.id.clone() })
    }

    /// One use of a thing less; its type's text goes with the last.
    fn give(&mut self, thing: u32) {
        if let Some(freed) = self.things.give(thing)
            && let Some(kind) = self.words.number(&freed.kind)
        {
            self.words.give(kind);
        }
    }

    fn row(&self, tuple: &Tuple) -> Option<Row> {
        let (sort, subject) = match &tuple.subject {
            Subject::Object(object) => (OBJECT, self.things.number(object)?),
            Subject::Everyone(kind) => (EVERYONE, self.words.number(kind)?),
            Subject::Userset(object, relation) => {
                (self.words.number(relation)?.checked_add(USERSET)?, self.things.number(object)?)
            }
        };
        Some(Row {
            object: self.things.number(&tuple.object)?,
            relation: self.words.number(&tuple.relation)?,
            sort,
            subject,
        })
    }

    fn tuple(&self, (object, relation, sort, subject): ByObject) -> Option<Tuple> {
        Some(Tuple {
            object: self.things.value(object)?.clone(),
            relation: self.words.value(relation)?.clone(),
            subject: match sort {
                OBJECT => Subject::Object(self.things.value(subject)?.clone()),
                EVERYONE => Subject::Everyone(self.words.value(subject)?.clone()),
                userset => Subject::Userset(
                    self.things.value(subject)?.clone(),
                    self.words.value(userset.saturating_sub(USERSET))?.clone(),
                ),
            },
        })
    }
}

/// What walks ask, in numbers.
impl Tuples {
    pub(crate) fn thing(&self, thing: &ResourceRef) -> Option<Thing> {
        self.things.number(thing).map(Thing)
    }
    pub(crate) fn named(&self, thing: Thing) -> Option<&ResourceRef> {
        self.things.value(thing.0)
    }
    pub(crate) fn word(&self, word: &Name) -> Option<u32> {
        self.words.number(word)
    }
    /// Whether a tuple names this one object.
    pub(crate) fn names(&self, object: Thing, relation: u32, subject: Thing) -> bool {
        self.by_object.contains(&(object.0, relation, OBJECT, subject.0))
    }
    /// Whether a tuple names every object of a type.
    pub(crate) fn names_everyone(&self, object: Thing, relation: u32, kind: u32) -> bool {
        self.by_object.contains(&(object.0, relation, EVERYONE, kind))
    }
    /// The single objects that tuples of this relation name.
    pub(crate) fn objects(&self, object: Thing, relation: u32) -> impl Iterator<Item = Thing> + '_ {
        let rows =
            self.by_object.range((object.0, relation, OBJECT, 0)..=(object.0, relation, OBJECT, u32::MAX));
        rows.map(|(_, _, _, subject)| Thing(*subject))
    }
    /// The usersets that tuples of this relation name: the object and its relation.
    pub(crate) fn usersets(&self, object: Thing, relation: u32) -> impl Iterator<Item = (Thing, &Name)> + '_ {
        let rows =
            self.by_object.range((object.0, relation, USERSET, 0)..=(object.0, relation, u32::MAX, u32::MAX));
        rows.filter_map(|(_, _, sort, subject)| {
            Some((Thing(*subject), self.words.value(sort.saturating_sub(USERSET))?))
        })
    }
    /// The types of which every object is named by tuples of this relation.
    pub(crate) fn everyones(&self, object: Thing, relation: u32) -> impl Iterator<Item = &Name> + '_ {
        let rows = self
            .by_object
            .range((object.0, relation, EVERYONE, 0)..=(object.0, relation, EVERYONE, u32::MAX));
        rows.filter_map(|(_, _, _, kind)| self.words.value(*kind))
    }
    /// Where an object is named by itself: relation and object of each tuple.
    pub(crate) fn naming(&self, subject: Thing) -> impl Iterator<Item = (&Name, Thing)> + '_ {
        self.backwards(OBJECT, subject.0)
    }
    /// Where every object of a type is named.
    pub(crate) fn naming_everyone(&self, kind: u32) -> impl Iterator<Item = (&Name, Thing)> + '_ {
        self.backwards(EVERYONE, kind)
    }
    /// Where a userset is named.
    pub(crate) fn naming_userset(
        &self,
        object: Thing,
        relation: u32,
    ) -> impl Iterator<Item = (&Name, Thing)> + '_ {
        self.backwards(relation.saturating_add(USERSET), object.0)
    }
    /// The objects of tuples of one relation that name an object by itself.
    pub(crate) fn naming_by(&self, subject: Thing, relation: u32) -> impl Iterator<Item = Thing> + '_ {
        let rows =
            self.by_subject.range((OBJECT, subject.0, relation, 0)..=(OBJECT, subject.0, relation, u32::MAX));
        rows.map(|(_, _, _, object)| Thing(*object))
    }

    fn backwards(&self, sort: u32, subject: u32) -> impl Iterator<Item = (&Name, Thing)> + '_ {
        let rows = self.by_subject.range((sort, subject, 0, 0)..=(sort, subject, u32::MAX, u32::MAX));
        rows.filter_map(|(_, _, relation, object)| Some((self.words.value(*relation)?, Thing(*object))))
    }
}

fn sorted(mut tuples: Vec<Tuple>) -> Vec<Tuple> {
    tuples.sort_unstable();
    tuples
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn tuple() -> impl Strategy<Value = Tuple> {
        let object = (0..3_u8, 0..4_u8).prop_map(|(kind, id)| format!("t{kind}:{id}"));
        let subject = prop_oneof![
            object.clone(),
            (0..3_u8).prop_map(|kind| format!("t{kind}:*")),
            (object.clone(), 0..3_u8).prop_map(|(object, r)| format!("{object}#r{r}")),
        ];
        (object, 0..3_u8, subject).prop_map(|(object, relation, subject)| {
            format!("{object}#r{relation}@{subject}").parse().unwrap()
        })
    }

    proptest! {
        #[test]
        fn the_store_is_a_set_of_tuples(steps in prop::collection::vec((any::<bool>(), tuple()), 0..200)) {
            let (mut store, mut set) = (Tuples::new(), BTreeSet::new());
            for (add, tuple) in &steps {
                if *add {
                    prop_assert_eq!(store.insert(tuple), Some(set.insert(tuple.clone())));
                } else {
                    prop_assert_eq!(store.remove(tuple), set.remove(tuple));
                }
                prop_assert_eq!(store.contains(tuple), set.contains(tuple));
            }
            prop_assert_eq!(store.all(), set.iter().cloned().collect::<Vec<_>>());
            prop_assert_eq!(store.by_object.len(), store.by_subject.len());
            let object: ResourceRef = "t1:2".parse().unwrap();
            let own: Vec<_> = set.iter().filter(|tuple| tuple.object == object).cloned().collect();
            prop_assert_eq!(store.of_object(&object), own);
            for tuple in &set {
                prop_assert!(store.remove(tuple));
            }
            // Nothing of what is gone is kept.
            prop_assert_eq!(store.len(), 0);
            prop_assert!(store.things.is_empty() && store.words.is_empty());
        }
    }
}
