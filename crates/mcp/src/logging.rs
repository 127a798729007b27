//! Log levels: `logging/setLevel` in the legacy era, `_meta` of each request in the modern one.

use placet_json::{Object, Value};

/// Severity after RFC 5424; more severe compares greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LogLevel {
    /// Details for developers.
    Debug,
    /// Ordinary progress.
    Info,
    /// Normal but significant.
    Notice,
    /// Something may be wrong.
    Warning,
    /// Something failed.
    Error,
    /// A part is broken.
    Critical,
    /// Act at once.
    Alert,
    /// Nothing works.
    Emergency,
}

impl LogLevel {
    /// Every level, the least severe first.
    pub const ALL: [Self; 8] = [
        Self::Debug,
        Self::Info,
        Self::Notice,
        Self::Warning,
        Self::Error,
        Self::Critical,
        Self::Alert,
        Self::Emergency,
    ];

    /// The name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Notice => "notice",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Critical => "critical",
            Self::Alert => "alert",
            Self::Emergency => "emergency",
        }
    }

    /// The level of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.name() == name)
    }

    /// The `level` in the parameters of `logging/setLevel` or `notifications/message`.
    #[must_use]
    pub fn from_params(params: &Object) -> Option<Self> {
        params.get("level").and_then(Value::as_str).and_then(Self::from_name)
    }
}

/// Whether a `notifications/message` may go to a client that wants messages from `least` on; a modern client that
/// names no level gets none, and a message without a known level goes to nobody.
#[must_use]
pub fn wanted(least: Option<LogLevel>, params: &Object) -> bool {
    match (least, LogLevel::from_params(params)) {
        (Some(least), Some(level)) => level >= least,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use placet_json::object;

    #[test]
    fn messages_below_the_level_or_unasked_for_are_dropped() {
        let message = object! { "level" => "warning", "data" => "x" };
        assert!(wanted(Some(LogLevel::Debug), &message));
        assert!(wanted(Some(LogLevel::Warning), &message));
        assert!(!wanted(Some(LogLevel::Error), &message));
        assert!(!wanted(None, &message));
        assert!(!wanted(Some(LogLevel::Debug), &object! { "level" => "Warning" }));
        assert!(!wanted(Some(LogLevel::Debug), &Object::new()));
    }
}
