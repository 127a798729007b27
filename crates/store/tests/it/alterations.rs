//! LED-3 and LED-4: whatever is done to a copy of the journal, `verify` names the place and a start refuses.

use std::os::unix::fs::FileExt;
use std::path::Path;

use placet_ledger::checkpoint::SigningKey;
use placet_ledger::frame;
use placet_ledger::segment::START;
use placet_store::{Finding, OpenError, ReadError, Reader, TreeReader, verify};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::support::{ORGANISATION, copy, entry, open, options, public, segments};

/// Where each frame is: segment's number, offset, size, sequence.
type Map = Vec<(usize, usize, usize, u64)>;

fn journal(dir: &Path, entries: usize) -> Map {
    let (journal, _, _) = open(dir).unwrap();
    for n in 0..entries {
        let tree = if n % 4 == 0 { "org" } else { "acme" };
        // Waited for one by one in places, in batches elsewhere.
        let ticket = journal.durable(entry(n.to_string(), tree, n * 37 % 900 + 1));
        if n % 3 == 0 {
            ticket.wait().unwrap();
        }
    }
    drop(journal);
    let mut map = Map::new();
    for (at, path) in segments(dir).iter().enumerate() {
        let bytes = std::fs::read(path).unwrap();
        let mut offset = START;
        while let Some(claim) = frame::claim(&bytes[offset..]) {
            map.push((at, offset, claim.size, claim.sequence));
            offset += claim.size;
        }
    }
    assert_eq!(map.len(), entries);
    map
}

#[derive(Clone, Debug)]
enum Alteration {
    Flip { record: prop::sample::Index, bit: prop::sample::Index },
    DropTail { records: prop::sample::Index },
    Swap { one: prop::sample::Index, other: prop::sample::Index },
    InsertCopy { record: prop::sample::Index, at: prop::sample::Index },
    Remove { record: prop::sample::Index },
}

fn alteration() -> impl Strategy<Value = Alteration> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        4 => (index(), index()).prop_map(|(record, bit)| Alteration::Flip { record, bit }),
        1 => index().prop_map(|records| Alteration::DropTail { records }),
        2 => (index(), index()).prop_map(|(one, other)| Alteration::Swap { one, other }),
        2 => (index(), index()).prop_map(|(record, at)| Alteration::InsertCopy { record, at }),
        1 => index().prop_map(|record| Alteration::Remove { record }),
    ]
}

/// Alters the segments and says which sequence is the first that isn't as written; `None`: nothing changed.
fn alter(files: &mut [Vec<u8>], map: &Map, alteration: &Alteration) -> Option<u64> {
    let frame = |index: &prop::sample::Index| map[index.index(map.len())];
    let take = |files: &[Vec<u8>], (at, offset, size, _): (usize, usize, usize, u64)| {
        files[at][offset..offset + size].to_vec()
    };
    match alteration {
        Alteration::Flip { record, bit } => {
            let (at, offset, size, sequence) = frame(record);
            let bit = bit.index(size * 8);
            files[at][offset + bit / 8] ^= 1 << (bit % 8);
            Some(sequence)
        }
        Alteration::DropTail { records } => {
            let from = records.index(map.len());
            for (at, offset, size, _) in &map[from..] {
                files[*at][*offset..offset + size].fill(0);
            }
            Some(map[from].3)
        }
        Alteration::Swap { one, other } => {
            let (mut one, mut other) = (frame(one), frame(other));
            if one.3 == other.3 || one.0 != other.0 {
                return None;
            }
            if one.3 > other.3 {
                (one, other) = (other, one);
            }
            let (first, second) = (take(files, one), take(files, other));
            let between = files[one.0][one.1 + one.2..other.1].to_vec();
            let swapped = [second, between, first].concat();
            files[one.0][one.1..other.1 + other.2].copy_from_slice(&swapped);
            Some(one.3)
        }
        Alteration::InsertCopy { record, at } => {
            let (source, place) = (frame(record), frame(at));
            let copy = take(files, source);
            let size = files[place.0].len();
            files[place.0].splice(place.1..place.1, copy);
            // In the first place it looks like itself; what follows doesn't.
            let first = if source.3 == place.3 { place.3 + 1 } else { place.3 };
            // The file keeps its size unless that would drop records.
            let zeros = files[place.0].iter().rev().take_while(|b| **b == 0).count();
            let surplus = (files[place.0].len() - size).min(zeros);
            let keep = files[place.0].len() - surplus;
            files[place.0].truncate(keep);
            Some(first)
        }
        Alteration::Remove { record } => {
            let (at, offset, size, sequence) = frame(record);
            files[at].drain(offset..offset + size);
            files[at].extend(std::iter::repeat_n(0, size));
            Some(sequence)
        }
    }
}

#[test]
fn led_3_every_alteration_is_found_at_its_place() {
    let (dir, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let map = journal(dir.path(), 240);
    copy(dir.path(), scratch.path());
    let paths = segments(scratch.path());
    assert!(paths.len() > 1);
    let originals: Vec<Vec<u8>> = paths.iter().map(|path| std::fs::read(path).unwrap()).collect();
    assert!(verify(scratch.path(), ORGANISATION, public()).is_sound());
    // 10,000 of them change something; ten times as many in `make soak`.
    let cases = if std::env::var_os("PLACET_SOAK").is_some() { 125_000 } else { 12_500 };
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let found = std::cell::Cell::new(0);
    runner
        .run(&alteration(), |alteration| {
            let mut files = originals.clone();
            let Some(sequence) = alter(&mut files, &map, &alteration) else { return Ok(()) };
            for ((path, bytes), original) in paths.iter().zip(&files).zip(&originals) {
                if bytes != original {
                    std::fs::write(path, bytes).unwrap();
                }
            }
            let report = verify(scratch.path(), ORGANISATION, public());
            for (path, original) in paths.iter().zip(&originals) {
                std::fs::write(path, original).unwrap();
            }
            let place = match report.finding {
                Some(Finding::Damaged(damage)) => damage.sequence,
                Some(Finding::Dropped { signed, has, .. }) => {
                    prop_assert!(has < signed);
                    report.records + 1
                }
                other => return Err(TestCaseError::fail(format!("{other:?}"))),
            };
            prop_assert_eq!(place, sequence);
            found.set(found.get() + 1);
            Ok(())
        })
        .unwrap();
    assert!(found.get() >= cases / 5 * 4, "{} alterations changed something", found.get());
}

#[test]
fn led_3_a_reader_never_hands_out_an_altered_record() {
    let dir = tempfile::tempdir().unwrap();
    let map = journal(dir.path(), 60);
    let (at, offset, size, sequence) = map[20];
    let path = &segments(dir.path())[at];
    let original = std::fs::read(path).unwrap();
    for bit in 0..size * 8 {
        let mut bytes = original.clone();
        bytes[offset + bit / 8] ^= 1 << (bit % 8);
        std::fs::write(path, bytes).unwrap();
        match Reader::open(dir.path()).map(|reader| reader.get(sequence)) {
            Err(ReadError::Damaged(damage)) | Ok(Err(ReadError::Damaged(damage))) => {
                assert_eq!((damage.sequence, damage.offset), (sequence, offset as u64), "bit {bit}");
            }
            other => panic!("bit {bit}: {other:?}"),
        }
    }
}

#[test]
fn led_3_altered_headers_and_removed_segments_are_found_and_a_start_refuses() {
    let dir = tempfile::tempdir().unwrap();
    journal(dir.path(), 240);
    let altered = |change: &dyn Fn(&Path, &[std::path::PathBuf])| {
        let scratch = tempfile::tempdir().unwrap();
        copy(dir.path(), scratch.path());
        change(scratch.path(), &segments(scratch.path()));
        let report = verify(scratch.path(), ORGANISATION, public());
        assert!(!report.is_sound());
        let refused = open(scratch.path()).expect_err("a start refuses");
        (report.finding.unwrap(), refused)
    };
    for bit in [0, 100, 200, 330, 700, 2000] {
        let (finding, refused) = altered(&|_, files| {
            let mut bytes = std::fs::read(&files[1]).unwrap();
            bytes[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&files[1], bytes).unwrap();
        });
        assert!(matches!(finding, Finding::Damaged(damage) if damage.offset == 0 && damage.segment > 1));
        assert!(matches!(refused, OpenError::Damaged(_)));
    }
    let (finding, _) = altered(&|_, files| std::fs::remove_file(&files[0]).unwrap());
    assert!(matches!(finding, Finding::Damaged(damage) if damage.sequence == 1), "{finding}");
    // Without the last segment the chain is sound; only the checkpoint knows.
    let (finding, refused) = altered(&|_, files| std::fs::remove_file(files.last().unwrap()).unwrap());
    assert!(matches!(finding, Finding::Dropped { .. }), "{finding}");
    assert!(matches!(refused, OpenError::Shorter { .. }), "{refused}");
    let (finding, refused) = altered(&|dir, _| std::fs::remove_dir_all(dir.join("journal")).unwrap());
    assert!(matches!(finding, Finding::Unreadable { .. } | Finding::Dropped { .. }));
    assert!(matches!(refused, OpenError::Shorter { .. }), "{refused}");
    // A file cut short.
    let (finding, refused) = altered(&|_, files| {
        std::fs::OpenOptions::new().write(true).open(files.last().unwrap()).unwrap().set_len(520).unwrap();
    });
    assert!(matches!(finding, Finding::Damaged(_) | Finding::Dropped { .. }), "{finding}");
    assert!(matches!(refused, OpenError::Damaged(_) | OpenError::Shorter { .. }), "{refused}");
}

#[test]
fn led_3_a_rewritten_journal_with_a_sound_chain_is_a_fork_and_its_place_is_named() {
    let (dir, forged) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let write = |dir: &Path, forge: bool| {
        let (journal, _, _) = open(dir).unwrap();
        for n in 0..60 {
            let len = if forge && n == 41 { 11 } else { 10 };
            journal.durable(entry(n.to_string(), "acme", len)).wait().unwrap();
        }
        drop(journal);
    };
    write(dir.path(), false);
    write(forged.path(), true);
    // The forger has the disk but not the key: their journal under our trees.
    std::fs::remove_dir_all(forged.path().join("tree")).unwrap();
    copy(&dir.path().join("tree"), &forged.path().join("tree"));
    let report = verify(forged.path(), ORGANISATION, public());
    assert!(
        matches!(report.finding, Some(Finding::Forked { first: Some((41, 42)), signed: 60, .. })),
        "{:?}",
        report.finding
    );
    assert!(matches!(open(forged.path()), Err(OpenError::Differs { sequence: Some(42), .. })));
    // Evidence stays: a refused start changes nothing.
    assert_eq!(TreeReader::open(forged.path(), "acme").unwrap().root(60).unwrap(), {
        TreeReader::open(dir.path(), "acme").unwrap().root(60).unwrap()
    });
    // With the hashes gone too, the fork is still found.
    std::fs::remove_file(forged.path().join("tree/acme/hashes")).unwrap();
    let report = verify(forged.path(), ORGANISATION, public());
    assert!(matches!(report.finding, Some(Finding::Forked { first: None, .. })), "{:?}", report.finding);
}

#[test]
fn led_3_a_checkpoint_by_another_key_or_for_another_organisation_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    journal(dir.path(), 10);
    let other = SigningKey::from_seed(&[10; 32]).unwrap().public();
    for report in [verify(dir.path(), ORGANISATION, other), verify(dir.path(), "other", public())] {
        assert!(matches!(report.finding, Some(Finding::Checkpoint { .. })), "{:?}", report.finding);
    }
    let mut foreign = options();
    foreign.notary.organisation = "other".into();
    assert!(matches!(crate::support::open_with(dir.path(), foreign), Err(OpenError::Checkpoint { .. })));
}

#[test]
fn led_4_yesterday_s_journal_under_today_s_checkpoint_is_refused() {
    let (dir, yesterday) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    journal(dir.path(), 30);
    copy(&dir.path().join("journal"), &yesterday.path().join("journal"));
    let (journal, _, _) = open(dir.path()).unwrap();
    journal.durable(entry("today", "acme", 5)).wait().unwrap();
    drop(journal);
    copy(&dir.path().join("tree"), &yesterday.path().join("tree"));
    assert!(matches!(
        open(yesterday.path()),
        Err(OpenError::Shorter { has: 22, signed: 23, last_sequence: 30, .. })
    ));
}

#[test]
fn bytes_behind_the_end_are_cut_and_never_read_as_records() {
    let dir = tempfile::tempdir().unwrap();
    let map = journal(dir.path(), 30);
    let (at, offset, size, _) = *map.last().unwrap();
    let path = &segments(dir.path())[at];
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(b"left by a torn write", (offset + size + 600) as u64).unwrap();
    let report = verify(dir.path(), ORGANISATION, public());
    assert!(report.is_sound());
    assert_eq!(report.torn.unwrap().sequence, 31);
    let (journal, _, report) = open(dir.path()).unwrap();
    assert_eq!((report.records, report.cut.unwrap().sequence), (30, 31));
    drop(journal);
    assert_eq!(verify(dir.path(), ORGANISATION, public()).torn, None);
}
