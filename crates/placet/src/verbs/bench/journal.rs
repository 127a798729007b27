//! `placet bench journal`: durable appends beside the disk's own sync.

use std::{
    error::Error,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use clap::Args;
use placet_json::{Value, object};
use placet_ledger::{
    checkpoint::SigningKey,
    frame::{Frame, FrameError},
};
use placet_store::{At, Commons, Fold, FrameSink, Notary, Options, Postgres, Receipt};

use super::{
    gateway::syncs,
    numbers::{self, Times},
};
use crate::{
    clock,
    failure::{Failure, OrFail},
    output::{Answer, Format, show, table},
};

/// Measure durable appends to a journal
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  placet bench journal --data /var/lib/placet --waiters 1,16,64")]
pub(crate) struct Journal {
    /// The disk to measure on: a directory is made in it, and removed at the end
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Measure on this database as well: a journal that one gateway writes, and one that two share. It must hold no
    /// journal yet
    #[arg(long, env = "PLACET_POSTGRES", hide_env_values = true, value_name = "URL")]
    postgres: Option<String>,
    /// Threads that wait at once
    #[arg(long, value_delimiter = ',', default_value = "1,16,64", value_name = "N,…")]
    waiters: Vec<usize>,
    /// Appends of each measurement
    #[arg(long, default_value_t = 4_000, value_name = "N")]
    appends: usize,
    /// How to print
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// Entries that are bytes and change nothing.
#[derive(Clone)]
struct Plain;

impl Fold for Plain {
    type Entry = Arc<[u8]>;
    type Refusal = FrameError;
    type Token = ();

    fn replay(&mut self, _frame: &Frame<'_>) -> Result<(), Box<dyn Error + Send + Sync>> {
        Ok(())
    }
    fn admit(&mut self, _at: At, entry: Arc<[u8]>, out: &mut FrameSink<'_>) -> Result<(), FrameError> {
        out.push("acme", 1, &entry).map(|_written| ())
    }
    fn committed(&mut self, _receipt: &Receipt, (): ()) {}
}

impl Journal {
    pub(crate) fn run(self) -> Result<Answer, Failure> {
        let parent = self.data.clone().unwrap_or_else(std::env::temp_dir);
        let dir = tempfile::Builder::new()
            .prefix("placet-bench-")
            .tempdir_in(&parent)
            .or_fail(format_args!("can't make a directory in `{}`", parent.display()))?;
        let sync = syncs(dir.path())?;
        let seed = std::array::from_fn(|_| 1);
        let key = Arc::new(SigningKey::from_seed(&seed).or_fail("can't make a key")?);
        let notary = Notary { organisation: "bench".into(), key, every: Duration::from_secs(1) };
        let options = || Options::new(clock::millis, notary.clone());
        let (journal, _) = placet_store::Journal::open(&dir.path().join("journal"), options(), Plain)
            .or_fail("can't open a journal")?;
        let mut rows = vec![row("raw append and fdatasync", 1, &sync, Duration::ZERO)];
        self.measure("durable append", &[journal], &mut rows)?;
        if let Some(url) = &self.postgres {
            let gateway = |name: &str| {
                let database = Postgres::new(url, name, None, true).or_fail("can't use the database")?;
                let commons = Commons::open(database).or_fail("can't use the database")?;
                placet_store::Journal::open_shared(&dir.path().join(name), options(), &commons, Plain)
                    .or_fail("can't open the shared journal")
            };
            let (one, found) = gateway("one")?;
            if found.records > 0 {
                return Err(Failure::new("the database holds a journal").remedy("name an empty one"));
            }
            self.measure("shared, one gateway", std::slice::from_ref(&one), &mut rows)?;
            let (two, _) = gateway("two")?;
            self.measure("shared, two gateways", &[one, two], &mut rows)?;
        }
        show(self.format, &object! { "appends" => rows, "bytes" => 1_000_u64 }.into(), told)?;
        Ok(Answer::Yes)
    }

    /// Appends by every number of waiters, who take turns at the journals.
    fn measure(
        &self,
        what: &str,
        journals: &[placet_store::Journal<Plain>],
        rows: &mut Vec<Value>,
    ) -> Result<(), Failure> {
        let record: Arc<[u8]> = vec![b'x'; 1_000].into();
        for &waiters in &self.waiters {
            let share = self.appends.div_ceil(waiters.max(1));
            let began = Instant::now();
            let all = std::thread::scope(|scope| {
                let threads: Vec<_> = journals
                    .iter()
                    .cycle()
                    .take(waiters)
                    .map(|journal| {
                        let record = &record;
                        scope.spawn(move || {
                            let mut times = Vec::with_capacity(share);
                            for _ in 0..share {
                                let start = Instant::now();
                                journal.durable(Arc::clone(record)).wait().or_fail("an append failed")?;
                                times.push(start.elapsed());
                            }
                            Ok::<_, Failure>(times)
                        })
                    })
                    .collect();
                let mut all = Vec::new();
                for thread in threads {
                    all.append(&mut thread.join().map_err(|_| Failure::new("a thread stopped"))??);
                }
                Ok::<_, Failure>(all)
            })?;
            rows.push(row(what, waiters, &Times::of(all), began.elapsed()));
        }
        Ok(())
    }
}

fn row(what: &str, waiters: usize, times: &Times, wall: Duration) -> Value {
    let mut row = object! {
        "what" => what, "waiters" => u64::try_from(waiters).unwrap_or(u64::MAX),
        "p50_ms" => numbers::json(numbers::millis(times.percentile(50))),
        "p99_ms" => numbers::json(numbers::millis(times.percentile(99))),
    };
    if !wall.is_zero() {
        row.insert("appends_per_second", numbers::json(numbers::rate(times.count(), wall)));
    }
    row.into()
}

fn told(document: &Value) -> String {
    let rows = document.get("appends").and_then(Value::as_array).unwrap_or_default();
    let rows: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let cell = |name, places| numbers::cell(row, name, places);
            let what = row.get("what").and_then(Value::as_str).unwrap_or_default().to_owned();
            vec![
                what,
                cell("waiters", 0),
                cell("p50_ms", 3),
                cell("p99_ms", 3),
                cell("appends_per_second", 0),
            ]
        })
        .collect();
    table(&["APPENDS OF 1000 BYTES", "WAITERS", "P50 ms", "P99 ms", "A SECOND"], &rows)
}
