//! What a pool of objects counts.

use super::place::{Loans, Raw};

/// A snapshot of an [`ObjectPool`](super::ObjectPool). At rest everything agrees; while objects
/// move, each figure is true of some moment within the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ObjectStats {
    /// The most objects there may be.
    pub max_size: usize,
    /// Objects there are.
    pub size: usize,
    /// Objects that are free to be lent.
    pub idle: usize,
    /// Objects held by borrowers. An object whose guard was forgotten counts here for good.
    pub lent: usize,
    /// Borrowers that wait in line.
    pub waiting: usize,
    /// Objects lent. This count and those below run from when the pool was built.
    pub checkouts: u64,
    /// Objects returned, taken out or discarded.
    pub returns: u64,
    /// Borrowers that had to stand in line.
    pub waits: u64,
    /// Objects made or added.
    pub made: u64,
    /// Objects taken out or dropped.
    pub gone: u64,
}

impl ObjectStats {
    pub(crate) fn of<T: Send + 'static>(raw: &Raw<T>) -> Self {
        let (shared, gone) = (raw.context(), raw.context().gone.get());
        let returns: u64 = raw.ledgers().map(Loans::returns).sum();
        let checkouts: u64 = raw.ledgers().map(Loans::checkouts).sum();
        let lent = raw.ledgers().filter(|loans| loans.is_lent()).count();
        let made = shared.made.get();
        let size = between(made, gone, raw);
        Self {
            max_size: raw.capacity(),
            size,
            idle: size.saturating_sub(lent),
            lent,
            waiting: raw.waiting(),
            checkouts,
            returns,
            waits: shared.waits.get(),
            made,
            gone,
        }
    }
}

/// Objects there are, without a look at each.
pub(crate) fn size<T: Send + 'static>(raw: &Raw<T>) -> usize {
    let gone = raw.context().gone.get();
    between(raw.context().made.get(), gone, raw)
}

/// What is gone was asked for first: what comes and goes meanwhile is there.
fn between<T: Send + 'static>(made: u64, gone: u64, raw: &Raw<T>) -> usize {
    (made.saturating_sub(gone) as usize).min(raw.capacity())
}
