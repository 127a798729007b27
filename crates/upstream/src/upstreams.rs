//! Every upstream of the server.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use futures::future::join_all;
use placet_core::{Digest, Name, Timestamp};
use placet_json::object;
use placet_mcp::{Era, Method, meta};

use crate::breaker::{Breaker, Way};
use crate::credential::{Caller, Credentials, Made, Purpose, Target, Who};
use crate::egress::Resolve;
use crate::http::{HttpUpstream, IDEMPOTENCY_KEY, Manner, mirrored};
use crate::read::{self, RestUpstream};
use crate::ready::{Ready, Road, Side};
use crate::road::HttpRoad;
use crate::scan::Scanner;
use crate::stdio::StdioUpstream;
use crate::sync::{self, Stale, ToolSet};
use crate::{Circuit, Config, Partition, Pass, Request, Transport, UpstreamError, listen, wire};

/// How often what rests is looked through.
const SWEEP: Duration = Duration::from_secs(1);
/// The first wait after a tool list couldn't be read, doubled each time up to the refresh interval.
const RETRY: Duration = Duration::from_secs(1);

/// The wait before a stream of announcements that ended is opened again.
const RELISTEN: Duration = Duration::from_secs(5);

/// Asks for the time.
pub type Now = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The configured upstreams.
pub struct Upstreams {
    all: BTreeMap<Name, Upstream>,
    pub(crate) credentials: Arc<dyn Credentials>,
    pub(crate) now: Now,
}

/// Whether an upstream can be reached, as of the last attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// Nobody has tried yet.
    Unknown,
    /// It answered, or took a connection.
    Up {
        /// Since when without a failure.
        since: Timestamp,
    },
    /// It couldn't be reached.
    Down {
        /// Since when without a success.
        since: Timestamp,
        /// Why, for operators.
        reason: String,
    },
}

pub(crate) struct Upstream {
    pub(crate) wire: Wire,
    pub(crate) breaker: Arc<Breaker>,
    refresh: Duration,
    tools: RwLock<Option<Arc<ToolSet>>>,
    pub(crate) stale: Arc<Stale>,
    /// Held while the list is read.
    syncing: tokio::sync::Mutex<()>,
    health: Mutex<Health>,
}

pub(crate) enum Wire {
    Http(Arc<HttpUpstream>),
    Stdio(Box<StdioUpstream>),
    Rest(Arc<RestUpstream>),
}

impl Upstreams {
    /// Checks the configurations; connects to nothing.
    pub fn new(
        configs: Vec<Config>,
        credentials: Arc<dyn Credentials>,
        resolver: impl Resolve + 'static,
        now: Now,
    ) -> Result<Self, UpstreamError> {
        let resolver: Arc<dyn Resolve> = Arc::new(resolver);
        let mut all = BTreeMap::new();
        for config in configs {
            let problem =
                |problem: String| UpstreamError::Config { upstream: config.name.to_string(), problem };
            let upstream = Upstream::new(&config, &resolver).map_err(|error| problem(error.to_string()))?;
            if all.insert(config.name.clone(), upstream).is_some() {
                return Err(problem("two upstreams have this name".to_owned()));
            }
        }
        Ok(Self { all, credentials, now })
    }

    /// The names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &Name> {
        self.all.keys()
    }

    /// Reads an upstream's tool list to its end. Whoever asks while it is being read waits for that.
    pub async fn sync(&self, name: &Name) -> Result<(), UpstreamError> {
        let upstream = self.get(name)?;
        // An HTTP API lists nothing; whether it is there can be told all the same.
        if let Wire::Rest(rest) = &upstream.wire {
            let reached = rest.pool.take(&Partition::Service).await;
            upstream.note(reached.as_ref().err(), (self.now)());
            rest.pool.give(reached?);
            return Ok(());
        }
        let before = upstream.tools();
        let _one = upstream.syncing.lock().await;
        let done_by_other = match (before, upstream.tools()) {
            (Some(before), Some(now)) => !Arc::ptr_eq(&before, &now),
            (None, now) => now.is_some(),
            (Some(_), None) => false,
        };
        if done_by_other && !upstream.stale.is_marked() {
            return Ok(());
        }
        upstream.stale.clear();
        let caller = Caller { credentials: &*self.credentials, upstream: name, who: Who::Service };
        let read = match &upstream.wire {
            Wire::Http(http) => sync::over_http(http, caller, &*self.now).await,
            Wire::Stdio(stdio) => sync::over_stdio(stdio, caller, &*self.now).await,
            Wire::Rest(_) => return Ok(()),
        };
        upstream.note(read.as_ref().err(), (self.now)());
        let tools = read?;
        for (tool, bad) in &tools.refused {
            tracing::warn!(upstream = %name, tool = tool.as_deref().unwrap_or(""), %bad, "a tool can't be used");
        }
        *upstream.tools.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(tools));
        Ok(())
    }

    /// The tool list as it was last read; `None` until it was.
    #[must_use]
    pub fn tools(&self, name: &Name) -> Option<Arc<ToolSet>> {
        self.all.get(name)?.tools()
    }

    /// Whether the upstream is an HTTP API: its tools are operations that a catalog describes, and it lists none.
    #[must_use]
    pub fn is_rest(&self, name: &Name) -> bool {
        self.all.get(name).is_some_and(|upstream| matches!(upstream.wire, Wire::Rest(_)))
    }

    /// Whether the upstream has announced, since its list was last read, that it changed.
    #[must_use]
    pub fn is_stale(&self, name: &Name) -> bool {
        self.all.get(name).is_some_and(|upstream| upstream.stale.is_marked())
    }

    /// The state of each, sorted by name.
    #[must_use]
    pub fn health(&self) -> Vec<(Name, Health)> {
        let health =
            |upstream: &Upstream| upstream.health.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.all.iter().map(|(name, upstream)| (name.clone(), health(upstream))).collect()
    }

    /// Keeps tool lists fresh and closes what rests. Never ends; dropping it stops it.
    pub async fn run(&self) {
        let sweep = async {
            loop {
                tokio::time::sleep(SWEEP).await;
                self.all.values().for_each(Upstream::sweep);
            }
        };
        let keep = join_all(self.all.iter().map(|(name, upstream)| self.keep_fresh(name, upstream)));
        let listen = join_all(self.all.iter().map(|(name, upstream)| self.listen(name, upstream)));
        tokio::join!(sweep, keep, listen);
    }

    async fn listen(&self, name: &Name, upstream: &Upstream) {
        // Processes announce on the stream that they have.
        let Wire::Http(http) = &upstream.wire else { return };
        let caller = Caller { credentials: &*self.credentials, upstream: name, who: Who::Service };
        // Before a list was read, nothing is out of date.
        while upstream.tools().is_none() {
            tokio::time::sleep(RETRY).await;
        }
        loop {
            let wait = match listen::listen(http, caller, &upstream.stale).await {
                Ok(()) => {
                    // What was announced meanwhile is lost.
                    upstream.stale.mark();
                    RELISTEN
                }
                Err(error) => {
                    tracing::debug!(upstream = %name, %error, "it announces no changes");
                    upstream.refresh
                }
            };
            tokio::time::sleep(wait).await;
        }
    }

    async fn keep_fresh(&self, name: &Name, upstream: &Upstream) {
        let mut retry = RETRY;
        loop {
            let wait = match self.sync(name).await {
                Ok(()) => {
                    retry = RETRY;
                    upstream.refresh
                }
                Err(error) => {
                    tracing::warn!(upstream = %name, %error, "its tool list can't be read");
                    let wait = retry.min(upstream.refresh);
                    retry = retry.saturating_mul(2);
                    wait
                }
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = upstream.stale.marked() => {}
            }
        }
    }

    /// Makes everything ready for one call: connection or process, session, credential, bytes. Nothing of the call is
    /// sent.
    pub async fn connect(&self, request: Request<'_>) -> Result<Ready, UpstreamError> {
        let upstream = self.get(&request.call.upstream)?;
        let ready = match (&upstream.wire, request.operation.is_some()) {
            (Wire::Http(http), false) => self.over_http(upstream, http, request).await,
            (Wire::Stdio(stdio), false) => self.over_stdio(upstream, stdio, request).await,
            (Wire::Rest(rest), true) => self.over_rest(upstream, rest, request).await,
            (Wire::Rest(_), false) => Err(UpstreamError::protocol("it has operations, no MCP tools")),
            (Wire::Http(_) | Wire::Stdio(_), true) => Err(UpstreamError::protocol(
                "it has MCP tools, no operations: it isn't `protocol = \"rest\"`",
            )),
        };
        // Whether it answers is seen once it was asked.
        if let Some(Way::Failed) = read::way(ready.as_ref().err()) {
            upstream.breaker.note(Way::Failed);
        }
        match &ready {
            // Neither says anything about the upstream.
            Err(UpstreamError::Credential(_) | UpstreamError::Busy(_)) => {}
            ready => upstream.note(ready.as_ref().err(), (self.now)()),
        }
        ready
    }

    /// The right to try an upstream for one call; it is asked for before the call is decided, since a permit that can't
    /// be sent would be spent.
    pub fn pass(&self, name: &Name) -> Result<Pass, UpstreamError> {
        Ok(self.get(name)?.breaker.pass()?)
    }

    /// Each upstream's breaker, and how often it opened, sorted by name.
    pub fn circuits(&self) -> impl Iterator<Item = (&Name, Circuit, u64)> {
        self.all.iter().map(|(name, upstream)| {
            let (circuit, opened) = upstream.breaker.circuit();
            (name, circuit, opened)
        })
    }

    async fn over_http(
        &self,
        upstream: &Upstream,
        http: &Arc<HttpUpstream>,
        request: Request<'_>,
    ) -> Result<Ready, UpstreamError> {
        let Request { call, envelope, partition, client, inspect, operation: _ } = request;
        let caller =
            Caller { credentials: &*self.credentials, upstream: &http.name, who: Who::Call(call, envelope) };
        let manner = http.manner(caller, &partition).await?;
        if let (Manner::Legacy(session), Some(level)) = (&manner, client.log_level) {
            http.log_from(caller, &partition, session, level).await?;
        }
        let lane = http.pool.take(&partition).await?;
        let id = http.id();
        let era = manner.era();
        let mut params = object! { "name" => call.tool.as_str() };
        if era == Era::Modern {
            params.insert("_meta", object! { meta::PROTOCOL_VERSION => era.newest().as_str() });
        }
        let tools = upstream.tools();
        let mirrors = tools.as_deref().filter(|tools| era == Era::Modern && tools.mirrors(&call.tool));
        let schema = mirrors.and_then(|tools| tools.get(&call.tool)).and_then(|def| def.input_schema());
        if schema.is_some() {
            params.insert("arguments", call.arguments.to_value());
        }
        let mirrored = mirrored(&manner, Method::ToolsCall, &params, schema)?;
        let mut fields = wire::meta(era, id, Some(&client));
        let key = wire::idempotency(call, &mut fields);
        let body = wire::call(id, &call.tool, &call.arguments, fields);
        let made = caller.make(&http.aim(Purpose::Call, &body))?;
        let mut request = http.request(&manner, mirrored, &made, body.into())?;
        if let Some(key) = key {
            request.headers_mut().insert(IDEMPOTENCY_KEY, key);
        }
        let Made { headers: _, query: _, meta: _, note, scan, spent } = made;
        let side = Side {
            id,
            client,
            scanner: Scanner::new(&scan, &spent),
            stale: Arc::clone(&upstream.stale),
            leaked: false,
        };
        let road = HttpRoad { http: Arc::clone(http), partition, manner, lane, request };
        Ok(Ready {
            id: call.id.clone(),
            arguments: call.arguments.clone(),
            note,
            credentials: Arc::clone(&self.credentials),
            breaker: Arc::clone(&upstream.breaker),
            inspect,
            side,
            road: Road::Http(Box::new(road)),
        })
    }

    async fn over_stdio(
        &self,
        upstream: &Upstream,
        stdio: &StdioUpstream,
        request: Request<'_>,
    ) -> Result<Ready, UpstreamError> {
        let Request { call, envelope, partition, client, inspect, operation: _ } = request;
        let caller = Caller {
            credentials: &*self.credentials,
            upstream: &call.upstream,
            who: Who::Call(call, envelope),
        };
        let running = stdio.running(&partition, client.log_level).await?;
        let slot = running.process.slot(stdio.timeouts.connect).await?;
        let arguments = Digest::of(call.arguments.as_bytes());
        let Made { headers: _, query: _, meta, note, scan, spent } =
            caller.make(&Target::Stdio { arguments })?;
        let mut fields = wire::meta(running.era, slot.id, Some(&client));
        wire::idempotency(call, &mut fields);
        for (name, value) in meta {
            if fields.insert(name, value).is_some() {
                return Err(UpstreamError::protocol("a credential can't replace a member of `_meta`"));
            }
        }
        let line = wire::call(slot.id, &call.tool, &call.arguments, fields);
        let scanner = Scanner::new(&scan, &spent);
        let side = Side { id: slot.id, client, scanner, stale: Arc::clone(&upstream.stale), leaked: false };
        Ok(Ready {
            id: call.id.clone(),
            arguments: call.arguments.clone(),
            note,
            credentials: Arc::clone(&self.credentials),
            breaker: Arc::clone(&upstream.breaker),
            inspect,
            side,
            road: Road::Stdio { slot, line, era: running.era, limit: stdio.timeouts.call },
        })
    }

    pub(crate) fn get(&self, name: &Name) -> Result<&Upstream, UpstreamError> {
        self.all.get(name).ok_or_else(|| UpstreamError::Unknown(name.to_string()))
    }
}

impl Upstream {
    fn new(config: &Config, resolver: &Arc<dyn Resolve>) -> Result<Self, UpstreamError> {
        let stale = Arc::new(Stale::default());
        let wire = match &config.transport {
            Transport::Http(http) => {
                Wire::Http(Arc::new(HttpUpstream::new(config, http, Arc::clone(resolver))?))
            }
            Transport::Rest(http) => {
                Wire::Rest(Arc::new(RestUpstream::new(config, http, Arc::clone(resolver))?))
            }
            Transport::Stdio(stdio) if stdio.command.is_empty() => {
                return Err(io::Error::other("`command` is empty").into());
            }
            Transport::Stdio(stdio) => {
                Wire::Stdio(Box::new(StdioUpstream::new(config, stdio, Arc::clone(&stale))))
            }
        };
        Ok(Self {
            wire,
            breaker: Arc::new(Breaker::new(config.fuse)),
            refresh: config.timeouts.refresh,
            tools: RwLock::default(),
            stale,
            syncing: tokio::sync::Mutex::default(),
            health: Mutex::new(Health::Unknown),
        })
    }

    pub(crate) fn tools(&self) -> Option<Arc<ToolSet>> {
        self.tools.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn sweep(&self) {
        match &self.wire {
            Wire::Http(http) => {
                http.pool.sweep();
                http.sessions.sweep();
            }
            Wire::Stdio(stdio) => stdio.sweep(),
            Wire::Rest(rest) => rest.pool.sweep(),
        }
    }

    pub(crate) fn note(&self, error: Option<&UpstreamError>, now: Timestamp) {
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        match (error, &*health) {
            (None, Health::Up { .. }) => {}
            (None, Health::Down { .. } | Health::Unknown) => *health = Health::Up { since: now },
            (Some(error), Health::Down { since, .. }) => {
                *health = Health::Down { since: *since, reason: error.to_string() };
            }
            (Some(error), Health::Up { .. } | Health::Unknown) => {
                *health = Health::Down { since: now, reason: error.to_string() };
            }
        }
    }
}

impl fmt::Debug for Upstreams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstreams").field("names", &self.all.keys()).finish_non_exhaustive()
    }
}
