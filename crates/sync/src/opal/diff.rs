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
    people: BTreeSet<HumanId>,
    assignments: BTreeSet<HumanId>,
}

impl Owned {
    /// Takes a further transaction of the source into account.
    pub fn note(&mut self, transaction: &Transaction) {
        for change in &transaction.changes {
            self.note_change(change);
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
                self.people.insert(human.id.clone());
            }
            Change::HumanStanding { human, standing } if *standing == Standing::Deactivated => {
                self.people.remove(human);
            }
            _ => {}
        }
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
    let mut fresh: Vec<Change> = Vec::new();
    for (at, attributes) in &mapped.resources {
        if facts.resource(at).is_none_or(|known| !same(&known.attributes, attributes)) {
            fresh.push(Change::ResourceSet(Resource {
                at: at.clone(),
                attributes: attributes.clone(),
                known: placet_core::Known::Told,
            }));
        }
    }
    for tuple in &mapped.tuples {
        // A resource's removal takes its tuples along.
        if !facts.has_tuple(tuple) || removed.contains(&tuple.object) {
            fresh.push(Change::TupleAdded(tuple.clone()));
        }
    }
    for (human, assignment) in &mapped.assignments {
        if facts.assignment(human) != Some(assignment) {
            fresh.push(Change::AssignmentSet(assignment.clone()));
        }
    }
    list.extend(fresh);
    changes
}

/// People of this tenant only: a source that is tied to one can't touch another's.
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
        for human in owned.people.iter().filter(|human| !mapped.people.contains_key(*human)) {
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
        match organisation.human(human) {
            Some(known) if known.home != *tenant => {
                changes.wrong.add(|| format!("`{human}` belongs to another tenant"));
            }
            // Set as a whole where it isn't the source's yet, so that the journal says from when on it is.
            Some(known) if known.standing != *standing || !owned.people.contains(human) => {
                changes.organisation.push(Change::HumanSet(Human { standing: *standing, ..known.clone() }));
            }
            Some(_) => {}
            None => changes.organisation.push(Change::HumanSet(Human {
                id: human.clone(),
                standing: *standing,
                home: tenant.clone(),
                keys: BTreeSet::new(),
            })),
        }
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
    fn another_tenants_person_is_out_of_reach() {
        let (mut world, mut owned) = (world(), Owned::default());
        let changes = step(&mut world, &mut owned, r#"{"users":{"zoe":{"active":false}}}"#, true);
        assert_eq!(changes.organisation, []);
        assert_eq!(changes.wrong.count, 1);
    }
}
