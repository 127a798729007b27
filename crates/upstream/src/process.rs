//! One process that speaks MCP on its standard streams; requests of one tenant and credential share it, each with an id
//! of its own.

mod reader;

use std::collections::HashMap;
use std::io;
use std::process::Stdio as Pipe;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use placet_core::Name;
use placet_json::Object;
use placet_mcp::RpcError;
use secrecy::{ExposeSecret, SecretString};
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::{Instant, timeout};

use self::reader::{Reader, log};
use crate::config::Stdio;
use crate::scan::Scanner;
use crate::sync::Stale;
use crate::wire::{self, Notice};
use crate::{UpstreamError, config::Bounds};

/// How long a process may take to end by itself once its input is closed.
const GRACE: Duration = Duration::from_secs(2);
/// Notifications that wait for a call to take them; more are dropped.
const NOTICES: usize = 64;

const QUEUED: u8 = 0;
const WRITING: u8 = 1;
const TAKEN_BACK: u8 = 2;

/// A running process. Dropping the last handle ends it.
pub(crate) struct Process {
    name: Name,
    lines: mpsc::Sender<Line>,
    table: Arc<Mutex<Table>>,
    calls: Arc<Semaphore>,
    ids: AtomicU64,
    pub(crate) born: Instant,
    _alive: oneshot::Sender<()>,
}

struct Line {
    bytes: Vec<u8>,
    state: Arc<Written>,
}

/// How far a line has got.
#[derive(Default)]
pub(crate) struct Written {
    state: AtomicU8,
    bytes: AtomicU64,
}

#[derive(Default)]
struct Table {
    waiting: HashMap<u64, Waiting>,
    gone: bool,
}

struct Waiting {
    answer: oneshot::Sender<Answered>,
    notices: mpsc::Sender<Notice>,
}

/// An answer and its line.
pub(crate) struct Answered {
    pub(crate) answer: Option<Result<Object, RpcError>>,
    pub(crate) raw: Vec<u8>,
}

/// Room for one request.
pub(crate) struct Slot {
    pub(crate) id: u64,
    pub(crate) written: Arc<Written>,
    process: Arc<Process>,
    room: Option<mpsc::OwnedPermit<Line>>,
    answer: oneshot::Receiver<Answered>,
    notices: mpsc::Receiver<Notice>,
    over: bool,
    _call: OwnedSemaphorePermit,
}

/// What comes next for a request.
pub(crate) enum Step {
    Notice(Notice),
    Answer(Answered),
    /// The process ended.
    Gone,
}

/// Kills whatever the process started, too.
struct Group(Option<Pid>);

impl Written {
    /// Bytes of the line that were written. Once writing has begun it is never 0, since 0 promises that nothing will be.
    pub(crate) fn bytes(&self) -> u64 {
        let least = u64::from(self.state.load(Ordering::Acquire) == WRITING);
        self.bytes.load(Ordering::Acquire).max(least)
    }
}

impl Process {
    /// Starts it. It gets the environment that the settings name and nothing of ours.
    pub(crate) fn start(
        name: &Name,
        stdio: &Stdio,
        bounds: &Bounds,
        stale: Arc<Stale>,
    ) -> Result<Arc<Self>, UpstreamError> {
        let (program, arguments) = stdio.command.split_first().ok_or_else(|| UpstreamError::Config {
            upstream: name.to_string(),
            problem: "`command` is empty".to_owned(),
        })?;
        let mut command = Command::new(program);
        command.args(arguments).env_clear().kill_on_drop(true).process_group(0);
        command.envs(stdio.env.iter().map(|(name, value)| (name, value.expose_secret())));
        command.stdin(Pipe::piped()).stdout(Pipe::piped()).stderr(Pipe::piped());
        if let Some(cwd) = &stdio.cwd {
            command.current_dir(cwd);
        }
        let mut child = command.spawn()?;
        let group = Group(child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw));
        let (Some(input), Some(output), Some(log_output)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(io::Error::other("the process has no standard streams").into());
        };
        let calls = bounds.calls.clamp(1, Semaphore::MAX_PERMITS);
        // A line for each call, one to cancel it, and some for questions that are refused.
        let (lines, queue) = mpsc::channel(calls.saturating_mul(2).saturating_add(16));
        let (alive, ending) = oneshot::channel();
        let table = Arc::new(Mutex::new(Table::default()));
        let reader = Reader {
            name: name.clone(),
            table: Arc::clone(&table),
            replies: lines.downgrade(),
            stale,
            limits: wire::limits(bounds.answer),
        };
        let secrets: Vec<SecretString> = stdio.env.iter().map(|(_, value)| value.clone()).collect();
        tokio::spawn(log(name.clone(), log_output, Scanner::new(&secrets, &[])));
        tokio::spawn(supervise(child, group, write(input, queue), reader, output, ending));
        Ok(Arc::new(Self {
            name: name.clone(),
            lines,
            table,
            calls: Arc::new(Semaphore::new(calls)),
            ids: AtomicU64::new(1),
            born: Instant::now(),
            _alive: alive,
        }))
    }

    pub(crate) fn is_gone(&self) -> bool {
        lock(&self.table).gone
    }

    /// Room for a request; nothing is sent yet.
    pub(crate) async fn slot(self: &Arc<Self>, wait: Duration) -> Result<Slot, UpstreamError> {
        let ended = || UpstreamError::Io(io::ErrorKind::BrokenPipe.into());
        let room = timeout(wait, async {
            let call = Arc::clone(&self.calls).acquire_owned().await.map_err(|_| ended())?;
            let room = self.lines.clone().reserve_owned().await.map_err(|_| ended())?;
            Ok::<_, UpstreamError>((call, room))
        });
        let (call, room) = room.await.map_err(|_| UpstreamError::Busy("calls of one process"))??;
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        let (answer, receiver) = oneshot::channel();
        let (notices, news) = mpsc::channel(NOTICES);
        {
            let mut table = lock(&self.table);
            if table.gone {
                return Err(ended());
            }
            table.waiting.insert(id, Waiting { answer, notices });
        }
        Ok(Slot {
            id,
            written: Arc::default(),
            process: Arc::clone(self),
            room: Some(room),
            answer: receiver,
            notices: news,
            over: false,
            _call: call,
        })
    }

    /// Sends a line that wants no answer.
    pub(crate) async fn tell(&self, mut bytes: Vec<u8>) -> Result<(), UpstreamError> {
        bytes.push(b'\n');
        let line = Line { bytes, state: Arc::default() };
        self.lines.send(line).await.map_err(|_| UpstreamError::Io(io::ErrorKind::BrokenPipe.into()))
    }

    /// Sends a request of our own, and waits for its answer; `None` if the process ended.
    pub(crate) async fn ask(
        self: &Arc<Self>,
        wait: Duration,
        body: impl FnOnce(u64) -> Vec<u8>,
    ) -> Result<Option<Answered>, UpstreamError> {
        let asked = async {
            let mut slot = self.slot(wait).await?;
            let body = body(slot.id);
            slot.send(body);
            loop {
                match slot.next().await {
                    Step::Notice(_) => {}
                    Step::Answer(answered) => return Ok(Some(answered)),
                    Step::Gone => return Ok(None),
                }
            }
        };
        timeout(wait, asked).await.map_err(|_| UpstreamError::Timeout("a handshake"))?
    }
}

impl Slot {
    /// Hands the line to the process. Only the first one counts.
    pub(crate) fn send(&mut self, mut bytes: Vec<u8>) {
        if let Some(room) = self.room.take() {
            bytes.push(b'\n');
            room.send(Line { bytes, state: Arc::clone(&self.written) });
        }
    }

    /// What comes next; notifications come before the answer that followed them.
    pub(crate) async fn next(&mut self) -> Step {
        if self.over {
            return Step::Gone;
        }
        let step = tokio::select! {
            biased;
            Some(notice) = self.notices.recv() => return Step::Notice(notice),
            answered = &mut self.answer => answered.map_or(Step::Gone, Step::Answer),
        };
        self.over = true;
        step
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        lock(&self.process.table).waiting.remove(&self.id);
        if self.over || self.room.is_some() {
            return;
        }
        let state = &self.written.state;
        if state.compare_exchange(QUEUED, TAKEN_BACK, Ordering::AcqRel, Ordering::Acquire).is_err() {
            let mut bytes = wire::cancelled(self.id);
            bytes.push(b'\n');
            if self.process.lines.try_send(Line { bytes, state: Arc::default() }).is_err() {
                tracing::debug!(upstream = %self.process.name, "no room for a cancellation");
            }
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0
            && killpg(group, Signal::SIGKILL).is_ok()
        {
            tracing::debug!(%group, "killed a process group");
        }
    }
}

fn lock(table: &Mutex<Table>) -> MutexGuard<'_, Table> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a process until it ends or nobody needs it any more.
async fn supervise(
    mut child: Child,
    group: Group,
    writing: impl Future<Output = ()>,
    mut reader: Reader,
    stdout: ChildStdout,
    ending: oneshot::Receiver<()>,
) {
    let table = Arc::clone(&reader.table);
    tokio::select! {
        () = writing => {}
        () = reader.run(stdout) => {}
        _ = ending => {}
    }
    // Its input is closed now. Nobody gets an answer any more.
    {
        let mut table = lock(&table);
        table.gone = true;
        table.waiting.clear();
    }
    let status = timeout(GRACE, child.wait()).await.ok().and_then(Result::ok);
    tracing::debug!(upstream = %reader.name, ?status, "a process ended, or is ended now");
    drop(group);
}

async fn write(mut stdin: ChildStdin, mut queue: mpsc::Receiver<Line>) {
    while let Some(Line { bytes, state }) = queue.recv().await {
        if state.state.compare_exchange(QUEUED, WRITING, Ordering::AcqRel, Ordering::Acquire).is_err() {
            continue;
        }
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            match stdin.write(rest).await {
                Ok(0) | Err(_) => return,
                Ok(written) => {
                    state.bytes.fetch_add(u64::try_from(written).unwrap_or(u64::MAX), Ordering::AcqRel);
                    rest = rest.get(written..).unwrap_or_default();
                }
            }
        }
        if stdin.flush().await.is_err() {
            return;
        }
    }
}
