//! Shared Signals pushed to a receiver that fails in every way, and a transmitter that falls silent.

use std::{
    collections::VecDeque,
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use placet_jose::{Algorithm, KeySet, SigningKey, Stamp, claims::Claims as _, mint, tokens::SecurityEvent};
use placet_json::{Value, object};
use placet_testing::{Http, Stage, StageBuilder, json, now, ready};
use sha2::{Digest, Sha256};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

const HEAR: &str = "token-of-the-siem-0c7e1f94d2a68";
const PUSH: &str = "push-token-of-the-idp-1f94d2a68";
const NOTE: &str = r#"{"text":"hello"}"#;

fn hash(token: &str) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(token.as_bytes())))
}

/// An event as a receiver got it.
#[derive(Debug, Clone, PartialEq)]
struct Got {
    status: u16,
    head: String,
    claims: Value,
}

impl Got {
    fn text(&self, at: &str) -> String {
        self.claims.pointer(at).and_then(Value::as_str).unwrap_or_default().to_owned()
    }
    fn jti(&self) -> String {
        self.text("/jti")
    }
}

/// A receiver of pushed events that answers by a script, and then with 202.
#[derive(Clone)]
struct Siem {
    url: String,
    script: Arc<Mutex<VecDeque<u16>>>,
    got: Arc<Mutex<Vec<Got>>>,
}

impl Siem {
    async fn start(script: &[u16]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/events", listener.local_addr().unwrap());
        let siem =
            Self { url, script: Arc::new(Mutex::new(script.iter().copied().collect())), got: Arc::default() };
        let serving = siem.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let siem = serving.clone();
                tokio::spawn(async move {
                    let mut bytes = Vec::new();
                    let mut chunk = [0; 4096];
                    let (head, body) = loop {
                        let Ok(n @ 1..) = stream.read(&mut chunk).await else { return };
                        bytes.extend_from_slice(&chunk[..n]);
                        let text = String::from_utf8_lossy(&bytes).into_owned();
                        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                        let length = head.to_ascii_lowercase();
                        let length =
                            length.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
                        if body.len() >= length.unwrap().trim().parse::<usize>().unwrap() {
                            break (head.to_owned(), body.to_owned());
                        }
                    };
                    let status = siem.script.lock().unwrap().pop_front().unwrap_or(202);
                    let claims =
                        body.split('.').nth(1).map(|part| URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap();
                    siem.got.lock().unwrap().push(Got { status, head, claims: json(&claims) });
                    let said = r#"{"err":"invalid_request","description":"no"}"#;
                    let answer = format!(
                        "HTTP/1.1 {status} Said\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{said}",
                        said.len()
                    );
                    drop(stream.write_all(answer.as_bytes()).await);
                });
            }
        });
        siem
    }
    fn got(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }
    async fn until(&self, count: usize) -> Vec<Got> {
        let began = Instant::now();
        while self.got().len() < count {
            assert!(began.elapsed() < Duration::from_secs(20), "{:?}", self.got());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.got()
    }
}

fn receiver(url: &str, dir: &Path) -> String {
    let token = dir.join("siem.token");
    std::fs::write(&token, "a-token-for-the-siem-5b0c7e1f").unwrap();
    std::fs::set_permissions(&token, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    format!(
        "[[ssf.receiver]]\nname = \"siem\"\naudience = \"https://siem.example\"\ntoken_hash = \"{}\"\npush_url = \"{url}\"\n\
         push_token = {{ file = \"{}\" }}\nallow_private = true\n",
        hash(HEAR),
        token.display()
    )
}

async fn suspend(stage: &Stage, human: &str) {
    stage
        .admin
        .act(&format!("/v1/humans/{human}/standing"), r#"{"standing":"suspended","why":"a test"}"#)
        .await;
}

async fn counted(stage: &Stage, series: &str) -> bool {
    let page = stage.admin.request("GET", "/metrics", "").send(stage.admin.address()).await.text();
    page.lines().any(|line| line.starts_with(series))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_revoked_is_pushed_in_order_until_it_is_taken_and_what_is_refused_once() {
    let dir = tempfile::tempdir().unwrap();
    // Not ready, then gone wrong, then busy, then well: the first event goes on being sent. The second is refused for good.
    let siem = Siem::start(&[503, 500, 429, 401, 202, 400]).await;
    let stage = StageBuilder::default().settings(&receiver(&siem.url, dir.path())).start().await;
    suspend(&stage, "bob").await;
    let got = siem.until(6).await;
    let (first, second) = (&got[0], &got[5]);
    assert!(got[..5].iter().all(|one| one.jti() == first.jti()), "the same until it is taken: {got:?}");
    assert_ne!(second.jti(), first.jti());
    assert_eq!(got.iter().map(|one| one.status).collect::<Vec<_>>(), [503, 500, 429, 401, 202, 400]);
    for one in &got {
        let head = one.head.to_ascii_lowercase();
        assert!(
            head.starts_with("post /events ") && head.contains("content-type: application/secevent+jwt"),
            "{head}"
        );
        assert!(one.head.contains("Bearer a-token-for-the-siem-5b0c7e1f"), "{}", one.head);
        assert_eq!(
            (one.text("/iss"), one.text("/aud")),
            (stage.gateway.clone(), "https://siem.example".to_owned())
        );
        assert_eq!(one.text("/sub_id/sub"), "bob");
        assert!(one.claims.get("exp").is_none() && one.claims.get("sub").is_none());
    }
    assert!(first.claims.to_string().contains("risc/event-type/account-disabled"));
    assert!(second.claims.to_string().contains("caep/event-type/session-revoked"));
    for series in [
        "placet_feed_total{feed=\"siem\",outcome=\"unreachable\"} 4",
        "placet_feed_total{feed=\"siem\",outcome=\"refused\"} 1",
    ] {
        assert!(counted(&stage, series).await, "{series}");
    }
    // A receiver of pushes can't fetch: there is one way to it.
    let request = Http {
        method: "POST".to_owned(),
        target: "/ssf/poll/siem".to_owned(),
        headers: [
            ("host", stage.admin.address().to_string()),
            ("authorization", format!("Bearer {HEAR}")),
            ("content-type", "application/json".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into(),
        body: b"{}".to_vec(),
    };
    assert_eq!(request.send(stage.admin.address()).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_receiver_doesnt_take_outlives_a_restart_and_costs_no_memory() {
    let dir = tempfile::tempdir().unwrap();
    let siem = Siem::start(&[503; 3]).await;
    let mut stage = StageBuilder::default().settings(&receiver(&siem.url, dir.path())).start().await;
    let mut changes = Vec::new();
    for n in 0..60 {
        changes.push(format!(r#"{{"human_set":{{"id":"p-{n}","standing":"active","home":"acme"}}}}"#));
    }
    let put = |changes: &[String]| {
        format!(r#"{{"place":"organisation","changes":[{}],"why":"a test"}}"#, changes.join(","))
    };
    stage.admin.act("/v1/facts", &put(&changes)).await;
    let gone: Vec<String> = (0..60)
        .map(|n| format!(r#"{{"human_standing":{{"human":"p-{n}","standing":"deactivated"}}}}"#))
        .collect();
    stage.admin.act("/v1/facts", &put(&gone)).await;
    let first = siem.until(1).await[0].jti();
    stage.restart(|_| {}).await;
    // 60 people, two events each; what wasn't taken comes again under its name, and nothing twice after that.
    let got = siem.until(3 + 120).await;
    assert!(got[..4].iter().all(|one| one.jti() == first), "{:?}", &got[..4]);
    let taken: Vec<String> = got.iter().filter(|one| one.status == 202).map(Got::jti).collect();
    let distinct: std::collections::BTreeSet<&String> = taken.iter().collect();
    assert_eq!((taken.len(), distinct.len()), (120, 120));
    let people: Vec<String> =
        got.iter().filter(|one| one.status == 202).map(|one| one.text("/sub_id/sub")).collect();
    let order: Vec<String> = (0..60).flat_map(|n| [format!("p-{n}"), format!("p-{n}")]).collect();
    assert_eq!(people, order, "in the order of the changes");
    stage.restart(|_| {}).await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(siem.got().len(), got.len(), "nothing is told twice after it was taken");
}

/// The stream is verified, and nothing comes: what depends on it isn't decided.
#[tokio::test(flavor = "multi_thread")]
async fn del_4_a_transmitter_whose_verification_stays_away_is_stale() {
    let dir = tempfile::tempdir().unwrap();
    // It takes the question and says nothing.
    let asked = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let verify = asked.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = asked.accept().await {
            let mut bytes = [0; 4096];
            drop(stream.read(&mut bytes).await);
            drop(stream.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").await);
        }
    });
    let key = SigningKey::generate(Algorithm::Es256).unwrap();
    let jwks = dir.path().join("idp.jwks");
    std::fs::write(&jwks, KeySet::of(key.public()).to_jwks().to_bytes()).unwrap();
    let settings = format!(
        "[[ssf.transmitter]]\nname = \"idp\"\nissuer = \"https://idp.example\"\naudience = \"https://placet.example\"\njwks = \"{}\"\n\
         tenant = \"acme\"\npush_token_hash = \"{}\"\nverify_url = \"http://{verify}/verify\"\nstream_id = \"st-1\"\nverify_s = 10\n\
         silence_s = 3\nallow_private = true\n",
        jwks.display(),
        hash(PUSH)
    );
    let stage = StageBuilder::default().settings(&settings).start().await;
    let agent = stage.seven().await;
    let push = async |jti: &str, kind: &str, event: placet_json::Object| {
        let event = SecurityEvent {
            jti: jti.to_owned(),
            kind: format!("https://schemas.openid.net/secevent/ssf/event-type/{kind}"),
            event,
            subject: Some(object! { "format" => "opaque", "id" => "st-1" }.into()),
        };
        let expires_at = now() + SecurityEvent::MAX_LIFE;
        let stamp = Stamp {
            issuer: "https://idp.example",
            audience: "https://placet.example",
            issued_at: now(),
            expires_at,
        };
        let headers = [
            ("host", stage.admin.address().to_string()),
            ("authorization", format!("Bearer {PUSH}")),
            ("content-type", "application/secevent+jwt".to_owned()),
        ];
        let request = Http {
            method: "POST".to_owned(),
            target: "/ssf/push/idp".to_owned(),
            headers: headers.map(|(name, value)| (name.to_owned(), value)).into(),
            body: mint(&key, &stamp, &event).unwrap().into_bytes(),
        };
        assert_eq!(request.send(stage.admin.address()).await.status, 202);
    };
    assert_eq!(agent.call("desk__note", NOTE).await.code(), "facts_stale", "no sign of life since the start");
    let (status, page) = ready(stage.admin.address()).await;
    assert!(status == 503 && page.contains("`idp`"), "{page}");
    push("v-1", "verification", object! { "state" => "s-1" }).await;
    assert_eq!(agent.call("desk__note", NOTE).await.code(), "");
    tokio::time::sleep(Duration::from_millis(4_200)).await;
    assert_eq!(agent.call("desk__note", NOTE).await.code(), "facts_stale", "the next one stays away");
    // Another tenant's calls don't wait for it.
    let other = stage.agent("agent-7", "globex", "wf-g", "dg-g").await;
    assert_eq!(other.call("desk__note", NOTE).await.code(), "");
    // A stream that its transmitter pauses is stale whatever was heard of it, and stays so through a restart.
    push("v-2", "verification", object! {}).await;
    push("v-3", "stream-updated", object! { "status" => "paused" }).await;
    push("v-4", "verification", object! {}).await;
    assert_eq!(agent.call("desk__note", NOTE).await.code(), "facts_stale");
    let list = stage.admin.get("/v1/facts/sources").await;
    assert!(list.to_string().contains("the stream is paused"), "{list}");
    let mut stage = stage;
    stage.restart(|_| {}).await;
    let list = stage.admin.get("/v1/facts/sources").await;
    assert!(list.to_string().contains("the stream is paused"), "{list}");
}
