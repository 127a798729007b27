//! The gateway's door: the workflow token of a request, and the proof that its sender holds the key.

use std::sync::Arc;

use crate::cache::TokenCache;
use crate::dpop::{self, Expected, Nonce, Presented, Proof, TokenHash};
use crate::headers::{Headers, dpop_proof, dpop_token};
use crate::htu::Htu;
use crate::keyset::KeySet;
use crate::refused::Refused;
use crate::tokens::WorkflowToken;
use crate::verified::{Expect, Verified};

/// Everything a token must fit: fixed when the server starts.
#[derive(Debug)]
pub struct Access {
    issuer: String,
    audience: String,
    keys: KeySet,
    tokens: TokenCache<WorkflowToken>,
}

/// A request that brought a valid token and a valid proof. The proof may still be a replay: insert
/// [`Proof::replay_key`] where uses are remembered.
#[derive(Debug)]
pub struct Opened {
    /// The token.
    pub token: Arc<Verified<WorkflowToken>>,
    /// The proof.
    pub proof: Proof,
}

/// Why a request was not opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccessRefused {
    /// No valid token of ours: unauthenticated, counted and not recorded.
    #[error("{0}")]
    Token(Refused),
    /// Our own valid token with a wrong proof: evidence of theft, to be recorded.
    #[error("the token is valid, its proof is not: {why}")]
    Proof {
        /// What is wrong with the proof.
        why: Refused,
        /// The token's own identifier.
        jti: String,
        /// The agent that the token was issued to.
        client_id: String,
    },
}

impl Access {
    /// `issuer` is our own, `audience` the gateway's URL exactly as clients have it, `keys` our token keys, `capacity`
    /// the number of verified tokens to keep: that of the agents at work.
    #[must_use]
    pub fn new(
        issuer: impl Into<String>,
        audience: impl Into<String>,
        keys: KeySet,
        capacity: usize,
    ) -> Self {
        Self { issuer: issuer.into(), audience: audience.into(), keys, tokens: TokenCache::new(capacity) }
    }

    /// Checks token and proof of a request. `url` is the endpoint as configured, `now` in seconds since the Unix
    /// epoch.
    pub fn open(
        &self,
        method: &str,
        url: &Htu,
        headers: Headers<'_>,
        now: u64,
    ) -> Result<Opened, AccessRefused> {
        let text = dpop_token(headers).map_err(AccessRefused::Token)?;
        let hash = TokenHash::of(text);
        let token = match self.tokens.get(&hash, now) {
            Some(token) => token,
            None => self.verify(text, hash, now).map_err(AccessRefused::Token)?,
        };
        let claims = token.claims();
        let presented = Presented::Bound { token: hash, key: &claims.key };
        let expected = Expected { method, url, token: presented, nonce: Nonce::NotAsked };
        let proof =
            dpop_proof(headers).and_then(|proof| dpop::verify(proof, &expected, now)).map_err(|why| {
                AccessRefused::Proof { why, jti: claims.jti.clone(), client_id: claims.client_id.clone() }
            })?;
        Ok(Opened { token, proof })
    }

    fn verify(&self, text: &str, hash: TokenHash, now: u64) -> Result<Arc<Verified<WorkflowToken>>, Refused> {
        let expect = Expect { issuer: &self.issuer, audience: &self.audience, keys: &self.keys };
        let token = Arc::new(Verified::open(text, &expect, now)?);
        self.tokens.insert(hash, Arc::clone(&token));
        Ok(token)
    }
}
