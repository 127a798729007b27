//! Who of a type has a relation on an object: all that tuples on the way name are candidates, and each is checked.

use std::collections::BTreeSet;

use placet_core::{CheckError, Name, RelationModel, ResourceRef, Rewrite};

use super::{
    MAX_RESULTS, MAX_STEPS_OF_LIST, known,
    walk::{Walk, Who},
};
use crate::{
    TenantFacts,
    tuples::{Thing, Tuples},
};

/// Who has a relation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subjects {
    /// Those that tuples name and that have it, in order.
    pub named: Vec<ResourceRef>,
    /// Whether everybody else of the type has it, too: those that no tuple names.
    pub everyone: bool,
    /// Where everybody else has it, those that haven't.
    pub except: Vec<ResourceRef>,
}

/// Who of type `kind` has `relation` on `object`.
pub(crate) fn subjects(
    facts: &TenantFacts,
    model: &RelationModel,
    object: &ResourceRef,
    relation: &Name,
    kind: &Name,
) -> Result<Subjects, CheckError> {
    let tuples = &facts.tuples;
    let (relation, _) = known(model, &object.kind, relation)?;
    let Some(at) = tuples.thing(object) else { return Ok(Subjects::default()) };
    let mut gather = Gather {
        tuples,
        model,
        kind,
        seen: BTreeSet::new(),
        next: Vec::new(),
        found: BTreeSet::new(),
        steps: 0,
    };
    gather.add(at, relation)?;
    while let Some((object, relation, rewrite)) = gather.next.pop() {
        gather.rewritten(rewrite, object, relation)?;
    }
    let mut left = MAX_STEPS_OF_LIST.saturating_sub(gather.steps);
    let mut ask = |who: Who| {
        let mut walk = Walk::new(tuples, model, who, left);
        let holds = walk.holds(at, relation)?;
        left = left.saturating_sub(walk.steps());
        Ok::<_, CheckError>(holds)
    };
    let mut answer = Subjects { everyone: ask(Who::nobody(tuples, kind))?, ..Subjects::default() };
    for candidate in gather.found {
        let holds = ask(Who::one(tuples, candidate))?;
        if holds {
            answer.named.push(candidate.clone());
        } else if answer.everyone {
            answer.except.push(candidate.clone());
        }
        if answer.named.len().saturating_add(answer.except.len()) > MAX_RESULTS {
            return Err(CheckError::Long(u32::try_from(MAX_RESULTS).unwrap_or(u32::MAX)));
        }
    }
    Ok(answer)
}

struct Gather<'a> {
    tuples: &'a Tuples,
    model: &'a RelationModel,
    kind: &'a Name,
    seen: BTreeSet<(Thing, &'a Name)>,
    next: Vec<(Thing, &'a Name, &'a Rewrite)>,
    found: BTreeSet<&'a ResourceRef>,
    steps: u32,
}

impl Gather<'_> {
    fn step(&mut self) -> Result<(), CheckError> {
        self.steps = self.steps.saturating_add(1);
        if self.steps > MAX_STEPS_OF_LIST { Err(CheckError::Bound(MAX_STEPS_OF_LIST)) } else { Ok(()) }
    }

    /// Tuples may name relations that the model doesn't have: these lead nowhere.
    fn add(&mut self, object: Thing, relation: &Name) -> Result<(), CheckError> {
        self.step()?;
        let named = self.tuples.named(object).map(|named| known(self.model, &named.kind, relation));
        if let Some(Ok((relation, rewrite))) = named
            && self.seen.insert((object, relation))
        {
            self.next.push((object, relation, rewrite));
        }
        Ok(())
    }

    /// What an exclusion takes away is gathered as well: where everybody has the relation, these are the exceptions.
    fn rewritten(&mut self, rewrite: &Rewrite, object: Thing, relation: &Name) -> Result<(), CheckError> {
        let tuples = self.tuples;
        match rewrite {
            Rewrite::Direct(_) => {
                let Some(word) = tuples.word(relation) else { return Ok(()) };
                for thing in tuples.objects(object, word) {
                    self.step()?;
                    self.found.extend(tuples.named(thing).filter(|named| named.kind == *self.kind));
                }
                for (group, of) in tuples.usersets(object, word) {
                    self.add(group, of)?;
                }
                Ok(())
            }
            Rewrite::Computed(other) => self.add(object, other),
            Rewrite::From { via, relation } => {
                let Some(word) = tuples.word(via) else { return Ok(()) };
                for other in tuples.objects(object, word) {
                    self.add(other, relation)?;
                }
                Ok(())
            }
            Rewrite::Union(parts) | Rewrite::Intersection(parts) => {
                parts.iter().try_for_each(|part| self.rewritten(part, object, relation))
            }
            Rewrite::Exclusion(base, except) => {
                self.rewritten(base, object, relation)?;
                self.rewritten(except, object, relation)
            }
        }
    }
}
