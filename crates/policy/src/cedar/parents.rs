//! Cedar's hierarchy: what a resource is `in`, from the tuples of the relations that `relations.toml` names as `parents`.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use cedar_policy::{EntityId, EntityTypeName, EntityUid};
use placet_core::{
    Allowed, Code, EngineFault, FactsView, Name, RelationModel, ResourceRef, Rewrite, Subject,
};
use placet_json::Value;

use super::failed;

/// The most ancestors of one resource.
const MAX_ABOVE: usize = 1_000;

type Parents = BTreeMap<Name, BTreeSet<Name>>;

/// The types of a type's parents.
pub(super) fn types(model: &RelationModel, parents: &Parents, kind: &Name) -> BTreeSet<String> {
    let relations = parents.get(kind).into_iter().flatten();
    let rewrites = relations.filter_map(|relation| model.rewrite(kind, relation));
    rewrites
        .filter_map(|rewrite| if let Rewrite::Direct(subjects) = rewrite { Some(subjects) } else { None })
        .flatten()
        .filter_map(|subject| match subject {
            Allowed::Type(of) => Some(of.as_str().to_owned()),
            Allowed::Everyone(_) | Allowed::Userset(..) => None,
        })
        .collect()
}

/// All ancestors of a resource. A cycle is walked once: everything on it is `in` everything else.
pub(super) fn above(
    parents: &Parents,
    types: &BTreeMap<String, EntityTypeName>,
    facts: Option<(&dyn FactsView, &RelationModel)>,
    kind: &str,
    id: &str,
) -> Result<HashSet<EntityUid>, EngineFault> {
    let Some((facts, model)) = facts.filter(|_| parents.keys().any(|of| of.as_str() == kind)) else {
        return Ok(HashSet::new());
    };
    let name = |text: &str| Name::new(text).map_err(|error| failed(error.to_string()));
    let own = ResourceRef { kind: name(kind)?, id: name(id)? };
    let mut found = BTreeSet::new();
    let mut next = vec![own.clone()];
    while let Some(at) = next.pop() {
        for parent in direct(parents, model, facts, &at) {
            if found.len() >= MAX_ABOVE {
                let operator = format!("`{own}` is in more than {MAX_ABOVE} others");
                return Err(EngineFault { code: Code::Limit, operator });
            }
            if parent != own && found.insert(parent.clone()) {
                next.push(parent);
            }
        }
    }
    let uid = |at: &ResourceRef| {
        let kind =
            types.get(at.kind.as_str()).ok_or_else(|| failed(format!("no Cedar type `{}`", at.kind)))?;
        Ok(EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(at.id.as_str())))
    };
    found.iter().map(uid).collect()
}

/// What tuples of the parent relations name, as far as the model allows them.
fn direct(
    parents: &Parents,
    model: &RelationModel,
    facts: &dyn FactsView,
    at: &ResourceRef,
) -> Vec<ResourceRef> {
    let Some(relations) = parents.get(&at.kind) else { return Vec::new() };
    let slice = facts.slice(at);
    let of = |relation: &Name| {
        let subjects = slice.get("relations").and_then(|all| all.get(relation.as_str()));
        subjects.and_then(Value::as_array).unwrap_or_default().to_vec()
    };
    let named =
        relations.iter().flat_map(|relation| of(relation).into_iter().map(move |text| (relation, text)));
    named
        .filter_map(|(relation, text)| {
            let subject: Subject = text.as_str()?.parse().ok()?;
            let allowed = model.takes(&at.kind, relation, &Allowed::of(&subject)) == Some(true);
            match subject {
                Subject::Object(parent) if allowed => Some(parent),
                Subject::Object(_) | Subject::Everyone(_) | Subject::Userset(..) => None,
            }
        })
        .collect()
}
