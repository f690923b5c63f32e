//! Eras: which values are out of date, though nothing is wrong with them.
//!
//! An era begins whenever all values are to be replaced. Who makes a value takes the era's number
//! first, and only then reads what the era may have changed, such as who makes values; and whoever
//! begins an era has changed that before. So a value that bears the new number was made with what
//! is new, whatever a clock says; and one that bears an old number is replaced, even if it was made
//! with what is new.

use crate::sync::{AtomicU64, Ordering, Relaxed};

/// The eras of one pool.
#[derive(Debug, Default)]
pub(crate) struct Eras {
    /// The era that goes on.
    current: AtomicU64,
    /// Values of earlier eras than this are not lent any more.
    refused: Relaxed<u64>,
}

/// The era of a slot's value, or of one that is being made: one more than its number, or zero.
#[derive(Debug, Default)]
pub(crate) struct Stamp(Relaxed<u64>);

impl Stamp {
    /// A value of that era is being made.
    pub(crate) fn set(&self, era: u64) {
        self.0.set(era + 1);
    }

    /// There is none.
    pub(crate) fn clear(&self) {
        self.0.set(0);
    }

    /// Whether there is a value from before `era`, or one is being made.
    pub(crate) fn is_older_than(&self, era: u64) -> bool {
        (1..=era).contains(&self.0.get())
    }
}

impl Eras {
    /// The era that goes on, for a value that is about to be made.
    pub(crate) fn current(&self) -> u64 {
        // O16: what was changed before the era began is read after this.
        self.current.load(Ordering::Acquire)
    }

    /// From now on values of earlier eras than the one returned are to be replaced.
    pub(super) fn begin(&self) -> u64 {
        // O16: who sees the era sees what was changed before.
        self.current.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// From now on values of eras before `era` are not lent any more.
    pub(super) fn refuse_before(&self, era: u64) {
        self.refused.raise(era);
    }

    /// Whether a value is to be replaced.
    pub(crate) fn is_past(&self, stamp: &Stamp) -> bool {
        stamp.is_older_than(self.current())
    }

    /// Whether it is not lent any more.
    pub(crate) fn is_refused(&self, stamp: &Stamp) -> bool {
        stamp.is_older_than(self.refused.get())
    }
}
