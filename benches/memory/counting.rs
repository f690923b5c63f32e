//! The system's allocator with two counters.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

struct Counting;

static CALLS: AtomicI64 = AtomicI64::new(0);
static BYTES: AtomicI64 = AtomicI64::new(0);

// SAFETY: the system's allocator does the work.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.fetch_add(1, Relaxed);
        BYTES.fetch_add(layout.size() as i64, Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        BYTES.fetch_sub(layout.size() as i64, Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What was allocated.
pub(crate) struct Allocated {
    /// So often.
    pub(crate) calls: i64,
    /// So much of it stays.
    pub(crate) bytes: i64,
}

/// By the whole process, during `work`.
pub(crate) fn measure(work: impl FnOnce()) -> Allocated {
    let (calls, bytes) = (CALLS.load(Relaxed), BYTES.load(Relaxed));
    work();
    Allocated { calls: CALLS.load(Relaxed) - calls, bytes: BYTES.load(Relaxed) - bytes }
}
