//! Where secrets lie, and fetching them.

use std::{
    fmt,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use secrecy::SecretString;

use super::Variables;

/// The longest secret: a private key in PEM has below 2 KiB.
const MAX_SECRET: usize = 64 * 1024;

/// A secret in memory. It prints as nothing and is wiped when dropped.
pub type Secret = SecretString;

/// Where a secret lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// In a file that nobody but its owner can read.
    File(PathBuf),
    /// In a variable of the environment.
    Env(String),
    /// On the standard output of a command, which is run without a shell.
    Command(Vec<String>),
}

/// Why there is no secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file can't be read.
    #[error("the key file `{0}` can't be read: {1}")]
    Unreadable(PathBuf, std::io::Error),
    /// Others than the owner can read or change the file; the mode follows.
    #[error("the key file `{0}` is open to others (mode {1:04o})")]
    Open(PathBuf, u32),
    /// The variable isn't set.
    #[error("the variable `{0}` is not set")]
    Unset(String),
    /// The command could not be run, or failed.
    #[error("the command `{0}` yields no secret: {1}")]
    Command(String, String),
    /// Empty, not UTF-8, or larger than 64 KiB.
    #[error("the secret in {0} is empty, too long or not text")]
    Malformed(String),
}

impl SecretError {
    /// The same without a subject: what stands behind a setting's name in a message.
    pub(super) fn what(&self) -> String {
        format!("can't be used: {self}")
    }
    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> String {
        match self {
            Self::Unreadable(path, _) => {
                format!("make the file, as with `placet key generate {}`", path.display())
            }
            Self::Open(path, _) => {
                format!("run `chmod 600 {}`, and replace the key if others may have read it", path.display())
            }
            Self::Unset(name) => format!("set `{name}` for this process"),
            Self::Command(..) => "run the command by hand".to_owned(),
            Self::Malformed(_) => "look at where it comes from".to_owned(),
        }
    }
}

impl SecretSource {
    /// Fetches the secret. One trailing newline is dropped, as editors and `echo` add it.
    pub fn fetch(&self, variables: Variables<'_>) -> Result<Secret, SecretError> {
        let text = match self {
            Self::File(path) => {
                check_private(path)?;
                std::fs::read_to_string(path).map_err(|error| SecretError::Unreadable(path.clone(), error))?
            }
            Self::Env(name) => variables(name).ok_or_else(|| SecretError::Unset(name.clone()))?,
            Self::Command(command) => run(command)?,
        };
        let text = zeroize_to(text);
        if text.is_empty() || text.len() > MAX_SECRET {
            return Err(SecretError::Malformed(self.to_string()));
        }
        Ok(Secret::from(text))
    }
}

impl fmt::Display for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{{ file = \"{}\" }}", path.display()),
            Self::Env(name) => write!(f, "{{ env = {name:?} }}"),
            Self::Command(command) => write!(f, "{{ command = {command:?} }}"),
        }
    }
}

/// Checks that a file can be read by its owner alone.
pub fn check_private(path: &Path) -> Result<(), SecretError> {
    let metadata =
        std::fs::metadata(path).map_err(|error| SecretError::Unreadable(path.to_owned(), error))?;
    let mode = metadata.mode() & 0o7777;
    // Nothing for group and others: the six lowest bits.
    if mode.trailing_zeros() >= 6 { Ok(()) } else { Err(SecretError::Open(path.to_owned(), mode)) }
}

/// What can be said at the start without fetching: a file is there and private, a variable is set.
pub(super) fn check(source: &SecretSource, variables: Variables<'_>) -> Result<(), SecretError> {
    match source {
        SecretSource::File(path) => check_private(path),
        SecretSource::Env(name) => variables(name).map(drop).ok_or_else(|| SecretError::Unset(name.clone())),
        SecretSource::Command(_) => Ok(()),
    }
}

fn run(command: &[String]) -> Result<String, SecretError> {
    let (program, arguments) =
        command.split_first().map_or(("", command), |(program, arguments)| (program.as_str(), arguments));
    let failed = |why: String| SecretError::Command(program.to_owned(), why);
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        return Err(failed(output.status.to_string()));
    }
    String::from_utf8(output.stdout).map_err(|_| failed("its output is not UTF-8".to_owned()))
}

fn zeroize_to(mut text: String) -> String {
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    text
}
