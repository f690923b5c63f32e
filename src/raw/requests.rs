//! Elects one to answer what many request, without a lock.

use crate::sync::{AtomicUsize, Ordering};

/// How many requests are unanswered. Whoever raises it from zero answers them all, in rounds; the others go on at
/// once, and nobody ever waits.
#[derive(Debug, Default)]
pub(crate) struct Requests(AtomicUsize);

impl Requests {
    /// Requests a round: one that sees what the caller did before. `round` runs here if no other caller is at it,
    /// as often as requests come in meanwhile, and must not panic.
    pub(crate) fn answer(&self, mut round: impl FnMut()) -> bool {
        // O4: what the caller did before is visible to the round that answers this request.
        if self.0.fetch_add(1, Ordering::AcqRel) != 0 {
            return false;
        }
        let mut answered = 1;
        loop {
            round();
            // O4: leaves only if no request has come since; else what their callers did is visible now.
            let requests = self.0.fetch_sub(answered, Ordering::AcqRel);
            if requests == answered {
                return true;
            }
            answered = requests - answered;
        }
    }
}
