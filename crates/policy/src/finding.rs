//! What is wrong with a release, where, and what to do about it.

use std::fmt;

use placet_json::{Value, object};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The release isn't one.
    Error,
    /// The release loads, but hardly as its author meant it.
    Warning,
    /// Something that an author should know.
    Advice,
}

impl Severity {
    /// As it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Advice => "advice",
        }
    }
}

/// One finding in a release's files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Which lint it is of, by its name in `docs/reference/lints.md`; `invalid` for what is no release at all.
    pub code: &'static str,
    /// How bad.
    pub severity: Severity,
    /// The file, as the release names it.
    pub file: String,
    /// The line, from 1; 0 where it concerns the file as a whole.
    pub line: u32,
    /// The column, from 1; 0 where it concerns the line as a whole.
    pub column: u32,
    /// What is wrong.
    pub message: String,
    /// What to do; empty where the message says it.
    pub help: String,
    /// Why the release's owners live with it, if `release.toml` says so.
    pub silenced: Option<Box<str>>,
}

impl Finding {
    /// A finding about a place in a file.
    pub(crate) fn new(
        severity: Severity,
        file: &str,
        (line, column): (u32, u32),
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        Self {
            code: "invalid",
            severity,
            file: file.to_owned(),
            line,
            column,
            message: message.into(),
            help: help.into(),
            silenced: None,
        }
    }
    /// An error about a place in a file.
    pub(crate) fn error(
        file: &str,
        at: (u32, u32),
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        Self::new(Severity::Error, file, at, message, help)
    }
    /// The same, of a lint.
    pub(crate) fn coded(mut self, code: &'static str) -> Self {
        self.code = code;
        self
    }
    /// As JSON.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let mut value = object! {
            "code" => self.code,
            "severity" => self.severity.as_str(),
            "file" => self.file.as_str(),
            "line" => u64::from(self.line),
            "column" => u64::from(self.column),
            "message" => self.message.as_str(),
            "help" => self.help.as_str(),
        };
        if let Some(reason) = &self.silenced {
            value.insert("silenced", &**reason);
        }
        Value::Object(value)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        if self.column > 0 {
            write!(f, ":{}", self.column)?;
        }
        write!(f, ": {}: {}", self.severity.as_str(), self.message)?;
        if !self.help.is_empty() {
            write!(f, " ({})", self.help)?;
        }
        Ok(())
    }
}

/// Why a tree of files is no release: one or more errors, and what else was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// All findings, the errors among them.
    pub findings: Vec<Finding>,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the release is refused")?;
        self.findings
            .iter()
            .filter(|finding| finding.severity == Severity::Error)
            .try_for_each(|finding| write!(f, "\n{finding}"))
    }
}

impl std::error::Error for Refused {}

/// Line and column, both from 1, of a byte offset.
pub(crate) fn position(text: &str, offset: usize) -> (u32, u32) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count().saturating_add(1);
    let column = before.rsplit('\n').next().map_or(0, |rest| rest.chars().count()).saturating_add(1);
    (u32::try_from(line).unwrap_or(u32::MAX), u32::try_from(column).unwrap_or(u32::MAX))
}

/// The name of `known` that is nearest to `word`, if one is near enough to be meant.
pub(crate) fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|name| (distance(word, name), name))
        .filter(|(d, name)| *d <= name.len().max(6) / 3)
        .min()
        .map(|(_, name)| name)
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut next = vec![i.saturating_add(1)];
        for ((y, above), diagonal) in b.iter().zip(row.iter().skip(1)).zip(&row) {
            let left = next.last().copied().unwrap_or(usize::MAX);
            let change = diagonal.saturating_add(usize::from(x != *y));
            next.push(change.min(above.saturating_add(1)).min(left.saturating_add(1)));
        }
        row = next;
    }
    row.last().copied().unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_counted_in_lines_and_characters() {
        assert_eq!(position("ab\ncde", 5), (2, 3));
        assert_eq!(position("", 0), (1, 1));
    }

    #[test]
    fn only_a_near_name_is_suggested() {
        assert_eq!(nearest("expires_att", ["expires_at", "state"].into_iter()), Some("expires_at"));
        assert_eq!(nearest("colour", ["expires_at", "state"].into_iter()), None);
    }
}
