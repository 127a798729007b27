//! Remembering what was used: each token or proof counts once.

use std::collections::{BTreeSet, HashMap};

use crate::keys::sha256;

/// Under what a use is remembered: a digest of fixed size, whatever the sender chose as `jti`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReplayKey([u8; 32]);

/// The answer of a window to "has this been used?".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Admission {
    /// Not used before; from now on it is.
    New,
    /// Used before.
    Seen,
    /// Not remembered, since there is no room: must be refused.
    Full,
}

/// Where uses are remembered. Looking up and inserting are one step; replicas of one recipient share one store.
pub trait ReplayWindow {
    /// Inserts `key` if absent and keeps it until the clock reaches `forget_at`. Times are in seconds since the Unix
    /// epoch.
    fn admit(&mut self, key: ReplayKey, forget_at: u64, now: u64) -> Admission;
}

/// A bounded window in memory. A restart empties it, so its owner refuses what was issued before its start.
#[derive(Debug)]
pub struct MemoryWindow {
    seen: HashMap<ReplayKey, u64>,
    by_end: BTreeSet<(u64, ReplayKey)>,
    capacity: usize,
}

impl ReplayKey {
    /// Derives a key. `domain` keeps kinds apart; the parts' lengths are hashed, so that parts can't run together.
    #[must_use]
    pub fn new(domain: &str, parts: &[&str]) -> Self {
        let mut text = Vec::with_capacity(160);
        for part in std::iter::once(&domain).chain(parts) {
            text.extend_from_slice(&part.len().to_be_bytes());
            text.extend_from_slice(part.as_bytes());
        }
        Self(sha256(&text))
    }

    /// The digest.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl MemoryWindow {
    /// A window for at most `capacity` uses at once: calls per second × longest life in seconds. One takes about
    /// 150 bytes.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { seen: HashMap::new(), by_end: BTreeSet::new(), capacity }
    }

    /// How many uses are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.seen.len()
    }

    /// Whether nothing is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }

    fn forget(&mut self, now: u64) {
        while let Some((end, key)) = self.by_end.first().copied()
            && end <= now
        {
            self.by_end.remove(&(end, key));
            self.seen.remove(&key);
        }
    }
}

impl ReplayWindow for MemoryWindow {
    fn admit(&mut self, key: ReplayKey, forget_at: u64, now: u64) -> Admission {
        if self.seen.contains_key(&key) {
            return Admission::Seen;
        }
        self.forget(now);
        if self.seen.len() >= self.capacity {
            return Admission::Full;
        }
        self.seen.insert(key, forget_at);
        self.by_end.insert((forget_at, key));
        Admission::New
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(jti: &str) -> ReplayKey {
        ReplayKey::new("test", &[jti])
    }

    #[test]
    fn a_use_counts_once_until_forgotten() {
        let mut window = MemoryWindow::new(8);
        assert_eq!(window.admit(key("a"), 100, 50), Admission::New);
        assert_eq!(window.admit(key("a"), 100, 50), Admission::Seen);
        assert_eq!(window.admit(key("b"), 100, 99), Admission::New);
        assert_eq!(window.admit(key("a"), 100, 99), Admission::Seen);
        assert_eq!(window.admit(key("c"), 300, 100), Admission::New);
        assert_eq!(window.len(), 1, "a and b were forgotten at 100");
    }

    #[test]
    fn a_full_window_refuses_and_forgets_nothing() {
        let mut window = MemoryWindow::new(2);
        assert_eq!(window.admit(key("a"), 100, 1), Admission::New);
        assert_eq!(window.admit(key("b"), 100, 1), Admission::New);
        assert_eq!(window.admit(key("c"), 100, 1), Admission::Full);
        assert_eq!(window.admit(key("a"), 100, 1), Admission::Seen);
        assert_eq!(window.admit(key("c"), 200, 100), Admission::New);
    }

    #[test]
    fn parts_do_not_run_together() {
        assert_ne!(ReplayKey::new("d", &["ab", "c"]), ReplayKey::new("d", &["a", "bc"]));
        assert_ne!(ReplayKey::new("d", &["a"]), ReplayKey::new("da", &[]));
    }
}
