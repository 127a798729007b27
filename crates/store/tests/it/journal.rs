//! Order, atomicity, compare-and-set, rotation, restart, proofs: of a journal in files and of one in a database.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use placet_ledger::checkpoint::{Checkpoint, origin};
use placet_ledger::frame::FrameError;
use placet_ledger::proof::{consistency, inclusion, verify_consistency, verify_inclusion};
use placet_ledger::tiles;
use placet_store::{OpenError, Options, Reader, Receipt, SubmitError, TreeReader, trees, verify};

use crate::support::{Entry, ORGANISATION, Once, Place, Refusal, entry, options, public, segments};

/// Each of these on both.
macro_rules! on_both {
    ($($name:ident,)*) => {
        mod files {
            $(#[test] fn $name() { super::$name(&super::Place::files()); })*
        }
        mod shared {
            $(#[test] fn $name() { super::$name(&super::Place::shared()); })*
        }
    };
}

on_both! {
    what_was_acknowledged_is_replayed_in_order,
    env_5_what_is_spent_is_spent_once_whoever_comes_first_and_after_a_restart,
    a_refused_entry_of_several_records_leaves_no_record,
    an_entry_that_nobody_waits_for_is_durable_soon,
    time_never_runs_backwards,
    a_record_that_the_fold_cannot_replay_stops_the_start_and_is_named,
    a_second_opening_of_one_directory_is_refused,
    records_are_read_while_the_journal_is_written,
    a_checkpoint_proves_inclusion_and_consistency_of_what_is_in_the_journal,
    trees_lost_or_broken_are_made_again_from_the_journal,
    a_full_queue_is_said_and_nothing_is_lost,
}

fn what_was_acknowledged_is_replayed_in_order(dir: &Place) {
    let (journal, seen, report) = dir.open().unwrap();
    assert_eq!((report.records, report.segments, report.cut), (0, 0, None));
    let tickets: Vec<_> = (0..300).map(|n| journal.durable(entry(format!("{n}"), "acme", 400))).collect();
    for (at, ticket) in (1_u64..).zip(tickets) {
        let receipt = ticket.wait().unwrap();
        assert_eq!(receipt, Receipt { first: at, records: 1, time_ms: 1_700_000_000_000 });
    }
    let committed: Vec<_> = seen.lock().unwrap().committed.iter().map(|(_, once)| once.clone()).collect();
    assert_eq!(committed, (0..300).map(|n| n.to_string()).collect::<Vec<_>>());
    drop(journal);
    assert!(segments(dir.path()).len() > 2, "rotated");

    let (journal, seen, report) = dir.open().unwrap();
    assert_eq!((report.records, report.cut), (300, None));
    let seen = seen.lock().unwrap();
    for (at, (sequence, time, tree, kind, payload)) in seen.replayed.iter().enumerate() {
        assert_eq!((*sequence, *time, tree.as_str(), *kind), (at as u64 + 1, 1_700_000_000_000, "acme", 7));
        assert_eq!(payload, format!("{at} {}", "x".repeat(400)).as_bytes());
    }
    drop(seen);
    assert_eq!(journal.durable(entry("next", "acme", 1)).wait().unwrap().first, 301);
}

fn env_5_what_is_spent_is_spent_once_whoever_comes_first_and_after_a_restart(dir: &Place) {
    let (journal, _, _) = dir.open().unwrap();
    let winners: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    (0..50)
                        .filter(|n| match journal.durable(entry(format!("{n}"), "acme", 5)).wait() {
                            Ok(_) => true,
                            Err(error) => {
                                assert_eq!(error, SubmitError::Refused(Refusal::Spent));
                                false
                            }
                        })
                        .count()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(winners, 50);
    assert_eq!(journal.status().durable, 50, "refused entries never touch the disk");
    drop(journal);
    let (journal, _, report) = dir.open().unwrap();
    assert_eq!(report.records, 50);
    assert_eq!(journal.durable(entry("7", "acme", 5)).wait(), Err(SubmitError::Refused(Refusal::Spent)));
}

fn a_refused_entry_of_several_records_leaves_no_record(dir: &Place) {
    let (journal, _, _) = dir.open().unwrap();
    let bad = Entry { once: "a".into(), records: vec![("acme", vec![b'x'; 9]), ("no tree", vec![b'x'])] };
    assert_eq!(journal.durable(bad).wait(), Err(SubmitError::Refused(Refusal::Frame(FrameError::TreeName))));
    let large = entry("b", "acme", 70_000);
    assert!(matches!(
        journal.durable(large).wait(),
        Err(SubmitError::Refused(Refusal::Frame(FrameError::TooLarge { .. })))
    ));
    let good = Entry { once: "a".into(), records: vec![("acme", vec![b'x']), ("org", vec![b'y'])] };
    let receipt = journal.durable(good).wait().unwrap();
    assert_eq!((receipt.first, receipt.records), (1, 2));
    journal.checkpoint().unwrap();
    drop(journal);
    let report = verify(dir.path(), ORGANISATION, public());
    assert!(report.is_sound(), "{:?}", report.finding);
    assert_eq!(report.records, 2);
    assert_eq!(trees(dir.path()).unwrap(), ["acme", "org"]);
}

fn an_entry_that_nobody_waits_for_is_durable_soon(dir: &Place) {
    let (journal, _, _) = dir.open().unwrap();
    journal.queued(entry("1", "acme", 5)).unwrap();
    let began = Instant::now();
    while journal.status().durable < 1 {
        assert!(began.elapsed() < Duration::from_secs(5), "commits without anybody waiting");
        std::thread::sleep(Duration::from_millis(1));
    }
    journal.queued(entry("2", "acme", 5)).unwrap();
    assert!(futures::executor::block_on(journal.flush()));
    assert_eq!(journal.status().durable, 2);
    // And it is on disk when the journal is closed.
    journal.queued(entry("3", "acme", 5)).unwrap();
    drop(journal);
    assert_eq!(Reader::open(dir.path()).unwrap().last(), 3);
}

fn time_never_runs_backwards(dir: &Place) {
    let clock = Arc::new(AtomicU64::new(1000));
    let with = |clock: &Arc<AtomicU64>| {
        let clock = Arc::clone(clock);
        Options { clock: Arc::new(move || clock.load(Ordering::Relaxed)), ..options() }
    };
    let (journal, _, _) = dir.open_with(with(&clock)).unwrap();
    assert_eq!(journal.durable(entry("1", "acme", 5)).wait().unwrap().time_ms, 1000);
    clock.store(400, Ordering::Relaxed);
    assert_eq!(journal.durable(entry("2", "acme", 5)).wait().unwrap().time_ms, 1000);
    drop(journal);
    let (journal, _, _) = dir.open_with(with(&clock)).unwrap();
    assert_eq!(journal.durable(entry("3", "acme", 5)).wait().unwrap().time_ms, 1000);
    assert_eq!(journal.status().time_ms, 1000);
}

fn a_record_that_the_fold_cannot_replay_stops_the_start_and_is_named(dir: &Place) {
    let (journal, _, _) = dir.open().unwrap();
    for n in 0..5 {
        // The fold's own records are text; this one isn't.
        let payload = if n == 3 { vec![0xff] } else { vec![b'x'] };
        let entry = Entry { once: n.to_string(), records: vec![("acme", payload)] };
        journal.durable(entry).wait().unwrap();
    }
    drop(journal);
    assert!(matches!(dir.open(), Err(OpenError::Replay { sequence: 4, .. })));
}

fn a_second_opening_of_one_directory_is_refused(dir: &Place) {
    let (journal, _, _) = dir.open().unwrap();
    assert!(matches!(dir.open(), Err(OpenError::Locked(_))));
    drop(journal);
    dir.open().unwrap();
}

fn records_are_read_while_the_journal_is_written(dir: &Place) {
    let (journal, _, _) = dir.open().unwrap();
    let reader = journal.reader();
    assert_eq!(reader.get(1).unwrap(), None);
    for n in 0..200_u64 {
        journal.durable(entry(n.to_string(), "acme", 700)).wait().unwrap();
        let record = reader.get(n + 1).unwrap().unwrap();
        assert_eq!(record.payload, format!("{n} {}", "x".repeat(700)).as_bytes());
        assert_eq!(reader.get(n + 2).unwrap(), None);
    }
    let all: Vec<_> = reader.range(1, u64::MAX).map(|record| record.unwrap().sequence).collect();
    assert_eq!(all, (1..=200).collect::<Vec<_>>());
    drop(journal);
    let offline = Reader::open(dir.path()).unwrap();
    assert_eq!(offline.last(), 200);
    assert_eq!(offline.get(117).unwrap(), reader.get(117).unwrap());
    assert_eq!(offline.get(0).unwrap(), None);
}

fn a_checkpoint_proves_inclusion_and_consistency_of_what_is_in_the_journal(dir: &Place) {
    let (journal, _, _) = dir.open().unwrap();
    let head = |tree: &str| {
        journal.checkpoint().unwrap();
        let files = TreeReader::open(dir.path(), tree).unwrap();
        let note = files.checkpoint().unwrap().unwrap();
        let head = Checkpoint::open(&note, &origin(ORGANISATION, tree), &public()).unwrap();
        (files, head)
    };
    for n in 0..300 {
        let tree = if n % 3 == 0 { "org" } else { "tenant/acme" };
        journal.durable(entry(n.to_string(), tree, 20)).wait().unwrap();
    }
    let (_, old) = head("tenant/acme");
    for n in 300..330 {
        journal.durable(entry(n.to_string(), "tenant/acme", 20)).wait().unwrap();
    }
    let (files, new) = head("tenant/acme");
    assert_eq!((old.size, new.size), (200, 230));
    let path = consistency(&files, old.size, new.size).unwrap().unwrap();
    verify_consistency(old.size, &old.root, new.size, &new.root, &path).unwrap();
    let leaves: Vec<_> = journal
        .reader()
        .range(1, u64::MAX)
        .map(Result::unwrap)
        .filter(|record| record.tree == "tenant/acme")
        .map(|record| record.leaf)
        .collect();
    for (index, leaf) in (0..).zip(&leaves) {
        let path = inclusion(&files, index, new.size).unwrap().unwrap();
        verify_inclusion(leaf, index, new.size, &path, &new.root).unwrap();
    }
    let tile = tiles::Tile { level: 0, index: 0, width: 230 };
    let bytes: Vec<u8> = leaves.iter().flat_map(|leaf| leaf.0).collect();
    assert_eq!(tile.encode(&files).unwrap(), bytes);
}

fn trees_lost_or_broken_are_made_again_from_the_journal(dir: &Place) {
    let (journal, _, _) = dir.open().unwrap();
    for n in 0..100 {
        journal.durable(entry(n.to_string(), "acme", 20)).wait().unwrap();
    }
    journal.checkpoint().unwrap();
    drop(journal);
    let hashes = dir.path().join("tree/acme/hashes");
    let whole = std::fs::read(&hashes).unwrap();
    let mut broken = whole.clone();
    broken[640] ^= 1;
    for contents in [None, Some(broken), Some(whole[..999].to_vec()), Some([&whole[..], &[1; 64]].concat())] {
        match contents {
            None => std::fs::remove_file(&hashes).unwrap(),
            Some(bytes) => std::fs::write(&hashes, bytes).unwrap(),
        }
        let (journal, _, _) = dir.open().unwrap();
        journal.checkpoint().unwrap();
        drop(journal);
        assert_eq!(std::fs::read(&hashes).unwrap()[..whole.len()], whole);
    }
    // More records after that: the file carries on where the journal does.
    let (journal, _, _) = dir.open().unwrap();
    journal.durable(entry("more", "acme", 20)).wait().unwrap();
    drop(journal);
    assert!(verify(dir.path(), ORGANISATION, public()).is_sound());
    assert_eq!(TreeReader::open(dir.path(), "acme").unwrap().root(100).unwrap(), {
        let mut frontier = placet_ledger::tree::Frontier::new();
        Reader::open(dir.path())
            .unwrap()
            .range(1, 100)
            .for_each(|r| frontier.append(r.unwrap().leaf, |_| ()));
        frontier.root()
    });
}

fn a_full_queue_is_said_and_nothing_is_lost(dir: &Place) {
    let (journal, _, _) = dir.open_with(Options { queue: 1, ..options() }).unwrap();
    let tickets: Vec<_> = (0..2000).map(|n| journal.durable(entry(n.to_string(), "acme", 300))).collect();
    let mut acknowledged = 0;
    for ticket in tickets {
        match ticket.wait() {
            Ok(_) => acknowledged += 1,
            Err(error) => assert_eq!(error, SubmitError::Busy),
        }
    }
    assert!(acknowledged < 2000, "the queue of one was never full");
    assert_eq!(journal.status().durable, acknowledged);
}

#[test]
fn a_journal_is_shared_between_threads() {
    fn shared<T: Send + Sync + Clone>() {}
    shared::<placet_store::Journal<Once>>();
}
