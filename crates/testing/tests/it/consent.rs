//! A person's consent: from what an agent pushes, by the page that the person sees, to the token and the calls.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use placet_json::{Value, object};
use placet_testing::{Agent, Answer, Stage, StageBuilder, json};
use sha2::{Digest as _, Sha256};

use crate::people::{Browser, Provider, hidden};

const VERIFIER: &str = "a-verifier-of-forty-three-characters-at-least-0";
const REDIRECT: &str = "http://127.0.0.1:39999/cb";
const DETAILS: &str = r#"[{"type":"placet_workflow","tenant":"acme","workflow":"wf-9","actions":["take_note","issue_refund"],"constraints":{"max_amount":200},"note":"<b>urgent\u202e</b>"}]"#;

/// What a well-behaved agent pushes.
fn parameters(gateway: &str) -> Vec<(String, String)> {
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(VERIFIER.as_bytes()));
    [
        ("response_type", "code"),
        ("redirect_uri", REDIRECT),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
        ("state", "s &=1"),
        ("resource", &format!("{gateway}/mcp")),
        ("authorization_details", DETAILS),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

async fn push(agent: &Agent, parameters: &[(String, String)]) -> Answer {
    let pairs: Vec<(&str, &str)> =
        parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    agent.oauth("/oauth/par", &agent.key, &pairs).send(agent.address).await
}

/// Pushes, and where the person is sent.
async fn asks(agent: &Agent) -> String {
    let answer = push(agent, &parameters(&agent.gateway)).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let uri = json(&answer.body).get("request_uri").and_then(Value::as_str).unwrap().to_owned();
    way(agent, &uri)
}
fn way(agent: &Agent, uri: &str) -> String {
    let query = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("client_id", agent.id())
        .append_pair("request_uri", uri)
        .finish();
    format!("/oauth/authorize?{query}")
}

/// The page's form as it stands, with this answer.
fn filled(page: &str, answer: &str) -> Vec<(String, String)> {
    let mut form = hidden(page, "Yes, it may");
    for part in page.split("<input ").skip(1) {
        let tag = part.split('>').next().unwrap();
        let member = |name: &str| {
            let rest = tag.split(&format!("{name}=\"")).nth(1)?;
            Some(rest.split('"').next().unwrap().to_owned())
        };
        if !tag.contains("hidden") {
            form.push((member("name").unwrap(), member("value").unwrap()));
        }
    }
    form.push(("answer".to_owned(), answer.to_owned()));
    form
}
fn set(form: &mut [(String, String)], name: &str, value: &str) {
    let member = form.iter_mut().find(|(other, _)| other == name).unwrap_or_else(|| panic!("no `{name}`"));
    value.clone_into(&mut member.1);
}
async fn answers(stage: &Stage, browser: &mut Browser, form: &[(String, String)]) -> Answer {
    let pairs: Vec<(&str, &str)> = form.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    browser.post(stage, "/oauth/authorize", &pairs).await
}
/// A parameter of the answer's redirect.
fn told(answer: &Answer, name: &str) -> Option<String> {
    let url = url::Url::parse(answer.header("location")?).ok()?;
    url.query_pairs().find(|(other, _)| other == name).map(|(_, value)| value.into_owned())
}

async fn redeem(agent: &Agent, code: &str, verifier: &str) -> Answer {
    let resource = format!("{}/mcp", agent.gateway);
    let form = [
        ("grant_type", "authorization_code"),
        ("code", code),
        ("code_verifier", verifier),
        ("redirect_uri", REDIRECT),
        ("resource", &resource),
    ];
    agent.oauth("/oauth/token", &agent.key, &form).send(agent.address).await
}

async fn stage() -> (Stage, Provider) {
    let provider = Provider::start().await;
    let stage = StageBuilder::default().settings(&provider.settings("")).start().await;
    (stage, provider)
}
async fn signed_in(stage: &Stage, provider: &Provider, who: &str) -> Browser {
    let mut browser = Browser::default();
    let answer = browser.signs_in(stage, provider, who, object! { "acr" => "phr" }).await;
    assert_eq!(answer.status, 303, "{}", answer.text());
    browser
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn con_4_a_person_sees_what_we_read_narrows_it_and_the_agent_gets_that_much() {
    let (stage, provider) = stage().await;
    let mut agent = stage.idle("agent-8");
    let way = asks(&agent).await;
    let mut browser = Browser::default();
    let first = browser.get(&stage, &way).await;
    assert_eq!(first.status, 303, "signs in first");
    let mut browser = signed_in(&stage, &provider, "maya").await;
    let page = browser.get(&stage, &way).await;
    let text = page.text();
    for part in
        ["agent-8", "support_agent", "wf-9", "CASE-1837", "take_note", "issue_refund", "amount", "200"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(text.contains("&lt;b&gt;urgent⟨U+202E⟩") && !text.contains("<b>"), "{text}");
    let policy = page.header("content-security-policy").unwrap();
    assert!(
        policy.contains("form-action 'self' http://127.0.0.1:39999;") && !policy.contains("script"),
        "{policy}"
    );

    let mut form = filled(&text, "yes");
    set(&mut form, "limit:amount", "201");
    assert_eq!(answers(&stage, &mut browser, &form).await.status, 400, "more than was asked for");
    set(&mut form, "limit:amount", "40");
    form.retain(|(name, _)| name != "action:take_note");
    let answer = answers(&stage, &mut browser, &form).await;
    assert_eq!(answer.status, 303, "{}", answer.text());
    assert!(answer.header("location").unwrap().starts_with(&format!("{REDIRECT}?code=")));
    assert_eq!(
        (told(&answer, "state"), told(&answer, "iss")),
        (Some("s &=1".into()), Some(stage.gateway.clone()))
    );
    assert_eq!(answers(&stage, &mut browser, &form).await.status, 404, "answered once");

    let code = told(&answer, "code").unwrap();
    assert_eq!(redeem(&agent, &code, &VERIFIER.replace("a-v", "b-v")).await.status, 400, "PKCE");
    let token = redeem(&agent, &code, VERIFIER).await;
    assert_eq!(token.status, 200, "{}", token.text());
    let document = json(&token.body);
    let detail = document.pointer("/authorization_details/0").unwrap().clone();
    assert_eq!(detail.get("actions").unwrap().to_string(), r#"["issue_refund"]"#);
    assert_eq!(detail.pointer("/constraints/max_amount").unwrap().to_string(), "40");
    document.get("access_token").and_then(Value::as_str).unwrap().clone_into(&mut agent.token);
    let refund = |amount: u32| format!(r#"{{"case_id":"CASE-1837","amount":{amount}}}"#);
    assert_eq!(agent.call("billing__refund", &refund(30)).await.code(), "");
    assert_eq!(agent.call("billing__refund", &refund(50)).await.code(), "delegation_limit");

    stage.settle().await;
    let records = stage.ledger().after(0);
    let texts: Vec<String> = records.iter().map(|entry| entry.record.to_string()).collect();
    let given = texts.iter().find(|text| text.contains("consent_given")).unwrap();
    let hash = detail.get("authority_hash").and_then(Value::as_str).unwrap().replacen("sha-256", "sha256", 1);
    assert!(given.contains("delegation_granted") && given.contains(&hash), "one entry: {given}");
    assert!(texts.iter().all(|text| !text.contains(&code)), "the code is nowhere");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_code_that_is_used_twice_takes_back_what_it_gave() {
    let (mut stage, provider) = stage().await;
    let mut agent = stage.idle("agent-8");
    let mut browser = signed_in(&stage, &provider, "maya").await;
    let way = asks(&agent).await;
    // The question outlasts a restart, and so does what it is answered with.
    stage.restart(|_| {}).await;
    let page = browser.get(&stage, &way).await.text();
    let answer = answers(&stage, &mut browser, &filled(&page, "yes")).await;
    let code = told(&answer, "code").unwrap();
    let thief = stage.idle("agent-7");
    assert_eq!(redeem(&thief, &code, VERIFIER).await.status, 400, "another agent");
    let mut other = stage.idle("agent-8");
    other.key = Agent::fresh_key().0;
    let wrong = agent.oauth(
        "/oauth/token",
        &other.key,
        &[
            ("grant_type", "authorization_code"),
            ("code", &code),
            ("code_verifier", VERIFIER),
            ("resource", &format!("{}/mcp", stage.gateway)),
        ],
    );
    assert_eq!(wrong.send(stage.address).await.status, 400, "another key");
    let token = redeem(&agent, &code, VERIFIER).await;
    json(&token.body).get("access_token").and_then(Value::as_str).unwrap().clone_into(&mut agent.token);
    assert_eq!(agent.call("desk__note", r#"{"text":"a"}"#).await.code(), "");
    let again = redeem(&agent, &code, VERIFIER).await;
    assert_eq!(
        (again.status, json(&again.body).get("error").and_then(Value::as_str)),
        (400, Some("invalid_grant"))
    );
    assert_eq!(agent.call("desk__note", r#"{"text":"a"}"#).await.code(), "delegation_revoked");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cre_4_a_question_is_answered_in_the_session_that_was_shown_it() {
    let (stage, provider) = stage().await;
    let agent = stage.idle("agent-8");
    let way = asks(&agent).await;
    let mut maya = signed_in(&stage, &provider, "maya").await;
    let mut elsewhere = signed_in(&stage, &provider, "maya").await;
    let mut lena = signed_in(&stage, &provider, "lena").await;
    let page = maya.get(&stage, &way).await.text();
    let form = filled(&page, "yes");
    assert_eq!(answers(&stage, &mut elsewhere, &form).await.status, 403, "another browser");
    assert_eq!(answers(&stage, &mut lena, &form).await.status, 403);
    let unlike = lena.get(&stage, &way).await;
    let nothing = lena.get(&stage, &way.replace("request_uri%3A", "request_uri%3Ax")).await;
    assert_eq!((unlike.status, unlike.text()), (404, nothing.text()), "another tenant's looks like none");
    let mut other = filled(&page, "yes");
    set(&mut other, "client_id", "agent-7");
    assert_eq!(answers(&stage, &mut maya, &other).await.status, 404, "another client");
    let answer = answers(&stage, &mut maya, &filled(&page, "no")).await;
    assert_eq!(told(&answer, "error").as_deref(), Some("access_denied"));
    assert_eq!(told(&answer, "iss"), Some(stage.gateway.clone()), "also with an error");
    assert_eq!(maya.get(&stage, &way).await.status, 404, "declined for good");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_pushed_is_whole_or_refused() {
    let (stage, _provider) = stage().await;
    let agent = stage.idle("agent-8");
    let good = parameters(&stage.gateway);
    for (name, value, error) in [
        ("code_challenge_method", "plain", "invalid_request"),
        ("code_challenge", "short", "invalid_request"),
        ("code_challenge", "", "invalid_request"),
        ("redirect_uri", "http://evil.example/cb", "invalid_request"),
        ("redirect_uri", "https://a@evil.example/cb", "invalid_request"),
        ("redirect_uri", "javascript:alert(1)", "invalid_request"),
        ("response_type", "token", "unsupported_response_type"),
        ("resource", "https://other.example/mcp", "invalid_target"),
        ("authorization_details", "[]", "invalid_authorization_details"),
        ("authorization_details", &DETAILS.replace("wf-9", "wf-g"), "invalid_authorization_details"),
        ("authorization_details", &DETAILS.replace("acme", "globex"), "invalid_authorization_details"),
        (
            "authorization_details",
            &DETAILS.replace("\"note\"", "\"limits\""),
            "invalid_authorization_details",
        ),
    ] {
        let mut pushed = good.clone();
        set(&mut pushed, name, value);
        let answer = push(&agent, &pushed).await;
        let told = json(&answer.body).get("error").and_then(Value::as_str).unwrap().to_owned();
        assert_eq!((answer.status, told.as_str()), (400, error), "{name}={value}");
    }
    let pairs: Vec<(&str, &str)> = good.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let mut thief = stage.idle("agent-8");
    thief.key = Agent::fresh_key().0;
    assert_eq!(
        thief.oauth("/oauth/par", &thief.key, &pairs).send(stage.address).await.status,
        401,
        "not its key"
    );
    let once = agent.oauth("/oauth/par", &agent.key, &pairs);
    assert_eq!(once.send(stage.address).await.status, 201);
    assert_eq!(once.send(stage.address).await.status, 401, "an assertion counts once");
    let foreign = agent.oauth("/oauth/par", &thief.key, &pairs);
    assert_eq!(foreign.send(stage.address).await.status, 400, "bound to a key that isn't the agent's");
    let unbound = agent.oauth("/oauth/par", &agent.key, &pairs).without("dpop");
    assert_eq!(unbound.send(stage.address).await.status, 400, "bound to no key");
    // An unpushed request is none.
    let mut browser = Browser::default();
    let direct = format!("/oauth/authorize?client_id=agent-8&response_type=code&redirect_uri={REDIRECT}");
    assert_eq!(browser.get(&stage, &direct).await.status, 404);
    // Questions of one agent are bounded.
    let mut asked = 0;
    while push(&agent, &good).await.status == 201 {
        asked += 1;
        assert!(asked <= 32);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_type_of_workflows_may_ask_for_more_and_policy_sees_how_it_was() {
    let provider = Provider::start().await;
    let stage = StageBuilder::default()
        .settings(&provider.settings(""))
        .change("workflow_types/support_case.toml", "longest_life", "consent = { acr = [\"phr\"], max_age = \"5m\" }\nlongest_life")
        .change("policies/desk.rego", "default allow := false\n", "default allow := false\n\ndeny contains \"weak\" if \"pwd\" in input.delegating_user.signed_in.amr\n")
        .start()
        .await;
    let mut agent = stage.idle("agent-8");
    let way = asks(&agent).await;
    let mut browser = Browser::default();
    browser.signs_in(&stage, &provider, "maya", object! { "acr" => "pwd" }).await;
    let answer = browser.get(&stage, &way).await;
    let location = answer.header("location").unwrap_or_default().to_owned();
    assert!(
        location.starts_with("/sign-in/corp?to=") && location.ends_with("&fresh=1&acr=phr"),
        "{location}"
    );
    // To the provider, which is asked for it, and whose answer is looked at.
    let query = location.split_once("corp").unwrap().1.to_owned();
    let now = placet_testing::now();
    for (claims, status) in [
        (object! { "acr" => "pwd", "auth_time" => now }, 403),
        (object! { "acr" => "phr", "auth_time" => now - 500 }, 403),
        (object! { "acr" => "phr", "auth_time" => now + 1, "amr" => Value::Array(vec!["pwd".into()]) }, 303),
    ] {
        let answer = browser.goes(&stage, &provider, &query, "maya", claims).await;
        assert_eq!(answer.status, status, "{}", answer.text());
    }
    let page = browser.get(&stage, &way).await.text();
    let answer = answers(&stage, &mut browser, &filled(&page, "yes")).await;
    let token = redeem(&agent, &told(&answer, "code").unwrap(), VERIFIER).await;
    json(&token.body).get("access_token").and_then(Value::as_str).unwrap().clone_into(&mut agent.token);
    let denied = agent.call("desk__note", r#"{"text":"a"}"#).await;
    assert_eq!(denied.code(), "policy_denies", "{}", denied.text());
}
