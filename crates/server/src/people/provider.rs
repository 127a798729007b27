//! An OpenID provider as its client sees it: discovery, keys, the code for an ID token. Every address is reached by the
//! guard that calls go through as well; redirects aren't followed.

use std::{
    collections::BTreeSet,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use placet_core::{Name, TenantId};
use placet_jose::{
    KeySet, Refused,
    openid::{self, IdToken, LogoutToken},
};
use placet_json::{Limits, Value, parse};
use placet_upstream::{Egress, Http, Once, SystemResolver, Trust};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::seal::{Begun, challenge};
use crate::settings::IdentityProvider;

/// How long one request may take, and the longest answer.
const ASK: Duration = Duration::from_secs(10);
const MAX_ANSWER: usize = 256 << 10;
/// How long a discovery document counts, in seconds.
const DISCOVERED: u64 = 3600;
/// Keys aren't fetched more often than this, in seconds, whatever tokens name.
const KEYS_EVERY: u64 = 10;
const ANSWER: Limits = Limits { bytes: MAX_ANSWER, depth: 16, members: 1024 };

/// A provider at work.
pub(super) struct Provider {
    pub(super) name: Name,
    pub(super) title: String,
    pub(super) issuer: String,
    pub(super) human: String,
    pub(super) tenants: Option<BTreeSet<TenantId>>,
    pub(super) session_s: u64,
    pub(super) acr_values: Vec<String>,
    pub(super) max_age_s: u64,
    client_id: String,
    secret: Option<SecretString>,
    scopes: String,
    allow_private: bool,
    known: RwLock<Option<Arc<Discovered>>>,
    keys: RwLock<(u64, Arc<KeySet>)>,
}

/// What a discovery document says (OpenID Connect Discovery 1.0 §3).
struct Discovered {
    authorization: Url,
    token: Url,
    jwks: Url,
    /// Whether answers name their issuer (RFC 9207).
    names_itself: bool,
    /// Whether the secret goes into the body: where the provider doesn't take it in a header.
    in_body: bool,
    at: u64,
}

/// Why somebody isn't signed in; for the log.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unknown {
    /// The provider can't be asked, or answers what it shouldn't.
    #[error("the provider: {0}")]
    Provider(String),
    /// The token.
    #[error("the ID token: {0}")]
    Token(Refused),
}

fn provider(why: impl std::fmt::Display) -> Unknown {
    Unknown::Provider(why.to_string())
}

impl Provider {
    pub(super) fn new(settings: &IdentityProvider, secret: Option<SecretString>) -> Self {
        let settings = settings.clone();
        Self {
            name: settings.name,
            title: settings.title,
            issuer: settings.issuer,
            human: settings.human,
            tenants: settings.tenants,
            session_s: settings.session_s,
            acr_values: settings.acr_values,
            max_age_s: settings.max_age_s,
            client_id: settings.client_id,
            secret,
            scopes: settings.scopes.join(" "),
            allow_private: settings.allow_private,
            known: RwLock::default(),
            keys: RwLock::new((0, Arc::new(KeySet::new()))),
        }
    }

    /// Where the browser goes to sign in.
    pub(super) async fn authorization(
        &self,
        (state, nonce, verifier): (&str, &str, &str),
        redirect: &str,
        (fresh, class): (bool, Option<&str>),
        now: u64,
    ) -> Result<String, Unknown> {
        let known = self.discovered(now).await?;
        let mut url = known.authorization.clone();
        {
            let mut query = url.query_pairs_mut();
            query
                .append_pair("response_type", "code")
                .append_pair("client_id", &self.client_id)
                .append_pair("redirect_uri", redirect)
                .append_pair("scope", &self.scopes)
                .append_pair("state", state)
                .append_pair("nonce", nonce)
                .append_pair("code_challenge", &challenge(verifier))
                .append_pair("code_challenge_method", "S256");
            let classes = class.map_or_else(|| self.acr_values.join(" "), str::to_owned);
            if !classes.is_empty() {
                query.append_pair("acr_values", &classes);
            }
            if fresh {
                query.append_pair("max_age", "0").append_pair("prompt", "login");
            } else if self.max_age_s > 0 {
                query.append_pair("max_age", &self.max_age_s.to_string());
            }
        }
        Ok(url.into())
    }

    /// Fetches and checks the ID token of an answer. `iss`: the answer's, if it has one.
    pub(super) async fn identify(
        &self,
        code: &str,
        iss: Option<&str>,
        begun: &Begun,
        redirect: &str,
        now: u64,
    ) -> Result<IdToken, Unknown> {
        let known = self.discovered(now).await?;
        // A mix-up: the answer of one provider at the door of another (RFC 9207 §2.4).
        let itself = iss.map_or(!known.names_itself, |iss| iss == self.issuer);
        if !itself {
            return Err(provider("the answer names another issuer, or none"));
        }
        let (headers, body) = self.redemption(&known, code, begun, redirect)?;
        let answer = self.ask(&known.token, Method::POST, headers, body).await?;
        let token = answer.get("id_token").and_then(Value::as_str);
        let token = token.ok_or_else(|| provider("no ID token came"))?;
        let open = |keys: &KeySet| IdToken::open(token, &self.of(keys), &begun.nonce, now);
        match open(&*self.keys(&known, now, false).await?) {
            Err(Refused::UnknownKey) => open(&*self.keys(&known, now, true).await?),
            other => other,
        }
        .map_err(Unknown::Token)
    }

    /// The request that gives a code for an ID token.
    fn redemption(
        &self,
        known: &Discovered,
        code: &str,
        begun: &Begun,
        redirect: &str,
    ) -> Result<(HeaderMap, Bytes), Unknown> {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "authorization_code")
            .append_pair("code", code)
            .append_pair("redirect_uri", redirect)
            .append_pair("code_verifier", &begun.verifier);
        let mut headers = accept();
        let media = HeaderValue::from_static("application/x-www-form-urlencoded");
        headers.insert(header::CONTENT_TYPE, media);
        match &self.secret {
            None => {
                form.append_pair("client_id", &self.client_id);
            }
            Some(secret) if known.in_body => {
                form.append_pair("client_id", &self.client_id)
                    .append_pair("client_secret", secret.expose_secret());
            }
            Some(secret) => {
                headers.insert(header::AUTHORIZATION, basic(&self.client_id, secret)?);
            }
        }
        Ok((headers, form.finish().into()))
    }

    /// Checks a logout token.
    pub(super) async fn logged_out(&self, token: &str, now: u64) -> Result<LogoutToken, Unknown> {
        let known = self.discovered(now).await?;
        let open = |keys: &KeySet| LogoutToken::open(token, &self.of(keys), now);
        match open(&*self.keys(&known, now, false).await?) {
            Err(Refused::UnknownKey) => open(&*self.keys(&known, now, true).await?),
            other => other,
        }
        .map_err(Unknown::Token)
    }

    fn of<'a>(&'a self, keys: &'a KeySet) -> openid::Provider<'a> {
        openid::Provider { issuer: &self.issuer, client_id: &self.client_id, keys }
    }

    /// The keys; `anew` where a token names one that isn't known, which is asked for now and then only.
    async fn keys(&self, known: &Discovered, now: u64, anew: bool) -> Result<Arc<KeySet>, Unknown> {
        let (at, keys) = self.keys.read().unwrap_or_else(PoisonError::into_inner).clone();
        let waits = at != 0 && now.saturating_sub(at) < if anew { KEYS_EVERY } else { DISCOVERED };
        if waits {
            return Ok(keys);
        }
        let answer = self.fetch(&known.jwks, Method::GET, accept(), Bytes::new()).await?;
        let keys = Arc::new(KeySet::of_transmitter(&answer).map_err(provider)?);
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = (now, Arc::clone(&keys));
        Ok(keys)
    }

    async fn discovered(&self, now: u64) -> Result<Arc<Discovered>, Unknown> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(known) = known.filter(|known| now.saturating_sub(known.at) < DISCOVERED) {
            return Ok(known);
        }
        let url = format!("{}/.well-known/openid-configuration", self.issuer.trim_end_matches('/'));
        let url = Url::parse(&url).map_err(provider)?;
        let document = self.ask(&url, Method::GET, accept(), Bytes::new()).await?;
        let known = Arc::new(self.read(&document, now)?);
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&known));
        Ok(known)
    }

    fn read(&self, document: &Value, now: u64) -> Result<Discovered, Unknown> {
        let text = |name: &str| document.get(name).and_then(Value::as_str);
        // Byte for byte: a document of another issuer, however alike, is another's (Discovery §4.3).
        if text("issuer") != Some(self.issuer.as_str()) {
            return Err(provider("its discovery document is of another issuer"));
        }
        let plain = self.issuer.starts_with("http://");
        let at = |name: &'static str| {
            let url = text(name).and_then(|text| Url::parse(text).ok());
            let safe = |url: &Url| url.scheme() == "https" || (plain && url.scheme() == "http");
            url.filter(safe).ok_or_else(|| provider(format!("its `{name}` is missing or not `https`")))
        };
        let methods = document.get("token_endpoint_auth_methods_supported").and_then(Value::as_array);
        let takes =
            |method: &str| methods.is_some_and(|all| all.iter().any(|one| one.as_str() == Some(method)));
        Ok(Discovered {
            authorization: at("authorization_endpoint")?,
            token: at("token_endpoint")?,
            jwks: at("jwks_uri")?,
            names_itself: document
                .get("authorization_response_iss_parameter_supported")
                .and_then(Value::as_bool)
                .unwrap_or(false),
            in_body: takes("client_secret_post") && !takes("client_secret_basic"),
            at: now,
        })
    }

    async fn ask(
        &self,
        url: &Url,
        method: Method,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Value, Unknown> {
        let answer = self.fetch(url, method, headers, body).await?;
        parse(&answer, &ANSWER).map_err(provider)
    }

    async fn fetch(
        &self,
        url: &Url,
        method: Method,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Bytes, Unknown> {
        let egress = if self.allow_private { Egress::Private } else { Egress::Public };
        let http = Http { url: url.clone(), trust: Trust::System, egress };
        let once = Once::new(&http, Arc::new(SystemResolver), ASK, MAX_ANSWER).map_err(provider)?;
        let answer = once.send(method, headers, body).await.map_err(provider)?;
        if answer.status == StatusCode::OK {
            return Ok(answer.body);
        }
        // Its `error` is a word of RFC 6749; the rest may hold what isn't ours to keep.
        let error = parse(&answer.body, &ANSWER).ok();
        let error = error.as_ref().and_then(|body| body.get("error")).and_then(Value::as_str);
        let error: String =
            error.unwrap_or_default().chars().filter(char::is_ascii_graphic).take(64).collect();
        Err(provider(format!("HTTP status {} {error}", answer.status.as_u16())))
    }
}

fn accept() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    headers
}

/// Both parts are form-encoded first (RFC 6749 §2.3.1).
fn basic(client: &str, secret: &SecretString) -> Result<HeaderValue, Unknown> {
    let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let pair = format!("{}:{}", encoded(client), encoded(secret.expose_secret()));
    let mut value = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(pair))).map_err(provider)?;
    value.set_sensitive(true);
    Ok(value)
}
