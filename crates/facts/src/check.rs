//! The relationship check: whether a subject has a relation on an object, after Zanzibar's userset rewrites (USENIX
//! ATC 2019, §2.3.1 and §2.4.1), in memory, on one tenant's tuples.
//!
//! The meaning is the least one: a relation holds only if something finite shows it, so a cycle shows nothing. Through
//! the second part of an exclusion a cycle has no meaning at all, and is an error. Tuples that the model doesn't allow
//! are as if they weren't there.

use std::collections::BTreeMap;

use placet_core::{Allowed, CheckError, Name, RelationModel, ResourceRef, Rewrite, Subject, Tuple};

use crate::{ChangeError, TenantFacts, tuple::subject_text};

/// How deep a walk goes, in relations of objects.
pub const MAX_DEPTH: usize = 25;
/// How many relations and tuples a walk visits.
pub const MAX_STEPS: u32 = 10_000;

/// Whether `model` lets this tuple be written.
pub fn allowed(model: &RelationModel, tuple: &Tuple) -> Result<(), ChangeError> {
    let Some(rewrite) = model.rewrite(&tuple.object.kind, &tuple.relation) else {
        let message =
            format!("the relationship model has no relation `{}` on `{}`", tuple.relation, tuple.object.kind);
        return Err(ChangeError::unknown(message, "add it to the release's relations first"));
    };
    if names(rewrite, &allowed_as(&tuple.subject)) {
        return Ok(());
    }
    let message = format!(
        "`{}` can't stand for `{}` on `{}`",
        subject_text(&tuple.subject),
        tuple.relation,
        tuple.object.kind
    );
    Err(ChangeError::conflict(message, "see which subjects the release's relations allow"))
}

pub(crate) fn check(
    facts: &TenantFacts,
    model: &RelationModel,
    object: &ResourceRef,
    relation: &Name,
    subject: &ResourceRef,
) -> Result<bool, CheckError> {
    let mut walk =
        Walk { facts, model, subject, steps: 0, path: Vec::new(), known: BTreeMap::new(), negations: 0 };
    walk.has(object, relation).map(|found| found.holds)
}

fn allowed_as(subject: &Subject) -> Allowed {
    match subject {
        Subject::Object(object) => Allowed::Type(object.kind.clone()),
        Subject::Userset(object, relation) => Allowed::Userset(object.kind.clone(), relation.clone()),
    }
}

/// Whether a rewrite takes subjects of this sort from tuples.
fn names(rewrite: &Rewrite, subject: &Allowed) -> bool {
    match rewrite {
        Rewrite::Direct(subjects) => subjects.contains(subject),
        Rewrite::Computed(_) | Rewrite::From { .. } => false,
        Rewrite::Union(parts) | Rewrite::Intersection(parts) => parts.iter().any(|part| names(part, subject)),
        Rewrite::Exclusion(base, without) => names(base, subject) || names(without, subject),
    }
}

/// A finding, and the lowest step of the path on whose openness it rests. Resting on none, it may be kept.
#[derive(Clone, Copy)]
struct Found {
    holds: bool,
    rests_on: usize,
}

const NOTHING: usize = usize::MAX;

impl Found {
    fn settled(holds: bool) -> Self {
        Self { holds, rests_on: NOTHING }
    }
}

struct Walk<'a> {
    facts: &'a TenantFacts,
    model: &'a RelationModel,
    subject: &'a ResourceRef,
    steps: u32,
    /// What is being asked, outermost first, with the number of negations that lead there.
    path: Vec<(ResourceRef, Name, u32)>,
    known: BTreeMap<(ResourceRef, Name), bool>,
    negations: u32,
}

impl Walk<'_> {
    fn step(&mut self) -> Result<(), CheckError> {
        self.steps = self.steps.saturating_add(1);
        if self.steps > MAX_STEPS { Err(CheckError::Bound(MAX_STEPS)) } else { Ok(()) }
    }

    fn has(&mut self, object: &ResourceRef, relation: &Name) -> Result<Found, CheckError> {
        self.step()?;
        let key = (object.clone(), relation.clone());
        if let Some(holds) = self.known.get(&key) {
            return Ok(Found::settled(*holds));
        }
        if let Some(at) = self.path.iter().position(|(o, r, _)| o == object && r == relation) {
            let through_negation =
                self.path.get(at).is_some_and(|(_, _, negations)| *negations != self.negations);
            return if through_negation {
                Err(CheckError::Bound(MAX_STEPS))
            } else {
                Ok(Found { holds: false, rests_on: at })
            };
        }
        if self.path.len() >= MAX_DEPTH {
            return Err(CheckError::Bound(MAX_STEPS));
        }
        let rewrite = self
            .model
            .rewrite(&object.kind, relation)
            .ok_or_else(|| CheckError::Unknown { kind: object.kind.clone(), relation: relation.clone() })?;
        let at = self.path.len();
        self.path.push((object.clone(), relation.clone(), self.negations));
        let found = self.rewritten(rewrite, object, relation);
        self.path.pop();
        let mut found = found?;
        // What rests on this very step is settled now that the step is over; what rests on an outer one is not, unless
        // it holds: what was shown without the open step stays shown.
        if found.rests_on >= at || found.holds {
            found.rests_on = NOTHING;
        }
        if found.rests_on == NOTHING {
            self.known.insert(key, found.holds);
        }
        Ok(found)
    }

    fn rewritten(
        &mut self,
        rewrite: &Rewrite,
        object: &ResourceRef,
        relation: &Name,
    ) -> Result<Found, CheckError> {
        match rewrite {
            Rewrite::Direct(subjects) => self.direct(subjects, object, relation),
            Rewrite::Computed(other) => self.has(object, other),
            Rewrite::From { via, relation } => self.from(object, via, relation),
            Rewrite::Union(parts) => {
                self.any(parts.iter(), |walk, part| walk.rewritten(part, object, relation))
            }
            Rewrite::Intersection(parts) => {
                let mut rests_on = NOTHING;
                for part in parts {
                    let found = self.rewritten(part, object, relation)?;
                    if !found.holds {
                        return Ok(found);
                    }
                    rests_on = rests_on.min(found.rests_on);
                }
                // An intersection of nothing would be everything.
                Ok(Found { holds: !parts.is_empty(), rests_on })
            }
            Rewrite::Exclusion(base, without) => {
                let base = self.rewritten(base, object, relation)?;
                if !base.holds {
                    return Ok(base);
                }
                self.negations = self.negations.saturating_add(1);
                let without = self.rewritten(without, object, relation);
                self.negations = self.negations.saturating_sub(1);
                let without = without?;
                Ok(Found { holds: !without.holds, rests_on: without.rests_on })
            }
        }
    }

    fn direct(
        &mut self,
        subjects: &std::collections::BTreeSet<Allowed>,
        object: &ResourceRef,
        relation: &Name,
    ) -> Result<Found, CheckError> {
        let facts = self.facts;
        if subjects.contains(&Allowed::Type(self.subject.kind.clone())) {
            let tuple = Tuple {
                object: object.clone(),
                relation: relation.clone(),
                subject: Subject::Object(self.subject.clone()),
            };
            if facts.has_tuple(&tuple) {
                return Ok(Found::settled(true));
            }
        }
        if !subjects.iter().any(|subject| matches!(subject, Allowed::Userset(..))) {
            return Ok(Found::settled(false));
        }
        self.any(facts.usersets_of(object, relation), |walk, tuple| {
            walk.step()?;
            match &tuple.subject {
                Subject::Userset(group, of) if subjects.contains(&allowed_as(&tuple.subject)) => {
                    walk.has(group, of)
                }
                Subject::Userset(..) | Subject::Object(_) => Ok(Found::settled(false)),
            }
        })
    }

    /// Only objects that a tuple of `via` names lead on, and those whose type has no such relation lead nowhere.
    fn from(&mut self, object: &ResourceRef, via: &Name, relation: &Name) -> Result<Found, CheckError> {
        let Some(rewrite) = self.model.rewrite(&object.kind, via) else {
            return Err(CheckError::Unknown { kind: object.kind.clone(), relation: via.clone() });
        };
        let facts = self.facts;
        self.any(facts.subjects_of(object, via), |walk, tuple| {
            walk.step()?;
            match &tuple.subject {
                Subject::Object(other)
                    if names(rewrite, &allowed_as(&tuple.subject))
                        && walk.model.rewrite(&other.kind, relation).is_some() =>
                {
                    walk.has(other, relation)
                }
                Subject::Object(_) | Subject::Userset(..) => Ok(Found::settled(false)),
            }
        })
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
