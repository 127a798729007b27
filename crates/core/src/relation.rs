//! The relationship model of a release (`relations.toml`), after Zanzibar's userset rewrites (USENIX ATC 2019, §2.3.1).

use std::collections::{BTreeMap, BTreeSet};

use crate::Name;

/// Types and their relations.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RelationModel {
    /// By type, by relation.
    pub types: BTreeMap<Name, BTreeMap<Name, Rewrite>>,
}

/// Who has a relation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rewrite {
    /// Whoever a tuple names. The subjects that a tuple may name: `user` or `team#member`.
    Direct(BTreeSet<Allowed>),
    /// Whoever has another relation on the same object.
    Computed(Name),
    /// Whoever has `relation` on the objects that `via` leads to (tuple to userset).
    From {
        /// The relation that leads to the other objects.
        via: Name,
        /// The relation on these.
        relation: Name,
    },
    /// Any of these.
    Union(Vec<Rewrite>),
    /// All of these.
    Intersection(Vec<Rewrite>),
    /// The first, unless the second.
    Exclusion(Box<Rewrite>, Box<Rewrite>),
}

/// A kind of subject that a tuple may name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Allowed {
    /// Objects of this type.
    Type(Name),
    /// Usersets of this type and relation.
    Userset(Name, Name),
}

impl RelationModel {
    /// The rewrite of a relation.
    #[must_use]
    pub fn rewrite(&self, kind: &Name, relation: &Name) -> Option<&Rewrite> {
        self.types.get(kind)?.get(relation)
    }
}
