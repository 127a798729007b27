//! `placet bench gateway`: one tool call through Placet, beside the tool alone, a bare proxy and the disk's own sync.

use std::{
    fmt::Write as _,
    fs::File,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use clap::{Args, ValueEnum};
use placet_jose::Algorithm;
use placet_json::{Object, Value, object};

use super::{
    cost,
    load::{self, Measured, Requests},
    numbers::{self, Times},
    release::Tool,
    rig,
    subject::{Placet, Plain},
};
use crate::{
    failure::{Failure, OrFail},
    output::{Answer, Format, show, table},
};

/// The bytes of one append of the raw loop: about a decision's record.
const RECORD: usize = 1_000;
/// Calls before a measurement, for each client.
const WARM_UP: usize = 50;

/// Measure one governed call beside what it can't cost less than
///
/// Starts a tool, a bare proxy and a whole server with the essay's policy, and calls them as fast as they answer. The
/// load, the tool and the server share this machine. The bar is the added time at one client, without two syncs.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  placet bench gateway\n  placet bench gateway --data /dev/shm --clients 64 --calls 20000"
)]
pub(crate) struct Gateway {
    /// The disk to measure on: a directory is made in it, and removed at the end
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Clients at once
    #[arg(long, value_delimiter = ',', default_value = "1,16,64", value_name = "N,…")]
    clients: Vec<usize>,
    /// Calls of each measurement
    #[arg(long, default_value_t = 4_000, value_name = "N")]
    calls: usize,
    /// The agent's kind of key
    #[arg(long, value_enum, default_value = "eddsa")]
    key: Kind,
    /// How to print
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// Kinds of agents' keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Ed25519, what `placet connect` makes.
    Eddsa,
    /// ECDSA on P-256.
    Es256,
}

impl Gateway {
    pub(crate) fn run(self) -> Result<Answer, Failure> {
        if self.calls == 0 || self.clients.iter().any(|clients| !(1..=1_000).contains(clients)) {
            return Err(Failure::new("nothing to measure")
                .remedy("give `--calls` from 1, `--clients` from 1 to 1000"));
        }
        let parent = self.data.clone().unwrap_or_else(std::env::temp_dir);
        let dir = tempfile::Builder::new()
            .prefix("placet-bench-")
            .tempdir_in(&parent)
            .or_fail(format_args!("can't make a directory in `{}`", parent.display()))?;
        let load_before = cost::load_average();
        let stub = rig::stub()?;
        let proxy = rig::proxy(stub.address)?;
        let sync = syncs(dir.path())?;
        let algorithm = match self.key {
            Kind::Eddsa => Algorithm::EdDsa,
            Kind::Es256 => Algorithm::Es256,
        };
        let mut placet = Placet::start(dir.path(), &stub, algorithm)?;
        let mut rows = Vec::new();
        for &clients in &self.clients {
            for tool in [Tool::Read, Tool::Write] {
                if tool == Tool::Read {
                    let plain = [("direct", &stub), ("bare proxy", &proxy)];
                    for (name, part) in plain {
                        rows.push(self.measure(name, &mut Plain::new(part, tool), clients)?);
                    }
                }
                placet.tool = tool;
                rows.push(self.measure(&format!("placet, {}", tool.word()), &mut placet, clients)?);
            }
        }
        let memory = |name: &str| cost::memory_kb(placet.process(), name).map_or(Value::Null, Value::from);
        let server = object! {
            "ready_ms" => numbers::json(numbers::millis(placet.ready)),
            "rss_kb" => memory("VmRSS"), "peak_rss_kb" => memory("VmHWM"),
        };
        let (processor, cores) = cost::machine();
        let machine = object! {
            "processor" => processor, "cores" => u64::try_from(cores).unwrap_or(u64::MAX),
            "load_average" => load_before, "disk" => parent.display().to_string(),
            "build" => if cfg!(debug_assertions) { "debug" } else { "release" },
        };
        let bars = bars(&rows, &sync);
        let document: Value =
            object! { "machine" => machine, "fdatasync" => times(&sync), "runs" => rows, "server" => server, "bars" => bars }
                .into();
        drop(placet);
        show(self.format, &document, told)?;
        Ok(Answer::Yes)
    }

    fn measure(&self, name: &str, requests: &mut dyn Requests, clients: usize) -> Result<Value, Failure> {
        load::run(requests, clients, clients.saturating_mul(WARM_UP).min(self.calls))?;
        let Measured { times, wall, cpu } = load::run(requests, clients, self.calls)?;
        let mut row = self::times(&times);
        row.insert("subject", name);
        row.insert("clients", u64::try_from(clients).unwrap_or(u64::MAX));
        row.insert("calls_per_second", numbers::json(numbers::rate(times.count(), wall)));
        let cpu =
            cpu.map_or(Value::Null, |cpu| numbers::json(numbers::micros(numbers::each(cpu, times.count()))));
        row.insert("cpu_us", cpu);
        Ok(row.into())
    }
}

fn times(times: &Times) -> Object {
    object! {
        "count" => u64::try_from(times.count()).unwrap_or(u64::MAX),
        "p50_ms" => numbers::json(numbers::millis(times.percentile(50))),
        "p99_ms" => numbers::json(numbers::millis(times.percentile(99))),
    }
}

/// Appends of a record into a file of zeros, each made durable: what the disk takes, whoever asks it.
pub(super) fn syncs(dir: &Path) -> Result<Times, Failure> {
    const COUNT: u64 = 500;
    let path = dir.join("raw");
    let what = || format!("can't write `{}`", path.display());
    let file = File::create(&path).or_fail(what())?;
    let step = u64::try_from(RECORD).unwrap_or(u64::MAX);
    let size = RECORD.saturating_mul(usize::try_from(COUNT).unwrap_or(usize::MAX));
    file.write_all_at(&vec![0; size], 0).and_then(|()| file.sync_all()).or_fail(what())?;
    let record = vec![b'x'; RECORD];
    let mut all = Vec::new();
    for number in 0..COUNT {
        let began = Instant::now();
        file.write_all_at(&record, number.saturating_mul(step))
            .and_then(|()| file.sync_data())
            .or_fail(what())?;
        all.push(began.elapsed());
    }
    Ok(Times::of(all))
}

/// What is judged: a call's time at one client without two syncs, and the most calls a second.
fn bars(rows: &[Value], sync: &Times) -> Object {
    let syncs = numbers::millis(sync.percentile(50).saturating_mul(2));
    let number = |row: &Value, name: &str| row.get(name).and_then(|n| n.to_string().parse::<f64>().ok());
    let mut bars = Object::new();
    for tool in [Tool::Read, Tool::Write] {
        let subject = format!("placet, {}", tool.word());
        let own = || rows.iter().filter(|row| row.get("subject").and_then(Value::as_str) == Some(&subject));
        let alone = own().find(|row| row.get("clients").and_then(Value::as_u64) == Some(1));
        if let Some(p50) = alone.and_then(|row| number(row, "p50_ms")) {
            bars.insert(format!("{}_p50_without_two_syncs_ms", tool.word()), numbers::json(p50 - syncs));
        }
        let most = own().filter_map(|row| number(row, "calls_per_second")).fold(0.0, f64::max);
        bars.insert(format!("{}_calls_per_second", tool.word()), numbers::json(most));
    }
    bars
}

fn told(document: &Value) -> String {
    let text = |pointer: &str| {
        document.pointer(pointer).map_or_else(String::new, |value| match value.as_str() {
            Some(text) => text.to_owned(),
            None => value.to_string(),
        })
    };
    let mut out = String::new();
    let mut line = |text: String| {
        // Writing into a `String` can't fail.
        let _infallible = writeln!(out, "{text}");
    };
    line(format!(
        "{} × {}, load average {}, data on {}, {} build; load, tool and server share it",
        text("/machine/cores"),
        text("/machine/processor"),
        text("/machine/load_average"),
        text("/machine/disk"),
        text("/machine/build")
    ));
    line(format!(
        "append of {RECORD} bytes and fdatasync: p50 {} ms, p99 {} ms\n",
        text("/fdatasync/p50_ms"),
        text("/fdatasync/p99_ms")
    ));
    let runs = document.get("runs").and_then(Value::as_array).unwrap_or_default();
    let rows: Vec<Vec<String>> = runs
        .iter()
        .map(|row| {
            let subject = row.get("subject").and_then(Value::as_str).unwrap_or_default().to_owned();
            let cell = |name, places| numbers::cell(row, name, places);
            vec![
                subject,
                cell("clients", 0),
                cell("p50_ms", 3),
                cell("p99_ms", 3),
                cell("calls_per_second", 0),
                cell("cpu_us", 0),
            ]
        })
        .collect();
    line(table(&["SUBJECT", "CLIENTS", "P50 ms", "P99 ms", "CALLS/s", "CPU µs/call"], &rows));
    line(format!(
        "server: ready in {} ms, {} kB resident, {} kB at most",
        text("/server/ready_ms"),
        text("/server/rss_kb"),
        text("/server/peak_rss_kb")
    ));
    for tool in [Tool::Read, Tool::Write] {
        let word = tool.word();
        let added = text(&format!("/bars/{word}_p50_without_two_syncs_ms"));
        if !added.is_empty() {
            line(format!("{word}: p50 at one client without two syncs {added} ms"));
        }
    }
    out
}

/// How long a measurement of single operations goes on.
pub(super) const LONG: Duration = Duration::from_secs(2);
