//! A host in memory, and a client of the server's REST.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use placet_core::{Name, Revision, TenantId};
use placet_facts::{Transaction, World};
use placet_json::Limits;
use placet_sync::opal::{
    Host, Mapping, Owned, Pending, PolicyOf, Shown, SourceSettings, State, Untaken, run,
};
use tokio::task::JoinHandle;

pub(crate) struct Memory {
    world: Mutex<Arc<World>>,
    pub(crate) transactions: Mutex<Vec<(Instant, Transaction)>>,
    pub(crate) policies: Mutex<Vec<PolicyOf>>,
    pub(crate) status: Mutex<Option<Shown>>,
    /// Whether another host follows the source.
    pub(crate) elsewhere: AtomicBool,
    /// What hosts keep for each other; none where each has its file.
    pub(crate) shelf: Option<Mutex<Option<Vec<u8>>>>,
    pub(crate) left: AtomicUsize,
}

pub(crate) fn tenant() -> TenantId {
    TenantId::new("acme").unwrap()
}

impl Memory {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self::made(None))
    }
    /// One of several: what is known is kept for the others.
    pub(crate) fn of_several() -> Arc<Self> {
        Arc::new(Self::made(Some(Mutex::default())))
    }
    fn made(shelf: Option<Mutex<Option<Vec<u8>>>>) -> Self {
        let file = br#"{"tenant":"acme"}"#;
        let world = World::from_file(&placet_json::parse(file, &Limits::MESSAGE).unwrap()).unwrap();
        Self {
            world: Mutex::new(Arc::new(world)),
            transactions: Mutex::default(),
            policies: Mutex::default(),
            status: Mutex::default(),
            elsewhere: AtomicBool::default(),
            shelf,
            left: AtomicUsize::default(),
        }
    }
    pub(crate) fn attribute(&self, kind: &str, id: &str, name: &str) -> Option<String> {
        let world = self.world();
        let facts = world.tenant(&tenant())?;
        let at = placet_core::ResourceRef { kind: kind.parse().unwrap(), id: id.parse().unwrap() };
        let value = facts.resource(&at)?.attributes.get(&name.parse::<Name>().unwrap())?.clone();
        Some(value.as_str().map_or_else(|| value.to_string(), str::to_owned))
    }
    pub(crate) fn state(&self) -> Option<State> {
        self.status.lock().unwrap().as_ref().map(|shown| shown.state.clone())
    }
    pub(crate) async fn until(&self, what: &str, patience: u64, check: impl Fn(&Self) -> bool) -> Duration {
        let began = Instant::now();
        while !check(self) {
            assert!(
                began.elapsed() < Duration::from_secs(patience),
                "{what}: {:?}",
                self.status.lock().unwrap()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        began.elapsed()
    }
}

impl Host for Memory {
    fn world(&self) -> Arc<World> {
        self.world.lock().unwrap().clone()
    }
    fn transact(&self, transaction: Transaction) -> Pending<'_, Result<Revision, Untaken>> {
        Box::pin(async move {
            let mut world = self.world.lock().unwrap();
            let revision = world.revision().0 + 1;
            *world = Arc::new(world.apply(revision, &transaction).map_err(Untaken::Change)?);
            self.transactions.lock().unwrap().push((Instant::now(), transaction));
            Ok(Revision(revision))
        })
    }
    fn owned(&self, source: &Name, _: &TenantId) -> Pending<'_, Result<Owned, String>> {
        let mut owned = Owned::default();
        for (_, transaction) in self.transactions.lock().unwrap().iter() {
            if transaction.source == *source {
                owned.note(transaction);
            }
        }
        Box::pin(async move { Ok(owned) })
    }
    fn candidate(&self, policy: PolicyOf) -> Pending<'_, Result<String, String>> {
        self.policies.lock().unwrap().push(policy);
        Box::pin(async { Ok("kept".to_owned()) })
    }
    fn leads(&self, _: &Name) -> Pending<'_, Result<bool, String>> {
        Box::pin(async { Ok(!self.elsewhere.load(Ordering::SeqCst)) })
    }
    fn kept(&self, _: &Name) -> Pending<'_, Result<Option<Vec<u8>>, String>> {
        let kept = self.shelf.as_ref().and_then(|shelf| shelf.lock().unwrap().clone());
        Box::pin(async move { Ok(kept) })
    }
    fn keep(&self, _: &Name, document: Vec<u8>) -> Pending<'_, Result<(), String>> {
        if let Some(shelf) = &self.shelf {
            *shelf.lock().unwrap() = Some(document);
        }
        Box::pin(async { Ok(()) })
    }
    fn left(&self, _: &Name) {
        self.left.fetch_add(1, Ordering::SeqCst);
    }
    fn status(&self, _: &Name, status: &Shown) {
        *self.status.lock().unwrap() = Some(status.clone());
    }
}

pub(crate) const MAPPING: &str = r#"
ignore = ["/static"]
[[map]]
path = "/users/{id}"
person = { id = "{id}", standing = "/active" }
assignment = { human = "{id}", roles = "/roles" }
[[map]]
path = "/ord2"
resource = { type = "counter", id = "ord2", attributes = { v = "/v" } }
[[map]]
path = "/cases/{id}"
resource = { type = "case", id = "{id}", attributes = { v = "/v" } }
tuples = ["case:{id}#owner@human:{/owner}"]
"#;

pub(crate) struct Following {
    pub(crate) host: Arc<Memory>,
    pub(crate) task: JoinHandle<Result<(), String>>,
    _dir: tempfile::TempDir,
}

impl Drop for Following {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(crate) fn follow(url: &str, token: &str, policy: bool, fetch_from: &str, host: Arc<Memory>) -> Following {
    let dir = tempfile::tempdir().unwrap();
    let settings = SourceSettings {
        name: Name::new("hr").unwrap(),
        tenant: tenant(),
        url: url.parse().unwrap(),
        token: token.into(),
        scope: None,
        topics: vec!["policy_data".to_owned()],
        policy: if policy { vec![".".to_owned()] } else { Vec::new() },
        fetch_from: vec![fetch_from.parse().unwrap()],
        shard: None,
        report: true,
        mapping: Mapping::parse(MAPPING).unwrap(),
        snapshot: dir.path().join("hr.json"),
    };
    let task = tokio::spawn(run(settings, host.clone()));
    Following { host, task, _dir: dir }
}

/// Publishes an update by the server's REST.
pub(crate) async fn publish(port: u16, update: serde_json::Value) -> u16 {
    post(port, "/data/config", &update.to_string(), None).await
}

pub(crate) async fn post(port: u16, path: &str, body: &str, token: Option<&str>) -> u16 {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let authorization = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\nContent-Type: application/json\r\n{authorization}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).split(' ').nth(1).unwrap_or("0").parse().unwrap_or(0)
}
