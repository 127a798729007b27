//! Streams out of the ledger: at least once, in order, nothing left out, and no call waits for whoever reads them.

use std::{
    collections::BTreeSet,
    io::Write as _,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use placet_json::{Limits, Value, parse};
use placet_testing::{Cluster, Second, Stage, StageBuilder, on_postgres, url_file};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

const NOTE: &str = r#"{"text":"CANARY-text"}"#;
const TOKEN: &str = "siem-secret-8f2e1d";

/// What a consumer does with a request.
#[derive(Clone, Debug)]
enum Mode {
    /// It acknowledges, with this body.
    Takes(&'static str),
    /// It reads all of it and never answers.
    Mute,
    /// It answers with these bytes.
    Says(&'static [u8]),
    /// It hangs up without having read.
    Away,
}

/// Path, bytes, and whether it was taken.
type Body = (String, Vec<u8>, bool);

/// A consumer of HTTP that isn't ours.
struct Consumer {
    port: u16,
    mode: Arc<Mutex<Mode>>,
    /// Head and body of whatever was read, and whether it was acknowledged.
    read: Arc<Mutex<Vec<Body>>>,
}

impl Consumer {
    async fn start(mode: Mode) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (mode, read) = (Arc::new(Mutex::new(mode)), Arc::new(Mutex::new(Vec::new())));
        let (now, kept) = (Arc::clone(&mode), Arc::clone(&read));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (now, kept) = (Arc::clone(&now), Arc::clone(&kept));
                tokio::spawn(async move {
                    let mode = now.lock().unwrap().clone();
                    serve(stream, mode, &kept).await;
                });
            }
        });
        Self { port, mode, read }
    }
    fn is(&self, mode: Mode) {
        *self.mode.lock().unwrap() = mode;
    }
    fn settings(&self, more: &str) -> String {
        format!(
            "[[stream]]\nname = \"siem\"\nkind = \"http\"\nurl = \"http://127.0.0.1:{}/in\"\nallow_private = true\nfrom = \"start\"\ntimeout_ms = 400\n{more}\n",
            self.port
        )
    }
    /// Positions of the events that were read, in the order in which they came.
    fn sequences(&self, acknowledged_only: bool) -> Vec<u64> {
        let read = self.read.lock().unwrap();
        let bodies = read.iter().filter(|(_, _, acknowledged)| *acknowledged || !acknowledged_only);
        bodies.flat_map(|(_, body, _)| lines(body)).map(|event| sequence(&event)).collect()
    }
    fn texts(&self) -> String {
        let read = self.read.lock().unwrap();
        read.iter().map(|(_, body, _)| String::from_utf8_lossy(body).into_owned()).collect()
    }
    /// Waits until everything up to `last` was acknowledged.
    async fn has(&self, last: u64) {
        until("the consumer has everything", || {
            let all: BTreeSet<u64> = self.sequences(true).into_iter().collect();
            (1..=last).all(|one| all.contains(&one))
        })
        .await;
    }
}

async fn serve(mut stream: TcpStream, mode: Mode, kept: &Mutex<Vec<(String, Vec<u8>, bool)>>) {
    if matches!(mode, Mode::Away) {
        return;
    }
    let mut bytes = Vec::new();
    let (head, body) = loop {
        let mut chunk = [0; 8192];
        let Ok(count) = stream.read(&mut chunk).await else { return };
        if count == 0 {
            return;
        }
        bytes.extend_from_slice(&chunk[..count]);
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
        let length = head.split("content-length: ").nth(1).unwrap().lines().next().unwrap();
        let length: usize = length.trim().parse().unwrap();
        if bytes.len() >= end + 4 + length {
            break (String::from_utf8_lossy(&bytes[..end]).into_owned(), bytes[end + 4..].to_vec());
        }
    };
    let takes = matches!(mode, Mode::Takes(_));
    kept.lock().unwrap().push((head, body, takes));
    match mode {
        Mode::Takes(body) => {
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
            drop(stream.write_all(answer.as_bytes()).await);
        }
        Mode::Says(bytes) => drop(stream.write_all(bytes).await),
        Mode::Mute => tokio::time::sleep(Duration::from_mins(1)).await,
        Mode::Away => {}
    }
}

fn lines(body: &[u8]) -> Vec<Value> {
    let text = String::from_utf8(body.to_vec()).unwrap();
    text.lines().map(|line| parse(line.as_bytes(), &Limits::RESULT).unwrap()).collect()
}

fn sequence(event: &Value) -> u64 {
    event.pointer("/metadata/sequence").and_then(Value::as_u64).unwrap()
}

/// Waits until something holds.
async fn until(what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(30), "{what}");
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
}

/// Everything up to `last` is there, and what comes first comes first.
fn complete(sequences: &[u64], last: u64) {
    let (mut seen, mut highest) = (BTreeSet::new(), 0);
    for one in sequences {
        if seen.insert(*one) {
            assert_eq!(*one, highest + 1, "in order, nothing left out: {sequences:?}");
            highest = *one;
        }
    }
    assert!(highest >= last, "{highest} of {last}");
}

async fn stream(stage: &Stage) -> Value {
    let answer = stage.admin.get("/v1/streams").await;
    answer.pointer("/streams/0").unwrap().clone()
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}
fn number(value: &Value, name: &str) -> u64 {
    value.get(name).and_then(Value::as_u64).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_was_down_gets_everything_in_order() {
    let consumer = Consumer::start(Mode::Away).await;
    let token = tempfile::tempdir().unwrap();
    let file = url_file(token.path(), TOKEN);
    let more = format!("token = {{ file = \"{}\" }}\nbatch = 7", file.display());
    let mut stage = StageBuilder::default().settings(&consumer.settings(&more)).start().await;
    let agent = stage.seven().await;
    for _ in 0..5 {
        assert_eq!(agent.call("desk__note", NOTE).await.code(), "");
    }
    until("it is told", || true).await;
    let began = Instant::now();
    while text(&stream(&stage).await, "state") != "failing" {
        assert!(began.elapsed() < Duration::from_secs(10));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (status, page) = metrics(&stage).await;
    assert_eq!(status, 200);
    assert!(page.contains("placet_stream_failing{stream=\"siem\"} 1"), "{page}");
    assert!(!page.contains("placet_stream_lag_records{stream=\"siem\"} 0"), "{page}");
    assert_eq!(placet_testing::ready(stage.admin.address()).await.0, 200, "calls don't depend on it");
    // Also over a restart.
    stage.restart(|_| ()).await;
    consumer.is(Mode::Takes(""));
    let agent = stage.seven().await;
    assert_eq!(agent.call("desk__note", NOTE).await.code(), "");
    stage.settle().await;
    let last = stage.ledger().last();
    consumer.has(last).await;
    complete(&consumer.sequences(true), last);
    let read = consumer.read.lock().unwrap().clone();
    assert!(read.iter().all(|(head, _, _)| head.contains(&format!("authorization: Bearer {TOKEN}"))));
    assert!(read.iter().all(|(_, body, _)| lines(body).len() <= 7), "batches are bounded");
    drop(read);
    let texts = consumer.texts();
    for secret in ["CANARY-text", stage.secret(), TOKEN] {
        assert!(!texts.contains(secret), "{secret} was sent");
    }
}

async fn metrics(stage: &Stage) -> (u16, String) {
    let address = stage.admin.address();
    let request = placet_testing::Http {
        method: "GET".to_owned(),
        target: "/metrics".to_owned(),
        headers: vec![("host".to_owned(), address.to_string())],
        body: Vec::new(),
    };
    let answer = request.send(address).await;
    (answer.status, answer.text())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_call_waits_for_a_consumer_that_is_mute_or_answers_garbage() {
    let consumer = Consumer::start(Mode::Mute).await;
    let stage = StageBuilder::default().settings(&consumer.settings("")).start().await;
    let agent = stage.seven().await;
    let garbage: [&'static [u8]; 5] = [
        b"\0\xff\xfe nonsense",
        b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 3\r\n\r\noh!",
        b"HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n",
        b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n",
    ];
    for mode in std::iter::once(Mode::Mute).chain(garbage.map(Mode::Says)) {
        consumer.is(mode.clone());
        for _ in 0..4 {
            assert_eq!(agent.call("desk__note", NOTE).await.code(), "", "{mode:?}");
        }
        assert_eq!(placet_testing::ready(stage.admin.address()).await.0, 200, "{mode:?}");
    }
    assert_eq!(number(&stream(&stage).await, "position"), 0, "nothing was acknowledged");
    assert!(consumer.sequences(true).is_empty());
    consumer.is(Mode::Takes("this is no JSON"));
    stage.settle().await;
    let last = stage.ledger().last();
    consumer.has(last).await;
    complete(&consumer.sequences(true), last);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rewound_stream_sends_again_and_the_ledger_says_who_did_it() {
    let consumer = Consumer::start(Mode::Takes("")).await;
    let more = "format = \"lines\"\nrecords = [\"decision\", \"effect\"]\ntenant = \"acme\"";
    let stage = StageBuilder::default().settings(&consumer.settings(more)).start().await;
    let agent = stage.seven().await;
    assert_eq!(agent.call("desk__note", NOTE).await.code(), "");
    until("permit and effect", || consumer.sequences(true).len() >= 2).await;
    let first = consumer.sequences(true);
    let wrong = stage.admin.ask("/v1/streams/siem/rewind", r#"{"to":1000000,"why":"x"}"#).await;
    assert_eq!(wrong.status, 400, "{}", wrong.text());
    let wrong = stage.admin.ask("/v1/streams/other/rewind", r#"{"to":0,"why":"x"}"#).await;
    assert_eq!(wrong.status, 404, "{}", wrong.text());
    stage.admin.act("/v1/streams/siem/rewind", r#"{"to":0,"why":"the index was lost"}"#).await;
    until("all once more", || consumer.sequences(true).len() >= 2 * first.len()).await;
    assert_eq!(consumer.sequences(true)[first.len()..2 * first.len()], first);
    stage.settle().await;
    let entries = stage.ledger().after(0);
    assert!(entries.iter().any(|entry| entry.gist() == "act stream rewind siem to 0"));
    let kinds: BTreeSet<String> = consumer
        .read
        .lock()
        .unwrap()
        .iter()
        .flat_map(|(_, body, _)| lines(body))
        .map(|event| event.pointer("/metadata/event_code").and_then(Value::as_str).unwrap().to_owned())
        .collect();
    assert_eq!(kinds, BTreeSet::from(["decision".to_owned(), "effect".to_owned()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_of_the_vault_is_read_for_each_batch_and_what_is_not_there_is_told() {
    let consumer = Consumer::start(Mode::Takes("")).await;
    let more = "vault = \"siem-token\"\nheader = \"x-api-key\"\nprefix = \"\"";
    let stage = StageBuilder::default().settings(&consumer.settings(more)).start().await;
    let began = Instant::now();
    while !text(&stream(&stage).await, "why").contains("siem-token") {
        assert!(began.elapsed() < Duration::from_secs(10));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(consumer.sequences(false).is_empty(), "nothing is sent without it");
    let secret =
        format!(r#"{{"tenant":"organisation","upstream":"siem-token","secret":"{TOKEN}","why":"a test"}}"#);
    stage.admin.act("/v1/vault", &secret).await;
    let last = stage.ledger().last();
    consumer.has(last).await;
    let read = consumer.read.lock().unwrap();
    assert!(read.iter().all(|(head, _, _)| head.contains(&format!("x-api-key: {TOKEN}"))));
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_of_a_file_are_whole_and_complete() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("events.jsonl");
    let settings = format!(
        "[[stream]]\nname = \"lake\"\nkind = \"file\"\npath = \"{}\"\nfrom = \"start\"\n",
        path.display()
    );
    let mut stage = StageBuilder::default().settings(&settings).start().await;
    let agent = stage.seven().await;
    assert_eq!(agent.call("desk__note", NOTE).await.code(), "");
    stage.settle().await;
    let last = stage.ledger().last();
    let sequences = |path: &std::path::Path| {
        lines(&std::fs::read(path).unwrap_or_default()).iter().map(sequence).collect::<Vec<_>>()
    };
    until("all lines", || sequences(&path).contains(&last)).await;
    // A crash in mid-line.
    let cut = path.clone();
    stage
        .restart(move |_| {
            let mut file = std::fs::OpenOptions::new().append(true).open(cut).unwrap();
            file.write_all(b"{\"class_uid\":60").unwrap();
        })
        .await;
    let agent = stage.seven().await;
    assert_eq!(agent.call("desk__note", NOTE).await.code(), "");
    stage.settle().await;
    let last = stage.ledger().last();
    let all = || String::from_utf8(std::fs::read(&path).unwrap()).unwrap();
    until("all lines behind the cut one", || {
        let text = all();
        text.ends_with('\n') && text.contains(&format!("\"sequence\":{last},"))
    })
    .await;
    complete(&sequences(&path), last);
}

/// Splits counted octets (RFC 6587 §3.4.1) into messages.
fn frames(mut bytes: &[u8]) -> Vec<String> {
    let mut messages = Vec::new();
    while let Some(space) = bytes.iter().position(|byte| *byte == b' ') {
        let length: usize = std::str::from_utf8(&bytes[..space]).unwrap().parse().unwrap();
        let Some(message) = bytes.get(space + 1..space + 1 + length) else { break };
        messages.push(String::from_utf8(message.to_vec()).unwrap());
        bytes = &bytes[space + 1 + length..];
    }
    messages
}

fn told(messages: &[String]) -> Vec<u64> {
    let event = |message: &String| {
        let (head, body) = message.split_once("] ").unwrap();
        assert!(head.starts_with("<1") && head.contains(">1 20") && head.contains(" placet - "), "{head}");
        sequence(&parse(body.as_bytes(), &Limits::RESULT).unwrap())
    };
    messages.iter().map(event).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_syslog_connection_that_breaks_loses_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let got: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
    let kept = Arc::clone(&got);
    tokio::spawn(async move {
        let mut connections = 0;
        while let Ok((mut stream, _)) = listener.accept().await {
            connections += 1;
            if connections == 1 {
                // It takes the connection and a few bytes, throws all away and dies.
                let mut few = [0; 64];
                drop(stream.read(&mut few).await);
                tokio::time::sleep(Duration::from_millis(300)).await;
                continue;
            }
            kept.lock().unwrap().push(Vec::new());
            let mut chunk = [0; 8192];
            while let Ok(count) = stream.read(&mut chunk).await {
                if count == 0 {
                    break;
                }
                kept.lock().unwrap().last_mut().unwrap().extend_from_slice(&chunk[..count]);
                // What a receiver of syslog says is nothing to anybody.
                drop(stream.write_all(b"garbage\0\xff\n").await);
            }
        }
    });
    let settings = format!(
        "[[stream]]\nname = \"syslog\"\nkind = \"syslog\"\naddress = \"127.0.0.1:{port}\"\ntls = false\nsettle_ms = 1000\nfrom = \"start\"\n"
    );
    let stage = StageBuilder::default().settings(&settings).start().await;
    let agent = stage.seven().await;
    for _ in 0..3 {
        assert_eq!(agent.call("desk__note", NOTE).await.code(), "");
    }
    stage.settle().await;
    let last = stage.ledger().last();
    let all = || got.lock().unwrap().iter().flat_map(|bytes| told(&frames(bytes))).collect::<Vec<_>>();
    until("the second connection has everything", || all().contains(&last)).await;
    complete(&all(), last);
    let began = Instant::now();
    while number(&stream(&stage).await, "position") < last {
        assert!(
            began.elapsed() < Duration::from_secs(10),
            "its place follows once the connection has lived on"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn spawn(dir: &std::path::Path) -> Child {
    drop(std::fs::remove_file(dir.join("serving")));
    let arguments = ["races::serves_until_it_is_killed", "--exact", "--ignored", "--nocapture"];
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(arguments).env("PLACET_TESTING_DIR", dir);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

async fn serving(dir: &std::path::Path) -> std::net::SocketAddr {
    for _ in 0..3000 {
        if let Ok(text) = std::fs::read_to_string(dir.join("serving"))
            && let Ok(address) = text.parse()
        {
            return address;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the child doesn't serve");
}

#[tokio::test(flavor = "multi_thread")]
async fn led_1_a_server_killed_between_sending_and_its_place_sends_again() {
    let consumer = Consumer::start(Mode::Takes("")).await;
    let mut stage = StageBuilder::default().settings(&consumer.settings("")).start().await;
    let agent = stage.seven().await;
    consumer.has(stage.ledger().last()).await;
    stage.stop().await;
    let mut again = 0;
    for _ in 0..3 {
        // A batch is at the consumer, which hasn't acknowledged it, when the server is killed.
        let before = consumer.sequences(false).len();
        consumer.is(Mode::Mute);
        let mut child = spawn(stage.dir());
        let address = serving(stage.dir()).await;
        for _ in 0..4 {
            drop(agent.modern("desk__note", NOTE).send(address).await);
        }
        until("the batch is on its way", || consumer.sequences(false).len() > before).await;
        again += consumer.sequences(false).len() - before;
        child.kill().unwrap();
        child.wait().unwrap();
    }
    consumer.is(Mode::Takes(""));
    stage.start_again().await;
    let last = stage.ledger().last();
    consumer.has(last).await;
    complete(&consumer.sequences(false), last);
    let all = consumer.sequences(false);
    let distinct: BTreeSet<u64> = all.iter().copied().collect();
    assert!(again > 0 && all.len() > distinct.len(), "what wasn't acknowledged came again");
}

/// A call that an upstream's own log knows and no decision of ours permitted.
fn around(line: usize, digit: char) -> String {
    let digest = digit.to_string().repeat(64);
    format!(
        r#"{{"which":"line {line}","time":"2026-01-01T00:00:00Z","tool":"refund","digest":"sha256:{digest}"}}"#
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_outside_authority_is_recorded_once_counted_and_told() {
    let consumer = Consumer::start(Mode::Takes("")).await;
    let stage = StageBuilder::default().settings(&consumer.settings("records = [\"act\"]")).start().await;
    let tell =
        |calls: &str| format!(r#"{{"upstream":"billing","calls":[{calls}],"why":"the nightly comparison"}}"#);
    for (calls, recorded, known) in [
        (format!("{},{}", around(3, 'a'), around(4, 'b')), 2, 0),
        (format!("{},{}", around(3, 'a'), around(5, 'c')), 1, 1),
    ] {
        let answer = stage.admin.act("/v1/outside-authority", &tell(&calls)).await;
        assert_eq!((number(&answer, "recorded"), number(&answer, "known")), (recorded, known));
    }
    for (upstream, calls, status) in [
        ("nobody", around(3, 'a'), 404),
        ("billing", r#"{"which":"line 1"}"#.to_owned(), 400),
        ("billing", "7".to_owned(), 400),
    ] {
        let body = tell(&calls).replace("billing", upstream);
        assert_eq!(stage.admin.ask("/v1/outside-authority", &body).await.status, status, "{body}");
    }
    let told = || {
        let texts = consumer.texts();
        lines(texts.as_bytes())
            .into_iter()
            .filter(|event| event.get("class_uid").and_then(Value::as_u64) == Some(2004))
            .collect::<Vec<_>>()
    };
    until("each once", || told().len() >= 3).await;
    assert_eq!(told().len(), 3);
    for event in told() {
        assert_eq!(text(&event, "severity"), "High");
        assert!(text(&event, "message").contains("of `refund`"), "{event}");
    }
    assert!(metrics(&stage).await.1.contains("placet_outside_authority_total{upstream=\"billing\"} 3"));
    stage.settle().await;
    let acts = stage.ledger().after(0);
    let acts = acts.iter().filter(|entry| entry.gist().starts_with("act outside_authority billing sha256:"));
    assert_eq!(acts.count(), 3);
}

fn signal(child: &Child, signal: &str) {
    assert!(Command::new("kill").arg(signal).arg(child.id().to_string()).status().unwrap().success());
}

/// A stream of two gateways is one gateway's at a time; one that is gone, or that slept over its lease, is replaced.
#[tokio::test(flavor = "multi_thread")]
async fn led_1_a_gateway_that_is_killed_or_paused_is_replaced_and_moves_no_place_afterwards() {
    let cluster = Cluster::start();
    let secret = tempfile::tempdir().unwrap();
    let file = url_file(secret.path(), &cluster.database("placet"));
    let consumer = Consumer::start(Mode::Takes("")).await;
    let settings = format!("{}\n{}", on_postgres(&file, "first", 1_500), consumer.settings("batch = 5"));
    let mut stage = StageBuilder::default().settings(&settings).start().await;
    let agent = stage.seven().await;
    let second = Second::of(&stage);
    for how in ["-KILL", "-STOP"] {
        // The stream is the other process's.
        let mut child = spawn(second.dir());
        let address = serving(second.dir()).await;
        stage.stop().await;
        let holder = "SELECT g.name FROM placet_stream s JOIN placet_gateway g ON g.id = s.holder";
        until("the other gateway takes the stream", || cluster.sql("placet", holder) == "second").await;
        stage.start_again().await;
        let began = Instant::now();
        while text(&stream(&stage).await, "state") != "elsewhere" {
            assert!(began.elapsed() < Duration::from_secs(10), "{}", stream(&stage).await);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let load: Vec<_> = (0..24)
            .map(|n| {
                let request = agent.modern("desk__note", NOTE);
                let to = if n % 2 == 0 { address } else { stage.address };
                tokio::spawn(async move {
                    let Ok(mut stream) = TcpStream::connect(to).await else { return };
                    drop(stream.write_all(&request.bytes()).await);
                    tokio::time::sleep(Duration::from_millis(400)).await;
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(120)).await;
        signal(&child, how);
        for one in load {
            one.await.unwrap();
        }
        until("this gateway takes the stream", || cluster.sql("placet", holder) == "first").await;
        assert_eq!(agent.call("desk__note", NOTE).await.code(), "");
        stage.settle().await;
        let last = stage.ledger().last();
        consumer.has(last).await;
        let place = || cluster.sql("placet", "SELECT position FROM placet_stream").parse::<u64>().unwrap();
        until("its place is kept", || place() >= last).await;
        let before = place();
        if how == "-STOP" {
            // It wakes, believes that it holds the stream, and moves nothing.
            signal(&child, "-CONT");
            tokio::time::sleep(Duration::from_millis(1_500)).await;
            assert_eq!(cluster.sql("placet", holder), "first");
            assert_eq!(agent.call("desk__note", NOTE).await.code(), "");
            stage.settle().await;
            consumer.has(stage.ledger().last()).await;
        }
        assert!(place() >= before, "a place never goes back by itself");
        child.kill().unwrap();
        child.wait().unwrap();
        complete(&consumer.sequences(true), last);
    }
    // What each of them signed is a head of one and the same history.
    stage.settle().await;
    let key = || placet_audit::read_key(&stage.data().join("keys/checkpoint.key")).unwrap();
    for data in [stage.data(), second.dir().join("data")] {
        let report = placet_audit::verify(&data, "hostile", key());
        assert!(report.is_sound(), "{report}");
    }
}

/// Hands lines to a validator that isn't ours; how many of each class it found.
fn judged(check: &str, input: &str) -> Value {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let python = root.join(".peers/ocsf/bin/python");
    assert!(python.exists(), "run peers/install.sh first: {} is missing", python.display());
    let mut child = Command::new(python)
        .arg(root.join("peers/ocsf_check.py"))
        .arg(check)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let out = child.wait_with_output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    parse(&out.stdout, &Limits::RESULT).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs peers/install.sh"]
async fn others_validators_take_every_event_and_every_log_record() {
    let (siem, collector) =
        (Consumer::start(Mode::Takes("")).await, Consumer::start(Mode::Takes("{}")).await);
    let settings = format!(
        "{}[[stream]]\nname = \"otel\"\nkind = \"otlp\"\nurl = \"http://127.0.0.1:{}\"\nallow_private = true\nfrom = \"start\"\n",
        siem.settings(""),
        collector.port
    );
    let stage = StageBuilder::default().settings(&settings).start().await;
    let agent = stage.seven().await;
    let refund = r#"{"case_id":"CASE-1837","amount":40}"#;
    for (tool, arguments) in [
        ("desk__note", NOTE),
        ("billing__refund", refund),
        ("billing__refund", r#"{"case_id":"CASE-9001","amount":40}"#),
        ("desk__nothing", "{}"),
    ] {
        drop(agent.call(tool, arguments).await);
    }
    let granted = format!(
        r#"{{"tenant":"acme","delegations":[{{"id":"dg-x","human":"maya","agent":"agent-7","workflow":"wf-9","grantor":"human","scope":{{"actions":["take_note"],"intents":["support_case_resolution"],"limits":{{}},"ends":"{}","depth":0}}}}],"why":"a test"}}"#,
        stage.end_in(60_000)
    );
    stage.admin.act("/v1/facts", &granted).await;
    let body = format!(r#"{{"upstream":"billing","calls":[{}]}}"#, around(1, 'd'));
    stage.admin.act("/v1/outside-authority", &body).await;
    // A flood of refusals becomes a finding.
    for _ in 0..40 {
        drop(agent.call("billing__refund", r#"{"case_id":"CASE-9001","amount":40}"#).await);
    }
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let last = stage.ledger().last();
    siem.has(last).await;
    let counts = judged("ocsf", &siem.texts());
    for class in ["api_activity", "authorize_session", "entity_management", "detection_finding"] {
        assert!(counts.get(class).and_then(Value::as_u64).unwrap_or_default() > 0, "{class}: {counts}");
    }
    until("the collector has them", || {
        collector.texts().contains(&format!("\"{last}\""))
            && collector.read.lock().unwrap().iter().all(|it| it.2)
    })
    .await;
    let bodies: String = {
        let read = collector.read.lock().unwrap();
        assert!(read.iter().all(|(head, _, _)| head.starts_with("POST /v1/logs HTTP/1.1")));
        read.iter().map(|(_, body, _)| String::from_utf8(body.clone()).unwrap() + "\n").collect()
    };
    let counts = judged("otlp", &bodies);
    for name in ["placet.decision", "placet.effect", "placet.facts"] {
        assert!(counts.get(name).and_then(Value::as_u64).unwrap_or_default() > 0, "{name}: {counts}");
    }
    assert!(!bodies.contains("CANARY-text") && !bodies.contains(stage.secret()));
}
