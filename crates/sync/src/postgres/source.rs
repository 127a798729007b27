//! A source at work: rows are read, and what they say is written as facts.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use placet_core::{HumanId, Name, Revision, TenantId, Timestamp};
use placet_facts::{Change, Place, Transaction};
use placet_json::{Limits, Value};
use placet_store::{Foreign, ForeignReader, Prepared, ReadStopped};
use sha2::{Digest as _, Sha256};
use tokio::{
    sync::Notify,
    time::{Instant, sleep, timeout},
};

use super::{
    Age, Host, Untaken,
    image::{About, Image, shown, touch},
    mapping::Tables,
    status::{Shown, State},
};
use crate::opal::{Owned, Told, changes, diff::Touched, link::Backoff, source::fitting};

/// How often a write is tried anew because the facts moved, before the turn is given up.
const TRIES: usize = 16;
/// Changes that one turn may leave out because the facts don't admit them.
const MAX_UNADMITTED: usize = 64;
/// The shortest time between two turns, however often the database announces changes.
const BREATH: Duration = Duration::from_millis(50);
/// The most moments of the past of which the newest versions are remembered.
const MAX_MARKS: usize = 4_096;

/// The settings of a source.
#[derive(Debug)]
pub struct SourceSettings {
    /// Its name; its transactions say `postgres:NAME`.
    pub name: Name,
    /// The database.
    pub database: Foreign,
    /// Which rows are which facts, and of which tenants.
    pub tables: Tables,
    /// How often it is asked what is new.
    pub interval: Duration,
    /// How often everything is read.
    pub sweep: Duration,
    /// How long a transaction of the database may take from its version to its commit.
    pub overlap: Duration,
    /// The most rows that are kept in mind.
    pub rows: usize,
    /// The most bytes of rows of one turn.
    pub bytes: u64,
    /// The most bytes of one row.
    pub row_bytes: usize,
}

struct Source {
    settings: SourceSettings,
    label: Name,
    host: Arc<dyn Host>,
    wake: Arc<Notify>,
    connection: Option<(ForeignReader, Vec<Prepared>)>,
    image: Image,
    /// What this source's transactions left, by tenant; people in each.
    owned: BTreeMap<TenantId, Owned>,
    /// Up to which position of the journal `owned` goes, and positions after it that are in it already.
    noted: u64,
    own: BTreeSet<u64>,
    /// Newest versions of the tables, and when they were that.
    marks: VecDeque<(Instant, Vec<Option<String>>)>,
    /// When everything was read last: as the clock of this machine, and of the host.
    swept: Option<(Instant, Timestamp)>,
    /// As of when everything was read that the facts say.
    known: Option<Timestamp>,
    /// Everything is to be read in the next turn.
    all: bool,
    /// Facts that others wrote under this source's name, to be held against the next reading of everything.
    doubted: BTreeMap<TenantId, Touched>,
    /// What can't be a fact though its row can, by tenant.
    unadmitted: BTreeMap<TenantId, Told>,
    status: Shown,
}

/// How a write ended.
enum Written {
    Done,
    /// Another gateway wrote since the reading began: what was read may be older than what is written.
    Outdated,
}

/// Works until it is dropped.
pub async fn run(settings: SourceSettings, host: Arc<dyn Host>) -> Result<(), String> {
    let label = Name::new(&format!("postgres:{}", settings.name)).map_err(|error| error.to_string())?;
    let mut source = Source {
        owned: settings.tables.tenants.iter().map(|tenant| (tenant.clone(), Owned::default())).collect(),
        settings,
        label,
        host,
        wake: Arc::new(Notify::new()),
        connection: None,
        image: Image::default(),
        noted: 0,
        own: BTreeSet::new(),
        marks: VecDeque::new(),
        swept: None,
        known: None,
        all: true,
        doubted: BTreeMap::new(),
        unadmitted: BTreeMap::new(),
        status: Shown::default(),
    };
    let mut backoff = Backoff::default();
    loop {
        let failed = source.turn().await.err();
        source.show(failed.as_deref());
        if let Some(why) = failed {
            source.connection = None;
            tracing::warn!(source = %source.label, why, "the database of facts can't be read; it is tried again");
            sleep(backoff.next().max(BREATH)).await;
        } else {
            backoff = Backoff::default();
            sleep(BREATH).await;
            drop(timeout(source.settings.interval.saturating_sub(BREATH), source.wake.notified()).await);
        }
    }
}

/// Looks whether the database can be reached and has what the mapping reads: one line a table that has a problem.
pub async fn check(database: &Foreign, tables: &Tables) -> Result<(), String> {
    let reader = database.connect(Arc::default()).await.map_err(|error| error.to_string())?;
    prepare(&reader, tables).await.map(drop)
}

async fn prepare(reader: &ForeignReader, tables: &Tables) -> Result<Vec<Prepared>, String> {
    let mut prepared = Vec::new();
    for table in tables.tables() {
        let one = reader.prepare(&table.spec).await;
        prepared.push(one.map_err(|error| format!("`{}`: {error}", table.name))?);
    }
    Ok(prepared)
}

impl Source {
    /// Reads and writes once. What is written is what was read to its end.
    async fn turn(&mut self) -> Result<(), String> {
        self.catch_up(None).await?;
        for _ in 0..TRIES {
            let began = self.host.world().revision().0;
            self.read().await?;
            if let Written::Done = self.write(began).await? {
                return Ok(());
            }
            self.all = true;
        }
        Err("other gateways write all the time; what was read is always older".to_owned())
    }

    async fn read(&mut self) -> Result<(), String> {
        if self.connection.as_ref().is_none_or(|(reader, _)| reader.is_closed()) {
            let reader = self.settings.database.connect(Arc::clone(&self.wake)).await;
            let reader = reader.map_err(|error| error.to_string())?;
            let prepared = prepare(&reader, &self.settings.tables).await?;
            self.connection = Some((reader, prepared));
            // It may be another server now, or one that was restored.
            self.all = true;
        }
        let due = self.swept.is_none_or(|(at, _)| at.elapsed() >= self.settings.sweep);
        let since = self.since();
        let all = self.all || due || since.is_none();
        let since = since.filter(|_| !all);
        let (at, began) = (Instant::now(), self.host.now());
        let Self { connection, settings, image, status, doubted, .. } = self;
        let Some((reader, prepared)) = connection else { return Err("there is no connection".to_owned()) };
        let limits = Limits { bytes: settings.row_bytes, depth: 16, members: 4_096 };
        let (mut bytes, mut count) = (0_u64, 0_usize);
        let moment = reader.moment().await.map_err(|error| error.to_string())?;
        image.begin();
        if all {
            // Compared with all that is there.
            for (tenant, doubted) in std::mem::take(doubted) {
                image.touched.entry(tenant).or_default().join(doubted);
            }
        }
        let mut newest = Vec::new();
        for (table, (prepared, of)) in (0_u16..).zip(prepared.iter().zip(&settings.tables.tables)) {
            let since =
                since.as_ref().and_then(|since| since.get(usize::from(table))).and_then(Option::as_deref);
            let take = |row: placet_store::ForeignRow| {
                bytes = bytes.saturating_add(row.document.as_ref().map_or(0, |text| text.len() as u64));
                status.read = status.read.saturating_add(1);
                if bytes > settings.bytes {
                    return Err(format!(
                        "more than {} bytes are read at once: raise `max_bytes`, or map less",
                        settings.bytes
                    ));
                }
                count = count.saturating_add(1);
                if count > settings.rows {
                    return Err(too_many(settings.rows));
                }
                image.take(table, &settings.tables, row, &limits);
                Ok(())
            };
            match moment.rows(prepared, since, take).await {
                Ok(()) => {}
                Err(ReadStopped::Database(error)) => return Err(format!("`{}`: {error}", of.name)),
                Err(ReadStopped::Taker(why)) => {
                    let why = format!("`{}`: {why}", of.name);
                    drop(moment);
                    self.forget();
                    return Err(why);
                }
            }
            newest.push(moment.newest(prepared).await.map_err(|error| format!("`{}`: {error}", of.name))?);
        }
        drop(moment);
        if all {
            image.end(|_| true);
            self.swept = Some((at, began));
            self.all = false;
        } else {
            // A table without versions was read to its end all the same.
            image.end(|table| {
                settings.tables.tables.get(usize::from(table)).is_some_and(|of| of.spec.version.is_none())
            });
        }
        if self.image.len() > self.settings.rows {
            self.forget();
            return Err(too_many(self.settings.rows));
        }
        self.marks.push_back((at, newest));
        let overlap = self.settings.overlap;
        // The newest of those that are old enough stays.
        while self.marks.len() > MAX_MARKS || self.marks.get(1).is_some_and(|(at, _)| at.elapsed() >= overlap)
        {
            self.marks.pop_front();
        }
        self.status.swept = self.swept.map(|(_, at)| at);
        self.known = Some(self.complete(began));
        Ok(())
    }

    /// Lets go of all rows: they are more than may be kept. What was written of them is held against the next reading.
    fn forget(&mut self) {
        self.image = Image::default();
        for (tenant, owned) in &self.owned {
            self.doubted.entry(tenant.clone()).or_default().join(owned.all());
        }
        self.all = true;
    }

    /// From which versions on rows are read again: whatever is written by a transaction that is no longer than the overlap
    /// has a version that is no older. None while no such versions are known.
    fn since(&self) -> Option<Vec<Option<String>>> {
        let (at, newest) = self.marks.front()?;
        (at.elapsed() >= self.settings.overlap).then(|| newest.clone())
    }

    /// As of when everything is known, if it is read as of `began`.
    fn complete(&self, began: Timestamp) -> Timestamp {
        let swept = self.swept.map_or(began, |(_, at)| at);
        if self.settings.tables.needs_sweeps() { swept } else { began }
    }

    /// Takes note of what was written under this source's name, here or by other gateways. Whether anybody else wrote
    /// after the position `since`.
    async fn catch_up(&mut self, since: Option<u64>) -> Result<bool, String> {
        let mut others = false;
        loop {
            let world = self.host.world().revision().0;
            if self.noted >= world {
                return Ok(others);
            }
            let (upto, page) = self.host.written(&self.label, self.noted).await?;
            for (at, transaction) in page {
                if self.own.remove(&at) {
                    continue;
                }
                others |= since.is_some_and(|since| at > since);
                self.note(&transaction);
                self.doubt(&transaction);
            }
            if upto <= self.noted {
                return Err("the journal's end can't be read yet".to_owned());
            }
            self.noted = upto;
        }
    }

    fn note(&mut self, transaction: &Transaction) {
        for (tenant, owned) in &mut self.owned {
            let here = match &transaction.place {
                Place::Organisation => true,
                Place::Tenant(id) => id == tenant,
            };
            if here {
                owned.note(transaction);
            }
        }
    }

    /// What others wrote, or this gateway before it started: it is held against the rows once all of them were read.
    fn doubt(&mut self, transaction: &Transaction) {
        for tenant in &self.settings.tables.tenants {
            let here = match &transaction.place {
                Place::Organisation => true,
                Place::Tenant(id) => id == tenant,
            };
            if here {
                let doubted = self.doubted.entry(tenant.clone()).or_default();
                transaction.changes.iter().filter_map(about).for_each(|about| touch(doubted, &about));
            }
        }
    }

    /// Makes the facts say what the rows say.
    async fn write(&mut self, began: u64) -> Result<Written, String> {
        self.unadmitted.clear();
        for tenant in self.settings.tables.tenants.clone() {
            if self.image.touched.get(&tenant).is_none_or(Touched::is_empty) {
                continue;
            }
            if let Written::Outdated = self.write_tenant(&tenant, began).await? {
                return Ok(Written::Outdated);
            }
        }
        Ok(Written::Done)
    }

    async fn write_tenant(&mut self, tenant: &TenantId, began: u64) -> Result<Written, String> {
        let mut left_out = Touched::default();
        let mut told = Told::default();
        let mut tries = 0_usize;
        loop {
            tries = tries.saturating_add(1);
            if tries > TRIES.saturating_add(MAX_UNADMITTED) {
                return Err("the facts move all the time".to_owned());
            }
            let world = self.host.world();
            let mut touched = self.image.touched.get(tenant).cloned().unwrap_or_default().without(&left_out);
            let elsewhere = |human: &&HumanId| {
                world.organisation().human(human).is_some_and(|known| known.home != *tenant)
            };
            for human in touched.people.iter().filter(elsewhere).cloned().collect::<Vec<_>>() {
                let about = About::Person(human);
                if self.image.gives(tenant, &about) {
                    left_out.join(self.image.beside(tenant, &about));
                    told.add(|| "a person belongs to another tenant".to_owned());
                }
            }
            let (_, contradicted) = self.image.say(tenant, &touched);
            for (about, why) in contradicted {
                left_out.join(self.image.beside(tenant, &about));
                told.add(|| why);
            }
            touched = touched.without(&left_out);
            // A resource takes its relationships along.
            let tuples = self.image.tuples_of(tenant, &touched.resources);
            touched.tuples.extend(tuples);
            touched = touched.without(&left_out);
            let (said, _) = self.image.say(tenant, &touched);
            let complete = self.image.refused_of(tenant).next().is_none();
            let all = self.owned.get(tenant).cloned().unwrap_or_default();
            let diff = changes(&said, &all.within(&touched), &world, tenant, complete);
            let wrong = diff.wrong.count;
            for why in diff.wrong.some {
                told.add(|| why);
            }
            if diff.organisation.is_empty() && diff.tenant.is_empty() {
                // What is left out, or waits for a row that can't be read, is looked at again.
                if complete && wrong == 0 {
                    self.image.touched.insert(tenant.clone(), left_out);
                }
                if told.count > 0 {
                    self.unadmitted.insert(tenant.clone(), told);
                }
                return Ok(Written::Done);
            }
            if self.catch_up(Some(began)).await? {
                return Ok(Written::Outdated);
            }
            // What was just noted may belong to a newer moment than `world`: the write is refused then.
            let (place, list, on) = if diff.organisation.is_empty() {
                let on = world.tenant(tenant).map_or(Revision(0), |facts| facts.revision());
                (Place::Tenant(tenant.clone()), diff.tenant, on)
            } else {
                (Place::Organisation, diff.organisation, world.organisation().revision())
            };
            match self.transact(&place, list, on).await {
                Ok(()) | Err(Unwritten::Moved) => {}
                Err(Unwritten::Down(why)) => return Err(format!("the ledger takes no changes: {why}")),
                Err(Unwritten::Refused(change, why)) => {
                    let about = change.as_deref().and_then(about);
                    tracing::error!(source = %self.label, why, "a row isn't admitted as facts");
                    told.add(|| why);
                    match about {
                        Some(about) if told.count <= MAX_UNADMITTED => {
                            left_out.join(self.image.beside(tenant, &about));
                        }
                        _ => {
                            self.unadmitted.insert(tenant.clone(), told);
                            return Ok(Written::Done);
                        }
                    }
                }
            }
        }
    }

    /// Writes changes, in parts where they are too many for one transaction.
    async fn transact(&mut self, place: &Place, list: Vec<Change>, on: Revision) -> Result<(), Unwritten> {
        let (mut list, mut on) = (list, on);
        while !list.is_empty() {
            let rest = list.split_off(fitting(&list));
            let content = Value::Array(list.iter().map(Change::to_value).collect()).to_bytes();
            let content = hex::encode(Sha256::digest(&content));
            let key = Sha256::digest(format!("{}|{place}|{}|{content}", self.label, on.0).as_bytes());
            let key = format!("postgres:{}", hex::encode(key.get(..20).unwrap_or_default()));
            let transaction = Transaction {
                place: place.clone(),
                changes: list,
                author: self.label.clone(),
                source: self.label.clone(),
                why: format!("rows of `{}`", self.settings.name),
                idempotency_key: Name::new(&key).ok(),
            };
            match self.host.transact(transaction.clone(), on).await {
                Ok(revision) => {
                    // Another gateway's, if it was the same at the same place: noted when it is read.
                    if revision.0 > self.noted {
                        self.own.insert(revision.0);
                        self.note(&transaction);
                    }
                    self.status.transactions = self.status.transactions.saturating_add(1);
                    on = revision;
                }
                Err(Untaken::Moved) => return Err(Unwritten::Moved),
                Err(Untaken::Down(why)) => return Err(Unwritten::Down(why)),
                Err(Untaken::Change(error)) => {
                    let at = error.path.strip_prefix("/changes/").and_then(|rest| rest.split('/').next());
                    let at = at.and_then(|at| at.parse::<usize>().ok());
                    let change = at.and_then(|at| transaction.changes.get(at)).cloned().map(Box::new);
                    return Err(Unwritten::Refused(change, error.to_string()));
                }
            }
            list = rest;
        }
        Ok(())
    }

    /// Tells the host how the source is; `failed`: why the last turn ended early.
    fn show(&mut self, failed: Option<&str>) {
        let status = &mut self.status;
        status.rows = self.image.len() as u64;
        status.foreign = self.image.foreign();
        status.refused = Told::default();
        let name = |table: u16| {
            self.settings.tables.tables.get(usize::from(table)).map_or("a table", |table| table.name.as_str())
        };
        for ((table, key), why) in self.image.refused() {
            status.refused.add(|| format!("{} {}: {why}", name(*table), shown(key)));
        }
        for why in self.unadmitted.values().flat_map(|told| &told.some) {
            status.refused.add(|| why.clone());
        }
        if failed.is_some() {
            status.failures = status.failures.saturating_add(1);
        }
        (status.state, status.why) = match (failed, status.refused.some.first()) {
            (Some(why), _) => (State::Connecting, Some(why.to_owned())),
            (None, Some(why)) => (State::Gap, Some(why.clone())),
            (None, None) => (State::Live, None),
        };
        for tenant in &self.settings.tables.tenants {
            let refused = self.image.refused_of(tenant).next();
            let refused =
                refused.map(|((table, key), why)| format!("{} {}: {why}", name(*table), shown(key)));
            let unadmitted = || self.unadmitted.get(tenant).and_then(|told| told.some.first().cloned());
            let gap = refused.or_else(unadmitted);
            let age = match (failed, &gap, self.known) {
                (Some(why), ..) => Age::Broken(why),
                (None, Some(why), _) => Age::Gap(why),
                (None, None, Some(at)) => Age::Seen(at),
                (None, None, None) => continue,
            };
            self.host.age(&self.settings.name, tenant, age);
        }
        self.host.status(&self.settings.name, &self.status);
    }
}

fn too_many(rows: usize) -> String {
    format!("there are more than {rows} rows: raise `max_rows`, or map less")
}

/// Why changes aren't written.
enum Unwritten {
    Moved,
    Down(String),
    /// Which of them, if that is known, and why.
    Refused(Option<Box<Change>>, String),
}

/// What a change of ours is about.
#[expect(clippy::wildcard_enum_match_arm, reason = "a source makes no other changes")]
fn about(change: &Change) -> Option<About> {
    Some(match change {
        Change::HumanSet(human) => About::Person(human.id.clone()),
        Change::HumanStanding { human, .. } => About::Person(human.clone()),
        Change::AssignmentSet(assignment) => About::Assignment(assignment.human.clone()),
        Change::AssignmentRemoved(human) => About::Assignment(human.clone()),
        Change::ResourceSet(resource) => About::Resource(resource.at.clone()),
        Change::ResourceRemoved(at) => About::Resource(at.clone()),
        Change::TupleAdded(tuple) | Change::TupleRemoved(tuple) => About::Tuple(tuple.clone()),
        _ => return None,
    })
}
