//! `Content-Digest` with SHA-256 (RFC 9530 §2).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::keys::sha256;

/// A SHA-256 digest of content: the bytes of a body as sent, without any coding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ContentDigest([u8; 32]);

/// The field isn't a dictionary with exactly one SHA-256 digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a `Content-Digest` with one sha-256 digest")]
pub struct DigestError;

/// Longest field value, in bytes: a few algorithms beside ours.
const MAX_FIELD: usize = 1024;

impl ContentDigest {
    /// The digest of a body.
    #[must_use]
    pub fn of(body: &[u8]) -> Self {
        Self(sha256(body))
    }

    /// Reads a field value, `sha-256=:…:`. Other algorithms beside it are ignored (RFC 9530 §2); a second SHA-256 is
    /// refused, since recipients differ in which one counts.
    pub fn parse(field: &str) -> Result<Self, DigestError> {
        if field.len() > MAX_FIELD {
            return Err(DigestError);
        }
        let mut found = None;
        for member in field.split(',') {
            let (name, value) = member.trim_matches([' ', '\t']).split_once('=').ok_or(DigestError)?;
            if name != "sha-256" {
                continue;
            }
            let digest =
                value.strip_prefix(':').and_then(|rest| rest.strip_suffix(':')).ok_or(DigestError)?;
            let digest = STANDARD.decode(digest).map_err(|_| DigestError)?;
            let digest: [u8; 32] = digest.try_into().map_err(|_| DigestError)?;
            if found.replace(Self(digest)).is_some() {
                return Err(DigestError);
            }
        }
        found.ok_or(DigestError)
    }

    /// Whether `body` has this digest.
    #[must_use]
    pub fn matches(&self, body: &[u8]) -> bool {
        *self == Self::of(body)
    }

    /// The digest itself.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl std::fmt::Display for ContentDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "sha-256=:{}:", STANDARD.encode(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_specification_s_example() {
        // RFC 9530 §B.1.
        let field = "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:";
        let body = b"{\"hello\": \"world\"}\n";
        assert_eq!(ContentDigest::of(body).to_string(), field);
        assert!(ContentDigest::parse(field).unwrap().matches(body));
        assert!(!ContentDigest::parse(field).unwrap().matches(b"{\"hello\": \"world\"}"));
    }

    #[test]
    fn one_sha_256_and_only_one() {
        let ours = ContentDigest::of(b"x");
        assert_eq!(ContentDigest::parse(&format!("sha-512=:AAAA:, {ours}")), Ok(ours));
        for field in [
            String::new(),
            "sha-512=:AAAA:".to_owned(),
            format!("{ours}, {ours}"),
            ours.to_string().replace("sha-256", "SHA-256"),
            ours.to_string().replace(':', ""),
            format!("{ours};q=1"),
            format!("{ours},"),
            "sha-256=:AAAA:".to_owned(),
            "sha-256=:!:".to_owned(),
        ] {
            assert_eq!(ContentDigest::parse(&field), Err(DigestError), "{field}");
        }
    }
}
