//! Resources that are read at their source before a call on them is decided. What was read is a fact of the journal
//! like any other, so the decision stays a function of facts, and a replay needs no network.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::future::join_all;
use placet_catalog::{Credential, Filling, Lookup, Reading, document_of, reading_arguments};
use placet_core::{
    DecisionId, Digest, Envelope, Facts as _, Found, Known, LookedUp, Name, Resource, ResourceRef, Retention,
    TenantId, Timestamp, authority::Offered,
};
use placet_facts::{Change, Place, Transaction};
use placet_json::Value;
use placet_policy::{Wanted, looked};
use placet_upstream::{Document, Errand, Pays, Upstreams};
use tokio::sync::watch;

use crate::{Credentials, Ledger, Observer, Refused};

/// The longest answer of a reading, in bytes: it holds attributes of one resource.
const MAX_ANSWER: usize = 256 << 10;
/// Readings under way at once, of all tenants; more are refused, and with them their calls.
const MAX_FLIGHTS: usize = 1024;
/// Readings of one tenant that are remembered, of all its lookups. It stands in each reading, so that another bound counts
/// from then on.
const MAX_KEPT: u32 = 65_536;
/// How much longer than a reading's own time a call waits for somebody else's: for the journal.
const SLACK: Duration = Duration::from_secs(2);

/// Who made facts that were looked up.
const AUTHOR: &str = "placet";

/// Reads for calls. Whoever wants what is being read waits for that.
pub(crate) struct Lookups {
    ledger: Ledger,
    reader: Reader,
    observer: Arc<dyn Observer>,
    flights: Mutex<HashMap<Flight, watch::Receiver<Option<Landed>>>>,
}

/// What is read at most once at a time.
type Flight = (TenantId, ResourceRef);

/// When a reading began that is now a fact; or why there is none, for operators.
type Landed = Result<Timestamp, String>;

/// Reads documents on the gateway's own account.
#[derive(Clone)]
pub(crate) struct Reader {
    pub(crate) ledger: Ledger,
    pub(crate) upstreams: Arc<Upstreams>,
    pub(crate) credentials: Arc<Credentials>,
}

/// What a reading came to.
pub(crate) enum Read {
    /// A document.
    Document(Value),
    /// There is none.
    NotFound,
}

impl Lookups {
    pub(crate) fn new(reader: Reader, observer: Arc<dyn Observer>) -> Self {
        Self { ledger: reader.ledger.clone(), reader, observer, flights: Mutex::default() }
    }

    /// Reads what a call's resources lack. What comes back is part of the call; what was read is a fact by then.
    pub(crate) async fn before(
        self: &Arc<Self>,
        envelope: &Envelope,
        id: &DecisionId,
        upstream: &Name,
        tool: &str,
        arguments: &Value,
        offered: Offered,
    ) -> Vec<LookedUp> {
        let (Some(release), Ok(facts)) =
            (self.ledger.releases().current(), self.ledger.live().snapshot(envelope.tenant()))
        else {
            return Vec::new();
        };
        let now = self.ledger.now();
        let mut lookups =
            release.lookups(envelope, &*facts, id.clone(), upstream, tool, arguments, offered, now);
        let tenant = envelope.tenant();
        let read = join_all(lookups.wanted.into_iter().map(|wanted| self.one(tenant, wanted))).await;
        lookups.known.extend(read);
        for looked in &lookups.known {
            let outcome = match &looked.found {
                Found::Read(_) => "read",
                Found::Kept(_) => "kept",
                Found::Nothing(_) => "nothing",
            };
            self.observer.looked_up(looked.lookup.as_str(), outcome);
        }
        lookups.known
    }

    async fn one(self: &Arc<Self>, tenant: &TenantId, wanted: Wanted) -> LookedUp {
        let Wanted { lookup, resource } = wanted;
        let limit = lookup.timeout.saturating_add(SLACK);
        let landed = match self.board(tenant, &lookup, &resource) {
            Ok(mut flight) => match tokio::time::timeout(limit, flight.wait_for(Option::is_some)).await {
                Ok(Ok(landed)) => landed.clone().unwrap_or_else(|| Err("the reading broke off".to_owned())),
                Ok(Err(_)) => Err("the reading broke off".to_owned()),
                Err(_) => Err("the reading took too long".to_owned()),
            },
            Err(why) => Err(why),
        };
        let found = match landed {
            Ok(at) => Found::Read(at),
            Err(why) => {
                tracing::warn!(lookup = %lookup.name, %tenant, %resource, why, "a lookup had nothing");
                Found::Nothing(why)
            }
        };
        // Its age counts from here: the call waited for it.
        looked(&lookup, &resource, self.ledger.now(), found)
    }

    /// The reading of this resource that is under way, or a new one. It runs by itself: a caller that goes away leaves
    /// the others their answer.
    fn board(
        self: &Arc<Self>,
        tenant: &TenantId,
        lookup: &Arc<Lookup>,
        resource: &ResourceRef,
    ) -> Result<watch::Receiver<Option<Landed>>, String> {
        let key = (tenant.clone(), resource.clone());
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = flights.get(&key) {
            return Ok(flight.clone());
        }
        if flights.len() >= MAX_FLIGHTS {
            return Err(format!("{MAX_FLIGHTS} readings are under way"));
        }
        let (land, flight) = watch::channel(None);
        flights.insert(key.clone(), flight.clone());
        drop(flights);
        let (lookups, lookup) = (Arc::clone(self), Arc::clone(lookup));
        tokio::spawn(async move {
            let _landing = Landing { lookups: Arc::clone(&lookups), key: key.clone() };
            let landed = lookups.read(&key.0, &lookup, &key.1).await;
            land.send_replace(Some(landed));
        });
        Ok(flight)
    }

    async fn read(&self, tenant: &TenantId, lookup: &Lookup, at: &ResourceRef) -> Landed {
        let began = self.ledger.now();
        let filling = Filling { tenant, resource: Some(at), call: None };
        let read = self.reader.read(&lookup.reading, &filling, "lookup", lookup.timeout).await?;
        let Read::Document(document) = read else { return Err("there is no such document".to_owned()) };
        let attributes = lookup.extract(tenant, at, &document)?;
        let source = lookup.source()?;
        let retention = Retention {
            of_type: lookup.keep,
            of_tenant: MAX_KEPT,
            millis: u64::try_from(lookup.keep_for.as_millis()).unwrap_or(u64::MAX),
        };
        let known = Known::Observed { source: source.clone(), at: began, retention: Some(retention) };
        let transaction = Transaction {
            place: Place::Tenant(tenant.clone()),
            changes: vec![Change::ResourceSet(Resource { at: at.clone(), attributes, known })],
            author: Name::new(AUTHOR).map_err(|error| error.to_string())?,
            source,
            why: String::new(),
            idempotency_key: None,
        };
        match self.ledger.transact(transaction).await {
            Ok(_) => Ok(began),
            Err(Refused::Change(error)) => Err(format!("what was read can't be a fact: {error}")),
            Err(down @ (Refused::Down(_) | Refused::Overtaken)) => Err(down.to_string()),
        }
    }
}

/// Takes a reading off the board, however it ended.
struct Landing {
    lookups: Arc<Lookups>,
    key: Flight,
}

impl Drop for Landing {
    fn drop(&mut self) {
        self.lookups.flights.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

impl Reader {
    /// Reads, within `limit`. `action` is what a call token says that it is for. The error is for operators.
    pub(crate) async fn read(
        &self,
        reading: &Reading,
        filling: &Filling<'_>,
        action: &'static str,
        limit: Duration,
    ) -> Result<Read, String> {
        let errand = |upstream: &Name, credential: &Credential| -> Result<Errand, String> {
            let partition = self
                .credentials
                .partition_of_errand(credential, filling.tenant)
                .map_err(|error| error.to_string())?;
            Ok(Errand {
                upstream: upstream.clone(),
                tenant: filling.tenant.clone(),
                pays: pays(credential),
                action,
                partition,
                limit,
                bound: MAX_ANSWER,
            })
        };
        match reading {
            Reading::Tool { entry, arguments } => {
                let release = self.ledger.releases().current().ok_or("no release is in force")?;
                let entry = release.catalog().entry(entry.as_str()).ok_or("the catalog has no such tool")?;
                let offered = self.upstreams.tools(entry.upstream());
                let offered = offered.as_ref().and_then(|tools| tools.get(entry.tool()));
                let offered = offered.ok_or("its upstream doesn't offer the tool now")?;
                if !entry.accepts(&Digest::from_bytes(*offered.digest.as_bytes())) {
                    return Err(format!(
                        "tool_changed: nobody reviewed what `{}` is now; look at it with `placet catalog diff`",
                        entry.name()
                    ));
                }
                let arguments = reading_arguments(entry, arguments, filling)?;
                let errand = errand(entry.upstream(), entry.credential())?;
                let result = self.upstreams.read_tool(&errand, entry.tool(), &arguments).await;
                let result = result.map_err(|error| format!("`{}`: {error}", entry.name()))?;
                document_of(&result).map(Read::Document)
            }
            Reading::Get { upstream, path, credential } => {
                let path = path.fill(filling)?;
                let read = self.upstreams.read_document(&errand(upstream, credential)?, &path).await;
                match read.map_err(|error| format!("`{upstream}`: {error}"))? {
                    Document::Found(document) => Ok(Read::Document(document)),
                    Document::NotFound => Ok(Read::NotFound),
                }
            }
        }
    }
}

fn pays(credential: &Credential) -> Pays {
    match credential {
        Credential::Vault(name) => Pays::Vault(name.clone()),
        Credential::CallToken => Pays::CallToken,
        Credential::Process => Pays::Process,
        Credential::None => Pays::Nothing,
    }
}
