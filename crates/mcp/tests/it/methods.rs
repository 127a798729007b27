//! Every method that the published schemas name is classified, and as what it is there.

use std::collections::BTreeSet;

use placet_mcp::method::{classify, classify_input};
use placet_mcp::{Class, Direction, Kind, Method, Revision};

const NAMES: &str = include_str!("../data/methods.txt");

/// (method, revision, kind, direction), as the data file has them.
fn rows() -> Vec<(&'static str, Revision, &'static str, Direction)> {
    let lines = NAMES.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let fields: Vec<_> = line.split(' ').collect();
            let direction = match fields[3] {
                "to_server" => Direction::ToServer,
                "to_client" => Direction::ToClient,
                other => panic!("{other}"),
            };
            (fields[0], fields[1].parse().unwrap(), fields[2], direction)
        })
        .collect()
}

#[test]
fn every_method_of_the_schemas_is_classified() {
    let rows = rows();
    assert!(rows.len() > 80, "{}", rows.len());
    for (name, revision, kind, direction) in rows {
        let shown = format!("{name} in {revision} {direction:?}");
        if kind == "input" {
            assert_eq!(classify_input(name).expect(&shown).class(), Class::Answer, "{shown}");
            continue;
        }
        let method = classify(name, direction, revision).expect(&shown);
        assert_eq!(method.kind() == Kind::Request, kind == "request", "{shown}");
    }
}

/// The other way round: what we know and the schemas do not must be on this list. The tasks extension has a schema of
/// its own, and 2025-03-26 differs from its successor only as listed.
#[test]
fn nothing_is_classified_that_the_schemas_do_not_know() {
    let known: BTreeSet<_> = rows()
        .into_iter()
        .map(|(name, revision, _, direction)| (name, revision, direction == Direction::ToServer))
        .collect();
    let mut extra = Vec::new();
    for method in Method::ALL {
        for revision in [Revision::V2025_06_18, Revision::V2025_11_25, Revision::V2026_07_28] {
            for direction in [Direction::ToServer, Direction::ToClient] {
                let row = (method.name(), revision, direction == Direction::ToServer);
                if method.exists(direction, revision) && !known.contains(&row) {
                    extra.push((method.name(), revision.as_str()));
                }
            }
        }
    }
    assert_eq!(
        extra,
        [
            ("tasks/get", "2026-07-28"),
            ("tasks/update", "2026-07-28"),
            ("tasks/cancel", "2026-07-28"),
            ("notifications/tasks", "2026-07-28"),
        ]
    );

    for method in Method::ALL {
        for direction in [Direction::ToServer, Direction::ToClient] {
            let (first, second) = (
                method.exists(direction, Revision::V2025_03_26),
                method.exists(direction, Revision::V2025_06_18),
            );
            assert_eq!(
                first != second,
                *method == Method::Elicit && direction == Direction::ToClient,
                "{method}"
            );
        }
    }
}

#[test]
fn what_moves_data_is_governed() {
    let governed: Vec<_> = Method::ALL
        .iter()
        .filter(|method| method.class() == Class::Governed)
        .map(|method| method.name())
        .collect();
    assert_eq!(
        governed,
        [
            "tools/call",
            "resources/read",
            "subscriptions/listen",
            "resources/subscribe",
            "resources/unsubscribe",
            "prompts/get",
            "completion/complete",
            "tasks/get",
            "tasks/result",
            "tasks/update",
            "tasks/cancel",
            "notifications/tasks",
            "notifications/tasks/status",
        ]
    );
    for method in Method::ALL.iter().filter(|method| method.class() == Class::Listing) {
        assert!(method.name().ends_with("/list"), "{method}");
    }
}
