//! Demonstrating proof of possession (RFC 9449): making and checking proofs.
//!
//! Whether a proof was used before is for the caller: it inserts [`Proof::replay_key`] where its uses are remembered
//! and keeps it until [`Proof::forget_at`].

use std::borrow::Cow;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use placet_json::Object;

use crate::LEEWAY;
use crate::claims::Members;
use crate::htu::Htu;
use crate::jws;
use crate::keys::{KeyError, PublicKey, SigningKey, Thumbprint, sha256};
use crate::refused::Refused;
use crate::replay::ReplayKey;

/// `typ` of a proof.
pub const TYP: &str = "dpop+jwt";

/// Longest proof, in bytes: header and claims are some 700.
const MAX_PROOF: usize = 4096;

/// How old a proof may be, in seconds.
pub const MAX_AGE: u64 = 60;

/// What a proof must be for.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// The method of the request, exactly.
    pub method: &'a str,
    /// The URL of this endpoint *as configured*.
    pub url: &'a Htu,
    /// The token that the proof comes with.
    pub token: Presented<'a>,
    /// Nonces in force.
    pub nonce: Nonce<'a>,
}

/// The token that a proof comes with.
#[derive(Debug, Clone, Copy)]
pub enum Presented<'a> {
    /// None: at the token endpoint, where the proof's key becomes the new token's.
    None,
    /// An access token bound to a key, both from a verified token.
    Bound {
        /// The token as it was sent.
        token: TokenHash,
        /// Its `cnf.jkt`.
        key: &'a Thumbprint,
    },
}

/// Whether proofs must carry a nonce of ours (RFC 9449 §8).
#[derive(Debug, Clone, Copy)]
pub enum Nonce<'a> {
    /// No nonce is asked for.
    NotAsked,
    /// One of these: the current one and its predecessors.
    OneOf(&'a [String]),
}

/// SHA-256 of a token as it was sent, in ASCII: `ath` in a proof, and the token's key in a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TokenHash([u8; 32]);

/// A proof that was checked. Its `jti` has not been looked up yet.
#[derive(Debug)]
#[must_use = "a proof counts only once it is known not to have been used before"]
pub struct Proof {
    key: PublicKey,
    jti: String,
    issued_at: u64,
}

impl TokenHash {
    /// Hashes a token.
    #[must_use]
    pub fn of(token: &str) -> Self {
        Self(sha256(token.as_bytes()))
    }
}

impl Proof {
    /// The key that was proven: `jkt` of a token bound to it.
    #[must_use]
    pub fn key(&self) -> Thumbprint {
        self.key.thumbprint()
    }

    /// The public key itself, for enrolment.
    #[must_use]
    pub fn public_key(&self) -> &PublicKey {
        &self.key
    }

    /// The proof's own identifier, chosen by its sender; unique per key only.
    #[must_use]
    pub fn jti(&self) -> &str {
        &self.jti
    }

    /// Under what the proof is remembered: key and `jti` together, so that one sender can't use up another's.
    #[must_use]
    pub fn replay_key(&self) -> ReplayKey {
        ReplayKey::new("dpop", &[&self.key().to_string(), &self.jti])
    }

    /// When it was made, as it says, in seconds since the Unix epoch; within the accepted age.
    #[must_use]
    pub fn issued_at(&self) -> u64 {
        self.issued_at
    }

    /// The first second at which the proof is refused for its age, so that its use need not be remembered.
    #[must_use]
    pub fn forget_at(&self) -> u64 {
        self.issued_at.saturating_add(MAX_AGE).saturating_add(1)
    }
}

/// Makes a proof. `jti` is fresh for each, `issued_at` in seconds since the Unix epoch; `token` is the access token
/// it goes with, `nonce` the last one that the server sent.
pub fn prove(
    key: &SigningKey,
    jti: &str,
    method: &str,
    url: &Htu,
    issued_at: u64,
    token: Option<&str>,
    nonce: Option<&str>,
) -> Result<String, KeyError> {
    let mut header = Object::new();
    header.insert("typ", TYP);
    header.insert("alg", key.algorithm().name());
    header.insert("jwk", key.public().to_jwk());
    let mut payload = Object::new();
    payload.insert("jti", jti);
    payload.insert("htm", method);
    payload.insert("htu", url.as_str());
    payload.insert("iat", issued_at);
    if let Some(token) = token {
        payload.insert("ath", URL_SAFE_NO_PAD.encode(TokenHash::of(token).0));
    }
    if let Some(nonce) = nonce {
        payload.insert("nonce", nonce);
    }
    jws::seal(key, header, payload)
}

/// Checks a proof (RFC 9449 §4.3) but for its having been used. `now` is in seconds since the Unix epoch.
pub fn verify(proof: &str, expected: &Expected<'_>, now: u64) -> Result<Proof, Refused> {
    if proof.len() > MAX_PROOF {
        return Err(Refused::TooLarge);
    }
    let mut proven = None;
    let payload = jws::open(proof, TYP, |header| {
        let key = PublicKey::from_jwk(header.jwk().ok_or(Refused::Key)?).map_err(|_| Refused::Key)?;
        // Before the signature: whoever holds another key costs us no point multiplication.
        if let Presented::Bound { key: bound, .. } = expected.token
            && verify_slices_are_equal(key.thumbprint().as_bytes(), bound.as_bytes()).is_err()
        {
            return Err(Refused::Binding);
        }
        proven = Some(key.clone());
        Ok(Cow::Owned(key))
    })?;
    let key = proven.ok_or(Refused::Key)?;

    let mut claims = Members::new(payload);
    let jti = claims.jti()?;
    if claims.text("htm")? != expected.method {
        return Err(Refused::Method);
    }
    let url = claims.value("htu")?;
    let url = url.as_str().ok_or(Refused::Claim("htu"))?;
    // Equal text is equal after normalising, too.
    if url != expected.url.as_str() && Htu::parse(url).ok().as_ref() != Some(expected.url) {
        return Err(Refused::Url);
    }
    let issued_at = claims.time("iat")?;
    if issued_at > now.saturating_add(LEEWAY) {
        return Err(Refused::NotYet);
    }
    if now > issued_at.saturating_add(MAX_AGE) {
        return Err(Refused::Expired);
    }
    if let Presented::Bound { token, .. } = expected.token {
        let ath = claims.text("ath").map_err(|_| Refused::TokenHash)?;
        let ath = URL_SAFE_NO_PAD.decode(ath).map_err(|_| Refused::TokenHash)?;
        verify_slices_are_equal(&ath, &token.0).map_err(|_| Refused::TokenHash)?;
    }
    if let Nonce::OneOf(current) = expected.nonce {
        let nonce = claims.text("nonce").map_err(|_| Refused::Nonce)?;
        if !current.iter().any(|one| verify_slices_are_equal(one.as_bytes(), nonce.as_bytes()).is_ok()) {
            return Err(Refused::Nonce);
        }
    }
    // RFC 9449 §4.2 allows further claims.
    claims.ignore_rest();
    Ok(Proof { key, jti, issued_at })
}
