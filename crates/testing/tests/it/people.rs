//! People in a browser, by an OpenID provider that says what a test wants.

use std::sync::{Arc, Mutex};

use axum::{Router, extract::State, routing::get};
use placet_jose::{
    Algorithm, KeySet, Refused, SigningKey, Stamp,
    claims::{Claims, Members},
    mint,
};
use placet_json::{Object, Value, object};
use placet_testing::{Answer, Http, Stage, StageBuilder, now};

/// What a provider signs: whatever it likes.
struct Said(Object);

impl Claims for Said {
    const TYP: &'static str = "JWT";
    const MAX_LIFE: u64 = 3600;
    fn read(members: &mut Members) -> Result<Self, Refused> {
        members.ignore_others();
        Ok(Self(Object::new()))
    }
    fn write(&self, payload: &mut Object) {
        payload.extend(self.0.clone());
    }
}

/// A provider.
#[derive(Clone)]
pub(crate) struct Provider {
    pub(crate) issuer: String,
    said: Arc<Mutex<Says>>,
}

struct Says {
    issuer: String,
    key: SigningKey,
    /// The next ID token.
    token: String,
    /// What came to the token endpoint.
    asked: Vec<String>,
}

impl Provider {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let key = SigningKey::generate(Algorithm::Es256).unwrap();
        let says = Says { issuer: issuer.clone(), key, token: String::new(), asked: Vec::new() };
        let said = Arc::new(Mutex::new(says));
        let text = |value: Value| ([("content-type", "application/json")], value.to_string());
        let app = Router::new()
            .route(
                "/.well-known/openid-configuration",
                get(move |State(said): State<Arc<Mutex<Says>>>| async move {
                    let issuer = said.lock().unwrap().issuer.clone();
                    text(
                        object! {
                            "issuer" => issuer.as_str(), "authorization_endpoint" => format!("{issuer}/auth"),
                            "token_endpoint" => format!("{issuer}/token"), "jwks_uri" => format!("{issuer}/jwks"),
                            "authorization_response_iss_parameter_supported" => true,
                        }
                        .into(),
                    )
                }),
            )
            .route(
                "/jwks",
                get(move |State(said): State<Arc<Mutex<Says>>>| async move {
                    text(KeySet::of(said.lock().unwrap().key.public()).to_jwks())
                }),
            )
            .route(
                "/token",
                axum::routing::post(move |State(said): State<Arc<Mutex<Says>>>, body: String| async move {
                    let mut said = said.lock().unwrap();
                    said.asked.push(body);
                    text(object! { "id_token" => said.token.as_str(), "token_type" => "Bearer" }.into())
                }),
            )
            .with_state(Arc::clone(&said));
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { issuer, said }
    }
    pub(crate) fn settings(&self, more: &str) -> String {
        format!(
            "[[identity]]\nname = \"corp\"\nissuer = \"{}\"\nclient_id = \"placet\"\nallow_private = true\n{more}\n",
            self.issuer
        )
    }
    /// The next ID token, for this nonce.
    fn says(&self, sub: &str, nonce: &str, more: Object) {
        let mut claims = object! { "sub" => sub, "nonce" => nonce };
        claims.extend(more);
        let token = self.signed(claims);
        self.said.lock().unwrap().token = token;
    }
    fn signed(&self, claims: Object) -> String {
        let said = self.said.lock().unwrap();
        let stamp =
            Stamp { issuer: &self.issuer, audience: "placet", issued_at: now(), expires_at: now() + 300 };
        mint(&said.key, &stamp, &Said(claims)).unwrap()
    }
    /// Signs by another key from now on.
    fn rotate(&self) {
        self.said.lock().unwrap().key = SigningKey::generate(Algorithm::Es256).unwrap();
    }
}

/// A browser.
#[derive(Debug, Default, Clone)]
pub(crate) struct Browser {
    cookies: Vec<(String, String)>,
}

impl Browser {
    pub(crate) async fn get(&mut self, stage: &Stage, target: &str) -> Answer {
        let answer = self.request(stage, "GET", target).send(stage.address).await;
        self.keep(&answer);
        answer
    }
    pub(crate) async fn post(&mut self, stage: &Stage, target: &str, form: &[(&str, &str)]) -> Answer {
        let answer = self.form(stage, target, form).send(stage.address).await;
        self.keep(&answer);
        answer
    }
    pub(crate) fn form(&self, stage: &Stage, target: &str, form: &[(&str, &str)]) -> Http {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        self.request(stage, "POST", target).set("origin", &stage.gateway).body(body)
    }
    fn request(&self, stage: &Stage, method: &str, target: &str) -> Http {
        let request =
            Http { method: method.into(), target: target.into(), headers: Vec::new(), body: Vec::new() };
        let cookies: Vec<String> =
            self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let host = stage.gateway.trim_start_matches("http://");
        request.set("host", host).set("cookie", &cookies.join("; "))
    }
    fn keep(&mut self, answer: &Answer) {
        for line in answer.head.lines() {
            let Some(cookie) = line.to_ascii_lowercase().starts_with("set-cookie:").then(|| &line[11..])
            else {
                continue;
            };
            let pair = cookie.split(';').next().unwrap().trim();
            let (name, value) = pair.split_once('=').unwrap();
            self.cookies.retain(|(other, _)| other != name);
            if !value.is_empty() {
                self.cookies.push((name.to_owned(), value.to_owned()));
            }
        }
    }
    /// Goes to the provider; `state` and `nonce` of the way there.
    async fn leaves(&mut self, stage: &Stage, query: &str) -> (String, String) {
        let answer = self.get(stage, &format!("/sign-in/corp{query}")).await;
        assert_eq!(answer.status, 303, "{}", answer.text());
        let url = url::Url::parse(answer.header("location").unwrap()).unwrap();
        let member = |name: &str| url.query_pairs().find(|(n, _)| n == name).unwrap().1.into_owned();
        assert_eq!((&*member("code_challenge_method"), member("code_challenge").len()), ("S256", 43));
        (member("state"), member("nonce"))
    }
    /// Comes back with an answer of the provider's.
    async fn returns(&mut self, stage: &Stage, provider: &Provider, state: &str) -> Answer {
        self.get(stage, &back(provider, state)).await
    }
    /// Signs in, the provider saying this.
    pub(crate) async fn signs_in(
        &mut self,
        stage: &Stage,
        provider: &Provider,
        sub: &str,
        more: Object,
    ) -> Answer {
        self.goes(stage, provider, "", sub, more).await
    }
    /// The same, on a way that asks for something.
    pub(crate) async fn goes(
        &mut self,
        stage: &Stage,
        provider: &Provider,
        query: &str,
        sub: &str,
        more: Object,
    ) -> Answer {
        let (state, nonce) = self.leaves(stage, query).await;
        provider.says(sub, &nonce, more);
        self.returns(stage, provider, &state).await
    }
    pub(crate) async fn is_in(&mut self, stage: &Stage) -> bool {
        self.get(stage, "/me").await.status == 200
    }
}

fn back(provider: &Provider, state: &str) -> String {
    let query = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("code", "a-code")
        .append_pair("state", state)
        .append_pair("iss", &provider.issuer)
        .finish();
    format!("/sign-in/corp/callback?{query}")
}

/// The hidden members of the form whose button says this.
pub(crate) fn hidden(page: &str, near: &str) -> Vec<(String, String)> {
    let at = page.find(near).unwrap_or_else(|| panic!("no `{near}` in {page}"));
    let from = page[..at].rfind("<form").unwrap();
    let mut members = Vec::new();
    for part in page[from..at].split("<input type=\"hidden\" name=\"").skip(1) {
        let (name, rest) = part.split_once("\" value=\"").unwrap();
        members.push((name.to_owned(), rest.split_once('"').unwrap().0.to_owned()));
    }
    members
}
pub(crate) fn pairs(form: &[(String, String)]) -> Vec<(&str, &str)> {
    form.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

async fn stage(more: &str) -> (Stage, Provider) {
    let provider = Provider::start().await;
    let stage = StageBuilder::default().settings(&provider.settings(more)).start().await;
    (stage, provider)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn somebody_signs_in_sees_what_acts_for_them_and_ends_it() {
    let (stage, provider) = stage("").await;
    let agent = stage.seven().await;
    let mut browser = Browser::default();
    let first = browser.get(&stage, "/me").await;
    assert_eq!((first.status, first.header("location")), (303, Some("/sign-in?to=%2Fme")));
    let answer = browser.signs_in(&stage, &provider, "maya", object! { "acr" => "phr", "sid" => "s1" }).await;
    assert_eq!((answer.status, answer.header("location")), (303, Some("/me")), "{}", answer.all());
    let asked = provider.said.lock().unwrap().asked.concat();
    assert!(asked.contains("code_verifier=") && asked.contains("code=a-code"), "{asked}");

    let page = browser.get(&stage, "/me").await;
    let text = page.text();
    assert!(text.contains("agent-7") && text.contains("planner-1") && !text.contains("wf-g"), "{text}");
    assert!(
        !text.contains("<script")
            && page.header("content-security-policy").unwrap().starts_with("default-src 'none'")
    );

    assert_eq!(agent.call("desk__note", r#"{"text":"a"}"#).await.code(), "");
    let form = hidden(&text, "Revoke");
    let form = form.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect::<Vec<_>>();
    assert!(form.contains(&("delegation", "dg-1")), "{form:?}");
    let answer = browser.post(&stage, "/me/revoke", &form).await;
    assert_eq!((answer.status, answer.header("location")), (303, Some("/me")), "{}", answer.text());
    assert_eq!(agent.call("desk__note", r#"{"text":"a"}"#).await.code(), "delegation_revoked");
    stage.settle().await;
    let session = stage.ledger().after(0).iter().any(|entry| {
        let text = entry.record.to_string();
        text.contains("session_began") && text.contains("\"acr\":\"phr\"") && !text.contains("\"s1\"")
    });
    assert!(session, "how she signed in is in the ledger, what identifies her session there isn't");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn con_1_a_form_counts_in_its_session_and_from_its_page() {
    let (stage, provider) = stage("").await;
    let (mut maya, mut bob) = (Browser::default(), Browser::default());
    maya.signs_in(&stage, &provider, "maya", Object::new()).await;
    bob.signs_in(&stage, &provider, "bob", Object::new()).await;
    let page = maya.get(&stage, "/me").await.text();
    let form = hidden(&page, "Revoke");
    let form = pairs(&form);
    let without: Vec<_> = form.iter().copied().filter(|(name, _)| *name != "form").collect();
    assert_eq!(maya.post(&stage, "/me/revoke", &without).await.status, 403, "without a token");
    assert_eq!(bob.post(&stage, "/me/revoke", &form).await.status, 403, "in another session");
    let foreign = maya.form(&stage, "/me/revoke", &form).set("origin", "https://evil.example");
    assert_eq!(foreign.send(stage.address).await.status, 421, "from another page");
    let nowhere = maya.form(&stage, "/me/revoke", &form).without("origin");
    assert_eq!(nowhere.send(stage.address).await.status, 403, "from nobody knows where");
    assert_eq!(maya.get(&stage, "/me/revoke").await.status, 405, "by following a link");
    let other: Vec<_> = form
        .iter()
        .map(|(name, value)| if *name == "delegation" { (*name, "dg-8") } else { (*name, *value) })
        .collect();
    assert_eq!(maya.post(&stage, "/me/revoke", &other).await.status, 403, "about something else");
    let mut stranger = Browser::default();
    let answer = stranger.post(&stage, "/me/revoke", &form).await;
    assert_eq!(answer.header("location"), Some("/sign-in?to=%2Fme"), "by nobody");
    assert_eq!(stage.seven().await.call("desk__note", r#"{"text":"a"}"#).await.code(), "", "it stands");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_counts_once_in_the_browser_that_asked_for_who_asked() {
    let (stage, provider) = stage("").await;
    let mut browser = Browser::default();
    let (state, nonce) = browser.leaves(&stage, "").await;
    provider.says("maya", &nonce, Object::new());
    let url = back(&provider, &state);
    // In another browser: an answer that somebody else was lured into bringing.
    assert_eq!(Browser::default().get(&stage, &url).await.status, 403);
    let mut another = Browser::default();
    another.leaves(&stage, "").await;
    assert_eq!(another.get(&stage, &url).await.status, 403);
    // Of another issuer, or of none.
    let issuer = url.split("&iss=").next().unwrap().to_owned();
    for wrong in [issuer.clone(), format!("{issuer}&iss=https%3A%2F%2Fevil.example")] {
        let mut browser = Browser::default();
        let (state, nonce) = browser.leaves(&stage, "").await;
        provider.says("maya", &nonce, Object::new());
        let url = back(&provider, &state);
        let wrong = wrong.split("&iss=").nth(1).map_or_else(String::new, |iss| format!("&iss={iss}"));
        let url = format!("{}{wrong}", url.split("&iss=").next().unwrap());
        assert_eq!(browser.get(&stage, &url).await.status, 403, "{url}");
        assert!(!browser.is_in(&stage).await);
    }
    provider.says("maya", &nonce, Object::new());
    assert_eq!(browser.clone().get(&stage, &url).await.status, 303);
    assert_eq!(browser.get(&stage, &url).await.status, 403, "twice");
    // A token for another sign-in.
    let (state, _) = browser.leaves(&stage, "").await;
    assert_eq!(browser.returns(&stage, &provider, &state).await.status, 403);
    // By a key that isn't the provider's any more, and by its new one.
    provider.rotate();
    let mut browser = Browser::default();
    let (state, nonce) = browser.leaves(&stage, "").await;
    provider.says("maya", &nonce, Object::new());
    assert_eq!(browser.returns(&stage, &provider, &state).await.status, 403, "keys were asked for just now");
    tokio::time::sleep(std::time::Duration::from_secs(11)).await;
    assert_eq!(browser.signs_in(&stage, &provider, "maya", Object::new()).await.status, 303);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_unknown_gone_or_of_another_tenant_signs_in() {
    let (mut stage, provider) = stage("human = \"email\"\ntenants = [\"acme\"]\n").await;
    let body = r#"{"id":"eve@x","home":"acme"}"#;
    stage.admin.act("/v1/humans", body).await;
    stage.admin.act("/v1/humans", r#"{"id":"gus@x","home":"globex"}"#).await;
    let claims = |email: &str, verified: bool| object! { "email" => email, "email_verified" => verified };
    for (email, verified, enters) in [
        ("eve@x", true, true),
        ("eve@x", false, false),
        ("gus@x", true, false),
        ("nobody@x", true, false),
        ("ev e@x", true, false),
    ] {
        let mut browser = Browser::default();
        let answer = browser.signs_in(&stage, &provider, "opaque", claims(email, verified)).await;
        assert_eq!(answer.status == 303, enters, "{email}");
        assert_eq!(browser.is_in(&stage).await, enters, "{email}");
        assert!(!answer.text().contains(email), "no oracle");
    }
    let mut browser = Browser::default();
    browser.signs_in(&stage, &provider, "opaque", claims("eve@x", true)).await;
    stage.restart(|_| {}).await;
    assert!(browser.is_in(&stage).await, "a session outlasts a restart");
    stage.admin.act("/v1/humans/eve@x/standing", r#"{"standing":"suspended"}"#).await;
    assert!(!browser.is_in(&stage).await, "and not its person's standing");
    let answer = browser.signs_in(&stage, &provider, "opaque", claims("eve@x", true)).await;
    assert_eq!(answer.status, 403);
    stage.settle().await;
    let noted = stage.ledger().after(0).iter().any(|entry| {
        let text = entry.record.to_string();
        text.contains("human:eve@x") && text.contains("sign in") && text.contains("may not act")
    });
    assert!(noted, "what somebody known was refused is recorded");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_asked_of_the_provider_is_looked_for_in_its_answer() {
    let (stage, provider) = stage("acr_values = [\"phr\"]\nmax_age_s = 60\n").await;
    for (more, enters) in [
        (object! { "acr" => "phr", "auth_time" => now() }, true),
        (object! { "acr" => "pwd", "auth_time" => now() }, false),
        (object! { "auth_time" => now() }, false),
        (object! { "acr" => "phr" }, false),
        (object! { "acr" => "phr", "auth_time" => now() - 100 }, false),
    ] {
        let told = Value::from(more.clone()).to_string();
        let answer = Browser::default().signs_in(&stage, &provider, "maya", more).await;
        assert_eq!(answer.status == 303, enters, "{told}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_provider_ends_a_session_of_its_own_once() {
    const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";
    let (stage, provider) = stage("").await;
    let (mut one, mut two, mut bob) = (Browser::default(), Browser::default(), Browser::default());
    one.signs_in(&stage, &provider, "maya", object! { "sid" => "s1" }).await;
    two.signs_in(&stage, &provider, "maya", object! { "sid" => "s2" }).await;
    bob.signs_in(&stage, &provider, "bob", object! { "sid" => "s3" }).await;
    let events = object! { EVENT => Object::new() };
    let out = |token: String| {
        let stage = &stage;
        async move { Browser::default().post(stage, "/sign-in/corp/logout", &[("logout_token", &token)]).await }
    };
    let token = provider.signed(object! { "jti" => "j1", "sid" => "s1", "events" => events.clone() });
    assert_eq!(out(token.clone()).await.status, 200);
    assert_eq!((one.is_in(&stage).await, two.is_in(&stage).await), (false, true));
    assert_eq!(out(token).await.status, 400, "once");
    for claims in [
        object! { "jti" => "j2", "sub" => "bob" },
        object! { "jti" => "j3", "events" => events.clone() },
        object! { "jti" => "j4", "sub" => "bob", "nonce" => "n", "events" => events.clone() },
        object! { "sub" => "bob", "events" => events.clone() },
    ] {
        assert_eq!(out(provider.signed(claims)).await.status, 400);
    }
    assert!(bob.is_in(&stage).await);
    let token = provider.signed(object! { "jti" => "j5", "sub" => "maya", "events" => events });
    assert_eq!(out(token).await.status, 200);
    assert_eq!((two.is_in(&stage).await, bob.is_in(&stage).await), (false, true));
    let page = bob.get(&stage, "/me").await.text();
    let form = hidden(&page, "Sign out");
    assert_eq!(bob.post(&stage, "/sign-out", &pairs(&form)).await.status, 200);
    assert!(!bob.is_in(&stage).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_developer_is_anybody_and_nobody_else_is() {
    let stage = StageBuilder::default().settings("[dev]\nsign_in = true\n").start().await;
    let mut browser = Browser::default();
    let page = browser.get(&stage, "/sign-in").await.text();
    assert!(page.contains("value=\"maya\""), "{page}");
    assert_eq!(browser.post(&stage, "/sign-in/development", &[("human", "nobody")]).await.status, 403);
    let answer =
        browser.post(&stage, "/sign-in/development", &[("human", "maya"), ("to", "//evil.example")]).await;
    assert_eq!(answer.header("location"), Some("/me"));
    assert!(browser.is_in(&stage).await);
    let begun = r#"{"place":"organisation","changes":[{"session_began":{"id":"x","human":"maya","by":{"provider":"corp","authenticated":"2026-01-01T00:00:00Z"},"subject":"s","began":"2026-01-01T00:00:00Z","until":"2099-01-01T00:00:00Z"}}]}"#;
    let answer = stage.admin.request("POST", "/v1/facts", begun).send(stage.admin.address()).await;
    assert_eq!(answer.status, 403, "nobody writes a session: {}", answer.text());
    drop(stage);
    let stage = Stage::start().await;
    let answer = Browser::default().post(&stage, "/sign-in/development", &[("human", "maya")]).await;
    assert_eq!(answer.status, 404);
}
