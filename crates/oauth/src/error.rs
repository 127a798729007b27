//! Refusals of the OAuth endpoints: a public document that tells no more than the specifications ask for, and a
//! reason for the log.

use placet_jose::Refused;
use placet_json::{Object, Value};

/// An error code of RFC 6749 §5.2, RFC 8707 §2, RFC 9396 §5 or RFC 9449 §5 and §8.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Code {
    /// Missing, repeated or malformed parameter.
    InvalidRequest,
    /// The client didn't prove who it is: unknown, suspended and wrongly signed look alike.
    InvalidClient,
    /// Nothing to grant: never was, isn't any more, is another's, all alike.
    InvalidGrant,
    /// Another grant type.
    UnsupportedGrantType,
    /// Another response type.
    UnsupportedResponseType,
    /// `resource` isn't this gateway.
    InvalidTarget,
    /// `authorization_details` isn't of the known type and form.
    InvalidAuthorizationDetails,
    /// The proof of possession is missing or wrong.
    InvalidDpopProof,
    /// The proof lacks a current nonce, which the answer brings.
    UseDpopNonce,
    /// The server can't answer now.
    TemporarilyUnavailable,
}

/// A refusal: what the client is told, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {why}", code.name())]
pub struct OAuthError {
    code: Code,
    why: Why,
    nonce: Option<String>,
}

/// The reason, for the operator's log only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Why {
    /// A token or proof was refused.
    #[error("{part}: {refused}")]
    Token {
        /// Which one: `client_assertion`, `dpop`.
        part: &'static str,
        /// Why.
        refused: Refused,
    },
    /// A parameter is missing or unusable.
    #[error("parameter `{0}`")]
    Parameter(&'static str),
    /// The client isn't registered, or suspended.
    #[error("no such client")]
    NoSuchClient,
    /// The registry grants nothing.
    #[error("{0}")]
    Grant(crate::registry::GrantError),
    /// The grant has ended.
    #[error("the grant has ended")]
    Ended,
    /// An enrolment code that doesn't exist, or has expired.
    #[error("no such enrolment code")]
    NoSuchCode,
    /// Something of ours failed.
    #[error("the token could not be made")]
    Internal,
}

impl Code {
    /// The code as it stands in the document.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::InvalidClient => "invalid_client",
            Self::InvalidGrant => "invalid_grant",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::UnsupportedResponseType => "unsupported_response_type",
            Self::InvalidTarget => "invalid_target",
            Self::InvalidAuthorizationDetails => "invalid_authorization_details",
            Self::InvalidDpopProof => "invalid_dpop_proof",
            Self::UseDpopNonce => "use_dpop_nonce",
            Self::TemporarilyUnavailable => "temporarily_unavailable",
        }
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::InvalidClient => 401,
            Self::TemporarilyUnavailable => 503,
            Self::InvalidRequest
            | Self::InvalidGrant
            | Self::UnsupportedGrantType
            | Self::UnsupportedResponseType
            | Self::InvalidTarget
            | Self::InvalidAuthorizationDetails
            | Self::InvalidDpopProof
            | Self::UseDpopNonce => 400,
        }
    }
}

impl OAuthError {
    pub(crate) fn new(code: Code, why: Why) -> Self {
        Self { code, why, nonce: None }
    }

    pub(crate) fn use_nonce(nonce: String) -> Self {
        let why = Why::Token { part: "dpop", refused: Refused::Nonce };
        Self { code: Code::UseDpopNonce, why, nonce: Some(nonce) }
    }

    /// The code.
    #[must_use]
    pub fn code(&self) -> Code {
        self.code
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.code.status()
    }

    /// Why, for the log; never sent.
    #[must_use]
    pub fn why(&self) -> &Why {
        &self.why
    }

    /// The JSON document to send.
    #[must_use]
    pub fn document(&self) -> Value {
        let mut document = Object::new();
        document.insert("error", self.code.name());
        // The one thing that a client can't find out from the code alone, and that tells nothing of others.
        if let (Code::InvalidRequest, Why::Parameter(name)) = (self.code, self.why) {
            document.insert("error_description", format!("parameter {name}"));
        }
        Value::Object(document)
    }

    /// Headers to send with the document.
    #[must_use]
    pub fn headers(&self) -> Vec<(&'static str, String)> {
        let mut headers = no_store();
        if let Some(nonce) = &self.nonce {
            headers.push(("DPoP-Nonce", nonce.clone()));
        }
        headers
    }
}

/// Answers with or about credentials are kept nowhere (RFC 6749 §5.1).
pub(crate) fn no_store() -> Vec<(&'static str, String)> {
    vec![("Content-Type", "application/json".to_owned()), ("Cache-Control", "no-store".to_owned())]
}
