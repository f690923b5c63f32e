//! `std`'s locks for the thread sanitizer, which does not see what `std` does out of line: waiting
//! for a lock, and setting a `OnceLock`. These do it in line.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{self, LockResult, PoisonError, TryLockError, TryLockResult};
use std::thread;
use std::time::Duration;

/// Tries until it has the lock.
fn spin<G>(mut attempt: impl FnMut() -> TryLockResult<G>) -> LockResult<G> {
    loop {
        match attempt() {
            Ok(guard) => return Ok(guard),
            Err(TryLockError::Poisoned(poisoned)) => return Err(poisoned),
            Err(TryLockError::WouldBlock) => thread::yield_now(),
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        spin(|| self.try_lock())
    }

    pub(crate) fn try_lock(&self) -> TryLockResult<MutexGuard<'_, T>> {
        match self.0.try_lock() {
            Ok(guard) => Ok(MutexGuard(guard, self)),
            Err(TryLockError::WouldBlock) => Err(TryLockError::WouldBlock),
            Err(TryLockError::Poisoned(poisoned)) => {
                Err(PoisonError::new(MutexGuard(poisoned.into_inner(), self)).into())
            }
        }
    }
}

#[derive(Debug)]
pub(crate) struct MutexGuard<'a, T>(sync::MutexGuard<'a, T>, &'a Mutex<T>);

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

#[derive(Debug, Default)]
pub(crate) struct Condvar;

pub(crate) struct TimedOut;

impl TimedOut {
    pub(crate) fn timed_out(&self) -> bool {
        true
    }
}

impl Condvar {
    pub(crate) fn notify_one(&self) {}

    /// Waits for a moment.
    pub(crate) fn wait_timeout<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        _: Duration,
    ) -> LockResult<(MutexGuard<'a, T>, TimedOut)> {
        let mutex = guard.1;
        drop(guard);
        thread::sleep(Duration::from_millis(1));
        match mutex.lock() {
            Ok(guard) => Ok((guard, TimedOut)),
            Err(poisoned) => Err(PoisonError::new((poisoned.into_inner(), TimedOut))),
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct RwLock<T>(sync::RwLock<T>);

impl<T> RwLock<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(sync::RwLock::new(value))
    }

    pub(crate) fn try_read(&self) -> TryLockResult<sync::RwLockReadGuard<'_, T>> {
        self.0.try_read()
    }

    pub(crate) fn write(&self) -> LockResult<sync::RwLockWriteGuard<'_, T>> {
        spin(|| self.0.try_write())
    }
}

#[derive(Debug)]
pub(crate) struct OnceLock<T>(sync::OnceLock<T>, AtomicBool);

impl<T> OnceLock<T> {
    pub(crate) const fn new() -> Self {
        Self(sync::OnceLock::new(), AtomicBool::new(false))
    }

    pub(crate) fn get(&self) -> Option<&T> {
        // O15
        self.1.load(Ordering::Acquire).then(|| self.0.get()).flatten()
    }

    pub(crate) fn set(&self, value: T) -> Result<(), T> {
        self.0.set(value)?;
        self.1.store(true, Ordering::Release); // O15
        Ok(())
    }

    pub(crate) fn get_or_init(&self, make: impl FnOnce() -> T) -> &T {
        let mut is_first = false;
        let value = self.0.get_or_init(|| {
            is_first = true;
            make()
        });
        if is_first {
            self.1.store(true, Ordering::Release); // O15
        }
        // O15: the thread that was first may not have said so yet.
        while !self.1.load(Ordering::Acquire) {
            thread::yield_now();
        }
        value
    }
}

impl<T> Default for OnceLock<T> {
    fn default() -> Self {
        Self::new()
    }
}
