//! `WWW-Authenticate`: what a client lacks, and where to get it (RFC 6750 §3, RFC 9449 §7.1, RFC 9470, RFC 9728 §5.1).

use crate::metadata::ALGORITHMS;

/// Why a request isn't let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Challenge {
    /// There are no credentials at all: the client learns where to get some, and no error (RFC 6750 §3.1).
    Missing,
    /// The token is not valid (any more), for whatever reason.
    InvalidToken,
    /// The token is valid, its proof is not.
    InvalidProof,
    /// The token's scope doesn't suffice; all the scopes that this call needs.
    InsufficientScope {
        /// The scopes, separated by spaces.
        scope: String,
    },
    /// The human must sign in again, or better (RFC 9470).
    StepUp {
        /// Acceptable authentication classes, separated by spaces.
        acr_values: String,
        /// How long ago the sign-in may be, in seconds.
        max_age: u64,
    },
}

impl Challenge {
    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::InsufficientScope { .. } => 403,
            Self::Missing | Self::InvalidToken | Self::InvalidProof | Self::StepUp { .. } => 401,
        }
    }

    /// The values of two `WWW-Authenticate` headers: `Bearer`, by which MCP clients find the metadata, and `DPoP`,
    /// which is the scheme that is accepted.
    #[must_use]
    pub fn headers(&self, resource_metadata: &str, scope: &str) -> [String; 2] {
        let mut bearer = vec![("resource_metadata", resource_metadata.to_owned())];
        let mut dpop = vec![("algs", ALGORITHMS.join(" "))];
        let mut both = |name: &'static str, value: &str| {
            bearer.push((name, value.to_owned()));
            dpop.push((name, value.to_owned()));
        };
        match self {
            Self::Missing => both("scope", scope),
            Self::InvalidToken => {
                both("error", "invalid_token");
                both("scope", scope);
            }
            // Not a code for `Bearer`, which has no proofs.
            Self::InvalidProof => dpop.push(("error", "invalid_dpop_proof".to_owned())),
            Self::InsufficientScope { scope } => {
                both("error", "insufficient_scope");
                both("scope", scope);
            }
            Self::StepUp { acr_values, max_age } => {
                both("error", "insufficient_user_authentication");
                both("acr_values", acr_values);
                both("max_age", &max_age.to_string());
            }
        }
        [render("Bearer", &bearer), render("DPoP", &dpop)]
    }
}

/// Parameters as quoted strings (RFC 9110 §5.6.4); what can't stand in one is left out rather than smuggled in.
fn render(scheme: &str, parameters: &[(&str, String)]) -> String {
    let quoted = |value: &str| {
        let mut out = String::with_capacity(value.len().saturating_add(2));
        for letter in value.chars().filter(|letter| *letter == ' ' || letter.is_ascii_graphic()) {
            if letter == '"' || letter == '\\' {
                out.push('\\');
            }
            out.push(letter);
        }
        out
    };
    let parameters: Vec<String> =
        parameters.iter().map(|(name, value)| format!("{name}=\"{}\"", quoted(value))).collect();
    format!("{scheme} {}", parameters.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const METADATA: &str = "https://gw.example/.well-known/oauth-protected-resource/mcp";

    #[test]
    fn without_credentials_a_client_learns_where_to_get_some() {
        assert_eq!(
            Challenge::Missing.headers(METADATA, "mcp"),
            [
                format!(r#"Bearer resource_metadata="{METADATA}", scope="mcp""#),
                r#"DPoP algs="ES256 EdDSA", scope="mcp""#.to_owned(),
            ]
        );
    }

    #[test]
    fn errors_are_the_specifications() {
        let second = |challenge: &Challenge| challenge.headers(METADATA, "mcp")[1].clone();
        assert!(second(&Challenge::InvalidToken).contains(r#"error="invalid_token""#));
        assert!(second(&Challenge::InvalidProof).contains(r#"error="invalid_dpop_proof""#));
        let scope = Challenge::InsufficientScope { scope: "a b".to_owned() };
        assert_eq!(scope.status(), 403);
        assert_eq!(second(&scope), r#"DPoP algs="ES256 EdDSA", error="insufficient_scope", scope="a b""#);
        let step_up = Challenge::StepUp { acr_values: "phr".to_owned(), max_age: 60 };
        assert!(second(&step_up).ends_with(r#"acr_values="phr", max_age="60""#));
        assert!(!Challenge::InvalidProof.headers(METADATA, "mcp")[0].contains("error"));
    }

    #[test]
    fn values_cannot_break_out() {
        let scope = Challenge::InsufficientScope { scope: "a\", error=\"x\r\nSet-Cookie: y\\".to_owned() };
        let [bearer, _] = scope.headers(METADATA, "mcp");
        assert!(bearer.ends_with(r#"scope="a\", error=\"xSet-Cookie: y\\""#), "{bearer}");
    }
}
