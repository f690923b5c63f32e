//! An endpoint: its pool, and what borrowers and probes leave there.

use super::load::Response;
use crate::clock::Tick;
use crate::error::TryGetError;
use crate::manager::Manager;
use crate::pool::{Answer, Signs};
use crate::role::Role;
use crate::sync::{Arc, Mutex, PoisonError, Relaxed};
use crate::{Pool, PooledConnection};
use std::fmt;
use std::panic::Location;
use std::time::Duration;

/// What loans last is looked at no more often.
pub(super) const MEASURES: Duration = Duration::from_millis(100);

/// See the [module](self).
pub(super) struct Endpoint<M: Manager> {
    pub(super) name: Arc<str>,
    pub(super) pool: Pool<M>,
    /// Its role until it says otherwise.
    pub(super) declared: Role,
    pub(super) response: Response,
    pub(super) mailbox: Mailbox<M::Error>,
    /// The manager doubts the role.
    pub(super) is_doubted: Arc<Relaxed<bool>>,
    /// The manager that was told how to say so, by its address.
    pub(super) doubter: Relaxed<usize>,
    /// What the upkeep saw of the pool last, and when it last looked at what loans last.
    pub(super) seen: Mutex<Option<(Signs, Tick)>>,
    /// Nanoseconds; `u64::MAX`: not known.
    lag: Relaxed<u64>,
}

impl<M: Manager> Endpoint<M> {
    pub(super) fn new(name: Arc<str>, pool: Pool<M>, declared: Role) -> Self {
        Self {
            name,
            pool,
            declared,
            response: Response::default(),
            mailbox: Mailbox::default(),
            is_doubted: Arc::default(),
            doubter: Relaxed::<usize>::new(0),
            seen: Mutex::new(None),
            lag: Relaxed::<u64>::new(u64::MAX),
        }
    }

    /// Whether the pool has something new since the upkeep last looked. Calls no foreign code.
    pub(super) fn has_news(&self, now: Tick) -> bool {
        let Some((seen, measured_at)) = *self.seen.lock().unwrap_or_else(PoisonError::into_inner)
        else {
            return true;
        };
        let signs = self.pool.signs();
        let is_measured = signs.measured != seen.measured;
        Signs { measured: seen.measured, ..signs } != seen
            || is_measured && now >= measured_at + MEASURES
    }

    pub(super) fn lag(&self) -> Option<Duration> {
        Some(self.lag.get()).filter(|lag| *lag != u64::MAX).map(Duration::from_nanos)
    }

    pub(super) fn set_lag(&self, lag: Option<Duration>) {
        let nanos = |lag: Duration| u64::try_from(lag.as_nanos()).unwrap_or(u64::MAX - 1);
        self.lag.set(lag.map_or(u64::MAX, nanos));
    }

    /// An idle connection, if there is one that need not be pinged first.
    pub(super) fn lend_if_idle(
        &self,
        borrower: &'static Location<'static>,
    ) -> Result<PooledConnection<M>, TryGetError> {
        match self.pool.lend_idle(borrower) {
            Ok(connection) => Ok(connection),
            // It is no demand for another one.
            Err(taken) if taken.is_nothing() => Err(TryGetError::Empty),
            Err(taken) => self.pool.lend_now(taken, borrower),
        }
    }

    /// Its borrowers, and what a loan lasts.
    pub(super) fn load(&self) -> (usize, u64) {
        (self.pool.load(), self.response.nanos())
    }
}

impl<M: Manager> fmt::Debug for Endpoint<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The answers of probes, each with the number of its question.
pub(super) struct Mailbox<E>(Mutex<Option<(u64, Answer<E>)>>);

impl<E> Default for Mailbox<E> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<E> Mailbox<E> {
    /// Leaves an answer, unless one to a later question is there.
    pub(super) fn put(&self, number: u64, answer: Answer<E>) {
        let mut letter = Some((number, answer));
        let mut there = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if there.as_ref().is_none_or(|(other, _)| *other <= number) {
            std::mem::swap(&mut *there, &mut letter);
        }
        drop(there);
        // Foreign code, not under the lock.
        drop(letter);
    }

    pub(super) fn take(&self) -> Option<(u64, Answer<E>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_answer_does_not_take_the_place_of_a_newer_one() {
        let mailbox = Mailbox::<std::io::Error>::default();
        mailbox.put(2, Answer::NoConnection);
        mailbox.put(1, Answer::NoConnection);
        assert!(!mailbox.is_empty());
        assert!(matches!(mailbox.take(), Some((2, _))));
        assert!(mailbox.take().is_none());
    }
}
