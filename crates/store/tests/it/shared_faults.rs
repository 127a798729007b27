//! A shared journal against bad luck: its processes killed, its database restarted under load, its copy on a bad disk.

use std::collections::BTreeSet;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use placet_store::{
    Fault, Filter, Journal, Options, Point, Postgres, Projection, Reader, Record, Row, SubmitError, verify,
};

use crate::cluster::Cluster;
use crate::support::{
    Entry, ORGANISATION, Once, Place, Refusal, database, entry, open_shared, options, public, with_faults,
};

const ROUNDS: u64 = 8;

fn cluster() -> Cluster {
    let cluster = Cluster::start();
    let _url = cluster.database("placet");
    cluster
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < Duration::from_secs(30), "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What is in a copy: the entries' names, in order.
fn names(dir: &Path) -> Vec<String> {
    let reader = Reader::open(dir).unwrap();
    reader
        .range(1, u64::MAX)
        .map(|record| {
            String::from_utf8(record.unwrap().payload).unwrap().split(' ').next().unwrap().to_owned()
        })
        .collect()
}

/// Not a test of its own: the gateway that is killed. Appends from several threads, prints each acknowledged entry.
#[test]
#[ignore = "started and killed by `led_1_…`"]
fn child() {
    let mut words = String::new();
    io::stdin().read_line(&mut words).unwrap();
    let words: Vec<&str> = words.trim_end().split('\t').collect();
    let [dir, url, round] = words.as_slice() else { return };
    let database = Postgres::new(url, "killed", None, false).unwrap();
    let (journal, _, _) = open_shared(Path::new(dir), options(), &database).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4_usize {
            let journal = &journal;
            scope.spawn(move || {
                for n in 0_usize.. {
                    let once = format!("{round}-{thread}-{n}");
                    let records = vec![("acme", vec![b'x'; (n * 131 + thread * 977) % 3000 + 1])];
                    journal.durable(Entry { once: once.clone(), records }).wait().unwrap();
                    io::stdout().lock().write_all(format!("ok {once}\n").as_bytes()).unwrap();
                }
            });
        }
    });
}

#[test]
fn led_1_after_kill_9_of_a_gateway_under_load_every_acknowledged_record_is_there_once() {
    let cluster = cluster();
    let (killed, lives) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (journal, _, _) = open_shared(lives.path(), options(), &database(&cluster, "lives")).unwrap();
    let stop = AtomicBool::new(false);
    let mut acknowledged: Vec<String> = Vec::new();
    let mine: Vec<String> = std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            let mut mine = Vec::new();
            while !stop.load(Ordering::SeqCst) {
                let once = format!("mine-{}", mine.len());
                journal.durable(entry(once.clone(), "acme", 300)).wait().unwrap();
                mine.push(once);
                std::thread::sleep(Duration::from_millis(2));
            }
            mine
        });
        for round in 0..ROUNDS {
            let mut child = Command::new(std::env::current_exe().unwrap())
                .args(["shared_faults::child", "--exact", "--ignored", "--nocapture"])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let words = format!("{}\t{}\t{round}", killed.path().display(), cluster.url("placet"));
            writeln!(child.stdin.take().unwrap(), "{words}").unwrap();
            let mut output = BufReader::new(child.stdout.take().unwrap());
            let mut text = String::new();
            while !text.contains(&format!("ok {round}-")) {
                assert!(output.read_line(&mut text).unwrap() > 0, "the child ended: {text}");
            }
            std::thread::sleep(Duration::from_millis(5 + round * 11 % 50));
            child.kill().unwrap();
            child.wait().unwrap();
            output.read_to_string(&mut text).unwrap();
            let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
            acknowledged.extend(whole.lines().filter_map(|line| line.strip_prefix("ok ")).map(str::to_owned));
        }
        stop.store(true, Ordering::SeqCst);
        writing.join().unwrap()
    });
    assert!(
        acknowledged.len() as u64 > ROUNDS * 3 && mine.len() > 20,
        "{} {}",
        acknowledged.len(),
        mine.len()
    );
    let last: u64 = cluster.sql("placet", "SELECT next - 1 FROM placet_head").parse().unwrap();
    until("all is heard of", || journal.status().durable == last);
    let there = names(lives.path());
    let distinct: BTreeSet<&String> = there.iter().collect();
    assert_eq!(distinct.len(), there.len(), "nothing is in twice");
    for once in acknowledged.iter().chain(&mine) {
        assert!(distinct.contains(once), "{once} was acknowledged");
    }
    // The one that was killed has the same, and what it wrote is spent at the other.
    let (again, _, _) = open_shared(killed.path(), options(), &database(&cluster, "killed")).unwrap();
    assert_eq!(names(killed.path()), there);
    let spent = journal.durable(entry(acknowledged[0].clone(), "acme", 5)).wait();
    assert_eq!(spent, Err(SubmitError::Refused(Refusal::Spent)));
    again.checkpoint().unwrap();
    assert!(verify(killed.path(), ORGANISATION, public()).is_sound());
}

#[test]
fn led_1_a_database_that_is_restarted_under_load_has_all_that_was_acknowledged_once() {
    let cluster = cluster();
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let open = |dir: &tempfile::TempDir, name: &str| {
        open_shared(dir.path(), options(), &database(&cluster, name)).unwrap().0
    };
    let journals: [Journal<Once>; 2] = [open(&one, "one"), open(&two, "two")];
    let stop = AtomicBool::new(false);
    let acknowledged: Vec<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|writer: usize| {
                let (journal, stop) = (&journals[writer % 2], &stop);
                scope.spawn(move || {
                    let ids =
                        (0..).map(|n| format!("{writer}-{n}")).take_while(|_| !stop.load(Ordering::SeqCst));
                    ids.filter(|id| journal.durable(entry(id.clone(), "acme", 200)).wait().is_ok())
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        for how in ["immediate", "fast", "immediate"] {
            std::thread::sleep(Duration::from_millis(250));
            cluster.stop(how);
            cluster.run();
            until("it goes on", || journals.iter().all(|journal| journal.status().unreachable.is_none()));
        }
        std::thread::sleep(Duration::from_millis(250));
        stop.store(true, Ordering::SeqCst);
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert!(acknowledged.len() > 100, "{}", acknowledged.len());
    let last: u64 = cluster.sql("placet", "SELECT next - 1 FROM placet_head").parse().unwrap();
    until("both are there", || journals.iter().all(|journal| journal.status().durable == last));
    let there = names(one.path());
    let distinct: BTreeSet<&String> = there.iter().collect();
    assert_eq!(distinct.len(), there.len(), "nothing is in twice");
    assert!(acknowledged.iter().all(|id| distinct.contains(id)), "nothing is lost");
    assert_eq!(there, names(two.path()));
    assert!(journals[0].commits().count > 0 && journals[0].commits().mean_us() > 0);
}

#[test]
fn led_2_a_copy_that_cant_be_written_stops_its_gateway_and_loses_nothing() {
    for fault in [Fault::Fail(io::ErrorKind::StorageFull), Fault::Torn(1), Fault::Torn(700)] {
        let cluster = cluster();
        let (bad, good) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let switch = Arc::new(AtomicBool::new(false));
        let on = Arc::clone(&switch);
        let faulty =
            with_faults(
                move |point| {
                    if point == Point::Write && on.load(Ordering::SeqCst) { fault } else { Fault::Pass }
                },
            );
        let (journal, _, _) = open_shared(bad.path(), faulty, &database(&cluster, "bad")).unwrap();
        let (other, _, _) = open_shared(good.path(), options(), &database(&cluster, "good")).unwrap();
        for n in 0..5 {
            journal.durable(entry(n.to_string(), "acme", 900)).wait().unwrap();
        }
        switch.store(true, Ordering::SeqCst);
        // It is in the database and not in the copy: nobody is told that it is recorded.
        assert_eq!(
            journal.durable(entry("5", "acme", 900)).wait(),
            Err(SubmitError::Unrecorded),
            "{fault:?}"
        );
        until("it stops", || journal.status().stopped);
        assert_eq!(journal.durable(entry("6", "acme", 900)).wait(), Err(SubmitError::Unrecorded));
        assert!(journal.status().failure.is_some_and(|why| why.contains("copy")));
        // The others go on.
        other.durable(entry("7", "acme", 900)).wait().unwrap();
        drop(journal);
        switch.store(false, Ordering::SeqCst);
        let (journal, _, _) = open_shared(bad.path(), options(), &database(&cluster, "bad")).unwrap();
        assert_eq!(names(bad.path()), ["0", "1", "2", "3", "4", "5", "7"], "{fault:?}");
        journal.durable(entry("8", "acme", 900)).wait().unwrap();
        let spent = other.durable(entry("5", "acme", 5)).wait();
        assert_eq!(spent, Err(SubmitError::Refused(Refusal::Spent)), "what nobody was told of counts");
        journal.checkpoint().unwrap();
        assert!(verify(bad.path(), ORGANISATION, public()).is_sound());
    }
}

#[test]
fn an_index_follows_what_every_gateway_writes_and_a_state_is_kept_of_it() {
    let cluster = cluster();
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let often = || Options { keep_every: 10, ..options() };
    let (first, _, _) = open_shared(one.path(), often(), &database(&cluster, "one")).unwrap();
    let (second, _, _) = open_shared(two.path(), often(), &database(&cluster, "two")).unwrap();
    let extract = |record: &Record| {
        let text = String::from_utf8_lossy(&record.payload).into_owned();
        Row { decision_id: Some(text.split(' ').next().unwrap().to_owned()), ..Row::default() }
    };
    for n in 0..30 {
        let journal = if n % 2 == 0 { &first } else { &second };
        journal.durable(entry(n.to_string(), "acme", 30)).wait().unwrap();
    }
    until("both are there", || first.status().durable == 30 && second.status().durable == 30);
    for (dir, journal) in [(&one, &first), (&two, &second)] {
        let mut index = Projection::open(dir.path()).unwrap();
        index.catch_up(&journal.reader(), extract).unwrap();
        assert_eq!(index.last().unwrap(), 30);
        let found = index.search(&Filter { limit: Some(100), ..Filter::default() }).unwrap();
        let ids: Vec<String> =
            found.iter().rev().map(|found| found.row.decision_id.clone().unwrap()).collect();
        assert_eq!(ids, (0..30).map(|n| n.to_string()).collect::<Vec<_>>());
        until("a state is kept", || !journal.states().sequences().is_empty());
    }
    drop((first, second));
    let (again, seen, report) = open_shared(one.path(), often(), &database(&cluster, "one")).unwrap();
    assert!(report.kept >= 10 && report.records == 30, "{report:?}");
    assert_eq!(seen.lock().unwrap().replayed.len() as u64, 30 - report.kept);
    for n in [0, 1, 29] {
        let spent = again.durable(entry(n.to_string(), "acme", 5)).wait();
        assert_eq!(spent, Err(SubmitError::Refused(Refusal::Spent)), "{n}");
    }
}

#[test]
fn a_flood_of_notices_from_whoever_may_connect_costs_nothing() {
    let place = Place::shared();
    let (journal, _, _) = place.open().unwrap();
    journal.durable(entry("before", "acme", 5)).wait().unwrap();
    let _told =
        place.sql("SELECT count(pg_notify('placet_journal', n::text)) FROM generate_series(1, 200000) n");
    let began = Instant::now();
    for n in 0..20 {
        journal.durable(entry(n.to_string(), "acme", 5)).wait().unwrap();
    }
    assert!(began.elapsed() < Duration::from_secs(10));
}

/// A gateway whose clock is ahead must not make the others forget what was used.
#[test]
fn env_4_a_clock_that_is_ahead_forgets_no_proof() {
    let cluster = cluster();
    let mut database = database(&cluster, "ahead");
    // A sign of life every quarter of it; every eighth forgets.
    database.lease = Duration::from_millis(400);
    let commons = placet_store::Commons::open(database).unwrap();
    let now: u64 =
        cluster.sql("placet", "SELECT floor(extract(epoch FROM clock_timestamp()))::bigint").parse().unwrap();
    let use_at = |key: u8, end: u64, now: u64| {
        futures::executor::block_on(commons.first_use(&[key; 32], end, now, true)).unwrap()
    };
    assert!(use_at(1, now + 300, now));
    assert!(use_at(2, now - 5, now - 10));
    assert!(use_at(3, now + 4_000, now + 3_600), "an hour ahead");
    until("what is past is forgotten", || cluster.sql("placet", "SELECT count(*) FROM placet_used") == "2");
    assert!(!use_at(1, now + 300, now), "a proof that still counts was used");
}
