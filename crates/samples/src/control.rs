//! The strings behind a running sample: counting, stopping, changing a definition.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rmcp::model::Tool;
use tokio_util::sync::CancellationToken;

/// Watches and changes a running sample; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Control(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    calls: Mutex<BTreeMap<String, u64>>,
    turned_away: AtomicU64,
    descriptions: Mutex<BTreeMap<String, String>>,
    stop: CancellationToken,
}

impl Control {
    /// How many `tools/call` requests reached the sample, whatever became of them.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.0.calls.lock().unwrap_or_else(PoisonError::into_inner).values().sum()
    }

    /// How many of them named this tool.
    #[must_use]
    pub fn calls_of(&self, tool: &str) -> u64 {
        self.0.calls.lock().unwrap_or_else(PoisonError::into_inner).get(tool).copied().unwrap_or(0)
    }

    /// How many HTTP requests were answered 401 for want of the standing key.
    #[must_use]
    pub fn turned_away(&self) -> u64 {
        self.0.turned_away.load(Ordering::Relaxed)
    }

    /// Gives a tool another description from the next listing on, without a word to anybody, as a server does
    /// that was taken over.
    pub fn redescribe(&self, tool: impl Into<String>, description: impl Into<String>) {
        let mut descriptions = self.0.descriptions.lock().unwrap_or_else(PoisonError::into_inner);
        descriptions.insert(tool.into(), description.into());
    }

    /// Takes all changed descriptions back.
    pub fn restore(&self) {
        self.0.descriptions.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Stops the sample: open sessions end, the listener closes.
    pub fn stop(&self) {
        self.0.stop.cancel();
    }

    pub(crate) fn stopped(&self) -> &CancellationToken {
        &self.0.stop
    }

    pub(crate) fn count_call(&self, tool: &str) {
        let mut calls = self.0.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let count = calls.entry(tool.to_owned()).or_default();
        *count = count.saturating_add(1);
    }

    pub(crate) fn count_turned_away(&self) {
        self.0.turned_away.fetch_add(1, Ordering::Relaxed);
    }

    /// The definitions as they are to be listed now.
    pub(crate) fn described(&self, mut tools: Vec<Tool>) -> Vec<Tool> {
        let descriptions = self.0.descriptions.lock().unwrap_or_else(PoisonError::into_inner);
        for tool in &mut tools {
            if let Some(description) = descriptions.get(tool.name.as_ref()) {
                tool.description = Some(description.clone().into());
            }
        }
        tools
    }
}
