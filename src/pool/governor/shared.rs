//! What the handles of a governor share.

use crate::clock::Clock;
use crate::fork::PerProcess;
use crate::pool::ground::governor::{Desk, Governor, Limits};
use crate::sync::{Arc, Mutex, PoisonError, Weak};
use arc_swap::ArcSwap;

pub(super) struct Shared {
    /// Those that it was built with: who names its key may name them for ever.
    pub(super) built: Limits,
    /// Those in force. Read without a lock, as a forked child has them from its parent.
    pub(super) limits: ArcSwap<Limits>,
    pub(super) clock: Clock,
    /// Held while the limits are changed.
    pub(super) changing: PerProcess<Mutex<()>>,
    pub(super) office: PerProcess<Mutex<Office>>,
}

/// What a process has of a governor.
#[derive(Default)]
pub(super) struct Office {
    pub(super) governor: Option<Arc<Governor>>,
    /// Lives with the pools that ask there, so that no housekeeper is kept for handles alone.
    pub(super) desk: Weak<Desk>,
}

impl Shared {
    pub(super) fn new(limits: Limits, clock: Clock) -> Arc<Self> {
        Arc::new(Self {
            built: limits,
            limits: ArcSwap::from_pointee(limits),
            clock,
            changing: PerProcess::new(),
            office: PerProcess::new(),
        })
    }

    pub(super) fn with_office<R>(&self, with: impl FnOnce(&mut Office) -> R) -> R {
        with(&mut self.office.get().lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on those limits are in force. The caller holds `changing`.
    pub(super) fn limit(&self, limits: Limits) {
        // All of it while no other desk can be opened: pools that ask there have the new limits, or
        // are called by this one.
        self.with_office(|office| {
            self.limits.store(Arc::new(limits));
            match (office.desk.upgrade(), &office.governor) {
                (Some(desk), _) => desk.limit(&limits),
                (None, Some(governor)) => governor.limit(&limits),
                (None, None) => {}
            }
        });
    }
}

impl Office {
    pub(super) fn governor(&mut self, shared: &Shared) -> Arc<Governor> {
        let new = || Arc::new(Governor::new(&shared.limits.load(), shared.clock.clone()));
        Arc::clone(self.governor.get_or_insert_with(new))
    }
}
