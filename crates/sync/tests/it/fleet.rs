//! Our server: clients that are mute, slow or greedy, and a real `opal-client`.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use futures::{SinkExt as _, StreamExt as _};
use placet_core::{Digest, Facts as _, Human, HumanId, Name, Revision, Standing, TenantId};
use placet_facts::{Change, Live, Place, Transaction, World};
use placet_jose::{Algorithm, SigningKey};
use placet_json::Limits;
use placet_policy::{Release, Tree};
use placet_sync::opal::{
    Pending,
    fleet::{Fleet, FleetHost, FleetSettings, PeerType, Scopes, routes},
};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Error, Message, client::IntoClientRequest as _},
};

use crate::{host::post, opa::Opa, peer::Peer};

struct Served {
    live: Live,
    releases: Mutex<Vec<Arc<Release>>>,
    counts: Mutex<BTreeMap<&'static str, u64>>,
    now: std::sync::atomic::AtomicU64,
}

impl FleetHost for Served {
    fn world(&self) -> Arc<World> {
        self.live.world()
    }
    fn moved<'a>(&'a self, tenant: &'a TenantId, since: Revision) -> Pending<'a, ()> {
        self.live.moved(tenant, since)
    }
    fn release(&self) -> Option<Arc<Release>> {
        self.releases.lock().unwrap().last().cloned()
    }
    fn kept(&self, digest: Digest) -> Option<Arc<Release>> {
        self.releases.lock().unwrap().iter().find(|release| release.digest() == digest).cloned()
    }
    fn now(&self) -> u64 {
        self.now.load(std::sync::atomic::Ordering::SeqCst)
    }
    fn counted(&self, what: &'static str) {
        *self.counts.lock().unwrap().entry(what).or_default() += 1;
    }
}

struct Server {
    host: Arc<Served>,
    fleet: Arc<Fleet>,
    port: u16,
}

fn release(files: &[(&str, &str)]) -> Arc<Release> {
    let manifest = "name = \"fleet\"\n[rego]\nversion = \"v1\"\nentrypoints = [\"a\"]\n";
    let mut tree: Tree = [("release.toml".to_owned(), manifest.as_bytes().to_vec())].into();
    tree.extend(files.iter().map(|(path, text)| (format!("policies/{path}"), text.as_bytes().to_vec())));
    Arc::new(Release::build(&tree).unwrap_or_else(|refused| panic!("{refused}")))
}

async fn serve(acknowledge: Duration) -> Server {
    let file = br#"{"tenant":"acme","humans":[{"id":"maya","standing":"active","home":"acme"},{"id":"zoe","standing":"active","home":"globex"}],
        "resources":[{"type":"case","id":"C-1","attributes":{"v":1}}]}"#;
    let world = World::from_file(&placet_json::parse(file, &Limits::MESSAGE).unwrap()).unwrap();
    let first = release(&[
        ("a.rego", "package a\n\nimport rego.v1\n\ndefault allow := false\n\nallow if data.b.yes\n"),
        ("sub/b.rego", "package b\n\nimport rego.v1\n\nyes := false\n"),
    ]);
    let host = Arc::new(Served {
        live: Live::new(world),
        releases: Mutex::new(vec![first]),
        counts: Mutex::default(),
        now: 1_800_000_000.into(),
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let settings = FleetSettings {
        url: format!("http://127.0.0.1:{port}/opal"),
        master: Some("master-token-of-a-test".into()),
        clients: 100,
        queue: 64,
        acknowledge,
        body_bytes: 1 << 20,
    };
    let key = SigningKey::generate(Algorithm::EdDsa).unwrap();
    let fleet = Fleet::new(settings, host.clone(), key);
    let app = routes(fleet.clone());
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    tokio::spawn(fleet.clone().follow_releases());
    Server { host, fleet, port }
}

impl Server {
    fn token(&self, kind: PeerType, topics: &[&str], scopes: &[&str]) -> String {
        let list = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        self.fleet.mint(kind, Scopes { topics: list(topics), scopes: list(scopes) }, 3600).unwrap()
    }
    fn standing(&self, standing: Standing) {
        let world = self.host.live.world();
        let human = Human {
            id: HumanId::new("maya").unwrap(),
            standing,
            home: TenantId::new("acme").unwrap(),
            keys: std::collections::BTreeSet::new(),
        };
        self.apply(&world, Place::Organisation, Change::HumanSet(human));
    }
    fn case(&self, v: u64) {
        let world = self.host.live.world();
        let change = json!({"resource_set":{"type":"case","id":"C-1","attributes":{"v":v}}}).to_string();
        let change = placet_json::parse(change.as_bytes(), &Limits::MESSAGE).unwrap();
        let place = Place::Tenant(TenantId::new("acme").unwrap());
        let change = Change::from_value(&change, &place).unwrap();
        self.apply(&world, place, change);
    }
    fn apply(&self, world: &World, place: Place, change: Change) {
        let name = Name::new("test").unwrap();
        let transaction = Transaction {
            place,
            changes: vec![change],
            author: name.clone(),
            source: name,
            why: String::new(),
            idempotency_key: None,
        };
        self.host.live.publish(world.apply(world.revision().0 + 1, &transaction).unwrap());
    }
    fn counted(&self, what: &str) -> u64 {
        self.host.counts.lock().unwrap().get(what).copied().unwrap_or_default()
    }
    async fn connect(&self, token: &str) -> Result<Socket, Error> {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        let mut request = format!("ws://127.0.0.1:{}/opal/ws", self.port).into_client_request().unwrap();
        request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        client_async(request, stream).await.map(|(socket, _)| Socket(socket))
    }
    async fn subscribed(&self, token: &str, topics: &[&str]) -> Socket {
        let mut socket = self.connect(token).await.unwrap();
        socket.call("subscribe", json!({"topics": topics}), "s").await;
        assert_eq!(socket.next().await.unwrap()["response"]["result"], json!(true));
        socket
    }
}

struct Socket(WebSocketStream<TcpStream>);

impl Socket {
    async fn call(&mut self, method: &str, arguments: Value, id: &str) {
        let text = json!({"request":{"method":method,"arguments":arguments,"call_id":id}}).to_string();
        self.0.send(Message::text(text)).await.unwrap();
    }
    /// The next message; the close code where the server closed.
    async fn next(&mut self) -> Result<Value, u16> {
        loop {
            match tokio::time::timeout(Duration::from_secs(20), self.0.next()).await.unwrap() {
                Some(Ok(Message::Text(text))) => return Ok(serde_json::from_str(&text).unwrap()),
                Some(Ok(Message::Close(frame))) => return Err(frame.map_or(0, |frame| frame.code.into())),
                Some(Ok(_)) => {}
                None | Some(Err(_)) => return Err(0),
            }
        }
    }
    async fn notified(&mut self, acknowledge: bool) -> Value {
        let message = self.next().await.unwrap();
        let request = &message["request"];
        assert_eq!(request["method"], "notify", "{message}");
        if acknowledge {
            let answer =
                json!({"response":{"call_id":request["call_id"],"result":"None","result_type":"str"}});
            self.0.send(Message::text(answer.to_string())).await.unwrap();
        }
        request["arguments"]["data"].clone()
    }
}

#[tokio::test]
async fn syn_1_a_subscribers_token_publishes_neither_by_rest_nor_over_the_socket() {
    let server = serve(Duration::from_secs(5)).await;
    let client = server.token(PeerType::Client, &["policy_data/x"], &[]);
    let update =
        json!({"entries":[{"url":"","topics":["policy_data/x"],"dst_path":"/x","data":{"a":1}}]}).to_string();
    assert_eq!(post(server.port, "/opal/data/config", &update, Some(&client)).await, 403);
    let mut socket = server.subscribed(&client, &["policy_data/x"]).await;
    socket.call("publish", json!({"topics":["policy_data/x"],"data":{}}), "p").await;
    assert_eq!(socket.next().await, Err(1000));
    assert_eq!(server.counted("opal_publish"), 2);
    // A datasource may, where its token says so, and nowhere else; our own documents are nobody's.
    let source = server.token(PeerType::Datasource, &["policy_data/x"], &[]);
    let mut reader = server.subscribed(&client, &["policy_data/x"]).await;
    assert_eq!(post(server.port, "/opal/data/config", &update, Some(&source)).await, 200);
    let got = reader.notified(true).await;
    assert_eq!(got["entries"][0]["data"], json!({"a":1}));
    let other = update.replace("policy_data/x", "policy_data/y");
    assert_eq!(post(server.port, "/opal/data/config", &other, Some(&source)).await, 403);
    for path in ["/placet/acme", "/", "placet"] {
        let ours = update.replace("\"/x\"", &format!("\"{path}\""));
        assert_eq!(post(server.port, "/opal/data/config", &ours, Some(&source)).await, 403, "{path}");
    }
    assert_eq!(post(server.port, "/opal/data/config", &update, None).await, 401);
}

#[tokio::test]
async fn ten_a_client_says_only_of_itself_that_an_update_is_saved() {
    let server = serve(Duration::from_secs(5)).await;
    let acme = server.token(PeerType::Client, &["policy_data/acme"], &[]);
    let other = server.token(PeerType::Client, &["policy_data/globex"], &[]);
    let mut socket = server.subscribed(&acme, &["policy_data/acme"]).await;
    server.case(2);
    let update = socket.notified(true).await;
    let report = |saved: &str| format!(r#"{{"update_id":{},"reports":[{saved}]}}"#, update["id"]);
    let url = "/opal/data/callback_report";
    // What wasn't saved is put again as a whole, whatever others say meanwhile, and whoever says nothing.
    for (token, said) in [(&other, r#"{"saved":true}"#), (&acme, r#"{"saved":false}"#)] {
        assert_eq!(post(server.port, url, &report(said), Some(token)).await, 200);
    }
    let again = socket.notified(true).await;
    assert_eq!(again["entries"][0]["dst_path"], json!("/placet/acme"), "{again}");
    let empty = format!(r#"{{"update_id":{},"reports":[]}}"#, again["id"]);
    assert_eq!(post(server.port, url, &empty, Some(&acme)).await, 200);
    let once_more = socket.notified(true).await;
    assert_eq!(once_more["entries"][0]["dst_path"], json!("/placet/acme"));
}

#[tokio::test]
async fn env_2_a_connection_ends_with_its_token() {
    let server = serve(Duration::from_secs(5)).await;
    let token = server.token(PeerType::Client, &["policy_data/acme"], &[]);
    let mut socket = server.subscribed(&token, &["policy_data/acme"]).await;
    server.case(2);
    socket.notified(true).await;
    // An hour later.
    server.host.now.fetch_add(3_700, std::sync::atomic::Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    server.case(3);
    assert_eq!(socket.next().await, Err(1000), "nothing is told to a token that has ended");
    assert!(matches!(server.connect(&token).await, Err(Error::Http(response)) if response.status() == 403));
}

#[tokio::test]
async fn topics_and_tenants_that_a_token_doesnt_name_are_denied() {
    let server = serve(Duration::from_secs(5)).await;
    assert!(
        matches!(server.connect("nonsense").await, Err(Error::Http(response)) if response.status() == 403)
    );
    let acme = server.token(PeerType::Client, &["policy_data/acme"], &[]);
    for topic in
        ["policy_data", "policy_data/globex", "policy:.", "globex:data:policy_data", "__opal_stats_add"]
    {
        let mut socket = server.connect(&acme).await.unwrap();
        socket.call("subscribe", json!({"topics":[topic]}), "s").await;
        assert_eq!(socket.next().await, Err(1000), "{topic}");
    }
    assert_eq!(server.counted("opal_denied"), 5);
    let mut socket = server.connect(&acme).await.unwrap();
    socket.call("fly", json!({}), "f").await;
    assert_eq!(socket.next().await, Err(1000), "an unknown method");
    // Another tenant's change is not even a message.
    let globex = server.token(PeerType::Client, &[], &["globex"]);
    let mut socket = server.subscribed(&globex, &["globex:data:policy_data"]).await;
    server.case(2);
    socket.call("_ping_", json!({}), "p").await;
    assert_eq!(socket.next().await.unwrap()["response"]["result"], "pong");
}

#[tokio::test]
async fn syn_3_a_mute_subscriber_that_came_first_delays_nobody_and_is_closed() {
    let server = serve(Duration::from_secs(1)).await;
    let token = server.token(PeerType::Client, &["policy_data/acme"], &[]);
    let mut mute = server.subscribed(&token, &["policy_data/acme"]).await;
    let mut lively = server.subscribed(&token, &["policy_data/acme"]).await;
    let mut slowest = Duration::ZERO;
    for v in 2..12 {
        let began = Instant::now();
        server.case(v);
        let got = lively.notified(true).await;
        assert_eq!(
            got["entries"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|entry| entry["dst_path"] == "/placet/acme/resources/case/C-1")
                .map(|entry| entry["data"]["v"].clone())
                .collect::<Vec<_>>(),
            [json!(v)]
        );
        slowest = slowest.max(began.elapsed());
    }
    assert!(slowest < Duration::from_millis(900), "{slowest:?}");
    mute.notified(false).await;
    assert_eq!(mute.next().await, Err(1000));
    assert_eq!(server.counted("opal_client_slow"), 1);
}

#[tokio::test]
async fn what_changes_while_a_client_is_busy_is_told_once_and_newest() {
    let server = serve(Duration::from_secs(5)).await;
    let token = server.token(PeerType::Client, &["policy_data/acme"], &[]);
    let mut socket = server.subscribed(&token, &["policy_data/acme"]).await;
    server.case(2);
    let first = socket.notified(false).await;
    assert_eq!(first["reason"], "facts changed");
    for v in 3..50 {
        server.case(v);
    }
    // Only after it said that the first one is saved is there a next one, and it is the newest.
    let report = json!({"update_id": first["id"], "reports":[{"saved":true,"fetched":true}]}).to_string();
    assert_eq!(post(server.port, "/opal/data/callback_report", &report, Some(&token)).await, 200);
    let second = socket.notified(true).await;
    assert!(second.to_string().contains("\"v\":49"), "{second}");
    // What couldn't be saved is put as a whole.
    let report = json!({"update_id": second["id"], "reports":[{"saved":false,"fetched":true}]}).to_string();
    assert_eq!(post(server.port, "/opal/data/callback_report", &report, Some(&token)).await, 200);
    let third = socket.notified(true).await;
    assert_eq!(third["entries"][0]["dst_path"], "/placet/acme");
}

fn client(server: &Server, opa: &Opa, token: &str, more: &[(&str, &str)]) -> Peer {
    let (url, store) =
        (format!("http://127.0.0.1:{}/opal", server.port), format!("http://127.0.0.1:{}", opa.port));
    let mut env = vec![
        ("OPAL_SERVER_URL", url.as_str()),
        ("OPAL_CLIENT_TOKEN", token),
        ("OPAL_POLICY_STORE_URL", store.as_str()),
        ("OPAL_INLINE_OPA_ENABLED", "false"),
        ("OPAL_SHOULD_REPORT_ON_DATA_UPDATES", "true"),
    ];
    env.extend_from_slice(more);
    let mut peer = Peer::client(&env);
    peer.start();
    peer
}

async fn until(what: &str, check: impl Fn() -> bool) {
    let began = Instant::now();
    while !check() {
        assert!(began.elapsed() < Duration::from_secs(30), "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs peers/install.sh"]
async fn a_real_client_gets_policy_and_facts_and_every_change_in_order() {
    let server = serve(Duration::from_secs(10)).await;
    let opa = Opa::start().await;
    let token = server.token(PeerType::Client, &["policy_data/acme", "policy:."], &[]);
    let peer = client(&server, &opa, &token, &[("OPAL_DATA_TOPICS", "policy_data/acme")]);
    until("the facts are there", || opa.at("/placet/acme/people/maya/standing") == Some(json!("active")))
        .await;
    until("the policy is there", || opa.modules().len() == 2).await;
    assert_eq!(opa.at("/placet/globex"), None);
    assert_eq!(opa.at("/placet/acme/people/zoe"), None);
    server.standing(Standing::Suspended);
    until("the revocation is there", || {
        opa.at("/placet/acme/people/maya/standing") == Some(json!("suspended"))
    })
    .await;
    // A burst: the last value counts, and none goes back.
    for v in 2..60 {
        server.case(v);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    until("the newest is there", || opa.at("/placet/acme/resources/case/C-1/v") == Some(json!(59))).await;
    let puts = opa.puts.lock().unwrap().clone();
    let seen: Vec<u64> = puts
        .iter()
        .filter(|(path, _)| path == "placet/acme/resources/case/C-1")
        .map(|(_, value)| value["v"].as_u64().unwrap())
        .collect();
    assert!(!seen.is_empty() && seen.windows(2).all(|pair| pair[0] < pair[1]), "{seen:?}");
    // A new release: what changed is put, what is gone is deleted.
    let next = release(&[(
        "a.rego",
        "package a\n\nimport rego.v1\n\ndefault allow := false\n\nallow if input.action == \"x\"\n",
    )]);
    server.host.releases.lock().unwrap().push(next);
    until("the delta is there", || opa.modules() == ["a.rego"]).await;
    assert!(opa.policies.lock().unwrap()["a.rego"].contains("action"));
    drop(peer);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs peers/install.sh"]
async fn a_real_client_with_a_scope_gets_its_tenant_beside_a_mute_one() {
    let server = serve(Duration::from_secs(2)).await;
    let opa = Opa::start().await;
    let token = server.token(PeerType::Client, &[], &["acme"]);
    let _mute = server.subscribed(&token, &["acme:data:policy_data"]).await;
    let _peer = client(&server, &opa, &token, &[("OPAL_SCOPE_ID", "acme")]);
    until("the facts are there", || opa.at("/placet/acme/resources/case/C-1/v") == Some(json!(1))).await;
    until("the policy is there", || opa.modules().len() == 2).await;
    let began = Instant::now();
    server.case(7);
    until("the change is there", || opa.at("/placet/acme/resources/case/C-1/v") == Some(json!(7))).await;
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
}
