//! Which era an upstream is of, as far as it is known.

use std::sync::atomic::{AtomicU8, Ordering};

use placet_mcp::Era;

const UNKNOWN: u8 = 0;
const LEGACY: u8 = 1;
const MODERN: u8 = 2;

/// What is known of an upstream's era, or what the settings say of it.
pub(crate) struct Known {
    era: AtomicU8,
    fixed: bool,
}

impl Known {
    pub(crate) fn new(fixed: Option<Era>) -> Self {
        Self { era: AtomicU8::new(fixed.map_or(UNKNOWN, code)), fixed: fixed.is_some() }
    }

    pub(crate) fn get(&self) -> Option<Era> {
        match self.era.load(Ordering::Acquire) {
            LEGACY => Some(Era::Legacy),
            MODERN => Some(Era::Modern),
            _ => None,
        }
    }

    pub(crate) fn learn(&self, era: Era) {
        if !self.fixed {
            self.era.store(code(era), Ordering::Release);
        }
    }

    /// It doesn't hold any more: probe again before the next call.
    pub(crate) fn forget(&self) {
        if !self.fixed {
            self.era.store(UNKNOWN, Ordering::Release);
        }
    }
}

fn code(era: Era) -> u8 {
    match era {
        Era::Legacy => LEGACY,
        Era::Modern => MODERN,
    }
}
