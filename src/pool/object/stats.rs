//! What a pool of objects counts.

use super::place::{Loans, Raw};

/// A snapshot of an [`ObjectPool`](super::ObjectPool). While objects move, each figure is true of
/// some moment within the call, and yet they do not contradict each other: `idle + lent = size =
/// made - gone`, `lent = checkouts - returns`, and `size + making` is no more than `max_size`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ObjectStats {
    /// The most objects there may be.
    pub max_size: usize,
    /// Objects there are.
    pub size: usize,
    /// Objects that are free to be lent, or on their way back or out.
    pub idle: usize,
    /// Objects held by borrowers. An object whose guard was forgotten counts here for good.
    pub lent: usize,
    /// Objects being made, by borrowers or by [`prepare`](super::ObjectPool::prepare).
    pub making: usize,
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
        let shared = raw.context();
        // What is gone first and what was made last: so each object that is found lent in between
        // was made, and is not gone.
        let gone = shared.gone.get();
        let loans = raw.ledgers().map(Loans::turns);
        let (checkouts, returns) =
            loans.fold((0, 0), |(out, back), turns| (out + turns.div_ceil(2), back + turns / 2));
        let (lent, max_size) = (checkouts - returns, raw.capacity());
        // Processors may look in another order.
        let made = shared.made.get().max(gone + lent);
        // There is room for no more, so of those made meanwhile as many others were gone before.
        let gone = gone.max(made.saturating_sub(max_size as u64));
        let (size, lent) = ((made - gone) as usize, lent as usize);
        Self {
            max_size,
            size,
            idle: size - lent,
            lent,
            making: shared.making().min(max_size - size),
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
    // What is gone was asked for first: what comes and goes meanwhile is there.
    let gone = raw.context().gone.get();
    (raw.context().made.get().saturating_sub(gone) as usize).min(raw.capacity())
}
