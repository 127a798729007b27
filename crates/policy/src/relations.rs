//! `relations.toml`: types, their attributes and relations.
//!
//! ```toml
//! [type.team.relations]
//! member = { direct = ["user", "team#member"] }
//!
//! [type.folder.relations]
//! parent = { direct = ["folder"] }
//! viewer = { union = [{ direct = ["user", "team#member", "user:*"] }, { from = "parent", relation = "viewer" }] }
//!
//! [type.document]
//! attributes = { title = "text" }
//! parents = ["folder"]
//!
//! [type.document.relations]
//! folder = { direct = ["folder"] }
//! blocked = { direct = ["user"] }
//! viewer = { base = { from = "folder", relation = "viewer" }, except = { computed = "blocked" } }
//! ```
//!
//! What can't mean anything is refused: a name that isn't there, a relation that no tuple can ever give, a relation that
//! takes itself away.

use std::collections::{BTreeMap, BTreeSet};

use placet_catalog::Catalog;
use placet_core::{Allowed, Name, RelationModel, Rewrite};
use serde::Deserialize;
use toml::Spanned;

use crate::{
    finding::{Finding, position},
    manifest::{self, AttributeType},
};

/// The type of people; it need not be declared.
const PERSON: &str = "user";

/// A parsed `relations.toml`.
#[derive(Debug, Default)]
pub(crate) struct Relations {
    pub(crate) model: RelationModel,
    /// Declared attributes by resource type; a type without this isn't described.
    pub(crate) attributes: BTreeMap<Name, BTreeMap<Name, AttributeType>>,
    /// By type, the relations that lead to its parents in Cedar's hierarchy.
    pub(crate) parents: BTreeMap<Name, BTreeSet<Name>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RelationsFile {
    #[serde(rename = "type", default)]
    types: BTreeMap<Name, Spanned<TypeFile>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TypeFile {
    attributes: Option<BTreeMap<Name, AttributeType>>,
    #[serde(default)]
    parents: BTreeSet<Name>,
    #[serde(default)]
    relations: BTreeMap<Name, Spanned<RewriteFile>>,
}

/// `{ direct = ["user", "team#member"] }` and so on. Exactly one form.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RewriteFile {
    direct: Option<BTreeSet<String>>,
    computed: Option<Name>,
    from: Option<Name>,
    relation: Option<Name>,
    union: Option<Vec<RewriteFile>>,
    intersection: Option<Vec<RewriteFile>>,
    base: Option<Box<RewriteFile>>,
    except: Option<Box<RewriteFile>>,
}

/// What is wrong, and what to do.
type Wrong = (String, &'static str);

/// Reads the file. The first mistake is told, with its line.
pub(crate) fn parse(file: &str, text: &str) -> Result<Relations, Finding> {
    let parsed: RelationsFile = manifest::parse(file, text)?;
    let at = |offset: usize| position(text, offset);
    let mut relations = Relations::default();
    // Where each relation and each type stands.
    let mut places: BTreeMap<(Name, Option<Name>), usize> = BTreeMap::new();
    for (kind, described) in parsed.types {
        let start = described.span().start;
        places.insert((kind.clone(), None), start);
        let described = described.into_inner();
        plain(&kind).map_err(|(message, help)| Finding::error(file, at(start), message, help))?;
        if let Some(attributes) = described.attributes {
            relations.attributes.insert(kind.clone(), attributes);
        }
        if !described.parents.is_empty() {
            relations.parents.insert(kind.clone(), described.parents);
        }
        let mut rewrites = BTreeMap::new();
        for (relation, written) in described.relations {
            let start = written.span().start;
            places.insert((kind.clone(), Some(relation.clone())), start);
            let rewritten = plain(&relation).and_then(|()| rewrite(written.into_inner()));
            let rewritten = rewritten.map_err(|(message, help)| {
                Finding::error(file, at(start), format!("`{kind}#{relation}`: {message}"), help)
            })?;
            rewrites.insert(relation, rewritten);
        }
        relations.model.types.insert(kind, rewrites);
    }
    let problem = |kind: &Name, relation: Option<&Name>, (message, help): Wrong| {
        let start = places.get(&(kind.clone(), relation.cloned())).copied().unwrap_or_default();
        let of = relation.map_or_else(String::new, |relation| format!("#{relation}"));
        Finding::error(file, at(start), format!("`{kind}{of}`: {message}"), help)
    };
    let model = &relations.model;
    let every = || {
        model
            .types
            .iter()
            .flat_map(|(kind, of)| of.iter().map(move |(relation, rewrite)| (kind, relation, rewrite)))
    };
    for (kind, relation, rewrite) in every() {
        leads_somewhere(model, kind, rewrite).map_err(|wrong| problem(kind, Some(relation), wrong))?;
    }
    for (kind, relation, rewrite) in every() {
        ends(model, kind, relation, rewrite).map_err(|wrong| problem(kind, Some(relation), wrong))?;
    }
    let given = givable(model);
    for (kind, relation, _) in every() {
        if !given.contains(&(kind, relation)) {
            let wrong = (
                "it leads only back to itself or to nobody: no tuple can ever give it".to_owned(),
                "add a `direct` part to it or to a relation that it follows",
            );
            return Err(problem(kind, Some(relation), wrong));
        }
    }
    for (kind, parents) in &relations.parents {
        parents
            .iter()
            .try_for_each(|parent| is_parent(model, kind, parent))
            .map_err(|wrong| problem(kind, None, wrong))?;
    }
    Ok(relations)
}

/// What the catalog lets calls write is what the model allows; else with file and line of the template.
pub(crate) fn writes(catalog: &Catalog, model: &RelationModel, files: &[(String, String)]) -> Vec<Finding> {
    let place = |template: &str| {
        let quoted = format!("\"{template}\"");
        let found = files.iter().find_map(|(file, text)| Some((file.as_str(), text, text.find(&quoted)?)));
        found.map_or(("catalog", (0, 0)), |(file, text, offset)| (file, position(text, offset)))
    };
    let all = catalog.entries().flat_map(|entry| entry.writes().iter().map(move |write| (entry, write)));
    all.filter_map(|(entry, write)| {
        let (message, help) = match model.takes(write.kind(), write.relation(), &write.sort()) {
            Some(true) => return None,
            Some(false) => (
                format!(
                    "`{}` may not write `{write}`: the relation doesn't take such a subject",
                    entry.name()
                ),
                "add the subject's type to the `direct` part of the relation in `relations.toml`",
            ),
            None => (
                format!("`{}` writes `{write}`, and there is no such relation", entry.name()),
                "add it to `relations.toml`, or correct the name",
            ),
        };
        let (file, at) = place(&write.to_string());
        Some(Finding::error(file, at, message, help))
    })
    .collect()
}

/// A name that has one reading in a tuple.
fn plain(name: &Name) -> Result<(), Wrong> {
    if name.as_str().contains([':', '@']) {
        return Err((
            format!("the name of a type or a relation has no `:` and no `@`: `{name}`"),
            "rename it",
        ));
    }
    Ok(())
}

fn rewrite(file: RewriteFile) -> Result<Rewrite, Wrong> {
    match file {
        RewriteFile { direct: Some(subjects), computed: None, from: None, relation: None, union: None, intersection: None, base: None, except: None } => {
            if subjects.is_empty() {
                return Err(("`direct` names no subject".to_owned(), "name at least one, as in `[\"user\"]`"));
            }
            subjects.iter().map(|subject| allowed(subject)).collect::<Result<_, _>>().map(Rewrite::Direct)
        }
        RewriteFile { direct: None, computed: Some(relation), from: None, relation: None, union: None, intersection: None, base: None, except: None } => Ok(Rewrite::Computed(relation)),
        RewriteFile { direct: None, computed: None, from: Some(via), relation: Some(relation), union: None, intersection: None, base: None, except: None } => {
            Ok(Rewrite::From { via, relation })
        }
        RewriteFile { direct: None, computed: None, from: None, relation: None, union: Some(parts), intersection: None, base: None, except: None } => several(parts).map(Rewrite::Union),
        RewriteFile { direct: None, computed: None, from: None, relation: None, union: None, intersection: Some(parts), base: None, except: None } => several(parts).map(Rewrite::Intersection),
        RewriteFile { direct: None, computed: None, from: None, relation: None, union: None, intersection: None, base: Some(base), except: Some(except) } => {
            Ok(Rewrite::Exclusion(Box::new(rewrite(*base)?), Box::new(rewrite(*except)?)))
        }
        _ => Err(("a relation is one of `direct`, `computed`, `from` with `relation`, `union`, `intersection`, `base` with `except`".to_owned(), "nest them in `union` or `intersection`")),
    }
}

fn several(parts: Vec<RewriteFile>) -> Result<Vec<Rewrite>, Wrong> {
    if parts.is_empty() {
        return Err(("an empty list means nobody or everybody".to_owned(), "name at least one part"));
    }
    parts.into_iter().map(rewrite).collect()
}

/// `user`, `team#member`, `user:*`.
fn allowed(subject: &str) -> Result<Allowed, Wrong> {
    let name = |text: &str| {
        let name = Name::new(text).map_err(|error| {
            (format!("`{subject}`: {error}"), "write `type`, `type#relation` or `type:*`")
        })?;
        plain(&name).map(|()| name)
    };
    match subject.split_once('#') {
        Some((kind, relation)) => Ok(Allowed::Userset(name(kind)?, name(relation)?)),
        None => match subject.strip_suffix(":*") {
            Some(kind) => Ok(Allowed::Everyone(name(kind)?)),
            None => Ok(Allowed::Type(name(subject)?)),
        },
    }
}

/// Every name in a rewrite is there.
fn leads_somewhere(model: &RelationModel, kind: &Name, rewrite: &Rewrite) -> Result<(), Wrong> {
    let exists = |kind: &Name, relation: &Name| match model.rewrite(kind, relation) {
        Some(_) => Ok(()),
        None => Err((format!("there is no relation `{kind}#{relation}`"), "add it, or correct the name")),
    };
    let has_type = |of: &Name| {
        if model.types.contains_key(of) || of.as_str() == PERSON {
            Ok(())
        } else {
            Err((format!("there is no type `{of}`"), "add `[type.…]`, or correct the name"))
        }
    };
    match rewrite {
        Rewrite::Direct(subjects) => subjects.iter().try_for_each(|subject| match subject {
            Allowed::Type(of) | Allowed::Everyone(of) => has_type(of),
            Allowed::Userset(of, relation) => has_type(of).and_then(|()| exists(of, relation)),
        }),
        Rewrite::Computed(relation) => exists(kind, relation),
        Rewrite::From { via, relation } => {
            exists(kind, via)?;
            let types = objects(model, kind, via).ok_or_else(|| {
                let message =
                    format!("`from` follows objects, and `{via}` isn't a `direct` relation of types only");
                (message, "give it a relation such as `parent = { direct = [\"folder\"] }`")
            })?;
            if types.iter().any(|of| model.rewrite(of, relation).is_some()) {
                Ok(())
            } else {
                let message = format!("no type that `{via}` names has the relation `{relation}`");
                Err((message, "add the relation there, or correct the name"))
            }
        }
        Rewrite::Union(parts) | Rewrite::Intersection(parts) => {
            parts.iter().try_for_each(|part| leads_somewhere(model, kind, part))
        }
        Rewrite::Exclusion(base, except) => {
            leads_somewhere(model, kind, base)?;
            leads_somewhere(model, kind, except)
        }
    }
}

/// The types of a relation that is direct and names nothing but objects.
fn objects<'m>(model: &'m RelationModel, kind: &Name, via: &Name) -> Option<Vec<&'m Name>> {
    let Some(Rewrite::Direct(subjects)) = model.rewrite(kind, via) else { return None };
    subjects
        .iter()
        .map(|subject| match subject {
            Allowed::Type(of) => Some(of),
            Allowed::Everyone(_) | Allowed::Userset(..) => None,
        })
        .collect()
}

fn is_parent(model: &RelationModel, kind: &Name, parent: &Name) -> Result<(), Wrong> {
    match objects(model, kind, parent) {
        Some(types) if types.iter().all(|of| model.types.contains_key(*of)) => Ok(()),
        Some(_) => Err((
            format!("the parents that `{parent}` leads to are of a type that isn't declared"),
            "add `[type.…]` for it",
        )),
        None => Err((
            format!("`{parent}` is no `direct` relation of types only, so it leads to no parents"),
            "name a relation such as `parent = { direct = [\"folder\"] }`",
        )),
    }
}

/// No relation of an object takes itself away: what follows from its not holding isn't that it holds.
fn ends(model: &RelationModel, kind: &Name, relation: &Name, rewrite: &Rewrite) -> Result<(), Wrong> {
    let mut taken = BTreeSet::new();
    follows(rewrite, false, &mut |other, negated| {
        if negated {
            taken.insert(other.clone());
        }
    });
    let mut next: Vec<Name> = taken.into_iter().collect();
    let mut seen = BTreeSet::new();
    while let Some(other) = next.pop() {
        if other == *relation {
            let message = "it takes itself away: who has it hasn't, and who hasn't has it".to_owned();
            return Err((message, "let `except` follow relations that don't lead back here"));
        }
        if let Some(rewrite) = model.rewrite(kind, &other)
            && seen.insert(other)
        {
            follows(rewrite, false, &mut |other, _| next.push(other.clone()));
        }
    }
    Ok(())
}

/// The relations of the same object that a rewrite follows, and whether to take away.
fn follows(rewrite: &Rewrite, negated: bool, tell: &mut dyn FnMut(&Name, bool)) {
    match rewrite {
        Rewrite::Direct(_) | Rewrite::From { .. } => {}
        Rewrite::Computed(other) => tell(other, negated),
        Rewrite::Union(parts) | Rewrite::Intersection(parts) => {
            for part in parts {
                follows(part, negated, tell);
            }
        }
        Rewrite::Exclusion(base, except) => {
            follows(base, negated, tell);
            follows(except, true, tell);
        }
    }
}

/// The relations that some tuples can give to somebody.
fn givable(model: &RelationModel) -> BTreeSet<(&Name, &Name)> {
    let mut given: BTreeSet<(&Name, &Name)> = BTreeSet::new();
    loop {
        let before = given.len();
        for (kind, relations) in &model.types {
            for (relation, rewrite) in relations {
                if can(model, kind, rewrite, &given) {
                    given.insert((kind, relation));
                }
            }
        }
        if given.len() == before {
            return given;
        }
    }
}

fn can(model: &RelationModel, kind: &Name, rewrite: &Rewrite, given: &BTreeSet<(&Name, &Name)>) -> bool {
    match rewrite {
        Rewrite::Direct(subjects) => subjects.iter().any(|subject| match subject {
            Allowed::Type(_) | Allowed::Everyone(_) => true,
            Allowed::Userset(of, relation) => given.contains(&(of, relation)),
        }),
        Rewrite::Computed(other) => given.contains(&(kind, other)),
        Rewrite::From { via, relation } => objects(model, kind, via)
            .is_some_and(|types| types.into_iter().any(|of| given.contains(&(of, relation)))),
        Rewrite::Union(parts) => parts.iter().any(|part| can(model, kind, part, given)),
        Rewrite::Intersection(parts) => parts.iter().all(|part| can(model, kind, part, given)),
        Rewrite::Exclusion(base, _) => can(model, kind, base, given),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"[type.team.relations]
member = { direct = ["user", "team#member"] }

[type.folder.relations]
parent = { direct = ["folder"] }
viewer = { union = [{ direct = ["user", "team#member", "user:*"] }, { from = "parent", relation = "viewer" }] }

[type.doc]
parents = ["folder"]

[type.doc.relations]
folder = { direct = ["folder"] }
blocked = { direct = ["user"] }
viewer = { base = { from = "folder", relation = "viewer" }, except = { computed = "blocked" } }
"#;

    #[test]
    fn a_model_is_read_whole() {
        let read = parse("relations.toml", GOOD).unwrap();
        assert_eq!(read.model.types.len(), 3);
        let name = |text| Name::new(text).unwrap();
        let everyone = Allowed::Everyone(name("user"));
        assert_eq!(read.model.takes(&name("folder"), &name("viewer"), &everyone), Some(true));
        assert_eq!(read.parents[&name("doc")], [name("folder")].into());
    }

    /// Each change makes the model wrong; the line is that of the relation, or of the type.
    #[test]
    fn what_means_nothing_is_refused_with_its_line() {
        for (from, to, line, says) in [
            ("\"user\", \"team#member\"]", "\"user\", \"team#boss\"]", 2, "no relation `team#boss`"),
            ("direct = [\"user\", \"team#member\"] }\n", "direct = [\"human\"] }\n", 2, "no type `human`"),
            ("\"user:*\"", "\"human:*\"", 6, "no type `human`"),
            ("\"user:*\"", "\"user:x\"", 6, "no `:`"),
            ("\"user:*\"", "\"*\"", 6, "identifier"),
            ("relation = \"viewer\" }] }", "relation = \"reader\" }] }", 6, "no type that `parent` names"),
            ("from = \"parent\"", "from = \"viewer\"", 6, "`from` follows objects"),
            (
                "parent = { direct = [\"folder\"] }",
                "parent = { direct = [\"folder\", \"folder#viewer\"] }",
                6,
                "`from` follows objects",
            ),
            ("union = [", "union = [], intersection = [", 6, "a relation is one of"),
            ("direct = [\"user\"] }\nviewer", "union = [] }\nviewer", 13, "nobody or everybody"),
            ("direct = [\"user\"] }\nviewer", "direct = [] }\nviewer", 13, "names no subject"),
            ("computed = \"blocked\"", "computed = \"banned\"", 14, "no relation `doc#banned`"),
            ("computed = \"blocked\"", "computed = \"viewer\"", 14, "takes itself away"),
            (
                "blocked = { direct = [\"user\"] }",
                "blocked = { computed = \"viewer\" }",
                14,
                "takes itself away",
            ),
            (
                "blocked = { direct = [\"user\"] }",
                "blocked = { computed = \"blocked\" }",
                13,
                "no tuple can ever give it",
            ),
            (
                "[\"user\", \"team#member\"] }\n\n[type.folder",
                "[\"team#member\"] }\n\n[type.folder",
                2,
                "no tuple can ever give it",
            ),
            ("parents = [\"folder\"]", "parents = [\"blocked\"]", 8, "isn't declared"),
            ("parents = [\"folder\"]", "parents = [\"viewer\"]", 8, "leads to no parents"),
            ("blocked = {", "\"b:c\" = {", 13, "no `:`"),
            ("blocked = {", "blocked = { indirect = [],", 13, "unknown field"),
            ("[type.team.relations]", "[type.\"te:am\".relations]", 1, "no `:`"),
        ] {
            assert!(GOOD.contains(from), "{from}");
            let error = parse("relations.toml", &GOOD.replacen(from, to, 1)).unwrap_err();
            assert!(error.message.contains(says), "{to}: {}", error.message);
            assert_eq!(error.line, line, "{to}: {}", error.message);
        }
    }

    #[test]
    fn a_cycle_that_ends_is_no_mistake() {
        for good in [
            "[type.team.relations]\nmember = { direct = [\"user\", \"team#member\"] }\n",
            "[type.doc.relations]\na = { union = [{ direct = [\"user\"] }, { computed = \"b\" }] }\nb = { computed = \"a\" }\n",
            "[type.doc.relations]\nparent = { direct = [\"doc\"] }\na = { union = [{ direct = [\"user\"] }, { from = \"parent\", relation = \"a\" }] }\nb = { base = { computed = \"a\" }, except = { from = \"parent\", relation = \"b\" } }\n",
        ] {
            assert!(parse("relations.toml", good).is_ok(), "{good}");
        }
    }
}
