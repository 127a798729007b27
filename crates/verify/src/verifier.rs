//! The verifier: whom it believes, and what it remembers.

use std::sync::{
    Mutex, PoisonError, RwLock,
    atomic::{AtomicU64, Ordering},
};

use placet_jose::{
    KeySet, Refused,
    guard::{Guard, Reach, Request, verify_call},
    htu::Htu,
};

use crate::{
    call::Call,
    store::{Once, ReplayStore},
};

/// How often keys are fetched again at most, in seconds: a flood of unknown keys must not become one of fetches.
const REFRESH: u64 = 30;

/// Whom a service believes, and who it is.
#[derive(Debug, Clone)]
pub struct Trust {
    /// The gateway's issuer, byte for byte: its `server.public_url`.
    pub issuer: String,
    /// The gateway's token keys: what `GET {issuer}/oauth/jwks` answers, or a file of it. Never a key that a token names.
    pub keys: KeySet,
    /// The one `aud`: this service. Replicas that share no [`ReplayStore`] have each their own.
    pub audience: String,
    /// The URL under which the gateway calls this service, as configured: `Host` and forwarding headers don't count.
    pub url: String,
    /// Whether the service is that URL alone (an MCP endpoint) or everything below it (an HTTP API).
    pub reach: Reach,
}

/// Why a verifier can't be made of what was given.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unusable {
    /// Without keys it would let nobody in.
    NoKeys,
    /// The service's URL isn't one.
    Url(String),
    /// Issuer or audience is empty: absence is an error, not "anybody".
    Empty(&'static str),
}

impl std::fmt::Display for Unusable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoKeys => f.write_str("the gateway's key set is empty, and would let nobody in"),
            Self::Url(url) => write!(f, "`{url}` is not the URL of a tool"),
            Self::Empty(what) => write!(f, "the {what} is empty"),
        }
    }
}

impl std::error::Error for Unusable {}

/// Checks calls. One for each audience; shared by all threads.
#[derive(Debug)]
pub struct Verifier<S> {
    guard: RwLock<Guard>,
    store: S,
    fetched: AtomicU64,
    /// Held while keys are looked at and set, so that one fetch is let through.
    due: Mutex<()>,
}

impl<S: ReplayStore> Verifier<S> {
    /// A verifier with this trust, remembering in `store`.
    pub fn new(trust: Trust, store: S) -> Result<Self, Unusable> {
        let Trust { issuer, keys, audience, url, reach } = trust;
        if keys.is_empty() {
            return Err(Unusable::NoKeys);
        }
        for (what, text) in [("issuer", &issuer), ("audience", &audience)] {
            if text.is_empty() {
                return Err(Unusable::Empty(what));
            }
        }
        let url = Htu::parse(&url).map_err(|_| Unusable::Url(url))?;
        let guard = Guard { issuer, keys, audience, url, reach, not_before: store.remembers_since() };
        Ok(Self { guard: RwLock::new(guard), store, fetched: AtomicU64::new(0), due: Mutex::new(()) })
    }

    /// Checks a request completely and spends its token. `now` is in seconds since the Unix epoch.
    ///
    /// Whatever the refusal, answer 401 and the same words: which check failed is for your log. [`Refused::WindowFull`]
    /// may be a 503. After [`Refused::UnknownKey`] fetch the gateway's keys if [`refresh_due`](Self::refresh_due) says
    /// so, give them to [`replace_keys`](Self::replace_keys), and check once more.
    ///
    /// A store that waits for a disk or a database blocks: call this where blocking is allowed.
    pub fn verify(&self, request: &Request<'_>, now: u64) -> Result<Call, Refused> {
        let guard = self.guard.read().unwrap_or_else(PoisonError::into_inner).clone();
        verify_call(request, &guard, &mut Once(&self.store), now).map(Call::new)
    }

    /// Whether keys may be fetched again now: `true` once in 30 s, and whoever is told so fetches them.
    #[must_use]
    pub fn refresh_due(&self, now: u64) -> bool {
        let _alone = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        let last = self.fetched.load(Ordering::Acquire);
        if last != 0 && now < last.saturating_add(REFRESH) {
            return false;
        }
        self.fetched.store(now, Ordering::Release);
        true
    }

    /// Takes these keys instead of those of before; an empty set changes nothing, and is `false`.
    pub fn replace_keys(&self, keys: KeySet) -> bool {
        if keys.is_empty() {
            return false;
        }
        self.guard.write().unwrap_or_else(PoisonError::into_inner).keys = keys;
        true
    }

    /// The path of the service's own URL.
    #[must_use]
    pub fn path(&self) -> String {
        self.guard.read().unwrap_or_else(PoisonError::into_inner).url.path().to_owned()
    }
}
