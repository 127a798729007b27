//! From what a document says to the changes that make it so.

use std::collections::{BTreeMap, BTreeSet};

use placet_core::{Human, HumanId, Resource, ResourceRef, Standing, TenantId, Tuple};
use placet_facts::{Change, Transaction, World};

use super::mapping::{Mapped, Told};

/// What transactions of one source have put into a tenant and not taken out again: only this does the source remove.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Owned {
    resources: BTreeSet<ResourceRef>,
    tuples: BTreeSet<Tuple>,
    /// With the standing that the source gave them last.
    people: BTreeMap<HumanId, Standing>,
    assignments: BTreeSet<HumanId>,
}

impl Owned {
    /// Takes a further transaction of the source into account.
    pub fn note(&mut self, transaction: &Transaction) {
        for change in &transaction.changes {
            self.note_change(change);
        }
    }

    /// Only what these say is theirs.
    pub(crate) fn within(&self, touched: &Touched) -> Self {
        let of = |human: &HumanId| touched.people.contains(human);
        Self {
            resources: self.resources.intersection(&touched.resources).cloned().collect(),
            tuples: self.tuples.intersection(&touched.tuples).cloned().collect(),
            people: self
                .people
                .iter()
                .filter(|(human, _)| of(human))
                .map(|(it, at)| (it.clone(), *at))
                .collect(),
            assignments: self.assignments.intersection(&touched.assignments).cloned().collect(),
        }
    }

    /// All that is theirs.
    pub(crate) fn all(&self) -> Touched {
        Touched {
            resources: self.resources.clone(),
            tuples: self.tuples.clone(),
            people: self.people.keys().cloned().collect(),
            assignments: self.assignments.clone(),
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "a source makes no other changes")]
    fn note_change(&mut self, change: &Change) {
        match change {
            Change::ResourceSet(resource) => {
                self.resources.insert(resource.at.clone());
            }
            Change::ResourceRemoved(at) => {
                self.resources.remove(at);
                self.tuples.retain(|tuple| tuple.object != *at);
            }
            Change::TupleAdded(tuple) => {
                self.tuples.insert(tuple.clone());
            }
            Change::TupleRemoved(tuple) => {
                self.tuples.remove(tuple);
            }
            Change::AssignmentSet(assignment) => {
                self.assignments.insert(assignment.human.clone());
            }
            Change::AssignmentRemoved(human) => {
                self.assignments.remove(human);
            }
            Change::HumanSet(human) => {
                self.people.insert(human.id.clone(), human.standing);
            }
            Change::HumanStanding { human, standing } => {
                self.people.insert(human.clone(), *standing);
            }
            _ => {}
        }
    }
}

/// Facts of one tenant that a step is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Touched {
    pub(crate) resources: BTreeSet<ResourceRef>,
    pub(crate) tuples: BTreeSet<Tuple>,
    pub(crate) people: BTreeSet<HumanId>,
    pub(crate) assignments: BTreeSet<HumanId>,
}

impl Touched {
    pub(crate) fn is_empty(&self) -> bool {
        let Self { resources, tuples, people, assignments } = self;
        resources.is_empty() && tuples.is_empty() && people.is_empty() && assignments.is_empty()
    }
    pub(crate) fn without(mut self, other: &Self) -> Self {
        self.resources.retain(|at| !other.resources.contains(at));
        self.tuples.retain(|tuple| !other.tuples.contains(tuple));
        self.people.retain(|human| !other.people.contains(human));
        self.assignments.retain(|human| !other.assignments.contains(human));
        self
    }
    pub(crate) fn join(&mut self, other: Self) {
        let Self { resources, tuples, people, assignments } = other;
        self.resources.extend(resources);
        self.tuples.extend(tuples);
        self.people.extend(people);
        self.assignments.extend(assignments);
    }
}

/// The changes of one step of a document.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// People: the organisation's.
    pub organisation: Vec<Change>,
    /// Everything else: the tenant's. What is taken away comes first.
    pub tenant: Vec<Change>,
    /// What can't be made so, and why.
    pub wrong: Told,
}

/// The changes that make `world` say what `mapped` says in `tenant`. Only if the document is `complete` is something
/// removed because it isn't there.
#[must_use]
pub fn changes(mapped: &Mapped, owned: &Owned, world: &World, tenant: &TenantId, complete: bool) -> Changes {
    let mut changes = Changes::default();
    let Some(facts) = world.tenant(tenant) else {
        changes.wrong.add(|| format!("there is no tenant `{tenant}`"));
        return changes;
    };
    people(mapped, owned, world, tenant, complete, &mut changes);

    let Changes { tenant: list, .. } = &mut changes;
    if complete {
        let gone =
            |human: &&HumanId| !mapped.assignments.contains_key(*human) && facts.assignment(human).is_some();
        list.extend(owned.assignments.iter().filter(gone).cloned().map(Change::AssignmentRemoved));
        let gone = |tuple: &&Tuple| !mapped.tuples.contains(*tuple) && facts.has_tuple(tuple);
        list.extend(owned.tuples.iter().filter(gone).cloned().map(Change::TupleRemoved));
        let gone = |at: &&ResourceRef| !mapped.resources.contains_key(*at) && facts.resource(at).is_some();
        list.extend(owned.resources.iter().filter(gone).cloned().map(Change::ResourceRemoved));
    }
    let removed: BTreeSet<&ResourceRef> = owned
        .resources
        .iter()
        .filter(|at| complete && !mapped.resources.contains_key(*at) && facts.resource(at).is_some())
        .collect();
    // What is there already but isn't the source's is said once more: from then on it is, and goes when it says so.
    let mut fresh: Vec<Change> = Vec::new();
    for (at, attributes) in &mapped.resources {
        let known = facts.resource(at).filter(|_| owned.resources.contains(at));
        if known.is_none_or(|known| !same(&known.attributes, attributes)) {
            fresh.push(Change::ResourceSet(Resource {
                at: at.clone(),
                attributes: attributes.clone(),
                known: placet_core::Known::Told,
            }));
        }
    }
    for tuple in &mapped.tuples {
        // A resource's removal takes its tuples along.
        if !facts.has_tuple(tuple) || !owned.tuples.contains(tuple) || removed.contains(&tuple.object) {
            fresh.push(Change::TupleAdded(tuple.clone()));
        }
    }
    for (human, assignment) in &mapped.assignments {
        if facts.assignment(human) != Some(assignment) || !owned.assignments.contains(human) {
            fresh.push(Change::AssignmentSet(assignment.clone()));
        }
    }
    list.extend(fresh);
    changes
}

/// People of this tenant only: a source that is tied to one can't touch another's. Whoever was suspended by somebody else,
/// an operator or a signal, isn't let back by a source that goes on saying what it said before.
fn people(
    mapped: &Mapped,
    owned: &Owned,
    world: &World,
    tenant: &TenantId,
    complete: bool,
    changes: &mut Changes,
) {
    let organisation = world.organisation();
    if complete {
        let gone = |human: &HumanId, said: Standing| {
            said != Standing::Deactivated && !mapped.people.contains_key(human)
        };
        for (human, _) in owned.people.iter().filter(|(human, said)| gone(human, **said)) {
            let stands = organisation
                .human(human)
                .is_some_and(|known| known.home == *tenant && known.standing != Standing::Deactivated);
            if stands {
                changes
                    .organisation
                    .push(Change::HumanStanding { human: human.clone(), standing: Standing::Deactivated });
            }
        }
    }
    for (human, standing) in &mapped.people {
        let said = owned.people.get(human);
        match organisation.human(human) {
            Some(known) if known.home != *tenant => {
                changes.wrong.add(|| format!("`{human}` belongs to another tenant"));
            }
            Some(known) => {
                let set = if known.standing == *standing {
                    // Set where it isn't the source's yet, so that the journal says from when on it is.
                    said.is_none()
                } else if rank(*standing) > rank(known.standing) {
                    true
                } else {
                    // Up again only from where the source itself put them.
                    said == Some(&known.standing)
                };
                if set {
                    let human = Human { standing: *standing, ..known.clone() };
                    changes.organisation.push(Change::HumanSet(human));
                }
            }
            None => changes.organisation.push(Change::HumanSet(Human {
                id: human.clone(),
                standing: *standing,
                home: tenant.clone(),
                keys: BTreeSet::new(),
            })),
        }
    }
}

/// How far somebody is from acting.
fn rank(standing: Standing) -> u8 {
    match standing {
        Standing::Active => 0,
        Standing::Suspended => 1,
        Standing::Deactivated => 2,
    }
}

fn same<K: Ord, V: PartialEq>(one: &BTreeMap<K, V>, other: &BTreeMap<K, V>) -> bool {
    one.len() == other.len() && one.iter().zip(other).all(|(a, b)| a == b)
}

#[cfg(test)]
mod tests {
    use placet_core::Name;
    use placet_facts::Place;

    use super::super::Mapping;
    use super::*;

    const MAP: &str = r#"
[[map]]
path = "/users/{id}"
person = { id = "{id}", standing = "/active" }
assignment = { human = "{id}", roles = "/roles" }
[[map]]
path = "/cases/{id}"
resource = { type = "case", id = "{id}", attributes = { customer = "/customer" } }
tuples = ["case:{id}#owner@human:{/owner}"]
"#;

    fn json(text: &str) -> placet_json::Value {
        placet_json::parse(text.as_bytes(), &super::super::wire::LIMITS).unwrap()
    }
    fn acme() -> TenantId {
        TenantId::new("acme").unwrap()
    }
    fn world() -> World {
        World::from_file(&json(
            r#"{"tenant":"acme","humans":[{"id":"zoe","standing":"active","home":"globex"},{"id":"local","standing":"active","home":"acme"}],
               "resources":[{"type":"case","id":"LOCAL"}],"tuples":["case:LOCAL#owner@human:local"]}"#,
        ))
        .unwrap()
    }
    fn step(world: &mut World, owned: &mut Owned, document: &str, complete: bool) -> Changes {
        let mapped = Mapping::parse(MAP).unwrap().facts(&json(document));
        let changes = changes(&mapped, owned, world, &acme(), complete);
        for (place, list) in
            [(Place::Organisation, &changes.organisation), (Place::Tenant(acme()), &changes.tenant)]
        {
            if list.is_empty() {
                continue;
            }
            let transaction = Transaction {
                place,
                changes: list.clone(),
                author: Name::new("opal:hr").unwrap(),
                source: Name::new("opal:hr").unwrap(),
                why: String::new(),
                idempotency_key: None,
            };
            *world = world.apply(world.revision().0.saturating_add(1), &transaction).unwrap();
            owned.note(&transaction);
        }
        changes
    }

    #[test]
    fn a_step_is_its_difference_and_only_its_own_facts_go() {
        let (mut world, mut owned) = (world(), Owned::default());
        let first = r#"{"users":{"maya":{"active":true,"roles":["support"]}},"cases":{"C-1":{"customer":"cu","owner":"maya"}}}"#;
        let one = step(&mut world, &mut owned, first, true);
        assert_eq!((one.organisation.len(), one.tenant.len()), (1, 3));
        assert_eq!(step(&mut world, &mut owned, first, true), Changes::default(), "nothing is said twice");
        let gone = step(&mut world, &mut owned, "{}", true);
        let kinds: Vec<&str> = gone.organisation.iter().chain(&gone.tenant).map(Change::kind).collect();
        assert_eq!(kinds, ["human_standing", "assignment_removed", "tuple_removed", "resource_removed"]);
        let facts = world.tenant(&acme()).unwrap();
        assert_eq!((facts.resources().count(), facts.tuples().count()), (1, 1), "what is local stays");
        let back = step(&mut world, &mut owned, first, true);
        assert_eq!((back.organisation.len(), back.tenant.len()), (1, 3));
        assert_eq!(
            world.organisation().human(&HumanId::new("maya").unwrap()).unwrap().standing,
            Standing::Active
        );
    }

    #[test]
    fn an_incomplete_document_takes_nothing_away() {
        let (mut world, mut owned) = (world(), Owned::default());
        step(&mut world, &mut owned, r#"{"cases":{"C-1":{"customer":"cu","owner":"local"}}}"#, true);
        assert_eq!(step(&mut world, &mut owned, "{}", false), Changes::default());
        assert_eq!(step(&mut world, &mut owned, "{}", true).tenant.len(), 2);
    }

    #[test]
    fn del_1_a_source_lets_nobody_back_whom_somebody_else_suspended() {
        let (mut world, mut owned) = (world(), Owned::default());
        let (active, suspended) =
            (r#"{"users":{"maya":{"active":true}}}"#, r#"{"users":{"maya":{"active":false}}}"#);
        let maya = HumanId::new("maya").unwrap();
        step(&mut world, &mut owned, active, true);
        let by_signal = Transaction {
            place: Place::Organisation,
            changes: vec![Change::HumanStanding { human: maya.clone(), standing: Standing::Suspended }],
            author: Name::new("ssf:idp").unwrap(),
            source: Name::new("ssf").unwrap(),
            why: String::new(),
            idempotency_key: None,
        };
        world = world.apply(world.revision().0 + 1, &by_signal).unwrap();
        // The document says what it said before, and other things change in it.
        assert_eq!(step(&mut world, &mut owned, active, true).organisation, []);
        assert_eq!(world.organisation().human(&maya).unwrap().standing, Standing::Suspended);
        // What the source itself takes it gives back, and nothing else.
        assert_eq!(step(&mut world, &mut owned, suspended, true).organisation, []);
        assert_eq!(step(&mut world, &mut owned, active, true).organisation, []);
        assert_eq!(world.organisation().human(&maya).unwrap().standing, Standing::Suspended);
        // Whoever is new to the source isn't let back either.
        assert_eq!(step(&mut world, &mut Owned::default(), active, true).organisation, []);
    }

    #[test]
    fn syn_1_what_somebody_else_said_first_goes_when_the_source_says_so() {
        let (mut world, mut owned) = (world(), Owned::default());
        let local = r#"{"cases":{"LOCAL":{"owner":"local"}}}"#;
        assert_eq!(step(&mut world, &mut owned, local, true).tenant.len(), 2, "said once more");
        assert_eq!(step(&mut world, &mut owned, local, true), Changes::default());
        assert_eq!(step(&mut world, &mut owned, "{}", true).tenant.len(), 2);
        assert_eq!(world.tenant(&acme()).unwrap().resources().count(), 0);
    }

    #[test]
    fn another_tenants_person_is_out_of_reach() {
        let (mut world, mut owned) = (world(), Owned::default());
        let changes = step(&mut world, &mut owned, r#"{"users":{"zoe":{"active":false}}}"#, true);
        assert_eq!(changes.organisation, []);
        assert_eq!(changes.wrong.count, 1);
    }
}
