//! Nonces for proofs (RFC 9449 §8): derived from the time and a key, so that nothing is stored.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// How long a nonce is current, in seconds. Its predecessor is still accepted.
const PERIOD: u64 = 60;

/// Makes and knows nonces. Servers that stand for one endpoint share the key.
#[derive(Debug, Clone)]
pub struct NonceKey(Box<hmac::Key>);

impl NonceKey {
    /// From 32 secret random bytes.
    #[must_use]
    pub fn new(secret: &[u8; 32]) -> Self {
        Self(Box::new(hmac::Key::new(hmac::HMAC_SHA256, secret)))
    }

    /// The nonce to hand out at `now`, in seconds since the Unix epoch.
    #[must_use]
    pub fn current(&self, now: u64) -> String {
        self.of(now.wrapping_div(PERIOD))
    }

    /// The nonces that are accepted at `now`: the current one and its predecessor.
    #[must_use]
    pub fn accepted(&self, now: u64) -> [String; 2] {
        let period = now.wrapping_div(PERIOD);
        [self.of(period), self.of(period.saturating_sub(1))]
    }

    fn of(&self, period: u64) -> String {
        let tag = hmac::sign(&self.0, &period.to_be_bytes());
        URL_SAFE_NO_PAD.encode(tag.as_ref().get(..16).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_lives_one_to_two_minutes() {
        let key = NonceKey::new(&[7; 32]);
        let nonce = key.current(600);
        assert!(key.accepted(659).contains(&nonce) && key.accepted(719).contains(&nonce));
        assert!(!key.accepted(720).contains(&nonce) && !key.accepted(599).contains(&nonce));
        assert_ne!(nonce, NonceKey::new(&[8; 32]).current(600));
        assert_eq!(nonce.len(), 22);
    }
}
