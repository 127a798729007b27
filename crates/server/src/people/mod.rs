//! People in a browser: they sign in by their OpenID provider, see and revoke what they delegated, and answer agents that
//! ask.
//!
//! Pages are rendered here, run no script and are refused any; a form counts in the session and about the thing that it was
//! shown for. A session is a fact: its end, or its person's, is felt at the next request.

mod consent;
mod me;
mod pages;
mod provider;
mod seal;
mod sign_in;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use placet_core::{Human, HumanId, Name, Standing, TenantId};
use placet_facts::{Change, Place, Session, Transaction, World};
use placet_oauth::form::Form;
use secrecy::SecretString;

use crate::{
    admin::is_host,
    books::{Books, Deed, Unwritten},
    metrics::Metrics,
    settings::{DEVELOPMENT, SecretError, Settings, Variables},
    uses::Uses,
};

use pages::Page;
use provider::Provider;
pub(crate) use seal::Seals;
use seal::{Cookie, Cookies, hashed};

/// The longest form, in bytes.
const MAX_FORM: usize = 32 * 1024;
/// How long it may take to arrive.
const BODY_READ: Duration = Duration::from_secs(10);

/// What people are served with.
pub(crate) struct Parts<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) variables: Variables<'a>,
    pub(crate) books: Arc<dyn Books>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) seals: Seals,
    pub(crate) window: Uses,
}

/// People of a server.
pub(crate) struct People {
    books: Arc<dyn Books>,
    metrics: Arc<Metrics>,
    providers: Vec<Provider>,
    /// Whether anybody may sign in as anybody: on a developer's machine.
    development: bool,
    seals: Seals,
    cookies: Cookies,
    /// The agents' listener, as browsers call it too.
    url: String,
    window: Uses,
}

/// A provider's secret can't be fetched.
#[derive(Debug, thiserror::Error)]
#[error("`identity` {provider}: {error}; {remedy}", remedy = .error.remedy())]
pub struct IdentityError {
    /// Which.
    pub provider: Name,
    /// Why.
    pub error: SecretError,
}

/// Somebody who has signed in and may act.
pub(super) struct Signed {
    pub(super) session: Session,
    pub(super) cookie: String,
    /// Where they act; none: wherever they are assigned.
    pub(super) tenants: Option<BTreeSet<TenantId>>,
}

impl Signed {
    pub(super) fn human(&self) -> &HumanId {
        &self.session.human
    }
    pub(super) fn acts_in(&self, tenant: &TenantId) -> bool {
        self.tenants.as_ref().is_none_or(|tenants| tenants.contains(tenant))
    }
    /// As the author of transactions and deeds.
    pub(super) fn author(&self) -> Option<Name> {
        Name::new(&format!("human:{}", self.session.human)).ok()
    }
}

/// Opens what the settings name.
pub(crate) fn open(parts: Parts<'_>) -> Result<Arc<People>, IdentityError> {
    let Parts { settings, variables, books, metrics, seals, window } = parts;
    let providers = settings
        .identity
        .iter()
        .map(|one| {
            let secret: Option<SecretString> = one
                .client_secret
                .as_ref()
                .map(|source| source.fetch(variables))
                .transpose()
                .map_err(|error| IdentityError { provider: one.name.clone(), error })?;
            Ok(Provider::new(one, secret))
        })
        .collect::<Result<Vec<_>, IdentityError>>()?;
    let url = settings.server.public_url.clone();
    Ok(Arc::new(People {
        books,
        metrics,
        providers,
        development: settings.dev.sign_in,
        seals,
        cookies: Cookies { secure: url.starts_with("https://") },
        url,
        window,
    }))
}

/// The routes; none where nobody can sign in.
pub(crate) fn routes(people: Arc<People>) -> Router {
    if !people.serves() {
        return Router::new();
    }
    Router::new()
        .route("/me", get(me::show))
        .route("/oauth/authorize", get(consent::show).post(consent::answer))
        .route("/me/revoke", post(me::revoke))
        .route("/sign-in", get(sign_in::choose))
        .route("/sign-in/{provider}", get(sign_in::begin).post(sign_in::as_anybody))
        .route("/sign-in/{provider}/callback", get(sign_in::callback))
        .route("/sign-in/{provider}/logout", post(sign_in::logged_out))
        .route("/sign-out", post(sign_in::sign_out))
        .route("/people.css", get(pages::style))
        .with_state(Arc::clone(&people))
        .layer(from_fn_with_state(people, host))
}

/// A `Host` that isn't ours is somebody else's name for this address.
async fn host(State(people): State<Arc<People>>, request: Request, next: Next) -> Response {
    let expected = people.url.split_once("://").map_or("", |(_, authority)| authority);
    if is_host(request.headers(), request.uri(), expected) {
        return next.run(request).await;
    }
    people.metrics.refused("host");
    StatusCode::MISDIRECTED_REQUEST.into_response()
}

impl People {
    /// Whether anybody can sign in.
    pub(crate) fn serves(&self) -> bool {
        self.development || !self.providers.is_empty()
    }
    fn provider(&self, name: &str) -> Option<&Provider> {
        self.providers.iter().find(|provider| provider.name.as_str() == name)
    }
    /// Where the provider sends browsers back to.
    fn redirect(&self, provider: &Name) -> String {
        format!("{}/sign-in/{provider}/callback", self.url)
    }

    /// Who has signed in in this browser and may act now.
    fn signed(&self, headers: &HeaderMap) -> Option<Signed> {
        let cookie = self.cookies.get(Cookie::Session, headers)?;
        let world = self.books.live().world();
        let session = world.organisation().session(&hashed("session", &[&cookie])?)?.clone();
        if session.until <= self.books.now() {
            return None;
        }
        let tenants = match self.provider(session.by.provider.as_str()) {
            Some(provider) => provider.tenants.clone(),
            None if self.development && session.by.provider.as_str() == DEVELOPMENT => None,
            // A provider that the settings don't name any more has nobody here.
            None => return None,
        };
        active(&world, &session.human, tenants.as_ref()).ok()?;
        Some(Signed { session, cookie, tenants })
    }

    /// A form of this session about this: whoever sends another one is another page's visitor.
    async fn form(
        &self,
        signed: &Signed,
        about: &str,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<Form, Page> {
        let form = self.posted(headers, body).await?;
        if self.seals.is_form(&signed.cookie, about, form.get("form").unwrap_or_default()) {
            return Ok(form);
        }
        self.metrics.refused("form");
        Err(Page::refused("This form is of another session.", "Go back, load the page anew, and try again."))
    }
    /// A form from one of our own pages.
    async fn posted(&self, headers: &HeaderMap, body: Body) -> Result<Form, Page> {
        // Browsers say where a form comes from; a foreign one was refused with the host.
        if !headers.contains_key(header::ORIGIN) {
            self.metrics.refused("form");
            return Err(Page::refused("This form says not where it comes from.", "Use a browser of today."));
        }
        let body = read(body).await.map_err(|status| Page::failed(status, "The form could not be read."))?;
        Form::parse(&body).map_err(|_| Page::failed(StatusCode::BAD_REQUEST, "The form could not be read."))
    }

    /// Changes of one place, in somebody's name.
    async fn commit(
        &self,
        author: Name,
        place: Place,
        changes: Vec<Change>,
        why: String,
    ) -> Result<(), Unwritten> {
        let source = Name::new("browser").map_err(|error| Unwritten::Down(error.to_string()))?;
        let transaction = Transaction { place, changes, author, source, why, idempotency_key: None };
        self.books.transact(transaction).await.map(drop)
    }
    /// Records what somebody known was refused.
    async fn note(&self, by: Name, verb: &str, why: &str, tenant: Option<TenantId>) {
        let deed = Deed { by, verb: verb.to_owned(), refused: true, why: why.to_owned(), tenant };
        if let Err(error) = self.books.deed(deed).await {
            tracing::error!(%error, "a refused attempt could not be recorded");
        }
    }
}

/// A person who may act, and whom this provider may name.
fn active<'w>(
    world: &'w World,
    id: &HumanId,
    tenants: Option<&BTreeSet<TenantId>>,
) -> Result<&'w Human, &'static str> {
    let human = world.organisation().human(id).ok_or("nobody of this id is known here")?;
    if human.standing != Standing::Active {
        return Err("who it is may not act");
    }
    if tenants.is_some_and(|tenants| !tenants.contains(&human.home)) {
        return Err("the provider speaks for other tenants' people");
    }
    Ok(human)
}

async fn read(body: Body) -> Result<Bytes, StatusCode> {
    match tokio::time::timeout(BODY_READ, Limited::new(body, MAX_FORM).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(_)) => Err(StatusCode::PAYLOAD_TOO_LARGE),
        Err(_) => Err(StatusCode::REQUEST_TIMEOUT),
    }
}

/// Sends a browser on, by `GET`.
fn see(to: &str, cookies: impl IntoIterator<Item = Option<HeaderValue>>) -> Response {
    let mut response = StatusCode::SEE_OTHER.into_response();
    let headers = response.headers_mut();
    match HeaderValue::from_str(to) {
        Ok(to) => drop(headers.insert(header::LOCATION, to)),
        Err(_) => return StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    for cookie in cookies.into_iter().flatten() {
        headers.append(header::SET_COOKIE, cookie);
    }
    response
}
