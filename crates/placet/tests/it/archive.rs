//! `placet audit archive`: what is old goes, is verified there, and everything else works without it.

use std::{
    error::Error,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use placet_json::Value;
use placet_ledger::{
    checkpoint::SigningKey,
    frame::{Frame, FrameError},
};
use placet_record::Kind;
use placet_store::{At, Fold, FrameSink, Journal, Keep, Notary, Options, Receipt};

use crate::support::placet;

/// 2020-09-13.
const THEN: u64 = 1_600_000_000_000;
const RECORDS: u64 = 30_000;
const SEED: [u8; 32] = [3; 32];

/// A journal of acts, whose states hold nothing.
struct Acts;

impl Fold for Acts {
    type Entry = String;
    type Refusal = FrameError;
    type Token = ();
    const FORMAT: &'static str = "acts-1";

    fn replay(&mut self, _: &Frame<'_>) -> Result<(), Box<dyn Error + Send + Sync>> {
        Ok(())
    }
    fn admit(&mut self, _: At, entry: String, out: &mut FrameSink<'_>) -> Result<(), FrameError> {
        out.push("acme", Kind::Act.tag(), entry.as_bytes()).map(drop)
    }
    fn committed(&mut self, _: &Receipt, (): ()) {}
    fn keep(&self) -> Option<Keep> {
        Some(Box::new(|_| Ok(())))
    }
    fn restore(&mut self, _: u64, _: &[u8]) -> Result<(), Box<dyn Error + Send + Sync>> {
        Ok(())
    }
}

/// A data directory of old acts, the first of which hold something.
fn old(dir: &Path) {
    let data = dir.join("data");
    let notary = Notary {
        organisation: "desk".to_owned(),
        key: Arc::new(SigningKey::from_seed(&SEED).unwrap()),
        every: Duration::from_hours(1),
    };
    let options = Options { segment_bytes: 64 << 10, keep_every: 500, ..Options::new(|| THEN, notary) };
    let (journal, _) = Journal::open(&data, options, Acts).unwrap();
    let act = |verb: &str, why: &str| {
        format!(
            r#"{{"by":"operator:o","refused":false,"time":"2020-09-13T12:26:40Z","v":1,"verb":"{verb}","why":"{why}"}}"#
        )
    };
    for n in 1..=RECORDS {
        if n % 2000 == 0 {
            journal.durable(act("look", "again")).wait().unwrap();
            // One that was due while another was being written is kept with the next entry.
            let began = Instant::now();
            while began.elapsed() < Duration::from_millis(300)
                && journal.states().newest(u64::MAX).is_none_or(|state| state.sequence + 2000 < n)
            {
                std::thread::sleep(Duration::from_millis(5));
            }
        } else {
            while journal.queued(act("look", "again")).is_err() {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
    drop(journal);
    let keys = data.join("keys");
    fs::create_dir(&keys).unwrap();
    let key = keys.join("checkpoint.key");
    fs::write(&key, STANDARD.encode(SEED)).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
}

fn segments(dir: &Path) -> usize {
    let files = fs::read_dir(dir.join("data/journal")).unwrap();
    files.filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|end| end == "seg")).count()
}

fn number(value: &Value, pointer: &str) -> u64 {
    value.pointer(pointer).and_then(Value::as_u64).unwrap_or_else(|| panic!("no `{pointer}` in {value}"))
}

#[test]
fn what_is_old_goes_to_the_archive_is_verified_there_and_named_where_it_is_missed() {
    let dir = tempfile::tempdir().unwrap();
    old(dir.path());
    let (run, all) = (|arguments: &[&str]| placet(dir.path(), arguments), segments(dir.path()));
    let nowhere = run(&["audit", "archive", "--to", "archive"]).expect(2);
    assert!(nowhere.err.contains("make the directory first"), "{nowhere:?}");
    let unknown = run(&["audit", "archive"]).expect(2);
    assert!(unknown.err.contains("--to"), "{unknown:?}");
    fs::create_dir(dir.path().join("archive")).unwrap();

    let promised = run(&["audit", "archive", "--to", "archive", "--keep", "36500", "--format", "json"]);
    assert_eq!(number(&promised.expect(0).json(), "/first_here"), 1);
    let tenants = run(&["audit", "archive", "--to", "archive", "--keep", "1", "--keep-tenant", "acme=36500"]);
    assert!(tenants.expect(0).out.contains("0 segments"));
    let told = run(&["audit", "archive", "--to", "archive", "--dry-run", "--format", "json"]).expect(0);
    assert_eq!(segments(dir.path()), all, "only told");
    let done = run(&["audit", "archive", "--to", "archive", "--format", "json"]).expect(0);
    assert_eq!(told.json().pointer("/segments"), done.json().pointer("/segments"));
    let base = number(&done.json(), "/first_here");
    assert!(base > 8_000 && base + 16_384 <= RECORDS, "{base}");
    let gone = done.json().pointer("/segments").and_then(Value::as_array).unwrap().len();
    assert_eq!(segments(dir.path()), all - gone);
    let again = run(&["audit", "archive"]).expect(0);
    assert!(again.out.contains("0 segments"), "it is known by now where to: {again:?}");

    let here = run(&["audit", "verify"]).expect(0);
    assert!(here.out.contains("not read; `--archive` does"), "{here:?}");
    let whole = run(&["audit", "verify", "--archive", "--format", "json"]).expect(0).json();
    assert_eq!((number(&whole, "/records"), number(&whole, "/archived/last")), (RECORDS, base - 1));
    assert_eq!(whole.pointer("/archived/verified").and_then(Value::as_bool), Some(true));
    let missed = run(&["audit", "verify", "--record", "5"]).expect(2);
    assert!(missed.err.contains("is only in the archive") && missed.err.contains("--archive"), "{missed:?}");
    // With it, the record is proven by the tree, which stayed whole.
    run(&["audit", "verify", "--record", "5", "--archive"]).expect(0);
    let replayed = run(&["audit", "replay"]).expect(0);
    assert!(replayed.out.contains("archived: records 1 to "), "{replayed:?}");
    run(&["audit", "replay", "--archive=archive"]).expect(0);

    let backup = run(&["backup", "--to", "copy.tar"]).expect(0);
    assert!(!backup.out.is_empty());
    run(&[
        "restore",
        "copy.tar",
        "--data",
        "restored",
        "--key",
        "data/keys/checkpoint.key",
        "--why",
        "a drill",
    ])
    .expect(0);
    run(&["audit", "verify", "--data", "restored", "--key", "data/keys/checkpoint.key", "--archive"])
        .expect(0);

    let (code, said) = crate::ledger::outsider(dir.path(), &["data"]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains(&format!("{RECORDS} records")), "{said}");

    // A new checkpoint key vouches for what is archived, too.
    run(&["audit", "rotate-key", "--new", "new.key", "--why", "a year"]).expect(0);
    run(&["audit", "verify", "--key", "new.key"]).expect(0);

    // One byte in the archive.
    let first =
        fs::read_dir(dir.path().join("archive")).unwrap().map(|entry| entry.unwrap().path()).min().unwrap();
    let mut bytes = fs::read(&first).unwrap();
    bytes[900] ^= 1;
    fs::write(&first, bytes).unwrap();
    let wrong = run(&["audit", "verify", "--archive", "--key", "new.key"]).expect(1);
    assert!(wrong.out.contains("isn't what was archived"), "{wrong:?}");
}
