//! Signed envelopes: one payload, several signatures (DSSE, Dead Simple Signing Envelope, v1).
//!
//! What is signed is the payload's exact bytes with its type, never a re-encoding; the envelope stands beside what it
//! speaks of and changes no digest. A signature counts for a key that the reader trusts, and once for each key.

use base64::{Engine, engine::general_purpose::STANDARD};
use placet_json::{Limits, Value, object, parse};

use crate::keys::{KeyError, PublicKey, SigningKey, Thumbprint};
use crate::keyset::KeySet;

/// The longest envelope, in bytes.
pub const MAX_ENVELOPE: usize = 64 * 1024;
/// The most signatures of one envelope.
pub const MAX_SIGNATURES: usize = 16;

/// Why an envelope can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// It is too long, or no envelope.
    #[error("this is no envelope: {0}")]
    Malformed(String),
    /// Two envelopes speak of different things.
    #[error("the envelopes hold different payloads")]
    Different,
    /// There are too many signatures.
    #[error("an envelope holds at most {MAX_SIGNATURES} signatures")]
    Full,
    /// The signature isn't one of this key.
    #[error("the signature isn't this key's")]
    Foreign,
    /// The key can't sign.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// A payload with its signatures. Nothing is verified yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    kind: String,
    payload: Vec<u8>,
    signatures: Vec<(String, Vec<u8>)>,
}

impl Envelope {
    /// An envelope without signatures. `kind` is the payload's media type.
    #[must_use]
    pub fn new(kind: &str, payload: Vec<u8>) -> Self {
        Self { kind: kind.to_owned(), payload, signatures: Vec::new() }
    }

    /// Reads an envelope's JSON. Members that aren't known are ignored, as the specification asks.
    pub fn parse(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        let malformed = |what: &str| EnvelopeError::Malformed(what.to_owned());
        let limits = Limits { bytes: MAX_ENVELOPE, depth: 8, members: 1024 };
        let document = parse(bytes, &limits).map_err(|error| EnvelopeError::Malformed(error.to_string()))?;
        let text = |of: &Value, name: &str| {
            of.get(name)
                .and_then(Value::as_str)
                .map(str::to_owned)
                .ok_or_else(|| EnvelopeError::Malformed(format!("`{name}` is missing")))
        };
        let bytes = |of: &Value, name: &str| {
            STANDARD
                .decode(text(of, name)?)
                .map_err(|_| EnvelopeError::Malformed(format!("`{name}` is no base64")))
        };
        let signatures = document.get("signatures").and_then(Value::as_array);
        let signatures = signatures.ok_or_else(|| malformed("`signatures` is missing"))?;
        if signatures.len() > MAX_SIGNATURES {
            return Err(EnvelopeError::Full);
        }
        let signatures = signatures.iter().map(|of| {
            let keyid = of.get("keyid").and_then(Value::as_str).unwrap_or_default();
            Ok((keyid.to_owned(), bytes(of, "sig")?))
        });
        Ok(Self {
            kind: text(&document, "payloadType")?,
            payload: bytes(&document, "payload")?,
            signatures: signatures.collect::<Result<_, EnvelopeError>>()?,
        })
    }

    /// As JSON.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let signatures = self.signatures.iter().map(|(keyid, signature)| {
            Value::from(object! { "keyid" => keyid.as_str(), "sig" => STANDARD.encode(signature) })
        });
        object! {
            "payload" => STANDARD.encode(&self.payload), "payloadType" => self.kind.as_str(),
            "signatures" => Value::Array(signatures.collect()),
        }
        .into()
    }

    /// The payload's type.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.kind
    }
    /// The payload, believed by nobody yet.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }
    /// The keys that claim to have signed, as they call themselves.
    pub fn claimed(&self) -> impl Iterator<Item = &str> {
        self.signatures.iter().map(|(keyid, _)| keyid.as_str())
    }

    /// The bytes that are signed: `DSSEv1`, the lengths and the bytes of type and payload.
    #[must_use]
    pub fn signed(&self) -> Vec<u8> {
        let mut out =
            format!("DSSEv1 {} {} {} ", self.kind.len(), self.kind, self.payload.len()).into_bytes();
        out.extend_from_slice(&self.payload);
        out
    }

    /// Adds a key's signature.
    pub fn sign(&mut self, key: &SigningKey) -> Result<(), EnvelopeError> {
        let signature = key.sign(&self.signed())?;
        self.attach(key.public(), signature)
    }

    /// Adds a signature that something else made, if it is this key's.
    pub fn attach(&mut self, key: &PublicKey, signature: Vec<u8>) -> Result<(), EnvelopeError> {
        if !key.verifies(&self.signed(), &signature) {
            return Err(EnvelopeError::Foreign);
        }
        let keyid = key.thumbprint().to_string();
        self.signatures.retain(|(other, _)| *other != keyid);
        if self.signatures.len() >= MAX_SIGNATURES {
            return Err(EnvelopeError::Full);
        }
        self.signatures.push((keyid, signature));
        Ok(())
    }

    /// Takes over another envelope's signatures of the same payload.
    pub fn merge(&mut self, other: &Self) -> Result<(), EnvelopeError> {
        if (&self.kind, &self.payload) != (&other.kind, &other.payload) {
            return Err(EnvelopeError::Different);
        }
        for signature in &other.signatures {
            if !self.signatures.contains(signature) {
                if self.signatures.len() >= MAX_SIGNATURES {
                    return Err(EnvelopeError::Full);
                }
                self.signatures.push(signature.clone());
            }
        }
        Ok(())
    }

    /// The trusted keys that signed this payload as this type, each once. `keyid` is a hint and decides nothing.
    #[must_use]
    pub fn signers(&self, kind: &str, trusted: &KeySet) -> Vec<Thumbprint> {
        if self.kind != kind {
            return Vec::new();
        }
        let signed = self.signed();
        let has =
            |key: &PublicKey| self.signatures.iter().any(|(_, signature)| key.verifies(&signed, signature));
        let mut signers: Vec<Thumbprint> = Vec::new();
        for (_, key) in trusted.iter().filter(|(_, key)| has(key)) {
            if !signers.contains(&key.thumbprint()) {
                signers.push(key.thumbprint());
            }
        }
        signers
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Algorithm;

    #[test]
    fn what_is_signed_is_the_specifications_form() {
        let envelope = Envelope::new("http://example.com/HelloWorld", b"hello world".to_vec());
        assert_eq!(envelope.signed(), b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
    }

    #[test]
    fn rel_1_a_signature_counts_once_for_a_trusted_key_and_for_this_payload_alone() {
        let (ours, theirs) = (
            SigningKey::generate(Algorithm::EdDsa).unwrap(),
            SigningKey::generate(Algorithm::EdDsa).unwrap(),
        );
        let trusted = KeySet::of(ours.public());
        let mut envelope = Envelope::new("text/plain", b"one".to_vec());
        assert!(envelope.signers("text/plain", &trusted).is_empty(), "unsigned");
        envelope.sign(&theirs).unwrap();
        assert!(envelope.signers("text/plain", &trusted).is_empty(), "a foreign key");
        envelope.sign(&ours).unwrap();
        envelope.sign(&ours).unwrap();
        assert_eq!(envelope.signers("text/plain", &trusted), [ours.public().thumbprint()]);
        assert!(envelope.signers("text/html", &trusted).is_empty(), "another type");
        let again = Envelope::parse(&envelope.to_value().to_bytes()).unwrap();
        assert_eq!(again, envelope);
        let moved = Envelope { payload: b"two".to_vec(), ..envelope.clone() };
        assert!(moved.signers("text/plain", &trusted).is_empty(), "another payload");
        assert_eq!(envelope.clone().merge(&moved), Err(EnvelopeError::Different));
        let text = envelope.to_value().to_string();
        for cut in [0, 1, text.len() / 2, text.len() - 1] {
            assert!(Envelope::parse(text.get(..cut).unwrap().as_bytes()).is_err(), "cut at {cut}");
        }
        let mut other = Envelope::new("text/plain", b"one".to_vec());
        assert_eq!(other.attach(ours.public(), vec![0; 64]), Err(EnvelopeError::Foreign));
    }
}
