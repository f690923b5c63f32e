//! Elects one to answer what many request, without a lock.

use crate::sync::{AtomicUsize, Ordering};

/// How many requests are unanswered. The thread that raises the count from zero answers all of
/// them, in rounds; the others go on at once, and no thread waits for it.
#[derive(Debug)]
pub(crate) struct Requests(AtomicUsize);

impl Requests {
    pub(crate) fn new() -> Self {
        Self(AtomicUsize::new(0))
    }

    /// Requests a round: one that sees what the caller did before. `round` runs here, as often as
    /// requests come in meanwhile, if no other thread is at it; `false`: one is. It must not panic.
    #[inline(always)]
    pub(crate) fn answer(&self, mut round: impl FnMut()) -> bool {
        // O4: what the caller did before is visible to the round that answers this request.
        if self.0.fetch_add(1, Ordering::AcqRel) != 0 {
            return false;
        }
        let mut answered = 1;
        loop {
            round();
            // O4: leaves only if no request has come since; else what the requesters did is visible
            // now.
            let requests = self.0.fetch_sub(answered, Ordering::AcqRel);
            if requests == answered {
                return true;
            }
            answered = requests - answered;
        }
    }

    /// Whether every request has been answered: what the rounds did is visible then.
    pub(crate) fn is_answered(&self) -> bool {
        self.0.load(Ordering::Acquire) == 0 // O4
    }
}
