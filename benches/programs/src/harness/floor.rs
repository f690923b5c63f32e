//! The physical floor: what claiming and giving back something costs if nobody else ever wants it.

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};

/// Two lines, as the processor fetches lines in pairs.
#[derive(Debug)]
#[repr(align(128))]
pub struct Line(pub AtomicU64);

impl Default for Line {
    fn default() -> Self {
        Self(AtomicU64::new(u64::MAX))
    }
}

impl Line {
    /// Clears a bit, then sets it: two read-modify-writes. This is what everything else is a
    /// multiple of.
    pub fn two_rmw(&self, bit: u64) {
        let word = &black_box(self).0;
        if word.fetch_and(!(1 << bit), Ordering::Acquire) & (1 << bit) != 0 {
            word.fetch_or(1 << bit, Ordering::Release);
        }
    }

    /// One read-modify-write and a store.
    pub fn rmw_and_store(&self) {
        let word = &black_box(self).0;
        if word.swap(0, Ordering::Acquire) != 0 {
            word.store(1, Ordering::Release);
        }
    }
}
