//! The keys of one pinned issuer.

use placet_json::{Limits, Object, Value, parse};

use crate::keys::{KeyError, PublicKey};
use crate::refused::Refused;

/// Most keys of one issuer: current, next and a few retired ones. Lookup is linear.
const MAX_KEYS: usize = 16;

/// Longest `kid`, in bytes.
const MAX_KID: usize = 256;

/// Longest JWK set document: sixteen keys of a kilobyte.
const LIMITS: Limits = Limits { bytes: 16 * 1024, depth: 8, members: 64 };

/// Public keys by `kid`. A `kid` is compared and nothing else: never a path, a query or an address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeySet {
    keys: Vec<(String, PublicKey)>,
}

impl KeySet {
    /// A set without keys: verifies nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The set of this one key, with its thumbprint as `kid`, as our own tokens name it.
    #[must_use]
    pub fn of(key: &PublicKey) -> Self {
        Self { keys: vec![(key.thumbprint().to_string(), key.clone())] }
    }

    /// Adds a key under its thumbprint.
    pub fn add(&mut self, key: &PublicKey) -> Result<(), KeyError> {
        self.insert(key.thumbprint().to_string(), key.clone())
    }

    /// Adds a key; a `kid` that is already there is refused, since a second key must not replace the first.
    pub fn insert(&mut self, kid: impl Into<String>, key: PublicKey) -> Result<(), KeyError> {
        let kid = kid.into();
        let taken = self.keys.iter().any(|(other, _)| *other == kid);
        if kid.is_empty() || kid.len() > MAX_KID || taken || self.keys.len() >= MAX_KEYS {
            return Err(KeyError::Set);
        }
        self.keys.push((kid, key));
        Ok(())
    }

    /// Reads a JWK set (RFC 7517 §5). Keys of kinds that aren't used here are skipped, as §5 asks; a key without
    /// `kid` goes under its thumbprint; a private key fails the whole set.
    pub fn from_jwks(document: &[u8]) -> Result<Self, KeyError> {
        Self::read(document, &LIMITS, PublicKey::from_jwk)
    }

    fn read(
        document: &[u8],
        limits: &Limits,
        read: impl Fn(&Value) -> Result<PublicKey, KeyError>,
    ) -> Result<Self, KeyError> {
        let document = parse(document, limits).map_err(|_| KeyError::Set)?;
        let keys = document.get("keys").and_then(Value::as_array).ok_or(KeyError::Set)?;
        let mut set = Self::new();
        for jwk in keys {
            let key = match read(jwk) {
                Ok(key) => key,
                Err(KeyError::Private) => return Err(KeyError::Private),
                Err(_) => continue,
            };
            match jwk.get("kid") {
                None => set.add(&key)?,
                Some(kid) => set.insert(kid.as_str().ok_or(KeyError::Set)?, key)?,
            }
        }
        Ok(set)
    }

    /// Reads the JWK set of a transmitter of security events: as [`from_jwks`](Self::from_jwks), RSA keys as well.
    pub fn of_transmitter(document: &[u8]) -> Result<Self, KeyError> {
        let limits = Limits { bytes: 64 * 1024, ..LIMITS };
        Self::read(document, &limits, PublicKey::from_jwk_or_rsa)
    }

    /// The set as a JWK set document.
    #[must_use]
    pub fn to_jwks(&self) -> Value {
        let keys = self.keys.iter().map(|(kid, key)| {
            let mut jwk = match key.to_jwk() {
                Value::Object(jwk) => jwk,
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                    Object::new()
                }
            };
            jwk.insert("kid", kid.as_str());
            jwk.insert("alg", key.algorithm().name());
            jwk.insert("use", "sig");
            Value::Object(jwk)
        });
        let mut document = Object::new();
        document.insert("keys", Value::Array(keys.collect()));
        Value::Object(document)
    }

    /// The key that a header names. Without `kid` the only key of the set, if it has just one.
    pub fn select(&self, kid: Option<&str>) -> Result<&PublicKey, Refused> {
        let key = match (kid, self.keys.as_slice()) {
            (Some(kid), keys) => keys.iter().find(|(other, _)| other == kid).map(|(_, key)| key),
            (None, [(_, key)]) => Some(key),
            (None, _) => None,
        };
        key.ok_or(Refused::UnknownKey)
    }

    /// Whether there is no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The keys with their `kid`.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &PublicKey)> {
        self.keys.iter().map(|(kid, key)| (kid.as_str(), key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::{Algorithm, SigningKey};

    #[test]
    fn a_set_survives_its_document() {
        let mut set = KeySet::new();
        for algorithm in [Algorithm::EdDsa, Algorithm::Es256] {
            set.add(SigningKey::generate(algorithm).unwrap().public()).unwrap();
        }
        assert_eq!(KeySet::from_jwks(&set.to_jwks().to_bytes()), Ok(set));
    }

    #[test]
    fn a_kid_is_only_compared() {
        let (one, two) = (
            SigningKey::generate(Algorithm::EdDsa).unwrap(),
            SigningKey::generate(Algorithm::EdDsa).unwrap(),
        );
        let mut set = KeySet::new();
        set.insert("../../etc/passwd", one.public().clone()).unwrap();
        assert_eq!(set.select(Some("../../etc/passwd")), Ok(one.public()));
        assert_eq!(set.select(None), Ok(one.public()), "one key needs no kid");
        assert_eq!(
            set.insert("../../etc/passwd", two.public().clone()),
            Err(KeyError::Set),
            "never replaced"
        );
        set.add(two.public()).unwrap();
        for kid in [None, Some(""), Some("' or 1=1"), Some("../../etc/./passwd")] {
            assert_eq!(set.select(kid), Err(Refused::UnknownKey), "{kid:?}");
        }
    }

    #[test]
    fn documents_with_private_or_repeated_keys_are_refused() {
        let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
        let key = format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{x}","kid":"a"}}"#);
        let private = format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{x}","d":"{x}"}}"#);
        let set = |keys: &str| KeySet::from_jwks(format!(r#"{{"keys":[{keys}]}}"#).as_bytes());
        assert_eq!(set(&private), Err(KeyError::Private));
        assert_eq!(set(&format!("{key},{key}")), Err(KeyError::Set));
        assert_eq!(KeySet::from_jwks(b"{}"), Err(KeyError::Set));
        let mixed = set(&format!(r#"{{"kty":"RSA","n":"AQ","e":"AQAB"}},{key}"#)).unwrap();
        assert_eq!(mixed.iter().map(|(kid, _)| kid).collect::<Vec<_>>(), ["a"]);
    }
}
