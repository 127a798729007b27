//! Old segments go to the archive, as `[retention]` says, while the server is at work.

use std::{sync::Arc, time::Duration};

use placet_audit::{Holds, Retention, WINDOW};
use placet_gateway::Ledger;
use placet_record::Kind;
use placet_store::{Archive, Filter};
use tokio::sync::watch;

use crate::{
    books::Books as _,
    ledger::LedgerBooks,
    metrics::Metrics,
    run::StartError,
    settings::{self, Settings, Variables},
};

/// Acts that are looked up at once.
const PAGE: u32 = 10_000;

/// The archive of the settings.
pub(crate) fn archive(settings: &Settings, variables: Variables<'_>) -> Result<Option<Archive>, StartError> {
    let Some(location) = &settings.retention.archive else { return Ok(None) };
    if settings.journal.postgres.is_some() {
        return Err(StartError::Archive(
            "a journal in a database is kept there as a whole; leave `archive` out with `journal.postgres`"
                .to_owned(),
        ));
    }
    Archive::open(location, variables).map(Some).map_err(|error| StartError::Archive(error.to_string()))
}

/// Looks what may go, again and again, until `stopped` says so. What the archive doesn't take stays, and is tried again.
pub(crate) async fn work(
    settings: settings::Retention,
    ledger: Ledger,
    books: Arc<LedgerBooks>,
    metrics: Arc<Metrics>,
    mut stopped: watch::Receiver<bool>,
) {
    let retention = Arc::new(Retention { days: settings.days, tenants: settings.tenants });
    let work = async {
        loop {
            let (ledger, books, retention) = (ledger.clone(), Arc::clone(&books), Arc::clone(&retention));
            let done = tokio::task::spawn_blocking(move || once(&ledger, &books, &retention)).await;
            match done.unwrap_or_else(|_| Err("the archiving broke off".to_owned())) {
                Ok(archived) => {
                    metrics.gauge("ledger_archived_records", archived);
                    metrics.gauge("ledger_archive_failing", 0);
                }
                Err(error) => {
                    metrics.gauge("ledger_archive_failing", 1);
                    tracing::error!(error, "old segments couldn't be archived, and stay here");
                }
            }
            tokio::time::sleep(Duration::from_millis(settings.every_ms)).await;
        }
    };
    tokio::select! {
        () = work => {}
        _ = stopped.wait_for(|stopped| *stopped) => {}
    }
}

/// The holds in force: what archived acts left behind, and the acts that are here.
pub(crate) fn holds(books: &LedgerBooks) -> Result<Holds, String> {
    let manifest = books.ledger.reader().manifest().map_err(|error| error.to_string())?;
    let mut holds = Holds::default();
    manifest.iter().flat_map(|manifest| &manifest.marks).for_each(|mark| holds.mark(mark));
    let base = manifest.map_or(1, |manifest| manifest.base);
    let (mut acts, mut below) = (Vec::new(), None);
    loop {
        let filter = Filter { kinds: vec![Kind::Act.tag()], below, limit: Some(PAGE), ..Filter::default() };
        let page = books.search(&filter)?;
        acts.extend(page.iter().map(|found| found.sequence).take_while(|at| *at >= base));
        below = page.last().map(|last| last.sequence).filter(|last| *last > base);
        if below.is_none() {
            break;
        }
    }
    for at in acts.into_iter().rev() {
        let record = books.ledger.reader().get(at).map_err(|error| error.to_string())?;
        let record = record.ok_or_else(|| format!("record {at} is missing"))?;
        holds.record(at, &record.tree, record.kind, &record.payload);
    }
    Ok(holds)
}

/// Archives what may go; answers how many records are in the archive now.
fn once(ledger: &Ledger, books: &LedgerBooks, retention: &Retention) -> Result<u64, String> {
    let (holds, now) = (books.holds()?, ledger.now().millis());
    let goes = |candidate: &placet_store::Candidate| retention.lets_go(candidate, &holds, now);
    let Some(shelved) = ledger.shelve(WINDOW, goes, placet_audit::mark) else { return Ok(0) };
    let shelved = shelved.map_err(|error| error.to_string())?;
    for segment in &shelved.moved {
        tracing::info!(
            first = segment.first,
            last = segment.last,
            name = segment.name(),
            "a segment was archived"
        );
    }
    Ok(shelved.base.saturating_sub(1))
}
