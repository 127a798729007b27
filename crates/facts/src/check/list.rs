//! On which objects of a type somebody has a relation: backwards from the subject to all that it might have, then each
//! is checked.

use std::collections::{BTreeMap, BTreeSet};

use placet_core::{Allowed, CheckError, Name, RelationModel, ResourceRef, Rewrite};

use super::{
    MAX_RESULTS, MAX_STEPS_OF_LIST, known,
    walk::{Walk, Who},
};
use crate::{
    TenantFacts,
    tuples::{Thing, Tuples},
};

/// The objects of type `kind` on which `subject` has `relation`, in order.
pub(crate) fn objects(
    facts: &TenantFacts,
    model: &RelationModel,
    kind: &Name,
    relation: &Name,
    subject: &ResourceRef,
) -> Result<Vec<ResourceRef>, CheckError> {
    let tuples = &facts.tuples;
    let (relation, _) = known(model, kind, relation)?;
    let mut reach = Reach::new(tuples, model);
    reach.seeds(subject)?;
    reach.run()?;
    let candidates = reach.seen.iter().filter(|(_, of)| *of == relation);
    let mut candidates: Vec<(&ResourceRef, Thing)> = candidates
        .filter_map(|(thing, _)| Some((tuples.named(*thing)?, *thing)))
        .filter(|(named, _)| named.kind == *kind)
        .collect();
    candidates.sort_by_key(|(named, _)| *named);
    let left = MAX_STEPS_OF_LIST.saturating_sub(reach.steps);
    let mut walk = Walk::new(tuples, model, Who::one(tuples, subject), left);
    let mut found = Vec::new();
    for (named, thing) in candidates {
        if !walk.holds(thing, relation)? {
            continue;
        }
        if found.len() >= MAX_RESULTS {
            return Err(CheckError::Long(u32::try_from(MAX_RESULTS).unwrap_or(u32::MAX)));
        }
        found.push(named.clone());
    }
    Ok(found)
}

/// Relations that the subject might have: intersections and exclusions are taken as unions of what grants, so nothing
/// is missed.
struct Reach<'a> {
    tuples: &'a Tuples,
    model: &'a RelationModel,
    /// By type and relation, the relations of the same object that it grants.
    computed: BTreeMap<(&'a Name, &'a Name), Vec<&'a Name>>,
    /// By relation, who grants it further: type, relation, and the relation that leads from there.
    from: BTreeMap<&'a Name, Vec<(&'a Name, &'a Name, &'a Name)>>,
    seen: BTreeSet<(Thing, &'a Name)>,
    next: Vec<(Thing, &'a Name)>,
    steps: u32,
}

impl<'a> Reach<'a> {
    fn new(tuples: &'a Tuples, model: &'a RelationModel) -> Self {
        let mut reach = Self {
            tuples,
            model,
            computed: BTreeMap::new(),
            from: BTreeMap::new(),
            seen: BTreeSet::new(),
            next: Vec::new(),
            steps: 0,
        };
        for (kind, relations) in &model.types {
            for (relation, rewrite) in relations {
                reach.index(kind, relation, rewrite);
            }
        }
        reach
    }

    fn index(&mut self, kind: &'a Name, relation: &'a Name, rewrite: &'a Rewrite) {
        match rewrite {
            Rewrite::Direct(_) => {}
            Rewrite::Computed(other) => self.computed.entry((kind, other)).or_default().push(relation),
            Rewrite::From { via, relation: there } => {
                self.from.entry(there).or_default().push((kind, relation, via));
            }
            Rewrite::Union(parts) | Rewrite::Intersection(parts) => {
                for part in parts {
                    self.index(kind, relation, part);
                }
            }
            Rewrite::Exclusion(base, _) => self.index(kind, relation, base),
        }
    }

    /// What tuples name the subject, or all of its type.
    fn seeds(&mut self, subject: &ResourceRef) -> Result<(), CheckError> {
        let tuples = self.tuples;
        if let Some(thing) = tuples.thing(subject) {
            let by_itself = Allowed::Type(subject.kind.clone());
            for (relation, object) in tuples.naming(thing) {
                self.named(object, relation, &by_itself)?;
            }
        }
        if let Some(kind) = tuples.word(&subject.kind) {
            let everyone = Allowed::Everyone(subject.kind.clone());
            for (relation, object) in tuples.naming_everyone(kind) {
                self.named(object, relation, &everyone)?;
            }
        }
        Ok(())
    }

    fn run(&mut self) -> Result<(), CheckError> {
        let (tuples, model) = (self.tuples, self.model);
        while let Some((object, relation)) = self.next.pop() {
            let Some(named) = tuples.named(object) else { continue };
            if let Some(word) = tuples.word(relation) {
                let userset = Allowed::Userset(named.kind.clone(), relation.clone());
                for (by, there) in tuples.naming_userset(object, word) {
                    self.named(there, by, &userset)?;
                }
            }
            if let Some((kind, _)) = model.types.get_key_value(&named.kind) {
                for granted in self.computed.get(&(kind, relation)).cloned().unwrap_or_default() {
                    self.add(object, granted)?;
                }
            }
            for (kind, granted, via) in self.from.get(relation).cloned().unwrap_or_default() {
                let leads = model
                    .rewrite(kind, via)
                    .is_some_and(|rewrite| rewrite.takes(&Allowed::Type(named.kind.clone())));
                let Some(word) = tuples.word(via).filter(|_| leads) else { continue };
                for there in tuples.naming_by(object, word) {
                    self.step()?;
                    if tuples.named(there).is_some_and(|there| there.kind == *kind) {
                        self.add(there, granted)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// A tuple names what was reached.
    fn named(&mut self, object: Thing, relation: &Name, subject: &Allowed) -> Result<(), CheckError> {
        self.step()?;
        let Some(named) = self.tuples.named(object) else { return Ok(()) };
        match known(self.model, &named.kind, relation) {
            Ok((relation, rewrite)) if rewrite.takes(subject) => self.add(object, relation),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    fn add(&mut self, object: Thing, relation: &'a Name) -> Result<(), CheckError> {
        self.step()?;
        if self.seen.insert((object, relation)) {
            self.next.push((object, relation));
        }
        Ok(())
    }

    fn step(&mut self) -> Result<(), CheckError> {
        self.steps = self.steps.saturating_add(1);
        if self.steps > MAX_STEPS_OF_LIST { Err(CheckError::Bound(MAX_STEPS_OF_LIST)) } else { Ok(()) }
    }
}
