//! Who has a relation, and by which rewrites: Zanzibar's userset tree (USENIX ATC 2019, §2.4.5), followed to its leaves.

use std::collections::BTreeSet;

use placet_core::{Allowed, CheckError, Name, RelationModel, ResourceRef, Rewrite, Subject};
use placet_json::{Value, object};

use super::{MAX_BRANCHES, MAX_DEPTH, known};
use crate::{
    TenantFacts,
    tuples::{Thing, Tuples},
};

/// A relation of an object, with all that may show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expansion {
    /// The object.
    pub object: ResourceRef,
    /// The relation.
    pub relation: Name,
    /// How it comes about; none where it stands elsewhere in the same answer already.
    pub tree: Option<Tree>,
}

/// How a relation comes about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tree {
    /// By tuples.
    Direct(Vec<Branch>),
    /// By another relation of the same object.
    Computed(Box<Expansion>),
    /// By a relation of the objects that `via` leads to.
    From {
        /// The relation that leads there.
        via: Name,
        /// What it leads to.
        of: Vec<Expansion>,
    },
    /// By any of these.
    Union(Vec<Tree>),
    /// By all of these.
    Intersection(Vec<Tree>),
    /// By the first unless by the second.
    Exclusion(Box<Tree>, Box<Tree>),
}

/// What a tuple names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Branch {
    /// One object, or every object of a type.
    Subject(Subject),
    /// A userset.
    Userset(Expansion),
}

impl Expansion {
    /// As JSON: `{"object", "relation", "tree"}`; `"shown": "above"` instead of a tree that stands there already.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let mut value = object! { "object" => self.object.to_string(), "relation" => self.relation.as_str() };
        match &self.tree {
            Some(tree) => value.insert("tree", tree.to_value()),
            None => value.insert("shown", "above"),
        };
        Value::Object(value)
    }
}

impl Tree {
    fn to_value(&self) -> Value {
        let all = |trees: &[Tree]| Value::Array(trees.iter().map(Tree::to_value).collect());
        Value::Object(match self {
            Self::Direct(branches) => {
                let branches = branches.iter().map(|branch| match branch {
                    Branch::Subject(subject) => Value::from(subject.to_string()),
                    Branch::Userset(expansion) => expansion.to_value(),
                });
                object! { "direct" => Value::Array(branches.collect()) }
            }
            Self::Computed(expansion) => object! { "computed" => expansion.to_value() },
            Self::From { via, of } => {
                let of = of.iter().map(Expansion::to_value);
                object! { "from" => via.as_str(), "of" => Value::Array(of.collect()) }
            }
            Self::Union(parts) => object! { "union" => all(parts) },
            Self::Intersection(parts) => object! { "intersection" => all(parts) },
            Self::Exclusion(base, except) => {
                object! { "base" => base.to_value(), "except" => except.to_value() }
            }
        })
    }
}

pub(crate) fn expand(
    facts: &TenantFacts,
    model: &RelationModel,
    object: &ResourceRef,
    relation: &Name,
) -> Result<Expansion, CheckError> {
    known(model, &object.kind, relation)?;
    let mut walk = Expand { tuples: &facts.tuples, model, shown: BTreeSet::new(), branches: 0, depth: 0 };
    walk.relation(object, relation)
}

struct Expand<'a> {
    tuples: &'a Tuples,
    model: &'a RelationModel,
    shown: BTreeSet<(ResourceRef, Name)>,
    branches: usize,
    depth: usize,
}

impl Expand<'_> {
    fn branch(&mut self) -> Result<(), CheckError> {
        self.branches = self.branches.saturating_add(1);
        if self.branches > MAX_BRANCHES { Err(CheckError::Long(bound(MAX_BRANCHES))) } else { Ok(()) }
    }

    fn relation(&mut self, object: &ResourceRef, relation: &Name) -> Result<Expansion, CheckError> {
        self.branch()?;
        let (_, rewrite) = known(self.model, &object.kind, relation)?;
        let mut expansion = Expansion { object: object.clone(), relation: relation.clone(), tree: None };
        if !self.shown.insert((object.clone(), relation.clone())) {
            return Ok(expansion);
        }
        if self.depth >= MAX_DEPTH {
            return Err(CheckError::Deep(bound(MAX_DEPTH)));
        }
        self.depth = self.depth.saturating_add(1);
        expansion.tree = Some(self.tree(rewrite, object, relation)?);
        self.depth = self.depth.saturating_sub(1);
        Ok(expansion)
    }

    fn tree(&mut self, rewrite: &Rewrite, object: &ResourceRef, relation: &Name) -> Result<Tree, CheckError> {
        let mut all = |parts: &[Rewrite]| {
            parts.iter().map(|part| self.tree(part, object, relation)).collect::<Result<Vec<_>, _>>()
        };
        match rewrite {
            Rewrite::Union(parts) => all(parts).map(Tree::Union),
            Rewrite::Intersection(parts) => all(parts).map(Tree::Intersection),
            Rewrite::Direct(subjects) => self.direct(subjects, object, relation),
            Rewrite::Computed(other) => {
                self.relation(object, other).map(|expansion| Tree::Computed(Box::new(expansion)))
            }
            Rewrite::From { via, relation } => self.from(object, via, relation),
            Rewrite::Exclusion(base, except) => Ok(Tree::Exclusion(
                Box::new(self.tree(base, object, relation)?),
                Box::new(self.tree(except, object, relation)?),
            )),
        }
    }

    fn direct(
        &mut self,
        subjects: &BTreeSet<Allowed>,
        object: &ResourceRef,
        relation: &Name,
    ) -> Result<Tree, CheckError> {
        let tuples = self.tuples;
        let (Some(object), Some(word)) = (tuples.thing(object), tuples.word(relation)) else {
            return Ok(Tree::Direct(Vec::new()));
        };
        let single = tuples.objects(object, word).filter_map(|thing| tuples.named(thing).cloned());
        let single = single.map(Subject::Object);
        let everyone = tuples.everyones(object, word).map(|kind| Subject::Everyone(kind.clone()));
        let groups = tuples
            .usersets(object, word)
            .filter_map(|(group, of)| Some(Subject::Userset(tuples.named(group)?.clone(), of.clone())));
        let named = single.chain(everyone).chain(groups);
        let mut named: Vec<Subject> =
            named.filter(|subject| subjects.contains(&Allowed::of(subject))).take(self.left()).collect();
        named.sort();
        let branches = named.into_iter().map(|subject| match subject {
            Subject::Userset(group, of) => self.relation(&group, &of).map(Branch::Userset),
            other @ (Subject::Object(_) | Subject::Everyone(_)) => {
                self.branch()?;
                Ok(Branch::Subject(other))
            }
        });
        branches.collect::<Result<_, _>>().map(Tree::Direct)
    }

    fn from(&mut self, object: &ResourceRef, via: &Name, relation: &Name) -> Result<Tree, CheckError> {
        let (_, rewrite) = known(self.model, &object.kind, via)?;
        let mut others: Vec<ResourceRef> = match (self.tuples.thing(object), self.tuples.word(via)) {
            (Some(object), Some(word)) => self.others(object, word, rewrite, relation),
            (None, _) | (_, None) => Vec::new(),
        };
        others.sort();
        let of = others.iter().map(|other| self.relation(other, relation)).collect::<Result<_, _>>()?;
        Ok(Tree::From { via: via.clone(), of })
    }

    /// The objects that a relation leads to and whose type has the wanted one.
    fn others(&self, object: Thing, via: u32, rewrite: &Rewrite, relation: &Name) -> Vec<ResourceRef> {
        let others = self.tuples.objects(object, via).filter_map(|thing| self.tuples.named(thing).cloned());
        others
            .filter(|other| {
                rewrite.takes(&Allowed::Type(other.kind.clone()))
                    && self.model.rewrite(&other.kind, relation).is_some()
            })
            .take(self.left())
            .collect()
    }

    /// One more than may come, so that too much is noticed.
    fn left(&self) -> usize {
        MAX_BRANCHES.saturating_sub(self.branches).saturating_add(1)
    }
}

fn bound(bound: usize) -> u32 {
    u32::try_from(bound).unwrap_or(u32::MAX)
}
