//! An upstream that is a process: one for each tenant and credential, started when needed, again when it ended, and
//! ended when it rests.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use placet_core::Name;
use placet_json::Object;
use placet_mcp::discover::{self, Discovered, StdioAnswer};
use placet_mcp::legacy::{self, Initialized};
use placet_mcp::logging::LogLevel;
use placet_mcp::{Era, Message, Method, translate};
use tokio::time::Instant;

use crate::config::{Bounds, Config, Stdio, Timeouts};
use crate::era::{Known, offers_only_legacy};
use crate::process::Process;
use crate::sync::Stale;
use crate::{Partition, UpstreamError, wire};

/// A process that ended sooner than this crashed: the next start waits.
const STABLE: Duration = Duration::from_secs(10);
/// The first wait, doubled with each crash.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// Doublings at most: the longest wait is 25.6 s.
const MOST_DOUBLINGS: u32 = 8;

/// An upstream that is a process.
pub(crate) struct StdioUpstream {
    name: Name,
    stdio: Stdio,
    era: Known,
    pub(crate) timeouts: Timeouts,
    pub(crate) bounds: Bounds,
    all: Mutex<HashMap<Partition, Arc<Berth>>>,
    stale: Arc<Stale>,
}

struct Berth {
    /// Held while a process is started, so that one is.
    runs: tokio::sync::Mutex<Runs>,
    used: Mutex<Instant>,
}

#[derive(Default)]
struct Runs {
    live: Option<Running>,
    crashes: u32,
    not_before: Option<Instant>,
}

/// A process after its handshake.
#[derive(Clone)]
pub(crate) struct Running {
    pub(crate) process: Arc<Process>,
    pub(crate) era: Era,
    logging: bool,
    level: Option<LogLevel>,
}

impl StdioUpstream {
    pub(crate) fn new(config: &Config, stdio: &Stdio, stale: Arc<Stale>) -> Self {
        Self {
            name: config.name.clone(),
            stdio: stdio.clone(),
            era: Known::new(config.era),
            timeouts: config.timeouts,
            bounds: config.bounds,
            all: Mutex::default(),
            stale,
        }
    }

    /// The process of this partition, ready for a call whose client wants log messages from `level` on.
    pub(crate) async fn running(
        &self,
        partition: &Partition,
        level: Option<LogLevel>,
    ) -> Result<Running, UpstreamError> {
        let berth = self.berth(partition)?;
        let mut runs = berth.runs.lock().await;
        if let Some(live) = &runs.live
            && live.process.is_gone()
        {
            let stable = live.process.born.elapsed() >= STABLE;
            runs.live = None;
            runs.ended(stable);
        }
        if runs.live.is_none() {
            self.wait(&runs).await?;
            match self.start().await {
                Ok(running) => runs.live = Some(running),
                Err(error) => {
                    runs.ended(false);
                    return Err(error);
                }
            }
        }
        let Some(live) = runs.live.as_mut() else {
            return Err(io::Error::from(io::ErrorKind::BrokenPipe).into());
        };
        if let Some(level) = level {
            self.log_from(live, level).await?;
        }
        *berth.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        Ok(live.clone())
    }

    /// Ends what rested too long.
    pub(crate) fn sweep(&self) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, berth| !berth.rests() || berth.used().elapsed() < self.timeouts.rest);
    }

    fn berth(&self, partition: &Partition) -> Result<Arc<Berth>, UpstreamError> {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(berth) = all.get(partition) {
            return Ok(Arc::clone(berth));
        }
        if all.len() >= self.bounds.processes.max(1) {
            let resting = all.iter().filter(|(_, berth)| berth.rests()).min_by_key(|(_, berth)| berth.used());
            let Some(oldest) = resting.map(|(partition, _)| partition.clone()) else {
                return Err(UpstreamError::Busy("processes"));
            };
            all.remove(&oldest);
        }
        let berth = Arc::new(Berth { runs: tokio::sync::Mutex::default(), used: Mutex::new(Instant::now()) });
        all.insert(partition.clone(), Arc::clone(&berth));
        Ok(berth)
    }

    async fn wait(&self, runs: &Runs) -> Result<(), UpstreamError> {
        let Some(wait) = runs.not_before.map(|at| at.saturating_duration_since(Instant::now())) else {
            return Ok(());
        };
        if wait > self.timeouts.connect {
            return Err(io::Error::other("the process crashes again and again; the next start waits").into());
        }
        tokio::time::sleep(wait).await;
        Ok(())
    }

    async fn start(&self) -> Result<Running, UpstreamError> {
        let known = self.era.get();
        if known == Some(Era::Legacy) {
            return self.initialize().await;
        }
        let process = self.spawn()?;
        let request = |id: u64| discover::request(id.into(), Object::new(), wire::client_info()).into_bytes();
        // Half of the time is left for the other era.
        let asked = process.ask(self.timeouts.handshake.div_f32(2.0), request).await;
        let answered = match asked {
            Ok(answered) => answered,
            Err(UpstreamError::Timeout(_) | UpstreamError::Io(_)) => None,
            Err(error) => return Err(error),
        };
        let outcome = answered.and_then(|answered| answered.answer);
        let message = outcome.clone().map(|outcome| Message::Response { id: None, outcome });
        let old = matches!(&outcome, Some(Err(error)) if offers_only_legacy(error));
        let era = if old {
            Era::Legacy
        } else {
            discover::probe_stdio(match &message {
                Some(message) => StdioAnswer::Message(message),
                None if process.is_gone() => StdioAnswer::Exit,
                None => StdioAnswer::Silence,
            })
        };
        match (era, outcome) {
            (Era::Modern, Some(Ok(result))) => {
                Discovered::parse(result).map_err(|bad| UpstreamError::protocol(bad.to_string()))?;
                self.era.learn(Era::Modern);
                Ok(Running { process, era: Era::Modern, logging: false, level: None })
            }
            (Era::Modern, _) => Err(UpstreamError::protocol("`server/discover` was refused")),
            (Era::Legacy, _) if known == Some(Era::Modern) => {
                self.era.forget();
                Err(UpstreamError::protocol("`server/discover` was not answered with a result"))
            }
            (Era::Legacy, _) => {
                drop(process);
                self.era.learn(Era::Legacy);
                self.initialize().await
            }
        }
    }

    async fn initialize(&self) -> Result<Running, UpstreamError> {
        let process = self.spawn()?;
        let request =
            |id: u64| legacy::initialize(id.into(), Object::new(), wire::client_info()).into_bytes();
        let answered = process.ask(self.timeouts.handshake, request).await;
        let result = match answered {
            Ok(Some(answered)) => answered.answer.and_then(Result::ok),
            Ok(None) => None,
            Err(error) => {
                self.era.forget();
                return Err(error);
            }
        };
        let Some(result) = result else {
            self.era.forget();
            return Err(UpstreamError::protocol("`initialize` was not answered with a result"));
        };
        let initialized =
            Initialized::parse(result).map_err(|bad| UpstreamError::protocol(bad.to_string()))?;
        process.tell(legacy::initialized().into_bytes()).await?;
        let logging = initialized.capabilities.contains_key("logging");
        Ok(Running { process, era: Era::Legacy, logging, level: None })
    }

    fn spawn(&self) -> Result<Arc<Process>, UpstreamError> {
        Process::start(&self.name, &self.stdio, &self.bounds, Arc::clone(&self.stale))
    }

    async fn log_from(&self, live: &mut Running, level: LogLevel) -> Result<(), UpstreamError> {
        if live.era == Era::Modern || !live.logging || live.level.is_some_and(|set| set <= level) {
            return Ok(());
        }
        let body = |id| wire::request(id, Method::LoggingSetLevel, translate::set_level_params(level));
        live.process.ask(self.timeouts.handshake, body).await?;
        live.level = Some(level);
        Ok(())
    }
}

impl Berth {
    fn used(&self) -> Instant {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether no call has its process, or is about to.
    fn rests(self: &Arc<Self>) -> bool {
        Arc::strong_count(self) == 1
            && self
                .runs
                .try_lock()
                .is_ok_and(|runs| runs.live.as_ref().is_none_or(|live| Arc::strong_count(&live.process) == 1))
    }
}

impl Runs {
    fn ended(&mut self, stable: bool) {
        if stable {
            (self.crashes, self.not_before) = (0, None);
            return;
        }
        let wait = FIRST_WAIT.saturating_mul(1 << self.crashes.min(MOST_DOUBLINGS));
        self.crashes = self.crashes.saturating_add(1);
        self.not_before = Instant::now().checked_add(wait);
    }
}
