//! Durable appends by 1, 16 and 64 waiters beside a raw write and `fdatasync` of the same bytes on the same disk, and
//! how fast a journal is replayed and verified. `cargo bench -p placet-store --bench append`
#![expect(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "a bench that can't go on ends")]

use std::error::Error;
use std::fs::File;
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use placet_ledger::checkpoint::SigningKey;
use placet_ledger::frame::{Frame, FrameError};
use placet_store::{At, Fold, FrameSink, Journal, Notary, Options, Receipt, verify};

const RECORD: usize = 1000;
const REPLAYED: u64 = 100_000;

struct Plain;

impl Fold for Plain {
    type Entry = Arc<[u8]>;
    type Refusal = FrameError;
    type Token = ();

    fn replay(&mut self, frame: &Frame<'_>) -> Result<(), Box<dyn Error + Send + Sync>> {
        black_box(frame);
        Ok(())
    }

    fn admit(&mut self, _: At, entry: Arc<[u8]>, out: &mut FrameSink<'_>) -> Result<(), FrameError> {
        out.push("acme", 1, &entry).map(|_| ())
    }

    fn committed(&mut self, _: &Receipt, (): ()) {}
}

fn open(dir: &Path) -> Journal<Plain> {
    let key = Arc::new(SigningKey::from_seed(&[1; 32]).unwrap());
    let notary = Notary { organisation: "bench".into(), key, every: Duration::from_secs(1) };
    Journal::open(dir, Options::new(|| 1, notary), Plain).unwrap().0
}

fn append(c: &mut Criterion) {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let journal = open(dir.path());
    let record: Arc<[u8]> = vec![b'x'; RECORD].into();
    let mut group = c.benchmark_group("append");
    group.throughput(Throughput::Elements(1)).sample_size(20).measurement_time(Duration::from_secs(4));
    for waiters in [1_usize, 16, 64] {
        group.bench_function(format!("raw-fdatasync-of-{waiters}"), |b| {
            let file = zeros(&dir.path().join("raw"));
            let bytes = vec![b'x'; (RECORD + 80) * waiters];
            let mut at = 0;
            // One sync of so many records; the time is a record's share.
            b.iter_custom(|count| {
                let began = Instant::now();
                for _ in 0..count.div_ceil(waiters as u64) {
                    file.write_all_at(&bytes, at).unwrap();
                    file.sync_data().unwrap();
                    at = (at + bytes.len() as u64) % (15 << 20);
                }
                began.elapsed()
            });
        });
        group.bench_function(format!("durable-{waiters}-waiters"), |b| {
            b.iter_custom(|count| {
                let each = count.div_ceil(waiters as u64);
                let began = Instant::now();
                std::thread::scope(|scope| {
                    for _ in 0..waiters {
                        scope.spawn(|| {
                            for _ in 0..each {
                                journal.durable(Arc::clone(&record)).wait().unwrap();
                            }
                        });
                    }
                });
                began.elapsed()
            });
        });
    }
    group.finish();
}

fn replay(c: &mut Criterion) {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let record: Arc<[u8]> = vec![b'x'; RECORD].into();
    let journal = open(dir.path());
    let mut waiting = std::collections::VecDeque::new();
    for _ in 0..REPLAYED {
        waiting.push_back(journal.durable(Arc::clone(&record)));
        if waiting.len() > 2000 {
            waiting.pop_front().unwrap().wait().unwrap();
        }
    }
    for ticket in waiting {
        ticket.wait().unwrap();
    }
    drop(journal);
    let key = SigningKey::from_seed(&[1; 32]).unwrap().public();
    let mut group = c.benchmark_group("read");
    group.throughput(Throughput::Elements(REPLAYED)).sample_size(10).measurement_time(Duration::from_secs(5));
    group.bench_function("open-and-replay", |b| b.iter(|| open(dir.path())));
    group.bench_function("verify", |b| b.iter(|| verify(dir.path(), "bench", key)));
    group.finish();
}

fn zeros(path: &Path) -> File {
    let file = File::create(path).unwrap();
    file.write_all_at(&vec![0; 16 << 20], 0).unwrap();
    file.sync_all().unwrap();
    file
}

criterion_group!(benches, append, replay);
criterion_main!(benches);
