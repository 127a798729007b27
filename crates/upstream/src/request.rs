//! What the gateway asks for: one call, for whom, and where its side messages go.

use std::fmt;
use std::sync::Arc;

use placet_core::{Call, Envelope};
use placet_json::Value;
use placet_mcp::logging::LogLevel;
use tokio::sync::mpsc;

use crate::{Operation, Partition};

/// A call to connect for.
#[derive(Debug)]
pub struct Request<'a> {
    /// The call.
    pub call: &'a Call,
    /// On whose behalf.
    pub envelope: &'a Envelope,
    /// Whose connections to use.
    pub partition: Partition,
    /// What the agent's client wants to hear meanwhile.
    pub client: Client,
    /// The result guard.
    pub inspect: Inspect,
    /// The request that the call is, where its tool is an operation of an HTTP API.
    pub operation: Option<Operation>,
}

/// What the agent's client asked for around its call. None of it decides anything.
pub struct Client {
    /// Its progress token; without one no progress is asked for.
    pub progress: Option<Value>,
    /// The least severity of log messages that it wants; without one it gets none.
    pub log_level: Option<LogLevel>,
    /// W3C trace context, `traceparent`.
    pub traceparent: Option<String>,
    /// W3C trace context, `tracestate`.
    pub tracestate: Option<String>,
    /// Where `notifications/progress` and `notifications/message` go while the call runs, whole messages, the client's
    /// own token in them. What finds no room is dropped: a client that doesn't read stops no call.
    pub items: mpsc::Sender<Value>,
}

/// Whether a result may go back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It may.
    Clean,
    /// It holds what isn't the tenant's; the text is for operators.
    Foreign(String),
}

/// The catalog's result guard, asked for every result.
#[derive(Clone)]
pub struct Inspect(Arc<Guard>);

type Guard = dyn Fn(&Call, &Envelope, &Value) -> Verdict + Send + Sync;

impl Inspect {
    /// Asks `guard`.
    pub fn new(guard: impl Fn(&Call, &Envelope, &Value) -> Verdict + Send + Sync + 'static) -> Self {
        Self(Arc::new(guard))
    }

    pub(crate) fn ask(&self, call: &Call, envelope: &Envelope, result: &Value) -> Verdict {
        (self.0)(call, envelope, result)
    }
}

impl fmt::Debug for Inspect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Inspect")
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("log_level", &self.log_level).finish_non_exhaustive()
    }
}
