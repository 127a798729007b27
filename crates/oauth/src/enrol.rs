//! Enrolment: an operator hands out a code, and who comes with the code and a key becomes that agent. The code works
//! once and is stored only as its hash.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use placet_jose::dpop::{self, Expected, Nonce, Presented, TokenHash};
use placet_jose::headers::{Headers, dpop_proof};
use placet_jose::htu::Htu;
use placet_jose::replay::ReplayKey;
use placet_jose::{PublicKey, Refused};
use placet_json::{Limits, Value, parse};
use zeroize::Zeroizing;

use crate::error::{Code, OAuthError, Why};
use crate::secret::Secret;

/// Says what a code is, to people and to scanners of repositories.
const PREFIX: &str = "placet_enrol_";

/// A code and a public key.
const BODY: Limits = Limits { bytes: 4096, depth: 4, members: 16 };

/// SHA-256 of a code: all that is stored of it. No salt: a code has 256 random bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CodeHash([u8; 32]);

/// What is known of a code that was handed out and not used yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingCode {
    /// The agent that it will become.
    pub agent: String,
    /// Until when it works, in seconds since the Unix epoch.
    pub expires_at: u64,
}

/// A key whose holder brought a live code. It counts once the caller has spent the code, in one step with recording
/// the key: two requests with one code must not both succeed.
#[derive(Debug)]
#[must_use = "an enrolment counts only once its code is spent"]
pub struct Enrolment {
    /// The agent.
    pub agent: String,
    /// Its key.
    pub key: PublicKey,
    /// The code to spend.
    pub code: CodeHash,
}

impl CodeHash {
    /// Hashes a code.
    #[must_use]
    pub fn of(code: &str) -> Self {
        Self(*ReplayKey::new("enrolment", &[code]).as_bytes())
    }

    /// The digest in base64url, as it is stored.
    #[must_use]
    pub fn to_text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// Reads the stored form.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok().map(Self)
    }
}

/// A fresh code of 256 random bits and what to store of it. The code is shown once.
pub fn new_code() -> Result<(Secret, CodeHash), OAuthError> {
    let mut bytes = Zeroizing::new([0_u8; 32]);
    aws_lc_rs::rand::fill(bytes.as_mut_slice())
        .map_err(|_| OAuthError::new(Code::TemporarilyUnavailable, Why::Internal))?;
    let code = Secret::new(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes.as_slice())));
    let hash = CodeHash::of(code.expose());
    Ok((code, hash))
}

/// Checks a request to enrol: `{"code":…,"jwk":{…}}` with a proof of possession for `url` by that key, whose `ath` is
/// the code's hash, so that an overheard proof enrols nobody else. A code that is unknown, used or expired, and a
/// proof that is wrong, are answered alike. `now` is in seconds since the Unix epoch.
pub fn enrol(
    body: &[u8],
    headers: Headers<'_>,
    url: &Htu,
    pending: impl FnOnce(&CodeHash) -> Option<PendingCode>,
    now: u64,
) -> Result<Enrolment, OAuthError> {
    let malformed = || OAuthError::new(Code::InvalidRequest, Why::Parameter("body"));
    let body = parse(body, &BODY).map_err(|_| malformed())?;
    let code = body.get("code").and_then(Value::as_str).ok_or_else(malformed)?;
    let jwk = body.get("jwk").ok_or_else(malformed)?;
    let key =
        PublicKey::from_jwk(jwk).map_err(|_| OAuthError::new(Code::InvalidRequest, Why::Parameter("jwk")))?;

    let thumbprint = key.thumbprint();
    let token = Presented::Bound { token: TokenHash::of(code), key: &thumbprint };
    let expected = Expected { method: "POST", url, token, nonce: Nonce::NotAsked };
    let wrong = |refused: Refused| OAuthError::new(Code::InvalidGrant, Why::Token { part: "dpop", refused });
    // The code makes the request single-use, so the proof's own identifier need not be remembered.
    drop(dpop_proof(headers).and_then(|proof| dpop::verify(proof, &expected, now)).map_err(wrong)?);

    let hash = CodeHash::of(code);
    match pending(&hash) {
        Some(PendingCode { agent, expires_at }) if now < expires_at => {
            Ok(Enrolment { agent, key, code: hash })
        }
        _ => Err(OAuthError::new(Code::InvalidGrant, Why::NoSuchCode)),
    }
}
