//! The server of `opal-client`s, and so of fleets of OPA: the release in force as bundles, a tenant's facts as data.
//!
//! Everything lies below `/opal`: give a client `OPAL_SERVER_URL=https://…/opal` and a token. A token says which topics
//! and scopes it is good for, and nothing is allowed that it doesn't name; a scope is a tenant. Each client has a bounded
//! queue and a task of its own: one that doesn't read or doesn't answer is closed (1000), and no other waits for it. What
//! a client gets of a tenant's facts comes in the order of revisions, one update in flight at a time, and the newest
//! state wins over what wasn't sent yet.

mod data;
mod policy;
mod rest;
mod session;
mod token;

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    extract::DefaultBodyLimit,
    routing::{get, post},
};
use placet_core::{Digest, Revision, TenantId};
use placet_facts::World;
use placet_jose::{KeySet, SigningKey};
use placet_json::Value;
use placet_policy::Release;
use secrecy::SecretString;
use tokio::sync::{mpsc, watch};

use super::{Pending, wire::Frame};

pub use token::{FleetToken, MAX_LIFE, PeerType, Scopes};

/// How often the release in force is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// Settings of the server.
#[derive(Debug)]
pub struct FleetSettings {
    /// Its address as clients call it, with `/opal`, without a trailing slash; also issuer and audience of its tokens.
    pub url: String,
    /// With which tokens can be got at `/opal/token`; without one only an operator gives them out.
    pub master: Option<SecretString>,
    /// Clients at once.
    pub clients: usize,
    /// Messages that wait for one client; a client with more is closed.
    pub queue: usize,
    /// How long a client may take to acknowledge a message, or to take it off the wire.
    pub acknowledge: Duration,
    /// The longest body of a request.
    pub body_bytes: usize,
}

/// What the server tells of.
pub trait FleetHost: Send + Sync + 'static {
    /// The newest facts.
    fn world(&self) -> Arc<World>;
    /// Resolves when a tenant's facts have moved past `since`.
    fn moved<'a>(&'a self, tenant: &'a TenantId, since: Revision) -> Pending<'a, ()>;
    /// The release in force.
    fn release(&self) -> Option<Arc<Release>>;
    /// A release that is kept.
    fn kept(&self, digest: Digest) -> Option<Arc<Release>>;
    /// Seconds since the Unix epoch.
    fn now(&self) -> u64;
    /// Counts what was turned away, and clients that were closed.
    fn counted(&self, what: &'static str);
}

/// The server.
pub struct Fleet {
    settings: FleetSettings,
    host: Arc<dyn FleetHost>,
    key: SigningKey,
    keys: KeySet,
    clients: Mutex<HashMap<u64, Arc<Client>>>,
    next: AtomicU64,
    release: watch::Sender<Option<Digest>>,
}

impl fmt::Debug for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fleet").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// A connected client, as others see it.
#[derive(Debug)]
struct Client {
    /// Whose it is, as its token says: nobody else reports for it.
    subject: String,
    topics: Mutex<Vec<String>>,
    outbox: mpsc::Sender<Outgoing>,
    /// Told when the client reports how an update went.
    reports: mpsc::Sender<(u64, bool)>,
    /// Asks its task to end the connection.
    close: tokio::sync::Notify,
}

/// A message for a client.
#[derive(Debug, Clone)]
struct Outgoing {
    topic: String,
    data: Arc<Value>,
}

impl Fleet {
    /// A server; `key` signs its tokens and nothing else.
    #[must_use]
    pub fn new(settings: FleetSettings, host: Arc<dyn FleetHost>, key: SigningKey) -> Arc<Self> {
        let keys = KeySet::of(key.public());
        let release = watch::Sender::new(host.release().map(|release| release.digest()));
        Arc::new(Self {
            settings,
            host,
            key,
            keys,
            clients: Mutex::default(),
            next: AtomicU64::new(1),
            release,
        })
    }

    /// How many clients are connected.
    #[must_use]
    pub fn connected(&self) -> usize {
        self.clients().len()
    }

    /// Tells clients of every release that comes into force, until it is dropped.
    pub async fn follow_releases(self: Arc<Self>) {
        loop {
            tokio::time::sleep(LOOK).await;
            let now = self.host.release().map(|release| release.digest());
            let before = *self.release.borrow();
            if now != before {
                self.release.send_replace(now);
                if let Some(now) = now {
                    self.publish_policy(before, now);
                }
            }
        }
    }

    fn publish_policy(&self, before: Option<Digest>, now: Digest) {
        let message = Arc::new(policy::message(before, now));
        let clients: Vec<Arc<Client>> = self.clients().values().cloned().collect();
        for client in clients {
            let topic = client.topics().iter().find(|topic| policy::is_topic(topic)).cloned();
            if let Some(topic) = topic {
                self.hand(&client, Outgoing { topic, data: Arc::clone(&message) });
            }
        }
    }

    /// Hands an update to everybody who subscribed to one of `topics`. Waits for nobody.
    fn publish(&self, topics: &[String], data: &Arc<Value>) {
        let clients: Vec<Arc<Client>> = self.clients().values().cloned().collect();
        for client in clients {
            let topic = client.topics().iter().find(|topic| topics.contains(topic)).cloned();
            if let Some(topic) = topic {
                self.hand(&client, Outgoing { topic, data: Arc::clone(data) });
            }
        }
    }

    /// A client with a full queue is closed: it connects again and fetches everything.
    fn hand(&self, client: &Client, message: Outgoing) {
        if client.outbox.try_send(message).is_err() {
            self.host.counted("opal_client_slow");
            client.close.notify_one();
        }
    }

    fn clients(&self) -> MutexGuard<'_, HashMap<u64, Arc<Client>>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
    fn next_id(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }
}

impl Client {
    fn topics(&self) -> MutexGuard<'_, Vec<String>> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outgoing {
    fn frame(&self, subscriber: &str, call_id: &str) -> String {
        let subscription = placet_json::object! {
            "id" => call_id, "subscriber_id" => subscriber, "topic" => self.topic.as_str(), "notifier_id" => Value::Null,
        };
        let arguments =
            placet_json::object! { "subscription" => subscription, "data" => Value::clone(&self.data) };
        Frame::request("notify", arguments, call_id)
    }
}

/// The routes, all below `/opal`.
pub fn routes(fleet: Arc<Fleet>) -> Router {
    let body = DefaultBodyLimit::max(fleet.settings.body_bytes);
    Router::new()
        .route("/opal/ws", get(session::upgrade))
        .route("/opal/policy", get(rest::policy))
        .route("/opal/policy-data", get(rest::no_data))
        .route("/opal/data/config", get(rest::config).post(rest::publish))
        .route("/opal/data/facts/{tenant}", get(rest::facts))
        .route("/opal/data/callback_report", post(rest::report))
        .route("/opal/scopes/{scope}/policy", get(rest::scoped_policy))
        .route("/opal/scopes/{scope}/data", get(rest::scoped_config))
        .route("/opal/token", post(rest::token))
        .route("/opal/loadlimit", get(rest::alive))
        .route("/opal/healthcheck", get(rest::alive))
        .route("/opal/.well-known/jwks.json", get(rest::keys))
        .layer(body)
        .with_state(fleet)
}
