//! Callers that wait until all connections of earlier [eras](crate::raw::era) are replaced.

use crate::sync::Relaxed;

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Invalid {
    waiting: Relaxed<usize>,
}

/// Stands for such a caller.
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
    /// A caller begins an era, and waits until all connections of earlier ones are replaced.
    pub(crate) fn replace(&self, begin_era: impl FnOnce() -> u64) -> Replacing<'_> {
        self.waiting.add(1);
        Replacing { invalid: self, era: begin_era() }
    }

    /// Whether a caller waits.
    pub(crate) fn is_under_way(&self) -> bool {
        self.waiting.get() > 0
    }
}
