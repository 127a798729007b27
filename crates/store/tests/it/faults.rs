//! LED-2: a full, failing or lying disk.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use placet_store::{Fault, Journal, Options, Point, SubmitError, verify};

use crate::support::{ORGANISATION, Once, entry, open, open_with, options, public, with_faults};

/// Faults at `point` once armed.
fn armed(point: Point, fault: Fault) -> (Options, Arc<AtomicBool>) {
    let switch = Arc::new(AtomicBool::new(false));
    let on = Arc::clone(&switch);
    let options =
        with_faults(move |at| if at == point && on.load(Ordering::SeqCst) { fault } else { Fault::Pass });
    (options, switch)
}

fn wait_until_stopped(journal: &Journal<Once>) {
    let until = Instant::now() + Duration::from_secs(5);
    while !journal.status().stopped {
        assert!(Instant::now() < until, "stops");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn led_2_a_failed_write_or_sync_stops_the_journal_for_good() {
    let faults = [
        (Point::Sync, Fault::Fail(io::ErrorKind::Other)),
        (Point::Write, Fault::Fail(io::ErrorKind::StorageFull)),
        (Point::Write, Fault::Torn(1)),
        (Point::Write, Fault::Torn(700)),
        (Point::Write, Fault::Torn(5000)),
    ];
    for (point, fault) in faults {
        let dir = tempfile::tempdir().unwrap();
        let (options, switch) = armed(point, fault);
        let (journal, seen, _) = open_with(dir.path(), options).unwrap();
        for n in 0..5 {
            journal.durable(entry(n.to_string(), "acme", 900)).wait().unwrap();
        }
        switch.store(true, Ordering::SeqCst);
        let failed: Vec<_> =
            (0..10).map(|n| journal.durable(entry(format!("lost {n}"), "acme", 900))).collect();
        for ticket in failed {
            assert_eq!(ticket.wait(), Err(SubmitError::Unrecorded), "{fault:?}");
        }
        // Not retried: the kernel may have dropped the pages that the failed sync covered.
        switch.store(false, Ordering::SeqCst);
        wait_until_stopped(&journal);
        assert_eq!(journal.durable(entry("later", "acme", 900)).wait(), Err(SubmitError::Unrecorded));
        assert_eq!(journal.queued(entry("later", "acme", 900)), Err(SubmitError::Unrecorded));
        assert!(journal.status().failure.is_some());
        assert_eq!(seen.lock().unwrap().committed.len(), 5, "nothing of it became visible");
        drop(journal);

        // After a restart everything acknowledged is there, and the journal works.
        let (journal, seen, report) = open(dir.path()).unwrap();
        assert!(report.records >= 5);
        assert_eq!(seen.lock().unwrap().replayed.len() as u64, report.records);
        let next = journal.durable(entry("again", "acme", 900)).wait().unwrap();
        assert_eq!(next.first, report.records + 1);
        drop(journal);
        let verified = verify(dir.path(), ORGANISATION, public());
        assert!(verified.is_sound() && verified.torn.is_none(), "{fault:?} {verified:?}");
    }
}

#[test]
fn led_2_nothing_is_answered_published_or_read_before_its_sync() {
    let dir = tempfile::tempdir().unwrap();
    let (syncing, reached) = std::sync::mpsc::channel();
    let (release, released) = std::sync::mpsc::channel();
    let released = std::sync::Mutex::new(released);
    let options = with_faults(move |point| {
        if point == Point::Sync {
            syncing.send(()).unwrap();
            released.lock().unwrap().recv().unwrap();
        }
        Fault::Pass
    });
    let (journal, seen, _) = open_with(dir.path(), options).unwrap();
    let reader = journal.reader();
    let mut ticket = journal.durable(entry("1", "acme", 50));
    reached.recv().unwrap();
    // The batch is written, not synced.
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(std::pin::Pin::new(&mut ticket).poll(&mut context).is_pending());
    assert_eq!(journal.status().durable, 0);
    assert_eq!(reader.get(1).unwrap(), None);
    assert!(seen.lock().unwrap().committed.is_empty());
    release.send(()).unwrap();
    assert_eq!(ticket.wait().unwrap().first, 1);
    assert!(reader.get(1).unwrap().is_some());
    assert_eq!(seen.lock().unwrap().committed.len(), 1);
    drop(release);
}

#[test]
fn led_2_a_full_disk_is_said_before_anything_is_admitted_and_passes() {
    let dir = tempfile::tempdir().unwrap();
    let (options, switch) = armed(Point::Preallocate, Fault::Fail(io::ErrorKind::StorageFull));
    let (journal, seen, _) = open_with(dir.path(), options).unwrap();
    // The segment ahead of the first is filled already or fails; either way the disk is full after at most two.
    switch.store(true, Ordering::SeqCst);
    let (mut acknowledged, mut full) = (0_u64, false);
    for n in 0..400 {
        match journal.durable(entry(n.to_string(), "acme", 900)).wait() {
            Ok(receipt) => {
                acknowledged += 1;
                assert_eq!(receipt.first, acknowledged);
            }
            Err(error) => {
                assert_eq!(error, SubmitError::Full);
                full = true;
                break;
            }
        }
    }
    assert!(full && journal.status().full && !journal.status().stopped);
    assert_eq!(seen.lock().unwrap().committed.len() as u64, acknowledged);
    // The cause is gone: the journal recovers by itself, and what was refused was not applied.
    switch.store(false, Ordering::SeqCst);
    let until = Instant::now() + Duration::from_secs(10);
    let receipt = loop {
        match journal.durable(entry(acknowledged.to_string(), "acme", 900)).wait() {
            Ok(receipt) => break receipt,
            Err(error) => assert_eq!(error, SubmitError::Full),
        }
        assert!(Instant::now() < until, "recovers");
        std::thread::sleep(Duration::from_millis(20));
    };
    assert_eq!(receipt.first, acknowledged + 1);
    assert!(!journal.status().full);
}

#[test]
fn led_2_a_failing_rotation_loses_nothing_that_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&count);
    let options = with_faults(move |point| {
        // The first activation is the first segment's; the second fails.
        if point == Point::Activate && seen.fetch_add(1, Ordering::SeqCst) == 1 {
            Fault::Fail(io::ErrorKind::Other)
        } else {
            Fault::Pass
        }
    });
    let (journal, _, _) = open_with(dir.path(), options).unwrap();
    let mut acknowledged = 0_u64;
    let error = loop {
        match journal.durable(entry(acknowledged.to_string(), "acme", 900)).wait() {
            Ok(_) => acknowledged += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error, SubmitError::Unrecorded);
    assert!(acknowledged > 50);
    wait_until_stopped(&journal);
    drop(journal);
    let (journal, _, report) = open(dir.path()).unwrap();
    assert_eq!(report.records, acknowledged);
    journal.durable(entry("again", "acme", 900)).wait().unwrap();
}

#[test]
fn led_2_failing_checkpoints_never_hold_up_a_call_and_are_made_up() {
    for point in [Point::Hashes, Point::Checkpoint] {
        let dir = tempfile::tempdir().unwrap();
        let (options, switch) = armed(point, Fault::Fail(io::ErrorKind::StorageFull));
        let (journal, _, _) = open_with(dir.path(), options).unwrap();
        switch.store(true, Ordering::SeqCst);
        for n in 0..20 {
            journal.durable(entry(n.to_string(), "acme", 50)).wait().unwrap();
        }
        assert!(journal.checkpoint().is_err());
        assert!(journal.status().checkpoints.is_some());
        switch.store(false, Ordering::SeqCst);
        journal.checkpoint().unwrap();
        assert_eq!(journal.status().checkpoints, None);
        drop(journal);
        let report = verify(dir.path(), ORGANISATION, public());
        assert!(report.is_sound());
        assert_eq!(report.trees[0].signed, Some(20));
    }
}

#[test]
fn led_2_a_panicking_clock_stops_the_journal_and_leaves_nobody_waiting() {
    let dir = tempfile::tempdir().unwrap();
    let bad = Options { clock: Arc::new(|| panic!("a clock that fails")), ..options() };
    let (journal, _, _) = open_with(dir.path(), bad).unwrap();
    assert_eq!(journal.durable(entry("1", "acme", 5)).wait(), Err(SubmitError::Unrecorded));
    wait_until_stopped(&journal);
    assert_eq!(journal.durable(entry("2", "acme", 5)).wait(), Err(SubmitError::Unrecorded));
}
