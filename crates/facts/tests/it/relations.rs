//! The relationship check by example; `differential` holds it against an evaluator that does it the slow way.

use placet_core::{Allowed, CheckError, FactsView, RelationModel, Rewrite, Tuple};
use placet_facts::{Change, MAX_STEPS, Place, Snapshot, World, parse_resource, parse_tuple};

use crate::{json, name, of, tenant};

pub(crate) fn direct(allowed: &[&str]) -> Rewrite {
    let one = |text: &&str| match text.split_once('#') {
        None => match text.strip_suffix(":*") {
            Some(kind) => Allowed::Everyone(name(kind)),
            None => Allowed::Type(name(text)),
        },
        Some((kind, relation)) => Allowed::Userset(name(kind), name(relation)),
    };
    Rewrite::Direct(allowed.iter().map(one).collect())
}
pub(crate) fn computed(relation: &str) -> Rewrite {
    Rewrite::Computed(name(relation))
}
pub(crate) fn from(via: &str, relation: &str) -> Rewrite {
    Rewrite::From { via: name(via), relation: name(relation) }
}
pub(crate) fn except(base: Rewrite, without: Rewrite) -> Rewrite {
    Rewrite::Exclusion(Box::new(base), Box::new(without))
}

pub(crate) fn model(types: &[(&str, &[(&str, Rewrite)])]) -> RelationModel {
    let relations = |relations: &[(&str, Rewrite)]| {
        relations.iter().map(|(relation, rewrite)| (name(relation), rewrite.clone())).collect()
    };
    RelationModel { types: types.iter().map(|(kind, of)| (name(kind), relations(of))).collect() }
}

fn documents() -> RelationModel {
    model(&[
        ("user", &[]),
        ("team", &[("member", direct(&["user", "team#member"]))]),
        (
            "folder",
            &[
                ("parent", direct(&["folder"])),
                ("viewer", Rewrite::Union(vec![direct(&["user", "team#member"]), from("parent", "viewer")])),
            ],
        ),
        (
            "doc",
            &[
                ("parent", direct(&["folder"])),
                ("owner", direct(&["user"])),
                ("blocked", direct(&["user", "team#member"])),
                (
                    "viewer",
                    except(
                        Rewrite::Union(vec![
                            direct(&["user", "team#member"]),
                            computed("owner"),
                            from("parent", "viewer"),
                        ]),
                        computed("blocked"),
                    ),
                ),
                ("signer", Rewrite::Intersection(vec![computed("owner"), computed("viewer")])),
            ],
        ),
    ])
}

pub(crate) fn snapshot(tuples: impl IntoIterator<Item = Tuple>) -> Snapshot {
    let world = World::from_file(&json(r#"{"tenant":"acme"}"#)).unwrap();
    let changes: Vec<_> = tuples.into_iter().map(Change::TupleAdded).collect();
    let world = if changes.is_empty() {
        world
    } else {
        world.apply(1, &of(Place::Tenant(tenant("acme")), changes)).unwrap()
    };
    world.snapshot(&tenant("acme")).unwrap()
}
pub(crate) fn facts(tuples: &[&str]) -> Snapshot {
    snapshot(tuples.iter().map(|text| parse_tuple(text).unwrap()))
}
pub(crate) fn ask(
    facts: &Snapshot,
    model: &RelationModel,
    object: &str,
    relation: &str,
    subject: &str,
) -> Result<bool, CheckError> {
    facts.check(model, &parse_resource(object).unwrap(), &name(relation), &parse_resource(subject).unwrap())
}

#[test]
fn relations_follow_teams_folders_and_blocks() {
    let facts = facts(&[
        "team:eng#member@user:maya",
        "team:all#member@team:eng#member",
        "folder:root#viewer@team:all#member",
        "folder:sub#parent@folder:root",
        "doc:1#parent@folder:sub",
        "doc:1#owner@user:noor",
        "doc:2#parent@folder:sub",
        "doc:2#blocked@team:eng#member",
        "doc:2#owner@user:maya",
        "doc:3#viewer@folder:root",
    ]);
    for (object, relation, subject, expected) in [
        ("doc:1", "viewer", "user:maya", true),
        ("doc:1", "viewer", "user:noor", true),
        ("doc:1", "viewer", "user:eve", false),
        ("doc:1", "signer", "user:noor", true),
        ("doc:1", "signer", "user:maya", false),
        ("doc:2", "viewer", "user:maya", false),
        ("doc:2", "signer", "user:maya", false),
        ("doc:2", "owner", "user:maya", true),
        // A tuple that the model doesn't allow is as if it weren't there.
        ("doc:3", "viewer", "folder:root", false),
        ("doc:9", "viewer", "user:maya", false),
    ] {
        assert_eq!(
            ask(&facts, &documents(), object, relation, subject),
            Ok(expected),
            "{object}#{relation}@{subject}"
        );
    }
    for (object, relation) in [("doc:1", "editor"), ("invoice:1", "viewer")] {
        assert!(
            matches!(
                ask(&facts, &documents(), object, relation, "user:maya"),
                Err(CheckError::Unknown { .. })
            ),
            "{object}#{relation}"
        );
    }
}

#[test]
fn an_empty_rewrite_gives_nothing_to_anybody() {
    let model = model(&[
        ("user", &[]),
        (
            "doc",
            &[("all", Rewrite::Intersection(vec![])), ("any", Rewrite::Union(vec![])), ("none", direct(&[]))],
        ),
    ]);
    let facts = facts(&["doc:1#none@user:maya"]);
    for relation in ["all", "any", "none"] {
        assert_eq!(ask(&facts, &model, "doc:1", relation, "user:maya"), Ok(false), "{relation}");
    }
}

#[test]
fn cycles_show_nothing_and_end() {
    let facts = facts(&[
        "team:a#member@team:b#member",
        "team:b#member@team:c#member",
        "team:c#member@team:a#member",
        "team:c#member@user:maya",
        "folder:x#parent@folder:y",
        "folder:y#parent@folder:x",
        "folder:y#viewer@user:noor",
    ]);
    for team in ["team:a", "team:b", "team:c"] {
        assert_eq!(ask(&facts, &documents(), team, "member", "user:maya"), Ok(true), "{team}");
        assert_eq!(ask(&facts, &documents(), team, "member", "user:eve"), Ok(false), "{team}");
    }
    assert_eq!(ask(&facts, &documents(), "folder:x", "viewer", "user:noor"), Ok(true));
    assert_eq!(ask(&facts, &documents(), "folder:x", "viewer", "user:maya"), Ok(false));
}

#[test]
fn a_cycle_through_an_exclusion_is_an_error_not_an_answer() {
    let model = model(&[
        ("user", &[]),
        (
            "doc",
            &[
                ("base", direct(&["user"])),
                ("good", except(computed("base"), computed("bad"))),
                ("bad", computed("good")),
            ],
        ),
    ]);
    let facts = facts(&["doc:1#base@user:maya"]);
    assert!(matches!(ask(&facts, &model, "doc:1", "good", "user:maya"), Err(CheckError::Paradox { .. })));
}

#[test]
fn pol_4_a_check_has_bounds() {
    let deep: Vec<_> =
        (0..40).map(|i| parse_tuple(&format!("team:t{i}#member@team:t{}#member", i + 1)).unwrap()).collect();
    let end = parse_tuple("team:t40#member@user:maya").unwrap();
    let facts = snapshot(deep.into_iter().chain([end]));
    assert!(matches!(ask(&facts, &documents(), "team:t0", "member", "user:maya"), Err(CheckError::Deep(_))));
    assert_eq!(ask(&facts, &documents(), "team:t20", "member", "user:maya"), Ok(true));

    let wide = (0..=MAX_STEPS).map(|i| parse_tuple(&format!("team:all#member@team:t{i}#member")).unwrap());
    assert_eq!(
        ask(&snapshot(wide), &documents(), "team:all", "member", "user:maya"),
        Err(CheckError::Bound(MAX_STEPS))
    );
    // Single subjects are looked up, not walked: a large team is no large walk.
    let many = (0..=MAX_STEPS).map(|i| parse_tuple(&format!("team:all#member@user:u{i}")).unwrap());
    let facts = snapshot(many);
    assert_eq!(ask(&facts, &documents(), "team:all", "member", "user:u77"), Ok(true));
    assert_eq!(ask(&facts, &documents(), "team:all", "member", "user:maya"), Ok(false));
}

#[test]
fn a_tuple_that_the_model_does_not_know_is_not_written() {
    let world = World::from_file(&json(r#"{"tenant":"acme"}"#)).unwrap();
    let model = documents();
    for (text, allowed) in [
        ("doc:1#viewer@user:maya", true),
        ("doc:1#viewer@team:x#member", true),
        ("doc:1#viewer@folder:x", false),
        ("doc:1#viewer@team:x#owner", false),
        ("doc:1#signer@user:maya", false),
        ("doc:1#editor@user:maya", false),
        ("invoice:1#viewer@user:maya", false),
    ] {
        let add = of(Place::Tenant(tenant("acme")), vec![Change::TupleAdded(parse_tuple(text).unwrap())]);
        assert_eq!(world.apply_with(1, &add, Some(&model)).is_ok(), allowed, "{text}");
        assert!(world.apply(1, &add).is_ok());
    }
}
