//! A ledger whose beginning is archived: what is promised is replayed without the archive, the rest by it.

use std::path::Path;

use placet_audit::{Data, DataError, Holds, Scope, index, replay, search, story, verify, verify_with};
use placet_core::DecisionId;
use placet_store::{Archive, Manifest, Shelved};
use tempfile::TempDir;

use crate::desk::{Desk, ORGANISATION, public};

const CASE: &str = r#"{"case_id":"CASE-1837"}"#;

fn archive(dir: &TempDir) -> Archive {
    Archive::open(dir.path().to_str().unwrap(), &|_| None).unwrap()
}

/// Two hundred permits, with facts that change all the time; half of it goes to the archive.
async fn year(place: &TempDir) -> (TempDir, Shelved) {
    let desk = Desk::archiving(archive(place)).await;
    desk.act(&Holds::verb(Some("wf-1"), false), "case 12").await;
    for turn in 0..100 {
        desk.note(&format!("{turn} {}", "x".repeat(900))).await;
        desk.call("crm.get_case", CASE).await.unwrap();
        drop(desk.call("billing.refund", r#"{"case_id":"CASE-2001","amount":8}"#).await.unwrap_err());
    }
    let shelved = desk.shelve(desk.last() / 2);
    assert!(shelved.moved.len() > 1, "{shelved:?}");
    (desk.close(), shelved)
}

fn trusting(dir: &Path, archive: Option<Archive>) -> Data {
    Data::open(dir).unwrap().with_archive(archive).trusting(ORGANISATION.to_owned(), public())
}

#[tokio::test]
async fn a_decision_of_the_promised_time_is_the_same_again_without_the_archive() {
    let place = TempDir::new().unwrap();
    let (dir, shelved) = year(&place).await;
    let all = trusting(dir.path(), Some(archive(&place)));
    let report = replay(&all, &Scope::default(), None, &mut |_, _| ()).unwrap();
    assert!(report.is_same() && report.archived == 0 && report.decided() == 200, "{report}");

    index(&all).unwrap();
    std::fs::remove_dir_all(place.path()).unwrap();
    let here = trusting(dir.path(), None);
    let report = replay(&here, &Scope::default(), None, &mut |_, _| ()).unwrap();
    let state = report.archived;
    assert!(report.is_same() && report.decided() >= 80, "{report}");
    assert!(state + 1 >= shelved.base && state < here.reader().last() / 2, "{state} {shelved:?}");
    assert!(report.to_string().contains(&format!("archived: records 1 to {state} weren't decided again")));

    // What came before is told plainly, by everything that needs it.
    let nobody = Data::open(dir.path()).unwrap();
    let error = replay(&nobody, &Scope::default(), None, &mut |_, _| ()).unwrap_err();
    assert!(matches!(error, DataError::Archived(_)) && error.to_string().contains("--archive"), "{error}");
    let found = index(&here).unwrap();
    let old = search(&found, &placet_audit::Query::default()).unwrap();
    assert_eq!(old.len(), 100, "the index knows what is archived, too");
    let first = DecisionId::new("dc_0").unwrap();
    let error = story(&here, &found, &first, None).unwrap_err().to_string();
    assert!(error.contains("is only in the archive") && error.contains("--archive"), "{error}");
    assert!(verify(dir.path(), ORGANISATION, public()).is_sound());
}

#[tokio::test]
async fn the_archive_is_verified_and_told_with_the_rest() {
    let place = TempDir::new().unwrap();
    let (dir, shelved) = year(&place).await;
    let there = archive(&place);
    let whole = verify_with(dir.path(), ORGANISATION, public(), Some(&there));
    assert!(whole.is_sound() && whole.permits == 100 && whole.effects == 100, "{whole}");
    assert!(whole.to_string().contains("verified there"), "{whole}");
    let here = verify(dir.path(), ORGANISATION, public());
    assert!(here.is_sound() && here.permits < 100, "{here}");
    assert_eq!(here.ledger.records, whole.ledger.records);
    assert!(here.to_string().contains("not read; `--archive` does"), "{here}");

    let data = trusting(dir.path(), Some(there));
    let found = index(&data).unwrap();
    let told =
        story(&data, &found, &DecisionId::new("dc_0").unwrap(), Some((ORGANISATION, &public()))).unwrap();
    assert!(told.to_string().contains("dc_0"));
    // Marks of archived records: which releases were in force, and what is held.
    let manifest = Manifest::read(dir.path()).unwrap().unwrap();
    assert_eq!(manifest.base, shelved.base);
    assert!(manifest.marks.iter().any(|mark| mark.starts_with("release sha256:")));
    let holds = Holds::read(&trusting(dir.path(), None)).unwrap();
    let held: Vec<_> = holds.of("acme").map(|(held, hold)| (held.workflow.as_deref(), &*hold.why)).collect();
    assert_eq!(held, [(Some("wf-1"), "case 12")]);
}

#[tokio::test]
async fn rep_1_a_kept_state_that_another_key_signed_or_that_was_altered_is_no_beginning() {
    let place = TempDir::new().unwrap();
    let (dir, _) = year(&place).await;
    let other = placet_ledger::checkpoint::SigningKey::from_seed(&[8; 32]).unwrap().public();
    let data = Data::open(dir.path()).unwrap().trusting(ORGANISATION.to_owned(), other);
    assert!(matches!(replay(&data, &Scope::default(), None, &mut |_, _| ()), Err(DataError::Archived(_))));
    for entry in std::fs::read_dir(dir.path().join("state")).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(path, bytes).unwrap();
    }
    let error = replay(&trusting(dir.path(), None), &Scope::default(), None, &mut |_, _| ()).unwrap_err();
    assert!(error.to_string().contains("no kept state"), "{error}");
    let by_archive = trusting(dir.path(), Some(archive(&place)));
    assert!(replay(&by_archive, &Scope::default(), None, &mut |_, _| ()).unwrap().is_same());
}

#[tokio::test]
async fn what_is_erased_is_as_shut_in_the_archive_as_here() {
    const CANARY: &str = "canary of a person";
    let (place, master) = (TempDir::new().unwrap(), [5; 32]);
    let desk = Desk::sealing(archive(&place), &master).await;
    let mut first = 0;
    for turn in 0..100 {
        let text = if turn == 0 { CANARY.to_owned() } else { "x".repeat(900) };
        desk.note(&text).await;
        if turn == 0 {
            first = desk.last();
        }
        desk.call("crm.get_case", CASE).await.unwrap();
        desk.call("crm.get_case", CASE).await.unwrap();
    }
    let shelved = desk.shelve(desk.last() / 2);
    assert!(shelved.base > first, "{shelved:?}");
    assert!(desk.knew(first, CANARY), "the archive is read for facts of then");
    desk.erase_note().await;
    assert!(!desk.knew(first, CANARY));
    let dir = desk.close();
    for file in std::fs::read_dir(place.path()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        assert!(!bytes.windows(CANARY.len()).any(|window| window == CANARY.as_bytes()));
    }
    let report = verify_with(dir.path(), ORGANISATION, public(), Some(&archive(&place)));
    assert!(report.is_sound(), "{report}");
    let data = Data::open_with(dir.path(), Some(&master)).unwrap().with_archive(Some(archive(&place)));
    let report = replay(&data, &Scope::default(), None, &mut |_, _| ()).unwrap();
    assert!(report.differs == 0 && report.cannot_tell == 0 && report.decided() == 200, "{report}");
}
