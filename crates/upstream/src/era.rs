//! Which era an upstream is of, as far as it is known.

use std::sync::atomic::{AtomicU8, Ordering};

use placet_json::Value;
use placet_mcp::rpc::code;
use placet_mcp::{Era, Revision, RpcError};

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

/// Whether this error of a server that knows the modern era says that it offers legacy revisions only.
pub(crate) fn offers_only_legacy(error: &RpcError) -> bool {
    if error.code != code::UNSUPPORTED_VERSION {
        return false;
    }
    let supported = error.data.as_ref().and_then(|data| data.get("supported")).and_then(Value::as_array);
    let mut known =
        supported.into_iter().flatten().filter_map(|version| version.as_str()?.parse::<Revision>().ok());
    let Some(first) = known.next() else { return false };
    first.era() == Era::Legacy && known.all(|revision| revision.era() == Era::Legacy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_supported_says_the_era() {
        for (supported, legacy) in [
            (r#"{"supported":["2025-11-25","2025-06-18"]}"#, true),
            (r#"{"supported":["2025-11-25","2026-07-28"]}"#, false),
            (r#"{"supported":["2030-01-01"]}"#, false),
            (r#"{"supported":[]}"#, false),
            ("{}", false),
        ] {
            let data = placet_json::parse(supported.as_bytes(), &placet_json::Limits::MESSAGE).unwrap();
            let error = RpcError::new(code::UNSUPPORTED_VERSION, "").with_data(data);
            assert_eq!(offers_only_legacy(&error), legacy, "{supported}");
            assert!(!offers_only_legacy(&RpcError { code: code::HEADER_MISMATCH, ..error }));
        }
    }
}
