//! Why a text or a value was refused.

use std::fmt;

use crate::NumberError;

/// Member names in a path are cut after this many characters: they come from the sender.
const PATH_NAME_CHARS: usize = 64;

/// A refusal: what was wrong and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    offset: Option<usize>,
    path: String,
}

/// What was wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The text is longer than [`crate::Limits::bytes`].
    #[error("longer than the limit")]
    TooLong,
    /// Arrays and objects are nested deeper than allowed.
    #[error("nested too deeply")]
    TooDeep,
    /// An object has more members than [`crate::Limits::members`].
    #[error("an object has too many members")]
    TooManyMembers,
    /// The text holds more than [`crate::MAX_VALUES`] values.
    #[error("too many values")]
    TooManyValues,
    /// The bytes are not UTF-8 (RFC 8259 section 8.1).
    #[error("invalid UTF-8")]
    Utf8,
    /// The text ends inside a value.
    #[error("unexpected end of text")]
    UnexpectedEnd,
    /// A byte stands where JSON does not allow it.
    #[error("unexpected character")]
    UnexpectedCharacter,
    /// Something follows the value.
    #[error("trailing characters after the value")]
    Trailing,
    /// A number does not follow the grammar of RFC 8259 section 6.
    #[error("malformed number")]
    MalformedNumber,
    /// A backslash is followed by something else than an escape.
    #[error("malformed escape")]
    MalformedEscape,
    /// A `\u` escape is half of a surrogate pair.
    #[error("lone surrogate")]
    LoneSurrogate,
    /// A control character stands unescaped in a string.
    #[error("unescaped control character")]
    ControlCharacter,
    /// An object has two members of one name.
    #[error("duplicate member name")]
    DuplicateMember,
    /// A number has no canonical form.
    #[error("{0}")]
    Number(NumberError),
    /// The text is valid JSON but not in canonical form.
    #[error("not in canonical form")]
    NotCanonical,
    /// A Rust value could not be turned into JSON or back.
    #[error("{0}")]
    Convert(String),
}

impl Error {
    pub(crate) fn at(kind: ErrorKind, offset: usize) -> Self {
        Self { kind, offset: Some(offset), path: String::new() }
    }

    pub(crate) fn new(kind: ErrorKind) -> Self {
        Self { kind, offset: None, path: String::new() }
    }

    /// Puts a member name before the path, on the way out of the object.
    pub(crate) fn under_name(mut self, name: &str) -> Self {
        let mut segment = String::from("/");
        for c in name.chars().take(PATH_NAME_CHARS) {
            match c {
                '~' => segment.push_str("~0"),
                '/' => segment.push_str("~1"),
                c if c.is_control() => segment.push('\u{fffd}'),
                c => segment.push(c),
            }
        }
        self.path.insert_str(0, &segment);
        self
    }

    /// Puts an array position before the path, on the way out of the array.
    pub(crate) fn under_index(mut self, index: usize) -> Self {
        self.path.insert_str(0, &format!("/{index}"));
        self
    }

    /// What was wrong.
    #[must_use]
    pub fn kind(&self) -> &ErrorKind {
        &self.kind
    }

    /// Byte offset into the text that was read; `None` if no text was read.
    #[must_use]
    pub fn offset(&self) -> Option<usize> {
        self.offset
    }

    /// JSON Pointer (RFC 6901) to the value concerned, long names cut; empty for the whole.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind)?;
        if let Some(offset) = self.offset {
            write!(f, " at byte {offset}")?;
        }
        if !self.path.is_empty() {
            write!(f, " in `{}`", self.path)?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}
