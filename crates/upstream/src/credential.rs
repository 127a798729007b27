//! Credentials, as this crate asks for them. It never keeps one longer than the request that it was made for.

use std::fmt;

use http::HeaderName;
use placet_core::authority::CredentialNote;
use placet_core::{Call, Digest, Envelope, Name};
use placet_json::Value;
use secrecy::SecretString;
use url::Url;

use crate::Errand;

/// Makes credentials.
pub trait Credentials: Send + Sync {
    /// For one request in the name of one call. For [`Purpose::Call`] this is asked once in a call's life, for
    /// [`Purpose::Session`] whenever a session of this tenant and credential is opened, kept or ended.
    fn make(&self, call: &Call, envelope: &Envelope, target: &Target<'_>) -> Result<Made, CredentialError>;
    /// For reading an upstream's tool list.
    fn service(&self, upstream: &Name, target: &Target<'_>) -> Result<Made, CredentialError>;
    /// For a reading of the gateway's own, of one tenant's data.
    fn errand(&self, errand: &Errand, target: &Target<'_>) -> Result<Made, CredentialError>;
}

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// It carries the call.
    Call,
    /// It opens, keeps or ends what calls need, or stops one: a handshake, a cancellation.
    Session,
}

/// Exactly where a credential goes.
#[derive(Debug, Clone, Copy)]
pub enum Target<'a> {
    /// An HTTP request.
    Http {
        /// What for.
        purpose: Purpose,
        /// `POST`, or `GET` for a legacy server's stream.
        method: &'static str,
        /// The upstream's address.
        url: &'a Url,
        /// The body as it will be sent.
        body: &'a [u8],
    },
    /// A line to a process; the credential goes into `_meta`.
    Stdio {
        /// SHA-256 of the canonical arguments, or of nothing.
        arguments: Digest,
    },
}

/// A credential for one request.
pub struct Made {
    /// Headers of the HTTP request. They replace none of those that this crate makes.
    pub headers: Vec<(HeaderName, SecretString)>,
    /// A parameter of the query of a request to an HTTP API, and the secret that it is. No argument sets one of this name,
    /// and it is in no address that is signed, recorded or told.
    pub query: Option<(String, SecretString)>,
    /// Members of `_meta` of a line to a process.
    pub meta: Vec<(String, Value)>,
    /// What the ledger keeps of it.
    pub note: CredentialNote,
    /// What must not occur in an answer, in any usual coding. Empty texts are ignored.
    pub scan: Vec<SecretString>,
    /// What is worth nothing once it was used, and to nobody but this gateway: looked for as it is, in no coding.
    pub spent: Vec<SecretString>,
}

/// Why there is no credential. The text is for operators.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CredentialError(pub String);

impl Made {
    /// None, because none is needed.
    #[must_use]
    pub fn nothing(note: CredentialNote) -> Self {
        Self { headers: Vec::new(), query: None, meta: Vec::new(), note, scan: Vec::new(), spent: Vec::new() }
    }
}

impl fmt::Debug for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Made").field("note", &self.note).finish_non_exhaustive()
    }
}

/// In whose name a request is made.
#[derive(Clone, Copy)]
pub(crate) struct Caller<'a> {
    pub(crate) credentials: &'a dyn Credentials,
    pub(crate) upstream: &'a Name,
    pub(crate) who: Who<'a>,
}

#[derive(Clone, Copy)]
pub(crate) enum Who<'a> {
    Call(&'a Call, &'a Envelope),
    Service,
    Errand(&'a Errand),
}

impl Caller<'_> {
    pub(crate) fn make(&self, target: &Target<'_>) -> Result<Made, CredentialError> {
        match self.who {
            Who::Call(call, envelope) => self.credentials.make(call, envelope, target),
            Who::Service => self.credentials.service(self.upstream, target),
            Who::Errand(errand) => self.credentials.errand(errand, target),
        }
    }
}
