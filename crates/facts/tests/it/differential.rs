//! Relationship questions on random models and tuples, against an evaluator that knows nothing of the walk: it adds who
//! has what until nothing is added any more, as the semantics say it.
//!
//! `PLACET_SOAK=1` asks a million questions; otherwise it is a slice. A failure prints its seed, and
//! `PLACET_SEED=<seed>` runs that one alone.

use std::collections::{BTreeMap, BTreeSet};

use placet_core::{Allowed, FactsView, Name, RelationModel, ResourceRef, Rewrite, Subject, Tuple};
use placet_facts::{Branch, Expansion, Tree};

use crate::{
    name,
    relations::{computed, direct, except, from, snapshot},
};

/// SplitMix64 (Steele, Lea, Flood, 2014).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % sides as u64).unwrap()
    }
    fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.roll(of.len())]
    }
}

const KINDS: [&str; 2] = ["group", "folder"];
const LEVELS: usize = 4;
/// Each on every object: 24 in all, fewer than a walk is deep.
const OBJECTS: usize = 3;
const USERS: [&str; 4] = ["user:a", "user:b", "user:stranger", "bot:x"];

fn objects() -> Vec<ResourceRef> {
    KINDS.iter().flat_map(|kind| (0..OBJECTS).map(move |i| format!("{kind}:{i}").parse().unwrap())).collect()
}

/// A rewrite that looks at relations up to its own level and takes away lower ones only, so that it has one meaning.
fn rewrite(dice: &mut Dice, level: usize, depth: usize) -> Rewrite {
    let relation = |dice: &mut Dice| format!("r{}", dice.roll(level + 1));
    match dice.roll(if depth == 0 { 5 } else { 10 }) {
        0 | 1 | 9 => {
            let usersets: Vec<String> =
                (0..=level).flat_map(|l| KINDS.map(|kind| format!("{kind}#r{l}"))).collect();
            let mut subjects: Vec<&str> = vec!["user"];
            if dice.roll(3) == 0 {
                subjects.push("user:*");
            }
            if dice.roll(3) == 0 {
                subjects.push("bot");
            }
            subjects.extend(usersets.iter().map(String::as_str).filter(|_| dice.roll(4) > 0));
            direct(&subjects)
        }
        2 => computed(&relation(dice)),
        3 | 4 => from("via", &relation(dice)),
        5 | 6 => Rewrite::Union((0..2).map(|_| rewrite(dice, level, depth - 1)).collect()),
        7 => Rewrite::Intersection((0..2).map(|_| rewrite(dice, level, depth - 1)).collect()),
        _ if level == 0 => direct(&["user"]),
        _ => {
            let lower = dice.roll(level);
            except(rewrite(dice, level, depth - 1), rewrite(dice, lower, depth - 1))
        }
    }
}

/// Direct parts stand for the whole relation's tuples, so a part of another level may not see this one's.
fn stratified(rewrite: &Rewrite, level: usize, negated: bool) -> bool {
    match rewrite {
        Rewrite::Direct(subjects) => {
            !negated
                || subjects.iter().all(
                    |s| !matches!(s, Allowed::Userset(_, r) if r.as_str() >= format!("r{level}").as_str()),
                )
        }
        Rewrite::Computed(r) | Rewrite::From { relation: r, .. } => {
            !negated || r.as_str() < format!("r{level}").as_str()
        }
        Rewrite::Union(parts) | Rewrite::Intersection(parts) => {
            parts.iter().all(|part| stratified(part, level, negated))
        }
        Rewrite::Exclusion(base, without) => {
            stratified(base, level, negated) && stratified(without, level, true)
        }
    }
}

fn a_model(dice: &mut Dice) -> RelationModel {
    let mut types: BTreeMap<Name, BTreeMap<Name, Rewrite>> =
        [(name("user"), BTreeMap::new()), (name("bot"), BTreeMap::new())].into();
    for kind in KINDS {
        let mut relations: BTreeMap<Name, Rewrite> = [(name("via"), direct(&KINDS))].into();
        for level in 0..LEVELS {
            let made = loop {
                let made = rewrite(dice, level, 2);
                if stratified(&made, level, false) {
                    break made;
                }
            };
            relations.insert(name(&format!("r{level}")), made);
        }
        types.insert(name(kind), relations);
    }
    RelationModel { types }
}

fn some_tuples(dice: &mut Dice) -> BTreeSet<Tuple> {
    let objects = objects();
    let mut tuples = BTreeSet::new();
    for _ in 0..dice.roll(80) {
        let object = dice.pick(&objects).clone();
        let subject = match dice.roll(8) {
            0..=2 => dice.pick(&["user:a", "user:b", "bot:x"]).parse().unwrap(),
            3 => dice.pick(&["user:*", "bot:*"]).parse().unwrap(),
            _ => Subject::Userset(dice.pick(&objects).clone(), name(&format!("r{}", dice.roll(LEVELS)))),
        };
        tuples.insert(Tuple { object, relation: name(&format!("r{}", dice.roll(LEVELS))), subject });
    }
    for _ in 0..dice.roll(10) {
        let (object, other) = (dice.pick(&objects).clone(), dice.pick(&objects).clone());
        tuples.insert(Tuple { object, relation: name("via"), subject: Subject::Object(other) });
    }
    tuples
}

/// What one user has: `(object, relation)`. Relations are completed in the order of their levels, each by adding until
/// nothing is added; so what an exclusion takes away is complete before it is taken away.
fn all_of(
    model: &RelationModel,
    tuples: &BTreeSet<Tuple>,
    user: &ResourceRef,
) -> BTreeSet<(ResourceRef, Name)> {
    let mut has = BTreeSet::new();
    for level in 0..LEVELS {
        let relation = name(&format!("r{level}"));
        loop {
            let before = has.len();
            for object in objects() {
                let rewrite = &model.types[&object.kind][&relation];
                if means(rewrite, &object, &relation, tuples, user, &has) {
                    has.insert((object, relation.clone()));
                }
            }
            if has.len() == before {
                break;
            }
        }
    }
    has
}

fn means(
    rewrite: &Rewrite,
    object: &ResourceRef,
    relation: &Name,
    tuples: &BTreeSet<Tuple>,
    user: &ResourceRef,
    has: &BTreeSet<(ResourceRef, Name)>,
) -> bool {
    let part = |part: &Rewrite| means(part, object, relation, tuples, user, has);
    match rewrite {
        Rewrite::Direct(allowed) => tuples.iter().any(|tuple| {
            tuple.object == *object
                && tuple.relation == *relation
                && match &tuple.subject {
                    Subject::Object(one) => one == user && allowed.contains(&Allowed::Type(one.kind.clone())),
                    Subject::Everyone(kind) => {
                        *kind == user.kind && allowed.contains(&Allowed::Everyone(kind.clone()))
                    }
                    Subject::Userset(group, of) => {
                        allowed.contains(&Allowed::Userset(group.kind.clone(), of.clone()))
                            && has.contains(&(group.clone(), of.clone()))
                    }
                }
        }),
        Rewrite::Computed(other) => has.contains(&(object.clone(), other.clone())),
        Rewrite::From { via, relation: there } => tuples.iter().any(|tuple| {
            tuple.object == *object
                && tuple.relation == *via
                && matches!(&tuple.subject, Subject::Object(other) if has.contains(&(other.clone(), there.clone())))
        }),
        Rewrite::Union(parts) => parts.iter().any(part),
        Rewrite::Intersection(parts) => parts.iter().all(part),
        Rewrite::Exclusion(base, without) => part(base) && !part(without),
    }
}

/// Whether an expansion shows that a user is among those: read from the tree alone. What stands above is looked up by
/// name; a relation that is asked within itself shows nothing.
fn shown(all: &BTreeMap<(ResourceRef, Name), Tree>, at: &(ResourceRef, Name), user: &ResourceRef) -> bool {
    // As a fixpoint over the trees, level by level, like the evaluator itself.
    let mut has: BTreeSet<(ResourceRef, Name)> = BTreeSet::new();
    for level in 0..LEVELS {
        loop {
            let before = has.len();
            for (key, tree) in all {
                if key.1.as_str() == format!("r{level}") && tree_means(tree, user, &has) {
                    has.insert(key.clone());
                }
            }
            if has.len() == before {
                break;
            }
        }
    }
    has.contains(at)
}

fn tree_means(tree: &Tree, user: &ResourceRef, has: &BTreeSet<(ResourceRef, Name)>) -> bool {
    let stands = |e: &Expansion| has.contains(&(e.object.clone(), e.relation.clone()));
    match tree {
        Tree::Direct(branches) => branches.iter().any(|branch| match branch {
            Branch::Subject(Subject::Object(one)) => one == user,
            Branch::Subject(Subject::Everyone(kind)) => *kind == user.kind,
            Branch::Subject(Subject::Userset(..)) => panic!("a userset is expanded"),
            Branch::Userset(expansion) => stands(expansion),
        }),
        Tree::Computed(expansion) => stands(expansion),
        Tree::From { of, .. } => of.iter().any(stands),
        Tree::Union(parts) => parts.iter().any(|part| tree_means(part, user, has)),
        Tree::Intersection(parts) => parts.iter().all(|part| tree_means(part, user, has)),
        Tree::Exclusion(base, without) => tree_means(base, user, has) && !tree_means(without, user, has),
    }
}

fn collect(expansion: &Expansion, into: &mut BTreeMap<(ResourceRef, Name), Tree>) {
    let Some(tree) = &expansion.tree else { return };
    into.insert((expansion.object.clone(), expansion.relation.clone()), tree.clone());
    below(tree, into);
}

fn below(tree: &Tree, into: &mut BTreeMap<(ResourceRef, Name), Tree>) {
    match tree {
        Tree::Direct(branches) => {
            for branch in branches {
                if let Branch::Userset(expansion) = branch {
                    collect(expansion, into);
                }
            }
        }
        Tree::Computed(expansion) => collect(expansion, into),
        Tree::From { of, .. } => {
            for expansion in of {
                collect(expansion, into);
            }
        }
        Tree::Union(parts) | Tree::Intersection(parts) => {
            for part in parts {
                below(part, into);
            }
        }
        Tree::Exclusion(base, without) => {
            below(base, into);
            below(without, into);
        }
    }
}

/// One model with its tuples, asked all that can be asked. Returns how many checks that were, and how many held.
fn one(seed: u64) -> (usize, usize) {
    let mut dice = Dice(seed);
    let model = a_model(&mut dice);
    let tuples = some_tuples(&mut dice);
    let facts = snapshot(tuples.iter().cloned());
    let users: Vec<ResourceRef> = USERS.iter().map(|user| user.parse().unwrap()).collect();
    let truth: BTreeMap<&ResourceRef, BTreeSet<(ResourceRef, Name)>> =
        users.iter().map(|user| (user, all_of(&model, &tuples, user))).collect();
    let why = |what: &str| format!("seed {seed}: {what}\n{model:#?}\n{tuples:?}");
    let (mut checks, mut held) = (0, 0);
    for object in objects() {
        for level in 0..LEVELS {
            let relation = name(&format!("r{level}"));
            let key = (object.clone(), relation.clone());
            for user in &users {
                let question = format!("{object}#{relation}@{user}");
                let found = facts.check(&model, &object, &relation, user);
                assert_eq!(found, Ok(truth[user].contains(&key)), "{}", why(&question));
                checks += 1;
                held += usize::from(found == Ok(true));
            }
            // The other three answers are made of other walks, and say the same.
            if seed.is_multiple_of(4) {
                let expansion = facts.expand(&model, &object, &relation).unwrap();
                let mut trees = BTreeMap::new();
                collect(&expansion, &mut trees);
                for user in &users {
                    let holds = truth[user].contains(&key);
                    assert_eq!(
                        shown(&trees, &key, user),
                        holds,
                        "{}",
                        why(&format!("expand {key:?} {user}"))
                    );
                }
                let all = facts.subjects(&model, &object, &relation, &name("user")).unwrap();
                let stranger = truth[&users[2]].contains(&key);
                assert_eq!(all.everyone, stranger, "{}", why(&format!("everyone of {key:?}")));
                for user in users.iter().take(2) {
                    let holds = truth[user].contains(&key);
                    let named = all.named.contains(user);
                    let told = if all.everyone { named || !all.except.contains(user) } else { named };
                    assert_eq!(told, holds, "{}", why(&format!("subjects {key:?} {user} {all:?}")));
                }
            }
        }
    }
    for kind in KINDS {
        for level in 0..LEVELS {
            let relation = name(&format!("r{level}"));
            for user in &users {
                let found = facts.objects(&model, &name(kind), &relation, user).unwrap();
                let expected: Vec<ResourceRef> = objects()
                    .into_iter()
                    .filter(|o| {
                        o.kind.as_str() == kind && truth[user].contains(&(o.clone(), relation.clone()))
                    })
                    .collect();
                assert_eq!(found, expected, "{}", why(&format!("objects {kind}#{relation}@{user}")));
            }
        }
    }
    (checks, held)
}

/// A quarter of all questions, on seeds of its own.
fn quarter(part: u64) {
    if let Some(seed) = std::env::var_os("PLACET_SEED") {
        one(seed.to_str().unwrap().parse().unwrap());
        return;
    }
    let wanted = if std::env::var_os("PLACET_SOAK").is_some() { 250_000 } else { 2_500 };
    let (mut checks, mut held, mut seed) = (0, 0, part * 1_000_000);
    while checks < wanted {
        let (more, of_them) = one(seed);
        (checks, held, seed) = (checks + more, held + of_them, seed + 1);
    }
    println!("{checks} checks, {held} of them held, seeds {} to {}", part * 1_000_000, seed - 1);
    assert!((checks / 20..checks / 2).contains(&held), "{held} of {checks}: the questions say little");
}

#[test]
fn random_questions_have_the_answers_of_the_plain_semantics() {
    quarter(0);
}
#[test]
fn random_questions_have_the_answers_of_the_plain_semantics_second_quarter() {
    quarter(1);
}
#[test]
fn random_questions_have_the_answers_of_the_plain_semantics_third_quarter() {
    quarter(2);
}
#[test]
fn random_questions_have_the_answers_of_the_plain_semantics_fourth_quarter() {
    quarter(3);
}
