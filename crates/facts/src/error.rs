//! Why a change was refused.

use std::fmt;

/// A refused change: nothing of its transaction was applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeError {
    /// What sort of refusal.
    pub kind: Kind,
    /// JSON Pointer (RFC 6901) to the place in the transaction or file; empty for the whole.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
}

/// Sorts of refusals, for those who answer with a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Malformed: it can never be applied.
    Malformed,
    /// It names something that these facts don't know.
    Unknown,
    /// It contradicts what is there.
    Conflict,
    /// It would grant more than the one who grants has.
    Widening,
}

impl ChangeError {
    pub(crate) fn new(kind: Kind, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { kind, path: String::new(), message: message.into(), remedy: remedy.into() }
    }
    pub(crate) fn malformed(path: &str, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { path: path.to_owned(), ..Self::new(Kind::Malformed, message, remedy) }
    }
    pub(crate) fn unknown(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(Kind::Unknown, message, remedy)
    }
    pub(crate) fn conflict(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(Kind::Conflict, message, remedy)
    }
    /// Puts `prefix` before the path.
    pub(crate) fn under(mut self, prefix: &str) -> Self {
        self.path.insert_str(0, prefix);
        self
    }
}

impl fmt::Display for ChangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "`{}`: ", self.path)?;
        }
        f.write_str(&self.message)?;
        if !self.remedy.is_empty() {
            write!(f, "; {}", self.remedy)?;
        }
        Ok(())
    }
}

impl std::error::Error for ChangeError {}
