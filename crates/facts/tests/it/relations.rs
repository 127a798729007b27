//! The relationship check, by example and against an evaluator that does it the slow way.

use std::collections::{BTreeMap, BTreeSet};

use placet_core::{
    Allowed, CheckError, FactsView, Name, RelationModel, ResourceRef, Rewrite, Subject, Tuple,
};
use placet_facts::{Change, MAX_STEPS, Place, Snapshot, World, parse_resource, parse_tuple};
use proptest::prelude::*;

use crate::{json, name, of, tenant};

fn direct(allowed: &[&str]) -> Rewrite {
    let one = |text: &&str| match text.split_once('#') {
        None => Allowed::Type(name(text)),
        Some((kind, relation)) => Allowed::Userset(name(kind), name(relation)),
    };
    Rewrite::Direct(allowed.iter().map(one).collect())
}
fn computed(relation: &str) -> Rewrite {
    Rewrite::Computed(name(relation))
}
fn from(via: &str, relation: &str) -> Rewrite {
    Rewrite::From { via: name(via), relation: name(relation) }
}
fn except(base: Rewrite, without: Rewrite) -> Rewrite {
    Rewrite::Exclusion(Box::new(base), Box::new(without))
}

fn model(types: &[(&str, &[(&str, Rewrite)])]) -> RelationModel {
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

fn snapshot(tuples: impl IntoIterator<Item = Tuple>) -> Snapshot {
    let world = World::from_file(&json(r#"{"tenant":"acme"}"#)).unwrap();
    let changes: Vec<_> = tuples.into_iter().map(Change::TupleAdded).collect();
    let world = if changes.is_empty() {
        world
    } else {
        world.apply(1, &of(Place::Tenant(tenant("acme")), changes)).unwrap()
    };
    world.snapshot(&tenant("acme")).unwrap()
}
fn facts(tuples: &[&str]) -> Snapshot {
    snapshot(tuples.iter().map(|text| parse_tuple(text).unwrap()))
}
fn ask(
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
    assert!(matches!(ask(&facts, &model, "doc:1", "good", "user:maya"), Err(CheckError::Bound(_))));
}

#[test]
fn pol_4_a_check_has_bounds() {
    let deep: Vec<_> =
        (0..40).map(|i| parse_tuple(&format!("team:t{i}#member@team:t{}#member", i + 1)).unwrap()).collect();
    let end = parse_tuple("team:t40#member@user:maya").unwrap();
    let facts = snapshot(deep.into_iter().chain([end]));
    assert!(matches!(ask(&facts, &documents(), "team:t0", "member", "user:maya"), Err(CheckError::Bound(_))));
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

/// All subjects of type `user` that have each relation on each object: computed upwards until nothing is added, the
/// relations in the order of their numbers, so that what an exclusion takes away is complete before.
struct Slow<'a> {
    model: &'a RelationModel,
    tuples: &'a BTreeSet<Tuple>,
    objects: Vec<ResourceRef>,
    users: Vec<ResourceRef>,
    has: BTreeMap<(ResourceRef, Name), BTreeSet<ResourceRef>>,
}

impl Slow<'_> {
    fn run(&mut self, relations: usize) {
        for level in 0..relations {
            loop {
                let before = self.has.clone();
                for object in self.objects.clone() {
                    let relation = relation_of(level);
                    let rewrite = self.model.rewrite(&object.kind, &relation).unwrap().clone();
                    let users = self.eval(&rewrite, &object, &relation);
                    self.has.entry((object, relation)).or_default().extend(users);
                }
                if self.has == before {
                    break;
                }
            }
        }
    }
    fn eval(&self, rewrite: &Rewrite, object: &ResourceRef, relation: &Name) -> BTreeSet<ResourceRef> {
        let of = |object: &ResourceRef, relation: &Name| {
            self.has.get(&(object.clone(), relation.clone())).cloned().unwrap_or_default()
        };
        match rewrite {
            Rewrite::Direct(allowed) => {
                let here = self.tuples.iter().filter(|t| t.object == *object && t.relation == *relation);
                here.flat_map(|t| match &t.subject {
                    Subject::Object(user)
                        if allowed.contains(&Allowed::Type(user.kind.clone()))
                            && self.users.contains(user) =>
                    {
                        [user.clone()].into()
                    }
                    Subject::Userset(group, r)
                        if allowed.contains(&Allowed::Userset(group.kind.clone(), r.clone())) =>
                    {
                        of(group, r)
                    }
                    Subject::Object(_) | Subject::Userset(..) => BTreeSet::new(),
                })
                .collect()
            }
            Rewrite::Computed(other) => of(object, other),
            Rewrite::From { via, relation } => {
                let there = self.tuples.iter().filter(|t| t.object == *object && t.relation == *via);
                there
                    .flat_map(|t| {
                        if let Subject::Object(other) = &t.subject {
                            of(other, relation)
                        } else {
                            BTreeSet::new()
                        }
                    })
                    .collect()
            }
            Rewrite::Union(parts) => {
                parts.iter().flat_map(|part| self.eval(part, object, relation)).collect()
            }
            Rewrite::Intersection(parts) => {
                let mut parts = parts.iter().map(|part| self.eval(part, object, relation));
                let first = parts.next().unwrap_or_default();
                parts.fold(first, |all, part| all.intersection(&part).cloned().collect())
            }
            Rewrite::Exclusion(base, without) => {
                let without = self.eval(without, object, relation);
                self.eval(base, object, relation).difference(&without).cloned().collect()
            }
        }
    }
}

const RELATIONS: usize = 4;
fn relation_of(level: usize) -> Name {
    name(&format!("r{level}"))
}

/// A rewrite of the relation `level` that looks at relations up to its own, and takes away lower ones only.
fn rewrite(level: usize) -> BoxedStrategy<Rewrite> {
    let any_direct = Just(()).prop_map(move |()| {
        let usersets = (0..=level).map(|l| format!("group#r{l}")).collect::<Vec<_>>();
        direct(&usersets.iter().map(String::as_str).chain(["user"]).collect::<Vec<_>>())
    });
    let leaf = prop_oneof![
        3 => any_direct,
        2 => (0..=level).prop_map(|l| Rewrite::Computed(relation_of(l))),
        2 => (0..=level).prop_map(|l| Rewrite::From { via: name("via"), relation: relation_of(l) }),
    ];
    let lower = (0..level.max(1)).prop_map(move |l| {
        if level == 0 { Rewrite::Union(vec![]) } else { Rewrite::Computed(relation_of(l)) }
    });
    leaf.prop_recursive(2, 8, 3, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..3).prop_map(Rewrite::Union),
            prop::collection::vec(inner.clone(), 1..3).prop_map(Rewrite::Intersection),
            (inner, lower.clone()).prop_map(|(base, without)| except(base, without)),
        ]
    })
    .boxed()
}

fn objects() -> Vec<ResourceRef> {
    (0..4).map(|i| ResourceRef { kind: name("group"), id: name(&format!("g{i}")) }).collect()
}
fn users() -> Vec<ResourceRef> {
    (0..3).map(|i| ResourceRef { kind: name("user"), id: name(&format!("u{i}")) }).collect()
}
fn tuples() -> impl Strategy<Value = BTreeSet<Tuple>> {
    let object = prop::sample::select(objects());
    let relation = (0..RELATIONS).prop_map(relation_of);
    let subject = prop_oneof![
        prop::sample::select(users()).prop_map(Subject::Object),
        (prop::sample::select(objects()), relation.clone()).prop_map(|(o, r)| Subject::Userset(o, r)),
    ];
    let own = (object.clone(), relation, subject).prop_map(|(object, relation, subject)| Tuple {
        object,
        relation,
        subject,
    });
    let via = (object.clone(), object).prop_map(|(from, to)| Tuple {
        object: from,
        relation: name("via"),
        subject: Subject::Object(to),
    });
    (prop::collection::btree_set(own, 0..20), prop::collection::btree_set(via, 0..6))
        .prop_map(|(own, via)| own.into_iter().chain(via).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 400 } else { 4000 }))]
    #[test]
    fn the_walk_finds_what_the_fixpoint_holds(r0 in rewrite(0), r1 in rewrite(1), r2 in rewrite(2), r3 in rewrite(3), tuples in tuples()) {
        let rewrites = [r0, r1, r2, r3];
        let mut group: BTreeMap<_, _> = rewrites.into_iter().enumerate().map(|(l, r)| (relation_of(l), r)).collect();
        group.insert(name("via"), direct(&["group"]));
        let model = RelationModel { types: [(name("group"), group), (name("user"), BTreeMap::new())].into() };
        let facts = snapshot(tuples.iter().cloned());
        let mut slow = Slow { model: &model, tuples: &tuples, objects: objects(), users: users(), has: BTreeMap::new() };
        slow.run(RELATIONS);
        for object in objects() {
            for level in 0..RELATIONS {
                for user in users() {
                    let expected = slow.has.get(&(object.clone(), relation_of(level))).is_some_and(|has| has.contains(&user));
                    match facts.check(&model, &object, &relation_of(level), &user) {
                        Ok(found) => prop_assert_eq!(found, expected, "{}#{}@{}", object, relation_of(level), user),
                        // Four objects of four relations nest no deeper than 16.
                        Err(error) => prop_assert!(false, "{error}"),
                    }
                }
            }
        }
    }
}
