//! The relationship model of a release (`relations.toml`), after Zanzibar's userset rewrites (USENIX ATC 2019, §2.3.1).

use std::collections::{BTreeMap, BTreeSet};

use crate::{Name, Subject};

/// Types and their relations.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RelationModel {
    /// By type, by relation.
    pub types: BTreeMap<Name, BTreeMap<Name, Rewrite>>,
}

/// Who has a relation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rewrite {
    /// Whoever a tuple names. The subjects that a tuple may name: `user`, `team#member` or `user:*`.
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
    /// All objects of this type at once, those that nobody named yet too.
    Everyone(Name),
    /// Usersets of this type and relation.
    Userset(Name, Name),
}

impl RelationModel {
    /// The rewrite of a relation.
    #[must_use]
    pub fn rewrite(&self, kind: &Name, relation: &Name) -> Option<&Rewrite> {
        self.types.get(kind)?.get(relation)
    }
    /// Whether a tuple of this relation may name a subject of this sort; none where there is no such relation.
    #[must_use]
    pub fn takes(&self, kind: &Name, relation: &Name, subject: &Allowed) -> Option<bool> {
        self.rewrite(kind, relation).map(|rewrite| rewrite.takes(subject))
    }
}

impl Rewrite {
    /// Whether it takes subjects of this sort from tuples.
    #[must_use]
    pub fn takes(&self, subject: &Allowed) -> bool {
        match self {
            Self::Direct(subjects) => subjects.contains(subject),
            Self::Computed(_) | Self::From { .. } => false,
            Self::Union(parts) | Self::Intersection(parts) => parts.iter().any(|part| part.takes(subject)),
            Self::Exclusion(base, without) => base.takes(subject) || without.takes(subject),
        }
    }
}

impl Allowed {
    /// The sort of a tuple's subject.
    #[must_use]
    pub fn of(subject: &Subject) -> Self {
        match subject {
            Subject::Object(object) => Self::Type(object.kind.clone()),
            Subject::Everyone(kind) => Self::Everyone(kind.clone()),
            Subject::Userset(object, relation) => Self::Userset(object.kind.clone(), relation.clone()),
        }
    }
}
