//! Connections beside the slots: the trial of another manager, until it is in service or closed.

use super::kept::Kept;
use super::pooled::Raw;
use crate::clock::Tick;
use crate::manager::Manager;
use crate::stats::{Call, Priority, Running};
use crate::sync::{Arc, Mutex, MutexGuard, PoisonError, forks};
use std::collections::BTreeMap;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Beside {
    guests: Mutex<Guests>,
    /// The process, by the number of forks before it. In a child the lock may be held for ever.
    born_in: u64,
}

#[derive(Debug, Default)]
struct Guests {
    calls: BTreeMap<u64, Running>,
    last: u64,
}

impl Default for Beside {
    fn default() -> Self {
        Self { guests: Mutex::default(), born_in: forks() }
    }
}

impl Beside {
    /// None in a child of the process: they are its parent's.
    fn lock(&self) -> Option<MutexGuard<'_, Guests>> {
        let is_inherited = self.born_in != forks();
        (!is_inherited).then(|| self.guests.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lock().is_none_or(|guests| guests.calls.is_empty())
    }

    /// The calls into the manager that they are in, or were in last.
    pub(crate) fn calls(&self) -> Vec<Running> {
        self.lock().map_or_else(Vec::new, |guests| guests.calls.values().copied().collect())
    }
}

/// Stands for a connection that no slot stands for. Dropped, it is one of the pool's, or gone.
pub(crate) struct Guest<M: Manager> {
    raw: Kept<M>,
    number: u64,
}

impl<M: Manager> Guest<M> {
    /// One that is being opened, until `limit`.
    pub(crate) fn new(raw: &Arc<Raw<M>>, limit: Tick) -> Self {
        let number = raw.context().beside.lock().map_or(0, |mut guests| {
            guests.last += 1;
            guests.last
        });
        let guest = Self { raw: Kept::from(Arc::clone(raw)), number };
        guest.enters(Call::Connect, raw.context().clock.now(), limit);
        guest
    }

    pub(crate) fn pool(&self) -> &Arc<Raw<M>> {
        &self.raw
    }

    /// A call has begun, which should end by `limit`.
    pub(crate) fn enters(&self, call: Call, begun: Tick, limit: Tick) {
        if let Some(mut guests) = self.raw.context().beside.lock() {
            let running = Running { call, priority: Priority::Demand, begun, limit };
            guests.calls.insert(self.number, running);
        }
    }

    /// The call is over: what was opened waits to be put in service, or closed.
    pub(crate) fn wait(self) -> Self {
        if let Some(mut guests) = self.raw.context().beside.lock()
            && let Some(call) = guests.calls.get_mut(&self.number)
        {
            call.limit = Tick::NEVER;
        }
        self
    }
}

/// Whoever waits for the end of a closed pool is told.
impl<M: Manager> Drop for Guest<M> {
    fn drop(&mut self) {
        let state = self.raw.context();
        let Some(mut guests) = state.beside.lock() else { return };
        guests.calls.remove(&self.number);
        drop(guests);
        state.ring.ring();
        state.events.post();
    }
}
