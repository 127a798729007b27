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
    assert_eq!(resource.known, Known::Observed { source: name("lookup:crm"), at });
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
