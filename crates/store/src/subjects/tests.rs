use std::fs;

use futures::executor::block_on;
use proptest::prelude::*;

use super::*;

const MASTER: [u8; 32] = [7; 32];

fn about(subjects: &[&str]) -> BTreeSet<String> {
    subjects.iter().map(|subject| (*subject).to_owned()).collect()
}

fn open(data: &Path) -> Subjects {
    Subjects::open(data, &MASTER).unwrap()
}

#[test]
fn a_body_opens_with_all_its_subjects_keys_and_with_no_fewer() {
    let dir = tempfile::tempdir().unwrap();
    let subjects = open(dir.path());
    let both = about(&["human:maya", "acme~customer:cust-101"]);
    assert!(matches!(subjects.seal(&both, b"x"), Err(SubjectsError::Unknown)));
    block_on(subjects.ensure(&both)).unwrap();
    let (keys, body) = subjects.seal(&both, b"maya@example.org").unwrap();
    assert_eq!(subjects.unseal(&keys, &body), Opening::Open(b"maya@example.org".to_vec()));
    let mut fewer = keys.clone();
    fewer.pop();
    assert_eq!(subjects.unseal(&fewer, &body), Opening::Altered);
    for at in 0..body.len() {
        let mut altered = body.clone();
        altered[at] ^= 1;
        assert_eq!(subjects.unseal(&keys, &altered), Opening::Altered, "byte {at}");
    }
    assert_eq!(subjects.unseal(&[SubjectKeyId([1; 16])], &body), Opening::NoKey);

    // One of the two is erased.
    let erased = block_on(subjects.keys_of("human:maya")).unwrap();
    assert_eq!(erased.len(), 1);
    subjects.forget(&erased);
    assert_eq!(subjects.unseal(&keys, &body), Opening::Erased);
    assert!(!subjects.is_settled());
    block_on(subjects.settle()).unwrap();
    assert!(subjects.is_settled());
    let file = fs::read_to_string(dir.path().join(FILE)).unwrap();
    assert!(!file.contains("human:maya") && file.contains("cust-101"), "{file}");
    drop(subjects);
    let subjects = open(dir.path());
    assert_eq!(subjects.unseal(&keys, &body), Opening::Erased);
    assert_eq!(subjects.count(), (1, 1));
    // Who comes again gets another key, and the old bodies stay shut.
    block_on(subjects.ensure(&both)).unwrap();
    let (again, new) = subjects.seal(&both, b"new").unwrap();
    assert_ne!(again, keys);
    assert_eq!(subjects.unseal(&again, &new), Opening::Open(b"new".to_vec()));
    assert_eq!(subjects.unseal(&keys, &body), Opening::Erased);
}

#[test]
fn keys_stay_over_a_restart_and_open_under_their_master_key_only() {
    let dir = tempfile::tempdir().unwrap();
    let subjects = open(dir.path());
    let maya = about(&["human:maya"]);
    block_on(subjects.ensure(&maya)).unwrap();
    let (keys, body) = subjects.seal(&maya, b"secret").unwrap();
    drop(subjects);
    assert_eq!(open(dir.path()).unseal(&keys, &body), Opening::Open(b"secret".to_vec()));
    assert!(matches!(Subjects::open(dir.path(), &[8; 32]), Err(SubjectsError::Master)));
    let without = Subjects::read(dir.path(), None).unwrap();
    assert_eq!(without.unseal(&keys, &body), Opening::NoKey);
    assert!(matches!(block_on(without.ensure(&about(&["human:bob"]))), Err(SubjectsError::Shut)));
    assert!(matches!(without.seal(&maya, b"x"), Err(SubjectsError::Shut)));
}

#[test]
fn a_line_that_a_crash_cut_is_removed_and_another_wrong_line_refuses_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(FILE);
    let subjects = open(dir.path());
    block_on(subjects.ensure(&about(&["human:maya"]))).unwrap();
    drop(subjects);
    let whole = fs::read_to_string(&path).unwrap();
    for cut in 1..whole.len() {
        fs::write(&path, format!("{whole}{}", whole.get(..cut).unwrap())).unwrap();
        let subjects = open(dir.path());
        assert_eq!(subjects.count(), (1, 0));
        block_on(subjects.ensure(&about(&["human:bob"]))).unwrap();
        drop(subjects);
        let subjects = open(dir.path());
        assert_eq!(subjects.count(), (2, 0), "cut at {cut}");
    }
    fs::write(&path, whole.replace("key ", "kex ")).unwrap();
    assert!(matches!(Subjects::open(dir.path(), &MASTER), Err(SubjectsError::Line { line: 1, .. })));
}

#[test]
fn a_subject_s_name_is_one() {
    let dir = tempfile::tempdir().unwrap();
    let subjects = open(dir.path());
    for wrong in ["", "a b", "a\nb", "ä", &"x".repeat(MAX_SUBJECT + 1)] {
        assert!(matches!(block_on(subjects.ensure(&about(&[wrong]))), Err(SubjectsError::Name)), "{wrong}");
    }
}

#[test]
fn an_erasure_that_a_crash_interrupted_is_done_by_whoever_reads_the_journal_again() {
    let dir = tempfile::tempdir().unwrap();
    let maya = about(&["human:maya"]);
    let subjects = open(dir.path());
    block_on(subjects.ensure(&maya)).unwrap();
    let (keys, body) = subjects.seal(&maya, b"secret").unwrap();
    subjects.forget(&keys);
    // The process ends here; the journal has the erasure.
    drop(subjects);
    let subjects = open(dir.path());
    assert_eq!(subjects.unseal(&keys, &body), Opening::Open(b"secret".to_vec()), "still on disk");
    subjects.forget(&keys);
    block_on(subjects.settle()).unwrap();
    drop(subjects);
    assert_eq!(open(dir.path()).unseal(&keys, &body), Opening::Erased);
}

proptest! {
    #[test]
    fn what_is_sealed_opens_and_what_is_erased_does_not(
        texts in prop::collection::vec((0_u8..6, prop::collection::vec(any::<u8>(), 0..200)), 1..20),
        erased in prop::collection::btree_set(0_u8..6, 0..4),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let subjects = open(dir.path());
        let name = |one: u8| format!("acme/customer:c-{one}");
        let mut sealed = Vec::new();
        for (one, text) in &texts {
            // Every other body is about two.
            let about: BTreeSet<String> = [name(*one), name(one / 2)].into();
            block_on(subjects.ensure(&about)).unwrap();
            let (keys, body) = subjects.seal(&about, text).unwrap();
            prop_assert!(text.len() < 8 || !body.windows(text.len()).any(|part| part == &text[..]));
            sealed.push((about, keys, body, text));
        }
        for one in &erased {
            let keys = block_on(subjects.keys_of(&name(*one))).unwrap();
            subjects.forget(&keys);
        }
        block_on(subjects.settle()).unwrap();
        drop(subjects);
        let subjects = open(dir.path());
        for (about, keys, body, text) in sealed {
            let gone = erased.iter().any(|one| about.contains(&name(*one)));
            let want = if gone { Opening::Erased } else { Opening::Open(text.clone()) };
            prop_assert_eq!(subjects.unseal(&keys, &body), want);
        }
    }
}
