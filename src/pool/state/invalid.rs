//! Which connections are out of date: those whose connects were begun in an earlier era.
//!
//! An era begins whenever all connections are to be replaced. A connect takes the era's number
//! before it reads anything that the era may have changed, such as the manager; and whoever begins
//! an era has changed that before. So a connect that bears the new number was made with what is
//! new, whatever the clock says; and one that bears an old number is replaced, even if it was made
//! with what is new.

use crate::stats::Ledger;
use crate::sync::{AtomicU64, Ordering, Relaxed};

/// See the [module](self). Whoever begins an era, or refuses one, advances the pool's epoch
/// afterwards, which makes it seen.
#[derive(Debug, Default)]
pub(crate) struct Invalid {
    /// The era that goes on.
    era: AtomicU64,
    /// Connections of earlier eras than this are not lent any more.
    refused: Relaxed<u64>,
    /// Callers that wait until all are replaced.
    waiting: Relaxed<usize>,
}

/// Stands for a caller that waits until all connections of earlier eras are replaced.
#[must_use]
pub(crate) struct Replacing<'a> {
    invalid: &'a Invalid,
    pub(crate) era: u64,
}

impl Drop for Replacing<'_> {
    fn drop(&mut self) {
        self.invalid.waiting.subtract(1);
    }
}

impl Invalid {
    /// The era that goes on, for a connect that begins.
    pub(crate) fn era(&self) -> u64 {
        // O16: what was changed before the era began is read after this.
        self.era.load(Ordering::Acquire)
    }

    /// From now on connections of earlier eras are to be replaced; a caller waits until they are.
    pub(crate) fn begin_era(&self) -> Replacing<'_> {
        self.waiting.add(1);
        // O16: a connect that sees the era sees what was changed before.
        let era = self.era.fetch_add(1, Ordering::AcqRel) + 1;
        Replacing { invalid: self, era }
    }

    /// And those of eras before `era` are not lent any more.
    pub(crate) fn refuse_before(&self, era: u64) {
        self.refused.raise(era);
    }

    /// Whether a caller waits.
    pub(crate) fn is_under_way(&self) -> bool {
        self.waiting.get() > 0
    }

    /// Whether the connection in a slot is to be replaced.
    pub(crate) fn is_to_be_replaced(&self, ledger: &Ledger) -> bool {
        ledger.is_older_than(self.era())
    }

    /// Whether it is not lent any more.
    pub(crate) fn is_refused(&self, ledger: &Ledger) -> bool {
        ledger.is_older_than(self.refused.get())
    }
}
