//! An endpoint: its pool, and what borrowers and probes leave there.

use super::load::Response;
use crate::Pool;
use crate::clock::Tick;
use crate::manager::Manager;
use crate::pool::{Answer, Signs};
use crate::role::Role;
use crate::sync::{Arc, Mutex, PoisonError, Relaxed};
use std::fmt;
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
    /// Leaves an answer, in place of an older one.
    pub(super) fn put(&self, number: u64, answer: Answer<E>) {
        let old = self.0.lock().unwrap_or_else(PoisonError::into_inner).replace((number, answer));
        // Foreign code, not under the lock.
        drop(old);
    }

    pub(super) fn take(&self) -> Option<(u64, Answer<E>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }
}
