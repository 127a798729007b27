//! What a thread holds, as this program's allocator counts it: the measure of the bound on a policy's memory.

use tikv_jemalloc_ctl::thread::{ThreadLocal, allocatedp, deallocatedp};

thread_local! {
    /// The allocator's two counters of this thread; none where it doesn't tell them.
    static COUNTERS: Option<(ThreadLocal<u64>, ThreadLocal<u64>)> =
        allocatedp::read().ok().zip(deallocatedp::read().ok());
}

/// Names the measure. An evaluation costs two reads of memory for it at each look.
pub(crate) fn measure() {
    placet_fuse::measure(held);
}

/// Bytes that this thread has allocated, less those that it has freed.
fn held() -> Option<i64> {
    COUNTERS.with(|counters| {
        let (allocated, freed) = counters.as_ref()?;
        Some(allocated.get().cast_signed().wrapping_sub(freed.get().cast_signed()))
    })
}
