//! LED-1: `kill -9` while entries are written, again and again on the same directory.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use placet_store::{OpenError, Reader, verify};

use crate::support::{Entry, ORGANISATION, open, public};

const ROUNDS: u64 = 20;

/// Not a test of its own: the process that is killed. Reads its directory from the standard input, appends from several
/// threads, prints each acknowledged sequence.
#[test]
#[ignore = "started and killed by `led_1_…`"]
fn child() {
    let mut dir = String::new();
    std::io::stdin().read_line(&mut dir).unwrap();
    let Some((dir, round)) = dir.trim_end().split_once('\t') else { return };
    let (journal, _, _) = open(Path::new(dir)).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..6_usize {
            let journal = &journal;
            scope.spawn(move || {
                for n in 0_usize.. {
                    let once = format!("{round}-{thread}-{n}");
                    let len = (n * 131 + thread * 977) % 3000 + 1;
                    let records = (0..=n % 3).map(|_| ("acme", vec![b'x'; len])).collect();
                    let receipt = journal.durable(Entry { once: once.clone(), records }).wait().unwrap();
                    let line = format!("{} {} {once}\n", receipt.first, receipt.records);
                    // One write: a line is whole or the last.
                    std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
                }
            });
        }
        let journal = &journal;
        scope.spawn(move || {
            loop {
                journal.checkpoint().unwrap();
            }
        });
    });
}

#[test]
fn led_1_after_kill_9_every_acknowledged_record_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged: Vec<(u64, u64, String)> = Vec::new();
    for round in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["crash::child", "--exact", "--ignored", "--nocapture"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        writeln!(child.stdin.take().unwrap(), "{}\t{round}", dir.path().display()).unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut text = String::new();
        // Once it works, let it work a little, a different time each round.
        while !text.contains(&format!(" {round}-")) {
            assert!(lines.read_line(&mut text).unwrap() > 0, "the child ended: {text}");
        }
        assert!(matches!(open(dir.path()), Err(OpenError::Locked(_))), "a second process is refused");
        std::thread::sleep(Duration::from_millis(3 + round * 7 % 40));
        child.kill().unwrap();
        child.wait().unwrap();
        lines.read_to_string(&mut text).unwrap();
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        for line in whole.lines() {
            let mut words = line.split(' ');
            let (Some(Ok(first)), Some(Ok(records)), Some(once), None) =
                (words.next().map(str::parse), words.next().map(str::parse), words.next(), words.next())
            else {
                continue; // libtest's own lines
            };
            acknowledged.push((first, records, once.to_owned()));
        }

        let report = verify(dir.path(), ORGANISATION, public());
        assert!(report.is_sound(), "round {round}: {:?}", report.finding);
        let reader = Reader::open(dir.path()).unwrap();
        for (first, records, once) in &acknowledged {
            for sequence in *first..first + records {
                let record = reader.get(sequence).unwrap();
                let record = record.unwrap_or_else(|| panic!("round {round}: record {sequence} is lost"));
                assert!(record.payload.starts_with(format!("{once} ").as_bytes()));
            }
        }
    }
    assert!(acknowledged.len() as u64 > ROUNDS * 5, "{}", acknowledged.len());
    // Entries are whole: 1, 2 or 3 records, as their number says.
    let (journal, seen, _) = open(dir.path()).unwrap();
    let mut counts = std::collections::BTreeMap::new();
    for (_, _, _, _, payload) in &seen.lock().unwrap().replayed {
        let once = String::from_utf8_lossy(payload).split(' ').next().unwrap().to_owned();
        *counts.entry(once).or_insert(0) += 1;
    }
    for (once, count) in counts {
        let n: usize = once.rsplit('-').next().unwrap().parse().unwrap();
        assert_eq!(count, n % 3 + 1, "{once}");
    }
    drop(journal);
}
