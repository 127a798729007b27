//! Signing in and out. What is wrong with an answer of a provider stands in the log; the browser is told that it didn't
//! work, and what to do.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode, Uri};
use maud::html;
use placet_core::{HumanId, Name, Standing, Timestamp};
use placet_facts::{Authentication, Change, MAX_METHOD, MAX_METHODS, Place, Session, SessionChange};
use placet_jose::{LEEWAY, openid::IdToken, replay::Admission};
use placet_json::{Value, object};
use placet_oauth::form::Form;

use super::{
    People, Signed, active,
    pages::{Page, shown},
    provider::Provider,
    read,
    seal::{Begun, Cookie, SIGN_IN, hashed, is_ours, random},
    see,
};
use crate::{admin::json, settings::DEVELOPMENT};

type Shared = State<Arc<People>>;

/// How long a session of the development sign-in lasts, in seconds.
const DEVELOPMENT_S: u64 = 8 * 3600;
/// The most sessions that one logout ends at once.
const MAX_ENDED: usize = 1000;

/// A person who is about to have a session.
struct Shown {
    human: HumanId,
    by: Authentication,
    subject: Name,
    at_provider: Option<Name>,
    life: u64,
}

/// `GET /sign-in?to=…`: the providers.
pub(super) async fn choose(State(people): Shared, uri: Uri) -> Response {
    let to = to(&uri);
    if let ([one], false) = (people.providers.as_slice(), people.development) {
        return see(&way(&one.name, &to), []);
    }
    let world = people.books.live().world();
    let humans = || {
        let all = world.organisation().humans().filter(|human| human.standing == Standing::Active);
        all.take(100)
    };
    Page::new(
        "Sign in",
        html! {
            h1 { "Sign in" }
            @for one in &people.providers {
                p { a.button href=(way(&one.name, &to)) { (shown(&one.title)) } }
            }
            @if people.development {
                section {
                    h2 { "Development" }
                    p { "This server lets anybody on this machine be anybody." }
                    form method="post" action=(format!("/sign-in/{DEVELOPMENT}")) {
                        input type="hidden" name="to" value=(to);
                        @for human in humans() {
                            p { button type="submit" name="human" value=(human.id.as_str()) { (human.id.as_str()) } }
                        }
                    }
                }
            }
        },
    )
    .into_response()
}

/// `GET /sign-in/{provider}?to=…&fresh=1&acr=…`: to the provider.
pub(super) async fn begin(
    State(people): Shared,
    Path(name): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let Some(provider) = people.provider(&name) else { return nowhere() };
    let query = Form::parse(uri.query().unwrap_or_default().as_bytes()).ok();
    let asked = |name: &str| query.as_ref().and_then(|query| query.get(name));
    let (fresh, class) =
        (asked("fresh") == Some("1"), asked("acr").filter(|class| class.len() <= MAX_METHOD));
    // A second sign-in in another tab of the same browser must not spoil the first.
    let browser = people.cookies.get(Cookie::Browser, &headers);
    let Some(browser) = browser.or_else(|| random().map(|fresh| fresh.to_string())) else { return down() };
    let now = people.books.now().secs();
    let Some(state) = people.seals.state(&provider.name, &browser, &to(&uri), (fresh, class), now) else {
        return down();
    };
    let (nonce, verifier) = people.seals.secrets(&state, &browser);
    let redirect = people.redirect(&provider.name);
    let secrets = (state.as_str(), nonce.as_str(), verifier.as_str());
    match provider.authorization(secrets, &redirect, (fresh, class), now).await {
        Ok(url) => see(&url, [people.cookies.set(Cookie::Browser, &browser, SIGN_IN)]),
        Err(error) => {
            people.metrics.signed_in(provider.name.as_str(), "unreachable");
            tracing::error!(provider = %provider.name, %error, "nobody can sign in by this provider now");
            down()
        }
    }
}

/// `GET /sign-in/{provider}/callback`: what the provider says.
pub(super) async fn callback(
    State(people): Shared,
    Path(name): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let Some(provider) = people.provider(&name) else { return nowhere() };
    match answered(&people, provider, &uri, &headers).await {
        Ok((shown, to)) => enter(&people, shown, &to, &headers).await,
        Err(why) => {
            people.metrics.signed_in(provider.name.as_str(), "refused");
            tracing::warn!(provider = %provider.name, %why, "somebody isn't signed in");
            outside()
        }
    }
}

async fn answered(
    people: &People,
    provider: &Provider,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<(Shown, String), String> {
    let now = people.books.now().secs();
    let query = Form::parse(uri.query().unwrap_or_default().as_bytes()).map_err(|error| error.to_string())?;
    let browser = people.cookies.get(Cookie::Browser, headers);
    let browser = browser.ok_or("no sign-in was begun in this browser")?;
    let state = query.get("state").ok_or("the answer has no state")?;
    let begun = people.seals.begun(state, &provider.name, &browser, now);
    let begun = begun.ok_or("the state isn't one of this browser, or is past")?;
    if people.window.admit(begun.replay_key, begun.until, now).await != Admission::New {
        return Err("the state was used before".to_owned());
    }
    if let Some(error) = query.get("error") {
        let error: String = error.chars().filter(char::is_ascii_graphic).take(64).collect();
        return Err(format!("the provider says {error}"));
    }
    let code = query.get("code").ok_or("the answer has no code")?;
    let redirect = people.redirect(&provider.name);
    let token = provider.identify(code, query.get("iss"), &begun, &redirect, now).await;
    let token = token.map_err(|error| error.to_string())?;
    let strong = is_as_asked(provider, &begun, &token, now);
    if !strong {
        return Err("the person didn't show as strongly, or as lately, as was asked who they are".to_owned());
    }
    let human = named(provider, &token)?;
    let class = token.class.filter(|class| class.len() <= MAX_METHOD);
    let mut methods = token.methods;
    methods.retain(|method| method.len() <= MAX_METHOD);
    methods.truncate(MAX_METHODS);
    let at = Timestamp::from_secs(token.authenticated);
    let by = Authentication { provider: provider.name.clone(), class, methods, at };
    let session = token.session.as_deref().and_then(|sid| hashed("sid", &[&provider.issuer, sid]));
    let subject = hashed("sub", &[&provider.issuer, &token.subject]).ok_or("the subject has no hash")?;
    {
        let world = people.books.live().world();
        if let Err(why) = active(&world, &human, provider.tenants.as_ref()) {
            let known = world.organisation().human(&human).is_some();
            drop(world);
            if known && let Ok(by) = Name::new(&format!("human:{human}")) {
                people.note(by, "sign in", why, None).await;
            }
            return Err(format!("`{human}`: {why}"));
        }
    }
    Ok((Shown { human, by, subject, at_provider: session, life: provider.session_s }, begun.to))
}

/// Whether the person showed who they are by the class and as lately as was asked. Providers may ignore both (OpenID
/// Connect Core 1.0 §3.1.2.1), so the answer is looked at.
fn is_as_asked(provider: &Provider, begun: &Begun, token: &IdToken, now: u64) -> bool {
    let class = token.class.as_deref();
    let classed = match &begun.class {
        Some(wanted) => class == Some(wanted),
        None => {
            provider.acr_values.is_empty()
                || class.is_some_and(|class| provider.acr_values.iter().any(|wanted| wanted == class))
        }
    };
    let since = begun.until.saturating_sub(SIGN_IN).saturating_sub(LEEWAY);
    let late = !begun.fresh || (token.says_when && token.authenticated >= since);
    let age = now.saturating_sub(token.authenticated);
    let young =
        provider.max_age_s == 0 || (token.says_when && age <= provider.max_age_s.saturating_add(LEEWAY));
    classed && late && young
}

/// The person's id here, by the claim that the settings name.
fn named(provider: &Provider, token: &IdToken) -> Result<HumanId, String> {
    let claim = provider.human.as_str();
    let text = match claim {
        "sub" => Some(token.subject.as_str()),
        // Anybody may type in anybody's address: only one that the provider has verified says who it is.
        "email" if token.others.get("email_verified").and_then(Value::as_bool) != Some(true) => {
            return Err("the provider hasn't verified the e-mail address".to_owned());
        }
        _ => token.others.get(claim).and_then(Value::as_str),
    };
    let text = text.ok_or_else(|| format!("the ID token has no claim `{claim}`"))?;
    HumanId::new(text).map_err(|error| format!("the claim `{claim}` is no id: {error}"))
}

/// Gives a person a session in this browser.
async fn enter(people: &People, shown: Shown, to: &str, headers: &HeaderMap) -> Response {
    let Shown { human, by, subject, at_provider, life } = shown;
    let now = people.books.now();
    let made = random().and_then(|cookie| Some((hashed("session", &[&cookie])?, cookie)));
    let (Some((id, cookie)), Ok(author)) = (made, Name::new(&format!("human:{human}"))) else {
        return down();
    };
    let provider = by.provider.clone();
    let until = Timestamp::from_secs(now.secs().saturating_add(life));
    let session = Session { id, human: human.clone(), by, subject, at_provider, began: now, until };
    // Whoever was signed in in this browser isn't any more.
    let before = people.signed(headers).map(|before| SessionChange::Ended(before.session.id));
    let changes = before.into_iter().chain([SessionChange::Began(session)]).map(Change::Session).collect();
    let why = format!("signed in by {provider}");
    match people.commit(author, Place::Organisation, changes, why).await {
        Ok(()) => {
            people.metrics.signed_in(provider.as_str(), "signed_in");
            let cookies = [
                people.cookies.set(Cookie::Session, &cookie, life),
                people.cookies.set(Cookie::Browser, "", 0),
            ];
            see(to, cookies)
        }
        Err(error) => {
            people.metrics.signed_in(provider.as_str(), "failed");
            tracing::error!(%error, "a session could not be begun");
            down()
        }
    }
}

/// `POST /sign-in/development`: as anybody, on a developer's machine.
pub(super) async fn as_anybody(
    State(people): Shared,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    if !people.development || name != DEVELOPMENT {
        return nowhere();
    }
    let form = match people.posted(&headers, body).await {
        Ok(form) => form,
        Err(page) => return page.into_response(),
    };
    let human = form.get("human").and_then(|human| HumanId::new(human).ok());
    let known = human.filter(|human| active(&people.books.live().world(), human, None).is_ok());
    let (Some(human), Ok(provider)) = (known, Name::new(DEVELOPMENT)) else { return outside() };
    let Some(subject) = hashed("sub", &[DEVELOPMENT, human.as_str()]) else { return down() };
    let at = people.books.now();
    let by = Authentication { provider, class: None, methods: Vec::new(), at };
    let shown = Shown { human, by, subject, at_provider: None, life: DEVELOPMENT_S };
    let to = form.get("to").filter(|to| is_ours(to)).unwrap_or("/me").to_owned();
    enter(&people, shown, &to, &headers).await
}

/// `POST /sign-in/{provider}/logout`: the provider ends sessions (OpenID Connect Back-Channel Logout 1.0 §2.5).
pub(super) async fn logged_out(State(people): Shared, Path(name): Path<String>, body: Body) -> Response {
    let Some(provider) = people.provider(&name) else { return nowhere() };
    let wrong = |why: &dyn std::fmt::Display| {
        people.metrics.signed_in(provider.name.as_str(), "logout_refused");
        tracing::warn!(provider = %provider.name, %why, "a logout isn't taken");
        json(StatusCode::BAD_REQUEST, &object! { "error" => "invalid_request" }.into())
    };
    let body = match read(body).await {
        Ok(body) => body,
        Err(status) => return status.into_response(),
    };
    let form = Form::parse(&body).ok();
    let Some(token) = form.as_ref().and_then(|form| form.get("logout_token")) else {
        return wrong(&"there is no logout token");
    };
    let now = people.books.now().secs();
    let token = match provider.logged_out(token, now).await {
        Ok(token) => token,
        Err(error) => return wrong(&error),
    };
    match people.window.admit(token.replay_key(&provider.issuer), token.forget_at, now).await {
        Admission::New => {}
        Admission::Seen => return wrong(&"it was used before"),
        Admission::Full => return StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
    let subject = token.subject.as_deref().map(|sub| hashed("sub", &[&provider.issuer, sub]));
    let session = token.session.as_deref().map(|sid| hashed("sid", &[&provider.issuer, sid]));
    let changes: Vec<Change> = people
        .books
        .live()
        .world()
        .organisation()
        .sessions()
        .filter(|one| one.by.provider == provider.name)
        .filter(|one| subject.as_ref().is_none_or(|subject| subject.as_ref() == Some(&one.subject)))
        .filter(|one| session.as_ref().is_none_or(|session| *session == one.at_provider))
        .take(MAX_ENDED)
        .map(|one| Change::Session(SessionChange::Ended(one.id.clone())))
        .collect();
    people.metrics.signed_in(provider.name.as_str(), "logged_out");
    if !changes.is_empty()
        && let Ok(author) = Name::new(&format!("identity:{}", provider.name))
        && let Err(error) =
            people.commit(author, Place::Organisation, changes, "back-channel logout".to_owned()).await
    {
        tracing::error!(%error, "sessions could not be ended");
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    json(StatusCode::OK, &object! {}.into())
}

/// `POST /sign-out`
pub(super) async fn sign_out(State(people): Shared, headers: HeaderMap, body: Body) -> Response {
    let Some(signed) = people.signed(&headers) else { return signed_out(&people) };
    if let Err(page) = people.form(&signed, "sign-out", &headers, body).await {
        return page.into_response();
    }
    let Some(author) = signed.author() else { return down() };
    let change = Change::Session(SessionChange::Ended(signed.session.id));
    match people.commit(author, Place::Organisation, vec![change], "signed out".to_owned()).await {
        Ok(()) => signed_out(&people),
        Err(error) => {
            tracing::error!(%error, "a session could not be ended");
            down()
        }
    }
}

fn signed_out(people: &People) -> Response {
    let mut response =
        Page::new("Signed out", html! { h1 { "Signed out" } p { a href="/me" { "Sign in" } } })
            .into_response();
    if let Some(cookie) = people.cookies.set(Cookie::Session, "", 0) {
        response.headers_mut().append(http::header::SET_COOKIE, cookie);
    }
    response
}

/// To sign in first, and then to this page.
pub(super) fn first(to: &str) -> Response {
    see(&format!("/sign-in?to={}", escaped(to)), [])
}

/// To show anew, or more strongly, who one is, and then to this page.
pub(super) fn again(signed: &Signed, to: &str, class: Option<&str>) -> Response {
    let class = class.map(|class| format!("&acr={}", escaped(class))).unwrap_or_default();
    let provider = &signed.session.by.provider;
    see(&format!("/sign-in/{provider}?to={}&fresh=1{class}", escaped(to)), [])
}

fn way(provider: &Name, to: &str) -> String {
    format!("/sign-in/{provider}?to={}", escaped(to))
}

fn escaped(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// Where to go afterwards, as the query says; home where it says nothing that is ours.
fn to(uri: &Uri) -> String {
    let query = Form::parse(uri.query().unwrap_or_default().as_bytes()).ok();
    let to = query.as_ref().and_then(|query| query.get("to")).filter(|to| is_ours(to));
    to.unwrap_or("/me").to_owned()
}

fn outside() -> Response {
    Page::refused(
        "You are not signed in.",
        "Try again. If it stays so, an administrator finds the reason in the server's log.",
    )
    .into_response()
}

fn nowhere() -> Response {
    Page::failed(StatusCode::NOT_FOUND, "There is no such provider.").into_response()
}

fn down() -> Response {
    Page::failed(StatusCode::SERVICE_UNAVAILABLE, "This can't be done at the moment. Try again later.")
        .into_response()
}
