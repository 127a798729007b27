//! Verified tokens by their hash, so that a token's signature is checked once and not on every call.
//!
//! What a hit skips is the signature and the parsing, nothing that changes between calls: the proof of possession is
//! checked each time, and whether the authority still stands is not a token's matter.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use crate::dpop::TokenHash;
use crate::verified::Verified;

/// A bounded cache for one recipient, issuer and key set. An entry never outlives its token's `exp`.
#[derive(Debug)]
pub struct TokenCache<C> {
    inner: Mutex<Inner<C>>,
    capacity: usize,
}

#[derive(Debug)]
struct Inner<C> {
    tokens: HashMap<TokenHash, Arc<Verified<C>>>,
    by_end: BTreeSet<(u64, TokenHash)>,
}

impl<C> TokenCache<C> {
    /// A cache of at most `capacity` tokens; an entry takes about a kilobyte.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { inner: Mutex::new(Inner { tokens: HashMap::new(), by_end: BTreeSet::new() }), capacity }
    }

    /// The token, if it was verified before, until `exp`: no leeway, since after it the full check may still say yes.
    #[must_use]
    pub fn get(&self, hash: &TokenHash, now: u64) -> Option<Arc<Verified<C>>> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let token = inner.tokens.get(hash)?;
        // A clock that was set back makes a token young again, but never one from the future valid.
        if now < token.expires_at() && token.issued_at() <= now.saturating_add(crate::LEEWAY) {
            return Some(Arc::clone(token));
        }
        inner.remove(*hash);
        None
    }

    /// Keeps a verified token; a full cache drops the one that ends first.
    pub fn insert(&self, hash: TokenHash, token: Arc<Verified<C>>) {
        if self.capacity == 0 {
            return;
        }
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.remove(hash);
        while inner.tokens.len() >= self.capacity
            && let Some((_, first)) = inner.by_end.first().copied()
        {
            inner.remove(first);
        }
        inner.by_end.insert((token.expires_at(), hash));
        inner.tokens.insert(hash, token);
    }

    /// Forgets everything: when a key is retired, so must be what it signed.
    pub fn clear(&self) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.tokens.clear();
        inner.by_end.clear();
    }

    /// How many tokens are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).tokens.len()
    }

    /// Whether no token is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<C> Inner<C> {
    fn remove(&mut self, hash: TokenHash) {
        if let Some(token) = self.tokens.remove(&hash) {
            self.by_end.remove(&(token.expires_at(), hash));
        }
    }
}
