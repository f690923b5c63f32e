//! The list of borrowers that hold a connection and wait for another. `borrow` has the verbs.

use crate::stats::Borrower;
use std::num::NonZeroU64;

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Nested {
    waiting: Vec<(NonZeroU64, Borrower)>,
    last: u64,
}

impl Nested {
    /// Returns the borrower's number.
    pub(crate) fn add(&mut self, borrower: Borrower) -> NonZeroU64 {
        self.last += 1;
        let number = NonZeroU64::new(self.last).unwrap_or(NonZeroU64::MIN);
        self.waiting.push((number, borrower));
        number
    }

    pub(crate) fn remove(&mut self, number: NonZeroU64) {
        self.waiting.retain(|(other, _)| *other != number);
    }

    pub(crate) fn borrowers(&self) -> impl Iterator<Item = &Borrower> {
        self.waiting.iter().map(|(_, borrower)| borrower)
    }
}
