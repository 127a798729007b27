//! `placet bench revocation`: from the commit of a fact to the first call that is denied because of it.

use std::{
    cell::RefCell,
    fmt::Write as _,
    path::PathBuf,
    rc::Rc,
    sync::mpsc,
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use clap::Args;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::SendRequest;
use placet_core::Timestamp;
use placet_jose::Algorithm;
use placet_json::{Value, object};
use tokio::task::LocalSet;

use super::{
    cost,
    load::{self, Requests},
    numbers::{self, Times},
    release::Tool,
    rig,
    subject::Placet,
};
use crate::{
    admin::{Admin, block_on},
    clock,
    failure::{Failure, OrFail},
    output::{Answer, Format, show, table},
};

/// Calls that run before the fact is changed, for each client.
const BEFORE: usize = 3;
/// Calls of a round, for each client.
const EACH: usize = 12;
/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// What every denial's body holds.
const DENIED: &[u8] = br#""placet":{"#;

/// Measure how soon a revocation denies
///
/// Starts a tool and a whole server, lets many clients call through the gateway, and changes one fact as an
/// administrator would: the person is suspended, the agent is suspended, everything is frozen, in turn. Measured is the
/// time from the request that changes the fact, from its commit (the record's own time, in whole milliseconds, taken
/// before the record is on disk) and from its acknowledgement, to the first denied answer. No call that
/// is sent after the acknowledgement may be permitted; if one is, the exit status is 1.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  placet bench revocation\n  placet bench revocation --clients 50 --rounds 30 --data /dev/shm"
)]
pub(crate) struct Revocation {
    /// The disk to measure on: a directory is made in it, and removed at the end
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Clients that call at once
    #[arg(long, default_value_t = 200, value_name = "N")]
    clients: usize,
    /// Revocations
    #[arg(long, default_value_t = 60, value_name = "N")]
    rounds: usize,
    /// How to print
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// What is changed, and how it is changed back.
struct Fact {
    name: &'static str,
    end: (&'static str, Value),
    back: (&'static str, Value),
}

/// One call's life.
struct Seen {
    sent: Instant,
    answered: Instant,
    denied: bool,
}

/// When the fact was changed.
#[derive(Clone, Copy)]
struct Change {
    asked: Instant,
    acknowledged: Instant,
    committed: SystemTime,
}

/// What a round came to.
struct Round {
    since_asked: Duration,
    since_committed: Duration,
    since_acknowledged: Duration,
    late_permits: usize,
    permits: usize,
    denials: usize,
}

impl Revocation {
    pub(crate) fn run(self) -> Result<Answer, Failure> {
        if !(1..=1_000).contains(&self.clients) || self.rounds == 0 {
            return Err(Failure::new("nothing to measure")
                .remedy("give `--clients` from 1 to 1000, `--rounds` from 1"));
        }
        let parent = self.data.clone().unwrap_or_else(std::env::temp_dir);
        let dir = tempfile::Builder::new()
            .prefix("placet-bench-")
            .tempdir_in(&parent)
            .or_fail(format_args!("can't make a directory in `{}`", parent.display()))?;
        let load_before = cost::load_average();
        let stub = rig::stub()?;
        let mut placet = Placet::start(dir.path(), &stub, Algorithm::EdDsa)?;
        placet.tool = Tool::Read;
        load::run(&mut placet, self.clients, self.clients.saturating_mul(BEFORE))?;
        let facts = facts();
        let mut rounds: Vec<(&str, Round)> = Vec::new();
        for fact in facts.iter().cycle().take(self.rounds) {
            rounds.push((fact.name, self.round(&mut placet, fact)?));
        }
        let rows: Vec<Value> = facts
            .iter()
            .map(|fact| fact.name)
            .chain(["all"])
            .map(|name| {
                row(name, rounds.iter().filter(|(of, _)| name == "all" || *of == name).map(|(_, r)| r))
            })
            .collect();
        let late: usize = rounds.iter().map(|(_, round)| round.late_permits).sum();
        let (processor, cores) = cost::machine();
        let document: Value = object! {
            "machine" => object! {
                "processor" => processor, "cores" => count(cores), "load_average" => load_before,
                "disk" => parent.display().to_string(),
                "build" => if cfg!(debug_assertions) { "debug" } else { "release" },
            },
            "clients" => count(self.clients), "rounds" => count(rounds.len()),
            "revocations" => rows, "permits_of_calls_sent_after_the_acknowledgement" => count(late),
        }
        .into();
        drop(placet);
        show(self.format, &document, told)?;
        Ok(if late == 0 { Answer::Yes } else { Answer::No })
    }

    /// Clients call; in the middle the fact ends; at the end it is back.
    fn round(&self, placet: &mut Placet, fact: &Fact) -> Result<Round, Failure> {
        let operator = placet.operator()?;
        let batch = placet.prepare(self.clients.saturating_mul(EACH))?;
        let expected = placet.expected().to_vec();
        let (began, after) = mpsc::channel();
        let operator = &operator;
        let change = std::thread::scope(|scope| {
            let changing = scope.spawn(move || {
                // As soon as every client has had some answers.
                after.recv_timeout(PATIENCE).or_fail("the clients don't call")?;
                block_on(change(operator, fact))
            });
            let seen = calls(placet.address(), self.clients, batch, &expected, &began)?;
            let change = changing.join().map_err(|_| Failure::new("a thread stopped"))??;
            Ok::<_, Failure>((change, seen))
        });
        let (change, seen) = change?;
        let (path, body) = &fact.back;
        block_on(operator.post(path, body))?;
        let first = seen.iter().filter(|call| call.denied).map(|call| call.answered).min();
        let first = first.ok_or_else(|| {
            Failure::new("every call had been answered before the fact was changed")
                .remedy("give more `--clients`")
        })?;
        Ok(Round {
            since_asked: first.saturating_duration_since(change.asked),
            since_committed: wall(first).duration_since(change.committed).unwrap_or_default(),
            since_acknowledged: first.saturating_duration_since(change.acknowledged),
            late_permits: seen.iter().filter(|call| !call.denied && call.sent > change.acknowledged).count(),
            permits: seen.iter().filter(|call| !call.denied).count(),
            denials: seen.iter().filter(|call| call.denied).count(),
        })
    }
}

/// The revocations, in turn.
fn facts() -> [Fact; 3] {
    let standing = |standing: &str| Value::from(object! { "standing" => standing, "why" => "a measurement" });
    let all = || Value::from(object! { "what" => "all", "why" => "a measurement" });
    [
        Fact {
            name: "person suspended",
            end: ("/v1/humans/maya/standing", standing("suspended")),
            back: ("/v1/humans/maya/standing", standing("active")),
        },
        Fact {
            name: "agent suspended",
            end: ("/v1/agents/agent-7/standing", standing("suspended")),
            back: ("/v1/agents/agent-7/standing", standing("active")),
        },
        Fact { name: "all frozen", end: ("/v1/freezes", all()), back: ("/v1/freezes/end", all()) },
    ]
}

async fn change(operator: &Admin, fact: &Fact) -> Result<Change, Failure> {
    let (path, body) = &fact.end;
    let asked = Instant::now();
    let answer = operator.post(path, body).await?;
    let acknowledged = Instant::now();
    let revision = answer.get("revision").and_then(Value::as_u64).unwrap_or_default();
    let entry =
        operator.get(&format!("/v1/facts/changes?from={}&limit=1", revision.saturating_sub(1))).await?;
    let committed = entry
        .pointer("/changes/0")
        .filter(|entry| entry.get("revision").and_then(Value::as_u64) == Some(revision))
        .and_then(|entry| Timestamp::parse(entry.get("time")?.as_str()?).ok())
        .ok_or_else(|| Failure::new("the change isn't in the feed of changes"))?;
    let committed = SystemTime::UNIX_EPOCH
        .checked_add(Duration::from_millis(committed.millis()))
        .ok_or_else(|| Failure::new("the change has no time"))?;
    Ok(Change { asked, acknowledged, committed })
}

/// A moment by the wall clock, which is the server's, too.
fn wall(moment: Instant) -> SystemTime {
    let since = Duration::from_millis(clock::millis()).saturating_sub(moment.elapsed());
    SystemTime::UNIX_EPOCH.checked_add(since).unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Each client calls until nothing is left to send; `began` hears when a third of it was answered.
fn calls(
    address: &str,
    clients: usize,
    batch: Vec<Request<Full<Bytes>>>,
    expected: &[u8],
    began: &mpsc::Sender<()>,
) -> Result<Vec<Seen>, Failure> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().or_fail("can't start")?;
    let local = LocalSet::new();
    local.block_on(&runtime, async {
        let third = batch.len() / 3;
        let queue = Rc::new(RefCell::new(batch.into_iter()));
        let all = Rc::new(RefCell::new(Vec::new()));
        let mut workers = Vec::with_capacity(clients);
        for _ in 0..clients {
            let sender = load::connect(address).await?;
            let (queue, all, began) = (Rc::clone(&queue), Rc::clone(&all), began.clone());
            let expected: Rc<[u8]> = expected.into();
            workers.push(tokio::task::spawn_local(async move {
                let mut sender = sender;
                loop {
                    let next = queue.borrow_mut().next();
                    let Some(request) = next else { return Ok::<_, Failure>(()) };
                    let call = one(&mut sender, request, &expected).await?;
                    let mut all = all.borrow_mut();
                    all.push(call);
                    if all.len() == third {
                        // Nobody listens any more if that side has failed, and then it says why.
                        let _unheard = began.send(());
                    }
                }
            }));
        }
        for worker in workers {
            worker.await.or_fail("a client stopped")??;
        }
        Ok(all.take())
    })
}

async fn one(
    sender: &mut SendRequest<Full<Bytes>>,
    request: Request<Full<Bytes>>,
    expected: &[u8],
) -> Result<Seen, Failure> {
    sender.ready().await.or_fail("a connection ended")?;
    let sent = Instant::now();
    let exchange = async {
        let response = sender.send_request(request).await.or_fail("a request failed")?;
        Ok::<_, Failure>(response.into_body().collect().await.or_fail("an answer broke off")?.to_bytes())
    };
    let body = tokio::time::timeout(PATIENCE, exchange).await.or_fail("no answer came")??;
    let answered = Instant::now();
    let holds = |part: &[u8]| body.windows(part.len()).any(|here| here == part);
    // A call that was permitted and then caught by the re-check is answered as one that was not sent.
    let denied = holds(DENIED) || holds(b"nothing was sent");
    if !denied && !holds(expected) {
        let text: String = String::from_utf8_lossy(&body).chars().take(400).collect();
        return Err(Failure::new(format!("a wrong answer came: {text}")));
    }
    Ok(Seen { sent, answered, denied })
}

fn row<'a>(name: &str, rounds: impl Iterator<Item = &'a Round>) -> Value {
    let rounds: Vec<_> = rounds.collect();
    let asked = Times::of(rounds.iter().map(|round| round.since_asked).collect());
    let committed = Times::of(rounds.iter().map(|round| round.since_committed).collect());
    let acknowledged = Times::of(rounds.iter().map(|round| round.since_acknowledged).collect());
    let ms = |times: &Times, percent| numbers::json(numbers::millis(times.percentile(percent)));
    let sum = |of: fn(&Round) -> usize| count(rounds.iter().map(|round| of(round)).sum());
    object! {
        "fact" => name, "rounds" => count(rounds.len()),
        "asked_p50_ms" => ms(&asked, 50), "asked_p99_ms" => ms(&asked, 99), "asked_max_ms" => ms(&asked, 100),
        "committed_p50_ms" => ms(&committed, 50), "committed_p99_ms" => ms(&committed, 99),
        "acknowledged_p50_ms" => ms(&acknowledged, 50), "acknowledged_p99_ms" => ms(&acknowledged, 99),
        "permits" => sum(|round| round.permits), "denials" => sum(|round| round.denials),
        "late_permits" => sum(|round| round.late_permits),
    }
    .into()
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

fn told(document: &Value) -> String {
    let text = |pointer: &str| {
        document.pointer(pointer).map_or_else(String::new, |value| match value.as_str() {
            Some(text) => text.to_owned(),
            None => value.to_string(),
        })
    };
    let mut out = String::new();
    let rows: Vec<Vec<String>> = document
        .get("revocations")
        .and_then(Value::as_array)
        .unwrap_or_default()
        .iter()
        .map(|row| {
            let cell = |name, places| numbers::cell(row, name, places);
            vec![
                row.get("fact").and_then(Value::as_str).unwrap_or_default().to_owned(),
                cell("rounds", 0),
                cell("asked_p50_ms", 2),
                cell("asked_p99_ms", 2),
                cell("asked_max_ms", 2),
                cell("committed_p50_ms", 1),
                cell("committed_p99_ms", 1),
                cell("acknowledged_p50_ms", 2),
                cell("acknowledged_p99_ms", 2),
                cell("late_permits", 0),
            ]
        })
        .collect();
    // Writing into a `String` can't fail.
    let _infallible = write!(
        out,
        "{} × {}, load average {}, data on {}, {} build; {} clients, tool and server share it\n\n{}\n\
         Times to the first denied answer, since the change was asked for, committed and acknowledged. LATE: calls that\n\
         were sent after the acknowledgement and permitted.\n",
        text("/machine/cores"),
        text("/machine/processor"),
        text("/machine/load_average"),
        text("/machine/disk"),
        text("/machine/build"),
        text("/clients"),
        table(
            &[
                "FACT",
                "ROUNDS",
                "ASKED P50 ms",
                "P99",
                "MAX",
                "COMMIT P50 ms",
                "P99",
                "ACK P50 ms",
                "P99",
                "LATE"
            ],
            &rows
        ),
    );
    out
}
