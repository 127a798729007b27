//! Revisions of the protocol and their two eras.

use std::fmt;
use std::str::FromStr;

/// A published revision; later ones compare greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Revision {
    /// 2025-03-26: batches, no version header.
    V2025_03_26,
    /// 2025-06-18: elicitation, version header.
    V2025_06_18,
    /// 2025-11-25: tasks, URL elicitation.
    V2025_11_25,
    /// 2026-07-28: no handshake, no session, self-describing requests.
    V2026_07_28,
}

/// How a peer talks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Era {
    /// `initialize` first, then requests both ways, over HTTP with a session.
    Legacy,
    /// Each request stands for itself.
    Modern,
}

/// A version text that names no revision known here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown protocol version")]
pub struct UnknownRevision(());

impl Revision {
    /// Every revision, oldest first.
    pub const ALL: [Self; 4] = [Self::V2025_03_26, Self::V2025_06_18, Self::V2025_11_25, Self::V2026_07_28];
    /// What `initialize` may negotiate, newest first.
    pub const LEGACY: [Self; 3] = [Self::V2025_11_25, Self::V2025_06_18, Self::V2025_03_26];
    /// What a request may name in its `_meta`, newest first.
    pub const MODERN: [Self; 1] = [Self::V2026_07_28];

    /// The text on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V2025_03_26 => "2025-03-26",
            Self::V2025_06_18 => "2025-06-18",
            Self::V2025_11_25 => "2025-11-25",
            Self::V2026_07_28 => "2026-07-28",
        }
    }

    /// The era it belongs to.
    #[must_use]
    pub const fn era(self) -> Era {
        match self {
            Self::V2025_03_26 | Self::V2025_06_18 | Self::V2025_11_25 => Era::Legacy,
            Self::V2026_07_28 => Era::Modern,
        }
    }
}

impl Era {
    /// The newest revision of this era.
    #[must_use]
    pub const fn newest(self) -> Revision {
        match self {
            Self::Legacy => Revision::V2025_11_25,
            Self::Modern => Revision::V2026_07_28,
        }
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Revision {
    type Err = UnknownRevision;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|revision| revision.as_str() == text).ok_or(UnknownRevision(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_read_back_and_nothing_else_does() {
        for revision in Revision::ALL {
            assert_eq!(revision.to_string().parse(), Ok(revision));
        }
        for text in ["", "2024-11-05", "2025-06-18 ", "2026-07-29", "draft"] {
            assert!(text.parse::<Revision>().is_err(), "{text}");
        }
        assert!(Revision::LEGACY.iter().all(|revision| revision.era() == Era::Legacy));
        assert!(Revision::MODERN.iter().all(|revision| revision.era() == Era::Modern));
    }
}
