//! A source at work: messages become documents, documents become facts.

mod snapshot;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use placet_core::{Name, TenantId};
use placet_facts::{Change, Place, Transaction};
use placet_json::{Value, object, parse};
use secrecy::SecretString;
use sha2::{Digest as _, Sha256};
use tokio::{
    sync::{Notify, Semaphore, mpsc},
    task::AbortHandle,
    time::{Instant, sleep},
};
use url::Url;

use super::{
    Host, PolicyOf, Untaken,
    arrivals::{Arrivals, Op, Ticket},
    bundle::{Bundle, Modules, is_commit},
    diff::{Owned, changes},
    document::Path,
    http::Caller,
    link::{self, Backoff, Event},
    mapping::{Mapping, Told},
    status::{State, Status},
    wire::{DataUpdate, Entry, LIMITS, SaveMethod, text},
};

/// Messages that wait to be worked off, at most.
const QUEUE: usize = 1_024;
/// Fetches at once.
const FETCHES: usize = 32;
/// Changes that one step may lose because the facts don't admit them; more than that is one broken document.
const MAX_REFUSED: usize = 64;
/// How long to wait before a transaction that the ledger didn't take is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// The most bytes and changes of one transaction: a step of a document that is larger is written in parts, in order.
const MAX_TRANSACTION: (usize, usize) = (4 << 20, 50_000);
/// How long to wait before everything is fetched anew because something was lost on a connection that stands.
const LOST: Duration = Duration::from_secs(1);
/// How long to wait before facts that weren't admitted are tried again.
const UNADMITTED: Duration = Duration::from_secs(5);
/// Updates whose reports are still due, at most.
const MAX_REPORTS: usize = 1_024;

/// The settings of a source.
#[derive(Debug, Clone)]
pub struct SourceSettings {
    /// Its name; its transactions say `opal:NAME`.
    pub name: Name,
    /// The one tenant whose facts it may change.
    pub tenant: TenantId,
    /// The server.
    pub url: Url,
    /// Our token there.
    pub token: SecretString,
    /// A scope of the server, instead of its own data and policy.
    pub scope: Option<String>,
    /// Data topics.
    pub topics: Vec<String>,
    /// Directories of policy to follow; none for none.
    pub policy: Vec<String>,
    /// Further origins that entries may point to.
    pub fetch_from: Vec<Url>,
    /// `X-Shard-ID`.
    pub shard: Option<String>,
    /// Whether every update is reported to the server, beside the callbacks that it names itself.
    pub report: bool,
    /// Which places of the document are which facts.
    pub mapping: Mapping,
    /// Where the document is kept, so that what was pushed outlives a restart.
    pub snapshot: PathBuf,
}

/// A source at work.
pub struct Source {
    settings: Arc<SourceSettings>,
    label: Name,
    caller: Arc<Caller>,
    host: Arc<dyn Host>,
    arrivals: Arrivals,
    fetches: HashMap<Ticket, AbortHandle>,
    polls: Vec<AbortHandle>,
    slots: Arc<Semaphore>,
    owned: Owned,
    status: Status,
    refused: Told,
    connected: bool,
    /// Entries of the base configuration that aren't there yet; none while it isn't known.
    base: Option<BTreeSet<Ticket>>,
    complete: bool,
    /// Tickets of entries that nothing but fetching all can replace.
    lost: BTreeSet<u64>,
    /// A step that isn't written yet.
    due: Option<Step>,
    /// When what isn't in force yet is tried again.
    again: Option<Instant>,
    reports: Vec<Due>,
    internal: mpsc::Sender<Inner>,
    policy: Arc<Notify>,
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source").field("name", &self.settings.name).finish_non_exhaustive()
    }
}

/// What the source's own tasks tell it.
enum Inner {
    Config(DataUpdate),
    ConfigFailed { why: String, refused: bool },
    Fetched { ticket: Ticket, save: SaveMethod, value: Value },
    Failed { ticket: Ticket, why: String },
    Poll(Entry),
    Refetch,
    Policy { hash: String, outcome: Result<String, String> },
}

#[derive(Clone)]
struct Step {
    id: String,
    why: String,
}

impl Step {
    fn again() -> Self {
        Self { id: String::new(), why: "tried again".to_owned() }
    }
}

/// An update that somebody wants to be told about.
struct Due {
    id: Option<String>,
    callbacks: Vec<super::Callback>,
    entries: Vec<DueEntry>,
    failure_told: bool,
}

struct DueEntry {
    entry: Entry,
    ticket: Option<Ticket>,
    fetched: bool,
    failed: bool,
    saved: bool,
    hash: Option<String>,
}

/// Works until it is dropped.
pub(super) async fn follow(settings: SourceSettings, host: Arc<dyn Host>) -> Result<(), String> {
    let caller = Caller::new(
        settings.url.clone(),
        settings.token.clone(),
        &settings.fetch_from,
        settings.shard.clone(),
    )?;
    let label = Name::new(&format!("opal:{}", settings.name)).map_err(|error| error.to_string())?;
    let (internal, mut inner) = mpsc::channel(QUEUE);
    let (events, mut messages) = mpsc::channel(QUEUE);
    let snapshot = snapshot::newest(&settings, &*host).await;
    let mut source = Source {
        label,
        caller: Arc::new(caller),
        complete: snapshot.is_some(),
        arrivals: snapshot.map_or_else(Arrivals::default, Arrivals::new),
        fetches: HashMap::new(),
        polls: Vec::new(),
        slots: Arc::new(Semaphore::new(FETCHES)),
        owned: Owned::default(),
        status: Status::default(),
        refused: Told::default(),
        connected: false,
        base: None,
        lost: BTreeSet::new(),
        due: None,
        again: None,
        reports: Vec::new(),
        internal,
        policy: Arc::new(Notify::new()),
        settings: Arc::new(settings),
        host,
    };
    source.show();
    source.owned = source.what_it_owns().await;
    let topics = source.topics();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(link::keep(Arc::clone(&source.caller), topics, events));
    if !source.settings.policy.is_empty() {
        tasks.spawn(follow_policy(
            Arc::clone(&source.settings),
            Arc::clone(&source.caller),
            Arc::clone(&source.host),
            Arc::clone(&source.policy),
            source.internal.clone(),
        ));
    }
    loop {
        let moment = source.again;
        let again = async {
            match moment {
                Some(moment) => tokio::time::sleep_until(moment).await,
                None => std::future::pending::<()>().await,
            }
        };
        tokio::select! {
            Some(event) = messages.recv() => source.event(event).await,
            Some(event) = inner.recv() => source.inner(event).await,
            () = again => {
                let step = source.due.clone().unwrap_or_else(Step::again);
                source.commit(step).await;
            }
        }
        source.show();
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.fetches.values().chain(&self.polls).for_each(AbortHandle::abort);
    }
}

impl Source {
    fn topics(&self) -> Vec<String> {
        let SourceSettings { scope, policy, .. } = &*self.settings;
        let mut all = self.data_topics();
        match scope {
            Some(scope) if !policy.is_empty() => all.push(format!("{scope}:policy:.")),
            Some(_) => {}
            None => all.extend(policy.iter().map(|dir| format!("policy:{dir}"))),
        }
        all
    }
    fn data_topics(&self) -> Vec<String> {
        let SourceSettings { scope, topics, .. } = &*self.settings;
        topics
            .iter()
            .map(|topic| {
                scope.as_ref().map_or_else(|| topic.clone(), |scope| format!("{scope}:data:{topic}"))
            })
            .collect()
    }

    async fn what_it_owns(&self) -> Owned {
        let mut backoff = Backoff::default();
        loop {
            match self.host.owned(&self.label, &self.settings.tenant).await {
                Ok(owned) => return owned,
                Err(error) => {
                    tracing::error!(source = %self.label, error, "the journal can't be read for what this source wrote");
                    sleep(backoff.next()).await;
                }
            }
        }
    }

    fn show(&self) {
        let mut status = self.status.clone();
        status.unmapped.count = status.unmapped.count.saturating_add(self.refused.count);
        status.unmapped.some.extend(self.refused.some.iter().cloned());
        self.host.status(&self.settings.name, &status.shown());
    }

    async fn event(&mut self, event: Event) {
        // A token that was refused once isn't tried again.
        if self.status.state == State::Refused {
            return;
        }
        match event {
            Event::Alive => {}
            Event::Connected => {
                tracing::info!(source = %self.label, "connected; fetching everything");
                self.connected = true;
                self.refetch();
                self.policy.notify_one();
            }
            Event::Lost(why) => {
                if self.connected {
                    tracing::warn!(source = %self.label, why, "the connection is lost");
                }
                self.connected = false;
                self.base = None;
                self.stop_polls();
                self.status.state = State::Connecting;
                self.status.why = Some(why);
            }
            Event::Refused(why) => self.stop_for_good(&why),
            Event::Message { topic, data } if topic.starts_with("policy:") || topic.contains(":policy:") => {
                tracing::debug!(source = %self.label, topic, data = %text(&data), "policy moved");
                self.policy.notify_one();
            }
            Event::Message { data, .. } => match DataUpdate::read(&data) {
                Ok(update) => self.update(update).await,
                Err(error) => {
                    // What it was about is unknown: only everything anew is surely right.
                    tracing::error!(source = %self.label, %error, "an update isn't understood");
                    self.lose(0, format!("an update isn't understood: {error}"));
                }
            },
        }
    }

    async fn inner(&mut self, event: Inner) {
        match event {
            Inner::Config(config) => self.configured(config).await,
            Inner::ConfigFailed { why, refused: true } => self.stop_for_good(&why),
            Inner::ConfigFailed { why, refused: false } => self.status.why = Some(why),
            Inner::Fetched { ticket, save, value } => {
                let of_base = self.is_of_base(ticket);
                self.fetches.remove(&ticket);
                self.fetched(ticket, save, value);
                if !of_base || self.base_is_tried() {
                    let step = self.step_of(ticket);
                    self.commit(step).await;
                }
            }
            Inner::Failed { ticket, why } => {
                if self.fetches.contains_key(&ticket) {
                    let first = self.status.missing.insert(ticket.0, why.clone()).is_none();
                    if first {
                        tracing::warn!(source = %self.label, why, "an entry can't be fetched; it is tried again");
                    }
                    self.due_entry(ticket, |entry| entry.failed = true);
                    self.send_reports();
                    if first && self.is_of_base(ticket) && self.base_is_tried() {
                        let step = self.step_of(ticket);
                        self.commit(step).await;
                    }
                }
            }
            Inner::Poll(entry) => {
                let update = DataUpdate {
                    id: None,
                    entries: vec![entry],
                    reason: "periodic update".to_owned(),
                    callbacks: Vec::new(),
                };
                self.update(update).await;
            }
            Inner::Refetch => {
                if self.connected && self.status.state != State::Refused {
                    self.refetch();
                }
            }
            Inner::Policy { hash, outcome } => {
                match &outcome {
                    Ok(text) => tracing::info!(source = %self.label, hash, text, "a candidate release"),
                    Err(why) => {
                        tracing::error!(source = %self.label, hash, why, "no release comes of this policy");
                    }
                }
                self.status.policy = Some((hash, outcome));
            }
        }
        self.settle();
    }

    fn stop_for_good(&mut self, why: &str) {
        tracing::error!(source = %self.label, why, "the token is refused; give a new one and restart");
        self.connected = false;
        self.base = None;
        self.stop_polls();
        self.status.state = State::Refused;
        self.status.why = Some(format!("{why}: give `[[opal]] token` a token that is accepted, and restart"));
    }

    /// Reads the base configuration, until it is there.
    fn refetch(&mut self) {
        self.base = None;
        self.stop_polls();
        self.status.state = State::Fetching;
        self.status.why = Some("everything is fetched anew".to_owned());
        let (caller, internal) = (Arc::clone(&self.caller), self.internal.clone());
        let path = match &self.settings.scope {
            Some(scope) => format!("/scopes/{scope}/data"),
            None => "/data/config".to_owned(),
        };
        let task = tokio::spawn(async move {
            let mut backoff = Backoff::default();
            loop {
                let read = match caller.own(&path, &[]).await {
                    Ok(reply) => parse(&reply.body, &LIMITS)
                        .map_err(|error| error.to_string())
                        .and_then(|value| DataUpdate::read(&value).map_err(|error| error.to_string())),
                    Err(error) if error.is_refusal() => {
                        let why = error.to_string();
                        drop(internal.send(Inner::ConfigFailed { why, refused: true }).await);
                        return;
                    }
                    Err(error) => Err(error.to_string()),
                };
                match read {
                    Ok(config) => {
                        drop(internal.send(Inner::Config(config)).await);
                        return;
                    }
                    Err(why) => {
                        let why = format!("the base configuration can't be read: {why}");
                        if internal.send(Inner::ConfigFailed { why, refused: false }).await.is_err() {
                            return;
                        }
                    }
                }
                sleep(backoff.next()).await;
            }
        });
        self.polls.push(task.abort_handle());
    }

    async fn configured(&mut self, config: DataUpdate) {
        if !self.connected {
            return;
        }
        self.base = Some(BTreeSet::new());
        for entry in &config.entries {
            if let Some(every) = entry.every {
                let (internal, entry) = (self.internal.clone(), entry.clone());
                let every = every.max(AGAIN);
                let task = tokio::spawn(async move {
                    loop {
                        sleep(every).await;
                        if internal.send(Inner::Poll(entry.clone())).await.is_err() {
                            return;
                        }
                    }
                });
                self.polls.push(task.abort_handle());
            }
        }
        let step = Step { id: "base".to_owned(), why: "base configuration".to_owned() };
        let mut now = false;
        let topics = self.data_topics();
        for entry in config.entries.into_iter().filter(|entry| entry.concerns(&topics)) {
            if let Some((ticket, inline)) = self.take(&entry) {
                if !inline && let Some(base) = &mut self.base {
                    base.insert(ticket);
                }
                now |= inline;
            }
        }
        if now || self.base.as_ref().is_none_or(BTreeSet::is_empty) {
            self.settle();
            self.commit(step).await;
        }
    }

    async fn update(&mut self, update: DataUpdate) {
        self.status.updates = self.status.updates.saturating_add(1);
        let step = Step {
            id: update.id.clone().unwrap_or_default(),
            why: update.reason.chars().take(200).collect(),
        };
        let mut due =
            Due { id: update.id, callbacks: update.callbacks, entries: Vec::new(), failure_told: false };
        if self.settings.report {
            let url = self.caller.at("/data/callback_report", &[]);
            due.callbacks.push(super::Callback { url: url.into(), config: None });
        }
        let mut inline = false;
        let topics = self.data_topics();
        for entry in update.entries.into_iter().filter(|entry| entry.concerns(&topics)) {
            let taken = self.take(&entry);
            inline |= taken.is_some_and(|(_, inline)| inline);
            let hash = entry.data.as_ref().map(hash);
            due.entries.push(DueEntry {
                ticket: taken.map(|(ticket, _)| ticket),
                fetched: taken.is_some_and(|(_, inline)| inline),
                failed: taken.is_none(),
                saved: false,
                hash,
                entry,
            });
        }
        if !due.callbacks.is_empty() && self.reports.len() < MAX_REPORTS {
            self.reports.push(due);
        }
        if inline {
            self.commit(step).await;
        } else {
            self.send_reports();
        }
    }

    /// Takes an entry into the order of arrival; true if its data came along. None for what no rule is
    /// for.
    fn take(&mut self, entry: &Entry) -> Option<(Ticket, bool)> {
        let path = match Path::parse(&entry.dst_path) {
            Ok(path) if self.settings.mapping.concerns(&path) => path,
            Ok(path) => {
                tracing::warn!(source = %self.label, %path, "no rule of the mapping is for this path: refused");
                self.refused.add(|| path.to_string());
                return None;
            }
            Err(error) => {
                self.refused.add(|| error.to_string());
                return None;
            }
        };
        let ticket = match self.arrivals.arrive(path) {
            Ok(ticket) => ticket,
            Err(full) => {
                tracing::error!(source = %self.label, %full, "everything is fetched anew");
                for ticket in self.arrivals.clear() {
                    self.cancel(ticket);
                }
                self.lose(0, full.to_string());
                return None;
            }
        };
        if let Some(data) = &entry.data {
            self.arrived(ticket, entry.save, data.clone());
            return Some((ticket, true));
        }
        let (caller, internal, slots) =
            (Arc::clone(&self.caller), self.internal.clone(), Arc::clone(&self.slots));
        let wanted = entry.clone();
        let task = tokio::spawn(async move {
            let mut backoff = Backoff::default();
            loop {
                let slot = slots.acquire().await;
                let fetched = caller.fetch(&wanted.url, wanted.config.as_ref()).await;
                drop(slot);
                let (why, end) = match fetched {
                    Ok(reply) => match parse(&reply.body, &LIMITS) {
                        Ok(value) => {
                            drop(internal.send(Inner::Fetched { ticket, save: wanted.save, value }).await);
                            return;
                        }
                        Err(error) => (format!("what was fetched is no JSON: {error}"), false),
                    },
                    Err(error) => (error.to_string(), error.is_final()),
                };
                if internal.send(Inner::Failed { ticket, why }).await.is_err() || end {
                    return;
                }
                sleep(backoff.next()).await;
            }
        });
        self.fetches.insert(ticket, task.abort_handle());
        Some((ticket, false))
    }

    fn fetched(&mut self, ticket: Ticket, save: SaveMethod, value: Value) {
        let print = hash(&value);
        self.due_entry(ticket, |entry| {
            (entry.fetched, entry.failed) = (true, false);
            entry.hash = Some(print);
        });
        self.arrived(ticket, save, value);
    }
    fn arrived(&mut self, ticket: Ticket, save: SaveMethod, value: Value) {
        let op = match save {
            SaveMethod::Put => Op::Put(value),
            SaveMethod::Patch => Op::Patch(value),
        };
        for replaced in self.arrivals.resolve(ticket, op) {
            self.cancel(replaced);
        }
        self.status.missing.remove(&ticket.0);
        if let Some(base) = &mut self.base {
            base.remove(&ticket);
        }
    }
    /// What a ticket waits for isn't needed any more.
    fn cancel(&mut self, ticket: Ticket) {
        if let Some(task) = self.fetches.remove(&ticket) {
            task.abort();
        }
        self.status.missing.remove(&ticket.0);
        if let Some(base) = &mut self.base {
            base.remove(&ticket);
        }
        self.due_entry(ticket, |entry| entry.failed = true);
    }

    /// Something is gone that no later message brings: fetch everything.
    fn lose(&mut self, ticket: u64, why: String) {
        self.lost.insert(ticket);
        self.status.missing.insert(ticket, why);
        let internal = self.internal.clone();
        let task = tokio::spawn(async move {
            sleep(LOST).await;
            drop(internal.send(Inner::Refetch).await);
        });
        self.polls.push(task.abort_handle());
    }

    fn is_of_base(&self, ticket: Ticket) -> bool {
        self.base.as_ref().is_some_and(|base| base.contains(&ticket))
    }
    /// Whether each entry of the base configuration was tried at least once: its parts come into force together.
    fn base_is_tried(&self) -> bool {
        let tried = |ticket: &Ticket| self.status.missing.contains_key(&ticket.0);
        self.base.as_ref().is_none_or(|base| base.iter().all(tried))
    }

    fn settle(&mut self) {
        if !self.connected || self.status.state == State::Refused {
            return;
        }
        let Some(base) = &self.base else { return };
        if base.is_empty() {
            if !self.complete || self.status.state != State::Live {
                for ticket in std::mem::take(&mut self.lost) {
                    self.status.missing.remove(&ticket);
                }
            }
            self.complete = true;
        }
        if self.base_is_tried() {
            self.status.state = State::Live;
            self.status.why = None;
        }
    }

    fn step_of(&self, ticket: Ticket) -> Step {
        let due =
            self.reports.iter().find(|due| due.entries.iter().any(|entry| entry.ticket == Some(ticket)));
        let id = due.and_then(|due| due.id.clone()).unwrap_or_default();
        Step { id, why: "fetched data".to_owned() }
    }

    fn due_entry(&mut self, ticket: Ticket, change: impl FnOnce(&mut DueEntry)) {
        let entries = self.reports.iter_mut().flat_map(|due| due.entries.iter_mut());
        if let Some(entry) = { entries }.find(|entry| entry.ticket == Some(ticket)) {
            change(entry);
        }
    }

    /// Makes the facts say what the document says: at most one transaction for people and one for the tenant.
    async fn commit(&mut self, step: Step) {
        let (document, wrong) = self.arrivals.fold();
        for (ticket, error) in wrong {
            tracing::error!(source = %self.label, %error, "an update doesn't fit the document; everything is fetched anew");
            self.lose(ticket.0, error.to_string());
            self.due_entry(ticket, |entry| entry.failed = true);
        }
        self.settle();
        if let Err(error) = snapshot::write_snapshot(&self.settings.snapshot, &document).await {
            tracing::error!(source = %self.label, error, "the document can't be kept");
        }
        if let Err(error) = self.host.keep(&self.settings.name, document.to_bytes()).await {
            tracing::error!(source = %self.label, error, "the document can't be kept for other gateways");
        }
        let mapped = self.settings.mapping.facts(&document);
        if mapped.unmapped.count > self.status.unmapped.count {
            tracing::warn!(source = %self.label, paths = ?mapped.unmapped.some, "no rule of the mapping is for these paths: refused");
        }
        self.status.unmapped = mapped.unmapped.clone();
        let world = self.host.world();
        let changes = changes(&mapped, &self.owned, &world, &self.settings.tenant, self.complete);
        let mut told = mapped.wrong.clone();
        for text in changes.wrong.some {
            told.add(|| text);
        }
        let tenant = Place::Tenant(self.settings.tenant.clone());
        let base = world.revision().0;
        for (place, list) in [(Place::Organisation, changes.organisation), (tenant, changes.tenant)] {
            let mut list = list;
            while !list.is_empty() {
                let rest = list.split_off(fitting(&list));
                if let Err(down) = self.write(&place, list, &step, base, &mut told).await {
                    tracing::error!(source = %self.label, down, "changes wait: the ledger takes none");
                    self.status.missing.insert(u64::MAX, format!("the ledger takes no changes: {down}"));
                    self.due = Some(step);
                    self.again = Instant::now().checked_add(AGAIN);
                    return;
                }
                list = rest;
            }
        }
        self.due = None;
        // What the facts don't admit today they may admit once a tenant or a person is there.
        self.again = (told.count > 0).then(|| Instant::now().checked_add(UNADMITTED)).flatten();
        self.status.missing.remove(&u64::MAX);
        if told.count > 0 && told != self.status.wrong {
            tracing::error!(source = %self.label, some = ?told.some, count = told.count, "parts of the document can't be used as facts");
        }
        self.status.wrong = told;
        let unmapped = &self.status.unmapped.some;
        for entry in self.reports.iter_mut().flat_map(|due| due.entries.iter_mut()) {
            if entry.fetched && !entry.failed {
                let path =
                    Path::parse(&entry.entry.dst_path).map(|path| path.to_string()).unwrap_or_default();
                entry.saved = !unmapped.iter().any(|other| other.starts_with(&path));
                entry.failed = !entry.saved;
            }
        }
        self.send_reports();
    }

    /// Writes a transaction; a change that the facts don't admit is left out and told, so that it keeps no other back.
    async fn write(
        &mut self,
        place: &Place,
        mut list: Vec<Change>,
        step: &Step,
        base: u64,
        told: &mut Told,
    ) -> Result<(), String> {
        let mut refused = 0;
        while !list.is_empty() {
            let content = Value::Array(list.iter().map(Change::to_value).collect()).to_bytes();
            let content = hex::encode(Sha256::digest(&content));
            let key = format!("{}|{}|{base}|{place}|{content}", self.label, step.id);
            let key =
                format!("opal:{}", hex::encode(Sha256::digest(key.as_bytes()).get(..20).unwrap_or_default()));
            let transaction = Transaction {
                place: place.clone(),
                changes: list.clone(),
                author: self.label.clone(),
                source: self.label.clone(),
                why: if step.id.is_empty() {
                    step.why.clone()
                } else {
                    format!("{}: {}", step.id.chars().take(80).collect::<String>(), step.why)
                },
                idempotency_key: Name::new(&key).ok(),
            };
            match self.host.transact(transaction.clone()).await {
                Ok(_) => {
                    self.owned.note(&transaction);
                    self.status.transactions = self.status.transactions.saturating_add(1);
                    return Ok(());
                }
                Err(Untaken::Down(why)) => return Err(why),
                Err(Untaken::Moved) => return Err(Untaken::Moved.to_string()),
                Err(Untaken::Change(error)) => {
                    told.add(|| error.to_string());
                    refused = usize::saturating_add(refused, 1);
                    let at = error
                        .path
                        .strip_prefix("/changes/")
                        .and_then(|rest| rest.split('/').next())
                        .and_then(|at| at.parse::<usize>().ok())
                        .filter(|at| *at < list.len());
                    match at {
                        Some(at) if refused <= MAX_REFUSED => {
                            list.remove(at);
                        }
                        Some(_) | None => return Ok(()),
                    }
                }
            }
        }
        Ok(())
    }

    /// Sends what is due: once all entries of an update are in force, and before that once if one of them failed.
    fn send_reports(&mut self) {
        let mut ready = Vec::new();
        self.reports.retain_mut(|due| {
            let over = due.entries.iter().all(|entry| entry.saved || entry.ticket.is_none());
            let tried = due.entries.iter().all(|entry| entry.saved || entry.failed);
            if over || (tried && !due.failure_told) {
                due.failure_told = true;
                ready.push((report(due), due.callbacks.clone()));
            }
            let fetching =
                |entry: &DueEntry| entry.ticket.is_some_and(|ticket| self.fetches.contains_key(&ticket));
            !over && (!tried || due.entries.iter().any(fetching))
        });
        for (report, callbacks) in ready {
            let caller = Arc::clone(&self.caller);
            let label = self.label.clone();
            tokio::spawn(async move {
                for callback in callbacks {
                    if let Err(error) = caller.report(&callback.url, callback.config.as_ref(), &report).await
                    {
                        tracing::warn!(source = %label, %error, "a report can't be sent");
                    }
                }
            });
        }
    }

    fn stop_polls(&mut self) {
        for task in self.polls.drain(..) {
            task.abort();
        }
    }
}

/// How many of these changes fit into one transaction; at least one.
pub(crate) fn fitting(list: &[Change]) -> usize {
    let (most_bytes, most) = MAX_TRANSACTION;
    let mut bytes = 0_usize;
    let fits = list.iter().take(most).take_while(|change| {
        bytes = bytes.saturating_add(change.to_value().to_bytes().len());
        bytes <= most_bytes
    });
    fits.count().max(1)
}

fn report(due: &Due) -> Value {
    let reports = due.entries.iter().map(|entry| {
        let topics = entry.entry.topics.iter().map(|topic| Value::from(topic.as_str())).collect();
        // Neither data nor credentials go back.
        let told = object! {
            "url" => entry.entry.url.split('?').next().unwrap_or_default(), "topics" => Value::Array(topics),
            "dst_path" => entry.entry.dst_path.as_str(),
            "save_method" => if entry.entry.save == SaveMethod::Put { "PUT" } else { "PATCH" },
        };
        let hash = entry.hash.as_deref().map_or(Value::Null, Value::from);
        Value::from(
            object! { "entry" => told, "fetched" => entry.fetched, "saved" => entry.saved, "hash" => hash },
        )
    });
    let id = due.id.as_deref().map_or(Value::Null, Value::from);
    object! { "update_id" => id, "reports" => Value::Array(reports.collect()), "policy_hash" => Value::Null, "user_data" => placet_json::Object::new() }
        .into()
}

/// SHA-256 of the canonical form; of the text where there is none.
fn hash(value: &Value) -> String {
    let bytes =
        value.canonical().map_or_else(|_| value.to_bytes(), |canonical| canonical.as_bytes().to_vec());
    hex::encode(Sha256::digest(&bytes))
}

/// Fetches bundles whenever it is told to, one at a time, until each is a candidate or known to be broken.
async fn follow_policy(
    settings: Arc<SourceSettings>,
    caller: Arc<Caller>,
    host: Arc<dyn Host>,
    moved: Arc<Notify>,
    internal: mpsc::Sender<Inner>,
) {
    let (mut at, mut modules): (Option<String>, Modules) = (None, BTreeMap::new());
    loop {
        moved.notified().await;
        let mut backoff = Backoff::default();
        loop {
            match bundle(&settings, &caller, at.as_deref(), &modules).await {
                Ok((hash, next)) => {
                    let unmoved = at.as_deref() == Some(hash.as_str());
                    (at, modules) = (Some(hash.clone()), next);
                    if !unmoved {
                        let policy = PolicyOf {
                            source: settings.name.clone(),
                            hash: hash.clone(),
                            modules: modules.clone(),
                        };
                        let outcome = host.candidate(policy).await;
                        drop(internal.send(Inner::Policy { hash, outcome }).await);
                    }
                    break;
                }
                Err((why, full)) => {
                    if full {
                        (at, modules) = (None, BTreeMap::new());
                    }
                    tracing::warn!(source = %settings.name, why, "the policy bundle can't be fetched; it is tried again");
                    let outcome = Err(format!("the bundle can't be used: {why}"));
                    drop(
                        internal.send(Inner::Policy { hash: at.clone().unwrap_or_default(), outcome }).await,
                    );
                }
            }
            sleep(backoff.next()).await;
        }
    }
}

/// The newest modules; on an error whether the next attempt must be for all.
async fn bundle(
    settings: &SourceSettings,
    caller: &Caller,
    at: Option<&str>,
    modules: &Modules,
) -> Result<(String, Modules), (String, bool)> {
    let path = settings
        .scope
        .as_ref()
        .map_or_else(|| "/policy".to_owned(), |scope| format!("/scopes/{scope}/policy"));
    let mut query: Vec<(&str, &str)> = settings.policy.iter().map(|dir| ("path", dir.as_str())).collect();
    if let Some(at) = at.filter(|at| is_commit(at)) {
        query.push(("base_hash", at));
    }
    let reply = caller.own(&path, &query).await.map_err(|error| (error.to_string(), true))?;
    let bundle = Bundle::read(&reply.body).map_err(|error| (error.to_string(), true))?;
    let next = bundle.onto(at, modules).map_err(|error| (error.to_string(), true))?;
    Ok((bundle.hash, next))
}
