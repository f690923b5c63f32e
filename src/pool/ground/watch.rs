//! When it is next worth looking for calls that take long, so that no thread looks at all slots for
//! nothing.

use crate::clock::Tick;
use crate::sync::{AtomicU64, Mutex, Ordering, PoisonError, Relaxed, TryLockError};

/// Two lower bounds on the moment when some running call will have taken long.
#[derive(Debug)]
pub(crate) struct Watch {
    /// The bound for calls begun since the last look.
    noted: AtomicU64,
    /// The bound for calls that the last look saw.
    known: Relaxed<u64>,
    /// Held while looking, as only one thread at a time may note what was seen.
    looking: Mutex<()>,
}

impl Watch {
    pub(crate) fn new() -> Self {
        Self {
            noted: AtomicU64::new(Tick::NEVER.0),
            known: Relaxed::<u64>::new(Tick::NEVER.0),
            looking: Mutex::new(()),
        }
    }

    /// A call that can be seen from now on will have taken long at `at`.
    pub(crate) fn note(&self, at: Tick) {
        // O8: after the call can be seen, so that a look that forgets this note sees the call.
        self.noted.fetch_min(at.0, Ordering::AcqRel);
    }

    /// Returns what `look` sees of all calls, unless none can have taken long by `now`. `look` also
    /// returns when the next will have, which is `now` if some have.
    pub(crate) fn look<T: Default>(&self, now: Tick, look: impl FnOnce() -> (T, Tick)) -> T {
        // O8
        if now.0 < self.noted.load(Ordering::Acquire) && now.0 < self.known.get() {
            return T::default();
        }
        let _looking = match self.looking.try_lock() {
            Ok(guard) => guard,
            Err(TryLockError::Poisoned(poisoned)) => PoisonError::into_inner(poisoned),
            Err(TryLockError::WouldBlock) => return look().0,
        };
        // O8: forgotten before the look.
        let noted = self.noted.swap(Tick::NEVER.0, Ordering::AcqRel);
        self.known.set(noted.min(self.known.get()));
        let (seen, next) = look();
        self.known.set(next.0);
        seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_thread_looks_before_a_noted_moment_and_each_does_while_a_call_takes_long() {
        let watch = Watch::new();
        let looks = |now, next| watch.look(Tick(now), || (true, Tick(next)));
        assert!(!looks(5, 5));
        watch.note(Tick(10));
        watch.note(Tick(20));
        assert!(!looks(9, 9));
        assert!(looks(10, 10), "one takes long");
        assert!(looks(11, 20), "it has ended, and another will take long at 20");
        assert!(!looks(19, 19));
        watch.note(Tick(15));
        assert!(looks(19, Tick::NEVER.0));
        assert!(!looks(1_000, 1_000));
    }

    #[test]
    fn a_thread_that_looks_while_another_does_sees_as_much() {
        let watch = Watch::new();
        watch.note(Tick(1));
        let inner = watch.look(Tick(2), || {
            watch.note(Tick(7));
            (watch.look(Tick(2), || (true, Tick::NEVER)), Tick::NEVER)
        });
        assert!(inner);
        assert!(watch.look(Tick(7), || (true, Tick(7))), "noted while another looked");
    }
}
