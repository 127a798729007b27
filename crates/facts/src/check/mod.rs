//! Relationships: whether a subject has a relation on an object, who has it, on what somebody has it, and why. After
//! Zanzibar's userset rewrites (USENIX ATC 2019, §2.3.1 and §2.4), in memory, on one tenant's tuples.
//!
//! The meaning is the least one: a relation holds only if something finite shows it, so a cycle shows nothing. Through
//! the second part of an exclusion a cycle has no meaning at all, and is an error. Tuples that the model doesn't allow
//! are as if they weren't there. Every walk is bounded, and a bound that is reached is an error: whoever asked for a
//! decision is denied.
//!
//! Numbers of names differ between two foldings of the same facts; where an order matters to what a bound does, it is
//! that of the names.

mod expand;
mod list;
mod subjects;
mod walk;

use placet_core::{Allowed, CheckError, Name, RelationModel, ResourceRef, Rewrite, Tuple};

use crate::{ChangeError, TenantFacts};

pub use expand::{Branch, Expansion, Tree};
pub use subjects::Subjects;

pub(crate) use {expand::expand, list::objects, subjects::subjects};

/// How deep a walk goes, in relations of objects.
pub const MAX_DEPTH: usize = 25;
/// How many relations and tuples the walk of a check visits.
pub const MAX_STEPS: u32 = 10_000;
/// How many relations and tuples all walks of one listing visit together.
pub const MAX_STEPS_OF_LIST: u32 = 1_000_000;
/// The most objects or subjects that a listing answers.
pub const MAX_RESULTS: usize = 10_000;
/// The most subjects and relations that an expansion shows.
pub const MAX_BRANCHES: usize = 10_000;

/// Whether `model` lets this tuple be written.
pub fn allowed(model: &RelationModel, tuple: &Tuple) -> Result<(), ChangeError> {
    match model.takes(&tuple.object.kind, &tuple.relation, &Allowed::of(&tuple.subject)) {
        Some(true) => Ok(()),
        Some(false) => {
            let message = format!(
                "`{}` can't stand for `{}` on `{}`",
                tuple.subject, tuple.relation, tuple.object.kind
            );
            Err(ChangeError::conflict(message, "see which subjects the release's `relations.toml` allows"))
        }
        None => {
            let message = format!(
                "the relationship model has no relation `{}` on `{}`",
                tuple.relation, tuple.object.kind
            );
            Err(ChangeError::unknown(message, "add it to the release's `relations.toml` first"))
        }
    }
}

pub(crate) fn check(
    facts: &TenantFacts,
    model: &RelationModel,
    object: &ResourceRef,
    relation: &Name,
    subject: &ResourceRef,
) -> Result<bool, CheckError> {
    known(model, &object.kind, relation)?;
    // Nothing is shown of what no tuple names.
    let Some(at) = facts.tuples.thing(object) else { return Ok(false) };
    let who = walk::Who::one(&facts.tuples, subject);
    walk::Walk::new(&facts.tuples, model, who, MAX_STEPS).holds(at, relation)
}

/// The relation as the model names it, with its rewrite.
fn known<'m>(
    model: &'m RelationModel,
    kind: &Name,
    relation: &Name,
) -> Result<(&'m Name, &'m Rewrite), CheckError> {
    model
        .types
        .get(kind)
        .and_then(|relations| relations.get_key_value(relation))
        .ok_or_else(|| CheckError::Unknown { kind: kind.clone(), relation: relation.clone() })
}
