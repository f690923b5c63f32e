//! The physical floor: two uncontended atomic read-modify-writes on a word of the thread's own.

use std::sync::atomic::{AtomicU64, Ordering};

/// A word that shares its cache line, and the next one, with nobody.
#[repr(align(128))]
pub(crate) struct Line(AtomicU64);

impl Line {
    pub(crate) fn new() -> Box<Self> {
        Box::new(Self(AtomicU64::new(1)))
    }

    /// One trip down to the floor: takes the lowest bit, and puts it back.
    pub(crate) fn trip(&self) {
        if self.0.fetch_and(!1, Ordering::Acquire) & 1 != 0 {
            self.0.fetch_or(1, Ordering::Release);
        }
    }
}

/// The same on a line of this thread.
pub(crate) fn own_trip() {
    thread_local!(static OWN: Box<Line> = Line::new());
    OWN.with(|line| std::hint::black_box(line).trip());
}
