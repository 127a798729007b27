//! A fuse for the memory of one evaluation.
//!
//! Regorus checks its memory wherever it checks its time: at each statement, each turn of a loop and inside most of its
//! functions. It asks a crate of this name how much is allocated, which in its own form is an allocator and counts for the
//! whole process. This is the same seam with another answer: what the evaluating thread holds more than when its
//! evaluation began, as the program's own allocator counts it. So one evaluation can't take the memory of others, and a
//! bound means the same however large the facts are.
//!
//! It allocates nothing and counts nothing itself: the binary names a [`measure`] of its allocator. Without one (in tests
//! of libraries) nothing is measured, and no fuse blows.

use std::{cell::Cell, sync::OnceLock};

/// Bytes that the calling thread has allocated, less those that it has freed, since it began; none where that can't be
/// told, and then every fuse blows.
pub type Measure = fn() -> Option<i64>;

static MEASURE: OnceLock<Measure> = OnceLock::new();

thread_local! {
    /// What the thread held when its evaluation began; none outside of one.
    static BEGAN: Cell<Option<i64>> = const { Cell::new(None) };
}

/// Names how this program's allocator counts; the first one stands.
pub fn measure(by: Measure) {
    MEASURE.get_or_init(|| by);
}

/// An evaluation on this thread, from here until it is dropped.
#[derive(Debug)]
#[must_use = "without it nothing is counted"]
pub struct Evaluation {
    outer: Option<i64>,
}

impl Evaluation {
    /// Begins to count. One inside another counts from its own beginning.
    pub fn begin() -> Self {
        let now = MEASURE.get().map(|measure| measure().unwrap_or(i64::MIN));
        Self { outer: BEGAN.replace(now) }
    }
}

impl Drop for Evaluation {
    fn drop(&mut self) {
        BEGAN.set(self.outer);
    }
}

/// Bytes that this thread's evaluation holds; 0 outside of one.
#[must_use]
pub fn held() -> u64 {
    let (Some(began), Some(measure)) = (BEGAN.get(), MEASURE.get()) else { return 0 };
    u64::try_from(measure().unwrap_or(i64::MAX).saturating_sub(began)).unwrap_or(0)
}

/// What regorus compares with its limit.
#[derive(Debug, Clone, Copy)]
pub struct Allocated {
    /// Bytes.
    pub allocated: u64,
}

/// What regorus asks for: the bytes that count for its limit, twice.
#[must_use]
pub fn allocation_stats_snapshot() -> (Allocated, Allocated) {
    let held = Allocated { allocated: held() };
    (held, held)
}

/// What regorus asks of the thread.
#[must_use]
pub fn current_thread_live_bytes() -> i64 {
    i64::try_from(held()).unwrap_or(i64::MAX)
}

/// The program's allocator stays what it is.
#[macro_export]
macro_rules! assign_global {
    () => {};
}

/// The further questions of regorus, all answered by [`held`]: nothing is gathered per thread and published later.
pub mod limits {
    /// Nothing is waiting to be published.
    pub fn flush_thread_counters() {}
    /// Nothing is ever published.
    pub fn set_thread_flush_threshold(_bytes: Option<u64>) {}
    /// Nothing is ever published.
    #[must_use]
    pub fn thread_flush_threshold() -> Option<u64> {
        None
    }
    /// Whether a check is due because something was published.
    #[must_use]
    pub fn take_thread_flushed_since_check_flag() -> bool {
        false
    }
    /// Over 32 KiB regorus checks at once, else at every sixteenth place.
    #[must_use]
    pub fn thread_allocation_pending_delta() -> i64 {
        super::current_thread_live_bytes()
    }
    /// Does it.
    pub fn with_unowned_memory_budget_scope<R>(operation: impl FnOnce() -> R) -> R {
        operation()
    }

    /// What a suspended execution of the virtual machine was charged. Placet suspends none, and a budget for one that
    /// did would find no usage, which the machine takes for a fault.
    #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
    pub struct MemoryBudgetUsage;

    impl MemoryBudgetUsage {
        /// Bytes.
        #[must_use]
        pub fn requested_bytes(&self) -> u64 {
            super::held()
        }

        /// Whether that is more than a budget's bytes.
        #[must_use]
        pub fn exceeds_limit(&self, limit: u64) -> bool {
            super::held() > limit
        }
    }

    /// None: there is no such execution.
    #[must_use]
    pub fn current_memory_budget_usage() -> Option<MemoryBudgetUsage> {
        None
    }

    /// Does it.
    pub fn with_memory_budget_usage_scope<R>(
        _before: Option<MemoryBudgetUsage>,
        _after: &mut Option<MemoryBudgetUsage>,
        operation: impl FnOnce() -> R,
    ) -> R {
        operation()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    thread_local! {
        static COUNT: Cell<Option<i64>> = const { Cell::new(None) };
    }

    #[test]
    fn an_evaluation_counts_from_its_beginning_and_on_its_own_thread() {
        measure(|| COUNT.get());
        COUNT.set(Some(1_000));
        assert_eq!(held(), 0, "outside of one");
        let outer = Evaluation::begin();
        COUNT.set(Some(1_300));
        assert_eq!((held(), allocation_stats_snapshot().0.allocated), (300, 300));
        let inner = Evaluation::begin();
        COUNT.set(Some(1_305));
        assert_eq!(held(), 5);
        drop(inner);
        assert_eq!(held(), 305);
        COUNT.set(Some(400));
        assert_eq!(held(), 0, "more was freed than taken");
        assert_eq!(std::thread::spawn(held).join().unwrap(), 0);
        drop(outer);
        assert_eq!(held(), 0);
        COUNT.set(None);
        let _blind = Evaluation::begin();
        assert!(held() > 1 << 60, "what can't be measured isn't taken for little");
    }
}
