//! Why something could not be done, or was refused by a server: one message for a person.

use std::fmt::{self, Display};

/// What went wrong, and what to do about it.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    remedy: Option<String>,
    status: u8,
}

impl Failure {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), remedy: None, status: 2 }
    }
    /// The server understood and said no: exit status 1.
    pub(crate) fn no(mut self) -> Self {
        self.status = 1;
        self
    }
    /// The exit status.
    pub(crate) fn status(&self) -> u8 {
        self.status
    }
    /// With what to do about it.
    pub(crate) fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }
    /// Writes the message to standard error.
    pub(crate) fn print(&self) {
        eprintln!("placet: {self}");
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.remedy {
            Some(remedy) => write!(f, "\n  {remedy}"),
            None => Ok(()),
        }
    }
}

/// Says what was being done when an error came.
pub(crate) trait OrFail<T> {
    /// `what` precedes the error: "can't read `x`".
    fn or_fail(self, what: impl Display) -> Result<T, Failure>;
}

impl<T, E: Display> OrFail<T> for Result<T, E> {
    fn or_fail(self, what: impl Display) -> Result<T, Failure> {
        self.map_err(|error| Failure::new(format!("{what}: {error}")))
    }
}
