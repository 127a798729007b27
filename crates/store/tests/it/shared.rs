//! Several gateways on one database: one order, whoever writes; killed, cut off, or on a database that stops.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use placet_store::{Commons, DatabaseError, Journal, OpenError, Options, Reader, SubmitError, fetch, verify};

use crate::cluster::Cluster;
use crate::support::{ORGANISATION, Once, Refusal, Seen, database, entry, open_shared, options, public};

struct Gateway {
    dir: tempfile::TempDir,
    journal: Journal<Once>,
    seen: Arc<Mutex<Seen>>,
}

fn cluster() -> Cluster {
    let cluster = Cluster::start();
    let _url = cluster.database("placet");
    cluster
}

fn gateway(cluster: &Cluster, name: &str) -> Gateway {
    let dir = tempfile::tempdir().unwrap();
    let (journal, seen, _) = open_shared(dir.path(), options(), &database(cluster, name)).unwrap();
    Gateway { dir, journal, seen }
}

fn until(what: &str, mut done: impl FnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
    began.elapsed()
}

/// What each gateway folded, replayed or its own, in order.
fn order(gateway: &Gateway) -> Vec<(u64, Vec<u8>)> {
    let reader = Reader::open(gateway.dir.path()).unwrap();
    reader
        .range(1, u64::MAX)
        .map(|record| record.unwrap())
        .map(|record| (record.sequence, record.payload))
        .collect()
}

#[test]
fn env_5_what_is_spent_is_spent_once_at_any_of_two_gateways() {
    let cluster = cluster();
    let (one, two) = (gateway(&cluster, "one"), gateway(&cluster, "two"));
    let winners: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|n| {
                let journal = if n % 2 == 0 { &one.journal } else { &two.journal };
                scope.spawn(move || {
                    (0..60)
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
    assert_eq!(winners, 60);
    until("both are there", || one.journal.status().durable == 60 && two.journal.status().durable == 60);
    assert_eq!(order(&one), order(&two));
    one.journal.checkpoint().unwrap();
    two.journal.checkpoint().unwrap();
    for gateway in [&one, &two] {
        let report = verify(gateway.dir.path(), ORGANISATION, public());
        assert!(report.is_sound() && report.records == 60, "{:?}", report.finding);
        assert_eq!(report.trees[0].signed, Some(60));
    }
    assert_eq!(cluster.sql("placet", "SELECT max(last) FROM placet_journal"), "60");
}

#[test]
fn an_idle_gateway_hears_of_the_others_at_once() {
    let cluster = cluster();
    let (one, two) = (gateway(&cluster, "one"), gateway(&cluster, "two"));
    let mut slowest = Duration::ZERO;
    for n in 1..=20_u64 {
        one.journal.durable(entry(n.to_string(), "acme", 5)).wait().unwrap();
        slowest = slowest.max(until("it hears", || two.journal.status().durable >= n));
    }
    // Without the notices it would be a quarter of a second each.
    assert!(slowest < Duration::from_millis(240), "{slowest:?}");
    assert_eq!(two.seen.lock().unwrap().replayed.len(), 20);
    assert_eq!(two.seen.lock().unwrap().committed.len(), 0);
}

#[test]
fn a_gateway_that_joins_later_or_lost_its_copy_has_everything() {
    let cluster = cluster();
    let one = gateway(&cluster, "one");
    for n in 0..200 {
        one.journal.durable(entry(n.to_string(), "acme", 700)).wait().unwrap();
    }
    let two = gateway(&cluster, "two");
    assert_eq!(two.journal.status().durable, 200);
    assert_eq!(two.journal.durable(entry("7", "acme", 5)).wait(), Err(SubmitError::Refused(Refusal::Spent)));
    two.journal.checkpoint().unwrap();
    let Gateway { dir, journal, .. } = two;
    drop(journal);
    // What a crash of the machine may leave: the last segment in any state.
    let last = crate::support::segments(dir.path()).pop().unwrap();
    let mut bytes = std::fs::read(&last).unwrap();
    bytes[600] ^= 1;
    std::fs::write(&last, bytes).unwrap();
    let (journal, seen, _) = open_shared(dir.path(), options(), &database(&cluster, "two")).unwrap();
    assert_eq!(journal.status().durable, 200);
    assert_eq!(journal.durable(entry("200", "acme", 5)).wait().unwrap().first, 201);
    assert!(seen.lock().unwrap().replayed.len() >= 200);
    drop(journal);
    // And a copy for an audit.
    let copy = tempfile::tempdir().unwrap();
    assert_eq!(fetch(&database(&cluster, "audit"), copy.path()).unwrap(), 201);
    let report = verify(copy.path(), ORGANISATION, public());
    assert!(report.is_sound() && report.records == 201, "{:?}", report.finding);
}

#[test]
fn led_4_a_database_restored_from_yesterday_is_refused_by_who_has_seen_more() {
    let cluster = cluster();
    let one = gateway(&cluster, "one");
    for n in 0..10 {
        one.journal.durable(entry(n.to_string(), "acme", 50)).wait().unwrap();
    }
    let dump =
        cluster.sql("placet", "SELECT next || '|' || encode(link, 'hex') || '|' || time_ms FROM placet_head");
    for n in 10..20 {
        one.journal.durable(entry(n.to_string(), "acme", 50)).wait().unwrap();
    }
    one.journal.checkpoint().unwrap();
    let Gateway { dir, journal, .. } = one;
    drop(journal);
    let [next, link, time]: [&str; 3] = dump.split('|').collect::<Vec<_>>().try_into().unwrap();
    let _done = cluster.sql("placet", &format!("DELETE FROM placet_journal WHERE first >= {next}; UPDATE placet_head SET next = {next}, link = decode('{link}', 'hex'), time_ms = {time}"));
    let again = open_shared(dir.path(), options(), &database(&cluster, "one"));
    assert!(
        matches!(again, Err(OpenError::Database(DatabaseError::Older { database: 11, copy: 21 }))),
        "{:?}",
        again.err()
    );
}

#[test]
fn led_3_a_record_altered_in_the_database_is_found_and_named() {
    let cluster = cluster();
    let one = gateway(&cluster, "one");
    for n in 0..10 {
        one.journal.durable(entry(n.to_string(), "acme", 50)).wait().unwrap();
    }
    let _done = cluster.sql(
        "placet",
        "UPDATE placet_journal SET frames = set_byte(frames, 40, get_byte(frames, 40) # 1) WHERE first = 7",
    );
    let copy = tempfile::tempdir().unwrap();
    let error = fetch(&database(&cluster, "audit"), copy.path()).unwrap_err();
    assert!(matches!(error, OpenError::Database(DatabaseError::Differs { sequence: 7, .. })), "{error}");
}

#[test]
fn a_directory_of_another_journal_is_refused() {
    let cluster = cluster();
    let one = gateway(&cluster, "one");
    let Gateway { dir, journal, .. } = one;
    drop(journal);
    let other = self::cluster();
    let error = open_shared(dir.path(), options(), &database(&other, "one")).unwrap_err();
    assert!(matches!(error, OpenError::Database(DatabaseError::Foreign)), "{error}");
}

#[test]
fn a_database_that_stops_stops_everything_and_comes_back_by_itself() {
    let cluster = cluster();
    let (one, two) = (gateway(&cluster, "one"), gateway(&cluster, "two"));
    one.journal.durable(entry("before", "acme", 5)).wait().unwrap();
    for how in ["fast", "immediate"] {
        cluster.stop(how);
        until("both know", || {
            one.journal.status().unreachable.is_some() && two.journal.status().unreachable.is_some()
        });
        let refused = one.journal.durable(entry(format!("lost {how}"), "acme", 5)).wait();
        assert_eq!(refused, Err(SubmitError::Unrecorded));
        // Nobody waits for this one, so it waits.
        two.journal.queued(entry(format!("later {how}"), "acme", 5)).unwrap();
        cluster.run();
        until("both go on", || {
            one.journal.status().unreachable.is_none() && two.journal.status().unreachable.is_none()
        });
        one.journal.durable(entry(format!("after {how}"), "acme", 5)).wait().unwrap();
    }
    until("all is there", || one.journal.status().durable == 5 && two.journal.status().durable == 5);
    let payloads: BTreeSet<String> =
        order(&one).iter().map(|(_, payload)| String::from_utf8_lossy(payload).into_owned()).collect();
    assert!(!payloads.iter().any(|payload| payload.starts_with("lost")), "{payloads:?}");
    assert_eq!(order(&one), order(&two));
}

/// Commits break off at every moment: each that was acknowledged is in, each that was refused as lost may be in, and
/// nothing is in twice.
#[test]
fn led_1_connections_that_are_cut_under_load_lose_nothing_and_write_nothing_twice() {
    let cluster = cluster();
    let (one, two) = (gateway(&cluster, "one"), gateway(&cluster, "two"));
    let stop = std::sync::atomic::AtomicBool::new(false);
    let acknowledged: Vec<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..6)
            .map(|writer| {
                let journal = if writer % 2 == 0 { &one.journal } else { &two.journal };
                scope.spawn(move || {
                    let id = |n: i32| format!("{writer}-{n}");
                    (0..150)
                        .filter(|n| journal.durable(entry(id(*n), "acme", 200)).wait().is_ok())
                        .map(id)
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        let cutter = scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(60));
                let _cut = cluster.sql("placet", "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name LIKE 'placet%' AND pid <> pg_backend_pid()");
            }
        });
        let acknowledged = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        stop.store(true, std::sync::atomic::Ordering::SeqCst);
        cutter.join().unwrap();
        acknowledged
    });
    assert!(acknowledged.len() > 100, "most go through: {}", acknowledged.len());
    let last: u64 = cluster.sql("placet", "SELECT next - 1 FROM placet_head").parse().unwrap();
    until("both are there", || one.journal.status().durable == last && two.journal.status().durable == last);
    let in_journal: Vec<String> = order(&one)
        .into_iter()
        .map(|(_, payload)| String::from_utf8(payload).unwrap().split(' ').next().unwrap().to_owned())
        .collect();
    let distinct: BTreeSet<&String> = in_journal.iter().collect();
    assert_eq!(distinct.len(), in_journal.len(), "nothing is in twice");
    for id in &acknowledged {
        assert!(distinct.contains(id), "{id} was acknowledged");
    }
    assert_eq!(order(&one), order(&two));
    // The folds agree with the journal as well: what is in is spent, what isn't can be written.
    for id in ["0-149", "1-149", "x"] {
        let spent = distinct.contains(&id.to_owned());
        assert_eq!(two.journal.durable(entry(id, "acme", 5)).wait().is_err(), spent, "{id}");
    }
}

#[test]
fn a_gateway_that_lives_keeps_its_lease_and_one_that_leaves_gives_it_back() {
    let cluster = cluster();
    let mut brief = database(&cluster, "brief");
    brief.lease = Duration::from_secs(1);
    let dir = tempfile::tempdir().unwrap();
    let (journal, _, _) = open_shared(dir.path(), options(), &brief).unwrap();
    let other = Commons::open(database(&cluster, "other")).unwrap();
    let at = journal.durable(entry("open", "acme", 5)).wait().unwrap().first;
    let lapsed = || futures::executor::block_on(other.lapsed(&[at])).unwrap();
    std::thread::sleep(Duration::from_millis(2500));
    assert!(lapsed().is_empty(), "it renews its lease");
    drop(journal);
    assert_eq!(lapsed(), [at]);
}

#[test]
fn a_gateway_whose_lease_has_ended_goes_on_under_a_new_one() {
    let cluster = cluster();
    let one = gateway(&cluster, "one");
    let before = one.journal.durable(entry("1", "acme", 5)).wait().unwrap().first;
    // As if its machine had slept.
    let _ended = cluster
        .sql("placet", "UPDATE placet_gateway SET lease_until = clock_timestamp() - interval '1 second'");
    assert_eq!(one.journal.durable(entry("2", "acme", 5)).wait(), Err(SubmitError::Unrecorded));
    let after = one.journal.durable(entry("2", "acme", 5)).wait().unwrap().first;
    assert_eq!((before, after), (1, 2));
    let other = Commons::open(database(&cluster, "other")).unwrap();
    assert_eq!(futures::executor::block_on(other.lapsed(&[1, 2])).unwrap(), [1]);
}

#[test]
fn env_4_what_gateways_have_in_common_is_used_once() {
    let cluster = cluster();
    let open = |name| Commons::open(database(&cluster, name)).unwrap();
    let (one, two) = (open("one"), open("two"));
    let now = 1_000;
    futures::executor::block_on(async {
        for durable in [true, false] {
            let key = [u8::from(durable); 32];
            assert!(one.first_use(&key, now + 60, now, durable).await.unwrap());
            assert!(!one.first_use(&key, now + 60, now, durable).await.unwrap());
            assert!(!two.first_use(&key, now + 60, now, durable).await.unwrap());
        }
        assert!(one.put_code(b"hash", "agent-7", now + 60, now, 1).await.unwrap());
        assert!(!two.put_code(b"more", "agent-8", now + 60, now, 1).await.unwrap(), "full");
        assert_eq!(two.code(b"hash").await.unwrap(), Some(("agent-7".to_owned(), now + 60)));
        assert!(two.spend_code(b"hash").await.unwrap());
        assert!(!one.spend_code(b"hash").await.unwrap());
        assert_eq!(one.code(b"hash").await.unwrap(), None);

        one.put_release("sha256:1", b"tar").await.unwrap();
        one.put_release("sha256:1", b"tar").await.unwrap();
        assert_eq!(two.release("sha256:1").await.unwrap().as_deref(), Some(&b"tar"[..]));
        assert_eq!(two.releases().await.unwrap(), ["sha256:1"]);

        assert_eq!(one.vault().await.unwrap(), (0, String::new()));
        assert!(one.put_vault(0, "a").await.unwrap());
        assert!(!two.put_vault(0, "b").await.unwrap(), "another was faster");
        assert!(two.put_vault(1, "b").await.unwrap());
        assert_eq!(one.vault().await.unwrap(), (2, "b".to_owned()));

        one.agree("the token key", "1234").await.unwrap();
        two.agree("the token key", "1234").await.unwrap();
        let error = two.agree("the token key", "5678").await.unwrap_err();
        assert!(matches!(&error, DatabaseError::Setting { name } if name == "the token key"), "{error}");
        assert!(!error.to_string().contains("1234") && !error.to_string().contains("5678"));
    });
}

#[test]
fn options_of_the_journal_hold_for_a_shared_one() {
    let cluster = cluster();
    let dir = tempfile::tempdir().unwrap();
    let options = Options { queue: 1, ..options() };
    let (journal, _, _) = open_shared(dir.path(), options, &database(&cluster, "one")).unwrap();
    let again = open_shared(dir.path(), crate::support::options(), &database(&cluster, "two"));
    assert!(matches!(again, Err(OpenError::Locked(_))));
    drop(journal);
}
