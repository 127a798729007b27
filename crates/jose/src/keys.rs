//! Keys: Ed25519 (`EdDSA`, RFC 8037) and P-256 (`ES256`, RFC 7518 §3.4). A key has exactly one algorithm. RSA keys
//! (`RS256`) only verify, and only security events, which the large providers sign with nothing else.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ED25519, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
    ParsedPublicKey, UnparsedPublicKey,
};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::DecodingKey;
use placet_json::{Object, Value};
use zeroize::Zeroizing;

/// Bytes of a coordinate on P-256, of an Ed25519 key and of a SHA-256 digest.
const FIELD: usize = 32;

/// Bytes of an RSA modulus, and the one exponent, 65537.
const MIN_RSA: usize = 256;
const MAX_RSA: usize = 512;
const EXPONENT: &str = "AQAB";

/// The first byte of an uncompressed point (SEC 1 §2.3.3).
const UNCOMPRESSED: u8 = 4;

/// Members of a JWK that hold private or symmetric key material (RFC 7518 §6).
const PRIVATE_MEMBERS: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// PKCS#8 documents of our two kinds are below 200 bytes; this bounds what is decoded.
const MAX_PEM: usize = 4096;

/// The signature algorithm of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// Ed25519, `alg` `EdDSA`.
    EdDsa,
    /// ECDSA on P-256 with SHA-256, `alg` `ES256`.
    Es256,
    /// RSASSA-PKCS1-v1_5 with SHA-256, `alg` `RS256`: verified, never signed with.
    Rs256,
}

/// A key that signs. Never cloned, never printed; leaves only as zeroized PEM.
pub struct SigningKey {
    pair: Pair,
    public: PublicKey,
}

enum Pair {
    EdDsa(Ed25519KeyPair),
    Es256(EcdsaKeyPair),
}

/// A public key that was checked to be a point of its curve.
#[derive(Clone)]
pub struct PublicKey {
    algorithm: Algorithm,
    /// Ed25519: 32 bytes; P-256: the uncompressed point, 65 bytes; RSA: the modulus.
    bytes: Vec<u8>,
    thumbprint: Thumbprint,
    decoding: DecodingKey,
}

/// SHA-256 thumbprint of a public key (RFC 7638): the `jkt` of a bound token.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Thumbprint([u8; FIELD]);

/// Why a key can't be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The cryptographic library refused (no randomness, out of memory).
    #[error("the key could not be made")]
    Generate,
    /// Not a PKCS#8 PEM of an Ed25519 or P-256 key.
    #[error("not a PKCS#8 private key (PEM) of Ed25519 or P-256")]
    Pem,
    /// A JWK of another kind, with missing or malformed members.
    #[error("not a public JWK of Ed25519 or P-256")]
    Jwk,
    /// A JWK with private members: its sender has leaked it, and it must not be used.
    #[error("the JWK has private members")]
    Private,
    /// The bytes are not a point of the curve.
    #[error("the key is not a point of its curve")]
    Point,
    /// Not the base64url form of 32 bytes.
    #[error("not a SHA-256 thumbprint")]
    Thumbprint,
    /// Not a JWK set, too many keys, a repeated or overlong `kid`.
    #[error("not a usable JWK set")]
    Set,
}

// === impl Algorithm ===

impl Algorithm {
    /// The value of `alg` in a header.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::EdDsa => "EdDSA",
            Self::Es256 => "ES256",
            Self::Rs256 => "RS256",
        }
    }

    /// Whether a header's `alg` means this algorithm: RFC 9864 gives `EdDSA` on Ed25519 a name of its own.
    pub(crate) fn is_named(self, alg: &str) -> bool {
        alg == self.name() || (self == Self::EdDsa && alg == "Ed25519")
    }

    pub(crate) fn jsonwebtoken(self) -> jsonwebtoken::Algorithm {
        match self {
            Self::EdDsa => jsonwebtoken::Algorithm::EdDSA,
            Self::Es256 => jsonwebtoken::Algorithm::ES256,
            Self::Rs256 => jsonwebtoken::Algorithm::RS256,
        }
    }
}

// === impl SigningKey ===

impl SigningKey {
    /// Makes a new key from the system's randomness.
    pub fn generate(algorithm: Algorithm) -> Result<Self, KeyError> {
        let pair = match algorithm {
            Algorithm::EdDsa => Pair::EdDsa(Ed25519KeyPair::generate().map_err(|_| KeyError::Generate)?),
            Algorithm::Es256 => Pair::Es256(
                EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(|_| KeyError::Generate)?,
            ),
            Algorithm::Rs256 => return Err(KeyError::Generate),
        };
        Self::of(pair)
    }

    /// Reads an unencrypted PKCS#8 PEM (`-----BEGIN PRIVATE KEY-----`), as `openssl genpkey` writes it.
    ///
    /// That the file is readable by its owner alone is for the caller to check.
    pub fn from_pkcs8_pem(pem: &str) -> Result<Self, KeyError> {
        let der = decode_pem(pem)?;
        if let Ok(pair) = Ed25519KeyPair::from_pkcs8(&der) {
            return Self::of(Pair::EdDsa(pair));
        }
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der).map_err(|_| KeyError::Pem)?;
        Self::of(Pair::Es256(pair))
    }

    /// The key as PKCS#8 (v1) PEM, wiped from memory when dropped.
    pub fn to_pkcs8_pem(&self) -> Result<Zeroizing<String>, KeyError> {
        let document = match &self.pair {
            Pair::EdDsa(pair) => pair.to_pkcs8v1(),
            Pair::Es256(pair) => pair.to_pkcs8v1(),
        }
        .map_err(|_| KeyError::Pem)?;
        let body = Zeroizing::new(STANDARD.encode(document.as_ref()));
        // Reserved in full, so that no half-filled copy is left behind by a reallocation.
        let mut pem = Zeroizing::new(String::with_capacity(body.len().saturating_add(128)));
        pem.push_str("-----BEGIN PRIVATE KEY-----\n");
        for (at, letter) in body.chars().enumerate() {
            if at > 0 && at.is_multiple_of(64) {
                pem.push('\n');
            }
            pem.push(letter);
        }
        pem.push_str("\n-----END PRIVATE KEY-----\n");
        Ok(pem)
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// The key's one algorithm.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.public.algorithm
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        match &self.pair {
            Pair::EdDsa(pair) => pair.try_sign(message),
            Pair::Es256(pair) => pair.sign(&SystemRandom::new(), message),
        }
        .map(|signature| signature.as_ref().to_vec())
        .map_err(|_| KeyError::Generate)
    }

    fn of(pair: Pair) -> Result<Self, KeyError> {
        let public = match &pair {
            Pair::EdDsa(pair) => PublicKey::from_bytes(Algorithm::EdDsa, pair.public_key().as_ref()),
            Pair::Es256(pair) => PublicKey::from_bytes(Algorithm::Es256, pair.public_key().as_ref()),
        }?;
        Ok(Self { pair, public })
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("public", &self.public).finish_non_exhaustive()
    }
}

// === impl PublicKey ===

impl PublicKey {
    /// Reads a public JWK (RFC 7517). `alg`, `use` and `key_ops`, if present, must fit; other members are ignored,
    /// except private ones, which are refused.
    pub fn from_jwk(jwk: &Value) -> Result<Self, KeyError> {
        let jwk = jwk.as_object().ok_or(KeyError::Jwk)?;
        if PRIVATE_MEMBERS.iter().any(|name| jwk.contains_key(name)) {
            return Err(KeyError::Private);
        }
        let text = |name: &str| jwk.get(name).and_then(Value::as_str);
        let field = |name: &str| -> Result<[u8; FIELD], KeyError> {
            let value = text(name).ok_or(KeyError::Jwk)?;
            let bytes = URL_SAFE_NO_PAD.decode(value).map_err(|_| KeyError::Jwk)?;
            bytes.try_into().map_err(|_| KeyError::Jwk)
        };
        let key = match (text("kty"), text("crv")) {
            (Some("OKP"), Some("Ed25519")) => Self::from_bytes(Algorithm::EdDsa, &field("x")?)?,
            (Some("EC"), Some("P-256")) => {
                let mut point = Vec::with_capacity(2 * FIELD + 1);
                point.push(UNCOMPRESSED);
                point.extend_from_slice(&field("x")?);
                point.extend_from_slice(&field("y")?);
                Self::from_bytes(Algorithm::Es256, &point)?
            }
            _ => return Err(KeyError::Jwk),
        };
        let fits =
            |name: &str, wanted: &str| jwk.get(name).is_none_or(|value| value.as_str() == Some(wanted));
        let verifies = jwk.get("key_ops").is_none_or(|ops| {
            ops.as_array().is_some_and(|ops| ops.iter().any(|op| op.as_str() == Some("verify")))
        });
        if !fits("alg", key.algorithm.name()) || !fits("use", "sig") || !verifies {
            return Err(KeyError::Jwk);
        }
        Ok(key)
    }

    /// Reads a public JWK as [`from_jwk`](Self::from_jwk) does, or one of RSA: a modulus of 2048 to 4096 bits, the
    /// exponent 65537.
    pub fn from_jwk_or_rsa(jwk: &Value) -> Result<Self, KeyError> {
        let text = |name: &str| jwk.get(name).and_then(Value::as_str);
        if text("kty") != Some("RSA") {
            return Self::from_jwk(jwk);
        }
        let members = jwk.as_object().ok_or(KeyError::Jwk)?;
        if PRIVATE_MEMBERS.iter().any(|name| members.contains_key(name)) {
            return Err(KeyError::Private);
        }
        let fits = |name: &str, wanted: &str| text(name).is_none_or(|value| value == wanted);
        let modulus = text("n").and_then(|n| URL_SAFE_NO_PAD.decode(n).ok()).ok_or(KeyError::Jwk)?;
        let sized =
            (MIN_RSA..=MAX_RSA).contains(&modulus.len()) && modulus.first().is_some_and(|first| *first != 0);
        if text("e") != Some(EXPONENT) || !sized || !fits("alg", "RS256") || !fits("use", "sig") {
            return Err(KeyError::Jwk);
        }
        Self::from_bytes(Algorithm::Rs256, &modulus)
    }

    /// The public JWK: required members only, in lexical order.
    #[must_use]
    pub fn to_jwk(&self) -> Value {
        let mut jwk = Object::new();
        match self.algorithm {
            Algorithm::EdDsa => {
                jwk.insert("crv", "Ed25519");
                jwk.insert("kty", "OKP");
                jwk.insert("x", URL_SAFE_NO_PAD.encode(&self.bytes));
            }
            Algorithm::Es256 => {
                let (x, y) = coordinates(&self.bytes);
                jwk.insert("crv", "P-256");
                jwk.insert("kty", "EC");
                jwk.insert("x", x);
                jwk.insert("y", y);
            }
            Algorithm::Rs256 => {
                jwk.insert("e", EXPONENT);
                jwk.insert("kty", "RSA");
                jwk.insert("n", URL_SAFE_NO_PAD.encode(&self.bytes));
            }
        }
        Value::Object(jwk)
    }

    /// The key's one algorithm: what a token's `alg` must be.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The key's thumbprint (RFC 7638).
    #[must_use]
    pub fn thumbprint(&self) -> Thumbprint {
        self.thumbprint
    }

    /// Whether this key made the signature of exactly this message.
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match self.algorithm {
            Algorithm::EdDsa => {
                UnparsedPublicKey::new(&ED25519, &self.bytes).verify(message, signature).is_ok()
            }
            Algorithm::Es256 => UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &self.bytes)
                .verify(message, signature)
                .is_ok(),
            Algorithm::Rs256 => false,
        }
    }

    pub(crate) fn decoding(&self) -> &DecodingKey {
        &self.decoding
    }

    /// The only place where a public key comes into being.
    fn from_bytes(algorithm: Algorithm, bytes: &[u8]) -> Result<Self, KeyError> {
        let decoding = match algorithm {
            Algorithm::EdDsa => {
                ParsedPublicKey::new(&ED25519, bytes).map_err(|_| KeyError::Point)?;
                if bytes.len() != FIELD || is_small_order(bytes) {
                    return Err(KeyError::Point);
                }
                DecodingKey::from_ed_der(bytes)
            }
            Algorithm::Es256 => {
                ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, bytes).map_err(|_| KeyError::Point)?;
                if bytes.len() != 2 * FIELD + 1 || bytes.first() != Some(&UNCOMPRESSED) {
                    return Err(KeyError::Point);
                }
                DecodingKey::from_ec_der(bytes)
            }
            Algorithm::Rs256 => DecodingKey::from_rsa_components(&URL_SAFE_NO_PAD.encode(bytes), EXPONENT)
                .map_err(|_| KeyError::Jwk)?,
        };
        // RFC 7638 §3: required members, lexical order, no white space.
        let canonical = match algorithm {
            Algorithm::EdDsa => {
                format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, URL_SAFE_NO_PAD.encode(bytes))
            }
            Algorithm::Es256 => {
                let (x, y) = coordinates(bytes);
                format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#)
            }
            Algorithm::Rs256 => {
                format!(r#"{{"e":"{EXPONENT}","kty":"RSA","n":"{}"}}"#, URL_SAFE_NO_PAD.encode(bytes))
            }
        };
        let thumbprint = Thumbprint(sha256(canonical.as_bytes()));
        Ok(Self { algorithm, bytes: bytes.to_vec(), thumbprint, decoding })
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.algorithm == other.algorithm && self.bytes == other.bytes
    }
}

impl Eq for PublicKey {}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({} {})", self.algorithm.name(), self.thumbprint)
    }
}

// === impl Thumbprint ===

impl Thumbprint {
    /// Reads the unpadded base64url form.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| KeyError::Thumbprint)?;
        bytes.try_into().map(Self).map_err(|_| KeyError::Thumbprint)
    }

    /// The digest itself.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; FIELD] {
        &self.0
    }
}

impl fmt::Display for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Thumbprint({self})")
    }
}

// === helpers ===

/// A fresh identifier of 128 bits for `jti`, in base64url.
pub fn random_id() -> Result<String, KeyError> {
    let mut bytes = [0_u8; 16];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| KeyError::Generate)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; FIELD] {
    let mut out = [0; FIELD];
    out.copy_from_slice(digest(&SHA256, bytes).as_ref());
    out
}

/// The coordinates of an uncompressed point, in base64url.
fn coordinates(point: &[u8]) -> (String, String) {
    let (x, y) = point
        .split_first_chunk::<1>()
        .map_or((&[][..], &[][..]), |(_, rest)| rest.split_at(FIELD.min(rest.len())));
    (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y))
}

/// Points of small order verify some signature over any message, so that anybody could "prove" such a key.
/// The eight encodings, canonical or not, have a y-coordinate of this list once the sign bit is dropped.
fn is_small_order(key: &[u8]) -> bool {
    const ORDER_EIGHT_A: [u8; FIELD] = [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5,
        0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
    ];
    const ORDER_EIGHT_B: [u8; FIELD] = [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a,
        0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
    ];
    let Some((last, low)) = key.split_last() else { return true };
    let last = last & 0x7f;
    let same =
        |other: &[u8; FIELD]| other.split_last().is_some_and(|(end, rest)| *end == last && rest == low);
    // 0, 1, and p-1, p, p+1 with p = 2^255 - 19.
    let tiny = last == 0
        && low.split_first().is_some_and(|(first, rest)| *first < 2 && rest.iter().all(|b| *b == 0));
    let near_p = last == 0x7f
        && low.split_first().is_some_and(|(first, rest)| {
            (0xec..=0xee).contains(first) && rest.iter().all(|byte| *byte == 0xff)
        });
    tiny || near_p || same(&ORDER_EIGHT_A) || same(&ORDER_EIGHT_B)
}

fn decode_pem(pem: &str) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    if pem.len() > MAX_PEM {
        return Err(KeyError::Pem);
    }
    let body = pem
        .trim()
        .strip_prefix("-----BEGIN PRIVATE KEY-----")
        .and_then(|rest| rest.strip_suffix("-----END PRIVATE KEY-----"))
        .ok_or(KeyError::Pem)?;
    let mut packed = Zeroizing::new(String::with_capacity(body.len()));
    packed.extend(body.chars().filter(|letter| !letter.is_ascii_whitespace()));
    STANDARD.decode(packed.as_bytes()).map(Zeroizing::new).map_err(|_| KeyError::Pem)
}

#[cfg(test)]
mod tests {
    use placet_json::{Limits, parse};

    use super::*;

    fn jwk(text: &str) -> Result<PublicKey, KeyError> {
        PublicKey::from_jwk(&parse(text.as_bytes(), &Limits::MESSAGE).unwrap())
    }

    #[test]
    fn a_key_survives_pem_and_jwk() {
        for algorithm in [Algorithm::EdDsa, Algorithm::Es256] {
            let key = SigningKey::generate(algorithm).unwrap();
            let again = SigningKey::from_pkcs8_pem(&key.to_pkcs8_pem().unwrap()).unwrap();
            assert_eq!(again.public(), key.public());
            assert_eq!(again.algorithm(), algorithm);
            let public = PublicKey::from_jwk(&key.public().to_jwk()).unwrap();
            assert_eq!(public.thumbprint(), key.public().thumbprint());
            assert_eq!(Thumbprint::parse(&public.thumbprint().to_string()), Ok(public.thumbprint()));
        }
    }

    #[test]
    fn openssl_keys_are_read() {
        // `openssl genpkey -algorithm ED25519`, RFC 8410 §10.3.
        let pem = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n";
        let key = SigningKey::from_pkcs8_pem(pem).unwrap();
        assert_eq!(
            key.public().to_jwk().get("x").unwrap().as_str(),
            Some("Gb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE")
        );
    }

    #[test]
    fn thumbprints_are_those_of_the_specifications() {
        // RFC 8037 §A.3.
        let key = jwk(r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#)
            .unwrap();
        assert_eq!(key.thumbprint().to_string(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
        // RFC 9449 §6.1: the key of the proof of figure 2 and the `jkt` of figure 8.
        let key = jwk(r#"{"kty":"EC","x":"l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs","y":"9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA","crv":"P-256"}"#).unwrap();
        assert_eq!(key.thumbprint().to_string(), "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I");
    }

    #[test]
    fn debug_shows_no_private_key() {
        let key = SigningKey::generate(Algorithm::EdDsa).unwrap();
        let pem = key.to_pkcs8_pem().unwrap();
        let secret = pem.lines().nth(1).unwrap();
        assert!(!format!("{key:?}").contains(secret));
    }

    #[test]
    fn unusable_keys_are_refused() {
        let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
        let cases: [(String, KeyError); 12] = [
            (format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{x}","d":"{x}"}}"#), KeyError::Private),
            (format!(r#"{{"kty":"oct","k":"{x}"}}"#), KeyError::Private),
            (format!(r#"{{"kty":"OKP","crv":"Ed448","x":"{x}"}}"#), KeyError::Jwk),
            (r#"{"kty":"RSA","n":"AQ","e":"AQAB"}"#.to_owned(), KeyError::Jwk),
            (r#"{"kty":"OKP","crv":"Ed25519","x":"AQ"}"#.to_owned(), KeyError::Jwk),
            (format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{x}="}}"#), KeyError::Jwk),
            (format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{x}","alg":"HS256"}}"#), KeyError::Jwk),
            (format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{x}","use":"enc"}}"#), KeyError::Jwk),
            (format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{x}","key_ops":["sign"]}}"#), KeyError::Jwk),
            (format!(r#"{{"kty":"EC","crv":"P-256","x":"{x}","y":"{x}"}}"#), KeyError::Point),
            (
                format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{}"}}"#, URL_SAFE_NO_PAD.encode([0_u8; 32])),
                KeyError::Point,
            ),
            (r#"["not an object"]"#.to_owned(), KeyError::Jwk),
        ];
        for (text, error) in cases {
            assert_eq!(jwk(&text), Err(error), "{text}");
        }
    }

    #[test]
    fn small_order_points_are_refused() {
        let p_minus_one = {
            let mut bytes = [0xff_u8; 32];
            bytes[0] = 0xec;
            bytes[31] = 0x7f;
            bytes
        };
        let mut one = [0_u8; 32];
        one[0] = 1;
        for bytes in [[0_u8; 32], one, p_minus_one] {
            for sign in [0, 0x80] {
                let mut bytes = bytes;
                bytes[31] |= sign;
                assert!(is_small_order(&bytes));
                assert!(PublicKey::from_bytes(Algorithm::EdDsa, &bytes).is_err());
            }
        }
        for _ in 0..100 {
            let key = SigningKey::generate(Algorithm::EdDsa).unwrap();
            assert!(!is_small_order(&key.public().bytes));
        }
    }

    #[test]
    fn other_pem_is_refused() {
        for pem in [
            "",
            "-----BEGIN PRIVATE KEY-----\n!!!!\n-----END PRIVATE KEY-----",
            "-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----",
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----",
        ] {
            assert_eq!(SigningKey::from_pkcs8_pem(pem).err(), Some(KeyError::Pem), "{pem}");
        }
    }

    #[test]
    fn identifiers_differ() {
        assert_ne!(random_id().unwrap(), random_id().unwrap());
        assert_eq!(random_id().unwrap().len(), 22);
    }
}
