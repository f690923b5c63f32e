//! A count on the pool, held while a slot is on its way.
//!
//! The slot may be the last of a closed pool, and all other counts be given up before this one: the
//! pool would then end on the thread of a borrower that merely returns a connection, with the
//! destructors of manager, strategy, hooks and observers, which may block. It ends on a thread of
//! the crate's own instead.

use super::pooled::{Raw, Slot, Vacant};
use crate::manager::Manager;
use crate::pool::ground::caught::Foreign;
use crate::pool::ground::threads;
use crate::sync::Arc;
#[cfg(any(feature = "metrics", feature = "opentelemetry"))]
use crate::sync::Weak;
use std::ops::Deref;

/// See the [module](self).
pub(crate) struct Kept<M: Manager>(Option<Arc<Raw<M>>>);

impl<M: Manager> Kept<M> {
    /// The pool of a slot with a connection.
    pub(crate) fn of(slot: &Slot<M>) -> Self {
        Self(Some(slot.keep_alive()))
    }

    /// The pool of an empty slot.
    pub(crate) fn of_vacant(vacant: &Vacant<M>) -> Self {
        Self(Some(vacant.keep_alive()))
    }

    /// A pool that others keep alive, or do not any more.
    #[cfg(any(feature = "metrics", feature = "opentelemetry"))]
    pub(crate) fn of_weak(raw: &Weak<Raw<M>>) -> Option<Self> {
        raw.upgrade().map(|raw| Self(Some(raw)))
    }
}

impl<M: Manager> From<Arc<Raw<M>>> for Kept<M> {
    fn from(raw: Arc<Raw<M>>) -> Self {
        Self(Some(raw))
    }
}

impl<M: Manager> Deref for Kept<M> {
    type Target = Arc<Raw<M>>;

    fn deref(&self) -> &Arc<Raw<M>> {
        match &self.0 {
            Some(raw) => raw,
            None => unreachable!("its destructor alone takes it out"),
        }
    }
}

impl<M: Manager> Drop for Kept<M> {
    fn drop(&mut self) {
        self.0.take().into_iter().for_each(give_up);
    }
}

/// Gives up a count. If it is the last, the destructor, which is foreign code, runs on a thread of
/// the crate's own.
pub(crate) fn give_up<T: Send + Sync + 'static>(shared: Arc<T>) {
    if let Some(last) = Arc::into_inner(shared) {
        // Where no thread is to be had, it ends here after all.
        let last = Foreign::new(last);
        threads::submit(Box::new(move || drop(last)));
    }
}
