//! Identity feeds through a whole server: what a provider says decides the next call, once, also after a restart.

use std::path::Path;

use placet_jose::{Algorithm, KeySet, SigningKey, Stamp, claims::Claims as _, mint, tokens::SecurityEvent};
use placet_json::{Value, object};
use placet_testing::{Answer, Http, Stage, StageBuilder, json, now};
use sha2::{Digest, Sha256};

const SCIM: &str = "scim-token-of-acme-5b0c7e1f94d2";
const OTHER: &str = "scim-token-of-globex-94d2a6835b0";
const PUSH: &str = "push-token-of-the-idp-1f94d2a68";
const HEAR: &str = "token-of-the-siem-0c7e1f94d2a68";
const IDP: &str = "https://idp.example";
const AUDIENCE: &str = "https://placet.example";
const NOTE: (&str, &str) = ("desk__note", r#"{"text":"hello"}"#);

fn hash(token: &str) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(token.as_bytes())))
}

fn settings(jwks: &Path) -> String {
    format!(
        r#"
[[scim]]
name = "okta"
tenant = "acme"
token_hash = "{}"
[[scim.group]]
name = "Support"
role = "support"

[[scim]]
name = "globex-okta"
tenant = "globex"
token_hash = "{}"

[[ssf.transmitter]]
name = "idp"
issuer = "{IDP}"
audience = "{AUDIENCE}"
jwks = "{}"
push_token_hash = "{}"

[[ssf.receiver]]
name = "siem"
audience = "https://siem.example"
token_hash = "{}"
"#,
        hash(SCIM),
        hash(OTHER),
        jwks.display(),
        hash(PUSH),
        hash(HEAR)
    )
}

struct Feeds {
    stage: Stage,
    key: SigningKey,
    _keys: tempfile::TempDir,
}

impl Feeds {
    async fn start() -> Self {
        let key = SigningKey::generate(Algorithm::Es256).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let jwks = dir.path().join("idp.jwks");
        std::fs::write(&jwks, KeySet::of(key.public()).to_jwks().to_bytes()).unwrap();
        let stage = StageBuilder::default().settings(&settings(&jwks)).start().await;
        Self { stage, key, _keys: dir }
    }
    async fn ask(&self, method: &str, path: &str, token: &str, media: &str, body: &str) -> Answer {
        let to = self.stage.admin.address();
        let headers = [
            ("host", to.to_string()),
            ("authorization", format!("Bearer {token}")),
            ("content-type", media.to_owned()),
        ];
        let request = Http {
            method: method.to_owned(),
            target: path.to_owned(),
            headers: headers.map(|(name, value)| (name.to_owned(), value)).into(),
            body: body.as_bytes().to_vec(),
        };
        request.send(to).await
    }
    async fn scim(&self, method: &str, path: &str, token: &str, body: &str) -> Answer {
        self.ask(method, &format!("/scim/v2{path}"), token, "application/scim+json", body).await
    }
    async fn push(&self, token: &str, set: &str) -> Answer {
        self.ask("POST", "/ssf/push/idp", token, "application/secevent+jwt", set).await
    }
    async fn poll(&self, asked: &str) -> Vec<String> {
        let answer = self.ask("POST", "/ssf/poll/siem", HEAR, "application/json", asked).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let sets = json(&answer.body);
        sets.get("sets").and_then(Value::as_object).unwrap().keys().map(str::to_owned).collect()
    }
    /// The metric's line.
    async fn counted(&self, series: &str) -> bool {
        let answer = self.ask("GET", "/metrics", "x", "text/plain", "").await;
        answer.text().lines().any(|line| line.starts_with(series))
    }
    fn set(&self, jti: &str, kind: &str, sub: &str) -> String {
        let subject = object! { "format" => "iss_sub", "iss" => IDP, "sub" => sub };
        let event = SecurityEvent {
            jti: jti.to_owned(),
            kind: format!("https://schemas.openid.net/secevent/{kind}"),
            event: object! { "event_timestamp" => now() },
            subject: Some(subject.into()),
        };
        let stamp = Stamp {
            issuer: IDP,
            audience: AUDIENCE,
            issued_at: now(),
            expires_at: now() + SecurityEvent::MAX_LIFE,
        };
        mint(&self.key, &stamp, &event).unwrap()
    }
    async fn user(&self, name: &str) -> String {
        let body =
            format!(r#"{{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":"{name}"}}"#);
        let answer = self.scim("POST", "/Users", SCIM, &body).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        json(&answer.body).get("id").and_then(Value::as_str).unwrap().to_owned()
    }
    async fn standing(&self, human: &str) -> String {
        let people = self.stage.admin.get("/v1/humans").await;
        let people = people.get("humans").and_then(Value::as_array).unwrap();
        let one = people.iter().find(|one| one.get("id").and_then(Value::as_str) == Some(human)).unwrap();
        one.get("standing").and_then(Value::as_str).unwrap().to_owned()
    }
    async fn reinstate(&self, human: &str) {
        self.stage
            .admin
            .act(&format!("/v1/humans/{human}/standing"), r#"{"standing":"active","why":"a test"}"#)
            .await;
    }
}

fn patch(active: &str) -> String {
    format!(
        r#"{{"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],"Operations":[{{"op":"Replace","path":"active","value":{active}}}]}}"#
    )
}

#[tokio::test]
async fn del_2_a_leaver_of_the_provider_is_refused_at_the_next_call() {
    let mut feeds = Feeds::start().await;
    let id = feeds.user("maya").await;
    // The role of the desk is the group's to give.
    let group = format!(
        r#"{{"schemas":["urn:ietf:params:scim:schemas:core:2.0:Group"],"displayName":"Support","members":[{{"value":"{id}"}}]}}"#
    );
    let answer = feeds.scim("POST", "/Groups", SCIM, &group).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let seven = feeds.stage.seven().await;
    let answer = seven.call(NOTE.0, NOTE.1).await;
    assert_eq!(answer.code(), "", "{}", answer.text());
    let before = feeds.stage.desk.calls().len();

    // No boolean changes nothing, and says so.
    let answer = feeds.scim("PATCH", &format!("/Users/{id}"), SCIM, &patch("\"no\"")).await;
    assert_eq!(answer.status, 400);
    assert_eq!(feeds.standing("maya").await, "active");
    // Another tenant's token doesn't find her.
    for (method, body) in [("GET", String::new()), ("PATCH", patch("false")), ("DELETE", String::new())] {
        let answer = feeds.scim(method, &format!("/Users/{id}"), OTHER, &body).await;
        assert_eq!(answer.status, 404, "{}", answer.text());
    }
    let answer = feeds.scim("GET", "/Users", "nobody's", "").await;
    assert_eq!((answer.status, answer.header("www-authenticate")), (401, Some("Bearer realm=\"scim\"")));
    assert!(feeds.counted("placet_refused_total{reason=\"scim_unauthenticated\"} 1").await);

    let answer = feeds.scim("PATCH", &format!("/Users/{id}"), SCIM, &patch("\"False\"")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answer = seven.call(NOTE.0, NOTE.1).await;
    assert_ne!(answer.code(), "", "{}", answer.text());
    assert_eq!(feeds.stage.desk.calls().len(), before, "nothing reached the tool");

    // Back again: active, and what she had granted stays revoked, also after a restart.
    feeds.scim("PATCH", &format!("/Users/{id}"), SCIM, &patch("\"True\"")).await;
    assert_eq!(feeds.standing("maya").await, "active");
    assert_ne!(seven.call(NOTE.0, NOTE.1).await.code(), "");
    feeds.stage.restart(|_| {}).await;
    let answer = feeds.scim("GET", &format!("/Users/{id}"), SCIM, "").await;
    assert_eq!((answer.status, answer.header("etag")), (200, Some("W/\"3\"")), "{}", answer.text());
    // Maya owns agent-7: it stands still until somebody lets it go on, for others too.
    for (workflow, delegation) in [("wf-9", "dg-1"), ("wf-10", "dg-2")] {
        let answer = feeds.stage.idle("agent-7").ask_for_token("acme", workflow, delegation).await;
        assert_ne!(answer.status, 200, "{delegation}");
    }
}

#[tokio::test]
async fn signals_count_once_and_open_nothing() {
    let mut feeds = Feeds::start().await;
    let disabled = feeds.set("j-1", "risc/event-type/account-disabled", "maya");
    for (token, set, status, said) in [
        ("nobody's", disabled.as_str(), 401, "authentication_failed"),
        (SCIM, disabled.as_str(), 401, "authentication_failed"),
        (PUSH, "not.a.token", 400, "invalid_request"),
    ] {
        let answer = feeds.push(token, set).await;
        assert_eq!(answer.status, status, "{}", answer.text());
        assert!(answer.text().contains(said), "{}", answer.text());
    }
    let large = format!("{disabled}{}", "A".repeat(64 * 1024));
    assert_eq!(feeds.push(PUSH, &large).await.status, 400);
    let answer = feeds.ask("POST", "/ssf/push/nobody", PUSH, "application/secevent+jwt", &disabled).await;
    assert_eq!(answer.status, 401);
    let answer = feeds.ask("POST", "/ssf/push/idp", PUSH, "application/jwt", &disabled).await;
    assert_eq!(answer.status, 400);
    assert_eq!(feeds.standing("maya").await, "active", "none of that was heard");

    // Nobody whom we know: the same answer, and a count.
    let nobody = feeds.set("j-0", "risc/event-type/account-disabled", "nobody");
    let answer = feeds.push(PUSH, &nobody).await;
    assert_eq!((answer.status, answer.body.len()), (202, 0));
    assert!(feeds.counted("placet_feed_total{feed=\"idp\",outcome=\"unknown_subject\"} 1").await);

    let seven = feeds.stage.seven().await;
    assert_eq!(seven.call(NOTE.0, NOTE.1).await.code(), "");
    let answer = feeds.push(PUSH, &disabled).await;
    assert_eq!((answer.status, answer.body.len()), (202, 0), "{}", answer.text());
    assert_eq!(feeds.standing("maya").await, "suspended");
    assert_ne!(seven.call(NOTE.0, NOTE.1).await.code(), "");
    let enabled = feeds.set("j-2", "risc/event-type/account-enabled", "maya");
    assert_eq!(feeds.push(PUSH, &enabled).await.status, 202);
    assert_eq!(feeds.standing("maya").await, "suspended", "no event enables");

    // The same event again, before and after a restart.
    feeds.reinstate("maya").await;
    assert_eq!(feeds.push(PUSH, &disabled).await.status, 202);
    assert_eq!(feeds.standing("maya").await, "active");
    feeds.stage.restart(|_| {}).await;
    assert_eq!(feeds.push(PUSH, &disabled).await.status, 202);
    assert_eq!(feeds.standing("maya").await, "active");
}

#[tokio::test]
async fn a_stream_goes_on_where_its_receiver_stopped() {
    let mut feeds = Feeds::start().await;
    let now = r#"{"returnImmediately":true}"#;
    assert!(
        feeds.poll(now).await.is_empty(),
        "what happened before the stream isn't told: the stage enrols only"
    );
    feeds.stage.admin.act("/v1/humans/bob/standing", r#"{"standing":"suspended","why":"a test"}"#).await;
    let first = feeds.poll(now).await;
    assert_eq!(first.len(), 2, "an account and its sessions");
    // Not acknowledged: they come again, under their names, also after a restart.
    assert_eq!(feeds.poll(now).await, first);
    feeds.stage.restart(|_| {}).await;
    assert_eq!(feeds.poll(now).await, first);
    // One is acknowledged, the other one refused; a crash may tell both again, an orderly way neither.
    let done = format!(
        r#"{{"returnImmediately":true,"ack":["{}"],"setErrs":{{"{}":{{"err":"invalid_request"}}}}}}"#,
        first[0], first[1]
    );
    assert!(feeds.poll(&done).await.is_empty());
    feeds.stage.restart(|_| {}).await;
    assert!(feeds.poll(now).await.is_empty());
    // A request that waits is answered when there is news.
    let waiting = feeds.poll("{}");
    let acting = async {
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        feeds.stage.admin.act("/v1/tenants/acme/delegations/dg-1/revoke", r#"{"why":"a test"}"#).await;
    };
    let (told, ()) = tokio::join!(waiting, acting);
    assert_eq!(told.len(), 1);
    for (body, status) in [(r#"{"maxEvents":-1}"#, 400), ("[]", 400), (r#"{"ack":[1]}"#, 400)] {
        let answer = feeds.ask("POST", "/ssf/poll/siem", HEAR, "application/json", body).await;
        assert_eq!(answer.status, status, "{body}");
    }
    let answer = feeds.ask("POST", "/ssf/poll/siem", PUSH, "application/json", now).await;
    assert_eq!(answer.status, 401);
}

#[tokio::test]
async fn feeds_that_cant_work_keep_a_server_from_starting() {
    let hash = hash(SCIM);
    let two = format!(
        "[[scim]]\nname = \"a\"\nhome = \"acme\"\ntoken_hash = \"{hash}\"\n[[scim]]\nname = \"b\"\nhome = \"acme\"\ntoken_hash = \"{hash}\"\n"
    );
    for text in [
        two.as_str(),
        "[[scim]]\nname = \"a\"\nhome = \"acme\"\n",
        "[[scim]]\nname = \"a\"\nhome = \"acme\"\ntoken_hash = \"secret\"\n",
        "[[ssf.transmitter]]\nname = \"a\"\nissuer = \"https://a\"\njwks = \"missing.jwks\"\npush_token_hash = \"sha256:0000000000000000000000000000000000000000000000000000000000000000\"\n",
        "[feeds]\nlisten = \"0.0.0.0:0\"\n",
        "[feeds]\nlisten = \"everywhere\"\n",
    ] {
        assert!(StageBuilder::default().settings(text).fails().await, "{text}");
    }
}

/// Roles are set as a whole: a role that an operator takes while a group is being aligned stays taken.
#[tokio::test(flavor = "multi_thread")]
async fn rac_a_role_that_is_taken_while_a_group_is_aligned_stays_taken() {
    let feeds = Feeds::start().await;
    let id = feeds.user("rae").await;
    let group = r#"{"schemas":["urn:ietf:params:scim:schemas:core:2.0:Group"],"displayName":"Support"}"#;
    let answer = feeds.scim("POST", "/Groups", SCIM, group).await;
    let group = json(&answer.body).get("id").and_then(Value::as_str).unwrap().to_owned();
    let roles = |list: &str| {
        format!(
            r#"{{"place":{{"tenant":"acme"}},"changes":[{{"assignment_set":{{"human":"rae","roles":[{list}],"until":"ended"}}}}],"why":"a test"}}"#
        )
    };
    for round in 0..12 {
        feeds.stage.admin.act("/v1/facts", &roles(r#""auditor","lead""#)).await;
        let add = format!(
            r#"{{"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],"Operations":[{{"op":"add","path":"members","value":[{{"value":"{id}"}}]}}]}}"#
        );
        let path = format!("/Groups/{group}");
        let without = roles(r#""auditor""#);
        let taking = feeds.stage.admin.act("/v1/facts", &without);
        let (added, _) = tokio::join!(feeds.scim("PATCH", &path, SCIM, &add), taking);
        assert_eq!(added.status, 200, "{}", added.text());
        let facts = feeds.stage.admin.get("/v1/facts?tenant=acme&kind=assignments&id=rae").await;
        assert!(!facts.to_string().contains("lead"), "round {round}: {facts}");
        let none = r#"{"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],"Operations":[{"op":"remove","path":"members"}]}"#;
        assert_eq!(feeds.scim("PATCH", &path, SCIM, none).await.status, 200);
    }
}
