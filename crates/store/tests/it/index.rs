//! The search index follows the journal and can be made again from it.

use placet_store::{Filter, Projection, ProjectionError, Reader, Record, Row};

use crate::support::{entry, open};

fn extract(record: &Record) -> Row {
    let text = String::from_utf8_lossy(&record.payload);
    let n: u64 = text.split(' ').next().unwrap().parse().unwrap();
    Row {
        human: Some("maya".into()),
        agent: Some(format!("agent-{}", n % 5)),
        decision: Some(if n.is_multiple_of(2) { "permit" } else { "deny" }.into()),
        reason: (n % 2 == 1).then(|| "condition_failed".into()),
        decision_id: Some(format!("dec-{n}")),
        ..Row::default()
    }
}

#[test]
fn the_index_follows_and_finds() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _, _) = open(dir.path()).unwrap();
    let reader = journal.reader();
    let mut index = Projection::open(dir.path()).unwrap();
    assert_eq!(index.catch_up(&reader, extract).unwrap(), 0);
    for n in 0..100 {
        let tree = if n < 50 { "acme" } else { "other" };
        let ticket = journal.durable(entry(n.to_string(), tree, 30));
        if n % 7 == 0 {
            ticket.wait().unwrap();
            index.catch_up(&reader, extract).unwrap();
        }
    }
    assert!(futures::executor::block_on(journal.flush()));
    index.catch_up(&reader, extract).unwrap();
    assert_eq!(index.last().unwrap(), 100);
    assert_eq!(index.catch_up(&reader, extract).unwrap(), 0);

    let filter = Filter {
        tree: Some("other".into()),
        row: Row { agent: Some("agent-3".into()), decision: Some("permit".into()), ..Row::default() },
        ..Filter::default()
    };
    let found = index.search(&filter).unwrap();
    let ids: Vec<_> = found.iter().map(|found| found.row.decision_id.clone().unwrap()).collect();
    assert_eq!(ids, ["dec-98", "dec-88", "dec-78", "dec-68", "dec-58"]);
    assert_eq!((found[0].sequence, found[0].leaf, found[0].kind), (99, 48, 7));
    let page = Filter { below: Some(found[1].sequence), limit: Some(2), ..filter.clone() };
    assert_eq!(index.search(&page).unwrap(), found[2..4]);
    let never = Filter { from_ms: Some(1_700_000_000_001), ..filter.clone() };
    assert_eq!(index.search(&never).unwrap(), []);
    let none = Filter { kinds: vec![1, 2], ..filter.clone() };
    assert_eq!(index.search(&none).unwrap(), []);
    let quoted =
        Filter { row: Row { agent: Some("' OR 1=1 --".into()), ..Row::default() }, ..Filter::default() };
    assert_eq!(index.search(&quoted).unwrap(), []);

    // Again from nothing: the same.
    let all = index.search(&Filter { limit: Some(1000), ..Filter::default() }).unwrap();
    assert_eq!(all.len(), 100);
    assert_eq!(index.rebuild(&reader, extract).unwrap(), 100);
    assert_eq!(index.search(&Filter { limit: Some(1000), ..Filter::default() }).unwrap(), all);
}

#[test]
fn an_index_of_another_journal_is_refused() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for (dir, count) in [(&dir, 5), (&other, 9)] {
        let (journal, _, _) = open(dir.path()).unwrap();
        for n in 0..count {
            journal.durable(entry(n.to_string(), "acme", 30)).wait().unwrap();
        }
    }
    let mut index = Projection::open(dir.path()).unwrap();
    index.catch_up(&Reader::open(dir.path()).unwrap(), extract).unwrap();
    let reader = Reader::open(other.path()).unwrap();
    assert!(matches!(index.catch_up(&reader, extract), Err(ProjectionError::Foreign)));
    assert_eq!(index.rebuild(&reader, extract).unwrap(), 9);
}
