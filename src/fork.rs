//! Forks of the process. Beside `raw/slots.rs` the one file with `unsafe`: nothing in `std` tells
//! of a fork.
//!
//! A child of `fork` has a copy of the memory, but only the thread that forked: what the other
//! threads were in the middle of never ends, and a lock that one of them held is held for ever. Its
//! sockets are its parent's as well. So
//!
//! - a pool that was built before the fork is [left to the parent](Inherited): its idle words are
//!   closed in the child before any other code runs there, so that the first step of a checkout
//!   fails as it does in any closed pool, and the second finds out why. Nothing is looked at on the
//!   hot path;
//! - what the process keeps in statics is [anew in the child](PerProcess), and what was there is
//!   leaked;
//! - what is done once in a process, and may not be half done in a child, is
//!   [`undisturbed`] by forks.
//!
//! A child made by `vfork`, `posix_spawn` or a bare system call goes unnoticed, as the C library
//! runs no handler for it.

#![allow(unsafe_code)]

#[cfg(unix)]
use crate::sync::begin_as_child;
use crate::sync::{Arc, Mutex, MutexGuard, PoisonError, Relaxed, Weak, forks};
use arc_swap::{ArcSwapOption, Guard};
#[cfg(unix)]
use std::cell::Cell;
use std::ops::Deref;

/// What a child has from its parent and must leave alone.
pub(crate) trait Inherited: Send + Sync {
    /// Called in a child while it has no other thread. Takes no lock and allocates nothing: other
    /// code that forks means to do no more than to execute a program.
    fn leave_to_parent(&self);
}

/// All that a child would inherit.
struct Roll {
    pools: Vec<Weak<dyn Inherited>>,
    /// When it is that long, those that are gone are struck off.
    most: usize,
}

/// Held by a thread that forks, so it is whole in the child and free.
static ROLL: Mutex<Roll> = Mutex::new(Roll { pools: Vec::new(), most: FEW });

/// A roll of that length is not worth a look for those that are gone.
const FEW: usize = 16;

fn lock() -> MutexGuard<'static, Roll> {
    /// Not under the lock: a thread that forks at this moment does not hold it yet. So two threads
    /// may set handlers, which does no harm.
    static HAS_HANDLERS: Relaxed<bool> = Relaxed::<bool>::new(false);
    if !HAS_HANDLERS.get() && set_handlers() {
        HAS_HANDLERS.set(true);
    }
    ROLL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From now on, `pool` is left to the parent in each child. No other code may use it yet.
pub(crate) fn enroll(pool: Weak<dyn Inherited>) {
    let mut roll = lock();
    if roll.pools.len() >= roll.most {
        roll.pools.retain(|pool| pool.strong_count() > 0);
        roll.most = FEW.max(2 * roll.pools.len());
    }
    roll.pools.push(pool);
}

/// Does `work` while no thread forks. It may take no lock that a thread holds while it forks.
pub(crate) fn undisturbed<T>(work: impl FnOnce() -> T) -> T {
    let _roll = lock();
    work()
}

/// A static that begins anew in each child, or a part of a value that may be one.
#[derive(Debug)]
pub(crate) struct PerProcess<T>(ArcSwapOption<Own<T>>);

/// What the process has of a [`PerProcess`].
#[derive(Debug)]
pub(crate) struct Own<T> {
    born_in: u64,
    value: T,
}

impl<T: Default> PerProcess<T> {
    pub(crate) const fn new() -> Self {
        Self(ArcSwapOption::const_empty())
    }

    /// This process's own. Takes no lock.
    pub(crate) fn get(&self) -> Arc<Own<T>> {
        loop {
            let found = self.0.load();
            if let Some(own) = &*found
                && own.born_in == forks()
            {
                return Arc::clone(own);
            }
            let fresh = Arc::new(Own { born_in: forks(), value: T::default() });
            let before = self.0.compare_and_swap(&*found, Some(fresh));
            // The parent's: it may hold pools, and their destructors must not run here.
            std::mem::forget(Guard::into_inner(before));
        }
    }
}

impl<T> Deref for Own<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

// SAFETY: the signature is that of POSIX. Any three functions may be given, at any time; they are
// static, and the C library forgets them if the code that they are in is unloaded.
#[cfg(unix)]
unsafe extern "C" {
    safe fn pthread_atfork(
        prepare: Option<extern "C" fn()>,
        parent: Option<extern "C" fn()>,
        child: Option<extern "C" fn()>,
    ) -> std::ffi::c_int;
}

/// Has each fork heard of. False: there is no memory for it.
#[cfg(unix)]
fn set_handlers() -> bool {
    pthread_atfork(Some(prepare), Some(go_on_as_parent), Some(go_on_as_child)) == 0
}

/// There are no forks.
#[cfg(not(unix))]
fn set_handlers() -> bool {
    true
}

#[cfg(unix)]
thread_local! {
    /// The roll, while this thread forks.
    static HELD: Cell<Option<MutexGuard<'static, Roll>>> = const { Cell::new(None) };
}

#[cfg(unix)]
extern "C" fn prepare() {
    // It is held already if there are two sets of handlers. A thread that forks in its last
    // destructors does without.
    let _ = HELD.try_with(|held| {
        let lock = || ROLL.lock().unwrap_or_else(PoisonError::into_inner);
        held.set(Some(held.take().unwrap_or_else(lock)));
    });
}

#[cfg(unix)]
extern "C" fn go_on_as_parent() {
    let _ = HELD.try_with(|held| drop(held.take()));
}

#[cfg(unix)]
extern "C" fn go_on_as_child() {
    let held = HELD.try_with(Cell::take).ok().flatten();
    let roll = held.or_else(|| ROLL.try_lock().ok());
    begin_as_child();
    let Some(mut roll) = roll else { return };
    for pool in &roll.pools {
        if let Some(pool) = pool.upgrade() {
            pool.leave_to_parent();
            // Never the last of it.
            std::mem::forget(pool);
        }
    }
    std::mem::forget(std::mem::take(&mut roll.pools));
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Pool;

    impl Inherited for Pool {
        fn leave_to_parent(&self) {}
    }

    #[test]
    fn the_roll_does_not_grow_with_pools_that_are_gone() {
        let kept: Vec<Arc<dyn Inherited>> = (0..3 * FEW).map(|_| Arc::new(Pool) as _).collect();
        kept.iter().for_each(|pool| enroll(Arc::downgrade(pool)));
        let gone: Weak<dyn Inherited> = Weak::<Pool>::new();
        (0..1_000).for_each(|_| enroll(gone.clone()));
        let roll = lock();
        let is_on = |kept: &Arc<_>| roll.pools.iter().any(|on| Arc::downgrade(kept).ptr_eq(on));
        assert!(kept.iter().all(is_on));
        assert!(roll.pools.len() < 1_000, "{}", roll.pools.len());
    }

    #[test]
    fn a_process_has_one_of_each() {
        static COUNT: PerProcess<Relaxed<usize>> = PerProcess::new();
        COUNT.get().add(1);
        assert_eq!(COUNT.get().get(), 1);
    }
}
