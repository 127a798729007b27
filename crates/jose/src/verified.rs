//! `Verified<C>`: the proof that a token was checked completely.

use std::borrow::Cow;

use placet_json::{Object, Value};

use crate::claims::{Claims, Members};
use crate::keys::{KeyError, SigningKey, Thumbprint};
use crate::keyset::KeySet;
use crate::refused::Refused;
use crate::{LEEWAY, jws};

/// A token of kind `C` that passed every check: form, type, key, algorithm, signature, issuer, audience, times,
/// claims. Made only by [`Verified::open`]; no `Clone`, no `Deserialize`, no other constructor.
#[derive(Debug)]
pub struct Verified<C> {
    claims: C,
    issued_at: u64,
    expires_at: u64,
    key: Thumbprint,
}

/// Who must have issued a token, and for whom. Both are compared byte for byte: nothing is normalised, no prefix
/// counts.
#[derive(Debug, Clone, Copy)]
pub struct Expect<'a> {
    /// The one `iss`.
    pub issuer: &'a str,
    /// The one `aud`: this recipient.
    pub audience: &'a str,
    /// The pinned keys of that issuer.
    pub keys: &'a KeySet,
}

/// The frame of a token to be minted. Times are in seconds since the Unix epoch.
#[derive(Debug, Clone, Copy)]
pub struct Stamp<'a> {
    /// `iss`.
    pub issuer: &'a str,
    /// `aud`, always exactly one.
    pub audience: &'a str,
    /// `iat`.
    pub issued_at: u64,
    /// `exp`, at most [`Claims::MAX_LIFE`] after `iat`.
    pub expires_at: u64,
}

/// Why a token could not be minted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MintError {
    /// `exp` isn't after `iat`, or further away than the kind allows.
    #[error("the token would live longer than its kind may, or not at all")]
    Lifetime,
    /// The claims aren't such as a recipient would accept.
    #[error("the claims would be refused: {0}")]
    Claims(Refused),
    /// The token would exceed the limit of 16 KiB.
    #[error("the token would be larger than its limit")]
    TooLarge,
    /// The key could not sign.
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl<C: Claims> Verified<C> {
    /// Checks a token completely. `now` is in seconds since the Unix epoch.
    pub fn open(token: &str, expect: &Expect<'_>, now: u64) -> Result<Self, Refused> {
        let mut signer = None;
        let payload = jws::open(token, C::TYP, |header| {
            if header.jwk().is_some() {
                return Err(Refused::ForeignKey);
            }
            let key = expect.keys.select(header.kid()?)?;
            signer = Some(key.thumbprint());
            Ok(Cow::Borrowed(key))
        })?;
        let key = signer.ok_or(Refused::UnknownKey)?;
        Self::check(payload, expect, now, key)
    }

    fn check(payload: Object, expect: &Expect<'_>, now: u64, key: Thumbprint) -> Result<Self, Refused> {
        if payload.get("iss").and_then(Value::as_str) != Some(expect.issuer) {
            return Err(Refused::Issuer);
        }
        // An array is refused even with one member: whoever sends it has another idea of audiences.
        if payload.get("aud").and_then(Value::as_str) != Some(expect.audience) {
            return Err(Refused::Audience);
        }
        let mut members = Members::new(payload);
        members.optional("iss");
        members.optional("aud");
        let issued_at = members.time("iat")?;
        let expires_at = if C::EXPIRES {
            members.time("exp")?
        } else if members.has("exp") {
            return Err(Refused::Claim("exp"));
        } else {
            issued_at.saturating_add(C::MAX_LIFE)
        };
        let latest = now.saturating_add(LEEWAY);
        if issued_at > latest {
            return Err(Refused::NotYet);
        }
        if members.has("nbf") && members.time("nbf")? > latest {
            return Err(Refused::NotYet);
        }
        if now >= expires_at.saturating_add(LEEWAY) {
            return Err(Refused::Expired);
        }
        check_life::<C>(issued_at, expires_at)?;
        let claims = C::read(&mut members)?;
        members.finish()?;
        Ok(Self { claims, issued_at, expires_at, key })
    }
}

impl<C> Verified<C> {
    /// The claims of the kind.
    #[must_use]
    pub fn claims(&self) -> &C {
        &self.claims
    }

    /// The claims, giving up the proof.
    #[must_use]
    pub fn into_claims(self) -> C {
        self.claims
    }

    /// `iat`, in seconds since the Unix epoch.
    #[must_use]
    pub fn issued_at(&self) -> u64 {
        self.issued_at
    }

    /// `exp`, in seconds since the Unix epoch, without leeway.
    #[must_use]
    pub fn expires_at(&self) -> u64 {
        self.expires_at
    }

    /// The key that signed.
    #[must_use]
    pub fn key(&self) -> Thumbprint {
        self.key
    }
}

/// Makes a token. What would be refused by its recipient isn't minted.
pub fn mint<C: Claims>(key: &SigningKey, stamp: &Stamp<'_>, claims: &C) -> Result<String, MintError> {
    check_life::<C>(stamp.issued_at, stamp.expires_at).map_err(|_| MintError::Lifetime)?;
    let mut body = Object::new();
    claims.write(&mut body);
    let mut members = Members::new(body.clone());
    C::read(&mut members).map_err(MintError::Claims)?;
    members.finish().map_err(MintError::Claims)?;

    let mut payload = Object::new();
    payload.insert("iss", stamp.issuer);
    payload.insert("aud", stamp.audience);
    payload.insert("iat", stamp.issued_at);
    if C::EXPIRES {
        payload.insert("exp", stamp.expires_at);
    }
    payload.extend(body);
    let mut header = Object::new();
    header.insert("typ", C::TYP);
    header.insert("alg", key.algorithm().name());
    header.insert("kid", key.public().thumbprint().to_string());
    let token = jws::seal(key, header, payload)?;
    if token.len() > jws::MAX_TOKEN { Err(MintError::TooLarge) } else { Ok(token) }
}

/// The `iss` that a token *claims*, unchecked: good only for choosing whose keys to verify it with, where each sender
/// signs for itself (RFC 7523 §3).
pub fn claimed_issuer(token: &str) -> Result<String, Refused> {
    Members::new(jws::peek(token)?).text("iss").map_err(|_| Refused::Issuer)
}

fn check_life<C: Claims>(issued_at: u64, expires_at: u64) -> Result<(), Refused> {
    match expires_at.checked_sub(issued_at) {
        Some(life) if life > 0 && life <= C::MAX_LIFE => Ok(()),
        _ => Err(Refused::Lifetime),
    }
}
