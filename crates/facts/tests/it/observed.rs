//! Resources that were read at their source: beside those that were told.

use placet_core::{Known, ResourceRef, Timestamp};
use placet_facts::{Change, Kind, Transaction};

use crate::{acme, apply, json, name, support, tenant};

const FIRST: &str = r#"{"resource_set":{"type":"support_case","id":"CASE-2","attributes":{"a":1},"observed":{"source":"lookup:crm","at":"2026-03-01T09:30:00Z"}}}"#;

#[test]
fn a_reading_keeps_its_source_and_moment_through_the_journal() {
    let transaction = acme(FIRST);
    let again = Transaction::from_value(&transaction.to_value()).unwrap();
    assert_eq!(again, transaction);
    let [Change::ResourceSet(resource)] = &again.changes[..] else { panic!("not a resource") };
    let at = Timestamp::parse("2026-03-01T09:30:00Z").unwrap();
    assert_eq!(resource.known, Known::Observed { source: name("lookup:crm"), at, retention: None });
    // What was written before there were readings was told.
    let told = acme(r#"{"resource_set":{"type":"support_case","id":"CASE-3","attributes":{}}}"#);
    let [Change::ResourceSet(resource)] = &told.changes[..] else { panic!("not a resource") };
    assert_eq!(resource.known, Known::Told);
    assert!(!told.to_value().to_string().contains("observed"));
    for (from, to) in [("\"at\":", "\"when\":"), ("09:30:00Z", "yesterday"), ("lookup:crm", "a b")] {
        let bad = FIRST.replace(from, to);
        let place = placet_facts::Place::Tenant(tenant("acme"));
        assert!(Change::from_value(&json(&bad), &place).is_err(), "{bad}");
    }
}

#[test]
fn syn_2_a_reading_takes_the_place_of_an_older_one_only_and_of_nothing_that_was_told() {
    let world = apply(&support(), &[FIRST]).unwrap();
    let later = FIRST.replace("09:30:00", "09:30:05").replace("\"a\":1", "\"a\":2");
    let told = r#"{"resource_set":{"type":"support_case","id":"CASE-2","attributes":{"a":3}}}"#;
    let case = ResourceRef { kind: name("support_case"), id: name("CASE-2") };
    let seen = |world: &placet_facts::World| {
        world
            .tenant(&tenant("acme"))
            .unwrap()
            .resource(&case)
            .unwrap()
            .attributes
            .get(&name("a"))
            .unwrap()
            .to_string()
    };
    let newer = apply(&world, &[&later]).unwrap();
    assert_eq!(seen(&newer), "2");
    assert_eq!(apply(&newer, &[FIRST]).unwrap_err().kind, Kind::Conflict, "a late one is no news");
    let pushed = apply(&newer, &[told]).unwrap();
    assert_eq!(seen(&pushed), "3");
    assert_eq!(apply(&pushed, &[&later]).unwrap_err().kind, Kind::Conflict);
    let removed = r#"{"resource_removed":{"type":"support_case","id":"CASE-2"}}"#;
    assert_eq!(seen(&apply(&pushed, &[removed, FIRST]).unwrap()), "1");
}

/// A reading of this type and id at this second, kept beside so many of its type and of the tenant, for so long.
fn reading(kind: &str, id: &str, second: u64, (of_type, of_tenant, ms): (u64, u64, u64)) -> String {
    let at = Timestamp::from_secs(1_772_357_400 + second);
    format!(
        r#"{{"resource_set":{{"type":"{kind}","id":"{id}","attributes":{{}},"observed":{{"source":"lookup:crm","at":"{at}","keep":{{"of_type":{of_type},"of_tenant":{of_tenant},"ms":{ms}}}}}}}}}"#
    )
}

fn known(world: &placet_facts::World) -> Vec<String> {
    let resources = world.tenant(&tenant("acme")).unwrap().resources();
    resources.filter(|it| it.known != Known::Told).map(|it| it.at.to_string()).collect()
}

#[test]
fn what_was_read_is_forgotten_by_its_number_its_tenants_and_its_time() {
    let read = |world: &placet_facts::World, all: &[String]| {
        apply(world, &all.iter().map(String::as_str).collect::<Vec<_>>()).unwrap()
    };
    let start = support();
    let told = start.tenant(&tenant("acme")).unwrap().resources().count();
    // By number, the oldest reading first; one that is read again is young again.
    let keep = (2, 9, 600_000);
    let world =
        read(&start, &[reading("c", "1", 1, keep), reading("c", "2", 2, keep), reading("c", "1", 3, keep)]);
    assert_eq!(known(&world), ["c:1", "c:2"]);
    let world = read(&world, &[reading("c", "3", 4, keep), reading("d", "1", 5, keep)]);
    assert_eq!(known(&world), ["c:1", "c:3", "d:1"], "another type's don't count");
    // By the tenant's number, whatever their types.
    let world = read(&world, &[reading("d", "2", 6, (9, 3, 600_000))]);
    assert_eq!(known(&world), ["c:3", "d:1", "d:2"]);
    // By time, as it was said when they were read.
    let brief = read(&world, &[reading("e", "1", 7, (9, 9, 5_000)), reading("e", "2", 11, (9, 9, 5_000))]);
    assert_eq!(known(&brief).len(), 5);
    assert_eq!(known(&read(&brief, &[reading("e", "3", 12, (9, 9, 5_000))])).len(), 5, "e:1 for e:3");
    let facts = brief.tenant(&tenant("acme")).unwrap();
    assert_eq!(
        (facts.observed_count(), facts.resources().count()),
        (5, told + 5),
        "nothing told is forgotten"
    );
    // What is told now, or removed, isn't among those that were read.
    let removed = r#"{"resource_removed":{"type":"e","id":"1"}}"#;
    let told = r#"{"resource_set":{"type":"e","id":"2","attributes":{}}}"#;
    let after = apply(&brief, &[removed, told]).unwrap();
    assert_eq!(after.tenant(&tenant("acme")).unwrap().observed_count(), 3);
    // Readings of earlier versions have no bound, and force none out.
    let old = apply(&support(), &[FIRST]).unwrap();
    assert_eq!((known(&old).len(), old.tenant(&tenant("acme")).unwrap().observed_count()), (1, 0));
}

#[test]
fn a_state_that_is_kept_forgets_in_the_same_order() {
    let keep = (3, 4, 9_000);
    let mut world = support();
    for i in 0..40_u64 {
        let kind = ["c", "d"][usize::try_from(i % 2).unwrap()];
        world = apply(&world, &[&reading(kind, &format!("{}", i * 7 % 11), i, keep)]).unwrap();
        let mut again = placet_facts::Rebuilding::default();
        for document in world.documents() {
            assert!(again.take(&document).unwrap(), "{document}");
        }
        let (next, again) = (reading("c", "next", i + 1, keep), again.finish());
        let [one, other] = [&world, &again].map(|world| known(&apply(world, &[&next]).unwrap()));
        assert_eq!(one, other, "after {i}");
    }
}
