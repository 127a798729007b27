//! What the gateways of a database have in common besides the journal, and the sign that this one is alive.

use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use placet_ledger::frame::genesis;
use tokio::sync::{Notify, mpsc};
use tokio_postgres::types::Type;
use tokio_postgres::{AsyncMessage, Client};

use super::fleet::{self, About};
use super::session::{lease_ms, register};
use super::{DatabaseError, Link, Postgres, schema, signed, tell, unsigned};
use crate::open::random;

/// The first and the longest wait before a connection is tried again.
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// What is forgotten is deleted with every so many signs of life, so many rows at once.
const PURGE_EVERY: u32 = 8;
/// By the callers' clock, but never ahead of the database's: one gateway's wrong clock makes nobody forget.
const PURGE: &str = "DELETE FROM placet_used WHERE ctid IN (SELECT ctid FROM placet_used
  WHERE forget_at <= least($1, floor(extract(epoch FROM clock_timestamp()))::bigint) LIMIT 20000)";
const PURGE_CODES: &str = "DELETE FROM placet_code WHERE expires_at <= least($1, floor(extract(epoch FROM clock_timestamp()))::bigint)";
/// Notices that wait. One that finds no room is dropped: it only wakes, and there are enough that do.
const MAX_NOTICES: usize = 64;
/// A sign of life. A lease that has ended stays so: others may have ended its warrants.
const ALIVE: &str =
    "UPDATE placet_gateway SET lease_until = clock_timestamp() + $2 * interval '1 millisecond'
  WHERE id = $1 AND lease_until > clock_timestamp()";
const LEAVE: &str = "UPDATE placet_gateway SET lease_until = clock_timestamp() WHERE id = $1 AND lease_until > clock_timestamp()";
const LAPSED: &str = "SELECT p FROM unnest($1) AS p WHERE (
    SELECT g.lease_until <= clock_timestamp() FROM placet_journal j JOIN placet_gateway g ON g.id = j.gateway
    WHERE j.first <= p ORDER BY j.first DESC LIMIT 1)";

/// A connection to the database of several gateways. Cheap to clone; the thread behind it ends with the last clone.
///
/// It reconnects by itself; meanwhile every question fails.
#[derive(Clone)]
pub struct Commons(Arc<Inner>);

struct Inner {
    database: Postgres,
    client: Mutex<Option<Arc<Client>>>,
    /// The number of the lease under which this gateway writes.
    gateway: AtomicI64,
    /// What is called when another gateway changed something, by channel.
    notices: Mutex<Vec<(&'static str, Notice)>>,
    /// Unix seconds, as told by whoever uses proofs: what is older is forgotten.
    now: AtomicU64,
    /// What this gateway says of itself, once it can.
    about: Mutex<Option<Tells>>,
    stop: Arc<Notify>,
}

type Tells = Arc<dyn Fn() -> About + Send + Sync>;

type Notice = Box<dyn Fn() + Send>;

impl fmt::Debug for Commons {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Commons").field(&self.0.database).finish()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop.notify_one();
    }
}

/// The journal was written by another gateway.
const JOURNAL: &str = "placet_journal";
/// The vault was changed by another gateway.
const VAULT: &str = "placet_vault";

impl Commons {
    /// Connects, makes the tables where they aren't, and enters this gateway. Blocks: not for a thread that serves.
    pub fn open(database: Postgres) -> Result<Self, DatabaseError> {
        let failed = |error: std::io::Error| DatabaseError::Failed(error.to_string());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let journal = random().map_err(failed)?;
        let (first, gateway) = runtime.block_on(async {
            let linked = Linked::new(&database).await?;
            schema::make(&linked.client, &journal, &genesis(&journal).0).await?;
            let gateway = register(&linked.client, &database).await?;
            Ok::<_, DatabaseError>((linked, gateway))
        })?;
        let stop = Arc::new(Notify::new());
        let inner = Arc::new(Inner {
            database,
            client: Mutex::new(Some(Arc::clone(&first.client))),
            gateway: AtomicI64::new(gateway),
            notices: Mutex::default(),
            now: AtomicU64::new(0),
            about: Mutex::new(None),
            stop: Arc::clone(&stop),
        });
        let weak = Arc::downgrade(&inner);
        std::thread::Builder::new()
            .name("database".into())
            .spawn(move || runtime.block_on(serve(&weak, &stop, first)))
            .map_err(failed)?;
        Ok(Self(inner))
    }

    pub(crate) fn database(&self) -> &Postgres {
        &self.0.database
    }
    /// The number of the lease under which this gateway writes.
    pub(crate) fn gateway(&self) -> i64 {
        self.0.gateway.load(Ordering::Acquire)
    }
    /// This gateway goes on under another lease.
    pub(crate) fn renew(&self, gateway: i64) {
        self.0.gateway.store(gateway, Ordering::Release);
    }
    pub(crate) fn on_notice(&self, notice: impl Fn() -> bool + Send + 'static) {
        self.on(JOURNAL, move || {
            if !notice() {
                tracing::trace!("the journal's writer is awake, or gone");
            }
        });
    }
    /// Calls this whenever another gateway changed the vault, or may have.
    pub fn on_vault(&self, notice: impl Fn() + Send + 'static) {
        self.on(VAULT, notice);
    }
    fn on(&self, channel: &'static str, notice: impl Fn() + Send + 'static) {
        self.0.notices.lock().unwrap_or_else(PoisonError::into_inner).push((channel, Box::new(notice)));
    }

    /// Says what `about` tells with every sign of life from now on. It must not hold this, which would never end then.
    pub fn introduce(&self, about: impl Fn() -> About + Send + Sync + 'static) {
        *self.0.about.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(about));
    }
    /// The number of the lease under which this gateway writes, for operators.
    #[must_use]
    pub fn lease(&self) -> u64 {
        unsigned(self.gateway())
    }
    /// The journal's last position in the database.
    pub async fn last(&self) -> Result<u64, DatabaseError> {
        let row = self.client()?.query_typed_one("SELECT next FROM placet_head", &[]).await?;
        Ok(unsigned(row.try_get(0)?).saturating_sub(1))
    }

    /// Ends this gateway's lease: whatever it has left open isn't on its way any more.
    pub(crate) fn leave(&self) {
        let Ok(client) = self.client() else { return };
        let id = self.gateway();
        let left = futures::executor::block_on(client.execute_typed(LEAVE, &[(&id, Type::INT8)]));
        if let Err(error) = left {
            tracing::debug!(error = tell(&error), "the lease ends by itself");
        }
    }

    pub(super) fn client(&self) -> Result<Arc<Client>, DatabaseError> {
        let client = self.0.client.lock().unwrap_or_else(PoisonError::into_inner).clone();
        client.ok_or_else(|| DatabaseError::Failed("there is no connection to it".to_owned()))
    }

    /// Remembers that every gateway must have this value under this name; an error where another one has another.
    pub async fn agree(&self, name: &str, value: &str) -> Result<(), DatabaseError> {
        let client = self.client()?;
        let put = "INSERT INTO placet_setting (name, value) VALUES ($1, $2) ON CONFLICT DO NOTHING";
        client.execute_typed(put, &[(&name, Type::TEXT), (&value, Type::TEXT)]).await?;
        let get = "SELECT value FROM placet_setting WHERE name = $1";
        let row = client.query_typed_one(get, &[(&name, Type::TEXT)]).await?;
        let found: String = row.try_get(0)?;
        if found == value { Ok(()) } else { Err(DatabaseError::Setting { name: name.to_owned() }) }
    }

    /// Whether a key is used for the first time at any gateway; it is remembered until `forget_at`, in Unix seconds.
    /// `durable`: also over the end of the database's machine.
    pub async fn first_use(
        &self,
        key: &[u8; 32],
        forget_at: u64,
        now: u64,
        durable: bool,
    ) -> Result<bool, DatabaseError> {
        self.0.now.fetch_max(now, Ordering::Relaxed);
        let client = self.client()?;
        let sql = "INSERT INTO placet_used (key, forget_at) SELECT $1, $2
                   WHERE $3 OR set_config('synchronous_commit', 'off', true) = 'off' ON CONFLICT DO NOTHING";
        let (key, end) = (key.as_slice(), signed(forget_at));
        let rows = client
            .execute_typed(sql, &[(&key, Type::BYTEA), (&end, Type::INT8), (&durable, Type::BOOL)])
            .await?;
        Ok(rows == 1)
    }

    /// Keeps an enrolment code's hash; `false` where `most` are kept already.
    pub async fn put_code(
        &self,
        hash: &[u8],
        agent: &str,
        expires_at: u64,
        now: u64,
        most: u64,
    ) -> Result<bool, DatabaseError> {
        let client = self.client()?;
        let sql = "INSERT INTO placet_code (hash, agent, expires_at) SELECT $1, $2, $3
                   WHERE (SELECT count(*) FROM placet_code WHERE expires_at > $4) < $5 ON CONFLICT DO NOTHING";
        let (end, now, most) = (signed(expires_at), signed(now), signed(most));
        let params: &[(&(dyn tokio_postgres::types::ToSql + Sync), Type)] = &[
            (&hash, Type::BYTEA),
            (&agent, Type::TEXT),
            (&end, Type::INT8),
            (&now, Type::INT8),
            (&most, Type::INT8),
        ];
        Ok(client.execute_typed(sql, params).await? == 1)
    }
    /// The agent of an enrolment code, and until when it works.
    pub async fn code(&self, hash: &[u8]) -> Result<Option<(String, u64)>, DatabaseError> {
        let sql = "SELECT agent, expires_at FROM placet_code WHERE hash = $1";
        let row = self.client()?.query_typed_opt(sql, &[(&hash, Type::BYTEA)]).await?;
        row.map(|row| Ok((row.try_get(0)?, unsigned(row.try_get(1)?)))).transpose()
    }
    /// Uses an enrolment code up; `false` where somebody else was faster.
    pub async fn spend_code(&self, hash: &[u8]) -> Result<bool, DatabaseError> {
        let sql = "DELETE FROM placet_code WHERE hash = $1";
        Ok(self.client()?.execute_typed(sql, &[(&hash, Type::BYTEA)]).await? == 1)
    }

    /// Keeps a release's archive under its digest.
    pub async fn put_release(&self, digest: &str, archive: &[u8]) -> Result<(), DatabaseError> {
        let sql = "INSERT INTO placet_release (digest, archive) VALUES ($1, $2) ON CONFLICT DO NOTHING";
        let params: &[(&(dyn tokio_postgres::types::ToSql + Sync), Type)] =
            &[(&digest, Type::TEXT), (&archive, Type::BYTEA)];
        self.client()?.execute_typed(sql, params).await?;
        Ok(())
    }
    /// A release's archive.
    pub async fn release(&self, digest: &str) -> Result<Option<Vec<u8>>, DatabaseError> {
        let sql = "SELECT archive FROM placet_release WHERE digest = $1";
        let row = self.client()?.query_typed_opt(sql, &[(&digest, Type::TEXT)]).await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?)
    }
    /// The digests of the releases that are kept.
    pub async fn releases(&self) -> Result<Vec<String>, DatabaseError> {
        let rows = self.client()?.query_typed("SELECT digest FROM placet_release ORDER BY 1", &[]).await?;
        Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
    }

    /// The sealed vault and its version; 0 where there is none yet.
    pub async fn vault(&self) -> Result<(u64, String), DatabaseError> {
        let row = self.client()?.query_typed_opt("SELECT version, lines FROM placet_vault", &[]).await?;
        let read = row.map(|row| Ok::<_, DatabaseError>((unsigned(row.try_get(0)?), row.try_get(1)?)));
        Ok(read.transpose()?.unwrap_or_default())
    }
    /// Replaces the vault of version `before`; `false` where another gateway was faster.
    pub async fn put_vault(&self, before: u64, lines: &str) -> Result<bool, DatabaseError> {
        let sql = "WITH changed AS (
            INSERT INTO placet_vault (version, lines) SELECT 1, $2 WHERE $1 = 0 ON CONFLICT DO NOTHING RETURNING 1),
          moved AS (UPDATE placet_vault SET version = version + 1, lines = $2 WHERE version = $1 AND $1 > 0 RETURNING 1)
          SELECT (SELECT count(*) FROM changed) + (SELECT count(*) FROM moved), pg_notify('placet_vault', $3)";
        let (before, gateway) = (signed(before), self.gateway().to_string());
        let params: &[(&(dyn tokio_postgres::types::ToSql + Sync), Type)] =
            &[(&before, Type::INT8), (&lines, Type::TEXT), (&gateway, Type::TEXT)];
        let rows: i64 = self.client()?.query_typed_one(sql, params).await?.try_get(0)?;
        Ok(rows == 1)
    }

    /// Those of these journal positions that were written by gateways whose lease has ended, by the database's clock.
    pub async fn lapsed(&self, positions: &[u64]) -> Result<Vec<u64>, DatabaseError> {
        let positions: Vec<i64> = positions.iter().map(|position| signed(*position)).collect();
        let rows = self.client()?.query_typed(LAPSED, &[(&positions, Type::INT8_ARRAY)]).await?;
        let position = |row: &tokio_postgres::Row| Ok::<_, DatabaseError>(unsigned(row.try_get(0)?));
        rows.iter().map(position).collect()
    }
}

/// A connection at work on this runtime.
struct Linked {
    client: Arc<Client>,
    notices: mpsc::Receiver<(String, String)>,
    ended: tokio::task::JoinHandle<()>,
}

impl Linked {
    async fn new(database: &Postgres) -> Result<Self, DatabaseError> {
        let (client, link) = database.connect().await?;
        let (tell, notices) = mpsc::channel(MAX_NOTICES);
        let ended = tokio::spawn(carry(link, tell));
        schema::session(&client).await?;
        client.batch_execute("LISTEN placet_journal; LISTEN placet_vault;").await?;
        Ok(Self { client: Arc::new(client), notices, ended })
    }
}

/// Carries messages until the connection ends.
async fn carry(mut link: Link, told: mpsc::Sender<(String, String)>) {
    loop {
        match std::future::poll_fn(|context| link.poll_message(context)).await {
            Some(Ok(AsyncMessage::Notification(notice))) => {
                // The receiver is dropped with the connection.
                let notice = (notice.channel().to_owned(), notice.payload().to_owned());
                if let Err(mpsc::error::TrySendError::Closed(_)) = told.try_send(notice) {
                    return;
                }
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => {
                tracing::warn!(error = tell(&error), "the connection to the database broke");
                return;
            }
            None => return,
        }
    }
}

/// Keeps the connection and the lease until the last handle is gone.
async fn serve(weak: &Weak<Inner>, stop: &Notify, first: Linked) {
    let mut linked = Some(first);
    let mut wait = RETRY.0;
    loop {
        let Some(database) = weak.upgrade().map(|inner| inner.database.clone()) else { return };
        let connected = match linked.take() {
            Some(first) => Ok(first),
            None => Linked::new(&database).await,
        };
        match connected {
            Ok(now) => {
                wait = RETRY.0;
                if !attend(weak, stop, now, &database).await {
                    return;
                }
            }
            Err(error) => {
                tracing::debug!(%error, "the database can't be reached");
                tokio::select! {
                    () = tokio::time::sleep(wait) => wait = wait.saturating_mul(2).min(RETRY.1),
                    () = stop.notified() => return,
                }
            }
        }
    }
}

/// Serves one connection until it ends; `false` when the last handle is gone.
async fn attend(weak: &Weak<Inner>, stop: &Notify, mut linked: Linked, database: &Postgres) -> bool {
    let Some(inner) = weak.upgrade() else { return false };
    *inner.client.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&linked.client));
    // Whatever was told while there was no connection wasn't heard.
    inner.notify(|_| true);
    drop(inner);
    let mut life = tokio::time::interval(database.lease.checked_div(4).unwrap_or(database.lease));
    let mut signs = 0_u32;
    let going_on = loop {
        tokio::select! {
            notice = linked.notices.recv() => {
                let Some((channel, from)) = notice else { break true };
                let Some(inner) = weak.upgrade() else { break false };
                let own = inner.gateway.load(Ordering::Acquire).to_string();
                if from != own {
                    inner.notify(|of| of == channel);
                }
            }
            _ = life.tick() => {
                let Some(inner) = weak.upgrade() else { break false };
                signs = signs.wrapping_add(1);
                if let Err(error) = inner.alive(&linked.client, signs).await {
                    tracing::warn!(%error, "the lease couldn't be renewed");
                }
            }
            _ = &mut linked.ended => break true,
            () = stop.notified() => break false,
        }
    };
    if let Some(inner) = weak.upgrade() {
        *inner.client.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
    linked.ended.abort();
    going_on
}

impl Inner {
    fn notify(&self, which: impl Fn(&str) -> bool) {
        let notices = self.notices.lock().unwrap_or_else(PoisonError::into_inner);
        for (_, notice) in notices.iter().filter(|(channel, _)| which(channel)) {
            notice();
        }
    }

    /// Renews the lease, or takes a new one where it has ended; from time to time forgets what is past.
    async fn alive(&self, client: &Client, signs: u32) -> Result<(), DatabaseError> {
        let (id, lease) = (self.gateway.load(Ordering::Acquire), lease_ms(&self.database));
        let renewed = client.execute_typed(ALIVE, &[(&id, Type::INT8), (&lease, Type::FLOAT8)]).await?;
        if renewed == 0 {
            tracing::warn!(
                lease = id,
                "the lease ended before it was renewed; what was open under it ends as unknown"
            );
            let new = register(client, &self.database).await?;
            // Unless the journal's writer was faster.
            if self.gateway.compare_exchange(id, new, Ordering::AcqRel, Ordering::Acquire).is_err() {
                tracing::debug!(lease = new, "another lease was taken already");
            }
        }
        let about = self.about.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(about) = about {
            fleet::tell(client, self.gateway.load(Ordering::Acquire), &about()).await?;
        }
        if signs.is_multiple_of(PURGE_EVERY) {
            fleet::forget(client).await?;
            // As the callers count; where nobody has asked yet, nothing is forgotten.
            let now = signed(self.now.load(Ordering::Relaxed));
            client.execute_typed(PURGE, &[(&now, Type::INT8)]).await?;
            client.execute_typed(PURGE_CODES, &[(&now, Type::INT8)]).await?;
        }
        Ok(())
    }
}
