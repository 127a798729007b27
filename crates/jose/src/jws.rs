//! Compact JWS (RFC 7515 §3.1): writing, and the only reading there is.
//!
//! `jsonwebtoken` checks signatures and nothing else here: what it would decode reads the wall clock, lets `iss` and `aud`
//! be absent, takes one of many audiences, ignores `typ`, `crit` and `iat`. All of that is checked around it, and this
//! module is the only caller of its `crypto::verify`.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use placet_json::{Limits, Object, Value, parse};

use crate::keys::{KeyError, PublicKey, SigningKey};
use crate::refused::Refused;

/// Longest token, in bytes: what fits a common header limit, far above any chain of eight actors.
pub(crate) const MAX_TOKEN: usize = 16 * 1024;

/// Header and payload: bounded by the token; `act` chains of 8 and constraints fit 24 levels.
const PART: Limits = Limits { bytes: MAX_TOKEN, depth: 24, members: 64 };

/// Header members that name a key from outside, or change what is signed or how. Nothing here understands them.
const FOREIGN: [&str; 3] = ["jku", "x5u", "x5c"];
const EXTENSIONS: [&str; 4] = ["crit", "b64", "zip", "enc"];

/// The protected header of a token that is not verified yet.
pub(crate) struct Header {
    members: Object,
}

impl Header {
    /// `kid`, if there is one.
    pub(crate) fn kid(&self) -> Result<Option<&str>, Refused> {
        match self.members.get("kid") {
            None => Ok(None),
            Some(kid) => kid.as_str().map(Some).ok_or(Refused::UnknownKey),
        }
    }

    /// `jwk`, which only a proof of possession may bring.
    pub(crate) fn jwk(&self) -> Option<&Value> {
        self.members.get("jwk")
    }
}

/// Reads and verifies a compact JWS. The order is: size, header, `typ`, extensions, key, `alg`, signature, payload.
///
/// `key` chooses the key from the header; the key fixes the algorithm, never the header.
pub(crate) fn open<'k>(
    token: &str,
    typ: &str,
    key: impl FnOnce(&Header) -> Result<Cow<'k, PublicKey>, Refused>,
) -> Result<Object, Refused> {
    open_as(token, |named| named == Some(typ), key)
}

/// The same for kinds whose issuers don't agree on one `typ`.
pub(crate) fn open_as<'k>(
    token: &str,
    typ: impl FnOnce(Option<&str>) -> bool,
    key: impl FnOnce(&Header) -> Result<Cow<'k, PublicKey>, Refused>,
) -> Result<Object, Refused> {
    if token.len() > MAX_TOKEN {
        return Err(Refused::TooLarge);
    }
    let (header, payload) = split(token)?;
    let header = Header { members: read(header)? };
    let named = match header.members.get("typ") {
        None => None,
        Some(named) => Some(named.as_str().ok_or(Refused::Type)?),
    };
    if !typ(named) {
        return Err(Refused::Type);
    }
    if EXTENSIONS.iter().any(|name| header.members.contains_key(name)) {
        return Err(Refused::Critical);
    }
    if FOREIGN.iter().any(|name| header.members.contains_key(name)) {
        return Err(Refused::ForeignKey);
    }
    let key = key(&header)?;
    let named = header.members.get("alg").and_then(Value::as_str);
    if !named.is_some_and(|alg| key.algorithm().is_named(alg)) {
        return Err(Refused::Algorithm);
    }
    verify(token, &key)?;
    read(payload)
}

/// The payload of a token whose signature was *not* checked.
pub(crate) fn peek(token: &str) -> Result<Object, Refused> {
    if token.len() > MAX_TOKEN {
        return Err(Refused::TooLarge);
    }
    split(token).and_then(|(_, payload)| read(payload))
}

/// Signs header and payload.
pub(crate) fn seal(key: &SigningKey, header: Object, payload: Object) -> Result<String, KeyError> {
    let header = Value::Object(header).to_bytes();
    let payload = Value::Object(payload).to_bytes();
    // base64 grows by a third; a signature has 86 letters, two dots.
    let room =
        header.len().saturating_add(payload.len()).saturating_mul(4).saturating_div(3).saturating_add(96);
    let mut token = String::with_capacity(room);
    URL_SAFE_NO_PAD.encode_string(header, &mut token);
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(payload, &mut token);
    let signature = key.sign(token.as_bytes())?;
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut token);
    Ok(token)
}

fn split(token: &str) -> Result<(&str, &str), Refused> {
    let mut parts = token.split('.');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(header), Some(payload), Some(_), None) => Ok((header, payload)),
        _ => Err(Refused::Malformed),
    }
}

fn read(part: &str) -> Result<Object, Refused> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| Refused::Malformed)?;
    parse(&bytes, &PART).ok().and_then(Value::into_object).ok_or(Refused::Malformed)
}

fn verify(token: &str, key: &PublicKey) -> Result<(), Refused> {
    let (message, signature) = token.rsplit_once('.').ok_or(Refused::Malformed)?;
    let algorithm = key.algorithm().jsonwebtoken();
    match jsonwebtoken::crypto::verify(signature, message.as_bytes(), key.decoding(), algorithm) {
        Ok(true) => Ok(()),
        Ok(false) | Err(_) => Err(Refused::Signature),
    }
}
