//! States kept beside the journal: they spare a start its folding, and are never believed.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use placet_store::{KeptStates, Options, SubmitError};

use crate::support::{Opened, Refusal, copy, entry, open_with, options};

fn often() -> Options {
    Options { keep_every: 10, ..options() }
}

fn open(dir: &Path) -> Opened {
    open_with(dir, often()).unwrap()
}

/// Writes entries `from..to`, and waits until the state that is due then is on disk.
fn write(dir: &Path, from: u64, to: u64, state: u64) -> KeptStates {
    let (journal, _, _) = open(dir);
    for i in from..to {
        journal.durable(entry(format!("e{i}"), "acme", 40)).wait().unwrap();
        if i == state {
            let began = Instant::now();
            while !journal.states().sequences().contains(&state) {
                assert!(began.elapsed() < Duration::from_secs(20), "no state is kept");
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }
    journal.states()
}

fn file(dir: &Path, sequence: u64) -> PathBuf {
    dir.join("state").join(format!("{sequence:012}.state"))
}

/// Opens; whence it was folded, how many records were, and that nothing is forgotten.
fn reopened(dir: &Path, entries: u64) -> (u64, usize) {
    let (journal, seen, report) = open(dir);
    assert_eq!(report.records, entries - 1, "every record was read");
    for i in 1..entries {
        let again = journal.durable(entry(format!("e{i}"), "acme", 40)).wait();
        assert_eq!(again, Err(SubmitError::Refused(Refusal::Spent)), "e{i}");
    }
    let replayed = seen.lock().unwrap().replayed.len();
    (report.kept, replayed)
}

#[test]
fn a_start_folds_only_what_came_after_the_newest_state() {
    let dir = tempfile::tempdir().unwrap();
    let states = write(dir.path(), 1, 26, 10);
    assert_eq!(states.newest(9).map(|state| state.sequence), None);
    let state = states.newest(15).unwrap();
    assert_eq!((state.sequence, state.body().split(|b| *b == b'\n').count()), (10, 11));
    let (kept, replayed) = reopened(dir.path(), 26);
    // How many states were due while the first was being written depends on the disk.
    assert!((10..=25).contains(&kept), "{kept}");
    assert_eq!(u64::try_from(replayed).unwrap(), 25 - kept);
}

#[test]
fn led_3_a_state_that_was_altered_is_not_believed() {
    let dir = tempfile::tempdir().unwrap();
    let states = write(dir.path(), 1, 12, 10);
    let path = file(dir.path(), 10);
    let bytes = fs::read(&path).unwrap();
    let only = |bytes: &[u8]| {
        fs::remove_dir_all(dir.path().join("state")).unwrap();
        fs::create_dir(dir.path().join("state")).unwrap();
        fs::write(&path, bytes).unwrap();
    };
    for at in (0..bytes.len()).step_by(7) {
        let mut altered = bytes.clone();
        altered[at] ^= 1;
        only(&altered);
        assert_eq!(states.newest(10).map(|state| state.sequence), None, "byte {at}");
    }
    for length in [0, 3, 40, bytes.len() - 1] {
        only(&bytes[..length]);
        assert_eq!(reopened(dir.path(), 12), (0, 11), "cut to {length} bytes");
    }
    only(&bytes);
    assert_eq!(reopened(dir.path(), 12), (10, 1));
}

#[test]
fn led_4_a_state_of_another_journal_or_of_a_longer_past_is_thrown_away() {
    let (here, there, short) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    drop(write(here.path(), 1, 12, 10));
    drop(write(there.path(), 1, 12, 10));
    fs::copy(file(there.path(), 10), file(here.path(), 10)).unwrap();
    assert_eq!(reopened(here.path(), 12), (0, 11), "signed by the same key, but not of this journal");
    assert!(!file(here.path(), 10).exists());

    // The journal as it was at 6 records, beside the state of 10.
    let dir = tempfile::tempdir().unwrap();
    let (journal, _, _) = open(dir.path());
    for i in 1..7 {
        journal.durable(entry(format!("e{i}"), "acme", 40)).wait().unwrap();
    }
    drop(journal);
    copy(dir.path(), short.path());
    drop(write(dir.path(), 7, 12, 10));
    fs::create_dir_all(short.path().join("state")).unwrap();
    fs::copy(file(dir.path(), 10), file(short.path(), 10)).unwrap();
    assert_eq!(reopened(short.path(), 7), (0, 6));
    assert!(!file(short.path(), 10).exists());
}
