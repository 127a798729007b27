//! What an upstream is, as the settings file says.

use std::path::PathBuf;
use std::time::Duration;

use placet_core::Name;
use placet_mcp::Era;
use rustls::pki_types::CertificateDer;
use secrecy::SecretString;
use url::Url;

use crate::{Egress, Fuse};

/// One upstream.
#[derive(Debug, Clone)]
pub struct Config {
    /// Its name; calls name it by this.
    pub name: Name,
    /// How to reach it.
    pub transport: Transport,
    /// How it talks; `None` finds out.
    pub era: Option<Era>,
    /// How long to wait.
    pub timeouts: Timeouts,
    /// How much to hold.
    pub bounds: Bounds,
    /// When it is left alone.
    pub fuse: Fuse,
}

/// How an upstream is reached.
#[derive(Debug, Clone)]
pub enum Transport {
    /// MCP over Streamable HTTP.
    Http(Http),
    /// A local process.
    Stdio(Stdio),
    /// An HTTP API below an address: operations that a catalog describes, and readings of the gateway's own.
    Rest(Http),
}

/// An upstream at an address.
#[derive(Debug, Clone)]
pub struct Http {
    /// Its one address; redirects away from it are not followed.
    pub url: Url,
    /// Whom to believe that it is there.
    pub trust: Trust,
    /// Which addresses its name may have.
    pub egress: Egress,
}

/// Which certificate authorities vouch for an upstream.
#[derive(Debug, Clone)]
pub enum Trust {
    /// Those of the operating system.
    System,
    /// Only these.
    Only(Vec<CertificateDer<'static>>),
}

/// A process that speaks MCP on its standard streams. Only the settings file makes one: neither an API nor a release
/// may, since whoever can name a command can run any.
#[derive(Debug, Clone)]
pub struct Stdio {
    /// The program and its arguments; no shell.
    pub command: Vec<String>,
    /// The whole environment of the process; nothing is inherited, so name `PATH` where it is needed.
    pub env: Vec<(String, SecretString)>,
    /// Where it runs; `None` for the server's own directory.
    pub cwd: Option<PathBuf>,
}

/// How long to wait for an upstream.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// For a name, an address and a TLS handshake.
    pub connect: Duration,
    /// For each message of a handshake, a started process, or a page of a listing.
    pub handshake: Duration,
    /// From a call's first byte to the end of its answer.
    pub call: Duration,
    /// An unused connection is closed after this; shorter than common servers' five seconds, so that they don't close
    /// it under a call.
    pub idle: Duration,
    /// An unused process or session is ended after this.
    pub rest: Duration,
    /// A tool list is read again after this, whether or not a change was announced.
    pub refresh: Duration,
}

/// How much to hold for an upstream.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Bytes of one answer.
    pub answer: usize,
    /// Open connections, all partitions together.
    pub connections: usize,
    /// Calls at once in one process.
    pub calls: usize,
    /// Processes, all partitions together.
    pub processes: usize,
    /// Legacy sessions, all partitions together; the one that was used longest ago makes room.
    pub sessions: usize,
}

impl Config {
    /// An upstream with default timeouts and bounds whose era is found out.
    #[must_use]
    pub fn new(name: Name, transport: Transport) -> Self {
        Self {
            name,
            transport,
            era: None,
            timeouts: Timeouts::DEFAULT,
            bounds: Bounds::DEFAULT,
            fuse: Fuse::DEFAULT,
        }
    }
}

impl Timeouts {
    /// 5 s to connect, 10 s for a handshake, 30 s a call, 4 s idle, 5 min rest, 5 min refresh.
    pub const DEFAULT: Self = Self {
        connect: Duration::from_secs(5),
        handshake: Duration::from_secs(10),
        call: Duration::from_secs(30),
        idle: Duration::from_secs(4),
        rest: Duration::from_mins(5),
        refresh: Duration::from_mins(5),
    };
}

impl Bounds {
    /// 8 MiB an answer, 256 connections, 64 calls a process, 32 processes, 1024 sessions.
    pub const DEFAULT: Self =
        Self { answer: 8 << 20, connections: 256, calls: 64, processes: 32, sessions: 1024 };
}
