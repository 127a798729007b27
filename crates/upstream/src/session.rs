//! Legacy sessions over HTTP, one for each tenant and credential.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use placet_json::Object;
use placet_mcp::legacy::{self, Initialized};
use placet_mcp::logging::LogLevel;
use placet_mcp::{Method, Revision, translate};
use tokio::time::Instant;

use crate::credential::Caller;
use crate::http::{HttpUpstream, Manner};
use crate::{Partition, UpstreamError, wire};

/// A session that rested this long is asked whether it still lives before a call is put on it.
const DOUBT: Duration = Duration::from_secs(30);

const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");

/// A session, or that this server keeps none.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    id: Option<HeaderValue>,
    revision: Revision,
    logging: bool,
}

/// The sessions of one upstream.
pub(crate) struct Sessions {
    all: Mutex<HashMap<Partition, Arc<Berth>>>,
    most: usize,
    rest: Duration,
}

struct Berth {
    /// Held while a session is opened, so that one is.
    open: tokio::sync::Mutex<Option<Open>>,
    used: Mutex<Instant>,
}

struct Open {
    session: Session,
    used: Instant,
    level: Option<LogLevel>,
}

impl Session {
    pub(crate) fn headers(&self, to: &mut HeaderMap) {
        to.insert(VERSION, HeaderValue::from_static(self.revision.as_str()));
        if let Some(id) = &self.id {
            to.insert(SESSION_ID, id.clone());
        }
    }

    /// Whether the server can lose it.
    pub(crate) fn is_kept(&self) -> bool {
        self.id.is_some()
    }
}

impl Sessions {
    pub(crate) fn new(most: usize, rest: Duration) -> Self {
        Self { all: Mutex::default(), most: most.max(1), rest }
    }

    /// Forgets a session that the server no longer knows.
    pub(crate) async fn forget(&self, partition: &Partition, session: &Session) {
        let berth = self.all.lock().unwrap_or_else(PoisonError::into_inner).get(partition).cloned();
        if let Some(berth) = berth {
            let mut open = berth.open.lock().await;
            if open.as_ref().is_some_and(|open| open.session.id == session.id) {
                *open = None;
            }
        }
    }

    pub(crate) fn sweep(&self) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, berth| Arc::strong_count(berth) > 1 || berth.used().elapsed() < self.rest);
    }

    fn berth(&self, partition: &Partition) -> Arc<Berth> {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(berth) = all.get(partition) {
            *berth.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
            return Arc::clone(berth);
        }
        if all.len() >= self.most {
            let oldest =
                all.iter().min_by_key(|(_, berth)| berth.used()).map(|(partition, _)| partition.clone());
            if let Some(oldest) = oldest {
                all.remove(&oldest);
            }
        }
        let berth = Arc::new(Berth { open: tokio::sync::Mutex::default(), used: Mutex::new(Instant::now()) });
        all.insert(partition.clone(), Arc::clone(&berth));
        berth
    }
}

impl Berth {
    fn used(&self) -> Instant {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HttpUpstream {
    /// The session of this partition, a new one if there is none or it was lost.
    pub(crate) async fn session(
        &self,
        caller: Caller<'_>,
        partition: &Partition,
    ) -> Result<Session, UpstreamError> {
        let berth = self.sessions.berth(partition);
        let mut slot = berth.open.lock().await;
        if let Some(open) = slot.as_mut() {
            if !open.session.is_kept() || open.used.elapsed() < DOUBT {
                open.used = Instant::now();
                return Ok(open.session.clone());
            }
            let id = self.id();
            let manner = Manner::Legacy(open.session.clone());
            let ping = legacy::ping(id.into()).into_bytes();
            let told = self.ask(caller, partition, &manner, id, Method::Ping, ping).await?;
            if told.status != 404 {
                open.used = Instant::now();
                return Ok(open.session.clone());
            }
            *slot = None;
        }
        let session = self.initialize(caller, partition).await?;
        *slot = Some(Open { session: session.clone(), used: Instant::now(), level: None });
        Ok(session)
    }

    /// Sees to it that the server sends log messages from `level` on, if it can send any.
    pub(crate) async fn log_from(
        &self,
        caller: Caller<'_>,
        partition: &Partition,
        session: &Session,
        level: LogLevel,
    ) -> Result<(), UpstreamError> {
        if !session.logging {
            return Ok(());
        }
        let berth = self.sessions.berth(partition);
        let mut slot = berth.open.lock().await;
        let Some(open) = slot.as_mut().filter(|open| open.level.is_none_or(|set| level < set)) else {
            return Ok(());
        };
        let id = self.id();
        let body = wire::request(id, Method::LoggingSetLevel, translate::set_level_params(level));
        let manner = Manner::Legacy(session.clone());
        let told = self.ask(caller, partition, &manner, id, Method::LoggingSetLevel, body).await?;
        // A server that refuses the level keeps its own: messages are filtered on their way all the same.
        if told.status != 404 {
            open.level = Some(level);
        }
        Ok(())
    }

    async fn initialize(&self, caller: Caller<'_>, partition: &Partition) -> Result<Session, UpstreamError> {
        let id = self.id();
        let body = legacy::initialize(id.into(), Object::new(), wire::client_info()).into_bytes();
        let told = self.ask(caller, partition, &Manner::Handshake, id, Method::Initialize, body).await?;
        let Some(Ok(result)) = told.answer else {
            self.era.forget();
            return Err(if told.status >= 300 {
                UpstreamError::Status(told.status)
            } else {
                UpstreamError::protocol("`initialize` was not answered with a result")
            });
        };
        let Initialized { revision, capabilities, .. } =
            Initialized::parse(result).map_err(|bad| UpstreamError::protocol(bad.to_string()))?;
        let id = match told.session {
            None => None,
            Some(id) => Some(
                HeaderValue::from_str(&id)
                    .map_err(|_| UpstreamError::protocol("the session id is malformed"))?,
            ),
        };
        let session = Session { id, revision, logging: capabilities.contains_key("logging") };
        let manner = Manner::Legacy(session.clone());
        self.tell(caller, partition, &manner, legacy::initialized().into_bytes()).await?;
        Ok(session)
    }
}
