//! Golden ledgers, one for each released version: this one decides everything in them again as it was decided.

use std::{fs, path::Path};

use placet_audit::{Data, Scope, organisation, read_key, replay, verify};
use placet_json::{Limits, Value};
use placet_record::Kind;

/// Versions, with the decisions in their ledgers.
const VERSIONS: [(&str, u64); 1] = [("0.1.0", 27)];

fn unpacked(version: &str) -> tempfile::TempDir {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let dir = tempfile::tempdir().unwrap();
    let archive = fs::File::open(golden.join(format!("{version}.tar"))).unwrap();
    tar::Archive::new(archive).unpack(dir.path()).unwrap();
    fs::copy(golden.join(format!("{version}.vkey")), dir.path().join("key")).unwrap();
    dir
}

#[test]
fn golden_ledgers_hold_and_replay_the_same() {
    for (version, decisions) in VERSIONS {
        let dir = unpacked(version);
        let organisation = organisation(dir.path()).unwrap().unwrap();
        let report = verify(dir.path(), &organisation, read_key(&dir.path().join("key")).unwrap());
        assert!(report.is_sound(), "{version}: {report}");
        let data = Data::open(dir.path()).unwrap();
        let report = replay(&data, &Scope::default(), None, &mut |_, _| {}).unwrap();
        assert!(report.is_same(), "{version}: {report}; raise `placet_core::ENGINE` only if this is wanted");
        assert_eq!(report.decided(), decisions, "{version}");
    }
}

#[test]
fn every_member_of_a_golden_record_is_in_the_published_schema() {
    for (version, _) in VERSIONS {
        let dir = unpacked(version);
        let data = Data::open(dir.path()).unwrap();
        let mut engines = 0;
        for record in data.reader().range(1, data.reader().last()) {
            let record = record.unwrap();
            let document = placet_json::parse(&record.payload, &Limits::RESULT).unwrap();
            let kind = Kind::from_tag(record.kind).unwrap();
            assert_eq!(
                placet_record::conforms(kind, &document, true),
                Ok(()),
                "{version}: {}",
                record.sequence
            );
            engines += usize::from(document.get("engine").and_then(Value::as_str).is_some());
        }
        assert!(engines > 0, "{version}");
    }
}

#[test]
fn the_engine_s_name_has_the_versions_that_are_built() {
    let lock = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.lock")).unwrap();
    let version = |package: &str| {
        let entry =
            lock.split("[[package]]").find(|entry| entry.contains(&format!("name = \"{package}\"\n")));
        let version = entry.unwrap().split("version = \"").nth(1).unwrap();
        version.split('"').next().unwrap().to_owned()
    };
    let named = format!("placet/1 regorus/{} cedar/{}", version("regorus"), version("cedar-policy"));
    assert_eq!(placet_core::ENGINE, named);
}
