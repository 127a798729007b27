//! Why an upstream can't be reached.

use std::io;

use crate::{CredentialError, Forbidden};

/// Nothing was sent of the call. Texts are for operators and hold nothing that an upstream said.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UpstreamError {
    /// No upstream has this name.
    #[error("no upstream is named `{0}`")]
    Unknown(String),
    /// The settings can't work.
    #[error("upstream `{upstream}`: {problem}")]
    Config {
        /// Its name.
        upstream: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Its address is not allowed.
    #[error("the address is not allowed: {0}")]
    Forbidden(#[from] Forbidden),
    /// It can't be connected to, or the connection broke.
    #[error("can't connect: {0}")]
    Io(#[from] io::Error),
    /// It took too long.
    #[error("no answer in time to {0}")]
    Timeout(&'static str),
    /// Too much is open towards it.
    #[error("too many {0} are open")]
    Busy(&'static str),
    /// There is no credential for it.
    #[error("no credential: {0}")]
    Credential(#[from] CredentialError),
    /// It doesn't speak the protocol.
    #[error("not understood: {0}")]
    Protocol(String),
    /// It refused, with this HTTP status.
    #[error("refused with HTTP status {0}")]
    Status(u16),
    /// It answered a reading with an error of the protocol.
    #[error("answered with error {0}")]
    Refused(i64),
    /// What it answered held the credential.
    #[error("the answer held the credential")]
    Leaked,
    /// It failed too often and is left alone.
    #[error(transparent)]
    Resting(#[from] crate::Resting),
}

impl UpstreamError {
    pub(crate) fn protocol(problem: impl Into<String>) -> Self {
        Self::Protocol(problem.into())
    }
}
