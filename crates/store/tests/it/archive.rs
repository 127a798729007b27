//! Segments that go to an archive: nothing is lost on the way, nothing that is missing passes for archived.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use placet_store::{
    Archive, Because, Fault, Faults, Finding, Journal, Manifest, OpenError, Options, Point, ReadError,
    Reader, ShelveError, Shelved, TreeReader, verify, verify_with,
};

use crate::support::{ORGANISATION, Once, copy, entry, open_with, options, public, segments};

const ENTRIES: u64 = 120;

fn archive(dir: &Path) -> Archive {
    Archive::open(dir.to_str().unwrap(), &|_| None).unwrap()
}

fn with(archive: Option<Archive>) -> Options {
    Options { keep_every: 10, archive, ..options() }
}

/// A journal of several segments with states in each.
fn filled(dir: &Path) {
    let (journal, _, _) = open_with(dir, with(None)).unwrap();
    for i in 1..=ENTRIES {
        let tree = if i % 3 == 0 { "org" } else { "acme" };
        journal.durable(entry(format!("e{i}"), tree, 3000)).wait().unwrap();
        if i % 20 == 0 {
            // One that was due while another was being written is kept with the next entry.
            let (began, before) = (Instant::now(), i.saturating_sub(15));
            while began.elapsed() < Duration::from_millis(300)
                && journal.states().newest(u64::MAX).is_none_or(|state| state.sequence < before)
            {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }
    drop(journal);
    assert!(segments(dir).len() >= 6);
}

/// Archives what ends before this record.
fn shelve(journal: &Journal<Once>, before: u64) -> Result<Shelved, ShelveError> {
    journal.checkpoint().unwrap();
    let mark = |frame: &placet_ledger::frame::Frame<'_>| {
        frame.sequence.is_multiple_of(20).then(|| format!("record {}", frame.sequence))
    };
    journal.shelve(0, false, |candidate| candidate.segment.last < before, mark).unwrap()
}

/// Every record can be read, and everything verifies with the archive; without it, all that is here does.
fn is_whole(dir: &Path, from: &Archive) {
    let reader = Reader::open(dir).unwrap().with_archive(Some(from.clone()));
    assert_eq!(reader.range(1, u64::MAX).map(|record| record.unwrap().sequence).max(), Some(ENTRIES));
    assert_eq!(reader.range(1, u64::MAX).count(), usize::try_from(ENTRIES).unwrap());
    for archive in [None, Some(from)] {
        let report = verify_with(dir, ORGANISATION, public(), archive);
        assert!(report.is_sound(), "{:?}", report.finding);
        assert_eq!(report.records, ENTRIES);
        assert_eq!(report.trees.iter().map(|tree| tree.records).sum::<u64>(), ENTRIES);
    }
}

#[test]
fn what_is_archived_is_read_there_and_the_rest_starts_and_is_proven_without_it() {
    let (dir, place) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    filled(dir.path());
    let before = segments(dir.path());
    let (journal, _, _) = open_with(dir.path(), with(Some(archive(place.path())))).unwrap();
    let live = journal.reader();
    let told = journal.shelve(0, true, |candidate| candidate.segment.last < 70, |_| None).unwrap().unwrap();
    assert_eq!(segments(dir.path()), before, "a dry run moves nothing");
    let shelved = shelve(&journal, 70).unwrap();
    assert_eq!((&told.moved, told.base), (&shelved.moved, shelved.base));
    assert!(matches!(shelved.because, Because::Promised | Because::NoState), "{shelved:?}");
    assert!(shelved.base > 40 && shelved.base <= 70, "{shelved:?}");
    assert_eq!(segments(dir.path()).len(), before.len() - shelved.moved.len());
    assert_eq!(live.get(1).unwrap().unwrap().sequence, 1, "by the archive");
    assert_eq!(shelve(&journal, 70).unwrap().moved, [], "there is nothing left to do");
    let manifest = Manifest::read(dir.path()).unwrap().unwrap();
    let marks: Vec<_> =
        (1..shelved.base).filter(|at| at % 20 == 0).map(|at| format!("record {at}")).collect();
    assert_eq!((manifest.base, manifest.marks), (shelved.base, marks));
    drop((journal, live));
    is_whole(dir.path(), &archive(place.path()));

    // Without the archive: the start, the proofs, and a plain word about what isn't here.
    let hidden = place.path().with_extension("away");
    fs::rename(place.path(), &hidden).unwrap();
    let (journal, seen, report) = open_with(dir.path(), with(None)).unwrap();
    assert_eq!(report.records, ENTRIES);
    assert!(report.kept >= manifest.state && seen.lock().unwrap().replayed.len() < 80);
    let again = journal.durable(entry("e1", "acme", 40)).wait();
    again.unwrap_err();
    let error = journal.reader().get(7).unwrap_err();
    assert!(matches!(error, ReadError::Archived { sequence: 7, .. }));
    assert!(error.to_string().contains("record 7 is only in the archive `/"), "{error}");
    let leaf = journal.reader().get(shelved.base).unwrap().unwrap().leaf;
    let tree = TreeReader::open(dir.path(), "acme").unwrap();
    tree.root(80).unwrap();
    drop(journal);
    assert_ne!(leaf.0, [0; 32]);
    let report = verify(dir.path(), ORGANISATION, public());
    assert!(report.is_sound(), "{:?}", report.finding);
    let archived = report.archived.unwrap();
    assert_eq!((archived.last, archived.read), (shelved.base - 1, false));
    fs::rename(hidden, place.path()).unwrap();
}

#[test]
fn led_1_a_crash_at_any_step_of_an_archiving_loses_nothing() {
    let made = tempfile::tempdir().unwrap();
    filled(made.path());
    for point in [Point::Archive, Point::Manifest, Point::Remove] {
        for nth in 0..2 {
            let (dir, place) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            copy(made.path(), dir.path());
            let passed = Arc::new(AtomicUsize::new(0));
            let faults = Faults::new(move |at| {
                if at == point && passed.fetch_add(1, Ordering::Relaxed) >= nth {
                    return Fault::Fail(std::io::ErrorKind::Other);
                }
                Fault::Pass
            });
            let options = Options { faults, ..with(Some(archive(place.path()))) };
            let (journal, _, _) = open_with(dir.path(), options).unwrap();
            let failed = shelve(&journal, 70).is_err();
            assert!(failed || (point == Point::Manifest && nth > 0), "{point:?} {nth}");
            drop(journal);
            is_whole(dir.path(), &archive(place.path()));
            let (journal, _, report) = open_with(dir.path(), with(Some(archive(place.path())))).unwrap();
            assert_eq!(report.records, ENTRIES, "{point:?} {nth}");
            shelve(&journal, 70).unwrap();
            drop(journal);
            is_whole(dir.path(), &archive(place.path()));
            let base = Manifest::read(dir.path()).unwrap().unwrap().base;
            let first: u64 = segments(dir.path())[0].file_stem().unwrap().to_str().unwrap().parse().unwrap();
            assert_eq!(first, base, "the next run finished it: {point:?} {nth}");
        }
    }
}

/// A journal whose first half is archived.
fn halved() -> (tempfile::TempDir, tempfile::TempDir) {
    let (dir, place) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    filled(dir.path());
    let (journal, _, _) = open_with(dir.path(), with(Some(archive(place.path())))).unwrap();
    shelve(&journal, 70).unwrap();
    (dir, place)
}

#[test]
fn led_3_a_beginning_that_is_gone_is_archived_only_where_the_key_says_so() {
    let (dir, place) = halved();
    let manifest = dir.path().join("journal").join("archived");
    let good = fs::read(&manifest).unwrap();
    fs::remove_file(&manifest).unwrap();
    assert!(matches!(open_with(dir.path(), with(None)), Err(OpenError::Damaged(_))));
    assert!(!verify(dir.path(), ORGANISATION, public()).is_sound());

    // One segment more than was archived, and a manifest that says so.
    let text = String::from_utf8(good.clone()).unwrap();
    let forged = text.replace("\nbase ", "\nbase 1");
    fs::write(&manifest, forged).unwrap();
    assert!(matches!(open_with(dir.path(), with(None)), Err(OpenError::Manifest(_))));
    assert!(matches!(verify(dir.path(), ORGANISATION, public()).finding, Some(Finding::Manifest(_))));
    fs::write(&manifest, good).unwrap();
    assert!(verify(dir.path(), ORGANISATION, public()).is_sound());

    // A hash of the archived part that was altered here is seen without the archive, too.
    let hashes = dir.path().join("tree/acme/hashes");
    let stored = fs::read(&hashes).unwrap();
    let sizes = Manifest::read(dir.path()).unwrap().unwrap().trees;
    let peak = (1_u64 << sizes["acme"].ilog2()) * 2 - 2;
    let mut bad = stored.clone();
    bad[usize::try_from(peak).unwrap() * 32] ^= 1;
    fs::write(&hashes, bad).unwrap();
    assert!(matches!(verify(dir.path(), ORGANISATION, public()).finding, Some(Finding::Forked { .. })));
    fs::write(&hashes, stored).unwrap();
    is_whole(dir.path(), &archive(place.path()));
}

#[test]
fn led_3_an_archived_segment_that_was_altered_or_lost_is_named_and_never_believed() {
    let (dir, place) = halved();
    let mut files: Vec<_> = fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let good = fs::read(&files[0]).unwrap();
    for at in [0, 100, 600, good.len() / 2, good.len() - 1] {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        fs::write(&files[0], bad).unwrap();
        let report = verify_with(dir.path(), ORGANISATION, public(), Some(&archive(place.path())));
        let Some(Finding::Unreadable { path, error }) = report.finding else { panic!("{report:?}") };
        assert!(path.ends_with(files[0].file_name().unwrap()), "{path:?}");
        assert!(error.to_string().contains("isn't what was archived"), "{error}");
        let reader = Reader::open(dir.path()).unwrap().with_archive(Some(archive(place.path())));
        assert!(matches!(reader.get(1), Err(ReadError::Archived { .. })));
        assert!(reader.get(ENTRIES).unwrap().is_some());
    }
    fs::remove_file(&files[0]).unwrap();
    let report = verify_with(dir.path(), ORGANISATION, public(), Some(&archive(place.path())));
    assert!(matches!(report.finding, Some(Finding::Unreadable { .. })));
    assert!(verify(dir.path(), ORGANISATION, public()).is_sound(), "what is here is as before");
}

#[test]
fn where_no_state_fits_the_start_reads_the_archive_once_or_says_that_it_must() {
    let (dir, place) = halved();
    let state = Manifest::read(dir.path()).unwrap().unwrap().state;
    fs::remove_dir_all(dir.path().join("state")).unwrap();
    let error = open_with(dir.path(), with(None)).unwrap_err();
    assert!(matches!(error, OpenError::Archived { .. }), "{error}");
    assert!(error.to_string().contains("[retention] archive"), "{error}");

    let (journal, seen, report) = open_with(dir.path(), with(Some(archive(place.path())))).unwrap();
    assert_eq!((report.records, report.kept), (ENTRIES, 0));
    assert_eq!(seen.lock().unwrap().replayed.len(), usize::try_from(ENTRIES).unwrap());
    let began = Instant::now();
    while !journal.states().sequences().contains(&state) {
        assert!(began.elapsed() < Duration::from_secs(20), "the state isn't made again");
        std::thread::sleep(Duration::from_millis(5));
    }
    drop(journal);
    open_with(dir.path(), with(None)).unwrap();
}

#[test]
fn a_segment_goes_only_if_what_stays_can_be_folded_without_it() {
    let (dir, place) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    filled(dir.path());
    let (journal, _, _) = open_with(dir.path(), with(Some(archive(place.path())))).unwrap();
    journal.checkpoint().unwrap();
    let all = |margin| journal.shelve(margin, true, |_| true, |_| None).unwrap().unwrap();
    assert_eq!(all(0).because, Because::NoState, "the newest state is older than the newest segment");
    assert!(all(60).base < all(0).base, "decisions may rest on facts of some records before them");
    assert_eq!((all(ENTRIES).moved, all(ENTRIES).because), (Vec::new(), Because::NoState));
    assert!(journal.shelve(0, false, |_| false, |_| None).unwrap().unwrap().moved.is_empty());
    assert_eq!(Manifest::read(dir.path()).unwrap(), None);
}

/// An S3 API on a port of its own, until it is dropped.
struct Moto(std::process::Child, String);

impl Moto {
    fn start() -> Self {
        use std::io::{BufRead as _, BufReader};
        let server = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.peers/s3/bin/python");
        assert!(server.exists(), "run peers/install.sh first: {} is missing", server.display());
        let script = "import sys\nfrom moto.server import ThreadedMotoServer\nserver = ThreadedMotoServer(ip_address='127.0.0.1', port=0, verbose=False)\nserver.start()\nprint(server.get_host_and_port()[1], flush=True)\nsys.stdin.read()";
        let mut child = std::process::Command::new(server)
            .args(["-c", script])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port: u16 = line.trim().parse().unwrap_or_else(|_| panic!("no port: `{line}`"));
        Self(child, format!("http://127.0.0.1:{port}"))
    }
    /// One request without a signature, which this server doesn't ask for.
    fn raw(&self, method: &str, path: &str, body: &[u8]) -> String {
        use std::io::{Read as _, Write as _};
        let host = self.1.strip_prefix("http://").unwrap();
        let mut stream = std::net::TcpStream::connect(host).unwrap();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {host}\r\nauthorization: AWS4-HMAC-SHA256 Credential=testing/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        );
        stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
#[ignore = "needs peers/install.sh"]
fn a_bucket_takes_segments_gives_them_back_and_its_damage_is_found() {
    let moto = Moto::start();
    let location = format!("s3://ledger/desk?endpoint={}&region=us-east-1", moto.1);
    let credentials = |name: &str| match name {
        "AWS_ACCESS_KEY_ID" | "AWS_SECRET_ACCESS_KEY" => Some("testing".to_owned()),
        _ => None,
    };
    let bucket = Archive::open(&location, &credentials).unwrap();
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    let before = segments(dir.path());
    let (journal, _, _) = open_with(dir.path(), with(Some(bucket.clone()))).unwrap();
    let refused = shelve(&journal, 70).unwrap_err();
    assert!(
        refused.to_string().contains("NoSuchBucket") || refused.to_string().contains("not found"),
        "{refused}"
    );
    assert_eq!(segments(dir.path()), before, "nothing went");

    assert!(moto.raw("PUT", "/ledger", b"").starts_with("HTTP/1.1 200"));
    let moved = shelve(&journal, 70).unwrap().moved;
    assert!(moved.len() > 1);
    drop(journal);
    is_whole(dir.path(), &bucket);
    let manifest = Manifest::read(dir.path()).unwrap().unwrap();
    assert_eq!(manifest.location, location);
    assert!(
        !String::from_utf8_lossy(&fs::read(dir.path().join("journal/archived")).unwrap()).contains("testing")
    );

    // Somebody who can write to the bucket (this server checks no signature) puts something else there.
    let object = format!("/ledger/desk/{}", moved[0].name());
    assert!(moto.raw("PUT", &object, b"something else").starts_with("HTTP/1.1 200"));
    let report = verify_with(dir.path(), ORGANISATION, public(), Some(&bucket));
    assert!(matches!(report.finding, Some(Finding::Unreadable { .. })), "{:?}", report.finding);
    // A server that is gone.
    drop(moto);
    let error = Reader::open(dir.path()).unwrap().with_archive(Some(bucket)).get(30).unwrap_err();
    assert!(error.to_string().contains("can't reach `127.0.0.1`"), "{error}");
    assert!(verify(dir.path(), ORGANISATION, public()).is_sound());
}
