//! Which connections are out of date: those whose connects were begun before a moment.

use crate::clock::Tick;
use crate::stats::Ledger;
use crate::sync::Relaxed;

/// See the [module](self). Whoever changes a moment advances the pool's epoch afterwards, which
/// makes it seen.
#[derive(Debug, Default)]
pub(crate) struct Invalid {
    /// Those begun before are to be replaced.
    replaced: Relaxed<u64>,
    /// Those begun before are not lent any more.
    refused: Relaxed<u64>,
    /// Callers that wait until all are replaced.
    waiting: Relaxed<usize>,
}

/// Stands for a caller that waits.
#[must_use]
pub(crate) struct Replacing<'a>(&'a Invalid);

impl Drop for Replacing<'_> {
    fn drop(&mut self) {
        self.0.waiting.subtract(1);
    }
}

impl Invalid {
    /// From now on connections that were begun before `then` are to be replaced; a caller waits
    /// until they are.
    pub(crate) fn replace_before(&self, then: Tick) -> Replacing<'_> {
        self.waiting.add(1);
        self.replaced.raise(then.0);
        Replacing(self)
    }

    /// And are not lent any more.
    pub(crate) fn refuse_before(&self, then: Tick) {
        self.refused.raise(then.0);
    }

    /// Whether a caller waits.
    pub(crate) fn is_under_way(&self) -> bool {
        self.waiting.get() > 0
    }

    /// Whether that applies to the connection in a slot.
    pub(crate) fn is_to_be_replaced(&self, ledger: &Ledger) -> bool {
        ledger.is_older_than(Tick(self.replaced.get()))
    }

    /// As [`is_to_be_replaced`](Self::is_to_be_replaced).
    pub(crate) fn is_refused(&self, ledger: &Ledger) -> bool {
        ledger.is_older_than(Tick(self.refused.get()))
    }
}
